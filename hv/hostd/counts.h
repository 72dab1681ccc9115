/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters by name, as a column of the database takes them.  Main thread.
 */
#ifndef HV_HOSTD_COUNTS_H
#define HV_HOSTD_COUNTS_H

#include <stddef.h>
#include <stdint.h>

#include "openvswitch/json.h"

enum { COUNTS_MAX = 512 };

/* All zeros is an empty one.  More than COUNTS_MAX are left out, and names that are no words. */
struct counts {
	size_t n;
	char **names;
	int64_t *values;
};

void counts_put(struct counts *counts, const char *name, int64_t value);

/* Every number within an object, named by where it stands: "net0.queue1.requests".  Elements of
 * arrays by their "name", or else by their place. */
void counts_put_json(struct counts *counts, const struct json *object);

void counts_clear(struct counts *counts);

#endif
