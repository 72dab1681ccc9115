/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How fast the traffic log is stored, how large it is, and how soon questions are answered.  One
 * thread, in the way the log's sink does it: a commit every 10,000 records.  Prints tables.
 *
 *	log_bench DIRECTORY [RECORDS [HOURS]]		write, ask, delete; 2 million in 1 hour
 *	log_bench --write DIRECTORY RECORDS HOURS	only write, on to DIRECTORY/log-bench
 *	log_bench --ask DIRECTORY			ask what --write has left
 *	log_bench --delete DIRECTORY			delete it
 *
 * DIRECTORY must be on a real file system for the figures to mean anything; a hundred million
 * records take some six gigabytes.  The records are those of a shop: 200 web servers speak to 20
 * data bases and to 50,000 clients outside, each session with a start and an end record, and one in
 * twenty attempts is denied.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "log/cap.h"
#include "log/flows.h"
#include "tests/bench/shop.h"

enum { BATCH = 10000 };
#define HOUR_NS (3600 * SECOND_NS)

/* What is written. */
struct load {
	uint64_t n, step_ns;
	bool ipv6;
};

/* Further apart than the shop's are. */
static void make_one(
	struct log_record *record, uint64_t sequence, const struct load *load, uint64_t *random)
{
	uint64_t age;

	make_record(record, sequence, load->ipv6, random);
	age = record->time_ns - record->start_ns;
	record->time_ns = T0 + sequence * load->step_ns;
	record->start_ns = record->time_ns - age;
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

/* What writing took. */
struct cost {
	uint64_t elapsed_ns, cpu_ns, longest_ns;
};

static struct log_store *open_store(const char *directory)
{
	struct log_store_options options = {.directory = directory, .retention_bytes = 1ull << 40};
	struct log_store *store;
	char error[256];

	if (log_store_open(&options, &store, error, sizeof(error))) {
		fprintf(stderr, "log_bench: %s\n", error);
		exit(1);
	}
	return store;
}

/* Returns how many were lost. */
static uint64_t write_batch(
	struct log_store *store, const struct log_record *batch, struct cost *cost)
{
	uint64_t start = clock_ns(CLOCK_MONOTONIC), elapsed, lost = 0;
	uint64_t cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	size_t n_lost;

