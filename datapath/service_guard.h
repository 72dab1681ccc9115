/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network's own services, DHCP and routers, which one guest could play for all others: only
 * ports that are trusted with a service may send what its servers send, whatever the rules say (RFC
 * 6105 and RFC 7113 for router advertisements, RFC 7610 for DHCPv6; "DHCP snooping" elsewhere).
 */
#ifndef DATAPATH_SERVICE_GUARD_H
#define DATAPATH_SERVICE_GUARD_H

#include <stdint.h>

#include "datapath/drop.h"
#include "datapath/packet.h"

/* What a port is trusted with.  Any number of them. */
enum service {
	SERVICE_DHCP = 1 << 0,	 /* DHCP servers' and relays' answers. */
	SERVICE_ROUTER = 1 << 1, /* Router advertisements and redirects. */
};

/* What a packet is in such a service. */
enum service_message {
	SERVICE_MESSAGE_NONE,
	SERVICE_MESSAGE_DHCP_REQUEST,  /* From the client's port to the server's. */
	SERVICE_MESSAGE_DHCP_ANSWER,   /* To the client's port, whatever port it is from: clients
					* do not look at that. */
	SERVICE_MESSAGE_ADVERTISEMENT, /* Of a router. */
	SERVICE_MESSAGE_REDIRECT,
};

/* `packet` is what packet_parse() made of the frame; of a later fragment, with its ports filled in.
 * Extension headers hide nothing: the parser has followed them, or refused the frame.  Any worker;
 * no state. */
enum service_message service_message(const struct packet *packet);

/* DROP_NONE, or why a port with `services` (enum service) may not send it: DROP_DHCP_SERVER,
 * DROP_ROUTER_ADVERTISEMENT, or DROP_SPOOFED_ND for a redirect.  Any worker; no state. */
enum drop_reason service_guard(uint8_t services, const struct packet *packet);

/* True if service_guard() passes any answer of TCP, UDP or SCTP to this packet: said ahead. */
bool service_passes_answer(uint8_t services, const struct packet *packet);

#endif
