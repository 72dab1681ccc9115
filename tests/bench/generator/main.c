/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The traffic generator of the benches: it plays two guests, A and B, on two vhost-user sockets,
 * sends what a mode tells it to, and counts what arrives.
 *
 *      side A (10.77.0.1) --- vhost-user ---- device under test ---- vhost-user --- side B
 *
 * It makes the sockets, and the device under test connects to them.  One thread, on one core;
 * `generator --help` lists the options and the modes.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_ethdev.h>

#include "tests/bench/generator/mode.h"

enum { LINK_WAIT_SECONDS = 30 };

const struct mode modes[] = {
	{"forward", mode_forward, "frames of all flows in both directions; the rate received"},
	{NULL, NULL, NULL},
};

static const struct mode *mode_find(const char *name)
{
	for (const struct mode *mode = modes; mode->name; mode++)
		if (!strcmp(mode->name, name))
			return mode;
	return NULL;
}

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

	snprintf(core, sizeof(core), "%u", (unsigned int)options->core);
	snprintf(prefix, sizeof(prefix), "generator-%d", getpid());
	for (unsigned int side = 0; side < N_SIDES; side++)
		snprintf(device[side], sizeof(device[side]),
			"--vdev=net_virtio_user%u,path=%s,server=1,mac=02:00:00:77:00:0%u,"
			"queue_size=%u,%s",
			side, options->socket[side], side + 1, (unsigned int)options->queue_frames,
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

static int open_sides(struct generator *generator)
{
	const struct options *options = &generator->options;
	int error = frame_maker_init(&generator->maker, &options->traffic);

	for (uint16_t i = 0; i < N_SIDES && !error; i++)
		error = side_open(&generator->sides[i], (enum side_name)i, i,
			(uint16_t)options->queue_frames, &generator->maker);
	return error;
}

int main(int argc, char **argv)
{
	struct generator generator = {0};
	const struct mode *mode;
	int error;

	options_parse(&generator.options, argc, argv);
	mode = mode_find(generator.options.mode);
	if (!mode) {
		fprintf(stderr, "generator: --mode %s: there is none; see --help\n",
			generator.options.mode);
		return 2;
	}
	signal(SIGALRM, give_up);
	alarm(LINK_WAIT_SECONDS);
	if (start_eal(&generator.options) < 0) {
		fprintf(stderr, "generator: DPDK does not start: %s\n", rte_strerror(rte_errno));
		return 1;
	}
	error = open_sides(&generator);
	if (!error) {
		wait_for_links(&generator);
		error = mode->run(&generator);
	}
	for (unsigned int i = 0; i < N_SIDES; i++)
		side_close(&generator.sides[i]);
	frame_maker_free(&generator.maker);
	rte_eal_cleanup();
	return error ? 1 : 0;
}
