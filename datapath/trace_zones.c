/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the zones say of a traced packet, and why: who is in which zone at each end, and which rule
 * of which policy decides.  Called by the main thread for `cordon trace`, under RCU.
 */
#include <config.h>

#include "datapath/trace.h"

#include <stdlib.h>
#include <string.h>

#include "openvswitch/dynamic-string.h"
#include "openvswitch/json.h"
#include "svec.h"
#include "util.h"

static const char *const action_names[] = {[ZONE_ALLOW] = "allow",
	[ZONE_DENY] = "deny",
	[ZONE_REJECT] = "reject",
	[ZONE_PASS] = "pass"};

static const char *zone_name(const struct zone_policy *policy, uint16_t zone)
{
	return policy != NULL && zone < zone_count(policy) ? zone_info(policy, zone).name : "?";
}

char *trace_rule(const struct zone_policy *policy, uint32_t rule)
{
	struct zone_rule_info info;
	char name[160];

	if (rule == RULE_NONE)
		return xstrdup("no rule");
	if (policy == NULL || !zone_rule_info(policy, rule, &info, name))
		return xasprintf("rule number %u", rule);
	if (info.is_default)
		return xasprintf("the baseline for %s", info.rule);
	return xasprintf("%s/%s in tier %s%s%s", info.policy, info.rule, info.tier,
		info.label != NULL ? ", label " : "", info.label != NULL ? info.label : "");
}

/* --- who is in which zone ------------------------------------------------------------------- */

/* Why an endpoint is in quarantine, by its tags ("a=b c=d"). */
static void tell_quarantine(
	struct json *step, const struct zone_policy *policy, const char *name, const char *tags)
{
	struct svec words = SVEC_EMPTY_INITIALIZER;
	uint16_t conflict[2];

	svec_parse_words(&words, tags);
	svec_terminate(&words);
	zone_of_tags(policy, (const char *const *)words.names, words.n, conflict);
	if (conflict[0] != conflict[1])
		trace_detail(step, "the tags of %s (%s) match zone %s and zone %s", name, tags,
			zone_name(policy, conflict[0]), zone_name(policy, conflict[1]));
	else
		trace_detail(step, "the tags of %s (%s) match no zone", name,
			*tags ? tags : "it has none");
	svec_destroy(&words);
}

/* An endpoint of this host, by its tags. */
static void tell_port_zone(const struct trace *trace, struct json *step, const struct port *port)
{
	const struct zone_policy *policy = endpoint_map_policy(trace->miss.endpoints);
	const struct port_settings *settings = atomic_load(&port->settings);
	uint16_t zone = endpoint_map_port_zone(trace->miss.endpoints, port->number);

	if (zone == ZONE_QUARANTINE)
		tell_quarantine(step, policy, port->name, settings->tags);
	else
		trace_detail(step, "%s is in %s, by its tags (%s)", port->name,
			zone_name(policy, zone), settings->tags);
}

/* An address that is not of a port of its own: by its owner, or by prefix. */
static void tell_address_zone(
	const struct trace *trace, struct json *step, const struct in6_addr *address)
{
	const struct zone_policy *policy = endpoint_map_policy(trace->miss.endpoints);
	struct endpoint_owner owner = endpoint_map_lookup(trace->miss.endpoints, address);
	char text[IP_TEXT_MAX];

	ip_format(address, text);
	if (owner.disputed)
		trace_detail(step, "%s is claimed by two endpoints, so it is in quarantine", text);
	else if (owner.owned)
		trace_detail(step, "%s belongs to %s, in %s", text,
			owner.port != 0 ? control_port_name(trace->sw, owner.port)
					: "an endpoint of another host",
			zone_name(policy, owner.zone));
	else if (owner.zone != ZONE_QUARANTINE)
		trace_detail(
			step, "%s is in %s, by its prefix", text, zone_name(policy, owner.zone));
	else
		trace_detail(step, "%s is nobody's here, and in no zone's prefixes", text);
}

/* One end of a connection: the port that it is at, and its address; NULL if that says nothing. */
static void tell_end(const struct trace *trace, struct json *step, const struct port *port,
	const struct conn_key *key, const struct in6_addr *address)
{
	if (atomic_load(&port->settings)->role != PORT_UPLINK)
		tell_port_zone(trace, step, port);
	else if (address != NULL && key->kind != CONN_KEY_ETHERNET)
		tell_address_zone(trace, step, address);
}

/* --- which rule decides --------------------------------------------------------------------- */

static void tell_steps(
	struct trace *trace, const struct zone_policy *policy, const struct zone_question *question)
{
	struct zone_step steps[ZONE_STEPS_MAX];
	size_t n = zone_explain(policy, question, false, steps);

	for (size_t i = 0; i < n; i++) {
		enum trace_mark mark = steps[i].action == ZONE_ALLOW  ? TRACE_PASS
				       : steps[i].action == ZONE_PASS ? TRACE_NOTE
								      : TRACE_DROP;
		char *rule = trace_rule(policy, steps[i].rule);

		if (steps[i].rule == RULE_NONE)
			trace_step(trace, "rule", mark, "nothing passes to or from quarantine");
		else
			trace_step(trace, "rule", mark, "%s, by %s", action_names[steps[i].action],
				rule);
		free(rule);
	}
}

static void tell_simulated(
	struct trace *trace, const struct zone_policy *policy, const struct zone_question *question)
{
	struct zone_verdict enforced, simulated;

