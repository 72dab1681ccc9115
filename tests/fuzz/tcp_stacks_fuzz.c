/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two TCP stacks that do as RFC 9293 says, with the state machine between them, on a network that
 * loses, repeats and overtakes: whatever one of them sends that the other can still use must pass.
 * Either may open, both may at once, close, and send into the other's window, scaled or not; or the
 * connection was picked up in mid-stream.  A third party injects segments with numbers that he does
 * not know; what he sends must change nothing.
 *
 * The stacks are as simple as can be: no timers, no reassembly (what comes too early is sent
 * again), one connection.  The input is a byte of choices, two of initial numbers, and then events
 * of two bytes: what happens, and how much of it.
 */
#include <stdlib.h>
#include <string.h>

#include "zones/tcp_state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum choice {
	CHOICE_SCALES_0 = 1 << 0, /* The first side offers window scaling, by 5... */
	CHOICE_SCALES_1 = 1 << 1, /* ...the other one by 2. */
	CHOICE_PICKUP = 1 << 2,	  /* The box begins to look when both sides are open. */
};

enum stack_state { CLOSED, SYN_SENT, SYN_RECEIVED, OPEN };

/* A segment on its way. */
struct segment {
	struct tcp_segment fields;
	uint8_t options[3];
};

enum { QUEUE_MAX = 8 };

/* Segments between a stack and the box; any of them may be next. */
struct queue {
	struct segment at[QUEUE_MAX];
	unsigned int n;
};

struct stack {
	enum stack_state state;
	uint32_t first, una, next, granted; /* Sent: first number, unacknowledged, next, bound. */
	uint32_t expected;		    /* To receive. */
	uint16_t window;
	uint8_t offers, scale, its_scale; /* 0: none. */
	bool fin_sent, fin_received;
	struct queue to_box, from_box;
};

struct world {
	struct stack stacks[2];
	struct tcp_side sides[2]; /* As the box has them: [0] of who opened. */
	unsigned int initiator;	  /* Which stack that is. */
	bool open, pickup;
};

static void require(bool promise)
{
	if (!promise)
		abort();
}

static bool after(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) > 0;
}

/* --- Queues ----------------------------------------------------------------------------------- */

/* What does not fit is lost. */
static void put(struct queue *queue, const struct segment *segment)
{
	if (queue->n < QUEUE_MAX)
		queue->at[queue->n++] = *segment;
}

/* Any of them, which may stay for another time. */
static bool take(struct queue *queue, uint8_t which, struct segment *segment)
{
	if (queue->n == 0)
		return false;
	unsigned int at = (which >> 1) % queue->n;
	*segment = queue->at[at];
	if (!(which & 1))
		queue->at[at] = queue->at[--queue->n];
	return true;
}

/* --- A stack ---------------------------------------------------------------------------------- */

static void transmit(struct stack *stack, uint32_t sequence, uint32_t bytes, uint8_t flags)
{
	struct segment segment = {.options = {3, 3, stack->offers}};

	segment.fields = (struct tcp_segment){
		.sequence = sequence,
		.acknowledgment = flags & TCP_FLAG_ACK ? stack->expected : 0,
		.payload_bytes = bytes,
		.window = flags & TCP_FLAG_SYN ? stack->window : stack->window >> stack->scale,
		.flags = flags,
		.options_bytes = flags & TCP_FLAG_SYN && stack->offers ? 3 : 0,
	};
	put(&stack->to_box, &segment);
}

static void send_syn(struct stack *stack)
{
	transmit(stack, stack->first, 0,
		stack->state == SYN_RECEIVED ? TCP_FLAG_SYN | TCP_FLAG_ACK : TCP_FLAG_SYN);
}

static void open_stack(struct stack *stack)
{
	if (stack->state == CLOSED) {
		stack->state = SYN_SENT;
		stack->una = stack->first;
		stack->next = stack->first + 1;
	}
	if (stack->state != OPEN)
		send_syn(stack); /* Again, if need be. */
}

static void send_data(struct stack *stack, uint32_t bytes)
{
	uint32_t room = stack->granted - stack->next;

	if (stack->state != OPEN || stack->fin_sent || !after(stack->granted, stack->next))
		return;
	bytes = bytes < room ? bytes : room;
	transmit(stack, stack->next, bytes, TCP_FLAG_ACK);
	stack->next += bytes;
}

static void send_fin(struct stack *stack)
{
	if (stack->state != OPEN || stack->fin_sent)
		return;
	transmit(stack, stack->next, 0, TCP_FLAG_ACK | TCP_FLAG_FIN);
	stack->next++;
	stack->fin_sent = true;
}

