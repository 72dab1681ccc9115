/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS over a sink's connection (RFC 5425), 1.2 or later, the server's certificate checked.  No call
 * blocks for longer than the place's time limit.  Used by sinks/syslog.c alone, on the sink's
 * thread.
 */
#ifndef SINKS_SYSLOG_TLS_H
#define SINKS_SYSLOG_TLS_H

#include <stddef.h>

#include "sinks/sink_type.h"
#include "sinks/socket.h"

struct syslog_tls;

/* Both ends agree, and believe each other.  The socket is connected; it and the place outlive the
 * session.  Returns 0 with *out, or a negative errno with a sentence in error[]. */
int syslog_tls_open(const struct sink_place *place, const struct sink_socket *socket,
	struct syslog_tls **out, char *error, size_t error_size);

/* Sends all of it.  After an error the session is only good to be closed. */
int syslog_tls_send(
	struct syslog_tls *tls, const void *data, size_t length, char *error, size_t error_size);

/* Takes what the server has said, which is nothing but why it will hear no more: returns 0, or a
 * negative errno with that in error[]. */
int syslog_tls_check(struct syslog_tls *tls, char *error, size_t error_size);

/* Says good-bye, without waiting for an answer.  The socket is the caller's to close.  Accepts
 * NULL. */
void syslog_tls_close(struct syslog_tls *tls);

#endif
