/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fragments as frames: held, judged together, and sent after the first of them.  Called by the
 * packet path, on the worker that owns them.
 *
 * Nothing is put together on the wire: the fragments leave as they came.  Only to read the whole
 * datagram's checksum are their mbufs one chain for a moment.
 */
#include <config.h>

#include "datapath/reassembly.h"

#include <stdlib.h>
#include <string.h>

#include <netinet/in.h>

#include <rte_ip.h>
#include <rte_udp.h>

#include "datapath/checksum.h"
#include "datapath/fragment.h"

enum {
	HELD_SHARE = 8, /* Of all buffers, one in so many may be held, by all workers together. */
	LEAST_HELD = 16,
	PIECE_BYTES = 1024, /* Compared at once. */
	FRAGMENT_HEADER_BYTES = 8,
};

struct reassembly {
	struct fragment_table *table;
	struct fragment_datagram whole;
	struct rte_mbuf *frames[FRAGMENTS_MAX];
};

/* --- What the table asks for ---------------------------------------------------------------- */

static bool same_bytes(const struct fragment *a, const struct fragment *b)
{
	uint8_t buffers[2][PIECE_BYTES];

	for (uint32_t at = 0, n; at < a->bytes; at += n) {
		n = RTE_MIN(a->bytes - at, (uint32_t)PIECE_BYTES);
		const void *left = rte_pktmbuf_read(a->frame, a->payload_at + at, n, buffers[0]);
		const void *right = rte_pktmbuf_read(b->frame, b->payload_at + at, n, buffers[1]);

		if (left == NULL || right == NULL || memcmp(left, right, n) != 0)
			return false;
	}
	return true;
}

/* Counted where it came from; if that port is gone by now, among what the worker could not send. */
static void drop(
	void *worker_, const struct fragment *fragment, uint16_t in_port, enum drop_reason reason)
{
	struct worker *worker = worker_;
	struct port *port = switch_port(worker->sw, in_port);
	_Atomic uint64_t *drops = fragment->origin, *first = port != NULL ? port->drops[0] : NULL;

	if (first != NULL && drops >= first && drops < first + PORT_QUEUES_MAX * DROP_N_REASONS)
		atomic_fetch_add_explicit(&drops[reason], 1, memory_order_relaxed);
	else
		worker->output_drops[reason]++;
	rte_pktmbuf_free(fragment->frame);
}

/* --- Life ----------------------------------------------------------------------------------- */

struct reassembly *reassembly_create(struct worker *worker)
{
	const struct port_environment *environment = &worker->sw->environment;
	uint32_t n_workers = RTE_MAX(environment->n_workers, 1);
	uint32_t buffers =
		RTE_MAX(environment->pool->size / HELD_SHARE / n_workers, (uint32_t)LEAST_HELD);
	struct reassembly *reassembly = calloc(1, sizeof(*reassembly));

	if (reassembly == NULL)
		return NULL;
	/* Most fragments have company: half as many datagrams will do. */
	reassembly->table = fragment_table_create(RTE_MAX(buffers / 2, (uint32_t)LEAST_HELD),
		buffers,
		&(struct fragment_user){.context = worker, .same = same_bytes, .drop = drop});
	if (reassembly->table == NULL) {
		free(reassembly);
		return NULL;
	}
	return reassembly;
}

void reassembly_destroy(struct reassembly *reassembly)
{
	if (reassembly == NULL)
		return;
	fragment_table_destroy(reassembly->table);
	free(reassembly);
}

static void tell_held(struct worker *worker)
{
	atomic_store_explicit(&worker->stats.held, fragment_held(worker->reassembly->table),
		memory_order_relaxed);
}

void reassembly_expire(struct worker *worker)
{
	if (likely(fragment_datagrams(worker->reassembly->table) == 0))
		return;
	fragment_expire(worker->reassembly->table, worker->clock_ns);
	tell_held(worker);
}

void reassembly_flush(struct worker *worker)
{
	fragment_flush(worker->reassembly->table);
	tell_held(worker);
}

/* --- One fragment --------------------------------------------------------------------------- */

