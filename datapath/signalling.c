/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Telling what a network does not work at all without.  Called on the miss path, by workers.
 */
#include <config.h>

#include "datapath/switch.h"

#include <net/ethernet.h>
#include <netinet/icmp6.h>

enum {
	MLD2_LISTENER_REPORT = 143, /* RFC 3810, 5.2. */
	IP4_TTL = 8,		    /* Offsets within the IP header. */
	IP6_HOP_LIMIT = 7,
};

bool signalling_is(const struct packet_context *context)
{
	const struct packet *packet = context->packet;
	const uint8_t *ip = context->data + packet->l3_offset;
	bool group = packet->flags & PACKET_GROUP;

	if (packet->flags & PACKET_ARP)
		return true;
	if (packet->key.kind == CONN_KEY_ETHERNET)
		return group && packet->ethertype == ETHERTYPE_REVARP;
	if (packet->flags & (PACKET_FRAGMENT_FIRST | PACKET_FRAGMENT_LATER))
		return false;
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
