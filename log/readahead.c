/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading ahead in one bucket file; see readahead.h.  Started and stopped by reader.c on the thread
 * of whoever asks; the rest runs on threads that last no longer than the question to one file.
 *
 * Each takes the next piece that nobody has taken, and what goes wrong ends it: the reader will
 * meet the same, and say so.
 */
#include "log/readahead.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "log/bucket.h"

/* As many reads at once as make a disk busy.  They take little else: they wait. */
enum { THREADS = 16, STACK_BYTES = 256 << 10 };

struct log_readahead {
	struct log_readahead_plan plan;
	_Atomic size_t next; /* The piece that nobody has taken. */
	_Atomic bool stop;
	pthread_t threads[THREADS];
	unsigned int n_threads;
};

/* One thread's connection. */
struct look_up {
	sqlite3 *db;
	sqlite3_stmt *postings, *record;
};

static int look_up_open(struct look_up *look_up, const char *path)
{
	char error[512];
	int rc = log_bucket_open_read(path, &look_up->db, error, sizeof(error));

	if (rc)
		return rc;
	rc = sqlite3_prepare_v2(look_up->db, log_posting_sql, -1, &look_up->postings, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_prepare_v2(look_up->db, "SELECT time FROM records WHERE sequence = ?",
			-1, &look_up->record, NULL);
	return rc;
}

static void look_up_close(struct look_up *look_up)
{
	sqlite3_finalize(look_up->postings);
	sqlite3_finalize(look_up->record);
	sqlite3_close(look_up->db);
}

/* False if it could not be read. */
static bool look_up_record(struct look_up *look_up, uint64_t sequence)
{
	int rc;

	sqlite3_bind_int64(look_up->record, 1, (int64_t)sequence);
	rc = sqlite3_step(look_up->record);
	sqlite3_reset(look_up->record);
	return rc == SQLITE_ROW || rc == SQLITE_DONE;
}

static bool look_up_piece(
	struct log_readahead *ahead, struct look_up *look_up, const struct log_piece *piece)
{
	const struct log_readahead_plan *plan = &ahead->plan;
	struct log_offsets candidates;
	bool all, ok = true;

	if (log_piece_candidates(piece, plan->conditions, look_up->postings, &candidates, &all) !=
		SQLITE_OK)
		return false;
	if (all) /* One after the other: the kernel reads ahead by itself. */
		return true;
	for (uint64_t offset = 0; offset < LOG_SEGMENT_SPAN && ok; offset++) {
		uint64_t sequence = piece->low + offset;

		if (atomic_load_explicit(&ahead->stop, memory_order_relaxed))
			return false;
		if (candidates.bits[offset / 64] >> offset % 64 & 1 && sequence >= plan->low &&
			sequence <= plan->high)
			ok = look_up_record(look_up, sequence);
	}
	return ok;
}

static void *read_ahead(void *ahead_)
{
	struct log_readahead *ahead = ahead_;
	const struct log_pieces *pieces = ahead->plan.pieces;
	struct look_up look_up = {.db = NULL};
	bool ok = look_up_open(&look_up, ahead->plan.path) == 0;

	while (ok && !atomic_load(&ahead->stop)) {
		size_t i = atomic_fetch_add(&ahead->next, 1);

		if (i >= pieces->n)
			break;
		if (pieces->at[i].low > ahead->plan.high || pieces->at[i].high < ahead->plan.low)
			continue;
		ok = log_bucket_execute(look_up.db, "BEGIN") == SQLITE_OK &&
		     look_up_piece(ahead, &look_up, &pieces->at[i]) &&
		     log_bucket_execute(look_up.db, "COMMIT") == SQLITE_OK;
	}
	look_up_close(&look_up);
	return NULL;
}

struct log_readahead *log_readahead_start(const struct log_readahead_plan *plan)
{
	struct log_readahead *ahead = calloc(1, sizeof(*ahead));
	pthread_attr_t attributes;

	if (!ahead)
		return NULL;
	ahead->plan = *plan;
	ahead->next = plan->from;
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	while (ahead->n_threads < THREADS &&
		!pthread_create(&ahead->threads[ahead->n_threads], &attributes, read_ahead, ahead))
		ahead->n_threads++;
	pthread_attr_destroy(&attributes);
	return ahead;
}

void log_readahead_stop(struct log_readahead *ahead)
{
	if (!ahead)
		return;
	atomic_store(&ahead->stop, true);
	for (unsigned int i = 0; i < ahead->n_threads; i++)
		pthread_join(ahead->threads[i], NULL);
	free(ahead);
}

uint64_t log_readahead_waited(void)
{
	struct rusage usage;

	return getrusage(RUSAGE_THREAD, &usage) ? 0 : (uint64_t)usage.ru_inblock;
}
