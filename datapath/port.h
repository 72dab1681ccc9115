/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ports: everything that frames come in by and go out by, behind one table of back ends.
 *
 * Life cycle: the main thread makes a port with port_open(), publishes it in the switch's port
 * array, and gives its receive queues to workers.  To remove it, the main thread takes it out of
 * the array and out of the workers' poll lists, waits a grace period, and calls port_close().  A
 * change of settings that back ends do not care about (VLANs, tags, addresses, limits) replaces
 * `port->settings`, an immutable snapshot, and frees the old one after a grace period.
 *
 * Threads: port_rx() of a queue is called by the one worker that owns it; port_tx() by any worker.
 */
#ifndef DATAPATH_PORT_H
#define DATAPATH_PORT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <rte_mbuf.h>
#include <rte_spinlock.h>

#include "datapath/drop.h"
#include "zones/address.h"

enum { PORTS_MAX = 1024 }; /* Port numbers are 1 .. PORTS_MAX - 1. */
enum { PORT_QUEUES_MAX = 16 };
enum { PORT_NAME_MAX = 64 };
enum { BURST_MAX = 32 };

enum port_role { PORT_VNIC, PORT_UPLINK, PORT_INTERNAL };

enum port_vlan_mode {
	PORT_ACCESS, /* Untagged frames belong to `vlan`; tagged ones are refused. */
	PORT_TRUNK,  /* Tagged frames of the VLANs in `trunks`; untagged ones belong to `vlan`. */
};

/* All that may change while the port is open.  Immutable; owned by the port. */
struct port_settings {
	enum port_role role;
	enum port_vlan_mode vlan_mode;
	uint16_t vlan;		    /* Access VLAN, or a trunk's native one; 0: untagged network. */
	uint64_t trunks[4096 / 64]; /* Bit per VLAN id. */
	bool spoof_guard;	    /* On for vNICs and internal ports unless switched off. */
	uint8_t serves;		    /* enum service: see service_guard.h. */
	size_t n_macs;
	uint8_t (*macs)[6];
	size_t n_addresses;
	struct in6_addr *addresses;
	uint32_t mac_limit;   /* Learned MACs; 0: no limit. */
	uint32_t storm_limit; /* Flooded frames/s let in; 0: no limit. */
	/* On what the port opens, and as much again on what is opened to it from outside; 0: no
	 * limit.  See quota.c. */
	uint32_t connection_limit;     /* At one time. */
	uint32_t half_open_limit;      /* Unanswered ones of them. */
	bool half_open_is_default;     /* Nobody has set it: there is a share in what is free. */
	uint32_t half_open_sure;       /* So many are never refused; UINT32_MAX: no limit. */
	uint32_t new_per_second_limit; /* In any second; as many at once. */
	uint64_t ingress_rate_bps;     /* From the guest; 0: no limit. */
	/* For the log. */
	char *vm_id, *vm_name, *tags; /* "" if none; tags are "a=b c=d". */
};

/* What a port takes without the switch's help.  Follows the guest's negotiation for vhost. */
enum port_offload {
	PORT_TX_CHECKSUM = 1 << 0, /* TCP/UDP checksums may be left to it. */
	PORT_TX_TSO4 = 1 << 1,
	PORT_TX_TSO6 = 1 << 2,
	PORT_TX_SEGMENTS = 1 << 3, /* Chained mbufs. */
	PORT_TX_COPIES = 1 << 4,   /* Segments in a guest's memory: tx copies what it sends. */
};

/* Counters of one queue.  Written by the worker that owns the queue (rx), or under the queue's tx
 * lock; read by anyone. */
struct port_queue_stats {
	uint64_t rx_packets, rx_bytes, tx_packets, tx_bytes, tx_dropped;
	uint64_t tx_cut; /* Frames that cutting large ones has made more of them. */
} __attribute__((aligned(64)));

