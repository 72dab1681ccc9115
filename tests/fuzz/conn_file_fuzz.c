/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes over a connection file that a process left: opening it must adopt or refuse, and what
 * it gives must then work.
 *
 * The input is a list of patches to a small valid file: offset (4 bytes), length (1 byte), bytes.
 * Offsets reach over the whole file, so that every part of it is damaged; the header's checksum is
 * made good again if the first byte's lowest bit is set, so that the rest of the header is reached.
 * If its second bit is set, the file is cut to a length that the next 4 bytes tell.  If its third
 * bit is set, the flows' hashes are made good again, so that wild keys get as far as they can.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "datapath/conn_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

enum { CAPACITY = 1024, CONNECTIONS = 40 };
enum { HEADER_CHECKSUM_OFFSET = 160, HEADER_SECRETS_OFFSET = 64 };
enum { REPAIR = 1, CUT = 2, REHASH = 4 };

static const uint8_t boot_id[16] = {1, 2, 3};
static char path[64];
static uint8_t *pristine;
static size_t pristine_bytes, flows_offset;

static void require(bool promise)
{
	if (!promise)
		abort();
}

static struct conn_key key_of(uint32_t i)
{
	struct conn_key key = {
		.net = i,
		.source_port = htons(i),
		.destination_port = htons(443),
		.in_port = 1 + i % 5,
		.protocol = i & 1 ? IPPROTO_TCP : IPPROTO_UDP,
		.kind = 1 + i % 3,
	};

	key.source.s6_addr32[3] = i;
	if (key.kind == CONN_KEY_IPV4)
		key.source.s6_addr16[5] = key.destination.s6_addr16[5] = 0xffff;
	return key;
}

static uint32_t add(struct conn_table *table, struct conn_cache *cache, uint32_t i)
{
	struct conn_key key = key_of(i), reverse = conn_key_reverse(&key, 9);
	uint32_t flow = conn_alloc(table, cache, &key, conn_hash(table, &key),
		i % 4 ? &reverse : NULL, conn_hash(table, &reverse));
	struct conn *conn;

	if (flow == CONN_FLOW_NONE)
		return flow;
	conn = conn_of_flow(table, flow);
	conn->verdict = CONN_ALLOWED;
	if (key.protocol == IPPROTO_TCP && key.kind != CONN_KEY_ETHERNET)
		conn->flags = CONN_TCP;
	return conn_publish(table, cache, flow);
}

/* Makes the valid file once and keeps its bytes. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct conn_open_report report;
	struct conn_cache cache = {.n = 0};
	struct conn_table *table;
	struct stat status;
	FILE *file;

	(void)argc;
	(void)argv;
	snprintf(path, sizeof(path), "/dev/shm/cordon-conn-fuzz-%d", (int)getpid());
	unlink(path);
	table = conn_table_open(path, CAPACITY, boot_id, &report);
	require(table);
	for (uint32_t i = 0; i < CONNECTIONS; i++)
		require(add(table, &cache, i) != CONN_FLOW_NONE);
	flows_offset = (size_t)((uint8_t *)table->flows - (uint8_t *)table->store->map);
	conn_table_close(table);
	require(stat(path, &status) == 0);
	pristine_bytes = status.st_size;
	pristine = malloc(pristine_bytes);
	file = fopen(path, "r");
	require(file && fread(pristine, 1, pristine_bytes, file) == pristine_bytes);
	fclose(file);
	unlink(path);
	return 0;
}

static void repair_checksum(uint8_t *bytes)
{
	uint64_t sum = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < HEADER_CHECKSUM_OFFSET; i++)
		sum = (sum ^ bytes[i]) * UINT64_C(0x100000001b3);
	memcpy(bytes + HEADER_CHECKSUM_OFFSET, &sum, sizeof(sum));
}

static void repair_hashes(uint8_t *bytes)
{
	struct flow *flows = (struct flow *)(void *)(bytes + flows_offset);
	uint64_t secrets[1 + CONN_KEY_WORDS];
	uint32_t words[CONN_KEY_WORDS];

	memcpy(secrets, bytes + HEADER_SECRETS_OFFSET, sizeof(secrets));
	for (size_t i = 0; i < 2 * CAPACITY; i++) {
		memcpy(words, &flows[i].key, sizeof(words));
		flows[i].hash = keyed_hash(secrets, words, CONN_KEY_WORDS);
	}
}

static void write_file(const uint8_t *bytes, size_t n)
{
	FILE *file = fopen(path, "w");

	require(file && fwrite(bytes, 1, n, file) == n);
	fclose(file);
}

/* Writes the damaged file. */
static void write_damaged(const uint8_t *data, size_t size)
{
	uint8_t *bytes = aligned_alloc(CONN_CACHE_LINE, pristine_bytes), how = size ? *data++ : 0;
	size_t length = pristine_bytes;
	uint32_t offset;

	size -= size ? 1 : 0;
	memcpy(bytes, pristine, pristine_bytes);
	if (how & CUT && size >= sizeof(offset)) {
		memcpy(&offset, data, sizeof(offset));
		length = offset % (pristine_bytes + 1);
		data += sizeof(offset);
		size -= sizeof(offset);
	}
	while (size > sizeof(offset) + 1) {
		size_t n = data[sizeof(offset)];

		memcpy(&offset, data, sizeof(offset));
		offset %= pristine_bytes;
		data += sizeof(offset) + 1;
		size -= sizeof(offset) + 1;
		n = n < size ? n : size;
		n = n < pristine_bytes - offset ? n : pristine_bytes - offset;
		memcpy(bytes + offset, data, n);
		data += n;
		size -= n;
	}
	if (how & REHASH)
		repair_hashes(bytes);
	if (how & REPAIR)
		repair_checksum(bytes);
	write_file(bytes, length);
	free(bytes);
}