/* Where the IP packet ends within the frame, by its own word.  packet_parse() has checked it. */
static uint32_t end_of_packet(const uint8_t *data, const struct packet *packet)
{
	const uint8_t *ip = data + packet->l3_offset;

	if (packet->key.kind == CONN_KEY_IPV4)
		return packet->l3_offset +
		       rte_be_to_cpu_16(((const struct rte_ipv4_hdr *)ip)->total_length);
	return packet->l3_offset + sizeof(struct rte_ipv6_hdr) +
	       rte_be_to_cpu_16(((const struct rte_ipv6_hdr *)ip)->payload_len);
}

static bool refers_to_guest(const struct rte_mbuf *frame)
{
	for (const struct rte_mbuf *segment = frame; segment != NULL; segment = segment->next)
		if (RTE_MBUF_HAS_EXTBUF(segment))
			return true;
	return false;
}

static void cut_behind(struct rte_mbuf *frame, uint32_t bytes)
{
	struct rte_mbuf *last = frame;
	uint32_t left = bytes;
	uint16_t n = 1;

	for (; left > rte_pktmbuf_data_len(last); n++) {
		left -= rte_pktmbuf_data_len(last);
		last = last->next;
	}
	rte_pktmbuf_free(last->next);
	last->next = NULL;
	last->data_len = (uint16_t)left;
	frame->nb_segs = n;
	frame->pkt_len = bytes;
}

/* Makes a frame one that may be kept: its bytes are ours, it has no padding, and it asks for
 * nothing, since no one can finish a fragment by itself.  NULL without buffers. */
static struct rte_mbuf *make_own(
	const struct worker *worker, struct rte_mbuf *frame, uint32_t bytes)
{
	frame->ol_flags &= ~(OFFLOAD_FLAGS | RTE_MBUF_F_RX_L4_CKSUM_MASK);
	if (!refers_to_guest(frame)) {
		if (rte_pktmbuf_pkt_len(frame) != bytes)
			cut_behind(frame, bytes);
		return frame;
	}
	struct rte_mbuf *copy = rte_pktmbuf_copy(frame, worker->sw->environment.pool, 0, bytes);
	if (copy != NULL)
		rte_pktmbuf_free(frame);
	return copy;
}

static void describe(const struct worker *worker, struct rte_mbuf *frame,
	const struct packet *packet, struct fragment *fragment)
{
	const uint8_t *data = rte_pktmbuf_mtod(frame, const uint8_t *);
	const uint8_t *ip = data + packet->l3_offset;
	bool v4 = packet->key.kind == CONN_KEY_IPV4;
	uint16_t payload_at = packet_fragment_payload(data, packet);
	uint32_t headers = payload_at - packet->l3_offset;

	*fragment = (struct fragment){
		.frame = frame,
		.origin = worker->drops,
		.payload_at = payload_at,
		.bytes = (uint16_t)(rte_pktmbuf_pkt_len(frame) - payload_at),
		.buffers = frame->nb_segs,
		.header_bytes = (uint16_t)(v4 ? headers
					      : headers - sizeof(struct rte_ipv6_hdr) -
							   FRAGMENT_HEADER_BYTES),
		.ecn = v4 ? ip[1] & 3 : ip[1] >> 4 & 3,
		.dont_fragment = v4 && ip[6] & 0x40,
	};
}

/* --- A datagram ----------------------------------------------------------------------------- */

/* Hangs what the fragments carry behind the first one's bytes; or makes them frames of their own
 * again. */
static void join(struct fragment_datagram *whole)
{
	struct rte_mbuf *last = rte_pktmbuf_lastseg(whole->fragments[0].frame);

	for (uint16_t i = 1; i < whole->n; i++) {
		const struct fragment *fragment = &whole->fragments[i];

		rte_pktmbuf_adj(fragment->frame, fragment->payload_at);
		last->next = fragment->frame;
		last = rte_pktmbuf_lastseg(last);
	}
}

static void part(struct fragment_datagram *whole)
{
	struct rte_mbuf *segment = whole->fragments[0].frame;

	for (uint16_t i = 0; i < whole->n; i++) {
		struct rte_mbuf *frame = segment;

		for (uint16_t n = 1; n < frame->nb_segs; n++)
			segment = segment->next;
		struct rte_mbuf *next = segment->next;
		segment->next = NULL;
		if (i != 0)
			rte_pktmbuf_prepend(frame, whole->fragments[i].payload_at);
		segment = next;
	}
}

