/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS over a sink's connection: see syslog_tls.h.  Called by sinks/syslog.c, on the sink's thread.
 *
 * OpenSSL reads and writes memory, and this file carries the bytes from and to the socket: so all
 * waiting is in socket.c, with its time limits, nothing is ever half written, a lost connection
 * raises no SIGPIPE, and what the server said before it closed can still be read after a write has
 * failed.  OpenSSL keeps its errors by thread: each call begins with none, and leaves none.
 */
#include "sinks/syslog_tls.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "sinks/syslog_trust.h"

enum {
	RECEIVE_BYTES = 16 << 10,
	LISTENING_MAX = 64, /* Reads of what a server says, at a time: it may never stop. */
	/* How long a server of TLS 1.3 is given to refuse this host's certificate, which it only
	 * does when the handshake is over here.  Most say at once that all is well. */
	REFUSAL_MS = 500,
};

struct syslog_tls {
	const struct sink_place *place;
	const struct sink_socket *socket;
	struct syslog_trust trust;
	SSL *connection;
	BIO *incoming, *outgoing; /* The connection's own. */
	bool is_over;		  /* By an error, after which nothing may be said. */
};

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* --- What went wrong -------------------------------------------------------------------------- */

/* Takes the thread's errors, of which the first one is the cause. */
static unsigned long int take_error(void)
{
	unsigned long int error = ERR_peek_error();

	ERR_clear_error();
	return error;
}

/* What OpenSSL calls things, in terms of what can be done about them. */
static void say_cause(
	const struct syslog_tls *tls, unsigned long int cause, char *error, size_t size)
{
	const char *peer = tls->socket->name, *reason = ERR_reason_error_string(cause);

	switch (ERR_GET_LIB(cause) == ERR_LIB_SSL ? ERR_GET_REASON(cause) : 0) {
	case SSL_R_WRONG_VERSION_NUMBER:
	case SSL_R_PACKET_LENGTH_TOO_LONG:
	case SSL_R_HTTP_REQUEST:
		snprintf(error, size, "%s answers, but not in TLS; is that the right port?", peer);
		break;
	case SSL_R_UNSUPPORTED_PROTOCOL:
	case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
		snprintf(error, size, "%s speaks no version of TLS from 1.2 on", peer);
		break;
	case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
		snprintf(error, size,
			"%s wants a certificate of this host: set certificate= and key=", peer);
		break;
	case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
	case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
	case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
	case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
	case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
	case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
	case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
		snprintf(error, size, "%s does not accept certificate= of this host: %s", peer,
			reason);
		break;
	default:
		snprintf(error, size, "TLS with %s failed: %s%s", peer,
			reason ? reason : "for an unknown reason",
			ERR_GET_REASON(cause) == SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE
				? " (it may want certificate= and key=)"
				: "");
		break;
	}
}

/* The connection's own complaint about the server's certificate explains more than the error. */
static int fail_tls(struct syslog_tls *tls, char *error, size_t error_size)
{
	unsigned long int cause = take_error();

	tls->is_over = true;
	if (tls->trust.complaint[0])
		snprintf(error, error_size, "%s", tls->trust.complaint);
	else
		say_cause(tls, cause, error, error_size);
	return -EPROTO;
}

static int fail_socket(struct syslog_tls *tls, int failure, char *error, size_t error_size)
{
	tls->is_over = true;
	if (failure == -EPIPE || failure == -ECONNRESET)
		snprintf(error, error_size, "%s closed the connection", tls->socket->name);
	else if (failure == -ETIMEDOUT)
		snprintf(error, error_size, "%s does not answer in TLS; is that the right port?",
			tls->socket->name);
	else
		snprintf(error, error_size, "the connection to %s failed: %s", tls->socket->name,
			strerror(-failure));
	return failure;
}

/* --- Carrying bytes --------------------------------------------------------------------------- */

/* What OpenSSL wants sent. */
static int send_outgoing(struct syslog_tls *tls, char *error, size_t error_size)
{
	char *bytes;
	long int length = BIO_get_mem_data(tls->outgoing, &bytes);
	int failure;

	if (length <= 0)
		return 0;
	failure =
		sink_socket_send(tls->place, tls->socket, bytes, (size_t)length, error, error_size);
	(void)BIO_reset(tls->outgoing);
	return failure;
}

/* Gives OpenSSL what has come: 0, -EAGAIN if nothing has, or another negative errno. */
static int take_incoming(struct syslog_tls *tls)
{
	char bytes[RECEIVE_BYTES];
	ssize_t n = sink_socket_receive(tls->socket, bytes, sizeof(bytes));

	if (n < 0)
		return (int)n;
	return BIO_write(tls->incoming, bytes, (int)n) == n ? 0 : -ENOMEM;
}

int syslog_tls_check(struct syslog_tls *tls, char *error, size_t error_size)
{
	char unexpected[RECEIVE_BYTES];
	int failure, n, turns = 0;

	ERR_clear_error();
	do {
		failure = take_incoming(tls);
		do {
			n = SSL_read(tls->connection, unexpected, sizeof(unexpected));
		} while (n > 0);
		switch (SSL_get_error(tls->connection, n)) {
		case SSL_ERROR_WANT_READ:
		case SSL_ERROR_WANT_WRITE: break;
		case SSL_ERROR_ZERO_RETURN: return fail_socket(tls, -EPIPE, error, error_size);
		default: return fail_tls(tls, error, error_size);
		}
	} while (failure == 0 && ++turns < LISTENING_MAX);
	ERR_clear_error();
	return failure == 0 || failure == -EAGAIN ? 0
						  : fail_socket(tls, failure, error, error_size);
}

