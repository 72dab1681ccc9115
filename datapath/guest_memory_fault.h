/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What happens when a guest's memory is taken away.  A VMM shares files with the switch, and may
 * truncate them, or say that they are larger than they are.  An access to what is not there raises
 * SIGBUS, which would end the switch for all guests.  Instead the whole mapping is replaced by
 * memory of zeros and the access repeated: whoever made it goes on, and reads an empty ring.  The
 * guest's port is then to be stopped, by a thread that may wait; see port_vhost.c.
 *
 * Two ways to say which memory may go away:
 *  - watched mappings, which any thread may access between guest_memory_fault_watch() and
 *    guest_memory_fault_unwatch(): the workers' way;
 *  - a covered thread, to which any file's shared mapping may go away: the way of librte_vhost's
 *    thread while it obeys a message.  It maps memory and looks into it before anybody can be told
 *    where it is.
 *
 * Any other SIGBUS ends the process as if nobody had looked, with the address and code that it had.
 *
 * The zeros are private and are not seen by the guest.  They cost memory only where they are
 * touched.
 */
#ifndef DATAPATH_GUEST_MEMORY_FAULT_H
#define DATAPATH_GUEST_MEMORY_FAULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "datapath/guest_memory.h"

enum {
	/* Of one guest: its memory, and the log of what is written while it is migrated. */
	GUEST_MAPPINGS_MAX = GUEST_REGIONS_MAX + 1,
	/* Of all guests, as many as librte_vhost serves. */
	GUEST_MEMORY_FAULT_WATCHED_MAX = 1024 * GUEST_MAPPINGS_MAX,
};

/* The mappings of one guest that are watched.  All zeros: none.  Its functions are called by one
 * thread at a time. */
struct guest_memory_watch {
	size_t n;
	uint16_t mappings[GUEST_MAPPINGS_MAX];
};

/* Takes SIGBUS over, once: what was done about it before is done for all faults but the guests'.
 * Returns 0 or a negative errno.  Any thread but not two at once; not before a fork(). */
int guest_memory_fault_start(void);

/* Watches a mapping: all of it, as it was mapped.  Returns 0, or -ENOSPC if there are too many. */
int guest_memory_fault_watch(struct guest_memory_watch *watch, void *start, size_t bytes);

/* True if memory was missing from one of the mappings since it has been watched. */
bool guest_memory_fault_happened(const struct guest_memory_watch *watch);

/* Ends watching all of them, before they are unmapped and when nobody accesses them any more.
 * Returns what guest_memory_fault_happened() does. */
bool guest_memory_fault_unwatch(struct guest_memory_watch *watch);

/* From here on the calling thread is covered. */
void guest_memory_fault_cover(void);

/* And no longer.  Returns true if memory was missing since it was covered, of mappings that were
 * not watched.  Does nothing for a thread that is not covered. */
bool guest_memory_fault_uncover(void);

#endif
