/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log thread: takes the events of all workers and of the sweep from their rings, gives them
 * names, and writes them to the store.
 *
 * Names (event_record.c) are those of the moment of the event, however long the disk keeps this
 * thread: the main thread lets go of old names and policies only when this thread has read what may
 * need them, which log_thread_read_until() tells.
 *
 * The disk may be slow, or hang.  So that nobody else waits for it, the thread is quiescent (RCU)
 * but for the moment in which it gives a burst its names, which it copies, and holds no mutex while
 * it opens, writes or closes.
 *
 * What could not be stored is never silent.  Events lost to a full ring are counted by their
 * producer, records that the store refused are counted here, and as soon as a record can be written
 * again a gap record with the number comes first.  Those that die with a process are told by the
 * next one, which reads their number in the account (log_account.h).
 */
#include <config.h>

#include "datapath/switch.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "datapath/event_record.h"
#include "datapath/log_account.h"
#include "openvswitch/vlog.h"
#include "ovs-rcu.h"
#include "ovs-thread.h"
#include "timeval.h"
#include "util.h"
#include "log/store.h"

VLOG_DEFINE_THIS_MODULE(log_thread);

enum {
	BATCH_MS = 100, /* Between two looks at the rings. */
	COMMIT_RECORDS = 20000,
	BURST = 64,
	RETRY_MS = 2000, /* Between two attempts to open a store that failed. */
	SAVE_MS = 60000, /* Between two snapshots of the rule hits. */
};

_Static_assert(LOG_ACCOUNT_PRODUCERS == WORKERS_MAX + 1, "workers and the sweep");

/* A record whose strings are its own. */
struct named_record {
	struct log_record record;
	char *strings;
};

struct log_thread {
	struct cordon_switch *sw;
	pthread_t thread;

	struct ovs_mutex mutex; /* Guards what follows up to the blank line. */
	struct log_settings settings;
	bool reconfigure;
	struct log_thread_stats stats;

	/* The thread's own. */
	struct log_account *account; /* NULL if there can be none. */
	struct log_store *store;
	char error[256];
	uint64_t sequence, retry_ns;
	uint64_t lost;	       /* Not stored, in all: what died with the last process, too. */
	uint64_t lost_told;    /* Of those, named by a gap record that is stored for good... */
	uint64_t lost_telling; /* ...or by one in the transaction in progress. */
	uint64_t ring_lost;    /* Of those, lost by the rings. */
	uint64_t stored, pending, pending_gaps;
	int hits_error;
	_Atomic long long int read_until; /* time_msec(): the rings were read as of then. */
	uint64_t saved_ns;		  /* When the rule hits were written. */
	uint32_t saved_passes;		  /* What they were. */
};

static uint64_t wall_clock_ns(void)
{
	struct timespec wall;

	clock_gettime(CLOCK_REALTIME, &wall);
	return (uint64_t)wall.tv_sec * 1000000000u + (uint64_t)wall.tv_nsec;
}

/* --- records -------------------------------------------------------------------------------- */

/* Makes the strings that belong to identities and policies the record's own. */
static void copy_strings(struct named_record *named)
{
	struct log_record *record = &named->record;
	struct log_party *from = &record->source, *to = &record->destination;
	const char **strings[] = {&from->port, &from->vm_id, &from->vm_name, &from->zone,
		&from->tags, &to->port, &to->vm_id, &to->vm_name, &to->zone, &to->tags,
		&record->tier, &record->policy, &record->rule, &record->label,
		&record->simulated_policy, &record->simulated_rule};
	size_t sizes[ARRAY_SIZE(strings)], total = 0;

	for (size_t i = 0; i < ARRAY_SIZE(strings); i++)
		total += sizes[i] = strlen(*strings[i]) + 1;
	char *at = named->strings = xmalloc(total);
	for (size_t i = 0; i < ARRAY_SIZE(strings); i++) {
		*strings[i] = memcpy(at, *strings[i], sizes[i]);
		at += sizes[i];
	}
}

/* The thread's only time under RCU. */
static void name_events(struct log_thread *log, const struct log_event *events, unsigned int n,
	struct named_record *named)
{
	struct event_text text;

	ovsrcu_quiesce_end();
	for (unsigned int i = 0; i < n; i++) {
		event_record(log->sw, &events[i], ++log->sequence, &text, &named[i].record);
		copy_strings(&named[i]);
	}
	ovsrcu_quiesce_start();
}

/* --- the store ------------------------------------------------------------------------------ */

static void set_error(struct log_thread *log, const char *error)
{
	if (strcmp(log->error, error) != 0) {
		ovs_strlcpy(log->error, error, sizeof(log->error));
		if (error[0] != '\0')
			VLOG_WARN("traffic log: %s; records are lost, and counted, until this is "
				  "mended",
				error);
		else
			VLOG_INFO("traffic log: writing again");
	}
}

