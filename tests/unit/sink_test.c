/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A sink's thread and queue, before a place that does as the test says: it is slow, gone, full, or
 * refuses what it is given.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "sinks/sink.h"
#include "zones/zone.h"

enum {
	NOTES_MAX = 200000,
	PATIENCE_MS = 20000,
	BATCH = LOG_BATCH_RECORDS,
	FLOOD = 300 *
		BATCH, /* Whole batches, so that no small one finds room behind a large one. */
};

/* A record as the place has it. */
struct note {
	uint64_t sequence, lost;
	uint8_t kind;
	char reason[16];
};

/* The place, and what it is to do.  One for each test; only its mutex makes it safe. */
static struct place {
	pthread_mutex_t mutex;
	bool gone;		/* open() fails. */
	bool full;		/* flush() fails. */
	bool stuck;		/* write() waits. */
	bool silent;		/* open() waits until the place is ending. */
	uint64_t refused;	/* This sequence number is refused... */
	uint64_t refused_until; /* ...and those up to this one. */
	uint64_t breaks_at;	/* write() fails once, at this one. */
	unsigned int opened, closed;
	size_t n_open, n_delivered; /* Notes since open(); those of them that were flushed. */
	struct note *notes;
	char directory[64];
} place;

static void lock(void)
{
	pthread_mutex_lock(&place.mutex);
}

static void unlock(void)
{
	pthread_mutex_unlock(&place.mutex);
}

static bool is_set(const bool *flag)
{
	lock();
	bool set = *flag;
	unlock();
	return set;
}

static int open_place(const struct sink_place *where, void **state, char *error, size_t error_size)
{
	while (is_set(&place.silent) && !sink_place_is_ending(where))
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	lock();
	int result = place.gone || place.silent ? -ENOENT : 0;

	if (result == 0) {
		place.opened++;
		place.n_open = place.n_delivered;
		sink_place_knows(where, 1000);
		*state = &place;
	} else {
		snprintf(error, error_size, "%s is gone",
			sink_setting_text(where->settings, "directory"));
	}
	unlock();
	return result;
}

static int take(const struct log_record *record)
{
	if (record->sequence >= place.refused && record->sequence <= place.refused_until &&
		record->kind != LOG_GAP)
		return -EINVAL;
	if (record->sequence == place.breaks_at) {
		place.breaks_at = 0;
		return -EIO;
	}
	if (place.n_open == NOTES_MAX)
		return -ENOSPC;
	struct note *note = &place.notes[place.n_open++];
	*note = (struct note){.sequence = record->sequence,
		.lost = record->packets_forward,
		.kind = record->kind};
	snprintf(note->reason, sizeof(note->reason), "%s", record->reason);
	return 0;
}

