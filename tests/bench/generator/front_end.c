/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vhost-user protocol, front end's side, as the QEMU project specifies it.  Called by side.c,
 * on the generator's one thread.  Negotiation blocks that thread: for some milliseconds, or until
 * the time-out if the device does not answer.
 */
#include "tests/bench/generator/front_end.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <linux/memfd.h>

enum vhost_request {
	GET_FEATURES = 1,
	SET_FEATURES = 2,
	SET_OWNER = 3,
	SET_MEM_TABLE = 5,
	SET_VRING_NUM = 8,
	SET_VRING_ADDR = 9,
	SET_VRING_BASE = 10,
	SET_VRING_KICK = 12,
	SET_VRING_CALL = 13,
	GET_PROTOCOL_FEATURES = 15,
	SET_PROTOCOL_FEATURES = 16,
	SET_VRING_ENABLE = 18,
};

/* Ring numbers, from the guest's view. */
enum { RX_RING = 0, TX_RING = 1 };

enum { FLAG_VERSION = 1, FLAG_REPLY = 4, FLAG_NEED_REPLY = 8 };
enum { VHOST_USER_F_PROTOCOL_FEATURES = 30, PROTOCOL_REPLY_ACK = 3 };
enum { ANSWER_SECONDS = 5, HUGEPAGE_BYTES = 2 << 20 };

/* Where the guest would see its memory: another place than ours, to tell the two apart. */
#define GUEST_MEMORY_AT 0x100000000ull

struct vhost_message {
	uint32_t request, flags, bytes;
	union {
		uint64_t number;
		struct {
			uint32_t ring, number;
		} state;
		struct {
			uint32_t ring, flags;
			uint64_t desc, used, avail, log;
		} address;
		struct {
			uint32_t n_regions, padding;
			uint64_t guest, bytes, user, offset;
		} memory;
	};
} __attribute__((packed));

enum { MESSAGE_HEADER_BYTES = offsetof(struct vhost_message, number) };

/* --- Messages ------------------------------------------------------------------------------- */

static int send_message(struct front_end *front_end, struct vhost_message *message, int fd)
{
	struct iovec iov = {message, MESSAGE_HEADER_BYTES + message->bytes};
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr header;
	} control = {{0}};
	struct msghdr header = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd >= 0) {
		header.msg_control = &control;
		header.msg_controllen = sizeof(control);
		control.header = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)),
			.cmsg_level = SOL_SOCKET,
			.cmsg_type = SCM_RIGHTS};
		memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
	}
	if (sendmsg(front_end->fd, &header, MSG_NOSIGNAL) != (ssize_t)iov.iov_len)
		return errno ? -errno : -EIO;
	return 0;
}

/* The answer to a request: one number in all that are used here. */
static int receive_number(struct front_end *front_end, uint32_t request, uint64_t *number)
{
	struct vhost_message answer;
	const size_t bytes = MESSAGE_HEADER_BYTES + sizeof(answer.number);

	if (recv(front_end->fd, &answer, bytes, MSG_WAITALL) != (ssize_t)bytes)
		return -EIO;
	if (answer.request != request || !(answer.flags & FLAG_REPLY) ||
		answer.bytes != sizeof(answer.number))
		return -EPROTO;
	*number = answer.number;
	return 0;
}

static int ask(struct front_end *front_end, uint32_t request, uint64_t *number)
{
	struct vhost_message message = {.request = request, .flags = FLAG_VERSION};
	int error = send_message(front_end, &message, -1);

	return error ? error : receive_number(front_end, request, number);
}

/* Sends, with a file descriptor unless it is -1, and asks whether it could be done. */
static int tell(struct front_end *front_end, struct vhost_message *message, int fd)
{
	uint64_t failed = 0;
	int error;

	message->flags = FLAG_VERSION | (front_end->reply_ack ? FLAG_NEED_REPLY : 0);
	error = send_message(front_end, message, fd);
	if (!error && front_end->reply_ack)
		error = receive_number(front_end, message->request, &failed);
	return failed ? -EPROTO : error;
}

