/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the vhost-user front end share.
 *
 *	vhost_user.c		its life: back ends come and go, the driver starts and stops
 *	vhost_user_talk.c	says the next message and hears its answer
 *	vhost_user_steps.c	which messages those are, in tables
 *	vhost_user_recover.c	where a new back end begins in the rings
 */
#ifndef HV_VHOST_USER_PRIVATE_H
#define HV_VHOST_USER_PRIVATE_H

#include "hv/report.h"
#include "hv/vhost_user.h"

/* A message on its way out. */
struct vhost_user_outgoing {
	struct vhost_user_message message;
	unsigned int n_descriptors;
	int descriptors[VHOST_USER_DESCRIPTORS];
};

/* A row of a script: what is said, when, and what becomes of the answer. */
struct vhost_user_step {
	enum vhost_user_request request;
	bool each_ring; /* Once for each ring that is set up; else `ring` is 0. */
	/* Said only if true; NULL: always, if its protocol feature is agreed. */
	bool (*due)(const struct vhost_user *vhost, unsigned int ring);
	/* Fills in payload and descriptors; NULL: there are none. */
	void (*say)(struct vhost_user *vhost, unsigned int ring, struct vhost_user_outgoing *out);
	/* Takes an answer that is right by its form, and not an acknowledgement.  A negative errno
	 * and a sentence: hang up. */
	int (*hear)(struct vhost_user *vhost, unsigned int ring, struct vhost_user_reader *answer,
		struct hv_error *error);
};

struct vhost_user_script {
	const struct vhost_user_step *steps;
	unsigned int n;
};

/* When a back end comes; when it is to work the rings; when something is to be told meanwhile; when
 * it is to end. */
extern const struct vhost_user_script vhost_user_meeting, vhost_user_starting, vhost_user_upkeep,
	vhost_user_stopping;

struct vhost_user {
	struct vhost_user_setup setup;

	/* The back end, its own requests, those who want to be one, and time. */
	struct event_source connection, channel, listener, timer;
	struct vhost_user_reader answer, request;
	uint64_t deadline_ms; /* Of the timer: for an answer, or to try again. */
	unsigned int retry_ms;

	/* What the back end has said. */
	bool met;
	uint64_t features, protocol_features, n_queues;
	uint8_t config[VHOST_USER_CONFIG_BYTES];

	/* What the driver wants. */
	bool wanted;
	uint64_t driver_features;
	const struct virtio_queue *queues;
	unsigned int n_rings;
	uint16_t mtu;
	bool enabled[VHOST_USER_RINGS];

	/* What the back end has been told. */
	bool told;    /* Of the rings, all or some of it. */
	bool running; /* All of it. */
	bool told_enabled[VHOST_USER_RINGS];
	uint16_t base[VHOST_USER_RINGS];

	/* Since the driver's start. */
	bool begun; /* A back end has been told of the rings. */
	bool lost;  /* And what was in flight then is lost. */
	struct vhost_user_inflight inflight;
	int inflight_fd; /* -1: none. */

	/* The conversation. */
	const struct vhost_user_script *script; /* NULL: nothing is to be said. */
	unsigned int step, ring;
	struct vhost_user_outgoing out;
	bool sending;  /* `out` did not fit into the socket. */
	bool awaiting; /* Its answer. */
	bool stopping; /* The driver's reset waits for the end of vhost_user_stopping. */

	/* What is to be told when there is time. */
	bool config_stale;
	struct vhost_user_config config_write; /* bytes 0: none. */
	uint64_t announcement;		       /* A MAC; 0: none. */

	uint64_t connections, refusals, timeouts;
	char trouble[2 * HV_ERROR_BYTES]; /* "" if there is none. */
	struct report report;
};

/* Whether both sides know a bit of enum vhost_user_protocol_feature. */
static inline bool vhost_user_agreed(const struct vhost_user *vhost, unsigned int feature)
{
	return vhost->protocol_features >> feature & 1;
}

/* Hangs up, for the reason given (NULL: the back end did), and waits for the next. */
void vhost_user_hang_up(struct vhost_user *vhost, const char *reason);

/* Tells the operator that a device which had lost its back end has one again. */
void vhost_user_report_return(struct vhost_user *vhost);

/* Sets the timer, `milliseconds` from now; 0: off. */
void vhost_user_set_timer(struct vhost_user *vhost, unsigned int milliseconds);

uint64_t vhost_user_now_ms(void);

/* Starts from the first line of a script. */
void vhost_user_begin(struct vhost_user *vhost, const struct vhost_user_script *script);

/* Says what is to be said until an answer has to be waited for. */
void vhost_user_advance(struct vhost_user *vhost);

/* The connection is readable or writable: hears, and advances. */
void vhost_user_connection_ready(struct event_source *source, uint32_t events);

/* A request of the back end's own. */
void vhost_user_channel_ready(struct event_source *source, uint32_t events);

/* Closes the end of the channel that was to be the back end's, if it has not been sent yet. */
void vhost_user_close_given_channel(struct vhost_user *vhost);

/* Whether ring `ring` is set up by the driver. */
static inline bool vhost_user_has_ring(const struct vhost_user *vhost, unsigned int ring)
{
	return ring < vhost->n_rings && vhost->queues[ring].enabled;
}

/* Fills in vhost->base for the back end that is to start now.  0, or a negative errno and a
 * sentence if requests would be lost. */
int vhost_user_recover(struct vhost_user *vhost, struct hv_error *error);

#endif
