/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Telling what a network does not work at all without.  Called on the miss path, by workers.
 */
#include <config.h>

#include "datapath/miss.h"

#include <net/ethernet.h>
#include <netinet/icmp6.h>

#include "datapath/service_guard.h"

enum {
	MLD2_LISTENER_REPORT = 143, /* RFC 3810, 5.2. */
	IP4_TTL = 8,		    /* Offsets within the IP header. */
	IP6_HOP_LIMIT = 7,
	DHCP_SERVER_PORT = 67,
	DHCP6_SERVER_PORT = 547,
};

/* ARP, neighbour discovery, reports of multicast membership, and the announcement of a guest that
 * has moved (RARP). */
static bool is_for_all(const struct packet_context *context)
{
	const struct packet *packet = context->packet;
	const uint8_t *ip = context->data + packet->l3_offset;
	bool group = packet->flags & PACKET_GROUP;

	if (packet->flags & PACKET_ARP)
		return true;
	if (packet->key.kind == CONN_KEY_ETHERNET)
		return group && packet->ethertype == ETHERTYPE_REVARP;
	if (packet->key.kind == CONN_KEY_IPV4)
		return group && packet->protocol == IPPROTO_IGMP && ip[IP4_TTL] == 1;
	if (packet->protocol != IPPROTO_ICMPV6)
		return false;
	if (packet->flags & PACKET_ND)
		return ip[IP6_HOP_LIMIT] == 255;
	return group && ip[IP6_HOP_LIMIT] == 1 &&
	       ((packet->icmp_type >= MLD_LISTENER_QUERY &&
			packet->icmp_type <= MLD_LISTENER_REDUCTION) ||
		       packet->icmp_type == MLD2_LISTENER_REPORT);
}

/* --- DHCP ----------------------------------------------------------------------------------- */

bool signalling_serves_dhcp(const struct port *port)
{
	return atomic_load_explicit(&port->settings, memory_order_acquire)->serves & SERVICE_DHCP;
}

static bool is_server_port(const struct packet *packet)
{
	bool v4 = packet->key.kind == CONN_KEY_IPV4;

	return packet->key.source_port == htons(v4 ? DHCP_SERVER_PORT : DHCP6_SERVER_PORT);
}

/* A request to all servers of the link: the limited broadcast (RFC 2131, 4.1), or ff02::1:2 (RFC
 * 8415, 7.1). */
static bool is_to_all_servers(const struct packet *packet)
{
	static const struct in6_addr servers = {
		.s6_addr = {0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2}};
	const struct in6_addr *to = &packet->key.destination;

	if (!(packet->flags & PACKET_GROUP))
		return false;
	return packet->key.kind == CONN_KEY_IPV4 ? to->s6_addr32[3] == UINT32_MAX
						 : IN6_ARE_ADDR_EQUAL(to, &servers);
}

/* A request to all servers, if there is one; or to the one server of an endpoint.  What goes to a
 * single address beyond an uplink or a router is traffic like any other: else it would be a way
 * past the rules to any host. */
static bool is_served(const struct miss *miss)
{
	const struct packet *packet = miss->context->packet;
	bool to_all = is_to_all_servers(packet);

	if (!to_all && (packet->flags & PACKET_GROUP || miss->forwarding.flood))
		return false;
	for (uint16_t i = 0; i < miss->forwarding.n_outputs; i++) {
		const struct port *out =
			switch_port(miss->context->worker->sw, miss->forwarding.outputs[i]);
		struct endpoint_owner owner;

		if (out == NULL || !signalling_serves_dhcp(out))
			continue;
		if (to_all)
			return true;
		owner = endpoint_map_lookup(miss->endpoints, &packet->key.destination);
		return owner.owned && owner.port == out->number;
	}
	return false;
}

/* An answer from a server's port; over IPv6, to a client on this link (RFC 8415, 18.3.10). */
static bool is_answer(const struct packet *packet)
{
	return is_server_port(packet) && (packet->key.kind == CONN_KEY_IPV4 ||
						 IN6_IS_ADDR_LINKLOCAL(&packet->key.destination));
}

/* --- All together --------------------------------------------------------------------------- */

enum signalling signalling_of(const struct miss *miss)
{
	const struct packet *packet = miss->context->packet;

	if (packet->flags & PACKET_FRAGMENT)
		return SIGNALLING_NONE;
	if (packet->protocol != IPPROTO_UDP)
		return is_for_all(miss->context) ? SIGNALLING_TO_ALL : SIGNALLING_NONE;
	switch (service_message(packet)) {
	case SERVICE_MESSAGE_DHCP_REQUEST:
		return is_served(miss) ? SIGNALLING_TO_SERVERS : SIGNALLING_NONE;
	case SERVICE_MESSAGE_DHCP_ANSWER: /* The guard has passed its port. */
		return is_answer(packet) ? SIGNALLING_TO_ALL : SIGNALLING_NONE;
	default: return SIGNALLING_NONE;
	}
}
