/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a sink was told that nobody is to read: passwords in a connection's description as libpq
 * takes it ("host=db password=...", "postgresql://user:password@host/...").  They belong in a file;
 * those that are written there all the same are shown to no person and in no log.
 */
#ifndef LOG_SINK_SECRET_H
#define LOG_SINK_SECRET_H

#include <stdbool.h>

/* What stands for a secret. */
#define SINK_SECRET_MASK "***"

/* The description, with SINK_SECRET_MASK in place of each value that is not known to be harmless.
 * What is not written as it should be, and so could be part of a password, is masked to its end.
 * The caller frees; NULL without memory.  Any thread. */
char *sink_secret_mask(const char *connection);

/* `message`, which libpq has written because it could not read the description, up to the first
 * piece in quotation marks that sink_secret_mask() does not show: libpq quotes what it stumbled
 * over.  The caller frees; NULL without memory.  Any thread. */
char *sink_secret_mask_message(const char *connection, const char *message);

/* True of a URI in which libpq may take a part of the password for a host or a database, and name
 * it in messages: the password has an '@', '/' or '?' that is not escaped.  Any thread. */
bool sink_secret_is_ambiguous(const char *connection);

#endif
