/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of the traffic log share: a directory of their own, records, and the records that
 * a query found.  Included after the standard headers and cmocka's.
 */
#ifndef TESTS_UNIT_LOG_FIXTURE_H
#define TESTS_UNIT_LOG_FIXTURE_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "zones/address.h"
#include "log/store.h"
#include "zones/zone.h"

#define SECOND 1000000000ull
#define HOUR   (3600 * SECOND)
#define NOON   1790856000ull /* 2026-10-01 12:00:00 UTC. */
#define T0     (NOON * SECOND)

static char directory[64];

__attribute__((unused)) static int make_directory(void **state)
{
	(void)state;
	strcpy(directory, "/tmp/cordon-log-test-XXXXXX");
	return mkdtemp(directory) ? 0 : -1;
}

__attribute__((unused)) static int remove_directory(void **state)
{
	char command[100];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf '%s'", directory);
	return system(command);
}

__attribute__((unused)) static const char *path_of(const char *name)
{
	static char path[512];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return path;
}

/* How many entries of the directory have `part` in their name. */
__attribute__((unused)) static unsigned int count_files(const char *part)
{
	DIR *stream = opendir(directory);
	struct dirent *entry;
	unsigned int n = 0;

	assert_non_null(stream);
	while ((entry = readdir(stream)))
		n += strstr(entry->d_name, part) != NULL;
	closedir(stream);
	return n;
}

__attribute__((unused)) static void write_garbage(const char *name)
{
	FILE *file = fopen(path_of(name), "w");

	assert_non_null(file);
	for (int i = 0; i < 2000; i++)
		fputs("This is not a database. ", file);
	fclose(file);
}

__attribute__((unused)) static struct in6_addr address(const char *text)
{
	struct in6_addr result;

	assert_true(ip_address_parse(text, &result));
	return result;
}

/* web-1 speaks to db-1's PostgreSQL. */
__attribute__((unused)) static struct log_record record_of(uint64_t sequence, uint64_t time_ns)
{
	return (struct log_record){
		.time_ns = time_ns,
		.start_ns = time_ns - 5 * SECOND,
		.sequence = sequence,
		.host = "host-a",
		.kind = LOG_END,
		.protocol = IPPROTO_TCP,
		.tcp_flags = 0x1b,
		.verdict = ZONE_ALLOW,
		.ethertype = 0x0800,
		.vlan = 10,
		.source = {.address = address("10.0.1.5"),
			.mac = {2, 0, 0, 0, 1, 5},
			.transport_port = 40000,
			.port = "vm-web-1",
			.vm_id = "7f5c",
			.vm_name = "web-1",
			.zone = "web",
			.tags = "app=shop tier=web"},
		.destination = {.address = address("10.0.2.7"),
			.mac = {2, 0, 0, 0, 2, 7},
			.transport_port = 5432,
			.port = "vm-db-1",
			.vm_id = "8a01",
			.vm_name = "db-1",
			.zone = "db",
			.tags = "tier=db"},
		.reason = "fin",
		.tier = "environment",
		.policy = "db-access",
		.rule = "web-to-db",
		.label = "CHG-4711",
		.simulated_policy = "",
		.simulated_rule = "",
		.policy_revision = 12,
		.packets_forward = 10,
		.bytes_forward = 1200,
		.packets_reverse = 9,
		.bytes_reverse = 64000,
	};
}

/* db-1 tries an address outside and is denied. */
__attribute__((unused)) static struct log_record denial_of(uint64_t sequence, uint64_t time_ns)
{
	struct log_record record = record_of(sequence, time_ns);

	record.kind = LOG_DENIED;
	record.verdict = ZONE_DENY;
	record.start_ns = time_ns;
	record.source = record.destination;
	record.source.transport_port = 50000;
	record.destination = (struct log_party){.address = address("2001:db8::99"),
		.transport_port = 443,
		.port = "uplink0",
		.vm_id = "",
		.vm_name = "",
		.zone = "internet",
		.tags = ""};
	record.source.address = address("2001:db8:2::7");
	record.ethertype = 0x86dd;
	record.reason = "policy";
	record.policy = "egress";
	record.rule = "no-internet";
	record.packets_forward = 1;
	record.bytes_forward = 80;
	record.packets_reverse = record.bytes_reverse = 0;
	return record;
}

__attribute__((unused)) static struct log_store *open_store(const struct log_store_options *options)
{
	struct log_store_options mine = options ? *options : (struct log_store_options){0};
	struct log_store *store;
	char error[256] = "";
	int rc;

	mine.directory = directory;
	rc = log_store_open(&mine, &store, error, sizeof(error));
	if (rc)
		fail_msg("log_store_open: %d: %s", rc, error);
	return store;
}

__attribute__((unused)) static void write_one(
	struct log_store *store, const struct log_record *record)
{
	int rc = log_store_write(store, record);

	if (rc)
		fail_msg("log_store_write: %d: %s", rc, log_store_error(store));
}

__attribute__((unused)) static void commit(struct log_store *store, uint64_t now_ns)
{
	size_t n_lost = 99;
	int rc = log_store_commit(store, now_ns, &n_lost);

	if (rc)
		fail_msg("log_store_commit: %d: %s", rc, log_store_error(store));
	assert_int_equal(n_lost, 0);
}

/* Writes records `first` to `last`, `step_ns` apart, in one transaction. */
__attribute__((unused)) static uint64_t write_many(
	struct log_store *store, uint64_t first, uint64_t last, uint64_t time_ns, uint64_t step_ns)
{
	for (uint64_t sequence = first; sequence <= last; sequence++, time_ns += step_ns) {
		struct log_record record = record_of(sequence, time_ns);

		write_one(store, &record);
	}
	commit(store, time_ns);
	return time_ns;
}

/* What a query found. */
struct found {
	size_t n, stop_after;
	uint64_t sequences[2048];
	struct log_record last; /* Only its numbers outlive the query. */
	char error[512];
	int rc;
};

__attribute__((unused)) static bool note_record(const struct log_record *record, void *context)
{
	struct found *found = context;

	if (found->n < 2048)
		found->sequences[found->n] = record->sequence;
	found->n++;
	found->last = *record;
	return !found->stop_after || found->n < found->stop_after;
}

__attribute__((unused)) static struct found *query(const struct log_filter *filter)
{
	static struct found found;

	memset(&found, 0, sizeof(found));
	found.rc =
		log_query(directory, filter, note_record, &found, found.error, sizeof(found.error));
	return &found;
}

/* All records of the directory; the query must succeed. */
__attribute__((unused)) static struct found *query_all(void)
{
	struct log_filter filter = LOG_FILTER_ANY;
	struct found *found = query(&filter);

	if (found->rc)
		fail_msg("log_query: %d: %s", found->rc, found->error);
	for (size_t i = 1; i < found->n && i < 2048; i++)
		assert_true(found->sequences[i] > found->sequences[i - 1]);
	return found;
}

#endif
