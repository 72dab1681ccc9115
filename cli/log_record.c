/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records of the traffic log, and rows of its summary, as JSON objects and as tables of these.
 * Called by log.c.  The members have the names of the columns of the view `traffic` in the log's
 * files; docs/log.md lists them.
 */
#include "cli/log.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "openvswitch/dynamic-string.h"
#include "log/record_json.h"
#include "openvswitch/json.h"
#include "util.h"

/* --- Objects -------------------------------------------------------------------------------- */

struct json *cli_log_record_json(const struct log_record *record)
{
	char *text = xmalloc(log_record_json_size(record) + 1);
	struct json *object;

	text[log_record_json(record, text)] = '\0';
	object = json_from_string(text);
	free(text);
	return object;
}

struct json *cli_log_summary_json(const struct log_summary_row *row)
{
	struct json *object = json_object_create();
	char number[LOG_PROTOCOL_MAX];
	const char *protocol = row->protocol ? log_protocol_name(row->protocol, number) : "";

	json_object_put_string(object, "source_zone", row->source_zone);
	json_object_put_string(object, "destination_zone", row->destination_zone);
	json_object_put_string(object, "protocol", protocol);
	cli_log_put_number(object, "protocol_number", row->protocol);
	cli_log_put_number(object, "destination_transport_port", row->destination_port);
	json_object_put_string(object, "verdict", log_verdict_name(row->verdict));
	json_object_put_string(object, "policy", row->policy);
	json_object_put_string(object, "rule", row->rule);
	cli_log_put_number(object, "connections", row->connections);
	cli_log_put_number(object, "packets", row->packets);
	cli_log_put_number(object, "bytes", row->bytes);
	cli_log_put_number(object, "last_ns", row->last_ns);
	cli_log_put_time(object, "last", row->last_ns);
	return object;
}

/* --- Cells ---------------------------------------------------------------------------------- */

char *cli_log_short_time(uint64_t time_ns)
{
	time_t seconds = (time_t)(time_ns / 1000000000), now = time(NULL);
	struct tm then, today;
	char text[32];

	localtime_r(&seconds, &then);
	localtime_r(&now, &today);
	if (then.tm_year == today.tm_year && then.tm_yday == today.tm_yday) {
		strftime(text, sizeof(text), "%H:%M:%S", &then);
		return xasprintf("%s.%03u", text, (unsigned int)(time_ns / 1000000 % 1000));
	}
	strftime(text, sizeof(text),
		then.tm_year == today.tm_year ? "%m-%d %H:%M:%S" : "%Y-%m-%d %H:%M", &then);
	return xstrdup(text);
}

static char *time_text(const struct json *row)
{
	return cli_log_short_time((uint64_t)cli_json_number(row, "time_ns"));
}

/* "web-1 10.0.1.5:40000": the VM, or else the port of the switch, and the address or the MAC. */
static char *party_text(const struct json *row, const char *end)
{
	char key[48];
	const char *name, *address;
	int64_t port;

	snprintf(key, sizeof(key), "%s_vm_name", end);
	name = cli_json_text(row, key);
	snprintf(key, sizeof(key), "%s_port", end);
	if (!*name)
		name = cli_json_text(row, key);
	snprintf(key, sizeof(key), "%s_transport_port", end);
	port = cli_json_number(row, key);
	snprintf(key, sizeof(key), "%s_address", end);
	address = cli_json_text(row, key);
	if (!*address) {
		snprintf(key, sizeof(key), "%s_mac", end);
		address = cli_json_text(row, key);
		port = 0;
	}
	if (!port)
		return xasprintf("%s%s%s", name, *name && *address ? " " : "", address);
	return xasprintf(strchr(address, ':') ? "%s%s[%s]:%lld" : "%s%s%s:%lld", name,
		*name ? " " : "", address, (long long int)port);
}

static char *source_text(const struct json *row)
{
	return party_text(row, "source");
}

static char *destination_text(const struct json *row)
{
	return party_text(row, "destination");
}

