/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of vhost-user messages, and their way through a socket.  Called by vhost_user.c with
 * the machine's lock held, on any thread.
 */
#include "hv/vhost_user_message.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

_Static_assert(offsetof(struct vhost_user_message, payload) == VHOST_USER_HEADER_BYTES,
	"the header is three words");

enum {
	NO_FEATURE = -1,
	VALUE = sizeof(uint64_t),
	STATE = sizeof(struct vhost_user_ring_state),
	ADDRESS = sizeof(struct vhost_user_ring_address),
	MEMORY = 8,				 /* And 32 for each region. */
	CONFIG = VHOST_USER_CONFIG_HEADER_BYTES, /* And the data. */
	INFLIGHT = sizeof(struct vhost_user_inflight),
};

#define ROW(name)   VHOST_USER_##name, #name
#define NEEDS(name) VHOST_USER_PROTOCOL_##name

static const struct vhost_user_request_type types[] = {
	/* request and name, payload, answer, descriptors there and back, protocol feature */
	{ROW(GET_FEATURES), 0, VALUE, 0, 0, NO_FEATURE},
	{ROW(SET_FEATURES), VALUE, 0, 0, 0, NO_FEATURE},
	{ROW(SET_OWNER), 0, 0, 0, 0, NO_FEATURE},
	{ROW(SET_MEM_TABLE), MEMORY, 0, VHOST_USER_REGIONS, 0, NO_FEATURE},
	{ROW(SET_VRING_NUM), STATE, 0, 0, 0, NO_FEATURE},
	{ROW(SET_VRING_ADDR), ADDRESS, 0, 0, 0, NO_FEATURE},
	{ROW(SET_VRING_BASE), STATE, 0, 0, 0, NO_FEATURE},
	{ROW(GET_VRING_BASE), STATE, STATE, 0, 0, NO_FEATURE},
	{ROW(SET_VRING_KICK), VALUE, 0, 1, 0, NO_FEATURE},
	{ROW(SET_VRING_CALL), VALUE, 0, 1, 0, NO_FEATURE},
	{ROW(GET_PROTOCOL_FEATURES), 0, VALUE, 0, 0, NO_FEATURE},
	{ROW(SET_PROTOCOL_FEATURES), VALUE, 0, 0, 0, NO_FEATURE},
	{ROW(GET_QUEUE_NUM), 0, VALUE, 0, 0, NEEDS(MQ)},
	{ROW(SET_VRING_ENABLE), STATE, 0, 0, 0, NO_FEATURE},
	{ROW(SEND_RARP), VALUE, 0, 0, 0, NEEDS(RARP)},
	{ROW(NET_SET_MTU), VALUE, 0, 0, 0, NEEDS(NET_MTU)},
	{ROW(SET_BACKEND_REQ_FD), 0, 0, 1, 0, NEEDS(BACKEND_REQ)},
	{ROW(GET_CONFIG), CONFIG, CONFIG, 0, 0, NEEDS(CONFIG)},
	{ROW(SET_CONFIG), CONFIG, 0, 0, 0, NEEDS(CONFIG)},
	{ROW(GET_INFLIGHT_FD), INFLIGHT, INFLIGHT, 0, 1, NEEDS(INFLIGHT_SHMFD)},
	{ROW(SET_INFLIGHT_FD), INFLIGHT, 0, 1, 0, NEEDS(INFLIGHT_SHMFD)},
	{ROW(RESET_DEVICE), 0, 0, 0, 0, NEEDS(RESET_DEVICE)},
	{ROW(SET_STATUS), VALUE, 0, 0, 0, NEEDS(STATUS)},
	{ROW(GET_STATUS), 0, VALUE, 0, 0, NEEDS(STATUS)},
};

const struct vhost_user_request_type *vhost_user_request_type(uint32_t request)
{
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (types[i].request == request)
			return &types[i];
	}
	return NULL;
}

const char *vhost_user_request_name(uint32_t request)
{
	const struct vhost_user_request_type *type = vhost_user_request_type(request);

	return type ? type->name : "an unknown request";
}

/* --- Out -------------------------------------------------------------------------------------- */

/* Room for the most descriptors of a message, aligned as the kernel wants it. */
union control {
	struct cmsghdr header;
	char room[CMSG_SPACE(VHOST_USER_DESCRIPTORS * sizeof(int))];
};

