/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Survives that a VMM takes its guest's memory away: replaces the mapping from within the handler
 * of SIGBUS.  Called by port_vhost.c and vhost_device.c on librte_vhost's threads and the main
 * thread; the handler runs on whichever thread has touched what is not there, mostly a worker.
 *
 * The handler takes no lock and calls nothing but system calls.  It may run while another thread
 * changes the table, so an entry has a version, which is odd while it is being changed.  The entry
 * that it looks for does not change meanwhile: a mapping is watched for as long as anybody may
 * access it.
 *
 * Whole mappings are replaced, since a part of one cannot be where it is made of huge pages.
 */
#include "datapath/guest_memory_fault.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum mapping_state { MAPPED, BEING_REPLACED, REPLACED };

struct watched {
	_Atomic uint32_t version;
	_Atomic uint32_t state; /* enum mapping_state; the handler writes. */
	_Atomic uintptr_t start;
	_Atomic size_t bytes; /* 0: the entry is free. */
};

/* A handler is told nothing but the address: it finds the rest here. */
static struct guest_memory_faults {
	_Atomic bool started;
	int maps;		 /* /proc/self/maps. */
	struct sigaction before; /* What was done about SIGBUS. */
	struct watched watched[GUEST_MEMORY_FAULT_WATCHED_MAX];
} faults;

/* The calling thread is covered; memory was missing since. */
static _Thread_local volatile sig_atomic_t covered, missed;

/* --- The handler ---------------------------------------------------------------------------- */

/* Without a reservation: a mapping may be larger than this machine's memory.  The bare system call:
 * what sanitizers put round mmap() is not made for handlers, and takes it for a write that other
 * threads' accesses race with. */
static bool replace(uintptr_t start, size_t bytes)
{
	return syscall(SYS_mmap, start, bytes, PROT_READ | PROT_WRITE,
		       MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) != -1;
}

/* A line of /proc/self/maps, "START-END rwxs ...", as far as it has been read. */
struct maps_line {
	uintptr_t start, end;
	unsigned int fields; /* That are complete. */
	bool shared;	     /* The third one's last character is 's'. */
};

static unsigned int digit_value(char c)
{
	return c <= '9' ? (unsigned int)(c - '0') : (unsigned int)(c - 'a' + 10);
}

/* Reads on.  Returns true at the end of the line. */
static bool read_maps_line(struct maps_line *line, char c)
{
	if (c == '\n')
		return true;
	if (line->fields == 0 && c != '-')
		line->start = line->start << 4 | digit_value(c);
	else if (line->fields == 1 && c != ' ')
		line->end = line->end << 4 | digit_value(c);
	else if (line->fields == 2 && c != ' ')
		line->shared = c == 's';
	else
		line->fields++;
	return false;
}

/* Replaces the mapping that `address` is in, if it is shared: a file's. */
static bool replace_mapping_at(uintptr_t address)
{
	struct maps_line line = {.fields = 0};
	char text[2048];
	off_t offset = 0;
	ssize_t n;

	while ((n = pread(faults.maps, text, sizeof(text), offset)) > 0) {
		offset += n;
		for (ssize_t i = 0; i < n; i++) {
			if (!read_maps_line(&line, text[i]))
				continue;
			if (address >= line.start && address < line.end)
				return line.shared && replace(line.start, line.end - line.start);
			line = (struct maps_line){.fields = 0};
		}
	}
	return false;
}

/* True if the entry is that of the address. */
static bool holds(struct watched *entry, uintptr_t address, uintptr_t *start, size_t *bytes)
{
	uint32_t version = atomic_load(&entry->version);

	*start = atomic_load(&entry->start);
	*bytes = atomic_load(&entry->bytes);
	return version % 2 == 0 && atomic_load(&entry->version) == version &&
	       address - *start < *bytes;
}

/* The first thread that gets here replaces the mapping.  Others touch it again and again until it
 * has: the little memory that they have already written need not become zeros once more.  A mapping
 * whose end is not that of its last huge page cannot be replaced by what is known of it here. */
