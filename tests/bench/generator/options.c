/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The generator's command line: one table of options, each with the field that it sets.  Called by
 * main() at the start.
 */
#include "tests/bench/generator/options.h"

#include <errno.h>
#include <getopt.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/virtio_config.h>
#include <linux/virtio_net.h>

#include "tests/bench/generator/mode.h"

enum option_kind { OPTION_TEXT, OPTION_NUMBER, OPTION_NUMBER32, OPTION_RATE, OPTION_YES };

struct option_entry {
	const char *name;
	enum option_kind kind;
	size_t field;
	unsigned long max; /* Of a number; the least is 1. */
	const char *argument, *help;
};

#define FIELD(name) offsetof(struct options, name)

static const struct option_entry entries[] = {
	{"mode", OPTION_TEXT, FIELD(mode), 0, "NAME", "what to do (default forward), see below"},
	{"socket-a", OPTION_TEXT, FIELD(socket[SIDE_A]), 0, "PATH", "side A's vhost-user socket"},
	{"socket-b", OPTION_TEXT, FIELD(socket[SIDE_B]), 0, "PATH", "side B's"},
	{"flows", OPTION_NUMBER32, FIELD(traffic.n_flows), FRAME_FLOWS_MAX, "N",
		"connections (default 1024; cps: 10 million)"},
	{"size", OPTION_TEXT, FIELD(size), 0, "BYTES",
		"frame size without FCS, or \"imix\" (default 64, or the least possible)"},
	{"tcp", OPTION_YES, FIELD(traffic.tcp), 0, NULL, "TCP connections instead of UDP"},
	{"ipv6", OPTION_YES, FIELD(traffic.ipv6), 0, NULL, "IPv6 instead of IPv4"},
	{"rate", OPTION_RATE, FIELD(rate_mpps), 10000, "MPPS",
		"frames offered, both directions together (default 0: as the rings take them)"},
	{"seconds", OPTION_NUMBER, FIELD(seconds), 3600, "S", "length of a round (default 2)"},
	{"rounds", OPTION_NUMBER, FIELD(rounds), 1000, "R", "number of rounds (default 3)"},
	{"queue", OPTION_NUMBER, FIELD(queue_frames), 32768, "N",
		"frames in each ring, a power of two (default 1024)"},
	{"device", OPTION_TEXT, FIELD(device), 0, "TEXT",
		"virtio features, as \"mrg_rxbuf=0\" (default mrg_rxbuf=1)"},
	{"watch", OPTION_YES, FIELD(watch), 0, NULL, "keep: one flow more, with a port of its own"},
	{"socket-c", OPTION_TEXT, FIELD(socket_c), 0, "PATH", "attack: the third guest's socket"},
	{"attack", OPTION_TEXT, FIELD(attack), 0, "NAME",
		"attack: none (the default), random, syn or mac"},
	{"attack-rate", OPTION_RATE, FIELD(attack_rate_mpps), 10000, "MPPS",
		"attack: frames of the third guest (default 0: as its ring takes them)"},
	{"new-flows", OPTION_NUMBER, FIELD(new_flows), 10000000, "N",
		"attack: flows opened per second meanwhile (default none)"},
	{"core", OPTION_NUMBER, FIELD(core), 1023, "N", "the core to run on (default 1)"},
	{"window", OPTION_NUMBER, FIELD(window), 65536, "N",
		"flows or connections in flight (default setup: 1024, cps: 512)"},
	{"loads", OPTION_TEXT, FIELD(loads), 0, "LIST",
		"latency: percents of the no-drop rate (default 10,50,90)"},
	{"loss", OPTION_NUMBER, FIELD(loss_ppm), 1000000, "PPM",
		"latency: frames lost per million that count as no drop (default none)"},
	{"established", OPTION_NUMBER32, FIELD(established), FRAME_FLOWS_MAX, "N",
		"full: flows that are opened first (default 1024)"},
	{"new-rate", OPTION_RATE, FIELD(new_rate_mpps), 10000, "MPPS",
		"full: frames of new flows, from A (default 0: none)"},
	{"fill", OPTION_YES, FIELD(fill), 0, NULL, "full: first send a frame of every new flow"},
	{"no-huge", OPTION_YES, FIELD(no_huge), 0, NULL, "run without hugepages"},
};

enum { N_ENTRIES = sizeof(entries) / sizeof(entries[0]) };

static void print_usage(FILE *file)
{
	fputs("Usage: generator --socket-a PATH --socket-b PATH [OPTION]...\n", file);
	for (unsigned int i = 0; i < N_ENTRIES; i++) {
		const struct option_entry *entry = &entries[i];

		fprintf(file, "  --%-13s %-6s %s\n", entry->name,
			entry->argument ? entry->argument : "", entry->help);
	}
	fputs("Modes:\n", file);
	for (const struct mode *mode = modes; mode->name; mode++)
		fprintf(file, "  %-10s %s\n", mode->name, mode->help);
	fputs("A is 02:00:00:77:00:01, 10.77.0.1, fd77::1; B ends in 2.\n", file);
}

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

