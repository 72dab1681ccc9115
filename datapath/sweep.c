/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sweep: a thread that walks the connection table and ends what has timed out, writes the end
 * records, closes connections that a new policy denies though no packet came, keeps the MACs of
 * busy flows fresh, and frees action programs that no flow names any more.
 *
 * A pass goes through the table in steps, a fraction of a second apart, so that a table of any size
 * costs about the same share of a CPU.  Ended connections are unlinked at once and freed after a
 * grace period, a batch at a time.
 */
#include <config.h>

#include "datapath/switch.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "datapath/expectation.h"
#include "openvswitch/vlog.h"
#include "ovs-rcu.h"
#include "ovs-thread.h"
#include "timeval.h"
#include "log/cap.h"

VLOG_DEFINE_THIS_MODULE(sweep);

#define SECOND_NS UINT64_C(1000000000)

enum {
	STEP_MS = 200,
	STEP_CONNECTIONS = 1 << 17, /* Looked at in one step at most, unless the table fills up. */
	PASS_MS = 1000,		    /* A pass takes at least so long... */
	BUSY_PERCENT = 50,	    /* ...and no longer, when the table is so full. */
	BATCH = 8192,		    /* Connections freed by one grace period. */
	RECENT = 256,
	OVERDUE_LOOKS = 64, /* In each step. */
};

/* What was done for the MACs of the flows with one program, in this step. */
struct refreshed {
	uint32_t program, net, seen;
	uint16_t in_port;
	bool used, elsewhere; /* See refresh(). */
};

struct sweep {
	struct cordon_switch *sw;
	pthread_t thread;
	uint32_t now;
	uint64_t now_ns;
	uint64_t clock_ns; /* Since boot. */
	struct log_cap *log_cap;
	uint32_t cap_revision; /* See struct worker. */
	uint32_t policy_epoch; /* Of this step. */
	uint32_t last_pass;    /* When the pass before this one began, on conn_clock(). */
	uint32_t this_pass;    /* When this one did. */
	uint32_t pass_epoch;   /* When this pass began. */
	uint64_t last_pass_ns, this_pass_ns; /* The same by the wall clock. */
	uint32_t update_seconds;	     /* Between two update records; 0: none. */
	uint32_t settled_epoch;		     /* All idle connections were judged under it. */
	const struct timeouts *timeouts;
	uint32_t n_ended;
	uint32_t ended[BATCH];			 /* Unlinked, waiting for a grace period. */
	struct rule_hits_settled settled[BATCH]; /* What they had when they were. */
	struct counted counted;			 /* What the last of them counted in, all alike. */
	struct limit_cache *limit_cache;
	struct refreshed recent[RECENT];
};

static struct rule_hits_time sweep_time(const struct sweep *sweep)
{
	return (struct rule_hits_time){.wall_ns = sweep->now_ns, .seconds = sweep->now};
}

static struct event_source sweep_events(struct sweep *sweep)
{
	return (struct event_source){.ring = &sweep->sw->sweep_events,
		.cap = sweep->log_cap,
		.cap_revision = &sweep->cap_revision,
		.now_ns = sweep->now_ns,
		.clock_ns = sweep->clock_ns};
}

/* The workers count in the same words all the time: many are taken off at once. */
static void give_back_quota(struct sweep *sweep)
{
	quota_give_back(sweep->sw, &sweep->counted);
	sweep->counted = (struct counted){0};
}

static bool count_alike(const struct counted *a, const struct counted *b)
{
	return a->port == b->port && a->uplink == b->uplink && a->limits == b->limits;
}

static void free_ended(struct sweep *sweep)
{
	give_back_quota(sweep);
	if (sweep->n_ended == 0)
		return;
	ovsrcu_synchronize();
	for (uint32_t i = 0; i < sweep->n_ended; i++)
		rule_hits_late(sweep->sw->hits, sweep->sw->connections, &sweep->settled[i],
			sweep_time(sweep));
	conn_free(sweep->sw->connections, sweep->ended, sweep->n_ended);
	sweep->n_ended = 0;
}

static void end(struct sweep *sweep, struct conn *conn, uint32_t number, enum end_reason reason)
{
	if (!conn_unlink(sweep->sw->connections, number))
		return;
	if (atomic_fetch_and(&conn->flags, (uint8_t)~CONN_LOGGED) & CONN_LOGGED)
		event_connection(&sweep->sw->sweep_events, sweep->sw, number, LOG_END, reason,
			sweep->now_ns);
	const struct counted counted = quota_take(sweep->sw->connections, number);
	if (!count_alike(&counted, &sweep->counted))
		give_back_quota(sweep);
	sweep->counted.port = counted.port;
	sweep->counted.uplink = counted.uplink;
	sweep->counted.limits = counted.limits;
	sweep->counted.quota += counted.quota;
	sweep->counted.in_limits += counted.in_limits;
	sweep->counted.half_open_in_limits += counted.half_open_in_limits;
	sweep->settled[sweep->n_ended] =
		rule_hits_end(sweep->sw->hits, sweep->sw->connections, number, sweep_time(sweep));
	sweep->ended[sweep->n_ended++] = number;
}

