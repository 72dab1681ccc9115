/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The snapshot of the rule hits: text, a line for each zone, rule and default pair.  Written by the
 * log thread, which may wait for the disk, now and then, and by the main thread at the end; read by
 * the main thread at the start, when there is no ledger.
 *
 *      cordon-rule-hits 1
 *      table 2882400001                the connection table, and the revision whose numbers follow
 *      revision 12 120000              its number, and that of its rules
 *      zone web 1
 *      rule shop/web-to-app 7 SINCE FIRST LAST PACKETS BYTES CONNECTIONS TAKEN-OVER REFUSED
 *      pair web->db 0 ...
 *      other quarantine 0 ...
 *      end 4                           the number of lines since the third
 *
 * A number that is 0 behind the name means that the revision does not have it.  Times are
 * nanoseconds since 1970.
 */
#include "datapath/rule_hits_private.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const other_names[] = {
	[RULE_HITS_QUARANTINE] = "quarantine",
	[RULE_HITS_UNJUDGED] = "unjudged",
	[RULE_HITS_OTHER] = "rules",
	[RULE_HITS_OTHER_PAIRS] = "pairs",
};

enum { N_NUMBERS = 9, LINE_MAX_BYTES = 512 };

/* --- writing -------------------------------------------------------------------------------- */

static void write_slot(const struct rule_hits *hits, uint32_t slot, FILE *file)
{
	char name[160];
	struct rule_hits_total total = rule_hits_read(hits, slot, name);
	const char *kind = slot < RULE_HITS_FIRST_PAIR ? "other" : total.is_pair ? "pair" : "rule";

	fprintf(file,
		"%s %s %u %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64
		" %" PRIu64 " %" PRIu64 "\n",
		kind, slot < RULE_HITS_FIRST_PAIR ? other_names[slot] : total.name,
		atomic_load(&hits->entries[slot].number), total.since_ns, total.first_ns,
		total.last_ns, total.packets, total.bytes, total.connections, total.taken_over,
		total.refused);
}

static void write_all(const struct rule_hits *hits, FILE *file)
{
	uint32_t n = 0, n_zones = atomic_load(&hits->header->n_zones);

	fprintf(file, "cordon-rule-hits 1\ntable %u\nrevision %u %u\n", hits->header->table,
		atomic_load(&hits->header->revision), atomic_load(&hits->header->n_rules));
	for (uint32_t i = 0; i < n_zones; i++, n++)
		fprintf(file, "zone %s %u\n", hits->zones[i].name,
			atomic_load(&hits->zones[i].number));
	for (uint32_t slot = 0; slot < atomic_load(&hits->header->end); slot++) {
		if (atomic_load(&hits->entries[slot].key) == 0)
			continue;
		write_slot(hits, slot, file);
		n++;
	}
	fprintf(file, "end %u\n", n);
}

/* The whole text; NULL: no memory.  The caller frees. */
static char *make_text(struct rule_hits *hits, size_t *length)
{
	char *text = NULL;
	FILE *file = open_memstream(&text, length);

	if (file == NULL)
		return NULL;
	pthread_mutex_lock(&hits->mutex);
	write_all(hits, file);
	pthread_mutex_unlock(&hits->mutex);
	if (fclose(file) == 0)
		return text;
	free(text);
	return NULL;
}

static int write_whole(int fd, const char *text, size_t length)
{
	while (length != 0) {
		ssize_t n = write(fd, text, length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		text += n;
		length -= (size_t)n;
	}
	return fsync(fd) != 0 ? -errno : 0;
}

int rule_hits_save(struct rule_hits *hits)
{
	size_t length = 0;
	char *path, *text = make_text(hits, &length);

	if (text == NULL)
		return -ENOMEM;
	if (asprintf(&path, "%s.new", hits->snapshot_path) < 0) {
		free(text);
		return -ENOMEM;
	}
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
	int error = fd < 0 ? -errno : write_whole(fd, text, length);
	if (fd >= 0 && close(fd) != 0 && error == 0)
		error = -errno;
	if (error == 0 && rename(path, hits->snapshot_path) != 0)
		error = -errno;
	if (error != 0)
		unlink(path);
	free(path);
	free(text);
	return error;
}

/* --- reading -------------------------------------------------------------------------------- */

/* Reads `n` decimal numbers, each behind one space, up to the end of the line. */
static bool read_numbers(const char *text, uint64_t *numbers, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char *end;

		if (text[0] != ' ' || text[1] < '0' || text[1] > '9')
			return false;
		errno = 0;
		numbers[i] = strtoull(text + 1, &end, 10);
		if (errno != 0 || numbers[i] > INT64_MAX)
			return false;
		text = end;
	}
	return *text == '\0';
}

/* The slot of a name, made if need be; RULE_HITS_SLOTS if it is none. */
static uint32_t place_of(struct rule_hits *hits, const char *kind, char *name)
{
	char *arrow = strstr(name, "->");

	if (!strcmp(kind, "rule"))
		return rule_hits_is_rule_name(name) ? rule_hits_rule_slot(hits, name, 0)
						    : RULE_HITS_SLOTS;
	if (!strcmp(kind, "other")) {
		for (uint32_t i = 0; i <= RULE_HITS_OTHER_PAIRS; i++)
			if (!strcmp(other_names[i], name))
				return i;
		return RULE_HITS_SLOTS;
	}
	if (strcmp(kind, "pair") != 0 || arrow == NULL)
		return RULE_HITS_SLOTS;
	*arrow = '\0';
	if (!rule_hits_is_zone_name(name) || !rule_hits_is_zone_name(arrow + 2))
		return RULE_HITS_SLOTS;
	return rule_hits_pair_slot(
		hits, rule_hits_zone_number(hits, name), rule_hits_zone_number(hits, arrow + 2));
}

