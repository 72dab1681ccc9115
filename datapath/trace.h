/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What would become of a packet: its way through the switch told step by step, without sending it.
 *
 * A trace goes the packet path's own way, by the packet path's own functions (worker_parse(),
 * conn_lookup(), guard_check(), forward_would(), miss_find(), verdict_decide(), connection_step()
 * and so on), of which each says what it finds and changes nothing, or is given a copy to change.
 * It learns no MAC, makes no connection, takes no token, counts nothing and logs nothing.
 *
 *      trace.c           the way, in its order
 *      trace_conn.c      what the connection table says: hits, states, new connections
 *      trace_zones.c     zones, rules, and what ports the zones allow
 *      trace_output.c    actions, output ports, the end, and what to do about it
 *      trace_words.c     packets and ports in words
 *      control_trace.c   the command, and the same packet sent for real
 *
 * All of it runs on the main thread, under RCU, while workers go on: what it says was so at the
 * moment that it looked.
 */
#ifndef DATAPATH_TRACE_H
#define DATAPATH_TRACE_H

#include "datapath/control.h"
#include "datapath/miss.h"

/* What a step means for the packet. */
enum trace_mark { TRACE_PASS, TRACE_DROP, TRACE_WAIT, TRACE_NOTE };

/* One packet on its way. */
struct trace {
	/* Set by trace_create(). */
	struct cordon_switch *sw;
	struct worker *worker; /* The packet path's functions want one; it never runs. */
	struct packet_context context;
	struct packet packet;
	struct revisions revisions;
	struct answer_hint hint;
	struct miss miss;
	struct json *steps; /* Array of {"stage", "mark", "text", "details"}. */

	/* Found on the way. */
	bool parsed;   /* `packet` is filled in... */
	bool hashed;   /* ...and its key and hash too. */
	uint32_t flow; /* The packet's, or CONN_FLOW_NONE. */
	bool decided;  /* `verdict` is what the zones say. */
	struct verdict verdict;

	/* The end. */
	enum drop_reason reason; /* DROP_NONE: not dropped. */
	bool waits;		 /* A fragment, for the rest of its datagram. */
	uint16_t n_outputs;
	uint16_t outputs[PORTS_MAX];	   /* Ports that would send it. */
	uint16_t refusals[DROP_N_REASONS]; /* Ports that would not, by reason. */
};

/* Begins a trace of `frame`, which stays the caller's and may be changed, as if it came in by `in`.
 */
struct trace *trace_create(struct cordon_switch *sw, struct port *in, struct rte_mbuf *frame);
void trace_destroy(struct trace *trace); /* Accepts NULL. */

/* Follows the packet to its end. */
void trace_run(struct trace *trace);

/* The whole story as an object; `trace` keeps nothing of it.  Call it once. */
struct json *trace_story(struct trace *trace);

/* --- trace.c -------------------------------------------------------------------------------- */

/* Adds a step, and returns it for its details. */
struct json *trace_step(struct trace *trace, const char *stage, enum trace_mark mark,
	const char *format, ...) __attribute__((format(printf, 4, 5)));
void trace_detail(struct json *step, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Adds a step at which the packet is dropped, and ends there. */
struct json *trace_drop(struct trace *trace, const char *stage, enum drop_reason reason);

/* --- trace_conn.c --------------------------------------------------------------------------- */

/* Looks the packet up.  True if it is a hit that was followed to its end; else it is a miss. */
bool trace_hit(struct trace *trace);

/* The miss path from the point where it is known where the frame goes. */
void trace_connection(struct trace *trace);

/* --- trace_zones.c -------------------------------------------------------------------------- */

/* Explains what the zones say of a connection from `in` to `out`. */
void trace_questions(struct trace *trace, const struct port *in, const struct port *out,
	const struct conn_key *key, uint8_t icmp_type, uint8_t icmp_code);

/* Explains the zones' word on a unicast frame's outputs. */
void trace_zones(struct trace *trace);

/* A frame for all who are allowed to have it: explains each, and sends it to them. */
void trace_allowed(struct trace *trace);

/* Names the rule in words: "policy db-access, rule web-to-db (tier environment)".  Caller frees. */
char *trace_rule(const struct zone_policy *policy, uint32_t rule);

/* The verdict as an object. */
struct json *trace_verdict(const struct trace *trace);

/* --- trace_output.c ------------------------------------------------------------------------- */

/* Follows actions to the ports that they send to. */
void trace_actions(struct trace *trace, const struct action *actions, size_t n);

/* What a person can do about a drop, or NULL if the packet itself is at fault. */
const char *trace_advice(enum drop_reason reason);

/* --- trace_words.c -------------------------------------------------------------------------- */

/* The packet in one line: "TCP 10.0.0.1:40000 > 10.0.0.2:443 [SYN], 54 bytes".  Caller frees. */
char *trace_packet_words(const struct trace *trace);

/* The same for a frame of `bytes` bytes, whose headers lie at `data`.  Any thread. */
char *trace_frame_words(const struct packet *packet, const uint8_t *data, uint32_t bytes);

/* Adds what each header says to a step. */
void trace_headers(const struct trace *trace, struct json *step);

/* The ports' names with commas between.  Caller frees. */
char *trace_port_names(const struct cordon_switch *sw, const uint16_t *ports, size_t n);

#endif
