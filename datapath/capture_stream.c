/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A capture's thread: from the workers' rings to the client's socket.
 *
 * The socket is of type SOCK_SEQPACKET, with the access of the switch's own user only.  A message
 * is a number of whole pcapng blocks, or of lines of JSON; the last one is an object with member
 * "end", which says why it is the last one and what was lost.  Whatever the client sends ends the
 * capture, as does its going away.  It may be slow: then copies wait in the rings, and when these
 * are full they are lost there, and counted.
 *
 * Interfaces of the file are ports, each described when its first packet comes.
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

#include "datapath/control.h"
#include "datapath/pcapng.h"
#include "openvswitch/json.h"
#include "ovs-rcu.h"
#include "ovs-thread.h"
#include "seq.h"
#include "util.h"

enum {
	MESSAGE_BYTES = 128 << 10,
	SEND_FROM_BYTES = 48 << 10, /* More is not waited for. */
	SOCKET_BYTES = 1 << 20,
	STATISTICS_BYTES = 256, /* At most, for each interface, at the end. */
	CLIENT_WAIT_MS = 5000,	/* For it to come, */
	LAST_WAIT_MS = 2000,	/* and for it to take the last messages. */
	LOOK_MS = 10,
};

#define SECOND_NS      UINT64_C(1000000000)
#define MILLISECOND_NS UINT64_C(1000000)

/* A port as an interface of the file. */
struct interface {
	char name[PORT_NAME_MAX];
	uint16_t port;
	uint64_t delivered;
};

struct capture_stream {
	struct capture_session *session;
	struct seq *over_news;
	pthread_t thread;
	_Atomic bool over;
	char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	int listener, client; /* -1: none. */

	/* The thread's own. */
	struct pcapng message;
	struct interface *interfaces;
	size_t n_interfaces;
	uint64_t packets, bytes; /* Delivered to the client. */
	uint64_t unsaid;	 /* Copies that no message has room for. */
	uint64_t end_ns;	 /* No packet after this. */
	const char *end;	 /* Why it ends; NULL: it goes on. */
	bool gone;		 /* Nobody is there to write to. */
};

static uint64_t wall_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

static void end(struct capture_stream *stream, const char *why)
{
	uint64_t now = wall_clock();

	if (stream->end == NULL)
		stream->end = why;
	stream->end_ns = MIN(stream->end_ns, now);
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
	else if (stream->end == NULL && wall_clock() >= stream->end_ns)
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
	send_bytes(stream, stream->message.bytes, stream->message.n);
	stream->bytes += stream->message.n;
	stream->message.n = 0;
}

/* --- Packets as blocks ---------------------------------------------------------------------- */

static void put_section(struct capture_stream *stream)
{
	const struct capture_session *session = stream->session;
	const struct capture_order *order = &session->order;
	char *comment = xasprintf("captured on host %s at %s%s for %s", session->sw->options->host,
		order->names[0], order->n_names > 1 ? " and others" : "", order->who);

	pcapng_section(
		&stream->message, &(struct pcapng_section){.application = "Cordon " CORDON_VERSION,
					  .system = "Linux",
					  .comment = comment});
	free(comment);
}

static bool put_interface(struct capture_stream *stream, const char *name, uint16_t port)
{
	const struct capture_session *session = stream->session;
	char *words = capture_port_words(session->sw, port);
	bool fits = pcapng_interface(&stream->message, &(struct pcapng_interface){.name = name,
							       .description = words,
							       .filter = session->order.filter_text,
							       .snaplen = session->order.snaplen});

	free(words);
	if (!fits)
		return false;
	stream->interfaces = xrealloc(
		stream->interfaces, (stream->n_interfaces + 1) * sizeof(*stream->interfaces));
	struct interface *interface = &stream->interfaces[stream->n_interfaces++];
	*interface = (struct interface){.port = port};
	ovs_strlcpy(interface->name, name, sizeof(interface->name));
	return true;
}

/* The number of the port's interface, or -1 if there is no room to describe it.  A port that has
 * another name than before is another one. */
static int find_interface(struct capture_stream *stream, uint16_t port)
{
	const char *name = control_port_name(stream->session->sw, port);

	for (size_t i = stream->n_interfaces; i-- > 0;)
		if (stream->interfaces[i].port == port &&
			strcmp(stream->interfaces[i].name, name) == 0)
			return (int)i;
	return put_interface(stream, name, port) ? (int)stream->n_interfaces - 1 : -1;
}

