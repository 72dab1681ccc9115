/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The traffic generator of the benches: it plays two guests, A and B, on two vhost-user sockets,
 * sends in both directions at once as fast as the rings take it, and counts what arrives.
 *
 *      side A (10.77.0.1) --- vhost-user ---- device under test ---- vhost-user --- side B
 *
 * It makes the sockets, and the device under test connects to them.  First it opens every flow with
 * a frame in each direction (a whole handshake for TCP), waiting for the arrival of each burst, so
 * that addresses are learned and connections made.  Then it measures, round after round, and prints
 * one JSON object.  One thread, on one core; `generator --help` lists the options.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_ethdev.h>

#include "tests/bench/generator/side.h"

enum { QUEUE_FRAMES_DEFAULT = 1024, LINK_WAIT_SECONDS = 30 };
enum { WARM_UP_MS = 300, DRAIN_MS = 20, STEP_WAIT_MS = 50 };
enum { FIRST_TRIES = 100, LATER_TRIES = 3 };

static const char usage[] = "Usage: generator --socket-a PATH --socket-b PATH [OPTION]...\n"
			    "  --flows N        connections (default 1024)\n"
			    "  --size BYTES     frame size without FCS, or \"imix\" (default 64, "
			    "or the least possible)\n"
			    "  --tcp            TCP connections instead of UDP\n"
			    "  --ipv6           IPv6 instead of IPv4\n"
			    "  --seconds S      length of a round (default 2)\n"
			    "  --rounds R       number of rounds (default 3)\n"
			    "  --queue N        frames in each ring (default 1024)\n"
			    "  --device TEXT    more virtio_user options, such as packed_vq=1\n"
			    "  --core N         the core to run on (default 1)\n"
			    "  --no-huge        run without hugepages\n"
			    "A is 02:00:00:77:00:01, 10.77.0.1, fd77::1; B ends in 2.\n";

struct options {
	const char *socket[N_SIDES], *device, *size;
	unsigned int seconds, rounds, core;
	uint16_t queue_frames;
	bool no_huge;
	struct traffic traffic;
};

struct generator {
	struct frame_maker maker;
	struct side sides[N_SIDES];
};

/* --- Options -------------------------------------------------------------------------------- */

static unsigned long number_of(const char *option, const char *text, unsigned long max)
{
	char *end;
	unsigned long number;

	errno = 0;
	number = strtoul(text, &end, 10);
	if (errno || *end || end == text || number == 0 || number > max) {
		fprintf(stderr, "generator: --%s %s: give a number from 1 to %lu\n", option, text,
			max);
		exit(2);
	}
	return number;
}

/* The usual simple IMIX: 7 small, 4 of medium size, 1 large, spread over the cycle. */
static void sizes_of(struct traffic *traffic, const char *text)
{
	static const uint16_t imix[] = {0, 594, 0, 0, 594, 0, FRAME_BYTES_MAX, 0, 594, 0, 594, 0};
	uint16_t least = frame_bytes_min(traffic);

	traffic->n_sizes = 1;
	if (!text) {
		traffic->sizes[0] = least;
	} else if (strcmp(text, "imix") != 0) {
		traffic->sizes[0] = (uint16_t)number_of("size", text, FRAME_BYTES_MAX);
		if (traffic->sizes[0] < least) {
			fprintf(stderr, "generator: --size %s: this traffic needs %u at least\n",
				text, least);
			exit(2);
		}
	} else {
		traffic->n_sizes = RTE_DIM(imix);
		for (size_t i = 0; i < RTE_DIM(imix); i++)
			traffic->sizes[i] = imix[i] ? imix[i] : least;
	}
}

static void addresses_of(struct traffic *traffic)
{
	for (unsigned int side = 0; side < N_SIDES; side++) {
		uint8_t last = (uint8_t)(side + 1);

		memcpy(traffic->mac[side], (uint8_t[]){2, 0, 0, 0x77, 0, last}, 6);
		if (traffic->ipv6)
			traffic->address[side] =
				(struct in6_addr){.s6_addr = {0xfd, 0x77, [15] = last}};
		else
			traffic->address[side] =
				(struct in6_addr){.s6_addr = {[12] = 10, 77, 0, last}};
	}
}