/* All that is not acknowledged. */
static void send_again(struct stack *stack)
{
	uint32_t bytes = stack->next - stack->una;

	if (stack->state != OPEN) {
		if (stack->state != CLOSED)
			send_syn(stack);
	} else if (bytes != 0) {
		transmit(stack, stack->una, bytes - stack->fin_sent,
			TCP_FLAG_ACK | (stack->fin_sent ? TCP_FLAG_FIN : 0));
	}
}

static void send_ack(struct stack *stack)
{
	if (stack->state == OPEN)
		transmit(stack, stack->next, 0, TCP_FLAG_ACK);
}

static void take_syn(struct stack *stack, const struct segment *segment)
{
	stack->expected = segment->fields.sequence + 1;
	if (segment->fields.options_bytes && stack->offers) {
		stack->scale = stack->offers;
		stack->its_scale = segment->options[2];
	}
}

static void grant(struct stack *stack, const struct segment *segment)
{
	uint32_t window = segment->fields.window;

	if (!(segment->fields.flags & TCP_FLAG_SYN))
		window <<= stack->its_scale;
	stack->una = segment->fields.acknowledgment;
	stack->granted = stack->una + window;
}

static bool acknowledges(const struct stack *stack, const struct segment *segment)
{
	return segment->fields.flags & TCP_FLAG_ACK &&
	       !after(stack->una, segment->fields.acknowledgment) &&
	       !after(segment->fields.acknowledgment, stack->next);
}

/* Without a connection, or while it is being opened. */
static void receive_early(struct stack *stack, const struct segment *segment)
{
	bool syn = segment->fields.flags & TCP_FLAG_SYN;
	bool answers = acknowledges(stack, segment) && stack->state != CLOSED &&
		       segment->fields.acknowledgment == stack->next;

	if (syn && stack->state != SYN_RECEIVED)
		take_syn(stack, segment);
	if (syn && stack->state == CLOSED) {
		stack->una = stack->first;
		stack->next = stack->first + 1;
	}
	if (answers && (syn || stack->state == SYN_RECEIVED)) {
		stack->state = OPEN;
		grant(stack, segment);
		send_ack(stack);
	} else if (syn && !(segment->fields.flags & TCP_FLAG_ACK)) {
		stack->state = SYN_RECEIVED;
		send_syn(stack);
	}
}

static void receive(struct stack *stack, const struct segment *segment)
{
	const struct tcp_segment *fields = &segment->fields;
	uint32_t end = fields->sequence + fields->payload_bytes;

	if (stack->state != OPEN) {
		receive_early(stack, segment);
		return;
	}
	if (fields->flags & TCP_FLAG_SYN) {
		send_ack(stack); /* RFC 5961, 4. */
		return;
	}
	if (acknowledges(stack, segment))
		grant(stack, segment);
	if (after(fields->sequence, stack->expected))
		return;
	if (after(end, stack->expected))
		stack->expected = end;
	if (fields->flags & TCP_FLAG_FIN && end == stack->expected && !stack->fin_received) {
		stack->fin_received = true;
		stack->expected++;
	}
}

/* --- The box ---------------------------------------------------------------------------------- */

/* True if the receiver can use the segment as things are with it: it brings something new.  A SYN
 * whose sender has gone on to a SYN-ACK, which has overtaken it, does not; nor does what begins
 * with bytes that its sender knows to be there, and would not send like that any more. */
static bool is_useful(
	const struct stack *sender, const struct stack *receiver, const struct segment *segment)
{
	const struct tcp_segment *fields = &segment->fields;
	bool fin = fields->flags & TCP_FLAG_FIN;
	uint32_t end = fields->sequence + fields->payload_bytes + fin;

	if ((fields->flags & (TCP_FLAG_SYN | TCP_FLAG_ACK)) == TCP_FLAG_SYN)
		return sender->state == SYN_SENT && receiver->state != OPEN;
	if (fields->flags & TCP_FLAG_SYN)
		return receiver->state == SYN_SENT || receiver->state == SYN_RECEIVED;
	if (receiver->state == SYN_RECEIVED)
		return acknowledges(receiver, segment) &&
		       fields->acknowledgment == receiver->next &&
		       fields->sequence == receiver->expected;
	if (receiver->state != OPEN || after(fields->sequence, receiver->expected) ||
		after(sender->una, fields->sequence))
		return false;
	return after(end, receiver->expected) ||
	       (acknowledges(receiver, segment) && after(fields->acknowledgment, receiver->una));
}

static enum tcp_result step_box(
	struct world *world, unsigned int from, const struct tcp_segment *segment)
{
	unsigned int side = from != world->initiator;

