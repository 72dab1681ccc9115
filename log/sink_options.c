/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The options of sinks: the tables, and how values are checked and read.  Called by the command
 * line and by the switch's main thread and sinks.
 */
#include "log/sink_options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "log/match.h"

#define ARRAY(array) (array), sizeof(array) / sizeof((array)[0])

enum { PORT_LENGTH_MAX = 5, NAME_LENGTH_MAX = 40 };

/* --- The tables ----------------------------------------------------------------------------- */

const struct sink_option sink_common_options[] = {
	{.name = "filter",
		.kind = SINK_OPTION_FILTER,
		.meaning = "only records that match: kind=denied,spoofed zone=db ..."},
	{.name = "backlog-bytes",
		.kind = SINK_OPTION_NUMBER,
		.least = 1 << 20,
		.most = UINT64_C(1) << 40,
		.otherwise = "67108864",
		.meaning = "memory for records that wait for it, in bytes"},
};
const size_t n_sink_common_options = sizeof(sink_common_options) / sizeof(sink_common_options[0]);

static const struct sink_option sqlite_options[] = {
	{.name = "directory",
		.kind = SINK_OPTION_PATH,
		.meaning = "where the files are made; the state directory's log/ if not said"},
	{.name = "bucket-seconds",
		.kind = SINK_OPTION_NUMBER,
		.least = 60,
		.most = 86400 * 7,
		.otherwise = "3600",
		.meaning = "the span of time of one file"},
	{.name = "retention-days",
		.kind = SINK_OPTION_NUMBER,
		.least = 1,
		.most = 36500,
		.otherwise = "30",
		.meaning = "files that ended longer ago are deleted"},
	{.name = "retention-bytes",
		.kind = SINK_OPTION_NUMBER,
		.least = 16 << 20,
		.most = UINT64_C(1) << 60,
		.otherwise = "10737418240",
		.meaning = "all files together; the oldest are deleted"},
};

static const struct sink_option json_options[] = {
	{.name = "path",
		.kind = SINK_OPTION_PATH,
		.required = true,
		.meaning = "the file, which this sink alone writes"},
	{.name = "rotate-bytes",
		.kind = SINK_OPTION_NUMBER,
		.least = 64 << 10,
		.most = UINT64_C(1) << 50,
		.otherwise = "104857600",
		.meaning = "a file of that size is renamed FILE.1, and a new one begun"},
	{.name = "rotate-seconds",
		.kind = SINK_OPTION_NUMBER,
		.least = 60,
		.most = 86400 * 366,
		.meaning = "so is one of an earlier span of that many seconds"},
	{.name = "rotate-keep",
		.kind = SINK_OPTION_NUMBER,
		.least = 0,
		.most = 10000,
		.otherwise = "10",
		.meaning = "how many files stay beside the one under way"},
};

static const struct sink_option postgresql_options[] = {
	{.name = "connection",
		.kind = SINK_OPTION_TEXT,
		.required = true,
		.has_secrets = true,
		.meaning = "as libpq takes it: host=... dbname=... user=... passfile=..."},
	{.name = "schema",
		.kind = SINK_OPTION_NAME,
		.otherwise = "cordon",
		.meaning = "where the table is, made if it is missing"},
	{.name = "table",
		.kind = SINK_OPTION_NAME,
		.otherwise = "traffic",
		.meaning = "the table, which several hosts may share"},
	{.name = "partition-seconds",
		.kind = SINK_OPTION_NUMBER,
		.least = 60,
		.most = 86400 * 366,
		.otherwise = "86400",
		.meaning = "the span of time of one partition"},
	{.name = "retention-days",
		.kind = SINK_OPTION_NUMBER,
		.least = 1,
		.most = 36500,
		.otherwise = "365",
		.meaning = "partitions that ended longer ago are dropped"},
};

