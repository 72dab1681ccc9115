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
#include "tests/bench/shop.h"

enum { BATCH = 10000 };

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
