/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disks in formats that cordon-vmm does not read itself (qcow2, VMDK): for each a
 * qemu-storage-daemon, which serves it over vhost-user and lives as long as the guest.
 *
 *	DIRECTORY/diskN.sock	the daemon listens, the VMM connects
 *	DIRECTORY/diskN.pid	the daemon, once it is ready
 *	DIRECTORY/diskN.log	what it had to say
 *
 * Main thread; nothing waits.
 */
#ifndef HV_HOSTD_STORAGE_H
#define HV_HOSTD_STORAGE_H

#include "hv/hostd/decide.h"
#include "hv/hostd/detached.h"
#include "hv/hostd/wish.h"

struct storage_daemon {
	unsigned int position;
	char **arguments;
	struct detached process; /* None while it is started again after a pause. */
	bool ready;
	bool ending;		  /* It was told to end. */
	long long int deadline;	  /* While it is not ready, or is ending. */
	long long int restart_at; /* While there is none. */
};

/* All zeros: none. */
struct storage {
	unsigned int n;
	struct storage_daemon daemons[VM_DISKS_MAX];
};

/* Who runs, and for whom. */
struct storage_place {
	const char *program, *directory;
	const int *groups;
	unsigned int n_groups;
};

/* The state in which the guest's disks are, of which `wish` may need none. */
enum vm_storage storage_state(const struct storage *storage, const struct vm_wish *wish);

/* The arguments of a disk's daemon, ended by NULL; the caller frees with vmm_free_arguments(). */
char **storage_arguments(const char *program, const char *directory,
	const struct vm_disk_wish *disk, unsigned int queues);

/* Starts all that the guest needs.  0, or a negative errno with a sentence in *why, which the
 * caller frees, and none is left. */
int storage_start(struct storage *storage, const struct storage_place *place,
	const struct vm_wish *wish, char **why);

/* Takes over those that run. */
void storage_probe(
	struct storage *storage, const struct storage_place *place, const struct vm_wish *wish);

/* Has those end that still serve a VMM which is gone, as after the death of this process's
 * forerunner: they hold their images' locks. */
void storage_end_leftovers(struct storage *storage, const char *directory);

/* Looks after them.  One that ends is started again; one that cannot be started at all is told in
 * *why (negative errno), and all are to be stopped then.  Of those that were stopped none is left
 * once all have ended. */
int storage_run(struct storage *storage, const struct storage_place *place, char **why);
void storage_wait(const struct storage *storage);

/* Has all end, which storage_run() sees to; only then another can have their images. */
void storage_stop(struct storage *storage, const char *directory);
void storage_destroy(struct storage *storage); /* Lets them run on. */

#endif