static void set_counts(struct rule_hits_counts *counts, const uint64_t numbers[3])
{
	atomic_fetch_add(&counts->packets, (int64_t)numbers[0]);
	atomic_fetch_add(&counts->bytes, (int64_t)numbers[1]);
	atomic_fetch_add(&counts->connections, (int64_t)numbers[2]);
}

static bool read_slot(struct rule_hits *hits, const char *kind, char *name, const char *rest)
{
	uint64_t numbers[N_NUMBERS];

	if (!read_numbers(rest, numbers, N_NUMBERS) || numbers[0] > ZONE_RULES_MAX)
		return false;
	uint32_t slot = place_of(hits, kind, name);
	if (slot == RULE_HITS_SLOTS)
		return false;
	struct rule_hits_entry *entry = &hits->entries[slot];
	atomic_store(&entry->number, (uint32_t)numbers[0]);
	atomic_store(&entry->since_ns, numbers[1]);
	atomic_store(&entry->first_ns, numbers[2]);
	atomic_store(&entry->last_ns, numbers[3]);
	set_counts(&entry->settled, numbers + 4);
	set_counts(&entry->total, numbers + 4);
	atomic_fetch_add(&entry->taken_over, numbers[7]);
	atomic_fetch_add(&entry->refused, numbers[8]);
	return true;
}

static bool read_zone(struct rule_hits *hits, const char *name, const char *rest)
{
	uint64_t number;

	if (!rule_hits_is_zone_name(name) || !read_numbers(rest, &number, 1) || number > ZONES_MAX)
		return false;
	uint32_t zone = rule_hits_zone_number(hits, name);
	if (zone != RULE_HITS_NO_ZONE)
		atomic_store(&hits->zones[zone].number, (uint32_t)number);
	return true;
}

/* A line behind the head: "KIND NAME NUMBERS". */
static bool read_line(struct rule_hits *hits, char *line)
{
	char *name = strchr(line, ' '), *rest = name != NULL ? strchr(name + 1, ' ') : NULL;
	char word[RULE_HITS_NAME_MAX + 40];

	if (rest == NULL || (size_t)(rest - name) > sizeof(word))
		return false;
	*name++ = '\0';
	memcpy(word, name, (size_t)(rest - name));
	word[rest - name] = '\0';
	return !strcmp(line, "zone") ? read_zone(hits, word, rest)
				     : read_slot(hits, line, word, rest);
}

static bool read_text_line(FILE *file, char line[LINE_MAX_BYTES])
{
	if (fgets(line, LINE_MAX_BYTES, file) == NULL)
		return false;
	size_t length = strlen(line);
	if (length == 0 || line[length - 1] != '\n')
		return false;
	line[length - 1] = '\0';
	return true;
}

static bool read_head(struct rule_hits *hits, FILE *file, char line[LINE_MAX_BYTES])
{
	uint64_t table, revision[2];

	if (!read_text_line(file, line) || strcmp(line, "cordon-rule-hits 1") != 0 ||
		!read_text_line(file, line) || strncmp(line, "table", 5) != 0 ||
		!read_numbers(line + 5, &table, 1) || !read_text_line(file, line) ||
		strncmp(line, "revision", 8) != 0 || !read_numbers(line + 8, revision, 2) ||
		revision[0] > UINT32_MAX || revision[1] > ZONE_RULES_MAX)
		return false;
	/* The totals are of an earlier moment than the table's counters: what its connections have
	 * by now is taken as counted. */
	hits->header->table = 0;
	atomic_store(&hits->header->n_rules, (uint32_t)revision[1]);
	atomic_store(&hits->header->revision, (uint32_t)revision[0]);
	return true;
}

/* Returns the number of the line that makes no sense; 0 if all is well. */
static uint32_t read_all(struct rule_hits *hits, FILE *file, struct rule_hits_report *report)
{
	char line[LINE_MAX_BYTES];
	uint64_t n = 0, told;

	if (!read_head(hits, file, line))
		return 1;
	while (read_text_line(file, line)) {
		if (!strncmp(line, "end ", 4))
			return read_numbers(line + 3, &told, 1) && told == n && fgetc(file) == EOF
				       ? 0
				       : (uint32_t)n + 4;
		report->n_rules += !strncmp(line, "rule ", 5) || !strncmp(line, "pair ", 5);
		if (!read_line(hits, line))
			return (uint32_t)n + 4;
		n++;
	}
	return (uint32_t)n + 4;
}

static void set_aside(const struct rule_hits *hits)
{
	char *path;

	if (asprintf(&path, "%s.damaged", hits->snapshot_path) < 0)
		return;
	rename(hits->snapshot_path, path);
	free(path);
}

int rule_hits_read_snapshot(struct rule_hits *hits, struct rule_hits_report *report)
{
	FILE *file = fopen(hits->snapshot_path, "re");

	if (file == NULL && errno == ENOENT)
		return -ENOENT;
	if (file == NULL) {
		rule_hits_say(
			report, "%s cannot be read: %s", hits->snapshot_path, strerror(errno));
		return -errno;
	}
	uint32_t bad = read_all(hits, file, report);
	fclose(file);
	if (bad == 0)
		return 0;
	rule_hits_say(report,
		"%s was not used, and is now %s.damaged: line %u is not as it was written",
		hits->snapshot_path, hits->snapshot_path, bad);
	set_aside(hits);
	return -EUCLEAN;
}
