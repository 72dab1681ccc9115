/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A raw file or block device that a disk lies on, worked by an io_uring of its own.
 *
 * The ring is restricted when it is made: it takes reads, writes, fsync and fallocate on this one
 * file, and nothing else for as long as it lives; so allowing io_uring_enter() in the sandbox
 * allows no more than that.  The file is open twice, past the page cache (O_DIRECT, where the file
 * system can) and through it, for requests that are not aligned; the kernel keeps the two coherent.
 *
 * All functions with the machine's lock held, or before the guest runs.
 */
#ifndef HV_BLOCK_FILE_H
#define HV_BLOCK_FILE_H

#include <sys/uio.h>

#include "hv/event_loop.h"
#include "hv/options.h"

struct block_file;

enum { BLOCK_FILE_DEPTH = 64 }; /* Requests that may be under way. */

enum block_operation { BLOCK_READ, BLOCK_WRITE, BLOCK_FLUSH, BLOCK_DISCARD, BLOCK_WRITE_ZEROES };

/* One request.  The caller's, who leaves it and its buffers alone until done() is called. */
struct block_request {
	enum block_operation operation;
	uint64_t offset, bytes; /* Within the file; flushes have none. */
	struct iovec *buffers;	/* Of reads and writes; changed on the way. */
	unsigned int n_buffers;
	bool write_through; /* The write returns once it is on the disk. */
	bool unmap;	    /* Zeroes may be a hole. */
	/* 0 or a negative errno. */
	void (*done)(struct block_request *request, int result);
	/* The file's own. */
	uint64_t remaining;
	bool through_cache, zero_by_writing;
	struct iovec zeros;
};

/*
 * Opens the file as `options` say, and locks it: for itself if it may write, with other readers
 * otherwise.  After each batch of done() `batch_done(owner)` is called.  0, or a negative errno and
 * a sentence naming the file.
 */
int block_file_open(struct block_file **file, const struct disk_options *options,
	struct event_loop *loop, void (*batch_done)(void *owner), void *owner,
	struct hv_error *error);

/* Waits for what is under way, and closes. */
void block_file_close(struct block_file *file);

uint64_t block_file_bytes(const struct block_file *file);
bool block_file_direct(const struct block_file *file);

/* Queues a request; at most BLOCK_FILE_DEPTH may be under way.  block_file_submit() hands those
 * queued to the kernel. */
void block_file_queue(struct block_file *file, struct block_request *request);
void block_file_submit(struct block_file *file);

/*
 * Waits until nothing is under way; done() is called for each, batch_done() is not.  Who waits has
 * the machine's lock, so that it must not take longer than what the kernel has been given already:
 * a request of many parts, gigabytes of zeros written by hand for example, ends with -ECANCELED.
 */
void block_file_drain(struct block_file *file);

#endif
