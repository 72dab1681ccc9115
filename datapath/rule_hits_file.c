/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ledger of the rule hits: memory that outlives the process, in a file.  Opened and closed by
 * the main thread, which also gives it more room as rules come.
 *
 * A ledger is never gone on with in place.  What the last process left is read, each name and
 * number checked, into a new one, which then takes its name: so a damaged file can do no harm.
 */
#include "datapath/rule_hits_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 4096 }; /* Slots that are given memory at once. */

static const char ledger_magic[16] = "cordon-rulehit-1";

/* Where things are in the file.  It is as long as it can ever become; what is not used yet takes
 * no memory. */
enum {
	ZONES_AT = RULE_HITS_HEADER,
	ZONES_BYTES = (int)((RULE_HITS_ZONES * sizeof(struct rule_hits_zone) + 4095) / 4096 * 4096),
	ENTRIES_AT = ZONES_AT + ZONES_BYTES,
};
static const size_t names_at =
	ENTRIES_AT + (size_t)RULE_HITS_SLOTS * sizeof(struct rule_hits_entry);
static const size_t ledger_bytes = ENTRIES_AT +
				   (size_t)RULE_HITS_SLOTS * sizeof(struct rule_hits_entry) +
				   (size_t)RULE_HITS_SLOTS * RULE_HITS_NAME_MAX;

_Static_assert(sizeof(struct rule_hits_header) <= RULE_HITS_HEADER, "the header is one page");

/* FNV-1a: against damage, not against malice. */
static uint32_t header_checksum(const struct rule_hits_header *header)
{
	const uint8_t *bytes = (const uint8_t *)header;
	uint32_t sum = UINT32_C(0x811c9dc5);

	for (size_t i = 0; i < offsetof(struct rule_hits_header, checksum); i++)
		sum = (sum ^ bytes[i]) * UINT32_C(0x01000193);
	return sum;
}

static void point_into(struct rule_hits *hits, char *map)
{
	hits->header = (struct rule_hits_header *)map;
	hits->zones = (struct rule_hits_zone *)(map + ZONES_AT);
	hits->entries = (struct rule_hits_entry *)(map + ENTRIES_AT);
	hits->names = (char(*)[RULE_HITS_NAME_MAX])(map + names_at);
}

/* --- making --------------------------------------------------------------------------------- */

/* A write to a page that a full file system cannot give kills, so it is taken before. */
static int take_room(struct rule_hits *hits, size_t at, size_t bytes)
{
	return hits->fd < 0 ? 0 : posix_fallocate(hits->fd, (off_t)at, (off_t)bytes);
}

bool rule_hits_grow(struct rule_hits *hits, uint32_t end)
{
	while (hits->allocated < end) {
		uint32_t n = RULE_HITS_SLOTS - hits->allocated;

		n = n < CHUNK ? n : CHUNK;
		if (take_room(hits, ENTRIES_AT + hits->allocated * sizeof(hits->entries[0]),
			    n * sizeof(hits->entries[0])) != 0 ||
			take_room(hits, names_at + (size_t)hits->allocated * RULE_HITS_NAME_MAX,
				(size_t)n * RULE_HITS_NAME_MAX) != 0)
			return false;
		hits->allocated += n;
	}
	return true;
}

static void *map_zeros(size_t bytes)
{
	void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return map == MAP_FAILED ? NULL : map;
}

/* Maps a new file at `path`.  Returns a negative errno if there can be none. */
static int map_new_file(struct rule_hits *hits, const char *path, char **map)
{
	*map = MAP_FAILED;
	unlink(path);
	hits->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (hits->fd < 0)
		return -errno;
	int error = ftruncate(hits->fd, (off_t)ledger_bytes) != 0 ? errno : 0;
	if (error == 0)
		error = take_room(hits, 0, ENTRIES_AT);
	if (error == 0)
		*map = mmap(NULL, ledger_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
			hits->fd, 0);
	if (error == 0 && *map == MAP_FAILED)
		error = errno;
	if (error == 0)
		return 0;
	close(hits->fd);
	unlink(path);
	hits->fd = -1;
	return -error;
}

static void begin_header(struct rule_hits *hits, const uint8_t boot_id[16])
{
	struct rule_hits_header *header = hits->header;

	memcpy(header->magic, ledger_magic, sizeof(header->magic));
	header->entry_bytes = sizeof(struct rule_hits_entry);
	header->n_slots = RULE_HITS_SLOTS;
	header->n_zones_max = RULE_HITS_ZONES;
	memcpy(header->boot_id, boot_id, sizeof(header->boot_id));
	header->checksum = header_checksum(header);
	atomic_store(&header->end, RULE_HITS_FIRST_RULE);
	for (uint32_t slot = 0; slot <= RULE_HITS_OTHER_PAIRS; slot++)
		atomic_store(&hits->entries[slot].key, 1);
}