int vhost_user_message_send(int socket, const struct vhost_user_message *message,
	const int *descriptors, unsigned int n)
{
	struct iovec bytes = {(void *)message, VHOST_USER_HEADER_BYTES + message->bytes};
	union control control = {0};
	struct msghdr out = {.msg_iov = &bytes, .msg_iovlen = 1};
	ssize_t sent;

	if (n > VHOST_USER_DESCRIPTORS || message->bytes > sizeof(message->payload))
		return -EINVAL;
	if (n > 0) {
		control.header = (struct cmsghdr){
			.cmsg_level = SOL_SOCKET,
			.cmsg_type = SCM_RIGHTS,
			.cmsg_len = CMSG_LEN(n * sizeof(int)),
		};
		memcpy(CMSG_DATA(&control.header), descriptors, n * sizeof(int));
		out.msg_control = &control;
		out.msg_controllen = CMSG_SPACE(n * sizeof(int));
	}
	do
		sent = sendmsg(socket, &out, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (sent < 0 && errno == EINTR);
	if (sent < 0)
		return errno == EWOULDBLOCK ? -EAGAIN : -errno;
	/* A message is smaller than what the kernel keeps in one piece. */
	return (size_t)sent == bytes.iov_len ? 0 : -EMSGSIZE;
}

/* --- In --------------------------------------------------------------------------------------- */

void vhost_user_reader_reset(struct vhost_user_reader *reader)
{
	for (unsigned int i = 0; i < reader->n_descriptors; i++) {
		if (reader->descriptors[i] >= 0)
			close(reader->descriptors[i]);
	}
	reader->n_descriptors = 0;
	reader->have = 0;
	memset(&reader->message, 0, sizeof(reader->message));
}

/* Keeps what came along, or closes what is too much.  False if it was. */
static bool keep_descriptors(struct vhost_user_reader *reader, struct msghdr *in)
{
	bool all = !(in->msg_flags & MSG_CTRUNC);

	for (struct cmsghdr *at = CMSG_FIRSTHDR(in); at; at = CMSG_NXTHDR(in, at)) {
		size_t n = (at->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (at->cmsg_level != SOL_SOCKET || at->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int descriptor;

			memcpy(&descriptor, CMSG_DATA(at) + i * sizeof(int), sizeof(int));
			if (reader->n_descriptors < VHOST_USER_DESCRIPTORS)
				reader->descriptors[reader->n_descriptors++] = descriptor;
			else {
				close(descriptor);
				all = false;
			}
		}
	}
	return all;
}

/* What is still missing of the header, or of the whole once the header is there. */
static size_t missing(const struct vhost_user_reader *reader)
{
	if (reader->have < VHOST_USER_HEADER_BYTES)
		return VHOST_USER_HEADER_BYTES - reader->have;
	return VHOST_USER_HEADER_BYTES + reader->message.bytes - reader->have;
}

/* Some bytes more: 1, 0 if there are none now, or a negative errno. */
static int receive_some(int socket, struct vhost_user_reader *reader, struct hv_error *error)
{
	struct iovec room = {(uint8_t *)&reader->message + reader->have, missing(reader)};
	union control control = {0};
	struct msghdr in = {.msg_iov = &room,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control)};
	ssize_t got = recvmsg(socket, &in, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (got < 0)
		return hv_fail(error, ECONNRESET, "the connection broke: %s", strerror(errno));
	if (!keep_descriptors(reader, &in))
		return hv_fail(error, EBADMSG, "a message came with more than %d descriptors",
			VHOST_USER_DESCRIPTORS);
	if (got == 0)
		return hv_fail(error, ECONNRESET,
			reader->have ? "it hung up in the middle of a message" : "it hung up");
	reader->have += (size_t)got;
	return 1;
}

int vhost_user_message_receive(int socket, struct vhost_user_reader *reader, struct hv_error *error)
{
	int result;

	do {
		if (reader->have >= VHOST_USER_HEADER_BYTES && missing(reader) == 0)
			return 1;
		result = receive_some(socket, reader, error);
		if (result <= 0)
			return result;
	} while (reader->have < VHOST_USER_HEADER_BYTES ||
		 reader->message.bytes <= sizeof(reader->message.payload));
	return hv_fail(error, EBADMSG, "a message of %u bytes came, and none has more than %zu",
		reader->message.bytes, sizeof(reader->message.payload));
}

int vhost_user_answer_check(const struct vhost_user_reader *reader,
	const struct vhost_user_request_type *asked, uint32_t bytes, struct hv_error *error)
{
	const struct vhost_user_message *message = &reader->message;

	if (message->request != asked->request || !(message->flags & VHOST_USER_REPLY))
		return hv_fail(error, EBADMSG,
			"it was asked %s and said something else (request %u, flags %#x)",
			asked->name, message->request, message->flags);
	if ((message->flags & VHOST_USER_VERSION_MASK) != VHOST_USER_VERSION)
		return hv_fail(error, EBADMSG, "its answer to %s is of version %u of the protocol",
			asked->name, message->flags & VHOST_USER_VERSION_MASK);
	if (message->bytes != bytes &&
		!(asked->request == VHOST_USER_GET_CONFIG && message->bytes <= CONFIG))
		return hv_fail(error, EBADMSG, "its answer to %s has %u bytes instead of %u",
			asked->name, message->bytes, bytes);
	if (reader->n_descriptors != asked->answer_descriptors)
		return hv_fail(error, EBADMSG,
			"its answer to %s came with %u descriptors instead of %u", asked->name,
			reader->n_descriptors, asked->answer_descriptors);
	return 0;
}
