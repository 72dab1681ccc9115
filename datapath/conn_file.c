/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connection table's file: making it, adopting the one that a former process left, and closing
 * it.  Called by the main thread, before workers start and after they have ended.
 *
 *      header page | live bytes | buckets, overflow buckets | flows | connections
 *
 * Nothing in a file that is adopted is trusted.  The header must fit in every point.  The index is
 * not read at all but built anew.  What is left are the live connections, each of which is checked
 * on its own.
 */
#include "datapath/conn_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/magic.h>

/* Raise it with every change of what the bytes of the file mean. */
enum { FORMAT_VERSION = 1 };
enum { HEADER_BYTES = 4096 };
enum { ADOPT_BATCH = 32 };

static const char file_magic[8] = "CORDONct";

/* The first bytes of the file.  `magic` is written last. */
struct file_header {
	char magic[8];
	uint32_t version;
	uint32_t flow_bytes, conn_bytes, bucket_bytes;
	uint32_t capacity, n_buckets, n_overflow;
	uint32_t zero;
	uint64_t file_bytes;
	uint8_t boot_id[16];
	uint64_t secrets[1 + CONN_KEY_WORDS];
	uint64_t checksum; /* Of all before it. */
};

/* Where things are in a file for so many connections. */
struct file_layout {
	uint32_t capacity, n_buckets, n_overflow;
	size_t live, buckets, flows, conns, bytes;
};

/* An opening in progress. */
struct opening {
	const char *path;
	const uint8_t *boot_id;
	struct conn_open_report *report;
	struct file_layout layout;
	size_t page_bytes;
	struct conn_table *table;
};

static void say(struct opening *opening, enum conn_open_result result, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static void say(struct opening *opening, enum conn_open_result result, const char *format, ...)
{
	struct conn_open_report *report = opening->report;
	va_list arguments;

	report->result = result;
	va_start(arguments, format);
	vsnprintf(report->why, sizeof(report->why), format, arguments);
	va_end(arguments);
}

static size_t round_up(size_t bytes, size_t unit)
{
	return (bytes + unit - 1) / unit * unit;
}

/* Two flows to a connection and 7.5 to a bucket of 12 when the table is full: about one bucket in
 * 25 then overflows; there are overflow buckets for three times as many. */
static struct file_layout layout_for(uint32_t capacity, size_t page_bytes)
{
	struct file_layout layout = {.capacity = capacity, .live = HEADER_BYTES};

	layout.n_buckets = (uint64_t)capacity * 4 / 15 + 1;
	layout.n_overflow = layout.n_buckets / 8 + 1;
	layout.buckets = layout.live + round_up(capacity, CONN_CACHE_LINE);
	layout.flows = layout.buckets +
		       ((size_t)layout.n_buckets + layout.n_overflow) * sizeof(struct conn_bucket);
	layout.conns = layout.flows + 2 * (size_t)capacity * sizeof(struct flow);
	layout.bytes = round_up(layout.conns + (size_t)capacity * sizeof(struct conn), page_bytes);
	return layout;
}

/* --- The header ------------------------------------------------------------------------------- */

/* FNV-1a: against damage, not against malice; whoever can write the file can do as he likes. */
static uint64_t header_checksum(const struct file_header *header)
{
	const uint8_t *bytes = (const uint8_t *)header;
	uint64_t sum = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < offsetof(struct file_header, checksum); i++)
		sum = (sum ^ bytes[i]) * UINT64_C(0x100000001b3);
	return sum;
}

static struct file_header header_for(const struct opening *opening)
{
	const struct file_layout *layout = &opening->layout;
	struct file_header header = {
		.version = FORMAT_VERSION,
		.flow_bytes = sizeof(struct flow),
		.conn_bytes = sizeof(struct conn),
		.bucket_bytes = sizeof(struct conn_bucket),
		.capacity = layout->capacity,
		.n_buckets = layout->n_buckets,
		.n_overflow = layout->n_overflow,
		.file_bytes = layout->bytes,
	};

	memcpy(header.magic, file_magic, sizeof(header.magic));
	memcpy(header.boot_id, opening->boot_id, sizeof(header.boot_id));
	return header;
}