/* The ledger of this process, in a file beside the place of the last one's, or in memory alone. */
static bool make_ledger(struct rule_hits *hits, const struct rule_hits_place *place,
	const char *path, struct rule_hits_report *report)
{
	char *map;
	bool wanted = place->run_directory != NULL;
	int error = wanted ? map_new_file(hits, path, &map) : -ENOENT;

	if (error == 0) {
		point_into(hits, map);
		if (!rule_hits_grow(hits, RULE_HITS_FIRST_RULE)) {
			error = -ENOSPC;
			munmap(map, ledger_bytes);
			close(hits->fd);
			unlink(path);
			hits->fd = -1;
			hits->allocated = 0;
		}
	}
	if (error != 0 && wanted)
		rule_hits_say(report,
			"%s: %s; should this process be killed, rule hits since "
			"the last snapshot are lost",
			path, strerror(-error));
	if (error != 0) {
		map = map_zeros(ledger_bytes);
		if (map == NULL)
			return false;
		point_into(hits, map);
		rule_hits_grow(hits, RULE_HITS_FIRST_RULE);
	}
	begin_header(hits, place->boot_id);
	return true;
}

/* --- reading the last one ------------------------------------------------------------------- */

void rule_hits_say(struct rule_hits_report *report, const char *format, ...)
{
	size_t length = strlen(report->why);
	va_list arguments;

	if (length != 0 && length + 2 < sizeof(report->why)) {
		memcpy(report->why + length, "; ", 3);
		length += 2;
	}
	va_start(arguments, format);
	vsnprintf(report->why + length, sizeof(report->why) - length, format, arguments);
	va_end(arguments);
}

static bool is_name(const char *name, size_t size)
{
	size_t length = strnlen(name, size);

	for (size_t i = 0; i < length; i++) {
		char c = name[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
			    c == '_' || c == '.' || c == '-'))
			return false;
	}
	return length != 0 && length < size;
}

bool rule_hits_is_rule_name(const char *name)
{
	const char *slash = memchr(name, '/', RULE_HITS_NAME_MAX);
	char policy[RULE_HITS_NAME_MAX] = "";

	if (slash == NULL)
		return false;
	memcpy(policy, name, (size_t)(slash - name));
	return is_name(policy, sizeof(policy)) &&
	       is_name(slash + 1, RULE_HITS_NAME_MAX - (size_t)(slash + 1 - name));
}

bool rule_hits_is_zone_name(const char *name)
{
	return is_name(name, RULE_HITS_ZONE_MAX);
}

/* What is wrong with a header, or NULL. */
static const char *judge_header(const struct rule_hits_header *header, const uint8_t boot_id[16])
{
	if (memcmp(header->magic, ledger_magic, sizeof(header->magic)) != 0)
		return "no ledger of rule hits, or of another version";
	if (header->checksum != header_checksum(header) ||
		header->entry_bytes != sizeof(struct rule_hits_entry) ||
		header->n_slots != RULE_HITS_SLOTS || header->n_zones_max != RULE_HITS_ZONES)
		return "its header is damaged";
	if (memcmp(header->boot_id, boot_id, 16) != 0)
		return ""; /* No fault: the snapshot knows what it knew. */
	if (header->end < RULE_HITS_FIRST_RULE || header->end > RULE_HITS_SLOTS ||
		header->n_zones > RULE_HITS_ZONES || header->n_rules > ZONE_RULES_MAX)
		return "its header is damaged";
	return NULL;
}

/* The slot in `hits` of a slot of the last ledger; RULE_HITS_SLOTS if that makes no sense. */
static uint32_t find_place(struct rule_hits *hits, const struct rule_hits *last, uint32_t slot)
{
	uint32_t key = atomic_load(&last->entries[slot].key) - 1;
	uint32_t from = key >> 16, to = key & 0xffff;

	if (slot < RULE_HITS_FIRST_PAIR)
		return slot <= RULE_HITS_OTHER_PAIRS ? slot : RULE_HITS_SLOTS;
	if (slot < RULE_HITS_FIRST_RULE) /* Zones are read in order, so that they keep theirs. */
		return from < atomic_load(&last->header->n_zones) &&
				       to < atomic_load(&last->header->n_zones)
			       ? rule_hits_pair_slot(hits, from, to)
			       : RULE_HITS_SLOTS;
	return rule_hits_is_rule_name(last->names[slot])
		       ? rule_hits_rule_slot(hits, last->names[slot], 0)
		       : RULE_HITS_SLOTS;
}

static void add_counts(struct rule_hits_counts *to, const struct rule_hits_counts *from)
{
	atomic_fetch_add(&to->packets, atomic_load(&from->packets));
	atomic_fetch_add(&to->bytes, atomic_load(&from->bytes));
	atomic_fetch_add(&to->connections, atomic_load(&from->connections));
}

