/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks of the pcapng format.  libpcap reads it, but writes the older format only, which has no
 * place for comments or for the interface; DPDK's rte_pcapng knows its own devices only, and no
 * comments.  Called by a capture's thread.
 */
#include "datapath/pcapng.h"

#include <string.h>

enum {
	BLOCK_SECTION = 0x0a0d0d0a,
	BLOCK_INTERFACE = 1,
	BLOCK_STATISTICS = 5,
	BLOCK_PACKET = 6,
	LINK_ETHERNET = 1,
	ALIGNMENT = 4,
	OPTION_BYTES_MAX = 65535,
	NANOSECONDS = 9, /* if_tsresol: 10^-9 s. */
};

enum { BYTE_ORDER_MAGIC = 0x1a2b3c4d, VERSION_MAJOR = 1, VERSION_MINOR = 0 };

enum option {
	OPTION_END = 0,
	OPTION_COMMENT = 1,
	SECTION_SYSTEM = 3,
	SECTION_APPLICATION = 4,
	INTERFACE_NAME = 2,
	INTERFACE_DESCRIPTION = 3,
	INTERFACE_RESOLUTION = 9,
	INTERFACE_FILTER = 11,
	PACKET_FLAGS = 2,
	STATISTICS_START = 2,
	STATISTICS_END = 3,
	STATISTICS_DROPPED = 5,
	STATISTICS_DELIVERED = 8,
};

/* --- Parts of a block ----------------------------------------------------------------------- */

/* A block under way. */
struct block {
	struct pcapng *out;
	size_t begin;
	bool fits; /* All so far. */
};

static void put_bytes(struct block *block, const void *bytes, size_t n)
{
	static const uint8_t padding[ALIGNMENT];
	struct pcapng *out = block->out;
	size_t behind = -n % ALIGNMENT;

	if (!block->fits || n > out->room - out->n || behind > out->room - out->n - n) {
		block->fits = false;
		return;
	}
	memcpy(out->bytes + out->n, bytes, n);
	memcpy(out->bytes + out->n + n, padding, behind);
	out->n += n + behind;
}

static void put_32(struct block *block, uint32_t value)
{
	put_bytes(block, &value, sizeof(value));
}

/* Two halves, the high one first, in either byte order (4.3). */
static void put_time(struct block *block, uint64_t time_ns)
{
	put_32(block, (uint32_t)(time_ns >> 32));
	put_32(block, (uint32_t)time_ns);
}

static void put_option(struct block *block, enum option code, const void *bytes, size_t n)
{
	const uint16_t head[] = {(uint16_t)code, (uint16_t)n};

	put_bytes(block, head, sizeof(head));
	put_bytes(block, bytes, n);
}

static void put_text(struct block *block, enum option code, const char *text)
{
	if (text != NULL && *text != '\0')
		put_option(block, code, text, strnlen(text, OPTION_BYTES_MAX));
}

static void put_count(struct block *block, enum option code, uint64_t count)
{
	put_option(block, code, &count, sizeof(count));
}

static void put_moment(struct block *block, enum option code, uint64_t time_ns)
{
	const uint32_t halves[] = {(uint32_t)(time_ns >> 32), (uint32_t)time_ns};

	put_option(block, code, halves, sizeof(halves));
}

static struct block begin(struct pcapng *out, uint32_t type)
{
	struct block block = {.out = out, .begin = out->n, .fits = true};

	put_32(&block, type);
	put_32(&block, 0); /* Its length, which end() knows. */
	return block;
}

/* Ends the options and the block; or takes it back. */
static bool end(struct block *block)
{
	struct pcapng *out = block->out;
	uint32_t bytes;

	put_option(block, OPTION_END, "", 0);
	bytes = (uint32_t)(out->n - block->begin + sizeof(bytes));
	put_32(block, bytes);
	if (!block->fits) {
		out->n = block->begin;
		return false;
	}
	memcpy(out->bytes + block->begin + sizeof(uint32_t), &bytes, sizeof(bytes));
	return true;
}

/* --- Blocks --------------------------------------------------------------------------------- */

bool pcapng_section(struct pcapng *out, const struct pcapng_section *section)
{
	static const uint16_t version[] = {VERSION_MAJOR, VERSION_MINOR};
	static const int64_t unknown_length = -1;
	struct block block = begin(out, BLOCK_SECTION);

	put_32(&block, BYTE_ORDER_MAGIC);
	put_bytes(&block, version, sizeof(version));
	put_bytes(&block, &unknown_length, sizeof(unknown_length));
	put_text(&block, OPTION_COMMENT, section->comment);
	put_text(&block, SECTION_SYSTEM, section->system);
	put_text(&block, SECTION_APPLICATION, section->application);
	return end(&block);
}

/* A filter is told with what language it is in: 0 is libpcap's (4.2). */
static void put_filter(struct block *block, const char *filter)
{
	size_t n = filter != NULL ? strnlen(filter, OPTION_BYTES_MAX - 1) : 0;
	const uint16_t head[] = {INTERFACE_FILTER, (uint16_t)(n + 1)};
	uint8_t first[ALIGNMENT] = {0};

	if (n == 0)
		return;
	size_t beside = n < sizeof(first) - 1 ? n : sizeof(first) - 1;
	memcpy(first + 1, filter, beside);
	put_bytes(block, head, sizeof(head));
	put_bytes(block, first, sizeof(first));
	put_bytes(block, filter + beside, n - beside);
}

bool pcapng_interface(struct pcapng *out, const struct pcapng_interface *interface)
{
	static const uint16_t link[] = {LINK_ETHERNET, 0};
	static const uint8_t resolution = NANOSECONDS;
	struct block block = begin(out, BLOCK_INTERFACE);

	put_bytes(&block, link, sizeof(link));
	put_32(&block, interface->snaplen);
	put_text(&block, INTERFACE_NAME, interface->name);
	put_text(&block, INTERFACE_DESCRIPTION, interface->description);
	put_option(&block, INTERFACE_RESOLUTION, &resolution, sizeof(resolution));
	put_filter(&block, interface->filter);
	return end(&block);
}

bool pcapng_packet(struct pcapng *out, const struct pcapng_packet *packet)
{
	const uint32_t flags = packet->direction;
	struct block block = begin(out, BLOCK_PACKET);

	put_32(&block, packet->interface);
	put_time(&block, packet->time_ns);
	put_32(&block, packet->captured);
	put_32(&block, packet->original);
	put_bytes(&block, packet->data, packet->captured);
	put_text(&block, OPTION_COMMENT, packet->comment);
	put_option(&block, PACKET_FLAGS, &flags, sizeof(flags));
	return end(&block);
}

bool pcapng_statistics(struct pcapng *out, const struct pcapng_statistics *statistics)
{
	struct block block = begin(out, BLOCK_STATISTICS);

	put_32(&block, statistics->interface);
	put_time(&block, statistics->time_ns);
	put_text(&block, OPTION_COMMENT, statistics->comment);
	put_moment(&block, STATISTICS_START, statistics->start_ns);
	put_moment(&block, STATISTICS_END, statistics->end_ns);
	put_count(&block, STATISTICS_DROPPED, statistics->dropped);
	put_count(&block, STATISTICS_DELIVERED, statistics->delivered);
	return end(&block);
}