/* Compares what a file's header says with what it must say.  On a difference, refuses by name. */
static bool header_fits(struct opening *opening, const struct file_header *found)
{
	struct file_header wanted = header_for(opening);

	if (memcmp(found->magic, wanted.magic, sizeof(wanted.magic)) != 0)
		say(opening, CONN_OPEN_REFUSED, "not a connection table, or one never finished");
	else if (found->version != wanted.version)
		say(opening, CONN_OPEN_REFUSED, "format version %u, not %u", found->version,
			wanted.version);
	else if (found->checksum != header_checksum(found))
		say(opening, CONN_OPEN_REFUSED, "the header's checksum is wrong");
	else if (found->flow_bytes != wanted.flow_bytes || found->conn_bytes != wanted.conn_bytes ||
		 found->bucket_bytes != wanted.bucket_bytes)
		say(opening, CONN_OPEN_REFUSED, "entries of %u, %u and %u bytes, not %u, %u and %u",
			found->flow_bytes, found->conn_bytes, found->bucket_bytes,
			wanted.flow_bytes, wanted.conn_bytes, wanted.bucket_bytes);
	else if (memcmp(found->boot_id, wanted.boot_id, sizeof(wanted.boot_id)) != 0)
		say(opening, CONN_OPEN_REFUSED, "left by another boot of this host");
	else if (found->capacity != wanted.capacity)
		say(opening, CONN_OPEN_REFUSED, "made for %u connections, not %u", found->capacity,
			wanted.capacity);
	else if (found->n_buckets != wanted.n_buckets || found->n_overflow != wanted.n_overflow ||
		 found->file_bytes != wanted.file_bytes)
		say(opening, CONN_OPEN_REFUSED, "laid out in another way");
	else
		return true;
	return false;
}

/* --- The file --------------------------------------------------------------------------------- */

/* Opens and locks the file.  Returns the descriptor, or -1 with the reason said. */
static int open_locked(struct opening *opening)
{
	struct stat status;
	int fd = open(opening->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0) {
		say(opening, CONN_OPEN_FAILED, "%s: %s", opening->path, strerror(errno));
		return -1;
	}
	if (fstat(fd, &status) || !S_ISREG(status.st_mode)) {
		say(opening, CONN_OPEN_FAILED, "%s: not a regular file; remove it", opening->path);
	} else if (flock(fd, LOCK_EX | LOCK_NB)) {
		if (errno == EWOULDBLOCK)
			say(opening, CONN_OPEN_FAILED,
				"%s: in use by another process; stop that one first",
				opening->path);
		else
			say(opening, CONN_OPEN_FAILED, "%s: cannot be locked: %s", opening->path,
				strerror(errno));
	} else {
		return fd;
	}
	close(fd);
	return -1;
}

/* The unit in which the file system hands out memory. */
static size_t page_bytes_of(int fd, bool *huge_pages)
{
	struct statfs status;

	*huge_pages = fstatfs(fd, &status) == 0 && status.f_type == HUGETLBFS_MAGIC;
	return *huge_pages ? (size_t)status.f_bsize : (size_t)sysconf(_SC_PAGESIZE);
}

/* Gives the file its size and every page of it its memory.  False with the reason said. */
static bool reserve(struct opening *opening, int fd)
{
	size_t mebibytes = (opening->layout.bytes + (1 << 20) - 1) >> 20;
	int error;

	do {
		error = fallocate(fd, 0, 0, opening->layout.bytes) ? errno : 0;
	} while (error == EINTR);
	if (!error)
		return true;
	if (opening->report->huge_pages)
		say(opening, CONN_OPEN_FAILED,
			"%s: %zu huge pages of %zu KiB cannot be had (%s); raise "
			"vm.nr_hugepages or lower the capacity",
			opening->path, opening->layout.bytes / opening->page_bytes,
			opening->page_bytes >> 10, strerror(error));
	else
		say(opening, CONN_OPEN_FAILED,
			"%s: %zu MiB cannot be reserved (%s); free memory or lower the capacity",
			opening->path, mebibytes, strerror(error));
	return false;
}

/* Maps the whole file into the table.  False with the reason said. */
static bool map_file(struct opening *opening, int fd)
{
	const struct file_layout *layout = &opening->layout;
	struct conn_table *table = opening->table;
	uint8_t *map =
		mmap(NULL, layout->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);

	if (map == MAP_FAILED) {
		say(opening, CONN_OPEN_FAILED, "%s: %zu bytes cannot be mapped: %s", opening->path,
			layout->bytes, strerror(errno));
		return false;
	}
	if (!opening->report->huge_pages)
		madvise(map, layout->bytes, MADV_HUGEPAGE); /* It is well if it does not help. */
	madvise(map, layout->bytes, MADV_DONTDUMP);
	table->store->map = map;
	table->store->map_bytes = layout->bytes;
	table->store->live = (_Atomic uint8_t *)(map + layout->live);
	table->buckets = (struct conn_bucket *)(void *)(map + layout->buckets);
	table->flows = (struct flow *)(void *)(map + layout->flows);
	table->conns = (struct conn *)(void *)(map + layout->conns);
	return true;
}

