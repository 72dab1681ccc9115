/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is missing in a log: gap records, and holes in the sequence that none explains.  Called by
 * `cordon log`, `cordon report` and tests, on their own thread.
 *
 * The index knows which segments have all of their numbers, and where the gap records are, so only
 * what is not indexed or not whole is gone through.  After the clock was set back, files are not in
 * the order of their making; so runs of numbers are collected from all files, and sorted.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log/condition.h"
#include "log/walk.h"
#include "log/flows.h"

/* Numbers without a hole, or in a file where holes are no loss. */
struct run {
	uint64_t first, last;	    /* Sequence numbers. */
	uint64_t first_ns, last_ns; /* Times of these two records. */
	bool filtered;
};

struct told {
	struct log_gap gap; /* Of a gap record; its strings are the list's own. */
	char *strings;
};

struct gaps {
	uint64_t since_ns, until_ns;
	struct run *runs;
	size_t n_runs, runs_allocated;
	struct told *told;
	size_t n_told, told_allocated;
	bool out_of_memory;
	/* Of the file being read. */
	struct log_reader *reader;
	sqlite3_stmt *time, *before;
};

/* Room for one more of a list's elements. */
static bool grow(void **at, size_t n, size_t *allocated, size_t size)
{
	size_t wanted = *allocated ? *allocated * 2 : 64;
	void *larger;

	if (n < *allocated)
		return true;
	larger = realloc(*at, wanted * size);
	if (!larger)
		return false;
	*at = larger;
	*allocated = wanted;
	return true;
}

/* --- Runs ----------------------------------------------------------------------------------- */

/* The time of record `sequence`, or of the one before it; 0 if there is none. */
static uint64_t time_at(struct gaps *gaps, sqlite3_stmt *statement, uint64_t sequence)
{
	uint64_t time_ns = 0;

	sqlite3_bind_int64(statement, 1, (int64_t)sequence);
	if (sqlite3_step(statement) == SQLITE_ROW)
		time_ns = log_reader_start_ns(gaps->reader) +
			  (uint64_t)sqlite3_column_int64(statement, 0);
	sqlite3_reset(statement);
	return time_ns;
}

/* Adds numbers of the file being read, ascending: to its last run, or as another one. */
static bool add_run(struct gaps *gaps, const struct run *run, size_t first_of_file)
{
	struct run *last = gaps->n_runs > first_of_file ? &gaps->runs[gaps->n_runs - 1] : NULL;

	if (last && last->last + 1 == run->first) {
		last->last = run->last;
		last->last_ns = run->last_ns;
		return true;
	}
	if (!grow((void **)&gaps->runs, gaps->n_runs, &gaps->runs_allocated, sizeof(*run)))
		return false;
	gaps->runs[gaps->n_runs++] = *run;
	return true;
}

/* A piece that has to be gone through. */
static int scan_piece(struct gaps *gaps, const struct log_piece *piece, size_t first_of_file)
{
	uint64_t start_ns = log_reader_start_ns(gaps->reader);
	sqlite3_stmt *statement;
	bool fits = true;
	int rc = sqlite3_prepare_v2(log_reader_db(gaps->reader),
		"SELECT sequence, time FROM records WHERE sequence BETWEEN ? AND ?"
		" ORDER BY sequence",
		-1, &statement, NULL);

	if (rc != SQLITE_OK)
		return rc;
	sqlite3_bind_int64(statement, 1, (int64_t)piece->low);
	sqlite3_bind_int64(statement, 2, (int64_t)piece->high);
	while (fits && (rc = sqlite3_step(statement)) == SQLITE_ROW) {
		uint64_t sequence = (uint64_t)sqlite3_column_int64(statement, 0);
		uint64_t time_ns = start_ns + (uint64_t)sqlite3_column_int64(statement, 1);

		fits = add_run(gaps, &(struct run){sequence, sequence, time_ns, time_ns, false},
			first_of_file);
	}
	sqlite3_finalize(statement);
	return fits ? rc : SQLITE_NOMEM;
}

static int add_piece(struct gaps *gaps, const struct log_piece *piece, size_t first_of_file)
{
	struct run run = {.first = piece->low, .last = piece->high};

	if (!piece->number || piece->n_records != piece->high - piece->low + 1)
		return scan_piece(gaps, piece, first_of_file);
	run.first_ns = time_at(gaps, gaps->time, run.first);
	run.last_ns = time_at(gaps, gaps->time, run.last);
	return add_run(gaps, &run, first_of_file) ? SQLITE_OK : SQLITE_NOMEM;
}