static double rate_of(const char *option, const char *text, unsigned long max)
{
	char *end;
	double rate = strtod(text, &end);

	if (*end || end == text || !(rate >= 0 && rate <= (double)max)) {
		fprintf(stderr, "generator: --%s %s: give a number from 0 to %lu, such as 2.5\n",
			option, text, max);
		exit(2);
	}
	return rate;
}

static void set_option(struct options *options, const struct option_entry *entry, const char *value)
{
	void *field = (char *)options + entry->field;

	switch (entry->kind) {
	case OPTION_TEXT: *(const char **)field = value; break;
	case OPTION_NUMBER: *(uint64_t *)field = number_of(entry->name, value, entry->max); break;
	case OPTION_NUMBER32:
		*(uint32_t *)field = (uint32_t)number_of(entry->name, value, entry->max);
		break;
	case OPTION_RATE: *(double *)field = rate_of(entry->name, value, entry->max); break;
	case OPTION_YES: *(bool *)field = true; break;
	}
}

/* The usual simple IMIX: 7 small, 4 of medium size, 1 large, spread over the cycle. */
static void sizes_of(struct traffic *traffic, const char *text)
{
	static const uint16_t imix[] = {0, 594, 0, 0, 594, 0, FRAME_BYTES_MAX, 0, 594, 0, 594, 0};
	enum { N_IMIX = sizeof(imix) / sizeof(imix[0]) };
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
		traffic->n_sizes = N_IMIX;
		for (size_t i = 0; i < N_IMIX; i++)
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

/* What a guest's driver may want of a card, by the names that DPDK's driver has for them. */
static const struct {
	const char *name;
	unsigned int bit;
} features[] = {
	{"mrg_rxbuf", VIRTIO_NET_F_MRG_RXBUF},
	{"csum", VIRTIO_NET_F_CSUM},
	{"guest_csum", VIRTIO_NET_F_GUEST_CSUM},
	{"host_tso4", VIRTIO_NET_F_HOST_TSO4},
	{"host_tso6", VIRTIO_NET_F_HOST_TSO6},
	{"guest_tso4", VIRTIO_NET_F_GUEST_TSO4},
	{"guest_tso6", VIRTIO_NET_F_GUEST_TSO6},
};

enum { N_FEATURES = sizeof(features) / sizeof(features[0]) };

/* Reads NAME=0 or NAME=1.  Returns how long it is, 0 if it is something else. */
static size_t read_feature(const char *text, uint64_t *bits)
{
	for (unsigned int i = 0; i < N_FEATURES; i++) {
		size_t n = strlen(features[i].name);

		if (strncmp(text, features[i].name, n) || text[n] != '=' ||
			(text[n + 1] != '0' && text[n + 1] != '1') ||
			(text[n + 2] && text[n + 2] != ','))
			continue;
		*bits &= ~(1ull << features[i].bit);
		*bits |= (uint64_t)(text[n + 1] - '0') << features[i].bit;
		return n + 2;
	}
	return 0;
}

static void features_of(struct options *options)
{
	const char *text = options->device;

	options->features = 1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_NET_F_MRG_RXBUF;
	for (size_t n; *text; text += n + (text[n] == ',')) {
		n = read_feature(text, &options->features);
		if (n)
			continue;
		fprintf(stderr,
			"generator: --device %s: not understood; with =0 or =1 and commas:", text);
		for (unsigned int i = 0; i < N_FEATURES; i++)
			fprintf(stderr, " %s", features[i].name);
		fputc('\n', stderr);
		exit(2);
	}
}

void options_parse(struct options *options, int argc, char **argv)
{
	struct option table[N_ENTRIES + 2] = {{0}};
	int which, at;

	*options = (struct options){.mode = "forward",
		.attack = "none",
		.device = "mrg_rxbuf=1",
		.seconds = 2,
		.rounds = 3,
		.core = 1,
		.queue_frames = 1024,
		.loads = "10,50,90",
		.established = 1024};
	for (unsigned int i = 0; i < N_ENTRIES; i++)
		table[i] =
			(struct option){entries[i].name, entries[i].kind != OPTION_YES, NULL, 'o'};
	table[N_ENTRIES] = (struct option){"help", 0, NULL, 'h'};
	while ((which = getopt_long(argc, argv, "", table, &at)) == 'o')
		set_option(options, &entries[at], optarg);
	if (which != -1 || optind != argc || !options->socket[SIDE_A] || !options->socket[SIDE_B]) {
		print_usage(which == 'h' ? stdout : stderr);
		exit(which == 'h' ? 0 : 2);
	}
	if (options->queue_frames & (options->queue_frames - 1)) {
		fprintf(stderr, "generator: --queue %lu: give a power of two\n",
			(unsigned long)options->queue_frames);
		exit(2);
	}
}

void options_finish(struct options *options)
{
	sizes_of(&options->traffic, options->size);
	addresses_of(&options->traffic);
	features_of(options);
}