static enum end_reason timeout_reason(const struct conn *conn)
{
	uint8_t flags = atomic_load(&conn->flags);

	if (flags & CONN_TCP) {
		switch (tcp_state(&conn->dir[0].tcp, &conn->dir[1].tcp)) {
		case TCP_CLOSED: return END_RESET;
		case TCP_CLOSING:
		case TCP_TIME_WAIT: return END_FIN;
		default: break;
		}
	}
	return flags & CONN_CONFIRMED ? END_TIMEOUT : END_UNANSWERED;
}

/* True if the policy in force denies a connection that was made under another one and has had no
 * packet since.  An allowed one takes over the new rule and revision. */
static bool is_denied_now(
	struct sweep *sweep, struct conn *conn, uint32_t number, const struct flow *flow)
{
	const struct event_source from = sweep_events(sweep);
	struct verdict verdict = {.action = ZONE_DENY};
	const struct port *in = switch_port(sweep->sw, flow->key.in_port);
	const struct port *out = switch_port(sweep->sw, atomic_load(&conn->out_port));

	if (atomic_load(&conn->verdict) != CONN_ALLOWED || in == NULL || out == NULL)
		return false;
	/* Read after the ports: never older than they are. */
	const struct endpoint_map *endpoints =
		atomic_load_explicit(&sweep->sw->endpoints, memory_order_acquire);
	related_decide(endpoints, in, out, sweep->sw->connections, number, &verdict);
	if (connection_set_verdict(sweep->sw, number, &verdict, sweep_time(sweep)) &&
		verdict.action == ZONE_ALLOW)
		simulation_note(sweep->sw, endpoints, &from, number);
	if (unlikely(connection_limits_concern(conn, &verdict)))
		connection_limits_move(sweep->sw, sweep->limit_cache, endpoints, number, &verdict);
	return verdict.action != ZONE_ALLOW;
}

/* Where the program sends to, if it is one port. */
static uint16_t only_output(const struct program *program)
{
	if (program->n_actions == 0)
		return 0;
	const struct action *last = &program->actions[program->n_actions - 1];

	return last->type == ACTION_OUTPUT ? last->argument : 0;
}

/* Keeps the source of flows with this program fresh, if they were used.  True if one end has come
 * back at another port.  Most flows share a few programs: what was just found is not looked up
 * again. */
static bool refresh_macs(struct sweep *sweep, const struct refreshed *asked)
{
	struct mac_table *macs = sweep->sw->macs;
	struct refreshed *last = &sweep->recent[asked->program % RECENT];
	const struct program *program = program_get(sweep->sw->programs, asked->program);
	uint16_t vlan = asked->net & 0xfff, from, to, output = only_output(program);

	if (last->program == asked->program && last->net == asked->net &&
		last->seen == asked->seen && last->in_port == asked->in_port &&
		last->used == asked->used)
		return last->elsewhere;
	from = asked->used
		       ? mac_refresh(macs, vlan, program->source_mac, asked->in_port, asked->seen)
		       : mac_lookup(macs, vlan, program->source_mac);
	to = mac_lookup(macs, vlan, program->destination_mac);
	*last = *asked;
	last->elsewhere =
		(to != 0 && output != 0 && to != output) || (from != 0 && from != asked->in_port);
	return last->elsewhere;
}

/* The program of a flow stays in use, and the address of one that had traffic stays fresh.  A flow
 * of which one end was forgotten, and has come back at another port, is sent through the miss path.
 */
static void refresh(
	struct sweep *sweep, struct conn *conn, struct flow *flow, unsigned int direction)
{
	struct cordon_switch *sw = sweep->sw;
	uint32_t number = atomic_load_explicit(&flow->program, memory_order_acquire);
	uint32_t seen = atomic_load_explicit(&flow->last_seen, memory_order_relaxed);

