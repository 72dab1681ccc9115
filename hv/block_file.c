/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Raw files and block devices through io_uring.
 *
 * Opened by block.c before the guest runs; afterwards called by the event loop and, when a driver
 * resets a disk, by a vCPU thread, with the machine's lock held.
 */
#include "hv/block_file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/fs.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	SECTOR = 512,
	FILES = 2,	    /* Past the page cache, and through it. */
	ZEROS = 256 * 1024, /* What is written at once where the file system cannot make zeros. */
	DIRECT = 0,
	CACHED = 1,
};

struct block_file {
	int fds[FILES];
	int lock_fd; /* Not the ring's, which lets go of its files only some time after the process
			has ended. */
	bool direct;
	uint32_t align_memory, align_offset; /* For O_DIRECT. */
	uint64_t bytes;
	struct io_uring ring;
	bool ring_made;
	unsigned int under_way;
	bool draining; /* What is under way ends with the part that the kernel has. */
	void *zeros;   /* ZEROS bytes of nothing, never written: no memory of our own. */
	struct event_source completions;
	struct event_loop *loop;
	void (*batch_done)(void *owner);
	void *owner;
};

/* --- Opening ---------------------------------------------------------------------------------- */

/* A whole-file lock of the open file description: QEMU's own byte locks conflict with it as well.
 */
static int lock(int fd, const struct disk_options *options, struct hv_error *error)
{
	struct flock range = {
		.l_type = options->read_only ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};

	if (!fcntl(fd, F_OFD_SETLK, &range))
		return 0;
	if (errno == EAGAIN || errno == EACCES)
		return hv_fail(error, EBUSY,
			"disk %s is in use by another process: stop the guest that has it, or give "
			"both readonly=on",
			options->path);
	return hv_fail(
		error, errno, "disk %s cannot be locked: %s", options->path, strerror(errno));
}

/* A FIFO without a writer is not waited for; but requests are, so that io_uring hears of no
 * O_NONBLOCK. */
static int open_one(const struct disk_options *options, int flags, struct hv_error *error)
{
	int mode = options->read_only ? O_RDONLY : O_RDWR;
	int fd = open(options->path, mode | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | flags);
	int code = errno;

	if (fd >= 0 && fcntl(fd, F_SETFL, flags) == 0)
		return fd;
	if (fd >= 0) {
		code = errno;
		close(fd);
	}
	if (code == EACCES || code == EROFS || code == EPERM || code == ETXTBSY)
		return hv_fail(error, code,
			options->read_only ? "disk %s cannot be read: %s"
					   : "disk %s cannot be written: %s; with readonly=on the "
					     "guest may only read it",
			options->path, strerror(code));
	return hv_fail(error, code, "disk %s cannot be opened: %s", options->path, strerror(code));
}

static int measure(
	struct block_file *file, const struct disk_options *options, struct hv_error *error)
{
	struct stat status;

	if (fstat(file->fds[CACHED], &status))
		return hv_fail(error, errno, "disk %s cannot be looked at: %s", options->path,
			strerror(errno));
	if (S_ISBLK(status.st_mode)) {
		if (ioctl(file->fds[CACHED], BLKGETSIZE64, &file->bytes))
			return hv_fail(error, errno, "disk %s: its size cannot be asked: %s",
				options->path, strerror(errno));
	} else if (S_ISREG(status.st_mode)) {
		file->bytes = (uint64_t)status.st_size;
	} else {
		return hv_fail(error, EINVAL, "disk %s is neither a file nor a block device",
			options->path);
	}
	if (!file->bytes || file->bytes % SECTOR)
		return hv_fail(error, EINVAL,
			"disk %s has %llu bytes: a raw disk has whole sectors of 512, and at least "
			"one",
			options->path, (unsigned long long)file->bytes);
	return 0;
}

/* An image of another format given as raw is seldom meant; but a guest may have written its own
 * disk so. */
