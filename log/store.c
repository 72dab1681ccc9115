/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writer of the traffic log's SQLite files: which file is under way, its transactions, what
 * happens when one fails, and retention.  Called by the log thread of cordon-switchd, alone.
 *
 * One transaction lies between two calls of log_store_commit().  When anything fails in it, all of
 * it is lost: it is rolled back at once, further records are refused until log_store_commit() has
 * told the caller how many that were, and the next record begins anew, with a new attempt at the
 * file.  So a full disk costs records, but needs nobody's hand when it has space again.
 */
#include "log/store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log/writer.h"

#define RETENTION_BYTES_DEFAULT (10ull << 30)
#define SHARE_BYTES_MIN		(1ull << 20)
enum {
	BUCKET_SECONDS_DEFAULT = 3600,
	RETENTION_DAYS_DEFAULT = 30,
	SHARES = 16, /* The largest part of the total size that one file may take. */
	MAINTENANCE_SECONDS = 60,
};

struct log_store {
	char *directory;
	unsigned int bucket_seconds;
	uint64_t retention_seconds, retention_bytes, share_bytes;
	bool filtered;
	int lock; /* A file on which the one writer has a flock. */

	struct log_writer writer;
	struct log_bucket bucket; /* Of the file under way. */
	uint64_t end;		  /* Where that bucket ends, in seconds. */
	struct stat identity;	  /* Of its file. */
	sqlite3_stmt *begin, *commit;

	bool in_transaction, damaged;
	int failed; /* Negative errno of the transaction that failed; until the next commit. */
	size_t n_written;			  /* Records of this transaction. */
	uint64_t last_sequence, written_sequence; /* Committed; accepted. */
	uint64_t now_ns;			  /* Of the last commit. */
	uint64_t maintained_ns;
	char error[512];
};

/* --- Files ---------------------------------------------------------------------------------- */

/* Completes index and sums.  Without space for them the file goes without, which is slower to ask.
 */
static void complete_bucket(struct log_writer *writer)
{
	if (!writer->db || log_bucket_execute(writer->db, "BEGIN") != SQLITE_OK)
		return;
	if (log_writer_finish(writer) == SQLITE_OK)
		log_bucket_execute(writer->db, "COMMIT");
	if (!sqlite3_get_autocommit(writer->db))
		log_bucket_execute(writer->db, "ROLLBACK");
	log_writer_forget(writer);
}

/* Lets go of the file under way.  `finish`: it is whole, and nothing more will be written to it. */
static void close_bucket(struct log_store *store, bool finish)
{
	sqlite3 *db;

	if (finish)
		complete_bucket(&store->writer);
	sqlite3_finalize(store->begin);
	sqlite3_finalize(store->commit);
	store->begin = store->commit = NULL;
	db = log_writer_detach(&store->writer);
	if (finish)
		log_bucket_finish(db);
	else
		sqlite3_close(db);
}

