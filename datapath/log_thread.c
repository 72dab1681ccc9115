/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log thread: takes the events of all workers and of the sweep from their rings, makes records
 * of them, and hands these to the sinks in batches.
 *
 * Names (event_record.c) are those of the moment of the event, however late it is read: the main
 * thread lets go of old names and policies only when this thread has read what may need them, which
 * log_thread_read_until() tells.
 *
 * It waits for nobody: sinks have threads and queues of their own (sinks/sink.h), and it is
 * quiescent (RCU) but for the moment in which it gives a burst its names, which it copies.
 *
 * What could not be recorded is never silent.  Events lost to a full ring are counted by their
 * producer, and a gap record with the number comes before the next record.  What a sink loses, the
 * sink tells.  What dies with a process is told by the next one, which reads the number in the
 * account (log/account.h).
 */
#include <config.h>

#include "datapath/switch.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "datapath/event_record.h"
#include "log/account.h"
#include "log/sequence.h"
#include "openvswitch/vlog.h"
#include "ovs-rcu.h"
#include "ovs-thread.h"
#include "timeval.h"
#include "util.h"

VLOG_DEFINE_THIS_MODULE(log_thread);

enum {
	BATCH_MS = 100, /* Between two looks at the rings. */
	PASS_EVENTS = 20000,
	BURST = 64,
	OPENING_MS = 1000, /* For the sinks to say which records they have. */
	/* For the sinks to deliver what they have, at the end: guests wait for the next process. */
	DRAIN_MS = 1000,
	AHEAD = 1 << 20, /* Numbers between those given and the one on the disk, at most... */
	AHEAD_LEAST = AHEAD / 2, /* ...and when it is written anew. */
	RETRY_MS = 60000,	 /* If it could not be written. */
};

_Static_assert(LOG_ACCOUNT_PRODUCERS == WORKERS_MAX + 1, "workers and the sweep");

struct log_thread {
	struct cordon_switch *sw;
	pthread_t thread;
	struct log_account *account;
	struct sinks *sinks;
	_Atomic long long int read_until; /* time_msec(): the rings were read as of then. */
	_Atomic uint64_t *sequence;	  /* The account's.  The thread writes it. */
	uint64_t left_off;		  /* On the disk when this process began.  Immutable. */

	/* Of whoever calls log_thread_keep_sequence(). */
	uint64_t on_disk;
	long long int retry_at;

	/* The thread's own. */
	struct log_batch_builder builder;
	uint64_t gap;	    /* Events that the gap record in the builder tells. */
	uint64_t ring_lost; /* Events that gap records have told. */
};

static uint64_t wall_clock_ns(void)
{
	struct timespec wall;

	clock_gettime(CLOCK_REALTIME, &wall);
	return (uint64_t)wall.tv_sec * 1000000000u + (uint64_t)wall.tv_nsec;
}

static uint64_t next_sequence(struct log_thread *log)
{
	uint64_t sequence = atomic_load_explicit(log->sequence, memory_order_relaxed);
	uint64_t known = sinks_known_sequence(log->sinks);

	sequence = (known > sequence ? known : sequence) + 1;
	atomic_store_explicit(log->sequence, sequence, memory_order_relaxed);
	return sequence;
}

/* --- batches -------------------------------------------------------------------------------- */

static void hand_over(struct log_thread *log)
{
	struct log_batch *batch;

	if (log->builder.n == 0)
		return;
	while ((batch = log_batch_create(&log->builder)) == NULL)
		out_of_memory();
	/* A gap record stands for more events than one. */
	batch->events += log->gap != 0 ? log->gap - 1 : 0;
	log->gap = 0;
	sinks_push(log->sinks, batch);
	log_batch_put(batch);
}

static void add(struct log_thread *log, const struct log_record *record)
{
	if (log_batch_add(&log->builder, record))
		return;
	hand_over(log);
	log_batch_add(&log->builder, record);
}

/* The thread's only time under RCU. */
static void add_events(struct log_thread *log, const struct log_event *events, unsigned int n)
{
	struct event_text text;
	struct log_record record;

	ovsrcu_quiesce_end();
	for (unsigned int i = 0; i < n; i++) {
		event_record(log->sw, &events[i], next_sequence(log), &text, &record);
		add(log, &record);
	}
	ovsrcu_quiesce_start();
}

/* --- the rings ------------------------------------------------------------------------------ */

static uint64_t count_ring_losses(const struct cordon_switch *sw)
{
	uint64_t lost = atomic_load_explicit(&sw->sweep_events.lost, memory_order_relaxed);

	for (unsigned int i = 0; i < sw->n_workers; i++)
		lost += atomic_load_explicit(&sw->workers[i]->events.lost, memory_order_relaxed);
	return lost;
}

/* Says what was lost before the records that follow. */
static void tell_ring_losses(struct log_thread *log)
{
	uint64_t lost = count_ring_losses(log->sw), gap = lost - log->ring_lost;
	struct log_record record;

	if (gap == 0)
		return;
	hand_over(log);
	log_record_gap(&record, log->sw->options->host, "ring-full", gap);
	record.sequence = next_sequence(log);
	record.time_ns = record.start_ns = wall_clock_ns();
	add(log, &record);
	log->gap = gap;
	log->ring_lost = lost;
}

