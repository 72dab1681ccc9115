/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stage: a switch with one worker, and the two ports that frames come from and go to.  Called
 * by the cases on the main thread; stage_rx() and stage_tx() by the worker.
 */
#include <config.h>

#include "tests/bench/instructions/stage.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <rte_mbuf.h>
#include <rte_ring.h>
#include <valgrind/callgrind.h>

#include "datapath/expectation.h"
#include "ovs-rcu.h"
#include "ovs-thread.h"

enum { PROGRAMS_MAX = 1 << 12, MACS_MAX = 1 << 12, EXPECTATIONS_MAX = 1 << 10, QUOTA = 1 << 20 };
enum { BUFFERS = FRAMES_MAX + 4095, BUFFER_CACHE = 256, BUFFER_BYTES = RTE_PKTMBUF_HEADROOM + 384 };

const struct stage_guest stage_guests[N_PORTS] = {
	[PORT_A] = {.ip4 = "10.0.0.1", .ip6 = "fd00::1", .mac = {0x02, 0, 0, 0, 0, 0xa}},
	[PORT_B] = {.ip4 = "10.0.0.2", .ip6 = "fd00::2", .mac = {0x02, 0, 0, 0, 0, 0xb}},
};

static const char policy_text[] =
	"zones:\n"
	"  a: {match: zone=a}\n"
	"  b: {match: zone=b}\n"
	"  internet: {cidrs: [0.0.0.0/0, '::/0']}\n"
	"policies:\n"
	"- id: p\n"
	"  rules:\n"
	"  - {id: no-tftp, from: a, to: b, service: udp/69, action: deny, log: denied}\n"
	"  - {id: web, from: internet, to: b, service: tcp/443, action: allow, log: session}\n"
	"  - {id: name-service, from: a, to: internet, service: udp/53, action: allow}\n"
	"  - {id: rest, from: a, to: b, action: allow, log: session}\n"
	"baseline: {between_zones: deny, within_zone: allow, log: denied}\n";

struct burst {
	uint16_t port, n;
	struct rte_mbuf *frames[BURST_MAX];
};

struct stage {
	struct cordon_switch sw;
	struct port *ports[N_PORTS];
	struct poll_list *polls;

	/* The main thread's between two runs, the worker's in one. */
	size_t n_bursts, at;
	struct burst bursts[BURSTS_MAX];
	uint32_t n_sent;
	struct rte_mbuf *sent[FRAMES_MAX];
	struct stage_result result;
	bool counted, counting;

	_Atomic bool running; /* Set by the main thread, cleared by the worker at the end. */
};

/* --- the ports, on the worker --------------------------------------------------------------- */

static inline void count(struct stage *stage, bool on)
{
	if (stage->counting == on)
		return;
	stage->counting = on;
	CALLGRIND_TOGGLE_COLLECT;
}

static uint16_t stage_rx(struct port *port, uint16_t queue, struct rte_mbuf **frames, uint16_t n)
{
	struct stage *stage = port->private;

	(void)queue;
	(void)n;
	count(stage, false);
	if (!atomic_load_explicit(&stage->running, memory_order_acquire))
		return 0;
	if (stage->at == stage->n_bursts) {
		atomic_store_explicit(&stage->running, false, memory_order_release);
		return 0;
	}
	const struct burst *burst = &stage->bursts[stage->at];
	if (burst->port != port->number)
		return 0;
	stage->at++;
	memcpy(frames, burst->frames, burst->n * sizeof(frames[0]));
	stage->result.received += burst->n;
	n = burst->n;
	count(stage, stage->counted);
	return n;
}

static uint16_t stage_tx(struct port *port, uint16_t queue, struct rte_mbuf **frames, uint16_t n)
{
	struct stage *stage = port->private;
	bool counting = stage->counting;

	(void)queue;
	count(stage, false);
	memcpy(stage->sent + stage->n_sent, frames, n * sizeof(frames[0]));
	stage->n_sent += n;
	stage->result.sent[port->number] += n;
	count(stage, counting);
	return n;
}

static void stage_poll_status(struct port *port)
{
	(void)port;
}

static const struct port_backend stage_backend = {
	.type = "stage",
	.rx = stage_rx,
	.tx = stage_tx,
	.poll_status = stage_poll_status,
};

/* --- the switch ----------------------------------------------------------------------------- */

static struct port_settings *make_settings(const struct stage_guest *guest)
{
	struct port_settings *settings = calloc(1, sizeof(*settings));

