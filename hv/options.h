/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cordon-vmm's command line, read and checked: what the guest is to have.
 */
#ifndef HV_OPTIONS_H
#define HV_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "hv/error.h"
#include "hv/guest_memory.h"

enum { OPTIONS_NETS = 16, OPTIONS_DISKS = 16, OPTIONS_VCPUS = 64, OPTIONS_QUEUE_PAIRS = 16 };

/* --net socket=PATH[,mac=MAC][,queues=N][,queue-size=N][,mtu=N] */
struct net_options {
	const char *socket; /* Where this process listens for the switch. */
	uint8_t mac[6]; /* Made up from the guest's name and the device's place if none is given. */
	unsigned int queue_pairs, queue_size, mtu; /* mtu 0: not offered. */
};

/* --disk path=FILE[,readonly=on][,direct=on|off|auto][,serial=TEXT]   or   --disk socket=PATH[,...]
 * (vhost-user-blk) */
enum disk_direct { DISK_DIRECT_AUTO, DISK_DIRECT_ON, DISK_DIRECT_OFF };
struct disk_options {
	const char *path, *socket; /* One of the two. */
	bool read_only;
	enum disk_direct direct;
	const char *serial; /* At most 20 bytes; NULL: made from the device's place. */
};

/* Strings point into argv or literals. */
struct vmm_options {
	const char *name; /* [A-Za-z0-9._-], at most 63; default "guest". */
	const char *uuid; /* Shown in status; or NULL. */
	unsigned int n_vcpus;
	uint64_t memory_bytes;
	enum guest_memory_pages pages;
	bool split_irqchip; /* The I/O APIC is this process's, even if KVM has one. */
	const char *kernel, *initrd, *command_line;
	const char *cpu_mask; /* Features to hide, by Linux's names: "xsave,smap". */
	unsigned int n_nets, n_disks;
	struct net_options nets[OPTIONS_NETS];
	struct disk_options disks[OPTIONS_DISKS];
	bool rng, balloon, console; /* On unless --no-rng, --no-balloon, --no-console. */
	const char *serial;  /* "stdio", "none", or a file that its output is appended to; default
				"stdio". */
	const char *control; /* Socket of the control protocol, or NULL. */
	const char *outcome; /* File that the end is written into as JSON, or NULL. */
	const char *user;    /* Whom to become; default "nobody"; without effect if not root. */
	bool sandbox;	     /* Off with --no-sandbox: for debugging. */
	bool paused;	     /* Wait for `resume` before the first instruction. */
};

/* 0; 1 if --help or --version was answered; or a negative errno and a sentence. */
int options_read(struct vmm_options *options, int argc, char **argv, struct hv_error *error);

#endif
