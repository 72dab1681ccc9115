/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writer of the traffic log: what is written is read back, and files turn and are deleted when
 * they should.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

#include "tests/unit/log_fixture.h"

/* --- Fields ------------------------------------------------------------------------------------
 */

static struct log_record expected;

static void assert_same_party(const struct log_party *a, const struct log_party *b)
{
	assert_memory_equal(&a->address, &b->address, sizeof(a->address));
	assert_memory_equal(a->mac, b->mac, 6);
	assert_int_equal(a->transport_port, b->transport_port);
	assert_string_equal(a->port, b->port);
	assert_string_equal(a->vm_id, b->vm_id);
	assert_string_equal(a->vm_name, b->vm_name);
	assert_string_equal(a->zone, b->zone);
	assert_string_equal(a->tags, b->tags);
}

static bool compare_record(const struct log_record *a, void *context)
{
	const struct log_record *b = &expected;

	assert_int_equal(a->time_ns, b->time_ns);
	assert_int_equal(a->start_ns, b->start_ns);
	assert_int_equal(a->sequence, b->sequence);
	assert_string_equal(a->host, b->host);
	assert_int_equal(a->kind, b->kind);
	assert_int_equal(a->protocol, b->protocol);
	assert_int_equal(a->icmp_type, b->icmp_type);
	assert_int_equal(a->icmp_code, b->icmp_code);
	assert_int_equal(a->tcp_flags, b->tcp_flags);
	assert_int_equal(a->verdict, b->verdict);
	assert_int_equal(a->ethertype, b->ethertype);
	assert_int_equal(a->vlan, b->vlan);
	assert_int_equal(a->vni, b->vni);
	assert_same_party(&a->source, &b->source);
	assert_same_party(&a->destination, &b->destination);
	assert_string_equal(a->reason, b->reason);
	assert_string_equal(a->tier, b->tier);
	assert_string_equal(a->policy, b->policy);
	assert_string_equal(a->rule, b->rule);
	assert_string_equal(a->label, b->label);
	assert_int_equal(a->simulated, b->simulated);
	assert_string_equal(a->simulated_policy, b->simulated_policy);
	assert_string_equal(a->simulated_rule, b->simulated_rule);
	assert_int_equal(a->policy_revision, b->policy_revision);
	assert_int_equal(a->suppressed, b->suppressed);
	assert_int_equal(a->packets_forward, b->packets_forward);
	assert_int_equal(a->bytes_forward, b->bytes_forward);
	assert_int_equal(a->packets_reverse, b->packets_reverse);
	assert_int_equal(a->bytes_reverse, b->bytes_reverse);
	++*(unsigned int *)context;
	return true;
}

/* Writes `expected` into a fresh log, reads it back before and after the file is closed. */
static void assert_kept(void)
{
	struct log_store *store = open_store(NULL);
	struct log_filter filter = LOG_FILTER_ANY;
	unsigned int n = 0;
	char error[256];

	expected.sequence = log_store_last_sequence(store) + 1;
	filter.after_sequence = log_store_last_sequence(store);
	write_one(store, &expected);
	commit(store, expected.time_ns);
	assert_int_equal(
		log_query(directory, &filter, compare_record, &n, error, sizeof(error)), 0);
	log_store_close(store);
	assert_int_equal(
		log_query(directory, &filter, compare_record, &n, error, sizeof(error)), 0);
	assert_int_equal(n, 2);
}

static void test_keeps_every_field(void **state)
{
	(void)state;
	expected = record_of(1, T0 + 123456789);
	assert_kept();
	expected = denial_of(1, T0 + 987654321);
	expected.suppressed = UINT32_MAX;
	assert_kept();
	/* A spoofed address is no part of the party. */
	expected.kind = LOG_SPOOFED;
	expected.source.address = address("192.0.2.66");
	assert_kept();
}

