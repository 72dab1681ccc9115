/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Action programs carried out on real packet buffers: what leaves by which port, and how it looks.
 * Nothing is sent: a worker's batches are looked into before they are flushed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <rte_eal.h>

#include "datapath/switch.h"

/* A worker that polls nothing, and the switch that it belongs to. */
struct fixture {
	struct cordon_switch *sw;
	struct worker *worker;
	_Atomic uint64_t drops[DROP_N_REASONS];
};

static const uint8_t plain[64] = {
	0x02, 0, 0, 0, 0, 2, 0x02, 0, 0, 0, 0, 1, 0x08, 0x00, 0x45, 0xaa, 0xbb};

static struct rte_mempool *pool;

static int set_up(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	fixture->sw = aligned_alloc(64, RTE_ALIGN_CEIL(sizeof(*fixture->sw), 64));
	memset(fixture->sw, 0, sizeof(*fixture->sw));
	fixture->sw->environment.pool = pool;
	fixture->worker = calloc(1, sizeof(*fixture->worker));
	fixture->worker->sw = fixture->sw;
	fixture->worker->drops = fixture->drops;
	*state = fixture;
	return 0;
}

/* Every buffer must be back in the pool once the batches are flushed: to ports that are not there,
 * which the flush counts. */
static int tear_down(void **state)
{
	struct fixture *fixture = *state;

	output_flush(fixture->worker);
	assert_int_equal(rte_mempool_in_use_count(pool), 0);
	free(fixture->worker);
	free(fixture->sw);
	free(fixture);
	return 0;
}

static struct rte_mbuf *make_frame(void)
{
	struct rte_mbuf *frame = rte_pktmbuf_alloc(pool);

	assert_non_null(frame);
	memcpy(rte_pktmbuf_append(frame, sizeof(plain)), plain, sizeof(plain));
	return frame;
}

/* The one frame that waits to leave by `port`. */
static const uint8_t *only_output(const struct fixture *fixture, uint16_t port, uint32_t bytes)
{
	const struct tx_batch *batch = &fixture->worker->tx[port];

	assert_int_equal(batch->n, 1);
	assert_int_equal(rte_pktmbuf_pkt_len(batch->frames[0]), bytes);
	return rte_pktmbuf_mtod(batch->frames[0], const uint8_t *);
}

static void test_output_sends_the_frame_itself(void **state)
{
	struct fixture *fixture = *state;
	struct rte_mbuf *frame = make_frame();
	const struct action actions[] = {{.type = ACTION_OUTPUT, .argument = 7}};

	actions_run(fixture->worker, actions, 1, frame);
	assert_memory_equal(only_output(fixture, 7, sizeof(plain)), plain, sizeof(plain));
	assert_ptr_equal(fixture->worker->tx[7].frames[0], frame);
}

static void test_push_and_pop(void **state)
{
	struct fixture *fixture = *state;
	const struct action actions[] = {
		{.type = ACTION_PUSH_VLAN, .argument = 100},
		{.type = ACTION_OUTPUT, .argument = 1},
		{.type = ACTION_POP_VLAN},
		{.type = ACTION_OUTPUT, .argument = 2},
	};
	static const uint8_t tag[] = {0x81, 0x00, 0x00, 0x64};

	actions_run(fixture->worker, actions, RTE_DIM(actions), make_frame());
	const uint8_t *tagged = only_output(fixture, 1, sizeof(plain) + 4);
	assert_memory_equal(tagged, plain, 12);
	assert_memory_equal(tagged + 12, tag, sizeof(tag));
	assert_memory_equal(tagged + 16, plain + 12, sizeof(plain) - 12);
	assert_memory_equal(only_output(fixture, 2, sizeof(plain)), plain, sizeof(plain));
}

/* Offsets for checksum offload move with the tag. */
static void test_tags_move_the_offload_offset(void **state)
{
	struct fixture *fixture = *state;
	struct rte_mbuf *frame = make_frame();
	const struct action actions[] = {
		{.type = ACTION_PUSH_VLAN, .argument = 5}, {.type = ACTION_OUTPUT, .argument = 1}};

	frame->l2_len = 14;
	actions_run(fixture->worker, actions, RTE_DIM(actions), frame);
	only_output(fixture, 1, sizeof(plain) + 4);
	assert_int_equal(fixture->worker->tx[1].frames[0]->l2_len, 18);
}

