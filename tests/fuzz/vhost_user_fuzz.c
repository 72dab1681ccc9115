/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as what a vhost-user back end says, on its connection and on its own channel, while the
 * driver starts and stops the device, rings change, and back ends come and go.  Beside the
 * sanitizers' findings, a promise of vhost_user.h that is broken ends the run: after a stop nobody
 * works the rings, and nothing stays open.
 *
 * An input is a row of acts, one byte each, with what they need behind it.  Among them are right
 * answers, without which a conversation would not get far.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hv/vhost_user.h"
#include "hv/vhost_user_private.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { RINGS = 3, SIZE = 16, MEMORY = 2 << 20, ACTS_MAX = 200, CONFIG = 24 };

#define BIT(number) (UINT64_C(1) << (number))

struct input {
	const uint8_t *at;
	size_t left;
};

/* The one front end of a run, and the other end of its sockets. */
static struct world {
	pthread_mutex_t lock;
	struct event_loop *loop;
	struct guest_memory memory;
	struct virtio_queue queues[RINGS];
	struct vhost_user *vhost;
	int peer;    /* The back end's end, or -1. */
	int channel; /* That it was given, or -1. */
	bool refuse, running, failed;
	uint8_t config[CONFIG];
} world = {.lock = PTHREAD_MUTEX_INITIALIZER, .peer = -1, .channel = -1};

static void require(bool promise)
{
	if (!promise)
		abort();
}

/* There is no socket here. */
int broker_listen(struct broker *broker, const char *path, struct hv_error *error)
{
	(void)broker;
	return hv_fail(error, EINVAL, "%s", path);
}

int broker_connect(struct broker *broker, const char *path, struct hv_error *error)
{
	(void)broker;
	return hv_fail(error, EINVAL, "%s", path);
}

/* --- The input -------------------------------------------------------------------------------- */

static uint8_t take_byte(struct input *input)
{
	if (input->left == 0)
		return 0;
	input->left--;
	return *input->at++;
}

static size_t take(struct input *input, void *to, size_t bytes)
{
	size_t n = bytes < input->left ? bytes : input->left;

	memcpy(to, input->at, n);
	input->at += n;
	input->left -= n;
	return n;
}

/* --- The owner -------------------------------------------------------------------------------- */

static int met(void *owner, struct hv_error *error)
{
	struct vhost_user_facts facts;

	(void)owner;
	vhost_user_facts(world.vhost, &facts);
	require(!facts.met && facts.n_queues > 0);
	memcpy(world.config, facts.config, CONFIG);
	return world.refuse ? hv_fail(error, EPROTO, "refused by the fuzzer") : 0;
}

static void started(void *owner, bool again)
{
	(void)owner;
	(void)again;
	require(!world.running);
	world.running = true;
}

static void left(void *owner)
{
	(void)owner;
	world.running = false;
}

static void config_changed(void *owner)
{
	struct vhost_user_facts facts;

	(void)owner;
	vhost_user_facts(world.vhost, &facts);
	require(memcmp(world.config, facts.config, CONFIG) != 0);
	memcpy(world.config, facts.config, CONFIG);
}

static void failed(void *owner, const char *reason)
{
	(void)owner;
	require(strlen(reason) > 0);
	world.failed = true;
}

static const struct vhost_user_events events = {met, started, left, config_changed, failed};

/* --- The back end ----------------------------------------------------------------------------- */

/* Takes what the front end has said, and the channel if it comes. */
static void drain(void)
{
	struct vhost_user_reader reader = {.have = 0};
	int result;

	if (world.peer < 0)
		return;
	while ((result = vhost_user_message_receive(world.peer, &reader, NULL)) == 1) {
		if (reader.message.request == VHOST_USER_SET_BACKEND_REQ_FD &&
			reader.n_descriptors == 1) {
			if (world.channel >= 0)
				close(world.channel);
			world.channel = reader.descriptors[0];
			reader.descriptors[0] = -1;
		}
		vhost_user_reader_reset(&reader);
	}
	vhost_user_reader_reset(&reader);
	if (result < 0) {
		close(world.peer);
		world.peer = -1;
	}
}

