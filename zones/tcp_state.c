/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The TCP state machine, beyond the hit path that is inline in tcp_step_inline.h.  Called by the
 * worker that polls the sender's port; tcp_state() by any thread.
 *
 * What a segment does depends on its kind and on how far both sides have come: one table says it,
 * and one short function carries each action out.
 */
#include "zones/tcp_state.h"

#include <stddef.h>

enum { SCALE_MAX = 14 }; /* RFC 7323, 2.3. */

enum kind { KIND_SYN, KIND_SYN_ACK, KIND_ACK, KIND_RST, N_KINDS };

enum action {
	REFUSE, /* Fits no open connection. */
	BEGIN,	/* A SYN begins its sender's side, or begins it anew. */
	AGAIN,	/* A SYN where there is a connection already. */
	ANSWER, /* A SYN-ACK is its sender's first segment. */
	REPEAT, /* It comes again, and the initiator has not answered it yet. */
	CROSS,	/* A SYN-ACK of one who has sent a SYN: a simultaneous open. */
	HINT,	/* An ACK where a SYN-ACK must come. */
	JOIN,	/* First segment of the second side of a connection picked up in mid-stream. */
	CHECK,	/* In the window or not. */
	DENY,	/* A RST is the answer to a SYN. */
	ABORT,	/* A RST of one who has had no answer. */
	END,	/* A RST. */
};

/* By the segment's kind, its sender's and its receiver's progress.  A SYN on a connection that is
 * over does not get here. */
/* clang-format off */
static const uint8_t actions[N_KINDS][TCP_SIDE_N_PROGRESS][TCP_SIDE_N_PROGRESS] = {
	/* Receiver:              NOTHING SYN     SYN_ACK OPEN    FIN     RESET */
	[KIND_SYN] = {
		/* Simultaneous open: RFC 9293, 3.5, figure 7. */
		[TCP_SIDE_NOTHING] = {REFUSE, BEGIN,  REFUSE, REFUSE, REFUSE, REFUSE},
		/* Nobody has answered yet, so a SYN with another sequence number counts. */
		[TCP_SIDE_SYN]     = {BEGIN,  AGAIN,  AGAIN,  AGAIN,  AGAIN,  REFUSE},
		[TCP_SIDE_SYN_ACK] = {REFUSE, AGAIN,  REFUSE, AGAIN,  AGAIN,  REFUSE},
		/* RFC 5961, 4: the end point answers with an ACK, see syn_again(). */
		[TCP_SIDE_OPEN]    = {AGAIN,  AGAIN,  AGAIN,  AGAIN,  AGAIN,  REFUSE},
		[TCP_SIDE_FIN]     = {AGAIN,  AGAIN,  AGAIN,  AGAIN,  AGAIN,  REFUSE},
	},
	[KIND_SYN_ACK] = {
		[TCP_SIDE_NOTHING] = {REFUSE, ANSWER, REFUSE, REFUSE, REFUSE, REFUSE},
		[TCP_SIDE_SYN]     = {REFUSE, CROSS,  REFUSE, CROSS,  CROSS,  REFUSE},
		/* Sent again, because the ACK was lost. */
		[TCP_SIDE_SYN_ACK] = {REFUSE, REPEAT, REFUSE, CHECK,  CHECK,  CHECK},
		[TCP_SIDE_OPEN]    = {REFUSE, CHECK,  CHECK,  CHECK,  CHECK,  REFUSE},
		[TCP_SIDE_FIN]     = {REFUSE, CHECK,  CHECK,  CHECK,  CHECK,  REFUSE},
	},
	[KIND_ACK] = {
		/* RFC 9293, 3.5.1: the responder knows an older connection; a RST will answer it. */
		[TCP_SIDE_NOTHING] = {REFUSE, HINT,   REFUSE, JOIN,   JOIN,   REFUSE},
		[TCP_SIDE_SYN]     = {REFUSE, CHECK,  CHECK,  CHECK,  CHECK,  REFUSE},
		[TCP_SIDE_SYN_ACK] = {REFUSE, CHECK,  REFUSE, CHECK,  CHECK,  CHECK},
		/* To one who has reset: passes, so that it can say so again. */
		[TCP_SIDE_OPEN]    = {CHECK,  CHECK,  CHECK,  CHECK,  CHECK,  CHECK},
		[TCP_SIDE_FIN]     = {CHECK,  CHECK,  CHECK,  CHECK,  CHECK,  CHECK},
	},
	[KIND_RST] = {
		[TCP_SIDE_NOTHING] = {REFUSE, DENY,   REFUSE, END,    END,    REFUSE},
		[TCP_SIDE_SYN]     = {ABORT,  END,    END,    END,    END,    END},
		[TCP_SIDE_SYN_ACK] = {REFUSE, END,    REFUSE, END,    END,    END},
		[TCP_SIDE_OPEN]    = {END,    END,    END,    END,    END,    END},
		[TCP_SIDE_FIN]     = {END,    END,    END,    END,    END,    END},
		[TCP_SIDE_RESET]   = {ABORT,  END,    END,    END,    END,    END},
	},
};
/* clang-format on */

