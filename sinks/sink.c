/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A sink's thread and queue: see sink.h.
 */
#include "sinks/sink.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "log/match.h"

#define SECOND_NS INT64_C(1000000000)

enum {
	FLUSH_RECORDS = 20000, /* Written between two deliveries, at most. */
	FLUSH_MS = 1000,       /* Between two deliveries, if nothing comes. */
	RETRY_MS = 500,	       /* Before the place is opened anew, the first time... */
	RETRY_MAX_MS = 30000,  /* ...and after many. */
};

/* Records that are lost, to be told in their place. */
struct loss {
	const char *reason;
	uint64_t records;  /* Those that the filter lets through. */
	uint64_t events;   /* The switch's events that they came from. */
	uint64_t sequence; /* Of the last of them. */
	uint64_t time_ns;  /* Likewise. */
};

/* One element of the queue: a batch, or the loss of some. */
struct entry {
	struct entry *next;
	struct log_batch *batch; /* NULL: a loss. */
	struct loss loss;
	bool begun; /* The thread has looked at it: nothing is added to it any more. */
};

struct sink {
	/* Immutable after start. */
	const struct sink_context *context;
	const struct sink_type *type;
	char name[SINK_NAME_MAX];
	_Atomic uint64_t *settled;
	pthread_t thread;

	pthread_mutex_t mutex; /* Guards what follows up to the blank line. */
	pthread_cond_t work;
	struct sink_settings wanted; /* What is to be used from the next opening on. */
	struct log_match *match;     /* Of `wanted`. */
	bool reconfigure;
	struct entry *head, *tail;
	uint64_t n_waiting, waiting_bytes, backlog_bytes;
	struct sink_statistics statistics;
	bool end, ended;
	int64_t end_ns; /* On the monotonic clock. */

	_Atomic bool ending; /* The place's calls return as soon as they can. */

	/* The thread's own. */
	struct sink_settings settings; /* In use. */
	struct log_match *filter;
	struct sink_place place;
	void *state;	       /* NULL: the place is closed. */
	struct entry *written; /* The last one written since the last delivery; NULL: none. */
	uint64_t n_written;    /* Records since then. */
	uint64_t n_refused;    /* Records, since the last delivery. */
	int64_t retry_ns, flush_ns;
	unsigned int retry_ms;
	char error[SINK_ERROR_MAX];
};

static int64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec * SECOND_NS + now.tv_nsec;
}

static int64_t milliseconds(unsigned int ms)
{
	return ms * (SECOND_NS / 1000);
}

/* --- Settings --------------------------------------------------------------------------------- */

static void settings_free(struct sink_settings *settings)
{
	for (size_t i = 0; i < settings->n; i++)
		free((char *)settings->at[i].name);
	free((struct sink_setting *)settings->at);
	*settings = (struct sink_settings){0};
}

/* Each name and its value are one allocation. */
static bool settings_copy(const struct sink_settings *from, struct sink_settings *to)
{
	struct sink_setting *at = calloc(from->n + 1, sizeof(*at));

	*to = (struct sink_settings){.kind = from->kind, .at = at};
	for (size_t i = 0; at && i < from->n; i++) {
		size_t name = strlen(from->at[i].name) + 1, value = strlen(from->at[i].value) + 1;
		char *text = malloc(name + value);

		if (!text) {
			settings_free(to);
			return false;
		}
		at[i].name = memcpy(text, from->at[i].name, name);
		at[i].value = memcpy(text + name, from->at[i].value, value);
		to->n++;
	}
	return at != NULL;
}

static bool settings_equal(const struct sink_settings *a, const struct sink_settings *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (strcmp(a->at[i].name, b->at[i].name) != 0 ||
			strcmp(a->at[i].value, b->at[i].value) != 0)
			return false;
	return true;
}

static struct log_match *filter_of(const struct sink_settings *settings)
{
	const char *words = sink_setting_text(settings, "filter");
	char error[SINK_ERROR_MAX];