/* What was said before the connection was lost explains more than that it was. */
static int explain(struct syslog_tls *tls, int failure, char *error, size_t error_size)
{
	int said;

	if (failure != -EPIPE && failure != -ECONNRESET)
		return failure;
	said = syslog_tls_check(tls, error, error_size);
	return said ? said : failure;
}

int syslog_tls_send(
	struct syslog_tls *tls, const void *data, size_t length, char *error, size_t error_size)
{
	size_t written;
	int failure;

	ERR_clear_error();
	if (length == 0)
		return 0;
	if (SSL_write_ex(tls->connection, data, length, &written) != 1)
		return fail_tls(tls, error, error_size);
	failure = send_outgoing(tls, error, error_size);
	if (failure)
		tls->is_over = true;
	return failure ? explain(tls, failure, error, error_size) : 0;
}

/* --- Opening and closing ---------------------------------------------------------------------- */

static bool make_connection(struct syslog_tls *tls)
{
	tls->connection = SSL_new(tls->trust.context);
	tls->incoming = BIO_new(BIO_s_mem());
	tls->outgoing = BIO_new(BIO_s_mem());
	if (!tls->connection || !tls->incoming || !tls->outgoing) {
		BIO_free(tls->incoming);
		BIO_free(tls->outgoing);
		return false;
	}
	SSL_set_bio(tls->connection, tls->incoming, tls->outgoing);
	SSL_set_connect_state(tls->connection);
	return syslog_trust_apply(&tls->trust, tls->connection);
}

/* Waits for the server's next words. */
static int await_incoming(
	struct syslog_tls *tls, int64_t deadline_ms, char *error, size_t error_size)
{
	int64_t left_ms = deadline_ms - now_ms();
	int failure =
		sink_socket_await(tls->place, tls->socket, left_ms > 0 ? (unsigned int)left_ms : 0);

	if (!failure)
		failure = take_incoming(tls);
	return failure && failure != -EAGAIN ? fail_socket(tls, failure, error, error_size) : 0;
}

static int shake_hands(struct syslog_tls *tls, char *error, size_t error_size)
{
	int64_t deadline_ms = now_ms() + tls->place->time_limit_ms;

	for (;;) {
		int result, failure;

		ERR_clear_error();
		result = SSL_do_handshake(tls->connection);
		if (result != 1 && SSL_get_error(tls->connection, result) != SSL_ERROR_WANT_READ) {
			result = fail_tls(tls, error, error_size);
			/* The server is told why, if it still listens. */
			send_outgoing(tls, (char[SINK_ERROR_MAX]){0}, SINK_ERROR_MAX);
			return result;
		}
		failure = send_outgoing(tls, error, error_size);
		if (failure)
			return explain(tls, failure, error, error_size);
		if (result == 1)
			return 0;
		failure = await_incoming(tls, deadline_ms, error, error_size);
		if (failure)
			return failure;
	}
}

/* That the handshake has succeeded here says nothing of what the server thinks of this host's
 * certificate, or of its having none. */
static int await_acceptance(struct syslog_tls *tls, char *error, size_t error_size)
{
	if (SSL_version(tls->connection) < TLS1_3_VERSION)
		return 0;
	sink_socket_await(tls->place, tls->socket, REFUSAL_MS);
	return syslog_tls_check(tls, error, error_size);
}

int syslog_tls_open(const struct sink_place *place, const struct sink_socket *socket,
	struct syslog_tls **out, char *error, size_t error_size)
{
	struct syslog_tls *tls = calloc(1, sizeof(*tls));
	int failure;

	if (!tls) {
		snprintf(error, error_size, "no memory for TLS with %s", socket->name);
		return -ENOMEM;
	}
	tls->place = place;
	tls->socket = socket;
	failure = syslog_trust_load(&tls->trust, place->settings, socket->name, error, error_size);
	if (failure == 0 && !make_connection(tls))
		failure = fail_tls(tls, error, error_size);
	if (failure == 0)
		failure = shake_hands(tls, error, error_size);
	if (failure == 0)
		failure = await_acceptance(tls, error, error_size);
	if (failure) {
		tls->is_over = true;
		syslog_tls_close(tls);
		return failure;
	}
	*out = tls;
	return 0;
}

/* As far as the socket takes it at once: nobody waits for a good-bye (RFC 5425, 4.4). */
static void say_goodbye(struct syslog_tls *tls)
{
	char *bytes;
	long int length;

	SSL_shutdown(tls->connection);
	length = BIO_get_mem_data(tls->outgoing, &bytes);
	if (length > 0)
		send(tls->socket->fd, bytes, (size_t)length, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void syslog_tls_close(struct syslog_tls *tls)
{
	if (!tls)
		return;
	ERR_clear_error();
	if (!tls->is_over)
		say_goodbye(tls);
	SSL_free(tls->connection);
	syslog_trust_unload(&tls->trust);
	ERR_clear_error();
	free(tls);
}
