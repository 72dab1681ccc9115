/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Moves frames between two ports, and does nothing else: no zones, no learning.  With it the back
 * ends of ports are tried for real, one at a time, and what they cost is measured.
 *
 *      port_forward [--huge] [--workers N] [--spin] SECONDS PORT PORT
 *      PORT: TYPE NAME [KEY=VALUE]... --
 *
 *      port_forward 10 kernel left -- kernel right --
 *      port_forward --huge --spin 10 vhost a socket=/tmp/a.sock -- vhost b socket=/tmp/b.sock --
 *
 * Prints each port's status once a second when it changes, and counters at the end; ends by itself.
 * The exit status is 1 if a port could not be opened.
 */
#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>

#include "datapath/offload.h"
#include "datapath/port.h"
#include "smap.h"

enum { WORKERS = 8 };

struct forwarder {
	struct port_environment environment;
	struct port *ports[2];
	_Atomic bool stop;
	bool spin;
};

struct forward_worker {
	struct forwarder *forwarder;
	unsigned int index;
	pthread_t thread;
	uint64_t drops[DROP_N_REASONS];
	uint64_t busy_cycles;
};

/* Notes unfilled checksums, as the switch does. */
static void note_checksums(struct rte_mbuf **frames, uint16_t n)
{
	struct packet packet;

	for (uint16_t i = 0; i < n; i++)
		if (packet_parse(rte_pktmbuf_mtod(frames[i], uint8_t *),
			    rte_pktmbuf_data_len(frames[i]), rte_pktmbuf_pkt_len(frames[i]),
			    &packet) == DROP_NONE)
			(void)offload_note_partial_checksum(frames[i], &packet);
}

/* One poll of the queues that are this worker's. */
static bool poll_ports(struct forward_worker *worker)
{
	struct forwarder *forwarder = worker->forwarder;
	struct rte_mbuf *frames[BURST_MAX];
	bool any = false;

	for (unsigned int side = 0; side < 2; side++) {
		struct port *in = forwarder->ports[side];

		for (uint16_t queue = worker->index; queue < in->n_rx_queues;
			queue += forwarder->environment.n_workers) {
			uint64_t begin = rte_rdtsc();
			uint16_t n = port_rx(in, queue, frames, BURST_MAX);

			if (n == 0)
				continue;
			if (in->fills_checksums)
				note_checksums(frames, n);
			port_tx(forwarder->ports[!side], &forwarder->environment, worker->index,
				frames, n, worker->drops);
			port_rx_done(in, queue);
			worker->busy_cycles += rte_rdtsc() - begin;
			any = true;
		}
	}
	return any;
}

static void *work(void *argument)
{
	struct forward_worker *worker = argument;
	struct forwarder *forwarder = worker->forwarder;
	unsigned int idle = 0;
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET((worker->index + 1) % sysconf(_SC_NPROCESSORS_ONLN), &cpus);
	(void)sched_setaffinity(0, sizeof(cpus), &cpus);
	if (rte_thread_register() != 0)
		return NULL;
	while (!atomic_load_explicit(&forwarder->stop, memory_order_relaxed)) {
		if (poll_ports(worker) || forwarder->spin)
			idle = 0;
		else if (++idle > 100)
			nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
	}
	rte_thread_unregister();
	return NULL;
}

/* Takes one port's words off the command line. */
static struct port *open_port(
	struct forwarder *forwarder, uint16_t number, char ***words, char *error, size_t error_size)
{
	struct smap *options = malloc(sizeof(*options));
	struct port_settings *settings = calloc(1, sizeof(*settings));
	char **at = *words;

	if (options == NULL || settings == NULL || at[0] == NULL || at[1] == NULL)
		abort();
	smap_init(options);
	const char *type = *at++, *name = *at++;
	for (; *at != NULL && strcmp(*at, "--") != 0; at++) {
		char *value = strchr(*at, '=');

		if (value == NULL)
			abort();
		*value++ = '\0';
		smap_add(options, *at, value);
	}
	*words = *at != NULL ? at + 1 : at;
	return port_open(
		&forwarder->environment, number, name, type, options, settings, error, error_size);
}

/* Until `end` on the monotonic clock; the tap driver's signals do not shorten it. */
static void sleep_until(const struct timespec *end)
{
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, end, NULL) == EINTR)
		;
}

static void watch(struct forwarder *forwarder, unsigned int seconds)
{
	char before[2][sizeof(forwarder->ports[0]->status) + 8] = {"", ""};
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);

	for (unsigned int tick = 0; tick < seconds; tick++) {
		for (unsigned int side = 0; side < 2; side++) {
			struct port *port = forwarder->ports[side];
			char now[sizeof(before[0])];

			port_poll_status(port);
			snprintf(now, sizeof(now), "%s: %s", port->link_up ? "up" : "down",
				port->status);
			if (strcmp(now, before[side]) != 0)
				printf("%3u s  %s  %s\n", tick, port->name, now);
			snprintf(before[side], sizeof(before[side]), "%s", now);
		}
		fflush(stdout);
		time.tv_sec++;
		sleep_until(&time);
	}
}

