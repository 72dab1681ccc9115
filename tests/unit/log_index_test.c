/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Index and sums of the log's files: whatever is asked, they answer as the records themselves do.
 * Each log is asked as it was written, and once more without its index and sums.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/wait.h>

#include "log/flows.h"
#include "tests/unit/log_fixture.h"

#pragma GCC diagnostic ignored "-Woverride-init"
#ifdef __clang__
#pragma clang diagnostic ignored "-Winitializer-overrides"
#endif
#define ANY .kind = -1, .verdict = -1, .simulated = -1, .protocol = -1, .transport_port = -1

/* --- A log ---------------------------------------------------------------------------------- */

enum { N_VMS = 40 };
static char vm_names[N_VMS][16], vm_ports[N_VMS][16], zones[N_VMS][16];

static uint32_t next_random(uint64_t *state)
{
	*state = *state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(*state >> 33);
}

static struct log_party vm(uint32_t number)
{
	struct log_party party = {.address = address("10.0.0.0"),
		.port = vm_ports[number],
		.vm_id = "",
		.vm_name = vm_names[number],
		.zone = zones[number],
		.tags = "tier=any"};

	snprintf(vm_names[number], sizeof(vm_names[0]), "vm-%u", number);
	snprintf(vm_ports[number], sizeof(vm_ports[0]), "port-%u", number);
	snprintf(zones[number], sizeof(zones[0]), "zone-%u", number % 5);
	party.address.s6_addr[15] = (uint8_t)number;
	party.mac[5] = (uint8_t)number;
	return party;
}

/* One of 60,000 clients, IPv4 or IPv6; some of them come often. */
static struct log_party client(uint32_t number)
{
	struct log_party party = {.address = address(number % 3 ? "198.51.0.0" : "2001:db8::"),
		.port = "uplink0",
		.vm_id = "",
		.vm_name = "",
		.zone = "internet",
		.tags = ""};

	number = number % 8 == 1 ? number % 100 : number % 60000;
	party.address.s6_addr[14] = (uint8_t)(number >> 8);
	party.address.s6_addr[15] = (uint8_t)number;
	if (!ip_is_v4(&party.address))
		party.address.s6_addr[7] = (uint8_t)(number % 7);
	return party;
}

static void decide(struct log_record *record, uint32_t dice)
{
	static const char *const rules[] = {"one", "two", "three", "four"};

	record->kind = dice % 2 ? LOG_START : LOG_END;
	record->rule = rules[dice / 64 % 4];
	record->policy = rules[dice / 256 % 2];
	record->policy_revision = 1 + dice / 1024 % 2;
	if (dice % 16 == 5) {
		record->kind = LOG_DENIED;
		record->verdict = dice % 32 == 5 ? ZONE_DENY : ZONE_REJECT;
		record->suppressed = dice % 7 == 0 ? dice % 50 : 0;
	} else if (dice % 128 == 7) {
		record->kind = LOG_WOULD_DENY;
		record->simulated = 1 + ZONE_DENY;
		record->simulated_policy = "audit";
		record->simulated_rule = "no";
	} else if (dice % 256 == 9) {
		record->kind = LOG_SPOOFED;
		record->verdict = ZONE_DENY;
	} else if (dice % 512 == 11) {
		record->kind = LOG_UPDATE;
	}
}

static struct log_record random_record(uint64_t sequence, uint64_t time_ns, uint64_t *random)
{
	struct log_record record = record_of(sequence, time_ns);
	uint32_t dice = next_random(random);

	record.source = dice % 3 ? vm(next_random(random) % N_VMS) : client(next_random(random));
	record.destination =
		dice % 5 ? vm(next_random(random) % N_VMS) : client(next_random(random));
	record.source.transport_port = (uint16_t)(next_random(random) % 610 * 100);
	record.destination.transport_port = dice % 11 ? (uint16_t)(1 + dice % 5) : 443;
	record.reason = "r";
	record.bytes_forward = dice % 10000;
	decide(&record, dice);
	if (dice % 2048 == 13) {
		record.kind = LOG_GAP;
		record.source = record.destination = (struct log_party){
			.port = "", .vm_id = "", .vm_name = "", .zone = "", .tags = ""};
		record.packets_forward = 3;
	}
	return record;
}

