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

static bool is_endpoint(const struct port *port)
{
	const struct port_settings *settings =
		atomic_load_explicit(&port->settings, memory_order_acquire);

	return settings->role != PORT_UPLINK;
}

/* The zone of the far end: by its address' owner, else by its port, else by prefix. */
static uint16_t far_zone(const struct endpoint_map *endpoints, const struct in6_addr *address,
	const struct port *port)
{
	struct endpoint_owner owner = endpoint_map_lookup(endpoints, address);

	if (!owner.owned && !owner.disputed && is_endpoint(port))
		return endpoint_map_port_zone(endpoints, port->number);
	return owner.zone;
}

static void ask(const struct endpoint_map *endpoints, struct zone_question *question,
	uint16_t source_zone, uint16_t destination_zone, struct verdict *verdict)
{
	struct zone_verdict answer;

	question->source_zone = source_zone;
	question->destination_zone = destination_zone;
	zone_decide(endpoint_map_policy(endpoints), question, &answer);
	verdict->action = answer.action;
	verdict->log = answer.log;
	verdict->rule = answer.rule;
	verdict->source_zone = source_zone;
	verdict->destination_zone = destination_zone;
	verdict->quarantined =
		source_zone == ZONE_QUARANTINE || destination_zone == ZONE_QUARANTINE;
}

void verdict_decide(const struct endpoint_map *endpoints, const struct port *in,
	const struct port *out, const struct conn_key *key, uint8_t icmp_type, uint8_t icmp_code,
	struct verdict *verdict)
{
	bool is_icmp = key->protocol == IPPROTO_ICMP || key->protocol == IPPROTO_ICMPV6;
	struct zone_question question = {
		.protocol = key->protocol,
		.type = icmp_type,
		.code = icmp_code,
		.source_port = is_icmp ? 0 : ntohs(key->source_port),
		.destination_port = is_icmp ? 0 : ntohs(key->destination_port),
	};
	bool is_ip = key->kind != CONN_KEY_ETHERNET;
	bool from = is_endpoint(in), to = is_endpoint(out);
	uint16_t near_source = from ? endpoint_map_port_zone(endpoints, in->number) : 0;
	uint16_t near_destination = to ? endpoint_map_port_zone(endpoints, out->number) : 0;

	*verdict = (struct verdict){
		.action = ZONE_ALLOW,
		.policy_revision = zone_policy_revision(endpoint_map_policy(endpoints)),
	};
	if (!is_ip) {
		/* No prefix holds such a frame, so beyond an uplink it is in no zone. */
		question.source_port = question.destination_port = 0;
		if (from || to)
			ask(endpoints, &question, near_source, near_destination, verdict);
		return;
	}
	uint16_t far_destination = from ? far_zone(endpoints, &key->destination, out) : 0;
	uint16_t far_source = to ? far_zone(endpoints, &key->source, in) : 0;

	if (from)
		ask(endpoints, &question, near_source, far_destination, verdict);
	if (to && verdict->action == ZONE_ALLOW &&
		!(from && near_source == far_source && far_destination == near_destination))
		ask(endpoints, &question, far_source, near_destination, verdict);
}
