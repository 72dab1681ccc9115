/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-blk: requests from the guest's ring become requests on a file, and their results answers.
 *
 *	notified() -> virtio_queue_pop() -> header checked -> block_file_queue() ... done() ->
 *status -> push, signal
 *
 * Each request has a slot from when it is taken off the ring until it is given back.  With all
 *slots taken the rest waits in the ring.  Called with the machine's lock held, by the event loop
 *and by vCPU threads.
 */
#include "hv/block.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_blk.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/block_file.h"

enum {
	SECTOR = 512,
	QUEUE_SIZE = 128,
	ID_BYTES = VIRTIO_BLK_ID_BYTES,
	SEGMENTS_MAX = 16,	       /* Ranges in one discard. */
	DISCARD_SECTORS_MAX = 1 << 22, /* 2 GiB in a range. */
	PAGE_SECTORS = 8,
	UNMAP_FLAG = 1,
};

struct block_segment {
	uint64_t sector;
	uint32_t sectors, flags;
};

struct block_slot {
	struct block_request request; /* First: done() finds the slot by it. */
	struct block *block;
	struct block_slot *next_free;
	struct virtio_chain chain;
	uint8_t *status;   /* The answer's last byte. */
	uint32_t answered; /* Bytes of the answer, the status included. */
	/* Of discards and write-zeroes: what is left to do, and whether a flush follows. */
	struct block_segment segments[SEGMENTS_MAX];
	unsigned int n_segments, next_segment;
	bool flush_after;
};

struct block {
	struct virtio_device device;
	struct block_file *file;
	bool read_only;
	char id[ID_BYTES + 1];
	struct virtio_blk_config config;
	struct block_slot *slots, *free;
	unsigned int n_used_slots; /* The others have never been touched, and take no memory. */
	bool answered;		   /* Something was pushed and not yet signalled. */
	struct {
		uint64_t reads, writes, flushes, discards, zeroes, bytes_read, bytes_written,
			errors;
	} count;
};

static struct block *block_of(struct virtio_device *device)
{
	return (struct block *)device;
}

/* --- Answers ---------------------------------------------------------------------------------- */

static void answer(struct block_slot *slot, uint8_t status)
{
	struct block *block = slot->block;

	*slot->status = status;
	block->count.errors += status == VIRTIO_BLK_S_IOERR;
	virtio_queue_push(&block->device.queues[0], slot->chain.head, slot->answered);
	block->answered = true;
	slot->next_free = block->free;
	block->free = slot;
}

/* A slot that nobody has, still on the list of those; or NULL. */
static struct block_slot *free_slot(struct block *block)
{
	if (!block->free && block->n_used_slots < BLOCK_FILE_DEPTH) {
		block->free = &block->slots[block->n_used_slots++];
		block->free->block = block;
	}
	return block->free;
}

static void signal_answers(struct block *block)
{
	if (block->answered)
		virtio_queue_signal(&block->device.queues[0]);
	block->answered = false;
}

static void start_segment(struct block_slot *slot)
{
	const struct block_segment *segment = &slot->segments[slot->next_segment++];

	slot->request.offset = segment->sector * SECTOR;
	slot->request.bytes = (uint64_t)segment->sectors * SECTOR;
	slot->request.unmap = segment->flags & UNMAP_FLAG;
	block_file_queue(slot->block->file, &slot->request);
}

static void request_done(struct block_request *request, int result)
{
	struct block_slot *slot = (struct block_slot *)request;
	bool more = slot->next_segment < slot->n_segments || slot->flush_after;

	/* The driver resets the device, and waits. */
	if (!result && more && !slot->block->device.started)
		result = -ECANCELED;
	if (!result && slot->next_segment < slot->n_segments) {
		start_segment(slot);
		block_file_submit(slot->block->file);
		return;
	}
	if (!result && slot->flush_after) {
		slot->flush_after = false;
		request->operation = BLOCK_FLUSH;
		block_file_queue(slot->block->file, request);
		block_file_submit(slot->block->file);
		return;
	}
	answer(slot, result ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK);
}

/* --- Requests --------------------------------------------------------------------------------- */

