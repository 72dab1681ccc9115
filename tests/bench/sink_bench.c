/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How fast a sink of the traffic log takes records.  One thread calls it in the way sink.c does: a
 * delivery every 20,000 records.  Prints one line: records a second, and what they cost this
 * process; what they cost the place (a server, a collector) is its own.
 *
 *	sink_bench TYPE RECORDS [NAME=VALUE ...]
 *
 *	sink_bench json 2000000 path=/var/tmp/bench.json rotate-bytes=1000000000000
 *	sink_bench syslog 1000000 server=127.0.0.1:1514 transport=tcp
 *	sink_bench postgresql 1000000 connection='host=/run/postgresql dbname=bench'
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sinks/sink_type.h"
#include "tests/bench/shop.h"

enum { BATCH = 20000, OPTIONS_MAX = 20 };

static const struct sink_type *const types[] = {
	&sink_sqlite, &sink_json, &sink_ipfix, &sink_syslog, &sink_postgresql};

static const struct sink_type *find_type(const char *name)
{
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (strcmp(types[i]->kind->name, name) == 0)
			return types[i];
	return NULL;
}

/* Splits NAME=VALUE where it stands. */
static size_t read_options(int argc, char **argv, struct sink_setting options[OPTIONS_MAX])
{
	size_t n = 0;

	for (int i = 3; i < argc && n < OPTIONS_MAX; i++) {
		char *sign = strchr(argv[i], '=');

		if (!sign)
			continue;
		*sign = '\0';
		options[n++] = (struct sink_setting){argv[i], sign + 1};
	}
	return n;
}

static void fail(const char *error)
{
	fprintf(stderr, "sink_bench: %s\n", error);
	exit(1);
}

/* Returns the time that the sink took; adds this process's CPU time of that to *cpu_ns. */
static uint64_t deliver(
	const struct sink_type *type, void *state, const struct log_record *batch, uint64_t *cpu_ns)
{
	uint64_t start = clock_ns(CLOCK_MONOTONIC), cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	char error[SINK_ERROR_MAX] = "";

	for (int i = 0; i < BATCH; i++)
		if (type->write(state, &batch[i], error, sizeof(error)) != 0)
			fail(error);
	if (type->flush(state, batch[BATCH - 1].time_ns, error, sizeof(error)) != 0)
		fail(error);
	*cpu_ns += clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	return clock_ns(CLOCK_MONOTONIC) - start;
}

static void run(const struct sink_type *type, const struct sink_place *place, uint64_t n)
{
	struct log_record *batch = malloc(BATCH * sizeof(*batch));
	uint64_t random = 1, elapsed_ns = 0, cpu_ns = 0, longest_ns = 0;
	char error[SINK_ERROR_MAX] = "no memory";
	void *state;

	if (!batch || type->open(place, &state, error, sizeof(error)) != 0)
		fail(error);
	for (uint64_t sequence = 1; sequence <= n; sequence += BATCH) {
		uint64_t took_ns;

		/* Making them up is not what is measured. */
		for (int i = 0; i < BATCH; i++)
			make_record(&batch[i], sequence + (uint64_t)i, i % 4 == 3, &random);
		took_ns = deliver(type, state, batch, &cpu_ns);
		elapsed_ns += took_ns;
		longest_ns = took_ns > longest_ns ? took_ns : longest_ns;
	}
	type->close(state);
	free(batch);
	printf("%s %9" PRIu64
	       " records %9.0f records/s %7.0f ns of CPU each, longest delivery %.1f ms\n",
		type->kind->name, n, (double)n * 1e9 / (double)elapsed_ns,
		(double)cpu_ns / (double)n, (double)longest_ns / 1e6);
}

int main(int argc, char **argv)
{
	const struct sink_type *type = argc > 2 ? find_type(argv[1]) : NULL;
	uint64_t n = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
	struct sink_setting options[OPTIONS_MAX];
	struct sink_settings settings = {.at = options};
	_Atomic uint64_t known_sequence = 0;
	_Atomic bool ending = false;
	struct sink_place place = {.name = "bench",
		.host = "host-a",
		.directory = ".",
		.settings = &settings,
		.time_limit_ms = SINK_TIME_LIMIT_MS,
		.ending = &ending,
		.known_sequence = &known_sequence};
	char error[SINK_ERROR_MAX];

	if (!type || n < BATCH) {
		fprintf(stderr,
			"usage: sink_bench TYPE RECORDS [NAME=VALUE ...], %d records or more\n",
			BATCH);
		return 2;
	}
	settings.kind = type->kind;
	settings.n = read_options(argc, argv, options);
	if (!sink_settings_check(&settings, error, sizeof(error)))
		fail(error);
	make_names();
	run(type, &place, n - n % BATCH);
	return 0;
}
