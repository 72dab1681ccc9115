/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a new connection costs a worker: run by hand, as root for huge pages.
 *
 *	miss_bench [CASE [CONNECTIONS [RULES]]]		default: udp 1000000 10
 *
 * A real worker polls two ports that are made here: they make their frames themselves, and the time
 * that this takes is left out.  Cases:
 *	udp	A sends the first frame of a flow, B answers it: two frames a connection
 *	tcp	whole life cycles, of 1,024 connections at a time: nine frames each
 *	again	`tcp`, over and over, so that the table holds what is over and must let go of it
 *	denied	first frames that a rule denies, each of another flow
 *	full	first frames that find the table full
 *	quota	first frames that find the port's quota used up
 *	limits	`udp`, with limits of the zone and of the rule that nothing reaches
 *
 * A case runs ROUNDS times.  Between two rounds all connections are ended at once, unless the case
 * is about them.  The log's events are taken off the worker's ring and dropped, by a thread on
 * another CPU.
 */
#include <config.h>

#include "datapath/switch.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_malloc.h>
#include <rte_mbuf.h>
#include <rte_tcp.h>
#include <rte_udp.h>

#include "datapath/expectation.h"
#include "datapath/storm.h"
#include "ovs-rcu.h"
#include "ovs-thread.h"

enum { ROUNDS = 5, TABLE = 1 << 22, SMALL_TABLE = 1 << 14, IN_STEP = 1024, FRAME_BYTES = 64 };
enum { PORT_A = 1, PORT_B = 2, QUOTA = 1000, DRAIN_US = 2000 };

/* One frame of a TCP life cycle: who sends it and what it says. */
struct segment {
	uint8_t from_b, flags;
	uint32_t sequence, acknowledgment; /* Relative to the initial ones. */
	uint16_t payload_bytes;
};

enum { FIN = RTE_TCP_FIN_FLAG, SYN = RTE_TCP_SYN_FLAG, ACK = RTE_TCP_ACK_FLAG };

static const struct segment life[] = {
	{.from_b = 0, .flags = SYN, .sequence = 0},
	{.from_b = 1, .flags = SYN | ACK, .sequence = 0, .acknowledgment = 1},
	{.from_b = 0, .flags = ACK, .sequence = 1, .acknowledgment = 1},
	{.from_b = 0, .flags = ACK, .sequence = 1, .acknowledgment = 1, .payload_bytes = 6},
	{.from_b = 1, .flags = ACK, .sequence = 1, .acknowledgment = 7, .payload_bytes = 6},
	{.from_b = 0, .flags = FIN | ACK, .sequence = 7, .acknowledgment = 7},
	{.from_b = 1, .flags = FIN | ACK, .sequence = 7, .acknowledgment = 8},
	{.from_b = 0, .flags = ACK, .sequence = 8, .acknowledgment = 8},
};

enum bench_case {
	CASE_UDP,
	CASE_TCP,
	CASE_AGAIN,
	CASE_DENIED,
	CASE_FULL,
	CASE_QUOTA,
	CASE_LIMITS,
	N_CASES
};
static const char *const case_names[N_CASES] = {
	"udp", "tcp", "again", "denied", "full", "quota", "limits"};

struct bench {
	struct cordon_switch *sw;
	struct port *ports[3];
	struct rte_mempool *pool;
	enum bench_case what;
	uint32_t n_connections;

	/* The worker's, within the ports. */
	uint32_t made, step, serial; /* Of the round, of the life cycle; of all. */
	struct rte_mbuf *answers[BURST_MAX];
	uint16_t n_answers;
	uint64_t began, own_cycles, sent;

	_Atomic uint64_t cycles, sent_in_all; /* Of a finished round. */
	_Atomic int round;
	_Atomic bool go, drain_ends;
};

/* --- frames --------------------------------------------------------------------------------- */

static const uint8_t mac_a[6] = {0x02, 0, 0, 0, 0, 0xa}, mac_b[6] = {0x02, 0, 0, 0, 0, 0xb};
static const char address_a[] = "10.0.0.1", address_b[] = "10.0.0.2";

struct headers {
	struct rte_ether_hdr ethernet;
	struct rte_ipv4_hdr ip;
	union {
		struct rte_udp_hdr udp;
		struct rte_tcp_hdr tcp;
	};
} __attribute__((packed, aligned(2)));

