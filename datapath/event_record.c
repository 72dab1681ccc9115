/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An event becomes a record: what is numbers on the packet path gets its names.  Called by the log
 * thread, under RCU.
 *
 * Everything is named as it was when the event happened.  Rules and zones are named by the policy
 * of the event's revision: the one in force, or one of those before it that the main thread keeps.
 * A connection that outlived the process may name an older one: of that, the rule hits know the
 * names.  A port is named by what it was at the time of the event (port_identity.c).
 */
#include <config.h>

#include "datapath/event_record.h"

#include <arpa/inet.h>
#include <string.h>

#include "datapath/switch.h"

/* --- ports and zones ------------------------------------------------------------------------ */

static void name_party(const struct cordon_switch *sw, const struct log_event *event,
	struct log_party *party, uint16_t number, const char *zone, const struct in6_addr *address,
	uint16_t transport_port, const uint8_t mac[6])
{
	const struct port_identity *identity = port_identity_at(sw, number, event->time_ns);

	*party = (struct log_party){
		.address = *address,
		.transport_port = transport_port,
		.port = identity != NULL ? identity->name : "",
		.vm_id = identity != NULL ? identity->vm_id : "",
		.vm_name = identity != NULL ? identity->vm_name : "",
		.tags = identity != NULL ? identity->tags : "",
		.zone = zone,
	};
	memcpy(party->mac, mac, 6);
}

/* "" of a zone that is not known, or that no revision is named for. */
static const char *zone_name(const struct cordon_switch *sw, const struct zone_policy *policy,
	uint32_t revision, uint16_t zone)
{
	if (zone == ZONE_UNKNOWN)
		return "";
	if (policy != NULL)
		return zone < zone_count(policy) ? zone_info(policy, zone).name : "";
	return rule_hits_zone_name(sw->hits, revision, zone);
}

/* True of what only tells how many records were held back: it is of no packet. */
static bool is_count(const struct log_event *event)
{
	return event->packets[0] == 0 && event->suppressed != 0;
}

/* --- rules ---------------------------------------------------------------------------------- */

/* A rule whose policy is gone, by the name that it is counted under; else by its number. */
static void recall_rule(const struct cordon_switch *sw, const struct log_event *event,
	struct log_record *record, struct event_text *text)
{
	char *slash;

	if (!rule_hits_name(sw->hits, event->policy_revision, event->rule, text->rule) ||
		(slash = strchr(text->rule, '/')) == NULL) {
		snprintf(text->rule, sizeof(text->rule), "#%u", event->rule);
		record->rule = text->rule;
		return;
	}
	*slash = '\0';
	record->policy = text->rule;
	record->rule = slash + 1;
}

static void name_rule(const struct cordon_switch *sw, const struct zone_policy *policy,
	const struct log_event *event, struct log_record *record, struct event_text *text)
{
	struct zone_rule_info info;

	record->tier = record->policy = record->rule = record->label = "";
	if (event->rule == RULE_NONE)
		return;
	if (policy == NULL || !zone_rule_info(policy, event->rule, &info, text->rule)) {
		recall_rule(sw, event, record, text);
		return;
	}
	record->tier = info.tier != NULL ? info.tier : "";
	record->policy = info.policy;
	record->rule = info.rule;
	record->label = info.label != NULL ? info.label : "";
	if (info.is_default && is_count(event) && event->source_zone == ZONE_UNKNOWN) {
		record->source.zone = zone_info(policy, info.source_zone).name;
		record->destination.zone = zone_info(policy, info.destination_zone).name;
	}
}

/* --- simulation ----------------------------------------------------------------------------- */

/* True if the zones of both ports are today what they were when the event was decided. */
static bool asks_the_same(const struct endpoint_map *endpoints, const struct port *in,
	const struct port *out, const struct log_event *event)
{
	struct zone_question questions[2];
	size_t n = verdict_questions(
		endpoints, in, out, &event->key, event->icmp_type, event->icmp_code, questions);

	for (size_t i = 0; i < n; i++) {
		if (questions[i].source_zone == event->source_zone &&
			questions[i].destination_zone == event->destination_zone)
			return true;
	}
	return false;
}

/* What the event's revision would have said with its simulated policies.  Asked as it was on the
 * packet path, at both ends, unless something has changed by now: then by the event's own zones. */
static bool simulate(const struct cordon_switch *sw, const struct zone_policy *policy,
	const struct log_event *event, struct zone_verdict *simulated)
{
	const struct endpoint_map *endpoints =
		atomic_load_explicit(&sw->endpoints, memory_order_acquire);
	const struct port *in = switch_port(sw, event->key.in_port);
	const struct port *out = switch_port(sw, event->out_port);

	if (in != NULL && out != NULL && endpoint_map_policy(endpoints) == policy &&
		asks_the_same(endpoints, in, out, event))
		return verdict_simulate(endpoints, in, out, &event->key, event->icmp_type,
			event->icmp_code, simulated);
	return verdict_simulate_zones(policy, &event->key, event->icmp_type, event->icmp_code,
		event->source_zone, event->destination_zone, simulated);
}