static void test_keeps_extremes(void **state)
{
	static char long_tags[6000];

	(void)state;
	memset(long_tags, 'x', sizeof(long_tags) - 1);
	expected = record_of(1, T0 + 1);
	expected.kind = LOG_LIMIT;
	expected.protocol = expected.icmp_type = expected.icmp_code = expected.tcp_flags = 255;
	expected.verdict = ZONE_REJECT;
	expected.ethertype = expected.vlan = 0xffff;
	expected.vni = expected.policy_revision = UINT32_MAX;
	expected.source.transport_port = expected.destination.transport_port = 0xffff;
	expected.packets_forward = expected.bytes_forward = UINT64_MAX;
	expected.packets_reverse = expected.bytes_reverse = INT64_MAX;
	expected.start_ns = 0;
	expected.destination.tags = long_tags;
	expected.simulated = 1 + ZONE_REJECT;
	expected.simulated_policy = "audit";
	expected.simulated_rule = "no-db";
	expected.label = "'; DROP TABLE records; -- \xc3\xa9\xe2\x82\xac";
	memset(expected.source.mac, 0xff, 6);
	assert_kept();
	/* A clock that stepped back between the first packet and the event. */
	expected.start_ns = expected.time_ns + HOUR;
	assert_kept();
}

static void test_keeps_what_is_not_ip(void **state)
{
	(void)state;
	expected = record_of(1, T0);
	expected.protocol = expected.tcp_flags = 0;
	expected.ethertype = 0x88cc;
	expected.source.address = expected.destination.address = in6addr_any;
	expected.source.transport_port = expected.destination.transport_port = 0;
	expected.destination.port = expected.destination.vm_id = expected.destination.vm_name = "";
	expected.destination.zone = expected.destination.tags = "";
	memset(expected.destination.mac, 0, 6);
	expected.policy = expected.rule = expected.tier = expected.label = expected.reason = "";
	assert_kept();
}

/* More parties than the writer remembers: rows are made twice, and all is read back right. */
static void test_survives_more_parties_than_it_remembers(void **state)
{
	enum { N = 150000 };
	struct log_store *store = open_store(NULL);
	struct log_filter filter = LOG_FILTER_ANY;
	struct ip_prefix prefix;
	struct found *found;

	(void)state;
	for (uint32_t i = 1; i <= N; i++) {
		struct log_record record = record_of(i, T0 + i);

		memcpy(&record.source.mac[2], &i, sizeof(i));
		memcpy(&record.source.address.s6_addr[12], &i, sizeof(i));
		write_one(store, &record);
	}
	commit(store, T0 + N);
	filter.after_sequence = N - 10;
	found = query(&filter);
	assert_int_equal(found->n, 10);
	assert_memory_equal(&found->last.source.mac[2], &(uint32_t){N}, 4);
	assert_memory_equal(&found->last.source.address.s6_addr[12], &(uint32_t){N}, 4);
	/* Found by address, wherever it is kept. */
	for (uint32_t i = 1; i <= N; i += 74999) {
		filter = (struct log_filter)LOG_FILTER_ANY;
		prefix = (struct ip_prefix){.address = address("0.0.0.0"), .length = 128};
		memcpy(&prefix.address.s6_addr[12], &i, sizeof(i));
		filter.prefix = &prefix;
		found = query(&filter);
		assert_int_equal(found->n, 1);
		assert_int_equal(found->sequences[0], i);
	}
	log_store_close(store);
}

/* --- Sequence ------------------------------------------------------------------------------------
 */

static void test_goes_on_after_a_restart(void **state)
{
	struct log_store *store = open_store(NULL);

	(void)state;
	assert_int_equal(log_store_last_sequence(store), 0);
	write_many(store, 1, 500, T0, SECOND);
	assert_int_equal(log_store_last_sequence(store), 500);
	log_store_close(store);
	store = open_store(NULL);
	assert_int_equal(log_store_last_sequence(store), 500);
	write_many(store, 501, 510, T0 + 600 * SECOND, SECOND);
	log_store_close(store);
	assert_int_equal(count_files(".db"), 1);
	assert_int_equal(query_all()->n, 510);
}

