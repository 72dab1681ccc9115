/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of `cordon log` share.
 */
#ifndef CLI_LOG_H
#define CLI_LOG_H

#include "cli/cordon.h"
#include "log/store.h"

/* --- log_options.c: what to look for -------------------------------------------------------- */

#define CLI_LOG_FILTERS                                                                            \
	{"verdict", 'v', "allowed|denied|rejected", "decided like this"},                          \
		{"simulated", 0, "allowed|denied|rejected",                                        \
			"would be decided like this with simulated policies"},                     \
		{"kind", 'k', "start|update|end|denied|would-deny|spoofed|limit|gap",              \
			"records of this kind"},                                                   \
		{"zone", 'z', "ZONE", "of this zone, either end"},                                 \
		{"vm", 0, "VM", "of the VM with this name or id, either end"},                     \
		{"port", 'p', "PORT", "of this port of the switch, either end"},                   \
		{"rule", 'r', "RULE", "decided by it, or would be: RULE or POLICY/RULE"},          \
		{"address", 'a', "ADDRESS", "of this address or prefix, either end"},              \
		{"protocol", 0, "NAME", "tcp, udp, icmp, icmpv6, sctp or a number"},               \
		{"transport-port", 't', "N", "of this TCP, UDP or SCTP port, either end"},         \
	{                                                                                          \
		"directory", 'd', "DIR", "the log's files (STATEDIR/log)"                          \
	}
#define CLI_LOG_SPAN                                                                               \
	{"since", 's', "TIME", "from then on: 10m, 2h, 1d, or \"2026-01-31 14:00\""},              \
	{                                                                                          \
		"until", 'u', "TIME", "up to then"                                                 \
	}

/* Room for what a filter points to. */
struct cli_log_query {
	struct log_filter filter;
	struct ip_prefix prefix;
};

/* Reads the options into *query.  Not CLI_OK: the reason was said. */
enum cli_status cli_log_read_options(struct cli *cli, struct cli_log_query *query);

/* The directory to look in.  Caller frees. */
char *cli_log_place(const struct cli *cli);

/* Reads "90s", "10m", "2h", "1d", "1w" (ago), "2026-01-31", "2026-01-31 14:00[:05]" (local time) or
 * RFC 3339 into nanoseconds since 1970.  False, leaving *time_ns alone, on anything else. */
bool cli_log_parse_time(const char *text, uint64_t now_ns, uint64_t *time_ns);

/* --- log_record.c: how a record is shown ---------------------------------------------------- */

/* A record, or a row of the summary, as the JSON object that --json prints. */
struct json *cli_log_record_json(const struct log_record *record);
struct json *cli_log_summary_json(const struct log_summary_row *row);

/* Tables of these objects. */
struct cli_table *cli_log_record_table(struct cli *cli);
struct cli_table *cli_log_summary_table(struct cli *cli);
struct cli_table *cli_log_simulation_table(struct cli *cli); /* Of --simulation. */

/* A time for a narrow place: today's without the date, this year's without the year.  Caller frees.
 */
char *cli_log_short_time(uint64_t time_ns);

#endif
