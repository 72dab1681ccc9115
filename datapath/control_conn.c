/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers to `cordon conn`: lists, shows and flushes connections.  Main thread; it reads the table
 * while workers write to it, so a connection's numbers are each right, but not all of one moment.
 */
#include <config.h>

#include "datapath/control.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "openvswitch/json.h"
#include "ovs-rcu.h"
#include "unixctl.h"
#include "util.h"

enum {
	LIST_MAX = 100000, /* Connections in one answer: about 100 MB while it is made. */
	STRIDE = 1 << 13,  /* Numbers looked at between two quiescent states. */
};

/* What to look for: every condition given must hold. */
struct conn_filter {
	const char *port, *zone, *state, *verdict;
	struct ip_prefix prefix, source, destination;
	bool has_prefix, has_source, has_destination;
	int protocol; /* -1: any. */
};

struct conn_list {
	const struct config *config;
	const struct zone_policy *policy;
	struct conn_filter filter;
	struct json *array; /* NULL: flush instead of listing. */
	size_t limit, n;
};

static const char *const verdict_names[] = {[CONN_ALLOWED] = "allowed", [CONN_DENIED] = "denied"};

static const struct {
	const char *name;
	int number;
} protocols[] = {{"icmp", IPPROTO_ICMP}, {"tcp", IPPROTO_TCP}, {"udp", IPPROTO_UDP},
	{"icmpv6", IPPROTO_ICMPV6}, {"icmp6", IPPROTO_ICMPV6}, {"sctp", IPPROTO_SCTP}};

static int parse_protocol(const char *text)
{
	for (size_t i = 0; i < ARRAY_SIZE(protocols); i++) {
		if (!strcmp(text, protocols[i].name))
			return protocols[i].number;
	}
	int number;
	return str_to_int(text, 10, &number) && number >= 0 && number < 256 ? number : -1;
}

static const char *conn_verdict_name(const struct conn *conn)
{
	unsigned int verdict = atomic_load(&conn->verdict);

	return verdict < ARRAY_SIZE(verdict_names) && verdict_names[verdict] != NULL
		       ? verdict_names[verdict]
		       : "";
}

const char *control_conn_state(const struct conn *conn)
{
	uint8_t flags = atomic_load(&conn->flags);

	if (atomic_load(&conn->verdict) != CONN_ALLOWED)
		return "DENIED";
	if (flags & CONN_TCP)
		return tcp_state_name(tcp_state(&conn->dir[0].tcp, &conn->dir[1].tcp));
	return flags & CONN_CONFIRMED ? "ANSWERED" : "UNANSWERED";
}

/* --- filters -------------------------------------------------------------------------------- */

/* Reads the value of a filter by addresses into *prefix.  Returns NULL or what is wrong. */
static const char *parse_prefix(const char *value, struct ip_prefix *prefix, bool *has_prefix)
{
	*has_prefix = true;
	return ip_prefix_parse(value, prefix)
		       ? NULL
		       : "address=, source= and destination= want an address or a prefix, as in "
			 "10.0.0.0/8";
}

/* Reads "key=value" words.  Returns NULL or what is wrong. */
static const char *parse_filter(struct conn_filter *filter, int n, const char *words[])
{
	*filter = (struct conn_filter){.protocol = -1};
	for (int i = 0; i < n; i++) {
		const char *value = strchr(words[i], '='), *error = NULL;

		if (value == NULL)
			return "a filter is written key=value";
		value++;
		if (!strncmp(words[i], "port=", 5)) {
			filter->port = value;
		} else if (!strncmp(words[i], "zone=", 5)) {
			filter->zone = value;
		} else if (!strncmp(words[i], "state=", 6)) {
			filter->state = value;
		} else if (!strncmp(words[i], "verdict=", 8)) {
			filter->verdict = value;
		} else if (!strncmp(words[i], "address=", 8)) {
			error = parse_prefix(value, &filter->prefix, &filter->has_prefix);
		} else if (!strncmp(words[i], "source=", 7)) {
			error = parse_prefix(value, &filter->source, &filter->has_source);
		} else if (!strncmp(words[i], "destination=", 12)) {
			error = parse_prefix(value, &filter->destination, &filter->has_destination);
		} else if (!strncmp(words[i], "protocol=", 9)) {
			filter->protocol = parse_protocol(value);
			if (filter->protocol < 0)
				return "protocol= wants tcp, udp, icmp, icmpv6, sctp or a number";
		} else {
			error = "filters are port=, zone=, address=, source=, destination=, "
				"protocol=, state= and verdict=";
		}
		if (error != NULL)
			return error;
	}
	return NULL;
}

static bool zone_is(const struct zone_policy *policy, uint16_t zone, const char *name)
{
	return zone < zone_count(policy) && !strcmp(zone_info(policy, zone).name, name);
}

