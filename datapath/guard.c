/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guards at the switch's ports: the rules of spoof.c and service_guard.c with what the
 * configuration says of the port, and of who else owns an address.  Called on the miss path, by
 * workers.
 */
#include <config.h>

#include "datapath/service_guard.h"
#include "datapath/spoof.h"
#include "datapath/switch.h"

/* An address that another endpoint owns is not this port's to speak for.  An uplink may speak for
 * the endpoints of other hosts. */
static bool may_speak_as(const struct port *port, const struct port_settings *settings,
	const struct endpoint_owner *owner)
{
	if (!owner->owned || owner->port == port->number)
		return true;
	if (settings->role == PORT_UPLINK)
		return owner->port == 0;
	return !settings->spoof_guard;
}

/* True if it claims another's address in ARP or neighbour discovery. */
static bool claims_anothers(
	const struct packet_context *context, const struct endpoint_map *endpoints)
{
	struct in6_addr claimed;

	if (!spoof_claim(
		    context->data, rte_pktmbuf_data_len(context->frame), context->packet, &claimed))
		return false;
	const struct endpoint_owner owner = endpoint_map_lookup(endpoints, &claimed);
	return !may_speak_as(context->in, context->settings, &owner);
}

/* The packet's source, and what it claims in ARP or neighbour discovery. */
static enum drop_reason check_owner(const struct packet_context *context,
	const struct endpoint_map *endpoints, const struct address_owners *owners)
{
	if (!may_speak_as(context->in, context->settings, &owners->source))
		return DROP_SPOOFED_ADDRESS;
	if (context->packet->flags & (PACKET_ARP | PACKET_ND) &&
		claims_anothers(context, endpoints))
		return context->packet->flags & PACKET_ARP ? DROP_SPOOFED_ARP : DROP_SPOOFED_ND;
	return DROP_NONE;
}

static struct spoof_binding binding_of(const struct port_settings *settings)
{
	return (struct spoof_binding){
		.macs = (const uint8_t(*)[6])settings->macs,
		.n_macs = settings->n_macs,
		.addresses = settings->addresses,
		.n_addresses = settings->n_addresses,
	};
}

enum drop_reason guard_check(const struct packet_context *context,
	const struct endpoint_map *endpoints, const struct address_owners *owners)
{
	const struct port_settings *settings = context->settings;

	if (settings->spoof_guard) {
		const struct spoof_binding binding = binding_of(settings);
		enum drop_reason reason = spoof_check(&binding, context->data,
			rte_pktmbuf_data_len(context->frame), context->packet);

		if (reason != DROP_NONE)
			return reason;
	}
	enum drop_reason reason = service_guard(settings->serves, context->packet);
	return reason != DROP_NONE ? reason : check_owner(context, endpoints, owners);
}

bool guard_passes_answer(const struct packet_context *context, const struct address_owners *owners,
	const struct port *out)
{
	const struct port_settings *settings =
		atomic_load_explicit(&out->settings, memory_order_acquire);

	if (settings->spoof_guard) {
		const struct spoof_binding binding = binding_of(settings);

		if (!spoof_may_send(&binding, context->data, &context->packet->key.destination))
			return false;
	}
	return service_passes_answer(settings->serves, context->packet) &&
	       may_speak_as(out, settings, &owners->destination);
}
