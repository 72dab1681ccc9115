/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Traffic added up (log/flows.h) as JSON objects, and the cells of tables of these.  Called by the
 * questions of `cordon log` and by `cordon report`, on their one thread.  The members have the
 * names of a record's, as far as there is such a thing; docs/log.md lists the others.
 */
#include "cli/log.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "openvswitch/dynamic-string.h"
#include "util.h"
#include "zones/utf8.h"

/* --- Objects -------------------------------------------------------------------------------- */

void cli_log_put_number(struct json *object, const char *name, uint64_t number)
{
	json_object_put(object, name, json_integer_create((long long int)number));
}

/* "2026-01-31T14:00:00.123456789Z". */
void cli_log_put_time(struct json *object, const char *name, uint64_t time_ns)
{
	time_t seconds = (time_t)(time_ns / 1000000000);
	char text[64] = "";
	struct tm utc;
	size_t n;

	if (time_ns && gmtime_r(&seconds, &utc)) {
		n = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &utc);
		snprintf(
			text + n, sizeof(text) - n, ".%09uZ", (unsigned int)(time_ns % 1000000000));
	}
	json_object_put_string(object, name, text);
}

char *cli_log_clean_text(const char *text)
{
	struct ds clean = DS_EMPTY_INITIALIZER;

	while (*text) {
		uint32_t character;
		size_t n = utf8_decode(text, strlen(text), &character);

		if (n)
			ds_put_buffer(&clean, text, n);
		else
			ds_put_format(&clean, "\\x%02x", (unsigned char)*text);
		text += n ? n : 1;
	}
	return clean.string ? ds_steal_cstr(&clean) : xstrdup("");
}

static void put_text(struct json *object, const char *prefix, const char *name, const char *text)
{
	char key[48];

	snprintf(key, sizeof(key), "%s%s", prefix, name);
	json_object_put(object, key, json_string_create_nocopy(cli_log_clean_text(text)));
}

const char *cli_log_addresses_text(const struct ip_prefix *addresses, char text[IP_TEXT_MAX])
{
	*text = '\0';
	if (addresses->length == 128)
		return ip_format(&addresses->address, text);
	return addresses->length ? ip_prefix_format(addresses, text) : text;
}

static void put_addresses(struct json *row, const char *prefix, const struct log_flow_end *end)
{
	char text[IP_TEXT_MAX] = "";

	put_text(row, prefix, "address", cli_log_addresses_text(&end->addresses, text));
}

/* Fields that stand for several in this row; they are named so that nobody takes one for another.
 */
static void put_lumped(struct json *row, unsigned int lumped)
{
	static const struct {
		unsigned int field;
		const char *name;
	} fields[] = {
		{LOG_FLOW_SOURCE, "source"},
		{LOG_FLOW_DESTINATION, "destination"},
		{LOG_FLOW_SOURCE_ADDRESS, "source_address"},
		{LOG_FLOW_DESTINATION_ADDRESS, "destination_address"},
		{LOG_FLOW_SERVICE, "service"},
		{LOG_FLOW_RULE, "rule"},
		{LOG_FLOW_TYPE, "icmp_type"},
	};
	struct json *names = json_array_create_empty();

	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		if (lumped & fields[i].field)
			json_array_add(names, json_string_create(fields[i].name));
	}
	json_object_put(row, "added_up", names);
}

static void put_end(struct json *row, const char *prefix, const struct log_flow_end *end, bool zone,
	bool whole, bool address)
{
	if (zone)
		put_text(row, prefix, "zone", end->zone);
	if (whole) {
		put_text(row, prefix, "port", end->port);
		put_text(row, prefix, "vm_id", end->vm_id);
		put_text(row, prefix, "vm_name", end->vm_name);
		put_text(row, prefix, "tags", end->tags);
	}
	if (address)
		put_addresses(row, prefix, end);
}

static void put_service(struct json *row, const struct log_flow *flow, unsigned int by)
{
	char number[LOG_PROTOCOL_MAX];

	if (by & LOG_FLOW_SERVICE) {
		put_text(row, "", "protocol",
			flow->protocol ? log_protocol_name(flow->protocol, number) : "");
		cli_log_put_number(row, "protocol_number", flow->protocol);
		cli_log_put_number(row, "destination_transport_port", flow->port);
	}
	if (by & LOG_FLOW_TYPE) {
		cli_log_put_number(row, "icmp_type", flow->icmp_type);
		cli_log_put_number(row, "icmp_code", flow->icmp_code);
		cli_log_put_number(row, "ethertype", flow->ethertype);
	}
}

static void put_decision(struct json *row, const struct log_flow *flow, unsigned int by)
{
	if (by & LOG_FLOW_VERDICT)
		put_text(row, "", "verdict", log_verdict_name(flow->verdict));
	if (by & LOG_FLOW_KIND)
		put_text(row, "", "kind", log_kind_name(flow->kind));
	if (by & LOG_FLOW_REASON)
		put_text(row, "", "reason", flow->reason);
	if (by & LOG_FLOW_RULE) {
		put_text(row, "", "tier", flow->tier);
		put_text(row, "", "policy", flow->policy);
		put_text(row, "", "rule", flow->rule);
		put_text(row, "", "label", flow->label);
	}
	if (by & LOG_FLOW_SIMULATED) {
		put_text(row, "", "simulated_verdict",
			flow->simulated ? log_verdict_name(flow->simulated - 1U) : "");
		put_text(row, "", "simulated_policy", flow->simulated_policy);
		put_text(row, "", "simulated_rule", flow->simulated_rule);
	}
	if (by & LOG_FLOW_REVISION)
		cli_log_put_number(row, "policy_revision", flow->policy_revision);
}

