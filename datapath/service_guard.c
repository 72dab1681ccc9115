/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may answer for DHCP, and who may play a router.  Called on the miss path, by workers, for the
 * packets of all ports.
 */
#include "datapath/service_guard.h"

#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>

#include "datapath/packet_private.h"

/* RFC 2131, 4.1; RFC 8415, 7.2. */
enum {
	DHCP_SERVER_PORT = 67,
	DHCP_CLIENT_PORT = 68,
	DHCP6_CLIENT_PORT = 546,
	DHCP6_SERVER_PORT = 547,
};

static inline uint16_t client_port(const struct packet *packet)
{
	return htons(packet->key.kind == CONN_KEY_IPV4 ? DHCP_CLIENT_PORT : DHCP6_CLIENT_PORT);
}

static enum service_message udp_message(const struct packet *packet)
{
	bool v4 = packet->key.kind == CONN_KEY_IPV4;
	uint16_t client = client_port(packet);
	uint16_t server = htons(v4 ? DHCP_SERVER_PORT : DHCP6_SERVER_PORT);

	if (unlikely(packet->key.destination_port == client))
		return SERVICE_MESSAGE_DHCP_ANSWER;
	if (unlikely(packet->key.destination_port == server && packet->key.source_port == client))
		return SERVICE_MESSAGE_DHCP_REQUEST;
	return SERVICE_MESSAGE_NONE;
}

enum service_message service_message(const struct packet *packet)
{
	if (packet->protocol == IPPROTO_UDP)
		return udp_message(packet);
	if (packet->l4_offset == 0)
		return SERVICE_MESSAGE_NONE;
	if (packet->flags & PACKET_ND)
		return packet->icmp_type == ND_ROUTER_ADVERT ? SERVICE_MESSAGE_ADVERTISEMENT
		       : packet->icmp_type == ND_REDIRECT    ? SERVICE_MESSAGE_REDIRECT
							     : SERVICE_MESSAGE_NONE;
	if (packet->protocol == IPPROTO_ICMP && packet->key.kind == CONN_KEY_IPV4 &&
		packet->icmp_type == ICMP_REDIRECT)
		return SERVICE_MESSAGE_REDIRECT;
	return SERVICE_MESSAGE_NONE;
}

enum drop_reason service_guard(uint8_t services, const struct packet *packet)
{
	switch (service_message(packet)) {
	case SERVICE_MESSAGE_DHCP_ANSWER:
		return services & SERVICE_DHCP ? DROP_NONE : DROP_DHCP_SERVER;
	case SERVICE_MESSAGE_ADVERTISEMENT:
		return services & SERVICE_ROUTER ? DROP_NONE : DROP_ROUTER_ADVERTISEMENT;
	case SERVICE_MESSAGE_REDIRECT:
		return services & SERVICE_ROUTER ? DROP_NONE : DROP_SPOOFED_ND;
	case SERVICE_MESSAGE_DHCP_REQUEST:
	case SERVICE_MESSAGE_NONE: break;
	}
	return DROP_NONE;
}

bool service_passes_answer(uint8_t services, const struct packet *packet)
{
	return services & SERVICE_DHCP || packet->protocol != IPPROTO_UDP ||
	       packet->key.source_port != client_port(packet);
}