static void warn_of_other_formats(const struct block_file *file, const struct disk_options *options)
{
	static const struct {
		const char *magic, *name;
	} formats[] = {{"QFI\xfb", "qcow2"}, {"KDMV", "VMDK"}, {"# Disk DescriptorFile", "VMDK"},
		{"conectix", "VHD"}};
	char start[32];
	ssize_t got = pread(file->fds[CACHED], start, sizeof(start), 0);

	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
		size_t bytes = strlen(formats[i].magic);

		if (got >= (ssize_t)bytes && !memcmp(start, formats[i].magic, bytes))
			fprintf(stderr,
				"cordon-vmm: warning: disk %s looks like a %s image, but is used "
				"as it is (raw); images "
				"go through qemu-storage-daemon and socket=\n",
				options->path, formats[i].name);
	}
}

/* What O_DIRECT asks of a request; where the kernel does not say, sectors, and a refusal is mended
 * (see retry()). */
static void learn_alignment(struct block_file *file)
{
	struct statx status = {0};

	file->align_memory = file->align_offset = SECTOR;
#ifdef STATX_DIOALIGN
	if (!statx(file->fds[DIRECT], "", AT_EMPTY_PATH, STATX_DIOALIGN, &status) &&
		(status.stx_mask & STATX_DIOALIGN) && status.stx_dio_offset_align) {
		file->align_memory = status.stx_dio_mem_align;
		file->align_offset = status.stx_dio_offset_align;
	}
#endif
}

static int open_files(
	struct block_file *file, const struct disk_options *options, struct hv_error *error)
{
	int result;

	file->fds[CACHED] = open_one(options, 0, error);
	if (file->fds[CACHED] < 0)
		return file->fds[CACHED];
	result = measure(file, options, error);
	if (!result) {
		file->lock_fd = open_one(options, 0, error);
		result = file->lock_fd < 0 ? file->lock_fd : lock(file->lock_fd, options, error);
	}
	if (result)
		return result;
	warn_of_other_formats(file, options);
	if (options->direct == DISK_DIRECT_OFF)
		return 0;
	file->fds[DIRECT] =
		open_one(options, O_DIRECT, options->direct == DISK_DIRECT_ON ? error : NULL);
	file->direct = file->fds[DIRECT] >= 0;
	if (file->direct)
		learn_alignment(file);
	else if (options->direct == DISK_DIRECT_ON)
		return hv_fail(error, EINVAL,
			"disk %s: its file system has no direct=on (O_DIRECT); leave it out, or "
			"say direct=off",
			options->path);
	return 0;
}

/* --- The ring --------------------------------------------------------------------------------- */

/* From now on the ring takes these operations on its registered files, and cannot be told otherwise
 * any more. */
