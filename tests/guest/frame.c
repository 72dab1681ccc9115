/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ethernet, IPv4 and IPv6: addresses as text, headers written and read, checksums.
 */
#include "guest.h"

enum {
	ETHERNET_HEADER = 14,
	IPV4_HEADER = 20,
	IPV6_HEADER = 40,
	HOPS = 64,
	ICMP_CHECKSUM = 2,
	UDP_CHECKSUM = 6,
	TCP_CHECKSUM = 16,
};

uint16_t get_be16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

uint32_t get_be32(const uint8_t *at)
{
	return (uint32_t)get_be16(at) << 16 | get_be16(at + 2);
}

void set_be16(uint8_t *at, uint16_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

void set_be32(uint8_t *at, uint32_t value)
{
	set_be16(at, (uint16_t)(value >> 16));
	set_be16(at + 2, (uint16_t)value);
}

/* --- Addresses --- */

static bool read_ipv4(struct address *address, const char *text)
{
	for (unsigned int i = 0; i < 4; i++) {
		unsigned int value = 0;

		if (*text < '0' || *text > '9')
			return false;
		while (*text >= '0' && *text <= '9')
			value = value * 10 + (unsigned int)(*text++ - '0');
		address->bytes[i] = (uint8_t)value;
		if (i < 3 && *text++ != '.')
			return false;
	}
	address->version = 4;
	return true;
}

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One "::" may stand for the groups that are not written. */
static bool read_ipv6(struct address *address, const char *text)
{
	uint16_t groups[8] = {0};
	unsigned int n = 0, gap = 8;

	while (n < 8 && (*text == ':' || digit(*text) >= 0)) {
		if (text[0] == ':' && text[1] == ':') {
			gap = n;
			text += 2;
			continue;
		}
		if (*text == ':')
			text++;
		while (digit(*text) >= 0)
			groups[n] = (uint16_t)(groups[n] << 4 | digit(*text++));
		n++;
	}
	if (n < 8 && gap == 8)
		return false;
	for (unsigned int i = 0; i < 8; i++) {
		bool before = i < gap, after = i >= gap + 8 - n;

		set_be16(address->bytes + (size_t)2 * i, before	 ? groups[i]
							 : after ? groups[i - (8 - n)]
								 : 0);
	}
	address->version = 6;
	return true;
}

bool address_read(struct address *address, const char *text)
{
	memset(address, 0, sizeof(*address));
	for (const char *c = text; *c && *c != ' '; c++) {
		if (*c == ':')
			return read_ipv6(address, text);
	}
	return read_ipv4(address, text);
}

/* All groups of an IPv6 address are written. */
void address_write(char *to, size_t size, const struct address *address)
{
	const uint8_t *b = address->bytes;

	if (address->version == 4)
		format_to(to, size, "%u.%u.%u.%u", (uint64_t)b[0], (uint64_t)b[1], (uint64_t)b[2],
			(uint64_t)b[3]);
	else
		format_to(to, size, "%x:%x:%x:%x:%x:%x:%x:%x", (uint64_t)get_be16(b),
			(uint64_t)get_be16(b + 2), (uint64_t)get_be16(b + 4),
			(uint64_t)get_be16(b + 6), (uint64_t)get_be16(b + 8),
			(uint64_t)get_be16(b + 10), (uint64_t)get_be16(b + 12),
			(uint64_t)get_be16(b + 14));
}

bool address_same(const struct address *a, const struct address *b)
{
	return a->version == b->version && memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

/* --- Reading --- */

static bool read_ipv4_header(struct packet *packet, uint8_t *ip, size_t bytes)
{
	size_t header, total;

	if (bytes < IPV4_HEADER)
		return false;
	header = (size_t)(ip[0] & 0xf) * 4;
	total = get_be16(ip + 2);
	/* No fragments: nobody sends this guest any. */
	if (ip[0] >> 4 != 4 || header < IPV4_HEADER || total < header || total > bytes ||
		(get_be16(ip + 6) & 0x3fff) != 0)
		return false;
	packet->protocol = ip[9];
	packet->source.version = packet->destination.version = 4;
	memcpy(packet->source.bytes, ip + 12, 4);
	memcpy(packet->destination.bytes, ip + 16, 4);
	packet->payload = ip + header;
	packet->payload_bytes = total - header;
	return true;
}

static bool read_ipv6_header(struct packet *packet, uint8_t *ip, size_t bytes)
{
	if (bytes < IPV6_HEADER || ip[0] >> 4 != 6 || get_be16(ip + 4) > bytes - IPV6_HEADER)
		return false;
	packet->protocol = ip[6];
	packet->source.version = packet->destination.version = 6;
	memcpy(packet->source.bytes, ip + 8, 16);
	memcpy(packet->destination.bytes, ip + 24, 16);
	packet->payload = ip + IPV6_HEADER;
	packet->payload_bytes = get_be16(ip + 4);
	return true;
}

bool packet_read(struct packet *packet, uint8_t *frame, size_t bytes)
{
	uint8_t *behind = frame + ETHERNET_HEADER;

	memset(packet, 0, sizeof(*packet));
	if (bytes < ETHERNET_HEADER)
		return false;
	packet->frame = frame;
	packet->bytes = bytes;
	packet->ethertype = get_be16(frame + 12);
	if (packet->ethertype == ETHERTYPE_IPV4)
		return read_ipv4_header(packet, behind, bytes - ETHERNET_HEADER);
	if (packet->ethertype == ETHERTYPE_IPV6)
		return read_ipv6_header(packet, behind, bytes - ETHERNET_HEADER);
	packet->payload = behind;
	packet->payload_bytes = bytes - ETHERNET_HEADER;
	return packet->ethertype == ETHERTYPE_ARP && packet->payload_bytes >= 28;
}

/* --- Writing --- */

static uint32_t sum(const uint8_t *bytes, size_t n, uint32_t start)
{
	for (; n > 1; n -= 2, bytes += 2)
		start += get_be16(bytes);
	return n > 0 ? start + ((uint32_t)bytes[0] << 8) : start;
}

static uint16_t folded(uint32_t value)
{
	value = (value & 0xffff) + (value >> 16);
	value = (value & 0xffff) + (value >> 16);
	return (uint16_t)~value;
}

uint8_t *packet_begin(uint8_t *frame, const struct net *net, const uint8_t *mac,
	const struct address *destination, uint8_t protocol)
{
	uint8_t *ip = frame + ETHERNET_HEADER;

	memcpy(frame, mac, 6);
	memcpy(frame + 6, net->mac, 6);
	memset(ip, 0, IPV6_HEADER);
	if (destination->version == 4) {
		set_be16(frame + 12, ETHERTYPE_IPV4);
		ip[0] = 0x45;
		ip[8] = HOPS;
		ip[9] = protocol;
		memcpy(ip + 12, net->ipv4.bytes, 4);
		memcpy(ip + 16, destination->bytes, 4);
		return ip + IPV4_HEADER;
	}
	set_be16(frame + 12, ETHERTYPE_IPV6);
	ip[0] = 0x60;
	ip[6] = protocol;
	ip[7] = protocol == PROTOCOL_ICMPV6 ? 255 : HOPS;
	memcpy(ip + 8, net->ipv6.bytes, 16);
	memcpy(ip + 24, destination->bytes, 16);
	return ip + IPV6_HEADER;
}

static uint8_t *checksum_place(uint8_t protocol, uint8_t *payload)
{
	switch (protocol) {
	case PROTOCOL_ICMP:
	case PROTOCOL_ICMPV6: return payload + ICMP_CHECKSUM;
	case PROTOCOL_UDP: return payload + UDP_CHECKSUM;
	case PROTOCOL_TCP: return payload + TCP_CHECKSUM;
	default: return NULL;
	}
}

size_t packet_end(uint8_t *frame, size_t payload_bytes)
{
	bool ipv4 = get_be16(frame + 12) == ETHERTYPE_IPV4;
	uint8_t *ip = frame + ETHERNET_HEADER;
	uint8_t *payload = ip + (ipv4 ? IPV4_HEADER : IPV6_HEADER), *place;
	uint8_t protocol = ipv4 ? ip[9] : ip[6];
	uint32_t pseudo = 0;

	if (protocol == PROTOCOL_UDP)
		set_be16(payload + 4, (uint16_t)payload_bytes);
	if (protocol != PROTOCOL_ICMP)
		pseudo = sum(
			ipv4 ? ip + 12 : ip + 8, ipv4 ? 8 : 32, (uint32_t)payload_bytes + protocol);
	place = checksum_place(protocol, payload);
	if (place) {
		set_be16(place, 0);
		set_be16(place, folded(sum(payload, payload_bytes, pseudo)));
	}
	if (ipv4) {
		set_be16(ip + 2, (uint16_t)(IPV4_HEADER + payload_bytes));
		set_be16(ip + 10, folded(sum(ip, IPV4_HEADER, 0)));
	} else {
		set_be16(ip + 4, (uint16_t)payload_bytes);
	}
	return (size_t)(payload - frame) + payload_bytes;
}
