/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cordon log spoofed`: who spoke in somebody else's name, and in whose.  Called by main.c and by
 * the report, on their one thread.
 *
 * The records themselves are read: what was claimed may be a MAC, which sums do not have.
 */
#include "cli/log.h"

#include <stdlib.h>
#include <string.h>

#include "openvswitch/shash.h"
#include "util.h"

enum {
	LIMIT_DEFAULT = 100,
	ROWS_MAX = 100000, /* Who claims more names than that is shown by what he did only. */
};

const struct cli_option cli_log_spoofed_options[] = {
	CLI_LOG_FILTERS,
	CLI_LOG_SPAN,
	{"limit", 'n', "N", "at most so many rows (100; 0: all)"},
	{0},
};

struct spoofers {
	struct json *rows;
	struct shash by_name;
};

static void put_clean(struct json *row, const char *name, const char *text)
{
	json_object_put(row, name, json_string_create_nocopy(cli_log_clean_text(text)));
}

static struct json *make_row(
	const struct log_record *record, const char *address, const char *mac, const char *by)
{
	struct json *row = json_object_create();

	put_clean(row, "port", record->source.port);
	put_clean(row, "vm_id", record->source.vm_id);
	put_clean(row, "vm_name", record->source.vm_name);
	put_clean(row, "zone", record->source.zone);
	put_clean(row, "reason", record->reason);
	put_clean(row, "claimed_address", address);
	put_clean(row, "claimed_mac", mac);
	put_clean(row, "added_up", by);
	cli_log_put_number(row, "attempts", 0);
	cli_log_put_number(row, "first_ns", record->time_ns);
	cli_log_put_number(row, "last_ns", 0);
	return row;
}

static void count(struct json *row, const struct log_record *record)
{
	/* A record without a packet only tells what was held back. */
	uint64_t n =
		(record->packets_forward || !record->suppressed) + (uint64_t)record->suppressed;
	uint64_t first_ns = MIN((uint64_t)cli_json_number(row, "first_ns"), record->time_ns);
	uint64_t last_ns = MAX((uint64_t)cli_json_number(row, "last_ns"), record->time_ns);

	cli_log_put_number(row, "attempts", (uint64_t)cli_json_number(row, "attempts") + n);
	cli_log_put_number(row, "first_ns", first_ns);
	cli_log_put_time(row, "first", first_ns);
	cli_log_put_number(row, "last_ns", last_ns);
	cli_log_put_time(row, "last", last_ns);
}

static char *make_key(const struct log_record *record, const char *address, const char *mac)
{
	return xasprintf("%s\n%s\n%s\n%s\n%s\n%s", record->source.port, record->source.vm_id,
		record->source.vm_name, record->reason, address, mac);
}

static bool add_record(const struct log_record *record, void *context)
{
	static const uint8_t none[6];
	struct spoofers *spoofers = context;
	char address[IP_TEXT_MAX] = "", mac[MAC_TEXT_MAX] = "", *key;
	bool full = shash_count(&spoofers->by_name) >= ROWS_MAX;
	struct json *row;

	if (!full && !IN6_IS_ADDR_UNSPECIFIED(&record->source.address))
		ip_format(&record->source.address, address);
	if (!full && memcmp(record->source.mac, none, sizeof(none)) != 0)
		mac_format(record->source.mac, mac);
	key = make_key(record, address, mac);
	row = shash_find_data(&spoofers->by_name, key);
	if (!row) {
		row = make_row(record, address, mac, full ? "claims" : "");
		json_array_add(spoofers->rows, row);
		shash_add(&spoofers->by_name, key, row);
	}
	count(row, record);
	free(key);
	return true;
}

void cli_log_spoofed_rows(struct cli_log_answer *answer)
{
	struct spoofers spoofers = {answer->rows, SHASH_INITIALIZER(&spoofers.by_name)};
	struct log_filter filter = answer->query.filter;

	filter.kind = LOG_SPOOFED;
	filter.with_gaps = false;
	cli_log_answer_note(answer, log_query(answer->directory, &filter, add_record, &spoofers,
					    answer->error, sizeof(answer->error)));
	shash_destroy(&spoofers.by_name);
	cli_json_sort_most(answer->rows, "attempts");
}

static char *who_cell(const struct json *row)
{
	const char *vm = cli_json_text(row, "vm_name"), *port = cli_json_text(row, "port");

	return *vm && strcmp(vm, port) ? xasprintf("%s (port %s)", vm, port) : xstrdup(port);
}

enum cli_status cli_log_spoofed(struct cli *cli)
{
	static const struct cli_column columns[] = {
		{"who", "vm_name", CLI_AUTO, 0, 12, who_cell},
		{"zone", "zone", CLI_AUTO, 2, 8, NULL},
		{"reason", "reason", CLI_AUTO, 1, 15, NULL},
		{"claimed address", "claimed_address", CLI_AUTO, 1, 15, NULL},
		{"claimed MAC", "claimed_mac", CLI_AUTO, 1, 17, NULL},
		{"attempts", "attempts", CLI_COUNT, 0, 0, NULL},
		{"first", "first_ns", CLI_AUTO, 3, CLI_LOG_UNCUT, cli_log_first_cell},
		{"last", "last_ns", CLI_AUTO, 0, 0, cli_log_last_cell},
	};
	struct cli_log_answer answer;

	if (cli_log_answer_begin(cli, &answer, LIMIT_DEFAULT) != CLI_OK)
		return CLI_USAGE;
	cli_log_spoofed_rows(&answer);
	return cli_log_answer_finish(&answer, columns, ARRAY_SIZE(columns), "spoof attempts");
}
