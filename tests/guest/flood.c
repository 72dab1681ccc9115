/* SPDX-License-Identifier: Apache-2.0 */
/*
 * As many frames as the ring takes: UDP datagrams to the peer's discard port, written once and sent
 * again and again.
 *
 *	flood ADDRESS FRAMES BYTES [WINDOW]	0 frames: until "stop"
 *
 *	shout ADDRESS MAC PORT FRAMES
 *
 * The second asks nobody for a neighbour first, and gives each datagram its number: what a guest
 * sends that has no time to lose.
 *
 * With a window no more than two windows are on their way: the receiver says when it has had one.
 * So nothing is lost where sender and receiver share a processor, and they take turns.
 */
#include "guest.h"

enum { BURST = 32, UDP_HEADER = 8, FRAME_LEAST = 64, POLL_BURSTS = 4, PATIENCE_MS = 500 };

struct flood {
	struct net *net;
	uint64_t frames, sent;
	size_t bytes;
	uint64_t window, first_credit, given_up;
};

/* All buffers of a pair hold the frame afterwards: nothing else is sent meanwhile, but answers. */
static void write_frame(uint8_t *frame, const struct flood *flood, const uint8_t *mac,
	const struct address *peer, unsigned int pair)
{
	uint8_t *udp = packet_begin(frame, flood->net, mac, peer, PROTOCOL_UDP);
	size_t header = (size_t)(udp - frame), payload = flood->bytes - header;

	memset(udp, 0, payload);
	set_be16(udp, (uint16_t)(PORT_FLOOD + pair));
	set_be16(udp + 2, PORT_DISCARD);
	set_be16(udp + UDP_HEADER, (uint16_t)flood->window);
	packet_end(frame, payload);
}

static void write_all(const struct flood *flood, const uint8_t *mac, const struct address *peer,
	unsigned int pair)
{
	struct queue *queue = &flood->net->send[pair];

	for (uint16_t i = 0; i < queue->size; i++) {
		write_frame(flood->net->send_buffers[pair] + (size_t)i * 2048 + NET_HEADER, flood,
			mac, peer, pair);
		queue->descriptors[i].length = (uint32_t)(NET_HEADER + flood->bytes);
	}
}

/* As many as there is room for, at most a burst; notified once. */
static unsigned int burst(struct flood *flood, unsigned int pair)
{
	struct queue *queue = &flood->net->send[pair];
	uint32_t length;
	unsigned int n;
	uint16_t head;

	while (queue_take(queue, &head, &length))
		;
	for (n = 0; n < BURST && queue->n_free > 0; n++)
		queue->available->heads[queue->available_index++ & (queue->size - 1)] =
			queue->free[--queue->n_free];
	if (n == 0)
		return 0;
	compiler_barrier();
	queue->available->index = queue->available_index;
	queue_kick(queue);
	flood->sent += n;
	return n;
}

/* Waits until a burst may be sent.  A window of which something was lost is given up after a
 * while. */
static void wait_for_window(struct flood *flood)
{
	uint64_t end = clock_cycles() + PATIENCE_MS * cycles_per_ms();

	while (flood->window > 0 && !command_stopped()) {
		uint64_t had = flood->net->credits - flood->first_credit + flood->given_up;

		if (flood->sent + BURST <= (had + 2) * flood->window)
			return;
		if (clock_cycles() > end) {
			flood->given_up++;
			return;
		}
		net_sleep(PATIENCE_MS);
	}
}

static void run(struct flood *flood)
{
	for (unsigned int i = 0; flood->frames == 0 || flood->sent < flood->frames; i++) {
		wait_for_window(flood);
		burst(flood, i % flood->net->n_pairs);
		if (i % POLL_BURSTS == 0)
			work();
		if (command_stopped())
			return;
	}
}

void flood(char *line, char *reply, size_t size)
{
	struct flood flood = {.net = &nets[0]};
	struct address peer;
	uint64_t start, ms;
	uint8_t mac[6];

	if (n_nets == 0 || !address_read(&peer, word(&line)) ||
		!neighbour_find(flood.net, &peer, mac)) {
		format_to(reply, size, "flood: no neighbour");
		return;
	}
	flood.frames = number(word(&line));
	flood.bytes = (size_t)number(word(&line));
	if (flood.bytes < FRAME_LEAST || flood.bytes > FRAME_MAX)
		flood.bytes = FRAME_LEAST;
	flood.window = number(word(&line));
	flood.first_credit = flood.net->credits;
	for (unsigned int pair = 0; pair < flood.net->n_pairs; pair++)
		write_all(&flood, mac, &peer, pair);
	start = clock_cycles();
	run(&flood);
	ms = (clock_cycles() - start) / cycles_per_ms();
	flood.net->sent += flood.sent;
	flood.net->sent_bytes += flood.sent * flood.bytes;
	format_to(reply, size, "flood: sent %u in %u ms, gave up %u windows", flood.sent, ms,
		flood.given_up);
}

/* "52:54:00:00:00:01" */
static void mac_read(uint8_t mac[6], const char *text)
{
	memset(mac, 0, 6);
	for (unsigned int i = 0; *text && i < 6; text++) {
		if (*text == ':')
			i++;
		else
			mac[i] =
				(uint8_t)(mac[i] << 4 |
					  (*text <= '9' ? *text - '0' : (*text | 0x20) - 'a' + 10));
	}
}

static void shout_one(const uint8_t *mac, const struct address *peer, uint16_t port, uint32_t count)
{
	uint8_t *frame, *udp;

	while (!(frame = net_frame(&nets[0], 0)))
		work();
	udp = packet_begin(frame, &nets[0], mac, peer, PROTOCOL_UDP);
	memset(udp, 0, FRAME_LEAST - (size_t)(udp - frame));
	set_be16(udp, (uint16_t)(PORT_FLOOD + count % 1000));
	set_be16(udp + 2, port);
	set_be16(udp + UDP_HEADER, (uint16_t)count);
	net_send(&nets[0], 0, packet_end(frame, FRAME_LEAST - (size_t)(udp - frame)));
}

void shout(char *line, char *reply, size_t size)
{
	struct address peer;
	uint64_t frames;
	uint16_t port;
	uint8_t mac[6];

	if (n_nets == 0 || !address_read(&peer, word(&line))) {
		format_to(reply, size, "shout: at nobody");
		return;
	}
	mac_read(mac, word(&line));
	port = (uint16_t)number(word(&line));
	frames = number(word(&line));
	for (uint64_t i = 0; i < frames && !command_stopped(); i++)
		shout_one(mac, &peer, port, (uint32_t)i);
	format_to(reply, size, "shout: sent %u", frames);
}