static bool on_disk(const struct block *block, uint64_t sector, uint64_t bytes)
{
	uint64_t capacity = block_file_bytes(block->file);

	return !(bytes % SECTOR) && sector <= capacity / SECTOR &&
	       bytes <= capacity - sector * SECTOR;
}

/* The buffers of the data alone: without `skip` bytes at the front and what is beyond `bytes`. */
static void cut_buffers(struct block_request *request, struct iovec *buffers, unsigned int n,
	uint64_t skip, uint64_t bytes)
{
	while (n && skip >= buffers->iov_len) {
		skip -= buffers->iov_len;
		buffers++;
		n--;
	}
	if (n) {
		buffers->iov_base = (uint8_t *)buffers->iov_base + skip;
		buffers->iov_len -= skip;
	}
	request->buffers = buffers;
	request->n_buffers = 0;
	while (bytes) {
		struct iovec *buffer = &buffers[request->n_buffers++];

		if (buffer->iov_len > bytes)
			buffer->iov_len = bytes;
		bytes -= buffer->iov_len;
	}
}

static uint8_t begin_transfer(struct block_slot *slot, uint64_t sector, bool write)
{
	struct block *block = slot->block;
	struct virtio_chain *chain = &slot->chain;
	struct block_request *request = &slot->request;
	uint64_t header = sizeof(struct virtio_blk_outhdr);

	request->operation = write ? BLOCK_WRITE : BLOCK_READ;
	request->bytes = write ? chain->readable_bytes - header : chain->writable_bytes - 1;
	request->offset = sector * SECTOR;
	if ((write && block->read_only) || !request->bytes ||
		!on_disk(block, sector, request->bytes))
		return VIRTIO_BLK_S_IOERR;
	if (write) {
		cut_buffers(request, chain->buffers, chain->n_readable, header, request->bytes);
		block->count.writes++;
		block->count.bytes_written += request->bytes;
	} else {
		cut_buffers(request, chain->buffers + chain->n_readable, chain->n_writable, 0,
			request->bytes);
		block->count.reads++;
		block->count.bytes_read += request->bytes;
		slot->answered += (uint32_t)request->bytes;
	}
	block_file_queue(block->file, request);
	return VIRTIO_BLK_S_OK;
}

/* 5.2.6.2: flags that are not known, or unmap in a discard, are refused as unsupported. */
static uint8_t read_segments(struct block_slot *slot, bool zeroes)
{
	struct virtio_blk_discard_write_zeroes raw[SEGMENTS_MAX];
	uint64_t bytes = slot->chain.readable_bytes - sizeof(struct virtio_blk_outhdr);

	if (!bytes || bytes % sizeof(raw[0]) || bytes > sizeof(raw))
		return VIRTIO_BLK_S_IOERR;
	virtio_chain_read(&slot->chain, sizeof(struct virtio_blk_outhdr), raw, bytes);
	slot->n_segments = (unsigned int)(bytes / sizeof(raw[0]));
	for (unsigned int i = 0; i < slot->n_segments; i++) {
		struct block_segment *segment = &slot->segments[i];

		segment->sector = le64toh(raw[i].sector);
		segment->sectors = le32toh(raw[i].num_sectors);
		segment->flags = le32toh(raw[i].flags);
		if (segment->flags & ~(zeroes ? UNMAP_FLAG : 0U))
			return VIRTIO_BLK_S_UNSUPP;
		if (!segment->sectors || segment->sectors > DISCARD_SECTORS_MAX ||
			!on_disk(slot->block, segment->sector, (uint64_t)segment->sectors * SECTOR))
			return VIRTIO_BLK_S_IOERR;
	}
	return VIRTIO_BLK_S_OK;
}

static uint8_t begin_discard(struct block_slot *slot, bool zeroes)
{
	struct block *block = slot->block;
	uint64_t feature = UINT64_C(1)
			   << (zeroes ? VIRTIO_BLK_F_WRITE_ZEROES : VIRTIO_BLK_F_DISCARD);
	uint8_t status;

	if (!(block->device.features & feature))
		return VIRTIO_BLK_S_UNSUPP;
	if (block->read_only)
		return VIRTIO_BLK_S_IOERR;
	status = read_segments(slot, zeroes);
	if (status != VIRTIO_BLK_S_OK)
		return status;
	slot->request.operation = zeroes ? BLOCK_WRITE_ZEROES : BLOCK_DISCARD;
	slot->flush_after = slot->request.write_through;
	block->count.zeroes += zeroes;
	block->count.discards += !zeroes;
	start_segment(slot);
	return VIRTIO_BLK_S_OK;
}

