/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sentences for persons.  Called by everybody in this room, on any thread.
 */
#include "hv/error.h"

#include <stdio.h>

int hv_fail(struct hv_error *error, int code, const char *format, ...)
{
	va_list arguments;

	if (error) {
		va_start(arguments, format);
		vsnprintf(error->text, sizeof(error->text), format, arguments);
		va_end(arguments);
	}
	return -code;
}
