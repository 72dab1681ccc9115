/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why something could not be done, as a sentence for the person who asked for it.
 */
#ifndef HV_ERROR_H
#define HV_ERROR_H

#include <stdarg.h>

enum { HV_ERROR_BYTES = 512 };

/* One failure.  Plain data: whoever declares it owns it; the functions that take it keep nothing of
 * it. */
struct hv_error {
	char text[HV_ERROR_BYTES];
};

/*
 * Writes a sentence that names the thing, the value and what to do (no full stop, no newline), and
 * returns
 * -`code` (an errno), so that a function fails in one line.  `error` may be NULL.  Any thread.
 */
int hv_fail(struct hv_error *error, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
