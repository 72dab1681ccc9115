/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes the rule hits to the disk now and then, so that they survive the machine going down; and
 * how far the log has counted.  A thread of its own: the disk may be slow, or hang, and nobody else
 * is to wait for it.
 */
#include <config.h>

#include "datapath/switch.h"

#include <stdlib.h>

#include "openvswitch/vlog.h"
#include "ovs-rcu.h"
#include "ovs-thread.h"
#include "util.h"

VLOG_DEFINE_THIS_MODULE(hits_keeper);

enum { LOOK_MS = 100, SAVE_MS = 60000 };

struct hits_keeper {
	struct cordon_switch *sw;
	pthread_t thread;
	uint32_t saved_passes; /* What they were when the hits were written. */
	_Atomic int error;     /* Why that failed: a negative errno; or 0. */
};

static void save(struct hits_keeper *keeper)
{
	uint32_t passes = rule_hits_passes(keeper->sw->hits);

	if (passes == keeper->saved_passes)
		return;
	keeper->saved_passes = passes;
	int error = rule_hits_save(keeper->sw->hits);
	if (error != 0 && error != atomic_load(&keeper->error))
		VLOG_WARN("%s/rule-hits: %s; should the machine go down, the rule hits of this "
			  "time are lost",
			keeper->sw->options->state_directory, ovs_strerror(-error));
	atomic_store(&keeper->error, error);
}

static void *keep(void *keeper_)
{
	struct hits_keeper *keeper = keeper_;
	unsigned int waited = SAVE_MS;

	worker_give_way(keeper->sw);
	ovsrcu_quiesce_start();
	for (; !atomic_load(&keeper->sw->stop); waited += LOOK_MS) {
		if (waited >= SAVE_MS) {
			save(keeper);
			waited = 0;
		}
		log_thread_keep_sequence(keeper->sw->log);
		nanosleep(&(struct timespec){.tv_nsec = LOOK_MS * 1000000L}, NULL);
	}
	return NULL;
}

struct hits_keeper *hits_keeper_start(struct cordon_switch *sw)
{
	struct hits_keeper *keeper = calloc(1, sizeof(*keeper));

	if (keeper == NULL)
		return NULL;
	keeper->sw = sw;
	keeper->thread = ovs_thread_create("hits_keeper", keep, keeper);
	return keeper;
}

int hits_keeper_error(const struct hits_keeper *keeper)
{
	return atomic_load(&keeper->error);
}

void hits_keeper_join(struct hits_keeper *keeper)
{
	if (keeper == NULL)
		return;
	pthread_join(keeper->thread, NULL);
	save(keeper);
	free(keeper);
}
