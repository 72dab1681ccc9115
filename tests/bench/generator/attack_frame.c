/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing the frames of the hostile guest.  Called by mode_attack.c for every frame that it sends.
 */
#include "tests/bench/generator/attack_frame.h"

#include <netinet/in.h>
#include <string.h>

enum {
	ETHERNET_BYTES = 14,
	IP4_BYTES = 20,
	L4_AT = ETHERNET_BYTES + IP4_BYTES,
	L4_BYTES = ATTACK_FRAME_BYTES - L4_AT,
	TCP_BYTES = 20,
	TCP_SYN = 0x02,
	ICMP_ECHO_REQUEST = 8,
	/* Unassigned, and without ports: a connection is told by its addresses alone. */
	FIRST_OTHER_PROTOCOL = 147,
	N_OTHER_PROTOCOLS = 64,
};

static const char *const names[ATTACK_N_KINDS] = {
	[ATTACK_NONE] = "none",
	[ATTACK_RANDOM] = "random",
	[ATTACK_SYN] = "syn",
	[ATTACK_MAC] = "mac",
};

enum attack_kind attack_kind_find(const char *name)
{
	enum attack_kind kind = ATTACK_NONE;

	while (kind < ATTACK_N_KINDS && strcmp(names[kind], name) != 0)
		kind++;
	return kind;
}

/* Marsaglia's xorshift64. */
static uint64_t next_random(struct attack *attack)
{
	attack->random ^= attack->random << 13;
	attack->random ^= attack->random >> 7;
	attack->random ^= attack->random << 17;
	return attack->random;
}

static void store16(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

/* RFC 1071; `sum` is what was added up before. */
static uint32_t add_up(uint32_t sum, const uint8_t *at, uint32_t bytes)
{
	for (uint32_t i = 0; i < bytes; i += 2)
		sum += (uint32_t)at[i] << 8 | at[i + 1];
	return sum;
}

static uint32_t checksum_of(uint32_t sum)
{
	sum = (sum >> 16) + (sum & 0xffff);
	sum = (sum >> 16) + (sum & 0xffff);
	return ~sum & 0xffff;
}

static void write_ip4(uint8_t *ip, uint8_t protocol, uint32_t l4_bytes)
{
	ip[0] = 0x45;
	store16(ip + 2, IP4_BYTES + l4_bytes);
	ip[6] = 0x40; /* Don't fragment. */
	ip[8] = 64;
	ip[9] = protocol;
	store16(ip + 10, checksum_of(add_up(0, ip, IP4_BYTES)));
}

/* The sum of the pseudo header and of the segment, whose checksum field is zero. */
static uint32_t l4_sum(const uint8_t *ip, uint32_t l4_bytes)
{
	return add_up(add_up(ip[9] + l4_bytes, ip + 12, 8), ip + IP4_BYTES, l4_bytes);
}

static void write_udp(uint8_t *ip, uint32_t ports)
{
	uint8_t *udp = ip + IP4_BYTES;
	uint32_t checksum;

	write_ip4(ip, IPPROTO_UDP, L4_BYTES);
	memcpy(udp, &ports, sizeof(ports));
	store16(udp + 4, L4_BYTES);
	checksum = checksum_of(l4_sum(ip, L4_BYTES));
	store16(udp + 6, checksum ? checksum : 0xffff);
}

static void write_syn(uint8_t *ip, uint32_t ports, uint32_t sequence)
{
	uint8_t *tcp = ip + IP4_BYTES;

	write_ip4(ip, IPPROTO_TCP, TCP_BYTES);
	memcpy(tcp, &ports, sizeof(ports));
	memcpy(tcp + 4, &sequence, sizeof(sequence));
	tcp[12] = TCP_BYTES / 4 << 4;
	tcp[13] = TCP_SYN;
	store16(tcp + 14, 0xffff);
	store16(tcp + 16, checksum_of(l4_sum(ip, TCP_BYTES)));
}

static void write_echo_request(uint8_t *ip, uint16_t identifier)
{
	uint8_t *icmp = ip + IP4_BYTES;

	write_ip4(ip, IPPROTO_ICMP, L4_BYTES);
	icmp[0] = ICMP_ECHO_REQUEST;
	memcpy(icmp + 4, &identifier, sizeof(identifier));
	store16(icmp + 2, checksum_of(add_up(0, icmp, L4_BYTES)));
}

/* Within B's /16; not the network's own address, nor that of all hosts. */
static void write_random_destination(uint8_t *ip, uint64_t random)
{
	uint32_t host = 1 + (uint32_t)(random >> 32) % 0xfffe;

	store16(ip + 18, host);
}

static void write_random(struct attack *attack, uint8_t *ip)
{
	uint64_t random = next_random(attack), more = next_random(attack);
	uint32_t ports = (uint32_t)random;

	write_random_destination(ip, random);
	switch (more & 7) {
	case 0: write_echo_request(ip, (uint16_t)random); break;
	case 1:
		write_ip4(ip, FIRST_OTHER_PROTOCOL + (more >> 8) % N_OTHER_PROTOCOLS, L4_BYTES);
		break;
	case 2:
	case 3:
	case 4: write_syn(ip, ports, (uint32_t)(more >> 32)); break;
	default: write_udp(ip, ports); break;
	}
}

/* Locally administered, and no group. */
static void write_random_mac(uint8_t *mac, uint64_t random)
{
	memcpy(mac, &random, 6);
	mac[0] = 0x06;
}

void attack_frame_write(struct attack *attack, uint8_t *data)
{
	uint8_t *ip = data + ETHERNET_BYTES;
	uint64_t random;

	memset(data, 0, ATTACK_FRAME_BYTES);
	memcpy(data, attack->to_mac, 6);
	memcpy(data + 6, attack->from_mac, 6);
	store16(data + 12, 0x0800);
	memcpy(ip + 12, attack->from_ip4, 4);
	memcpy(ip + 16, attack->to_ip4, 4);
	if (attack->kind == ATTACK_RANDOM) {
		write_random(attack, ip);
		return;
	}
	random = next_random(attack);
	if (attack->kind == ATTACK_SYN) {
		write_syn(ip, (uint32_t)random, (uint32_t)(random >> 32));
		return;
	}
	write_random_mac(data + 6, random);
	write_udp(ip, htonl(9u << 16 | 9));
}
