/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks of the pcapng format (draft-ietf-opsawg-pcapng, sections 3 and 4), one after the other
 * into memory.  Numbers are in the host's byte order, as the format wants it; times in nanoseconds.
 * No DPDK.
 *
 * Each function appends one whole block and returns true; or, if there is not enough room, nothing,
 * and returns false.  A text of more than 65535 bytes is cut; NULL is left out.
 */
#ifndef DATAPATH_PCAPNG_H
#define DATAPATH_PCAPNG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pcapng {
	uint8_t *bytes; /* The caller's. */
	size_t n, room;
};

/* Section Header Block: the beginning. */
struct pcapng_section {
	const char *application, *system, *comment;
};
bool pcapng_section(struct pcapng *out, const struct pcapng_section *section);

/* Interface Description Block, of an Ethernet interface.  Its number is how many came before. */
struct pcapng_interface {
	const char *name, *description, *filter;
	uint32_t snaplen;
};
bool pcapng_interface(struct pcapng *out, const struct pcapng_interface *interface);

enum pcapng_direction { PCAPNG_INBOUND = 1, PCAPNG_OUTBOUND = 2 };

/* Enhanced Packet Block. */
struct pcapng_packet {
	uint32_t interface;
	uint64_t time_ns; /* Since 1970. */
	const uint8_t *data;
	uint32_t captured, original; /* Bytes: at `data`, and of the frame. */
	enum pcapng_direction direction;
	const char *comment;
};
bool pcapng_packet(struct pcapng *out, const struct pcapng_packet *packet);

/* Interface Statistics Block: what became of the frames of an interface. */
struct pcapng_statistics {
	uint32_t interface;
	uint64_t time_ns, start_ns, end_ns;
	uint64_t dropped;   /* For want of room. */
	uint64_t delivered; /* Into the file. */
	const char *comment;
};
bool pcapng_statistics(struct pcapng *out, const struct pcapng_statistics *statistics);

#endif