static void test_refuses_a_sequence_that_does_not_go_up(void **state)
{
	struct log_store *store = open_store(NULL);
	struct log_record record = record_of(7, T0);

	(void)state;
	write_one(store, &record);
	assert_int_equal(log_store_write(store, &record), -EINVAL);
	assert_non_null(strstr(log_store_error(store), "record 7 does not follow record 7"));
	record.sequence = UINT64_MAX;
	assert_int_equal(log_store_write(store, &record), -EINVAL);
	commit(store, T0);
	assert_int_equal(query_all()->n, 1);
	log_store_close(store);
}

static void test_refuses_a_second_writer(void **state)
{
	struct log_store_options options = {.directory = directory};
	struct log_store *store = open_store(NULL), *second;
	char error[256];

	(void)state;
	assert_int_equal(log_store_open(&options, &second, error, sizeof(error)), -EBUSY);
	assert_null(second);
	assert_non_null(strstr(error, directory));
	log_store_close(store);
	log_store_close(open_store(NULL));
}

/* --- Files ---------------------------------------------------------------------------------------
 */

static void test_turns_buckets(void **state)
{
	struct log_store *store = open_store(NULL);

	(void)state;
	write_many(store, 1, 5, T0 + 10 * SECOND, SECOND);
	write_many(store, 6, 9, T0 + HOUR + 10 * SECOND, SECOND);
	commit(store, T0 + 2 * HOUR);
	write_many(store, 10, 10, T0 + 3 * HOUR, SECOND);
	assert_int_equal(access(path_of("traffic-20261001T120000Z.db"), F_OK), 0);
	assert_int_equal(access(path_of("traffic-20261001T130000Z.db"), F_OK), 0);
	assert_int_equal(access(path_of("traffic-20261001T150000Z.db"), F_OK), 0);
	/* Only the one under way has a WAL. */
	assert_int_equal(count_files("-wal"), 1);
	assert_int_equal(access(path_of("traffic-20261001T150000Z.db-wal"), F_OK), 0);
	log_store_close(store);
	assert_int_equal(count_files("-wal"), 0);
	assert_int_equal(count_files(".db"), 3);
	assert_int_equal(query_all()->n, 10);
}

static void test_files_are_not_for_everybody(void **state)
{
	struct log_store *store;
	struct stat status;

	(void)state;
	assert_int_equal(rmdir(directory), 0);
	store = open_store(NULL);
	write_many(store, 1, 1, T0, 0);
	assert_int_equal(stat(directory, &status), 0);
	assert_int_equal(status.st_mode & 07777, 0750 & ~022);
	assert_int_equal(stat(path_of("traffic-20261001T120000Z.db"), &status), 0);
	assert_int_equal(status.st_mode & 07777, 0640);
	assert_int_equal(stat(path_of("traffic-20261001T120000Z.db-wal"), &status), 0);
	assert_int_equal(status.st_mode & 07777, 0640);
	log_store_close(store);
}

static void test_another_bucket_length_takes_over(void **state)
{
	struct log_store *store = open_store(&(struct log_store_options){.bucket_seconds = 600});

	(void)state;
	write_many(store, 1, 10, T0, SECOND);
	write_many(store, 11, 20, T0 + 601 * SECOND, SECOND);
	log_store_close(store);
	store = open_store(NULL);
	write_many(store, 21, 30, T0 + 1800 * SECOND, SECOND);
	log_store_close(store);
	/* The hour goes on in the file of 12:10, so names still tell the span. */
	assert_int_equal(count_files(".db"), 2);
	assert_int_equal(query_all()->n, 30);
}

