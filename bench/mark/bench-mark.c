// SPDX-License-Identifier: GPL-2.0
/*
 * Runs one workload in the guest between two markers for the plugin tcg-count.
 *
 *   bench-mark pktgen TAG SETTLE_MS BURSTS PAUSE_MS IFACE COUNT FLOWS
 *       Starts pktgen BURSTS times for COUNT packets from an interface that it knows. The UDP source
 *       port goes on from one burst to the next, until there were FLOWS of them. FLOWS of 0 leaves
 *       it to what pktgen was told.
 *   bench-mark lso TAG SETTLE_MS BURSTS PAUSE_MS IFACE COUNT DST_MAC SRC_IP DST_IP MSS PAYLOAD
 *       Sends COUNT TCP segments of PAYLOAD bytes for the NIC to cut into pieces of MSS bytes,
 *       BURSTS times. Sequence numbers continue from one to the next, so that the receiver can merge
 *       them.
 *   bench-mark report TAG
 *       Only the second marker, for all that has happened since the last one.
 *
 * Nothing but the workload happens between the markers: no other program is started. After each burst
 * the kernel has had no work from any NIC for PAUSE_MS, and for SETTLE_MS before the second marker, so
 * that no completion or packet is still on its way. A burst that is over before its first interrupt
 * comes costs the same number of interrupts and polls however fast the machine is.
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
#define PKTGEN "/proc/net/pktgen/"
#define FIRST_PORT 1024UL

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

static void write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	ssize_t done;

	if (fd < 0)
		err(1, "%s", path);
	done = write(fd, text, strlen(text));
	if (done < 0 || (size_t)done != strlen(text))
		err(1, "write to %s", path);
	close(fd);
}

/* One burst from an interface. On a slow machine "start" returns before pktgen's thread has begun. */
static void start_pktgen(const char *status, unsigned long count)
{
	char text[64];
	unsigned int tries = 0;

	/* This also replaces the word about the last burst, which is looked for below. */
	snprintf(text, sizeof(text), "count %lu\n", count);
	write_text(status, text);
	write_text(PKTGEN "pgctrl", "start\n");
	while (!find(status, "usec,")) {
		if (++tries > MAX_TRIES)
			errx(1, "%s: pktgen does not end", status);
		settle(POLL_MS);
	}
	if (!find(status, "Result: OK"))
		errx(1, "%s: pktgen has failed", status);
}

static void first_flow(const char *status, unsigned long number)
{
	char text[64];

	snprintf(text, sizeof(text), "udp_src_min %lu\n", FIRST_PORT + number);
	write_text(status, text);
}

/* What both workloads are told of their time. */
struct plan {
	unsigned int tag;
	unsigned long settle_ms, bursts, pause_ms, count;
	const char *iface;
};

static struct plan read_plan(char **arg)
{
	return (struct plan){
		.tag = number(arg[0], 1, TAG_MAX),
		.settle_ms = number(arg[1], 0, 60000),
		.bursts = number(arg[2], 1, 100000),
		.pause_ms = number(arg[3], 0, 60000),
		.iface = arg[4],
		.count = number(arg[5], 1, 10000000),
	};
}

static int pktgen(char **arg)
{
	struct plan plan = read_plan(arg);
	unsigned long flows = number(arg[6], 0, 60000), burst;
	char status[sizeof(PKTGEN) + IFNAMSIZ];

	snprintf(status, sizeof(status), PKTGEN "%s", plan.iface);
	marker(TAG_RESTART);
	for (burst = 0; burst < plan.bursts; burst++) {
		if (flows)
			first_flow(status, burst * plan.count % flows);
		start_pktgen(status, plan.count);
		wait_quiet(plan.pause_ms);
	}
	wait_quiet(plan.settle_ms);
	marker(plan.tag);
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
	struct ether_addr *mac = ether_aton(arg[6]);
	size_t tcp_len = sizeof(f->tcp) + payload;

	if (!mac)
		errx(2, "%s: not a MAC address", arg[6]);
	memcpy(f->eth.ether_dhost, mac, ETH_ALEN);
	strncpy(request.ifr_name, arg[4], IFNAMSIZ - 1);
	if (ioctl(fd, SIOCGIFHWADDR, &request))
		err(1, "%s", arg[4]);
	memcpy(f->eth.ether_shost, request.ifr_hwaddr.sa_data, ETH_ALEN);
	f->eth.ether_type = htons(ETHERTYPE_IP);

	f->ip = (struct iphdr){
		.version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_TCP,
		.frag_off = htons(IP_DF), .tot_len = htons(sizeof(f->ip) + tcp_len),
		.saddr = address(arg[7]), .daddr = address(arg[8]),
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
	struct plan plan = read_plan(arg);
	size_t mss = number(arg[9], 100, 9000), payload = number(arg[10], 1, MAX_PAYLOAD);
	size_t len = offsetof(struct frame, payload) + payload;
	unsigned long burst, sent, sequence = 1;
	int fd = open_packet_socket(plan.iface);

	fill_frame(&frame, fd, arg, mss, payload);
	marker(TAG_RESTART);
	for (burst = 0; burst < plan.bursts; burst++) {
		for (sent = 0; sent < plan.count; sent++) {
			frame.tcp.seq = htonl(sequence);
			sequence += payload;
			if (send(fd, &frame, len, 0) < 0)
				err(1, "segment %lu of burst %lu", sent, burst);
		}
		wait_quiet(plan.pause_ms);
	}
	wait_quiet(plan.settle_ms);
	marker(plan.tag);
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
	if (argc == 9 && !strcmp(argv[1], "pktgen"))
		return pktgen(argv + 2);
	if (argc == 13 && !strcmp(argv[1], "lso"))
		return lso(argv + 2);
	errx(2, "usage: see the head of bench-mark.c");
}