/* "tcp", "icmp 8/0", "arp", "0x88cc". */
static char *protocol_text(const struct json *row)
{
	const char *name = cli_json_text(row, "protocol");
	int64_t number = cli_json_number(row, "protocol_number");
	unsigned int ethertype = (unsigned int)cli_json_number(row, "ethertype");

	if (number == 1 || number == 58)
		return xasprintf("%s %lld/%lld", name,
			(long long int)cli_json_number(row, "icmp_type"),
			(long long int)cli_json_number(row, "icmp_code"));
	if (number || !ethertype)
		return xstrdup(name);
	return ethertype == 0x0806 ? xstrdup("arp") : xasprintf("0x%04x", ethertype);
}

/* "db-access/web-to-db", with "@12" behind where the revision is known. */
static char *rule_text(const struct json *row)
{
	const char *policy = cli_json_text(row, "policy"), *rule = cli_json_text(row, "rule");
	int64_t revision = cli_json_number(row, "policy_revision");
	struct ds text = DS_EMPTY_INITIALIZER;

	if (*rule)
		ds_put_format(&text, "%s%s%s", policy, *policy ? "/" : "", rule);
	if (*rule && revision)
		ds_put_format(&text, "@%lld", (long long int)revision);
	return *rule ? ds_steal_cstr(&text) : NULL;
}

/* "audit/no-dns"; NULL where nothing is simulated, or no rule would decide. */
static char *simulated_rule_text(const struct json *row)
{
	const char *rule = cli_json_text(row, "simulated_rule");

	return *rule ? xasprintf("%s/%s", cli_json_text(row, "simulated_policy"), rule) : NULL;
}

/* What simulated rules would change: "would be denied by audit/no-dns"; or NULL. */
static char *simulation_text(const struct json *row)
{
	const char *simulated = cli_json_text(row, "simulated_verdict");
	const char *verdict = cli_json_text(row, "verdict");
	char *rule, *text;

	/* To be denied in silence or with an answer is much the same. */
	if (!*simulated || !strcmp(simulated, "allowed") == !strcmp(verdict, "allowed"))
		return NULL;
	rule = simulated_rule_text(row);
	text = xasprintf("would be %s%s%s", simulated, rule ? " by " : "", rule ? rule : "");
	free(rule);
	return text;
}

/* "end fin", "denied policy +7 held back", "start, would be denied by audit/no-dns".  What would be
 * denied has no other reason than that. */
static char *event_text(const struct json *row)
{
	const char *kind = cli_json_text(row, "kind"), *reason = cli_json_text(row, "reason");
	int64_t suppressed = cli_json_number(row, "suppressed");
	char *simulation = simulation_text(row);
	bool instead = simulation && !strcmp(kind, "would-deny");
	struct ds text = DS_EMPTY_INITIALIZER;

	ds_put_cstr(&text, instead ? simulation : kind);
	if (*reason && !instead)
		ds_put_format(&text, " %s", reason);
	if (suppressed)
		ds_put_format(&text, " +%lld held back", (long long int)suppressed);
	if (simulation && !instead)
		ds_put_format(&text, ", %s", simulation);
	free(simulation);
	return ds_steal_cstr(&text);
}

static char *packets_text(const struct json *row)
{
	char text[CLI_TEXT_MAX];

	return xstrdup(cli_format_count((uint64_t)cli_json_number(row, "packets_forward") +
						(uint64_t)cli_json_number(row, "packets_reverse"),
		text));
}

static char *bytes_text(const struct json *row)
{
	char text[CLI_TEXT_MAX];

	return xstrdup(cli_format_bytes((uint64_t)cli_json_number(row, "bytes_forward") +
						(uint64_t)cli_json_number(row, "bytes_reverse"),
		text));
}

/* --- Tables --------------------------------------------------------------------------------- */

/* Half of a number is worse than none: such a column is left out rather than shortened. */
enum { UNCUT = CLI_TEXT_MAX };

static const struct cli_column short_columns[] = {
	{"time", "time_ns", CLI_AUTO, 0, 0, time_text},
	{"verdict", "verdict", CLI_STATE, 0, 0, NULL},
	{"source", "source_address", CLI_AUTO, 1, 18, source_text},
	{"destination", "destination_address", CLI_AUTO, 1, 18, destination_text},
	{"protocol", "protocol", CLI_AUTO, 5, 8, protocol_text},
	{"zones", "source_zone", CLI_AUTO, 2, 10, cli_log_zones_cell},
	{"rule", "rule", CLI_AUTO, 3, 16, rule_text},
	{"event", "kind", CLI_AUTO, 4, 12, event_text},
	{"packets", "packets_forward", CLI_COUNT, 6, UNCUT, packets_text},
	{"bytes", "bytes_forward", CLI_BYTES, 6, UNCUT, bytes_text},
};