static int take_bucket(struct log_store *store, const struct log_bucket *bucket, sqlite3 *db)
{
	char *path = log_bucket_path(store->directory, bucket->name, "");
	int rc = log_writer_attach(&store->writer, db);

	if (rc == SQLITE_OK)
		rc = sqlite3_prepare_v3(
			db, "BEGIN", -1, SQLITE_PREPARE_PERSISTENT, &store->begin, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_prepare_v3(
			db, "COMMIT", -1, SQLITE_PREPARE_PERSISTENT, &store->commit, NULL);
	if (rc == SQLITE_OK && store->filtered)
		rc = log_bucket_execute(db, "UPDATE bucket SET filtered = 1 WHERE NOT filtered");
	if (!path || stat(path, &store->identity))
		rc = SQLITE_CANTOPEN;
	free(path);
	store->bucket = *bucket;
	return rc;
}

static int open_bucket(struct log_store *store, uint64_t time_ns)
{
	struct log_bucket bucket;
	sqlite3 *db;
	int rc;

	/* Somebody may have removed it; then so be it, and it is made again. */
	mkdir(store->directory, 0750);
	rc = log_bucket_open_for_time(store->directory, store->bucket_seconds, store->share_bytes,
		time_ns, &bucket, &db, store->error, sizeof(store->error));
	if (rc)
		return rc;
	store->end = log_bucket_span_end(store->bucket_seconds, time_ns);
	rc = take_bucket(store, &bucket, db);
	if (rc == SQLITE_OK)
		return 0;
	snprintf(store->error, sizeof(store->error), "%s/%s: %s", store->directory, bucket.name,
		sqlite3_errmsg(db));
	rc = log_bucket_errno(db, rc);
	if (store->writer.db)
		close_bucket(store, false);
	else
		sqlite3_close(db);
	if (rc == -EUCLEAN)
		log_bucket_set_aside(store->directory, bucket.name);
	return rc;
}

/* --- Transactions --------------------------------------------------------------------------- */

/* Gives the transaction up.  `rc` is SQLite's, or 0 if store->error already says what is wrong. */
static int fail(struct log_store *store, int rc, int error)
{
	sqlite3 *db = store->writer.db;

	if (rc) {
		error = log_bucket_errno(db, rc);
		snprintf(store->error, sizeof(store->error), "%s/%s: %s", store->directory,
			store->bucket.name,
			(rc & 0xff) == SQLITE_IOERR	   ? strerror(-error)
			: sqlite3_errcode(db) == SQLITE_OK ? sqlite3_errstr(rc)
							   : sqlite3_errmsg(db));
	}
	if (db && !sqlite3_get_autocommit(db))
		log_bucket_execute(db, "ROLLBACK");
	log_writer_forget(&store->writer);
	store->in_transaction = false;
	store->damaged = db && error == -EUCLEAN;
	store->failed = error;
	return error;
}

static int step(sqlite3_stmt *statement)
{
	errno = 0;
	sqlite3_step(statement);
	return sqlite3_reset(statement);
}

static int begin(struct log_store *store, const struct log_record *record)
{
	/* Whichever clock is ahead: a record may be some seconds old. */
	uint64_t time_ns = record->time_ns > store->now_ns ? record->time_ns : store->now_ns;
	int rc;

	if (store->writer.db && time_ns / LOG_SECOND_NS >= store->end)
		close_bucket(store, true);
	if (!store->writer.db) {
		rc = open_bucket(store, time_ns);
		if (rc)
			return fail(store, 0, rc);
	}
	rc = step(store->begin);
	if (rc != SQLITE_OK)
		return fail(store, rc, 0);
	store->in_transaction = true;
	return 0;
}

static int refuse(struct log_store *store, const struct log_record *record)
{
	snprintf(store->error, sizeof(store->error),
		"record %" PRIu64 " does not follow record %" PRIu64, record->sequence,
		store->written_sequence);
	return -EINVAL;
}

int log_store_write(struct log_store *store, const struct log_record *record)
{
	int rc;

	if (store->failed)
		return store->failed;
	if (record->sequence <= store->written_sequence || record->sequence > INT64_MAX)
		return refuse(store, record);
	if (!store->in_transaction && (rc = begin(store, record)))
		return rc;
	rc = log_writer_add(&store->writer, record);
	if (rc != SQLITE_OK)
		return fail(store, rc, 0);
	store->written_sequence = record->sequence;
	store->n_written++;
	return 0;
}

/* Ends the transaction, if there is one.  Returns 0 or why its n_written records are lost. */
static int end_transaction(struct log_store *store)
{
	int rc;

	if (store->in_transaction) {
		rc = step(store->commit);
		if (rc != SQLITE_OK)
			fail(store, rc, 0);
		store->in_transaction = false;
	}
	rc = store->failed;
	store->failed = 0;
	/* What is lost may be written again. */
	if (rc)
		store->written_sequence = store->last_sequence;
	else if (store->n_written)
		store->last_sequence = store->written_sequence;
	return rc;
}

/* --- What is due now and then --------------------------------------------------------------- */

/* True if the file under way is not the place for the next record. */
static bool is_over(const struct log_store *store, uint64_t now_ns)
{
	char *path = log_bucket_path(store->directory, store->bucket.name, "");
	char *wal_path = log_bucket_path(store->directory, store->bucket.name, "-wal");
	struct stat file, wal = {0};
	bool gone = !path || stat(path, &file) || file.st_ino != store->identity.st_ino ||
		    file.st_dev != store->identity.st_dev;
	bool full = !gone && (!wal_path || stat(wal_path, &wal) ||
				     (uint64_t)(file.st_size + wal.st_size) >= store->share_bytes);
	bool set_back = now_ns + LOG_BUCKET_SLACK_NS < store->now_ns ||
			now_ns + LOG_BUCKET_SLACK_NS < store->bucket.start * LOG_SECOND_NS;

	free(path);
	free(wal_path);
	return gone || full || set_back || now_ns / LOG_SECOND_NS >= store->end;
}

/* Finishes a file that is not under way but has a WAL: a crash, or a reader, has left it so. */
static void finish_leftover(struct log_store *store, const struct log_bucket *bucket)
{
	char ignored[256];
	sqlite3 *db;
	int rc = log_bucket_open(store->directory, bucket, &db, ignored, sizeof(ignored));

	if (!rc) {
		log_writer_complete(db);
		log_bucket_finish(db);
	} else if (rc == -EUCLEAN)
		log_bucket_set_aside(store->directory, bucket->name);
}

static void finish_leftovers(struct log_store *store)
{
	const char *current = store->writer.db ? store->bucket.name : "";
	struct log_bucket_list list;

	if (log_bucket_list_read(store->directory, &list))
		return;
	for (size_t i = 0; i < list.n; i++)
		if (list.at[i].has_wal && !list.at[i].damaged && strcmp(list.at[i].name, current))
			finish_leftover(store, &list.at[i]);
	log_bucket_list_free(&list);
}

/* Retention keeps one file's share free, so that the total is not passed before its next turn. */
static void retain(struct log_store *store, uint64_t now_ns, char *error, size_t error_size)
{
	uint64_t now = now_ns / LOG_SECOND_NS;
	uint64_t oldest = now > store->retention_seconds ? now - store->retention_seconds : 0;
	uint64_t max_bytes = store->retention_bytes > store->share_bytes
				     ? store->retention_bytes - store->share_bytes
				     : store->share_bytes;

	log_bucket_retain(store->directory, store->writer.db ? store->bucket.name : NULL, oldest,
		max_bytes, error, error_size);
}

static void maintain(struct log_store *store, uint64_t now_ns, char *error, size_t error_size)
{
	uint64_t since = now_ns - store->maintained_ns;
	bool turn = store->writer.db && is_over(store, now_ns);

	if (turn)
		close_bucket(store, true);
	if (!turn && since < MAINTENANCE_SECONDS * LOG_SECOND_NS)
		return;
	store->maintained_ns = now_ns;
	finish_leftovers(store);
	retain(store, now_ns, error, error_size);
}

int log_store_commit(struct log_store *store, uint64_t now_ns, size_t *n_lost)
{
	int rc = end_transaction(store);
	char note[sizeof(store->error)] = "";

	*n_lost = rc ? store->n_written : 0;
	store->n_written = 0;
	if (store->damaged) {
		close_bucket(store, false);
		log_bucket_set_aside(store->directory, store->bucket.name);
	}
	store->damaged = false;
	maintain(store, now_ns, note, sizeof(note));
	if (!rc && *note)
		strcpy(store->error, note);
	store->now_ns = now_ns;
	return rc;
}

/* --- Opening and closing -------------------------------------------------------------------- */

static int complain(
	const struct log_store *store, int error, const char *what, char *text, size_t size)
{
	snprintf(text, size, "cannot %s the log directory %s: %s", what, store->directory,
		strerror(-error));
	return error;
}

/* Makes the directory and takes the writer's lock, which also shows that files can be made. */
static int take_directory(struct log_store *store, char *error, size_t error_size)
{
	char *path = log_bucket_path(store->directory, "writer.lock", "");

	if (!path)
		return -ENOMEM;
	if (mkdir(store->directory, 0750) && errno != EEXIST) {
		free(path);
		return complain(store, -errno, "make", error, error_size);
	}
	store->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
	free(path);
	if (store->lock < 0)
		return complain(store, -errno, "write to", error, error_size);
	if (flock(store->lock, LOCK_EX | LOCK_NB)) {
		if (errno != EWOULDBLOCK)
			return complain(store, -errno, "lock", error, error_size);
		snprintf(error, error_size, "another process writes the log in %s; stop it first",
			store->directory);
		return -EBUSY;
	}
	return 0;
}

static struct log_store *create(const struct log_store_options *options)
{
	struct log_store *store = calloc(1, sizeof(*store));

	if (!store)
		return NULL;
	log_writer_init(&store->writer);
	store->lock = -1;
	store->directory = strdup(options->directory);
	store->bucket_seconds =
		options->bucket_seconds ? options->bucket_seconds : BUCKET_SECONDS_DEFAULT;
	store->retention_seconds = 86400ull * (options->retention_days ? options->retention_days
								       : RETENTION_DAYS_DEFAULT);
	store->filtered = options->filtered;
	store->retention_bytes =
		options->retention_bytes ? options->retention_bytes : RETENTION_BYTES_DEFAULT;
	store->share_bytes = store->retention_bytes / SHARES;
	if (store->share_bytes < SHARE_BYTES_MIN)
		store->share_bytes = SHARE_BYTES_MIN;
	return store;
}

static void destroy(struct log_store *store)
{
	log_writer_free(&store->writer);
	if (store->lock >= 0)
		close(store->lock);
	free(store->directory);
	free(store);
}

int log_store_open(const struct log_store_options *options, struct log_store **store, char *error,
	size_t error_size)
{
	struct log_store *new = create(options);
	int rc;

	*store = NULL;
	if (!new || !new->directory) {
		if (new)
			destroy(new);
		snprintf(error, error_size, "no memory for the log store");
		return -ENOMEM;
	}
	rc = take_directory(new, error, error_size);
	if (!rc) {
		finish_leftovers(new);
		rc = log_bucket_find_last(new->directory, &new->last_sequence);
		new->written_sequence = new->last_sequence;
		if (rc)
			complain(new, rc, "read", error, error_size);
	}
	if (rc) {
		destroy(new);
		return rc;
	}
	*store = new;
	return 0;
}

uint64_t log_store_last_sequence(const struct log_store *store)
{
	return store->last_sequence;
}

const char *log_store_error(const struct log_store *store)
{
	return store->error;
}

void log_store_close(struct log_store *store)
{
	if (!store)
		return;
	end_transaction(store);
	close_bucket(store, true);
	destroy(store);
}
