/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of the miss path, for the files that it is made of.  All else uses switch.h.
 *
 *      miss.c          the path: the spoof guard, forwarding, and what becomes of the connection
 *      miss_output.c   the zones' word on each output; frames to several ports
 *      miss_program.c  action programs, made and put into flows
 *      icmp_error.c    errors that quote a connection
 *      quota.c, connection_limits.c   what may be opened
 *
 * All of it runs in a worker, under RCU, within the burst of the packet.
 */
#ifndef DATAPATH_MISS_H
#define DATAPATH_MISS_H

#include "datapath/switch.h"

/* What the network itself does not work without. */
enum signalling {
	SIGNALLING_NONE,
	SIGNALLING_TO_ALL,     /* Passes between all but quarantined ports, whatever the rules. */
	SIGNALLING_TO_SERVERS, /* A DHCP request: likewise, to ports only that serve DHCP. */
};

/* What the stages of one miss hand to each other. */
struct miss {
	struct packet_context *context;
	const struct endpoint_map *endpoints;
	struct address_owners owners;	   /* By `endpoints`. */
	const struct forward_entry *known; /* Where such frames go; NULL: not kept. */
	struct conn_key mirror;		   /* The key of the answer, if the output is known. */
	uint32_t mirror_hash;
	struct program built;
	struct forwarding forwarding;
	enum signalling signalling; /* signalling_of(), once the outputs are known. */
};

static inline bool miss_is_uplink(const struct port *port)
{
	return port != NULL &&
	       atomic_load_explicit(&port->settings, memory_order_acquire)->role == PORT_UPLINK;
}

/* A host outside may be reached by any uplink, and change it. */
static inline bool miss_same_side(
	const struct cordon_switch *sw, uint16_t number, const struct port *port)
{
	return number == port->number ||
	       (miss_is_uplink(switch_port(sw, number)) && miss_is_uplink(port));
}

/* The port at which the packets of `flow` leave, as far as the connection knows; else 0. */
static inline uint16_t miss_far_port(const struct conn_table *table, uint32_t flow)
{
	if (flow & 1)
		return conn_flow(table, flow ^ 1)->key.in_port;
	return atomic_load(&conn_of_flow(table, flow)->out_port);
}

/* --- miss.c --------------------------------------------------------------------------------- */

/* The flow that a packet belongs to. */
struct miss_found {
	uint32_t flow;	 /* CONN_FLOW_NONE: none yet. */
	uint32_t denial; /* Of the other direction, which must give way; or CONN_FLOW_NONE. */
	bool owns_key;	 /* The flow's key is the packet's, so a program may be cached in it. */
	bool enters;	 /* The flow is not in the table yet: its connection's other one is. */
};

/* Finds the connection of a packet for which the lookup gave `flow`, and narrows a flood down to
 * the port that the connection remembers.  DROP_NONE, or why the packet goes nowhere.  Changes
 * nothing but *miss. */
enum drop_reason miss_find(struct miss *miss, uint32_t flow, struct miss_found *found);

/* DROP_NONE, or by what name the packet's checksum is wrong, if one that the lookup found no flow
 * for, or a denied one, must have a right one.  Changes nothing. */
enum drop_reason miss_verify(const struct packet_context *context, uint32_t flow);

/* What the policy in force says of a connection by a packet of either direction: always the
 * question of the first packet, from the initiator to the responder. */
void miss_decide_again(const struct miss *miss, uint32_t flow, struct verdict *verdict);

/* May the packet begin a connection that the zones allow?  Sets *picked_up if it does so in
 * mid-stream, which the zone of either end must permit. */
enum drop_reason miss_may_begin(
	const struct miss *miss, const struct verdict *verdict, bool *picked_up);

/* May it in the place of the one that `flow` is of? */
enum drop_reason miss_may_begin_again(
	const struct miss *miss, uint32_t flow, const struct verdict *verdict, bool *picked_up);

/* --- signalling.c --------------------------------------------------------------------------- */

/* ARP, neighbour discovery, reports of multicast membership, the announcement of a guest that has
 * moved (RARP), and DHCP where a port serves it.  The guards have read what they say.  They make no
 * connection, since the next one may say something else.  What is not written as its RFC demands
 * (RFC 4861, 6.1 and 7.1: hop limit 255; RFC 3376, 4 and RFC 3810, 5: to a group, hop limit 1) is
 * traffic like any other. */
enum signalling signalling_of(const struct miss *miss);

bool signalling_serves_dhcp(const struct port *port);

/* --- miss_output.c -------------------------------------------------------------------------- */

bool miss_is_quarantined(const struct miss *miss, const struct port *port);

/* The verdict on one output: the zones', or of signalling, that of quarantine alone. */
void miss_decide_output(const struct miss *miss, const struct port *out, struct verdict *verdict);