/* The ports of connection `number`; each differs from the others in them alone. */
static uint32_t ports_of(uint32_t number, bool reverse)
{
	uint16_t source = htons((uint16_t)(1024 + number % 50000));
	uint16_t destination = htons((uint16_t)(2000 + number / 50000 % 50000));

	return reverse ? destination | (uint32_t)source << 16
		       : source | (uint32_t)destination << 16;
}

static struct headers template_of(uint8_t protocol, bool reverse, uint16_t payload)
{
	size_t header_bytes =
		protocol == IPPROTO_TCP ? sizeof(struct rte_tcp_hdr) : sizeof(struct rte_udp_hdr);
	struct rte_ipv4_hdr ip = {
		.version_ihl = RTE_IPV4_VHL_DEF,
		.time_to_live = 64,
		.next_proto_id = protocol,
		.total_length = htons((uint16_t)(sizeof(ip) + header_bytes + payload)),
		.src_addr = inet_addr(reverse ? address_b : address_a),
		.dst_addr = inet_addr(reverse ? address_a : address_b),
	};
	struct headers headers = {.ethernet.ether_type = htons(RTE_ETHER_TYPE_IPV4)};

	ip.hdr_checksum = rte_ipv4_cksum(&ip);
	memcpy(&headers.ip, &ip, sizeof(ip));
	memcpy(&headers.ethernet.dst_addr, reverse ? mac_a : mac_b, 6);
	memcpy(&headers.ethernet.src_addr, reverse ? mac_b : mac_a, 6);
	if (protocol == IPPROTO_UDP)
		headers.udp.dgram_len = htons((uint16_t)(header_bytes + payload));
	return headers;
}

static void write_frame(struct rte_mbuf *frame, const struct headers *headers, uint32_t ports)
{
	uint8_t *data = rte_pktmbuf_mtod(frame, uint8_t *);

	memset(data, 0, FRAME_BYTES);
	memcpy(data, headers, sizeof(*headers));
	memcpy(data + offsetof(struct headers, udp), &ports, sizeof(ports));
	frame->data_len = FRAME_BYTES;
	frame->pkt_len = FRAME_BYTES;
}

static uint16_t make_udp(struct bench *bench, struct rte_mbuf **frames, uint16_t n)
{
	struct headers headers = template_of(IPPROTO_UDP, false, 18);

	for (uint16_t i = 0; i < n; i++)
		write_frame(frames[i], &headers, ports_of(bench->serial++, false));
	bench->made += n;
	return n;
}

/* The next frames of the connections that are in step. */
static uint16_t make_tcp(struct bench *bench, struct rte_mbuf **frames, uint16_t n)
{
	const struct segment *segment = &life[bench->step];
	struct headers headers = template_of(IPPROTO_TCP, segment->from_b, segment->payload_bytes);

	headers.tcp.sent_seq = htonl(1000 + segment->sequence);
	headers.tcp.recv_ack = segment->acknowledgment ? htonl(1000 + segment->acknowledgment) : 0;
	headers.tcp.data_off = 5 << 4;
	headers.tcp.tcp_flags = segment->flags;
	headers.tcp.rx_win = htons(60000);
	for (uint16_t i = 0; i < n; i++) {
		write_frame(frames[i], &headers,
			ports_of(bench->serial + bench->made % IN_STEP + i, segment->from_b));
	}
	bench->made += n;
	if (bench->made % IN_STEP == 0) {
		if (++bench->step < RTE_DIM(life))
			bench->made -= IN_STEP;
		else
			bench->serial += IN_STEP;
		bench->step %= RTE_DIM(life);
	}
	return n;
}

/* --- rounds --------------------------------------------------------------------------------- */

static void end_one(struct conn_table *table, uint32_t number, void *sw_)
{
	struct cordon_switch *sw = sw_;

	if (conn_unlink(table, number)) {
		quota_release(sw, number);
		conn_free(table, &number, 1);
	}
}

/* Between two bursts of the only worker nobody holds a flow. */
static void end_all(struct cordon_switch *sw)
{
	conn_for_each(sw->connections, 0, conn_high_water(sw->connections), end_one, sw);
}

static void finish_round(struct bench *bench)
{
	atomic_store(&bench->cycles, rte_rdtsc() - bench->began - bench->own_cycles);
	atomic_store(&bench->sent_in_all, bench->sent);
	atomic_store(&bench->go, false);
	if (bench->what == CASE_UDP || bench->what == CASE_TCP || bench->what == CASE_DENIED ||
		bench->what == CASE_LIMITS)
		end_all(bench->sw);
	bench->began = 0;
	bench->made = 0;
	atomic_fetch_add(&bench->round, 1);
}

