/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is wanted of one guest: a VM's row, and those of its vNICs and disks, as plain data that
 * lives on while the replica changes.  Made by replica.c.
 */
#ifndef HV_HOSTD_WISH_H
#define HV_HOSTD_WISH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum vm_wanted { VM_WANTED_STOPPED, VM_WANTED_RUNNING, VM_WANTED_PAUSED };
enum vm_restart { VM_RESTART_NO, VM_RESTART_ON_FAILURE, VM_RESTART_ALWAYS };
enum { VM_VNICS_MAX = 16, VM_DISKS_MAX = 16, VM_NAME_BYTES_MAX = 60 };

struct vm_vnic_wish {
	unsigned int position; /* Its socket's and its port's number. */
	char *mac;
	unsigned int queues, mtu; /* mtu 0: none. */
};

enum vm_disk_format { VM_DISK_RAW, VM_DISK_QCOW2, VM_DISK_VMDK, VM_DISK_VHOST_USER };

struct vm_disk_wish {
	unsigned int position;
	enum vm_disk_format format;
	char *path, *direct, *serial; /* serial "": made up. */
	bool read_only;
};

/* Owns its strings. */
struct vm_wish {
	char *uuid, *name;
	unsigned int vcpus, memory_mib;
	char *pages, *kernel, *initrd, *command_line, *cpu_mask, *user;
	bool rng, balloon, console;
	bool split_irqchip;
	unsigned int balloon_mib; /* To be given back while it runs. */
	unsigned int n_vnics, n_disks;
	struct vm_vnic_wish vnics[VM_VNICS_MAX]; /* By position. */
	struct vm_disk_wish disks[VM_DISKS_MAX];
	enum vm_wanted wanted;
	bool at_once;
	int64_t start_request;
	enum vm_restart restart;
	unsigned int stop_ms, restart_limit, restart_ms;
};

/* Frees what it owns; accepts one that is all zeros. */
void vm_wish_destroy(struct vm_wish *wish);

/* What `cordon vm` would not have written, and the VMM's command line cannot say: a sentence that
 * the caller frees, or NULL. */
char *vm_wish_trouble(const struct vm_wish *wish);

/* True of letters, digits, and inside also of . _ and -: nothing that leads to another directory.
 */
bool vm_name_is_usable(const char *name);

/* True if cordon-hostd starts a storage daemon for it. */
static inline bool vm_disk_needs_daemon(const struct vm_disk_wish *disk)
{
	return disk->format == VM_DISK_QCOW2 || disk->format == VM_DISK_VMDK;
}

#endif