static const struct sink_option ipfix_options[] = {
	{.name = "collector",
		.kind = SINK_OPTION_ENDPOINT,
		.required = true,
		.meaning = "where the records go; port 4739 if not said"},
	{.name = "transport",
		.kind = SINK_OPTION_CHOICE,
		.choices = "udp tcp",
		.otherwise = "udp",
		.meaning = "tcp, or udp, where records may be lost on the way and the sink not "
			   "notice"},
	{.name = "template-seconds",
		.kind = SINK_OPTION_NUMBER,
		.least = 1,
		.most = 86400,
		.otherwise = "60",
		.meaning = "over UDP: how often the templates are sent again"},
	{.name = "mtu",
		.kind = SINK_OPTION_NUMBER,
		.least = 576,
		.most = UINT16_MAX,
		.otherwise = "1400",
		.meaning = "over UDP: the largest packet, with its IP header, in bytes"},
	{.name = "observation-domain",
		.kind = SINK_OPTION_NUMBER,
		.most = UINT32_MAX,
		.otherwise = "1",
		.meaning = "the number that the collector knows this host by, beside its address"},
	{.name = "enterprise-number",
		.kind = SINK_OPTION_NUMBER,
		.least = 1,
		.most = UINT32_MAX,
		.otherwise = "32473",
		.meaning = "the IANA enterprise that Cordon's own elements are exported under"},
};

static const struct sink_option syslog_options[] = {
	{.name = "server",
		.kind = SINK_OPTION_ENDPOINT,
		.required = true,
		.meaning = "where the messages go; port 514 (udp), 601 (tcp) or 6514 (tls)"},
	{.name = "transport",
		.kind = SINK_OPTION_CHOICE,
		.choices = "udp tcp tls",
		.otherwise = "udp",
		.meaning = "over UDP messages may be lost on the way, unnoticed by the sink"},
	{.name = "facility",
		.kind = SINK_OPTION_CHOICE,
		.choices = "user daemon auth authpriv local0 local1 local2 local3 local4 local5 "
			   "local6 local7",
		.otherwise = "local4",
		.meaning = "what the server sorts messages by"},
	{.name = "message-bytes",
		.kind = SINK_OPTION_NUMBER,
		.least = 480,
		.most = 65000,
		.meaning = "the longest message; 2048 over UDP and 8192 otherwise, if not said"},
	{.name = "enterprise-number",
		.kind = SINK_OPTION_NUMBER,
		.least = 1,
		.most = UINT32_MAX,
		.otherwise = "32473",
		.meaning = "the IANA enterprise in the name of our structured data"},
	{.name = "ca",
		.kind = SINK_OPTION_PATH,
		.only_with = "transport=tls",
		.meaning = "PEM of those who may sign the server's certificate; the system's store "
			   "if not said"},
	{.name = "server-name",
		.kind = SINK_OPTION_TEXT,
		.only_with = "transport=tls",
		.meaning =
			"the name that the server's certificate must have, if not that of server"},
	{.name = "fingerprint",
		.kind = SINK_OPTION_FINGERPRINT,
		.only_with = "transport=tls",
		.meaning = "SHA-256 of the server's certificate, by which alone it is known then"},
	{.name = "certificate",
		.kind = SINK_OPTION_PATH,
		.only_with = "transport=tls",
		.needs = "key",
		.meaning = "PEM of this host's certificate, for a server that wants one"},
	{.name = "key",
		.kind = SINK_OPTION_PATH,
		.only_with = "transport=tls",
		.needs = "certificate",
		.meaning = "PEM of its private key, readable by nobody else"},
};

const struct sink_kind sink_kinds[] = {
	[SINK_KIND_SQLITE] = {"sqlite", "files that `cordon log` asks", ARRAY(sqlite_options)},
	[SINK_KIND_JSON] = {"json", "a file of JSON lines", ARRAY(json_options)},
	[SINK_KIND_POSTGRESQL] = {"postgresql", "a database of PostgreSQL, for a fleet",
		ARRAY(postgresql_options)},
	[SINK_KIND_IPFIX] = {"ipfix", "a collector of flow records, by RFC 7011",
		ARRAY(ipfix_options)},
	[SINK_KIND_SYSLOG] = {"syslog", "a syslog server, by RFC 5424", ARRAY(syslog_options)},
};
const size_t n_sink_kinds = sizeof(sink_kinds) / sizeof(sink_kinds[0]);

const struct sink_kind *sink_kind_find(const char *name)
{
	for (size_t i = 0; i < n_sink_kinds; i++)
		if (strcmp(sink_kinds[i].name, name) == 0)
			return &sink_kinds[i];
	return NULL;
}

static const struct sink_option *find_in(
	const struct sink_option *options, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(options[i].name, name) == 0)
			return &options[i];
	return NULL;
}

