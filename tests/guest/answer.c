/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What comes is answered: ARP, neighbour solicitations, echo requests, UDP echo and commands, and
 * TCP without a state.
 *
 * A TCP server needs none, if what it says next follows from what it is told: it accepts
 * everything, sends back all data, and closes when the other end does.
 */
#include "guest.h"

enum {
	ICMP_ECHO = 8,
	ICMP_ECHO_REPLY = 0,
	ICMPV6_ECHO = 128,
	ICMPV6_ECHO_REPLY = 129,
	ICMPV6_SOLICITATION = 135,
	ICMPV6_ADVERTISEMENT = 136,
	SOLICITED_AND_OVERRIDE = 0x60,
	ARP_REQUEST = 1,
	ARP_REPLY = 2,
	UDP_HEADER = 8,
	ETHERNET_AND_IPV4 = 34,
	TCP_HEADER = 20,
	TCP_FIN = 1,
	TCP_SYN = 2,
	TCP_RST = 4,
	TCP_ACK = 16,
	TCP_WINDOW = 16384,
};

static void answer_arp(struct net *net, const struct packet *packet)
{
	const uint8_t *arp = packet->payload;
	struct address sender = {.version = 4};
	uint8_t *frame;

	memcpy(sender.bytes, arp + 14, 4);
	neighbour_learn(&sender, arp + 8);
	if (get_be16(arp + 6) != ARP_REQUEST || memcmp(arp + 24, net->ipv4.bytes, 4) != 0)
		return;
	frame = net_frame(net, 0);
	if (!frame)
		return;
	memset(frame, 0, 60);
	memcpy(frame, arp + 8, 6);
	memcpy(frame + 6, net->mac, 6);
	set_be16(frame + 12, ETHERTYPE_ARP);
	memcpy(frame + 14, arp, 6);
	set_be16(frame + 20, ARP_REPLY);
	memcpy(frame + 22, net->mac, 6);
	memcpy(frame + 28, net->ipv4.bytes, 4);
	memcpy(frame + 32, arp + 8, 10);
	net_send(net, 0, 60);
}

/* A packet to where this one came from; its payload begins as this one's. */
static uint8_t *reply_begin(
	struct net *net, const struct packet *packet, uint8_t **frame, size_t bytes)
{
	uint8_t *payload;

	*frame = net_frame(net, 0);
	if (!*frame)
		return NULL;
	payload = packet_begin(*frame, net, packet->frame + 6, &packet->source, packet->protocol);
	if ((size_t)(payload - *frame) + bytes > FRAME_MAX)
		return NULL;
	memcpy(payload, packet->payload, bytes);
	return payload;
}

static void answer_echo(struct net *net, const struct packet *packet, uint8_t type)
{
	uint8_t *frame, *payload = reply_begin(net, packet, &frame, packet->payload_bytes);

	if (!payload)
		return;
	payload[0] = type;
	net_send(net, 0, packet_end(frame, packet->payload_bytes));
}

static void answer_solicitation(struct net *net, const struct packet *packet)
{
	uint8_t *frame, *payload;

	if (packet->payload_bytes < 24 || memcmp(packet->payload + 8, net->ipv6.bytes, 16) != 0)
		return;
	payload = reply_begin(net, packet, &frame, 24);
	if (!payload)
		return;
	payload[0] = ICMPV6_ADVERTISEMENT;
	memset(payload + 4, 0, 4);
	payload[4] = SOLICITED_AND_OVERRIDE;
	payload[24] = 2;
	payload[25] = 1;
	memcpy(payload + 26, net->mac, 6);
	net_send(net, 0, packet_end(frame, 32));
}

static void answer_udp(struct net *net, const struct packet *packet)
{
	const uint8_t *udp = packet->payload;
	size_t bytes = packet->payload_bytes;
	struct command_sender sender = {.net = net, .address = packet->source};
	uint8_t *frame, *reply;

	if (bytes < UDP_HEADER)
		return;
	sender.port = get_be16(udp);
	memcpy(sender.mac, packet->frame + 6, 6);
	if (get_be16(udp) == PORT_DISCARD && get_be16(udp + 2) >= PORT_FLOOD)
		net->credits++;
	switch (get_be16(udp + 2)) {
	case PORT_DISCARD: net->discarded++; break;
	case PORT_CONTROL: command_keep(&sender, udp + UDP_HEADER, bytes - UDP_HEADER); break;
	case PORT_ECHO:
		reply = reply_begin(net, packet, &frame, bytes);
		if (!reply)
			return;
		memcpy(reply, udp + 2, 2);
		memcpy(reply + 2, udp, 2);
		net_send(net, 0, packet_end(frame, bytes));
		break;
	default: break;
	}
}

/* What the other end may count on: its own numbers come back, ours follow from its acknowledgment.
 */
