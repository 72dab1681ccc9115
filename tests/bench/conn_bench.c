/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the connection table costs: cycles per lookup in bursts of 32, as a worker makes them, per
 * connection made and ended, and milliseconds to adopt a full file.
 *
 *      conn_bench [DIRECTORY]      default /dev/shm; name a hugetlbfs mount to see what that gains
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include "datapath/conn.h"

enum { BURST = 32, SLICES = 501, SLICE_BURSTS = 200 };

static const uint8_t boot_id[16] = {1};

struct bench {
	char path[256];
	struct conn_table *table;
	struct conn_cache cache;
	uint32_t n_conns;
	uint64_t random;
};

static uint32_t next_random(struct bench *bench)
{
	bench->random = bench->random * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return bench->random >> 32;
}

/* Flow i & 1 of connection i / 2. */
static void make_key(struct conn_key *key, uint32_t i, enum conn_key_kind kind)
{
	uint32_t source = htonl(0x0a000000 + i / 2), destination = htonl(0x0b000000 + i / 64);

	*key = (struct conn_key){
		.source_port = htons(1024 + i / 2 % 60000),
		.destination_port = htons(443),
		.in_port = 1,
		.protocol = IPPROTO_UDP,
		.kind = kind,
	};
	if (kind == CONN_KEY_IPV4) {
		key->source.s6_addr16[5] = key->destination.s6_addr16[5] = 0xffff;
	} else {
		key->source.s6_addr32[0] = key->destination.s6_addr32[0] = htonl(0x20010db8);
		key->source.s6_addr32[1] = source;
	}
	key->source.s6_addr32[3] = source;
	key->destination.s6_addr32[3] = destination;
	if (i & 1)
		*key = conn_key_reverse(key, 2);
}