/* Each of several outputs has a frame that it may write to. */
static void test_outputs_share_no_buffer(void **state)
{
	struct fixture *fixture = *state;
	const struct action actions[] = {{.type = ACTION_OUTPUT, .argument = 1},
		{.type = ACTION_OUTPUT, .argument = 2}, {.type = ACTION_OUTPUT, .argument = 3}};

	actions_run(fixture->worker, actions, RTE_DIM(actions), make_frame());
	for (uint16_t port = 1; port <= 3; port++) {
		const uint8_t *data = only_output(fixture, port, sizeof(plain));

		assert_memory_equal(data, plain, sizeof(plain));
		for (uint16_t other = 1; other < port; other++)
			assert_ptr_not_equal(data, only_output(fixture, other, sizeof(plain)));
	}
}

static void test_drop_counts_its_reason(void **state)
{
	struct fixture *fixture = *state;
	const struct action actions[] = {{.type = ACTION_DROP, .reason = DROP_POLICY}};

	actions_run(fixture->worker, actions, 1, make_frame());
	assert_int_equal(fixture->drops[DROP_POLICY], 1);
	assert_int_equal(fixture->worker->n_pending, 0);
}

static void test_a_program_without_output_frees(void **state)
{
	struct fixture *fixture = *state;
	const struct action actions[] = {{.type = ACTION_PUSH_VLAN, .argument = 5}};

	actions_run(fixture->worker, actions, 1, make_frame());
	assert_int_equal(rte_mempool_in_use_count(pool), 0);
	actions_run(fixture->worker, NULL, 0, make_frame());
	assert_int_equal(rte_mempool_in_use_count(pool), 0);
	(void)fixture;
}

/* A batch that is full is sent, in order, and begun anew; a port that is gone is named. */
static void test_full_batches_are_sent(void **state)
{
	struct fixture *fixture = *state;

	for (unsigned int i = 0; i < BURST_MAX + 1; i++)
		output_add(fixture->worker, 9, make_frame());
	assert_int_equal(fixture->worker->tx[9].n, 1);
	assert_int_equal(fixture->worker->n_pending, 1);
	assert_int_equal(fixture->worker->output_drops[DROP_OUTPUT_MISSING], BURST_MAX);
	output_flush(fixture->worker);
	assert_int_equal(fixture->worker->output_drops[DROP_OUTPUT_MISSING], BURST_MAX + 1);
	assert_int_equal(fixture->worker->n_pending, 0);
}

/* Without a buffer for a copy, the outputs that need none still get the frame. */
static void test_no_buffer_for_a_copy(void **state)
{
	struct fixture *fixture = *state;
	const struct action actions[] = {
		{.type = ACTION_OUTPUT, .argument = 1}, {.type = ACTION_OUTPUT, .argument = 2}};
	struct rte_mbuf *frame = make_frame(), *rest[256];
	unsigned int n = 0;

	while (n < RTE_DIM(rest) && (rest[n] = rte_pktmbuf_alloc(pool)) != NULL)
		n++;
	assert_in_range(n, 1, RTE_DIM(rest) - 1);
	actions_run(fixture->worker, actions, RTE_DIM(actions), frame);
	assert_int_equal(fixture->worker->output_drops[DROP_NO_BUFFER], 1);
	assert_int_equal(fixture->worker->tx[1].n, 0);
	only_output(fixture, 2, sizeof(plain));
	rte_pktmbuf_free_bulk(rest, n);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
	char *arguments[] = {"actions_test", "--no-huge", "--no-shconf", "--no-pci",
		"--no-telemetry", "-m", "32", "--lcores", "0", "--log-level=4", NULL};
	const struct CMUnitTest tests[] = {
		TEST(test_output_sends_the_frame_itself),
		TEST(test_push_and_pop),
		TEST(test_tags_move_the_offload_offset),
		TEST(test_outputs_share_no_buffer),
		TEST(test_drop_counts_its_reason),
		TEST(test_a_program_without_output_frees),
		TEST(test_full_batches_are_sent),
		TEST(test_no_buffer_for_a_copy),
	};

	if (rte_eal_init(RTE_DIM(arguments) - 1, arguments) < 0)
		return 1;
	pool = rte_pktmbuf_pool_create(
		"frames", 127, 0, 0, 2048 + RTE_PKTMBUF_HEADROOM, SOCKET_ID_ANY);
	return pool == NULL ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