static bool is_tcp(const struct bench *bench)
{
	return bench->what == CASE_TCP || bench->what == CASE_AGAIN;
}

static uint16_t make(struct bench *bench, const struct port *port, struct rte_mbuf **frames)
{
	uint16_t n = BURST_MAX;

	if (bench->n_answers != 0) {
		if (port->number != PORT_B)
			return 0;
		n = bench->n_answers;
		memcpy(frames, bench->answers, n * sizeof(frames[0]));
		bench->n_answers = 0;
		return n;
	}
	if (!atomic_load_explicit(&bench->go, memory_order_acquire))
		return 0;
	if (bench->made >= bench->n_connections) {
		finish_round(bench);
		return 0;
	}
	if (port->number != (is_tcp(bench) && life[bench->step].from_b ? PORT_B : PORT_A) ||
		rte_pktmbuf_alloc_bulk(bench->pool, frames, n) != 0)
		return 0;
	if (bench->began == 0) {
		bench->own_cycles = bench->sent = 0;
		bench->began = rte_rdtsc();
		return is_tcp(bench) ? make_tcp(bench, frames, n) : make_udp(bench, frames, n);
	}
	return is_tcp(bench) ? make_tcp(bench, frames, n) : make_udp(bench, frames, n);
}

static uint16_t bench_rx(struct port *port, uint16_t queue, struct rte_mbuf **frames, uint16_t n)
{
	struct bench *bench = port->private;
	uint64_t began = rte_rdtsc();

	(void)queue;
	(void)n;
	n = make(bench, port, frames);
	bench->own_cycles += rte_rdtsc() - began;
	return n;
}

static void answer(struct rte_mbuf *frame)
{
	struct headers *headers = rte_pktmbuf_mtod(frame, struct headers *);
	uint16_t port = headers->udp.src_port;
	rte_be32_t address = headers->ip.src_addr;

	memcpy(&headers->ethernet.dst_addr, mac_a, 6);
	memcpy(&headers->ethernet.src_addr, mac_b, 6);
	headers->ip.src_addr = headers->ip.dst_addr;
	headers->ip.dst_addr = address;
	headers->udp.src_port = headers->udp.dst_port;
	headers->udp.dst_port = port;
}

static uint16_t bench_tx(struct port *port, uint16_t queue, struct rte_mbuf **frames, uint16_t n)
{
	struct bench *bench = port->private;
	uint64_t began = rte_rdtsc();

	(void)queue;
	bench->sent += n;
	if (port->number == PORT_B && (bench->what == CASE_UDP || bench->what == CASE_LIMITS)) {
		for (uint16_t i = 0; i < n; i++) {
			answer(frames[i]);
			bench->answers[bench->n_answers++] = frames[i];
		}
	} else {
		rte_pktmbuf_free_bulk(frames, n);
	}
	bench->own_cycles += rte_rdtsc() - began;
	return n;
}

static void bench_poll_status(struct port *port)
{
	(void)port;
}

static const struct port_backend backend = {
	.type = "bench",
	.rx = bench_rx,
	.tx = bench_tx,
	.poll_status = bench_poll_status,
};

/* --- the switch ----------------------------------------------------------------------------- */

static void give_up(const char *what)
{
	fprintf(stderr, "miss_bench: %s\n", what);
	exit(1);
}

static struct port *make_port(struct bench *bench, uint16_t number)
{
	struct port *port = aligned_alloc(64, RTE_ALIGN_CEIL(sizeof(*port), 64));
	struct port_settings *settings = calloc(1, sizeof(*settings));