static void say(int socket, const void *bytes, size_t n, unsigned int n_descriptors)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(16 * sizeof(int))];
	} control = {0};
	struct iovec vector = {(void *)bytes, n};
	struct msghdr out = {.msg_iov = &vector, .msg_iovlen = 1};
	int descriptors[16];

	if (socket < 0 || n == 0)
		return;
	n_descriptors %= 16;
	for (unsigned int i = 0; i < n_descriptors; i++)
		descriptors[i] = world.memory.fd;
	if (n_descriptors > 0) {
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(n_descriptors * sizeof(int));
		memcpy(CMSG_DATA(&control.header), descriptors, n_descriptors * sizeof(int));
		out.msg_control = &control;
		out.msg_controllen = CMSG_SPACE(n_descriptors * sizeof(int));
	}
	(void)!sendmsg(socket, &out, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* An answer of the right form to `request`, with a payload of the input's. */
static void answer(struct input *input, uint32_t request, bool positive, unsigned int more)
{
	const struct vhost_user_request_type *type = vhost_user_request_type(request);
	struct vhost_user_message message = {
		.request = request, .flags = VHOST_USER_VERSION | VHOST_USER_REPLY};

	if (!type)
		return;
	message.bytes = type->answer_bytes ? type->answer_bytes : sizeof(uint64_t);
	if (request == VHOST_USER_GET_CONFIG) {
		message.payload.config.bytes = CONFIG;
		message.bytes += CONFIG;
		take(input, message.payload.config.data, CONFIG);
	} else if (positive && request == VHOST_USER_GET_INFLIGHT_FD) {
		message.payload.inflight.bytes = 4096;
	} else if (positive && request != VHOST_USER_GET_VRING_BASE) {
		message.payload.value = type->answer_bytes ? UINT64_MAX : 0;
	} else {
		take(input, &message.payload, type->answer_bytes);
	}
	say(world.peer, &message, VHOST_USER_HEADER_BYTES + message.bytes,
		type->answer_descriptors + more);
}

/* --- The event loop --------------------------------------------------------------------------- */

static void turns(void)
{
	struct event_source *sources[] = {&world.vhost->connection, &world.vhost->channel};

	for (unsigned int n = 0; n < 8; n++) {
		for (unsigned int i = 0; i < 2; i++) {
			struct pollfd at = {sources[i]->fd, POLLIN, 0};

			if (sources[i]->added && poll(&at, 1, 0) == 1)
				sources[i]->ready(sources[i], (uint32_t)at.revents);
		}
		drain();
	}
}

static void expire(void)
{
	struct event_source *timer = &world.vhost->timer;

	if (world.vhost->deadline_ms != 0)
		world.vhost->deadline_ms = 1;
	timer->ready(timer, POLLIN);
}

/* --- Acts ------------------------------------------------------------------------------------- */

static void plug(void)
{
	int ends[2];

	if (world.vhost->connection.added || world.peer >= 0)
		return;
	require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
	world.peer = ends[1];
	require(vhost_user_take(world.vhost, ends[0]) == 0);
}

static void unplug(void)
{
	if (world.peer >= 0)
		close(world.peer);
	world.peer = -1;
}

static void stop(struct input *input, bool answered)
{
	/* What is awaited, then a ring each, and what follows. */
	if (answered && world.peer >= 0) {
		struct vhost_user_message base = {VHOST_USER_GET_VRING_BASE,
			VHOST_USER_VERSION | VHOST_USER_REPLY, 8, .payload.value = 0};

		if (world.vhost->awaiting)
			answer(input, world.vhost->out.message.request, true, 0);
		for (uint32_t ring = 0; ring < RINGS; ring++) {
			base.payload.state.index = ring;
			if (world.queues[ring].enabled)
				say(world.peer, &base, VHOST_USER_HEADER_BYTES + 8, 0);
		}
		answer(input, VHOST_USER_RESET_DEVICE, true, 0);
		answer(input, VHOST_USER_SET_STATUS, true, 0);
	}
	vhost_user_stop(world.vhost);
	require(!world.vhost->told && !world.vhost->running && world.vhost->inflight_fd < 0);
	world.running = world.failed = false;
}

static void start(struct input *input)
{
	uint8_t which = take_byte(input);

	if (world.vhost->wanted)
		return;
	for (unsigned int i = 0; i < RINGS; i++)
		world.queues[i].enabled = !(which >> i & 1);
	vhost_user_start(
		world.vhost, BIT(32) | BIT(29), world.queues, RINGS, which & 128 ? 1500 : 0);
}

static void scribble(struct input *input)
{
	uint64_t address = (uint64_t)take_byte(input) * 16;
	uint8_t bytes[16];
	size_t n = take(input, bytes, sizeof(bytes));

	if (n > 0)
		guest_memory_write(&world.memory, 0x1000 + address, bytes, n);
}

static void act(struct input *input)
{
	static const uint8_t mac[6] = {2};
	uint8_t what = take_byte(input), bytes[300];
	size_t n;

	switch (what % 16) {
	case 0: plug(); break;
	case 1: start(input); break;
	case 2: stop(input, true); break;
	case 3: stop(input, false); break;
	case 4: unplug(); break;
	case 5: expire(); break;
	case 6:
		n = take(input, bytes, take_byte(input));
		say(world.peer, bytes, n, what / 16);
		break;
	case 7:
		n = take(input, bytes, take_byte(input));
		say(world.channel, bytes, n, what / 16);
		break;
	case 8: scribble(input); break;
	case 9: vhost_user_enable(world.vhost, what / 16u, take_byte(input) & 1); break;
	case 10: vhost_user_announce(world.vhost, mac); break;
	case 11:
		n = take(input, bytes, 8);
		(void)vhost_user_write_config(world.vhost, what, bytes, (unsigned int)n);
		break;
	case 12:
		if (world.vhost->awaiting)
			answer(input, world.vhost->out.message.request, false, what / 16);
		break;
	case 13: world.refuse = what & 16; break;
	default:
		/* Some right answers in a row. */
		for (unsigned int i = 0; i < 2u + what / 8 && world.vhost->awaiting; i++) {
			answer(input, world.vhost->out.message.request, true, 0);
			turns();
		}
	}
	turns();
}

/* --- A run ------------------------------------------------------------------------------------ */

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	/* Sentences for operators are written, to nobody. */
	stderr = fopen("/dev/null", "we");
	require(stderr != NULL && event_loop_create(&world.loop, &world.lock) == 0 &&
		guest_memory_create(&world.memory, MEMORY, GUEST_PAGES_SMALL, NULL) == 0);
	for (unsigned int i = 0; i < RINGS; i++)
		world.queues[i] = (struct virtio_queue){
			.memory = &world.memory,
			.size = SIZE,
			.descriptors = 0x10000,
			.available = 0x1000 + 0x400 * i,
			.used = 0x1200 + 0x400 * i,
			.notify_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
			.interrupt_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
		};
	return 0;
}