static void set_option(struct options *options, const char *name, const char *value)
{
	if (!strcmp(name, "socket-a"))
		options->socket[SIDE_A] = value;
	else if (!strcmp(name, "socket-b"))
		options->socket[SIDE_B] = value;
	else if (!strcmp(name, "flows"))
		options->traffic.n_flows = (uint32_t)number_of(name, value, FRAME_FLOWS_MAX);
	else if (!strcmp(name, "size"))
		options->size = value;
	else if (!strcmp(name, "tcp"))
		options->traffic.tcp = true;
	else if (!strcmp(name, "ipv6"))
		options->traffic.ipv6 = true;
	else if (!strcmp(name, "seconds"))
		options->seconds = (unsigned int)number_of(name, value, 3600);
	else if (!strcmp(name, "rounds"))
		options->rounds = (unsigned int)number_of(name, value, 1000);
	else if (!strcmp(name, "queue"))
		options->queue_frames = (uint16_t)number_of(name, value, 32768);
	else if (!strcmp(name, "device"))
		options->device = value;
	else if (!strcmp(name, "core"))
		options->core = (unsigned int)number_of(name, value, RTE_MAX_LCORE - 1);
	else
		options->no_huge = true;
}

static struct options parse_options(int argc, char **argv)
{
	static const struct option table[] = {{"socket-a", 1, NULL, 'o'},
		{"socket-b", 1, NULL, 'o'}, {"flows", 1, NULL, 'o'}, {"size", 1, NULL, 'o'},
		{"tcp", 0, NULL, 'o'}, {"ipv6", 0, NULL, 'o'}, {"seconds", 1, NULL, 'o'},
		{"rounds", 1, NULL, 'o'}, {"queue", 1, NULL, 'o'}, {"device", 1, NULL, 'o'},
		{"core", 1, NULL, 'o'}, {"no-huge", 0, NULL, 'o'}, {"help", 0, NULL, 'h'}, {0}};
	struct options options = {.device = "mrg_rxbuf=1,in_order=1",
		.seconds = 2,
		.rounds = 3,
		.core = 1,
		.queue_frames = QUEUE_FRAMES_DEFAULT,
		.traffic = {.n_flows = 1024}};
	int which, at;

	while ((which = getopt_long(argc, argv, "", table, &at)) == 'o')
		set_option(&options, table[at].name, optarg);
	if (which != -1 || optind != argc || !options.socket[SIDE_A] || !options.socket[SIDE_B]) {
		fputs(usage, which == 'h' ? stdout : stderr);
		exit(which == 'h' ? 0 : 2);
	}
	sizes_of(&options.traffic, options.size);
	addresses_of(&options.traffic);
	return options;
}

/* --- Start ---------------------------------------------------------------------------------- */

/* The device waits without limit for a switch to connect; somebody must tell the user. */
static void give_up(int signal)
{
	static const char message[] = "generator: no switch connected to both sockets in time\n";
	ssize_t written = write(STDERR_FILENO, message, sizeof(message) - 1);

	(void)signal;
	(void)written;
	_exit(1);
}

static int start_eal(const struct options *options)
{
	static const char *const huge[] = {"--in-memory", "--single-file-segments"};
	static const char *const no_huge[] = {"--no-huge", "--no-shconf"};
	const char *const *memory = options->no_huge ? no_huge : huge;
	char core[16], prefix[32], device[N_SIDES][300];
	char *argv[] = {(char *)"generator", (char *)memory[0], (char *)memory[1],
		(char *)"--no-pci", (char *)"--no-telemetry", (char *)"--log-level=4", (char *)"-l",
		core, (char *)"--file-prefix", prefix, (char *)"-m", (char *)"128", device[SIDE_A],
		device[SIDE_B], NULL};

	snprintf(core, sizeof(core), "%u", options->core);
	snprintf(prefix, sizeof(prefix), "generator-%d", getpid());
	for (unsigned int side = 0; side < N_SIDES; side++)
		snprintf(device[side], sizeof(device[side]),
			"--vdev=net_virtio_user%u,path=%s,server=1,mac=02:00:00:77:00:0%u,"
			"queue_size=%u,%s",
			side, options->socket[side], side + 1, options->queue_frames,
			options->device);
	return rte_eal_init((int)RTE_DIM(argv) - 1, argv);
}