static int tell_number(struct front_end *front_end, uint32_t request, uint64_t number, int fd)
{
	struct vhost_message message = {
		.request = request, .bytes = sizeof(message.number), .number = number};

	return tell(front_end, &message, fd);
}

static int tell_state(struct front_end *front_end, uint32_t request, uint32_t ring, uint32_t number)
{
	struct vhost_message message = {
		.request = request, .bytes = sizeof(message.state), .state = {ring, number}};

	return tell(front_end, &message, -1);
}

/* --- Negotiation ---------------------------------------------------------------------------- */

static int negotiate_features(struct front_end *front_end)
{
	const uint64_t protocol = 1ull << VHOST_USER_F_PROTOCOL_FEATURES;
	struct vhost_message owner = {.request = SET_OWNER};
	uint64_t offered, protocol_offered;
	int error = ask(front_end, GET_FEATURES, &offered);

	front_end->reply_ack = false;
	if (error)
		return error;
	if (!(offered & protocol))
		return -ENOTSUP;
	front_end->features = offered & (front_end->wanted | protocol);
	error = ask(front_end, GET_PROTOCOL_FEATURES, &protocol_offered);
	if (!error)
		error = tell_number(front_end, SET_PROTOCOL_FEATURES,
			protocol_offered & 1 << PROTOCOL_REPLY_ACK, -1);
	if (error)
		return error;
	front_end->reply_ack = protocol_offered >> PROTOCOL_REPLY_ACK & 1;
	error = tell(front_end, &owner, -1);
	return error ? error : tell_number(front_end, SET_FEATURES, front_end->features, -1);
}

static int offer_memory(struct front_end *front_end)
{
	struct vhost_message message = {.request = SET_MEM_TABLE,
		.bytes = sizeof(message.memory),
		.memory = {.n_regions = 1,
			.guest = GUEST_MEMORY_AT,
			.bytes = front_end->memory_bytes,
			.user = (uintptr_t)front_end->memory}};

	return tell(front_end, &message, front_end->memory_fd);
}

static int offer_ring(struct front_end *front_end, uint32_t number, struct ring *ring)
{
	struct vhost_message address = {.request = SET_VRING_ADDR,
		.bytes = sizeof(address.address),
		.address = {.ring = number,
			.desc = (uintptr_t)ring->desc,
			.used = (uintptr_t)ring->used,
			.avail = (uintptr_t)ring->avail}};
	int error = tell_state(front_end, SET_VRING_NUM, number, ring->mask + 1u);

	if (!error)
		error = tell_state(front_end, SET_VRING_BASE, number, ring->used->idx);
	if (!error)
		error = tell(front_end, &address, -1);
	if (!error)
		error = tell_number(front_end, SET_VRING_CALL, number, ring->call_fd);
	if (!error)
		error = tell_number(front_end, SET_VRING_KICK, number, ring->kick_fd);
	return error;
}

static int negotiate(struct front_end *front_end)
{
	int error = negotiate_features(front_end);

	if (!error)
		error = offer_memory(front_end);
	if (!error)
		error = offer_ring(front_end, RX_RING, &front_end->rx);
	if (!error)
		error = offer_ring(front_end, TX_RING, &front_end->tx);
	if (!error)
		error = tell_state(front_end, SET_VRING_ENABLE, RX_RING, 1);
	if (!error)
		error = tell_state(front_end, SET_VRING_ENABLE, TX_RING, 1);
	return error;
}

/* --- The connection ------------------------------------------------------------------------- */

static void disconnect(struct front_end *front_end)
{
	close(front_end->fd);
	front_end->fd = -1;
}