const struct sink_option *sink_option_find(const struct sink_kind *kind, const char *name)
{
	const struct sink_option *option =
		find_in(sink_common_options, n_sink_common_options, name);

	return option ? option : find_in(kind->options, kind->n_options, name);
}

/* --- Values --------------------------------------------------------------------------------- */

static bool read_number(const char *text, uint64_t *number)
{
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*number = strtoull(text, &end, 10);
	return errno == 0 && *end == '\0';
}

static bool is_choice(const char *choices, const char *value)
{
	size_t length = strlen(value);

	for (const char *at = choices; *at; at += strcspn(at, " ")) {
		at += strspn(at, " ");
		if (length != 0 && strcspn(at, " ") == length && strncmp(at, value, length) == 0)
			return true;
	}
	return false;
}

/* As people name things in SQL, where no quotes are needed and a suffix has room. */
static bool is_name(const char *text)
{
	static const char good[] = "abcdefghijklmnopqrstuvwxyz_0123456789";
	size_t length = strlen(text);

	return length != 0 && length <= NAME_LENGTH_MAX && strspn(text, good) == length &&
	       (*text < '0' || *text > '9');
}

static bool is_port(const char *text)
{
	uint64_t number;

	return strlen(text) <= PORT_LENGTH_MAX && read_number(text, &number) && number != 0 &&
	       number <= UINT16_MAX;
}

/* HOST, HOST:PORT, [ADDRESS]:PORT, or a bare IPv6 address. */
static bool split(const char *endpoint, char host[SINK_HOST_MAX], char port[SINK_PORT_MAX])
{
	const char *begin = endpoint, *end, *colon = strrchr(endpoint, ':');

	port[0] = '\0';
	if (*begin == '[') {
		end = strchr(++begin, ']');
		colon = end && end[1] == ':' ? end + 1 : NULL;
		if (!end || (!colon && end[1] != '\0'))
			return false;
	} else if (colon && strchr(endpoint, ':') == colon) {
		end = colon;
	} else {
		end = endpoint + strlen(endpoint);
		colon = NULL;
	}
	if (end == begin || end - begin >= SINK_HOST_MAX || (colon && !is_port(colon + 1)))
		return false;
	memcpy(host, begin, (size_t)(end - begin));
	host[end - begin] = '\0';
	if (colon)
		snprintf(port, SINK_PORT_MAX, "%s", colon + 1);
	return strcspn(host, " \t\n/'\"\\") == strlen(host);
}

