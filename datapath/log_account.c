/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The account of the traffic log, in shared memory (see log_account.h).  Opened and closed by the
 * log thread's starter; producers and the log thread only count.
 */
#include "datapath/log_account.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const char account_magic[16] = "cordon-log-acc-1";

/* Counters of different writers are in different cache lines. */
struct counter {
	_Atomic uint64_t n;
} __attribute__((aligned(64)));

/* The file. */
struct account_file {
	char magic[16];
	struct counter before; /* Left over by former processes. */
	struct counter settled;
	struct counter produced[LOG_ACCOUNT_PRODUCERS];
};

struct log_account {
	struct account_file *file;
};

/* What is in the file that is not settled; 0 if it is no account. */
static uint64_t count_missing(const struct account_file *file)
{
	uint64_t produced = atomic_load(&file->before.n), settled = atomic_load(&file->settled.n);

	if (memcmp(file->magic, account_magic, sizeof(file->magic)) != 0)
		return 0;
	for (unsigned int i = 0; i < LOG_ACCOUNT_PRODUCERS; i++)
		produced += atomic_load(&file->produced[i].n);
	return produced > settled ? produced - settled : 0;
}

static void begin_anew(struct account_file *file, uint64_t missing)
{
	memset(file, 0, sizeof(*file));
	atomic_store(&file->before.n, missing);
	memcpy(file->magic, account_magic, sizeof(file->magic));
}

static struct account_file *map_file(const char *directory, int *error)
{
	char path[PATH_MAX];
	struct account_file *file;

	snprintf(path, sizeof(path), "%s/log-account", directory);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	/* Room is taken now: a write to a page that a full file system cannot give kills. */
	int no_room = fd >= 0 ? posix_fallocate(fd, 0, sizeof(*file)) : 0;
	if (fd < 0 || no_room != 0) {
		*error = fd < 0 ? -errno : -no_room;
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	file = mmap(NULL, sizeof(*file), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	*error = file == MAP_FAILED ? -errno : 0;
	close(fd);
	return file == MAP_FAILED ? NULL : file;
}

struct log_account *log_account_open(const char *directory, uint64_t *missing, int *error)
{
	struct log_account *account = malloc(sizeof(*account));

	*missing = 0;
	*error = -ENOMEM;
	if (account == NULL)
		return NULL;
	account->file = map_file(directory, error);
	if (account->file == NULL) {
		free(account);
		return NULL;
	}
	*missing = count_missing(account->file);
	begin_anew(account->file, *missing);
	return account;
}

_Atomic uint64_t *log_account_producer(struct log_account *account, unsigned int number)
{
	return &account->file->produced[number].n;
}

void log_account_settle(struct log_account *account, uint64_t n)
{
	_Atomic uint64_t *settled = &account->file->settled.n;

	atomic_store_explicit(settled, atomic_load_explicit(settled, memory_order_relaxed) + n,
		memory_order_relaxed);
}

void log_account_close(struct log_account *account)
{
	if (account == NULL)
		return;
	munmap(account->file, sizeof(*account->file));
	free(account);
}