static bool put_block(struct capture_stream *stream, const struct capture_record *record)
{
	int interface = find_interface(stream, record->port);
	char *comment;

	if (interface < 0)
		return false;
	comment = capture_comment(stream->session->sw, record);
	bool fits = pcapng_packet(&stream->message,
		&(struct pcapng_packet){.interface = (uint32_t)interface,
			.time_ns = record->time_ns,
			.data = record->data,
			.captured = record->captured,
			.original = record->original,
			.direction = record->point == CAPTURE_IN ? PCAPNG_INBOUND : PCAPNG_OUTBOUND,
			.comment = comment});
	free(comment);
	stream->interfaces[interface].delivered += fits;
	return fits;
}

static void put_statistics(struct capture_stream *stream)
{
	struct capture_session *session = stream->session;

	for (size_t i = 0; i < stream->n_interfaces; i++) {
		const struct interface *interface = &stream->interfaces[i];

		pcapng_statistics(&stream->message,
			&(struct pcapng_statistics){.interface = (uint32_t)i,
				.time_ns = stream->end_ns,
				.start_ns = session->start_ns,
				.end_ns = stream->end_ns,
				.dropped = atomic_load(&session->lost[interface->port]),
				.delivered = interface->delivered});
		if (stream->message.n > SEND_FROM_BYTES)
			flush(stream);
	}
}

/* --- Packets as lines ----------------------------------------------------------------------- */

static bool put_text(struct capture_stream *stream, struct json *object)
{
	struct pcapng *message = &stream->message;
	char *text = json_to_string(object, JSSF_SORT);
	size_t n = strlen(text);
	bool fits = n < message->room - message->n;

	if (fits) {
		memcpy(message->bytes + message->n, text, n);
		message->bytes[message->n + n] = '\n';
		message->n += n + 1;
	}
	free(text);
	json_destroy(object);
	return fits;
}

static bool put_line(struct capture_stream *stream, const struct capture_record *record)
{
	return put_text(stream, capture_describe(stream->session->sw, record));
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

static bool put_record(struct capture_stream *stream, const struct capture_record *record)
{
	return stream->session->order.format == CAPTURE_PCAPNG ? put_block(stream, record)
							       : put_line(stream, record);
}

/* Would the file become longer than it may, with what is owed at its end? */
static bool is_beyond_bytes(const struct capture_stream *stream)
{
	uint64_t limit = stream->session->order.bytes;

	return limit != 0 &&
	       stream->bytes + stream->message.n + stream->n_interfaces * STATISTICS_BYTES > limit;
}

/* Puts one copy into the message, which is sent before if it is full. */
static void deliver(struct capture_stream *stream, const struct capture_record *record)
{
	size_t n = stream->message.n;

	if (!put_record(stream, record)) {
		flush(stream);
		n = 0;
		if (!put_record(stream, record)) {
			stream->unsaid++;
			return;
		}
	}
	if (is_beyond_bytes(stream)) {
		stream->message.n = n;
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
		if (stream->message.n > SEND_FROM_BYTES)
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

/* Says why it is over. */
static void say_end(struct capture_stream *stream)
{
	struct json *object = json_object_create();

	json_object_put_string(object, "end", stream->end);
	json_object_put(object, "packets", json_integer_create((long long int)stream->packets));
	json_object_put(object, "lost", json_integer_create((long long int)count_lost(stream)));
	put_text(stream, object);
	flush(stream);
}

static void capture(struct capture_stream *stream)
{
	const struct capture_order *order = &stream->session->order;

	stream->end_ns = stream->session->start_ns + order->seconds * SECOND_NS;
	if (order->format == CAPTURE_PCAPNG)
		put_section(stream);
	while (!stream->gone) {
		bool ended = is_ended(stream);
		bool any = drain(stream);

		if (ended &&
			(!any || wall_clock() > stream->end_ns + LAST_WAIT_MS * MILLISECOND_NS))
			break;
		if (!ended)
			listen_to_client(stream, any ? 0 : LOOK_MS);
	}
	if (stream->gone)
		return;
	discard(stream);
	if (order->format == CAPTURE_PCAPNG)
		put_statistics(stream);
	flush(stream);
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
	free(stream->message.bytes);
	free(stream->interfaces);
	free(stream);
}

struct capture_stream *capture_stream_start(
	struct capture_session *session, const char *run_directory, struct seq *over)
{
	struct capture_stream *stream = xzalloc(sizeof(*stream));

	*stream = (struct capture_stream){
		.session = session, .over_news = over, .listener = -1, .client = -1};
	stream->message = (struct pcapng){.bytes = xmalloc(MESSAGE_BYTES), .room = MESSAGE_BYTES};
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
