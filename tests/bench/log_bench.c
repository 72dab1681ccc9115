/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How fast the traffic log is stored, and how large it is.  One thread, in the way the log thread
 * does it: a commit every 10,000 records.  Prints one line a case.
 *
 *	log_bench DIRECTORY [RECORDS]
 *
 * A directory made within DIRECTORY is used, and removed again; it must be on a real file system
 *for the figures to mean anything.  The records are those of a shop: 200 web servers speak to 20
 *data bases and to clients outside, each session with a start and an end record, and one in twenty
 *attempts is denied.
 */
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "log/cap.h"
#include "log/store.h"
#include "zones/zone.h"

enum { BATCH = 10000, N_WEB = 200, N_DB = 20, N_CLIENTS = 50000 };
#define SECOND_NS 1000000000ull
#define T0	  (1790856000 * SECOND_NS)

static char names[N_WEB + N_DB][4][40];

static uint32_t next_random(uint64_t *state)
{
	*state = *state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(*state >> 33);
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

static struct in6_addr make_address(bool ipv6, uint32_t net, uint32_t host)
{
	struct in6_addr address = IN6ADDR_ANY_INIT;

	if (ipv6) {
		address.s6_addr[0] = 0x20;
		address.s6_addr[1] = 0x01;
		address.s6_addr[5] = (uint8_t)net;
		memcpy(&address.s6_addr[12], &host, sizeof(host));
		return address;
	}
	address.s6_addr[10] = address.s6_addr[11] = 0xff;
	address.s6_addr[12] = (uint8_t)(10 + net);
	address.s6_addr[13] = (uint8_t)(host >> 16);
	address.s6_addr[14] = (uint8_t)(host >> 8);
	address.s6_addr[15] = (uint8_t)host;
	return address;
}

static void make_names(void)
{
	for (int vm = 0; vm < N_WEB + N_DB; vm++) {
		const char *kind = vm < N_WEB ? "web" : "db";

		snprintf(names[vm][0], 40, "vm-%s-%d", kind, vm);
		snprintf(names[vm][1], 40, "7f5c1a2e-0000-4000-8000-%012d", vm);
		snprintf(names[vm][2], 40, "%s-%d.shop.example", kind, vm);
		snprintf(names[vm][3], 40, "app=shop owner=team-a tier=%s", kind);
	}
}

static struct log_party endpoint(int vm, bool ipv6)
{
	return (struct log_party){
		.address = make_address(ipv6, 0, (uint32_t)vm),
		.mac = {2, 0, 0, 0, (uint8_t)(vm >> 8), (uint8_t)vm},
		.port = names[vm][0],
		.vm_id = names[vm][1],
		.vm_name = names[vm][2],
		.zone = vm < N_WEB ? "web" : "db",
		.tags = names[vm][3],
	};
}

static struct log_party client(uint32_t number, bool ipv6)
{
	return (struct log_party){
		.address = make_address(ipv6, 90, number),
		.mac = {2, 0, 0, 9, 9, 9},
		.port = "uplink0",
		.vm_id = "",
		.vm_name = "",
		.zone = "internet",
		.tags = "",
	};
}

static void make_record(struct log_record *record, uint64_t sequence, bool ipv6, uint64_t *random)
{
	uint32_t dice = next_random(random);
	int web = (int)(next_random(random) % N_WEB);
	bool inner = dice % 2, denied = dice % 20 == 3, end = sequence % 2;

	*record = (struct log_record){
		.time_ns = T0 + sequence * 4000,
		.sequence = sequence,
		.host = "host-a",
		.kind = denied ? LOG_DENIED
			: end  ? LOG_END
			       : LOG_START,
		.protocol = IPPROTO_TCP,
		.tcp_flags = denied ? 2
			     : end  ? 0x1b
				    : 2,
		.verdict = denied ? ZONE_DENY : ZONE_ALLOW,
		.ethertype = ipv6 ? 0x86dd : 0x0800,
		.vlan = 10,
		.reason = denied ? "policy"
			  : end	 ? "fin"
				 : "",
		.tier = "application",
		.policy = inner ? "db-access" : "front",
		.rule = inner ? "web-to-db" : "clients-to-web",
		.label = "",
		.simulated_policy = "",
		.simulated_rule = "",
		.policy_revision = 12,
		.packets_forward = denied ? 1
				   : end  ? 4 + dice % 40
					  : 1,
		.bytes_forward = denied ? 60
				 : end	? 300 + dice % 9000
					: 60,
		.packets_reverse = end && !denied ? 4 + dice % 60 : 0,
		.bytes_reverse = end && !denied ? 500 + dice % 200000 : 0,
	};
	record->start_ns = record->time_ns - (end && !denied ? dice % SECOND_NS : 0);
	record->source =
		inner ? endpoint(web, ipv6) : client(next_random(random) % N_CLIENTS, ipv6);
	record->destination = inner ? endpoint(N_WEB + web % N_DB, ipv6) : endpoint(web, ipv6);
	record->source.transport_port = (uint16_t)(32768 + dice % 28000);
	record->destination.transport_port = inner ? 5432 : 443;
}

static uint64_t bytes_in(const char *directory, bool delete)
{
	DIR *stream = opendir(directory);
	struct dirent *entry;
	uint64_t bytes = 0;
	char path[512];
	struct stat status;

	while (stream && (entry = readdir(stream))) {
		if (strncmp(entry->d_name, "traffic-", 8) && strcmp(entry->d_name, "writer.lock"))
			continue;
		snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
		if (!stat(path, &status))
			bytes += (uint64_t)status.st_size;
		if (delete)
			unlink(path);
	}
	if (stream)
		closedir(stream);
	return bytes;
}

static uint64_t store_records(
	const char *directory, uint64_t n, bool ipv6, uint64_t *cpu_ns, uint64_t *longest_ns)
{
	struct log_store_options options = {.directory = directory, .retention_bytes = 1ull << 40};
	uint64_t start = clock_ns(CLOCK_MONOTONIC), cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	uint64_t random = 1, made = 0, lost = 0;
	struct log_store *store;
	struct log_record *batch = malloc(BATCH * sizeof(*batch));
	char error[256];
	size_t n_lost;

	if (!batch || log_store_open(&options, &store, error, sizeof(error))) {
		fprintf(stderr, "log_bench: %s\n", batch ? error : "no memory");
		exit(1);
	}
	*longest_ns = 0;
	for (uint64_t sequence = 1; sequence <= n; sequence += BATCH) {
		uint64_t before = clock_ns(CLOCK_MONOTONIC), after;
		uint64_t cpu_before = clock_ns(CLOCK_PROCESS_CPUTIME_ID);

		/* Making them up is not what is measured. */
		for (int i = 0; i < BATCH; i++)
			make_record(&batch[i], sequence + (uint64_t)i, ipv6, &random);
		after = clock_ns(CLOCK_MONOTONIC);
		made += after - before;
		cpu += clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu_before;
		for (int i = 0; i < BATCH; i++)
			lost += log_store_write(store, &batch[i]) != 0;
		log_store_commit(store, batch[BATCH - 1].time_ns, &n_lost);
		lost += n_lost;
		before = clock_ns(CLOCK_MONOTONIC);
		if (before - after > *longest_ns)
			*longest_ns = before - after;
	}
	log_store_close(store);
	*cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	free(batch);
	if (lost)
		fprintf(stderr, "log_bench: %" PRIu64 " records lost\n", lost);
	return clock_ns(CLOCK_MONOTONIC) - start - made;
}

static bool count_record(const struct log_record *record, void *context)
{
	(void)record;
	++*(uint64_t *)context;
	return true;
}

static bool count_row(const struct log_summary_row *row, void *context)
{
	(void)row;
	++*(uint64_t *)context;
	return true;
}

static void run_query(const char *directory, const char *what, const struct log_filter *filter)
{
	uint64_t n = 0, start = clock_ns(CLOCK_MONOTONIC);
	char error[256];

	if (log_query(directory, filter, count_record, &n, error, sizeof(error)))
		fprintf(stderr, "log_bench: %s\n", error);
	printf("query %-28s %9" PRIu64 " records %8.1f ms\n", what, n,
		(double)(clock_ns(CLOCK_MONOTONIC) - start) / 1e6);
}

static void run_queries(const char *directory, uint64_t n)
{
	struct log_filter filter = LOG_FILTER_ANY;
	uint64_t rows = 0, start;
	char error[256];

	run_query(directory, "all", &filter);
	filter.limit = 50;
	run_query(directory, "newest 50", &filter);
	filter.verdict = ZONE_DENY;
	filter.zone = "db";
	run_query(directory, "newest 50 denied of a zone", &filter);
	filter = (struct log_filter)LOG_FILTER_ANY;
	filter.vm = "web-17.shop.example";
	run_query(directory, "of a VM", &filter);
	filter = (struct log_filter)LOG_FILTER_ANY;
	filter.since_ns = T0 + (n - 1000) * 4000;
	run_query(directory, "since just now", &filter);
	filter = (struct log_filter)LOG_FILTER_ANY;
	filter.after_sequence = n - 10;
	run_query(directory, "follow", &filter);
	filter = (struct log_filter)LOG_FILTER_ANY;
	start = clock_ns(CLOCK_MONOTONIC);
	if (log_summarize(directory, &filter, count_row, &rows, error, sizeof(error)))
		fprintf(stderr, "log_bench: %s\n", error);
	printf("summary of all %23" PRIu64 " rows %11.1f ms\n", rows,
		(double)(clock_ns(CLOCK_MONOTONIC) - start) / 1e6);
}

static void run_case(const char *directory, const char *what, uint64_t n, bool ipv6, bool queries)
{
	uint64_t cpu_ns, longest_ns;
	uint64_t elapsed_ns = store_records(directory, n, ipv6, &cpu_ns, &longest_ns);
	uint64_t bytes = bytes_in(directory, false);

	printf("store %s %9" PRIu64
	       " records %9.0f records/s %7.0f ns of CPU each, %.1f bytes each, "
	       "longest batch %.1f ms\n",
		what, n, (double)n * 1e9 / (double)elapsed_ns, (double)cpu_ns / (double)n,
		(double)bytes / (double)n, (double)longest_ns / 1e6);
	if (queries)
		run_queries(directory, n);
	bytes_in(directory, true);
}

/* One source that is capped, and many that are not. */
static void run_cap(void)
{
	struct log_cap *cap = log_cap_create();
	struct in6_addr source = make_address(false, 90, 1);
	uint64_t start, n = 20000000, admitted = 0, random = 1;
	uint32_t suppressed;

	if (!cap)
		return;
	start = clock_ns(CLOCK_MONOTONIC);
	for (uint64_t i = 0; i < n; i++)
		admitted += log_cap_admit(cap, 7, &source, i * 100, &suppressed);
	printf("cap, one source %31.1f ns\n",
		(double)(clock_ns(CLOCK_MONOTONIC) - start) / (double)n);
	start = clock_ns(CLOCK_MONOTONIC);
	for (uint64_t i = 0; i < n; i++) {
		source = make_address(false, 90, next_random(&random) % 100000);
		admitted += log_cap_admit(cap, 7, &source, i * 100, &suppressed);
	}
	printf("cap, 100,000 sources at random %16.1f ns (%" PRIu64 " admitted)\n",
		(double)(clock_ns(CLOCK_MONOTONIC) - start) / (double)n, admitted);
	log_cap_destroy(cap);
}

int main(int argc, char **argv)
{
	uint64_t n = argc > 2 ? strtoull(argv[2], NULL, 10) : 2000000;
	char directory[256];

	if (argc < 2 || n < BATCH) {
		fprintf(stderr, "usage: log_bench DIRECTORY [RECORDS]\n");
		return 2;
	}
	snprintf(directory, sizeof(directory), "%s/log-bench-XXXXXX", argv[1]);
	if (!mkdtemp(directory)) {
		fprintf(stderr, "log_bench: cannot make a directory in %s\n", argv[1]);
		return 1;
	}
	make_names();
	run_case(directory, "IPv4", n - n % BATCH, false, true);
	run_case(directory, "IPv6", n - n % BATCH, true, false);
	run_cap();
	rmdir(directory);
	return 0;
}
