/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The packet path.  Each worker is one thread that polls its receive queues, a burst at a time, and
 * takes every frame from rx to tx by itself:
 *
 *      rx -> parse -> lookup -> [hit] ----------------------> actions -> tx
 *                |       |                                       ^
 *                |       +-> [no flow, or a stale one] -> miss --+
 *                +-> [a fragment] -> held until its datagram is whole -> lookup
 *
 * A burst goes through the stages together, so that while one frame's cache lines are on their way
 * the next frame is worked on.  Frames stay in order.
 *
 * On a hit a worker takes no lock, allocates nothing, and makes no system call.  It reads the
 * configuration under RCU: a snapshot or a flow number is good until the worker's next quiescent
 * state, which is never within a burst.
 */
#include <config.h>

#include "datapath/switch.h"

#include <sched.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include <rte_atomic.h>
#include <rte_cycles.h>
#include <rte_lcore.h>
#include <rte_malloc.h>
#include <rte_pause.h>
#include <rte_prefetch.h>

#include "datapath/capture.h"
#include "datapath/inject.h"
#include "datapath/reassembly.h"
#include "datapath/storm.h"
#include "openvswitch/vlog.h"
#include "ovs-rcu.h"
#include "ovs-thread.h"
#include "log/cap.h"

VLOG_DEFINE_THIS_MODULE(worker);

enum {
	QUIESCE_EVERY = 256, /* Polls of the whole list between two quiescent states. */
	FRAMES_AHEAD = 4,
	LOOK_AHEAD = 16, /* Packets before its turn, a packet's connection is fetched. */
	/* With more connections the index is fetched even before that.  The index of fewer is in
	 * the cache, and fetching it costs more than it saves. */
	BUCKETS_IN_CACHE = 16384,
	TURN_CYCLES = 8192,		 /* What a queue may use of each poll round. */
	CREDIT_LEAST = 16 * TURN_CYCLES, /* So much at most is held against it. */
	SPIN_US = 200,	     /* Without a frame for so long, a worker begins to sleep, */
	SLEEP_SHARE = 200,   /* each time for this part of the silence so far, */
	SLEEP_MAX_US = 2000, /* which bounds the delay of the first frame after it. */
	EVENTS_PER_WORKER = 1 << 15,
	GIVE_WAY_NICE = 10,
};

/* Counters with one writer: a plain add that other threads may read at any time. */
static inline void counter_add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
		memory_order_relaxed);
}

void packet_drop(struct worker *worker, struct rte_mbuf *frame, enum drop_reason reason)
{
	counter_add(&worker->drops[reason], 1);
	rte_pktmbuf_free(frame);
	if (unlikely(worker->followers.n != 0))
		reassembly_drop_followers(worker, reason);
}

/* --- parse ---------------------------------------------------------------------------------- */

static enum drop_reason parse_frame(struct rte_mbuf *frame, struct packet *packet)
{
	return packet_parse(rte_pktmbuf_mtod(frame, const uint8_t *), rte_pktmbuf_data_len(frame),
		rte_pktmbuf_pkt_len(frame), packet);
}

/* Takes a tag out that says no more than the port's own VLAN does, so that within the switch a
 * frame of one port and VLAN either always has a tag or never. */
static enum drop_reason strip_redundant_tag(struct rte_mbuf *frame, struct packet *packet)
{
	uint8_t *data = rte_pktmbuf_mtod(frame, uint8_t *);

	memmove(data + 4, data, 12);
	rte_pktmbuf_adj(frame, 4);
	if (frame->l2_len >= 18)
		frame->l2_len -= 4;
	return parse_frame(frame, packet);
}

