/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a guest's write wakes somebody without an exit to this process: KVM turns writes to an
 * address into events of a descriptor (ioeventfd).
 *
 * The operations are KVM's (ioeventfd_kvm.c), or a test's that records them.  All are called with
 * the machine's lock held, or before the guest runs.  Who cannot have one does the same by hand,
 * when the write comes to him through the bus.
 */
#ifndef HV_IOEVENTFD_H
#define HV_IOEVENTFD_H

#include <stdint.h>

struct ioeventfds;

struct ioeventfd_operations {
	/* From now on a write of any value to exactly `address`, in memory, signals `eventfd`, and
	 * goes nowhere else. 0 or a negative errno. */
	int (*attach)(struct ioeventfds *ioeventfds, uint64_t address, int eventfd);
	/* What was attached, and no longer. */
	void (*detach)(struct ioeventfds *ioeventfds, uint64_t address, int eventfd);
};

struct ioeventfds {
	const struct ioeventfd_operations *operations;
};

/* KVM's, of this guest.  0 or a negative errno; to be ended by ioeventfds_kvm_destroy(), after all
 * that use it. */
int ioeventfds_kvm_create(struct ioeventfds **ioeventfds, int vm_fd);
void ioeventfds_kvm_destroy(struct ioeventfds *ioeventfds);

#endif