/* n records over four hours, with holes in their numbers and times that jump a little. */
static void write_random(struct log_store *store, uint64_t n, uint64_t seed)
{
	uint64_t sequence = log_store_last_sequence(store), random = seed;

	for (uint64_t i = 0; i < n; i++) {
		uint64_t time_ns = T0 + i * (4 * HOUR / n) + next_random(&random) % SECOND;
		struct log_record record;

		sequence += next_random(&random) % 5000 ? 1 : next_random(&random) % 300000;
		record = random_record(sequence + 1, time_ns, &random);
		sequence++;
		write_one(store, &record);
		if (i % 1000 == 999)
			commit(store, time_ns);
	}
	commit(store, T0 + 4 * HOUR);
}

/* --- What is asked -------------------------------------------------------------------------- */

static struct ip_prefix a_client, a_network, a_wide_network, a_vm, a_v6_network;

enum { N_FILTERS = 26 };

static void list_filters(struct log_filter filters[N_FILTERS])
{
	const struct log_filter all[N_FILTERS] = {
		{ANY},
		{ANY, .verdict = ZONE_DENY},
		{ANY, .verdict = ZONE_DENY, .vm = "vm-7"},
		{ANY, .verdict = ZONE_REJECT, .port = "port-9", .since_ns = T0 + HOUR},
		{ANY, .vm = "vm-7"},
		{ANY, .vm = "nobody"},
		{ANY, .vm = "nobody", .with_gaps = true},
		{ANY, .zone = "internet"},
		{ANY, .zone = "zone-2", .verdict = ZONE_DENY, .with_gaps = true},
		{ANY, .rule = "one/three"},
		{ANY, .rule = "two", .vm = "vm-3"},
		{ANY, .kind = LOG_SPOOFED},
		{ANY, .kind = LOG_GAP},
		{ANY, .kind = LOG_END, .vm = "vm-3"},
		{ANY, .simulation = true},
		{ANY, .simulated = ZONE_DENY, .vm = "vm-4"},
		{ANY, .prefix = &a_client},
		{ANY, .prefix = &a_network},
		{ANY, .prefix = &a_v6_network, .verdict = ZONE_DENY},
		{ANY, .prefix = &a_wide_network, .kind = LOG_DENIED},
		{ANY, .prefix = &a_vm, .peer = &a_network},
		{ANY, .transport_port = 443},
		{ANY, .transport_port = 3, .vm = "vm-5"},
		{ANY, .transport_port = 50000},
		{ANY, .since_ns = T0 + HOUR + 77 * SECOND, .until_ns = T0 + 3 * HOUR - 5 * SECOND},
		{ANY, .vm = "vm-1", .since_ns = T0 + 2 * HOUR,
			.until_ns = T0 + 2 * HOUR + 99 * SECOND},
	};

	assert_true(ip_prefix_parse("198.51.0.33", &a_client));
	assert_true(ip_prefix_parse("198.51.5.0/24", &a_network));
	assert_true(ip_prefix_parse("198.51.0.0/18", &a_wide_network));
	assert_true(ip_prefix_parse("10.0.0.7", &a_vm));
	assert_true(ip_prefix_parse("2001:db8:0:3::/64", &a_v6_network));
	memcpy(filters, all, sizeof(all));
}

/* What an answer comes to. */
struct total {
	uint64_t n, numbers[16];
};

static bool add_record(const struct log_record *record, void *context)
{
	struct total *total = context;

	total->n++;
	total->numbers[0] = total->numbers[0] * 31 + record->sequence;
	total->numbers[1] += record->bytes_forward;
	total->numbers[2] += record->source.address.s6_addr[15];
	total->numbers[3] += (unsigned char)record->destination.zone[0];
	return true;
}

static struct total list(struct log_filter filter, size_t limit, uint64_t after)
{
	struct total total = {0};
	char error[256] = "";

	filter.limit = limit;
	filter.after_sequence = after;
	if (log_query(directory, &filter, add_record, &total, error, sizeof(error)))
		fail_msg("log_query: %s", error);
	return total;
}

static bool count_down(const struct log_record *record, void *context)
{
	(void)record;
	return --*(uint64_t *)context != 0;
}

/* Looks at so many records and no further. */
static void stop_after(struct log_filter filter, uint64_t n)
{
	char error[256] = "";

	if (log_query(directory, &filter, count_down, &n, error, sizeof(error)))
		fail_msg("log_query: %s", error);
}

