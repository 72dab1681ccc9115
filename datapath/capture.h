/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Captures: copies of the frames of some ports, each with what became of it, on their way to
 * whoever asked for them.
 *
 *      control_capture.c   the commands                                      main thread
 *      capture.c           sessions begin, follow their ports, end           main thread
 *      capture_receive.c   frames as they come in by a port                  workers
 *      capture_refuse.c    frames that are refused on the way to a port      workers
 *      capture_send.c      frames as they leave by a port                    workers
 *      capture_fate.c      what became of a frame, and by which rule         workers
 *      capture_take.c      a frame's copy, into the ring                     workers
 *      capture_stream.c    from the rings to the client                      the session's thread
 *      capture_message.c   copies as blocks of pcapng, or as lines of JSON   the session's thread
 *      capture_words.c     what is said of a copy                            the session's thread
 *
 * While nothing is captured, nothing of this is on a packet's way, not even a question.  A port
 * that is captured is treated differently by what is there in any case:
 *
 *  - its receive queues move from the worker's poll list to its list of captured queues, which is
 *    polled as an errand (struct worker): a frame at a time, so that what the switch counts and
 *    sends meanwhile is what became of that frame;
 *  - its back end is replaced by one that is the same, but for a tx() that copies what it sends;
 *  - what the miss path refuses on the way to it is not cached, so that each such frame comes there
 *    and is seen.
 *
 * A session has a ring for each worker, which never waits: what finds no room is counted as lost.
 * The session's thread takes copies from the rings, puts them into words, and writes them to a
 * socket of which the client has the other end; if the client is slow, the rings fill up.
 *
 * Life cycle: capture_begin() makes the session and its thread; ports hold it in `taps`, snapshots
 * under RCU.  The thread ends by itself, at a limit or when the client goes away, or because it is
 * told to; captures_run() then takes the session out of all ports, and frees it a grace period
 * later.
 */
#ifndef DATAPATH_CAPTURE_H
#define DATAPATH_CAPTURE_H

#include "datapath/capture_filter.h"
#include "datapath/capture_ring.h"
#include "datapath/config.h"
#include "datapath/pcapng.h"

struct json;

enum {
	CAPTURE_SESSIONS_MAX = 8,
	CAPTURE_NAMES_MAX = 64,
	CAPTURE_OUTPUTS_MAX = 8, /* Told by name, of those of one frame. */
	CAPTURE_SNAPLEN_MAX = 262144,
	CAPTURE_SECONDS_MAX = 86400,
};

/* Where a frame is seen. */
enum capture_point {
	CAPTURE_IN = 1 << 0,  /* As received from a port, before anything is done to it. */
	CAPTURE_OUT = 1 << 1, /* As sent by a port, after all rewriting. */
};

/* What became of a frame. */
enum capture_verdict {
	CAPTURE_ALLOWED = 1 << 0,
	CAPTURE_DENIED = 1 << 1,  /* By the zones, the spoof guard or a limit. */
	CAPTURE_DROPPED = 1 << 2, /* For any other reason. */
	CAPTURE_HELD = 1 << 3,	  /* A fragment, until the rest of its datagram is here. */
	CAPTURE_ALL = 15,
};

enum capture_format { CAPTURE_PCAPNG = 1, CAPTURE_JSON };

/* What a client asks for.  Strings are the order's. */
struct capture_order {
	char *names[CAPTURE_NAMES_MAX]; /* Of ports, VMs, zones. */
	size_t n_names;
	char *filter_text, *who; /* As the client says; for the file and the switch's own log. */
	struct capture_filter *filter; /* NULL: all frames. */
	unsigned int points, verdicts; /* enum capture_point, enum capture_verdict. */
	enum capture_format format;
	uint32_t snaplen, seconds;
	uint64_t packets, bytes; /* 0: no limit. */
};

struct capture_stream;

/* One capture. */
struct capture_session {
	/* Immutable once begun. */
	struct cordon_switch *sw;
	unsigned int slot; /* Below CAPTURE_SESSIONS_MAX. */
	struct capture_order order;
	uint64_t start_ns;			 /* Wall clock. */
	struct capture_ring *rings[WORKERS_MAX]; /* One for each worker. */
	struct capture_stream *stream;

	/* By port number: frames that were asked for and found no room.  Any worker, relaxed. */
	_Atomic uint64_t lost[PORTS_MAX];

	_Atomic bool cancel; /* The thread is to end. */

	/* Main thread only. */
	uint64_t ports[PORTS_MAX / 64]; /* Bit per port that it is at. */
};

