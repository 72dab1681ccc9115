/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a sink of the traffic log may be told: the options of each type of sink, as the database
 * keeps them (Log_Sink.options), the command line takes them and the switch obeys them.  One table
 * says what there is, so that help, completion, checks and defaults cannot disagree.
 */
#ifndef LOG_SINK_OPTIONS_H
#define LOG_SINK_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How a value is checked. */
enum sink_option_kind {
	SINK_OPTION_TEXT,	 /* Anything that is not empty. */
	SINK_OPTION_NUMBER,	 /* From `least` to `most`. */
	SINK_OPTION_PATH,	 /* An absolute path. */
	SINK_OPTION_NAME,	 /* Small letters, digits and underscores, 40 at most. */
	SINK_OPTION_ENDPOINT,	 /* HOST, HOST:PORT or [ADDRESS]:PORT. */
	SINK_OPTION_CHOICE,	 /* One of `choices`, separated by spaces. */
	SINK_OPTION_BOOLEAN,	 /* true or false. */
	SINK_OPTION_FILTER,	 /* Conditions on records: log/match.h. */
	SINK_OPTION_FINGERPRINT, /* SHA-256 of a certificate: 64 hexadecimal digits. */
};

struct sink_option {
	const char *name;
	enum sink_option_kind kind;
	bool required;
	uint64_t least, most;
	const char *choices;
	const char *otherwise; /* The default, as text; NULL: none. */
	const char *only_with; /* "NAME=VALUE": it means nothing otherwise; NULL: it always does. */
	const char *needs;     /* Another option that must be set as well; NULL: none. */
	bool has_secrets;      /* Passwords may be in it: see sink_secret.h. */
	const char *meaning;   /* Half a sentence for a person, with the unit. */
};

/* A type of sink. */
struct sink_kind {
	const char *name;    /* As in Log_Sink.type. */
	const char *meaning; /* Half a sentence. */
	const struct sink_option *options;
	size_t n_options;
};

/* Where each stands among them, in the order of docs/log.md. */
enum {
	SINK_KIND_SQLITE,
	SINK_KIND_JSON,
	SINK_KIND_IPFIX,
	SINK_KIND_SYSLOG,
	SINK_KIND_POSTGRESQL,
};

extern const struct sink_kind sink_kinds[];
extern const size_t n_sink_kinds;

/* What all sinks may be told: filter, backlog. */
extern const struct sink_option sink_common_options[];
extern const size_t n_sink_common_options;

/* NULL if there is none of that name. */
const struct sink_kind *sink_kind_find(const char *name);
const struct sink_option *sink_option_find(const struct sink_kind *kind, const char *name);

/* One option as it was set. */
struct sink_setting {
	const char *name, *value;
};

/* The options of one sink: the caller's array. */
struct sink_settings {
	const struct sink_kind *kind;
	size_t n;
	const struct sink_setting *at;
};

/* True if every option is one of the kind's, every value good, and none that is required missing;
 * else false with a sentence that names the option and the value in error[]. */
bool sink_settings_check(const struct sink_settings *settings, char *error, size_t error_size);

/* The value as set, or the default; NULL if neither.  The option must exist. */
const char *sink_setting_text(const struct sink_settings *settings, const char *name);
uint64_t sink_setting_number(const struct sink_settings *settings, const char *name);
bool sink_setting_boolean(const struct sink_settings *settings, const char *name);

/* Splits a checked SINK_OPTION_ENDPOINT; *port is "" where it names none.  Both buffers hold what
 * fits a DNS name and a port number. */
enum { SINK_HOST_MAX = 256, SINK_PORT_MAX = 6 };
void sink_endpoint_split(const char *endpoint, char host[SINK_HOST_MAX], char port[SINK_PORT_MAX]);

/* Reads a fingerprint: hexadecimal digits in either case, with or without colons between the bytes
 * and "sha-256:" before them.  False if it is none; `bytes` is then undefined. */
enum { SINK_FINGERPRINT_BYTES = 32 };
bool sink_fingerprint_parse(const char *text, uint8_t bytes[SINK_FINGERPRINT_BYTES]);

#endif