/* A connection that was adopted must be whole, and found by its keys. */
static void check_one(struct conn_table *table, uint32_t number, void *n)
{
	struct flow *flow = conn_flow(table, 2 * number);
	struct conn *conn = conn_of_flow(table, 2 * number);

	require(flow->key.in_port && flow->key.in_port < CONN_PORTS_MAX);
	require(conn_lookup(table, &flow->key, flow->hash) == 2 * number);
	require(!flow[0].program && !flow[1].program);
	require(conn->verdict >= CONN_ALLOWED && conn->verdict <= CONN_DENIED);
	require((conn->quota_port & ~(CONN_QUOTA_INBOUND | CONN_QUOTA_HALF_OPEN)) < CONN_PORTS_MAX);
	require(conn->out_port < CONN_PORTS_MAX);
	if (conn->flags & CONN_REVERSE)
		require(conn_lookup(table, &flow[1].key, flow[1].hash) == 2 * number + 1);
	if (conn->flags & CONN_TCP)
		require(tcp_state(&conn->dir[0].tcp, &conn->dir[1].tcp) < TCP_N_STATES);
	conn_lock(conn);
	conn_unlock(conn);
	++*(uint32_t *)n;
}

static void end_one(struct conn_table *table, uint32_t number, void *context)
{
	(void)context;
	require(conn_unlink(table, number));
	conn_free(table, &number, 1);
}

/* Fills the table to the last, and empties it. */
static void use(struct conn_table *table)
{
	struct conn_cache cache = {.n = 0};
	uint32_t n = 0;

	for (uint32_t i = 1000; i < 1000 + CAPACITY; i++)
		add(table, &cache, i);
	require(conn_count(table) <= CAPACITY);
	conn_cache_flush(table, &cache);
	conn_for_each(table, 0, CAPACITY, check_one, &n);
	require(n == conn_count(table));
	conn_for_each(table, 0, CAPACITY, end_one, NULL);
	require(conn_count(table) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct conn_open_report report;
	struct conn_table *table;
	uint32_t n = 0;

	write_damaged(data, size);
	table = conn_table_open(path, CAPACITY, boot_id, &report);
	require(table);
	require(report.result == CONN_OPEN_ADOPTED || report.result == CONN_OPEN_REFUSED ||
		report.result == CONN_OPEN_NEW);
	require((report.result == CONN_OPEN_REFUSED) == (report.why[0] != '\0'));
	conn_for_each(table, 0, CAPACITY, check_one, &n);
	require(n == conn_count(table));
	require(n == report.adopted && n + report.dropped <= CAPACITY);
	use(table);
	conn_table_close(table);
	unlink(path);
	return 0;
}