/* A segment on its way, with what is worked out of it. */
struct step {
	struct tcp_side *sender;
	const struct tcp_side *receiver;
	const struct tcp_segment *segment;
	uint32_t end; /* Sequence number behind it; SYN and FIN count one each. */
	bool from_initiator;
};

/* --- Flags and options ---------------------------------------------------------------------- */

bool tcp_flags_valid(uint8_t flags)
{
	switch (flags & (TCP_FLAG_SYN | TCP_FLAG_RST | TCP_FLAG_FIN | TCP_FLAG_ACK)) {
	case TCP_FLAG_SYN:
	case TCP_FLAG_RST: return !(flags & TCP_FLAG_URG); /* Data without an ACK: never urgent. */
	case TCP_FLAG_SYN | TCP_FLAG_ACK:
	case TCP_FLAG_RST | TCP_FLAG_ACK:
	case TCP_FLAG_FIN | TCP_FLAG_ACK:
	case TCP_FLAG_ACK: return true;
	default: return false;
	}
}

static enum kind kind_of(uint8_t flags)
{
	if (flags & TCP_FLAG_RST)
		return KIND_RST;
	if (flags & TCP_FLAG_SYN)
		return flags & TCP_FLAG_ACK ? KIND_SYN_ACK : KIND_SYN;
	return KIND_ACK;
}

/* The TCP_SIDE_* flags and scale that the options of a SYN ask for: RFC 7323, 2.2. */
static uint8_t scale_flags(const struct tcp_segment *segment)
{
	enum { OPTION_END, OPTION_NOP, OPTION_SCALE = 3, SCALE_BYTES = 3 };
	const uint8_t *option = segment->options;
	size_t left = segment->options_bytes;

	while (left >= 2 || (left && option[0] == OPTION_NOP)) {
		size_t bytes = option[0] == OPTION_NOP ? 1 : option[1];

		if (option[0] == OPTION_END)
			break;
		if (option[0] != OPTION_NOP && (bytes < 2 || bytes > left))
			break;
		if (option[0] == OPTION_SCALE && bytes == SCALE_BYTES) {
			uint8_t scale = option[2] > SCALE_MAX ? SCALE_MAX : option[2];

			return TCP_SIDE_SCALES | scale << TCP_SIDE_SCALE_SHIFT;
		}
		option += bytes;
		left -= bytes;
	}
	return 0;
}

/* The flags of a side whose handshake is done: windows are scaled only if both sides offered it. */
static uint8_t flags_when_open(const struct tcp_side *side, const struct tcp_side *other)
{
	uint8_t flags = tcp_load8(&side->flags);

	if (flags & tcp_load8(&other->flags) & TCP_SIDE_SCALES)
		return flags;
	return flags & ((1 << TCP_SIDE_SCALE_SHIFT) - 1);
}

bool tcp_side_valid(const struct tcp_side *side)
{
	uint8_t progress = tcp_load8(&side->progress);

	if (progress >= TCP_SIDE_N_PROGRESS)
		return false;
	if (tcp_load8(&side->flags) >> TCP_SIDE_SCALE_SHIFT > SCALE_MAX)
		return false;
	return progress == TCP_SIDE_NOTHING || tcp_load(&side->max_window) > 0;
}

/* --- Actions -------------------------------------------------------------------------------- */

/* Eight bits by which a SYN is known again, and eight others. */
static uint8_t syn_mark(uint32_t sequence)
{
	return (sequence * UINT32_C(0x9e3779b1)) >> 24;
}