/* A file that a filter keeps records out of is one run. */
static int add_filtered(struct gaps *gaps, int64_t first, int64_t last)
{
	struct run run = {.first = (uint64_t)first,
		.last = (uint64_t)last,
		.first_ns = time_at(gaps, gaps->time, (uint64_t)first),
		.last_ns = time_at(gaps, gaps->time, (uint64_t)last),
		.filtered = true};

	return add_run(gaps, &run, gaps->n_runs) ? SQLITE_OK : SQLITE_NOMEM;
}

static int add_runs(struct gaps *gaps)
{
	sqlite3 *db = log_reader_db(gaps->reader);
	int64_t first = log_bucket_number(db, "SELECT min(sequence) FROM records", 1);
	int64_t last = (int64_t)log_reader_last(gaps->reader);
	struct log_pieces pieces = {0};
	size_t first_of_file = gaps->n_runs;
	int rc;

	if (first > last)
		return SQLITE_OK;
	if (log_bucket_format(db) >= LOG_BUCKET_FORMAT_INDEXED &&
		log_bucket_number(db, "SELECT filtered FROM bucket", 0))
		return add_filtered(gaps, first, last);
	rc = log_pieces_find(db, first, last, INT64_MIN, INT64_MAX, &pieces);
	for (size_t i = 0; i < pieces.n && (rc == SQLITE_OK || rc == SQLITE_DONE); i++)
		rc = add_piece(gaps, &pieces.at[i], first_of_file);
	log_pieces_free(&pieces);
	return rc;
}

/* --- Gap records ------------------------------------------------------------------------------ */

static bool add_told(const struct log_row *row, void *context)
{
	struct gaps *gaps = context;
	const struct log_record *record = &row->record;
	struct told *told;

	if (!grow((void **)&gaps->told, gaps->n_told, &gaps->told_allocated, sizeof(*told)))
		return false;
	told = &gaps->told[gaps->n_told];
	if (asprintf(&told->strings, "%s%c%s", record->reason, 0, record->host) < 0)
		return false;
	told->gap = (struct log_gap){
		.from_ns = time_at(gaps, gaps->before, record->sequence),
		.until_ns = record->time_ns,
		.sequence = record->sequence,
		.lost = record->packets_forward,
		.reason = told->strings,
		.host = told->strings + strlen(record->reason) + 1,
		.recorded = true,
	};
	gaps->n_told++;
	return true;
}

/* --- Files ------------------------------------------------------------------------------------ */