	return tcp_step(&world->sides[side], &world->sides[!side], segment, side == 0);
}

static void open_box(struct world *world, unsigned int from, const struct tcp_segment *segment)
{
	if (world->pickup ? segment->flags != TCP_FLAG_ACK : segment->flags != TCP_FLAG_SYN)
		return;
	world->open = tcp_open(&world->sides[0], &world->sides[1], segment, world->pickup) ==
		      TCP_OK_STATE_CHANGED;
	world->initiator = from;
	require(world->open);
}

/* A segment reaches the box.  Before it looks, all passes. */
static void through_box(struct world *world, unsigned int from, uint8_t which)
{
	const struct stack *stacks = world->stacks;
	struct segment segment;

	if (!take(&world->stacks[from].to_box, which, &segment))
		return;
	segment.fields.options = segment.options;
	if (!world->open) {
		if (!world->pickup || (stacks[0].state == OPEN && stacks[1].state == OPEN))
			open_box(world, from, &segment.fields);
		if (world->open || world->pickup)
			put(&world->stacks[!from].from_box, &segment);
		return;
	}
	if (step_box(world, from, &segment.fields) <= TCP_OK_STATE_CHANGED)
		put(&world->stacks[!from].from_box, &segment);
	else
		require(!is_useful(&stacks[from], &stacks[!from], &segment));
}

/* Somebody who knows the addresses, but not the numbers: he is never within 2^28 of them. */
static void inject(struct world *world, uint8_t how, uint8_t far)
{
	static const uint8_t kinds[] = {TCP_FLAG_ACK, TCP_FLAG_RST, TCP_FLAG_RST | TCP_FLAG_ACK,
		TCP_FLAG_ACK | TCP_FLAG_FIN, TCP_FLAG_SYN | TCP_FLAG_ACK, TCP_FLAG_ACK};
	unsigned int from = how & 1, side = from != world->initiator;
	uint32_t off = (UINT32_C(1) << 28) + far * UINT32_C(14680064); /* Up to 15/16 of all. */
	struct tcp_side before[2];
	const struct tcp_segment segment = {
		.sequence = world->stacks[from].next + off,
		.acknowledgment = world->stacks[!from].next - off,
		.payload_bytes = how & 2 ? 9 : 0,
		.window = 8000,
		.flags = kinds[(how >> 2) % sizeof(kinds)],
	};

	if (!world->open || world->pickup)
		return;
	memcpy(before, world->sides, sizeof(before));
	enum tcp_result result = step_box(world, from, &segment);
	/* A RST of one who has had no answer, and an ACK in place of one, pass and change nothing.
	 */
	require(tcp_load8(&before[side].progress) == tcp_load8(&world->sides[side].progress));
	require(tcp_load(&before[side].sent_end) == tcp_load(&world->sides[side].sent_end));
	require(tcp_load(&before[side].granted) == tcp_load(&world->sides[side].granted));
	require(result > TCP_OK_STATE_CHANGED || tcp_load8(&before[side].progress) <= TCP_SIDE_SYN);
}

static void happen(struct world *world, uint8_t what, uint8_t how_much)
{
	struct stack *stack = &world->stacks[what & 1];
	struct segment segment;

	switch (what >> 1 & 15) {
	case 0: open_stack(stack); break;
	case 1: send_data(stack, how_much); break;
	case 2: send_data(stack, how_much * 64u); break;
	case 3: send_fin(stack); break;
	case 4: send_again(stack); break;
	case 5: send_ack(stack); break;
	case 6: inject(world, how_much, what >> 5); break;
	case 7: stack->window = (uint16_t)(how_much << 8 | 0xff); break;
	case 8: take(&stack->to_box, how_much & 0xfe, &segment); break; /* Lost. */
	case 9:
	case 10:
	case 11: through_box(world, what & 1, how_much); break;
	default:
		if (take(&stack->from_box, how_much, &segment))
			receive(stack, &segment);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct world world; /* Large. */

	if (size < 3)
		return 0;
	memset(&world, 0, sizeof(world));
	for (unsigned int i = 0; i < 2; i++) {
		world.stacks[i].first = data[1 + i] * UINT32_C(0x01010101);
		world.stacks[i].window = 8000;
	}
	world.stacks[0].offers = data[0] & CHOICE_SCALES_0 ? 5 : 0;
	world.stacks[1].offers = data[0] & CHOICE_SCALES_1 ? 2 : 0;
	world.pickup = data[0] & CHOICE_PICKUP;
	for (size_t at = 3; at + 1 < size && at < 1024; at += 2)
		happen(&world, data[at], data[at + 1]);
	return 0;
}