static void copy_entry(struct rule_hits_entry *to, const struct rule_hits_entry *from)
{
	add_counts(&to->settled, &from->settled);
	add_counts(&to->total, &from->total);
	atomic_fetch_add(&to->taken_over, atomic_load(&from->taken_over));
	atomic_fetch_add(&to->refused, atomic_load(&from->refused));
	atomic_store(&to->first_ns, atomic_load(&from->first_ns));
	atomic_store(&to->last_ns, atomic_load(&from->last_ns));
	atomic_store(&to->last_seen, atomic_load(&from->last_seen));
	atomic_store(&to->since_ns, atomic_load(&from->since_ns));
	atomic_store(&to->number, atomic_load(&from->number));
}

/* Copies all that is in the last ledger.  False, with the reason said, if a part of it is damaged:
 * the rest is not to be trusted then. */
static bool copy_ledger(
	struct rule_hits *hits, const struct rule_hits *last, struct rule_hits_report *report)
{
	for (uint32_t i = 0; i < atomic_load(&last->header->n_zones); i++) {
		if (!rule_hits_is_zone_name(last->zones[i].name) ||
			rule_hits_zone_number(hits, last->zones[i].name) != i) {
			rule_hits_say(report, "%s was not used: zone %u is damaged",
				hits->ledger_path, i);
			return false;
		}
		atomic_store(&hits->zones[i].number, atomic_load(&last->zones[i].number));
	}
	for (uint32_t slot = 0; slot < atomic_load(&last->header->end); slot++) {
		if (atomic_load(&last->entries[slot].key) == 0)
			continue;
		uint32_t place = find_place(hits, last, slot);
		if (place == RULE_HITS_SLOTS) {
			rule_hits_say(report, "%s was not used: slot %u is damaged",
				hits->ledger_path, slot);
			return false;
		}
		copy_entry(&hits->entries[place], &last->entries[slot]);
		report->n_rules += slot >= RULE_HITS_FIRST_PAIR;
	}
	hits->header->table = last->header->table;
	atomic_store(&hits->header->n_rules, atomic_load(&last->header->n_rules));
	atomic_store(&hits->header->revision, atomic_load(&last->header->revision));
	return true;
}

/* Reads the ledger of the last process.  -ENOENT: there is none of this boot; -EUCLEAN: it is
 * damaged, which is said. */
static int read_ledger(
	struct rule_hits *hits, const uint8_t boot_id[16], struct rule_hits_report *report)
{
	struct rule_hits last = {.fd = -1};
	struct stat status;
	int fd = open(hits->ledger_path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return -ENOENT;
	if (fstat(fd, &status) != 0 || status.st_size != (off_t)ledger_bytes) {
		rule_hits_say(report, "%s was not used: its size is wrong", hits->ledger_path);
		close(fd);
		return -EUCLEAN;
	}
	char *map = mmap(NULL, ledger_bytes, PROT_READ, MAP_SHARED | MAP_NORESERVE, fd, 0);
	close(fd);
	if (map == MAP_FAILED) {
		rule_hits_say(report, "%s was not used: %s", hits->ledger_path, strerror(errno));
		return -EUCLEAN;
	}
	point_into(&last, map);
	const char *wrong = judge_header(last.header, boot_id);
	int result = 0;
	if (wrong != NULL && *wrong != '\0')
		rule_hits_say(report, "%s was not used: %s", hits->ledger_path, wrong);
	if (wrong != NULL)
		result = *wrong != '\0' ? -EUCLEAN : -ENOENT;
	else if (!copy_ledger(hits, &last, report))
		result = -EUCLEAN;
	munmap(map, ledger_bytes);
	return result;
}

/* --- opening -------------------------------------------------------------------------------- */

static char *path_in(const char *directory)
{
	char *path;

	return asprintf(&path, "%s/rule-hits", directory != NULL ? directory : "") < 0 ? NULL
										       : path;
}

static struct rule_hits *allocate(const struct rule_hits_place *place)
{
	struct rule_hits *hits = calloc(1, sizeof(*hits));

