/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vhost-user front end: another process, the back end, works a device's rings.
 *
 *	vhost_user_create() -> [a back end comes: met()] -> vhost_user_start() -> started() ...
 *	... left() -> [another one comes: met(), started()] ... vhost_user_stop() ->
 *vhost_user_destroy()
 *
 * A back end may come and go at any moment, whether the driver has started the device or not; each
 * is told all anew.  Everything is a conversation of single messages, each with its answer where
 * there is one, held by the event loop: nothing waits, but for vhost_user_stop(), which must not
 * return while the rings are worked.  An answer has a time limit; a back end that misses it, or
 * says what is not in the protocol, is hung up on, with a sentence on stderr, and another one, or
 * the same, may come.
 *
 * The back end is given all of the guest's memory, by guest-physical addresses (it learns nothing
 * of where this process has mapped it), and the queues' eventfds.
 *
 * Where a new back end begins: at a ring's beginning if the driver has just started the device, and
 * else behind what the used ring says is finished.  See enum vhost_user_care.
 *
 * All functions are called with the machine's lock held, or before the guest runs; the events too.
 */
#ifndef HV_VHOST_USER_H
#define HV_VHOST_USER_H

#include <stdbool.h>
#include <stdint.h>

#include "hv/broker.h"
#include "hv/error.h"
#include "hv/event_loop.h"
#include "hv/guest_memory.h"
#include "hv/options.h"
#include "hv/vhost_user_message.h"
#include "hv/virtio_queue.h"

struct vhost_user;

enum { VHOST_USER_RINGS = 2 * OPTIONS_QUEUE_PAIRS };

/* What a lost back end may cost. */
enum vhost_user_care {
	/* Frames: what it had taken and not finished is taken again, or lost. */
	VHOST_USER_MAY_LOSE,
	/* Requests: none is lost, none is answered twice; failed() if that cannot be promised. */
	VHOST_USER_EXACT,
};

/* What the owner is told. */
struct vhost_user_events {
	/* A back end has said what it can, see vhost_user_facts().  Refuse it by a negative errno
	 * and a sentence. */
	int (*met)(void *owner, struct hv_error *error);
	/* It works the rings; `again`: as another one did before, since the driver's start. */
	void (*started)(void *owner, bool again);
	/* The one that was met is gone. */
	void (*left)(void *owner);
	/* The configuration space is another one, see vhost_user_facts(). */
	void (*config_changed)(void *owner);
	/* What was in flight cannot be recovered: nothing happens until stop and start. */
	void (*failed)(void *owner, const char *reason);
};

struct vhost_user_setup {
	const char *name;   /* Of the device, for sentences: "net0". */
	const char *peer;   /* What the other side is, likewise: "the switch". */
	const char *socket; /* Its path.  Borrowed, as all strings. */
	bool listens;	    /* Here, and the back end connects; or it listens. */
	enum vhost_user_care care;
	uint64_t needed_features;   /* A back end that lacks one of these that the driver has
				       accepted is refused. */
	uint64_t protocol_features; /* Bits of enum vhost_user_protocol_feature that are of use. */
	unsigned int config_bytes;  /* Of configuration space that the back end holds. */
	unsigned int reply_ms;	    /* For an answer.  0: VHOST_USER_REPLY_MS, */
	unsigned int stop_ms;	    /* and for all that belong to a stop: VHOST_USER_STOP_MS. */
	const struct guest_memory *memory;
	struct event_loop *loop;
	struct broker *broker; /* NULL: no socket; vhost_user_take() alone brings back ends. */
	const struct vhost_user_events *events;
	void *owner;
};

enum { VHOST_USER_REPLY_MS = 5000, VHOST_USER_STOP_MS = 1000 };

/* Listens, or connects for the first time.  0, or a negative errno and a sentence (nobody listening
 * is none: he may come). */
int vhost_user_create(
	struct vhost_user **created, const struct vhost_user_setup *setup, struct hv_error *error);

/* Hangs up and frees.  NULL is accepted. */
void vhost_user_destroy(struct vhost_user *vhost);

/* `socket`, connected, is a back end from now on, and owned.  -EBUSY, and still the caller's, if
 * there is one already. */
int vhost_user_take(struct vhost_user *vhost, int socket);

/* Before the loop runs: until a back end has been met by each of `n`, or `milliseconds` have
 * passed. */
void vhost_user_wait(struct vhost_user *const *each, unsigned int n, unsigned int milliseconds);

/* What the back end that was met last has said.  Immutable between met() and left(), but for
 * `config`. */
struct vhost_user_facts {
	bool met; /* It is there. */
	uint64_t features;
	uint64_t protocol_features; /* Agreed. */
	uint64_t n_queues;	    /* Pairs, for a network.  1 without MQ. */
	const uint8_t *config;	    /* setup.config_bytes; zeros without CONFIG. */
	const char *trouble; /* Why the last one is gone, or could not be reached; or NULL. */
	uint64_t connections, refusals, timeouts;
};
void vhost_user_facts(const struct vhost_user *vhost, struct vhost_user_facts *facts);

/*
 * The driver has started the device: with these features (those that the back end does not know are
 * not told it), and rings 0 to n_rings - 1, in `queues`, which must stand until vhost_user_stop();
 * those that are not enabled there are left out.  `mtu`: 0 if it is not to be told.  Happens when a
 * back end is there.
 */
void vhost_user_start(struct vhost_user *vhost, uint64_t features,
	const struct virtio_queue *queues, unsigned int n_rings, uint16_t mtu);

/* Whether the back end is to work a ring, all of them by default; also before vhost_user_start(),
 * and kept over it. */
void vhost_user_enable(struct vhost_user *vhost, unsigned int ring, bool enabled);

/* The driver has reset the device.  When this returns the back end has given the rings up, or has
 * been hung up on since it did not do so within setup.stop_ms. */
void vhost_user_stop(struct vhost_user *vhost);

/* Has the back end tell the network where this MAC is, if it can (RARP). */
void vhost_user_announce(struct vhost_user *vhost, const uint8_t mac[6]);

/* Writes the back end's configuration space.  -ENOTCONN, -EOPNOTSUPP, -EINVAL for a range outside,
 * -EBUSY if the last one has not been said yet. */
int vhost_user_write_config(
	struct vhost_user *vhost, uint32_t offset, const uint8_t *data, unsigned int bytes);

#endif
