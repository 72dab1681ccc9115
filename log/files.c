/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What files a log consists of, and the first and last record of each.  Called by `cordon log` and
 * `cordon report` on their own thread.
 */
#include "log/files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log/bucket.h"

/* The first and the last record by number.  Their times are within LOG_BUCKET_SLACK_NS of the
 * oldest and the newest. */
static void read_ends(sqlite3 *db, struct log_file *file)
{
	uint64_t start = (uint64_t)log_bucket_number(db, "SELECT start_ns FROM bucket", 0);

	file->first_sequence =
		(uint64_t)log_bucket_number(db, "SELECT min(sequence) FROM records", 0);
	file->state = LOG_FILE_EMPTY;
	if (!file->first_sequence)
		return;
	file->state = LOG_FILE_GOOD;
	file->first_ns = start + (uint64_t)log_bucket_number(db,
					 "SELECT time FROM records ORDER BY sequence LIMIT 1", 0);
	if (log_bucket_last(db, &file->last_sequence, &file->last_ns))
		file->state = LOG_FILE_UNREADABLE;
	file->newest_ns = file->last_ns;
}

/* The newest time of what was written last: the transaction in which the clock was set back has
 * records of both times. */
static void read_newest(sqlite3 *db, struct log_file *file)
{
	uint64_t start = (uint64_t)log_bucket_number(db, "SELECT start_ns FROM bucket", 0);
	int64_t time = log_bucket_number(db,
		"SELECT max(time) FROM (SELECT time FROM records ORDER BY sequence DESC"
		" LIMIT 100000)",
		INT64_MIN);

	if (time != INT64_MIN && start + (uint64_t)time > file->newest_ns)
		file->newest_ns = start + (uint64_t)time;
}

static int look_into(const char *directory, struct log_file *file,
	void (*read)(sqlite3 *db, struct log_file *file))
{
	char *path = log_bucket_path(directory, file->name, "");
	char reason[256];
	sqlite3 *db;
	int rc;

	if (!path)
		return -ENOMEM;
	rc = log_bucket_open_read(path, &db, reason, sizeof(reason));
	free(path);
	if (rc == -ENOENT || rc == -ENOMEM)
		return rc == -ENOENT ? 0 : rc;
	if (rc) {
		file->state = LOG_FILE_UNREADABLE;
		return 0;
	}
	read(db, file);
	sqlite3_close(db);
	return 0;
}

static int add_file(const char *directory, const struct log_bucket *bucket, struct log_files *files)
{
	struct log_file *file = &files->at[files->n];

	*file = (struct log_file){
		.name = strdup(bucket->name),
		.state = bucket->damaged ? LOG_FILE_SET_ASIDE : LOG_FILE_EMPTY,
		.bucket_ns = bucket->start * LOG_SECOND_NS,
	};
	if (!file->name)
		return -ENOMEM;
	files->n++;
	return bucket->damaged ? 0 : look_into(directory, file, read_ends);
}

static int compare(const void *left, const void *right)
{
	const struct log_file *a = left, *b = right;

	if (a->first_sequence != b->first_sequence)
		return a->first_sequence < b->first_sequence ? -1 : 1;
	return strcmp(a->name, b->name);
}

/* Looks closer at files after which no later one was begun. */
static void look_for_steps(const char *directory, struct log_files *files)
{
	for (size_t i = 0; i + 1 < files->n; i++) {
		struct log_file *file = &files->at[i];

		if (file->state == LOG_FILE_GOOD && files->at[i + 1].bucket_ns <= file->bucket_ns)
			look_into(directory, file, read_newest);
	}
}

int log_files_read(const char *directory, struct log_files *files, char *error, size_t error_size)
{
	struct log_bucket_list list = {0};
	int rc;

	*files = (struct log_files){0};
	rc = log_bucket_list_read(directory, &list);
	if (!rc && list.n) {
		files->at = calloc(list.n, sizeof(*files->at));
		rc = files->at ? 0 : -ENOMEM;
	}
	for (size_t i = 0; !rc && i < list.n; i++)
		rc = add_file(directory, &list.at[i], files);
	if (!rc && !list.n)
		rc = -ENOENT;
	log_bucket_list_free(&list);
	if (rc) {
		snprintf(error, error_size, "%s: %s", directory, strerror(-rc));
		return rc;
	}
	qsort(files->at, files->n, sizeof(*files->at), compare);
	look_for_steps(directory, files);
	return 0;
}

void log_files_free(struct log_files *files)
{
	for (size_t i = 0; i < files->n; i++)
		free((char *)files->at[i].name);
	free(files->at);
	*files = (struct log_files){0};
}

void log_files_reach(const struct log_files *files, uint64_t *first_ns, uint64_t *last_ns)
{
	*first_ns = *last_ns = 0;
	for (size_t i = 0; i < files->n; i++) {
		const struct log_file *file = &files->at[i];

		if (file->state != LOG_FILE_GOOD)
			continue;
		if (!*first_ns || file->first_ns < *first_ns)
			*first_ns = file->first_ns;
		if (file->newest_ns > *last_ns)
			*last_ns = file->newest_ns;
	}
}
