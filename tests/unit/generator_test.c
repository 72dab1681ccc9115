/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bench's generator: frames that a switch can find no fault with, percentiles, pace, and a
 * guest's rings.  What it measures is worth no more than these.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/generator/frame.h"
#include "tests/bench/generator/histogram.h"
#include "tests/bench/generator/pace.h"
#include "tests/bench/generator/ring.h"

enum { FLOWS = 120000 };

/* --- Frames --------------------------------------------------------------------------------- */

static struct traffic traffic_of(bool tcp, bool ipv6, bool stamped, uint16_t size)
{
	struct traffic traffic = {.n_flows = FLOWS,
		.tcp = tcp,
		.ipv6 = ipv6,
		.stamped = stamped,
		.n_sizes = 1,
		.mac = {{2, 0, 0, 0, 0, 1}, {2, 0, 0, 0, 0, 2}}};

	traffic.sizes[0] = size ? size : frame_bytes_min(&traffic);
	for (unsigned int i = 0; i < N_SIDES; i++)
		traffic.address[i] =
			ipv6 ? (struct in6_addr){.s6_addr = {0xfd, 0x77, [15] = (uint8_t)(i + 1)}}
			     : (struct in6_addr){.s6_addr = {[12] = 10, 77, 0, (uint8_t)(i + 1)}};
	return traffic;
}

static uint32_t be16(const uint8_t *at)
{
	return (uint32_t)at[0] << 8 | at[1];
}

/* RFC 1071, byte by byte, with an odd byte at the end. */
static uint32_t sum_of(const uint8_t *at, size_t bytes, uint32_t sum)
{
	for (size_t i = 0; i < bytes; i++)
		sum += i % 2 ? at[i] : (uint32_t)at[i] << 8;
	return sum;
}