	if (settings == NULL)
		give_up("no memory for a port's settings");
	*settings = (struct port_settings){
		.role = PORT_VNIC,
		.spoof_guard = true,
		.n_macs = 1,
		.macs = malloc(6),
		.n_addresses = 2,
		.addresses = calloc(2, sizeof(struct in6_addr)),
		.connection_limit = QUOTA,
		.half_open_limit = QUOTA,
		.half_open_sure = QUOTA,
		.storm_limit = 1000,
	};
	if (settings->macs == NULL || settings->addresses == NULL ||
		!ip_address_parse(guest->ip4, &settings->addresses[0]) ||
		!ip_address_parse(guest->ip6, &settings->addresses[1]))
		give_up("no memory for a port's addresses");
	memcpy(settings->macs[0], guest->mac, 6);
	return settings;
}

static void add_port(struct stage *stage, uint16_t number)
{
	struct port *port = aligned_alloc(64, RTE_ALIGN_CEIL(sizeof(*port), 64));

	if (port == NULL)
		give_up("no memory for a port");
	memset(port, 0, sizeof(*port));
	port->number = number;
	port->n_rx_queues = port->n_tx_queues = 1;
	port->mtu = 1500;
	port->backend = &stage_backend;
	port->environment = &stage->sw.environment;
	port->private = stage;
	atomic_store(&port->link_up, true);
	atomic_store(&port->settings, make_settings(&stage_guests[number]));
	port_resume(port);
	stage->ports[number] = port;
	atomic_store(&stage->sw.ports[number], port);
	mac_add_static(stage->sw.macs, 0, stage_guests[number].mac, number);
}

static void enforce_policy(struct stage *stage)
{
	struct policy_errors errors = {.n = 0};
	struct zone_policy *policy =
		zone_policy_create(policy_text, strlen(policy_text), 1, 0, &errors);
	struct endpoint_map_entry entries[N_PORTS - 1];

	if (policy == NULL)
		give_up("the policy, line %u: %s", errors.at[0].line, errors.at[0].message);
	for (uint16_t port = PORT_A; port < N_PORTS; port++) {
		const struct port_settings *settings = atomic_load(&stage->ports[port]->settings);

		entries[port - PORT_A] = (struct endpoint_map_entry){
			.port = port,
			.zone = (uint16_t)zone_find(policy, port == PORT_A ? "a" : "b"),
			.addresses = settings->addresses,
			.n_addresses = settings->n_addresses,
		};
	}
	atomic_store(&stage->sw.policies[0], policy);
	rule_hits_add_revision(stage->sw.hits, policy, 1);
	atomic_store(&stage->sw.endpoints, endpoint_map_create(policy, entries, N_PORTS - 1));
}

static void open_connections(struct cordon_switch *sw, uint32_t capacity)
{
	char path[64];
	struct conn_open_report report;

	snprintf(path, sizeof(path), "/dev/shm/cordon-instructions.%d", (int)getpid());
	sw->connections = conn_table_open(path, capacity, (const uint8_t[16]){1}, &report);
	unlink(path);
	if (sw->connections == NULL)
		give_up("no connection table: %s", report.why);
}

static void start_worker(struct stage *stage)
{
	struct cordon_switch *sw = &stage->sw;

	stage->polls = malloc(sizeof(*stage->polls) + 2 * sizeof(stage->polls->at[0]));
	sw->workers[0] = worker_start(sw, 0, -1);
	if (stage->polls == NULL || sw->workers[0] == NULL)
		give_up("no memory for a worker");
	sw->n_workers = 1;
	stage->polls->n = 2;
	stage->polls->at[0] = (struct poll_entry){.port = stage->ports[PORT_A]};
	stage->polls->at[1] = (struct poll_entry){.port = stage->ports[PORT_B]};
	atomic_store(&sw->workers[0]->polls, stage->polls);
}

struct stage *stage_open(uint32_t capacity)
{
	struct stage *stage = aligned_alloc(64, RTE_ALIGN_CEIL(sizeof(*stage), 64));

	if (stage == NULL)
		give_up("no memory for a switch");
	memset(stage, 0, sizeof(*stage));
	struct cordon_switch *sw = &stage->sw;
	sw->environment = (struct port_environment){
		.pool = rte_pktmbuf_pool_create(
			"buffers", BUFFERS, BUFFER_CACHE, 0, BUFFER_BYTES, SOCKET_ID_ANY),
		.n_workers = 1,
	};
	sw->programs = program_table_create(PROGRAMS_MAX);
	sw->macs = mac_table_create(MACS_MAX);
	sw->hits =
		rule_hits_open(&(struct rule_hits_place){.run_directory = NULL}, &sw->hits_opened);
	sw->expectations = expectation_table_create(EXPECTATIONS_MAX);
	sw->limits = limits_create();
	struct timeouts *timeouts = malloc(sizeof(*timeouts));
	if (sw->environment.pool == NULL || sw->programs == NULL || sw->macs == NULL ||
		sw->expectations == NULL || sw->limits == NULL || sw->hits == NULL ||
		timeouts == NULL)
		give_up("no memory for the switch's tables");
	*timeouts = timeouts_default;
	atomic_store(&sw->timeouts, timeouts);
	open_connections(sw, capacity);
	add_port(stage, PORT_A);
	add_port(stage, PORT_B);
	enforce_policy(stage);
	atomic_store(&sw->ports_end, N_PORTS);
	atomic_store(&sw->forwarding_revision, 1);
	atomic_store(&sw->policy_epoch, 1);
	start_worker(stage);
	return stage;
}

