/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vhost-user protocol's messages as a front end says and hears them: one table, and how a
 * message gets through a socket.
 *
 * A message is a header of three words and a payload whose length the request fixes; descriptors
 * come with it.  What a back end says is held to the table before anybody looks at it: the request
 * that was asked, flagged as an answer of version 1, of the right length, with as many descriptors
 * as belong there.  Descriptors that nobody asked for are closed.
 *
 * No state but the reader's, which the caller owns.  Sockets are non-blocking byte streams.
 */
#ifndef HV_VHOST_USER_MESSAGE_H
#define HV_VHOST_USER_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hv/error.h"

enum vhost_user_request {
	VHOST_USER_GET_FEATURES = 1,
	VHOST_USER_SET_FEATURES = 2,
	VHOST_USER_SET_OWNER = 3,
	VHOST_USER_SET_MEM_TABLE = 5,
	VHOST_USER_SET_VRING_NUM = 8,
	VHOST_USER_SET_VRING_ADDR = 9,
	VHOST_USER_SET_VRING_BASE = 10,
	VHOST_USER_GET_VRING_BASE = 11,
	VHOST_USER_SET_VRING_KICK = 12,
	VHOST_USER_SET_VRING_CALL = 13,
	VHOST_USER_GET_PROTOCOL_FEATURES = 15,
	VHOST_USER_SET_PROTOCOL_FEATURES = 16,
	VHOST_USER_GET_QUEUE_NUM = 17,
	VHOST_USER_SET_VRING_ENABLE = 18,
	VHOST_USER_SEND_RARP = 19,
	VHOST_USER_NET_SET_MTU = 20,
	VHOST_USER_SET_BACKEND_REQ_FD = 21,
	VHOST_USER_GET_CONFIG = 24,
	VHOST_USER_SET_CONFIG = 25,
	VHOST_USER_GET_INFLIGHT_FD = 31,
	VHOST_USER_SET_INFLIGHT_FD = 32,
	VHOST_USER_RESET_DEVICE = 34,
	VHOST_USER_SET_STATUS = 39,
	VHOST_USER_GET_STATUS = 40,
};

/* Requests of the back end's, on a channel of their own. */
enum vhost_user_back_end_request {
	VHOST_USER_BACK_END_CONFIG_CHANGED = 2,
};

/* Bits of the protocol's features, those that are used here. */
enum vhost_user_protocol_feature {
	VHOST_USER_PROTOCOL_MQ = 0,
	VHOST_USER_PROTOCOL_RARP = 2,
	VHOST_USER_PROTOCOL_REPLY_ACK = 3,
	VHOST_USER_PROTOCOL_NET_MTU = 4,
	VHOST_USER_PROTOCOL_BACKEND_REQ = 5,
	VHOST_USER_PROTOCOL_CONFIG = 9,
	VHOST_USER_PROTOCOL_INFLIGHT_SHMFD = 12,
	VHOST_USER_PROTOCOL_RESET_DEVICE = 13,
	VHOST_USER_PROTOCOL_STATUS = 16,
};

/* Among the virtio features: the back end knows protocol features. */
#define VHOST_USER_F_PROTOCOL_FEATURES (UINT64_C(1) << 30)

enum {
	VHOST_USER_VERSION = 1,
	VHOST_USER_VERSION_MASK = 3,
	VHOST_USER_REPLY = 4,
	VHOST_USER_NEED_REPLY = 8,
	VHOST_USER_NO_DESCRIPTOR = 1 << 8, /* In the payload of KICK and CALL. */
	VHOST_USER_HEADER_BYTES = 12,
	VHOST_USER_CONFIG_BYTES = 256,
	VHOST_USER_CONFIG_HEADER_BYTES = 12,
	VHOST_USER_REGIONS = 8,
	VHOST_USER_DESCRIPTORS = 8,
};

struct vhost_user_ring_state {
	uint32_t index, number;
};

struct vhost_user_ring_address {
	uint32_t index, flags;
	uint64_t descriptors, used, available, log;
};

struct vhost_user_region {
	uint64_t guest_address, bytes, user_address, offset;
};

struct vhost_user_memory {
	uint32_t n, padding;
	struct vhost_user_region regions[VHOST_USER_REGIONS];
};

struct vhost_user_config {
	uint32_t offset, bytes, flags;
	uint8_t data[VHOST_USER_CONFIG_BYTES];
};

struct vhost_user_inflight {
	uint64_t bytes, offset;
	uint16_t n_queues, queue_size;
} __attribute__((packed));

/* As it goes over the socket, in this host's byte order. */
struct vhost_user_message {
	uint32_t request, flags, bytes;
	union {
		uint64_t value;
		struct vhost_user_ring_state state;
		struct vhost_user_ring_address address;
		struct vhost_user_memory memory;
		struct vhost_user_config config;
		struct vhost_user_inflight inflight;
	} payload;
} __attribute__((packed));

/* A row of the table: what a request is. */
struct vhost_user_request_type {
	enum vhost_user_request request;
	const char *name;
	uint16_t payload_bytes;	    /* Of what we say; the least of it for the two of CONFIG. */
	uint16_t answer_bytes;	    /* 0: none, or an acknowledgement if REPLY_ACK is agreed. */
	uint8_t descriptors;	    /* That go with what we say, at most. */
	uint8_t answer_descriptors; /* That come with the answer. */
	int8_t protocol_feature;    /* Without which it is not said; or -1. */
};

/* The row of `request`, or NULL. */
const struct vhost_user_request_type *vhost_user_request_type(uint32_t request);

/* The request's name for a sentence; "an unknown request" if it is not in the table. */
const char *vhost_user_request_name(uint32_t request);

/* Sends a message with `n` descriptors.  0; -EAGAIN if the socket is full; or a negative errno:
 * hang up. */
int vhost_user_message_send(int socket, const struct vhost_user_message *message,
	const int *descriptors, unsigned int n);

/* A message on its way in, and what came with it.  All zeros is ready for the next. */
struct vhost_user_reader {
	struct vhost_user_message message;
	size_t have;
	unsigned int n_descriptors;
	int descriptors[VHOST_USER_DESCRIPTORS];
};

/*
 * Takes what is there of the next message, and not a byte of the one after it: 1 if it is whole; 0
 * if more has to come.  Or a negative errno and a sentence, and hang up: -ECONNRESET if the other
 * side is gone, -EBADMSG for a length or descriptors that no message has.
 */
int vhost_user_message_receive(
	int socket, struct vhost_user_reader *reader, struct hv_error *error);

/* Closes the descriptors that nobody took out of the reader, and makes it ready for the next. */
void vhost_user_reader_reset(struct vhost_user_reader *reader);

/*
 * Holds a whole message to what was asked: 0, or -EBADMSG and a sentence.  `bytes`: the payload's
 * length that belongs to the answer (8 for an acknowledgement).  GET_CONFIG's may also be without
 * data: refused.
 */
int vhost_user_answer_check(const struct vhost_user_reader *reader,
	const struct vhost_user_request_type *asked, uint32_t bytes, struct hv_error *error);

#endif