static uint8_t other_mark(uint32_t sequence)
{
	return (sequence * UINT32_C(0x9e3779b1)) >> 16;
}

/* True if this SYN was let through on the open connection before, and answered: both sides have
 * forgotten the connection. */
static bool is_answered_anew(const struct step *step)
{
	uint32_t sequence = step->segment->sequence;

	return step->from_initiator &&
	       tcp_load8(&step->sender->flags) & tcp_load8(&step->receiver->flags) &
		       TCP_SIDE_SYN_AGAIN &&
	       tcp_load8(&step->sender->again) == syn_mark(sequence) &&
	       tcp_load8(&step->receiver->again) == other_mark(sequence);
}

/* What it begins anew is forgotten; but a SYN that is sent again without the data that it had (RFC
 * 7413, 4.1.3) takes nothing back, since the answer may still acknowledge that. */
static enum tcp_result begin(const struct step *step)
{
	struct tcp_side *side = step->sender;
	uint16_t window = step->segment->window;
	bool again = tcp_load8(&side->progress) == TCP_SIDE_SYN &&
		     tcp_load(&side->granted) == step->segment->sequence;

	if (!again || tcp_after(step->end, tcp_load(&side->sent_end)))
		tcp_store(&side->sent_end, step->end);
	tcp_store(&side->granted, step->segment->sequence);
	tcp_store(&side->max_window, window + !window);
	tcp_store8(&side->flags, scale_flags(step->segment));
	tcp_store8(&side->progress, TCP_SIDE_SYN);
	return TCP_OK;
}

/* A SYN on an open connection.  Only the initiator's passes, because only for its direction was the
 * connection allowed.  If it has lost its state, the other side's ACK makes it send a RST.  If both
 * have, a SYN-ACK will come back: the mark tells note_answer() that this SYN was let through. */
static enum tcp_result syn_again(const struct step *step)
{
	struct tcp_side *side = step->sender;

	if (tcp_load8(&side->progress) == TCP_SIDE_SYN &&
		tcp_load(&side->granted) == step->segment->sequence)
		return TCP_OK;
	if (!step->from_initiator)
		return TCP_OUT_OF_STATE;
	tcp_store8(&side->again, syn_mark(step->segment->sequence));
	tcp_store8(&side->flags, tcp_load8(&side->flags) | TCP_SIDE_SYN_AGAIN);
	return TCP_OK;
}

/* True if the segment acknowledges the receiver's SYN, and nothing that was not sent. */
static bool acknowledges_syn(const struct step *step)
{
	uint32_t acknowledgment = step->segment->acknowledgment;

	return tcp_after(acknowledgment, tcp_load(&step->receiver->granted)) &&
	       !tcp_after(acknowledgment, tcp_load(&step->receiver->sent_end));
}

static enum tcp_result answer(const struct step *step)
{
	const struct tcp_segment *segment = step->segment;
	struct tcp_side *side = step->sender;
	uint32_t window = segment->window + !segment->window;

	if (!acknowledges_syn(step))
		return TCP_OUT_OF_WINDOW;
	tcp_store(&side->sent_end, step->end);
	tcp_store(&side->granted, segment->acknowledgment + window);
	tcp_store(&side->max_window, window);
	tcp_store8(&side->flags, scale_flags(segment));
	tcp_store8(&side->progress, TCP_SIDE_SYN_ACK);
	return TCP_OK;
}

/* True if the segment acknowledges what may be acknowledged: of a receiver that has sent no more
 * than its SYN, that; else nothing that is too old, and nothing that was not sent. */
static bool acknowledges_open(const struct step *step)
{
	uint32_t sent_end = tcp_load(&step->receiver->sent_end);
	uint32_t oldest = sent_end - tcp_load(&step->sender->max_window) - TCP_ACK_SLACK;

	if (tcp_load8(&step->receiver->progress) == TCP_SIDE_SYN)
		return acknowledges_syn(step);
	return !tcp_after(step->segment->acknowledgment, sent_end) &&
	       !tcp_after(oldest, step->segment->acknowledgment);
}

/* The SYN of a simultaneous open, sent again with an ACK: RFC 9293, 3.5, figure 7. */
static enum tcp_result cross(const struct step *step)
{
	const struct tcp_segment *segment = step->segment;
	struct tcp_side *side = step->sender;
	uint32_t window = segment->window + !segment->window;
	uint32_t ack = segment->acknowledgment;