	for (int i = 0; i < BATCH; i++)
		lost += log_store_write(store, &batch[i]) != 0;
	log_store_commit(store, batch[BATCH - 1].time_ns, &n_lost);
	elapsed = clock_ns(CLOCK_MONOTONIC) - start;
	cost->elapsed_ns += elapsed;
	cost->cpu_ns += clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	if (elapsed > cost->longest_ns)
		cost->longest_ns = elapsed;
	return lost + n_lost;
}

static void write_records(const char *directory, const struct load *load)
{
	struct log_store *store = open_store(directory);
	struct log_record *batch = malloc(BATCH * sizeof(*batch));
	uint64_t first = log_store_last_sequence(store) + 1, last = first + load->n - 1;
	uint64_t random = first, lost = 0, start, bytes;
	struct cost cost = {0};

	if (!batch)
		exit(1);
	for (uint64_t sequence = first; sequence <= last; sequence += BATCH) {
		/* Making them up is not what is measured. */
		for (int i = 0; i < BATCH; i++)
			make_one(&batch[i], sequence + (uint64_t)i, load, &random);
		lost += write_batch(store, batch, &cost);
	}
	start = clock_ns(CLOCK_MONOTONIC);
	log_store_close(store);
	cost.elapsed_ns += clock_ns(CLOCK_MONOTONIC) - start;
	free(batch);
	bytes = bytes_in(directory, false);
	printf("%s  %11" PRIu64 "  %9.0f  %8.0f  %6.1f  %13.1f  %8" PRIu64 "\n",
		load->ipv6 ? "IPv6" : "IPv4", load->n,
		(double)load->n * 1e9 / (double)cost.elapsed_ns,
		(double)cost.cpu_ns / (double)load->n, (double)bytes / (double)last,
		(double)cost.longest_ns / 1e6, lost);
}

static void print_write_heading(void)
{
	printf("            RECORDS  RECORDS/S  CPU ns/R  BYTES/R  LONGEST ms/10k      LOST\n");
}

/* --- Questions ------------------------------------------------------------------------------ */

static bool count_record(const struct log_record *record, void *context)
{
	(void)record;
	++*(uint64_t *)context;
	return true;
}

static bool count_flow(const struct log_flow *flow, void *context)
{
	(void)flow;
	++*(uint64_t *)context;
	return true;
}

static bool count_slot(const struct log_slot *slot, void *context)
{
	*(uint64_t *)context += slot->denied + slot->rejected;
	return true;
}

static bool count_gap(const struct log_gap *gap, void *context)
{
	(void)gap;
	++*(uint64_t *)context;
	return true;
}

/* Where the questions are asked, and of what span. */
struct log {
	const char *directory;
	uint64_t first_ns, last_ns;
};

static void answer(const char *question, uint64_t n, const char *what, uint64_t start, int rc,
	const char *error)
{
	if (rc)
		fprintf(stderr, "log_bench: %s: %s\n", question, error);
	printf("%-52s %9" PRIu64 " %-8s %10.1f\n", question, n, what,
		(double)(clock_ns(CLOCK_MONOTONIC) - start) / 1e6);
	fflush(stdout);
}

static void list(const struct log *log, const char *question, const struct log_filter *filter)
{
	uint64_t n = 0, start = clock_ns(CLOCK_MONOTONIC);
	char error[256] = "";
	int rc = log_query(log->directory, filter, count_record, &n, error, sizeof(error));

	answer(question, n, "records", start, rc, error);
}

static void add_up(const struct log *log, const char *question, const struct log_flow_query *query)
{
	uint64_t n = 0, start = clock_ns(CLOCK_MONOTONIC);
	char error[256] = "";
	int rc = log_flows(log->directory, query, count_flow, &n, error, sizeof(error));

	answer(question, n, "rows", start, rc, error);
}

#define DECIDED(action)                                                                            \
	.kind = -1, .verdict = (action), .simulated = -1, .protocol = -1, .transport_port = -1
#define ANY  DECIDED(-1)
#define A_VM "web-17.shop.example"

static void ask_for_records(const struct log *log)
{
	uint64_t an_hour_ago = log->last_ns - HOUR_NS, a_day_ago = log->last_ns - 24 * HOUR_NS;
	struct ip_prefix client = {.address = make_address(false, 90, 4711), .length = 128};
	struct ip_prefix network = {.address = make_address(false, 90, 4608), .length = 120};

	list(log, "newest 50", &(struct log_filter){ANY, .limit = 50});
	list(log, "newest 50 denials of a zone",
		&(struct log_filter){DECIDED(ZONE_DENY), .zone = "db", .limit = 50});
	list(log, "denials of a VM, last hour",
		&(struct log_filter){DECIDED(ZONE_DENY), .vm = A_VM, .since_ns = an_hour_ago});
	list(log, "denials of a VM, last day",
		&(struct log_filter){DECIDED(ZONE_DENY), .vm = A_VM, .since_ns = a_day_ago});
	list(log, "all of a VM, last hour",
		&(struct log_filter){ANY, .vm = A_VM, .since_ns = an_hour_ago});
	list(log, "all of an address outside, all time",
		&(struct log_filter){ANY, .prefix = &client});
	list(log, "all of a /24 outside, last hour",
		&(struct log_filter){ANY, .prefix = &network, .since_ns = an_hour_ago});
	list(log, "everything of the last hour",
		&(struct log_filter){ANY, .since_ns = an_hour_ago});
}

static void ask_for_sums(const struct log *log)
{
	enum { ZONES = LOG_FLOW_SOURCE_ZONE | LOG_FLOW_DESTINATION_ZONE | LOG_FLOW_VERDICT };
	enum { ENDS = LOG_FLOW_SOURCE | LOG_FLOW_DESTINATION };
	enum { TALKERS = ENDS | LOG_FLOW_SOURCE_ADDRESS | LOG_FLOW_DESTINATION_ADDRESS };
	uint64_t a_day_ago = log->last_ns - 24 * HOUR_NS;

	add_up(log, "matrix of zones, last day",
		&(struct log_flow_query){.filter = {ANY, .since_ns = a_day_ago}, .by = ZONES});
	add_up(log, "matrix of zones, all time",
		&(struct log_flow_query){.filter = {ANY}, .by = ZONES});
	add_up(log, "rules used, all time",
		&(struct log_flow_query){.filter = {ANY}, .by = LOG_FLOW_RULE});
	add_up(log, "top talkers, last day",
		&(struct log_flow_query){.filter = {ANY, .since_ns = a_day_ago},
			.by = TALKERS,
			.order = LOG_FLOW_MOST_BYTES});
	add_up(log, "who talks to a VM over which ports, last day",
		&(struct log_flow_query){.filter = {ANY, .vm = A_VM, .since_ns = a_day_ago},
			.by = TALKERS | LOG_FLOW_SERVICE | ZONES});
	add_up(log, "pairs first seen within the last day",
		&(struct log_flow_query){.filter = {ANY},
			.by = ZONES | ENDS | LOG_FLOW_SERVICE,
			.first_since_ns = a_day_ago});
}

static void ask_for_times(const struct log *log)
{
	struct log_filter filter = {ANY, .since_ns = log->last_ns - 24 * HOUR_NS};
	uint64_t n = 0, start = clock_ns(CLOCK_MONOTONIC);
	char error[256] = "";
	int rc = log_timeline(log->directory, &filter, 900, count_slot, &n, error, sizeof(error));

	answer("denials in quarters of an hour, last day", n, "denials", start, rc, error);
	n = 0;
	start = clock_ns(CLOCK_MONOTONIC);
	rc = log_gaps(log->directory, 0, 0, count_gap, &n, error, sizeof(error));
	answer("gaps, all time", n, "gaps", start, rc, error);
}

static bool note_span(const struct log_record *record, void *context)
{
	struct log *log = context;

	if (!log->first_ns)
		log->first_ns = record->time_ns;
	log->last_ns = record->time_ns;
	return true;
}

static void ask(const char *directory)
{
	struct log log = {.directory = directory};
	char error[256] = "";

	log_query(directory, &(struct log_filter){ANY, .limit = 1}, note_span, &log, error,
		sizeof(error));
	printf("%-52s %9s %-8s %10s\n", "QUESTION", "ANSWER", "", "ms");
	ask_for_records(&log);
	ask_for_sums(&log);
	ask_for_times(&log);
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

static int usage(void)
{
	fprintf(stderr, "usage: log_bench DIRECTORY [RECORDS [HOURS]]\n"
			"       log_bench --write DIRECTORY RECORDS HOURS | --ask DIRECTORY |"
			" --delete DIRECTORY\n");
	return 2;
}

static struct load load_of(const char *records, const char *hours)
{
	uint64_t n = strtoull(records, NULL, 10);
	struct load load = {.n = n - n % BATCH};

	if (load.n)
		load.step_ns = strtoull(hours, NULL, 10) * HOUR_NS / load.n;
	return load;
}

/* Only a part of it all, so that the parts can be run at different times. */
static int run_part(const char *part, const char *directory, const struct load *load)
{
	if (strcmp(part, "--write") == 0 && load->n) {
		if (mkdir(directory, 0750) && errno != EEXIST) {
			fprintf(stderr, "log_bench: cannot make %s\n", directory);
			return 1;
		}
		print_write_heading();
		write_records(directory, load);
	} else if (strcmp(part, "--ask") == 0) {
		ask(directory);
	} else if (strcmp(part, "--delete") == 0) {
		bytes_in(directory, true);
		rmdir(directory);
	} else {
		return usage();
	}
	return 0;
}

static int run_all(char *directory, struct load load)
{
	if (!load.n || !mkdtemp(directory)) {
		fprintf(stderr, "log_bench: cannot make a directory like %s\n", directory);
		return 1;
	}
	print_write_heading();
	load.ipv6 = true;
	write_records(directory, &load);
	bytes_in(directory, true);
	load.ipv6 = false;
	write_records(directory, &load);
	printf("\n");
	ask(directory);
	bytes_in(directory, true);
	rmdir(directory);
	printf("\n");
	run_cap();
	return 0;
}

int main(int argc, char **argv)
{
	bool part = argc > 2 && argv[1][0] == '-';
	struct load load = load_of(argc > 2 + part ? argv[2 + part] : "2000000",
		argc > 3 + part ? argv[3 + part] : "1");
	char directory[256];

	if (argc < 2 || (!part && argv[1][0] == '-'))
		return usage();
	make_names();
	snprintf(directory, sizeof(directory), "%s/%s", argv[1 + part],
		part ? "log-bench" : "log-bench-XXXXXX");
	return part ? run_part(argv[1], directory, &load) : run_all(directory, load);
}