	return log_match_parse(words ? words : "", error, sizeof(error));
}

/* --- The queue -------------------------------------------------------------------------------- */

/* All under the mutex. */

static void append(struct sink *sink, struct entry *entry)
{
	if (sink->tail)
		sink->tail->next = entry;
	else
		sink->head = entry;
	sink->tail = entry;
}

static uint64_t count_matches(const struct log_match *match, const struct log_batch *batch)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < batch->n; i++) {
		const struct log_record *record = &batch->records[i];

		/* A gap record that is lost leaves what it told to be told by another. */
		if (record->kind == LOG_GAP)
			n += record->packets_forward;
		else
			n += log_match_holds(match, record);
	}
	return n;
}

static void add_loss(
	struct loss *loss, uint64_t records, uint64_t events, const struct log_record *last)
{
	loss->records += records;
	loss->events += events;
	loss->sequence = last->sequence;
	loss->time_ns = last->time_ns;
}

/* There is no room for the batch: that it is lost takes its place. */
static void lose(struct sink *sink, const struct log_batch *batch)
{
	uint64_t records = count_matches(sink->match, batch);
	struct entry *entry = sink->tail;

	sink->statistics.lost += records;
	if (!entry || entry->batch || entry->begun) {
		entry = calloc(1, sizeof(*entry));
		if (!entry)
			return; /* Counted, and told by the next process: it is not settled. */
		entry->loss.reason = "backlog-full";
		sink->n_waiting++;
		append(sink, entry);
	}
	add_loss(&entry->loss, records, batch->events, &batch->records[batch->n - 1]);
}

void sink_push(struct sink *sink, struct log_batch *batch)
{
	struct entry *entry = calloc(1, sizeof(*entry));

	pthread_mutex_lock(&sink->mutex);
	if (!entry || sink->waiting_bytes + batch->bytes > sink->backlog_bytes) {
		lose(sink, batch);
		free(entry);
	} else {
		entry->batch = log_batch_take(batch);
		sink->waiting_bytes += batch->bytes;
		sink->n_waiting += batch->n;
		append(sink, entry);
		pthread_cond_signal(&sink->work);
	}
	pthread_mutex_unlock(&sink->mutex);
}

/* --- Writing ---------------------------------------------------------------------------------- */

static int write_one(struct sink *sink, const struct log_record *record)
{
	return sink->type->write(sink->state, record, sink->error, sizeof(sink->error));
}

static int write_loss(struct sink *sink, const struct loss *loss)
{
	struct log_record record;

	if (loss->records == 0)
		return 0;
	log_record_gap(&record, sink->context->host, loss->reason, loss->records);
	record.sequence = loss->sequence;
	record.time_ns = record.start_ns = loss->time_ns;
	return write_one(sink, &record);
}

/* A record that the place refuses is told in its place, if that is not refused as well. */
static int write_refused(struct sink *sink, const struct log_record *record)
{
	const struct loss loss = {.reason = "refused",
		.records = 1,
		.sequence = record->sequence,
		.time_ns = record->time_ns};
	int error = write_loss(sink, &loss);

	sink->n_refused++;
	return error == -EINVAL ? 0 : error;
}

static int write_record(struct sink *sink, const struct log_record *record)
{
	int error = write_one(sink, record);

	if (error == -EINVAL)
		return write_refused(sink, record);
	sink->n_written += error == 0 && record->kind != LOG_GAP;
	return error;
}

static int write_entry(struct sink *sink, const struct entry *entry)
{
	const struct log_batch *batch = entry->batch;
	int error = 0;

	if (!batch) {
		error = write_loss(sink, &entry->loss);
		return error == -EINVAL ? 0 : error;
	}
	for (uint32_t i = 0; error == 0 && i < batch->n; i++)
		if (log_match_holds(sink->filter, &batch->records[i]))
			error = write_record(sink, &batch->records[i]);
	return error;
}