	if (segment->sequence != tcp_load(&side->granted) || !acknowledges_open(step))
		return TCP_OUT_OF_WINDOW;
	tcp_store(&side->granted, ack + window);
	if (window > tcp_load(&side->max_window))
		tcp_store(&side->max_window, window);
	tcp_store8(&side->flags, flags_when_open(side, step->receiver));
	tcp_store8(&side->progress, TCP_SIDE_OPEN);
	return TCP_OK;
}

/* Begins a side from a segment in mid-stream.  Its scale is unknown, so the largest is assumed. */
static enum tcp_result pick_up(const struct step *step)
{
	const struct tcp_segment *segment = step->segment;
	struct tcp_side *side = step->sender;
	uint32_t window = (segment->window + !segment->window) << SCALE_MAX;

	tcp_store(&side->sent_end, step->end);
	tcp_store(&side->granted, segment->acknowledgment + window);
	tcp_store(&side->max_window, window);
	tcp_store8(&side->flags, TCP_SIDE_PICKED_UP | SCALE_MAX << TCP_SIDE_SCALE_SHIFT);
	tcp_store8(&side->progress, segment->flags & TCP_FLAG_FIN ? TCP_SIDE_FIN : TCP_SIDE_OPEN);
	return TCP_OK;
}

static bool is_near(uint32_t a, uint32_t b)
{
	return a - b + (1u << 30) <= 1u << 31;
}

static enum tcp_result join(const struct step *step)
{
	if (!is_near(step->segment->acknowledgment, tcp_load(&step->receiver->sent_end)) ||
		!is_near(step->end, tcp_load(&step->receiver->granted)))
		return TCP_OUT_OF_WINDOW;
	return pick_up(step);
}

/* The window check where less is known than tcp_in_window() needs. */
static bool in_window(const struct step *step)
{
	const struct tcp_side *sender = step->sender, *receiver = step->receiver;
	const struct tcp_segment *segment = step->segment;
	uint32_t sent_end = tcp_load(&sender->sent_end);
	uint8_t its = tcp_load8(&receiver->progress), mine = tcp_load8(&sender->progress);

	/* RFC 9293, 3.6: nothing follows a FIN. */
	if (mine == TCP_SIDE_FIN && tcp_after(step->end, sent_end))
		return false;
	if (its == TCP_SIDE_NOTHING) /* Picked up; the other side has not been heard. */
		return is_near(segment->sequence, sent_end);
	if (its == TCP_SIDE_SYN) /* It has acknowledged nothing, so its window counts from here. */
		return !tcp_after(step->end, sent_end + tcp_load(&receiver->max_window)) &&
		       !tcp_after(sent_end - tcp_load(&receiver->max_window), segment->sequence) &&
		       acknowledges_syn(step);
	if (mine == TCP_SIDE_SYN && its == TCP_SIDE_SYN_ACK &&
		segment->acknowledgment != tcp_load(&receiver->sent_end))
		return false; /* The handshake's ACK must be exact. */
	if (tcp_load8(&sender->flags) & TCP_SIDE_PICKED_UP)
		return is_near(segment->sequence, sent_end) &&
		       is_near(segment->acknowledgment, tcp_load(&receiver->sent_end));
	/* A SYN's own number is in no window: a whole one, and a FIN, may have overtaken it. */
	return tcp_in_window(sender, receiver,
		segment->sequence + !!(segment->flags & TCP_FLAG_SYN), step->end,
		segment->acknowledgment);
}

