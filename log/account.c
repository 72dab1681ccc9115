/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The account of the traffic log, in shared memory (see account.h).  Opened and closed by the
 * starter of the log thread; producers and sinks only count.
 */
#include "log/account.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const char account_magic[16] = "cordon-log-acc-2";

/* Counters of different writers are in different cache lines. */
struct counter {
	_Atomic uint64_t n;
} __attribute__((aligned(64)));

struct sink_counter {
	char name[LOG_ACCOUNT_NAME_MAX]; /* "": free. */
	_Atomic uint64_t settled;	 /* Of all events, those of former processes too. */
} __attribute__((aligned(64)));

/* The file. */
struct account_file {
	char magic[16];
	_Atomic uint64_t before; /* Events of former processes. */
	_Atomic uint64_t added;	 /* Of all events: handed to the sinks. */
	_Atomic uint64_t sequence;
	struct counter produced[LOG_ACCOUNT_PRODUCERS];
	struct sink_counter sinks[LOG_ACCOUNT_SINKS];
};

struct log_account {
	struct account_file *file;
	uint64_t before; /* As in the file, where nobody changes it. */
	uint64_t gap_sequence;
	bool claimed[LOG_ACCOUNT_SINKS]; /* By a sink of this process. */
};

/* The events of the last process become those of former ones. */
static void begin(struct account_file *file)
{
	if (memcmp(file->magic, account_magic, sizeof(file->magic)) != 0) {
		memset(file, 0, sizeof(*file));
		memcpy(file->magic, account_magic, sizeof(file->magic));
		return;
	}
	for (unsigned int i = 0; i < LOG_ACCOUNT_PRODUCERS; i++)
		atomic_fetch_add(&file->before, atomic_exchange(&file->produced[i].n, 0));
	for (unsigned int i = 0; i < LOG_ACCOUNT_SINKS; i++)
		file->sinks[i].name[LOG_ACCOUNT_NAME_MAX - 1] = '\0';
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

/* What was not yet handed to the sinks when the last process ended, all of them miss: it takes a
 * number of its own.  If there is nothing like that, what one misses has a number already. */
static void tell_gap(struct log_account *account)
{
	struct account_file *file = account->file;

	if (atomic_load(&file->added) < account->before)
		atomic_fetch_add(&file->sequence, 1);
	atomic_store(&file->added, account->before);
	account->gap_sequence = atomic_load(&file->sequence);
}

struct log_account *log_account_open(const char *directory, int *error)
{
	struct log_account *account = calloc(1, sizeof(*account));

	if (account == NULL)
		return NULL;
	account->file = map_file(directory, error);
	if (account->file == NULL)
		account->file = mmap(NULL, sizeof(*account->file), PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (account->file == MAP_FAILED) {
		free(account);
		return NULL;
	}
	begin(account->file);
	account->before = atomic_load(&account->file->before);
	tell_gap(account);
	return account;
}

_Atomic uint64_t *log_account_producer(struct log_account *account, unsigned int number)
{
	return &account->file->produced[number].n;
}

/* A place that no sink of this process has. */
static unsigned int find_sink(const struct log_account *account, const char *name)
{
	unsigned int i = 0;

	while (i < LOG_ACCOUNT_SINKS &&
		(account->claimed[i] || strcmp(account->file->sinks[i].name, name) != 0))
		i++;
	return i;
}

/* A free place, or one of a sink that this process does not have. */
static unsigned int find_place(const struct log_account *account)
{
	unsigned int i = find_sink(account, "");

	if (i == LOG_ACCOUNT_SINKS)
		for (i = 0; i < LOG_ACCOUNT_SINKS && account->claimed[i]; i++)
			continue;
	return i;
}

/* One of the same name is about to end: what the next process finds under the name must be the
 * account of the one that goes on.  Its place stays taken until it is forgotten. */
static void take_name(struct log_account *account, const char *name)
{
	for (unsigned int i = 0; i < LOG_ACCOUNT_SINKS; i++)
		if (account->claimed[i] && strcmp(account->file->sinks[i].name, name) == 0)
			account->file->sinks[i].name[0] = '\0';
}

static _Atomic uint64_t *begin_sink(struct log_account *account, const char *name)
{
	unsigned int i = find_place(account);

	if (i == LOG_ACCOUNT_SINKS)
		return NULL;
	struct sink_counter *sink = &account->file->sinks[i];
	atomic_store(&sink->settled, atomic_load(&account->file->added));
	snprintf(sink->name, sizeof(sink->name), "%s", name);
	account->claimed[i] = true;
	return &sink->settled;
}

_Atomic uint64_t *log_account_sink(struct log_account *account, const char *name, uint64_t *missing)
{
	unsigned int i = find_sink(account, name);

	*missing = 0;
	take_name(account, name);
	if (i == LOG_ACCOUNT_SINKS)
		return begin_sink(account, name);
	struct sink_counter *sink = &account->file->sinks[i];
	uint64_t settled = atomic_load(&sink->settled);
	if (settled < account->before)
		*missing = account->before - settled;
	/* What was handed out before the sink was there again, it need not be told. */
	atomic_store(&sink->settled, atomic_load(&account->file->added) - *missing);
	account->claimed[i] = true;
	return &sink->settled;
}

void log_account_add(struct log_account *account, uint64_t n)
{
	atomic_fetch_add_explicit(&account->file->added, n, memory_order_relaxed);
}

void log_account_forget(struct log_account *account, const _Atomic uint64_t *settled)
{
	for (unsigned int i = 0; i < LOG_ACCOUNT_SINKS; i++)
		if (&account->file->sinks[i].settled == settled) {
			account->file->sinks[i].name[0] = '\0';
			account->claimed[i] = false;
		}
}

static bool is_among(const char *name, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}

void log_account_forget_others(struct log_account *account, const char *const *names, size_t n)
{
	for (unsigned int i = 0; i < LOG_ACCOUNT_SINKS; i++)
		if (!account->claimed[i] && !is_among(account->file->sinks[i].name, names, n))
			account->file->sinks[i].name[0] = '\0';
}

_Atomic uint64_t *log_account_sequence(struct log_account *account)
{
	return &account->file->sequence;
}

uint64_t log_account_gap_sequence(const struct log_account *account)
{
	return account->gap_sequence;
}

void log_account_close(struct log_account *account)
{
	if (account == NULL)
		return;
	munmap(account->file, sizeof(*account->file));
	free(account);
}
