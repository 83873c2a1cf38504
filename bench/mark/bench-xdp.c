// SPDX-License-Identifier: GPL-2.0
/*
 * Attaches the shortest XDP program there is to a NIC's driver.
 *
 *   bench-xdp IFACE pass|drop|tx
 *       Prints the number of the process that keeps the program attached; end it to detach.
 *
 * The program says that it takes frames in several pieces: a driver that splits headers from
 * payload needs that. It looks at no byte of the frame.
 */

#include <err.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int bpf(enum bpf_cmd command, union bpf_attr *attr)
{
	return syscall(SYS_bpf, command, attr, sizeof(*attr));
}

/* What the program returns for every frame. */
static int verdict(const char *name)
{
	if (!strcmp(name, "pass"))
		return XDP_PASS;
	if (!strcmp(name, "drop"))
		return XDP_DROP;
	if (!strcmp(name, "tx"))
		return XDP_TX;
	errx(2, "%s: not pass, drop or tx", name);
}

static int load(int result)
{
	struct bpf_insn code[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = result },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_XDP,
		.expected_attach_type = BPF_XDP,
		.prog_flags = BPF_F_XDP_HAS_FRAGS,
		.insns = (uintptr_t)code,
		.insn_cnt = sizeof(code) / sizeof(*code),
		.license = (uintptr_t)"GPL",
	};
	int fd = bpf(BPF_PROG_LOAD, &attr);

	if (fd < 0)
		err(1, "program");
	return fd;
}

static void attach(int program, const char *iface)
{
	union bpf_attr attr = {
		.link_create = {
			.prog_fd = program,
			.target_ifindex = if_nametoindex(iface),
			.attach_type = BPF_XDP,
			.flags = XDP_FLAGS_DRV_MODE,
		},
	};

	if (!attr.link_create.target_ifindex)
		err(1, "%s", iface);
	if (bpf(BPF_LINK_CREATE, &attr) < 0)
		err(1, "%s: XDP in the driver", iface);
}

int main(int argc, char **argv)
{
	pid_t keeper;

	if (argc != 3)
		errx(2, "usage: see the head of bench-xdp.c");
	attach(load(verdict(argv[2])), argv[1]);
	/* The link lives as long as a process has it open. */
	keeper = fork();
	if (keeper < 0)
		err(1, "fork");
	if (keeper) {
		printf("%d\n", keeper);
		return 0;
	}
	/* Whoever reads the number would wait for the end of this process's output as well. */
	close(STDOUT_FILENO);
	close(STDERR_FILENO);
	setsid();
	pause();
	return 0;
}