static int read_file(struct gaps *gaps, char *error, size_t error_size)
{
	sqlite3 *db = log_reader_db(gaps->reader);
	bool stopped = false;
	int rc = sqlite3_prepare_v2(
		db, "SELECT time FROM records WHERE sequence = ?", -1, &gaps->time, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_prepare_v2(db,
			"SELECT time FROM records WHERE sequence < ? ORDER BY sequence DESC"
			" LIMIT 1",
			-1, &gaps->before, NULL);
	if (rc == SQLITE_OK)
		rc = add_runs(gaps);
	rc = log_reader_complain(gaps->reader, rc, error, error_size);
	if (!rc)
		rc = log_reader_each(
			gaps->reader, 0, UINT64_MAX, add_told, gaps, &stopped, error, error_size);
	gaps->out_of_memory |= rc == -ENOMEM || stopped;
	sqlite3_finalize(gaps->time);
	sqlite3_finalize(gaps->before);
	gaps->time = gaps->before = NULL;
	return rc;
}

/* A file of the span, or the one before it, which has the record before the span's first. */
static bool is_of_span(const struct gaps *gaps, const struct log_walk *files, size_t i)
{
	return log_walk_may_have(files, i, gaps->since_ns, gaps->until_ns) ||
	       (i + 1 < files->list.n &&
		       log_walk_may_have(files, i + 1, gaps->since_ns, gaps->until_ns));
}

/* Reads the files of the span, or all others. */
static void read_files(struct gaps *gaps, struct log_walk *files, bool of_span)
{
	struct log_filter filter = LOG_FILTER_ANY;

	filter.kind = LOG_GAP;
	filter.since_ns = gaps->since_ns;
	filter.until_ns = gaps->until_ns;
	for (size_t i = 0; i < files->list.n; i++) {
		char reason[512];

		if (is_of_span(gaps, files, i) != of_span)
			continue;
		gaps->reader = log_walk_read(files, i, &filter);
		if (gaps->reader && read_file(gaps, reason, sizeof(reason)))
			log_walk_note(files, reason);
		log_reader_close(gaps->reader);
	}
}

/* --- Giving out ------------------------------------------------------------------------------- */

static int compare_runs(const void *left, const void *right)
{
	const struct run *a = left, *b = right;

	return (a->first > b->first) - (a->first < b->first);
}

static int compare_told(const void *left, const void *right)
{
	const struct told *a = left, *b = right;

	return (a->gap.sequence > b->gap.sequence) - (a->gap.sequence < b->gap.sequence);
}

/* The hole before run `i`, if it is one. */
static bool find_hole(const struct gaps *gaps, size_t i, struct log_gap *hole)
{
	const struct run *before = i ? &gaps->runs[i - 1] : NULL, *after = &gaps->runs[i];

	if (!before || after->filtered || after->first <= before->last + 1)
		return false;
	*hole = (struct log_gap){
		.from_ns = before->last_ns,
		.until_ns = after->first_ns,
		.sequence = after->first,
		.lost = after->first - before->last - 1,
		.missing = after->first - before->last - 1,
		.reason = "",
		.host = "",
	};
	return true;
}

static bool is_within(const struct gaps *gaps, const struct log_gap *gap)
{
	return gap->until_ns >= gaps->since_ns &&
	       (!gaps->until_ns || gap->until_ns <= gaps->until_ns);
}

/* Makes one of runs that have numbers in common; they are sorted. */
static void merge_runs(struct gaps *gaps)
{
	size_t n = 0;

	for (size_t i = 0; i < gaps->n_runs; i++) {
		struct run *before = n ? &gaps->runs[n - 1] : NULL, *run = &gaps->runs[i];

		if (!before || run->first > before->last) {
			gaps->runs[n++] = *run;
		} else if (run->last > before->last) {
			before->last = run->last;
			before->last_ns = run->last_ns;
		}
	}
	gaps->n_runs = n;
}

static void sort(struct gaps *gaps)
{
	if (gaps->n_runs)
		qsort(gaps->runs, gaps->n_runs, sizeof(gaps->runs[0]), compare_runs);
	merge_runs(gaps);
	if (gaps->n_told)
		qsort(gaps->told, gaps->n_told, sizeof(gaps->told[0]), compare_told);
}

/* True if numbers are missing in the span, and no gap record tells of as many. */
static bool has_unexplained(const struct gaps *gaps)
{
	struct log_gap hole;

	for (size_t i = 0; i < gaps->n_runs; i++) {
		struct told key = {0}, *told = NULL;

		if (!find_hole(gaps, i, &hole) || !is_within(gaps, &hole))
			continue;
		key.gap.sequence = hole.sequence;
		if (gaps->n_told)
			told = bsearch(&key, gaps->told, gaps->n_told, sizeof(*told), compare_told);
		if (!told || told->gap.lost < hole.missing)
			return true;
	}
	return false;
}

/* After the clock was set back, the numbers that a span lacks may be in a file of another one. */
static int read_all(struct gaps *gaps, struct log_walk *files)
{
	read_files(gaps, files, true);
	sort(gaps);
	if (has_unexplained(gaps)) {
		read_files(gaps, files, false);
		sort(gaps);
	}
	return log_walk_result(files);
}

static void give_out(
	struct gaps *gaps, bool (*each)(const struct log_gap *gap, void *context), void *context)
{
	bool more = true;
	size_t told = 0;

	for (size_t i = 0; i < gaps->n_runs && more; i++) {
		struct log_gap hole;
		bool is_hole = find_hole(gaps, i, &hole);

		for (; told < gaps->n_told && more &&
			gaps->told[told].gap.sequence < gaps->runs[i].first;
			told++)
			more = each(&gaps->told[told].gap, context);
		if (!is_hole || !more)
			continue;
		if (told < gaps->n_told && gaps->told[told].gap.sequence == hole.sequence) {
			gaps->told[told].gap.missing = hole.missing;
			gaps->told[told].gap.from_ns = hole.from_ns;
		} else if (is_within(gaps, &hole)) {
			more = each(&hole, context);
		}
	}
	for (; told < gaps->n_told && more; told++)
		more = each(&gaps->told[told].gap, context);
}

static void free_gaps(struct gaps *gaps)
{
	for (size_t i = 0; i < gaps->n_told; i++)
		free(gaps->told[i].strings);
	free(gaps->told);
	free(gaps->runs);
}

int log_gaps(const char *directory, uint64_t since_ns, uint64_t until_ns,
	bool (*each)(const struct log_gap *gap, void *context), void *context, char *error,
	size_t error_size)
{
	struct gaps gaps = {.since_ns = since_ns, .until_ns = until_ns};
	struct log_walk files;
	int rc = log_walk_open(&files, directory, error, error_size);

	if (rc)
		return rc;
	rc = read_all(&gaps, &files);
	if (gaps.out_of_memory) {
		snprintf(error, error_size, "no memory for so many gaps");
		rc = -ENOMEM;
	} else {
		give_out(&gaps, each, context);
	}
	free_gaps(&gaps);
	log_walk_close(&files);
	return rc;
}
