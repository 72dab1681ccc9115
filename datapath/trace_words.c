/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets and ports in words, for traces and captures.  Called by the main thread and by captures'
 * threads, for packets that packet_parse() has passed: all headers that are read here lie within
 * the first segment.
 */
#include <config.h>

#include "datapath/trace.h"

#include <arpa/inet.h>
#include <net/if_arp.h>
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <string.h>

#include "openvswitch/dynamic-string.h"
#include "openvswitch/json.h"
#include "util.h"

static uint16_t be16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static uint32_t be32(const uint8_t *at)
{
	return (uint32_t)be16(at) << 16 | be16(at + 2);
}

char *trace_port_names(const struct cordon_switch *sw, const uint16_t *ports, size_t n)
{
	struct ds text = DS_EMPTY_INITIALIZER;

	for (size_t i = 0; i < n; i++)
		ds_put_format(&text, "%s%s", i != 0 ? ", " : "", control_port_name(sw, ports[i]));
	return ds_steal_cstr(&text);
}

/* --- one line ------------------------------------------------------------------------------- */

static void put_tcp_flags(struct ds *text, uint8_t flags)
{
	static const char *const names[] = {"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"};
	const char *between = "";

	ds_put_cstr(text, " [");
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (flags & 1u << i) {
			ds_put_format(text, "%s%s", between, names[i]);
			between = " ";
		}
	}
	ds_put_char(text, ']');
}

static const char *protocol_name(uint8_t protocol)
{
	switch (protocol) {
	case IPPROTO_TCP: return "TCP";
	case IPPROTO_UDP: return "UDP";
	case IPPROTO_SCTP: return "SCTP";
	case IPPROTO_ICMP: return "ICMP";
	case IPPROTO_ICMPV6: return "ICMPv6";
	default: return NULL;
	}
}

static bool has_ports(const struct packet *packet)
{
	return packet->l4_offset != 0 &&
	       (packet->protocol == IPPROTO_TCP || packet->protocol == IPPROTO_UDP ||
		       packet->protocol == IPPROTO_SCTP);
}

/* "10.0.0.1:80", "[fd00::1]:80", or the address alone. */
static void put_end(struct ds *text, const struct in6_addr *address, uint16_t port, bool with_port)
{
	char buffer[IP_TEXT_MAX];

	ip_format(address, buffer);
	if (!with_port)
		ds_put_cstr(text, buffer);
	else
		ds_put_format(text, strchr(buffer, ':') != NULL ? "[%s]:%u" : "%s:%u", buffer,
			ntohs(port));
}