static bool add_flow(const struct log_flow *flow, void *context)
{
	struct total *total = context;
	const struct log_flow_counts *counts = &flow->counts;
	const uint64_t numbers[16] = {counts->records, counts->began, counts->ended,
		counts->updated, counts->refused, counts->held_back, counts->would_deny,
		counts->packets_forward, counts->bytes_forward, counts->packets_reverse,
		counts->bytes_reverse, counts->first_ns, counts->last_ns, flow->verdict,
		flow->policy_revision, (uint64_t)flow->rule[0] * flow->source.zone[0]};

	total->n++;
	for (int i = 0; i < 16; i++)
		total->numbers[i] += numbers[i];
	return true;
}

/* By what does not depend on what was lumped. */
static struct total add_up(struct log_filter filter)
{
	struct log_flow_query query = {.filter = filter,
		.by = LOG_FLOW_SOURCE_ZONE | LOG_FLOW_DESTINATION_ZONE | LOG_FLOW_VERDICT |
		      LOG_FLOW_RULE | LOG_FLOW_REVISION | LOG_FLOW_KIND | LOG_FLOW_SIMULATED};
	struct total total = {0};
	char error[256] = "";

	if (log_flows(directory, &query, add_flow, &total, error, sizeof(error)))
		fail_msg("log_flows: %s", error);
	return total;
}

static bool add_slot(const struct log_slot *slot, void *context)
{
	struct total *total = context;
	const uint64_t numbers[] = {slot->start_ns, slot->began, slot->ended, slot->denied,
		slot->rejected, slot->spoofed, slot->limited, slot->would_deny, slot->lost};

	total->n++;
	for (int i = 0; i < 9; i++)
		total->numbers[i] += numbers[i] * (total->n % 1000);
	return true;
}

static struct total draw(struct log_filter filter)
{
	struct total total = {0};
	char error[256] = "";

	if (log_timeline(directory, &filter, 300, add_slot, &total, error, sizeof(error)))
		fail_msg("log_timeline: %s", error);
	return total;
}

static bool add_gap(const struct log_gap *gap, void *context)
{
	struct total *total = context;
	const uint64_t numbers[] = {gap->from_ns, gap->until_ns, gap->sequence, gap->lost,
		gap->missing, (uint64_t)gap->reason[0], (uint64_t)gap->host[0], gap->recorded};

	total->n++;
	for (int i = 0; i < 8; i++)
		total->numbers[i] += numbers[i] * (total->n % 1000);
	return true;
}

static struct total miss(uint64_t since_ns, uint64_t until_ns)
{
	struct total total = {0};
	char error[256] = "";

	if (log_gaps(directory, since_ns, until_ns, add_gap, &total, error, sizeof(error)))
		fail_msg("log_gaps: %s", error);
	return total;
}

enum { N_ANSWERS = 6 * N_FILTERS };

/* All that can be asked. */
static void ask_everything(struct total answers[N_ANSWERS])
{
	struct log_filter filters[N_FILTERS];
	size_t n = 0;

	list_filters(filters);
	for (size_t i = 0; i < N_FILTERS; i++) {
		answers[n++] = list(filters[i], 0, 0);
		answers[n++] = list(filters[i], 100, 0);
		answers[n++] = list(filters[i], 0, 70000);
		answers[n++] = add_up(filters[i]);
		answers[n++] = draw(filters[i]);
		answers[n++] = miss(filters[i].since_ns, filters[i].until_ns);
	}
}

/* Runs SQL on every file of the log. */
static void change_files(const char *sql)
{
	DIR *stream = opendir(directory);
	struct dirent *entry;

	assert_non_null(stream);
	while ((entry = readdir(stream))) {
		size_t length = strlen(entry->d_name);
		char *message = NULL;
		sqlite3 *db;

		if (length < 4 || strcmp(entry->d_name + length - 3, ".db"))
			continue;
		assert_int_equal(sqlite3_open(path_of(entry->d_name), &db), SQLITE_OK);
		if (sqlite3_exec(db, sql, NULL, NULL, &message))
			fail_msg("%s: %s", sql, message);
		sqlite3_close(db);
	}
	closedir(stream);
}

static void assert_same_answers(const struct total *a, const struct total *b)
{
	static const char *const questions[] = {
		"list", "newest", "after", "flows", "timeline", "gaps"};

	for (size_t i = 0; i < N_ANSWERS; i++)
		if (memcmp(&a[i], &b[i], sizeof(a[i])))
			fail_msg("filter %zu, %s: %" PRIu64 " and %" PRIu64, i / 6,
				questions[i % 6], a[i].n, b[i].n);
}

static struct total with[N_ANSWERS], without[N_ANSWERS];