static bool link_is_up(uint16_t port)
{
	struct rte_eth_link link;

	return rte_eth_link_get_nowait(port, &link) == 0 && link.link_status;
}

static void wait_for_links(const struct generator *generator)
{
	while (!link_is_up(generator->sides[SIDE_A].port) ||
		!link_is_up(generator->sides[SIDE_B].port))
		usleep(10000);
	alarm(0);
}

/* --- Opening the flows ---------------------------------------------------------------------- */

/* Sends the frame of a step in each of n flows and waits a little for their arrival.  Returns how
 * many have arrived. */
static unsigned int try_exchange(struct generator *generator, enum side_name from,
	enum tcp_step step, uint32_t first, unsigned int n)
{
	struct side *to = &generator->sides[from == SIDE_A ? SIDE_B : SIDE_A];
	uint64_t until = rte_rdtsc() + rte_get_tsc_hz() / 1000 * STEP_WAIT_MS;
	uint64_t before = to->received;
	unsigned int sent = 0;

	while (to->received - before < n && rte_rdtsc() < until) {
		if (sent < n)
			sent += side_send_step(&generator->sides[from], &generator->maker, step,
				first + sent, n - sent);
		side_receive(to, &generator->maker);
		/* Whatever else the switch floods. */
		side_receive(&generator->sides[from], &generator->maker);
	}
	return (unsigned int)RTE_MIN(to->received - before, (uint64_t)n);
}

/* The first flows are tried for some seconds: a switch that has connected may not forward yet. */
static unsigned int exchange(struct generator *generator, enum side_name from, enum tcp_step step,
	uint32_t first, unsigned int n)
{
	unsigned int tries = first == 0 ? FIRST_TRIES : LATER_TRIES, arrived = 0;

	for (unsigned int i = 0; i < tries && arrived < n; i++)
		arrived = try_exchange(generator, from, step, first, n);
	for (unsigned int i = 0; i < n; i++)
		frame_sent(&generator->maker, from, first + i,
			frame_bytes_min(&generator->maker.traffic), step);
	return arrived;
}

/* Opens all flows; opened[side] counts the frames of that side which arrived. */
static void open_flows(struct generator *generator, uint64_t opened[N_SIDES])
{
	static const struct {
		enum side_name from;
		enum tcp_step step;
	} steps[] = {
		{SIDE_A, TCP_SYN_FRAME}, {SIDE_B, TCP_SYN_ACK_FRAME}, {SIDE_A, TCP_DATA_FRAME}};
	uint32_t n_flows = generator->maker.traffic.n_flows;
	unsigned int n_steps = generator->maker.tcp ? 3 : 2;

	opened[SIDE_A] = opened[SIDE_B] = 0;
	for (uint32_t first = 0; first < n_flows; first += SIDE_BURST) {
		unsigned int n = RTE_MIN(n_flows - first, (uint32_t)SIDE_BURST);

		for (unsigned int i = 0; i < n_steps; i++)
			opened[steps[i].from] +=
				exchange(generator, steps[i].from, steps[i].step, first, n);
	}
}

/* --- Measuring ------------------------------------------------------------------------------ */

/* Both directions for so many clock ticks.  Without `send`, only takes in. */
static void run_for(struct generator *generator, uint64_t ticks, bool send)
{
	struct side *a = &generator->sides[SIDE_A], *b = &generator->sides[SIDE_B];
	uint64_t until = rte_rdtsc() + ticks;

	while (rte_rdtsc() < until) {
		if (send) {
			side_send(a, &generator->maker);
			side_send(b, &generator->maker);
		}
		side_receive(a, &generator->maker);
		side_receive(b, &generator->maker);
	}
}

static void print_direction(
	const char *name, uint64_t sent, uint64_t received, uint64_t all_received, double seconds)
{
	printf("\"%s\": {\"mpps\": %.4f, \"sent\": %" PRIu64 ", \"received\": %" PRIu64
	       ", \"lost\": %" PRIu64 "}",
		name, (double)received / seconds / 1e6, sent, all_received,
		sent > all_received ? sent - all_received : 0);
}

/* Nanoseconds that this thread was ready to run but did not: others had the core.  See "schedstat"
 * in the kernel's documentation. */