static const char *icmp_name(const struct packet *packet)
{
	static const struct {
		uint8_t protocol, type;
		const char *name;
	} names[] = {
		{IPPROTO_ICMP, ICMP_ECHO, "echo request"},
		{IPPROTO_ICMP, ICMP_ECHOREPLY, "echo reply"},
		{IPPROTO_ICMP, ICMP_UNREACH, "destination unreachable"},
		{IPPROTO_ICMP, ICMP_REDIRECT, "redirect"},
		{IPPROTO_ICMP, ICMP_TIMXCEED, "time exceeded"},
		{IPPROTO_ICMP, ICMP_PARAMPROB, "parameter problem"},
		{IPPROTO_ICMPV6, ICMP6_ECHO_REQUEST, "echo request"},
		{IPPROTO_ICMPV6, ICMP6_ECHO_REPLY, "echo reply"},
		{IPPROTO_ICMPV6, ICMP6_DST_UNREACH, "destination unreachable"},
		{IPPROTO_ICMPV6, ICMP6_PACKET_TOO_BIG, "packet too big"},
		{IPPROTO_ICMPV6, ICMP6_TIME_EXCEEDED, "time exceeded"},
		{IPPROTO_ICMPV6, ICMP6_PARAM_PROB, "parameter problem"},
		{IPPROTO_ICMPV6, ND_ROUTER_SOLICIT, "router solicitation"},
		{IPPROTO_ICMPV6, ND_ROUTER_ADVERT, "router advertisement"},
		{IPPROTO_ICMPV6, ND_NEIGHBOR_SOLICIT, "neighbour solicitation"},
		{IPPROTO_ICMPV6, ND_NEIGHBOR_ADVERT, "neighbour advertisement"},
		{IPPROTO_ICMPV6, ND_REDIRECT, "redirect"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (names[i].protocol == packet->protocol && names[i].type == packet->icmp_type)
			return names[i].name;
	return NULL;
}

static void put_icmp(struct ds *text, const struct packet *packet)
{
	if (icmp_name(packet) != NULL)
		ds_put_format(text, " %s", icmp_name(packet));
	else
		ds_put_format(text, " type %u", packet->icmp_type);
	if (packet->icmp_code != 0)
		ds_put_format(text, ", code %u", packet->icmp_code);
}

static void put_ip(struct ds *text, const struct packet *packet)
{
	bool ports = has_ports(packet);
	bool icmp = packet->l4_offset != 0 &&
		    (packet->protocol == IPPROTO_ICMP || packet->protocol == IPPROTO_ICMPV6);

	if (protocol_name(packet->protocol) != NULL)
		ds_put_format(text, "%s ", protocol_name(packet->protocol));
	else
		ds_put_format(text, "IP protocol %u ", packet->protocol);
	put_end(text, &packet->key.source, packet->key.source_port, ports);
	ds_put_cstr(text, " > ");
	put_end(text, &packet->key.destination, packet->key.destination_port, ports);
	if (packet->protocol == IPPROTO_TCP && ports)
		put_tcp_flags(text, packet->tcp_flags);
	if (icmp)
		put_icmp(text, packet);
}

static void put_arp(struct ds *text, const uint8_t *arp)
{
	struct in_addr sender, target;
	char a[INET_ADDRSTRLEN], b[INET_ADDRSTRLEN];

	memcpy(&sender, arp + 14, sizeof(sender));
	memcpy(&target, arp + 24, sizeof(target));
	inet_ntop(AF_INET, &sender, a, sizeof(a));
	inet_ntop(AF_INET, &target, b, sizeof(b));
	if (be16(arp + 6) == ARPOP_REQUEST)
		ds_put_format(text, "ARP request from %s for %s", a, b);
	else
		ds_put_format(text, "ARP reply from %s to %s", a, b);
}

char *trace_packet_words(const struct trace *trace)
{
	return trace_frame_words(
		&trace->packet, trace->context.data, rte_pktmbuf_pkt_len(trace->context.frame));
}

char *trace_frame_words(const struct packet *packet, const uint8_t *data, uint32_t bytes)
{
	struct ds text = DS_EMPTY_INITIALIZER;
	char source[MAC_TEXT_MAX], destination[MAC_TEXT_MAX];

	if (packet->flags & PACKET_ARP)
		put_arp(&text, data + packet->l3_offset);
	else if (packet->key.kind != CONN_KEY_ETHERNET)
		put_ip(&text, packet);
	else
		ds_put_format(&text, "ethertype 0x%04x %s > %s", packet->ethertype,
			mac_format(data + 6, source), mac_format(data, destination));
	if (packet->flags & PACKET_FRAGMENT)
		ds_put_format(&text, ", %s fragment of datagram %u",
			packet->flags & PACKET_FRAGMENT_FIRST ? "first" : "later",
			packet->fragment_id);
	ds_put_format(&text, ", %u bytes", bytes);
	return ds_steal_cstr(&text);
}

/* --- header by header ----------------------------------------------------------------------- */

static void tell_ethernet(const struct trace *trace, struct json *step)
{
	const struct packet *packet = &trace->packet;
	const uint8_t *data = trace->context.data;
	char source[MAC_TEXT_MAX], destination[MAC_TEXT_MAX];

	trace_detail(step, "Ethernet %s > %s%s", mac_format(data + 6, source),
		mac_format(data, destination), packet->flags & PACKET_GROUP ? ", a group" : "");
	if (packet->flags & PACKET_TAGGED)
		trace_detail(step, "tag with VLAN %u, priority %u", packet->vlan_tci & 0xfff,
			packet->vlan_tci >> 13);
	if (packet->flags & PACKET_DOUBLE_TAGGED)
		trace_detail(step, "second tag with VLAN %u", packet->inner_tci & 0xfff);
}

static void tell_ip(const struct trace *trace, struct json *step)
{
	const struct packet *packet = &trace->packet;
	const uint8_t *ip = trace->context.data + packet->l3_offset;
	char source[IP_TEXT_MAX], destination[IP_TEXT_MAX];

	ip_format(&packet->key.source, source);
	ip_format(&packet->key.destination, destination);
	if (packet->key.kind == CONN_KEY_IPV4)
		trace_detail(step, "IPv4 %s > %s, TTL %u, protocol %u%s", source, destination,
			ip[8], packet->protocol, (ip[0] & 0xf) > 5 ? ", with options" : "");
	else if (packet->key.kind == CONN_KEY_IPV6)
		trace_detail(step, "IPv6 %s > %s, hop limit %u, protocol %u%s", source, destination,
			ip[7], packet->protocol,
			ip[6] != packet->protocol ? ", with extension headers" : "");
	else if (!(packet->flags & PACKET_ARP))
		trace_detail(step, "not IP: rules see it as protocol 0");
}

static void tell_transport(const struct trace *trace, struct json *step)
{
	const struct packet *packet = &trace->packet;
	const uint8_t *l4 = trace->context.data + packet->l4_offset;

	if (packet->l4_offset == 0)
		return;
	switch (packet->protocol) {
	case IPPROTO_TCP:
		trace_detail(step,
			"TCP sequence %u, acknowledgment %u, window %u, %u bytes of data",
			be32(l4 + 4), be32(l4 + 8), be16(l4 + 14),
			packet->l4_bytes - (l4[12] >> 4) * 4u);
		break;
	case IPPROTO_UDP: trace_detail(step, "UDP, %u bytes of data", be16(l4 + 4) - 8u); break;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		trace_detail(step, "%s type %u, code %u%s", protocol_name(packet->protocol),
			packet->icmp_type, packet->icmp_code,
			packet->flags & PACKET_ICMP_ERROR ? ", an error that quotes a packet" : "");
		break;
	}
}

void trace_headers(const struct trace *trace, struct json *step)
{
	tell_ethernet(trace, step);
	tell_ip(trace, step);
	tell_transport(trace, step);
}
