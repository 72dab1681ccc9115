/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sinks of one switch: see sinks.h.
 */
#include "sinks/sinks.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SINKS_MAX = LOG_ACCOUNT_SINKS, REMOVED_DRAIN_MS = 2000, WAIT_STEP_MS = 5 };

static const struct sink_type *const types[] = {
	&sink_sqlite,
	&sink_json,
	&sink_ipfix,
	&sink_syslog,
	&sink_postgresql,
};

struct sinks {
	struct sink_context context; /* Immutable after start. */
	struct log_account *account;
	_Atomic uint64_t known_sequence;

	pthread_mutex_t mutex; /* Guards what follows. */
	bool configured;
	size_t n, n_ending;
	struct sink *at[SINKS_MAX];
	struct sink *ending[SINKS_MAX]; /* Taken out, and not yet freed. */
};

struct sinks *sinks_create(const struct sinks_owner *owner)
{
	struct sinks *sinks = calloc(1, sizeof(*sinks));

	if (!sinks)
		return NULL;
	sinks->context = (struct sink_context){.host = owner->host,
		.directory = owner->directory,
		.known_sequence = &sinks->known_sequence,
		.gap_sequence = log_account_gap_sequence(owner->account),
		.begin_thread = owner->begin_thread,
		.owner = owner->owner};
	sinks->account = owner->account;
	pthread_mutex_init(&sinks->mutex, NULL);
	return sinks;
}

/* --- Coming and going; all under the mutex ---------------------------------------------------- */

static const struct sink_type *type_of(const struct sink_kind *kind)
{
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (types[i]->kind == kind)
			return types[i];
	return NULL;
}

static void free_ended(struct sinks *sinks)
{
	for (size_t i = 0; i < sinks->n_ending;) {
		if (sink_has_ended(sinks->ending[i])) {
			_Atomic uint64_t *settled = sink_settled(sinks->ending[i]);

			sink_destroy(sinks->ending[i]);
			log_account_forget(sinks->account, settled);
			sinks->ending[i] = sinks->ending[--sinks->n_ending];
		} else {
			i++;
		}
	}
}

static bool is_the_one(const struct sink *sink, const struct sink_wanted *wanted)
{
	const struct sink_kind *kind = wanted->settings.kind;

	return strcmp(sink_name(sink), wanted->name) == 0 &&
	       (!kind || sink_type_of(sink)->kind == kind);
}

static struct sink *find(const struct sinks *sinks, const struct sink_wanted *wanted)
{
	for (size_t i = 0; i < sinks->n; i++)
		if (is_the_one(sinks->at[i], wanted))
			return sinks->at[i];
	return NULL;
}

static bool is_wanted(const struct sink *sink, const struct sink_wanted *wanted, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (is_the_one(sink, &wanted[i]))
			return true;
	return false;
}

/* Where there is no room among those that end, it stays until there is. */
static void end_others(struct sinks *sinks, const struct sink_wanted *wanted, size_t n)
{
	for (size_t i = 0; i < sinks->n;) {
		struct sink *sink = sinks->at[i];

		if (is_wanted(sink, wanted, n) || sinks->n_ending == SINKS_MAX) {
			i++;
			continue;
		}
		sink_end(sink, REMOVED_DRAIN_MS);
		sinks->ending[sinks->n_ending++] = sink;
		sinks->at[i] = sinks->at[--sinks->n];
	}
}

static bool begin(struct sinks *sinks, const struct sink_wanted *wanted)
{
	const struct sink_type *type = type_of(wanted->settings.kind);
	_Atomic uint64_t *settled;
	uint64_t missing;

	if (!type || sinks->n == SINKS_MAX)
		return false;
	settled = log_account_sink(sinks->account, wanted->name, &missing);
	if (!settled)
		return false;
	struct sink *sink = sink_start(
		&sinks->context, type, wanted->name, &wanted->settings, settled, missing);
	if (sink)
		sinks->at[sinks->n++] = sink;
	else
		log_account_forget(sinks->account, settled);
	return sink != NULL;
}

/* Other processes may have had sinks that are wanted no more. */
static void forget_others(struct sinks *sinks, const struct sink_wanted *wanted, size_t n)
{
	const char *names[SINKS_MAX];

	for (size_t i = 0; i < n && i < SINKS_MAX; i++)
		names[i] = wanted[i].name;
	log_account_forget_others(sinks->account, names, n < SINKS_MAX ? n : SINKS_MAX);
}

