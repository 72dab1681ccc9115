/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A packet's way through the switch, in the order of worker.c and miss.c.  Called by the main
 * thread for `cordon trace`, under RCU.
 */
#include <config.h>

#include "datapath/trace.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "openvswitch/json.h"
#include "util.h"

/* --- steps ---------------------------------------------------------------------------------- */

static const char *const mark_names[] = {
	[TRACE_PASS] = "pass", [TRACE_DROP] = "drop", [TRACE_WAIT] = "wait", [TRACE_NOTE] = "note"};

struct json *trace_step(
	struct trace *trace, const char *stage, enum trace_mark mark, const char *format, ...)
{
	struct json *step = json_object_create();
	va_list arguments;

	json_object_put_string(step, "stage", stage);
	json_object_put_string(step, "mark", mark_names[mark]);
	va_start(arguments, format);
	json_object_put(step, "text", json_string_create_nocopy(xvasprintf(format, arguments)));
	va_end(arguments);
	json_array_add(trace->steps, step);
	return step;
}

void trace_detail(struct json *step, const char *format, ...)
{
	struct json *details = shash_find_data(step->object, "details");
	va_list arguments;

	if (details == NULL) {
		details = json_array_create_empty();
		json_object_put(step, "details", details);
	}
	va_start(arguments, format);
	json_array_add(details, json_string_create_nocopy(xvasprintf(format, arguments)));
	va_end(arguments);
}

struct json *trace_drop(struct trace *trace, const char *stage, enum drop_reason reason)
{
	trace->reason = reason;
	return trace_step(
		trace, stage, TRACE_DROP, "dropped: %s (%s)", drop_name(reason), drop_text(reason));
}

/* --- the port and the parser ---------------------------------------------------------------- */

static bool pass_port(struct trace *trace)
{
	static const char *const roles[] = {
		[PORT_VNIC] = "vNIC", [PORT_UPLINK] = "uplink", [PORT_INTERNAL] = "internal port"};
	const struct port *in = trace->context.in;
	const struct port_settings *settings = trace->context.settings;
	bool up = atomic_load(&in->link_up);
	struct json *step = trace_step(trace, "port", up ? TRACE_PASS : TRACE_NOTE,
		"%s, a %s of type %s, link %s", in->name, roles[settings->role], in->backend->type,
		up ? "up" : "down");

	if (!up)
		trace_detail(step, "nothing can come in by it now; the rest is what would be");
	if (settings->ingress_rate_bps == 0)
		return true;
	if (!worker_would_admit(in, settings, rte_pktmbuf_pkt_len(trace->context.frame),
		    trace->worker->clock_ns)) {
		trace_drop(trace, "rate", DROP_RATE_LIMIT);
		return false;
	}
	trace_step(trace, "rate", TRACE_PASS, "within the port's %llu kbit/s",
		(unsigned long long int)settings->ingress_rate_bps / 1000);
	return true;
}

/* Which VLAN the frame is in, and why.  `tci` is its outer tag, or -1. */
static void tell_vlan(struct trace *trace, int tci)
{
	const struct port_settings *settings = trace->context.settings;
	unsigned int vlan = trace->packet.key.net & 0xfff;
	const char *mode = settings->vlan_mode == PORT_TRUNK ? "trunk" : "access";

	if (tci < 0 || (tci & 0xfff) == 0)
		trace_step(trace, "vlan", TRACE_PASS, "%s, so in the %s port's own VLAN %u",
			tci < 0 ? "untagged" : "tagged with a priority only", mode, vlan);
	else
		trace_step(trace, "vlan", TRACE_PASS, "tagged with VLAN %u, which the %s carries",
			vlan, mode);
}