/* Finds the frame's VLAN by the port's mode and the tag. */
static inline enum drop_reason classify_vlan(
	const struct port_settings *settings, struct rte_mbuf *frame, struct packet *packet)
{
	uint16_t vlan = packet->vlan_tci & 0xfff;

	if (likely(!(packet->flags & PACKET_TAGGED))) {
		packet->key.net = settings->vlan;
		return DROP_NONE;
	}
	if (vlan != 0 && vlan != settings->vlan) {
		if (settings->vlan_mode != PORT_TRUNK ||
			!(settings->trunks[vlan / 64] & UINT64_C(1) << vlan % 64))
			return DROP_VLAN_NOT_ALLOWED;
		packet->key.net = vlan;
		/* An inner tag makes another flow: such frames may leave by fewer ports. */
		if (packet->flags & PACKET_DOUBLE_TAGGED)
			packet->key.net |= (uint32_t)(packet->inner_tci & 0xfff) << 12;
		return DROP_NONE;
	}
	if (vlan != 0 && settings->vlan_mode == PORT_ACCESS)
		return DROP_VLAN_NOT_ALLOWED;
	enum drop_reason reason = strip_redundant_tag(frame, packet);
	packet->key.net = settings->vlan;
	return reason == DROP_NONE && packet->flags & PACKET_TAGGED ? DROP_VLAN_NOT_ALLOWED
								    : reason;
}

/* From the frame's bytes to its key. */
static inline enum drop_reason parse(const struct port *in, const struct port_settings *settings,
	struct rte_mbuf *frame, struct packet *packet)
{
	enum drop_reason reason = parse_frame(frame, packet);

	if (unlikely(reason != DROP_NONE))
		return reason;
	reason = classify_vlan(settings, frame, packet);
	if (unlikely(reason != DROP_NONE))
		return reason;
	packet->key.in_port = in->number;
	if (in->fills_checksums && offload_note_partial_checksum(frame, packet))
		packet->flags |= PACKET_CHECKSUM_PARTIAL;
	return DROP_NONE;
}

enum drop_reason worker_parse(const struct port *in, const struct port_settings *settings,
	struct rte_mbuf *frame, struct packet *packet)
{
	return parse(in, settings, frame, packet);
}

/* --- one packet ----------------------------------------------------------------------------- */

static inline void count_packet(struct worker *worker, struct flow *flow,
	struct conn_direction *dir, uint32_t frames, uint32_t bytes)
{
	counter_add(&dir->packets, frames);
	counter_add(&dir->bytes, bytes);
	if (atomic_load_explicit(&flow->last_seen, memory_order_relaxed) != worker->now)
		atomic_store_explicit(&flow->last_seen, worker->now, memory_order_relaxed);
}

/* What is switched at once. */
enum unit { ONE_FRAME, DATAGRAM };

/* One packet from lookup's answer to its output.  `unit` is known where this is compiled. */
static __rte_always_inline void switch_packet(
	struct packet_context *context, uint32_t number, enum unit unit)
{
	struct worker *worker = context->worker;
	struct cordon_switch *sw = worker->sw;
	bool reopen = false;

	if (unlikely(number == CONN_FLOW_NONE))
		goto miss;
	struct flow *flow = conn_flow(sw->connections, number);
	if (unlikely(!flow_is_current(flow, context->revisions)))
		goto miss;
	const struct program *program = program_get(
		sw->programs, atomic_load_explicit(&flow->program, memory_order_acquire));
	if (unlikely(!program_is_for(program, context->data)))
		goto miss;

	struct conn *conn = conn_of_flow(sw->connections, number);
	unsigned int direction = number & 1;
	enum drop_reason reason = connection_step(context, conn, direction, &reopen);
	if (unlikely(reason != DROP_NONE)) {
		packet_drop(worker, context->frame, reason);
		return;
	}
	if (unlikely(reopen))
		goto miss;
	if (unit == DATAGRAM)
		count_packet(worker, flow, &conn->dir[direction], context_frames(context),
			context_bytes(context));
	else
		count_packet(worker, flow, &conn->dir[direction], 1,
			rte_pktmbuf_pkt_len(context->frame));
	if (likely(program->output_only && unit == ONE_FRAME))
		output_add(worker, program->output, context->frame);
	else
		actions_run(worker, program->actions, program->n_actions, context->frame);
	return;

miss:
	counter_add(&worker->stats.misses, 1);
	miss_handle(context, number);
}

