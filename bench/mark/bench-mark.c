// SPDX-License-Identifier: GPL-2.0
/*
 * Runs one workload in the guest between two markers for the plugin tcg-count.
 *
 *   bench-mark window TAG SETTLE_MS FILE TEXT STATUS WORD
 *       Writes TEXT to FILE and waits until the file STATUS contains WORD. On a slow machine the
 *       write that starts pktgen returns before its thread has begun.
 *   bench-mark lso TAG SETTLE_MS IFACE DST_MAC SRC_IP DST_IP MSS PAYLOAD COUNT
 *       Sends COUNT TCP segments of PAYLOAD bytes for the NIC to cut into pieces of MSS bytes.
 *       Sequence numbers continue from one to the next, so that the receiver can merge them.
 *   bench-mark report TAG
 *       Only the second marker, for all that has happened since the last one.
 *
 * Nothing but the workload happens between the markers: no other program is started. The second
 * marker waits for completions and packets that are still on their way, until the kernel has had no
 * work from any NIC for SETTLE_MS.
 */

#include <arpa/inet.h>
#include <err.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ether.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define TAG_RESTART 0
#define TAG_MAX 8
#define MAX_PAYLOAD 65000
#define POLL_MS 20
#define MAX_TRIES 3000
#define MAX_SETTLES 100

/* The tag is part of the instruction, so every tag needs an instruction of its own. */
#define MARKER(tag) __asm__ volatile(".byte 0x0f, 0x1f, 0x84, 0x00, " #tag ", 0x49, 0x43, 0x50")

static void marker(unsigned int tag)
{
	switch (tag) {
	case TAG_RESTART: MARKER(0); break;
	case 1: MARKER(1); break;
	case 2: MARKER(2); break;
	case 3: MARKER(3); break;
	case 4: MARKER(4); break;
	case 5: MARKER(5); break;
	case 6: MARKER(6); break;
	case 7: MARKER(7); break;
	case TAG_MAX: MARKER(8); break;
	}
}

static unsigned long number(const char *text, unsigned long min, unsigned long max)
{
	char *end;
	unsigned long value;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || end == text || *end || value < min || value > max)
		errx(2, "%s: not a number from %lu to %lu", text, min, max);
	return value;
}

static void settle(unsigned long ms)
{
	struct timespec left = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

	while (nanosleep(&left, &left) && errno == EINTR)
		;
}

/* Finds a word in the first few kilobytes of a file; the answer holds until the next call. */
static const char *find(const char *path, const char *word)
{
	static char text[8192];
	int fd = open(path, O_RDONLY);
	ssize_t len;

	if (fd < 0)
		err(1, "%s", path);
	len = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (len < 0)
		err(1, "%s", path);
	text[len] = 0;
	return strstr(text, word);
}

/* How often NICs have had work for the kernel, on all processors. */
static unsigned long polls(void)
{
	const char *at = find("/proc/softirqs", "NET_RX:");
	unsigned long sum = 0, one;
	char *end;

	if (!at)
		errx(1, "/proc/softirqs does not tell of NET_RX");
	at += strlen("NET_RX:");
	/* The line after it begins with a word. */
	for (one = strtoul(at, &end, 10); end != at; one = strtoul(at, &end, 10)) {
		sum += one;
		at = end;
	}
	return sum;
}

/* Waits until that has not happened for so long. On a busy machine packets are late. */
static void wait_quiet(unsigned long ms)
{
	unsigned long before, after = polls();
	unsigned int tries = 0;

	do {
		if (++tries > MAX_SETTLES)
			errx(1, "the NICs are never quiet for %lu ms", ms);
		before = after;
		settle(ms);
		after = polls();
	} while (after != before);
}

static int window(char **arg)
{
	unsigned int tag = number(arg[0], 1, TAG_MAX), tries = 0;
	unsigned long ms = number(arg[1], 0, 60000);
	size_t len = strlen(arg[3]);
	int fd = open(arg[2], O_WRONLY);
	ssize_t done;

	if (fd < 0)
		err(1, "%s", arg[2]);
	marker(TAG_RESTART);
	done = write(fd, arg[3], len);
	if (done < 0 || (size_t)done != len)
		err(1, "write to %s", arg[2]);
	while (!find(arg[4], arg[5])) {
		if (++tries > MAX_TRIES)
			errx(1, "%s does not say %s", arg[4], arg[5]);
		settle(POLL_MS);
	}
	wait_quiet(ms);
	marker(tag);
	close(fd);
	return 0;
}