static bool replace_watched(uintptr_t address)
{
	uintptr_t start;
	size_t bytes;

	for (size_t i = 0; i < GUEST_MEMORY_FAULT_WATCHED_MAX; i++) {
		struct watched *entry = &faults.watched[i];
		uint32_t state = MAPPED;

		if (!holds(entry, address, &start, &bytes))
			continue;
		if (!atomic_compare_exchange_strong(&entry->state, &state, BEING_REPLACED))
			return true;
		bool replaced = replace(start, bytes) || replace_mapping_at(address);
		atomic_store(&entry->state, replaced ? REPLACED : MAPPED);
		return replaced;
	}
	return false;
}

static bool replace_covered(uintptr_t address)
{
	if (!covered || !replace_mapping_at(address))
		return false;
	missed = 1;
	return true;
}

/* On return the access is repeated.  If that is not to succeed, it raises the signal once more,
 * which is then treated as it was before; what was sent by a process has to be sent again. */
static void handle_sigbus(int number, siginfo_t *information, void *context)
{
	const uintptr_t address = (uintptr_t)information->si_addr;
	int error = errno;

	(void)context;
	if (information->si_code != BUS_ADRERR ||
		(!replace_watched(address) && !replace_covered(address))) {
		sigaction(number, &faults.before, NULL);
		if (information->si_code <= 0)
			raise(number);
	}
	errno = error;
}

int guest_memory_fault_start(void)
{
	struct sigaction action = {.sa_sigaction = handle_sigbus, .sa_flags = SA_SIGINFO};

	if (atomic_load(&faults.started))
		return 0;
	faults.maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	if (faults.maps < 0)
		return -errno;
	sigemptyset(&action.sa_mask);
	if (sigaction(SIGBUS, NULL, &faults.before) != 0 || sigaction(SIGBUS, &action, NULL) != 0) {
		int error = errno;

		close(faults.maps);
		return -error;
	}
	atomic_store(&faults.started, true);
	return 0;
}

/* --- Watched mappings ------------------------------------------------------------------------- */

/* True if the entry was free and has been taken. */
static bool take(struct watched *entry, void *start, size_t bytes)
{
	uint32_t version = atomic_load(&entry->version);

	if (version % 2 != 0 || atomic_load(&entry->bytes) != 0 ||
		!atomic_compare_exchange_strong(&entry->version, &version, version + 1))
		return false;
	atomic_store(&entry->state, MAPPED);
	atomic_store(&entry->start, (uintptr_t)start);
	atomic_store(&entry->bytes, bytes);
	atomic_store(&entry->version, version + 2);
	return true;
}

static void give_back(struct watched *entry)
{
	atomic_fetch_add(&entry->version, 1);
	atomic_store(&entry->bytes, 0);
	atomic_fetch_add(&entry->version, 1);
}

int guest_memory_fault_watch(struct guest_memory_watch *watch, void *start, size_t bytes)
{
	if (watch->n == GUEST_MAPPINGS_MAX)
		return -ENOSPC;
	if (bytes == 0)
		return 0;
	for (size_t i = 0; i < GUEST_MEMORY_FAULT_WATCHED_MAX; i++)
		if (take(&faults.watched[i], start, bytes)) {
			watch->mappings[watch->n++] = (uint16_t)i;
			return 0;
		}
	return -ENOSPC;
}

bool guest_memory_fault_happened(const struct guest_memory_watch *watch)
{
	for (size_t i = 0; i < watch->n; i++)
		if (atomic_load(&faults.watched[watch->mappings[i]].state) != MAPPED)
			return true;
	return false;
}

bool guest_memory_fault_unwatch(struct guest_memory_watch *watch)
{
	bool happened = guest_memory_fault_happened(watch);

	for (size_t i = 0; i < watch->n; i++)
		give_back(&faults.watched[watch->mappings[i]]);
	watch->n = 0;
	return happened;
}

/* --- A covered thread ------------------------------------------------------------------------- */

void guest_memory_fault_cover(void)
{
	missed = 0;
	covered = 1;
}

bool guest_memory_fault_uncover(void)
{
	bool happened = covered && missed;

	covered = 0;
	missed = 0;
	return happened;
}
