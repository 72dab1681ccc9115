/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cap on records of denials: of one rule and one source address, so many per second and no
 * more.  What is held back is counted, and every count comes to light in exactly one place:
 *
 * - in *suppressed of the next record of the same rule and source that is admitted; or
 * - if no such record comes, from log_cap_overdue(), once the source has been quiet for a while; or
 * - if the table had no room for both, in the one count of what can no longer be told apart, which
 *   log_cap_overdue() gives out under rule 0 and the address ::.
 *
 * The table has a fixed size and is 4-way associative: a new key displaces the key of its set that
 * costs least to lose (nothing held back, and longest quiet).  A displaced key starts anew when it
 * comes back, so under more than some thousand sources at once the cap lets more pass than it says.
 *
 * Who sends from another address each time would be admitted each time.  So only LOG_CAP_NEW keys
 * are taken in per second; records of further ones are held back, and counted with what can no
 * longer be told apart.
 *
 * One per worker, used by that worker alone, no lock.  Nothing is allocated after creation.
 */
#ifndef LOG_CAP_H
#define LOG_CAP_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

struct log_cap;

enum { LOG_CAP_PER_SECOND = 10, LOG_CAP_ENTRIES = 4096, LOG_CAP_NEW = 5000 };

/* A cap of LOG_CAP_PER_SECOND records for each key, which keeps LOG_CAP_ENTRIES keys in mind.  NULL
 * if there is no memory. */
struct log_cap *log_cap_create(void);
void log_cap_destroy(struct log_cap *cap); /* Accepts NULL. */

/* Asks whether a record of `rule` and `source` may be written at `now_ns`, a clock that does not go
 * back.  False: it is held back, and counted.  True: write it, with *suppressed as the number held
 * back before it; *suppressed is set in both cases (0 with false). */
bool log_cap_admit(struct log_cap *cap, uint32_t rule, const struct in6_addr *source,
	uint64_t now_ns, uint32_t *suppressed);

/* What log_cap_overdue() found. */
struct log_cap_overdue {
	uint32_t rule; /* 0 with `source` ::, for counts of displaced keys. */
	struct in6_addr source;
	uint64_t suppressed; /* At least 1. */
};

/* Gives out a count that waits for a record which may never come: of a key that has been quiet for
 * two seconds.  Each call looks at a few keys, going round; a worker calls it now and then (256
 * calls go once round the table) and writes one record for each true. */
bool log_cap_overdue(struct log_cap *cap, uint64_t now_ns, struct log_cap_overdue *overdue);

/* The same for all keys at once, quiet or not: call it until it is false when a worker ends. */
bool log_cap_drain(struct log_cap *cap, struct log_cap_overdue *overdue);

#endif