/* The sessions at a port: an immutable snapshot, owned by the port. */
struct capture_taps {
	struct cordon_switch *sw;
	const struct port_backend *real; /* What `backend` stands in for. */
	struct port_backend backend;
	size_t n;
	struct capture_session *at[CAPTURE_SESSIONS_MAX];
};

static inline const struct capture_taps *capture_taps_of(const struct port *port)
{
	return atomic_load_explicit(&port->taps, memory_order_acquire);
}

/* What became of one frame. */
struct capture_fate {
	uint8_t verdict; /* One of enum capture_verdict. */
	uint8_t reason;	 /* enum drop_reason. */
	bool has_rule;	 /* The zones were asked: the next four say what they said. */
	bool is_answer;	 /* The switch has made it, to answer a rejected packet. */
	uint32_t rule, policy_revision;
	uint16_t source_zone, destination_zone;
	uint16_t in_port; /* 0: not known. */
	uint16_t
		bound_for; /* The port that it would have gone to, had it not been refused; or 0. */
	uint16_t n_outputs; /* Ports that it was given to. */
	uint16_t outputs[CAPTURE_OUTPUTS_MAX];
	uint32_t connection; /* Its number, or CONN_FLOW_NONE. */
};

/* A frame's copy, as it lies in a ring. */
struct capture_record {
	uint64_t time_ns;
	uint32_t captured, original; /* Bytes: here, and of the frame. */
	uint16_t port;		     /* Where it was seen. */
	uint8_t point;		     /* enum capture_point. */
	bool checksum_missing;	     /* The sum is left to whoever sends it. */
	bool unwanted;		     /* Its verdict turned out to be another. */
	uint16_t segment_bytes;	     /* To be cut into segments of so much; 0: it is not. */
	struct capture_fate fate;
	uint8_t data[];
};

/* --- capture.c: sessions; main thread ------------------------------------------------------- */

struct captures *captures_create(struct config *config);

/* Ends all sessions, once no worker runs. */
void captures_destroy(struct captures *captures); /* Accepts NULL. */

/* Begins a capture, and takes *order over in any case.  Returns its session; or NULL with a
 * sentence in *error, which the caller frees. */
const struct capture_session *capture_begin(
	struct captures *captures, struct capture_order *order, char **error);
void capture_order_free(struct capture_order *order); /* What it points to. */

/* Follows ports, VMs and zones, and takes away what has ended. */
void captures_run(struct captures *captures);
void captures_wait(struct captures *captures);

/* The captures under way, for people. */
struct json *captures_list(const struct captures *captures);

/* The ports that a session is at, by name. */
struct json *capture_port_names(const struct capture_session *session);

/* Nobody uses the port any more: it is about to be closed. */
void capture_forget_port(struct port *port);

/* --- capture_receive.c: workers ------------------------------------------------------------- */

/* Takes frames that a port has received from rx to tx, and copies those that are asked for.  With
 * `injection`, the one frame is an operator's. */
void capture_receive(struct worker *worker, struct port *port, struct rte_mbuf **frames, uint16_t n,
	struct injection *injection);

/* The frame that capture_receive() has under way: the worker's, for as long as that takes. */
struct capture_tap {
	const struct port *in;
	uint32_t wanted; /* Bit per slot of the sessions that want it. */
	struct capture_fate fate;
	bool decided; /* The zones were asked by the miss path: */
	struct verdict verdict;
	uint32_t lost[CAPTURE_SESSIONS_MAX]; /* By slot: copies that found no room. */
};

/* True if what would leave by the port is captured.  Under RCU; any thread. */
bool capture_watches(const struct cordon_switch *sw, uint16_t out);

/* True if anything is captured at all. */
static inline bool capture_is_on(const struct cordon_switch *sw)
{
	return unlikely(atomic_load_explicit(&sw->captured, memory_order_relaxed));
}

/* The miss path has refused the packet at hand, on its way to `out` (0: not known): copies it for
 * those who capture that port, unless they have it already.  The frame is as parsed, and stays the
 * caller's. */
void capture_take_refused(const struct packet_context *context, uint16_t out,
	enum drop_reason reason, const struct verdict *verdict);

static inline void capture_refused(const struct packet_context *context, uint16_t out,
	enum drop_reason reason, const struct verdict *verdict)
{
	if (capture_is_on(context->worker->sw))
		capture_take_refused(context, out, reason, verdict);
}

/* --- capture_send.c: workers ---------------------------------------------------------------- */

/* Fills in the back end that stands in for taps->real. */
void capture_send_init(struct capture_taps *taps);