/* Records a segment that is in the window, and how far it brings its sender. */
static void advance(const struct step *step)
{
	const struct tcp_segment *segment = step->segment;
	struct tcp_side *side = step->sender;
	const struct tcp_side *other = step->receiver;
	uint8_t progress = tcp_load8(&side->progress);
	uint8_t flags = tcp_load8(&side->flags), scale = 0;

	if (progress < TCP_SIDE_SYN_ACK) /* From here on it is a bound, not the first number. */
		tcp_store(&side->granted, segment->acknowledgment);
	if (progress < TCP_SIDE_OPEN && !(segment->flags & TCP_FLAG_SYN)) {
		progress = TCP_SIDE_OPEN;
		flags = flags_when_open(side, other);
	}
	if (!(segment->flags & TCP_FLAG_SYN)) /* RFC 7323, 2.2: a SYN's window is never scaled. */
		scale = flags >> TCP_SIDE_SCALE_SHIFT;
	tcp_record(side, step->end, segment->acknowledgment, (uint32_t)segment->window << scale);
	if (segment->flags & TCP_FLAG_FIN && step->end == tcp_load(&side->sent_end))
		progress = TCP_SIDE_FIN;
	if (tcp_load8(&other->progress) == TCP_SIDE_FIN &&
		segment->acknowledgment == tcp_load(&other->sent_end))
		flags |= TCP_SIDE_ACKED_FIN;
	tcp_store8(&side->flags, flags);
	tcp_store8(&side->progress, progress);
}

/* Notes a SYN-ACK that may be the answer to a SYN which was let through on the open connection: if
 * it is, neither side knows the connection any more, and the SYN's next copy opens a new one.  The
 * SYN-ACK by itself ends nothing, since it can be guessed at. */
static enum tcp_result note_answer(const struct step *step)
{
	struct tcp_side *side = step->sender;
	uint32_t sequence = step->segment->acknowledgment - 1;

	if (!(tcp_load8(&step->receiver->flags) & TCP_SIDE_SYN_AGAIN) ||
		tcp_load8(&step->receiver->again) != syn_mark(sequence))
		return TCP_OUT_OF_WINDOW;
	tcp_store8(&side->again, other_mark(sequence));
	tcp_store8(&side->flags, tcp_load8(&side->flags) | TCP_SIDE_SYN_AGAIN);
	return TCP_OUT_OF_STATE;
}

static enum tcp_result check(const struct step *step)
{
	if (in_window(step)) {
		advance(step);
		return TCP_OK;
	}
	if (kind_of(step->segment->flags) == KIND_SYN_ACK && !step->from_initiator)
		return note_answer(step);
	return TCP_OUT_OF_WINDOW;
}

/* With the numbers that it had; or with others, of a responder that has forgotten them (a SYN
 * cookie, RFC 4987, 3.6, or a restart), if it acknowledges the SYN as exactly as the first one had
 * to: the initiator may have seen neither, and takes the one that arrives. */
static enum tcp_result repeat(const struct step *step)
{
	return in_window(step) ? check(step) : answer(step);
}

static enum tcp_result reset(const struct step *step)
{
	tcp_store8(&step->sender->progress, TCP_SIDE_RESET);
	return TCP_OK;
}

/* RFC 9293, 3.10.7.3: the RST must acknowledge the SYN. */
static enum tcp_result deny(const struct step *step)
{
	if (!(step->segment->flags & TCP_FLAG_ACK) || !acknowledges_syn(step))
		return TCP_OUT_OF_WINDOW;
	return reset(step);
}

/* The RST that answers a HINT has the number which that acknowledged; it is meant for the older
 * connection, and passes.  Any other takes the SYN back. */
static enum tcp_result abort_open(const struct step *step)
{
	uint32_t sent_end = tcp_load(&step->sender->sent_end);

	if (step->segment->sequence == sent_end || step->segment->sequence == sent_end - 1)
		return reset(step);
	return TCP_OK;
}

/* A RST ends the connection if it is exactly where the receiver must stand: behind all that was
 * sent, or where the receiver has acknowledged up to.  (`granted - max_window` is that place while
 * its window is at its largest, and never after it.)  Anywhere else in the window it passes and
 * ends nothing, since the receiver asks back (RFC 5961, 3.2), and the answer is exact; so that
 * whoever only guesses must guess a whole sequence number here as well as there.  A connection that
 * has ended all the same, because what was sent last is lost and the window was not at its largest,
 * times out.  Of a sender that has not been heard, any place in the window must do. */
static enum tcp_result end_by_reset(const struct step *step)
{
	uint32_t sequence = step->segment->sequence;
	uint32_t sent_end = tcp_load(&step->sender->sent_end);
	uint32_t window = tcp_load(&step->receiver->max_window);
	uint32_t granted = sent_end + window, from = sent_end - 1;

