/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cordon conn`: the live connections, from the switch.
 */
#include "cli/cordon.h"

#include <stdlib.h>
#include <string.h>

#include "openvswitch/dynamic-string.h"
#include "svec.h"
#include "util.h"

enum { LIMIT_DEFAULT = 1000, LIMIT_MAX = 100000 };

#define CONN_FILTERS                                                                               \
	{"port", 'p', "PORT", "of this port, either end"},                                         \
		{"zone", 'z', "ZONE", "of this zone, either end"},                                 \
		{"address", 'a', "ADDRESS", "of this address or prefix, either end"},              \
		{"protocol", 0, "NAME", "tcp, udp, icmp, icmpv6, sctp or a number"},               \
		{"state", 's', "NAME", "in this state, e.g. ESTABLISHED"},                         \
	{                                                                                          \
		"verdict", 'v', "allowed|denied|rejected", "decided like this"                     \
	}

const struct cli_option cli_conn_list_options[] = {
	CONN_FILTERS,
	{"limit", 'n', "N", "at most so many (1000)"},
	{0},
};

const struct cli_option cli_conn_flush_options[] = {
	CONN_FILTERS,
	{"all", 0, NULL, "all connections"},
	{0},
};

/* "KEY=VALUE" for each filter given. */
static void read_filters(const struct cli *cli, struct svec *words)
{
	static const char *const keys[] = {
		"port", "zone", "address", "protocol", "state", "verdict"};

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		const char *value = cli_option(cli, keys[i]);

		if (value)
			svec_add_nocopy(words, xasprintf("%s=%s", keys[i], value));
	}
}

/* --- conn list ------------------------------------------------------------------------------ */

/* An address with its port: "10.0.0.1:80", "[2001:db8::1]:80", or alone where there are no ports.
 */
static char *end_text(const struct json *row, const char *address_name, const char *port_name)
{
	const char *address = cli_json_text(row, address_name);
	long long int port = cli_json_number(row, port_name);

	if (!port)
		return xstrdup(address);
	return xasprintf(strchr(address, ':') ? "[%s]:%lld" : "%s:%lld", address, port);
}

static char *source_text(const struct json *row)
{
	return end_text(row, "source", "source_port");
}

static char *destination_text(const struct json *row)
{
	return end_text(row, "destination", "destination_port");
}

static char *zones_text(const struct json *row)
{
	return xasprintf("%s->%s", cli_json_text(row, "source_zone"),
		cli_json_text(row, "destination_zone"));
}

static char *rule_text(const struct json *row)
{
	const char *policy = cli_json_text(row, "policy");

	return xasprintf("%s%s%s", policy, *policy ? "/" : "", cli_json_text(row, "rule"));
}

static char *packets_text(const struct json *row)
{
	char text[CLI_TEXT_MAX];

	return xstrdup(cli_format_count(
		cli_json_number(row, "packets_forward") + cli_json_number(row, "packets_reverse"),
		text));
}

static char *bytes_text(const struct json *row)
{
	char text[CLI_TEXT_MAX];

	return xstrdup(cli_format_bytes(
		cli_json_number(row, "bytes_forward") + cli_json_number(row, "bytes_reverse"),
		text));
}

enum cli_status cli_conn_list(struct cli *cli)
{
	static const struct cli_column columns[] = {
		{"id", "id", CLI_AUTO, 5, 6, NULL},
		{"protocol", "protocol", CLI_AUTO, 0, 0, NULL},
		{"source", "source", CLI_AUTO, 0, 0, source_text},
		{"destination", "destination", CLI_AUTO, 0, 0, destination_text},
		{"zones", "zones", CLI_AUTO, 1, 10, zones_text},
		{"state", "state", CLI_STATE, 2, 6, NULL},
		{"verdict", "verdict", CLI_STATE, 0, 0, NULL},
		{"rule", "rule", CLI_AUTO, 2, 8, rule_text},
		{"packets", "packets", CLI_COUNT, 3, 7, packets_text},
		{"bytes", "bytes", CLI_BYTES, 4, 9, bytes_text},
		{"age", "age_s", CLI_AGE, 5, 5, NULL},
		{"idle", "idle_s", CLI_AGE, 4, 5, NULL},
	};
	struct svec words = SVEC_EMPTY_INITIALIZER;
	int64_t limit = LIMIT_DEFAULT;
	enum cli_status status;
	struct json *rows;
	bool full;

	if (!cli_option_number(cli, "limit", 1, LIMIT_MAX, &limit))
		return CLI_USAGE;
	svec_add_nocopy(&words, xasprintf("%lld", (long long int)limit));
	read_filters(cli, &words);
	rows = cli_ask_switch(
		cli, false, &status, "conn/list", words.n, (const char *const *)words.names);
	svec_destroy(&words);
	if (!rows)
		return status;
	full = rows->type == JSON_ARRAY && rows->array.n == (size_t)limit;
	status = cli_print_table(cli, columns, ARRAY_SIZE(columns), rows, "No connections.");
	if (full && !cli->json)
		fprintf(cli->out, "There may be more: --limit N shows up to N.\n");
	return status;
}

/* --- conn show ------------------------------------------------------------------------------ */

static enum cli_format format_of(const char *key)
{
	size_t length = strlen(key);

	if (!strcmp(key, "state") || !strcmp(key, "verdict"))
		return CLI_STATE;
	if (length > 2 && !strcmp(key + length - 2, "_s"))
		return CLI_AGE;
	if (!strncmp(key, "packets", 7))
		return CLI_COUNT;
	return strncmp(key, "bytes", 5) ? CLI_AUTO : CLI_BYTES;
}

/* Everything the switch says, the members in alphabetical order, "_" as a space, units left out
 * where the value says them. */
static void print_connection(struct cli *cli, const struct json *connection)
{
	const struct shash_node **nodes = shash_sort(connection->object);

	for (size_t i = 0; i < shash_count(connection->object); i++) {
		enum cli_format format = format_of(nodes[i]->name);
		char *title = xstrdup(nodes[i]->name);

		if (format == CLI_AGE)
			title[strlen(title) - 2] = '\0';
		for (char *c = strchr(title, '_'); c; c = strchr(c, '_'))
			*c = ' ';
		cli_print_member(cli, connection, title, nodes[i]->name, format);
		free(title);
	}
	free(nodes);
}

enum cli_status cli_conn_show(struct cli *cli)
{
	const char *words[] = {cli->arguments[0]};
	enum cli_status status;
	struct json *connection = cli_ask_switch(cli, false, &status, "conn/show", 1, words);

	if (!connection)
		return status == CLI_FAILED ? CLI_NOT_FOUND : status;
	if (cli->json || connection->type != JSON_OBJECT)
		return cli_print_json(cli, connection);
	print_connection(cli, connection);
	json_destroy(connection);
	return CLI_OK;
}

/* --- conn flush ----------------------------------------------------------------------------- */

enum cli_status cli_conn_flush(struct cli *cli)
{
	struct svec words = SVEC_EMPTY_INITIALIZER;
	enum cli_status status;
	struct json *answer;
	char text[CLI_TEXT_MAX];

	read_filters(cli, &words);
	if (!words.n && !cli_flag(cli, "all")) {
		svec_destroy(&words);
		return cli_fail(cli, CLI_USAGE,
			"that would end every connection; say which with --port, --zone, ..., or "
			"--all");
	}
	if (words.n && cli_flag(cli, "all")) {
		svec_destroy(&words);
		return cli_fail(cli, CLI_USAGE,
			"--all and a filter contradict each other; give one of them");
	}
	answer = cli_ask_switch(
		cli, false, &status, "conn/flush", words.n, (const char *const *)words.names);
	svec_destroy(&words);
	if (!answer)
		return status;
	if (cli->json)
		return cli_print_json(cli, answer);
	fprintf(cli->out, "%s connections ended.\n",
		cli_format_count(cli_json_number(answer, "flushed"), text));
	json_destroy(answer);
	return CLI_OK;
}