void stage_close(struct stage *stage)
{
	struct cordon_switch *sw = &stage->sw;

	atomic_store(&sw->stop, true);
	worker_join(sw->workers[0]);
	worker_destroy(sw->workers[0]); /* And its poll list. */
	endpoint_map_destroy(atomic_load(&sw->endpoints));
	zone_policy_destroy(atomic_load(&sw->policies[0]));
	for (uint16_t port = PORT_A; port < N_PORTS; port++) {
		port_settings_free(atomic_load(&stage->ports[port]->settings));
		free(stage->ports[port]);
	}
	free(atomic_load(&sw->timeouts));
	conn_table_close(sw->connections);
	program_table_destroy(sw->programs);
	mac_table_destroy(sw->macs);
	expectation_table_destroy(sw->expectations);
	limits_destroy(sw->limits);
	rte_mempool_free(sw->environment.pool);
	free(stage);
}

/* --- runs ----------------------------------------------------------------------------------- */

struct rte_mbuf *stage_receive(struct stage *stage, uint16_t port)
{
	struct burst *burst = stage->n_bursts > 0 ? &stage->bursts[stage->n_bursts - 1] : NULL;
	struct rte_mbuf *frame = rte_pktmbuf_alloc(stage->sw.environment.pool);

	if (burst == NULL || burst->port != port || burst->n == BURST_MAX) {
		if (stage->n_bursts == BURSTS_MAX)
			give_up("a case has more than %d bursts", BURSTS_MAX);
		burst = &stage->bursts[stage->n_bursts++];
		burst->port = port;
		burst->n = 0;
	}
	if (frame == NULL)
		give_up("a case has more frames than there are buffers");
	burst->frames[burst->n++] = frame;
	return frame;
}

static void sum_drops(const struct stage *stage, uint64_t drops[DROP_N_REASONS])
{
	for (int reason = 0; reason < DROP_N_REASONS; reason++) {
		drops[reason] = stage->sw.workers[0]->output_drops[reason];
		for (uint16_t port = PORT_A; port < N_PORTS; port++)
			drops[reason] += atomic_load(&stage->ports[port]->drops[0][reason]);
	}
}

/* The log thread's part: takes the events, which are enough to know of. */
static uint32_t take_events(struct stage *stage)
{
	struct log_ring *ring = &stage->sw.workers[0]->events;
	struct log_event events[BURST_MAX];
	uint32_t taken = 0, n;

	while ((n = rte_ring_sc_dequeue_burst_elem(
			ring->ring, events, sizeof(events[0]), BURST_MAX, NULL)) != 0)
		taken += n;
	if (atomic_load(&ring->lost) != 0)
		give_up("the worker's ring for the log has no room for a case's events");
	return taken;
}

struct stage_result stage_run(struct stage *stage, const char *counted)
{
	struct worker *worker = stage->sw.workers[0];
	uint64_t before[DROP_N_REASONS], misses = atomic_load(&worker->stats.misses);

	sum_drops(stage, before);
	stage->result = (struct stage_result){0};
	stage->at = stage->n_sent = 0;
	stage->counted = counted != NULL;
	CALLGRIND_ZERO_STATS;
	atomic_store_explicit(&stage->running, true, memory_order_release);
	while (atomic_load_explicit(&stage->running, memory_order_acquire))
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	if (counted != NULL)
		CALLGRIND_DUMP_STATS_AT(counted);
	sum_drops(stage, stage->result.drops);
	for (int reason = 0; reason < DROP_N_REASONS; reason++)
		stage->result.drops[reason] -= before[reason];
	stage->result.misses = atomic_load(&worker->stats.misses) - misses;
	stage->result.events = take_events(stage);
	rte_pktmbuf_free_bulk(stage->sent, stage->n_sent);
	stage->n_bursts = 0;
	return stage->result;
}

void stage_commit(struct stage *stage)
{
	atomic_fetch_add(&stage->sw.policy_epoch, 1);
}