/* What is kept somewhere must say its date. */
static const struct cli_column full_columns[] = {
	{"time", "time_ns", CLI_TIME, 0, 0, NULL},
	{"verdict", "verdict", CLI_STATE, 0, 0, NULL},
	{"source", "source_address", CLI_AUTO, 0, 0, source_text},
	{"destination", "destination_address", CLI_AUTO, 0, 0, destination_text},
	{"protocol", "protocol", CLI_AUTO, 0, 0, protocol_text},
	{"zones", "source_zone", CLI_AUTO, 0, 0, cli_log_zones_cell},
	{"rule", "rule", CLI_AUTO, 0, 0, rule_text},
	{"event", "kind", CLI_AUTO, 0, 0, event_text},
	{"packets", "packets_forward", CLI_COUNT, 0, 0, packets_text},
	{"bytes", "bytes_forward", CLI_BYTES, 0, 0, bytes_text},
};

/* For whoever asks about the simulation, on a line that has no room for all. */
static const struct cli_column short_simulation_columns[] = {
	{"time", "time_ns", CLI_AUTO, 0, 0, time_text},
	{"now", "verdict", CLI_STATE, 0, 0, NULL},
	{"would be", "simulated_verdict", CLI_STATE, 0, 0, NULL},
	{"by", "simulated_rule", CLI_AUTO, 1, 12, simulated_rule_text},
	{"source", "source_address", CLI_AUTO, 2, 12, source_text},
	{"destination", "destination_address", CLI_AUTO, 2, 12, destination_text},
	{"protocol", "protocol", CLI_AUTO, 4, 8, protocol_text},
	{"zones", "source_zone", CLI_AUTO, 3, 10, cli_log_zones_cell},
	{"rule", "rule", CLI_AUTO, 5, 16, rule_text},
	{"event", "kind", CLI_AUTO, 6, UNCUT, event_text},
};

static bool asks_for_simulation(const struct cli *cli)
{
	const char *kind = cli_option(cli, "kind");

	return cli_option(cli, "simulated") || (kind && !strcmp(kind, "would-deny"));
}

struct cli_table *cli_log_record_table(struct cli *cli)
{
	if (cli->width && asks_for_simulation(cli))
		return cli_table_create(
			cli, short_simulation_columns, ARRAY_SIZE(short_simulation_columns));
	if (cli->width)
		return cli_table_create(cli, short_columns, ARRAY_SIZE(short_columns));
	return cli_table_create(cli, full_columns, ARRAY_SIZE(full_columns));
}

/* All but the last column. */
#define SUMMARY_COLUMNS                                                                            \
	{"zones", "source_zone", CLI_AUTO, 0, 0, cli_log_zones_cell},                              \
		{"service", "protocol", CLI_AUTO, 0, 0, cli_log_service_cell},                     \
		{"verdict", "verdict", CLI_STATE, 0, 0, NULL},                                     \
		{"connections", "connections", CLI_COUNT, 0, 0, NULL},                             \
		{"rule", "rule", CLI_AUTO, 1, 12, rule_text},                                      \
		{"packets", "packets", CLI_COUNT, 4, UNCUT, NULL},                                 \
	{                                                                                          \
		"bytes", "bytes", CLI_BYTES, 3, UNCUT, NULL                                        \
	}

static const struct cli_column short_summary_columns[] = {
	SUMMARY_COLUMNS,
	{"last", "last_ns", CLI_AUTO, 2, UNCUT, cli_log_last_cell},
};

static const struct cli_column full_summary_columns[] = {
	SUMMARY_COLUMNS,
	{"last", "last_ns", CLI_TIME, 0, 0, NULL},
};

struct cli_table *cli_log_summary_table(struct cli *cli)
{
	if (cli->width)
		return cli_table_create(
			cli, short_summary_columns, ARRAY_SIZE(short_summary_columns));
	return cli_table_create(cli, full_summary_columns, ARRAY_SIZE(full_summary_columns));
}