static uint32_t folded(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* Checks lengths and checksums as a receiver does.  Returns the transport header. */
static const uint8_t *check_frame(const uint8_t *frame, uint32_t frame_bytes, uint8_t protocol)
{
	const uint8_t *ip = frame + 14, *l4;
	uint32_t l4_bytes, sum;

	if (be16(frame + 12) == 0x0800) {
		l4 = ip + 20;
		l4_bytes = be16(ip + 2) - 20;
		assert_int_equal(ip[9], protocol);
		assert_int_equal(folded(sum_of(ip, 20, 0)), 0xffff);
		sum = sum_of(ip + 12, 8, protocol + l4_bytes);
	} else {
		assert_int_equal(be16(frame + 12), 0x86dd);
		l4 = ip + 40;
		l4_bytes = be16(ip + 4);
		assert_int_equal(ip[6], protocol);
		sum = sum_of(ip + 8, 32, protocol + l4_bytes);
	}
	assert_true(l4 + l4_bytes <= frame + frame_bytes);
	assert_int_equal(folded(sum_of(l4, l4_bytes, sum)), 0xffff);
	if (protocol == IPPROTO_UDP) {
		assert_int_equal(be16(l4 + 4), l4_bytes);
		assert_int_not_equal(be16(l4 + 6), 0);
	}
	return l4;
}

static const uint32_t flows[] = {0, 1, 49999, 50000, 50001, FLOWS - 1};
enum { N_FLOWS = sizeof(flows) / sizeof(flows[0]) };

static void check_udp(bool ipv6, bool stamped, uint16_t size)
{
	struct traffic traffic = traffic_of(false, ipv6, stamped, size);
	uint8_t frame[FRAME_BYTES_MAX];
	struct frame_maker maker;

	assert_int_equal(frame_maker_init(&maker, &traffic), 0);
	for (unsigned int side = 0; side < N_SIDES; side++) {
		enum side_name from = (enum side_name)side, to = side ? SIDE_A : SIDE_B;

		frame_prepare(&maker, from, frame);
		for (unsigned int i = 0; i < N_FLOWS; i++) {
			uint16_t bytes = traffic.sizes[0];
			uint64_t stamp = 0xfedcba9876543210 * (i + 1);

			if (stamped)
				frame_write_stamped(&maker, from, flows[i], bytes, stamp, frame);
			else
				frame_write(&maker, from, flows[i], bytes, frame);
			check_frame(frame, bytes, IPPROTO_UDP);
			assert_true(frame_is_ours(&maker, to, frame, bytes));
			assert_false(frame_is_ours(&maker, from, frame, bytes));
			assert_int_equal(frame_flow(&maker, to, frame), flows[i]);
			if (stamped)
				assert_int_equal(frame_stamp(&maker, frame), stamp);
		}
	}
	frame_maker_free(&maker);
}

static void udp_frames_are_whole(void **state)
{
	(void)state;
	for (int ipv6 = 0; ipv6 < 2; ipv6++)
		for (int stamped = 0; stamped < 2; stamped++) {
			check_udp(ipv6, stamped, 0);
			check_udp(ipv6, stamped, 594);
			check_udp(ipv6, stamped, FRAME_BYTES_MAX);
		}
}

/* Ports add up to every value of the sum, the one too whose checksum would be zero. */
static void no_checksum_is_zero(void **state)
{
	struct traffic traffic = traffic_of(false, false, false, 0);
	uint8_t frame[FRAME_BYTES_MAX];
	struct frame_maker maker;

	(void)state;
	assert_int_equal(frame_maker_init(&maker, &traffic), 0);
	frame_prepare(&maker, SIDE_A, frame);
	for (uint32_t flow = 0; flow < FLOWS; flow++) {
		frame_write(&maker, SIDE_A, flow, traffic.sizes[0], frame);
		check_frame(frame, traffic.sizes[0], IPPROTO_UDP);
	}
	frame_maker_free(&maker);
}

static void check_segment(const struct frame_maker *maker, const struct tcp_segment *segment)
{
	uint8_t frame[FRAME_BYTES_MAX];
	struct tcp_segment read;
	const uint8_t *tcp;
	uint16_t bytes;

	frame_prepare(maker, SIDE_B, frame);
	/* What the buffer was before leaves no trace. */
	frame_write_segment(maker, SIDE_B,
		&(struct tcp_segment){.flow = 7, .flags = TCP_SYN, .sequence = ~0u}, frame);
	bytes = frame_write_segment(maker, SIDE_B, segment, frame);
	tcp = check_frame(frame, bytes, IPPROTO_TCP);
	assert_int_equal(tcp[12] >> 4, segment->flags & TCP_SYN ? 6 : 5);
	assert_true(frame_is_ours(maker, SIDE_A, frame, bytes));
	read = frame_read_segment(maker, SIDE_A, frame);
	assert_int_equal(read.flow, segment->flow);
	assert_int_equal(read.sequence, segment->sequence);
	assert_int_equal(read.acknowledgment, segment->acknowledgment);
	assert_int_equal(read.payload_bytes, segment->payload_bytes);
	assert_int_equal(read.flags, segment->flags);
}

static void tcp_segments_are_whole(void **state)
{
	static const struct tcp_segment segments[] = {
		{.flow = 3, .flags = TCP_SYN, .sequence = 0xfffffffe},
		{.flow = 50003, .flags = TCP_SYN | TCP_ACK, .sequence = 5, .acknowledgment = 9},
		{.flow = 4, .flags = TCP_ACK, .sequence = 0x80000000, .acknowledgment = ~0u},
		{.flow = 5, .flags = TCP_PUSH | TCP_ACK, .sequence = 1, .payload_bytes = 64},
		{.flow = 6, .flags = TCP_PUSH | TCP_ACK, .sequence = 1, .payload_bytes = 1400},
		{.flow = 7, .flags = TCP_FIN | TCP_ACK, .sequence = 2, .acknowledgment = 3},
	};

	(void)state;
	for (int ipv6 = 0; ipv6 < 2; ipv6++) {
		struct traffic traffic = traffic_of(true, ipv6, false, 0);
		struct frame_maker maker;

		assert_int_equal(frame_maker_init(&maker, &traffic), 0);
		for (size_t i = 0; i < sizeof(segments) / sizeof(segments[0]); i++)
			check_segment(&maker, &segments[i]);
		frame_maker_free(&maker);
	}
}

/* Each side acknowledges exactly what the other has sent. */
static void tcp_flows_count_what_they_send(void **state)
{
	struct traffic traffic = traffic_of(true, false, false, 0);
	uint8_t frame[FRAME_BYTES_MAX];
	struct frame_maker maker;
	uint16_t bytes = traffic.sizes[0];
	struct tcp_segment read;

	(void)state;
	assert_int_equal(frame_maker_init(&maker, &traffic), 0);
	frame_prepare(&maker, SIDE_A, frame);
	frame_write_tcp(&maker, SIDE_A, 1, bytes, TCP_SYN_FRAME, frame);
	frame_sent(&maker, SIDE_A, 1, bytes, TCP_SYN_FRAME);
	frame_heard(&maker, SIDE_B, frame);
	frame_write(&maker, SIDE_A, 1, 594, frame);
	frame_sent(&maker, SIDE_A, 1, 594, TCP_DATA_FRAME);
	check_frame(frame, 594, IPPROTO_TCP);
	frame_heard(&maker, SIDE_B, frame);
	frame_prepare(&maker, SIDE_B, frame);
	frame_write(&maker, SIDE_B, 1, bytes, frame);
	read = frame_read_segment(&maker, SIDE_A, frame);
	assert_int_equal(read.acknowledgment, maker.tcp[1].next[SIDE_A]);
	assert_int_equal(read.acknowledgment, 1 + 594 - 54);
	frame_maker_free(&maker);
}

static void impossible_traffic_is_refused(void **state)
{
	struct frame_maker maker;
	struct traffic traffic = traffic_of(false, false, false, 0);

	(void)state;
	traffic.sizes[0] = 63;
	assert_int_equal(frame_maker_init(&maker, &traffic), -EINVAL);
	traffic.sizes[0] = FRAME_BYTES_MAX + 1;
	assert_int_equal(frame_maker_init(&maker, &traffic), -EINVAL);
	traffic = traffic_of(true, false, true, FRAME_BYTES_MAX);
	assert_int_equal(frame_maker_init(&maker, &traffic), -EINVAL);
}

/* --- Percentiles ---------------------------------------------------------------------------- */

static void buckets_follow_each_other(void **state)
{
	unsigned int last = 0;

	(void)state;
	for (uint64_t value = 0; value < 100000; value++) {
		unsigned int bucket = histogram_bucket(value);

		assert_true(bucket == last || bucket == last + 1);
		last = bucket;
	}
	assert_int_equal(histogram_bucket(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
}

static void percentiles_are_those_of_the_values(void **state)
{
	static const double shares[] = {0.001, 0.1, 0.5, 0.9, 0.99, 0.999};
	struct histogram *histogram = calloc(1, sizeof(*histogram));

	(void)state;
	assert_non_null(histogram);
	assert_int_equal(histogram_percentile(histogram, 0.5), 0);
	for (uint64_t value = 100000; value > 0; value--)
		histogram_add(histogram, value);
	for (size_t i = 0; i < sizeof(shares) / sizeof(shares[0]); i++) {
		uint64_t exact = (uint64_t)(shares[i] * 100000 + 0.5);
		uint64_t found = histogram_percentile(histogram, shares[i]);

		assert_in_range(found, exact, exact + exact / HISTOGRAM_PARTS);
	}
	assert_int_equal(histogram_percentile(histogram, 1), 100000);
	histogram_add(histogram, UINT64_MAX);
	assert_int_equal(histogram_percentile(histogram, 1), UINT64_MAX);
	free(histogram);
}

/* --- Pace ----------------------------------------------------------------------------------- */

static void frames_are_due_by_the_clock(void **state)
{
	struct pace pace;

	(void)state;
	pace_start(&pace, 1e6, 5000, 1000000000); /* A frame in 1000 ticks. */
	assert_int_equal(pace_due(&pace, 5999, 64), 0);
	assert_int_equal(pace_due(&pace, 8000, 64), 3);
	pace_sent(&pace, 2);
	assert_int_equal(pace_due(&pace, 8000, 64), 1);
	assert_int_equal(pace_due(&pace, 4000000, 64), 64);
	assert_int_equal(pace_offered(&pace, 4005000), 4000);
	/* An hour later only a moment's backlog is left, and what is missed is still offered. */
	assert_int_equal(pace_due(&pace, 3600000005000, UINT32_MAX), pace.backlog_max);
	assert_int_equal(pace_offered(&pace, 3600000005000), 3600000000);
}

static void without_a_rate_all_is_due(void **state)
{
	struct pace pace;

	(void)state;
	pace_start(&pace, 0, 5000, 1000000000);
	assert_int_equal(pace_due(&pace, 5000, 64), 64);
	pace_sent(&pace, 7);
	assert_int_equal(pace_offered(&pace, 9000), 7);
}

/* --- Rings ---------------------------------------------------------------------------------- */

enum { RING_FRAMES = 8, GUEST = 0x10000 };

struct test_ring {
	struct ring ring;
	uint8_t *memory;
};

static void test_ring_open(struct test_ring *test, bool device_writes, uint16_t chain)
{
	struct ring_shape shape = {.frames = RING_FRAMES,
		.chain = chain,
		.frame_bytes_max = FRAME_BYTES_MAX,
		.device_writes = device_writes};
	size_t bytes = (ring_bytes(&shape) + 4095) / 4096 * 4096;

	test->memory = aligned_alloc(4096, bytes);
	assert_non_null(test->memory);
	memset(test->memory, 0, bytes);
	assert_int_equal(ring_init(&test->ring, &shape, test->memory, GUEST), 0);
	test->ring.used->flags = VRING_USED_F_NO_NOTIFY;
}

static void test_ring_close(struct test_ring *test)
{
	ring_free(&test->ring);
	free(test->memory);
}

/* The device returns the frame at this place of the available ring. */
static void device_returns(struct ring *ring, uint16_t at, uint32_t bytes)
{
	uint16_t used = ring->used->idx;

	ring->used->ring[used & ring->mask] =
		(struct vring_used_elem){ring->avail->ring[at & ring->mask], bytes};
	ring->used->idx = used + 1;
}

static void frames_come_back_in_any_order(void **state)
{
	struct test_ring test;
	struct ring *ring = &test.ring;
	uint8_t *sent[RING_FRAMES];

	(void)state;
	for (uint16_t chain = 1; chain <= 4; chain *= 4) {
		test_ring_open(&test, false, chain);
		assert_int_equal(ring_room(ring, 100), RING_FRAMES);
		for (uint16_t i = 0; i < RING_FRAMES; i++) {
			sent[i] = ring_frame(ring, i);
			assert_int_equal((uintptr_t)sent[i] % RING_CACHE_LINE, 0);
			ring_put(ring, i, 64);
		}
		ring_publish(ring, RING_FRAMES);
		assert_int_equal(ring->avail->idx, RING_FRAMES);
		assert_int_equal(ring_room(ring, 1), 0);
		device_returns(ring, 5, 0);
		device_returns(ring, 2, 0);
		assert_int_equal(ring_room(ring, 1), 2);
		assert_ptr_equal(ring_frame(ring, 0), sent[5]);
		assert_ptr_equal(ring_frame(ring, 1), sent[2]);
		assert_false(ring->broken);
		test_ring_close(&test);
	}
}

static void descriptors_point_at_the_frames(void **state)
{
	struct test_ring test;
	struct ring *ring = &test.ring;
	const struct vring_desc *desc;

	(void)state;
	test_ring_open(&test, false, 1);
	ring_put(ring, 0, 100);
	desc = &ring->desc[0];
	assert_int_equal(desc->len, RING_HEADER_BYTES + 100);
	assert_ptr_equal(test.memory + (desc->addr - GUEST), ring_header(ring_frame(ring, 0)));
	assert_int_equal(desc->flags, 0);
	test_ring_close(&test);
}

static void received_buffers_go_back(void **state)
{
	struct test_ring test;
	struct ring *ring = &test.ring;

	(void)state;
	test_ring_open(&test, true, 1);
	assert_int_equal(ring->avail->idx, RING_FRAMES);
	assert_int_equal(ring->desc[0].flags, VRING_DESC_F_WRITE);
	assert_int_equal(ring_filled(ring, 1), 0);
	for (unsigned int i = 0; i < 3 * RING_FRAMES; i++) {
		device_returns(ring, (uint16_t)i, RING_HEADER_BYTES + 70);
		assert_int_equal(ring_filled(ring, 1), 1);
		assert_int_equal(ring_received(ring, 0).bytes, 70);
		ring_give_back(ring, 1);
		assert_int_equal(ring->avail->idx, RING_FRAMES + i + 1);
	}
	assert_false(ring->broken);
	test_ring_close(&test);
}

static void a_device_that_breaks_a_ring_is_found_out(void **state)
{
	struct test_ring test;
	struct ring *ring = &test.ring;

	(void)state;
	test_ring_open(&test, true, 1);
	device_returns(ring, 0, ring->buffer_bytes);
	assert_int_equal(ring_filled(ring, 1), 1);
	assert_int_equal(ring_received(ring, 0).bytes, 0);
	assert_true(ring->broken);
	ring->broken = false;
	ring->used->ring[0] = (struct vring_used_elem){RING_FRAMES, 64};
	assert_true(ring_received(ring, 0).data >= ring->buffers);
	assert_true(ring->broken);
	ring->broken = false;
	ring->used->idx = RING_FRAMES + 1;
	assert_int_equal(ring_filled(ring, RING_FRAMES), 0);
	assert_true(ring->broken);
	test_ring_close(&test);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(udp_frames_are_whole),
		cmocka_unit_test(no_checksum_is_zero),
		cmocka_unit_test(tcp_segments_are_whole),
		cmocka_unit_test(tcp_flows_count_what_they_send),
		cmocka_unit_test(impossible_traffic_is_refused),
		cmocka_unit_test(buckets_follow_each_other),
		cmocka_unit_test(percentiles_are_those_of_the_values),
		cmocka_unit_test(frames_are_due_by_the_clock),
		cmocka_unit_test(without_a_rate_all_is_due),
		cmocka_unit_test(frames_come_back_in_any_order),
		cmocka_unit_test(descriptors_point_at_the_frames),
		cmocka_unit_test(received_buffers_go_back),
		cmocka_unit_test(a_device_that_breaks_a_ring_is_found_out),
	};

	return cmocka_run_group_tests_name("generator", tests, NULL, NULL);
}
