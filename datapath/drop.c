/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The names and texts of the drop reasons, for counters, logs and people.  Called by the control
 * plane and the log, on any thread; everything is constant.
 */
#include "datapath/drop.h"

struct drop_words {
	const char *name, *text;
};

#define X(enumerator, reason_name, reason_text) [enumerator] = {reason_name, reason_text},
static const struct drop_words words[DROP_N_REASONS] = {
	[DROP_NONE] = {"none", "not dropped"}, DROP_REASONS(X)};
#undef X

static const struct drop_words unknown = {"?", "no such reason"};

static const struct drop_words *drop_words(unsigned int reason)
{
	return reason < DROP_N_REASONS ? &words[reason] : &unknown;
}

const char *drop_name(unsigned int reason)
{
	return drop_words(reason)->name;
}

const char *drop_text(unsigned int reason)
{
	return drop_words(reason)->text;
}