static void test_a_clock_set_back_begins_another_part(void **state)
{
	struct log_store *store = open_store(NULL);
	struct log_filter filter = LOG_FILTER_ANY;

	(void)state;
	write_many(store, 1, 10, T0 + 3000 * SECOND, SECOND);
	commit(store, T0 + 600 * SECOND);
	write_many(store, 11, 20, T0 + 601 * SECOND, SECOND);
	commit(store, T0 - 1800 * SECOND);
	write_many(store, 21, 30, T0 - 1800 * SECOND, SECOND);
	write_many(store, 31, 40, T0 + 10 * SECOND, SECOND);
	log_store_close(store);
	assert_int_equal(access(path_of("traffic-20261001T120000Z.db"), F_OK), 0);
	assert_int_equal(access(path_of("traffic-20261001T120000Z-2.db"), F_OK), 0);
	assert_int_equal(access(path_of("traffic-20261001T120000Z-3.db"), F_OK), 0);
	assert_int_equal(access(path_of("traffic-20261001T110000Z.db"), F_OK), 0);
	filter.since_ns = T0 + 3005 * SECOND;
	assert_int_equal(query(&filter)->n, 5);
	filter.since_ns = T0 - 1800 * SECOND;
	filter.until_ns = T0 - 1795 * SECOND;
	assert_int_equal(query(&filter)->n, 6);
}

static void test_retention_by_age(void **state)
{
	struct log_store *store = open_store(&(struct log_store_options){.retention_days = 2});

	(void)state;
	for (uint64_t hour = 0; hour < 60; hour++)
		write_many(store, hour + 1, hour + 1, T0 + hour * HOUR, 0);
	/* 48 whole hours, the one under way, and the one that ended just now. */
	assert_in_range(count_files("Z.db") - count_files("-wal") - count_files("-shm"), 49, 50);
	assert_int_not_equal(access(path_of("traffic-20261001T120000Z.db"), F_OK), 0);
	log_store_close(store);
	assert_in_range(query_all()->n, 49, 50);
	assert_int_equal(query_all()->last.sequence, 60);
}

static uint64_t directory_bytes(void)
{
	DIR *stream = opendir(directory);
	struct dirent *entry;
	struct stat status;
	uint64_t bytes = 0;

	while ((entry = readdir(stream)))
		if (strstr(entry->d_name, ".db") && !stat(path_of(entry->d_name), &status))
			bytes += (uint64_t)status.st_blocks * 512;
	closedir(stream);
	return bytes;
}

/* One hour outgrows the whole budget: its oldest parts go, the newest stay. */
static void test_retention_by_size(void **state)
{
	struct log_store_options options = {.retention_bytes = 24 << 20};
	struct log_store *store = open_store(&options);
	uint64_t time = T0;

	(void)state;
	write_garbage("traffic-20260101T000000Z.db.damaged");
	write_garbage("unrelated.txt");
	for (uint64_t batch = 0; batch < 60; batch++) {
		time = write_many(store, batch * 10000 + 1, batch * 10000 + 10000, time, 1000);
		assert_in_range(directory_bytes(), 0, 24 << 20);
	}
	assert_true(directory_bytes() > 16 << 20);
	log_store_close(store);
	assert_int_not_equal(access(path_of("traffic-20261001T120000Z.db"), F_OK), 0);
	assert_int_not_equal(access(path_of("traffic-20260101T000000Z.db.damaged"), F_OK), 0);
	assert_int_equal(access(path_of("unrelated.txt"), F_OK), 0);
	assert_int_equal(query_all()->last.sequence, 600000);
	assert_in_range(query_all()->n, 200000, 599999);
}

static void test_close_commits_and_accepts_null(void **state)
{
	struct log_store *store = open_store(NULL);
	struct log_record record = record_of(1, T0);

	(void)state;
	write_one(store, &record);
	log_store_close(store);
	assert_int_equal(query_all()->n, 1);
	log_store_close(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_directory, remove_directory)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_keeps_every_field),
		TEST(test_keeps_extremes),
		TEST(test_keeps_what_is_not_ip),
		TEST(test_survives_more_parties_than_it_remembers),
		TEST(test_goes_on_after_a_restart),
		TEST(test_refuses_a_sequence_that_does_not_go_up),
		TEST(test_refuses_a_second_writer),
		TEST(test_turns_buckets),
		TEST(test_files_are_not_for_everybody),
		TEST(test_another_bucket_length_takes_over),
		TEST(test_a_clock_set_back_begins_another_part),
		TEST(test_retention_by_age),
		TEST(test_retention_by_size),
		TEST(test_close_commits_and_accepts_null),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