/* The next entry that is not written, if any. */
static struct entry *next_entry(struct sink *sink)
{
	pthread_mutex_lock(&sink->mutex);
	struct entry *entry = sink->written ? sink->written->next : sink->head;
	if (entry)
		entry->begun = true;
	pthread_mutex_unlock(&sink->mutex);
	return entry;
}

/* --- Delivery --------------------------------------------------------------------------------- */

/* What was written is where it should be: lets go of it. */
static void settle(struct sink *sink)
{
	struct entry *done = NULL;
	uint64_t events = 0;

	pthread_mutex_lock(&sink->mutex);
	if (sink->written) {
		done = sink->head;
		sink->head = sink->written->next;
		sink->written->next = NULL;
		if (!sink->head)
			sink->tail = NULL;
	}
	for (struct entry *entry = done; entry; entry = entry->next) {
		events += entry->batch ? entry->batch->events : entry->loss.events;
		sink->n_waiting -= entry->batch ? entry->batch->n : 1;
		sink->waiting_bytes -= entry->batch ? entry->batch->bytes : 0;
	}
	sink->statistics.delivered += sink->n_written;
	sink->statistics.lost += sink->n_refused;
	sink->statistics.error[0] = '\0';
	pthread_mutex_unlock(&sink->mutex);
	atomic_fetch_add_explicit(sink->settled, events, memory_order_relaxed);
	for (struct entry *next; done; done = next) {
		next = done->next;
		log_batch_put(done->batch);
		free(done);
	}
}

static void forget_written(struct sink *sink)
{
	sink->written = NULL;
	sink->n_written = sink->n_refused = 0;
}

/* Writes what there is, but no more than one delivery's worth, and delivers it. */
static int deliver(struct sink *sink)
{
	struct entry *entry;
	int error = 0;

	while (error == 0 && sink->n_written < FLUSH_RECORDS && (entry = next_entry(sink))) {
		error = write_entry(sink, entry);
		if (error == 0)
			sink->written = entry;
	}
	if (error == 0)
		error = sink->type->flush(sink->state, (uint64_t)clock_ns(CLOCK_REALTIME),
			sink->error, sizeof(sink->error));
	if (error != 0)
		return error;
	if (sink->written)
		sink->retry_ms = RETRY_MS;
	settle(sink);
	forget_written(sink);
	sink->flush_ns = clock_ns(CLOCK_MONOTONIC) + milliseconds(FLUSH_MS);
	return 0;
}

/* --- The place -------------------------------------------------------------------------------- */

static void close_place(struct sink *sink)
{
	sink->type->close(sink->state);
	sink->state = NULL;
	forget_written(sink);
	pthread_mutex_lock(&sink->mutex);
	sink->statistics.is_open = false;
	pthread_mutex_unlock(&sink->mutex);
}

static void fail(struct sink *sink)
{
	close_place(sink);
	sink->retry_ns = clock_ns(CLOCK_MONOTONIC) + milliseconds(sink->retry_ms);
	sink->retry_ms = sink->retry_ms < RETRY_MAX_MS / 2 ? sink->retry_ms * 2 : RETRY_MAX_MS;
	pthread_mutex_lock(&sink->mutex);
	sink->statistics.failures++;
	memcpy(sink->statistics.error, sink->error, sizeof(sink->error));
	pthread_mutex_unlock(&sink->mutex);
}

/* Takes new settings over. */
static void adopt_settings(struct sink *sink)
{
	struct sink_settings settings;
	struct log_match *filter;

	pthread_mutex_lock(&sink->mutex);
	bool copied = settings_copy(&sink->wanted, &settings);
	sink->reconfigure = !copied;
	pthread_mutex_unlock(&sink->mutex);
	if (!copied)
		return; /* For want of memory: next time. */
	filter = filter_of(&settings);
	if (!filter) {
		settings_free(&settings);
		return;
	}
	close_place(sink);
	settings_free(&sink->settings);
	log_match_free(sink->filter);
	sink->settings = settings;
	sink->filter = filter;
	sink->retry_ns = 0;
	sink->retry_ms = RETRY_MS;
}