static bool matches(const struct conn_list *list, const struct flow *flow, const struct conn *conn)
{
	const struct conn_filter *filter = &list->filter;
	const struct cordon_switch *sw = list->config->sw;

	if (filter->protocol >= 0 && flow->key.protocol != filter->protocol)
		return false;
	if (filter->has_prefix && !ip_prefix_contains(&filter->prefix, &flow->key.source) &&
		!ip_prefix_contains(&filter->prefix, &flow->key.destination))
		return false;
	if (filter->has_source && !ip_prefix_contains(&filter->source, &flow->key.source))
		return false;
	if (filter->has_destination &&
		!ip_prefix_contains(&filter->destination, &flow->key.destination))
		return false;
	if (filter->port && strcmp(filter->port, control_port_name(sw, flow->key.in_port)) &&
		strcmp(filter->port, control_port_name(sw, atomic_load(&conn->out_port))))
		return false;
	if (filter->zone && !zone_is(list->policy, atomic_load(&conn->source_zone), filter->zone) &&
		!zone_is(list->policy, atomic_load(&conn->destination_zone), filter->zone))
		return false;
	if (filter->state && strcasecmp(filter->state, control_conn_state(conn)))
		return false;
	return !filter->verdict || !strcasecmp(filter->verdict, conn_verdict_name(conn));
}

/* --- one connection as JSON ---------------------------------------------------------------------
 */

static void put_integer(struct json *object, const char *name, uint64_t value)
{
	json_object_put(object, name, json_integer_create((long long int)value));
}

static void put_addresses(struct json *object, const struct conn_key *key)
{
	char text[IP_TEXT_MAX];
	bool ports = key->protocol == IPPROTO_TCP || key->protocol == IPPROTO_UDP ||
		     key->protocol == IPPROTO_SCTP;

	if (key->kind == CONN_KEY_ETHERNET) {
		json_object_put_string(
			object, "source", mac_format(&key->source.s6_addr[10], text));
		json_object_put_string(
			object, "destination", mac_format(&key->destination.s6_addr[10], text));
		json_object_put_format(object, "protocol", "0x%04x", ntohs(key->destination_port));
	} else {
		const char *name = NULL;

		for (size_t i = 0; i < ARRAY_SIZE(protocols); i++) {
			if (protocols[i].number == key->protocol && name == NULL)
				name = protocols[i].name;
		}
		json_object_put_string(object, "source", ip_format(&key->source, text));
		json_object_put_string(object, "destination", ip_format(&key->destination, text));
		if (name != NULL)
			json_object_put_string(object, "protocol", name);
		else
			json_object_put_format(object, "protocol", "%u", key->protocol);
	}
	put_integer(object, "source_port", ports ? ntohs(key->source_port) : 0);
	put_integer(object, "destination_port", ports ? ntohs(key->destination_port) : 0);
}

static void put_verdict(
	struct json *object, const struct zone_policy *policy, const struct conn *conn)
{
	struct zone_rule_info info;
	char name[160];
	uint16_t source = atomic_load(&conn->source_zone);
	uint16_t destination = atomic_load(&conn->destination_zone);
	uint32_t revision = atomic_load(&conn->policy_revision);
	bool known =
		policy != NULL && zone_rule_info(policy, atomic_load(&conn->rule), &info, name);

	json_object_put_string(object, "policy", known ? info.policy : "");
	json_object_put_string(object, "rule", known ? info.rule : "");
	put_integer(object, "policy_revision", revision);
	json_object_put_string(object, "source_zone",
		policy != NULL && source < zone_count(policy) ? zone_info(policy, source).name
							      : "");
	json_object_put_string(object, "destination_zone",
		policy != NULL && destination < zone_count(policy)
			? zone_info(policy, destination).name
			: "");
}

static struct json *describe(const struct conn_list *list, uint32_t number)
{
	struct cordon_switch *sw = list->config->sw;
	const struct conn *conn = conn_of_flow(sw->connections, 2 * number);
	const struct flow *flow = conn_flow(sw->connections, 2 * number);
	const struct flow *reverse = conn_flow(sw->connections, 2 * number + 1);
	struct json *object = json_object_create();
	uint32_t seen = MAX(atomic_load(&flow->last_seen), atomic_load(&reverse->last_seen));
	uint64_t started = conn->start_ns / 1000000000u, now = (uint64_t)time(NULL);

	put_integer(object, "id", number);
	json_object_put_string(object, "state", control_conn_state(conn));
	json_object_put_string(object, "verdict", conn_verdict_name(conn));
	put_addresses(object, &flow->key);
	json_object_put_string(object, "in_port", control_port_name(sw, flow->key.in_port));
	json_object_put_string(
		object, "out_port", control_port_name(sw, atomic_load(&conn->out_port)));
	put_integer(object, "vlan", flow->key.net & 0xfff);
	put_verdict(object, policy_of_revision(sw, atomic_load(&conn->policy_revision)), conn);
	put_integer(object, "packets_forward", atomic_load(&conn->dir[0].packets));
	put_integer(object, "bytes_forward", atomic_load(&conn->dir[0].bytes));
	put_integer(object, "packets_reverse", atomic_load(&conn->dir[1].packets));
	put_integer(object, "bytes_reverse", atomic_load(&conn->dir[1].bytes));
	put_integer(object, "age_s", now > started ? now - started : 0);
	put_integer(object, "idle_s", conn_clock() > seen ? conn_clock() - seen : 0);
	return object;
}