/* --- one burst ------------------------------------------------------------------------------ */

/* The frames of one burst that are still in the switch. */
struct burst {
	struct packet_context common; /* What is the same for all of them. */
	struct revisions revisions;
	uint16_t n;
	struct followers followers; /* Of the datagram behind them, if there is one. */
	struct rte_mbuf **frames;
	uint32_t flows[BURST_MAX];
	struct answer_hint hints[BURST_MAX];
	struct packet packets[BURST_MAX];
};

static inline struct packet_context context_of(struct burst *burst, uint16_t i)
{
	struct packet_context context = burst->common;

	context.frame = burst->frames[i];
	context.data = rte_pktmbuf_mtod(burst->frames[i], const uint8_t *);
	context.packet = &burst->packets[i];
	context.hint = &burst->hints[i];
	return context;
}

/* A tenth of what a port may send in a second, it may send at once. */
enum { RATE_BURST_SHARE = 10 };

static inline bool within_rate(
	struct worker *worker, struct port *in, uint64_t rate_bps, const struct rte_mbuf *frame)
{
	return rate_bps == 0 || storm_admit(&in->rate_bucket, rate_bps, rate_bps / RATE_BURST_SHARE,
					8ull * rte_pktmbuf_pkt_len(frame), worker->clock_ns);
}

bool worker_would_admit(const struct port *in, const struct port_settings *settings,
	uint32_t frame_bytes, uint64_t clock_ns)
{
	uint64_t rate_bps = settings->ingress_rate_bps;

	return storm_would_admit(&in->rate_bucket, rate_bps, rate_bps / RATE_BURST_SHARE,
		8ull * frame_bytes, clock_ns);
}

/* Parses frames, and drops those that cannot be parsed, until the first of a datagram in fragments
 * that is now whole, which is left at burst->n, or to the end.  Returns the number of frames looked
 * at. */
static inline uint16_t parse_burst(struct worker *worker, struct burst *burst, uint16_t n_received)
{
	const struct conn_table *table = worker->sw->connections;
	const struct port_settings *settings = burst->common.settings;
	const bool many = conn_count(table) > BUCKETS_IN_CACHE;

	for (uint16_t i = 0; i < n_received; i++) {
		struct rte_mbuf *frame = burst->frames[i];
		struct packet *packet = &burst->packets[burst->n];
		enum drop_reason reason = DROP_RATE_LIMIT;

		/* A network card has written it; what was copied is in the cache already. */
		if (i + FRAMES_AHEAD < n_received)
			rte_prefetch0(
				rte_pktmbuf_mtod(burst->frames[i + FRAMES_AHEAD], const void *));
		if (likely(within_rate(
			    worker, burst->common.in, settings->ingress_rate_bps, frame)))
			reason = parse(burst->common.in, settings, frame, packet);
		if (unlikely(reason != DROP_NONE)) {
			packet_drop(worker, frame, reason);
			continue;
		}
		if (unlikely(packet->flags & PACKET_FRAGMENT)) {
			frame = reassembly_add(worker, frame, packet, &burst->followers);
			if (frame == NULL)
				continue;
			burst->frames[burst->n] = frame;
			return i + 1;
		}
		packet->hash = conn_hash(table, &packet->key);
		if (many)
			conn_prefetch_bucket(table, packet->hash);
		burst->frames[burst->n++] = frame;
	}
	return n_received;
}

/* Fetches the memory of packet i's flow and connection; or, if it has none, of what is going to be
 * asked instead. */
