/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The names of the kinds of log record.  Pure; any thread.
 */
#include "log/record.h"

#include <string.h>

#define X(enumerator, text) [enumerator] = text,
static const char *const kind_names[LOG_N_KINDS] = {LOG_KINDS(X)};
#undef X

const char *log_kind_name(unsigned int kind)
{
	return kind < LOG_N_KINDS ? kind_names[kind] : "?";
}

int log_kind_parse(const char *name)
{
	for (int kind = 0; kind < LOG_N_KINDS; kind++)
		if (!strcmp(kind_names[kind], name))
			return kind;
	return -1;
}
