/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A wire that is one end of a veth: a packet socket in the namespace that the end is in.  Called by
 * main.c, on the program's one thread.
 */
#include "stations.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { RECEIVE_BUFFER_BYTES = 8 << 20, FRAMES_AT_ONCE = 256 };

static bool kernel_send(struct wire *wire, const uint8_t *frame, size_t bytes)
{
	return send(wire->socket, frame, bytes, MSG_DONTWAIT) == (ssize_t)bytes;
}

static void kernel_close(struct wire *wire)
{
	close(wire->socket);
	wire->socket = -1;
}

static const struct wire_kind kernel_kind = {kernel_send, kernel_close};

/* The kernel takes a tag out of the frame and tells it beside it (packet(7), PACKET_AUXDATA): puts
 * it back.  `frame` has room for it. */
static size_t restore_tag(struct msghdr *message, uint8_t *frame, size_t bytes)
{
	for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part != NULL;
		part = CMSG_NXTHDR(message, part)) {
		struct tpacket_auxdata auxiliary;

		if (part->cmsg_level != SOL_PACKET || part->cmsg_type != PACKET_AUXDATA)
			continue;
		memcpy(&auxiliary, CMSG_DATA(part), sizeof(auxiliary));
		if (!(auxiliary.tp_status & TP_STATUS_VLAN_VALID) || bytes < 12)
			continue;
		memmove(frame + 16, frame + 12, bytes - 12);
		frame[12] = 0x81;
		frame[13] = 0x00;
		frame[14] = (uint8_t)(auxiliary.tp_vlan_tci >> 8);
		frame[15] = (uint8_t)auxiliary.tp_vlan_tci;
		return bytes + 4;
	}
	return bytes;
}

static void kernel_receive(void *wire_)
{
	struct wire *wire = wire_;
	uint8_t frame[2048 + 4];
	char control[CMSG_SPACE(sizeof(struct tpacket_auxdata))];

	for (unsigned int i = 0; i < FRAMES_AT_ONCE && wire->open; i++) {
		struct sockaddr_ll from;
		struct iovec data = {.iov_base = frame, .iov_len = sizeof(frame) - 4};
		struct msghdr message = {.msg_name = &from,
			.msg_namelen = sizeof(from),
			.msg_iov = &data,
			.msg_iovlen = 1,
			.msg_control = control,
			.msg_controllen = sizeof(control)};
		ssize_t bytes = recvmsg(wire->socket, &message, MSG_DONTWAIT);

		if (bytes < 0)
			return;
		if (from.sll_pkttype != PACKET_OUTGOING)
			ledger_receive(wire, frame, restore_tag(&message, frame, (size_t)bytes));
	}
}

/* A socket of another namespace. */
static int socket_in(const char *netns)
{
	int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	int there = open(netns, O_RDONLY | O_CLOEXEC);
	int result = -errno;

	if (home >= 0 && there >= 0 && setns(there, CLONE_NEWNET) == 0) {
		result = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (result < 0)
			result = -errno;
		if (setns(home, CLONE_NEWNET) != 0)
			abort(); /* Everything that follows would be in the wrong place. */
	}
	if (home >= 0)
		close(home);
	if (there >= 0)
		close(there);
	return result;
}

/* Binds the socket to a device of its namespace. */
static int bind_to(int fd, const char *device)
{
	const int yes = 1, room = RECEIVE_BUFFER_BYTES;
	struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
	struct ifreq request = {0};

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", device);
	if (ioctl(fd, SIOCGIFINDEX, &request) != 0)
		return -errno;
	address.sll_ifindex = request.ifr_ifindex;
	if (setsockopt(fd, SOL_PACKET, PACKET_AUXDATA, &yes, sizeof(yes)) != 0 ||
		setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)) != 0 ||
		bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
		return -errno;
	return 0;
}

int kernel_wire_open(struct wire *wire, const char *netns, const char *device)
{
	int fd = socket_in(netns);

	if (fd < 0)
		return fd;
	int result = bind_to(fd, device);
	if (result != 0) {
		close(fd);
		return result;
	}
	wire->socket = fd;
	wire->kind = &kernel_kind;
	wire->watch = (struct watch){kernel_receive, wire};
	watch_add(wire->soak, fd, &wire->watch);
	return 0;
}
