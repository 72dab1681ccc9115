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
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log/reader.h"

/* What is wanted of one file. */
struct slice {
	uint64_t low, high; /* Sequence numbers; low > high: nothing. */
};

struct query {
	const char *directory;
	const struct log_filter *filter;
	struct log_bucket_list files;
	struct slice *slices; /* One for each file. */
	size_t first;	      /* Files before it are out of the question. */
	size_t n_bad;
	char *error;
	size_t error_size;
};

/* True if the file's name says that none of its records can be within the span. */
static bool is_outside(const struct query *query, size_t i)
{
	const struct log_bucket *file = &query->files.at[i];
	uint64_t end = log_bucket_end(&query->files, i);

	if (query->filter->until_ns &&
		file->start * LOG_SECOND_NS > query->filter->until_ns + LOG_BUCKET_SLACK_NS)
		return true;
	return end != UINT64_MAX &&
	       end * LOG_SECOND_NS + LOG_BUCKET_SLACK_NS <= query->filter->since_ns;
}

/* Notes a file that cannot be read: the first one's reason is kept. */
static void note_bad(struct query *query, const char *reason)
{
	if (!query->n_bad++)
		snprintf(query->error, query->error_size, "%s", reason);
}

/* Opens file `i`.  NULL if it is gone (retention), empty, or bad, which is noted. */
static struct log_reader *open_file(struct query *query, size_t i)
{
	char *path = log_bucket_path(query->directory, query->files.at[i].name, "");
	struct log_reader *reader = NULL;
	char reason[512];
	int rc = -ENOMEM;

	if (path)
		rc = log_reader_open(path, query->filter, &reader, reason, sizeof(reason));
	else
		snprintf(reason, sizeof(reason), "no memory");
	if (rc && rc != -ENOENT) {
		note_bad(query, reason);
		query->slices[i] = (struct slice){1, 0};
	}
	free(path);
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
		note_bad(query, reason);
	if (!found)
		query->slices[i] = (struct slice){1, 0};
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

	for (size_t i = query->files.n; i-- > 0 && n;) {
		if (query->slices[i].low > query->slices[i].high)
			continue;
		if (more || query->files.at[i].has_wal)
			more = plan_file(query, i, &n) && more;
		else
			query->slices[i] = (struct slice){1, 0};
		query->first = i;
	}
}

static void run(struct query *query, bool (*each)(const struct log_record *record, void *context),
	void *context)
{
	bool stopped = false;

	for (size_t i = query->first; i < query->files.n && !stopped; i++) {
		const struct slice *slice = &query->slices[i];
		struct log_reader *reader;
		char reason[512];

		if (slice->low > slice->high)
			continue;
		reader = open_file(query, i);
		if (reader && log_reader_each(reader, slice->low, slice->high, each, context,
				      &stopped, reason, sizeof(reason)))
			note_bad(query, reason);
		log_reader_close(reader);
	}
}

static int verdict_of(struct query *query)
{
	char more[64];
	size_t length;

	if (!query->n_bad)
		return 0;
	length = strlen(query->error);
	snprintf(more, sizeof(more), " (and %zu more files)", query->n_bad - 1);
	if (query->n_bad > 1 && length < query->error_size)
		snprintf(query->error + length, query->error_size - length, "%s", more);
	return -EIO;
}

static int list_files(struct query *query)
{
	int rc = log_bucket_list_read(query->directory, &query->files);

	if (!rc) {
		query->slices = calloc(query->files.n + 1, sizeof(*query->slices));
		if (!query->slices)
			rc = -ENOMEM;
	}
	if (rc)
		snprintf(query->error, query->error_size, "cannot read the log directory %s: %s",
			query->directory, strerror(-rc));
	for (size_t i = 0; !rc && i < query->files.n; i++) {
		bool skip = query->files.at[i].damaged || is_outside(query, i);

		query->slices[i] = skip ? (struct slice){1, 0} : (struct slice){0, UINT64_MAX};
	}
	return rc;
}

int log_query(const char *directory, const struct log_filter *filter,
	bool (*each)(const struct log_record *record, void *context), void *context, char *error,
	size_t error_size)
{
	struct query query = {
		.directory = directory, .filter = filter, .error = error, .error_size = error_size};
	int rc = list_files(&query);

	if (!rc) {
		if (filter->limit || filter->after_sequence)
			plan(&query);
		run(&query, each, context);
		rc = verdict_of(&query);
	}
	free(query.slices);
	log_bucket_list_free(&query.files);
	return rc;
}

/* The last record of file `i`, if it is higher than *sequence. */
static void look_at_last(struct query *query, size_t i, uint64_t *sequence)
{
	char *path = log_bucket_path(query->directory, query->files.at[i].name, "");
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
		note_bad(query, reason);
	if (last > *sequence)
		*sequence = last;
	free(path);
}

int log_last_sequence(const char *directory, uint64_t *sequence, char *error, size_t error_size)
{
	const struct log_filter any = LOG_FILTER_ANY;
	struct query query = {
		.directory = directory, .filter = &any, .error = error, .error_size = error_size};
	int rc = list_files(&query);

	*sequence = 0;
	/* The newest by name that has records, and any that may be under way. */
	for (size_t i = query.files.n; !rc && i-- > 0;)
		if (!query.files.at[i].damaged && (!*sequence || query.files.at[i].has_wal))
			look_at_last(&query, i, sequence);
	if (!rc)
		rc = verdict_of(&query);
	free(query.slices);
	log_bucket_list_free(&query.files);
	return rc;
}
