/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Masks passwords in descriptions of PostgreSQL connections.  Called by commands that show options,
 * and by the sink's thread for messages of libpq's.
 *
 * The table has what may be shown, not what is secret: so the value of a keyword that is misspelt,
 * or that only a later libpq knows, is masked.
 */
#include "log/sink_secret.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* libpq's keywords whose values are no secrets. */
static const char *const harmless[] = {"host", "hostaddr", "port", "dbname", "user", "passfile",
	"require_auth", "channel_binding", "connect_timeout", "client_encoding", "options",
	"application_name", "fallback_application_name", "keepalives", "keepalives_idle",
	"keepalives_interval", "keepalives_count", "tcp_user_timeout", "replication", "gssencmode",
	"sslmode", "ssl", "requiressl", "sslnegotiation", "sslcompression", "sslcert", "sslkey",
	"sslcertmode", "sslrootcert", "sslcrl", "sslcrldir", "sslsni", "requirepeer",
	"ssl_min_protocol_version", "ssl_max_protocol_version", "min_protocol_version",
	"max_protocol_version", "krbsrvname", "gsslib", "gssdelegation", "service", "servicefile",
	"target_session_attrs", "load_balance_hosts"};

static bool is_harmless(const char *keyword, size_t length)
{
	for (size_t i = 0; i < sizeof(harmless) / sizeof(harmless[0]); i++)
		if (strlen(harmless[i]) == length && memcmp(harmless[i], keyword, length) == 0)
			return true;
	return false;
}

/* --- keyword=value keyword='value' ------------------------------------------------------------ */

/* The length of a value, with its quotation marks; *whole: it does not end before it should. */
static size_t value_length(const char *value, bool *whole)
{
	bool quoted = *value == '\'';
	const char *at = value + quoted;

	while (*at != '\0' && (quoted ? *at != '\'' : !strchr(" \t\n\r\f\v", *at)))
		at += *at == '\\' && at[1] != '\0' ? 2 : 1;
	*whole = !quoted || *at == '\'';
	return (size_t)(at - value) + (quoted && *whole);
}

static void mask_keywords(const char *text, FILE *out)
{
	static const char space[] = " \t\n\r\f\v";
	bool whole = true;

	while (whole) {
		size_t gap = strspn(text, space), keyword, sign, value;

		fwrite(text, 1, gap, out);
		text += gap;
		if (*text == '\0')
			return;
		keyword = strcspn(text, " \t\n\r\f\v=");
		sign = keyword + strspn(text + keyword, space);
		if (text[sign] != '=') /* Perhaps the second word of a password. */
			break;
		sign += 1 + strspn(text + sign + 1, space);
		value = value_length(text + sign, &whole);
		fwrite(text, 1, sign, out);
		if (!whole || !is_harmless(text, keyword))
			fputs(SINK_SECRET_MASK, out);
		else
			fwrite(text + sign, 1, value, out);
		text += sign + value;
	}
	if (whole)
		fputs(SINK_SECRET_MASK, out);
}

/* --- postgresql://user:password@host/dbname?keyword=value&... --------------------------------- */

static size_t scheme_length(const char *text)
{
	static const char *const schemes[] = {"postgresql://", "postgres://"};

	for (size_t i = 0; i < 2; i++)
		if (strncmp(text, schemes[i], strlen(schemes[i])) == 0)
			return strlen(schemes[i]);
	return 0;
}

/* Shows a URI from behind its name and password on. */
static void mask_parameters(const char *text, FILE *out)
{
	size_t before = strcspn(text, "?");

	fwrite(text, 1, before, out);
	text += before;
	while (*text != '\0') { /* At a '?' or '&'. */
		size_t length = 1 + strcspn(text + 1, "?&"), keyword = strcspn(text + 1, "=?&");

		if (keyword + 1 < length && is_harmless(text + 1, keyword)) {
			fwrite(text, 1, length, out);
		} else {
			fwrite(text, 1, keyword + 1 < length ? keyword + 2 : 1, out);
			fputs(SINK_SECRET_MASK, out);
		}
		text += length;
	}
}

/* Finds what may be a password: from behind the first colon to the last '@'. */
static bool find_password(const char *text, const char **begin, const char **end)
{
	const char *start = text + scheme_length(text);

	*begin = strchr(start, ':');
	*end = strrchr(start, '@');
	if (!*begin || !*end || *begin > *end)
		return false;
	++*begin;
	return true;
}

bool sink_secret_is_ambiguous(const char *connection)
{
	const char *begin, *end;

	return scheme_length(connection) != 0 && find_password(connection, &begin, &end) &&
	       begin + strcspn(begin, "@/?") < end;
}

static void mask_uri(const char *text, FILE *out)
{
	const char *begin, *end;

	if (find_password(text, &begin, &end)) {
		fwrite(text, 1, (size_t)(begin - text), out);
		fputs(SINK_SECRET_MASK, out);
		if (sink_secret_is_ambiguous(text))
			return;
		text = end;
	}
	mask_parameters(text, out);
}

/* --- Both ---------------------------------------------------------------------------------------
 */

char *sink_secret_mask(const char *connection)
{
	char *masked = NULL;
	size_t size;
	FILE *out = open_memstream(&masked, &size);

	if (!out)
		return NULL;
	if (scheme_length(connection) != 0)
		mask_uri(connection, out);
	else
		mask_keywords(connection, out);
	if (fclose(out) != 0) {
		free(masked);
		return NULL;
	}
	return masked;
}

static bool is_shown(const char *masked, const char *piece, size_t length)
{
	char *text = strndup(piece, length);
	bool shown = text && (strcmp(text, "=") == 0 || strstr(masked, text));

	free(text);
	return shown;
}

/* The length of what may be shown of the message: all, or up to within a quotation mark. */
static size_t shown_length(const char *connection, const char *masked, const char *message)
{
	const char *at = message + strcspn(message, "\"");

	while (*at != '\0') {
		size_t length = strcspn(at + 1, "\"");

		/* Where one ends is not to be told if they may have the mark themselves. */
		if (strchr(connection, '"') || !is_shown(masked, at + 1, length))
			return (size_t)(at + 1 - message);
		at += 1 + length;
		at += *at == '"';
		at += strcspn(at, "\"");
	}
	return strlen(message);
}

char *sink_secret_mask_message(const char *connection, const char *message)
{
	char *masked = sink_secret_mask(connection), *text = NULL;
	size_t shown = masked ? shown_length(connection, masked, message) : 0;
	bool all = message[shown] == '\0';

	if (masked && asprintf(&text, "%.*s%s", (int)shown, message,
			      all ? "" : SINK_SECRET_MASK "\"") < 0)
		text = NULL;
	free(masked);
	return text;
}