static void print_counters(
	struct forwarder *forwarder, const struct forward_worker *workers, unsigned int seconds)
{
	uint64_t frames = 0, cycles = 0;

	for (unsigned int side = 0; side < 2; side++) {
		struct port_queue_stats sum = port_stats(forwarder->ports[side]);

		frames += sum.rx_packets;
		printf("%s: rx %lu frames %lu bytes, tx %lu frames %lu bytes, tx dropped %lu\n",
			forwarder->ports[side]->name, sum.rx_packets, sum.rx_bytes, sum.tx_packets,
			sum.tx_bytes, sum.tx_dropped);
	}
	for (unsigned int i = 0; i < forwarder->environment.n_workers; i++) {
		cycles += workers[i].busy_cycles;
		for (unsigned int reason = 0; reason < DROP_N_REASONS; reason++)
			if (workers[i].drops[reason] != 0)
				printf("worker %u: %lu dropped: %s\n", i, workers[i].drops[reason],
					drop_name(reason));
	}
	printf("%.3f Mframes/s, %.0f cycles a frame\n", frames / 1e6 / seconds,
		frames != 0 ? (double)cycles / frames : 0.0);
}

static int run(struct forwarder *forwarder, unsigned int seconds)
{
	struct forward_worker workers[WORKERS] = {0};

	for (unsigned int i = 0; i < forwarder->environment.n_workers; i++) {
		workers[i] = (struct forward_worker){.forwarder = forwarder, .index = i};
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
			abort();
	}
	watch(forwarder, seconds);
	atomic_store(&forwarder->stop, true);
	for (unsigned int i = 0; i < forwarder->environment.n_workers; i++)
		pthread_join(workers[i].thread, NULL);
	print_counters(forwarder, workers, seconds);
	return 0;
}

static void start_dpdk(struct forwarder *forwarder, bool huge)
{
	char *with_huge[] = {"port_forward", "--in-memory", "--no-pci", "--no-telemetry", "-l", "0",
		"--log-level", "5", NULL};
	char *without[] = {"port_forward", "--no-shconf", "--no-pci", "--no-telemetry", "-l", "0",
		"--log-level", "5", "--no-huge", "-m", "1024", NULL};
	struct port_environment *environment = &forwarder->environment;

	if (rte_eal_init(huge ? 8 : 11, huge ? with_huge : without) < 0)
		abort();
	environment->huge_pages = huge;
	environment->run_directory = "/tmp";
	environment->pool = rte_pktmbuf_pool_create(
		"frames", 32767, 256, 0, 2048 + RTE_PKTMBUF_HEADROOM, SOCKET_ID_ANY);
	if (environment->pool == NULL)
		abort();
}

int main(int argc, char **argv)
{
	static struct forwarder forwarder;
	unsigned int workers = 1;
	bool huge = false;
	char error[512];

	for (argv++; argc > 1 && *argv != NULL && strncmp(*argv, "--", 2) == 0; argv++) {
		if (strcmp(*argv, "--huge") == 0)
			huge = true;
		else if (strcmp(*argv, "--spin") == 0)
			forwarder.spin = true;
		else if (strcmp(*argv, "--workers") == 0 && argv[1] != NULL)
			workers = atoi(*++argv);
	}
	if (*argv == NULL || workers < 1 || workers > WORKERS) {
		fprintf(stderr, "usage: port_forward [--huge] [--workers N] [--spin] SECONDS "
				"TYPE NAME [KEY=VALUE]... -- TYPE NAME [KEY=VALUE]... --\n");
		return 2;
	}
	unsigned int seconds = atoi(*argv++);
	start_dpdk(&forwarder, huge);
	forwarder.environment.n_workers = workers;
	for (uint16_t side = 0; side < 2; side++) {
		uint64_t begin = rte_rdtsc();

		forwarder.ports[side] =
			open_port(&forwarder, side + 1, &argv, error, sizeof(error));
		printf("opened in %.1f ms\n", (rte_rdtsc() - begin) * 1e3 / rte_get_tsc_hz());
		if (forwarder.ports[side] == NULL) {
			fprintf(stderr, "%s\n", error);
			port_close(forwarder.ports[0]);
			return 1;
		}
	}
	int result = run(&forwarder, seconds);
	port_close(forwarder.ports[0]);
	port_close(forwarder.ports[1]);
	(void)rte_eal_cleanup();
	return result;
}