	if (hits == NULL)
		return NULL;
	hits->fd = -1;
	pthread_mutex_init(&hits->mutex, NULL);
	hits->touched = map_zeros(RULE_HITS_SLOTS / 8 + 8);
	hits->live = map_zeros(RULE_HITS_SLOTS / 8 + 8);
	hits->moved = map_zeros((size_t)RULE_HITS_SLOTS * sizeof(hits->moved[0]));
	hits->ledger_path = path_in(place->run_directory);
	hits->snapshot_path = path_in(place->state_directory);
	if (hits->touched != NULL && hits->live != NULL && hits->moved != NULL &&
		hits->ledger_path != NULL && hits->snapshot_path != NULL)
		return hits;
	rule_hits_close(hits);
	return NULL;
}

/* Puts everything back to what it was before a file was read in part. */
static void begin_anew(struct rule_hits *hits)
{
	uint32_t end = atomic_load(&hits->header->end);

	for (uint32_t slot = 0; slot < end; slot++) {
		memset(&hits->entries[slot], 0, sizeof(hits->entries[slot]));
		if (slot <= RULE_HITS_OTHER_PAIRS)
			atomic_store(&hits->entries[slot].key, 1);
	}
	name_table_free(&hits->by_name);
	name_table_free(&hits->zone_by_name);
	atomic_store(&hits->header->end, RULE_HITS_FIRST_RULE);
	atomic_store(&hits->header->n_zones, 0);
	atomic_store(&hits->header->revision, 0);
	hits->header->table = 0;
}

static void read_last(struct rule_hits *hits, const struct rule_hits_place *place,
	struct rule_hits_report *report)
{
	report->begun = RULE_HITS_CONTINUED;
	if (read_ledger(hits, place->boot_id, report) == 0)
		return;
	begin_anew(hits);
	report->n_rules = 0;
	report->begun = RULE_HITS_RESTORED;
	if (rule_hits_read_snapshot(hits, report) == 0)
		return;
	begin_anew(hits);
	report->n_rules = 0;
	report->begun = RULE_HITS_NEW;
}

struct rule_hits *rule_hits_open(
	const struct rule_hits_place *place, struct rule_hits_report *report)
{
	struct rule_hits *hits = allocate(place);
	char *path = NULL;

	*report = (struct rule_hits_report){.begun = RULE_HITS_NEW};
	if (hits == NULL)
		return NULL;
	if (asprintf(&path, "%s.new", hits->ledger_path) < 0 ||
		!make_ledger(hits, place, path, report)) {
		free(path);
		rule_hits_close(hits);
		return NULL;
	}
	if (place->run_directory != NULL)
		read_last(hits, place, report);
	rule_hits_recall_map(hits);
	for (uint32_t slot = 0; slot < atomic_load(&hits->header->end); slot++) {
		if (atomic_load(&hits->entries[slot].key) != 0)
			rule_hits_touch(hits, slot);
	}
	if (hits->fd >= 0 && rename(path, hits->ledger_path) != 0)
		rule_hits_say(report, "%s: %s", hits->ledger_path, strerror(errno));
	free(path);
	return hits;
}

void rule_hits_close(struct rule_hits *hits)
{
	if (hits == NULL)
		return;
	for (unsigned int i = 0; i < RULE_HITS_REVISIONS; i++) {
		rule_hits_free_map(atomic_load(&hits->maps[i]));
		rule_hits_free_map(hits->dropped[i]);
	}
	if (hits->header != NULL)
		munmap(hits->header, ledger_bytes);
	if (hits->touched != NULL)
		munmap(hits->touched, RULE_HITS_SLOTS / 8 + 8);
	if (hits->live != NULL)
		munmap(hits->live, RULE_HITS_SLOTS / 8 + 8);
	if (hits->moved != NULL)
		munmap(hits->moved, (size_t)RULE_HITS_SLOTS * sizeof(hits->moved[0]));
	if (hits->fd >= 0)
		close(hits->fd);
	name_table_free(&hits->by_name);
	name_table_free(&hits->zone_by_name);
	pthread_mutex_destroy(&hits->mutex);
	free(hits->free_slots);
	free(hits->ledger_path);
	free(hits->snapshot_path);
	free(hits);
}

/* --- the connection table ------------------------------------------------------------------- */

/* Tells tables apart: the hash of no key in particular, whose secret is drawn with the table. */
static uint32_t identity_of(const struct conn_table *table)
{
	const struct conn_key key = {.kind = CONN_KEY_IPV6};
	uint32_t identity = conn_hash(table, &key);

	return identity + !identity;
}

static void settle_totals(struct rule_hits *hits)
{
	for (uint32_t slot = 0; slot < atomic_load(&hits->header->end); slot++) {
		struct rule_hits_entry *entry = &hits->entries[slot];

		atomic_store(&entry->settled.packets, atomic_load(&entry->total.packets));
		atomic_store(&entry->settled.bytes, atomic_load(&entry->total.bytes));
		atomic_store(&entry->settled.connections, atomic_load(&entry->total.connections));
	}
}

void rule_hits_attach(
	struct rule_hits *hits, struct conn_table *table, const struct rule_hits_report *report)
{
	uint32_t identity = identity_of(table);

	if (hits->header->table != identity) {
		settle_totals(hits);
		if (report->begun != RULE_HITS_NEW)
			conn_for_each(table, 0, conn_high_water(table), rule_hits_take_off, hits);
	}
	hits->header->table = identity;
}
