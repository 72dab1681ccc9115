/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Forwarding without a controller: a MAC-learning VLAN switch.  Called on the miss path, by
 * workers.
 *
 * A frame to an unknown unicast address floods only to ports that learn: the MACs of a vNIC whose
 * MACs are configured are all known, so none of its neighbours' traffic is shown to it.
 */
#include <config.h>

#include "datapath/switch.h"

#include <string.h>

#include "datapath/storm.h"

enum { MAC_MOVES_PER_SECOND = 100 };

/* 01:80:c2:00:00:00 to 0f: link-local protocols of bridges (IEEE 802.1D, 7.12.6). */
static bool is_reserved_multicast(const uint8_t *mac)
{
	return memcmp(mac, "\x01\x80\xc2\x00\x00", 5) == 0 && mac[5] < 0x10;
}

static bool port_carries(const struct port_settings *settings, uint16_t vlan, bool *tagged)
{
	*tagged = vlan != settings->vlan;
	if (vlan == settings->vlan)
		return true;
	return settings->vlan_mode == PORT_TRUNK &&
	       settings->trunks[vlan / 64] & UINT64_C(1) << vlan % 64;
}

/* A frame with two tags never loses the outer one: it would be in the inner one's VLAN then. */
static bool may_leave(
	const struct packet *packet, const struct port_settings *settings, uint16_t vlan)
{
	bool tagged;

	return port_carries(settings, vlan, &tagged) &&
	       (tagged || !(packet->flags & PACKET_DOUBLE_TAGGED));
}

size_t forward_output_actions(
	const struct port *port, uint16_t vlan, bool *tagged, struct action actions[2])
{
	const struct port_settings *settings =
		atomic_load_explicit(&port->settings, memory_order_acquire);
	bool want_tag;
	size_t n = 0;

	port_carries(settings, vlan, &want_tag);
	if (want_tag && !*tagged)
		actions[n++] = (struct action){.type = ACTION_PUSH_VLAN, .argument = vlan};
	else if (!want_tag && *tagged)
		actions[n++] = (struct action){.type = ACTION_POP_VLAN};
	*tagged = want_tag;
	actions[n++] = (struct action){.type = ACTION_OUTPUT, .argument = port->number};
	return n;
}

/* For real, or as if: each decision below is taken by the same lines in both cases, and only what
 * it would change is left alone in the second. */
enum earnest { FOR_REAL, AS_IF };

static inline bool admit(enum earnest earnest, _Atomic uint64_t *bucket, uint64_t per_second,
	const struct packet_context *context)
{
	uint64_t now_ns = context->worker->clock_ns;
	uint32_t frames = context_frames(context);

	return earnest == FOR_REAL
		       ? storm_admit(bucket, per_second, per_second, frames, now_ns)
		       : storm_would_admit(bucket, per_second, per_second, frames, now_ns);
}

/* A MAC that moves costs every cached flow of the switch a miss, so a port may take only so many;
 * and a guest whose own MACs are not known may not take an outside host's, such as the gateway's.
 */
static inline enum drop_reason may_move(
	const struct packet_context *context, uint16_t from, enum earnest earnest)
{
	struct cordon_switch *sw = context->worker->sw;
	const struct port *old = switch_port(sw, from);

	if (old != NULL && context->settings->spoof_guard &&
		atomic_load_explicit(&old->settings, memory_order_acquire)->role == PORT_UPLINK)
		return DROP_SPOOFED_MAC;
	return admit(earnest, &sw->quotas[context->in->number].mac_moves, MAC_MOVES_PER_SECOND,
		       context)
		       ? DROP_NONE
		       : DROP_MAC_LIMIT;
}

static inline enum mac_learn_result learn_source(
	const struct packet_context *context, uint16_t vlan, enum earnest earnest)
{
	struct cordon_switch *sw = context->worker->sw;
	const uint8_t *mac = context->data + 6;
	uint32_t limit = context->settings->mac_limit;

	if (earnest == AS_IF)
		return mac_would_learn(sw->macs, vlan, mac, context->in->number, limit);
	return mac_learn(sw->macs, vlan, mac, context->in->number, limit, context->worker->now);
}

static inline enum drop_reason learn(const struct packet_context *context, uint16_t vlan,
	struct forwarding *result, enum earnest earnest)
{
	struct cordon_switch *sw = context->worker->sw;
	const uint8_t *mac = context->data + 6;
	uint16_t known = mac_lookup(sw->macs, vlan, mac);

	if (known != 0 && known != context->in->number) {
		enum drop_reason reason = may_move(context, known, earnest);

		if (reason != DROP_NONE)
			return reason;
	}
	result->learned = true;
	switch (learn_source(context, vlan, earnest)) {
	case MAC_MOVED:
		if (earnest == FOR_REAL)
			atomic_fetch_add_explicit(
				&sw->forwarding_revision, 1, memory_order_acq_rel);
		return DROP_NONE;
	case MAC_STATIC: return DROP_SPOOFED_MAC;
	case MAC_LIMIT: return DROP_MAC_LIMIT;
	case MAC_FULL: /* It goes on flooding, which the storm limit bounds. */
		result->learned = false;
		break;
	case MAC_KNOWN:
	case MAC_LEARNED: break;
	}
	return DROP_NONE;
}