static bool pass_parser(struct trace *trace)
{
	struct packet_context *context = &trace->context;
	struct packet before;
	bool malformed = packet_parse(rte_pktmbuf_mtod(context->frame, const uint8_t *),
				 rte_pktmbuf_data_len(context->frame),
				 rte_pktmbuf_pkt_len(context->frame), &before) != DROP_NONE;
	int tci = !malformed && before.flags & PACKET_TAGGED ? before.vlan_tci : -1;
	enum drop_reason reason =
		worker_parse(context->in, context->settings, context->frame, &trace->packet);

	context->data = rte_pktmbuf_mtod(context->frame, const uint8_t *);
	if (malformed) {
		trace_drop(trace, "parse", reason);
		return false;
	}
	if (reason != DROP_NONE)
		trace->packet = before;
	trace->parsed = true;
	char *words = trace_packet_words(trace);
	trace_headers(trace, trace_step(trace, "parse", TRACE_PASS, "%s", words));
	free(words);
	if (reason == DROP_NONE) {
		tell_vlan(trace, tci);
		return true;
	}
	struct json *step = trace_drop(trace, "vlan", reason);
	if (reason == DROP_VLAN_NOT_ALLOWED)
		trace_detail(step, "its tag says VLAN %d; the port's own is %u, mode %s",
			tci & 0xfff, context->settings->vlan,
			context->settings->vlan_mode == PORT_TRUNK ? "trunk" : "access");
	return false;
}

/* Who waits for whom among fragments is known to their worker alone. */
static bool pass_fragments(struct trace *trace)
{
	const struct packet *packet = &trace->packet;

	if (!(packet->flags & PACKET_FRAGMENT))
		return true;
	trace->waits = true;
	struct json *step = trace_step(trace, "fragments", TRACE_WAIT,
		"fragment of datagram %u, bytes %u to %u: it waits until the datagram is whole",
		packet->fragment_id, packet->fragment_offset,
		packet->fragment_offset + packet->l4_bytes);

	if (packet->flags & PACKET_FRAGMENT_FIRST) {
		trace_detail(step, "it has the ports, so what follows holds for the datagram");
		return true;
	}
	trace_detail(step, "the first fragment, which has the ports, decides for all of them");
	return false;
}

/* --- the miss path -------------------------------------------------------------------------- */

/* What the port may be. */
static void tell_binding(const struct trace *trace, struct json *step)
{
	const struct port_settings *settings = trace->context.settings;
	char text[IP_TEXT_MAX > MAC_TEXT_MAX ? IP_TEXT_MAX : MAC_TEXT_MAX];

	for (size_t i = 0; settings->spoof_guard && i < settings->n_macs; i++)
		trace_detail(step, "the port's MAC: %s", mac_format(settings->macs[i], text));
	for (size_t i = 0; settings->spoof_guard && i < settings->n_addresses; i++)
		trace_detail(
			step, "the port's address: %s", ip_format(&settings->addresses[i], text));
}

/* Whose address the source is, if it is not the port's. */
static void tell_owner(const struct trace *trace, struct json *step)
{
	const struct conn_key *key = &trace->packet.key;
	struct endpoint_owner owner;
	char text[IP_TEXT_MAX];

	if (key->kind == CONN_KEY_ETHERNET)
		return;
	owner = endpoint_map_lookup(trace->miss.endpoints, &key->source);
	if (owner.owned && owner.port != trace->context.in->number)
		trace_detail(step, "%s belongs to %s", ip_format(&key->source, text),
			owner.port != 0 ? control_port_name(trace->sw, owner.port)
					: "an endpoint of another host");
}

static bool pass_guard(struct trace *trace)
{
	const struct packet_context *context = &trace->context;

	guard_find_owners(context, trace->miss.endpoints, &trace->miss.owners);
	enum drop_reason reason = guard_check(context, trace->miss.endpoints, &trace->miss.owners);
	char mac[MAC_TEXT_MAX], address[IP_TEXT_MAX];

	if (reason != DROP_NONE) {
		struct json *step = trace_drop(trace, "spoof guard", reason);

		tell_binding(trace, step);
		tell_owner(trace, step);
		return false;
	}
	mac_format(context->data + 6, mac);
	if (!context->settings->spoof_guard)
		trace_step(trace, "spoof guard", TRACE_PASS,
			"off at this port; nobody else on this host owns the address");
	else if (trace->packet.key.kind == CONN_KEY_ETHERNET)
		trace_step(
			trace, "spoof guard", TRACE_PASS, "%s may be %s", context->in->name, mac);
	else
		trace_step(trace, "spoof guard", TRACE_PASS, "%s may be %s with %s",
			context->in->name, mac, ip_format(&trace->packet.key.source, address));
	return true;
}