	if (tcp_load8(&step->receiver->progress) >= TCP_SIDE_SYN_ACK) {
		granted = tcp_load(&step->receiver->granted);
		from = granted - window;
	}
	if (tcp_load8(&step->sender->progress) == TCP_SIDE_NOTHING)
		return !tcp_after(from, sequence) && !tcp_after(sequence, granted)
			       ? reset(step)
			       : TCP_OUT_OF_WINDOW;
	if (sequence == sent_end || sequence == from)
		return reset(step);
	if (!tcp_after(sent_end - window, sequence) && !tcp_after(sequence, granted))
		return TCP_OK;
	return TCP_OUT_OF_WINDOW;
}

/* Without data, so that nothing gets in before a handshake. */
static enum tcp_result hint(const struct step *step)
{
	if (step->segment->payload_bytes || step->segment->flags & TCP_FLAG_FIN)
		return TCP_OUT_OF_STATE;
	return TCP_OK;
}

static enum tcp_result act(const struct step *step, enum action action)
{
	switch (action) {
	case BEGIN: return begin(step);
	case AGAIN: return syn_again(step);
	case ANSWER: return answer(step);
	case REPEAT: return repeat(step);
	case CROSS: return cross(step);
	case HINT: return hint(step);
	case JOIN: return join(step);
	case CHECK: return check(step);
	case DENY: return deny(step);
	case ABORT: return abort_open(step);
	case END: return end_by_reset(step);
	case REFUSE: break;
	}
	return TCP_OUT_OF_STATE;
}

/* --- The machine ---------------------------------------------------------------------------- */

static struct step step_of(struct tcp_side *sender, const struct tcp_side *receiver,
	const struct tcp_segment *segment, bool from_initiator)
{
	return (struct step){
		.sender = sender,
		.receiver = receiver,
		.segment = segment,
		.end = segment->sequence + segment->payload_bytes +
		       !!(segment->flags & TCP_FLAG_SYN) + !!(segment->flags & TCP_FLAG_FIN),
		.from_initiator = from_initiator,
	};
}

/* The progress of a side, as an index that is in range whatever the memory holds. */
static unsigned int progress_of(const struct tcp_side *side)
{
	uint8_t progress = tcp_load8(&side->progress);

	return progress < TCP_SIDE_N_PROGRESS ? progress : TCP_SIDE_RESET;
}

enum tcp_result tcp_step_rare(struct tcp_side *sender, const struct tcp_side *receiver,
	const struct tcp_segment *segment, bool from_initiator)
{
	const struct tcp_side *initiator = from_initiator ? sender : receiver;
	const struct tcp_side *responder = from_initiator ? receiver : sender;
	struct step step = step_of(sender, receiver, segment, from_initiator);
	enum tcp_state before = tcp_state(initiator, responder);
	bool first = progress_of(sender) == TCP_SIDE_NOTHING;
	enum kind kind = kind_of(segment->flags);
	enum tcp_result result;

	if (!tcp_flags_valid(segment->flags))
		return TCP_BAD_FLAGS;
	if (kind == KIND_SYN &&
		(before == TCP_TIME_WAIT || before == TCP_CLOSED || is_answered_anew(&step)))
		return TCP_REOPEN;
	result = act(&step, actions[kind][progress_of(sender)][progress_of(receiver)]);
	if (result != TCP_OK)
		return result;
	tcp_note_flags(sender, segment->flags);
	first = first && progress_of(sender) != TCP_SIDE_NOTHING;
	return tcp_state(initiator, responder) == before && !first ? TCP_OK : TCP_OK_STATE_CHANGED;
}

static void side_clear(struct tcp_side *side)
{
	tcp_store(&side->sent_end, 0);
	tcp_store(&side->granted, 0);
	tcp_store(&side->max_window, 1);
	tcp_store8(&side->progress, TCP_SIDE_NOTHING);
	tcp_store8(&side->flags, 0);
	tcp_store8(&side->flags_seen, 0);
	tcp_store8(&side->again, 0);
}

enum tcp_result tcp_open(struct tcp_side *initiator, struct tcp_side *responder,
	const struct tcp_segment *segment, bool pickup)
{
	struct step step = step_of(initiator, responder, segment, true);

	side_clear(initiator);
	side_clear(responder);
	if (!tcp_flags_valid(segment->flags))
		return TCP_BAD_FLAGS;
	switch (kind_of(segment->flags)) {
	case KIND_SYN: begin(&step); break;
	case KIND_ACK:
	case KIND_SYN_ACK:
		if (!pickup)
			return TCP_OUT_OF_STATE;
		pick_up(&step);
		break;
	default: return TCP_OUT_OF_STATE;
	}
	tcp_note_flags(initiator, segment->flags);
	return TCP_OK_STATE_CHANGED;
}