static int restrict_ring(struct io_uring *ring)
{
	static const uint8_t operations[] = {
		IORING_OP_READV, IORING_OP_WRITEV, IORING_OP_FSYNC, IORING_OP_FALLOCATE};
	struct io_uring_restriction restrictions[sizeof(operations) + 2] = {0};
	unsigned int n = 0;
	int result;

	for (; n < sizeof(operations); n++) {
		restrictions[n].opcode = IORING_RESTRICTION_SQE_OP;
		restrictions[n].sqe_op = operations[n];
	}
	restrictions[n].opcode = IORING_RESTRICTION_SQE_FLAGS_REQUIRED;
	restrictions[n++].sqe_flags = IOSQE_FIXED_FILE;
	restrictions[n].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
	restrictions[n++].sqe_flags = IOSQE_FIXED_FILE;
	/* Debian's shared library leaves out the functions for these two. */
	result = io_uring_register(ring->ring_fd, IORING_REGISTER_RESTRICTIONS, restrictions, n);
	return result ? result
		      : io_uring_register(ring->ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}

static int make_ring(
	struct block_file *file, const struct disk_options *options, struct hv_error *error)
{
	int fds[FILES] = {file->direct ? file->fds[DIRECT] : file->fds[CACHED], file->fds[CACHED]};
	int result = io_uring_queue_init(BLOCK_FILE_DEPTH, &file->ring, IORING_SETUP_R_DISABLED);

	if (result)
		return hv_fail(error, -result,
			"disk %s needs io_uring, which this host refuses: %s; see the sysctl "
			"kernel.io_uring_disabled",
			options->path, strerror(-result));
	file->ring_made = true;
	file->completions.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (file->completions.fd < 0)
		return hv_fail(
			error, errno, "disk %s: no eventfd: %s", options->path, strerror(errno));
	result = io_uring_register_files(&file->ring, fds, FILES);
	if (!result)
		result = io_uring_register_eventfd(&file->ring, file->completions.fd);
	if (!result)
		result = restrict_ring(&file->ring);
	return result ? hv_fail(error, -result, "disk %s: its io_uring cannot be set up: %s",
				options->path, strerror(-result))
		      : 0;
}

/* --- Requests --------------------------------------------------------------------------------- */

static bool is_aligned(const struct block_file *file, const struct block_request *request)
{
	if (request->offset % file->align_offset)
		return false;
	for (unsigned int i = 0; i < request->n_buffers; i++) {
		const struct iovec *buffer = &request->buffers[i];

		if ((uintptr_t)buffer->iov_base % file->align_memory ||
			buffer->iov_len % file->align_offset)
			return false;
	}
	return true;
}

static void prepare_zeroes(
	struct block_file *file, struct io_uring_sqe *sqe, struct block_request *request)
{
	bool hole = request->operation == BLOCK_DISCARD || request->unmap;

	if (request->zero_by_writing) {
		request->zeros.iov_base = file->zeros;
		request->zeros.iov_len = request->remaining < ZEROS ? request->remaining : ZEROS;
		io_uring_prep_writev2(sqe, CACHED, &request->zeros, 1, request->offset,
			request->write_through ? RWF_DSYNC : 0);
		return;
	}
	io_uring_prep_fallocate(sqe, CACHED,
		FALLOC_FL_KEEP_SIZE | (hole ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE),
		(off_t)request->offset, (off_t)request->remaining);
}

static void prepare(struct block_file *file, struct block_request *request)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&file->ring);
	int fd = request->through_cache ? CACHED : DIRECT;

	/* The ring has room for all that may be under way, and nothing else is in it. */
	assert(sqe);
	switch (request->operation) {
	case BLOCK_READ:
		io_uring_prep_readv(sqe, fd, request->buffers, request->n_buffers, request->offset);
		break;
	case BLOCK_WRITE:
		io_uring_prep_writev2(sqe, fd, request->buffers, request->n_buffers,
			request->offset, request->write_through ? RWF_DSYNC : 0);
		break;
	case BLOCK_FLUSH: io_uring_prep_fsync(sqe, CACHED, IORING_FSYNC_DATASYNC); break;
	case BLOCK_DISCARD:
	case BLOCK_WRITE_ZEROES: prepare_zeroes(file, sqe, request); break;
	}
	sqe->flags |= IOSQE_FIXED_FILE;
	io_uring_sqe_set_data(sqe, request);
}

void block_file_queue(struct block_file *file, struct block_request *request)
{
	request->remaining = request->bytes;
	request->zero_by_writing = false;
	request->through_cache = !file->direct || !is_aligned(file, request);
	file->under_way++;
	prepare(file, request);
}

/* What the kernel does not take now, for want of memory, is tried again in another turn. */
void block_file_submit(struct block_file *file)
{
	io_uring_submit(&file->ring);
	if (io_uring_sq_ready(&file->ring) > 0)
		eventfd_write(file->completions.fd, 1);
}

/* --- Completions ------------------------------------------------------------------------------ */

/* Takes what has been done off the front of the request. */
static void advance(struct block_request *request, uint64_t bytes)
{
	request->offset += bytes;
	request->remaining -= bytes;
	while (request->n_buffers && bytes) {
		struct iovec *first = request->buffers;

		if (bytes < first->iov_len) {
			first->iov_base = (uint8_t *)first->iov_base + bytes;
			first->iov_len -= bytes;
			return;
		}
		bytes -= first->iov_len;
		request->buffers++;
		request->n_buffers--;
	}
}

/* What can be done about a failure: go through the cache, or write zeros by hand.  A discard is
 * only advice. */
static bool retry(struct block_request *request, int *result)
{
	bool unsupported = *result == -EOPNOTSUPP || *result == -ENOSYS || *result == -EINVAL;

	switch (request->operation) {
	case BLOCK_READ:
	case BLOCK_WRITE:
		if (*result == -EINVAL && !request->through_cache)
			return request->through_cache = true;
		return false;
	case BLOCK_WRITE_ZEROES:
		if (unsupported && !request->zero_by_writing)
			return request->zero_by_writing = true;
		return false;
	case BLOCK_DISCARD:
		if (unsupported)
			*result = 0;
		return false;
	case BLOCK_FLUSH: return false;
	}
	return false;
}