/* Takes the secrets from the header. */
static void set_secrets(struct conn_table *table, const struct file_header *header)
{
	const uint64_t *secret = table->secrets + 1;
	uint64_t mapped = htonl(0xffff);

	memcpy(table->secrets, header->secrets, sizeof(table->secrets));
	table->ipv4_base = table->secrets[0] + (secret[2] + secret[6]) * mapped;
}

/* Marks all overflow buckets as unused, and no connection as free: all are above high water. */
static void reset_stacks(struct conn_table *table)
{
	struct conn_store *store = table->store;

	store->free.n = 0;
	store->overflow.n = store->n_overflow;
	for (uint32_t i = 0; i < store->n_overflow; i++)
		store->overflow.at[i] = table->n_buckets + store->n_overflow - 1 - i;
}

/* Begins an empty table in the file, whatever it held.  The reserved pages are zero.  False with
 * the reason said. */
static bool begin_empty(struct opening *opening, int fd)
{
	struct file_header header = header_for(opening), *place;

	if (getrandom(header.secrets, sizeof(header.secrets), 0) != sizeof(header.secrets)) {
		say(opening, CONN_OPEN_FAILED, "%s: no random numbers: %s", opening->path,
			strerror(errno));
		return false;
	}
	if (ftruncate(fd, 0)) {
		say(opening, CONN_OPEN_FAILED, "%s: cannot be emptied: %s", opening->path,
			strerror(errno));
		return false;
	}
	if (!reserve(opening, fd) || !map_file(opening, fd))
		return false;
	header.checksum = header_checksum(&header);
	place = opening->table->store->map;
	memcpy((char *)place + sizeof(header.magic), (char *)&header + sizeof(header.magic),
		sizeof(header) - sizeof(header.magic));
	atomic_thread_fence(memory_order_release);
	memcpy(place->magic, header.magic, sizeof(header.magic));
	set_secrets(opening->table, &header);
	reset_stacks(opening->table);
	return true;
}

/* --- Adopting --------------------------------------------------------------------------------- */

static bool net_valid(uint32_t net)
{
	return net < 4096 || net >> 24 == 1;
}

static bool key_valid(const struct conn_key *key)
{
	if (key->kind < CONN_KEY_IPV4 || key->kind > CONN_KEY_ETHERNET)
		return false;
	if (!key->in_port || key->in_port >= CONN_PORTS_MAX || !net_valid(key->net))
		return false;
	return key->kind != CONN_KEY_IPV4 ||
	       (IN6_IS_ADDR_V4MAPPED(&key->source) && IN6_IS_ADDR_V4MAPPED(&key->destination));
}

static bool flow_valid(const struct conn_table *table, const struct flow *flow)
{
	return key_valid(&flow->key) && flow->hash == conn_hash(table, &flow->key);
}

/* True if a connection's own fields make sense.  Rule, zones and revision are numbers of a policy,
 * which are looked up with a check wherever they are used. */
static bool conn_valid(const struct conn_table *table, uint32_t number)
{
	const struct flow *flow = &table->flows[2 * (size_t)number];
	const struct conn *conn = &table->conns[number];
	const unsigned int known = CONN_CONFIRMED | CONN_LOG_SESSION | CONN_LOG_DENIED |
				   CONN_LOGGED | CONN_TCP | CONN_CLOSE_NOW | CONN_REVERSE;
	struct conn_key reverse;

	if (!flow_valid(table, &flow[0]) || conn->flags & ~known)
		return false;
	if (conn->verdict < CONN_ALLOWED || conn->verdict > CONN_REJECTED)
		return false;
	if (conn->out_port >= CONN_PORTS_MAX || conn->quota_port >= CONN_PORTS_MAX)
		return false;
	if (conn->flags & CONN_TCP &&
		(flow->key.kind == CONN_KEY_ETHERNET || flow->key.protocol != IPPROTO_TCP ||
			!tcp_side_valid(&conn->dir[0].tcp) || !tcp_side_valid(&conn->dir[1].tcp)))
		return false;
	if (!(conn->flags & CONN_REVERSE))
		return true;
	reverse = conn_key_reverse(&flow[0].key, flow[1].key.in_port);
	return flow_valid(table, &flow[1]) && conn_key_equal(&reverse, &flow[1].key);
}

/* Takes from a flow what only the former process knew.  A time in the future would never run out.
 */