static int write_place(void *state, const struct log_record *record, char *error, size_t error_size)
{
	(void)state;
	for (;;) {
		lock();
		bool stuck = place.stuck;
		int result = stuck ? 0 : take(record);
		unlock();
		if (!stuck) {
			if (result != 0)
				snprintf(error, error_size, "write failed");
			return result;
		}
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
}

static int flush_place(void *state, uint64_t now_ns, char *error, size_t error_size)
{
	(void)state;
	assert_true(now_ns > 1000000000);
	lock();
	int result = place.full ? -ENOSPC : 0;
	if (result == 0)
		place.n_delivered = place.n_open;
	else
		snprintf(error, error_size, "no room");
	unlock();
	return result;
}

static void close_place(void *state)
{
	if (!state)
		return;
	lock();
	place.closed++;
	unlock();
}

static struct sink_type scripted = {
	.open = open_place, .write = write_place, .flush = flush_place, .close = close_place};

/* --- A sink and its records ------------------------------------------------------------------- */

static _Atomic uint64_t known_sequence, settled;
static const struct sink_context context = {.host = "here",
	.directory = "/nowhere",
	.known_sequence = &known_sequence,
	.gap_sequence = 7};

static int begin_place(void **state)
{
	(void)state;
	struct note *notes = calloc(NOTES_MAX, sizeof(*notes));

	place = (struct place){.notes = notes, .refused = 1};
	pthread_mutex_init(&place.mutex, NULL);
	scripted.kind = sink_kind_find("sqlite");
	atomic_store(&known_sequence, 0);
	atomic_store(&settled, 0);
	return notes ? 0 : -1;
}

static int end_place(void **state)
{
	(void)state;
	free(place.notes);
	return 0;
}

static struct sink *start(const char *filter, const char *backlog, uint64_t missing)
{
	const struct sink_setting at[] = {
		{"filter", filter}, {"backlog-bytes", backlog}, {"directory", "/the/place"}};
	const struct sink_settings settings = {.kind = scripted.kind, .n = 3, .at = at};
	char error[200];

	if (!sink_settings_check(&settings, error, sizeof(error)))
		fail_msg("%s", error);
	struct sink *sink = sink_start(&context, &scripted, "one", &settings, &settled, missing);
	assert_non_null(sink);
	return sink;
}

static struct log_record record_of(uint64_t sequence, enum log_kind kind)
{
	struct log_record record;

	log_record_gap(&record, "here", "why", kind == LOG_GAP ? 5 : 1);
	record.kind = (uint8_t)kind;
	record.sequence = sequence;
	record.time_ns = record.start_ns = sequence * 1000;
	record.verdict = kind == LOG_DENIED ? ZONE_DENY : ZONE_ALLOW;
	return record;
}

/* Hands it records `first` to `last`, in batches. */
static void push(struct sink *sink, uint64_t first, uint64_t last, enum log_kind kind)
{
	static struct log_batch_builder builder;

	for (uint64_t i = first; i <= last;) {
		struct log_record record = record_of(i, kind);
		bool added = log_batch_add(&builder, &record);

		i += added;
		if (added && i <= last)
			continue;
		struct log_batch *batch = log_batch_create(&builder);
		assert_non_null(batch);
		sink_push(sink, batch);
		log_batch_put(batch);
	}
}

static size_t delivered(void)
{
	lock();
	size_t n = place.n_delivered;
	unlock();
	return n;
}

static void wait_delivered(size_t n)
{
	for (unsigned int ms = 0; delivered() < n; ms++) {
		if (ms == PATIENCE_MS)
			fail_msg("%zu of %zu were delivered; %u opened", delivered(), n,
				place.opened);
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
	assert_int_equal(delivered(), n);
}

static struct sink_statistics statistics_of(struct sink *sink)
{
	struct sink_statistics statistics;

	sink_read_statistics(sink, &statistics);
	return statistics;
}

/* Waits until the sink has failed `n` times. */
static struct sink_statistics wait_failures(struct sink *sink, uint64_t n)
{
	struct sink_statistics statistics = statistics_of(sink);

	for (unsigned int ms = 0; statistics.failures < n; ms++) {
		assert_true(ms < PATIENCE_MS);
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
		statistics = statistics_of(sink);
	}
	return statistics;
}

static void end(struct sink *sink)
{
	sink_end(sink, 5000);
	sink_destroy(sink);
	assert_int_equal(place.opened, place.closed);
}

static void set(bool *what, bool value)
{
	lock();
	*what = value;
	unlock();
}

static unsigned int times_opened(void)
{
	lock();
	unsigned int n = place.opened;
	unlock();
	return n;
}

/* The sequence numbers delivered are these, in order. */
static void expect_sequence(size_t at, uint64_t first, uint64_t last)
{
	for (uint64_t i = first; i <= last; i++)
		assert_int_equal(place.notes[at + i - first].sequence, i);
}

static void expect_gap(size_t at, const char *reason, uint64_t sequence, uint64_t lost)
{
	assert_int_equal(place.notes[at].kind, LOG_GAP);
	assert_string_equal(place.notes[at].reason, reason);
	assert_int_equal(place.notes[at].sequence, sequence);
	assert_int_equal(place.notes[at].lost, lost);
}

/* --- Tests ------------------------------------------------------------------------------------ */

static void test_records_are_delivered_in_order(void **state)
{
	struct sink *sink = start("", "1048576", 0);

	(void)state;
	push(sink, 10, 1009, LOG_START);
	wait_delivered(1000);
	expect_sequence(0, 10, 1009);
	end(sink);
	assert_int_equal(atomic_load(&settled), 1000);
	assert_int_equal(atomic_load(&known_sequence), 1000);
}

static void test_filter(void **state)
{
	struct sink *sink = start("kind=denied", "1048576", 0);

	(void)state;
	push(sink, 1, 100, LOG_START);
	push(sink, 101, 110, LOG_DENIED);
	push(sink, 111, 111, LOG_GAP);
	wait_delivered(11);
	expect_sequence(0, 101, 110);
	expect_gap(10, "why", 111, 5);
	end(sink);
	assert_int_equal(atomic_load(&settled), 111);
}

static void test_place_that_comes_late(void **state)
{
	(void)state;
	place.gone = true;
	struct sink *sink = start("", "1048576", 0);
	push(sink, 1, 300, LOG_START);
	struct sink_statistics statistics = wait_failures(sink, 1);
	assert_string_equal(statistics.error, "/the/place is gone");
	assert_false(statistics.is_open);
	assert_int_equal(statistics.waiting, 300);
	set(&place.gone, false);
	wait_delivered(300);
	expect_sequence(0, 1, 300);
	end(sink);
	assert_int_equal(atomic_load(&settled), 300);
}

/* What was not flushed is written again; what was, is not. */
static void test_what_was_not_flushed_is_written_again(void **state)
{
	struct sink *sink = start("", "1048576", 0);

	(void)state;
	push(sink, 1, 50, LOG_START);
	wait_delivered(50);
	set(&place.full, true);
	push(sink, 51, 150, LOG_START);
	assert_string_equal(wait_failures(sink, 2).error, "no room");
	assert_int_equal(atomic_load(&settled), 50);
	set(&place.full, false);
	wait_delivered(150);
	expect_sequence(0, 1, 150);
	struct sink_statistics statistics = statistics_of(sink);
	assert_int_equal(statistics.delivered, 150);
	assert_int_equal(statistics.lost, 0);
	end(sink);
}

static void test_write_that_fails_in_the_middle(void **state)
{
	(void)state;
	place.breaks_at = 77;
	struct sink *sink = start("", "1048576", 0);
	push(sink, 1, 200, LOG_START);
	wait_delivered(200);
	expect_sequence(0, 1, 200);
	end(sink);
	assert_int_equal(place.opened, 2);
}

/* The gap stands where the records would have been, with the last one's number. */
static void test_backlog_that_is_full(void **state)
{
	(void)state;
	place.gone = true;
	struct sink *sink = start("", "1048576", 0);
	push(sink, 1, FLOOD, LOG_START);
	struct sink_statistics statistics = statistics_of(sink);
	assert_true(statistics.waiting_bytes <= 1048576);
	assert_int_equal(statistics.waiting - 1 + statistics.lost, FLOOD);
	assert_true(statistics.waiting > 500 && statistics.lost > 500);
	set(&place.gone, false);
	wait_delivered(statistics.waiting);
	expect_sequence(0, 1, statistics.waiting - 1);
	expect_gap(statistics.waiting - 1, "backlog-full", FLOOD, statistics.lost);
	push(sink, FLOOD + 1, FLOOD + 10, LOG_START);
	wait_delivered(statistics.waiting + 10);
	expect_sequence(statistics.waiting, FLOOD + 1, FLOOD + 10);
	end(sink);
	assert_int_equal(atomic_load(&settled), FLOOD + 10);
}

/* Only what the filter would have let through is lost. */
static void test_loss_is_counted_behind_the_filter(void **state)
{
	(void)state;
	place.gone = true;
	struct sink *sink = start("kind=denied", "1048576", 0);
	push(sink, 1, FLOOD, LOG_START);
	assert_int_equal(statistics_of(sink).lost, 0);
	push(sink, FLOOD + 1, FLOOD + BATCH, LOG_DENIED);
	push(sink, FLOOD + BATCH + 1, FLOOD + 2 * BATCH, LOG_GAP); /* Each tells of five. */
	assert_int_equal(statistics_of(sink).lost, 6 * BATCH);
	set(&place.gone, false);
	wait_delivered(1);
	expect_gap(0, "backlog-full", FLOOD + 2 * BATCH, 6 * BATCH);
	end(sink);
	assert_int_equal(atomic_load(&settled), FLOOD + 2 * BATCH);
}

static void test_refused_records_are_told(void **state)
{
	(void)state;
	place.refused = 20;
	place.refused_until = 29;
	struct sink *sink = start("", "1048576", 0);
	push(sink, 1, 100, LOG_START);
	wait_delivered(100);
	expect_sequence(0, 1, 100);
	for (unsigned int i = 20; i <= 29; i++)
		expect_gap(i - 1, "refused", i, 1);
	assert_int_equal(statistics_of(sink).lost, 10);
	assert_int_equal(statistics_of(sink).delivered, 90);
	end(sink);
	assert_int_equal(atomic_load(&settled), 100);
}

static void test_last_record_is_refused(void **state)
{
	(void)state;
	place.refused = place.refused_until = 100;
	struct sink *sink = start("", "1048576", 0);
	push(sink, 1, 100, LOG_START);
	wait_delivered(100);
	expect_gap(99, "refused", 100, 1);
	assert_int_equal(statistics_of(sink).lost, 1);
	end(sink);
}

static void test_what_the_last_process_lost_is_told_first(void **state)
{
	struct sink *sink = start("kind=denied", "1048576", 12);

	(void)state;
	push(sink, 8, 9, LOG_DENIED);
	wait_delivered(3);
	expect_gap(0, "process-ended", 7, 12);
	expect_sequence(1, 8, 9);
	assert_int_equal(statistics_of(sink).lost, 12);
	end(sink);
	assert_int_equal(atomic_load(&settled), 14);
}

/* Whoever ends does not wait for a place that is gone. */
static void test_end_without_a_place(void **state)
{
	(void)state;
	place.gone = true;
	struct sink *sink = start("", "1048576", 0);
	push(sink, 1, 10, LOG_START);
	wait_failures(sink, 1);
	end(sink);
	assert_int_equal(atomic_load(&settled), 0);
}

/* Whoever ends the sink does not wait for a place that does not answer. */
static void test_end_while_the_place_is_being_opened(void **state)
{
	(void)state;
	set(&place.silent, true);
	struct sink *sink = start("", "1048576", 0);
	push(sink, 1, 10, LOG_START);
	nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
	alarm(PATIENCE_MS / 1000);
	sink_end(sink, 600000);
	sink_destroy(sink);
	alarm(0);
	assert_int_equal(atomic_load(&settled), 0);
}

static void test_end_delivers_what_waits(void **state)
{
	(void)state;
	place.stuck = true;
	struct sink *sink = start("", "1048576", 0);
	push(sink, 1, 1000, LOG_START);
	sink_end(sink, 60000);
	assert_false(sink_has_ended(sink));
	set(&place.stuck, false);
	sink_destroy(sink);
	assert_int_equal(delivered(), 1000);
}

static void test_other_settings(void **state)
{
	const struct sink_setting at[] = {{"filter", "kind=denied"}};
	const struct sink_settings settings = {.kind = sink_kind_find("sqlite"), .n = 1, .at = at};
	struct sink *sink = start("", "1048576", 0);

	(void)state;
	push(sink, 1, 10, LOG_START);
	wait_delivered(10);
	sink_configure(sink, &settings);
	for (unsigned int ms = 0; times_opened() < 2; ms++) {
		assert_true(ms < PATIENCE_MS);
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
	push(sink, 11, 20, LOG_START);
	push(sink, 21, 30, LOG_DENIED);
	wait_delivered(20);
	expect_sequence(10, 21, 30);
	sink_configure(sink, &settings); /* The same: nothing is opened anew. */
	push(sink, 31, 40, LOG_DENIED);
	wait_delivered(30);
	end(sink);
	assert_int_equal(place.opened, 2);
}

int main(void)
{
#define WITH_A_PLACE(test) cmocka_unit_test_setup_teardown(test, begin_place, end_place)
	const struct CMUnitTest tests[] = {
		WITH_A_PLACE(test_records_are_delivered_in_order),
		WITH_A_PLACE(test_filter),
		WITH_A_PLACE(test_place_that_comes_late),
		WITH_A_PLACE(test_what_was_not_flushed_is_written_again),
		WITH_A_PLACE(test_write_that_fails_in_the_middle),
		WITH_A_PLACE(test_backlog_that_is_full),
		WITH_A_PLACE(test_loss_is_counted_behind_the_filter),
		WITH_A_PLACE(test_refused_records_are_told),
		WITH_A_PLACE(test_last_record_is_refused),
		WITH_A_PLACE(test_what_the_last_process_lost_is_told_first),
		WITH_A_PLACE(test_end_without_a_place),
		WITH_A_PLACE(test_end_while_the_place_is_being_opened),
		WITH_A_PLACE(test_end_delivers_what_waits),
		WITH_A_PLACE(test_other_settings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