static uint64_t waited_ns(void)
{
	FILE *file = fopen("/proc/thread-self/schedstat", "r");
	uint64_t ran = 0, waited = 0;

	if (file) {
		if (fscanf(file, "%" SCNu64 " %" SCNu64, &ran, &waited) != 2)
			waited = 0;
		fclose(file);
	}
	return waited;
}

/* One round: the rate is of the timed part; the loss is of all frames, after the rings are dry. */
static void measure_round(struct generator *generator, unsigned int round_seconds)
{
	struct side *a = &generator->sides[SIDE_A], *b = &generator->sides[SIDE_B];
	uint64_t hz = rte_get_tsc_hz(), begin, ticks, received_a, received_b, waited;
	double seconds;

	a->sent = b->sent = a->received = b->received = 0;
	run_for(generator, hz / 1000 * WARM_UP_MS, true);
	received_a = a->received;
	received_b = b->received;
	waited = waited_ns();
	begin = rte_rdtsc();
	run_for(generator, hz * round_seconds, true);
	ticks = rte_rdtsc() - begin;
	waited = waited_ns() - waited;
	received_a = a->received - received_a;
	received_b = b->received - received_b;
	run_for(generator, hz / 1000 * DRAIN_MS, false);

	seconds = (double)ticks / (double)hz;
	printf("{\"seconds\": %.3f, \"waited\": %.4f, \"mpps\": %.4f, ", seconds,
		(double)waited / 1e9 / seconds, (double)(received_a + received_b) / seconds / 1e6);
	print_direction("a_to_b", a->sent, received_b, b->received, seconds);
	printf(", ");
	print_direction("b_to_a", b->sent, received_a, a->received, seconds);
	printf("}");
	fflush(stdout);
}

static void measure(
	struct generator *generator, const struct options *options, const uint64_t opened[N_SIDES])
{
	const struct traffic *traffic = &generator->maker.traffic;

	printf("{\"flows\": %u, \"protocol\": \"%s\", \"ip\": %d, \"size\": \"%s\", ",
		traffic->n_flows, traffic->tcp ? "tcp" : "udp", traffic->ipv6 ? 6 : 4,
		options->size ? options->size : "least");
	printf("\"opened\": {\"a_to_b\": %" PRIu64 ", \"b_to_a\": %" PRIu64 "}, \"rounds\": [\n",
		opened[SIDE_A], opened[SIDE_B]);
	fflush(stdout); /* Whoever reads this line knows that the measuring begins now. */
	for (unsigned int i = 0; i < options->rounds; i++) {
		if (i > 0)
			printf(",\n");
		measure_round(generator, options->seconds);
	}
	printf("], \"foreign\": %" PRIu64 "}\n",
		generator->sides[SIDE_A].foreign + generator->sides[SIDE_B].foreign);
}

static int open_sides(struct generator *generator, const struct options *options)
{
	int error = frame_maker_init(&generator->maker, &options->traffic);

	for (uint16_t i = 0; i < N_SIDES && !error; i++)
		error = side_open(&generator->sides[i], (enum side_name)i, i, options->queue_frames,
			&generator->maker);
	return error;
}

int main(int argc, char **argv)
{
	struct options options = parse_options(argc, argv);
	struct generator generator = {0};
	uint64_t opened[N_SIDES];
	int status = 1;

	signal(SIGALRM, give_up);
	alarm(LINK_WAIT_SECONDS);
	if (start_eal(&options) < 0) {
		fprintf(stderr, "generator: DPDK does not start: %s\n", rte_strerror(rte_errno));
		return 1;
	}
	if (open_sides(&generator, &options))
		goto out;
	wait_for_links(&generator);
	open_flows(&generator, opened);
	if (opened[SIDE_A] == 0 || opened[SIDE_B] == 0) {
		fprintf(stderr,
			"generator: %s arrived; is there a policy that allows the traffic?\n",
			opened[SIDE_A] ? "nothing from B" : "nothing from A");
		goto out;
	}
	measure(&generator, &options, opened);
	status = 0;
out:
	for (unsigned int i = 0; i < N_SIDES; i++)
		side_close(&generator.sides[i]);
	frame_maker_free(&generator.maker);
	rte_eal_cleanup();
	return status;
}
