/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes to a disk, several at a time, until "stop": for what becomes of requests when whoever
 *works them goes and comes again.
 *
 *	block-traffic N DEPTH
 *
 * Write number I puts the text "write I" into sector 1024 + I modulo 64.  A device that needs a
 * reset gets one, and what it has not answered is asked again.
 */
#include "guest.h"

enum {
	DEPTH_MAX = 8,
	SECTORS = 64,
	FIRST_SECTOR = 1024,
	SECTOR_BYTES = 512,
	REQUEST_WRITE = 1,
	REQUEST_FLUSH = 4,
	STATUS_OK = 0,
	NO_ANSWER = 0xff,
	DEVICE_NEEDS_RESET = 0x40,
	PATIENCE_MS = 20000,
	WORK_EACH = 256,
};

#define BLOCK_F_FLUSH (UINT64_C(1) << 9)

struct job {
	struct {
		uint32_t type, reserved;
		uint64_t sector;
	} request;
	uint8_t data[SECTOR_BYTES];
	volatile uint8_t status;
	bool busy;
	uint16_t head;
};

struct traffic {
	struct device *disk;
	unsigned int depth, begun, done, failed, resets;
	bool sector_busy[SECTORS];
	uint64_t heard; /* When the device answered last. */
};

static struct job jobs[DEPTH_MAX];

static void put(struct traffic *traffic, struct job *job)
{
	struct queue *queue = &traffic->disk->queues[0];
	const struct part parts[] = {{&job->request, sizeof(job->request)},
		{job->data, job->request.type == REQUEST_FLUSH ? 0 : SECTOR_BYTES},
		{&job->status, 1}};
	const struct part flush[] = {parts[0], parts[2]};
	bool has_data = job->request.type != REQUEST_FLUSH;

	job->status = NO_ANSWER;
	job->head = queue->free[queue->n_free - 1];
	if (!queue_put(queue, has_data ? parts : flush, has_data ? 3 : 2, 1))
		fail("the disk's queue is full");
	queue_kick(queue);
}

static void begin(struct traffic *traffic, struct job *job)
{
	unsigned int place = traffic->begun % SECTORS;

	memset(job->data, 0, sizeof(job->data));
	format_to((char *)job->data, sizeof(job->data), "write %u", traffic->begun);
	job->request.type = REQUEST_WRITE;
	job->request.sector = FIRST_SECTOR + place;
	job->busy = traffic->sector_busy[place] = true;
	traffic->begun++;
	put(traffic, job);
}

/* Nobody writes to a sector twice at a time. */
static void begin_all(struct traffic *traffic)
{
	for (unsigned int i = 0; i < traffic->depth; i++) {
		if (!jobs[i].busy && !traffic->sector_busy[traffic->begun % SECTORS])
			begin(traffic, &jobs[i]);
	}
}

static struct job *job_of(const struct traffic *traffic, uint16_t head)
{
	for (unsigned int i = 0; i < traffic->depth; i++) {
		if (jobs[i].busy && jobs[i].head == head)
			return &jobs[i];
	}
	fail("the disk has answered what was not asked, or twice");
}

static void take_all(struct traffic *traffic)
{
	uint32_t length;
	uint16_t head;

	while (queue_take(&traffic->disk->queues[0], &head, &length)) {
		struct job *job = job_of(traffic, head);

		compiler_barrier();
		traffic->heard = clock_cycles();
		traffic->failed += job->status != STATUS_OK;
		traffic->sector_busy[job->request.sector % SECTORS] = false;
		job->busy = false;
		traffic->done++;
	}
}

/* The device is begun anew if it says that it needs that. */
static void mend(struct traffic *traffic)
{
	if (!(virtio_status(&traffic->disk->virtio) & DEVICE_NEEDS_RESET))
		return;
	traffic->resets++;
	device_begin(traffic->disk);
	for (unsigned int i = 0; i < traffic->depth; i++) {
		if (jobs[i].busy)
			put(traffic, &jobs[i]);
	}
	traffic->heard = clock_cycles();
}

static bool is_silent(const struct traffic *traffic)
{
	return clock_cycles() - traffic->heard > PATIENCE_MS * cycles_per_ms();
}

static bool any_busy(const struct traffic *traffic)
{
	for (unsigned int i = 0; i < traffic->depth; i++) {
		if (jobs[i].busy)
			return true;
	}
	return false;
}

/* What is under way ends; false if it does not. */
static bool finish(struct traffic *traffic)
{
	for (unsigned int i = 0; any_busy(traffic); i++) {
		take_all(traffic);
		if (i % WORK_EACH == 0)
			mend(traffic);
		if (is_silent(traffic))
			return false;
	}
	return true;
}

static bool flush(struct traffic *traffic)
{
	jobs[0].request.type = REQUEST_FLUSH;
	jobs[0].request.sector = 0;
	jobs[0].busy = true;
	put(traffic, &jobs[0]);
	return finish(traffic);
}

static bool run(struct traffic *traffic)
{
	traffic->heard = clock_cycles();
	for (unsigned int i = 0; !command_stopped(); i++) {
		begin_all(traffic);
		take_all(traffic);
		if (i % WORK_EACH != 0)
			continue;
		work();
		mend(traffic);
		if (is_silent(traffic))
			return false;
	}
	return finish(traffic) && flush(traffic);
}

void block_traffic(char *line, char *reply, size_t size)
{
	struct traffic traffic = {
		.disk = device_open(VIRTIO_BLOCK, number(word(&line)), BLOCK_F_FLUSH, 1)};
	bool answered;

	traffic.depth = (unsigned int)number(word(&line));
	if (!traffic.disk || traffic.depth == 0 || traffic.depth > DEPTH_MAX) {
		format_to(reply, size, "traffic: no such disk");
		return;
	}
	memset(jobs, 0, sizeof(jobs));
	answered = run(&traffic);
	format_to(reply, size, "traffic: %u writes, %u failed, %u resets%s", traffic.begun,
		traffic.failed, traffic.resets, answered ? "" : ", and one is silent");
}
