/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much of its memory a guest gives back: what is wanted is told to its VMM, and what came of it
 * is kept for replica.c to write.  Called by guest.c on the main thread.
 *
 * The VMM is asked for it, not ordered: a guest without a driver gives nothing, and one that needs
 * its memory takes it again.
 */
#include <config.h>

#include "hv/hostd/hostd.h"

#include "util.h"

static int64_t wanted_bytes(const struct guest *guest)
{
	return (int64_t)guest->wish.balloon_mib << 20;
}

/* What a guest has given changes with every look, and is written with the statistics. */
static void observe(struct guest *guest)
{
	const struct vmm_balloon *now = &guest->vmm.balloon;
	struct vmm_balloon *seen = &guest->balloon;
	bool changed = seen->present != now->present || seen->driver != now->driver ||
		       seen->target_bytes != now->target_bytes;

	if (!changed && seen->given_bytes == now->given_bytes)
		return;
	*seen = *now;
	seen->refusal = NULL;
	if (changed)
		replica_note(guest->hostd);
}

void guest_run_balloon(struct guest *guest)
{
	if (guest->vmm.presence == VMM_PRESENT && guest->vmm.balloon.known)
		vmm_set_balloon(&guest->vmm, wanted_bytes(guest));
	observe(guest);
}

char *guest_balloon_trouble(const struct guest *guest)
{
	const struct vmm_balloon *balloon = &guest->vmm.balloon;
	unsigned int mib = guest->wish.balloon_mib;

	if (!mib || !balloon->known)
		return NULL;
	if (!balloon->present)
		return xasprintf("it is to give %u MiB back, and was started without a balloon; "
				 "its next start gives it one if its option balloon is on",
			mib);
	if (balloon->refusal)
		return xasprintf("it is to give %u MiB back, which its VMM refuses: %s", mib,
			balloon->refusal);
	if (!balloon->driver)
		return xasprintf("it is to give %u MiB back, and its guest has no driver for the "
				 "balloon, or has not begun with it yet",
			mib);
	return NULL;
}