/* Makes sure that there is a store, trying again now and then. */
static bool have_store(struct log_thread *log, uint64_t now_ns)
{
	struct log_store_options options;
	char error[256];

	if (log->store != NULL)
		return true;
	if (now_ns < log->retry_ns)
		return false;
	ovs_mutex_lock(&log->mutex);
	char *directory = xstrdup(log->settings.directory);
	options = (struct log_store_options){
		.directory = directory,
		.bucket_seconds = log->settings.bucket_seconds,
		.retention_days = log->settings.retention_days,
		.retention_bytes = log->settings.retention_bytes,
	};
	ovs_mutex_unlock(&log->mutex);
	int result = log_store_open(&options, &log->store, error, sizeof(error));
	free(directory);
	if (result != 0) {
		log->store = NULL;
		log->retry_ns = now_ns + RETRY_MS * UINT64_C(1000000);
		set_error(log, error);
		return false;
	}
	if (log_store_last_sequence(log->store) > log->sequence)
		log->sequence = log_store_last_sequence(log->store);
	return true;
}

/* The store cannot be written to: begins anew with it later. */
static void give_up_store(struct log_thread *log, uint64_t now_ns)
{
	set_error(log, log_store_error(log->store));
	log_store_close(log->store);
	log->store = NULL;
	log->retry_ns = now_ns + RETRY_MS * UINT64_C(1000000);
}

static void write_record(struct log_thread *log, const struct log_record *record)
{
	if (log_store_write(log->store, record) == 0)
		log->pending++;
	else
		log->lost++;
}

/* Says what was lost before the records that follow. */
static void write_gap(struct log_thread *log, uint64_t now_ns)
{
	uint64_t lost = log->lost - log->lost_told - log->lost_telling;
	if (lost == 0)
		return;
	struct log_record record = {
		.time_ns = now_ns,
		.start_ns = now_ns,
		.sequence = ++log->sequence,
		.host = log->sw->options->host,
		.kind = LOG_GAP,
		.reason = "lost",
		.packets_forward = lost,
		.tier = "",
		.policy = "",
		.rule = "",
		.label = "",
		.simulated_policy = "",
		.simulated_rule = "",
		.source = {.port = "", .vm_id = "", .vm_name = "", .zone = "", .tags = ""},
		.destination = {.port = "", .vm_id = "", .vm_name = "", .zone = "", .tags = ""},
	};

	if (log_store_write(log->store, &record) == 0) {
		log->pending++;
		log->pending_gaps++;
		log->lost_telling += lost;
	}
}

static void commit(struct log_thread *log, uint64_t now_ns)
{
	size_t n_lost = 0;

	if (log->store == NULL)
		return;
	if (log_store_commit(log->store, now_ns, &n_lost) != 0) {
		log->lost += n_lost - (n_lost < log->pending_gaps ? n_lost : log->pending_gaps);
		log->pending = log->pending_gaps = log->lost_telling = 0;
		give_up_store(log, now_ns);
		return;
	}
	if (log->account != NULL)
		log_account_settle(
			log->account, log->pending - log->pending_gaps + log->lost_telling);
	log->stored += log->pending;
	log->lost_told += log->lost_telling;
	log->pending = log->pending_gaps = log->lost_telling = 0;
	set_error(log, "");
}

/* --- the rings ------------------------------------------------------------------------------ */

static void handle_events(struct log_thread *log, const struct log_event *events, unsigned int n)
{
	struct named_record named[BURST];

	if (n == 0)
		return;
	if (log->store == NULL) {
		log->lost += n;
		return;
	}
	name_events(log, events, n, named);
	for (unsigned int i = 0; i < n; i++) {
		write_record(log, &named[i].record);
		free(named[i].strings);
	}
}

static unsigned int drain(struct log_thread *log, struct log_ring *ring)
{
	struct log_event events[BURST];
	unsigned int n =
		rte_ring_sc_dequeue_burst_elem(ring->ring, events, sizeof(events[0]), BURST, NULL);

	handle_events(log, events, n);
	return n;
}

static uint64_t count_ring_losses(struct log_thread *log)
{
	struct cordon_switch *sw = log->sw;
	uint64_t lost = atomic_load_explicit(&sw->sweep_events.lost, memory_order_relaxed);

	for (unsigned int i = 0; i < sw->n_workers; i++)
		lost += atomic_load_explicit(&sw->workers[i]->events.lost, memory_order_relaxed);
	return lost;
}

/* Tells the others how it goes.  Returns true if the store is to be opened with other settings. */
static bool exchange_news(struct log_thread *log)
{
	ovs_mutex_lock(&log->mutex);
	bool reconfigure = log->reconfigure;
	log->reconfigure = false;
	log->stats.stored = log->stored;
	log->stats.lost = log->lost;
	log->stats.hits_error = log->hits_error;
	ovs_strlcpy(log->stats.error, log->error, sizeof(log->stats.error));
	ovs_mutex_unlock(&log->mutex);
	return reconfigure;
}

/* Takes events until the rings are empty or they are enough for one transaction.  True if there are
 * more. */
