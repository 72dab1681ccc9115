/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any segments, in any order, from both sides of a connection: the state machine stays within its
 * states, a segment that is refused changes nothing, and only its sender's side is ever written.
 *
 * The input is a list of segments of 8 bytes, each followed by as many bytes of options as its
 * flags byte's neighbour says; numbers are taken close to where the two sides are, so that windows
 * matter.
 */
#include <stdlib.h>
#include <string.h>

#include "zones/tcp_state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INITIATOR, RESPONDER };

/* One segment of the input. */
struct line {
	uint8_t who; /* Bit 0: the responder; bits 1 to 3: how the numbers are meant. */
	uint8_t flags;
	uint8_t options_bytes;
	uint8_t bytes;
	int16_t sequence, acknowledgment;
};

_Static_assert(sizeof(struct line) == 8, "as the input has it");

static void require(bool promise)
{
	if (!promise)
		abort();
}

/* Numbers are relative to what the two sides have sent, or as they are. */
static struct tcp_segment segment_of(const struct line *line, const struct tcp_side *sender,
	const struct tcp_side *receiver, const uint8_t *options)
{
	uint32_t scale = line->who & 8 ? 64 : 1;
	uint32_t sequence = line->who & 2 ? 0 : sender->sent_end;
	uint32_t acknowledgment = line->who & 4 ? 0 : receiver->sent_end;

	return (struct tcp_segment){
		.sequence = sequence + (uint32_t)line->sequence * scale,
		.acknowledgment = acknowledgment + (uint32_t)line->acknowledgment * scale,
		.payload_bytes = line->bytes * scale,
		.window = line->bytes * 37,
		.flags = line->flags,
		.options_bytes = line->options_bytes,
		.options = options,
	};
}

static void check_sides(const struct tcp_side sides[2])
{
	enum tcp_state state = tcp_state(&sides[INITIATOR], &sides[RESPONDER]);

	require(state < TCP_N_STATES && tcp_state_name(state)[0] != '?');
	require(tcp_side_valid(&sides[INITIATOR]) && tcp_side_valid(&sides[RESPONDER]));
}

static void step(struct tcp_side sides[2], const struct line *line, const uint8_t *options)
{
	unsigned int from = line->who & 1;
	struct tcp_segment segment = segment_of(line, &sides[from], &sides[!from], options);
	struct tcp_side before[2];
	enum tcp_state state = tcp_state(&sides[INITIATOR], &sides[RESPONDER]);
	enum tcp_result result;

	memcpy(before, sides, sizeof(before));
	result = tcp_step(&sides[from], &sides[!from], &segment, from == INITIATOR);
	require(memcmp(&before[!from], &sides[!from], sizeof(before[0])) == 0);
	switch (result) {
	case TCP_OK:
		require(tcp_state(&sides[INITIATOR], &sides[RESPONDER]) == state);
		require((sides[from].flags_seen & segment.flags) == segment.flags);
		break;
	case TCP_OK_STATE_CHANGED:
		require(tcp_state(&sides[INITIATOR], &sides[RESPONDER]) != state ||
			(tcp_load8(&before[from].progress) == TCP_SIDE_NOTHING &&
				tcp_load8(&sides[from].progress) != TCP_SIDE_NOTHING));
		break;
	case TCP_REOPEN:
		require(segment.flags & TCP_FLAG_SYN && !(segment.flags & TCP_FLAG_ACK));
		require(state == TCP_TIME_WAIT || state == TCP_CLOSED ||
			(from == INITIATOR && before[from].flags & TCP_SIDE_SYN_AGAIN));
		tcp_open(&sides[INITIATOR], &sides[RESPONDER], &segment, line->who & 16);
		break;
	case TCP_OUT_OF_STATE: /* May be noted, but moves nothing. */
		require(tcp_state(&sides[INITIATOR], &sides[RESPONDER]) == state);
		break;
	default: require(memcmp(&before[from], &sides[from], sizeof(before[0])) == 0);
	}
	check_sides(sides);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tcp_side sides[2];
	struct line line;
	bool open = false;

	memset(sides, 0, sizeof(sides));
	while (size >= sizeof(line)) {
		uint8_t *options;

		memcpy(&line, data, sizeof(line));
		data += sizeof(line);
		size -= sizeof(line);
		if (line.options_bytes > size || line.options_bytes > 40)
			line.options_bytes = size < 40 ? size : 40;
		options = malloc(line.options_bytes + !line.options_bytes);
		memcpy(options, data, line.options_bytes);
		data += line.options_bytes;
		size -= line.options_bytes;
		if (!open) {
			struct tcp_segment segment =
				segment_of(&line, &sides[0], &sides[1], options);

			open = tcp_open(&sides[INITIATOR], &sides[RESPONDER], &segment,
				       line.who & 16) == TCP_OK_STATE_CHANGED;
			check_sides(sides);
		} else {
			step(sides, &line, options);
		}
		free(options);
	}
	return 0;
}
