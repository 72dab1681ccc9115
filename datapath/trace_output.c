/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of a traced packet's way: what is done to it, the ports that would send it, and, if it is
 * dropped, what can be done about that.  Called by the main thread for `cordon trace`.
 */
#include <config.h>

#include "datapath/trace.h"

#include "openvswitch/json.h"
#include "util.h"

/* Why the port would not send the frame, as far as can be told: whether its queue has room is known
 * at the moment of sending only. */
static enum drop_reason why_refused(const struct port *port, const struct rte_mbuf *frame)
{
	if (!port_can_send(port))
		return DROP_OUTPUT_DOWN;
	return offload_fits(frame, port->mtu) ? DROP_NONE : DROP_OUTPUT_MTU;
}

static void leave_by(struct trace *trace, uint16_t number, enum drop_reason *refusal)
{
	const struct port *port = switch_port(trace->sw, number);
	enum drop_reason reason = DROP_OUTPUT_MISSING;

	if (port != NULL)
		reason = why_refused(port, trace->context.frame);
	if (reason == DROP_NONE) {
		trace_step(
			trace, "output", TRACE_PASS, "%s, link up, MTU %u", port->name, port->mtu);
		trace->outputs[trace->n_outputs++] = number;
		return;
	}
	*refusal = reason;
	trace->refusals[reason]++;
	struct json *step = trace_step(trace, "output", TRACE_DROP, "%s refuses it: %s (%s)",
		control_port_name(trace->sw, number), drop_name(reason), drop_text(reason));
	if (reason == DROP_OUTPUT_MTU)
		trace_detail(step, "the frame has %u bytes; the port's MTU is %u, without headers",
			rte_pktmbuf_pkt_len(trace->context.frame), port->mtu);
}

void trace_actions(struct trace *trace, const struct action *actions, size_t n)
{
	enum drop_reason refusal = DROP_NO_OUTPUT;

	for (size_t i = 0; i < n; i++) {
		const struct action *action = &actions[i];

		switch (action->type) {
		case ACTION_OUTPUT: leave_by(trace, action->argument, &refusal); break;
		case ACTION_PUSH_VLAN:
			trace_step(trace, "action", TRACE_PASS, "a tag with VLAN %u is put in",
				action->argument & 0xfff);
			break;
		case ACTION_POP_VLAN:
			trace_step(trace, "action", TRACE_PASS, "the tag is taken out");
			break;
		case ACTION_DROP: trace_drop(trace, "action", action->reason); return;
		}
	}
	if (trace->n_outputs == 0)
		trace->reason = refusal;
}

/* --- what to do ----------------------------------------------------------------------------- */

static const struct {
	enum drop_reason reason;
	const char *advice;
} advices[] = {
	{DROP_VLAN_NOT_ALLOWED, "compare the tag with the port's VLAN, mode and trunks: `cordon "
				"port show PORT`"},
	{DROP_STORM, "raise the port's limit on floods (`cordon port set PORT --storm-limit`), or "
		     "find out what it sends to everybody"},
	{DROP_RATE_LIMIT, "raise the port's rate (`cordon port set PORT --ingress-kbps`), or wait"},
	{DROP_SPOOFED_MAC, "configure the MAC for this port (`cordon port set PORT --mac`), if it "
			   "is the guest's"},
	{DROP_SPOOFED_ADDRESS, "configure the address for this port (`cordon port set PORT "
			       "--address`), if it is the guest's and no other port's"},
	{DROP_SPOOFED_ARP, "the sender in the ARP packet must be the port's own MAC and address"},
	{DROP_SPOOFED_ND, "the message must speak of the port's own MAC and addresses; routers "
			  "are told of by ports that may"},
	{DROP_NO_OUTPUT, "`cordon mac list` shows what is known of the destination, `cordon port "
			 "list` which ports are in its network"},
	{DROP_MAC_LIMIT, "raise the port's limit (`cordon port set PORT --mac-limit`), if so many "
			 "hosts are behind it"},
	{DROP_POLICY, "if it should pass, allow it by a rule that is tried before the one above; "
		      "`cordon policy show` is the policy in force"},
	{DROP_REJECTED, "if it should pass, allow it by a rule that is tried before the one above; "
			"`cordon policy show` is the policy in force"},
	{DROP_QUARANTINE, "give the endpoint tags that match exactly one zone: `cordon zone show "
			  "quarantine` tells who lacks them"},
	{DROP_TCP_OUT_OF_STATE, "a connection begins with a SYN; one that was idle for too long, "
				"or that the switch has never seen, has to be opened anew"},
	{DROP_TCP_WINDOW, "one of the ends, or something between them, has lost track of the "
			  "connection: `cordon conn show` has what the switch knows"},
	{DROP_ICMP_UNRELATED, "errors and replies pass only for connections that are live and "
			      "allowed: `cordon conn list`"},
	{DROP_TABLE_FULL, "start the switch with room for more connections, or find out who fills "
			  "it: `cordon conn list`"},
	{DROP_QUOTA, "raise the port's limit (`cordon port set PORT --connection-limit`), or find "
		     "out what it opens: `cordon conn list --port PORT`"},
	{DROP_HALF_OPEN_QUOTA, "its connections are not answered: a scan, or a server that is "
			       "down; else raise the port's half-open limit"},
	{DROP_RATE_QUOTA, "raise the port's limit on new connections a second, or find out what it "
			  "opens: `cordon conn list --port PORT`"},
	{DROP_INBOUND_QUOTA,
		"raise the output port's limit, or find out who fills it: `cordon conn "
		"list --port PORT`"},
	{DROP_INBOUND_HALF_OPEN,
		"a flood from outside, or a guest that does not answer; else raise "
		"the output port's half-open limit"},
	{DROP_INBOUND_RATE, "a flood from outside; else raise the output port's limit on new "
			    "connections a second"},
	{DROP_ZONE_QUOTA, "raise the zone's `limits` in the policy"},
	{DROP_ZONE_HALF_OPEN, "raise the zone's `limits` in the policy, if this is no flood"},
	{DROP_ZONE_RATE, "raise the zone's `limits` in the policy, if this is no flood"},
	{DROP_RULE_QUOTA, "raise the rule's `limits` in the policy"},
	{DROP_RULE_HALF_OPEN, "raise the rule's `limits` in the policy, if this is no flood"},
	{DROP_RULE_RATE, "raise the rule's `limits` in the policy, if this is no flood"},
	{DROP_OUTPUT_MISSING, "the port is being removed"},
	{DROP_OUTPUT_DOWN, "the output port's guest or device is down: `cordon port show PORT`"},
	{DROP_OUTPUT_MTU, "lower the sender's MTU, or raise that of the output port's device"},
};

const char *trace_advice(enum drop_reason reason)
{
	for (size_t i = 0; i < ARRAY_SIZE(advices); i++)
		if (advices[i].reason == reason)
			return advices[i].advice;
	return NULL;
}
