/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A wire that is a guest: the VMM's side of vhost-user (QEMU, docs/interop/vhost-user.rst), which
 * makes the socket and tells the switch that connects where the guest's memory and rings are.
 * Called by main.c and traffic.c, on the program's one thread.
 */
#include "guest_wire.h"

#include <errno.h>
#include <linux/vhost_types.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { ANSWER_MS = 2000 };

enum request {
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
	GET_QUEUE_NUM = 17,
	SET_VRING_ENABLE = 18,
};

enum { PROTOCOL_VERSION = 1, FEATURE_PROTOCOL = 30, PROTOCOL_F_MQ = 0 };

struct message {
	uint32_t request, flags, bytes;
	union {
		uint64_t number;
		struct vhost_vring_state state;
		struct {
			uint32_t index, flags;
			uint64_t descriptors, used, available, log;
		} address;
		struct {
			uint32_t n, padding;
			uint64_t guest_address, size, user_address, offset;
		} memory;
	};
} __attribute__((packed));

enum { MESSAGE_HEADER_BYTES = 12 };

/* --- messages ------------------------------------------------------------------------------- */

/* Sends a message, with a descriptor if `fd` is one. */
static int say(const struct guest *guest, struct message *message, uint32_t bytes, int fd)
{
	char control[CMSG_SPACE(sizeof(fd))] = {0};
	struct iovec data = {.iov_base = message, .iov_len = MESSAGE_HEADER_BYTES + bytes};
	struct msghdr header = {.msg_iov = &data, .msg_iovlen = 1};

	message->flags = PROTOCOL_VERSION;
	message->bytes = bytes;
	if (fd >= 0) {
		header.msg_control = control;
		header.msg_controllen = sizeof(control);
		struct cmsghdr *part = CMSG_FIRSTHDR(&header);
		part->cmsg_level = SOL_SOCKET;
		part->cmsg_type = SCM_RIGHTS;
		part->cmsg_len = CMSG_LEN(sizeof(fd));
		memcpy(CMSG_DATA(part), &fd, sizeof(fd));
	}
	return sendmsg(guest->connection, &header, MSG_NOSIGNAL) == (ssize_t)data.iov_len ? 0
											  : -EPIPE;
}

static int say_number(const struct guest *guest, enum request request, uint64_t number, int fd)
{
	struct message message = {.request = request, .number = number};

	return say(guest, &message, sizeof(message.number), fd);
}

static int say_state(
	const struct guest *guest, enum request request, unsigned int ring, unsigned int number)
{
	struct message message = {.request = request, .state = {.index = ring, .num = number}};

	return say(guest, &message, sizeof(message.state), -1);
}

/* Asks for a number. */
static int ask(const struct guest *guest, enum request request, uint64_t *answer)
{
	struct message message = {.request = request};
	struct pollfd readable = {.fd = guest->connection, .events = POLLIN};

	if (say(guest, &message, 0, -1) != 0 || poll(&readable, 1, ANSWER_MS) != 1 ||
		recv(guest->connection, &message, sizeof(message), 0) !=
			MESSAGE_HEADER_BYTES + (ssize_t)sizeof(message.number) ||
		message.request != request)
		return -EPROTO;
	*answer = message.number;
	return 0;
}

/* --- the handshake -------------------------------------------------------------------------- */

static int agree_on_features(const struct guest *guest)
{
	const uint64_t wanted = UINT64_C(1) << VIRTIO_F_VERSION_1 |
				UINT64_C(1) << VIRTIO_NET_F_MRG_RXBUF |
				UINT64_C(1) << VIRTIO_NET_F_MQ | UINT64_C(1) << FEATURE_PROTOCOL;
	uint64_t offered, protocol;

	if (ask(guest, GET_FEATURES, &offered) != 0)
		return -EPROTO;
	if (offered & UINT64_C(1) << FEATURE_PROTOCOL &&
		(ask(guest, GET_PROTOCOL_FEATURES, &protocol) != 0 ||
			say_number(guest, SET_PROTOCOL_FEATURES, protocol & 1u << PROTOCOL_F_MQ,
				-1) != 0))
		return -EPROTO;
	struct message owner = {.request = SET_OWNER};
	if (say(guest, &owner, 0, -1) != 0)
		return -EPIPE;
	return say_number(guest, SET_FEATURES, offered & wanted, -1);
}

static int tell_memory(const struct guest *guest)
{
	struct message message = {.request = SET_MEM_TABLE,
		.memory = {.n = 1,
			.guest_address = GUEST_BASE,
			.size = guest->memory_bytes,
			.user_address = GUEST_BASE}};

	return say(guest, &message, sizeof(message.memory), guest->memory_fd);
}

static int tell_ring(const struct guest *guest, unsigned int i)
{
	const struct guest_ring *ring = &guest->rings[i];
	uint64_t at = GUEST_BASE + (uint64_t)(ring->memory - guest->memory);
	struct message message = {.request = SET_VRING_ADDR,
		.address = {.index = i,
			.descriptors = at,
			.available = at + AVAILABLE_OFFSET,
			.used = at + USED_OFFSET}};

	if (say_state(guest, SET_VRING_NUM, i, RING_SIZE) != 0 ||
		say_state(guest, SET_VRING_BASE, i, guest_ring_base(ring)) != 0 ||
		say(guest, &message, sizeof(message.address), -1) != 0 ||
		say_number(guest, SET_VRING_CALL, i, ring->call) != 0 ||
		say_number(guest, SET_VRING_KICK, i, ring->kick) != 0)
		return -EPIPE;
	return say_state(guest, SET_VRING_ENABLE, i, 1);
}