static inline void look_ahead(struct worker *worker, struct burst *burst, uint16_t i)
{
	burst->flows[i] = conn_prefetch_flow(worker->sw->connections, burst->packets[i].hash);
	burst->hints[i].in_port = 0;
	if (unlikely(burst->flows[i] == CONN_FLOW_NONE)) {
		struct packet_context context = context_of(burst, i);

		miss_prefetch(&context);
	}
}

/* Takes the frames that were parsed to the batches of their output ports. */
static inline void switch_parsed(struct worker *worker, struct burst *burst)
{
	const struct conn_table *table = worker->sw->connections;

	for (uint16_t i = 0; i < burst->n && i < LOOK_AHEAD; i++)
		look_ahead(worker, burst, i);
	for (uint16_t i = 0; i < burst->n; i++) {
		struct packet_context context = context_of(burst, i);

		if (i + LOOK_AHEAD < burst->n)
			look_ahead(worker, burst, i + LOOK_AHEAD);
		switch_packet(&context,
			conn_lookup_hinted(table, &burst->packets[i].key, burst->packets[i].hash,
				burst->flows[i]),
			ONE_FRAME);
	}
}

/* The same for the datagram behind them: one packet, in worker->followers all frames but the first.
 */
static __rte_noinline void switch_datagram(struct packet_context *context)
{
	const struct conn_table *table = context->worker->sw->connections;
	struct packet *packet = context->packet;

	packet->hash = conn_hash(table, &packet->key);
	context->hint->in_port = 0;
	switch_packet(context, conn_lookup(table, &packet->key, packet->hash), DATAGRAM);
}

/* Takes the frames of a burst to the batches of their output ports, up to the one that makes a
 * datagram whole, whose turn is then.  Returns the number of frames taken. */
static __rte_noinline uint16_t switch_some(
	struct worker *worker, struct port *in, struct rte_mbuf **frames, uint16_t n_received)
{
	struct cordon_switch *sw = worker->sw;
	struct burst burst;

	burst.n = 0;
	burst.followers.n = 0;
	burst.frames = frames;
	burst.revisions.forwarding =
		atomic_load_explicit(&sw->forwarding_revision, memory_order_acquire);
	burst.revisions.policy = atomic_load_explicit(&sw->policy_epoch, memory_order_acquire);
	burst.common.worker = worker;
	burst.common.in = in;
	burst.common.settings = atomic_load_explicit(&in->settings, memory_order_acquire);
	burst.common.revisions = &burst.revisions;

	uint16_t taken = parse_burst(worker, &burst, n_received);
	switch_parsed(worker, &burst);
	if (unlikely(burst.followers.n != 0)) {
		struct packet_context context = context_of(&burst, burst.n);

		worker->followers = burst.followers;
		switch_datagram(&context);
	}
	return taken;
}

static void switch_frames(
	struct worker *worker, struct port *in, struct rte_mbuf **frames, uint16_t n_received)
{
	for (uint16_t at = 0; at < n_received;)
		at += switch_some(worker, in, frames + at, n_received - at);
}

void worker_switch(
	struct worker *worker, struct port *in, struct rte_mbuf **frames, uint16_t n_received)
{
	switch_frames(worker, in, frames, n_received);
}

static void switch_burst(
	struct worker *worker, struct port *in, struct rte_mbuf **frames, uint16_t n_received)
{
	switch_frames(worker, in, frames, n_received);
	output_flush(worker);
}

/* --- the thread ----------------------------------------------------------------------------- */

void worker_read_clocks(struct worker *worker)
{
	struct timespec wall, boot;

	clock_gettime(CLOCK_REALTIME, &wall);
	clock_gettime(CLOCK_BOOTTIME, &boot);
	worker->now_ns = (uint64_t)wall.tv_sec * 1000000000u + (uint64_t)wall.tv_nsec;
	worker->clock_ns = (uint64_t)boot.tv_sec * 1000000000u + (uint64_t)boot.tv_nsec;
	worker->now = (uint32_t)boot.tv_sec;
}

