/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A capture's thread: from the workers' rings to the client's socket.
 *
 * The socket is of type SOCK_SEQPACKET, with the access of the switch's own user only.  A message
 * is a number of whole pcapng blocks, or of lines of JSON; the last one is an object with member
 * "end", which says why it is the last one and what was lost.  Whatever the client sends ends the
 * capture, as does its going away.  It may be slow: then copies wait in the rings, and when these
 * are full they are lost there, and counted.
 */
#include <config.h>

#include "datapath/capture.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "ovs-rcu.h"
#include "ovs-thread.h"
#include "seq.h"
#include "util.h"

enum {
	SEND_FROM_BYTES = 48 << 10, /* More is not waited for. */
	SOCKET_BYTES = 1 << 20,
	STATISTICS_BYTES = 256, /* At most, for each interface, at the end. */
	CLIENT_WAIT_MS = 5000,	/* For it to come, */
	LAST_WAIT_MS = 2000,	/* and for it to take the last messages. */
	LOOK_MS = 10,
};

#define SECOND_NS      UINT64_C(1000000000)
#define MILLISECOND_NS UINT64_C(1000000)

struct capture_stream {
	struct capture_session *session;
	struct seq *over_news;
	pthread_t thread;
	_Atomic bool over;
	char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	int listener, client; /* -1: none. */

	/* The thread's own. */
	struct capture_message message;
	uint64_t packets, bytes; /* Delivered to the client. */
	uint64_t unsaid;	 /* Copies that no message has room for. */
	uint64_t deadline_ns;	 /* By a clock that nobody sets. */
	uint64_t ended_ns;	 /* When it ended, by the same. */
	uint64_t end_ns;	 /* No packet after this. */
	const char *end;	 /* Why it ends; NULL: it goes on. */
	bool gone;		 /* Nobody is there to write to. */
};

