/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's network card, as the packet path sees it: memory, rings, and what was negotiated.
 *
 * port_vhost.c fills the struct in while no worker is within the port (port_suspend()); between
 * then and the next time workers use it with no lock but the one of each ring to the guest, since
 * several workers may send by one.
 *
 * A frame crosses from guest to guest in one copy.  Its headers are copied into an mbuf, where they
 * are judged; what lies behind them stays in the sender's memory, as further segments of the mbuf,
 * until it is copied into the receiver's.  Such a segment is good until vhost_receive_done(): who
 * keeps frames for longer, or gives them to a device, copies them first (PORT_TX_COPIES).
 */
#ifndef DATAPATH_VHOST_DEVICE_H
#define DATAPATH_VHOST_DEVICE_H

#include <linux/virtio_net.h>

#include <rte_mbuf.h>
#include <rte_spinlock.h>

#include "datapath/guest_memory_fault.h"
#include "datapath/port.h"
#include "datapath/vhost_ring.h"

enum {
	/* Frames up to this size are copied at once, and so twice on their way to another guest:
	 * the second copy is cheaper than a segment.  A buffer of the pool holds as much. */
	VHOST_COPIED_WHOLE = 1536,
	/* Of larger ones, what may be headers. */
	VHOST_COPIED_HEADERS = 256,
	/* The largest IP packet, and two VLAN tags. */
	VHOST_FRAME_BYTES_MAX = 65535 + 14 + 2 * 4,
};

struct vhost_queue {
	struct vhost_ring ring;
	rte_spinlock_t lock; /* Of a ring to the guest: held for one burst. */
	int call;	     /* An eventfd that interrupts the guest, or -1.  librte_vhost's. */
	bool usable;	     /* The guest has set it up. */
} __attribute__((aligned(64)));

struct vhost_device {
	/* Immutable while workers are within the port. */
	int vid;
	uint8_t header_bytes; /* Of the virtio header. */
	bool mergeable;	      /* A frame may fill several buffers. */
	bool tracks_writes;   /* The guest is being migrated. */
	struct guest_memory memory;
	struct rte_mempool *pool, *headers; /* See struct port_environment. */

	/* port_vhost.c's, under its registry's lock. */
	struct guest_memory_watch watch; /* The mappings of memory and log, while they are used. */
	bool has_log;			 /* The VMM has shared a log of writes, for migration. */
	bool memory_lost;		 /* Some of what it shared was not there. */

	/* How often segments in the guest's memory are referred to.  The worker of each queue. */
	struct rte_mbuf_ext_shared_info references[PORT_QUEUES_MAX];
	struct vhost_queue from_guest[PORT_QUEUES_MAX], to_guest[PORT_QUEUES_MAX];
};

/* --- vhost_device.c: while no worker is within the port -----------------------------------------
 */

/* Takes over what was negotiated for device `vid` of librte_vhost: memory, which is watched from
 * here on, and the rings that are set up so far.  Returns -1 if the library does not tell, or if
 * memory was lost. */
int vhost_device_load(struct vhost_device *device, int vid, uint64_t features);

/* Hands the rings' positions back to librte_vhost, and forgets them and the memory, which is not
 * watched any more.  Notes whether memory was lost. */
void vhost_device_unload(struct vhost_device *device);

/* True if the guest's memory, or part of it, was not there when it was accessed: zeros are in its
 * place, until the VMM connects anew.  Under the lock. */
bool vhost_device_memory_lost(const struct vhost_device *device);

/* What is wrong with its rings, of the first that is broken.  Any thread, at any time. */
enum ring_fault vhost_device_fault(const struct vhost_device *device);

/* --- vhost_receive.c ------------------------------------------------------------------------ */

/* Takes up to n frames that the guest has sent.  Frames that cannot be read are counted: *refused
 * for chains that are malformed, *no_buffer for want of buffers.  Returns the number of frames.
 * The queue's worker. */
uint16_t vhost_receive(struct vhost_device *device, uint16_t queue, struct rte_mbuf **frames,
	uint16_t n, uint64_t *refused, uint64_t *no_buffer);

/* Gives the guest its buffers back.  All frames were freed or copied. */
void vhost_receive_done(struct vhost_device *device, uint16_t queue);

/* Interrupts the guest if it wants to know of that.  After a full barrier. */
void vhost_receive_notify(struct vhost_device *device, uint16_t queue);

/* --- vhost_send.c --------------------------------------------------------------------------- */

/* Copies n frames into the guest's buffers.  Frees those that are sent, and moves those for which
 * there is no room, or no buffer large enough, to the end.  Returns how many were sent.  Any
 * worker. */
uint16_t vhost_send(
	struct vhost_device *device, uint16_t queue, struct rte_mbuf **frames, uint16_t n);

/* Interrupts the guest if it wants to know of what was sent.  After a full barrier. */
void vhost_send_notify(struct vhost_device *device, uint16_t queue);

/* Interrupts the guest for this queue. */
void vhost_interrupt(const struct vhost_queue *queue);

/* Marks what was written to a used ring, and its index, for migration. */
void vhost_track_used(const struct vhost_device *device, const struct vhost_ring *ring,
	unsigned int number, uint16_t first);

#endif
