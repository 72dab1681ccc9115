/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a VMM may say: each request at its least length, one byte shorter, and with the values that
 * librte_vhost handles wrongly.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "datapath/vhost_message.h"

static bool passes(uint32_t request, const void *payload, uint32_t bytes)
{
	uint8_t room[sizeof(struct vhost_message) + 512] = {0};
	struct vhost_message *message = (struct vhost_message *)room;

	message->request = request;
	message->flags = 1;
	message->bytes = bytes;
	if (bytes > 0)
		memcpy(message->payload, payload, bytes);
	return vhost_message_refusal(message) == NULL;
}

static void test_least_lengths(void **state)
{
	static const struct {
		uint32_t request, least;
	} cases[] = {
		{VHOST_MESSAGE_SET_FEATURES, 8},
		{VHOST_MESSAGE_SET_LOG_BASE, 16},
		{VHOST_MESSAGE_SET_VRING_NUM, 8},
		{VHOST_MESSAGE_SET_VRING_ADDR, 40},
		{VHOST_MESSAGE_SET_VRING_BASE, 8},
		{VHOST_MESSAGE_GET_VRING_BASE, 8},
		{VHOST_MESSAGE_SET_VRING_KICK, 8},
		{VHOST_MESSAGE_SET_VRING_CALL, 8},
		{VHOST_MESSAGE_SET_VRING_ERR, 8},
		{VHOST_MESSAGE_SET_PROTOCOL_FEATURES, 8},
		{VHOST_MESSAGE_SET_VRING_ENABLE, 8},
		{VHOST_MESSAGE_SEND_RARP, 8},
		{VHOST_MESSAGE_NET_SET_MTU, 8},
		{VHOST_MESSAGE_SET_STATUS, 8},
	};
	static const uint8_t zeros[64];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_true(passes(cases[i].request, zeros, cases[i].least));
		assert_false(passes(cases[i].request, zeros, cases[i].least - 1));
	}
	assert_true(passes(VHOST_MESSAGE_GET_FEATURES, NULL, 0));
	assert_true(passes(VHOST_MESSAGE_GET_QUEUE_NUM, NULL, 0));
}

/* All but those of a network card: 22 to 38 are IOMMU, configuration, cryptography, post-copy,
 * memory in flight; 0 and those from 41 on are nothing that the library should see. */
static void test_other_requests(void **state)
{
	static const uint8_t zeros[256];

	(void)state;
	assert_false(passes(0, zeros, sizeof(zeros)));
	for (uint32_t request = 22; request < 39; request++)
		assert_false(passes(request, zeros, sizeof(zeros)));
	for (uint32_t request = 41; request < 300; request++)
		assert_false(passes(request, zeros, sizeof(zeros)));
	assert_false(passes(UINT32_MAX, zeros, sizeof(zeros)));
}

static void test_memory(void **state)
{
	struct {
		uint32_t n, unused;
		uint64_t regions[9][4];
	} table = {.n = 1, .regions = {{0x1000, 0x1000, 0x1000, 0}}};

	(void)state;
	assert_true(passes(VHOST_MESSAGE_SET_MEM_TABLE, &table, 8 + 32));
	assert_false(passes(VHOST_MESSAGE_SET_MEM_TABLE, &table, 8 + 31));
	table.n = 2;
	assert_false(passes(VHOST_MESSAGE_SET_MEM_TABLE, &table, 8 + 32));
	assert_false(
		passes(VHOST_MESSAGE_SET_MEM_TABLE, &table, 8 + 64)); /* The second is empty. */
	table.n = 0;
	assert_false(passes(VHOST_MESSAGE_SET_MEM_TABLE, &table, 8 + 32));
	table.n = 9;
	assert_false(passes(VHOST_MESSAGE_SET_MEM_TABLE, &table, sizeof(table)));
	table.n = UINT32_MAX;
	assert_false(passes(VHOST_MESSAGE_SET_MEM_TABLE, &table, sizeof(table)));
	table.n = 1;
	table.regions[0][0] = UINT64_MAX - 0x1000;
	assert_true(passes(VHOST_MESSAGE_SET_MEM_TABLE, &table, 8 + 32));
	table.regions[0][0]++;
	assert_false(passes(VHOST_MESSAGE_SET_MEM_TABLE, &table, 8 + 32));
	table.regions[0][0] = 0;
	table.regions[0][2] = UINT64_MAX;
	assert_false(passes(VHOST_MESSAGE_SET_MEM_TABLE, &table, 8 + 32));
}

static void test_log(void **state)
{
	uint64_t log[2] = {4096, 0};

	(void)state;
	assert_true(passes(VHOST_MESSAGE_SET_LOG_BASE, log, sizeof(log)));
	log[1] = 4096;
	assert_false(passes(VHOST_MESSAGE_SET_LOG_BASE, log, sizeof(log)));
}

static void test_features(void **state)
{
	const uint64_t queues = 1 << 0, log = 1 << 1, acknowledged = 1 << 3;

	(void)state;
	assert_int_equal(vhost_message_features(UINT64_C(0x1ffff)) & 0x1380, 0);
	assert_int_equal(
		vhost_message_features(queues | log | acknowledged), queues | log | acknowledged);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_least_lengths),
		cmocka_unit_test(test_other_requests),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_log),
		cmocka_unit_test(test_features),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
