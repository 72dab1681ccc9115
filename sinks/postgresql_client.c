/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Talking to a PostgreSQL server.  Called by the other files of this sink, on its thread.
 *
 * The limit of a call counts anew whenever the server takes or sends something: a batch may take
 * long to go over a slow line, but nothing waits longer than that for a server that is silent.
 */
#include "sinks/postgresql_client.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "log/sink_secret.h"
#include "sinks/socket.h"

enum {
	PIECE_BYTES = 256 << 10, /* Handed to libpq at once. */
	SLICE_MS = 100,		 /* How soon an end is noticed. */
};

/* --- Sentences ------------------------------------------------------------------------------ */

/* Several lines become one. */
static void flatten(char *text)
{
	char *to = text;

	for (const char *from = text; *from; from++) {
		char c = *from == '\n' || *from == '\t' ? ' ' : *from;

		if (c != ' ' || (to != text && to[-1] != ' '))
			*to++ = c;
	}
	while (to != text && to[-1] == ' ')
		to--;
	*to = '\0';
}

int postgresql_fail(struct postgresql_client *client, int error, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(client->error, sizeof(client->error), format, arguments);
	va_end(arguments);
	flatten(client->error);
	return -error;
}

/* What libpq says about the connection: the first line, the others are guesses. */
static int first_line(const struct postgresql_client *client, const char **message)
{
	*message = PQerrorMessage(client->connection);
	return (int)strcspn(*message, "\n");
}

static int fail_lost(struct postgresql_client *client)
{
	const char *message;
	int length = first_line(client, &message);

	return postgresql_fail(
		client, ECONNRESET, "the connection to PostgreSQL was lost: %.*s", length, message);
}

static int fail_connecting(struct postgresql_client *client)
{
	const char *message;
	int length = first_line(client, &message);

	return postgresql_fail(client, ENOTCONN,
		"cannot connect to PostgreSQL: %.*s; see the option connection", length, message);
}

static int fail_refused(struct postgresql_client *client, const char *what, const PGresult *result)
{
	const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	const char *detail = PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL);

	snprintf(client->sqlstate, sizeof(client->sqlstate), "%s", state ? state : "");
	return postgresql_fail(client, EREMOTEIO, "PostgreSQL did not %s: %s%s%s%s", what,
		message ? message : PQresultErrorMessage(result), detail ? " (" : "",
		detail ? detail : "", detail ? ")" : "");
}

/* --- Waiting -------------------------------------------------------------------------------- */

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

static int64_t deadline_of(const struct postgresql_client *client)
{
	return now_ms() + client->place->time_limit_ms;
}

/* Waits until the socket is ready for `events`.  Returns those that it is ready for. */
static int wait_for(struct postgresql_client *client, short events, int64_t deadline)
{
	struct pollfd socket = {.fd = PQsocket(client->connection), .events = events};

	for (int64_t left; (left = deadline - now_ms()) > 0;) {
		int n = poll(&socket, 1, (int)(left < SLICE_MS ? left : SLICE_MS));

		if (n > 0)
			return socket.revents;
		if (n < 0 && errno != EINTR)
			return postgresql_fail(
				client, errno, "cannot wait for PostgreSQL: %s", strerror(errno));
		if (sink_place_is_ending(client->place))
			return postgresql_fail(client, ECANCELED, "the switch is ending");
	}
	return postgresql_fail(client, ETIMEDOUT, "PostgreSQL did not answer within %u seconds",
		client->place->time_limit_ms / 1000);
}

/* --- Connecting ----------------------------------------------------------------------------- */

static void ignore_notice(void *unused, const PGresult *notice)
{
	(void)unused;
	(void)notice;
}

static int finish_connecting(struct postgresql_client *client)
{
	int64_t deadline = deadline_of(client);
	PostgresPollingStatusType status = PGRES_POLLING_WRITING;

	while (status == PGRES_POLLING_READING || status == PGRES_POLLING_WRITING) {
		int ready = wait_for(
			client, status == PGRES_POLLING_READING ? POLLIN : POLLOUT, deadline);

		if (ready < 0)
			return ready;
		status = PQconnectPoll(client->connection);
	}
	if (status != PGRES_POLLING_OK)
		return fail_connecting(client);
	return 0;
}

/* Looks up the first `length` bytes of `host`, unless they are the path of a UNIX socket. */
static int look_up_one(struct postgresql_client *client, const char *host, size_t length)
{
	char name[SINK_HOST_MAX];

	if (length == 0 || *host == '/' || *host == '@')
		return 0;
	snprintf(name, sizeof(name), "%.*s", (int)length, host);
	return sink_socket_look_up(client->place, name, client->error, sizeof(client->error));
}

/* libpq waits for name servers for as long as it takes: so they are asked first, within limits. */
static int look_up(struct postgresql_client *client, const PQconninfoOption *options)
{
	const char *hosts = NULL, *addresses = NULL;
	int rc = 0;

	for (; options->keyword; options++) {
		if (strcmp(options->keyword, "host") == 0)
			hosts = options->val;
		if (strcmp(options->keyword, "hostaddr") == 0)
			addresses = options->val;
	}
	if (!hosts || (addresses && *addresses))
		return 0;
	/* One that can be reached is enough. */
	do {
		size_t length = strcspn(hosts, ",");

		rc = look_up_one(client, hosts, length);
		hosts += length;
	} while (rc != 0 && rc != -ETIMEDOUT && *hosts++ == ',');
	return rc;
}