static inline enum drop_reason flood(const struct packet_context *context, uint16_t vlan,
	struct forwarding *result, enum earnest earnest)
{
	struct cordon_switch *sw = context->worker->sw;
	uint32_t limit = context->settings->storm_limit;
	uint16_t end = atomic_load_explicit(&sw->ports_end, memory_order_acquire);
	bool group = context->packet->flags & PACKET_GROUP;

	if (limit != 0 && !admit(earnest, &context->in->storm_bucket, limit, context))
		return DROP_STORM;
	result->flood = true;
	for (uint16_t number = 1; number < end; number++) {
		const struct port *port = switch_port(sw, number);

		if (port == NULL || port == context->in)
			continue;
		const struct port_settings *settings =
			atomic_load_explicit(&port->settings, memory_order_acquire);
		if (!may_leave(context->packet, settings, vlan) ||
			(!group && settings->n_macs != 0 && settings->vlan_mode == PORT_ACCESS))
			continue;
		result->outputs[result->n_outputs++] = number;
	}
	return result->n_outputs == 0 ? DROP_NO_OUTPUT : DROP_NONE;
}

static inline enum drop_reason forward(
	const struct packet_context *context, struct forwarding *result, enum earnest earnest)
{
	struct cordon_switch *sw = context->worker->sw;
	uint16_t vlan = context->packet->key.net & 0xfff;

	result->flood = false;
	result->learned = false;
	result->n_outputs = 0;
	if (is_reserved_multicast(context->data))
		return DROP_RESERVED_MULTICAST;
	enum drop_reason reason = learn(context, vlan, result, earnest);
	if (reason != DROP_NONE)
		return reason;
	if (context->packet->flags & PACKET_GROUP)
		return flood(context, vlan, result, earnest);
	uint16_t number = mac_lookup(sw->macs, vlan, context->data);
	if (number == 0)
		return flood(context, vlan, result, earnest);
	const struct port *port = switch_port(sw, number);
	if (port == NULL || port == context->in ||
		!may_leave(context->packet,
			atomic_load_explicit(&port->settings, memory_order_acquire), vlan))
		return DROP_NO_OUTPUT;
	result->outputs[result->n_outputs++] = number;
	return DROP_NONE;
}

enum drop_reason forward_normal(struct packet_context *context, struct forwarding *result)
{
	return forward(context, result, FOR_REAL);
}

enum drop_reason forward_would(const struct packet_context *context, struct forwarding *result)
{
	return forward(context, result, AS_IF);
}

/* --- what was found before -------------------------------------------------------------------- */

/* What says all of where a frame goes: to one station, with no tag or one. */
static bool is_plain(const struct packet *packet)
{
	return !(packet->flags & (PACKET_GROUP | PACKET_ARP | PACKET_ND | PACKET_ICMP_ERROR |
					 PACKET_DOUBLE_TAGGED));
}

/* Who chooses MACs that meet in one entry makes his own frames slower, and them only. */
static struct forward_entry *entry_of(const struct packet_context *context)
{
	uint64_t first;
	uint32_t rest;

	memcpy(&first, context->data, sizeof(first));
	memcpy(&rest, context->data + 8, sizeof(rest));
	first ^= (uint64_t)rest << 21 ^ (uint64_t)context->in->number << 53;
	first = (first ^ context->packet->key.net) * UINT64_C(0x9fb21c651e98df25);
	return &context->worker->forwarded[first >> 32 & (FORWARD_ENTRIES - 1)];
}

const struct forward_entry *forward_find(const struct packet_context *context)
{
	const struct forward_entry *entry = entry_of(context);

	return is_plain(context->packet) && entry->revision == context->revisions->forwarding &&
			       entry->second == context->worker->now &&
			       entry->in_port == context->in->number &&
			       entry->net == context->packet->key.net &&
			       memcmp(entry->macs, context->data, sizeof(entry->macs)) == 0
		       ? entry
		       : NULL;
}

/* The program for the answer: a frame of the same VLAN that comes in by `out` with the MACs
 * exchanged, and leaves by the port that this one came in by. */
static uint32_t intern_reverse(const struct packet_context *context, const struct port *out)
{
	uint16_t vlan = context->packet->key.net & 0xfff;
	bool tagged;
	struct program program = {0};

	port_carries(atomic_load_explicit(&out->settings, memory_order_acquire), vlan, &tagged);
	memcpy(program.destination_mac, context->data + 6, 6);
	memcpy(program.source_mac, context->data, 6);
	program.n_actions =
		(uint8_t)forward_output_actions(context->in, vlan, &tagged, program.actions);
	return program_intern(context->worker->sw->programs, &program);
}

const struct forward_entry *forward_keep(const struct packet_context *context,
	const struct port *out, const struct program *program, bool learned)
{
	struct forward_entry *entry = entry_of(context);
	uint32_t number = program_intern(context->worker->sw->programs, program);

	if (!is_plain(context->packet) || number == PROGRAM_NONE)
		return NULL;
	*entry = (struct forward_entry){
		.net = context->packet->key.net,
		.revision = context->revisions->forwarding,
		.second = context->worker->now,
		.in_port = context->in->number,
		.out_port = out->number,
		.program = number,
		.reverse = learned ? intern_reverse(context, out) : PROGRAM_NONE,
	};
	memcpy(entry->macs, context->data, sizeof(entry->macs));
	return entry;
}