static int shake_hands(const struct guest *guest)
{
	if (agree_on_features(guest) != 0 || tell_memory(guest) != 0)
		return -EPROTO;
	for (unsigned int i = 0; i < guest->n_rings; i++) {
		if (tell_ring(guest, i) != 0)
			return -EPIPE;
	}
	return 0;
}

/* --- the connection ------------------------------------------------------------------------- */

static void disconnect(struct guest *guest)
{
	if (guest->connection >= 0)
		close(guest->connection);
	guest->connection = -1;
}

/* The switch says nothing by itself: what can be read is its end. */
static void connection_ready(void *guest_)
{
	struct guest *guest = guest_;
	char rest[256];

	if (guest->connection >= 0 &&
		recv(guest->connection, rest, sizeof(rest), MSG_DONTWAIT) <= 0)
		disconnect(guest);
}

static void switch_connects(void *wire_)
{
	struct wire *wire = wire_;
	struct guest *guest = wire->guest;
	int connection = accept4(wire->socket, NULL, NULL, SOCK_CLOEXEC);

	if (connection < 0)
		return;
	disconnect(guest);
	guest->connection = connection;
	if (shake_hands(guest) != 0) {
		disconnect(guest);
		return;
	}
	guest->connection_watch = (struct watch){connection_ready, guest};
	watch_add(wire->soak, connection, &guest->connection_watch);
}

static void ring_called(void *ring_)
{
	struct guest_ring *ring = ring_;
	eventfd_t calls;

	(void)eventfd_read(ring->call, &calls);
	if (ring->receives)
		guest_ring_receive(ring);
}

static bool guest_send(struct wire *wire, const uint8_t *frame, size_t bytes)
{
	struct guest *guest = wire->guest;
	unsigned int pair = guest->next_queue++ % (guest->n_rings / 2);

	return guest->connection >= 0 && guest_ring_send(&guest->rings[2 * pair + 1], frame, bytes);
}

/* --- life ----------------------------------------------------------------------------------- */

/* As when a VMM dies: nothing is said. */
static void guest_close(struct wire *wire)
{
	struct guest *guest = wire->guest;

	disconnect(guest);
	close(wire->socket);
	unlink(guest->path);
	for (unsigned int i = 0; i < guest->n_rings; i++) {
		/* The switch has it too, so closing does not end the watch. */
		watch_remove(wire->soak, guest->rings[i].call);
		close(guest->rings[i].kick);
		close(guest->rings[i].call);
	}
	munmap(guest->memory, guest->memory_bytes);
	close(guest->memory_fd);
	free(guest);
	wire->guest = NULL;
}

static const struct wire_kind guest_kind = {guest_send, guest_close};

static int make_memory(struct guest *guest)
{
	guest->memory_bytes = (size_t)guest->n_rings * RING_REGION;
	guest->memory_fd = memfd_create("soak-guest", MFD_CLOEXEC);
	if (guest->memory_fd < 0 || ftruncate(guest->memory_fd, (off_t)guest->memory_bytes) != 0)
		return -errno;
	guest->memory = mmap(
		NULL, guest->memory_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, guest->memory_fd, 0);
	return guest->memory == MAP_FAILED ? -errno : 0;
}

static void make_rings(struct guest *guest)
{
	for (unsigned int i = 0; i < guest->n_rings; i++) {
		struct guest_ring *ring = &guest->rings[i];

		ring->guest = guest;
		ring->memory = guest->memory + (size_t)i * RING_REGION;
		ring->receives = i % 2 == 0;
		ring->kick = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		ring->call = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		ring->call_watch = (struct watch){ring_called, ring};
		watch_add(guest->wire->soak, ring->call, &ring->call_watch);
		guest_ring_reset(ring);
	}
}

static int listen_at(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	unlink(path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
		listen(fd, 4) != 0) {
		int error = -errno;

		if (fd >= 0)
			close(fd);
		return error;
	}
	return fd;
}

int guest_wire_open(struct wire *wire, const char *path, unsigned int queue_pairs)
{
	struct guest *guest = calloc(1, sizeof(*guest));

	if (guest == NULL)
		return -ENOMEM;
	guest->wire = wire;
	guest->connection = -1;
	guest->n_rings = 2 * queue_pairs;
	snprintf(guest->path, sizeof(guest->path), "%s", path);
	int result = make_memory(guest);
	if (result != 0)
		goto free_guest;
	wire->socket = listen_at(path);
	if (wire->socket < 0) {
		result = wire->socket;
		munmap(guest->memory, guest->memory_bytes);
		goto free_guest;
	}
	make_rings(guest);
	wire->guest = guest;
	wire->kind = &guest_kind;
	wire->watch = (struct watch){switch_connects, wire};
	watch_add(wire->soak, wire->socket, &wire->watch);
	return 0;

free_guest:
	if (guest->memory_fd >= 0)
		close(guest->memory_fd);
	free(guest);
	return result;
}

bool guest_wire_is_connected(const struct wire *wire)
{
	return wire->guest->connection >= 0;
}
