/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames that an operator sends in the name of a port: the worker that polls the port's first queue
 * switches them as if they had come in by it, and notes what it did.  They are received frames like
 * any other: counted, limited, guarded, judged and logged.
 *
 * The main thread puts one frame at a time into the worker's slot and waits until it was taken,
 * which is within the worker's longest sleep.  The worker looks at the slot once a poll round.
 */
#ifndef DATAPATH_INJECT_H
#define DATAPATH_INJECT_H

#include "datapath/switch.h"

/* Frames that were on their way out by a port. */
struct injected_output {
	uint16_t port, frames;
};

/* One frame, and what became of it. */
struct injection {
	/* Set by the main thread. */
	struct port *port;
	uint16_t queue;
	struct rte_mbuf *frame;
	/* Set by the worker, to be read once `done` is. */
	bool switched; /* False: the queue is not this worker's, and the frame is still there. */
	uint64_t drops[DROP_N_REASONS]; /* By switching the frame, and by sending what it made. */
	uint64_t copied, answered;	/* As in struct worker_stats. */
	uint16_t n_outputs;
	struct injected_output outputs[PORTS_MAX]; /* Before they were sent. */
	_Atomic bool done;
};

/* Has `frame`, which is consumed, switched as if `port` had received it, and waits for that.
 * Returns 0 with *injection filled in; -ENODEV if no worker polls the port; -ETIMEDOUT if its
 * worker does not answer.  Main thread. */
int inject_frame(struct cordon_switch *sw, struct port *port, struct rte_mbuf *frame,
	struct injection *injection);

/* Notes what the worker is about to send. */
void inject_note_outputs(const struct worker *worker, struct injection *injection);

#endif
