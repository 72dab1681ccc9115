/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stored traffic under another policy: every connection and refusal that the log has of a span
 * of time is put to two policies, and what they say differently is counted.
 *
 * What the log says of the verdict then does not matter: both policies are asked, so that the
 * difference is theirs alone.  An end that was a vNIC is in the zone of its tags as they were
 * recorded; any other by its address, as of today.
 *
 * One thread.  Goes through the records once, as they lie in the files; memory is bounded.
 */
#ifndef LOG_REPLAY_H
#define LOG_REPLAY_H

#include "zones/policy_impact.h"
#include "zones/policy_view.h"

struct log_replay {
	/* The caller's. */
	const char *directory;
	uint64_t since_ns, until_ns;		  /* until_ns 0: now. */
	const struct policy_view *before, *after; /* Of the same endpoints. */
	struct policy_impact *impact;
	/* Called now and then, with the time of the record just read; may be NULL. */
	void (*progress)(const struct log_replay *replay, uint64_t time_ns);
	void *context;

	/* What was found. */
	uint64_t records;     /* Read in all. */
	uint64_t connections; /* Allowed ones, as recorded. */
	uint64_t refusals;    /* Refused attempts, as recorded one by one. */
	uint64_t held_back;   /* Refusals of which the log has the number only. */
	uint64_t lost;	      /* Records that were lost. */
	uint64_t first_ns;    /* Time of the oldest record of the span; 0: none. */
};

/* Returns 0 or a negative errno with the reason in error[], as log_query() does: -ENOENT, there is
 * no log; -EIO, a file could not be read and is left out. */
int log_replay_run(struct log_replay *replay, char *error, size_t error_size);

#endif
