/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection to a PostgreSQL server whose calls all end in time: libpq without blocking, polled.
 *
 * A call fails with a negative errno and a sentence in `error`: -EREMOTEIO if the server has
 * refused the command (`sqlstate` says why, and the connection can be used further), and anything
 * else if the connection is of no use any more.  One thread.
 */
#ifndef SINKS_POSTGRESQL_CLIENT_H
#define SINKS_POSTGRESQL_CLIENT_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>

#include "sinks/sink_type.h"

enum { SQLSTATE_MAX = 6 };

struct postgresql_client {
	const struct sink_place *place;
	PGconn *connection; /* NULL: none. */
	char sqlstate[SQLSTATE_MAX];
	char error[SINK_ERROR_MAX];
};

/* Connects as `conninfo` says: what libpq takes, words or a URI. */
int postgresql_connect(struct postgresql_client *client, const char *conninfo);

/* May be called twice. */
void postgresql_disconnect(struct postgresql_client *client);

/* Runs commands, several in one transaction if they are separated by semicolons, and gives the last
 * one's result, which the caller clears, if `result` is not NULL.  `what` is the verb and object of
 * the sentence of an error: "make the table". */
int postgresql_run(
	struct postgresql_client *client, const char *what, const char *sql, PGresult **result);

/* Runs commands of which one is COPY ... FROM STDIN, with these bytes for it. */
int postgresql_copy(struct postgresql_client *client, const char *what, const char *sql,
	const char *bytes, size_t length);

/* Notices between commands that the server has closed the connection. */
int postgresql_look(struct postgresql_client *client);

/* Writes a sentence of one's own, and returns -error. */
int postgresql_fail(struct postgresql_client *client, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