/* The worker that calls, of the switch's. */
struct worker *capture_worker(const struct cordon_switch *sw);

/* --- capture_fate.c: workers ---------------------------------------------------------------- */

/* What the switch has counted up to a moment. */
struct capture_counts {
	uint64_t input[DROP_N_REASONS], output[DROP_N_REASONS];
};
void capture_count(const struct worker *worker, struct capture_counts *counts);

/* The key of a frame that came in by a port, by its bytes alone.  False if it has none. */
bool capture_key(const struct port *in, const uint8_t *data, uint32_t bytes, uint32_t frame_bytes,
	struct packet *packet);

/* What has become of the frame that is under way, between capture_count() and now; `packet` is NULL
 * if it has no key. */
void capture_tell_fate(const struct worker *worker, struct capture_tap *tap,
	const struct capture_counts *before, struct packet *packet);

/* Notes what the zones have said. */
void capture_put_verdict(struct capture_fate *fate, const struct verdict *verdict);

/* What is known of a frame that a port sends, by its bytes and its connection. */
void capture_guess_fate(struct cordon_switch *sw, const struct port *out, struct rte_mbuf *frame,
	struct capture_fate *fate);

/* The verdict that a reason stands for. */
enum capture_verdict capture_verdict_of(enum drop_reason reason);

/* --- capture_take.c: workers ---------------------------------------------------------------- */

/* True if the session's filter accepts the frame. */
bool capture_accepts(const struct capture_session *session, const struct rte_mbuf *frame);

/* Copies the frame into the worker's ring, unpublished and without its fate.  NULL: no room. */
struct capture_record *capture_take(struct capture_session *session, const struct worker *worker,
	const struct port *port, enum capture_point point, const struct rte_mbuf *frame);

/* Counts frames that were asked for at the port and found no room. */
static inline void capture_lose(struct capture_session *session, uint16_t port, uint64_t n)
{
	atomic_fetch_add_explicit(&session->lost[port], n, memory_order_relaxed);
}

/* --- capture_stream.c: the session's thread ------------------------------------------------- */

/* Begins to wait for the client at a socket in the run directory, of which the path is
 * capture_stream_path(), and then to write to it.  `over` changes when the thread has ended.  NULL
 * with errno set. */
struct capture_stream *capture_stream_start(
	struct capture_session *session, const char *run_directory, struct seq *over);
const char *capture_stream_path(const struct capture_stream *stream);
bool capture_stream_is_over(const struct capture_stream *stream);

/* Waits for the thread to end; session->cancel makes it do so soon.  Accepts NULL. */
void capture_stream_join(struct capture_stream *stream);

/* --- capture_message.c: the session's thread ------------------------------------------------ */

/* A port as an interface of the file. */
struct capture_interface {
	char name[PORT_NAME_MAX];
	uint16_t port;
	uint64_t delivered;
};

/* What is on its way to the client: whole blocks, or whole lines. */
struct capture_message {
	struct capture_session *session;
	struct pcapng blocks;
	struct capture_interface *interfaces;
	size_t n_interfaces;
	/* As they were before the last copy, and the interface that this was put at. */
	size_t before, interfaces_before, last;
};

void capture_message_init(struct capture_message *message, struct capture_session *session);
void capture_message_destroy(struct capture_message *message);

/* What comes before all packets. */
void capture_message_begin(struct capture_message *message);

/* Adds a copy; false if there is no room for it.  And takes the last one that was added back. Under
 * RCU. */
bool capture_message_put(struct capture_message *message, const struct capture_record *record);
void capture_message_take_back(struct capture_message *message);

/* What became of the frames of interface number i, and the last word. */
void capture_message_statistics(struct capture_message *message, size_t i, uint64_t end_ns);
void capture_message_end(
	struct capture_message *message, const char *why, uint64_t packets, uint64_t lost);

/* --- capture_words.c: the session's thread -------------------------------------------------- */

/* The comment of a packet: "in by web1; verdict: denied; ...".  Under RCU; caller frees. */
char *capture_comment(const struct cordon_switch *sw, const struct capture_record *record);

/* The same as an object, with the packet in words.  Under RCU. */
struct json *capture_describe(const struct cordon_switch *sw, const struct capture_record *record);

/* What an interface's description says of the port: "vnic, vhost, VM web".  Caller frees. */
char *capture_port_words(const struct cordon_switch *sw, uint16_t port);

/* --- control_capture.c ---------------------------------------------------------------------- */

void control_capture_register(struct config *config);

#endif