/* How a back end keeps workers out while it changes what rx and tx use: see port_suspend(). */
struct port_gate {
	_Atomic uint32_t receiving, sending; /* A worker is within rx, tx of this queue. */
} __attribute__((aligned(64)));

struct port;
struct capture_taps;

/* What a worker has done at a port. */
enum port_work { PORT_RECEIVED, PORT_SENT };

/* One kind of port.  All functions but rx and tx are called by the main thread. */
struct port_backend {
	const char *type;	    /* "vhost", "kernel", "internal", "dpdk". */
	const char *const *options; /* The options that it knows; ends with NULL. */
	/* Opens it by port->name and port->options; fills n_rx_queues, n_tx_queues, mtu, offloads.
	 * Returns 0, or a negative errno and a sentence in error[] that says what to do. */
	int (*open)(struct port *port, char *error, size_t error_size);
	/* Nothing of rx or tx is running any more. */
	void (*close)(struct port *port);
	uint16_t (*rx)(struct port *port, uint16_t queue, struct rte_mbuf **frames, uint16_t n);
	/* The frames that rx gave were sent or freed: what they refer to may be given back.  NULL
	 * if they refer to nothing. */
	void (*rx_done)(struct port *port, uint16_t queue);
	/* Takes ownership of the frames that it accepts: returns how many, from the front. */
	uint16_t (*tx)(struct port *port, uint16_t queue, struct rte_mbuf **frames, uint16_t n);
	/* Tells whoever is behind the port of what rx took or tx sent, if it wants to know.  NULL
	 * if rx_done and tx do so themselves. */
	void (*notify)(struct port *port, uint16_t queue, enum port_work work);
	/* Refreshes port->link_up and status; called about once a second. */
	void (*poll_status)(struct port *port);
};

struct port {
	/* Immutable while open. */
	uint16_t number;
	uint16_t n_rx_queues, n_tx_queues;
	uint16_t mtu;	      /* Of IP packets, without Ethernet header and tag. */
	bool fills_checksums; /* Received frames may carry CHECKSUM_PARTIAL sums (kernel ports). */
	const struct port_environment *environment;
	void *private; /* The back end's. */

	_Atomic(struct port_settings *) settings; /* Main thread writes; RCU. */
	/* Immutable but for captures, whose stand-in differs in tx() alone: capture.h.  Likewise.
	 */
	_Atomic(const struct port_backend *) backend;
	_Atomic bool running;	   /* Between port_resume() and port_suspend(). */
	bool fenced;		   /* Immutable: workers pass the gate with a full barrier. */
	_Atomic bool link_up;	   /* The back end's thread. */
	_Atomic uint32_t offloads; /* enum port_offload; the back end's thread. */

	/* Counted on the miss path, by any worker, relaxed. */
	_Atomic uint64_t storm_bucket, rate_bucket; /* Token buckets, see storm.c. */

	rte_spinlock_t tx_lock[PORT_QUEUES_MAX]; /* Held for one burst; uncontended if each
						  * worker has a queue of its own. */
	struct port_gate gates[PORT_QUEUES_MAX];
	struct port_queue_stats queues[PORT_QUEUES_MAX];
	/* What was dropped of each receive queue's frames; the queue's worker writes. */
	_Atomic uint64_t drops[PORT_QUEUES_MAX][DROP_N_REASONS];

	_Atomic(struct capture_taps *) taps; /* NULL: not captured.  Main thread writes; RCU. */

	/* Main thread only. */
	char name[PORT_NAME_MAX];
	struct smap *options;	     /* As in the database; owned. */
	unsigned int poll_within_ms; /* Status is to be polled again so soon; 0: at leisure. */
	char status[240]; /* One line for a person: "AF_XDP, driver mode", "waiting for guest". */
};

/* The back end of that type, or NULL. */
const struct port_backend *port_backend_find(const char *type);
extern const struct port_backend port_vhost, port_kernel, port_internal, port_dpdk;