static bool moves_bytes(const struct block_request *request)
{
	return request->operation == BLOCK_READ || request->operation == BLOCK_WRITE ||
	       request->zero_by_writing;
}

/* True if the request goes on: a part of it is done, or it is tried in another way. */
static bool goes_on(struct block_request *request, int *result)
{
	if (*result == -EINTR || *result == -EAGAIN)
		return true;
	if (*result < 0)
		return retry(request, result);
	if (!moves_bytes(request))
		return false;
	/* The file ends before the disk does: somebody has cut it. */
	if (!*result || (uint64_t)*result > request->remaining) {
		*result = -EIO;
		return false;
	}
	advance(request, (uint64_t)*result);
	*result = 0;
	return request->remaining != 0;
}

static void reap(struct block_file *file)
{
	struct io_uring_cqe *cqe;
	bool again = false;

	while (!io_uring_peek_cqe(&file->ring, &cqe)) {
		struct block_request *request = io_uring_cqe_get_data(cqe);
		int result = cqe->res;
		bool on;

		io_uring_cqe_seen(&file->ring, cqe);
		on = goes_on(request, &result);
		if (on && file->draining) {
			on = false;
			result = -ECANCELED;
		}
		if (on) {
			prepare(file, request);
			again = true;
		} else {
			file->under_way--;
			request->done(request, result);
		}
	}
	if (again)
		block_file_submit(file);
}

static void completions_ready(struct event_source *source, uint32_t events)
{
	struct block_file *file =
		(struct block_file *)((char *)source - offsetof(struct block_file, completions));
	eventfd_t count;

	(void)events;
	eventfd_read(source->fd, &count);
	reap(file);
	block_file_submit(file);
	file->batch_done(file->owner);
}

void block_file_drain(struct block_file *file)
{
	file->draining = true;
	while (file->under_way) {
		io_uring_submit_and_wait(&file->ring, 1);
		reap(file);
	}
	file->draining = false;
}

/* --- Life ------------------------------------------------------------------------------------- */

int block_file_open(struct block_file **result, const struct disk_options *options,
	struct event_loop *loop, void (*batch_done)(void *owner), void *owner,
	struct hv_error *error)
{
	struct block_file *file = calloc(1, sizeof(*file));
	int code;

	if (!file)
		return hv_fail(error, ENOMEM, "no memory for disk %s", options->path);
	file->fds[DIRECT] = file->fds[CACHED] = file->lock_fd = file->completions.fd = -1;
	file->loop = loop;
	file->batch_done = batch_done;
	file->owner = owner;
	file->completions.ready = completions_ready;
	file->zeros = mmap(NULL, ZEROS, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	code = file->zeros == MAP_FAILED
		       ? hv_fail(error, ENOMEM, "no memory for disk %s", options->path)
		       : 0;
	if (!code)
		code = open_files(file, options, error);
	if (!code)
		code = make_ring(file, options, error);
	if (!code && event_loop_add(loop, &file->completions, EPOLLIN))
		code = hv_fail(error, ENOMEM, "disk %s cannot be waited for", options->path);
	if (code) {
		block_file_close(file);
		return code;
	}
	*result = file;
	return 0;
}

void block_file_close(struct block_file *file)
{
	if (!file)
		return;
	if (file->ring_made) {
		block_file_drain(file);
		io_uring_queue_exit(&file->ring);
	}
	if (file->completions.added)
		event_loop_remove(file->loop, &file->completions);
	if (file->completions.fd >= 0)
		close(file->completions.fd);
	for (unsigned int i = 0; i < FILES; i++) {
		if (file->fds[i] >= 0)
			close(file->fds[i]);
	}
	if (file->lock_fd >= 0)
		close(file->lock_fd);
	if (file->zeros && file->zeros != MAP_FAILED)
		munmap(file->zeros, ZEROS);
	free(file);
}

uint64_t block_file_bytes(const struct block_file *file)
{
	return file->bytes;
}

bool block_file_direct(const struct block_file *file)
{
	return file->direct;
}