static int lowest_free_descriptor(void)
{
	int descriptor = dup(world.memory.fd);

	close(descriptor);
	return descriptor;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	const uint8_t flags = take_byte(&input);
	const struct vhost_user_setup setup = {
		.name = "fuzz0",
		.peer = "the fuzzer",
		.listens = true,
		.care = flags & 1 ? VHOST_USER_EXACT : VHOST_USER_MAY_LOSE,
		.needed_features = flags & 2 ? BIT(29) : 0,
		.protocol_features = flags & 4 ? UINT64_MAX : 0x22f,
		.config_bytes = CONFIG,
		.reply_ms = 1000,
		.stop_ms = 1,
		.memory = &world.memory,
		.loop = world.loop,
		.events = &events,
	};
	const int free_before = lowest_free_descriptor();
	uint8_t *rings = guest_memory_at(&world.memory, 0x1000, 0x1000);

	memset(rings, 0, 0x1000);
	world.refuse = world.running = world.failed = false;
	require(vhost_user_create(&world.vhost, &setup, NULL) == 0);
	for (unsigned int n = 0; n < ACTS_MAX && input.left > 0; n++)
		act(&input);
	vhost_user_destroy(world.vhost);
	unplug();
	if (world.channel >= 0)
		close(world.channel);
	world.channel = -1;
	require(lowest_free_descriptor() == free_before);
	return 0;
}
