/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who a port is: its name, its VM and its tags, as the log says them.  Changed by the main thread;
 * read by any thread under RCU.
 *
 * The log thread may read an event long after it happened, if the disk keeps it, so what a port was
 * before is kept until no event of that time is left.  What a port was last is kept when it goes,
 * until its number is used again.
 */
#include <config.h>

#include "datapath/switch.h"

#include <stdlib.h>
#include <string.h>

#include "ovs-rcu.h"
#include "timeval.h"
#include "util.h"

/* An event carries the time of its burst, which is a little older than it is. */
enum { LATE_MS = 1000 };

void port_identity_free(struct port_identity *identity)
{
	if (identity == NULL)
		return;
	port_identity_free(atomic_load(&identity->former));
	free(identity->vm_id);
	free(identity->vm_name);
	free(identity->tags);
	free(identity);
}

static bool is_same(const struct port_identity *identity, const char *name,
	const struct port_settings *settings)
{
	return strcmp(identity->name, name) == 0 && strcmp(identity->vm_id, settings->vm_id) == 0 &&
	       strcmp(identity->vm_name, settings->vm_name) == 0 &&
	       strcmp(identity->tags, settings->tags) == 0;
}

void port_identity_set(struct cordon_switch *sw, uint16_t number, const char *name,
	const struct port_settings *settings)
{
	struct port_identity *former = atomic_load(&sw->identities[number]);
	struct timespec wall;

	if (former != NULL && is_same(former, name, settings))
		return;
	struct port_identity *identity = xzalloc(sizeof(*identity));
	clock_gettime(CLOCK_REALTIME, &wall);
	ovs_strlcpy(identity->name, name, sizeof(identity->name));
	identity->vm_id = xstrdup(settings->vm_id);
	identity->vm_name = xstrdup(settings->vm_name);
	identity->tags = xstrdup(settings->tags);
	identity->since_ns = (uint64_t)wall.tv_sec * 1000000000u + (uint64_t)wall.tv_nsec;
	identity->since_ms = time_msec();
	atomic_init(&identity->former, former);
	atomic_store_explicit(&sw->identities[number], identity, memory_order_release);
}

const struct port_identity *port_identity_at(
	const struct cordon_switch *sw, uint16_t number, uint64_t time_ns)
{
	const struct port_identity *identity =
		number < PORTS_MAX
			? atomic_load_explicit(&sw->identities[number], memory_order_acquire)
			: NULL;

	while (identity != NULL && identity->since_ns > time_ns) {
		const struct port_identity *former =
			atomic_load_explicit(&identity->former, memory_order_acquire);

		if (former == NULL)
			break;
		identity = former;
	}
	return identity;
}

void port_identities_forget(struct cordon_switch *sw, long long int read_until)
{
	for (uint16_t number = 0; number < PORTS_MAX; number++) {
		struct port_identity *identity = atomic_load(&sw->identities[number]), *former;

		while (identity != NULL && identity->since_ms + LATE_MS >= read_until)
			identity = atomic_load(&identity->former);
		if (identity == NULL)
			continue;
		former = atomic_exchange(&identity->former, NULL);
		if (former != NULL)
			ovsrcu_postpone(port_identity_free, former);
	}
}