/* The time of frames, CLOCK_REALTIME, or one that is never set, CLOCK_MONOTONIC. */
static uint64_t now_by(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

static void end(struct capture_stream *stream, const char *why)
{
	if (stream->end != NULL)
		return;
	stream->end = why;
	stream->end_ns = now_by(CLOCK_REALTIME);
	stream->ended_ns = now_by(CLOCK_MONOTONIC);
}

/* --- The client ----------------------------------------------------------------------------- */

static bool is_cancelled(const struct capture_stream *stream)
{
	return atomic_load(&stream->session->cancel) || atomic_load(&stream->session->sw->stop);
}

/* Waits, in a quiescent state. */
static int wait_for(int fd, short events, int timeout_ms)
{
	struct pollfd one = {.fd = fd, .events = events};

	ovsrcu_quiesce_start();
	int n = poll(&one, 1, timeout_ms);
	ovsrcu_quiesce_end();
	return n > 0 ? one.revents : 0;
}

static void await_client(struct capture_stream *stream)
{
	for (int waited = 0; waited < CLIENT_WAIT_MS && !is_cancelled(stream); waited += 100) {
		if (!wait_for(stream->listener, POLLIN, 100))
			continue;
		stream->client =
			accept4(stream->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		break;
	}
	close(stream->listener);
	stream->listener = -1;
	unlink(stream->path);
	(void)setsockopt(
		stream->client, SOL_SOCKET, SO_SNDBUFFORCE, &(int){SOCKET_BYTES}, sizeof(int));
	stream->gone = stream->client < 0;
}

/* Looks whether the client has gone, or wants no more. */
static void listen_to_client(struct capture_stream *stream, int timeout_ms)
{
	char word[16];
	int events = wait_for(stream->client, POLLIN, timeout_ms);

	if (!events)
		return;
	ssize_t n = recv(stream->client, word, sizeof(word), MSG_DONTWAIT);
	if (n > 0)
		end(stream, "stopped");
	else if (n == 0 || errno != EAGAIN)
		stream->gone = true;
}

/* True if the time is over, or somebody has ended it. */
static bool is_ended(struct capture_stream *stream)
{
	if (is_cancelled(stream))
		end(stream, "switch");
	else if (stream->end == NULL && now_by(CLOCK_MONOTONIC) >= stream->deadline_ns)
		end(stream, "seconds");
	return stream->end != NULL;
}

/* Writes a message.  A client that takes nothing any more is not waited for beyond the end. */
static void send_bytes(struct capture_stream *stream, const void *bytes, size_t n)
{
	for (int waited = 0; n != 0 && !stream->gone;) {
		if (send(stream->client, bytes, n, MSG_NOSIGNAL) == (ssize_t)n)
			return;
		if (errno != EAGAIN && errno != ENOBUFS) {
			stream->gone = true;
			return;
		}
		wait_for(stream->client, POLLOUT, 100);
		listen_to_client(stream, 0);
		waited = is_ended(stream) ? waited + 100 : 0;
		if (waited >= LAST_WAIT_MS)
			stream->gone = true;
	}
}

static void flush(struct capture_stream *stream)
{
	struct pcapng *blocks = &stream->message.blocks;

	send_bytes(stream, blocks->bytes, blocks->n);
	stream->bytes += blocks->n;
	blocks->n = 0;
}

/* --- From the rings ------------------------------------------------------------------------- */

/* The oldest copy of all rings, and its ring; or NULL. */
static const struct capture_record *oldest(
	const struct capture_stream *stream, struct capture_ring **ring)
{
	const struct capture_session *session = stream->session;
	const struct capture_record *first = NULL;

	for (unsigned int i = 0; i < session->sw->n_workers; i++) {
		const struct capture_record *record = capture_ring_first(session->rings[i]);

		if (record == NULL || (first != NULL && first->time_ns <= record->time_ns))
			continue;
		first = record;
		*ring = session->rings[i];
	}
	return first;
}

/* Would the file become longer than it may, with what is owed at its end? */
static bool is_beyond_bytes(const struct capture_stream *stream)
{
	uint64_t limit = stream->session->order.bytes;

	return limit != 0 && stream->bytes + stream->message.blocks.n +
					     stream->message.n_interfaces * STATISTICS_BYTES >
				     limit;
}

/* Puts one copy into the message, which is sent before if it is full. */
static void deliver(struct capture_stream *stream, const struct capture_record *record)
{
	if (!capture_message_put(&stream->message, record)) {
		flush(stream);
		if (!capture_message_put(&stream->message, record)) {
			stream->unsaid++;
			return;
		}
	}
	if (is_beyond_bytes(stream)) {
		capture_message_take_back(&stream->message);
		end(stream, "bytes");
		return;
	}
	stream->packets++;
	if (stream->packets == stream->session->order.packets)
		end(stream, "packets");
}

/* True if the copy is within the limits: before the end there is, or is not. */
static bool is_within(const struct capture_stream *stream, const struct capture_record *record)
{
	bool is_full = stream->end != NULL &&
		       (strcmp(stream->end, "packets") == 0 || strcmp(stream->end, "bytes") == 0);

	return !is_full && record->time_ns <= stream->end_ns;
}

/* Takes what is in the rings.  Returns false if there was nothing. */
static bool drain(struct capture_stream *stream)
{
	const struct capture_record *record;
	struct capture_ring *ring;
	bool any = false;

	while (!stream->gone && (record = oldest(stream, &ring)) != NULL &&
		is_within(stream, record)) {
		if (!record->unwanted)
			deliver(stream, record);
		capture_ring_release(ring);
		any = true;
		if (stream->message.blocks.n > SEND_FROM_BYTES)
			break;
	}
	flush(stream);
	ovsrcu_quiesce();
	return any;
}

/* What is still in the rings is not waited for any longer: it is lost. */
static void discard(struct capture_stream *stream)
{
	const struct capture_record *record;
	struct capture_ring *ring;

	while ((record = oldest(stream, &ring)) != NULL && is_within(stream, record)) {
		if (!record->unwanted)
			capture_lose(stream->session, record->port, 1);
		capture_ring_release(ring);
	}
}

/* --- The thread ----------------------------------------------------------------------------- */

static uint64_t count_lost(const struct capture_stream *stream)
{
	uint64_t lost = stream->unsaid;

	for (uint16_t i = 0; i < PORTS_MAX; i++)
		lost += atomic_load(&stream->session->lost[i]);
	return lost;
}

/* What became of each interface's frames, and why it is over. */
static void say_end(struct capture_stream *stream)
{
	struct capture_message *message = &stream->message;

	for (size_t i = 0; i < message->n_interfaces; i++) {
		capture_message_statistics(message, i, stream->end_ns);
		if (message->blocks.n > SEND_FROM_BYTES)
			flush(stream);
	}
	flush(stream);
	capture_message_end(message, stream->end, stream->packets, count_lost(stream));
	flush(stream);
}

static void capture(struct capture_stream *stream)
{
	stream->end_ns = UINT64_MAX;
	stream->deadline_ns = now_by(CLOCK_MONOTONIC) + stream->session->order.seconds * SECOND_NS;
	capture_message_begin(&stream->message);
	while (!stream->gone) {
		bool ended = is_ended(stream);
		bool any = drain(stream);

		if (ended && (!any || now_by(CLOCK_MONOTONIC) >
					      stream->ended_ns + LAST_WAIT_MS * MILLISECOND_NS))
			break;
		if (!ended)
			listen_to_client(stream, any ? 0 : LOOK_MS);
	}
	if (stream->gone)
		return;
	discard(stream);
	say_end(stream);
}

static void *stream_main(void *stream_)
{
	struct capture_stream *stream = stream_;

	worker_give_way(stream->session->sw);
	await_client(stream);
	if (!stream->gone)
		capture(stream);
	if (stream->client >= 0)
		close(stream->client);
	atomic_store(&stream->over, true);
	seq_change(stream->over_news);
	return NULL;
}

/* --- For the main thread -------------------------------------------------------------------- */

/* Nobody can connect before the access is right. */
static int listen_at(struct capture_stream *stream, const char *run_directory)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int n = snprintf(stream->path, sizeof(stream->path), "%s/capture.%u.sock", run_directory,
		stream->session->slot);

	if (n < 0 || (size_t)n >= sizeof(stream->path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(address.sun_path, stream->path, sizeof(address.sun_path));
	stream->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	(void)unlink(stream->path);
	if (stream->listener < 0 ||
		bind(stream->listener, (struct sockaddr *)&address, sizeof(address)) != 0 ||
		chmod(stream->path, 0600) != 0 || listen(stream->listener, 1) != 0)
		return -1;
	return 0;
}

static void stream_free(struct capture_stream *stream)
{
	if (stream->listener >= 0)
		close(stream->listener);
	capture_message_destroy(&stream->message);
	free(stream);
}

struct capture_stream *capture_stream_start(
	struct capture_session *session, const char *run_directory, struct seq *over)
{
	struct capture_stream *stream = xzalloc(sizeof(*stream));

	*stream = (struct capture_stream){
		.session = session, .over_news = over, .listener = -1, .client = -1};
	capture_message_init(&stream->message, session);
	if (listen_at(stream, run_directory) != 0) {
		int error = errno;

		stream_free(stream);
		errno = error;
		return NULL;
	}
	stream->thread = ovs_thread_create("capture", stream_main, stream);
	return stream;
}

const char *capture_stream_path(const struct capture_stream *stream)
{
	return stream->path;
}

bool capture_stream_is_over(const struct capture_stream *stream)
{
	return atomic_load(&stream->over);
}

void capture_stream_join(struct capture_stream *stream)
{
	if (stream == NULL)
		return;
	pthread_join(stream->thread, NULL);
	stream_free(stream);
}
