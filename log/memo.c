/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers by the number of a row.  Called by the writer of the log on its thread, and by readers on
 * theirs.
 */
#include "log/memo.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_IDS = 1024, IDS_MAX = 1 << 26 };

uint32_t log_memo_get(const struct log_memo *memo, uint32_t id)
{
	return id < memo->allocated ? memo->at[id] : 0;
}

static bool grow(struct log_memo *memo, uint32_t id)
{
	uint32_t allocated = id < FIRST_IDS ? FIRST_IDS : id * 2;
	uint32_t *at;

	if (id >= IDS_MAX)
		return false;
	at = realloc(memo->at, allocated * sizeof(*at));
	if (!at)
		return false;
	memset(at + memo->allocated, 0, (allocated - memo->allocated) * sizeof(*at));
	memo->at = at;
	memo->allocated = allocated;
	return true;
}

bool log_memo_set(struct log_memo *memo, uint32_t id, uint32_t value)
{
	if (id >= memo->allocated && !grow(memo, id))
		return false;
	memo->at[id] = value;
	return true;
}

void log_memo_clear(struct log_memo *memo)
{
	if (memo->at)
		memset(memo->at, 0, memo->allocated * sizeof(*memo->at));
}

void log_memo_free(struct log_memo *memo)
{
	free(memo->at);
	memset(memo, 0, sizeof(*memo));
}