/* Tells the guests.  One barrier for all that was done since the last time: see
 * vhost_ring_wants_interrupt(). */
static void notify_guests(struct worker *worker)
{
	if (worker->n_notices == 0)
		return;
	rte_smp_mb();
	for (uint16_t i = 0; i < worker->n_notices; i++) {
		const struct notice *notice = &worker->notices[i];

		port_notify(notice->port, notice->work == PORT_SENT ? worker->id : notice->queue,
			notice->work);
	}
	worker->n_notices = 0;
}

void worker_note(struct worker *worker, struct port *port, uint16_t queue, enum port_work work)
{
	if (worker->n_notices == NOTICES_MAX)
		notify_guests(worker);
	worker->notices[worker->n_notices++] =
		(struct notice){.port = port, .queue = queue, .work = work};
}

enum queue_kind { ORDINARY, CAPTURED };

/* Serves one queue; the clocks are read for the first that has frames.  Returns the number of
 * frames received. */
static __rte_always_inline unsigned int poll_queue(
	struct worker *worker, struct poll_entry *entry, bool is_first, enum queue_kind kind)
{
	struct rte_mbuf *frames[BURST_MAX];
	uint16_t n = port_rx(entry->port, entry->queue, frames, BURST_MAX);

	if (n == 0)
		return 0;
	uint64_t begin = rte_rdtsc();
	if (is_first)
		worker_read_clocks(worker);
	worker->drops = entry->port->drops[entry->queue];
	if (kind == CAPTURED)
		capture_receive(worker, entry->port, frames, n, NULL);
	else
		switch_burst(worker, entry->port, frames, n);
	port_rx_done(entry->port, entry->queue);
	if (port_wants_notify(entry->port))
		worker_note(worker, entry->port, entry->queue, PORT_RECEIVED);
	entry->credit -= (int64_t)(rte_rdtsc() - begin);
	return n;
}

/* Polls every queue of a list once, but for those that have used up their time: a turn is as long
 * as a burst of known connections takes, and who sends what takes longer, such as new connections
 * without end, waits for some rounds.  So time is shared between queues, and not frames (deficit
 * round robin, Shreedhar and Varghese 1995, by cycles).  While nobody else sends, rounds are so
 * short that it costs nothing.  Returns the number of frames received, in addition to `received`.
 */
static __rte_always_inline unsigned int poll_list(
	struct worker *worker, struct poll_list *list, unsigned int received, enum queue_kind kind)
{
	for (size_t i = 0; list != NULL && i < list->n; i++) {
		struct poll_entry *entry = &list->at[i];

		/* A worker that was preempted must not make a queue pay for it for long. */
		entry->credit = RTE_MIN(
			RTE_MAX(entry->credit, -CREDIT_LEAST) + TURN_CYCLES, (int64_t)TURN_CYCLES);
		if (unlikely(entry->credit <= 0))
			continue;
		received += poll_queue(worker, entry, received == 0, kind);
	}
	return received;
}

/* --- errands: frames that an operator injects, and captured queues -------------------------- */

static bool is_on_list(const struct poll_list *list, const struct port *port, uint16_t queue)
{
	for (size_t i = 0; list != NULL && i < list->n; i++)
		if (list->at[i].port == port && list->at[i].queue == queue)
			return true;
	return false;
}

bool worker_polls(const struct worker *worker, const struct port *port, uint16_t queue)
{
	return is_on_list(
		       atomic_load_explicit(&worker->polls, memory_order_acquire), port, queue) ||
	       is_on_list(
		       atomic_load_explicit(&worker->captured, memory_order_acquire), port, queue);
}