static void fail(const char *what)
{
	fprintf(stderr, "conn_bench: %s\n", what);
	exit(1);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* The median of many short measurements, so that what else runs on the machine does not count. */
static double median(double *cycles, size_t n)
{
	qsort(cycles, n, sizeof(cycles[0]), compare);
	return cycles[n / 2];
}

static void add_one(struct bench *bench, uint32_t i, enum conn_key_kind kind)
{
	struct conn_key key, reverse;
	uint32_t hash, flow;

	make_key(&key, 2 * i, kind);
	reverse = conn_key_reverse(&key, 2);
	hash = conn_hash(bench->table, &key);
	flow = conn_alloc(bench->table, &bench->cache, &key, hash, &reverse,
		conn_hash(bench->table, &reverse));
	if (flow == CONN_FLOW_NONE)
		fail("table full");
	conn_of_flow(bench->table, flow)->verdict = CONN_ALLOWED;
	if (conn_publish(bench->table, &bench->cache, flow) != flow)
		fail("not entered");
}

/* Enters all connections, the buckets of a burst being fetched before, as a worker does.  Returns
 * cycles for each, the median of slices of 8 bursts. */
static double add(struct bench *bench, enum conn_key_kind kind)
{
	enum { SLICE = 8 * BURST };
	uint32_t n_slices = (bench->n_conns + SLICE - 1) / SLICE, i = 0;
	double *cycles = calloc(n_slices, sizeof(cycles[0])), result;

	for (uint32_t slice = 0; slice < n_slices; slice++) {
		uint64_t start = __rdtsc();
		uint32_t first = i;

		while (i < first + SLICE && i < bench->n_conns) {
			uint32_t end = i + BURST < bench->n_conns ? i + BURST : bench->n_conns;

			for (uint32_t ahead = i; ahead < end; ahead++) {
				struct conn_key key;

				make_key(&key, 2 * ahead, kind);
				conn_prefetch_bucket(bench->table, conn_hash(bench->table, &key));
			}
			while (i < end)
				add_one(bench, i++, kind);
		}
		cycles[slice] = (double)(__rdtsc() - start) / (i - first);
	}
	result = median(cycles, n_slices);
	free(cycles);
	return result;
}

static void end_one(struct conn_table *table, uint32_t conn, void *context)
{
	(void)context;
	if (!conn_unlink(table, conn))
		fail("not unlinked");
	conn_free(table, &conn, 1);
}

/* One burst: keys, hashes, prefetches, lookups, and a counter each, which brings the connection's
 * line in.  Returns how many were found. */
static uint32_t burst(struct bench *bench, enum conn_key_kind kind)
{
	struct conn_key keys[BURST];
	uint32_t hashes[BURST], hints[BURST], found = 0;

	for (int i = 0; i < BURST; i++) {
		make_key(&keys[i], next_random(bench) % (2 * bench->n_conns), kind);
		hashes[i] = conn_hash(bench->table, &keys[i]);
		conn_prefetch_bucket(bench->table, hashes[i]);
	}
	for (int i = 0; i < BURST; i++)
		hints[i] = conn_prefetch_flow(bench->table, hashes[i]);
	for (int i = 0; i < BURST; i++) {
		uint32_t flow = conn_lookup_hinted(bench->table, &keys[i], hashes[i], hints[i]);
		struct conn_direction *direction;

		if (flow == CONN_FLOW_NONE)
			continue;
		direction = &conn_of_flow(bench->table, flow)->dir[flow & 1];
		atomic_store_explicit(&direction->packets,
			atomic_load_explicit(&direction->packets, memory_order_relaxed) + 1,
			memory_order_relaxed);
		found++;
	}
	return found;
}

/* What making keys and random numbers costs, to be taken off. */
static double key_cycles(struct bench *bench, enum conn_key_kind kind)
{
	double cycles[SLICES];

	for (int slice = 0; slice < SLICES; slice++) {
		uint64_t start = __rdtsc();

		for (int i = 0; i < SLICE_BURSTS * BURST; i++) {
			struct conn_key key;

			make_key(&key, next_random(bench) % (2 * bench->n_conns), kind);
			__asm__ volatile("" : : "r"(&key) : "memory");
		}
		cycles[slice] = (double)(__rdtsc() - start) / (SLICE_BURSTS * BURST);
	}
	return median(cycles, SLICES);
}

static double lookup_cycles(struct bench *bench, enum conn_key_kind kind)
{
	double cycles[SLICES];

	for (int slice = 0; slice < SLICES; slice++) {
		uint64_t start = __rdtsc(), found = 0;

		for (int b = 0; b < SLICE_BURSTS; b++)
			found += burst(bench, kind);
		cycles[slice] = (double)(__rdtsc() - start) / (SLICE_BURSTS * BURST);
		if (found != SLICE_BURSTS * BURST)
			fail("a flow was not found");
	}
	return median(cycles, SLICES) - key_cycles(bench, kind);
}

static double milliseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

static void open_table(struct bench *bench, uint32_t capacity, struct conn_open_report *report)
{
	bench->table = conn_table_open(bench->path, capacity, boot_id, report);
	if (!bench->table)
		fail(report->why);
	bench->cache.n = 0;
}

static void run(struct bench *bench, uint32_t n_flows, enum conn_key_kind kind)
{
	uint32_t capacity = n_flows / 2 < 1024 ? 1024 : n_flows / 2;
	struct conn_open_report report;
	double add_cycles, again_cycles, lookup, end_cycles, start;

	unlink(bench->path);
	open_table(bench, capacity, &report);
	bench->n_conns = n_flows / 2;
	add_cycles = add(bench, kind);
	lookup = lookup_cycles(bench, kind);
	start = __rdtsc();
	conn_for_each(bench->table, 0, capacity, end_one, NULL);
	end_cycles = (__rdtsc() - start) / bench->n_conns;
	again_cycles = add(bench, kind);
	conn_table_close(bench->table);

	start = milliseconds();
	open_table(bench, capacity, &report);
	start = milliseconds() - start;
	if (report.adopted != bench->n_conns)
		fail("not all adopted");
	printf("%8u %5s %10.1f %10.1f %10.1f %10.1f %10.1f %10.1f %s\n", n_flows,
		kind == CONN_KEY_IPV4 ? "IPv4" : "IPv6", lookup, add_cycles, again_cycles,
		end_cycles, start, conn_bytes_per_connection(bench->table),
		report.huge_pages ? "huge pages" : "");
	conn_table_close(bench->table);
}

int main(int argc, char **argv)
{
	static const uint32_t sizes[] = {1 << 10, 100000, 1 << 20, 1 << 21, 1 << 22};
	struct bench bench = {.random = 1};

	snprintf(bench.path, sizeof(bench.path), "%s/cordon-conn-bench",
		argc > 1 ? argv[1] : "/dev/shm");
	printf("%8s %5s %10s %10s %10s %10s %10s %10s\n", "flows", "", "lookup", "first add", "add",
		"end", "adopt ms", "bytes");
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		run(&bench, sizes[i], CONN_KEY_IPV4);
	run(&bench, 1 << 20, CONN_KEY_IPV6);
	unlink(bench.path);
	return 0;
}