/* By the initiator's and the responder's progress. */
static const uint8_t states[TCP_SIDE_N_PROGRESS][TCP_SIDE_N_PROGRESS] = {
	[TCP_SIDE_NOTHING] = {TCP_NONE, TCP_NONE, TCP_NONE, TCP_NONE, TCP_NONE, TCP_CLOSED},
	[TCP_SIDE_SYN] = {TCP_SYN_SENT, TCP_SYN_RECEIVED, TCP_SYN_RECEIVED, TCP_SYN_RECEIVED,
		TCP_FIN_WAIT, TCP_CLOSED},
	/* Only a responder's first segment can be a SYN-ACK. */
	[TCP_SIDE_SYN_ACK] = {TCP_NONE, TCP_NONE, TCP_NONE, TCP_NONE, TCP_NONE, TCP_CLOSED},
	/* Its responder's SYN without an ACK is a simultaneous open, half done.  No responder: it
	 * was picked up in mid-stream. */
	[TCP_SIDE_OPEN] = {TCP_ESTABLISHED, TCP_SYN_RECEIVED, TCP_ESTABLISHED, TCP_ESTABLISHED,
		TCP_FIN_WAIT, TCP_CLOSED},
	[TCP_SIDE_FIN] = {TCP_FIN_WAIT, TCP_FIN_WAIT, TCP_FIN_WAIT, TCP_FIN_WAIT, TCP_CLOSING,
		TCP_CLOSED},
	[TCP_SIDE_RESET] = {TCP_CLOSED, TCP_CLOSED, TCP_CLOSED, TCP_CLOSED, TCP_CLOSED, TCP_CLOSED},
};

enum tcp_state tcp_state(const struct tcp_side *initiator, const struct tcp_side *responder)
{
	enum tcp_state state = states[progress_of(initiator)][progress_of(responder)];

	if (state == TCP_CLOSING && tcp_load8(&initiator->flags) & TCP_SIDE_ACKED_FIN &&
		tcp_load8(&responder->flags) & TCP_SIDE_ACKED_FIN)
		return TCP_TIME_WAIT;
	return state;
}

/* The oldest number that may not have been acknowledged.  `granted - max_window` is never after the
 * last ACK.  Of a side that was picked up and has no other yet, little is known. */
static uint32_t oldest_outstanding(const struct tcp_side *sender, const struct tcp_side *receiver)
{
	if (progress_of(receiver) >= TCP_SIDE_SYN_ACK)
		return tcp_load(&receiver->granted) - tcp_load(&receiver->max_window) - 1;
	if (progress_of(sender) == TCP_SIDE_SYN)
		return tcp_load(&sender->granted);
	return tcp_load(&sender->sent_end) - (1u << 30);
}

bool tcp_is_outstanding(
	const struct tcp_side *sender, const struct tcp_side *receiver, uint32_t sequence)
{
	if (progress_of(sender) == TCP_SIDE_NOTHING || progress_of(sender) == TCP_SIDE_RESET ||
		progress_of(receiver) == TCP_SIDE_RESET)
		return false;
	return !tcp_after(sequence, tcp_load(&sender->sent_end)) &&
	       !tcp_after(oldest_outstanding(sender, receiver), sequence);
}

const char *tcp_state_name(enum tcp_state state)
{
	static const char *const names[TCP_N_STATES] = {
		[TCP_NONE] = "NONE",
		[TCP_SYN_SENT] = "SYN-SENT",
		[TCP_SYN_RECEIVED] = "SYN-RECEIVED",
		[TCP_ESTABLISHED] = "ESTABLISHED",
		[TCP_FIN_WAIT] = "FIN-WAIT",
		[TCP_CLOSING] = "CLOSING",
		[TCP_TIME_WAIT] = "TIME-WAIT",
		[TCP_CLOSED] = "CLOSED",
	};

	return (unsigned int)state < TCP_N_STATES ? names[state] : "?";
}
