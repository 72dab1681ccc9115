/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a capture says of a packet: where it was seen, what became of it, and by which rule of which
 * revision.  Called by a capture's thread, under RCU.
 */
#include <config.h>

#include "datapath/capture.h"

#include <stdlib.h>

#include "datapath/control.h"
#include "datapath/trace.h"
#include "openvswitch/dynamic-string.h"
#include "openvswitch/json.h"
#include "util.h"

static const char *verdict_name(enum capture_verdict verdict)
{
	switch (verdict) {
	case CAPTURE_ALLOWED: return "allowed";
	case CAPTURE_DENIED: return "denied";
	case CAPTURE_HELD: return "held";
	case CAPTURE_DROPPED:
	case CAPTURE_ALL: break;
	}
	return "dropped";
}

static char *rule_words(const struct cordon_switch *sw, const struct capture_fate *fate)
{
	return trace_rule(policy_of_revision(sw, fate->policy_revision), fate->rule);
}

static char *zone_words(const struct cordon_switch *sw, const struct capture_fate *fate)
{
	const struct zone_policy *policy = policy_of_revision(sw, fate->policy_revision);
	uint16_t from = fate->source_zone, to = fate->destination_zone;

	if (policy == NULL || from >= zone_count(policy) || to >= zone_count(policy))
		return xstrdup("");
	return xasprintf("%s to %s", zone_info(policy, from).name, zone_info(policy, to).name);
}

static char *output_words(const struct cordon_switch *sw, const struct capture_fate *fate)
{
	size_t named = MIN(fate->n_outputs, (size_t)CAPTURE_OUTPUTS_MAX);
	char *names = trace_port_names(sw, fate->outputs, named), *words;

	if (named == fate->n_outputs)
		return names;
	words = xasprintf("%s and %zu others", names, fate->n_outputs - named);
	free(names);
	return words;
}

/* What is to be known of the bytes. */
static void put_note(struct ds *text, const struct capture_record *record)
{
	const struct capture_fate *fate = &record->fate;

	if (fate->is_answer)
		ds_put_cstr(text, "; made by the switch, to answer a rejected packet");
	if (fate->verdict == CAPTURE_HELD)
		ds_put_cstr(text, "; waits for the rest of its datagram");
	if (record->segment_bytes != 0)
		ds_put_format(text, "; a large frame, to be cut into segments of %u bytes",
			record->segment_bytes);
	if (record->checksum_missing)
		ds_put_cstr(text, "; the transport checksum is not filled in yet");
}

static void put_rule(
	struct ds *text, const struct cordon_switch *sw, const struct capture_fate *fate)
{
	char *rule, *zones;

	if (!fate->has_rule)
		return;
	rule = rule_words(sw, fate);
	zones = zone_words(sw, fate);
	ds_put_format(text, "; rule: %s; revision: %u", rule, fate->policy_revision);
	if (*zones != '\0')
		ds_put_format(text, "; zones: %s", zones);
	free(rule);
	free(zones);
}

char *capture_comment(const struct cordon_switch *sw, const struct capture_record *record)
{
	const struct capture_fate *fate = &record->fate;
	struct ds text = DS_EMPTY_INITIALIZER;
	char *outputs = output_words(sw, fate);

	ds_put_format(&text, "%s %s; verdict: %s",
		record->point == CAPTURE_IN ? "received from" : "sent to",
		control_port_name(sw, record->port), verdict_name(fate->verdict));
	if (fate->reason != DROP_NONE)
		ds_put_format(&text, "; reason: %s (%s)", drop_name(fate->reason),
			drop_text(fate->reason));
	put_rule(&text, sw, fate);
	ds_put_format(&text, "; in: %s; out: %s",
		fate->in_port != 0 ? control_port_name(sw, fate->in_port) : "not known",
		*outputs != '\0' ? outputs : "none");
	if (fate->bound_for != 0)
		ds_put_format(&text, "; bound for: %s", control_port_name(sw, fate->bound_for));
	if (fate->connection != CONN_FLOW_NONE)
		ds_put_format(&text, "; connection: %u", fate->connection);
	put_note(&text, record);
	free(outputs);
	return ds_steal_cstr(&text);
}

/* --- As an object --------------------------------------------------------------------------- */

static char *packet_words(const struct capture_record *record)
{
	struct packet packet;
	enum drop_reason reason =
		packet_parse(record->data, record->captured, record->original, &packet);

	if (reason != DROP_NONE)
		return xasprintf(
			"malformed or cut off (%s), %u bytes", drop_name(reason), record->original);
	return trace_frame_words(&packet, record->data, record->original);
}

static void put_integer(struct json *object, const char *name, uint64_t value)
{
	json_object_put(object, name, json_integer_create((long long int)value));
}

static void put_decision(
	struct json *object, const struct cordon_switch *sw, const struct capture_fate *fate)
{
	if (fate->reason != DROP_NONE) {
		json_object_put_string(object, "reason", drop_name(fate->reason));
		json_object_put_string(object, "reason_text", drop_text(fate->reason));
	}
	if (fate->connection != CONN_FLOW_NONE)
		put_integer(object, "connection", fate->connection);
	if (!fate->has_rule)
		return;
	json_object_put(object, "rule", json_string_create_nocopy(rule_words(sw, fate)));
	json_object_put(object, "zones", json_string_create_nocopy(zone_words(sw, fate)));
	put_integer(object, "policy_revision", fate->policy_revision);
}

struct json *capture_describe(const struct cordon_switch *sw, const struct capture_record *record)
{
	const struct capture_fate *fate = &record->fate;
	struct json *object = json_object_create();

	put_integer(object, "time_ns", record->time_ns);
	json_object_put_string(object, "point", record->point == CAPTURE_IN ? "in" : "out");
	json_object_put_string(object, "port", control_port_name(sw, record->port));
	json_object_put_string(object, "verdict", verdict_name(fate->verdict));
	put_decision(object, sw, fate);
	json_object_put_string(object, "in", control_port_name(sw, fate->in_port));
	json_object_put(object, "out", json_string_create_nocopy(output_words(sw, fate)));
	json_object_put_string(object, "bound_for", control_port_name(sw, fate->bound_for));
	put_integer(object, "bytes", record->original);
	json_object_put(object, "packet", json_string_create_nocopy(packet_words(record)));
	return object;
}

char *capture_port_words(const struct cordon_switch *sw, uint16_t number)
{
	static const char *const roles[] = {
		[PORT_VNIC] = "vNIC", [PORT_UPLINK] = "uplink", [PORT_INTERNAL] = "internal port"};
	const struct port *port = switch_port(sw, number);

	if (port == NULL)
		return xstrdup("a port that is gone");
	const struct port_settings *settings = atomic_load(&port->settings);
	return xasprintf("%s of type %s%s%s", roles[settings->role], port_backend_of(port)->type,
		*settings->vm_name != '\0' ? ", VM " : "", settings->vm_name);
}
