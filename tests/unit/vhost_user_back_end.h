/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vhost-user back end for tests, in a thread of its own: answers as the protocol has it, writes
 * down what it is told, and does one thing wrong if it is asked to.
 *
 *	back_end_start(&back_end, socket) ... back_end_heard() ... back_end_join()
 *
 * What it can is set before it starts.  It ends when the front end hangs up, or when it has done
 * what it was to do wrong.
 */
#ifndef TESTS_UNIT_VHOST_USER_BACK_END_H
#define TESTS_UNIT_VHOST_USER_BACK_END_H

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "hv/vhost_user_message.h"

/* What it does wrong, at the request that it is told to. */
enum back_end_fault {
	FAULT_NONE,
	FAULT_SILENT,	     /* Never answers, and stays. */
	FAULT_LEAVES,	     /* Hangs up instead of answering. */
	FAULT_HALF,	     /* Hangs up in the middle of the answer. */
	FAULT_REFUSES,	     /* The acknowledgement says no. */
	FAULT_SHORT,	     /* An answer of four bytes, */
	FAULT_LONG,	     /* of eight too many, */
	FAULT_HUGE,	     /* of 4 GiB. */
	FAULT_OTHER_REQUEST, /* An answer to something else, */
	FAULT_UNKNOWN,	     /* or to what does not exist. */
	FAULT_VERSION,	     /* Version 2 of the protocol. */
	FAULT_NO_REPLY_FLAG, /* As if it were a request. */
	FAULT_DESCRIPTOR,    /* A descriptor that nobody asked for, or none where one belongs. */
	FAULT_DESCRIPTORS,   /* Twelve of them. */
	FAULT_TWICE,	     /* The right answer, two times. */
	FAULTS,
};

enum { BACK_END_HEARD = 512 };

struct back_end_message {
	struct vhost_user_message message;
	unsigned int n_descriptors;
};

struct back_end {
	uint64_t features, protocol_features, n_queues, status;
	uint8_t config[VHOST_USER_CONFIG_BYTES];
	enum vhost_user_request fault_at;
	enum back_end_fault fault;
	/* Its own. */
	int socket;
	pthread_t thread;
	int channel;	 /* For its requests; -1. */
	int inflight_fd; /* As it gave it out, or was given it; -1. */
	atomic_uint n_heard;
	struct back_end_message heard[BACK_END_HEARD];
};

static inline void back_end_send(const struct back_end *back_end,
	const struct vhost_user_message *message, size_t bytes, unsigned int n_descriptors)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(12 * sizeof(int))];
	} control = {0};
	struct iovec vector = {(void *)message, bytes};
	struct msghdr out = {.msg_iov = &vector, .msg_iovlen = 1};
	int descriptors[12];

	for (unsigned int i = 0; i < n_descriptors; i++)
		descriptors[i] =
			back_end->inflight_fd >= 0 ? back_end->inflight_fd : back_end->socket;
	if (n_descriptors > 0) {
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(n_descriptors * sizeof(int));
		memcpy(CMSG_DATA(&control.header), descriptors, n_descriptors * sizeof(int));
		out.msg_control = &control;
		out.msg_controllen = CMSG_SPACE(n_descriptors * sizeof(int));
	}
	(void)!sendmsg(back_end->socket, &out, MSG_NOSIGNAL);
}

/* The right answer; false if there is none. */
static inline bool back_end_answer(struct back_end *back_end,
	const struct vhost_user_message *asked, struct vhost_user_message *answer)
{
	const struct vhost_user_request_type *type = vhost_user_request_type(asked->request);

	*answer = *asked;
	answer->flags = VHOST_USER_VERSION | VHOST_USER_REPLY;
	answer->bytes = sizeof(uint64_t);
	switch (asked->request) {
	case VHOST_USER_GET_FEATURES: answer->payload.value = back_end->features; return true;
	case VHOST_USER_GET_PROTOCOL_FEATURES:
		answer->payload.value = back_end->protocol_features;
		return true;
	case VHOST_USER_GET_QUEUE_NUM: answer->payload.value = back_end->n_queues; return true;
	case VHOST_USER_GET_STATUS: answer->payload.value = back_end->status; return true;
	case VHOST_USER_GET_VRING_BASE: answer->payload.state.number = 7; return true;
	case VHOST_USER_GET_CONFIG:
		answer->bytes = asked->bytes;
		memcpy(answer->payload.config.data, back_end->config, sizeof(back_end->config));
		return true;
	case VHOST_USER_GET_INFLIGHT_FD:
		answer->bytes = asked->bytes;
		answer->payload.inflight.bytes = 4096;
		if (back_end->inflight_fd < 0)
			back_end->inflight_fd = memfd_create("inflight", MFD_CLOEXEC);
		return true;
	default: answer->payload.value = 0; return type && (asked->flags & VHOST_USER_NEED_REPLY);
	}
}

/* The answer, made wrong.  False: hang up. */
static inline bool back_end_go_wrong(
	struct back_end *back_end, struct vhost_user_message *answer, unsigned int n_descriptors)
{
	size_t bytes = VHOST_USER_HEADER_BYTES + answer->bytes;