static void accept_device(struct front_end *front_end)
{
	const struct timeval limit = {.tv_sec = ANSWER_SECONDS};
	int error;

	front_end->fd = accept4(front_end->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	if (front_end->fd < 0)
		return;
	setsockopt(front_end->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	error = negotiate(front_end);
	if (error) {
		fprintf(stderr, "generator: the device on %s does not agree on vhost-user: %s\n",
			front_end->socket, strerror(-error));
		disconnect(front_end);
		return;
	}
	front_end->connections++;
}

bool front_end_poll(struct front_end *front_end)
{
	char byte;

	if (front_end->fd >= 0) {
		ssize_t n = recv(front_end->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

		if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
			return true;
		disconnect(front_end);
	}
	accept_device(front_end);
	return front_end->fd >= 0;
}

/* --- Opening -------------------------------------------------------------------------------- */

static int map_memory(struct front_end *front_end, size_t bytes, bool no_huge)
{
	front_end->memory_bytes = (bytes + HUGEPAGE_BYTES - 1) / HUGEPAGE_BYTES * HUGEPAGE_BYTES;
	front_end->memory_fd =
		memfd_create("generator", MFD_CLOEXEC | (no_huge ? 0 : MFD_HUGETLB | MFD_HUGE_2MB));
	if (front_end->memory_fd >= 0 &&
		ftruncate(front_end->memory_fd, (off_t)front_end->memory_bytes) == 0) {
		void *memory = mmap(NULL, front_end->memory_bytes, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_POPULATE, front_end->memory_fd, 0);

		if (memory != MAP_FAILED) {
			front_end->memory = memory;
			return 0;
		}
	}
	fprintf(stderr, "generator: no %zu MiB of %s for %s: %s; %s\n",
		front_end->memory_bytes >> 20, no_huge ? "memory" : "hugepages", front_end->socket,
		strerror(errno),
		no_huge ? "lower --queue" : "raise /proc/sys/vm/nr_hugepages, or use --no-huge");
	return -ENOMEM;
}

static int listen_at(struct front_end *front_end)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int error;

	front_end->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (strlen(front_end->socket) >= sizeof(address.sun_path)) {
		error = -ENAMETOOLONG;
	} else {
		strcpy(address.sun_path, front_end->socket);
		if (front_end->listen_fd >= 0 &&
			bind(front_end->listen_fd, (struct sockaddr *)&address, sizeof(address)) ==
				0 &&
			listen(front_end->listen_fd, 1) == 0)
			return 0;
		error = -errno;
	}
	fprintf(stderr, "generator: cannot listen on %s: %s\n", front_end->socket,
		strerror(-error));
	close(front_end->listen_fd);
	front_end->listen_fd = -1; /* The path may be somebody else's. */
	return error;
}

static int open_ring(struct ring *ring, const struct ring_shape *shape, uint8_t *memory,
	uint64_t guest, const char *name)
{
	int error = ring_init(ring, shape, memory, guest);

	if (!error) {
		ring->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		ring->call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (ring->kick_fd < 0 || ring->call_fd < 0)
			error = -errno;
	}
	if (error)
		fprintf(stderr, "generator: no %s ring of %u frames: %s\n", name, shape->frames,
			strerror(-error));
	return error;
}

int front_end_open(struct front_end *front_end, const struct front_end_setup *setup)
{
	size_t tx_bytes = ring_bytes(&setup->tx);
	int error;

	*front_end = FRONT_END_CLOSED;
	front_end->wanted = setup->features;
	front_end->socket = setup->socket;
	error = map_memory(front_end, tx_bytes + ring_bytes(&setup->rx), setup->no_huge);
	if (!error)
		error = open_ring(
			&front_end->tx, &setup->tx, front_end->memory, GUEST_MEMORY_AT, "transmit");
	if (!error)
		error = open_ring(&front_end->rx, &setup->rx, front_end->memory + tx_bytes,
			GUEST_MEMORY_AT + tx_bytes, "receive");
	if (!error)
		error = listen_at(front_end);
	return error;
}

void front_end_close(struct front_end *front_end)
{
	const int fds[] = {front_end->fd, front_end->memory_fd};

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	if (front_end->listen_fd >= 0) {
		close(front_end->listen_fd);
		unlink(front_end->socket);
	}
	if (front_end->memory)
		munmap(front_end->memory, front_end->memory_bytes);
	ring_free(&front_end->tx);
	ring_free(&front_end->rx);
	front_end->memory = NULL;
	front_end->fd = front_end->listen_fd = front_end->memory_fd = -1;
}