/* What a packet socket with PACKET_VNET_HDR takes. */
struct frame {
	struct virtio_net_hdr vnet;
	struct ether_header eth;
	struct iphdr ip;
	struct tcphdr tcp;
	char payload[MAX_PAYLOAD];
} __attribute__((packed));

static uint32_t add_words(uint32_t sum, const void *data, size_t len)
{
	const unsigned char *byte = data;
	size_t i;

	for (i = 0; i + 1 < len; i += 2)
		sum += byte[i] << 8 | byte[i + 1];
	return sum;
}

static uint16_t fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static in_addr_t address(const char *text)
{
	struct in_addr addr;

	if (inet_pton(AF_INET, text, &addr) != 1)
		errx(2, "%s: not an IPv4 address", text);
	return addr.s_addr;
}

/* Fills in everything that stays the same from one segment to the next. */
static void fill_frame(struct frame *f, int fd, char **arg, size_t mss, size_t payload)
{
	struct ifreq request = { 0 };
	struct ether_addr *mac = ether_aton(arg[3]);
	size_t tcp_len = sizeof(f->tcp) + payload;

	if (!mac)
		errx(2, "%s: not a MAC address", arg[3]);
	memcpy(f->eth.ether_dhost, mac, ETH_ALEN);
	strncpy(request.ifr_name, arg[2], IFNAMSIZ - 1);
	if (ioctl(fd, SIOCGIFHWADDR, &request))
		err(1, "%s", arg[2]);
	memcpy(f->eth.ether_shost, request.ifr_hwaddr.sa_data, ETH_ALEN);
	f->eth.ether_type = htons(ETHERTYPE_IP);

	f->ip = (struct iphdr){
		.version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_TCP,
		.frag_off = htons(IP_DF), .tot_len = htons(sizeof(f->ip) + tcp_len),
		.saddr = address(arg[4]), .daddr = address(arg[5]),
	};
	f->ip.check = htons(~fold(add_words(0, &f->ip, sizeof(f->ip))));
	f->tcp = (struct tcphdr){
		.source = htons(40000), .dest = htons(40001), .doff = 5, .ack = 1,
		.window = htons(65535),
	};
	/* The NIC completes the checksum; it starts from that of the pseudo header. */
	f->tcp.check = htons(fold(add_words(IPPROTO_TCP + tcp_len, &f->ip.saddr, 8)));

	f->vnet = (struct virtio_net_hdr){
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = payload > mss ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_NONE,
		.gso_size = payload > mss ? mss : 0,
		.hdr_len = sizeof(f->eth) + sizeof(f->ip) + sizeof(f->tcp),
		.csum_start = sizeof(f->eth) + sizeof(f->ip),
		.csum_offset = offsetof(struct tcphdr, check),
	};
}

static int open_packet_socket(const char *iface)
{
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_ifindex = if_nametoindex(iface) };
	/* Protocol 0: the socket only sends. */
	int fd = socket(AF_PACKET, SOCK_RAW, 0);
	int on = 1, buffer = 4 << 20;

	if (fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)) ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof(buffer)))
		err(1, "packet socket");
	if (!to.sll_ifindex || bind(fd, (struct sockaddr *)&to, sizeof(to)))
		err(1, "%s", iface);
	return fd;
}

static int lso(char **arg)
{
	static struct frame frame;
	unsigned int tag = number(arg[0], 1, TAG_MAX);
	unsigned long ms = number(arg[1], 0, 60000);
	size_t mss = number(arg[6], 100, 9000), payload = number(arg[7], 1, MAX_PAYLOAD);
	unsigned long count = number(arg[8], 1, 10000000), sent;
	size_t len = offsetof(struct frame, payload) + payload;
	int fd = open_packet_socket(arg[2]), error = 0;

	fill_frame(&frame, fd, arg, mss, payload);
	marker(TAG_RESTART);
	for (sent = 0; sent < count && !error; sent++) {
		frame.tcp.seq = htonl(1 + sent * payload);
		if (send(fd, &frame, len, 0) < 0)
			error = errno;
	}
	wait_quiet(ms);
	marker(tag);
	errno = error;
	if (error)
		err(1, "segment %lu", sent);
	close(fd);
	return 0;
}

static int report(char **arg)
{
	marker(number(arg[0], 1, TAG_MAX));
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "report"))
		return report(argv + 2);
	if (argc == 8 && !strcmp(argv[1], "window"))
		return window(argv + 2);
	if (argc == 11 && !strcmp(argv[1], "lso"))
		return lso(argv + 2);
	errx(2, "usage: see the head of bench-mark.c");
}
