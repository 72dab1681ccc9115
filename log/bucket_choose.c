/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which file the writer of the traffic log writes to.  Called by store.c on the log thread,
 * when it opens the log and when a bucket turns.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "log/bucket.h"

enum {
	OPEN_ATTEMPTS = 100,  /* Files that are passed over before giving up. */
	RECENT_FILES = 3,     /* Where the highest sequence number is looked for... */
	RECENT_SECONDS = 600, /* ...and in those written to this long before the last one. */
};

uint64_t log_bucket_span_end(unsigned int bucket_seconds, uint64_t time_ns)
{
	uint64_t now = time_ns / LOG_SECOND_NS;

	return now - now % bucket_seconds + bucket_seconds;
}

/* The bucket that `now` (seconds) falls in: that of a file which began since the span's round
 * start, if there is one (it may be of another `bucket_seconds`), and its last part. */
static int choose(
	const char *directory, unsigned int bucket_seconds, uint64_t now, struct log_bucket *bucket)
{
	struct log_bucket_list list;
	int rc = log_bucket_list_read(directory, &list);

	memset(bucket, 0, sizeof(*bucket));
	bucket->start = now - now % bucket_seconds;
	bucket->part = 1;
	for (size_t i = 0; !rc && i < list.n; i++) {
		const struct log_bucket *file = &list.at[i];

		if (!file->damaged && file->start >= bucket->start && file->start <= now)
			*bucket = *file;
	}
	log_bucket_name(bucket->start, bucket->part, bucket->name);
	log_bucket_list_free(&list);
	return rc;
}

/* Looks whether the open file may have records of `time_ns` added.  Returns 1 if so, 0 if it is to
 * be left as it is, or a negative errno. */
static int may_append(const char *directory, const struct log_bucket *bucket, sqlite3 *db,
	uint64_t time_ns, uint64_t max_bytes)
{
	uint64_t sequence, last_ns;
	int rc = log_bucket_last(db, &sequence, &last_ns);

	if (rc)
		return rc;
	return last_ns <= time_ns + LOG_BUCKET_SLACK_NS &&
	       log_bucket_bytes(directory, bucket->name) < max_bytes;
}

static void next_part(struct log_bucket *bucket)
{
	bucket->part++;
	log_bucket_name(bucket->start, bucket->part, bucket->name);
}

/* One attempt to open the file that `*bucket` names.  Returns as may_append(). */
static int try_part(const char *directory, const struct log_bucket *bucket, uint64_t time_ns,
	uint64_t max_bytes, sqlite3 **db, char *error, size_t size)
{
	int rc = log_bucket_open(directory, bucket, db, error, size);

	if (rc)
		return rc == -EPROTO ? 0 : rc;
	rc = may_append(directory, bucket, *db, time_ns, max_bytes);
	if (rc < 0) {
		snprintf(error, size, "%s/%s: %s", directory, bucket->name, sqlite3_errmsg(*db));
		sqlite3_close(*db);
	} else if (!rc) {
		log_bucket_finish(*db);
	}
	return rc;
}

int log_bucket_open_for_time(const char *directory, unsigned int bucket_seconds, uint64_t max_bytes,
	uint64_t time_ns, struct log_bucket *bucket, sqlite3 **db, char *error, size_t size)
{
	int rc = choose(directory, bucket_seconds, time_ns / LOG_SECOND_NS, bucket);

	if (rc) {
		snprintf(error, size, "cannot read the log directory %s: %s", directory,
			strerror(-rc));
		return rc;
	}
	for (int attempt = 0; attempt < OPEN_ATTEMPTS; attempt++) {
		rc = try_part(directory, bucket, time_ns, max_bytes, db, error, size);
		if (rc == 1)
			return 0;
		if (!rc)
			next_part(bucket);
		else if (rc != -EUCLEAN || log_bucket_set_aside(directory, bucket->name))
			return rc;
	}
	snprintf(error, size, "%s: none of the files of this time can be written to", directory);
	return -EUCLEAN;
}

/* --- Where the numbers go on --------------------------------------------------------------------
 */

/* When a file was last written to; 0 if it is set aside, or gone. */
static int64_t modified(const char *directory, const struct log_bucket *file)
{
	char *path = log_bucket_path(directory, file->name, "");
	struct stat status;
	bool there = path && !file->damaged && !stat(path, &status);

	free(path);
	return there ? (int64_t)status.st_mtime : 0;
}

/* The highest number in a file; 0 if it cannot be read, which the readers will say. */
static uint64_t last_sequence(const char *directory, const struct log_bucket *file)
{
	char *path = log_bucket_path(directory, file->name, "");
	uint64_t sequence = 0, time_ns;
	char ignored[256];
	sqlite3 *db;

	if (path && !file->damaged && !log_bucket_open_read(path, &db, ignored, sizeof(ignored))) {
		log_bucket_last(db, &sequence, &time_ns);
		sqlite3_close(db);
	}
	free(path);
	return sequence;
}

int log_bucket_find_last(const char *directory, uint64_t *sequence)
{
	struct log_bucket_list list;
	int rc = log_bucket_list_read(directory, &list);
	int64_t newest = 0;

	*sequence = 0;
	for (size_t i = 0; !rc && i < list.n; i++)
		if (modified(directory, &list.at[i]) > newest)
			newest = modified(directory, &list.at[i]);
	for (size_t i = 0; !rc && i < list.n; i++) {
		bool recent = i + RECENT_FILES >= list.n ||
			      modified(directory, &list.at[i]) + RECENT_SECONDS >= newest;
		uint64_t last = recent ? last_sequence(directory, &list.at[i]) : 0;

		if (last > *sequence)
			*sequence = last;
	}
	log_bucket_list_free(&list);
	return rc;
}
