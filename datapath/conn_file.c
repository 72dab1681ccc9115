/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connection table's file: making it, opening the one that a former process left, and closing
 * it.  Called by the main thread, before workers start and after they have ended.
 *
 *      header page | live bytes | buckets, overflow buckets | flows | connections
 *
 * Nothing in a file is trusted.  The header must fit in every point; conn_adopt.c does the rest.
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
enum { FORMAT_VERSION = 3 };
enum { HEADER_BYTES = 4096 };

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

/* --- The header ----------------------------------------------------------------------------- */

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

/* --- The file ------------------------------------------------------------------------------- */

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
	atomic_signal_fence(memory_order_release); /* A kill comes between two stores of ours. */
	memcpy(place->magic, header.magic, sizeof(header.magic));
	set_secrets(opening->table, &header);
	conn_stacks_reset(opening->table);
	return true;
}

/* --- Opening -------------------------------------------------------------------------------- */

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
	set_secrets(opening->table, opening->table->store->map);
	if (conn_adopt(opening->table, opening->report))
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

/* --- The table ------------------------------------------------------------------------------ */

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
