/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checksums and segmentation: frames are made byte by byte, shaped for a port that can do nothing,
 * and what comes out is read again by code that shares nothing with offload.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <rte_eal.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_mbuf.h>
#include <rte_tcp.h>
#include <rte_udp.h>

#include "datapath/offload.h"

enum { MTU = 1500, OUT_MAX = 2 * OFFLOAD_PIECES_MAX };

static struct port_environment environment;

/* What a frame is to be like. */
struct recipe {
	bool ip6, udp;
	unsigned int tags;    /* VLAN tags. */
	unsigned int options; /* Bytes of IPv4 options, or of an IPv6 extension header. */
	unsigned int tcp_options;
	unsigned int payload;
	unsigned int padding; /* Bytes behind the IP packet. */
	unsigned int segment; /* Bytes a segment; 0: not to be cut. */
	uint8_t tcp_flags;
};

/* --- Making frames -------------------------------------------------------------------------- */

static uint8_t payload_byte(uint32_t at)
{
	return at * 7 + (at >> 8) * 13 + 1;
}

static void put16(uint8_t *at, unsigned int value)
{
	at[0] = value >> 8;
	at[1] = value;
}

static void put32(uint8_t *at, uint32_t value)
{
	put16(at, value >> 16);
	put16(at + 2, value);
}

static unsigned int get16(const uint8_t *at)
{
	return at[0] << 8 | at[1];
}

static uint32_t get32(const uint8_t *at)
{
	return (uint32_t)get16(at) << 16 | get16(at + 2);
}