	if (number == PROGRAM_NONE)
		return;
	program_mark(sw->programs, number);
	/* A reverse flow that is not in the index may be given another key at any moment. */
	if (direction == 1 && !(atomic_load(&conn->flags) & CONN_REVERSE))
		return;
	/* An answer that is prepared, but has not come, is no traffic. */
	bool used = atomic_load_explicit(&conn->dir[direction].packets, memory_order_relaxed) != 0;
	if (used && (int32_t)(seen - sweep->last_pass) < 0)
		return;
	const struct refreshed asked = {
		.program = number,
		.net = flow->key.net,
		.seen = seen,
		.in_port = flow->key.in_port,
		.used = used,
	};
	if (refresh_macs(sweep, &asked))
		atomic_store_explicit(&flow->forwarding_revision, 0, memory_order_release);
}

/* How many update records were due when the connection was so old. */
static uint64_t updates_due(const struct sweep *sweep, const struct conn *conn, uint64_t time_ns)
{
	return time_ns > conn->start_ns
		       ? (time_ns - conn->start_ns) / (sweep->update_seconds * SECOND_NS)
		       : 0;
}

/* Says now and then that a long connection is still there, if it had traffic meanwhile.  Each is
 * due at its own time, so they do not come all at once; and the time of the pass stands for that of
 * the look, so none is missed and none comes twice. */
static void tell_update(
	struct sweep *sweep, const struct conn *conn, uint32_t number, uint32_t idle)
{
	if (sweep->update_seconds == 0 || idle >= sweep->update_seconds ||
		!(atomic_load(&conn->flags) & CONN_LOGGED) ||
		updates_due(sweep, conn, sweep->this_pass_ns) <=
			updates_due(sweep, conn, sweep->last_pass_ns))
		return;
	event_connection(&sweep->sw->sweep_events, sweep->sw, number, LOG_UPDATE, 0, sweep->now_ns);
}

static uint32_t idle_seconds(const struct sweep *sweep, const struct flow *a, const struct flow *b)
{
	uint32_t seen_a = atomic_load_explicit(&a->last_seen, memory_order_relaxed);
	uint32_t seen_b = atomic_load_explicit(&b->last_seen, memory_order_relaxed);
	int32_t idle = (int32_t)(sweep->now - (seen_a > seen_b ? seen_a : seen_b));

	return idle > 0 ? (uint32_t)idle : 0;
}

static void look_at(struct conn_table *table, uint32_t number, void *sweep_)
{
	struct sweep *sweep = sweep_;
	struct conn *conn = conn_of_flow(table, 2 * number);
	struct flow *forward = conn_flow(table, 2 * number);
	struct flow *reverse = conn_flow(table, 2 * number + 1);
	uint32_t idle = idle_seconds(sweep, forward, reverse);

	if (atomic_load(&conn->flags) & CONN_CLOSE_NOW) {
		uint16_t out = atomic_load(&conn->out_port);
		bool gone = switch_port(sweep->sw, forward->key.in_port) == NULL ||
			    (out != 0 && switch_port(sweep->sw, out) == NULL);

		end(sweep, conn, number, gone ? END_PORT_REMOVED : END_FLUSHED);
	} else if (sweep->timeouts != NULL && idle >= connection_timeout(sweep->timeouts, table,
							      conn, forward->key.protocol)) {
		end(sweep, conn, number, timeout_reason(conn));
	} else if (sweep->policy_epoch != sweep->settled_epoch &&
		   atomic_load(&forward->policy_epoch) != sweep->policy_epoch &&
		   is_denied_now(sweep, conn, number, forward)) {
		end(sweep, conn, number, END_POLICY);
	} else {
		refresh(sweep, conn, forward, 0);
		refresh(sweep, conn, reverse, 1);
		rule_hits_visit(sweep->sw->hits, table, number, sweep_time(sweep));
		tell_update(sweep, conn, number, idle);
	}
}

/* Of a last pass. */
static void visit(struct conn_table *table, uint32_t number, void *sweep_)
{
	const struct sweep *sweep = sweep_;

	rule_hits_visit(sweep->sw->hits, table, number, sweep_time(sweep));
}