static int digit_of(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 'a' ^ 'A';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool sink_fingerprint_parse(const char *text, uint8_t bytes[SINK_FINGERPRINT_BYTES])
{
	static const char prefix[] = "sha-256:";
	size_t n = 0;

	if (strncasecmp(text, prefix, sizeof(prefix) - 1) == 0)
		text += sizeof(prefix) - 1;
	for (; n < SINK_FINGERPRINT_BYTES; n++, text += 2) {
		if (n > 0 && *text == ':')
			text++;
		if (digit_of(text[0]) < 0 || digit_of(text[1]) < 0)
			return false;
		bytes[n] = (uint8_t)(digit_of(text[0]) << 4 | digit_of(text[1]));
	}
	return *text == '\0';
}

void sink_endpoint_split(const char *endpoint, char host[SINK_HOST_MAX], char port[SINK_PORT_MAX])
{
	if (!split(endpoint, host, port))
		host[0] = port[0] = '\0';
}

/* What is wrong with the value, as half a sentence in why[]; or true. */
static bool value_is_good(
	const struct sink_option *option, const char *value, char *why, size_t size)
{
	char host[SINK_HOST_MAX], port[SINK_PORT_MAX];
	uint8_t fingerprint[SINK_FINGERPRINT_BYTES];
	struct log_match *match;
	uint64_t number;

	switch (option->kind) {
	case SINK_OPTION_TEXT: snprintf(why, size, "must not be empty"); return value[0] != '\0';
	case SINK_OPTION_NUMBER:
		snprintf(why, size, "must be a number from %llu to %llu",
			(unsigned long long)option->least, (unsigned long long)option->most);
		return read_number(value, &number) && number >= option->least &&
		       number <= option->most;
	case SINK_OPTION_PATH:
		snprintf(why, size, "must be an absolute path");
		return value[0] == '/';
	case SINK_OPTION_NAME:
		snprintf(why, size, "must be of small letters, digits and underscores, at most %d",
			NAME_LENGTH_MAX);
		return is_name(value);
	case SINK_OPTION_ENDPOINT:
		snprintf(why, size, "must be HOST, HOST:PORT or [ADDRESS]:PORT");
		return split(value, host, port);
	case SINK_OPTION_CHOICE:
		snprintf(why, size, "must be one of: %s", option->choices);
		return is_choice(option->choices, value);
	case SINK_OPTION_BOOLEAN:
		snprintf(why, size, "must be true or false");
		return is_choice("true false", value);
	case SINK_OPTION_FINGERPRINT:
		snprintf(why, size, "must be the SHA-256 of a certificate, 64 hexadecimal digits");
		return sink_fingerprint_parse(value, fingerprint);
	case SINK_OPTION_FILTER:
		match = log_match_parse(value, why, size);
		log_match_free(match);
		return match != NULL;
	}
	return false;
}

static const char *value_of(const struct sink_settings *settings, const char *name)
{
	for (size_t i = 0; i < settings->n; i++)
		if (strcmp(settings->at[i].name, name) == 0)
			return settings->at[i].value;
	return NULL;
}

/* Values stand in the lines of messages and tables. */
static bool has_control_characters(const char *value)
{
	for (; *value; value++)
		if ((unsigned char)*value < ' ' || *value == 0x7f)
			return true;
	return false;
}

static bool setting_is_good(const struct sink_kind *kind, const struct sink_setting *setting,
	char *error, size_t error_size)
{
	const struct sink_option *option = sink_option_find(kind, setting->name);
	char why[200];

	if (!option) {
		snprintf(error, error_size, "a sink of type %s has no option '%s'", kind->name,
			setting->name);
		return false;
	}
	if (has_control_characters(setting->value)) {
		snprintf(error, error_size, "%s=: must be one line, without control characters",
			option->name);
		return false;
	}
	if (!value_is_good(option, setting->value, why, sizeof(why))) {
		snprintf(error, error_size, "%s=%s: %s", setting->name, setting->value, why);
		return false;
	}
	return true;
}

/* True if the option means something, and is complete, beside the others. */
static bool setting_fits(const struct sink_settings *settings, const struct sink_setting *setting,
	char *error, size_t error_size)
{
	const struct sink_option *option = sink_option_find(settings->kind, setting->name);
	char name[NAME_LENGTH_MAX + 1];
	const char *sign;

	if (option->needs && !value_of(settings, option->needs)) {
		snprintf(error, error_size, "%s= needs %s= as well", option->name, option->needs);
		return false;
	}
	if (!option->only_with)
		return true;
	sign = strchr(option->only_with, '=');
	snprintf(name, sizeof(name), "%.*s", (int)(sign - option->only_with), option->only_with);
	if (strcmp(sink_setting_text(settings, name), sign + 1) == 0)
		return true;
	snprintf(
		error, error_size, "%s= means nothing without %s", option->name, option->only_with);
	return false;
}

bool sink_settings_check(const struct sink_settings *settings, char *error, size_t error_size)
{
	const struct sink_kind *kind = settings->kind;

	for (size_t i = 0; i < settings->n; i++)
		if (!setting_is_good(kind, &settings->at[i], error, error_size))
			return false;
	for (size_t i = 0; i < kind->n_options; i++) {
		const struct sink_option *option = &kind->options[i];

		if (option->required && !value_of(settings, option->name)) {
			snprintf(error, error_size, "a sink of type %s needs %s=...: %s",
				kind->name, option->name, option->meaning);
			return false;
		}
	}
	for (size_t i = 0; i < settings->n; i++)
		if (!setting_fits(settings, &settings->at[i], error, error_size))
			return false;
	return true;
}

const char *sink_setting_text(const struct sink_settings *settings, const char *name)
{
	const char *value = value_of(settings, name);

	return value ? value : sink_option_find(settings->kind, name)->otherwise;
}

uint64_t sink_setting_number(const struct sink_settings *settings, const char *name)
{
	const char *text = sink_setting_text(settings, name);
	uint64_t number;

	return text && read_number(text, &number) ? number : 0;
}

bool sink_setting_boolean(const struct sink_settings *settings, const char *name)
{
	const char *text = sink_setting_text(settings, name);

	return text && strcmp(text, "true") == 0;
}