static int check_connection(struct postgresql_client *client, const char *conninfo)
{
	char *message = NULL, *shown = NULL;
	PQconninfoOption *options;
	int rc;

	if (sink_secret_is_ambiguous(conninfo))
		return postgresql_fail(client, EINVAL,
			"the option connection is wrong: write %%40 for each @ that is part of a "
			"name, password or parameter, %%2F for / and %%3F for ? in a password");
	options = PQconninfoParse(conninfo, &message);
	if (message)
		shown = sink_secret_mask_message(conninfo, message);
	if (options)
		rc = look_up(client, options);
	else
		rc = postgresql_fail(client, EINVAL, "the option connection is wrong: %s",
			shown ? shown : "there is no memory");
	PQconninfoFree(options);
	PQfreemem(message);
	free(shown);
	return rc;
}

int postgresql_connect(struct postgresql_client *client, const char *conninfo)
{
	static const char *const names[] = {
		"dbname", "fallback_application_name", "client_encoding", NULL};
	const char *const values[] = {conninfo, "cordon-switchd", "UTF8", NULL};
	int rc = check_connection(client, conninfo);

	if (rc != 0)
		return rc;
	client->connection = PQconnectStartParams(names, values, 1);
	if (!client->connection)
		return postgresql_fail(client, ENOMEM, "there is no memory for a connection");
	if (PQstatus(client->connection) == CONNECTION_BAD)
		rc = fail_connecting(client);
	else
		rc = finish_connecting(client);
	if (rc == 0 && PQsetnonblocking(client->connection, 1) != 0)
		rc = fail_lost(client);
	if (rc == 0)
		PQsetNoticeReceiver(client->connection, ignore_notice, NULL);
	if (rc != 0)
		postgresql_disconnect(client);
	return rc;
}

void postgresql_disconnect(struct postgresql_client *client)
{
	PQfinish(client->connection);
	client->connection = NULL;
}

/* --- Commands ------------------------------------------------------------------------------- */

/* Sends what libpq holds back, taking in what comes meanwhile. */
static int send_all(struct postgresql_client *client)
{
	int left;

	while ((left = PQflush(client->connection)) > 0) {
		int ready = wait_for(client, POLLIN | POLLOUT, deadline_of(client));

		if (ready < 0)
			return ready;
		if ((ready & POLLIN) && !PQconsumeInput(client->connection))
			return fail_lost(client);
	}
	return left == 0 ? 0 : fail_lost(client);
}

/* The next result, NULL after the last one. */
static int receive(struct postgresql_client *client, PGresult **result)
{
	while (PQisBusy(client->connection)) {
		int ready = wait_for(client, POLLIN, deadline_of(client));

		if (ready < 0)
			return ready;
		if (!PQconsumeInput(client->connection))
			return fail_lost(client);
	}
	*result = PQgetResult(client->connection);
	return 0;
}

/* True for what ends the wait for a result of COPY. */
static bool is_copy(ExecStatusType status)
{
	return status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH;
}

/* Takes all results, up to the end or to a COPY that wants bytes, which is *result then. */
static int receive_all(struct postgresql_client *client, const char *what, PGresult **result)
{
	PGresult *next = NULL;
	int rc = 0, received;

	*result = NULL;
	while ((received = receive(client, &next)) == 0 && next) {
		ExecStatusType status = PQresultStatus(next);

		PQclear(*result);
		*result = next;
		if (is_copy(status))
			return rc;
		if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && rc == 0)
			rc = fail_refused(client, what, next);
	}
	if (received != 0)
		return received;
	if (PQstatus(client->connection) == CONNECTION_BAD)
		return rc == 0 ? fail_lost(client) : -ECONNRESET;
	return rc;
}

static int send_commands(struct postgresql_client *client, const char *sql)
{
	client->sqlstate[0] = '\0';
	if (!PQsendQuery(client->connection, sql))
		return fail_lost(client);
	return send_all(client);
}

int postgresql_run(
	struct postgresql_client *client, const char *what, const char *sql, PGresult **result)
{
	PGresult *last = NULL;
	int rc = send_commands(client, sql);

	if (rc == 0)
		rc = receive_all(client, what, &last);
	if (rc == 0 && result)
		*result = last;
	else
		PQclear(last);
	return rc;
}

static int send_bytes(struct postgresql_client *client, const char *bytes, size_t length)
{
	int rc = 0;

	while (rc == 0 && length > 0) {
		size_t n = length < PIECE_BYTES ? length : PIECE_BYTES;
		int taken = PQputCopyData(client->connection, bytes, (int)n);

		if (taken < 0)
			return fail_lost(client);
		if (taken > 0) {
			bytes += n;
			length -= n;
		}
		rc = send_all(client);
	}
	if (rc == 0 && PQputCopyEnd(client->connection, NULL) != 1)
		return fail_lost(client);
	return rc == 0 ? send_all(client) : rc;
}

int postgresql_copy(struct postgresql_client *client, const char *what, const char *sql,
	const char *bytes, size_t length)
{
	PGresult *result = NULL;
	int rc = send_commands(client, sql);

	if (rc == 0)
		rc = receive_all(client, what, &result);
	if (rc == 0 && (!result || PQresultStatus(result) != PGRES_COPY_IN))
		rc = postgresql_fail(
			client, EPROTO, "PostgreSQL did not %s: it wants no data", what);
	PQclear(result);
	result = NULL;
	if (rc == 0)
		rc = send_bytes(client, bytes, length);
	if (rc == 0)
		rc = receive_all(client, what, &result);
	PQclear(result);
	return rc;
}

int postgresql_look(struct postgresql_client *client)
{
	if (!PQconsumeInput(client->connection) || PQstatus(client->connection) == CONNECTION_BAD)
		return fail_lost(client);
	return 0;
}