	memset(port, 0, sizeof(*port));
	port->number = number;
	port->n_rx_queues = port->n_tx_queues = 1;
	port->mtu = 1500;
	port->backend = &backend;
	port->environment = &bench->sw->environment;
	port->private = bench;
	port->link_up = port->running = true;
	settings->spoof_guard = true;
	settings->n_macs = settings->n_addresses = 1;
	settings->macs = malloc(6);
	memcpy(settings->macs[0], number == PORT_A ? mac_a : mac_b, 6);
	settings->addresses = malloc(sizeof(settings->addresses[0]));
	if (!ip_address_parse(number == PORT_A ? address_a : address_b, settings->addresses))
		give_up("no address");
	settings->mac_limit = 16;
	settings->storm_limit = 1000;
	settings->connection_limit = bench->what == CASE_QUOTA ? QUOTA : TABLE;
	settings->half_open_limit = settings->half_open_sure = TABLE;
	settings->vm_id = settings->vm_name = settings->tags = "";
	atomic_store(&port->settings, settings);
	bench->ports[number] = port;
	atomic_store(&bench->sw->ports[number], port);
	mac_add_static(bench->sw->macs, 0, settings->macs[0], number);
	return port;
}

/* Zones as many as a policy of so many rules has; the two ports are in z0 and z1. */
static struct zone_policy *make_policy(const struct bench *bench, unsigned int rules)
{
	unsigned int zones = rules / 250 < 10 ? 10 : rules / 250 > 500 ? 500 : rules / 250;
	bool limited = bench->what == CASE_LIMITS;
	const char *zone_limits = limited ? ", limits: {connections: 10000000}" : "";
	const char *rule_limits =
		limited ? ", limits: {connections: 10000000, half_open: 10000000, "
			  "new_per_second: 100000000}"
			: "";
	struct policy_errors errors;
	char *text = NULL;
	size_t length = 0;
	FILE *out = open_memstream(&text, &length);

	fprintf(out, "zones:\n");
	for (unsigned int i = 0; i < zones; i++)
		fprintf(out, "  z%u: {match: zone=z%u%s}\n", i, i, zone_limits);
	fprintf(out, "policies:\n- id: p\n  tier: application\n  rules:\n");
	for (unsigned int i = 0; i < rules; i++) {
		fprintf(out,
			"  - {id: r%u, from: z%u, to: z%u, service: tcp/%u, action: %s, log: "
			"session}\n",
			i, i % zones, i / zones % zones, 100 + i % 1900, i % 3 ? "allow" : "deny");
	}
	fprintf(out, "  - {id: rest, from: z0, to: z1, action: %s, log: session%s}\n",
		bench->what == CASE_DENIED ? "deny" : "allow", rule_limits);
	fclose(out);
	struct zone_policy *policy = zone_policy_create(text, length, 1, 0, &errors);
	free(text);
	if (policy == NULL)
		give_up(errors.at[0].message);
	return policy;
}

static void open_table(struct bench *bench, const char *directory)
{
	char path[128];
	struct conn_open_report report;
	uint32_t capacity = bench->what == CASE_FULL ? SMALL_TABLE : TABLE;

	snprintf(path, sizeof(path), "%s/miss_bench.%d", directory, (int)getpid());
	bench->sw->connections = conn_table_open(path, capacity, (const uint8_t[16]){1}, &report);
	unlink(path);
	if (bench->sw->connections == NULL)
		give_up(report.why);
	printf("table in %s, %s pages\n", directory, report.huge_pages ? "huge" : "ordinary");
}