static void open_place(struct sink *sink)
{
	snprintf(sink->error, sizeof(sink->error), "it could not be opened");
	if (sink->type->open(&sink->place, &sink->state, sink->error, sizeof(sink->error)) != 0) {
		sink->state = NULL;
		fail(sink);
		return;
	}
	pthread_mutex_lock(&sink->mutex);
	sink->statistics.is_open = true;
	pthread_mutex_unlock(&sink->mutex);
	sink->flush_ns = 0;
}

/* --- The thread ------------------------------------------------------------------------------- */

/* When there will be something to do, if nothing comes. */
static int64_t next_ns(const struct sink *sink)
{
	int64_t next = sink->state ? sink->flush_ns : sink->retry_ns;

	return sink->end && sink->end_ns < next ? sink->end_ns : next;
}

enum work { WORK_END, WORK_SETTINGS, WORK_DELIVER };

static enum work wait_for_work(struct sink *sink)
{
	bool go_on = true;

	pthread_mutex_lock(&sink->mutex);
	for (;;) {
		int64_t now = clock_ns(CLOCK_MONOTONIC), next = next_ns(sink);

		if (sink->end &&
			(!sink->head || now >= sink->end_ns || (!sink->state && sink->retry_ns)))
			go_on = false;
		if (!go_on || sink->reconfigure || now >= next || (sink->state && sink->head))
			break;
		pthread_cond_timedwait(&sink->work, &sink->mutex,
			&(struct timespec){next / SECOND_NS, next % SECOND_NS});
	}
	enum work work = !go_on ? WORK_END : sink->reconfigure ? WORK_SETTINGS : WORK_DELIVER;
	pthread_mutex_unlock(&sink->mutex);
	return work;
}

static void *sink_main(void *sink_)
{
	struct sink *sink = sink_;

	if (sink->context->begin_thread)
		sink->context->begin_thread(sink->context->owner);
	for (enum work work; (work = wait_for_work(sink)) != WORK_END;) {
		if (work == WORK_SETTINGS)
			adopt_settings(sink);
		if (!sink->state)
			open_place(sink);
		if (sink->state && deliver(sink) != 0)
			fail(sink);
	}
	close_place(sink);
	pthread_mutex_lock(&sink->mutex);
	sink->ended = true;
	pthread_mutex_unlock(&sink->mutex);
	return NULL;
}

/* --- Start and end ---------------------------------------------------------------------------- */

static bool init_locks(struct sink *sink)
{
	pthread_condattr_t attributes;

	if (pthread_condattr_init(&attributes) != 0)
		return false;
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	bool done = pthread_cond_init(&sink->work, &attributes) == 0 &&
		    pthread_mutex_init(&sink->mutex, NULL) == 0;
	pthread_condattr_destroy(&attributes);
	return done;
}

static bool begin_with_loss(struct sink *sink, uint64_t missing)
{
	struct entry *entry;

	if (missing == 0)
		return true;
	entry = calloc(1, sizeof(*entry));
	if (!entry)
		return false;
	entry->loss = (struct loss){.reason = "process-ended",
		.records = missing,
		.events = missing,
		.sequence = sink->context->gap_sequence,
		.time_ns = (uint64_t)clock_ns(CLOCK_REALTIME)};
	sink->statistics.lost = missing;
	sink->n_waiting = 1;
	append(sink, entry);
	return true;
}

static void sink_free(struct sink *sink)
{
	for (struct entry *entry = sink->head, *next; entry; entry = next) {
		next = entry->next;
		log_batch_put(entry->batch);
		free(entry);
	}
	settings_free(&sink->wanted);
	settings_free(&sink->settings);
	log_match_free(sink->match);
	log_match_free(sink->filter);
	free(sink);
}

