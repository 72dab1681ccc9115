/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The zones' word on a connection.  Called on the miss path by workers and by the sweep, under RCU.
 *
 * A connection is judged at both ends.  At the source vNIC the source's zone is the vNIC's own, and
 * the destination's is that of whoever owns the destination address, or else of the port that the
 * frame leaves by.  At the destination vNIC the destination's zone is the vNIC's own, and the
 * source's is that of whoever owns the source address.  Between two vNICs of one network that is
 * the same question twice, and is asked once; it is not when a router or a service chain stands
 * between them, or when the other end is on another host.
 */
#include <config.h>

#include "datapath/switch.h"

#include <arpa/inet.h>

#include "zones/both_ends.h"

static bool is_endpoint(const struct port *port)
{
	const struct port_settings *settings =
		atomic_load_explicit(&port->settings, memory_order_acquire);

	return settings->role != PORT_UPLINK;
}

/* The zone of the far end: by its address' owner, else by its port, else by prefix. */
static uint16_t far_zone(const struct endpoint_map *endpoints, const struct endpoint_owner *owner,
	const struct port *port, bool port_is_endpoint)
{
	if (!owner->owned && !owner->disputed && port_is_endpoint)
		return endpoint_map_port_zone(endpoints, port->number);
	return owner->zone;
}

static void ask(const struct endpoint_map *endpoints, const struct zone_question *question,
	struct verdict *verdict)
{
	uint16_t source_zone = question->source_zone, destination_zone = question->destination_zone;
	struct zone_verdict answer;

	zone_decide(endpoint_map_policy(endpoints), question, &answer);
	verdict->action = answer.action;
	verdict->log = answer.log;
	verdict->rule = answer.rule;
	verdict->helper = answer.helper;
	if (unlikely(answer.limited))
		verdict->limited[verdict->n_limited++] =
			(struct limit_pair){.rule = answer.rule, .zone = source_zone};
	verdict->source_zone = source_zone;
	verdict->destination_zone = destination_zone;
	verdict->quarantined =
		source_zone == ZONE_QUARANTINE || destination_zone == ZONE_QUARANTINE;
}

/* What is asked: see verdict_questions().  `owners` matter to IP only. */
static size_t make_questions(const struct endpoint_map *endpoints, const struct port *in,
	const struct port *out, const struct conn_key *key, uint8_t icmp_type, uint8_t icmp_code,
	const struct address_owners *owners, struct zone_question questions[2])
{
	bool is_icmp = key->protocol == IPPROTO_ICMP || key->protocol == IPPROTO_ICMPV6;
	bool is_ip = key->kind != CONN_KEY_ETHERNET, has_ports = is_ip && !is_icmp;
	bool from = is_endpoint(in), to = is_endpoint(out);
	uint16_t source_zone = from ? endpoint_map_port_zone(endpoints, in->number) : 0;
	uint16_t destination_zone = to ? endpoint_map_port_zone(endpoints, out->number) : 0;
	struct zone_question *question = questions;

	*question = (struct zone_question){
		.source_zone = source_zone,
		.destination_zone = destination_zone,
		.protocol = key->protocol,
		.type = icmp_type,
		.code = icmp_code,
		.source_port = has_ports ? ntohs(key->source_port) : 0,
		.destination_port = has_ports ? ntohs(key->destination_port) : 0,
	};
	if (!is_ip) /* No prefix holds such a frame, so beyond an uplink it is in no zone. */
		return from || to;
	uint16_t far_source = far_zone(endpoints, &owners->source, in, from);
	uint16_t far_destination = far_zone(endpoints, &owners->destination, out, to);
	if (from) {
		question->destination_zone = far_destination;
		if (!to || (far_source == source_zone && far_destination == destination_zone))
			return 1;
		questions[1] = questions[0];
		question = &questions[1];
		question->destination_zone = destination_zone;
	}
	question->source_zone = far_source;
	return (size_t)from + to;
}

static struct address_owners owners_of(
	const struct endpoint_map *endpoints, const struct conn_key *key)
{
	struct address_owners owners = {0};

	if (key->kind != CONN_KEY_ETHERNET)
		owners = (struct address_owners){
			.source = endpoint_map_lookup(endpoints, &key->source),
			.destination = endpoint_map_lookup(endpoints, &key->destination)};
	return owners;
}

size_t verdict_questions(const struct endpoint_map *endpoints, const struct port *in,
	const struct port *out, const struct conn_key *key, uint8_t icmp_type, uint8_t icmp_code,
	struct zone_question questions[2])
{
	const struct address_owners owners = owners_of(endpoints, key);

	return make_questions(endpoints, in, out, key, icmp_type, icmp_code, &owners, questions);
}

void verdict_decide_between(const struct endpoint_map *endpoints, const struct port *in,
	const struct port *out, const struct conn_key *key, uint8_t icmp_type, uint8_t icmp_code,
	const struct address_owners *owners, struct verdict *verdict)
{
	struct zone_question questions[2];
	size_t n = make_questions(endpoints, in, out, key, icmp_type, icmp_code, owners, questions);

	*verdict = (struct verdict){
		.action = ZONE_ALLOW,
		.policy_revision = zone_policy_revision(endpoint_map_policy(endpoints)),
	};
	for (size_t i = 0; i < n && verdict->action == ZONE_ALLOW; i++)
		ask(endpoints, &questions[i], verdict);
}

void verdict_decide(const struct endpoint_map *endpoints, const struct port *in,
	const struct port *out, const struct conn_key *key, uint8_t icmp_type, uint8_t icmp_code,
	struct verdict *verdict)
{
	const struct address_owners owners = owners_of(endpoints, key);

	verdict_decide_between(endpoints, in, out, key, icmp_type, icmp_code, &owners, verdict);
}

bool verdict_simulate(const struct endpoint_map *endpoints, const struct port *in,
	const struct port *out, const struct conn_key *key, uint8_t icmp_type, uint8_t icmp_code,
	struct zone_verdict *simulated)
{
	struct both_ends_verdict verdict;
	struct zone_question questions[2];

	if (!zone_policy_has_simulated(endpoint_map_policy(endpoints)))
		return false;
	size_t n = verdict_questions(endpoints, in, out, key, icmp_type, icmp_code, questions);
	if (!both_ends_decide_simulated(endpoint_map_policy(endpoints), questions, n, &verdict))
		return false;
	*simulated = verdict.verdict;
	return true;
}

bool verdict_simulate_zones(const struct zone_policy *policy, const struct conn_key *key,
	uint8_t icmp_type, uint8_t icmp_code, uint16_t source_zone, uint16_t destination_zone,
	struct zone_verdict *simulated)
{
	bool is_icmp = key->protocol == IPPROTO_ICMP || key->protocol == IPPROTO_ICMPV6;
	bool has_ports = key->kind != CONN_KEY_ETHERNET && !is_icmp;
	const struct zone_question question = {
		.source_zone = source_zone,
		.destination_zone = destination_zone,
		.protocol = key->protocol,
		.type = icmp_type,
		.code = icmp_code,
		.source_port = has_ports ? ntohs(key->source_port) : 0,
		.destination_port = has_ports ? ntohs(key->destination_port) : 0,
	};

	return zone_decide_simulated(policy, &question, simulated);
}