static void assert_index_tells_the_truth(void)
{
	ask_everything(with);
	change_files("DELETE FROM segments; DELETE FROM postings; DELETE FROM slices");
	ask_everything(without);
	assert_same_answers(with, without);
}

static int64_t number_of(const char *name, const char *sql)
{
	sqlite3_stmt *statement;
	int64_t number;
	sqlite3 *db;

	assert_int_equal(sqlite3_open(path_of(name), &db), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
	number = sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	sqlite3_close(db);
	return number;
}

/* --- Stories -------------------------------------------------------------------------------- */

static void test_answers_as_the_records_do(void **state)
{
	struct log_store *store = open_store(NULL);

	(void)state;
	write_random(store, 120000, 1);
	log_store_close(store);
	assert_index_tells_the_truth();
	/* The questions were not trivial ones. */
	for (size_t i = 0; i < N_FILTERS; i++)
		if (!with[6 * i].n && i != 5)
			fail_msg("filter %zu finds nothing", i);
}

static void test_answers_while_the_file_is_under_way(void **state)
{
	struct log_store *store = open_store(&(struct log_store_options){.bucket_seconds = 86400});

	(void)state;
	write_random(store, 100000, 2);
	assert_true(number_of("traffic-20261001T000000Z.db", "SELECT count(*) FROM segments") > 0);
	ask_everything(with);
	log_store_close(store);
	assert_int_equal(number_of("traffic-20261001T000000Z.db",
				 "SELECT max(sequence) - (SELECT max(last) FROM segments)"
				 " FROM records"),
		0);
	ask_everything(without);
	assert_same_answers(with, without);
	assert_index_tells_the_truth();
}

/* Lets the kernel forget what it keeps of the files. */
static void drop_from_page_cache(void)
{
	DIR *stream = opendir(directory);
	struct dirent *entry;

	assert_non_null(stream);
	while ((entry = readdir(stream))) {
		int file = open(path_of(entry->d_name), O_RDONLY);

		if (file < 0)
			continue;
		fsync(file);
		posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
		close(file);
	}
	closedir(stream);
}

/* From a disk, threads read ahead of who asks: they change no answer, also not of who stops. */
static void test_answers_from_the_disk(void **state)
{
	struct log_store *store = open_store(&(struct log_store_options){.bucket_seconds = 86400});
	struct log_filter filters[N_FILTERS];
	struct total kept, read;

	(void)state;
	write_random(store, 120000, 5);
	log_store_close(store);
	list_filters(filters);
	for (size_t i = 0; i < N_FILTERS; i++) {
		kept = list(filters[i], 0, 70000);
		drop_from_page_cache();
		read = list(filters[i], 0, 70000);
		if (memcmp(&kept, &read, sizeof(kept)))
			fail_msg("filter %zu: %" PRIu64 " and %" PRIu64, i, kept.n, read.n);
		drop_from_page_cache();
		stop_after(filters[i], kept.n / 2 + 1);
	}
}

static void write_and_die(void)
{
	struct log_store *store = open_store(&(struct log_store_options){.bucket_seconds = 86400});

	write_random(store, 60000, 3);
	kill(getpid(), SIGKILL);
}

/* Killed between two segments: the next writer indexes what the last one could not. */
static void test_goes_on_where_it_was_killed(void **state)
{
	static const char name[] = "traffic-20261001T000000Z.db";
	struct log_store *store;
	int status;
	pid_t pid = fork();

	(void)state;
	if (!pid)
		write_and_die();
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	ask_everything(with);
	store = open_store(&(struct log_store_options){.bucket_seconds = 86400});
	ask_everything(without);
	assert_same_answers(with, without);
	assert_int_equal(
		number_of(
			name, "SELECT sum(records) - (SELECT count(*) FROM records) FROM segments"),
		0);
	assert_int_equal(
		number_of(name, "SELECT sum(records) - (SELECT count(*) FROM records) FROM slices"),
		0);
	log_store_close(store);
	assert_index_tells_the_truth();
}

/* A file that was left with a part of its index only. */
static void test_does_without_what_is_missing(void **state)
{
	struct log_store *store = open_store(NULL);

	(void)state;
	write_random(store, 60000, 5);
	log_store_close(store);
	ask_everything(with);
	change_files("DELETE FROM segments WHERE number % 2; DELETE FROM slices WHERE records % 2;"
		     "UPDATE slices SET minutes = NULL");
	ask_everything(without);
	assert_same_answers(with, without);
}

/* Index and sums that no writer has made do no harm but to the answers, and often not even that. */
static void test_survives_nonsense(void **state)
{
	static const char *const nonsense[] = {
		"UPDATE slices SET flows = randomblob(5000), minutes = randomblob(50)",
		"UPDATE slices SET flows = substr(flows, 1, length(flows) / 2)",
		"UPDATE OR IGNORE slices SET first = -5, last = 9223372036854775807",
		"UPDATE slices SET first_time = 'x', last_time = NULL",
		"UPDATE postings SET offsets = randomblob(77)",
		"UPDATE postings SET offsets = randomblob(9000)",
		"UPDATE segments SET shared = 3",
		"UPDATE segments SET shared = 1 << 40, records = -1",
		"UPDATE segments SET first = 7, last = 3",
		"UPDATE OR IGNORE segments SET number = number - 100000",
		"UPDATE segments SET last = last + 70000",
	};
	struct log_store *store = open_store(NULL);

	(void)state;
	write_random(store, 3000, 6);
	log_store_close(store);
	for (size_t i = 0; i < sizeof(nonsense) / sizeof(*nonsense); i++) {
		struct log_filter filter = {ANY, .vm = "vm-7", .verdict = ZONE_DENY};
		struct log_flow_query query = {.filter = {ANY}, .by = LOG_FLOW_ALL};
		struct total total = {0};
		char error[256];

		change_files(nonsense[i]);
		log_query(directory, &filter, add_record, &total, error, sizeof(error));
		log_query(directory, &query.filter, add_record, &total, error, sizeof(error));
		log_flows(directory, &query, add_flow, &total, error, sizeof(error));
		log_timeline(directory, &query.filter, 60, add_slot, &total, error, sizeof(error));
		log_gaps(directory, 0, 0, add_gap, &total, error, sizeof(error));
		store = open_store(NULL);
		write_many(store, log_store_last_sequence(store) + 1,
			log_store_last_sequence(store) + 10, T0 + 4 * HOUR, SECOND);
		log_store_close(store);
	}
}

/* --- What is added up ---------------------------------------------------------------------------
 */

static struct {
	size_t n, lumped, vm_pair_apart;
	uint64_t records;
	bool address_apart;
} seen;

static bool look(const struct log_flow *flow, void *context)
{
	struct ip_prefix often;

	(void)context;
	assert_true(ip_prefix_parse("203.0.113.77", &often));
	seen.n++;
	seen.lumped += flow->lumped != 0;
	seen.records += flow->counts.records;
	seen.vm_pair_apart += flow->port == 5432 && flow->source.vm_name[0] == 'w';
	seen.address_apart |= ip_prefix_contains(&often, &flow->source.addresses.address) &&
			      flow->counts.records > 19000;
	return true;
}

static void look_at_flows(struct log_filter filter, unsigned int by)
{
	struct log_flow_query query = {.filter = filter, .by = by};
	char error[256] = "";

	memset(&seen, 0, sizeof(seen));
	assert_int_equal(log_flows(directory, &query, look, NULL, error, sizeof(error)), 0);
}

/* A swarm of clients, one that comes often, and two VMs. */
static void test_adds_up_the_rarest_addresses(void **state)
{
	enum { N = 280000 };
	struct log_store *store = open_store(NULL);

	(void)state;
	for (uint32_t i = 1; i <= N; i++) {
		struct log_record record = record_of(i, T0 + i);

		if (i % 14 == 0)
			record.source = (struct log_party){.address = address("203.0.113.77"),
				.port = "uplink0",
				.vm_id = "",
				.vm_name = "",
				.zone = "internet",
				.tags = ""};
		else if (i % 7)
			record.source = client(i * 2654435761u >> 8);
		record.destination.transport_port = i % 7 || i % 14 == 0 ? 443 : 5432;
		write_one(store, &record);
	}
	log_store_close(store);
	look_at_flows((struct log_filter){ANY}, LOG_FLOW_ALL);
	assert_int_equal(seen.records, N);
	assert_true(seen.lumped > 0);
	assert_true(seen.address_apart);
	assert_int_equal(seen.vm_pair_apart, 1);
	assert_true(seen.n < 2 * 8192 + 8192);
	look_at_flows((struct log_filter){ANY, .transport_port = 5432}, LOG_FLOW_ALL);
	assert_int_equal(seen.records, N / 14);
	assert_int_equal(seen.lumped, 0);
}

static bool look_at_age(const struct log_flow *flow, void *context)
{
	struct ip_prefix late, never;

	assert_true(ip_prefix_parse("198.51.143.201", &late));
	assert_true(ip_prefix_parse("203.0.113.77", &never));
	if (ip_prefix_contains(&late, &flow->source.addresses.address)) {
		assert_true(flow->perhaps_older);
		++*(unsigned int *)context;
	} else if (ip_prefix_contains(&never, &flow->source.addresses.address)) {
		assert_false(flow->perhaps_older);
		++*(unsigned int *)context;
	}
	return true;
}

/* In the second hour two clients come, one from a network of which the first had many. */
static void test_says_what_may_be_older(void **state)
{
	struct log_flow_query query = {.filter = {ANY},
		.by = LOG_FLOW_SOURCE_ZONE | LOG_FLOW_SOURCE_ADDRESS | LOG_FLOW_DESTINATION,
		.first_since_ns = T0 + HOUR};
	struct log_store *store = open_store(NULL);
	unsigned int n = 0;
	char error[256];

	(void)state;
	for (uint32_t i = 1; i <= 20002; i++) {
		struct log_record record = record_of(i, T0 + i);

		record.source = client(i * 3 + 1);
		if (i == 20001)
			commit(store, T0 + HOUR);
		if (i > 20000) {
			record.time_ns += HOUR;
			record.source.address = address(i % 2 ? "203.0.113.77" : "198.51.143.201");
		}
		write_one(store, &record);
	}
	log_store_close(store);
	assert_int_equal(log_flows(directory, &query, look_at_age, &n, error, sizeof(error)), 0);
	assert_int_equal(n, 2);
}

/* A scan of all ports costs ports, and neither addresses nor the services of others. */
static void test_adds_up_the_ports_of_a_scan(void **state)
{
	enum { N = 40000 };
	struct log_store *store = open_store(NULL);

	(void)state;
	for (uint32_t i = 1; i <= N; i++) {
		struct log_record record = record_of(i, T0 + i);

		if (i % 4) {
			record = denial_of(i, T0 + i);
			record.destination.transport_port = (uint16_t)i;
		}
		write_one(store, &record);
	}
	log_store_close(store);
	look_at_flows((struct log_filter){ANY}, LOG_FLOW_ALL);
	assert_int_equal(seen.records, N);
	assert_true(seen.n <= 8192);
	assert_true(seen.lumped > 0);
	assert_int_equal(seen.vm_pair_apart, 1);
	/* Asked for one of the ports, the records answer. */
	look_at_flows((struct log_filter){ANY, .transport_port = 30001}, LOG_FLOW_ALL);
	assert_int_equal(seen.records, 1);
	assert_int_equal(seen.lumped, 0);
	look_at_flows((struct log_filter){ANY, .vm = "web-1"}, LOG_FLOW_ALL);
	assert_int_equal(seen.records, N / 4);
}

/* More VMs than can be told apart: they are added up by zone. */
static void test_adds_up_parties_at_last(void **state)
{
	enum { N = 60000 };
	struct log_store *store = open_store(NULL);
	static char names[N][12];

	(void)state;
	for (uint32_t i = 1; i < N; i++) {
		struct log_record record = record_of(i, T0 + i);

		snprintf(names[i], sizeof(names[0]), "vm-%u", i);
		record.source.vm_name = record.source.port = names[i];
		write_one(store, &record);
	}
	log_store_close(store);
	look_at_flows((struct log_filter){ANY}, LOG_FLOW_ALL);
	assert_int_equal(seen.records, N - 1);
	assert_true(seen.n <= 8192);
	look_at_flows((struct log_filter){ANY, .zone = "web"}, LOG_FLOW_ALL);
	assert_int_equal(seen.records, N - 1);
	look_at_flows((struct log_filter){ANY, .vm = "vm-50000"}, LOG_FLOW_ALL);
	assert_int_equal(seen.records, 1);
	look_at_flows((struct log_filter){ANY, .vm = "vm-50000"}, LOG_FLOW_SOURCE_ZONE);
	assert_int_equal(seen.records, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_directory, remove_directory)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_answers_as_the_records_do),
		TEST(test_answers_while_the_file_is_under_way),
		TEST(test_answers_from_the_disk),
		TEST(test_goes_on_where_it_was_killed),
		TEST(test_does_without_what_is_missing),
		TEST(test_survives_nonsense),
		TEST(test_adds_up_the_rarest_addresses),
		TEST(test_says_what_may_be_older),
		TEST(test_adds_up_the_ports_of_a_scan),
		TEST(test_adds_up_parties_at_last),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
