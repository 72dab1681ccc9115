/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One file of the traffic log, and the directory that they lie in.  Used by the parts of the log
 * store only; store.h is what others call.
 *
 * A file's name says when its bucket began.  Its records are of the time from there to the next
 * bucket's start, give or take LOG_BUCKET_SLACK_NS: a record that was under way while the bucket
 * turned may lie on either side.  The same bound holds for the order of times within one file.  A
 * clock set back further than that makes the writer begin another file ("part") of the bucket.
 *
 * The file under way is in SQLite's WAL mode.  When the writer is done with it, it is turned back
 * into one plain file ("finished"): it can then be read from a read-only medium, copied with cp,
 * and has no -wal beside it.
 */
#ifndef LOG_BUCKET_H
#define LOG_BUCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sqlite3.h>

/* In every file's header, so that a file of something else is known by it. */
enum { LOG_BUCKET_APPLICATION = 0x436f7264 };

/* What is written; older formats are read.  Format 1 has nothing of simulated policies, and format
 * 2 neither index nor sums. */
enum {
	LOG_BUCKET_FORMAT = 3,
	LOG_BUCKET_FORMAT_OLDEST = 1,
	LOG_BUCKET_FORMAT_SIMULATED = 2,
	LOG_BUCKET_FORMAT_INDEXED = 3,
};

#define LOG_BUCKET_SLACK_NS (300 * 1000000000ull)
#define LOG_BUCKET_NAME_MAX 64
#define LOG_SECOND_NS	    1000000000ull

struct log_bucket {
	uint64_t start;	   /* Seconds since 1970. */
	unsigned int part; /* From 1. */
	bool damaged;	   /* Set aside: only retention looks at it. */
	/* Under way, or left so by a crash, or held by a reader.  A rollback journal counts too: it
	 * is left by a crash while the file was finished. */
	bool has_wal;
	char name[LOG_BUCKET_NAME_MAX]; /* The file's, without the directory. */
};

/* The files of a directory, oldest first. */
struct log_bucket_list {
	struct log_bucket *at;
	size_t n;
};

/* "DIRECTORY/NAME" and a suffix; the caller frees.  NULL if there is no memory. */
char *log_bucket_path(const char *directory, const char *name, const char *suffix);

/* The name of a bucket's file. */
void log_bucket_name(uint64_t start, unsigned int part, char name[LOG_BUCKET_NAME_MAX]);

/* Reads the directory.  Returns 0 or a negative errno.  Names that are not ours are passed over. */
int log_bucket_list_read(const char *directory, struct log_bucket_list *list);
void log_bucket_list_free(struct log_bucket_list *list);

/* The start of the first later bucket, which is where bucket `i` ends; UINT64_MAX for the last. */
uint64_t log_bucket_end(const struct log_bucket_list *list, size_t i);

/* The space that a file and what SQLite has put beside it take on the disk. */
uint64_t log_bucket_bytes(const char *directory, const char *name);

/* Deletes the file, with what SQLite may have put beside it.  Returns 0 or a negative errno. */
int log_bucket_delete(const char *directory, const char *name);

/* Deletes files other than `keep` (a name, or NULL) that ended before `oldest` (seconds), and then
 * the oldest until all together have at most `max_bytes`.  Returns 0 or a negative errno, with the
 * file that could not be deleted named in error[]. */
int log_bucket_retain(const char *directory, const char *keep, uint64_t oldest, uint64_t max_bytes,
	char *error, size_t error_size);

/* --- bucket_file.c -------------------------------------------------------------------------
 */

/* Opens a file for writing, made with its schema if it is not there or empty, in WAL mode.  Returns
 * 0; -EUCLEAN: damaged, or not a log of ours; -EPROTO: of another format; or another negative
 * errno, with the reason in error[]. */
int log_bucket_open(const char *directory, const struct log_bucket *bucket, sqlite3 **db,
	char *error, size_t size);

/* Opens for reading.  Returns 0, -ENOENT (also for a file that has nothing in it yet), or as above.
 */
int log_bucket_open_read(const char *path, sqlite3 **db, char *error, size_t size);

/* The highest sequence number in a file and the time of its record; both 0 if it has none. */
int log_bucket_last(sqlite3 *db, uint64_t *sequence, uint64_t *time_ns);

/* Makes one plain file of it and closes.  If a reader holds it, it is closed as it is, to be
 * finished another time. */
void log_bucket_finish(sqlite3 *db);

/* Renames a damaged file, and what lies beside it, to NAME.damaged.  Returns 0 or a negative errno.
 */
int log_bucket_set_aside(const char *directory, const char *name);

/* What SQLite's result `rc` is as a negative errno. */
int log_bucket_errno(sqlite3 *db, int rc);

/* The format of an open file. */
int log_bucket_format(sqlite3 *db);

/* Runs SQL without results.  Returns SQLite's result. */
int log_bucket_execute(sqlite3 *db, const char *sql);

/* The first column of the first row as a number; `otherwise` if there is no row or an error. */
int64_t log_bucket_number(sqlite3 *db, const char *sql, int64_t otherwise);

/* --- bucket_choose.c ------------------------------------------------------------------------
 */

/* Opens the file for records of `time_ns`, with log_bucket_open(): the last one of that time's
 * span, or the next part of it.  A damaged file is set aside; one of another format, of `max_bytes`
 * or more, or with records of a much later time is left as it is.  *bucket tells which it is. */
int log_bucket_open_for_time(const char *directory, unsigned int bucket_seconds, uint64_t max_bytes,
	uint64_t time_ns, struct log_bucket *bucket, sqlite3 **db, char *error, size_t size);

/* Where the span that `time_ns` falls in ends, in seconds. */
uint64_t log_bucket_span_end(unsigned int bucket_seconds, uint64_t time_ns);

/* The highest sequence number of all files: it is in the newest by name, or, should the clock have
 * been set back, in one that was written to last.  Returns 0 or a negative errno. */
int log_bucket_find_last(const char *directory, uint64_t *sequence);

/* --- schema.c -------------------------------------------------------------------------------
 */

/* The tables and the view `traffic` of an empty file.  Returns SQLite's result. */
int log_schema_create(sqlite3 *db, uint64_t start);

#endif
