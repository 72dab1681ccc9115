/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hit path of tcp_step(): a data segment or an ACK, within the window, of a connection that is
 * open on both sides.  Everything else is tcp_step_rare()'s.  Included by tcp_state.h only.
 */
#ifndef ZONES_TCP_STEP_INLINE_H
#define ZONES_TCP_STEP_INLINE_H

/* An ACK may be as much older than the other side's newest segment as the largest window, and this
 * (van Rooij's MAXACKWINDOW): old segments that were overtaken. */
enum { TCP_ACK_SLACK = 66000 };

static inline uint32_t tcp_load(const _Atomic uint32_t *field)
{
	return atomic_load_explicit(field, memory_order_relaxed);
}

static inline void tcp_store(_Atomic uint32_t *field, uint32_t value)
{
	atomic_store_explicit(field, value, memory_order_relaxed);
}

static inline uint8_t tcp_load8(const _Atomic uint8_t *field)
{
	return atomic_load_explicit(field, memory_order_relaxed);
}

static inline void tcp_store8(_Atomic uint8_t *field, uint8_t value)
{
	atomic_store_explicit(field, value, memory_order_relaxed);
}

/* True if sequence number a comes after b (RFC 9293, 3.4: modulo 2^32). */
static inline bool tcp_after(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) > 0;
}

/* The four bounds of van Rooij's section 4, for sides that both have acknowledged something.  One
 * byte past the window passes: a FIN is sent even into a closed one; and what was sent before it, a
 * whole window, may come after it. */
static inline bool tcp_in_window(const struct tcp_side *sender, const struct tcp_side *receiver,
	uint32_t sequence, uint32_t end, uint32_t acknowledgment)
{
	uint32_t sent_end = tcp_load(&sender->sent_end);
	uint32_t its_end = tcp_load(&receiver->sent_end);
	uint32_t oldest = its_end - tcp_load(&sender->max_window) - TCP_ACK_SLACK;

	/* Each difference is negative, modulo 2^32, if its bound is not kept: one test for four. */
	uint32_t below = tcp_load(&receiver->granted) + 1 - end;
	uint32_t above = sequence + 1 - (sent_end - tcp_load(&receiver->max_window));
	uint32_t ack_below = its_end - acknowledgment;
	uint32_t ack_above = acknowledgment - oldest;

	return (int32_t)(below | above | ack_below | ack_above) >= 0;
}

/* Records what a segment that passed says of its sender. */
static inline void tcp_record(
	struct tcp_side *sender, uint32_t end, uint32_t acknowledgment, uint32_t window)
{
	uint32_t granted = acknowledgment + window + !window;

	if (tcp_after(end, tcp_load(&sender->sent_end)))
		tcp_store(&sender->sent_end, end);
	if (tcp_after(granted, tcp_load(&sender->granted)))
		tcp_store(&sender->granted, granted);
	if (window > tcp_load(&sender->max_window))
		tcp_store(&sender->max_window, window);
}

static inline void tcp_note_flags(struct tcp_side *sender, uint8_t flags)
{
	uint8_t seen = tcp_load8(&sender->flags_seen);

	if ((seen | flags) != seen)
		tcp_store8(&sender->flags_seen, seen | flags);
}

static inline bool tcp_step_common(
	struct tcp_side *sender, const struct tcp_side *receiver, const struct tcp_segment *segment)
{
	const uint8_t counts = TCP_FLAG_SYN | TCP_FLAG_FIN | TCP_FLAG_RST | TCP_FLAG_ACK;
	uint32_t end = segment->sequence + segment->payload_bytes;

	if (__builtin_expect(tcp_load8(&sender->progress) == TCP_SIDE_OPEN &&
				     tcp_load8(&receiver->progress) == TCP_SIDE_OPEN &&
				     (segment->flags & counts) == TCP_FLAG_ACK &&
				     tcp_in_window(sender, receiver, segment->sequence, end,
					     segment->acknowledgment),
		    1)) {
		tcp_record(sender, end, segment->acknowledgment,
			(uint32_t)segment->window
				<< (tcp_load8(&sender->flags) >> TCP_SIDE_SCALE_SHIFT));
		tcp_note_flags(sender, segment->flags);
		return true;
	}
	return false;
}

static inline enum tcp_result tcp_step(struct tcp_side *sender, const struct tcp_side *receiver,
	const struct tcp_segment *segment, bool from_initiator)
{
	if (__builtin_expect(tcp_step_common(sender, receiver, segment), 1))
		return TCP_OK;
	return tcp_step_rare(sender, receiver, segment, from_initiator);
}

#endif