/* The verdict on the outputs of a unicast frame.  With several (an unknown destination), the first
 * allowed one speaks for the connection. */
void miss_decide_outputs(const struct miss *miss, struct verdict *verdict);

/* The actions that send the frame to each output that the zones allow.  Returns how many; *decisive
 * is the verdict on the first of these outputs.  With none, *denied_at is the port of a denial,
 * which is *decisive, or 0.  Changes nothing. */
size_t miss_allowed_actions(const struct miss *miss, struct action actions[2 * PORTS_MAX],
	struct verdict *decisive, uint16_t *denied_at);

/* Sends the frame to each output that the zones allow.  Nothing is cached: who hears a flood may
 * change with every frame.  Consumes the frame. */
void miss_send_to_allowed(const struct miss *miss);

/* What a refusal by the zones is counted under, and its record in the log. */
enum drop_reason miss_denial_reason(const struct verdict *verdict);
void miss_log_denial(const struct miss *miss, const struct verdict *verdict, uint16_t out);

/* --- miss_program.c ------------------------------------------------------------------------- */

/* Builds the program that sends the frame to one port, or that drops it. */
void miss_build_output(const struct miss *miss, const struct port *out, struct program *program);
void miss_build_drop(const struct miss *miss, enum drop_reason reason, struct program *program);

/* The program that sends the frame to the one port where it goes. */
const struct program *miss_choose_program(struct miss *miss, const struct port *out);

/* The program's number, or PROGRAM_NONE if there is no room for it. */
uint32_t miss_intern(const struct miss *miss, const struct program *program);

/* Puts an interned program, if it is one, into a flow that nobody else sees yet.  A verdict that
 * names a helper keeps the flow from being current, so that each of its packets comes here. */
void miss_set_program(const struct miss *miss, struct flow *flow, uint32_t interned,
	const struct verdict *verdict);

/* Lets the next packets of the flow hit, unless the verdict names a helper.  Whoever may write the
 * flow at the same time (another worker, for a guest that sends one flow by two queues) does so
 * before or after, never between. */
void miss_cache_program(const struct miss *miss, uint32_t flow, const struct program *program,
	const struct verdict *verdict);

/* --- icmp_error.c --------------------------------------------------------------------------- */

/* An error passes if it quotes a packet that its receiver sent in a live, allowed connection, in
 * its window (icmp_quote.h), and comes by the port by which that packet left.  A connection that
 * has had no packet under the policy in force is judged by it, as its next packet will be, which
 * then ends it: nothing is written for an error.  DROP_NONE, or why not; with *flow set to that of
 * the packet which is quoted, or to CONN_FLOW_NONE.  Changes nothing. */
enum drop_reason icmp_error_judge(const struct miss *miss, uint32_t *flow);

/* Sends the error on, or drops it.  Consumes the frame. */
void icmp_error_handle(struct miss *miss);

/* --- related.c ------------------------------------------------------------------------------ */

/* True, with a new verdict, if the first packet at hand, which the zones have refused, was
 * announced by a control connection that they allow. */
bool related_is_announced(const struct miss *miss, struct verdict *verdict);

/* It has become a connection, so it is announced no more. */
void related_began(const struct miss *miss);

/* Reads a packet of a control connection, once it has passed inspection, by the helper that the
 * verdict names.  DROP_NONE, or why it must not pass, which has been logged. */
enum drop_reason related_read(
	const struct miss *miss, uint32_t flow, const struct verdict *verdict);

/* --- quota.c -------------------------------------------------------------------------------- */

/* Refuses a new connection that leaves by port `out` (0: several), by the limits of the port that
 * opens it, or of the one that it comes to from outside; then by those of its zone and rule.
 * DROP_NONE: it is to be begun, or quota_give_up() is owed.  A refusal is in *verdict too: whose
 * limit it was, for the log. */
enum drop_reason quota_admit(const struct miss *miss, uint16_t out, struct verdict *verdict);

/* What quota_admit() would say, with nothing taken. */
enum drop_reason quota_would_admit(const struct miss *miss, uint16_t out, struct verdict *verdict);

/* The connection that was admitted cannot be begun after all. */
void quota_give_up(const struct miss *miss, struct verdict *verdict);

/* Denials are cached, so that a repeated one costs no more than a hit, but only in a part of the
 * port's quota: they must not crowd out what is allowed.  A flooded frame's is not: who hears it
 * may change with the next one. */
bool quota_may_cache_denial(const struct miss *miss);

/* --- connection_limits.c -------------------------------------------------------------------- */

/* Refuses a new connection by the limits of its zone and rule, as quota_admit() does. */
enum drop_reason connection_limits_admit(const struct miss *miss, struct verdict *verdict);
enum drop_reason connection_limits_would_admit(const struct miss *miss, struct verdict *verdict);

#endif
