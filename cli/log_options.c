/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The options of `cordon log` as a filter of the log store.  Called by log.c.
 */
#include "cli/log.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "util.h"
#include "zones/zone.h"

#define SECOND_NS 1000000000ull

/* --- Times ---------------------------------------------------------------------------------- */

/* "10m": that long ago. */
static bool parse_ago(const char *text, uint64_t now_ns, uint64_t *time_ns)
{
	static const struct {
		char unit;
		uint64_t seconds;
	} units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}, {'w', 604800}};
	char *end;
	unsigned long long int n;

	if (*text < '0' || *text > '9')
		return false;
	n = strtoull(text, &end, 10);
	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		if (end[0] != units[i].unit || end[1])
			continue;
		if (n > now_ns / SECOND_NS / units[i].seconds)
			return false;
		*time_ns = now_ns - n * units[i].seconds * SECOND_NS;
		return true;
	}
	return false;
}

/* The digits behind a decimal point as nanoseconds; moves *text past them. */
static uint64_t parse_fraction(const char **text)
{
	uint64_t unit = SECOND_NS / 10, ns = 0;

	for (; **text >= '0' && **text <= '9'; ++*text, unit /= 10)
		ns += (uint64_t)(**text - '0') * unit;
	return ns;
}

/* "Z" or "+02:00" into seconds east of Greenwich. */
static bool parse_zone(const char *text, long int *offset)
{
	int hours, minutes, length = 0;

	*offset = 0;
	if (!strcmp(text, "Z") || !strcmp(text, "z"))
		return true;
	if ((text[0] != '+' && text[0] != '-') ||
		sscanf(text + 1, "%2d:%2d%n", &hours, &minutes, &length) != 2 || length != 5 ||
		text[6] || hours > 23 || minutes > 59)
		return false;
	*offset = (hours * 3600L + minutes * 60L) * (text[0] == '-' ? -1 : 1);
	return true;
}

/* A calendar date, perhaps with a time of day, perhaps with a zone. */
static bool parse_calendar(const char *text, uint64_t *time_ns)
{
	struct tm broken_down = {.tm_isdst = -1};
	const char *rest = strptime(text, "%Y-%m-%d", &broken_down);
	uint64_t fraction = 0;
	const char *more;
	long int offset;
	time_t seconds;

	if (!rest)
		return false;
	if (*rest == ' ' || *rest == 'T' || *rest == 't') {
		rest = strptime(rest + 1, "%H:%M", &broken_down);
		if (!rest)
			return false;
		more = strptime(rest, ":%S", &broken_down);
		rest = more ? more : rest;
		if (more && *rest == '.') {
			rest++;
			fraction = parse_fraction(&rest);
		}
	}
	if (!*rest) {
		seconds = mktime(&broken_down);
	} else {
		if (!parse_zone(rest, &offset))
			return false;
		seconds = timegm(&broken_down) - offset;
	}
	if (seconds < 0)
		return false;
	*time_ns = (uint64_t)seconds * SECOND_NS + fraction;
	return true;
}

bool cli_log_parse_time(const char *text, uint64_t now_ns, uint64_t *time_ns)
{
	return parse_ago(text, now_ns, time_ns) || parse_calendar(text, time_ns);
}

static bool read_time(struct cli *cli, const char *name, uint64_t *time_ns)
{
	const char *text = cli_option(cli, name);
	struct timespec now;

	if (!text)
		return true;
	clock_gettime(CLOCK_REALTIME, &now);
	if (cli_log_parse_time(
		    text, (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec, time_ns))
		return true;
	cli_fail(cli, CLI_USAGE,
		"--%s '%s': give how long ago (10m, 2h, 1d), a date and time "
		"(\"2026-01-31 14:00\") or RFC 3339 (2026-01-31T14:00:00Z)",
		name, text);
	return false;
}

static bool read_span(struct cli *cli, struct log_filter *filter)
{
	if (!read_time(cli, "since", &filter->since_ns) ||
		!read_time(cli, "until", &filter->until_ns))
		return false;
	if (filter->until_ns && filter->until_ns < filter->since_ns) {
		cli_fail(cli, CLI_USAGE, "--since '%s' is later than --until '%s'",
			cli_option(cli, "since"), cli_option(cli, "until"));
		return false;
	}
	return true;
}

/* --- Names and numbers ---------------------------------------------------------------------- */

static bool read_prefix(struct cli *cli, struct cli_log_query *query)
{
	const char *text = cli_option(cli, "address");

	if (!text)
		return true;
	if (!ip_prefix_parse(text, &query->prefix)) {
		cli_fail(cli, CLI_USAGE,
			"--address '%s': give an address (10.0.1.5, 2001:db8::5) or a prefix "
			"without "
			"bits set behind its length (10.0.1.0/24)",
			text);
		return false;
	}
	query->filter.prefix = &query->prefix;
	return true;
}

static bool read_protocol(struct cli *cli, struct log_filter *filter)
{
	const char *text = cli_option(cli, "protocol");

	if (!text)
		return true;
	filter->protocol = log_protocol_parse(text);
	if (filter->protocol < 0)
		cli_fail(cli, CLI_USAGE,
			"--protocol '%s': use tcp, udp, icmp, icmpv6, sctp or a number up to 255",
			text);
	return filter->protocol >= 0;
}

static int verdict_number(const char *word)
{
	return word ? log_verdict_parse(word) : -1;
}

enum cli_status cli_log_read_options(struct cli *cli, struct cli_log_query *query)
{
	struct log_filter *filter = &query->filter;
	const char *kind = cli_option(cli, "kind");
	int64_t transport_port = -1;

	*query = (struct cli_log_query){.filter = LOG_FILTER_ANY};
	filter->zone = cli_option(cli, "zone");
	filter->vm = cli_option(cli, "vm");
	filter->port = cli_option(cli, "port");
	filter->rule = cli_option(cli, "rule");
	filter->verdict = verdict_number(cli_option(cli, "verdict"));
	filter->simulated = verdict_number(cli_option(cli, "simulated"));
	filter->kind = kind ? log_kind_parse(kind) : -1;
	/* Whoever looks for something must know if it may be among what was lost. */
	filter->with_gaps = !kind;
	if (!read_span(cli, filter) || !read_prefix(cli, query) || !read_protocol(cli, filter) ||
		!cli_option_number(cli, "transport-port", 1, 65535, &transport_port))
		return CLI_USAGE;
	filter->transport_port = (int)transport_port;
	return CLI_OK;
}

char *cli_log_place(const struct cli *cli)
{
	const char *directory = cli_option(cli, "directory");

	return directory ? xstrdup(directory) : cli_log_directory(cli);
}