static bool pass_checksum(struct trace *trace)
{
	enum drop_reason reason = miss_verify(&trace->context, trace->flow);

	if (reason != DROP_NONE)
		trace_drop(trace, "checksum", reason);
	return reason == DROP_NONE;
}

/* What would be learned of the source. */
static void tell_source(const struct trace *trace, struct json *step)
{
	const struct packet_context *context = &trace->context;
	uint16_t vlan = trace->packet.key.net & 0xfff;
	const uint8_t *mac = context->data + 6;
	char text[MAC_TEXT_MAX];

	mac_format(mac, text);
	switch (mac_would_learn(
		trace->sw->macs, vlan, mac, context->in->number, context->settings->mac_limit)) {
	case MAC_LEARNED: trace_detail(step, "%s would be learned here", text); break;
	case MAC_MOVED:
		trace_detail(step, "%s would move here from %s", text,
			control_port_name(trace->sw, mac_lookup(trace->sw->macs, vlan, mac)));
		break;
	case MAC_LIMIT:
		trace_detail(
			step, "the port may learn %u MACs, and has", context->settings->mac_limit);
		break;
	case MAC_STATIC:
		trace_detail(step, "%s is configured for %s", text,
			control_port_name(trace->sw, mac_lookup(trace->sw->macs, vlan, mac)));
		break;
	case MAC_FULL: trace_detail(step, "the MAC table is full: %s floods", text); break;
	case MAC_KNOWN: break;
	}
}

static bool pass_forwarding(struct trace *trace)
{
	struct packet_context *context = &trace->context;
	struct forwarding *forwarding = &trace->miss.forwarding;
	enum drop_reason reason = forward_would(context, forwarding);
	uint16_t vlan = trace->packet.key.net & 0xfff;
	char mac[MAC_TEXT_MAX], *names;
	struct json *step;

	mac_format(context->data, mac);
	if (reason != DROP_NONE) {
		step = trace_drop(trace, "forward", reason);
		uint16_t behind = mac_lookup(trace->sw->macs, vlan, context->data);

		if (reason == DROP_NO_OUTPUT && behind != 0)
			trace_detail(step,
				"%s is behind %s, which is where it came from, or does "
				"not carry VLAN %u",
				mac, control_port_name(trace->sw, behind), vlan);
		tell_source(trace, step);
		return false;
	}
	names = trace_port_names(trace->sw, forwarding->outputs, forwarding->n_outputs);
	if (!forwarding->flood)
		step = trace_step(trace, "forward", TRACE_PASS, "%s is behind %s", mac, names);
	else
		step = trace_step(trace, "forward", TRACE_PASS, "%s %s: flooded to %s", mac,
			trace->packet.flags & PACKET_GROUP ? "is a group" : "is not known", names);
	free(names);
	tell_source(trace, step);
	return true;
}

/* The connection that an error is about. */
static void judge_icmp_error(struct trace *trace)
{
	uint32_t flow;
	enum drop_reason reason = icmp_error_judge(&trace->miss, &flow);
	struct program program;

	if (reason != DROP_NONE) {
		struct json *step = trace_drop(trace, "icmp error", reason);

		if (flow == CONN_FLOW_NONE)
			trace_detail(step, "the packet that it quotes is of no connection of its "
					   "receiver's");
		else
			trace_detail(step,
				"it quotes connection %u, which the policy in force denies, or "
				"whose packets left by another port than this one",
				flow / 2);
		return;
	}
	trace_step(
		trace, "icmp error", TRACE_PASS, "it quotes a packet of connection %u", flow / 2);
	miss_build_output(
		&trace->miss, switch_port(trace->sw, trace->miss.forwarding.outputs[0]), &program);
	trace_actions(trace, program.actions, program.n_actions);
}