static void answer_tcp(struct net *net, const struct packet *packet)
{
	const uint8_t *tcp = packet->payload;
	size_t header = packet->payload_bytes >= TCP_HEADER ? (size_t)(tcp[12] >> 4) * 4 : 0, data;
	uint8_t *frame, *reply, flags;

	if (header < TCP_HEADER || header > packet->payload_bytes || get_be16(tcp + 2) != PORT_ECHO)
		return;
	data = packet->payload_bytes - header;
	flags = tcp[13];
	if (flags & TCP_RST || (data == 0 && !(flags & (TCP_SYN | TCP_FIN))))
		return;
	reply = reply_begin(net, packet, &frame, TCP_HEADER);
	if (!reply)
		return;
	memcpy(reply, tcp + 2, 2);
	memcpy(reply + 2, tcp, 2);
	if (flags & TCP_SYN)
		set_be32(reply + 4, ~get_be32(tcp + 4));
	else
		set_be32(reply + 4, get_be32(tcp + 8));
	set_be32(reply + 8,
		get_be32(tcp + 4) + (uint32_t)data + ((flags & (TCP_SYN | TCP_FIN)) != 0));
	reply[12] = TCP_HEADER / 4 << 4;
	reply[13] = (uint8_t)(TCP_ACK | (flags & (TCP_SYN | TCP_FIN)));
	set_be16(reply + 14, TCP_WINDOW);
	memset(reply + 16, 0, 4);
	memcpy(reply + TCP_HEADER, tcp + header, data);
	net_send(net, 0, packet_end(frame, TCP_HEADER + data));
}

static void answer_icmp(struct net *net, const struct packet *packet)
{
	uint8_t type = packet->payload_bytes >= 8 ? packet->payload[0] : 0xff;
	bool ipv4 = packet->protocol == PROTOCOL_ICMP;

	if (ipv4 && type == ICMP_ECHO)
		answer_echo(net, packet, ICMP_ECHO_REPLY);
	if (!ipv4 && type == ICMPV6_ECHO)
		answer_echo(net, packet, ICMPV6_ECHO_REPLY);
	if (!ipv4 && type == ICMPV6_SOLICITATION)
		answer_solicitation(net, packet);
}

static bool is_ours(const struct net *net, const struct packet *packet)
{
	const struct address *own = packet->source.version == 4 ? &net->ipv4 : &net->ipv6;

	/* Solicitations come to a group. */
	return address_same(own, &packet->destination) || packet->destination.bytes[0] == 0xff;
}

/* What a window's receiver says, once it has all of the window: a datagram back, which is an answer
 * to every firewall. */
static void credit(struct net *net, const uint8_t *frame)
{
	const uint8_t *udp = frame + ETHERNET_AND_IPV4;
	struct address peer = {.version = 4};
	uint16_t window = get_be16(udp + UDP_HEADER);
	uint8_t *reply, *header;

	if (window == 0 || ++net->uncredited < window)
		return;
	net->uncredited = 0;
	reply = net_frame(net, 0);
	if (!reply)
		return;
	memcpy(peer.bytes, frame + 26, 4);
	header = packet_begin(reply, net, frame + 6, &peer, PROTOCOL_UDP);
	memset(header, 0, UDP_HEADER + 10);
	set_be16(header, PORT_DISCARD);
	memcpy(header + 2, udp, 2);
	net_send(net, 0, packet_end(reply, UDP_HEADER + 10));
}

/* A flood is counted, and nothing else: what takes longer is not measured then. */
static bool is_flood(struct net *net, const uint8_t *frame, size_t bytes)
{
	if (bytes < ETHERNET_AND_IPV4 + UDP_HEADER + 2 || get_be16(frame + 12) != ETHERTYPE_IPV4 ||
		frame[14] != 0x45 || frame[23] != PROTOCOL_UDP ||
		get_be16(frame + ETHERNET_AND_IPV4 + 2) != PORT_DISCARD)
		return false;
	net->discarded++;
	credit(net, frame);
	return true;
}

void answer(struct net *net, uint8_t *frame, size_t bytes)
{
	struct packet packet;

	if (is_flood(net, frame, bytes))
		return;
	if (!packet_read(&packet, frame, bytes))
		return;
	if (packet.ethertype == ETHERTYPE_ARP) {
		answer_arp(net, &packet);
		return;
	}
	if (!is_ours(net, &packet))
		return;
	neighbour_learn(&packet.source, frame + 6);
	exchange_look(&packet);
	switch (packet.protocol) {
	case PROTOCOL_ICMP:
	case PROTOCOL_ICMPV6: answer_icmp(net, &packet); break;
	case PROTOCOL_UDP: answer_udp(net, &packet); break;
	case PROTOCOL_TCP: answer_tcp(net, &packet); break;
	default: break;
	}
}
