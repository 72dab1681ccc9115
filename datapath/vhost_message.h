/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a guest's VMM says to librte_vhost, judged before the library obeys it.
 *
 * The library knows messages that no network card needs: memory for requests in flight, post-copy
 * migration, IOMMU updates, configuration space.  It does not always look whether a message is as
 * long as its handler reads, nor whether memory that a message names is as large as it says.  So
 * only what is in one table here gets to it, long enough, and with values that it handles rightly.
 *
 * All functions are called on librte_vhost's threads, when a VMM connects and for each message.
 */
#ifndef DATAPATH_VHOST_MESSAGE_H
#define DATAPATH_VHOST_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Requests of the vhost-user protocol, by its own numbers and names. */
enum vhost_request {
	VHOST_MESSAGE_GET_FEATURES = 1,
	VHOST_MESSAGE_SET_FEATURES = 2,
	VHOST_MESSAGE_SET_OWNER = 3,
	VHOST_MESSAGE_RESET_OWNER = 4,
	VHOST_MESSAGE_SET_MEM_TABLE = 5,
	VHOST_MESSAGE_SET_LOG_BASE = 6,
	VHOST_MESSAGE_SET_LOG_FD = 7,
	VHOST_MESSAGE_SET_VRING_NUM = 8,
	VHOST_MESSAGE_SET_VRING_ADDR = 9,
	VHOST_MESSAGE_SET_VRING_BASE = 10,
	VHOST_MESSAGE_GET_VRING_BASE = 11,
	VHOST_MESSAGE_SET_VRING_KICK = 12,
	VHOST_MESSAGE_SET_VRING_CALL = 13,
	VHOST_MESSAGE_SET_VRING_ERR = 14,
	VHOST_MESSAGE_GET_PROTOCOL_FEATURES = 15,
	VHOST_MESSAGE_SET_PROTOCOL_FEATURES = 16,
	VHOST_MESSAGE_GET_QUEUE_NUM = 17,
	VHOST_MESSAGE_SET_VRING_ENABLE = 18,
	VHOST_MESSAGE_SEND_RARP = 19,
	VHOST_MESSAGE_NET_SET_MTU = 20,
	VHOST_MESSAGE_SET_BACKEND_REQ_FD = 21,
	VHOST_MESSAGE_SET_STATUS = 39,
	VHOST_MESSAGE_GET_STATUS = 40,
};

/* A message as the library shows it: the header, then `bytes` of payload. */
struct vhost_message {
	uint32_t request, flags, bytes;
	uint8_t payload[];
} __attribute__((packed));

/* Why a message must not get to the library, in a few words for the log; NULL if it may. */
const char *vhost_message_refusal(const struct vhost_message *message);

/* The protocol's features, of those that the library offers, whose messages are let through. */
uint64_t vhost_message_features(uint64_t offered);

/* Bounds how long the library waits for a VMM that has just been connected to: one thread of it
 * serves all guests, and waits for the rest of a message, or until an answer is read.  The library
 * does not tell which descriptor it is, so this is done for all blocking connections by UNIX
 * sockets; the switch itself has none.  Returns 0, or -ENOENT if there was none. */
int vhost_message_bound_waits(void);

/* The descriptor by which a guest is interrupted, if it is one that a worker may write to without
 * waiting: an eventfd, which is made non-blocking.  Else -1. */
int vhost_message_call(int descriptor);

#endif