/* What only the whole datagram can be asked: whether it is as long as its header says, and whether
 * its checksum is right. */
static enum drop_reason judge(struct fragment_datagram *whole, const struct packet *packet)
{
	struct rte_mbuf *first = whole->fragments[0].frame;
	const struct rte_udp_hdr *udp =
		rte_pktmbuf_mtod_offset(first, const struct rte_udp_hdr *, packet->l4_offset);
	struct packet alone = *packet;

	if (packet->protocol == IPPROTO_UDP && rte_be_to_cpu_16(udp->dgram_len) > packet->l4_bytes)
		return DROP_UDP_LENGTH;
	alone.flags &= (uint16_t)~PACKET_FRAGMENT_FIRST;
	join(whole);
	enum drop_reason reason = checksum_verify(first, &alone);
	part(whole);
	return reason;
}

/* The first fragment's packet, with the length of all. */
static enum drop_reason parse_first(const struct fragment_datagram *whole, struct packet *packet)
{
	const struct rte_mbuf *first = whole->fragments[0].frame;
	const struct conn_key key = packet->key;
	enum drop_reason reason = packet_parse(rte_pktmbuf_mtod(first, const uint8_t *),
		rte_pktmbuf_data_len(first), rte_pktmbuf_pkt_len(first), packet);

	packet->key.net = key.net;
	packet->key.in_port = key.in_port;
	packet->l4_bytes += whole->bytes - whole->fragments[0].bytes;
	return reason;
}

/* The frames behind the first one, which reassembly->frames has from now on. */
static struct followers line_up(
	struct reassembly *reassembly, const struct fragment_datagram *whole)
{
	struct followers followers = {.n = whole->n - 1};

	for (uint16_t i = 0; i < followers.n; i++) {
		reassembly->frames[i] = whole->fragments[i + 1].frame;
		followers.bytes += rte_pktmbuf_pkt_len(reassembly->frames[i]);
	}
	return followers;
}

struct rte_mbuf *reassembly_add(struct worker *worker, struct rte_mbuf *frame,
	struct packet *packet, struct followers *followers)
{
	struct fragment_datagram *whole = &worker->reassembly->whole;
	uint32_t bytes = end_of_packet(rte_pktmbuf_mtod(frame, const uint8_t *), packet);
	struct rte_mbuf *own = make_own(worker, frame, bytes);
	struct fragment fragment;

	if (own == NULL) {
		packet_drop(worker, frame, DROP_NO_BUFFER);
		return NULL;
	}
	describe(worker, own, packet, &fragment);
	bool is_whole = fragment_add(worker->reassembly->table, packet,
		rte_pktmbuf_mtod(own, const uint8_t *), &fragment, worker->clock_ns, whole);
	tell_held(worker);
	if (!is_whole)
		return NULL;
	struct rte_mbuf *first = whole->fragments[0].frame;
	const struct followers others = line_up(worker->reassembly, whole);
	enum drop_reason reason = parse_first(whole, packet);
	if (reason == DROP_NONE)
		reason = judge(whole, packet);
	if (reason == DROP_NONE) {
		*followers = others;
		return first;
	}
	worker->followers = others;
	packet_drop(worker, first, reason);
	return NULL;
}

/* --- Where the first one goes --------------------------------------------------------------- */

/* The followers are the caller's from now on, and nobody's: how many there are. */
static uint16_t take_followers(struct worker *worker)
{
	uint16_t n = worker->followers.n;

	worker->followers = (struct followers){.n = 0};
	return n;
}

void reassembly_drop_followers(struct worker *worker, enum drop_reason reason)
{
	uint16_t n = take_followers(worker);

	for (uint16_t i = 0; i < n; i++)
		packet_drop(worker, worker->reassembly->frames[i], reason);
}

void reassembly_run_followers(struct worker *worker, const struct action *actions, size_t n_actions)
{
	uint16_t n = take_followers(worker);

	for (uint16_t i = 0; i < n; i++)
		actions_run(worker, actions, n_actions, worker->reassembly->frames[i]);
}
