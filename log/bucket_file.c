/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening and closing one file of the traffic log.  Called by the writer on its thread and by
 * queries on theirs; nothing is shared.
 */
#include "log/bucket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WRITER_WAITS_MS = 250, READER_WAITS_MS = 5000 };

/*
 * WAL, so that readers in other processes never wait for the writer nor it for them.
 *
 * synchronous=NORMAL: a commit is a write() and no fsync(); the file is synchronised at a
 * checkpoint, every `wal_autocheckpoint` pages.  When the process dies, what it wrote is the
 * kernel's and is kept, so a committed record cannot be lost that way.  When the machine dies, the
 * last seconds may be lost, but the file cannot be damaged; synchronous=OFF would risk the whole
 * file for a gain that does not show in the measured rate.
 */
static const char writer_sql[] = "PRAGMA page_size = 4096;"
				 "PRAGMA journal_mode = WAL;"
				 "PRAGMA synchronous = NORMAL;"
				 "PRAGMA wal_autocheckpoint = 4096;"
				 "PRAGMA cache_size = -8192;"
				 "PRAGMA temp_store = MEMORY;"
				 "PRAGMA trusted_schema = OFF;";

static const char reader_sql[] = "PRAGMA temp_store = MEMORY;"
				 "PRAGMA trusted_schema = OFF;";

int log_bucket_errno(sqlite3 *db, int rc)
{
	/* SQLite notes no reason for a COMMIT that fails: there it is still in errno. */
	int system = db && sqlite3_system_errno(db) ? sqlite3_system_errno(db) : errno;

	switch (rc & 0xff) {
	case SQLITE_OK:
	case SQLITE_DONE:
	case SQLITE_ROW: return 0;
	case SQLITE_FULL: return -ENOSPC;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB: return -EUCLEAN;
	case SQLITE_NOMEM: return -ENOMEM;
	case SQLITE_READONLY: return -EROFS;
	case SQLITE_BUSY:
	case SQLITE_LOCKED: return -EBUSY;
	case SQLITE_IOERR: return system ? -system : -EIO;
	case SQLITE_CANTOPEN: return system ? -system : -EACCES;
	case SQLITE_PERM:
	case SQLITE_AUTH: return -EACCES;
	case SQLITE_TOOBIG: return -EINVAL;
	default: return -EIO;
	}
}

int log_bucket_execute(sqlite3 *db, const char *sql)
{
	return sqlite3_exec(db, sql, NULL, NULL, NULL);
}

int64_t log_bucket_number(sqlite3 *db, const char *sql, int64_t otherwise)
{
	sqlite3_stmt *statement;
	int64_t number = otherwise;

	if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK)
		return otherwise;
	if (sqlite3_step(statement) == SQLITE_ROW &&
		sqlite3_column_type(statement, 0) == SQLITE_INTEGER)
		number = sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	return number;
}

/* The number of tables and views, or a negative errno if the file is no database. */
static int64_t count_tables(sqlite3 *db)
{
	sqlite3_stmt *statement = NULL;
	int64_t n = 0;
	int rc = sqlite3_prepare_v2(db,
		"SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name IN "
		"('bucket', 'names', 'strings', 'parties', 'contexts', 'records',"
		" 'segments', 'postings', 'slices')",
		-1, &statement, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_step(statement);
	if (rc == SQLITE_ROW)
		n = sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	return rc == SQLITE_ROW ? n : log_bucket_errno(db, rc);
}

int log_bucket_format(sqlite3 *db)
{
	return (int)log_bucket_number(db, "PRAGMA user_version", -1);
}

/* Looks whether the file is one of ours, of `oldest` format or a later one.  Returns 1 if so, 0 if
 * it is empty, or a negative errno. */
static int examine(sqlite3 *db, const char *path, int oldest, char *error, size_t size)
{
	int64_t n = count_tables(db);
	int64_t application = log_bucket_number(db, "PRAGMA application_id", -1);
	int format = log_bucket_format(db);

	if (n < 0) {
		snprintf(error, size, "%s: %s", path, sqlite3_errmsg(db));
		return (int)n;
	}
	if (!n && !application && !log_bucket_number(db, "SELECT count(*) FROM sqlite_schema", 1))
		return 0;
	if (application != LOG_BUCKET_APPLICATION) {
		snprintf(error, size, "%s is a database of something else", path);
		return -EUCLEAN;
	}
	if (format < oldest || format > LOG_BUCKET_FORMAT) {
		snprintf(error, size, "%s has format %d; this program writes format %d", path,
			format, LOG_BUCKET_FORMAT);
		return -EPROTO;
	}
	if (n == (format < LOG_BUCKET_FORMAT_INDEXED ? 6 : 9))
		return 1;
	snprintf(error, size, "%s lacks tables of a traffic log", path);
	return -EUCLEAN;
}

static int say(char *error, size_t size, const char *path, sqlite3 *db, int rc)
{
	int result = log_bucket_errno(db, rc);

	/* A reason of the system's says more than SQLite's "disk I/O error". */
	snprintf(error, size, "%s: %s", path,
		(rc & 0xff) == SQLITE_IOERR || (rc & 0xff) == SQLITE_CANTOPEN || !db
			? strerror(-result)
			: sqlite3_errmsg(db));
	return result;
}

/* Makes an empty file with our permissions, which SQLite gives to those beside it too.  What a file
 * of that name may have left beside it must not be taken for this one's. */
static int create(const char *directory, const char *name, const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0640);

	if (fd < 0)
		return errno == EEXIST ? 0 : -errno;
	close(fd);
	for (const char *const *suffix = (const char *const[]){"-wal", "-shm", "-journal", NULL};
		*suffix; suffix++) {
		char *beside = log_bucket_path(directory, name, *suffix);

		if (!beside)
			return -ENOMEM;
		unlink(beside);
		free(beside);
	}
	return 0;
}