static void flow_adopt(struct flow *flow, uint32_t now)
{
	atomic_store_explicit(&flow->program, 0, memory_order_relaxed);
	atomic_store_explicit(&flow->forwarding_revision, 0, memory_order_relaxed);
	atomic_store_explicit(&flow->policy_epoch, 0, memory_order_relaxed);
	if (atomic_load_explicit(&flow->last_seen, memory_order_relaxed) > now)
		atomic_store_explicit(&flow->last_seen, now, memory_order_relaxed);
}

/* Enters a live connection into the index.  False if its key is there already: two connections
 * cannot have one. */
static bool conn_enter(struct conn_table *table, uint32_t number, uint32_t now)
{
	uint32_t flow = 2 * number;
	struct flow *pair = conn_flow(table, flow);
	struct conn *conn = &table->conns[number];
	uint32_t bucket = conn_bucket_of(table, pair[0].hash);

	if (conn_index_find(table, bucket, &pair[0].key, pair[0].hash) != CONN_FLOW_NONE ||
		!conn_index_insert(table, bucket, flow))
		return false;
	flow_adopt(&pair[0], now);
	atomic_store_explicit(&conn->lock, 0, memory_order_relaxed);
	if (!(conn->flags & CONN_REVERSE))
		return true;
	bucket = conn_bucket_of(table, pair[1].hash);
	if (conn_index_find(table, bucket, &pair[1].key, pair[1].hash) != CONN_FLOW_NONE ||
		!conn_index_insert(table, bucket, flow + 1))
		atomic_fetch_and_explicit(&conn->flags, ~CONN_REVERSE, memory_order_relaxed);
	flow_adopt(&pair[1], now);
	return true;
}

/* Adopts up to ADOPT_BATCH live connections: checks them all, while their buckets are fetched, then
 * enters them. */
static void adopt_batch(struct opening *opening, const uint32_t *numbers, uint32_t n, uint32_t now)
{
	struct conn_table *table = opening->table;
	bool valid[ADOPT_BATCH];

	for (uint32_t i = 0; i < n; i++) {
		const struct flow *flow = &table->flows[2 * (size_t)numbers[i]];

		valid[i] = conn_valid(table, numbers[i]);
		if (!valid[i])
			continue;
		__builtin_prefetch(&table->buckets[conn_bucket_of(table, flow[0].hash)], 1);
		__builtin_prefetch(&table->buckets[conn_bucket_of(table, flow[1].hash)], 1);
	}
	for (uint32_t i = 0; i < n; i++) {
		if (valid[i] && conn_enter(table, numbers[i], now)) {
			opening->report->adopted++;
			continue;
		}
		atomic_store_explicit(&table->store->live[numbers[i]], 0, memory_order_relaxed);
		opening->report->dropped++;
	}
}

/* One past the highest live connection, or -1 with the reason said if a live byte is neither 0 nor
 * 1: the file is damaged then, who knows where else. */
static int64_t find_high_water(struct opening *opening)
{
	const uint8_t *live = (const uint8_t *)opening->table->store->live;
	uint32_t capacity = opening->layout.capacity, high = 0;

	for (uint32_t i = 0; i < capacity; i++) {
		if (!live[i])
			continue;
		if (live[i] != 1) {
			say(opening, CONN_OPEN_REFUSED,
				"damaged: connection %u has a live byte of %u", i, live[i]);
			return -1;
		}
		high = i + 1;
	}
	return high;
}

/* Builds the index, the free list and the counters from the live connections.  False if the file is
 * damaged in its structure. */
static bool adopt(struct opening *opening)
{
	struct conn_table *table = opening->table;
	struct conn_store *store = table->store;
	uint32_t batch[ADOPT_BATCH] = {0}, n = 0, now = conn_clock();
	int64_t high = find_high_water(opening);

	if (high < 0)
		return false;
	set_secrets(table, store->map);
	reset_stacks(table);
	memset(table->buckets, 0,
		((size_t)table->n_buckets + store->n_overflow) * sizeof(struct conn_bucket));
	for (uint32_t i = 0; i < high; i++) {
		if (!store->live[i])
			continue;
		batch[n++] = i;
		if (n == ADOPT_BATCH) {
			adopt_batch(opening, batch, n, now);
			n = 0;
		}
	}
	adopt_batch(opening, batch, n, now);

	for (int64_t i = high - 1; i >= 0; i--) {
		if (!store->live[i])
			store->free.at[store->free.n++] = i;
	}
	store->high_water = high;
	store->count = opening->report->adopted;
	opening->report->result = CONN_OPEN_ADOPTED;
	return true;
}

static void unmap(struct conn_table *table)
{
	if (table->store->map)
		munmap(table->store->map, table->store->map_bytes);
	table->store->map = NULL;
}