	switch (back_end->fault) {
	case FAULT_LEAVES: return false;
	case FAULT_HALF: back_end_send(back_end, answer, bytes - 3, n_descriptors); return false;
	case FAULT_REFUSES: answer->payload.value = 1; break;
	case FAULT_SHORT: answer->bytes = 4; break;
	case FAULT_LONG: answer->bytes += 8; break;
	case FAULT_HUGE: answer->bytes = UINT32_MAX; break;
	case FAULT_OTHER_REQUEST: answer->request = VHOST_USER_SET_OWNER + 1; break;
	case FAULT_UNKNOWN: answer->request = 77777; break;
	case FAULT_VERSION: answer->flags = 2 | VHOST_USER_REPLY; break;
	case FAULT_NO_REPLY_FLAG: answer->flags = VHOST_USER_VERSION; break;
	case FAULT_DESCRIPTOR: n_descriptors = !n_descriptors; break;
	case FAULT_DESCRIPTORS: n_descriptors = 12; break;
	case FAULT_TWICE: back_end_send(back_end, answer, bytes, n_descriptors); break;
	default: break;
	}
	if (back_end->fault == FAULT_LONG)
		bytes += 8;
	back_end_send(back_end, answer, bytes, n_descriptors);
	return true;
}

/* Keeps what came along and is of use, closes the rest. */
static inline void back_end_keep(struct back_end *back_end, struct vhost_user_reader *reader)
{
	int *kept = reader->message.request == VHOST_USER_SET_BACKEND_REQ_FD ? &back_end->channel
		    : reader->message.request == VHOST_USER_SET_INFLIGHT_FD ? &back_end->inflight_fd
									    : NULL;

	if (!kept || reader->n_descriptors != 1)
		return;
	if (*kept >= 0)
		close(*kept);
	*kept = reader->descriptors[0];
	reader->descriptors[0] = -1;
}

static inline bool back_end_serve(struct back_end *back_end, struct vhost_user_reader *reader)
{
	struct vhost_user_message answer;
	struct back_end_message *heard;
	unsigned int n_descriptors = reader->message.request == VHOST_USER_GET_INFLIGHT_FD;
	bool answers;

	heard = &back_end->heard[atomic_load(&back_end->n_heard) % BACK_END_HEARD];
	heard->message = reader->message;
	heard->n_descriptors = reader->n_descriptors;
	atomic_fetch_add(&back_end->n_heard, 1);
	if (reader->message.request == VHOST_USER_SET_STATUS)
		back_end->status = reader->message.payload.value;
	back_end_keep(back_end, reader);
	answers = back_end_answer(back_end, &reader->message, &answer);
	if (back_end->fault != FAULT_NONE && back_end->fault_at == reader->message.request) {
		if (back_end->fault == FAULT_SILENT)
			return true;
		return answers ? back_end_go_wrong(back_end, &answer, n_descriptors)
			       : back_end->fault != FAULT_LEAVES;
	}
	if (answers)
		back_end_send(
			back_end, &answer, VHOST_USER_HEADER_BYTES + answer.bytes, n_descriptors);
	return true;
}

static inline void *back_end_run(void *back_end_)
{
	struct back_end *back_end = back_end_;
	struct vhost_user_reader reader = {.have = 0};
	struct pollfd at = {back_end->socket, POLLIN, 0};
	int result = 0;

	while (result >= 0 && poll(&at, 1, -1) == 1) {
		result = vhost_user_message_receive(back_end->socket, &reader, NULL);
		if (result <= 0)
			continue;
		if (!back_end_serve(back_end, &reader))
			result = -1;
		vhost_user_reader_reset(&reader);
	}
	vhost_user_reader_reset(&reader);
	shutdown(back_end->socket, SHUT_RDWR);
	return NULL;
}

static inline void back_end_start(struct back_end *back_end, int socket)
{
	back_end->socket = socket;
	back_end->channel = -1;
	back_end->inflight_fd = -1;
	atomic_store(&back_end->n_heard, 0);
	assert_int_equal(pthread_create(&back_end->thread, NULL, back_end_run, back_end), 0);
}

/* Goes, if it has not yet. */
static inline void back_end_join(struct back_end *back_end)
{
	shutdown(back_end->socket, SHUT_RDWR);
	pthread_join(back_end->thread, NULL);
	close(back_end->socket);
	if (back_end->channel >= 0)
		close(back_end->channel);
	if (back_end->inflight_fd >= 0)
		close(back_end->inflight_fd);
}

/* The last that was said of this request for this ring (if it is of one); NULL if nothing was. */
static inline const struct back_end_message *back_end_heard(
	struct back_end *back_end, enum vhost_user_request request, int ring)
{
	for (unsigned int i = atomic_load(&back_end->n_heard); i-- > 0;) {
		const struct back_end_message *heard = &back_end->heard[i];

		if (heard->message.request == request &&
			(ring < 0 || heard->message.payload.state.index == (uint32_t)ring))
			return heard;
	}
	return NULL;
}

/* How often. */
static inline unsigned int back_end_times(
	struct back_end *back_end, enum vhost_user_request request)
{
	unsigned int n = atomic_load(&back_end->n_heard), times = 0;

	for (unsigned int i = 0; i < n; i++)
		times += back_end->heard[i].message.request == request;
	return times;
}

#endif