void cli_log_put_counts(struct json *row, const struct log_flow_counts *counts)
{
	uint64_t forward = counts->bytes_forward, reverse = counts->bytes_reverse;

	cli_log_put_number(row, "connections", log_flow_connections(counts));
	cli_log_put_number(row, "refused", counts->refused);
	cli_log_put_number(row, "held_back", counts->held_back);
	cli_log_put_number(row, "packets_forward", counts->packets_forward);
	cli_log_put_number(row, "packets_reverse", counts->packets_reverse);
	cli_log_put_number(row, "bytes_forward", forward);
	cli_log_put_number(row, "bytes_reverse", reverse);
	cli_log_put_number(row, "packets", counts->packets_forward + counts->packets_reverse);
	cli_log_put_number(row, "bytes", forward + reverse);
	cli_log_put_number(row, "first_ns", counts->first_ns);
	cli_log_put_time(row, "first", counts->first_ns);
	cli_log_put_number(row, "last_ns", counts->last_ns);
	cli_log_put_time(row, "last", counts->last_ns);
}

struct json *cli_log_flow_json(const struct log_flow *flow, unsigned int by)
{
	struct json *row = json_object_create();

	put_end(row, "source_", &flow->source, by & LOG_FLOW_SOURCE_ZONE, by & LOG_FLOW_SOURCE,
		by & LOG_FLOW_SOURCE_ADDRESS);
	put_end(row, "destination_", &flow->destination, by & LOG_FLOW_DESTINATION_ZONE,
		by & LOG_FLOW_DESTINATION, by & LOG_FLOW_DESTINATION_ADDRESS);
	put_service(row, flow, by);
	put_decision(row, flow, by);
	put_lumped(row, flow->lumped);
	if (flow->perhaps_older)
		json_object_put(row, "perhaps_older", json_boolean_create(true));
	cli_log_put_counts(row, &flow->counts);
	return row;
}

/* --- Cells ---------------------------------------------------------------------------------- */

static const char *end_text(const struct json *row, const char *end, const char *name)
{
	char key[48];

	snprintf(key, sizeof(key), "%s_%s", end, name);
	return cli_json_text(row, key);
}

/* "web-1 10.0.1.5", "uplink0 192.0.2.0/24", "internet". */
char *cli_log_end_cell(const struct json *row, const char *end)
{
	const char *name = end_text(row, end, "vm_name"), *address = end_text(row, end, "address");

	if (!*name)
		name = end_text(row, end, "vm_id");
	if (!*name)
		name = end_text(row, end, "port");
	/* Beyond an uplink, the port says less than the zone. */
	if (!*end_text(row, end, "vm_name") && !*end_text(row, end, "tags") &&
		*end_text(row, end, "zone"))
		name = end_text(row, end, "zone");
	return xasprintf("%s%s%s", name, *name && *address ? " " : "", address);
}

char *cli_log_source_cell(const struct json *row)
{
	return cli_log_end_cell(row, "source");
}

char *cli_log_destination_cell(const struct json *row)
{
	return cli_log_end_cell(row, "destination");
}

char *cli_log_zones_cell(const struct json *row)
{
	const char *from = cli_json_text(row, "source_zone");
	const char *to = cli_json_text(row, "destination_zone");

	return *from || *to ? xasprintf("%s -> %s", *from ? from : "-", *to ? to : "-") : NULL;
}

static bool is_added_up(const struct json *row, const char *field)
{
	const struct json *names = cli_json_member(row, "added_up");

	for (size_t i = 0; names && i < names->array.n; i++) {
		if (!strcmp(names->array.elems[i]->string, field))
			return true;
	}
	return false;
}

/* "tcp/5432", "icmp/8", "udp", "arp". */
char *cli_log_service_cell(const struct json *row)
{
	const char *protocol = cli_json_text(row, "protocol");
	int64_t number = cli_json_number(row, "protocol_number");
	int64_t ethertype = cli_json_number(row, "ethertype");
	int64_t port = cli_json_number(row, "destination_transport_port");

	if (!number && ethertype)
		return ethertype == 0x0806 ? xstrdup("arp")
					   : xasprintf("0x%04llx", (long long int)ethertype);
	if (!number && is_added_up(row, "service"))
		return xstrdup("any");
	/* Of what was only counted, the log has no more than the number. */
	if (!number)
		return xstrdup(cli_json_number(row, "held_back") ? "held back" : "not IP");
	if ((number == IPPROTO_ICMP || number == IPPROTO_ICMPV6) &&
		cli_json_member(row, "icmp_type"))
		return xasprintf(
			"%s/%lld", protocol, (long long int)cli_json_number(row, "icmp_type"));
	return port ? xasprintf("%s/%lld", protocol, (long long int)port) : xstrdup(protocol);
}

char *cli_log_rule_cell(const struct json *row)
{
	const char *policy = cli_json_text(row, "policy"), *rule = cli_json_text(row, "rule");

	return *rule ? xasprintf("%s%s%s", policy, *policy ? "/" : "", rule) : NULL;
}

char *cli_log_times_cell(const struct json *row)
{
	char text[CLI_TEXT_MAX];

	return xstrdup(cli_format_count(
		(uint64_t)(cli_json_number(row, "connections") + cli_json_number(row, "refused")),
		text));
}

static char *time_cell(const struct json *row, const char *name)
{
	uint64_t time_ns = (uint64_t)cli_json_number(row, name);

	return time_ns ? cli_log_short_time(time_ns) : NULL;
}

char *cli_log_first_cell(const struct json *row)
{
	return time_cell(row, "first_ns");
}

char *cli_log_last_cell(const struct json *row)
{
	return time_cell(row, "last_ns");
}
