/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Queries over all files of a traffic log.  Called by `cordon log` and by tests, on their own
 * thread; files are opened read-only, and a writer in another process is not disturbed.
 *
 * Records come out oldest first, but "the newest N" and "after sequence S" are decided from the
 * newest file back.  So there are two passes where one of these is asked for: the first, newest
 * file first, notes which range of each file is wanted, and ends as soon as older files cannot have
 * any; the second gives out the records.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log/walk.h"

/* What is wanted of one file. */
struct slice {
	uint64_t low, high; /* Sequence numbers; low > high: nothing. */
};

struct query {
	const struct log_filter *filter;
	struct log_walk files;
	struct slice *slices; /* One for each file. */
	size_t first;	      /* Files before it are out of the question. */
	bool (*each)(const struct log_record *record, void *context);
	void *context;
};

static const struct slice nothing = {1, 0};

static struct log_reader *open_file(struct query *query, size_t i)
{
	size_t n_bad = query->files.n_bad;
	struct log_reader *reader = log_walk_read(&query->files, i, query->filter);

	if (query->files.n_bad > n_bad)
		query->slices[i] = nothing;
	return reader;
}

/* The first pass over one file.  *n counts down what is still wanted.  Returns false if no older
 * finished file can have anything. */
static bool plan_file(struct query *query, size_t i, size_t *n)
{
	uint64_t after = query->filter->after_sequence;
	struct log_reader *reader = open_file(query, i);
	char reason[512];
	size_t found = 0;
	bool more = true;

	if (!reader)
		return true;
	if (log_reader_newest(reader, *n, &found, &query->slices[i].low, &query->slices[i].high,
		    reason, sizeof(reason)))
		log_walk_note(&query->files, reason);
	if (!found)
		query->slices[i] = nothing;
	if (after && log_reader_last(reader) <= after)
		more = false;
	*n -= found;
	log_reader_close(reader);
	return more;
}

/* The first pass.  Files with a WAL are looked at in any case: one of them is under way, and after
 * the clock was set back that need not be the newest by name. */
static void plan(struct query *query)
{
	size_t n = query->filter->limit ? query->filter->limit : SIZE_MAX;
	bool more = true;

	for (size_t i = query->files.list.n; i-- > 0 && n;) {
		if (query->slices[i].low > query->slices[i].high)
			continue;
		if (more || query->files.list.at[i].has_wal)
			more = plan_file(query, i, &n) && more;
		else
			query->slices[i] = nothing;
		query->first = i;
	}
}

static bool give_record(const struct log_row *row, void *context)
{
	struct query *query = context;

	return query->each(&row->record, query->context);
}

static void run(struct query *query)
{
	bool stopped = false;

	for (size_t i = query->first; i < query->files.list.n && !stopped; i++) {
		const struct slice *slice = &query->slices[i];
		struct log_reader *reader;
		char reason[512];

		if (slice->low > slice->high)
			continue;
		reader = open_file(query, i);
		if (reader && log_reader_each(reader, slice->low, slice->high, give_record, query,
				      &stopped, reason, sizeof(reason)))
			log_walk_note(&query->files, reason);
		log_reader_close(reader);
	}
}

/* Which files are in question. */
static int choose(struct query *query)
{
	const struct log_filter *filter = query->filter;
	size_t n = query->files.list.n;

	query->slices = calloc(n + 1, sizeof(*query->slices));
	if (!query->slices)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		bool may = !query->files.list.at[i].damaged &&
			   log_walk_may_have(&query->files, i, filter->since_ns, filter->until_ns);

		query->slices[i] = may ? (struct slice){0, UINT64_MAX} : nothing;
	}
	return 0;
}

int log_query(const char *directory, const struct log_filter *filter,
	bool (*each)(const struct log_record *record, void *context), void *context, char *error,
	size_t error_size)
{
	struct query query = {.filter = filter, .each = each, .context = context};
	int rc = log_walk_open(&query.files, directory, error, error_size);

	if (rc)
		return rc;
	rc = choose(&query);
	if (rc) {
		snprintf(error, error_size, "no memory to read %s", directory);
	} else {
		if (filter->limit || filter->after_sequence)
			plan(&query);
		run(&query);
		rc = log_walk_result(&query.files);
	}
	free(query.slices);
	log_walk_close(&query.files);
	return rc;
}

/* The last record of file `i`, if it is higher than *sequence. */
static void look_at_last(struct log_walk *files, size_t i, uint64_t *sequence)
{
	char *path = log_bucket_path(files->directory, files->list.at[i].name, "");
	uint64_t last = 0, time_ns;
	char reason[512];
	sqlite3 *db = NULL;
	int rc = path ? log_bucket_open_read(path, &db, reason, sizeof(reason)) : -ENOENT;

	if (!rc) {
		rc = log_bucket_last(db, &last, &time_ns);
		if (rc)
			snprintf(reason, sizeof(reason), "%s: %s", path, sqlite3_errmsg(db));
		sqlite3_close(db);
	}
	if (rc && rc != -ENOENT)
		log_walk_note(files, reason);
	if (last > *sequence)
		*sequence = last;
	free(path);
}

int log_last_sequence(const char *directory, uint64_t *sequence, char *error, size_t error_size)
{
	struct log_walk files;
	int rc = log_walk_open(&files, directory, error, error_size);

	*sequence = 0;
	if (rc)
		return rc;
	/* The newest by name that has records, and any that may be under way. */
	for (size_t i = files.list.n; i-- > 0;)
		if (!files.list.at[i].damaged && (!*sequence || files.list.at[i].has_wal))
			look_at_last(&files, i, sequence);
	rc = log_walk_result(&files);
	log_walk_close(&files);
	return rc;
}