static uint8_t begin_flush(struct block_slot *slot)
{
	slot->request.operation = BLOCK_FLUSH;
	slot->block->count.flushes++;
	block_file_queue(slot->block->file, &slot->request);
	return VIRTIO_BLK_S_OK;
}

static void answer_id(struct block_slot *slot)
{
	uint64_t room = slot->chain.writable_bytes - 1;
	uint64_t bytes = room < ID_BYTES ? room : ID_BYTES;

	virtio_chain_write(&slot->chain, 0, slot->block->id, bytes);
	slot->answered += (uint32_t)bytes;
	answer(slot, VIRTIO_BLK_S_OK);
}

/* Starts a request, or answers it at once. */
static void begin(struct block_slot *slot, const struct virtio_blk_outhdr *header)
{
	uint64_t sector = le64toh(header->sector);
	uint8_t status;

	switch (le32toh(header->type)) {
	case VIRTIO_BLK_T_IN: status = begin_transfer(slot, sector, false); break;
	case VIRTIO_BLK_T_OUT: status = begin_transfer(slot, sector, true); break;
	case VIRTIO_BLK_T_FLUSH: status = begin_flush(slot); break;
	case VIRTIO_BLK_T_DISCARD: status = begin_discard(slot, false); break;
	case VIRTIO_BLK_T_WRITE_ZEROES: status = begin_discard(slot, true); break;
	case VIRTIO_BLK_T_GET_ID: answer_id(slot); return;
	default: status = VIRTIO_BLK_S_UNSUPP;
	}
	if (status != VIRTIO_BLK_S_OK)
		answer(slot, status);
}

/* Where the status goes, and the header.  False if the chain has no room for either: it cannot be
 * answered. */
static bool read_header(struct block_slot *slot, struct virtio_blk_outhdr *header)
{
	struct virtio_chain *chain = &slot->chain;
	const struct iovec *last;

	if (!chain->writable_bytes ||
		virtio_chain_read(chain, 0, header, sizeof(*header)) != sizeof(*header))
		return false;
	last = &chain->buffers[chain->n_readable + chain->n_writable - 1];
	if (!last->iov_len)
		return false;
	slot->status = (uint8_t *)last->iov_base + last->iov_len - 1;
	return true;
}

static bool take(struct block *block, struct block_slot *slot)
{
	struct virtio_blk_outhdr header;

	slot->answered = 1;
	slot->n_segments = slot->next_segment = 0;
	slot->flush_after = false;
	slot->request = (struct block_request){
		.done = request_done,
		.write_through = !(block->device.features & (UINT64_C(1) << VIRTIO_BLK_F_FLUSH)),
	};
	if (!read_header(slot, &header)) {
		virtio_device_fail(&block->device,
			"a request has no header of 16 bytes, or no room for the status");
		return false;
	}
	block->free = slot->next_free;
	begin(slot, &header);
	return true;
}

/* Takes requests while there are slots; with none left, batch_done() goes on as soon as there are.
 */
static void take_requests(struct block *block)
{
	unsigned int turn = VIRTIO_DEVICE_TURN;
	struct block_slot *slot;

	while ((slot = free_slot(block)) &&
		virtio_device_take(&block->device, 0, &slot->chain, &turn)) {
		if (!take(block, slot))
			break;
	}
	block_file_submit(block->file);
	signal_answers(block);
}

static void batch_done(void *owner)
{
	struct block *block = owner;

	signal_answers(block);
	if (block->device.started)
		take_requests(block);
}

/* --- The device ------------------------------------------------------------------------------- */

static void stop(struct virtio_device *device)
{
	struct block *block = block_of(device);

	block_file_drain(block->file);
	block->answered = false;
}

static void notified(struct virtio_device *device, unsigned int index)
{
	(void)index;
	take_requests(block_of(device));
}