	zone_decide(policy, question, &enforced);
	if (!zone_decide_simulated(policy, question, &simulated) || simulated.rule == enforced.rule)
		return;
	char *rule = trace_rule(policy, simulated.rule);
	trace_step(trace, "simulated", TRACE_NOTE,
		"%s, by %s, were the policies of mode simulate enforced",
		action_names[simulated.action], rule);
	free(rule);
}

void trace_questions(struct trace *trace, const struct port *in, const struct port *out,
	const struct conn_key *key, uint8_t icmp_type, uint8_t icmp_code)
{
	const struct endpoint_map *endpoints = trace->miss.endpoints;
	const struct zone_policy *policy = endpoint_map_policy(endpoints);
	struct zone_question questions[2];
	size_t n = verdict_questions(endpoints, in, out, key, icmp_type, icmp_code, questions);
	struct zone_verdict verdict = {.action = ZONE_ALLOW};

	if (n == 0)
		trace_step(trace, "zones", TRACE_PASS,
			"not asked: the packet goes from one uplink to another");
	for (size_t i = 0; i < n && verdict.action == ZONE_ALLOW; i++) {
		struct json *step = trace_step(trace, "zones", TRACE_PASS, "%s > %s%s",
			zone_name(policy, questions[i].source_zone),
			zone_name(policy, questions[i].destination_zone),
			n == 1	 ? ""
			: i == 0 ? ", asked where it leaves its vNIC"
				 : ", asked where it enters the other vNIC");

		tell_end(trace, step, in, key, &key->source);
		tell_end(trace, step, out, key, &key->destination);
		tell_steps(trace, policy, &questions[i]);
		tell_simulated(trace, policy, &questions[i]);
		zone_decide(policy, &questions[i], &verdict);
	}
}

/* --- outputs -------------------------------------------------------------------------------- */

/* What passes, or not, without a rule. */
static void explain_signalling(struct trace *trace, const struct port *out)
{
	const struct packet *packet = &trace->packet;
	struct verdict verdict;

	miss_decide_output(&trace->miss, out, &verdict);
	bool passes = verdict.action == ZONE_ALLOW;
	const char *why = "ARP, neighbour discovery and the like pass, whatever the rules";
	if (verdict.quarantined)
		why = "nothing passes to or from quarantine";
	else if (!passes)
		why = "not asked: it does not serve DHCP";
	else if (trace->miss.signalling == SIGNALLING_TO_SERVERS)
		why = "a DHCP request reaches those who serve it, whatever the rules";
	struct json *step = trace_step(trace, "zones", passes ? TRACE_PASS : TRACE_DROP, "%s", why);
	if (!verdict.quarantined)
		return;
	tell_end(trace, step, trace->context.in, &packet->key, NULL);
	tell_end(trace, step, out, &packet->key, NULL);
}

static void explain_output(struct trace *trace, const struct port *out)
{
	const struct packet *packet = &trace->packet;

	if (trace->miss.signalling != SIGNALLING_NONE)
		explain_signalling(trace, out);
	else
		trace_questions(trace, trace->context.in, out, &packet->key, packet->icmp_type,
			packet->icmp_code);
}

void trace_zones(struct trace *trace)
{
	const struct forwarding *forwarding = &trace->miss.forwarding;

	trace->verdict = (struct verdict){.action = ZONE_DENY};
	trace->decided = true;
	for (uint16_t i = 0; i < forwarding->n_outputs; i++) {
		const struct port *out = switch_port(trace->sw, forwarding->outputs[i]);

		if (out == NULL)
			continue;
		if (forwarding->n_outputs > 1)
			trace_step(trace, "output", TRACE_NOTE, "to %s:", out->name);
		explain_output(trace, out);
	}
}

void trace_allowed(struct trace *trace)
{
	struct action actions[2 * PORTS_MAX];
	struct verdict denial = {0};
	uint16_t denied_at;
	size_t n = miss_allowed_actions(&trace->miss, actions, &denial, &denied_at);

	if (!trace->decided)
		trace_zones(trace);
	trace->decided = trace->miss.signalling == SIGNALLING_NONE;
	if (n != 0) {
		miss_decide_outputs(&trace->miss, &trace->verdict);
		trace_actions(trace, actions, n);
		return;
	}
	trace->verdict = denial;
	trace->reason = denied_at != 0 ? miss_denial_reason(&denial) : DROP_OUTPUT_MISSING;
}

/* --- the verdict ---------------------------------------------------------------------------- */

struct json *trace_verdict(const struct trace *trace)
{
	const struct verdict *verdict = &trace->verdict;
	const struct zone_policy *policy = policy_of_revision(trace->sw, verdict->policy_revision);
	struct json *object = json_object_create();
	struct zone_rule_info info;
	char name[160];

	json_object_put_string(object, "action", action_names[verdict->action]);
	json_object_put(object, "revision", json_integer_create(verdict->policy_revision));
	json_object_put_string(object, "source_zone", zone_name(policy, verdict->source_zone));
	json_object_put_string(
		object, "destination_zone", zone_name(policy, verdict->destination_zone));
	if (policy != NULL && zone_rule_info(policy, verdict->rule, &info, name)) {
		json_object_put_string(object, "policy", info.policy);
		json_object_put_string(object, "rule", info.rule);
		json_object_put_string(object, "tier", info.tier);
		if (info.label != NULL)
			json_object_put_string(object, "label", info.label);
	}
	return object;
}
