/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TCP as a firewall in the middle sees it: RFC 9293's states, sequence windows (van Rooij, "Real
 * stateful TCP packet filtering in IP Filter", 2001), RFC 7323 window scaling, RFC 5961's view of
 * RST and SYN.
 *
 * Each side of a connection has one `struct tcp_side`.  Only a segment that this side *sends*
 * writes to it; the other side is only read.  So two workers that each poll one side need no lock:
 * every field is written by one thread and read, relaxed, by the other.  No answer can overtake
 * what it answers: the worker that passes a segment on has stored what it says before the receiver
 * can have seen it, so the other worker reads nothing older than what its own side knew.
 *
 * What a middlebox cannot know, the end points settle: a SYN on an open connection (RFC 5961, 4),
 * an ACK that answers a SYN (RFC 9293, 3.5.1) and a RST that is in the window but not where the
 * receiver is (RFC 5961, 3) pass without changing anything here.
 */
#ifndef ZONES_TCP_STATE_H
#define ZONES_TCP_STATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* What one side has done.  All fields: written by the worker of this side's port. 16 bytes. */
struct tcp_side {
	_Atomic uint32_t sent_end; /* One past the highest sequence number sent. */
	/* Highest ack + window: how far the other side may send.  Until this side has acknowledged
	 * anything (progress below TCP_SIDE_SYN_ACK): its initial sequence number. */
	_Atomic uint32_t granted;
	_Atomic uint32_t max_window; /* Largest window advertised, scaled, in bytes; at least 1. */
	_Atomic uint8_t progress;    /* enum tcp_progress. */
	_Atomic uint8_t flags;	     /* TCP_SIDE_*; window scale in the high four bits. */
	_Atomic uint8_t flags_seen;  /* Union of the TCP flags sent, for the log. */
	_Atomic uint8_t again;	     /* With TCP_SIDE_SYN_AGAIN: eight bits made of that SYN. */
};

/* How far one side has come, by its own segments. */
enum tcp_progress {
	TCP_SIDE_NOTHING, /* Nothing sent. */
	TCP_SIDE_SYN,	  /* SYN sent. */
	TCP_SIDE_SYN_ACK, /* SYN-ACK sent, as its first segment. */
	TCP_SIDE_OPEN,	  /* Its part of the handshake is done. */
	TCP_SIDE_FIN,	  /* FIN sent. */
	TCP_SIDE_RESET,	  /* A valid RST sent: the connection is over. */
	TCP_SIDE_N_PROGRESS
};

enum {
	TCP_SIDE_SCALES = 1 << 0,    /* Window scale option was in its SYN. */
	TCP_SIDE_ACKED_FIN = 1 << 1, /* Acknowledged the other side's FIN. */
	TCP_SIDE_PICKED_UP = 1 << 2, /* Adopted in mid-stream; its scale is unknown. */
	TCP_SIDE_SYN_AGAIN = 1 << 3, /* Of the initiator: a SYN of it was let through on the open
				      * connection; of the responder: it has answered such a one. */
	TCP_SIDE_SCALE_SHIFT = 4,    /* The scale: as offered; in force (0 if none) once OPEN. */
};

/* The low eight bits of the TCP header's flags field. */
enum {
	TCP_FLAG_FIN = 0x01,
	TCP_FLAG_SYN = 0x02,
	TCP_FLAG_RST = 0x04,
	TCP_FLAG_PSH = 0x08,
	TCP_FLAG_ACK = 0x10,
	TCP_FLAG_URG = 0x20,
};

/* The state of the whole connection, as named in RFC 9293, 3.3.2. */
enum tcp_state {
	TCP_NONE,
	TCP_SYN_SENT,
	TCP_SYN_RECEIVED,
	TCP_ESTABLISHED,
	TCP_FIN_WAIT,  /* One side has sent its FIN (FIN-WAIT-1, FIN-WAIT-2, CLOSE-WAIT). */
	TCP_CLOSING,   /* Both have; not all is acknowledged (CLOSING, LAST-ACK). */
	TCP_TIME_WAIT, /* Both FINs acknowledged. */
	TCP_CLOSED,    /* Reset. */
	TCP_N_STATES
};

/* One segment, in host byte order. */
struct tcp_segment {
	uint32_t sequence, acknowledgment;
	uint32_t payload_bytes; /* A TSO frame's whole payload. */
	uint16_t window;	/* As on the wire, unscaled. */
	uint8_t flags;		/* The low eight bits of the flags field. */
	uint8_t options_bytes;
	const uint8_t *options; /* Within the packet; read only when SYN is set. */
};

/* What tcp_step() says of a segment. */
enum tcp_result {
	TCP_OK,
	TCP_OK_STATE_CHANGED, /* Passed, and the connection's tcp_state is another one now, or it is
			       * the first that this side sends. */
	TCP_REOPEN,	      /* A new SYN on a connection that is over, or that both sides have
			       * forgotten: make a new connection. */
	TCP_BAD_FLAGS,	      /* A combination that no stack sends (drop). */
	TCP_OUT_OF_STATE,     /* Fits no open connection, e.g. ACK where a SYN must come (drop). */
	TCP_OUT_OF_WINDOW,    /* Sequence or acknowledgment outside the window (drop). */
};

/* True if the combination of flags can occur in a real segment. */
bool tcp_flags_valid(uint8_t flags);

/* True if the fields of a side that comes from a file can be what this module wrote. */
bool tcp_side_valid(const struct tcp_side *side);

/* Steps the connection by a segment that `sender` sends to `receiver`.  `from_initiator` tells
 * which of the two opened the connection.  Updates only `sender`, and only if the segment passes.
 * Called by the worker that polls the sender's port. */
static inline enum tcp_result tcp_step(struct tcp_side *sender, const struct tcp_side *receiver,
	const struct tcp_segment *segment, bool from_initiator);

/* tcp_step() in its two parts, for who has to do something between them.  The first takes the
 * ordinary segments of an open connection and returns true; what it leaves is for the second. */
static inline bool tcp_step_common(struct tcp_side *sender, const struct tcp_side *receiver,
	const struct tcp_segment *segment);
enum tcp_result tcp_step_rare(struct tcp_side *sender, const struct tcp_side *receiver,
	const struct tcp_segment *segment, bool from_initiator);

/* Starts a connection from its first segment.  A SYN opens it; any other segment only when `pickup`
 * allows it.  Both sides are reset first.  Returns TCP_OK_STATE_CHANGED or a reason to drop. */
enum tcp_result tcp_open(struct tcp_side *initiator, struct tcp_side *responder,
	const struct tcp_segment *segment, bool pickup);

/* True if `sender` may wait for an answer to what it sent with this sequence number: nothing that
 * `receiver` has acknowledged for sure, and nothing that was not sent (RFC 5927, 4.1).  The next
 * number counts too, since an ACK without data has it, and the one before what was acknowledged,
 * which keepalives have.  Any thread. */
bool tcp_is_outstanding(
	const struct tcp_side *sender, const struct tcp_side *receiver, uint32_t sequence);

/* The connection's state, from what both sides have done.  Any thread. */
enum tcp_state tcp_state(const struct tcp_side *initiator, const struct tcp_side *responder);

/* "ESTABLISHED" and so on, as RFC 9293 writes them. */
const char *tcp_state_name(enum tcp_state state);

#include "zones/tcp_step_inline.h"

#endif