/* What all ports need that is made once: the buffer pools. */
struct port_environment {
	struct buffers *buffers;      /* What `pool` is filled by. */
	struct seq *news;	      /* Changes when a port's status has; any thread. */
	struct rte_mempool *pool;     /* Frames of up to 2 KiB a segment. */
	struct rte_mempool *indirect; /* Headers without data, for segmentation. */
	bool huge_pages;
	const char *run_directory;
	uint16_t n_workers;
};

/* Best called while there is one thread only: later the kernel waits for a grace period of its own,
 * tens of milliseconds on a busy machine, and the first port that is opened with it. */
void port_prepare_process(void);

/* Opens a port.  `settings` and `options` are taken over in any case.  Returns NULL with a sentence
 * in error[] that names the port, what failed, and what to do. */
struct port *port_open(const struct port_environment *environment, uint16_t number,
	const char *name, const char *type, struct smap *options, struct port_settings *settings,
	char *error, size_t error_size);
void port_close(struct port *port); /* A grace period after it was taken out.  Accepts NULL. */

void port_settings_free(struct port_settings *settings); /* Accepts NULL. */

/* Receives up to n frames from a queue and counts them.  If there are any, the port stays open for
 * the worker until port_rx_done(): all of them must have been sent or freed by then, since they may
 * refer to a guest's memory.  The queue's worker. */
uint16_t port_rx(struct port *port, uint16_t queue, struct rte_mbuf **frames, uint16_t n);
void port_rx_done(struct port *port, uint16_t queue);

/* Counts a frame as received that did not come by port_rx().  The queue's worker. */
void port_count_injected(struct port *port, uint16_t queue, const struct rte_mbuf *frame);

/* Sends n frames by the worker's queue, in order.  Frames that the port cannot take as they are
 * (large, unchecksummed, chained) are brought into shape first (offload.c).  All frames are
 * consumed.  Adds what was not sent to drops[reason]. */
void port_tx(struct port *port, const struct port_environment *environment, unsigned int worker,
	struct rte_mbuf **frames, uint16_t n, uint64_t drops[DROP_N_REASONS]);

/* True if port_tx() gives frames to the back end, and does not drop them because it is down. */
static inline bool port_can_send(const struct port *port)
{
	return atomic_load_explicit(&port->running, memory_order_acquire) &&
	       atomic_load_explicit(&port->link_up, memory_order_relaxed);
}

static inline const struct port_backend *port_backend_of(const struct port *port)
{
	return atomic_load_explicit(&port->backend, memory_order_acquire);
}

/* True if port_notify() is owed after rx or tx. */
static inline bool port_wants_notify(const struct port *port)
{
	return port_backend_of(port)->notify != NULL;
}

/* Tells a guest, if it wants to know, of frames taken from `queue` (PORT_RECEIVED), or sent by the
 * worker of that number (PORT_SENT).  Owed once for any number of bursts, within the poll round,
 * after a full barrier.  The worker. */
void port_notify(struct port *port, unsigned int queue, enum port_work work);

/* Refreshes link_up and status.  The main thread, about once a second. */
void port_poll_status(struct port *port);

/* For back ends: lets workers into rx and tx, and keeps them out.  A port begins suspended.  When
 * port_suspend() returns, no worker is within rx or tx, and none will be until port_resume().  It
 * waits for as long as a burst takes; it may be called on any thread but a worker's. */
void port_resume(struct port *port);
void port_suspend(struct port *port);

/* For back ends: reads a whole number from the port's options.  Leaves *value alone if the option
 * is not there; returns -EINVAL with a sentence if it is not a number from `least` to `most`. */
int port_option_number(const struct port *port, const char *key, unsigned int least,
	unsigned int most, unsigned int *value, char *error, size_t error_size);

/* The sum of all queues. */
struct port_queue_stats port_stats(const struct port *port);

#endif