static void make_switch(struct bench *bench, unsigned int rules)
{
	struct cordon_switch *sw = aligned_alloc(64, RTE_ALIGN_CEIL(sizeof(*sw), 64));
	const char *directory = getenv("MISS_BENCH_TABLE");
	struct timeouts *timeouts = malloc(sizeof(*timeouts));

	memset(sw, 0, sizeof(*sw));
	bench->sw = sw;
	bench->pool = rte_pktmbuf_pool_create(
		"buffers", 4095, 256, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	sw->environment = (struct port_environment){.pool = bench->pool, .n_workers = 1};
	sw->programs = program_table_create(1 << 16);
	sw->macs = mac_table_create(1 << 16);
	sw->hits =
		rule_hits_open(&(struct rule_hits_place){.run_directory = NULL}, &sw->hits_opened);
	sw->expectations = expectation_table_create(1 << 10);
	sw->limits = limits_create();
	if (bench->pool == NULL || sw->programs == NULL || sw->macs == NULL ||
		sw->expectations == NULL || sw->limits == NULL || sw->hits == NULL)
		give_up("no memory");
	open_table(bench, directory != NULL ? directory : "/dev/shm");
	*timeouts = timeouts_default;
	atomic_store(&sw->timeouts, timeouts);
	struct port *a = make_port(bench, PORT_A), *b = make_port(bench, PORT_B);
	struct zone_policy *policy = make_policy(bench, rules);
	const struct endpoint_map_entry entries[] = {
		{.port = PORT_A,
			.zone = (uint16_t)zone_find(policy, "z0"),
			.addresses = atomic_load(&a->settings)->addresses,
			.n_addresses = 1},
		{.port = PORT_B,
			.zone = (uint16_t)zone_find(policy, "z1"),
			.addresses = atomic_load(&b->settings)->addresses,
			.n_addresses = 1},
	};
	atomic_store(&sw->policies[0], policy);
	rule_hits_add_revision(sw->hits, policy, 1);
	atomic_store(&sw->endpoints, endpoint_map_create(policy, entries, RTE_DIM(entries)));
	atomic_store(&sw->ports_end, PORT_B + 1);
	atomic_store(&sw->forwarding_revision, 1);
	atomic_store(&sw->policy_epoch, 1);
}

static void start_worker(struct bench *bench)
{
	struct poll_list *list = malloc(sizeof(*list) + 2 * sizeof(list->at[0]));

	list->n = 2;
	list->at[0] = (struct poll_entry){.port = bench->ports[PORT_A]};
	list->at[1] = (struct poll_entry){.port = bench->ports[PORT_B]};
	bench->sw->workers[0] = worker_start(bench->sw, 0, 0);
	if (bench->sw->workers[0] == NULL)
		give_up("no worker");
	bench->sw->n_workers = 1;
	atomic_store(&bench->sw->workers[0]->polls, list);
}

/* Takes events until the round is over; now and then, as the log thread does. */
static uint64_t wait_for_round(struct bench *bench, int round)
{
	static struct log_event events[64];
	struct rte_ring *ring = bench->sw->workers[0]->events.ring;
	uint64_t n = 0;
	unsigned int taken;

	while (atomic_load(&bench->round) == round) {
		usleep(DRAIN_US);
		do {
			taken = rte_ring_sc_dequeue_burst_elem(
				ring, events, sizeof(events[0]), RTE_DIM(events), NULL);
			n += taken;
		} while (taken != 0);
	}
	return n;
}

static void run(struct bench *bench)
{
	double hz = (double)rte_get_tsc_hz();

	for (int round = 0; round < ROUNDS; round++) {
		uint64_t lost = atomic_load(&bench->sw->workers[0]->events.lost);

		atomic_store_explicit(&bench->go, true, memory_order_release);
		uint64_t events = wait_for_round(bench, round);
		double cycles = (double)atomic_load(&bench->cycles) / bench->n_connections;

		lost = atomic_load(&bench->sw->workers[0]->events.lost) - lost;
		printf("%s: %.0f cycles a connection, %.2f M/s; sent %" PRIu64 ", table %u, events "
		       "%" PRIu64 " and %" PRIu64 " lost\n",
			case_names[bench->what], cycles, hz / cycles / 1e6,
			atomic_load(&bench->sent_in_all), conn_count(bench->sw->connections),
			events, lost);
	}
	const struct port *a = bench->ports[PORT_A], *b = bench->ports[PORT_B];
	for (int i = 0; i < DROP_N_REASONS; i++) {
		uint64_t n = atomic_load(&a->drops[0][i]) + atomic_load(&b->drops[0][i]);
		if (n != 0)
			printf("  dropped: %s %" PRIu64 "\n", drop_name((enum drop_reason)i), n);
	}
}

int main(int argc, char **argv)
{
	static struct bench bench;
	char *eal[] = {argv[0], "--in-memory", "--no-pci", "-l", "1", "--no-telemetry",
		"--log-level=3", NULL};
	const char *name = argc > 1 ? argv[1] : "udp";

	while (bench.what < N_CASES && strcmp(case_names[bench.what], name) != 0)
		bench.what++;
	if (bench.what == N_CASES)
		give_up("the cases are udp, tcp, again, denied, full, quota and limits");
	bench.n_connections = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) / IN_STEP * IN_STEP
				       : 1000 * IN_STEP;
	if (rte_eal_init(RTE_DIM(eal) - 1, eal) < 0)
		give_up("DPDK could not be started");
	make_switch(&bench, argc > 3 ? (unsigned int)strtoul(argv[3], NULL, 10) : 10);
	ovsrcu_quiesce_start();
	start_worker(&bench);
	run(&bench);
	atomic_store(&bench.sw->stop, true);
	worker_join(bench.sw->workers[0]);
	return 0;
}
