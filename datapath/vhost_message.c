/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a guest's VMM may say to librte_vhost.  Called by port_vhost.c and vhost_device.c on the
 * library's threads.
 */
#include "datapath/vhost_message.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "datapath/guest_memory.h"

/* A VMM sends a message in one piece.  Answers are smaller than what a socket holds, and are not
 * waited for: the library goes on if one cannot be sent, so each that is not read may cost this. */
enum { REST_OF_MESSAGE_MS = 500, ANSWER_MS = 1 };

/* --- Messages ----------------------------------------------------------------------------------
 */

/* The payload of SET_MEM_TABLE: this, then a struct shared_region for each. */
struct shared_table {
	uint32_t n, unused;
} __attribute__((packed));

struct shared_region {
	uint64_t base, bytes, user_base, offset;
} __attribute__((packed));

/* The payload of SET_LOG_BASE. */
struct shared_log {
	uint64_t bytes, offset;
} __attribute__((packed));

static const char *judge_memory(const struct vhost_message *message)
{
	struct shared_table table;

	memcpy(&table, message->payload, sizeof(table));
	if (table.n == 0 || table.n > GUEST_REGIONS_MAX)
		return "a number of memory regions that is not supported";
	if (message->bytes < sizeof(table) + table.n * sizeof(struct shared_region))
		return "fewer memory regions than it says";
	for (uint32_t i = 0; i < table.n; i++) {
		struct shared_region region;

		memcpy(&region, message->payload + sizeof(table) + i * sizeof(region),
			sizeof(region));
		if (region.bytes == 0 || region.base > UINT64_MAX - region.bytes ||
			region.user_base > UINT64_MAX - region.bytes)
			return "a memory region that is empty or wraps around";
	}
	return NULL;
}

/* The library maps the log from the offset on, and adds the offset once more when it writes. */
static const char *judge_log(const struct vhost_message *message)
{
	struct shared_log log;

	memcpy(&log, message->payload, sizeof(log));
	return log.offset != 0 ? "a migration log that does not begin its file" : NULL;
}

/* What gets to the library, and how long it is at least. */
static const struct rule {
	uint32_t request;
	uint32_t least_bytes;
	const char *(*judge)(const struct vhost_message *message);
} rules[] = {
	{VHOST_MESSAGE_GET_FEATURES, 0, NULL},
	{VHOST_MESSAGE_SET_FEATURES, 8, NULL},
	{VHOST_MESSAGE_SET_OWNER, 0, NULL},
	{VHOST_MESSAGE_RESET_OWNER, 0, NULL},
	{VHOST_MESSAGE_SET_MEM_TABLE, sizeof(struct shared_table), judge_memory},
	{VHOST_MESSAGE_SET_LOG_BASE, sizeof(struct shared_log), judge_log},
	{VHOST_MESSAGE_SET_LOG_FD, 0, NULL},
	{VHOST_MESSAGE_SET_VRING_NUM, 8, NULL},
	{VHOST_MESSAGE_SET_VRING_ADDR, 40, NULL},
	{VHOST_MESSAGE_SET_VRING_BASE, 8, NULL},
	{VHOST_MESSAGE_GET_VRING_BASE, 8, NULL},
	{VHOST_MESSAGE_SET_VRING_KICK, 8, NULL},
	{VHOST_MESSAGE_SET_VRING_CALL, 8, NULL},
	{VHOST_MESSAGE_SET_VRING_ERR, 8, NULL},
	{VHOST_MESSAGE_GET_PROTOCOL_FEATURES, 0, NULL},
	{VHOST_MESSAGE_SET_PROTOCOL_FEATURES, 8, NULL},
	{VHOST_MESSAGE_GET_QUEUE_NUM, 0, NULL},
	{VHOST_MESSAGE_SET_VRING_ENABLE, 8, NULL},
	{VHOST_MESSAGE_SEND_RARP, 8, NULL},
	{VHOST_MESSAGE_NET_SET_MTU, 8, NULL},
	{VHOST_MESSAGE_SET_BACKEND_REQ_FD, 0, NULL},
	{VHOST_MESSAGE_SET_STATUS, 8, NULL},
	{VHOST_MESSAGE_GET_STATUS, 0, NULL},
};

const char *vhost_message_refusal(const struct vhost_message *message)
{
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		if (rules[i].request != message->request)
			continue;
		if (message->bytes < rules[i].least_bytes)
			return "too short";
		return rules[i].judge != NULL ? rules[i].judge(message) : NULL;
	}
	return "not for a network card";
}

uint64_t vhost_message_features(uint64_t offered)
{
	enum { CRYPTO_SESSION = 7, PAGEFAULT = 8, CONFIG = 9, INFLIGHT_SHMFD = 12 };

	return offered & ~(UINT64_C(1) << CRYPTO_SESSION | UINT64_C(1) << PAGEFAULT |
				 UINT64_C(1) << CONFIG | UINT64_C(1) << INFLIGHT_SHMFD);
}

/* --- Descriptors ------------------------------------------------------------------------------ */

/* Connected, of a byte stream between processes, and waited for. */
static bool waits_for_a_peer(int descriptor)
{
	struct sockaddr_un peer;
	socklen_t peer_bytes = sizeof(peer), type_bytes = sizeof(int);
	int type, flags = fcntl(descriptor, F_GETFL);

	return flags >= 0 && !(flags & O_NONBLOCK) &&
	       getsockopt(descriptor, SOL_SOCKET, SO_TYPE, &type, &type_bytes) == 0 &&
	       type == SOCK_STREAM &&
	       getpeername(descriptor, (struct sockaddr *)&peer, &peer_bytes) == 0 &&
	       peer.sun_family == AF_UNIX;
}

int vhost_message_bound_waits(void)
{
	const struct timeval to_receive = {.tv_usec = REST_OF_MESSAGE_MS * 1000};
	const struct timeval to_send = {.tv_usec = ANSWER_MS * 1000};
	DIR *open_files = opendir("/proc/self/fd");
	const struct dirent *entry;
	int result = -ENOENT;

	if (open_files == NULL)
		return -errno;
	while ((entry = readdir(open_files)) != NULL) {
		int descriptor = atoi(entry->d_name);

		if (*entry->d_name == '.' || !waits_for_a_peer(descriptor))
			continue;
		if (setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &to_receive,
			    sizeof(to_receive)) == 0 &&
			setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &to_send,
				sizeof(to_send)) == 0)
			result = 0;
	}
	closedir(open_files);
	return result;
}

int vhost_message_call(int descriptor)
{
	char path[64], kind[64];

	if (descriptor < 0)
		return -1;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", descriptor);
	ssize_t n = readlink(path, kind, sizeof(kind) - 1);
	if (n < 0)
		return -1;
	kind[n] = '\0';
	if (strcmp(kind, "anon_inode:[eventfd]") != 0)
		return -1;
	int flags = fcntl(descriptor, F_GETFL);
	if (flags < 0 || fcntl(descriptor, F_SETFL, flags | O_NONBLOCK) != 0)
		return -1;
	return descriptor;
}