static void name_simulated(const struct zone_policy *policy, uint32_t rule, uint8_t action,
	struct log_record *record, struct event_text *text)
{
	struct zone_rule_info info;

	record->simulated = 1 + action;
	if (zone_rule_info(policy, rule, &info, text->simulated_rule)) {
		record->simulated_policy = info.policy;
		record->simulated_rule = info.rule;
	}
}

/* What would have been refused and was held back: the event's rule is the simulated one, and which
 * rule has allowed it is not known. */
static void name_held_back(const struct zone_policy *policy, const struct log_event *event,
	struct log_record *record, struct event_text *text)
{
	struct zone_rule_info info;
	uint8_t action = ZONE_DENY;

	if (zone_rule_info(policy, event->rule, &info, text->simulated_rule))
		action = info.action;
	name_simulated(policy, event->rule, action, record, text);
	record->tier = record->policy = record->rule = record->label = "";
}

/* Of what no rule has decided (quarantine, signalling, spoofing), simulated rules say nothing. */
static void add_simulation(const struct cordon_switch *sw, const struct zone_policy *policy,
	const struct log_event *event, struct log_record *record, struct event_text *text)
{
	struct zone_verdict simulated;

	record->simulated_policy = record->simulated_rule = "";
	if (policy == NULL || !zone_policy_has_simulated(policy) || event->is_related ||
		event->rule == RULE_NONE || event->kind == LOG_SPOOFED)
		return;
	if (is_count(event)) {
		if (event->kind == LOG_WOULD_DENY)
			name_held_back(policy, event, record, text);
	} else if (simulate(sw, policy, event, &simulated)) {
		name_simulated(policy, simulated.rule, simulated.action, record, text);
	}
}

/* --- records -------------------------------------------------------------------------------- */

static const char *const end_reason_names[] = {
#define X(enumerator, name) name,
	END_REASONS(X)
#undef X
};

static const char *reason_of(const struct log_event *event)
{
	if (event->reason_is_end)
		return end_reason_names[event->reason < END_N_REASONS ? event->reason : 0];
	if (event->kind == LOG_START)
		return event->reason == START_PICKUP ? "pickup" : "";
	return event->reason != DROP_NONE ? drop_name(event->reason) : "";
}

static void name_parties(const struct cordon_switch *sw, const struct zone_policy *policy,
	const struct log_event *event, struct log_record *record)
{
	static const struct in6_addr no_address;
	const struct conn_key *key = &event->key;
	uint32_t revision = event->policy_revision;
	bool ip = key->kind != CONN_KEY_ETHERNET,
	     has_ports = ip && key->protocol != IPPROTO_ICMP && key->protocol != IPPROTO_ICMPV6;

	name_party(sw, event, &record->source, key->in_port,
		zone_name(sw, policy, revision, event->source_zone),
		ip ? &key->source : &no_address, has_ports ? ntohs(key->source_port) : 0,
		event->source_mac);
	name_party(sw, event, &record->destination, event->out_port,
		zone_name(sw, policy, revision, event->destination_zone),
		ip ? &key->destination : &no_address, has_ports ? ntohs(key->destination_port) : 0,
		event->destination_mac);
}

void event_record(const struct cordon_switch *sw, const struct log_event *event, uint64_t sequence,
	struct event_text *text, struct log_record *record)
{
	const struct zone_policy *policy = policy_of_revision(sw, event->policy_revision);

	*record = (struct log_record){
		.time_ns = event->time_ns,
		.start_ns = event->start_ns,
		.sequence = sequence,
		.host = sw->options->host,
		.kind = event->kind,
		.protocol = event->key.protocol,
		.icmp_type = event->icmp_type,
		.icmp_code = event->icmp_code,
		.tcp_flags = event->tcp_flags,
		.verdict = event->verdict,
		.ethertype = event->ethertype,
		.vlan = event->key.net & 0xfff,
		.reason = reason_of(event),
		.policy_revision = event->policy_revision,
		.suppressed = event->suppressed,
		.packets_forward = event->packets[0],
		.bytes_forward = event->bytes[0],
		.packets_reverse = event->packets[1],
		.bytes_reverse = event->bytes[1],
	};
	name_parties(sw, policy, event, record);
	name_rule(sw, policy, event, record, text);
	add_simulation(sw, policy, event, record, text);
}
