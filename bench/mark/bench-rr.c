// SPDX-License-Identifier: GPL-2.0
/*
 * Requests and responses of one byte, one after the other.
 *
 *   bench-rr serve PORT
 *       Answers every byte on TCP and UDP port PORT. Returns as soon as it listens; a process of
 *       its own goes on.
 *   bench-rr tcp|udp ADDRESS PORT SECONDS
 *       Asks that long and prints JSON: the number of round trips, and their median and 99th
 *       percentile in microseconds. A datagram that is lost is asked again after LOST_MS and counted.
 */

#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_SAMPLES 1000000
#define LOST_MS 200

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

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static struct sockaddr_in address(const char *ip, const char *port)
{
	struct sockaddr_in at = {
		.sin_family = AF_INET,
		.sin_port = htons(number(port, 1, 65535)),
	};

	if (inet_pton(AF_INET, ip, &at.sin_addr) != 1)
		errx(2, "%s: not an IPv4 address", ip);
	return at;
}

static int bound(int type, const struct sockaddr_in *at)
{
	int fd = socket(AF_INET, type, 0), on = 1;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
	    bind(fd, (const struct sockaddr *)at, sizeof(*at)))
		err(1, "port %u", ntohs(at->sin_port));
	return fd;
}

static void no_delay(int fd)
{
	int on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

/* Answers one byte of a connection; false when it has ended. */
static int answer_tcp(int fd)
{
	char byte;

	return read(fd, &byte, 1) == 1 && write(fd, &byte, 1) == 1;
}

static void answer_udp(int fd)
{
	struct sockaddr_storage from;
	socklen_t len = sizeof(from);
	char byte;

	if (recvfrom(fd, &byte, 1, 0, (struct sockaddr *)&from, &len) == 1)
		sendto(fd, &byte, 1, 0, (struct sockaddr *)&from, len);
}

/* One connection at a time is served; a new one replaces it. */
static void serve_forever(int listener, int datagrams)
{
	struct pollfd fds[3] = {
		{ .fd = listener, .events = POLLIN },
		{ .fd = datagrams, .events = POLLIN },
		{ .fd = -1, .events = POLLIN },
	};

	while (poll(fds, 3, -1) > 0 || errno == EINTR) {
		if (fds[2].revents && !answer_tcp(fds[2].fd)) {
			close(fds[2].fd);
			fds[2].fd = -1;
		}
		if (fds[1].revents)
			answer_udp(datagrams);
		if (fds[0].revents) {
			close(fds[2].fd);
			fds[2].fd = accept(listener, NULL, NULL);
			no_delay(fds[2].fd);
		}
	}
}

static int serve(const char *port)
{
	struct sockaddr_in at = address("0.0.0.0", port);
	int listener = bound(SOCK_STREAM, &at), datagrams = bound(SOCK_DGRAM, &at);

	if (listen(listener, 1))
		err(1, "listen");
	if (daemon(0, 0))
		err(1, "daemon");
	serve_forever(listener, datagrams);
	return 1;
}

/* Makes one round trip; false when the answer did not come in time. */
static int ask(int fd)
{
	static char request;
	struct pollfd waiting = { .fd = fd, .events = POLLIN };
	char response;

	request++;
	if (write(fd, &request, 1) != 1)
		err(1, "request");
	/* The answer to a datagram that was given up may still come. */
	do {
		if (poll(&waiting, 1, LOST_MS) == 0)
			return 0;
		if (read(fd, &response, 1) != 1)
			err(1, "response");
	} while (response != request);
	return 1;
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static int measure(char **arg)
{
	static uint32_t taken[MAX_SAMPLES];
	int type = strcmp(arg[0], "tcp") ? SOCK_DGRAM : SOCK_STREAM;
	struct sockaddr_in at = address(arg[1], arg[2]);
	uint64_t end = now_ns() + number(arg[3], 1, 3600) * 1000000000ull;
	int fd = socket(AF_INET, type, 0);
	size_t count = 0, lost = 0;

	if (fd < 0 || connect(fd, (struct sockaddr *)&at, sizeof(at)))
		err(1, "connect");
	if (type == SOCK_STREAM)
		no_delay(fd);
	while (count < MAX_SAMPLES) {
		uint64_t start = now_ns();

		if (start >= end)
			break;
		if (ask(fd))
			taken[count++] = (now_ns() - start) / 100;
		else if (type == SOCK_DGRAM)
			lost++;
		else
			errx(1, "no answer");
	}
	if (!count)
		errx(1, "no round trip");
	qsort(taken, count, sizeof(*taken), compare);
	printf("{\"count\": %zu, \"lost\": %zu, \"median_us\": %.1f, \"p99_us\": %.1f}\n", count,
	       lost, taken[count / 2] / 10.0, taken[count * 99 / 100] / 10.0);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "serve"))
		return serve(argv[2]);
	if (argc == 5 && (!strcmp(argv[1], "tcp") || !strcmp(argv[1], "udp")))
		return measure(argv + 1);
	errx(2, "usage: see the head of bench-rr.c");
}
