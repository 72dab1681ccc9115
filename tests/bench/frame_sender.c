/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sends UDP frames on two network devices at once, each other's replies, as fast as the kernel
 * takes them.  Run by the bench's case kernel-ports; one thread.
 *
 *	frame_sender A B FLOWS BYTES SECONDS
 *
 * A and B are NAMESPACE,DEVICE,MAC,IPV4.  Flow f has port 10000 + f on A's side and 2000 on B's.
 * Prints one JSON object: the frames that the devices took.  Who wants to know how many arrived
 * reads the receiving devices' counters.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ether.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <linux/if_packet.h>

enum { N_SIDES = 2, BURST = 64 };
enum { FLOWS_MAX = 50000, BYTES_MIN = 60, BYTES_MAX = 1514 };
enum { ETHERNET_BYTES = 14, IP4_BYTES = 20, UDP_AT = ETHERNET_BYTES + IP4_BYTES };
enum { FIRST_PORT = 10000, SERVICE_PORT = 2000 };

struct side {
	int socket;
	struct ether_addr mac;
	struct in_addr address;
	uint8_t *frames; /* One of each flow. */
	unsigned int next;
	uint64_t sent;
};

struct load {
	struct side sides[N_SIDES];
	unsigned int flows, bytes, seconds;
};

static void die(const char *what, const char *value)
{
	fprintf(stderr, "frame_sender: %s %s: %s\n", what, value, strerror(errno));
	exit(1);
}

static unsigned int number_of(
	const char *name, const char *text, unsigned int least, unsigned int most)
{
	char *end;
	unsigned long number = strtoul(text, &end, 10);

	if (*end || end == text || number < least || number > most) {
		fprintf(stderr, "frame_sender: %s %s: give a number from %u to %u\n", name, text,
			least, most);
		exit(2);
	}
	return (unsigned int)number;
}

/* A socket stays in the namespace that it was made in. */
static void enter_namespace(const char *name)
{
	char path[200];
	int file;

	snprintf(path, sizeof(path), "/run/netns/%s", name);
	file = open(path, O_RDONLY | O_CLOEXEC);
	if (file < 0 || setns(file, CLONE_NEWNET) < 0)
		die("namespace", name);
	close(file);
}

/* Protocol 0: it sends, and receives nothing. */
static int open_socket(const char *device)
{
	const int yes = 1;
	struct sockaddr_ll address = {.sll_family = AF_PACKET};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

	if (fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &yes, sizeof(yes)) < 0)
		die("raw socket for", device);
	address.sll_ifindex = (int)if_nametoindex(device);
	if (!address.sll_ifindex ||
		bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		die("device", device);
	return fd;
}

static void side_open(struct side *side, char *text)
{
	const char *namespace = strsep(&text, ","), *device = strsep(&text, ",");
	const char *mac = strsep(&text, ","), *address = text;

	if (!address || !ether_aton_r(mac, &side->mac) ||
		inet_pton(AF_INET, address, &side->address) != 1) {
		fprintf(stderr, "frame_sender: a side is NAMESPACE,DEVICE,MAC,IPV4\n");
		exit(2);
	}
	enter_namespace(namespace);
	side->socket = open_socket(device);
}

static void store16(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static uint32_t add_up(uint32_t sum, const uint8_t *at, unsigned int bytes)
{
	for (unsigned int i = 0; i < bytes; i += 2)
		sum += (uint32_t)at[i] << 8 | at[i + 1];
	return sum;
}

static uint32_t checksum_of(uint32_t sum)
{
	sum = (sum >> 16) + (sum & 0xffff);
	sum = (sum >> 16) + (sum & 0xffff);
	return ~sum & 0xffff;
}

static void write_frame(uint8_t *frame, const struct side *from, const struct side *to,
	unsigned int bytes, uint32_t source_port, uint32_t destination_port)
{
	uint8_t *ip = frame + ETHERNET_BYTES, *udp = frame + UDP_AT;
	uint32_t udp_bytes = bytes - UDP_AT, checksum;

	memcpy(frame, &to->mac, ETH_ALEN);
	memcpy(frame + ETH_ALEN, &from->mac, ETH_ALEN);
	store16(frame + 12, ETHERTYPE_IP);
	ip[0] = 0x45;
	store16(ip + 2, bytes - ETHERNET_BYTES);
	ip[6] = 0x40; /* Don't fragment. */
	ip[8] = 64;
	ip[9] = IPPROTO_UDP;
	memcpy(ip + 12, &from->address, 4);
	memcpy(ip + 16, &to->address, 4);
	store16(ip + 10, checksum_of(add_up(0, ip, IP4_BYTES)));
	store16(udp, source_port);
	store16(udp + 2, destination_port);
	store16(udp + 4, udp_bytes);
	/* The payload is zero. */
	checksum = checksum_of(add_up(add_up(IPPROTO_UDP + udp_bytes, ip + 12, 8), udp, 8));
	store16(udp + 6, checksum ? checksum : 0xffff);
}

static void make_frames(struct load *load, unsigned int number)
{
	struct side *from = &load->sides[number], *to = &load->sides[!number];

	from->frames = calloc(load->flows, load->bytes);
	if (!from->frames)
		die("frames", "memory");
	for (unsigned int flow = 0; flow < load->flows; flow++) {
		uint32_t ports[N_SIDES] = {FIRST_PORT + flow, SERVICE_PORT};

		write_frame(from->frames + (size_t)flow * load->bytes, from, to, load->bytes,
			ports[number], ports[!number]);
	}
}

static void send_burst(const struct load *load, struct side *side)
{
	struct mmsghdr messages[BURST] = {0};
	struct iovec parts[BURST];
	unsigned int flow = side->next;
	int sent;

	for (unsigned int i = 0; i < BURST; i++) {
		parts[i] = (struct iovec){side->frames + (size_t)flow * load->bytes, load->bytes};
		messages[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
		flow = flow + 1 == load->flows ? 0 : flow + 1;
	}
	sent = sendmmsg(side->socket, messages, BURST, MSG_DONTWAIT);
	if (sent < 0 && errno != EAGAIN && errno != ENOBUFS)
		die("sending", "a burst");
	if (sent <= 0)
		return;
	side->sent += (uint64_t)sent;
	side->next = (side->next + (unsigned int)sent) % load->flows;
}

static double seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	struct load load = {0};
	double begin;

	if (argc != 6) {
		fprintf(stderr, "usage: frame_sender A B FLOWS BYTES SECONDS, "
				"A and B being NAMESPACE,DEVICE,MAC,IPV4\n");
		return 2;
	}
	load.flows = number_of("FLOWS", argv[3], 1, FLOWS_MAX);
	load.bytes = number_of("BYTES", argv[4], BYTES_MIN, BYTES_MAX);
	load.seconds = number_of("SECONDS", argv[5], 1, 3600);
	for (unsigned int i = 0; i < N_SIDES; i++)
		side_open(&load.sides[i], argv[1 + i]);
	for (unsigned int i = 0; i < N_SIDES; i++)
		make_frames(&load, i);
	begin = seconds_now();
	while (seconds_now() < begin + load.seconds)
		for (unsigned int i = 0; i < N_SIDES; i++)
			send_burst(&load, &load.sides[i]);
	printf("{\"seconds\": %.4f, \"a_to_b\": %" PRIu64 ", \"b_to_a\": %" PRIu64 "}\n",
		seconds_now() - begin, load.sides[0].sent, load.sides[1].sent);
	return 0;
}