/* Adds what was counted so far, or takes it off: the difference is what one frame has done. */
static void note_counts(const struct worker *worker, struct injection *injection, uint64_t sign)
{
	const struct worker_stats *stats = &worker->stats;

	for (unsigned int i = 0; i < DROP_N_REASONS; i++)
		injection->drops[i] +=
			sign * (atomic_load_explicit(&worker->drops[i], memory_order_relaxed) +
				       worker->output_drops[i]);
	injection->copied += sign * atomic_load_explicit(&stats->copied, memory_order_relaxed);
	injection->answered += sign * atomic_load_explicit(&stats->answered, memory_order_relaxed);
}

void inject_note_outputs(const struct worker *worker, struct injection *injection)
{
	for (uint16_t i = 0; i < worker->n_pending; i++) {
		uint16_t number = worker->pending[i];

		injection->outputs[injection->n_outputs++] =
			(struct injected_output){.port = number, .frames = worker->tx[number].n};
	}
}

/* Switches the frame in the worker's slot.  Returns the number of frames received. */
static unsigned int switch_injected(struct worker *worker)
{
	struct injection *injection =
		atomic_exchange_explicit(&worker->injection, NULL, memory_order_acquire);

	if (injection == NULL)
		return 0;
	if (worker_polls(worker, injection->port, injection->queue)) {
		injection->switched = true;
		worker_read_clocks(worker);
		worker->drops = injection->port->drops[injection->queue];
		note_counts(worker, injection, -UINT64_C(1));
		port_count_injected(injection->port, injection->queue, injection->frame);
		capture_receive(worker, injection->port, &injection->frame, 1, injection);
		note_counts(worker, injection, 1);
	}
	bool switched = injection->switched;
	atomic_store_explicit(&injection->done, true, memory_order_release);
	return switched;
}

/* Returns the number of frames received, in addition to `received`. */
static __rte_noinline unsigned int run_errands(struct worker *worker, unsigned int received)
{
	uint32_t errands = atomic_fetch_and(&worker->errands, ~(uint32_t)ERRAND_INJECTION);

	if (errands & ERRAND_CAPTURED)
		received = poll_list(worker,
			atomic_load_explicit(&worker->captured, memory_order_acquire), received,
			CAPTURED);
	if (errands & ERRAND_INJECTION)
		received += switch_injected(worker);
	return received;
}

/* --- poll rounds ---------------------------------------------------------------------------- */

/* Polls every queue once.  Returns the number of frames received. */
static unsigned int poll_queues(struct worker *worker)
{
	unsigned int received = poll_list(
		worker, atomic_load_explicit(&worker->polls, memory_order_acquire), 0, ORDINARY);

	if (unlikely(atomic_load_explicit(&worker->errands, memory_order_relaxed) != 0))
		received = run_errands(worker, received);
	notify_guests(worker);
	return received;
}

static void tell_overdue(struct worker *worker)
{
	const struct event_source from = worker_events(worker);

	event_overdue(&from);
}

/* Nothing came.  Spins for a while, since the next frame is most often near; then sleeps, longer as
 * the silence lasts, in a quiescent state. */
static void idle(struct worker *worker, uint64_t idle_cycles)
{
	uint64_t idle_us = idle_cycles / worker->cycles_per_us;

	if (idle_us < SPIN_US) {
		rte_pause();
		return;
	}
	uint64_t sleep_us =
		idle_us / SLEEP_SHARE < SLEEP_MAX_US ? idle_us / SLEEP_SHARE : SLEEP_MAX_US;
	worker_read_clocks(worker);
	tell_overdue(worker);
	reassembly_expire(worker);
	atomic_store_explicit(&worker->stats.asleep, true, memory_order_relaxed);
	counter_add(&worker->stats.sleeps, 1);
	ovsrcu_quiesce_start();
	nanosleep(&(struct timespec){.tv_nsec = (long)sleep_us * 1000}, NULL);
	ovsrcu_quiesce_end();
}