static int prepare(
	sqlite3 *db, const struct log_bucket *bucket, const char *path, char *error, size_t size)
{
	int found, rc;

	sqlite3_busy_timeout(db, WRITER_WAITS_MS);
	found = examine(db, path, LOG_BUCKET_FORMAT, error, size);
	if (found < 0)
		return found;
	rc = log_bucket_execute(db, writer_sql);
	if (rc == SQLITE_OK && !found) {
		rc = log_bucket_execute(db, "BEGIN IMMEDIATE");
		if (rc == SQLITE_OK)
			rc = log_schema_create(db, bucket->start);
		if (rc == SQLITE_OK)
			rc = log_bucket_execute(db, "COMMIT");
	}
	return rc == SQLITE_OK ? 0 : say(error, size, path, db, rc);
}

int log_bucket_open(const char *directory, const struct log_bucket *bucket, sqlite3 **db,
	char *error, size_t size)
{
	char *path = log_bucket_path(directory, bucket->name, "");
	int result = path ? create(directory, bucket->name, path) : -ENOMEM;
	int rc;

	*db = NULL;
	if (result) {
		snprintf(error, size, "cannot create %s/%s: %s", directory, bucket->name,
			strerror(-result));
		free(path);
		return result;
	}
	rc = sqlite3_open_v2(path, db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
	result = rc == SQLITE_OK ? prepare(*db, bucket, path, error, size)
				 : say(error, size, path, *db, rc);
	if (result) {
		sqlite3_close(*db);
		*db = NULL;
	}
	free(path);
	return result;
}

/* One attempt.  *torn: a writer died while it finished the file. */
static int open_read(const char *path, sqlite3 **db, bool *torn, char *error, size_t size)
{
	int result,
		rc = sqlite3_open_v2(path, db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL);

	if (rc == SQLITE_OK) {
		sqlite3_busy_timeout(*db, READER_WAITS_MS);
		rc = log_bucket_execute(*db, reader_sql);
	}
	result = rc == SQLITE_OK ? examine(*db, path, LOG_BUCKET_FORMAT_OLDEST, error, size)
				 : say(error, size, path, *db, rc);
	*torn = result < 0 && sqlite3_extended_errcode(*db) == SQLITE_READONLY_ROLLBACK;
	if (result == 1)
		return 0;
	sqlite3_close(*db);
	*db = NULL;
	return result ? result : -ENOENT;
}

/* Lets SQLite undo what the writer had begun, which who only reads may not. */
static void mend(const char *path)
{
	sqlite3 *db;

	if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) ==
		SQLITE_OK) {
		sqlite3_busy_timeout(db, READER_WAITS_MS);
		log_bucket_execute(db, "SELECT count(*) FROM sqlite_schema");
	}
	sqlite3_close(db);
}

int log_bucket_open_read(const char *path, sqlite3 **db, char *error, size_t size)
{
	bool torn;
	int result;

	*db = NULL;
	if (access(path, F_OK))
		return -errno;
	result = open_read(path, db, &torn, error, size);
	if (torn) {
		mend(path);
		result = open_read(path, db, &torn, error, size);
	}
	if (torn)
		snprintf(error, size,
			"%s: the switch was killed while it finished this file, and will mend it "
			"when it runs; or ask as a user who may write there",
			path);
	return result;
}

int log_bucket_last(sqlite3 *db, uint64_t *sequence, uint64_t *time_ns)
{
	sqlite3_stmt *statement = NULL;
	int rc = sqlite3_prepare_v2(db,
		"SELECT sequence, (SELECT start_ns FROM bucket) + time FROM records"
		" ORDER BY sequence DESC LIMIT 1",
		-1, &statement, NULL);

	*sequence = *time_ns = 0;
	if (rc == SQLITE_OK)
		rc = sqlite3_step(statement);
	if (rc == SQLITE_ROW) {
		*sequence = (uint64_t)sqlite3_column_int64(statement, 0);
		*time_ns = (uint64_t)sqlite3_column_int64(statement, 1);
	}
	sqlite3_finalize(statement);
	return log_bucket_errno(db, rc);
}

void log_bucket_finish(sqlite3 *db)
{
	if (!db)
		return;
	/* No waiting here: records come in meanwhile. */
	sqlite3_busy_timeout(db, 0);
	if (log_bucket_execute(db, "PRAGMA wal_checkpoint(TRUNCATE)") == SQLITE_OK)
		log_bucket_execute(db, "PRAGMA journal_mode = DELETE");
	sqlite3_close(db);
}