static void follow_miss(struct trace *trace)
{
	if (!pass_guard(trace) || !pass_checksum(trace) || !pass_forwarding(trace))
		return;
	trace->miss.signalling = signalling_of(&trace->miss);
	if (trace->packet.flags & PACKET_ICMP_ERROR)
		judge_icmp_error(trace);
	else if (trace->packet.flags & PACKET_GROUP || trace->miss.signalling != SIGNALLING_NONE)
		trace_allowed(trace);
	else
		trace_connection(trace);
}

/* --- all of it ------------------------------------------------------------------------------ */

void trace_run(struct trace *trace)
{
	if (!pass_port(trace) || !pass_parser(trace) || !pass_fragments(trace))
		return;
	trace->packet.hash = conn_hash(trace->sw->connections, &trace->packet.key);
	trace->hashed = true;
	if (!trace_hit(trace))
		follow_miss(trace);
}

struct trace *trace_create(struct cordon_switch *sw, struct port *in, struct rte_mbuf *frame)
{
	struct trace *trace = xzalloc(sizeof(*trace));

	trace->sw = sw;
	trace->worker = xzalloc_cacheline(sizeof(*trace->worker));
	trace->worker->sw = sw;
	trace->worker->limit_cache = limit_cache_create();
	if (trace->worker->limit_cache == NULL)
		out_of_memory();
	worker_read_clocks(trace->worker);
	trace->revisions.forwarding = atomic_load(&sw->forwarding_revision);
	trace->revisions.policy = atomic_load(&sw->policy_epoch);
	trace->context = (struct packet_context){
		.worker = trace->worker,
		.in = in,
		.settings = atomic_load(&in->settings),
		.frame = frame,
		.packet = &trace->packet,
		.revisions = &trace->revisions,
		.hint = &trace->hint,
	};
	trace->miss.context = &trace->context;
	trace->miss.endpoints = atomic_load(&sw->endpoints);
	trace->flow = CONN_FLOW_NONE;
	trace->steps = json_array_create_empty();
	return trace;
}

void trace_destroy(struct trace *trace)
{
	if (trace == NULL)
		return;
	json_destroy(trace->steps);
	limit_cache_destroy(trace->worker->limit_cache);
	free_cacheline(trace->worker);
	free(trace);
}

static struct json *list_ports(const struct trace *trace)
{
	struct json *ports = json_array_create_empty();

	for (uint16_t i = 0; i < trace->n_outputs; i++)
		json_array_add(
			ports, json_string_create(control_port_name(trace->sw, trace->outputs[i])));
	return ports;
}

/* What becomes of the packet, or of the datagram that it is the first fragment of. */
static void put_fate(const struct trace *trace, struct json *story, const char *member)
{
	bool dropped = trace->reason != DROP_NONE;

	json_object_put_string(story, member, dropped ? "dropped" : "forwarded");
	if (!dropped)
		return;
	json_object_put_string(story, "reason", drop_name(trace->reason));
	json_object_put_string(story, "text", drop_text(trace->reason));
	if (trace_advice(trace->reason) != NULL)
		json_object_put_string(story, "advice", trace_advice(trace->reason));
}

struct json *trace_story(struct trace *trace)
{
	const struct zone_policy *policy = endpoint_map_policy(trace->miss.endpoints);
	struct json *story = json_object_create();

	json_object_put_string(story, "port", trace->context.in->name);
	json_object_put(
		story, "policy_revision", json_integer_create(zone_policy_revision(policy)));
	json_object_put(story, "steps", trace->steps);
	trace->steps = NULL;
	if (trace->parsed)
		json_object_put(
			story, "packet", json_string_create_nocopy(trace_packet_words(trace)));
	if (trace->waits)
		json_object_put_string(story, "result", "waits");
	if (!trace->waits || trace->hashed)
		put_fate(trace, story, trace->waits ? "then" : "result");
	json_object_put(story, "outputs", list_ports(trace));
	if (trace->decided)
		json_object_put(story, "verdict", trace_verdict(trace));
	if (trace->flow != CONN_FLOW_NONE)
		json_object_put(story, "connection", json_integer_create(trace->flow / 2));
	return story;
}