/* --- commands ------------------------------------------------------------------------------- */

static void visit(struct conn_table *table, uint32_t number, void *list_)
{
	struct conn_list *list = list_;
	struct conn *conn = conn_of_flow(table, 2 * number);

	if (list->n >= list->limit || !matches(list, conn_flow(table, 2 * number), conn))
		return;
	list->n++;
	if (list->array != NULL)
		json_array_add(list->array, describe(list, number));
	else
		atomic_fetch_or(&conn->flags, CONN_CLOSE_NOW);
}

static bool visit_all(
	struct unixctl_conn *reply, struct conn_list *list, int n_words, const char *words[])
{
	struct conn_table *table = list->config->sw->connections;
	const char *error = parse_filter(&list->filter, n_words, words);

	if (error != NULL) {
		unixctl_command_reply_error(reply, error);
		return false;
	}
	for (uint32_t at = 0, end = conn_high_water(table); at < end && list->n < list->limit;) {
		uint32_t next = end - at > STRIDE ? at + STRIDE : end;

		list->policy = endpoint_map_policy(atomic_load(&list->config->sw->endpoints));
		conn_for_each(table, at, next, visit, list);
		ovsrcu_quiesce(); /* Others wait for that. */
		at = next;
	}
	return true;
}

static void list_connections(struct unixctl_conn *reply, int argc, const char *argv[], void *config)
{
	struct conn_list list = {.config = config};
	unsigned int limit;

	if (!str_to_uint(argv[1], 10, &limit) || limit > LIST_MAX) {
		unixctl_command_reply_error(reply, "the first argument is how many to list, 100000 "
						   "at most; filters choose which");
		return;
	}
	list.limit = limit;
	list.array = json_array_create_empty();
	if (visit_all(reply, &list, argc - 2, argv + 2))
		control_reply(reply, list.array);
	else
		json_destroy(list.array);
}

static void flush_connections(
	struct unixctl_conn *reply, int argc, const char *argv[], void *config)
{
	struct conn_list list = {.config = config, .limit = SIZE_MAX};

	if (!visit_all(reply, &list, argc - 1, argv + 1))
		return;
	struct json *object = json_object_create();
	put_integer(object, "flushed", list.n);
	control_reply(reply, object);
}

static void put_tcp_side(struct json *object, const char *name, const struct tcp_side *side)
{
	struct json *json = json_object_create();

	put_integer(json, "sent_end", atomic_load(&side->sent_end));
	put_integer(json, "granted", atomic_load(&side->granted));
	put_integer(json, "max_window", atomic_load(&side->max_window));
	put_integer(json, "scale", atomic_load(&side->flags) >> TCP_SIDE_SCALE_SHIFT);
	put_integer(json, "flags_seen", atomic_load(&side->flags_seen));
	json_object_put(object, name, json);
}

struct conn_search {
	uint32_t number;
	bool found;
};

static void compare_number(struct conn_table *table OVS_UNUSED, uint32_t number, void *search_)
{
	struct conn_search *search = search_;

	search->found |= number == search->number;
}

static void show_connection(
	struct unixctl_conn *reply, int argc OVS_UNUSED, const char *argv[], void *config_)
{
	const struct config *config = config_;
	struct conn_table *table = config->sw->connections;
	struct conn_list list = {.config = config};
	struct conn_search search = {0};
	unsigned int number;

	if (str_to_uint(argv[1], 10, &number) && number < conn_high_water(table)) {
		search.number = number;
		conn_for_each(table, number, number + 1, compare_number, &search);
	}
	if (!search.found) {
		unixctl_command_reply_error(
			reply, "no such connection; it may have ended: `cordon conn list`");
		return;
	}
	const struct conn *conn = conn_of_flow(table, 2 * search.number);
	struct json *object = describe(&list, search.number);
	if (atomic_load(&conn->flags) & CONN_TCP) {
		put_tcp_side(object, "tcp_initiator", &conn->dir[0].tcp);
		put_tcp_side(object, "tcp_responder", &conn->dir[1].tcp);
	}
	for (unsigned int i = 0; i < 2; i++) {
		struct json *flow_json = json_object_create();
		const struct flow *flow = conn_flow(table, 2 * search.number + i);

		put_integer(flow_json, "program", atomic_load(&flow->program));
		put_integer(
			flow_json, "forwarding_revision", atomic_load(&flow->forwarding_revision));
		put_integer(flow_json, "policy_epoch", atomic_load(&flow->policy_epoch));
		json_object_put(object, i == 0 ? "flow_forward" : "flow_reverse", flow_json);
	}
	control_reply(reply, object);
}

void control_conn_register(struct config *config)
{
	unixctl_command_register(
		"conn/list", "LIMIT [KEY=VALUE]...", 1, 9, list_connections, config);
	unixctl_command_register("conn/show", "ID", 1, 1, show_connection, config);
	unixctl_command_register("conn/flush", "[KEY=VALUE]...", 0, 8, flush_connections, config);
}