static unsigned int drain(struct log_thread *log, struct log_ring *ring)
{
	struct log_event events[BURST];
	unsigned int n =
		rte_ring_sc_dequeue_burst_elem(ring->ring, events, sizeof(events[0]), BURST, NULL);

	if (n != 0)
		add_events(log, events, n);
	return n;
}

/* Takes events until the rings are empty, or they are enough for one pass.  True if there are
 * more. */
static bool run_once(struct log_thread *log)
{
	struct cordon_switch *sw = log->sw;
	long long int began = time_msec();
	unsigned int taken = 0;
	bool more = true;

	tell_ring_losses(log);
	while (more && taken < PASS_EVENTS) {
		unsigned int n = drain(log, &sw->sweep_events);

		more = n == BURST;
		taken += n;
		for (unsigned int i = 0; i < sw->n_workers; i++) {
			n = drain(log, &sw->workers[i]->events);
			more |= n == BURST;
			taken += n;
		}
	}
	hand_over(log);
	if (!more)
		atomic_store(&log->read_until, began);
	return more;
}

/* Events wait in the rings until it is known where they go, and from which number on. */
static bool may_begin(struct log_thread *log)
{
	while (!sinks_are_configured(log->sinks)) {
		if (atomic_load(&log->sw->stop))
			return false;
		nanosleep(&(struct timespec){.tv_nsec = BATCH_MS * 1000000L}, NULL);
	}
	bool all_open = sinks_await_opening(log->sinks, OPENING_MS);
	/* The account is new, and places that cannot be asked may have records of before. */
	if (atomic_load(log->sequence) == 0 && !(all_open && sinks_known_sequence(log->sinks) != 0))
		atomic_store(log->sequence, log->left_off);
	return true;
}

static void *log_main(void *log_)
{
	struct log_thread *log = log_;

	worker_give_way(log->sw);
	ovsrcu_quiesce_start();
	if (!may_begin(log))
		return NULL;
	while (!atomic_load(&log->sw->stop))
		if (!run_once(log))
			nanosleep(&(struct timespec){.tv_nsec = BATCH_MS * 1000000L}, NULL);
	return NULL;
}

/* --- the last number on the disk -------------------------------------------------------------- */

static uint64_t last_number(const struct log_thread *log)
{
	uint64_t sequence = atomic_load(log->sequence);

	return sequence != 0 ? sequence : log->left_off;
}

static void write_number(struct log_thread *log, uint64_t number)
{
	const char *directory = log->sw->options->state_directory;
	int error = log_sequence_write(directory, number);

	if (error == 0) {
		log->on_disk = number;
		return;
	}
	log->retry_at = time_msec() + RETRY_MS;
	VLOG_WARN("%s/log-sequence: %s; should the machine go down, the log may give sequence "
		  "numbers again that it has given before",
		directory, ovs_strerror(-error));
}

void log_thread_keep_sequence(struct log_thread *log)
{
	uint64_t number = last_number(log);

	if (number + AHEAD_LEAST > log->on_disk && time_msec() >= log->retry_at)
		write_number(log, number + AHEAD);
}

/* --- start and end -------------------------------------------------------------------------- */

static void count_in_account(struct log_thread *log)
{
	struct cordon_switch *sw = log->sw;

	atomic_store(&sw->sweep_events.produced, log_account_producer(log->account, 0));
	for (unsigned int i = 0; i < sw->n_workers; i++)
		atomic_store(&sw->workers[i]->events.produced,
			log_account_producer(log->account, i + 1));
}

static bool open_account(struct log_thread *log)
{
	const char *directory = log->sw->options->run_directory;
	int error;

	log->account = log_account_open(directory, &error);
	if (log->account == NULL)
		return false;
	if (error != 0)
		VLOG_WARN("%s/log-account: %s; should this process be killed, the log will not "
			  "say how many records were lost with it",
			directory, ovs_strerror(-error));
	log->sequence = log_account_sequence(log->account);
	log->left_off = log->on_disk = log_sequence_read(log->sw->options->state_directory);
	return true;
}

/* Sinks give way to packets, as this thread does. */
static void give_way(void *sw)
{
	worker_give_way(sw);
}

struct log_thread *log_thread_start(struct cordon_switch *sw)
{
	struct log_thread *log = calloc(1, sizeof(*log));

	if (log == NULL)
		return NULL;
	log->sw = sw;
	if (open_account(log)) {
		const struct sinks_owner owner = {.host = sw->options->host,
			.directory = sw->options->state_directory,
			.account = log->account,
			.begin_thread = give_way,
			.owner = sw};

		log->sinks = sinks_create(&owner);
	}
	if (log->sinks == NULL) {
		log_account_close(log->account);
		free(log);
		return NULL;
	}
	count_in_account(log);
	log->thread = ovs_thread_create("log", log_main, log);
	return log;
}

struct sinks *log_thread_sinks(struct log_thread *log)
{
	return log->sinks;
}

long long int log_thread_read_until(const struct log_thread *log)
{
	return atomic_load(&log->read_until);
}

/* The workers and the sweep have ended, so the rings can be emptied for good.  The caller is
 * quiescent. */
void log_thread_join(struct log_thread *log)
{
	if (log == NULL)
		return;
	pthread_join(log->thread, NULL);
	while (sinks_are_configured(log->sinks) && run_once(log))
		continue;
	sinks_destroy(log->sinks, DRAIN_MS);
	write_number(log, last_number(log));
	log_account_close(log->account);
	free(log);
}
