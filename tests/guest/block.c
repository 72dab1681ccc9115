/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disks (virtio 1.2, 5.2): a test of all requests, and text in a sector.
 *
 *	block N			writes, reads, flushes, discards: each with what came of it
 *	block-write N SECTOR TEXT	block-read N SECTOR
 */
#include "guest.h"

enum {
	SECTOR_BYTES = 512,
	TEST_SECTOR = 64,
	TEST_SECTORS = 24,
	TEST_BYTES = TEST_SECTORS * SECTOR_BYTES,
	REQUEST_READ = 0,
	REQUEST_WRITE = 1,
	REQUEST_FLUSH = 4,
	REQUEST_ID = 8,
	REQUEST_DISCARD = 11,
	REQUEST_ZEROES = 13,
	STATUS_OK = 0,
	ID_BYTES = 20,
	NO_ANSWER = 0xff,
};

#define BLOCK_F_READ_ONLY (UINT64_C(1) << 5)
#define BLOCK_F_FLUSH	  (UINT64_C(1) << 9)
#define BLOCK_F_DISCARD	  (UINT64_C(1) << 13)
#define BLOCK_F_ZEROES	  (UINT64_C(1) << 14)

struct request {
	uint32_t type, reserved;
	uint64_t sector;
};

struct range {
	uint64_t sector;
	uint32_t sectors, flags;
};

static struct request request;
static uint8_t status;
static uint8_t data[TEST_BYTES] __attribute__((aligned(SECTOR_BYTES)));

static struct device *open_disk(char **line)
{
	return device_open(VIRTIO_BLOCK, number(word(line)),
		BLOCK_F_READ_ONLY | BLOCK_F_FLUSH | BLOCK_F_DISCARD | BLOCK_F_ZEROES, 1);
}

/* A request whose data are in `n` parts behind its header; its status, or NO_ANSWER. */
static uint8_t ask(struct device *disk, uint32_t type, uint64_t sector, const struct part *parts,
	unsigned int n, bool reads)
{
	struct part all[8] = {{&request, sizeof(request)}};

	request = (struct request){type, 0, sector};
	status = NO_ANSWER;
	memcpy(all + 1, parts, n * sizeof(*parts));
	all[n + 1] = (struct part){&status, 1};
	queue_request(&disk->queues[0], all, n + 2, reads ? n + 1 : 1);
	compiler_barrier();
	return status;
}

static const char *word_for(uint8_t result)
{
	switch (result) {
	case STATUS_OK: return "ok";
	case 1: return "failed";
	case 2: return "unsupported";
	default: return "silent";
	}
}

static uint8_t pattern(size_t i)
{
	return (uint8_t)(i * 7 + i / SECTOR_BYTES * 13 + 1);
}

/* In three parts, one of them odd. */
static uint8_t transfer(struct device *disk, bool reads)
{
	struct part parts[] = {{data, SECTOR_BYTES}, {data + SECTOR_BYTES, 1000},
		{data + SECTOR_BYTES + 1000, TEST_BYTES - SECTOR_BYTES - 1000}};

	return ask(disk, reads ? REQUEST_READ : REQUEST_WRITE, TEST_SECTOR, parts, 3, reads);
}

/* Whether sectors [first, last) of what was read are the pattern, or zeros. */
static bool is_pattern(size_t first, size_t last, bool zeros)
{
	for (size_t i = first * SECTOR_BYTES; i < last * SECTOR_BYTES; i++) {
		if (data[i] != (zeros ? 0 : pattern(i)))
			return false;
	}
	return true;
}

static uint8_t on_range(struct device *disk, uint32_t type, uint64_t sector, uint32_t sectors)
{
	static struct range range;
	struct part part = {&range, sizeof(range)};

	range = (struct range){sector, sectors, 0};
	return ask(disk, type, 0, &part, 1, false);
}

static const char *read_back(struct device *disk, size_t zeros_from, size_t zeros_to)
{
	memset(data, 0xee, sizeof(data));
	if (transfer(disk, true) != STATUS_OK)
		return "failed";
	return is_pattern(0, zeros_from, false) && is_pattern(zeros_from, zeros_to, true) &&
			       is_pattern(zeros_to, TEST_SECTORS, false)
		       ? "same"
		       : "different";
}

void block_test(char *line, char *reply, size_t size)
{
	static char id[ID_BYTES + 1];
	struct part id_part = {id, ID_BYTES};
	struct device *disk = open_disk(&line);
	const char *written, *same, *flushed, *zeroed, *zeros, *discarded, *beyond;
	uint64_t sectors;

	if (!disk) {
		format_to(reply, size, "block: no such disk");
		return;
	}
	sectors = get32(disk->virtio.config);
	for (size_t i = 0; i < TEST_BYTES; i++)
		data[i] = pattern(i);
	written = word_for(transfer(disk, false));
	flushed = word_for(ask(disk, REQUEST_FLUSH, 0, NULL, 0, false));
	same = read_back(disk, TEST_SECTORS, TEST_SECTORS);
	zeroed = word_for(on_range(disk, REQUEST_ZEROES, TEST_SECTOR + 8, 8));
	zeros = read_back(disk, 8, 16);
	discarded = word_for(on_range(disk, REQUEST_DISCARD, TEST_SECTOR, TEST_SECTORS));
	beyond = word_for(
		ask(disk, REQUEST_READ, sectors, &(struct part){data, SECTOR_BYTES}, 1, true));
	memset(id, 0, sizeof(id));
	id_part.at = id;
	ask(disk, REQUEST_ID, 0, &id_part, 1, true);
	format_to(reply, size,
		"block: %u sectors id %s%s write %s flush %s read %s zeroes %s read %s discard %s "
		"beyond %s",
		sectors, id, disk->virtio.features & BLOCK_F_READ_ONLY ? " read-only" : "", written,
		flushed, same, zeroed, zeros, discarded, beyond);
}

static void one_sector(char *line, char *reply, size_t size, bool reads)
{
	struct device *disk = open_disk(&line);
	struct part part = {data, SECTOR_BYTES};
	uint64_t sector = number(word(&line));
	uint8_t result;

	if (!disk) {
		format_to(reply, size, "block: no such disk");
		return;
	}
	memset(data, 0, SECTOR_BYTES);
	if (!reads)
		memcpy(data, line, strlen(line));
	result = ask(disk, reads ? REQUEST_READ : REQUEST_WRITE, sector, &part, 1, reads);
	data[SECTOR_BYTES / 2] = '\0';
	format_to(reply, size, "block: %s %s", word_for(result), reads ? (const char *)data : "");
}

void block_read(char *line, char *reply, size_t size)
{
	one_sector(line, reply, size, true);
}

void block_write(char *line, char *reply, size_t size)
{
	one_sector(line, reply, size, false);
}