size_t sinks_configure(struct sinks *sinks, const struct sink_wanted *wanted, size_t n)
{
	size_t failed = 0;

	pthread_mutex_lock(&sinks->mutex);
	free_ended(sinks);
	end_others(sinks, wanted, n);
	for (size_t i = 0; i < n; i++) {
		struct sink *sink = find(sinks, &wanted[i]);

		if (!wanted[i].settings.kind)
			continue;
		if (sink)
			sink_configure(sink, &wanted[i].settings);
		else
			failed += !begin(sinks, &wanted[i]);
	}
	forget_others(sinks, wanted, n);
	sinks->configured = true;
	pthread_mutex_unlock(&sinks->mutex);
	return failed;
}

bool sinks_are_configured(struct sinks *sinks)
{
	pthread_mutex_lock(&sinks->mutex);
	bool configured = sinks->configured;
	pthread_mutex_unlock(&sinks->mutex);
	return configured;
}

/* --- Records ---------------------------------------------------------------------------------- */

void sinks_push(struct sinks *sinks, struct log_batch *batch)
{
	pthread_mutex_lock(&sinks->mutex);
	for (size_t i = 0; i < sinks->n; i++)
		sink_push(sinks->at[i], batch);
	log_account_add(sinks->account, batch->events);
	free_ended(sinks);
	pthread_mutex_unlock(&sinks->mutex);
}

uint64_t sinks_known_sequence(const struct sinks *sinks)
{
	return atomic_load_explicit(&sinks->known_sequence, memory_order_relaxed);
}

static bool all_tried(struct sinks *sinks, bool *all_open)
{
	bool tried = true;

	*all_open = true;
	pthread_mutex_lock(&sinks->mutex);
	for (size_t i = 0; i < sinks->n; i++) {
		struct sink_statistics statistics;

		sink_read_statistics(sinks->at[i], &statistics);
		tried = tried && (statistics.is_open || statistics.failures != 0);
		*all_open = *all_open && statistics.is_open;
	}
	pthread_mutex_unlock(&sinks->mutex);
	return tried;
}

bool sinks_await_opening(struct sinks *sinks, unsigned int ms)
{
	bool all_open;

	for (unsigned int waited = 0; !all_tried(sinks, &all_open) && waited < ms;
		waited += WAIT_STEP_MS)
		nanosleep(&(struct timespec){.tv_nsec = WAIT_STEP_MS * 1000000L}, NULL);
	return all_open;
}

/* --- How they do ------------------------------------------------------------------------------ */

size_t sinks_read_statistics(struct sinks *sinks, struct sinks_row *rows, size_t n)
{
	size_t filled = 0;

	pthread_mutex_lock(&sinks->mutex);
	for (; filled < sinks->n && filled < n; filled++) {
		struct sink *sink = sinks->at[filled];

		memcpy(rows[filled].name, sink_name(sink), sizeof(rows[filled].name));
		rows[filled].type = sink_type_of(sink)->kind->name;
		sink_read_statistics(sink, &rows[filled].statistics);
	}
	pthread_mutex_unlock(&sinks->mutex);
	return filled;
}

struct sinks_total sinks_total(struct sinks *sinks)
{
	struct sinks_total total = {0};
	struct sink_statistics one;

	pthread_mutex_lock(&sinks->mutex);
	for (size_t i = 0; i < sinks->n; i++) {
		sink_read_statistics(sinks->at[i], &one);
		if (one.delivered > total.delivered)
			total.delivered = one.delivered;
		total.lost += one.lost;
	}
	pthread_mutex_unlock(&sinks->mutex);
	return total;
}

/* --- The end ---------------------------------------------------------------------------------- */

void sinks_destroy(struct sinks *sinks, unsigned int drain_ms)
{
	if (!sinks)
		return;
	for (size_t i = 0; i < sinks->n; i++)
		sink_end(sinks->at[i], drain_ms);
	for (size_t i = 0; i < sinks->n; i++)
		sink_destroy(sinks->at[i]);
	for (size_t i = 0; i < sinks->n_ending; i++) {
		_Atomic uint64_t *settled = sink_settled(sinks->ending[i]);

		sink_destroy(sinks->ending[i]);
		log_account_forget(sinks->account, settled);
	}
	pthread_mutex_destroy(&sinks->mutex);
	free(sinks);
}