struct sink *sink_start(const struct sink_context *context, const struct sink_type *type,
	const char *name, const struct sink_settings *settings, _Atomic uint64_t *settled,
	uint64_t missing)
{
	struct sink *sink = calloc(1, sizeof(*sink));

	if (!sink)
		return NULL;
	sink->context = context;
	sink->type = type;
	snprintf(sink->name, sizeof(sink->name), "%s", name);
	sink->settled = settled;
	sink->retry_ms = RETRY_MS;
	sink->place = (struct sink_place){.name = sink->name,
		.host = context->host,
		.directory = context->directory,
		.settings = &sink->settings,
		.time_limit_ms = SINK_TIME_LIMIT_MS,
		.ending = &sink->ending,
		.known_sequence = context->known_sequence};
	forget_written(sink);
	sink->backlog_bytes = sink_setting_number(settings, "backlog-bytes");
	sink->match = filter_of(settings);
	sink->filter = filter_of(settings);
	if (!sink->match || !sink->filter || !settings_copy(settings, &sink->wanted) ||
		!settings_copy(settings, &sink->settings) || !begin_with_loss(sink, missing) ||
		!init_locks(sink) || pthread_create(&sink->thread, NULL, sink_main, sink) != 0) {
		sink_free(sink);
		return NULL;
	}
	return sink;
}

const char *sink_name(const struct sink *sink)
{
	return sink->name;
}

const struct sink_type *sink_type_of(const struct sink *sink)
{
	return sink->type;
}

_Atomic uint64_t *sink_settled(const struct sink *sink)
{
	return sink->settled;
}

void sink_configure(struct sink *sink, const struct sink_settings *settings)
{
	struct sink_settings copy;
	struct log_match *match = filter_of(settings);

	if (!match || !settings_copy(settings, &copy)) {
		log_match_free(match);
		return;
	}
	pthread_mutex_lock(&sink->mutex);
	if (!settings_equal(&sink->wanted, &copy)) {
		struct sink_settings old = sink->wanted;
		struct log_match *old_match = sink->match;

		sink->wanted = copy;
		sink->match = match;
		sink->backlog_bytes = sink_setting_number(&copy, "backlog-bytes");
		sink->reconfigure = true;
		copy = old;
		match = old_match;
		pthread_cond_signal(&sink->work);
	}
	pthread_mutex_unlock(&sink->mutex);
	settings_free(&copy);
	log_match_free(match);
}

void sink_read_statistics(struct sink *sink, struct sink_statistics *statistics)
{
	pthread_mutex_lock(&sink->mutex);
	*statistics = sink->statistics;
	statistics->waiting = sink->n_waiting;
	statistics->waiting_bytes = sink->waiting_bytes;
	pthread_mutex_unlock(&sink->mutex);
}

void sink_end(struct sink *sink, unsigned int drain_ms)
{
	pthread_mutex_lock(&sink->mutex);
	sink->end = true;
	sink->end_ns = clock_ns(CLOCK_MONOTONIC) + milliseconds(drain_ms);
	/* Nobody waits for a place that is only being tried. */
	if (!sink->statistics.is_open)
		atomic_store(&sink->ending, true);
	pthread_cond_signal(&sink->work);
	pthread_mutex_unlock(&sink->mutex);
}

bool sink_has_ended(struct sink *sink)
{
	pthread_mutex_lock(&sink->mutex);
	bool ended = sink->ended;
	if (sink->end && clock_ns(CLOCK_MONOTONIC) >= sink->end_ns)
		atomic_store(&sink->ending, true);
	pthread_mutex_unlock(&sink->mutex);
	return ended;
}

void sink_destroy(struct sink *sink)
{
	if (!sink)
		return;
	while (!sink_has_ended(sink))
		nanosleep(&(struct timespec){.tv_nsec = SECOND_NS / 100}, NULL);
	pthread_join(sink->thread, NULL);
	pthread_mutex_destroy(&sink->mutex);
	pthread_cond_destroy(&sink->work);
	sink_free(sink);
}