static void poll_forever(struct worker *worker)
{
	uint64_t before = rte_rdtsc(), last_frame = before;

	for (unsigned int polls = 1; !atomic_load_explicit(&worker->sw->stop, memory_order_relaxed);
		polls++) {
		unsigned int received = poll_queues(worker);
		uint64_t now = rte_rdtsc();

		counter_add(&worker->stats.polls, 1);
		counter_add(&worker->stats.total_cycles, now - before);
		if (received != 0) {
			counter_add(&worker->stats.packets, received);
			counter_add(&worker->stats.busy_cycles, now - before);
			last_frame = now;
			atomic_store_explicit(&worker->stats.asleep, false, memory_order_relaxed);
		} else {
			idle(worker, now - last_frame);
		}
		before = now;
		if (polls % QUIESCE_EVERY == 0) {
			tell_overdue(worker);
			reassembly_expire(worker);
			ovsrcu_try_quiesce();
		}
	}
}

static void *worker_main(void *worker_)
{
	struct worker *worker = worker_;

	if (worker->cpu >= 0) {
		cpu_set_t cpus;

		CPU_ZERO(&cpus);
		CPU_SET(worker->cpu, &cpus);
		if (pthread_setaffinity_np(pthread_self(), sizeof(cpus), &cpus) != 0)
			VLOG_WARN("worker %u cannot be pinned to CPU %d and runs on any; name "
				  "CPUs that this host has with --cores",
				worker->id, worker->cpu);
	}
	if (rte_thread_register() != 0)
		VLOG_WARN("worker %u has no place in DPDK's thread table: its buffers are "
			  "allocated without a cache, and slower",
			worker->id);
	worker->thread_id = ovsthread_id_self();
	worker_read_clocks(worker);
	poll_forever(worker);
	const struct event_source from = worker_events(worker);
	event_held_back(&from);
	reassembly_flush(worker);
	rte_thread_unregister();
	return NULL;
}

void worker_destroy(struct worker *worker)
{
	log_ring_close(&worker->events);
	reassembly_destroy(worker->reassembly);
	log_cap_destroy(worker->log_cap);
	limit_cache_destroy(worker->limit_cache);
	free(atomic_load(&worker->polls));
	free(atomic_load(&worker->captured));
	rte_free(worker);
}

struct worker *worker_start(struct cordon_switch *sw, unsigned int id, int cpu)
{
	struct worker *worker = rte_zmalloc("worker", sizeof(*worker), CONN_CACHE_LINE);
	char name[16];

	if (worker == NULL)
		return NULL;
	worker->sw = sw;
	worker->id = id;
	worker->cpu = cpu;
	worker->cycles_per_us = rte_get_tsc_hz() / 1000000;
	worker->log_cap = log_cap_create();
	worker->limit_cache = limit_cache_create();
	worker->reassembly = reassembly_create(worker);
	snprintf(name, sizeof(name), "events%u", id);
	if (worker->log_cap == NULL || worker->reassembly == NULL || worker->limit_cache == NULL ||
		log_ring_open(&worker->events, name, EVENTS_PER_WORKER) != 0) {
		worker_destroy(worker);
		return NULL;
	}
	snprintf(name, sizeof(name), "worker%u", id);
	worker->thread = ovs_thread_create(name, worker_main, worker);
	return worker;
}

void worker_join(struct worker *worker)
{
	pthread_join(worker->thread, NULL);
	conn_cache_flush(worker->sw->connections, &worker->conn_cache);
}

void worker_give_way(const struct cordon_switch *sw)
{
	cpu_set_t cpus;

	(void)setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + GIVE_WAY_NICE);
	if (pthread_getaffinity_np(pthread_self(), sizeof(cpus), &cpus) != 0)
		return;
	for (unsigned int i = 0; i < sw->n_workers; i++) {
		if (sw->workers[i]->cpu >= 0)
			CPU_CLR(sw->workers[i]->cpu, &cpus);
	}
	if (CPU_COUNT(&cpus) != 0)
		(void)pthread_setaffinity_np(pthread_self(), sizeof(cpus), &cpus);
}
