/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Simulation: what policies of `mode: simulate` would refuse of that which is allowed.  They decide
 * nothing; the log is told, once for each connection and revision, or when its ends change zones.
 * Called by workers for connections that begin and for frames to groups, which make none, and by
 * workers and the sweep for those that a new revision finds alive.
 *
 * What other records say of the simulation is found by the log thread, from the record's own zones
 * and service: nothing is kept for it.
 */
#include <config.h>

#include "datapath/switch.h"

/* Without the port at the far end, which a flood does not tell, the zones that decided are asked
 * about alone. */
static bool simulate(const struct cordon_switch *sw, const struct endpoint_map *endpoints,
	uint32_t number, struct zone_verdict *simulated)
{
	const struct conn *conn = conn_of_flow(sw->connections, 2 * number);
	const struct conn_key *key = &conn_flow(sw->connections, 2 * number)->key;
	const struct port *in = switch_port(sw, key->in_port);
	const struct port *out = switch_port(sw, atomic_load(&conn->out_port));

	if (in != NULL && out != NULL)
		return verdict_simulate(endpoints, in, out, key, atomic_load(&conn->icmp_type),
			atomic_load(&conn->icmp_code), simulated);
	return verdict_simulate_zones(endpoint_map_policy(endpoints), key,
		atomic_load(&conn->icmp_type), atomic_load(&conn->icmp_code),
		atomic_load(&conn->source_zone), atomic_load(&conn->destination_zone), simulated);
}

static bool is_told(const struct zone_verdict *simulated)
{
	return simulated->action != ZONE_ALLOW && simulated->log != ZONE_LOG_NONE;
}

static enum drop_reason reason_of(const struct zone_verdict *simulated)
{
	return simulated->action == ZONE_REJECT ? DROP_REJECTED : DROP_POLICY;
}

void simulation_note(struct cordon_switch *sw, const struct endpoint_map *endpoints,
	const struct event_source *from, uint32_t number)
{
	const struct conn *conn = conn_of_flow(sw->connections, 2 * number);
	struct zone_verdict simulated;

	if (!zone_policy_has_simulated(endpoint_map_policy(endpoints)) ||
		atomic_load(&conn->flags) & CONN_RELATED ||
		atomic_load(&conn->rule) == RULE_NONE || /* It is not for rules to say. */
		!simulate(sw, endpoints, number, &simulated))
		return;
	if (is_told(&simulated))
		event_would_deny(from, sw, number, simulated.rule, reason_of(&simulated));
}

bool simulation_note_frame(struct packet_context *context, const struct endpoint_map *endpoints,
	const struct verdict *verdict, const struct port *out)
{
	struct zone_verdict simulated;

	if (verdict->rule == RULE_NONE ||
		!verdict_simulate(endpoints, context->in, out, &context->packet->key,
			context->packet->icmp_type, context->packet->icmp_code, &simulated) ||
		!is_told(&simulated))
		return false;
	event_packet_would_deny(
		context, simulated.rule, reason_of(&simulated), verdict, out->number);
	return true;
}
