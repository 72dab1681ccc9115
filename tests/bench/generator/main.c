/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The traffic generator of the benches: it plays two guests, A and B, on two vhost-user sockets,
 * sends what a mode tells it to, and counts what arrives.
 *
 *      side A (10.77.0.1) --- vhost-user ---- device under test ---- vhost-user --- side B
 *
 * It makes the sockets, and the device under test connects to them.  One thread, on one core;
 * `generator --help` lists the options and the modes.
 *
 * Memory: the rings and buffers, 4 MiB for each side with 1024 frames in a ring; 16 bytes per TCP
 * flow; what a mode keeps per flow, which it says at its top.
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "tests/bench/generator/mode.h"

enum { FLOWS_DEFAULT = 1024, WINDOW_DEFAULT = 1024 };

const struct mode modes[] = {
	{.name = "forward",
		.run = mode_forward,
		.help = "frames of all flows in both directions; the rate received"},
	{.name = "latency",
		.run = mode_latency,
		.help = "the rate without loss, and one-way latencies at shares of it",
		.stamped = true,
		.udp = true},
	{.name = "setup",
		.run = mode_setup,
		.help = "UDP flows from nothing, each a frame and its reply",
		.udp = true},
	{.name = "cps",
		.run = mode_cps,
		.help = "whole TCP connections: open, one request, close",
		.tcp = true,
		.n_flows = FRAME_FLOWS_MAX,
		.window = 512},
	{.name = "full",
		.run = mode_full,
		.help = "established UDP flows beside ever new ones",
		.udp = true},
	{.name = "attack",
		.run = mode_attack,
		.help = "a steady rate, and new flows, while a third guest attacks",
		.udp = true},
	{.name = "keep",
		.run = mode_keep,
		.help = "a steady rate while the switch is killed or changed: gap, loss, "
			"survivors"},
	{.name = "bulk",
		.run = mode_bulk,
		.help = "TCP in frames of 64 KiB from A to B, by segmentation offload",
		.tcp = true,
		.features = 1u << VIRTIO_NET_F_CSUM | 1u << VIRTIO_NET_F_GUEST_CSUM |
			    1u << VIRTIO_NET_F_HOST_TSO4 | 1u << VIRTIO_NET_F_HOST_TSO6 |
			    1u << VIRTIO_NET_F_GUEST_TSO4 | 1u << VIRTIO_NET_F_GUEST_TSO6,
		.tx_frame_bytes_max = UINT16_MAX},
	{.name = NULL},
};

static const struct mode *mode_find(const char *name)
{
	for (const struct mode *mode = modes; mode->name; mode++)
		if (!strcmp(mode->name, name))
			return mode;
	return NULL;
}

static int run_on_core(unsigned int core)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(core, &set);
	if (sched_setaffinity(0, sizeof(set), &set) == 0)
		return 0;
	fprintf(stderr, "generator: --core %u: %s\n", core, strerror(errno));
	return -errno;
}

static int open_sides(struct generator *generator, const struct mode *mode)
{
	const struct options *options = &generator->options;
	int error = 0;

	for (unsigned int i = 0; i < N_SIDES && !error; i++) {
		struct side_setup setup = {.socket = options->socket[i],
			.features = options->features | mode->features,
			.queue_frames = (uint16_t)options->queue_frames,
			.tx_chain = mode->tx_chain,
			.tx_frame_bytes_max = mode->tx_frame_bytes_max,
			.no_huge = options->no_huge};

		error = side_open(
			&generator->sides[i], (enum side_name)i, &setup, &generator->maker);
	}
	return error;
}

static int wait_for_devices(struct generator *generator)
{
	int error = 0;

	generator->ticks_per_second = clock_measure_hz();
	for (unsigned int i = 0; i < N_SIDES && !error; i++)
		error = wait_for_device(&generator->sides[i], generator->ticks_per_second);
	return error;
}

static int run(struct generator *generator, const struct mode *mode)
{
	int error = frame_maker_init(&generator->maker, &generator->options.traffic);

	if (error) {
		fprintf(stderr, "generator: no such traffic: %s\n", strerror(-error));
		return error;
	}
	error = run_on_core((unsigned int)generator->options.core);
	if (!error)
		error = open_sides(generator, mode);
	if (!error)
		error = wait_for_devices(generator);
	if (!error)
		error = mode->run(generator);
	return error;
}

int main(int argc, char **argv)
{
	struct generator generator = {.sides = {SIDE_CLOSED, SIDE_CLOSED}};
	const struct mode *mode;
	int error;

	options_parse(&generator.options, argc, argv);
	mode = mode_find(generator.options.mode);
	if (!mode) {
		fprintf(stderr, "generator: --mode %s: there is none; see --help\n",
			generator.options.mode);
		return 2;
	}
	if (mode->udp && generator.options.traffic.tcp) {
		fprintf(stderr, "generator: --mode %s is for UDP; leave out --tcp\n", mode->name);
		return 2;
	}
	generator.options.traffic.stamped = mode->stamped;
	generator.options.traffic.tcp |= mode->tcp;
	if (!generator.options.traffic.n_flows)
		generator.options.traffic.n_flows = mode->n_flows ? mode->n_flows : FLOWS_DEFAULT;
	if (!generator.options.window)
		generator.options.window = mode->window ? mode->window : WINDOW_DEFAULT;
	options_finish(&generator.options);
	error = run(&generator, mode);
	for (unsigned int i = 0; i < N_SIDES; i++)
		side_close(&generator.sides[i]);
	frame_maker_free(&generator.maker);
	return error ? 1 : 0;
}