static void read_config(
	struct virtio_device *device, uint32_t offset, uint8_t *data, unsigned int bytes)
{
	const struct block *block = block_of(device);

	memset(data, 0, bytes);
	if (offset < sizeof(block->config))
		memcpy(data, (const uint8_t *)&block->config + offset,
			bytes < sizeof(block->config) - offset ? bytes
							       : sizeof(block->config) - offset);
}

static unsigned int counters(struct virtio_device *device, struct virtio_counter *list)
{
	const struct block *block = block_of(device);
	const struct virtio_counter all[] = {
		{"reads", block->count.reads},
		{"writes", block->count.writes},
		{"flushes", block->count.flushes},
		{"discards", block->count.discards},
		{"write-zeroes", block->count.zeroes},
		{"bytes-read", block->count.bytes_read},
		{"bytes-written", block->count.bytes_written},
		{"errors", block->count.errors},
	};

	memcpy(list, all, sizeof(all));
	return sizeof(all) / sizeof(all[0]);
}

static void destroy(struct virtio_device *device)
{
	struct block *block = block_of(device);

	block_file_close(block->file);
	free(block->slots);
	free(block);
}

static const struct virtio_device_type block_type = {
	.name = "block",
	.id = 2,
	.start = virtio_device_start_nothing,
	.stop = stop,
	.notified = notified,
	.read_config = read_config,
	.write_config = virtio_device_write_nothing,
	.counters = counters,
	.destroy = destroy,
};

static void describe(struct block *block)
{
	struct virtio_blk_config *config = &block->config;

	block->device.features_offered =
		UINT64_C(1) << VIRTIO_BLK_F_SEG_MAX | UINT64_C(1) << VIRTIO_BLK_F_BLK_SIZE |
		UINT64_C(1) << VIRTIO_BLK_F_TOPOLOGY | UINT64_C(1) << VIRTIO_BLK_F_FLUSH;
	config->capacity = htole64(block_file_bytes(block->file) / SECTOR);
	config->seg_max = htole32(QUEUE_SIZE - 2);
	config->blk_size = htole32(SECTOR);
	config->physical_block_exp = 3; /* Pages of 4 KiB. */
	config->min_io_size = htole16(PAGE_SECTORS);
	if (block->read_only) {
		block->device.features_offered |= UINT64_C(1) << VIRTIO_BLK_F_RO;
		return;
	}
	block->device.features_offered |=
		UINT64_C(1) << VIRTIO_BLK_F_DISCARD | UINT64_C(1) << VIRTIO_BLK_F_WRITE_ZEROES;
	config->max_discard_sectors = config->max_write_zeroes_sectors =
		htole32(DISCARD_SECTORS_MAX);
	config->max_discard_seg = config->max_write_zeroes_seg = htole32(SEGMENTS_MAX);
	config->discard_sector_alignment = htole32(PAGE_SECTORS);
	config->write_zeroes_may_unmap = 1;
}

int block_create(struct virtio_device **device, const struct disk_options *options,
	unsigned int index, const struct guest_memory *memory, struct event_loop *loop,
	struct hv_error *error)
{
	struct block *block = calloc(1, sizeof(*block));
	int result;

	if (!block)
		return hv_fail(error, ENOMEM, "no memory for disk %s", options->path);
	block->slots = calloc(BLOCK_FILE_DEPTH, sizeof(*block->slots));
	result = block->slots
			 ? block_file_open(&block->file, options, loop, batch_done, block, error)
			 : hv_fail(error, ENOMEM, "no memory for disk %s", options->path);
	if (result) {
		free(block->slots);
		free(block);
		return result;
	}
	block->read_only = options->read_only;
	block->device = (struct virtio_device){.type = &block_type,
		.memory = memory,
		.loop = loop,
		.n_queues = 1,
		.queue_size_max = QUEUE_SIZE};
	snprintf(block->device.name, sizeof(block->device.name), "disk%u", index);
	snprintf(block->id, sizeof(block->id), "%.*s", ID_BYTES,
		options->serial ? options->serial : block->device.name);
	describe(block);
	*device = &block->device;
	return 0;
}

uint64_t block_bytes(const struct virtio_device *device)
{
	return block_file_bytes(((const struct block *)device)->file);
}
