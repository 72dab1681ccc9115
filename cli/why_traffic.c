/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is open between two ends now, from the switch, and what the log has of them.  Called by
 * why.c, on its one thread.
 */
#include "cli/why.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/log.h"
#include "timeval.h"
#include "util.h"

enum {
	CONNECTIONS_SHOWN = 10,
	CONNECTIONS_ASKED = 1000,
	RECORDS_SHOWN = 5,
};

static struct json *answer_with(const char *error, struct json *rows)
{
	struct json *answer = json_object_create();

	json_object_put_string(answer, "error", error);
	json_object_put(answer, "rows", rows);
	return answer;
}

static bool has_addresses(const struct why *why)
{
	return !IN6_IS_ADDR_UNSPECIFIED(&why->source.address) &&
	       !IN6_IS_ADDR_UNSPECIFIED(&why->destination.address);
}

static bool is_of_service(const struct why *why, uint32_t point)
{
	for (size_t i = 0; i < why->n_services; i++) {
		if (point >= why->services[i].first && point <= why->services[i].last)
			return true;
	}
	return false;
}

/* --- Live connections ----------------------------------------------------------------------- */

/* A row does not tell the types of ICMP: all of that protocol are shown. */
static bool row_is_of_service(const struct why *why, const struct json *row)
{
	int protocol = log_protocol_parse(cli_json_text(row, "protocol"));

	if (protocol < 0)
		return false;
	if (protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6) {
		for (size_t i = 0; i < why->n_services; i++) {
			if (why->services[i].first >> 16 <= (uint32_t)protocol &&
				why->services[i].last >> 16 >= (uint32_t)protocol)
				return true;
		}
		return false;
	}
	return is_of_service(why, service_point((uint8_t)protocol, 0, 0,
					  (uint16_t)cli_json_number(row, "destination_port")));
}

struct json *why_connections(const struct why *why)
{
	char source[IP_TEXT_MAX + 8] = "source=", destination[IP_TEXT_MAX + 16] = "destination=";
	char limit[16];
	const char *words[] = {limit, source, destination};
	struct json *rows = json_array_create_empty(), *all;
	enum cli_status status;

	if (!has_addresses(why))
		return answer_with("an address of both ends must be known", rows);
	snprintf(limit, sizeof(limit), "%d", CONNECTIONS_ASKED);
	ip_format(&why->source.address, source + strlen(source));
	ip_format(&why->destination.address, destination + strlen(destination));
	all = cli_ask_switch(why->cli, true, &status, "conn/list", ARRAY_SIZE(words), words);
	if (!all || all->type != JSON_ARRAY) {
		json_destroy(all);
		return answer_with("the switch does not run, or does not answer", rows);
	}
	for (size_t i = 0; i < all->array.n && rows->array.n < CONNECTIONS_SHOWN; i++) {
		if (row_is_of_service(why, all->array.elems[i]))
			json_array_add(rows, json_clone(all->array.elems[i]));
	}
	json_destroy(all);
	return answer_with("", rows);
}

/* --- Records -------------------------------------------------------------------------------- */

struct found {
	const struct why *why;
	struct json *rows;
};

/* Goes through the newest records of the two addresses, oldest first, and keeps the last of them.
 */
static bool add_record(const struct log_record *record, void *context)
{
	struct found *found = context;
	uint32_t point = service_point(record->protocol, record->icmp_type, record->icmp_code,
		record->destination.transport_port);

	if (record->kind != LOG_GAP &&
		!memcmp(&record->source.address, &found->why->source.address,
			sizeof(record->source.address)) &&
		is_of_service(found->why, point))
		json_array_add(found->rows, cli_log_record_json(record));
	return true;
}

/* The newest, in the order of time. */
static struct json *newest(struct json *all)
{
	struct json *rows = json_array_create_empty();
	size_t n = all->array.n, from = n > RECORDS_SHOWN ? n - RECORDS_SHOWN : 0;

	for (size_t i = from; i < n; i++)
		json_array_add(rows, json_clone(all->array.elems[i]));
	json_destroy(all);
	return rows;
}

struct json *why_records(const struct why *why, int64_t days)
{
	enum { RECORDS_OF_BOTH = 2000 }; /* Of whatever service and direction. */
	struct ip_prefix source = {why->source.address, 128};
	struct ip_prefix destination = {why->destination.address, 128};
	struct found found = {why, json_array_create_empty()};
	uint64_t now_s = (uint64_t)time_wall(), span_s = (uint64_t)days * 86400;
	struct log_filter filter = LOG_FILTER_ANY;
	char error[512] = "";
	char *directory;
	int rc;

	if (!has_addresses(why))
		return answer_with("an address of both ends must be known", found.rows);
	filter.since_ns = (now_s > span_s ? now_s - span_s : 0) * UINT64_C(1000000000);
	filter.prefix = &source;
	filter.peer = &destination;
	filter.limit = RECORDS_OF_BOTH;
	directory = cli_log_place(why->cli);
	rc = log_query(directory, &filter, add_record, &found, error, sizeof(error));
	if (rc == -ENOENT)
		snprintf(error, sizeof(error), "there is no log in %s yet", directory);
	free(directory);
	return answer_with(rc ? error : "", newest(found.rows));
}