/* Tries to take over what the file holds.  False: it is of no use (`report->result` is REFUSED) or
 * there is no memory (FAILED). */
static bool adopt_file(struct opening *opening, int fd, size_t file_bytes)
{
	struct file_header header;

	if (pread(fd, &header, sizeof(header), 0) != sizeof(header)) {
		say(opening, CONN_OPEN_REFUSED, "too short to be a connection table");
		return false;
	}
	if (!header_fits(opening, &header))
		return false;
	if (file_bytes != opening->layout.bytes) {
		say(opening, CONN_OPEN_REFUSED, "%zu bytes long, not %zu", file_bytes,
			opening->layout.bytes);
		return false;
	}
	/* A hole in the file would be a fault at some later time. */
	if (!reserve(opening, fd) || !map_file(opening, fd))
		return false;
	if (adopt(opening))
		return true;
	unmap(opening->table);
	return false;
}

/* Adopts the file or begins it anew.  False: CONN_OPEN_FAILED. */
static bool adopt_or_begin(struct opening *opening, int fd)
{
	struct stat status;

	if (fstat(fd, &status)) {
		say(opening, CONN_OPEN_FAILED, "%s: %s", opening->path, strerror(errno));
		return false;
	}
	opening->report->result = CONN_OPEN_NEW;
	if (status.st_size) {
		if (adopt_file(opening, fd, status.st_size))
			return true;
		if (opening->report->result == CONN_OPEN_FAILED)
			return false;
	}
	return begin_empty(opening, fd);
}

/* --- The table -------------------------------------------------------------------------------- */

static void table_destroy(struct conn_table *table)
{
	if (!table)
		return;
	if (table->store) {
		unmap(table);
		free(table->store->free.at);
		free(table->store->overflow.at);
		if (table->store->fd >= 0)
			close(table->store->fd); /* Which unlocks the file. */
		free(table->store);
	}
	free(table);
}

/* A table for the layout, without its file.  NULL without memory. */
static struct conn_table *table_create(const struct file_layout *layout)
{
	struct conn_table *table = aligned_alloc(CONN_CACHE_LINE, round_up(sizeof(*table), 64));
	struct conn_store *store = aligned_alloc(CONN_CACHE_LINE, sizeof(*store));

	if (!table || !store) {
		free(table);
		free(store);
		return NULL;
	}
	memset(table, 0, sizeof(*table));
	memset(store, 0, sizeof(*store));
	table->store = store;
	table->n_buckets = layout->n_buckets;
	store->fd = -1;
	store->capacity = layout->capacity;
	store->n_overflow = layout->n_overflow;
	store->free.at = malloc((size_t)layout->capacity * sizeof(store->free.at[0]));
	store->overflow.at = malloc((size_t)layout->n_overflow * sizeof(store->overflow.at[0]));
	if (store->free.at && store->overflow.at)
		return table;
	table_destroy(table);
	return NULL;
}

struct conn_table *conn_table_open(const char *path, uint32_t capacity, const uint8_t boot_id[16],
	struct conn_open_report *report)
{
	struct opening opening = {.path = path, .boot_id = boot_id, .report = report};
	int fd;

	memset(report, 0, sizeof(*report));
	if (capacity < CONN_CAPACITY_MIN || capacity > CONN_CAPACITY_MAX) {
		say(&opening, CONN_OPEN_FAILED, "%s: a capacity of %u is not within %d to %d", path,
			capacity, CONN_CAPACITY_MIN, CONN_CAPACITY_MAX);
		return NULL;
	}
	fd = open_locked(&opening);
	if (fd < 0)
		return NULL;
	opening.page_bytes = page_bytes_of(fd, &report->huge_pages);
	opening.layout = layout_for(capacity, opening.page_bytes);
	opening.table = table_create(&opening.layout);
	if (!opening.table) {
		say(&opening, CONN_OPEN_FAILED, "%s: no memory for the free list of %u connections",
			path, capacity);
		close(fd);
		return NULL;
	}
	opening.table->store->fd = fd;
	if (adopt_or_begin(&opening, fd))
		return opening.table;
	table_destroy(opening.table);
	return NULL;
}

void conn_table_close(struct conn_table *table)
{
	table_destroy(table);
}

double conn_bytes_per_connection(const struct conn_table *table)
{
	const struct conn_store *store = table->store;
	size_t stacks = store->capacity * sizeof(store->free.at[0]) +
			store->n_overflow * sizeof(store->overflow.at[0]);

	return (double)(store->map_bytes + stacks) / store->capacity;
}