static bool run_once(struct log_thread *log)
{
	struct cordon_switch *sw = log->sw;
	uint64_t now_ns = wall_clock_ns(), ring_lost = count_ring_losses(log);
	long long int began = time_msec();
	unsigned int taken = 0;
	bool more = true;

	log->lost += ring_lost - log->ring_lost;
	log->ring_lost = ring_lost;
	if (have_store(log, now_ns))
		write_gap(log, now_ns);
	while (more && taken < COMMIT_RECORDS) {
		unsigned int n = drain(log, &sw->sweep_events);

		more = n == BURST;
		taken += n;
		for (unsigned int i = 0; i < sw->n_workers; i++) {
			n = drain(log, &sw->workers[i]->events);
			more |= n == BURST;
			taken += n;
		}
	}
	if (!more)
		atomic_store(&log->read_until, began);
	commit(log, now_ns);
	if (exchange_news(log)) {
		log_store_close(log->store);
		log->store = NULL;
		log->retry_ns = 0;
	}
	return more;
}

/* This thread may wait for the disk, so the rule hits are its to write too. */
static void save_hits(struct log_thread *log, bool now)
{
	uint64_t now_ns = wall_clock_ns();
	uint32_t passes = rule_hits_passes(log->sw->hits);

	/* A clock that was set back is no reason to wait. */
	if (passes == log->saved_passes ||
		(!now && now_ns - log->saved_ns < SAVE_MS * UINT64_C(1000000)))
		return;
	log->saved_ns = now_ns;
	log->saved_passes = passes;
	int error = rule_hits_save(log->sw->hits);
	if (error != 0 && error != log->hits_error)
		VLOG_WARN("%s/rule-hits: %s; should the machine go down, the rule hits of this "
			  "time are lost",
			log->sw->options->state_directory, ovs_strerror(-error));
	log->hits_error = error;
}

static void *log_main(void *log_)
{
	struct log_thread *log = log_;

	worker_give_way(log->sw);
	ovsrcu_quiesce_start();
	while (!atomic_load(&log->sw->stop)) {
		save_hits(log, false);
		if (!run_once(log))
			nanosleep(&(struct timespec){.tv_nsec = BATCH_MS * 1000000L}, NULL);
	}
	return NULL;
}

static void copy_settings(struct log_thread *log, const struct log_settings *settings)
{
	free(log->settings.directory);
	log->settings = *settings;
	log->settings.directory = xstrdup(settings->directory);
}

static void count_in_account(struct log_thread *log)
{
	struct cordon_switch *sw = log->sw;

	atomic_store(&sw->sweep_events.produced, log_account_producer(log->account, 0));
	for (unsigned int i = 0; i < sw->n_workers; i++)
		atomic_store(&sw->workers[i]->events.produced,
			log_account_producer(log->account, i + 1));
}

/* What died with the last process is this one's to tell. */
static void open_account(struct log_thread *log)
{
	uint64_t missing;
	int error;

	log->account = log_account_open(log->sw->options->run_directory, &missing, &error);
	if (log->account == NULL) {
		VLOG_WARN("%s/log-account: %s; should this process be killed, the log will not "
			  "say how many records were lost with it",
			log->sw->options->run_directory, ovs_strerror(-error));
		return;
	}
	if (missing != 0)
		VLOG_WARN("traffic log: %" PRIu64 " records were lost with the last process, "
			  "which did not end in order",
			missing);
	log->lost = missing;
	count_in_account(log);
}

struct log_thread *log_thread_start(struct cordon_switch *sw, const struct log_settings *settings)
{
	struct log_thread *log = calloc(1, sizeof(*log));

	if (log == NULL)
		return NULL;
	log->sw = sw;
	ovs_mutex_init(&log->mutex);
	copy_settings(log, settings);
	open_account(log);
	log->thread = ovs_thread_create("log", log_main, log);
	return log;
}

/* The workers and the sweep have ended, so the rings can be emptied for good.  The caller is
 * quiescent. */
void log_thread_join(struct log_thread *log)
{
	if (log == NULL)
		return;
	pthread_join(log->thread, NULL);
	while (run_once(log))
		continue;
	save_hits(log, true);
	log_store_close(log->store);
	log_account_close(log->account);
	free(log->settings.directory);
	ovs_mutex_destroy(&log->mutex);
	free(log);
}

long long int log_thread_read_until(const struct log_thread *log)
{
	return atomic_load(&log->read_until);
}

void log_thread_stats(struct log_thread *log, struct log_thread_stats *stats)
{
	ovs_mutex_lock(&log->mutex);
	*stats = log->stats;
	ovs_mutex_unlock(&log->mutex);
}

void log_thread_configure(struct log_thread *log, const struct log_settings *settings)
{
	ovs_mutex_lock(&log->mutex);
	if (strcmp(log->settings.directory, settings->directory) != 0 ||
		log->settings.bucket_seconds != settings->bucket_seconds ||
		log->settings.retention_days != settings->retention_days ||
		log->settings.retention_bytes != settings->retention_bytes) {
		copy_settings(log, settings);
		log->reconfigure = true;
	}
	ovs_mutex_unlock(&log->mutex);
}