/* The ones' complement sum, in the plainest way (RFC 1071). */
static uint32_t plain_sum(const uint8_t *data, size_t n, uint32_t sum)
{
	for (size_t i = 0; i < n; i++)
		sum += i % 2 ? data[i] : data[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static uint32_t plain_pseudo_header(const uint8_t *ip, bool ip6, unsigned int protocol, size_t n)
{
	return plain_sum(ip6 ? ip + 8 : ip + 12, ip6 ? 32 : 8, protocol + n);
}

static size_t put_ip4(uint8_t *ip, const struct recipe *recipe, size_t l4_bytes)
{
	size_t header = 20 + recipe->options;

	memset(ip, 0, header);
	ip[0] = 0x40 | header / 4;
	put16(ip + 2, header + l4_bytes);
	put16(ip + 4, 0xfffe); /* Wraps while it counts the segments. */
	ip[6] = 0x40;
	ip[8] = 64;
	ip[9] = recipe->udp ? IPPROTO_UDP : IPPROTO_TCP;
	memcpy(ip + 12, "\x0a\x00\x00\x01\xc0\xa8\xff\x02", 8);
	memset(ip + 20, 1, recipe->options);
	put16(ip + 10, ~plain_sum(ip, header, 0));
	return header;
}

static size_t put_ip6(uint8_t *ip, const struct recipe *recipe, size_t l4_bytes)
{
	uint8_t protocol = recipe->udp ? IPPROTO_UDP : IPPROTO_TCP;

	memset(ip, 0, 40 + recipe->options);
	ip[0] = 0x60;
	put16(ip + 4, recipe->options + l4_bytes);
	ip[6] = protocol;
	ip[7] = 64;
	for (unsigned int i = 0; i < 32; i++)
		ip[8 + i] = 0x20 + 5 * i;
	if (recipe->options > 0) {
		ip[6] = IPPROTO_DSTOPTS;
		ip[40] = protocol;
		ip[41] = recipe->options / 8 - 1;
		ip[42] = 1; /* PadN over the rest. */
		ip[43] = recipe->options - 4;
	}
	return 40 + recipe->options;
}

/* Writes the whole frame and returns its length.  The checksum is the pseudo header's sum, as a
 * kernel leaves it. */
static size_t make_bytes(const struct recipe *recipe, uint8_t *frame, size_t *l3, size_t *l4)
{
	size_t l4_header = recipe->udp ? 8 : 20 + recipe->tcp_options;
	size_t l4_bytes = l4_header + recipe->payload;
	uint8_t *at = frame;

	memcpy(at, "\x02\0\0\0\0\x01\x02\0\0\0\0\x02", 12);
	at += 12;
	for (unsigned int i = 0; i < recipe->tags; i++, at += 4) {
		put16(at, i + 1 == recipe->tags ? 0x8100 : 0x88a8);
		put16(at + 2, 100 + i);
	}
	put16(at, recipe->ip6 ? 0x86dd : 0x0800);
	at += 2;
	*l3 = at - frame;
	uint8_t *ip = at;
	at += recipe->ip6 ? put_ip6(at, recipe, l4_bytes) : put_ip4(at, recipe, l4_bytes);
	*l4 = at - frame;
	memset(at, 0, l4_header);
	put16(at, 40000);
	put16(at + 2, 80);
	uint32_t sum = plain_pseudo_header(
		ip, recipe->ip6, recipe->udp ? IPPROTO_UDP : IPPROTO_TCP, l4_bytes);
	if (recipe->udp) {
		put16(at + 4, l4_bytes);
		put16(at + 6, sum);
	} else {
		put32(at + 4, 0xfffffff0);
		put32(at + 8, 12345);
		at[12] = (20 + recipe->tcp_options) / 4 << 4;
		at[13] = recipe->tcp_flags;
		put16(at + 14, 500);
		put16(at + 16, sum);
		memset(at + 20, 1, recipe->tcp_options);
	}
	at += l4_header;
	for (uint32_t i = 0; i < recipe->payload; i++)
		*at++ = payload_byte(i);
	memset(at, 0xee, recipe->padding);
	return at + recipe->padding - frame;
}

/* Lays bytes into a chain of mbufs, the first of at most `first` bytes. */
static struct rte_mbuf *make_chain(const uint8_t *bytes, size_t n, size_t first)
{
	struct rte_mbuf *head = NULL;

	while (n > 0) {
		struct rte_mbuf *frame = rte_pktmbuf_alloc(environment.pool);
		size_t now = RTE_MIN(n, head == NULL ? first : 777);

		assert_non_null(frame);
		memcpy(rte_pktmbuf_append(frame, now), bytes, now);
		bytes += now;
		n -= now;
		if (head == NULL)
			head = frame;
		else
			assert_int_equal(rte_pktmbuf_chain(head, frame), 0);
	}
	return head;
}

static struct rte_mbuf *make_frame(const struct recipe *recipe, size_t first)
{
	static uint8_t bytes[70000];
	size_t l3, l4;
	size_t n = make_bytes(recipe, bytes, &l3, &l4);
	struct rte_mbuf *frame = make_chain(bytes, n, first);

	frame->l2_len = l3;
	frame->l3_len = l4 - l3;
	frame->l4_len = recipe->udp ? 8 : 20 + recipe->tcp_options;
	frame->ol_flags |= recipe->ip6 ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4;
	frame->ol_flags |= recipe->udp ? RTE_MBUF_F_TX_UDP_CKSUM : RTE_MBUF_F_TX_TCP_CKSUM;
	if (recipe->segment > 0) {
		frame->ol_flags |= recipe->udp ? RTE_MBUF_F_TX_UDP_SEG : RTE_MBUF_F_TX_TCP_SEG;
		frame->tso_segsz = recipe->segment;
	}
	return frame;
}

/* --- Reading them again --------------------------------------------------------------------- */

/* One frame's bytes and its layers. */
struct read_frame {
	uint8_t bytes[70000];
	size_t n, l3, l4, payload, end;
};

static void read_frame(struct rte_mbuf *frame, const struct recipe *recipe, struct read_frame *read)
{
	read->n = rte_pktmbuf_pkt_len(frame);
	const void *bytes = rte_pktmbuf_read(frame, 0, read->n, read->bytes);

	if (bytes != read->bytes)
		memcpy(read->bytes, bytes, read->n);
	read->l3 = 14 + 4 * recipe->tags;
	const uint8_t *ip = read->bytes + read->l3;
	if (recipe->ip6) {
		assert_int_equal(ip[0] >> 4, 6);
		read->l4 = read->l3 + 40 + recipe->options;
		read->end = read->l3 + 40 + get16(ip + 4);
	} else {
		assert_int_equal(ip[0] >> 4, 4);
		assert_int_equal(plain_sum(ip, (ip[0] & 15) * 4, 0), 0xffff);
		read->l4 = read->l3 + (ip[0] & 15) * 4;
		read->end = read->l3 + get16(ip + 2);
	}
	read->payload =
		read->l4 + (recipe->udp ? 8 : (size_t)(read->bytes[read->l4 + 12] >> 4) * 4);
	assert_true(read->end <= read->n);
}

static void check_transport_sum(const struct recipe *recipe, const struct read_frame *read)
{
	uint32_t sum = plain_pseudo_header(read->bytes + read->l3, recipe->ip6,
		recipe->udp ? IPPROTO_UDP : IPPROTO_TCP, read->end - read->l4);

	assert_int_equal(plain_sum(read->bytes + read->l4, read->end - read->l4, sum), 0xffff);
}

static uint16_t shape(uint32_t offloads, uint16_t mtu, struct rte_mbuf *frame,
	struct rte_mbuf **out, uint64_t drops[DROP_N_REASONS])
{
	uint16_t taken;
	uint16_t n =
		offload_shape(&environment, offloads, mtu, &frame, 1, out, OUT_MAX, &taken, drops);

	assert_int_equal(taken, 1);
	return n;
}

/* --- Stories -------------------------------------------------------------------------------- */

static const struct recipe whole[] = {
	{.payload = 1},
	{.payload = 1400, .tcp_options = 12},
	{.payload = 6, .padding = 6},
	{.udp = true, .payload = 33, .options = 8},
	{.udp = true, .payload = 1000, .tags = 1},
	{.ip6 = true, .payload = 999, .tcp_options = 12, .tags = 2},
	{.ip6 = true, .udp = true, .payload = 0, .padding = 2},
	{.ip6 = true, .udp = true, .payload = 512, .options = 16},
};

static void checksums_are_filled(void **state)
{
	static struct read_frame read;

	(void)state;
	for (size_t i = 0; i < RTE_DIM(whole); i++)
		for (size_t first = 100; first <= 2048; first += 1948) {
			struct rte_mbuf *out[OUT_MAX];
			uint64_t drops[DROP_N_REASONS] = {0};
			struct rte_mbuf *frame = make_frame(&whole[i], first);

			assert_int_equal(shape(0, MTU, frame, out, drops), 1);
			assert_int_equal(out[0]->nb_segs, 1);
			assert_false(out[0]->ol_flags & OFFLOAD_FLAGS);
			read_frame(out[0], &whole[i], &read);
			check_transport_sum(&whole[i], &read);
			rte_pktmbuf_free(out[0]);
		}
}

static void udp_checksum_of_zero_is_written_as_ones(void **state)
{
	const struct recipe recipe = {.udp = true, .payload = 2};
	struct rte_mbuf *frame = make_frame(&recipe, 2048), *out[OUT_MAX];
	uint64_t drops[DROP_N_REASONS] = {0};
	uint8_t *l4 = rte_pktmbuf_mtod(frame, uint8_t *) + 34;

	/* Choose the payload so that everything sums up to ones. */
	(void)state;
	put16(l4 + 6, 0);
	put16(l4 + 8, 0);
	put16(l4 + 8, ~plain_sum(l4, 10, plain_pseudo_header(l4 - 20, false, IPPROTO_UDP, 10)));
	assert_int_equal(shape(0, MTU, frame, out, drops), 1);
	assert_int_equal(get16(rte_pktmbuf_mtod(out[0], uint8_t *) + 34 + 6), 0xffff);
	rte_pktmbuf_free(out[0]);
}

static const struct recipe large[] = {
	{.payload = 64000, .segment = 1448, .tcp_options = 12, .tcp_flags = 0x99},
	{.payload = 2897, .segment = 1448, .tcp_flags = 0x19},
	{.payload = 5000, .segment = 536, .tags = 1, .tcp_flags = 0x10},
	{.payload = 9001, .segment = 1400, .tags = 2, .options = 12, .tcp_flags = 0x18},
	{.ip6 = true, .payload = 60001, .segment = 1428, .tcp_options = 12, .tcp_flags = 0x99},
	{.ip6 = true, .payload = 30000, .segment = 1000, .options = 24, .tags = 1},
	{.ip6 = true, .payload = 65000, .segment = 128, .tcp_flags = 0x11},
	{.udp = true, .payload = 30001, .segment = 1472},
	{.ip6 = true, .udp = true, .payload = 12000, .segment = 1200, .tags = 1},
	{.payload = 1000, .segment = 1448, .tcp_flags = 0x19}, /* One segment after all. */
};

static void check_tcp(const struct recipe *recipe, const uint8_t *tcp, unsigned int index,
	uint32_t at, bool is_last)
{
	uint8_t flags = recipe->tcp_flags;

	assert_int_equal(get32(tcp + 4), 0xfffffff0 + at);
	assert_int_equal(get32(tcp + 8), 12345);
	if (index > 0)
		flags &= ~0x80;
	if (!is_last)
		flags &= ~0x09;
	assert_int_equal(tcp[13], flags);
}

/* One piece of a cut frame: `at` is where its payload begins in the whole. */
static void check_segment(const struct recipe *recipe, const struct read_frame *read,
	unsigned int index, uint32_t at, bool is_last)
{
	const uint8_t *ip = read->bytes + read->l3, *tcp = read->bytes + read->l4;

	check_transport_sum(recipe, read);
	assert_int_equal(read->n, read->end);
	assert_true(read->end - read->l3 <= MTU);
	if (!recipe->ip6)
		assert_int_equal(get16(ip + 4), (0xfffe + index) & 0xffff);
	if (recipe->udp)
		assert_int_equal(get16(tcp + 4), read->end - read->l4);
	else
		check_tcp(recipe, tcp, index, at, is_last);
	for (size_t i = read->payload; i < read->end; i++)
		assert_int_equal(read->bytes[i], payload_byte(at + i - read->payload));
}

static void cut_and_check(const struct recipe *recipe, size_t first)
{
	static struct read_frame read;
	struct rte_mbuf *out[OUT_MAX];
	uint64_t drops[DROP_N_REASONS] = {0};
	uint16_t n = shape(0, MTU, make_frame(recipe, first), out, drops);
	uint32_t at = 0;

	assert_int_equal(n, (recipe->payload + recipe->segment - 1) / recipe->segment);
	for (uint16_t i = 0; i < n; i++) {
		assert_int_equal(out[i]->nb_segs, 1);
		assert_false(out[i]->ol_flags & OFFLOAD_FLAGS);
		read_frame(out[i], recipe, &read);
		check_segment(recipe, &read, i, at, i + 1 == n);
		at += read.end - read.payload;
		if (i + 1 < n)
			assert_int_equal(read.end - read.payload, recipe->segment);
	}
	assert_int_equal(at, recipe->payload);
	rte_pktmbuf_free_bulk(out, n);
}

static void large_frames_are_cut(void **state)
{
	(void)state;
	for (size_t i = 0; i < RTE_DIM(large); i++) {
		cut_and_check(&large[i], 200);
		cut_and_check(&large[i], 2048);
	}
}

/* A guest that takes partial checksums but no large frames. */
static void cutting_leaves_checksums_to_a_port_that_fills_them(void **state)
{
	static struct read_frame read;
	const struct recipe recipe = {.payload = 3000, .segment = 1448};
	struct rte_mbuf *out[OUT_MAX];
	uint64_t drops[DROP_N_REASONS] = {0};
	uint16_t n = shape(PORT_TX_CHECKSUM, MTU, make_frame(&recipe, 2048), out, drops);

	(void)state;
	assert_int_equal(n, 3);
	for (uint16_t i = 0; i < n; i++) {
		assert_int_equal(out[i]->ol_flags & OFFLOAD_FLAGS, RTE_MBUF_F_TX_TCP_CKSUM);
		assert_true(out[i]->ol_flags & RTE_MBUF_F_TX_IPV4);
		assert_int_equal(out[i]->l2_len, 14);
		assert_int_equal(out[i]->l3_len, 20);
		read_frame(out[i], &recipe, &read);
		assert_int_equal(get16(read.bytes + read.l4 + 16),
			plain_pseudo_header(
				read.bytes + read.l3, false, IPPROTO_TCP, read.end - read.l4));
	}
	rte_pktmbuf_free_bulk(out, n);
}

static void a_port_that_segments_gets_the_large_frame(void **state)
{
	const struct recipe recipe = {.ip6 = true, .payload = 30000, .segment = 1400};
	const uint32_t takes = PORT_TX_CHECKSUM | PORT_TX_SEGMENTS;
	struct rte_mbuf *frame = make_frame(&recipe, 2048), *out[OUT_MAX];
	uint64_t drops[DROP_N_REASONS] = {0};

	(void)state;
	assert_int_equal(shape(takes | PORT_TX_TSO4 | PORT_TX_TSO6, MTU, frame, out, drops), 1);
	assert_ptr_equal(out[0], frame);
	/* TSO for IPv4 only is of no use to it. */
	uint16_t n = shape(takes | PORT_TX_TSO4, MTU, frame, out, drops);
	assert_int_equal(n, 22);
	rte_pktmbuf_free_bulk(out, n);
}

static void no_port_gets_a_large_udp_frame(void **state)
{
	const struct recipe recipe = {.udp = true, .payload = 30000, .segment = 1200};
	struct rte_mbuf *out[OUT_MAX];
	uint64_t drops[DROP_N_REASONS] = {0};
	uint16_t n = shape(PORT_TX_CHECKSUM | PORT_TX_SEGMENTS | PORT_TX_TSO4 | PORT_TX_TSO6, MTU,
		make_frame(&recipe, 2048), out, drops);

	(void)state;
	assert_int_equal(n, 25);
	assert_int_equal(out[0]->ol_flags & OFFLOAD_FLAGS, RTE_MBUF_F_TX_UDP_CKSUM);
	rte_pktmbuf_free_bulk(out, n);
}

/* A frame that two ports send: finishing it for one must not change what the other sees. */
static void shared_frames_are_copied(void **state)
{
	static struct read_frame read;
	const struct recipe recipe = {.payload = 500};
	struct rte_mbuf *frame = make_frame(&recipe, 2048), *out[OUT_MAX];
	uint64_t drops[DROP_N_REASONS] = {0};

	(void)state;
	read_frame(frame, &recipe, &read);
	unsigned int before = get16(read.bytes + read.l4 + 16);
	rte_mbuf_refcnt_update(frame, 1);
	assert_int_equal(shape(0, MTU, frame, out, drops), 1);
	assert_ptr_not_equal(out[0], frame);
	read_frame(frame, &recipe, &read);
	assert_int_equal(get16(read.bytes + read.l4 + 16), before);
	read_frame(out[0], &recipe, &read);
	check_transport_sum(&recipe, &read);
	rte_pktmbuf_free(frame);
	rte_pktmbuf_free(out[0]);
}

static void frames_above_the_mtu_are_dropped_by_name(void **state)
{
	const struct recipe fits = {.payload = 1460, .tags = 2};
	const struct recipe too_long = {.payload = 1461};
	const struct recipe segments_too_long = {.payload = 9000, .segment = 1461};
	struct rte_mbuf *out[OUT_MAX];
	uint64_t drops[DROP_N_REASONS] = {0};

	(void)state;
	assert_int_equal(shape(0, MTU, make_frame(&fits, 2048), out, drops), 1);
	rte_pktmbuf_free(out[0]);
	assert_int_equal(shape(0, MTU, make_frame(&too_long, 2048), out, drops), 0);
	assert_int_equal(drops[DROP_OUTPUT_MTU], 1);
	assert_int_equal(shape(0, MTU, make_frame(&segments_too_long, 2048), out, drops), 0);
	assert_int_equal(drops[DROP_OUTPUT_MTU], 2);
	assert_int_equal(shape(PORT_TX_CHECKSUM | PORT_TX_TSO4, MTU,
				 make_frame(&segments_too_long, 2048), out, drops),
		0);
	assert_int_equal(drops[DROP_OUTPUT_MTU], 3);
}

static void expect_no_segmentation(struct rte_mbuf *frame)
{
	struct rte_mbuf *out[OUT_MAX];
	uint64_t drops[DROP_N_REASONS] = {0};

	assert_int_equal(shape(0, MTU, frame, out, drops), 0);
	assert_int_equal(drops[DROP_SEGMENTATION], 1);
}

static void nonsense_is_dropped_by_name(void **state)
{
	const struct recipe recipe = {.payload = 3000, .segment = 1000};
	const struct recipe many = {.payload = 60000, .segment = 100};
	struct rte_mbuf *frame;

	(void)state;
	expect_no_segmentation(make_frame(&many, 2048));
	frame = make_frame(&recipe, 2048);
	frame->tso_segsz = 0;
	expect_no_segmentation(frame);
	frame = make_frame(&recipe, 2048);
	frame->l4_len = 0;
	expect_no_segmentation(frame);
	frame = make_frame(&recipe, 2048);
	frame->l3_len = 511;
	expect_no_segmentation(frame);
	frame = make_frame(&recipe, 60);
	frame->l4_len = 60;
	expect_no_segmentation(frame);
	frame = make_frame(&recipe, 2048);
	put16(rte_pktmbuf_mtod(frame, uint8_t *) + 16, 4000); /* Total length. */
	expect_no_segmentation(frame);
	frame = make_frame(&recipe, 2048);
	rte_pktmbuf_mtod(frame, uint8_t *)[14] = 0x65; /* Version. */
	expect_no_segmentation(frame);
}

/* Every frame cut short at every length, with every claim about its headers left in place. */
static void truncated_frames_do_no_harm(void **state)
{
	(void)state;
	for (size_t i = 0; i < RTE_DIM(whole); i++)
		for (unsigned int n = 1; n < 120; n++) {
			struct rte_mbuf *frame = make_frame(&whole[i], 2048), *out[OUT_MAX];
			uint64_t drops[DROP_N_REASONS] = {0};

			if (n >= rte_pktmbuf_pkt_len(frame)) {
				rte_pktmbuf_free(frame);
				break;
			}
			rte_pktmbuf_trim(frame, rte_pktmbuf_pkt_len(frame) - n);
			uint16_t made = shape(0, MTU, frame, out, drops);
			assert_int_equal(made + drops[DROP_SEGMENTATION], 1);
			rte_pktmbuf_free_bulk(out, made);
		}
}

static void a_long_burst_is_taken_in_parts(void **state)
{
	const struct recipe recipe = {.payload = 40000, .segment = 100};
	struct rte_mbuf *frames[4], *out[OUT_MAX];
	uint64_t drops[DROP_N_REASONS] = {0};
	uint16_t taken, n;

	(void)state;
	for (unsigned int i = 0; i < 4; i++)
		frames[i] = make_frame(&recipe, 2048);
	n = offload_shape(&environment, 0, MTU, frames, 4, out, OUT_MAX, &taken, drops);
	assert_int_equal(taken, 2);
	assert_int_equal(n, 800);
	rte_pktmbuf_free_bulk(out, n);
	n = offload_shape(&environment, 0, MTU, frames + 2, 2, out, OUT_MAX, &taken, drops);
	assert_int_equal(taken, 2);
	assert_int_equal(n, 800);
	rte_pktmbuf_free_bulk(out, n);
}

/* --- What comes in unfinished --------------------------------------------------------------- */

static void partial_checksums_are_noted(void **state)
{
	(void)state;
	for (size_t i = 0; i < RTE_DIM(whole); i++) {
		struct rte_mbuf *frame = make_frame(&whole[i], 2048);
		uint8_t *data = rte_pktmbuf_mtod(frame, uint8_t *);
		uint64_t flags = frame->ol_flags;
		struct packet packet;

		frame->ol_flags = 0;
		frame->tx_offload = 0;
		assert_int_equal(
			packet_parse(data, frame->data_len, frame->pkt_len, &packet), DROP_NONE);
		assert_true(offload_note_partial_checksum(frame, &packet));
		assert_int_equal(frame->ol_flags, flags);
		assert_int_equal(frame->l2_len, 14 + 4 * whole[i].tags);
		assert_int_equal(frame->l3_len, (whole[i].ip6 ? 40 : 20) + whole[i].options);
		/* Filled in, it is another sum, and the frame is left alone. */
		frame->ol_flags = 0;
		data[packet.l4_offset + (whole[i].udp ? 6 : 16)] ^= 0x40;
		assert_false(offload_note_partial_checksum(frame, &packet));
		assert_int_equal(frame->ol_flags, 0);
		rte_pktmbuf_free(frame);
	}
}

/* The frame as a guest's driver leaves it, and the header that says what is to be done. */
static struct rte_mbuf *guest_frame(const struct recipe *recipe, struct virtio_net_hdr *request)
{
	struct rte_mbuf *frame = make_frame(recipe, 2048);

	*request = (struct virtio_net_hdr){
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_size = recipe->segment,
		.csum_start = 14 + 4 * recipe->tags + (recipe->ip6 ? 40 : 20) + recipe->options,
		.csum_offset = recipe->udp ? 6 : 16,
	};
	if (recipe->segment != 0)
		request->gso_type = recipe->udp	  ? VIRTIO_NET_HDR_GSO_UDP_L4
				    : recipe->ip6 ? VIRTIO_NET_HDR_GSO_TCPV6
						  : VIRTIO_NET_HDR_GSO_TCPV4;
	frame->ol_flags = 0;
	frame->tx_offload = 0;
	return frame;
}

static void requests_of_guests_are_noted(void **state)
{
	struct virtio_net_hdr request;

	(void)state;
	for (size_t i = 0; i < RTE_DIM(whole); i++) {
		struct rte_mbuf *expected = make_frame(&whole[i], 2048);
		struct rte_mbuf *frame = guest_frame(&whole[i], &request);

		offload_note_guest_request(frame, &request);
		assert_int_equal(frame->ol_flags, expected->ol_flags);
		assert_int_equal(frame->l2_len, expected->l2_len);
		assert_int_equal(frame->l3_len, expected->l3_len);
		rte_pktmbuf_free(frame);
		rte_pktmbuf_free(expected);
	}
	for (size_t i = 0; i + 1 < RTE_DIM(large); i++) {
		struct rte_mbuf *frame = guest_frame(&large[i], &request);
		struct rte_mbuf *out[OUT_MAX];
		uint64_t drops[DROP_N_REASONS] = {0};

		offload_note_guest_request(frame, &request);
		assert_true(frame->ol_flags & OFFLOAD_CUT);
		uint16_t n = shape(0, MTU, frame, out, drops);
		assert_int_equal(n, (large[i].payload + large[i].segment - 1) / large[i].segment);
		rte_pktmbuf_free_bulk(out, n);
	}
}

/* A checksum that is not the transport header's, as in a tunnel, is filled in where it is. */
static void checksums_elsewhere_are_filled(void **state)
{
	const struct recipe recipe = {.udp = true, .payload = 300};
	const unsigned int start = 14 + 20 + 8 + 50, offset = 16;
	struct virtio_net_hdr request;
	struct rte_mbuf *frame = guest_frame(&recipe, &request);
	uint8_t *data = rte_pktmbuf_mtod(frame, uint8_t *);

	(void)state;
	request.csum_start = start;
	request.csum_offset = offset;
	put16(data + start + offset, 0x1234); /* Of a pseudo header. */
	offload_note_guest_request(frame, &request);
	assert_int_equal(frame->ol_flags & OFFLOAD_FLAGS, 0);
	assert_int_not_equal(get16(data + start + offset), 0x1234);
	uint32_t sum = plain_sum(data + start, frame->pkt_len - start, 0x1234);
	assert_int_equal(sum, 0xffff);
	rte_pktmbuf_free(frame);
}

/* Every place for a checksum, also far outside of the frame: ASan looks on. */
static void checksums_outside_are_refused(void **state)
{
	const struct recipe recipe = {.udp = true, .payload = 20};
	struct virtio_net_hdr request;

	(void)state;
	for (uint32_t place = 0; place <= UINT16_MAX; place += place < 300 ? 1 : 997) {
		struct rte_mbuf *frame = guest_frame(&recipe, &request);

		request.csum_start = place;
		request.csum_offset = UINT16_MAX - place;
		offload_note_guest_request(frame, &request);
		request.csum_offset = 2;
		offload_note_guest_request(frame, &request);
		assert_int_equal(frame->ol_flags & OFFLOAD_FLAGS, 0);
		rte_pktmbuf_free(frame);
	}
}

static void lies_of_guests_are_cleared(void **state)
{
	const struct recipe tiny = {.payload = 9000, .segment = 1};
	const struct recipe none = {.payload = 9000};
	const struct recipe small = {.payload = 100, .segment = 1000};
	const struct recipe *const recipes[] = {&tiny, &none, &small};
	struct virtio_net_hdr request;
	struct rte_mbuf *frame;

	(void)state;
	for (size_t i = 0; i < RTE_DIM(recipes); i++) {
		frame = guest_frame(recipes[i], &request);
		request.gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
		offload_note_guest_request(frame, &request);
		assert_false(frame->ol_flags & OFFLOAD_CUT);
		rte_pktmbuf_free(frame);
	}
	/* An IP header of 4 bytes, a TCP header of 8, segments of the other family, a frame that
	 * ends early. */
	frame = guest_frame(&large[1], &request);
	rte_pktmbuf_mtod(frame, uint8_t *)[14] = 0x41;
	offload_note_guest_request(frame, &request);
	assert_int_equal(frame->ol_flags & OFFLOAD_FLAGS, 0);
	rte_pktmbuf_free(frame);
	frame = guest_frame(&large[1], &request);
	rte_pktmbuf_mtod(frame, uint8_t *)[34 + 12] = 0x20;
	offload_note_guest_request(frame, &request);
	assert_false(frame->ol_flags & RTE_MBUF_F_TX_TCP_SEG);
	rte_pktmbuf_free(frame);
	frame = guest_frame(&large[1], &request);
	request.gso_type = VIRTIO_NET_HDR_GSO_TCPV6;
	offload_note_guest_request(frame, &request);
	assert_false(frame->ol_flags & OFFLOAD_CUT);
	rte_pktmbuf_free(frame);
	for (unsigned int n = 1; n < 60; n++) {
		frame = guest_frame(&whole[0], &request);
		if (n < rte_pktmbuf_pkt_len(frame))
			rte_pktmbuf_trim(frame, rte_pktmbuf_pkt_len(frame) - n);
		offload_note_guest_request(frame, &request);
		if (n < 55)
			assert_int_equal(frame->ol_flags & OFFLOAD_FLAGS, 0);
		rte_pktmbuf_free(frame);
	}
}

/* Runs last: whatever was made above has been given back. */
static void no_buffer_is_lost(void **state)
{
	(void)state;
	assert_int_equal(rte_mempool_in_use_count(environment.pool), 0);
}

int main(void)
{
	char *arguments[] = {"offload_test", "--no-huge", "--no-shconf", "--no-pci",
		"--no-telemetry", "-l", "0", "-m", "64", "--log-level", "4", NULL};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(checksums_are_filled),
		cmocka_unit_test(udp_checksum_of_zero_is_written_as_ones),
		cmocka_unit_test(large_frames_are_cut),
		cmocka_unit_test(cutting_leaves_checksums_to_a_port_that_fills_them),
		cmocka_unit_test(a_port_that_segments_gets_the_large_frame),
		cmocka_unit_test(no_port_gets_a_large_udp_frame),
		cmocka_unit_test(shared_frames_are_copied),
		cmocka_unit_test(frames_above_the_mtu_are_dropped_by_name),
		cmocka_unit_test(nonsense_is_dropped_by_name),
		cmocka_unit_test(truncated_frames_do_no_harm),
		cmocka_unit_test(a_long_burst_is_taken_in_parts),
		cmocka_unit_test(partial_checksums_are_noted),
		cmocka_unit_test(requests_of_guests_are_noted),
		cmocka_unit_test(checksums_elsewhere_are_filled),
		cmocka_unit_test(checksums_outside_are_refused),
		cmocka_unit_test(lies_of_guests_are_cleared),
		cmocka_unit_test(no_buffer_is_lost),
	};

	if (rte_eal_init(RTE_DIM(arguments) - 1, arguments) < 0)
		return 1;
	environment.pool = rte_pktmbuf_pool_create(
		"frames", 4095, 0, 0, 2048 + RTE_PKTMBUF_HEADROOM, SOCKET_ID_ANY);
	if (environment.pool == NULL)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