static uint64_t read_clock(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

static void read_clocks(struct sweep *sweep)
{
	sweep->now_ns = read_clock(CLOCK_REALTIME);
	sweep->clock_ns = read_clock(CLOCK_BOOTTIME);
	sweep->now = conn_clock();
}

/* Looks through a quarter of what the log's cap holds back. */
static void tell_overdue(struct sweep *sweep)
{
	const struct event_source from = sweep_events(sweep);

	for (unsigned int i = 0; i < OVERDUE_LOOKS; i++)
		event_overdue(&from);
}

/* A table that fills up needs what is over back soon, so it is gone through once in PASS_MS. */
static uint32_t step_size(const struct conn_table *table)
{
	uint32_t high = conn_high_water(table), quick = high / (PASS_MS / STEP_MS) + 1;
	bool busy = conn_count(table) > conn_capacity(table) / 100 * BUSY_PERCENT;

	return busy && quick > STEP_CONNECTIONS ? quick : STEP_CONNECTIONS;
}

/* Looks at the connections from `first` on.  Returns where to go on. */
static uint32_t step(struct sweep *sweep, uint32_t first)
{
	struct cordon_switch *sw = sweep->sw;
	uint32_t limit = conn_high_water(sw->connections), size = step_size(sw->connections);

	if (limit - first > size && limit > first)
		limit = first + size;
	read_clocks(sweep);
	memset(sweep->recent, 0, sizeof(sweep->recent));
	sweep->policy_epoch = atomic_load_explicit(&sw->policy_epoch, memory_order_acquire);
	sweep->timeouts = atomic_load_explicit(&sw->timeouts, memory_order_acquire);
	for (uint32_t at = first; at < limit; at += BATCH) {
		uint32_t end_of_batch = limit - at > BATCH ? at + BATCH : limit;

		conn_for_each(sw->connections, at, end_of_batch, look_at, sweep);
		rule_hits_pause(sw->hits, end_of_batch);
		if (sweep->n_ended != 0) {
			free_ended(sweep);
			sweep->timeouts = atomic_load_explicit(&sw->timeouts, memory_order_acquire);
		}
	}
	tell_overdue(sweep);
	return limit;
}

static void finish_pass(struct sweep *sweep)
{
	struct cordon_switch *sw = sweep->sw;
	size_t aged = mac_expire(sw->macs, sweep->now, atomic_load(&sw->mac_age_seconds));

	ovsrcu_synchronize(); /* Nobody still carries out what was retired a pass ago. */
	program_sweep(sw->programs);
	rule_hits_end_pass(sw->hits);
	if (atomic_load(&sw->policy_epoch) == sweep->pass_epoch)
		sweep->settled_epoch = sweep->pass_epoch;
	if (aged != 0)
		VLOG_DBG("%zu MAC addresses aged out", aged);
}

/* The pass under way has been at some connections before their last packets, and others have begun
 * behind its back: once more, now that nobody counts any more. */
static void finish_hits(struct sweep *sweep, uint32_t at)
{
	struct conn_table *table = sweep->sw->connections;

	conn_for_each(table, at, conn_high_water(table), visit, sweep);
	rule_hits_end_pass(sweep->sw->hits);
	conn_for_each(table, 0, conn_high_water(table), visit, sweep);
	rule_hits_end_pass(sweep->sw->hits);
}

static void *sweep_main(void *sweep_)
{
	struct sweep *sweep = sweep_;
	uint32_t at = 0;

	worker_give_way(sweep->sw);
	long long int pass_began = time_msec();

	while (!atomic_load(&sweep->sw->stop)) {
		if (at == 0) {
			sweep->pass_epoch = atomic_load(&sweep->sw->policy_epoch);
			sweep->last_pass = sweep->this_pass;
			sweep->this_pass = conn_clock();
			sweep->last_pass_ns = sweep->this_pass_ns;
			sweep->this_pass_ns = read_clock(CLOCK_REALTIME);
			sweep->update_seconds = atomic_load(&sweep->sw->log_update_seconds);
		}
		at = step(sweep, at);
		if (at >= conn_high_water(sweep->sw->connections) &&
			time_msec() - pass_began >= PASS_MS) {
			finish_pass(sweep);
			at = 0;
			pass_began = time_msec();
		}
		ovsrcu_quiesce_start();
		nanosleep(&(struct timespec){.tv_nsec = STEP_MS * 1000000L}, NULL);
		ovsrcu_quiesce_end();
	}
	const struct event_source from = sweep_events(sweep);

	event_held_back(&from);
	free_ended(sweep);
	finish_hits(sweep, at);
	return NULL;
}

struct sweep *sweep_start(struct cordon_switch *sw)
{
	struct sweep *sweep = calloc(1, sizeof(*sweep));

	if (sweep == NULL)
		return NULL;
	sweep->sw = sw;
	sweep->limit_cache = limit_cache_create();
	sweep->log_cap = log_cap_create();
	if (sweep->limit_cache == NULL || sweep->log_cap == NULL) {
		limit_cache_destroy(sweep->limit_cache);
		log_cap_destroy(sweep->log_cap);
		free(sweep);
		return NULL;
	}
	sweep->thread = ovs_thread_create("sweep", sweep_main, sweep);
	return sweep;
}

void sweep_join(struct sweep *sweep)
{
	if (sweep == NULL)
		return;
	pthread_join(sweep->thread, NULL);
	limit_cache_destroy(sweep->limit_cache);
	log_cap_destroy(sweep->log_cap);
	free(sweep);
}
