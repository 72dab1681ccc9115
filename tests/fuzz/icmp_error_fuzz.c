/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as an ICMP error to 10.0.0.1, or to fd00::1, that may be about one TCP connection: what
 * is believed quotes a packet that the receiver has sent, in the window, and no impossible MTU.  A
 * second reader, which knows only the plainest of packets, says so.
 *
 * The input: a byte of choices (below), two of sequence numbers, and the ICMP message.
 */
#include <stdlib.h>
#include <string.h>

#include "datapath/icmp_quote.h"
#include "datapath/packet_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum choice {
	CHOICE_IPV6 = 1 << 0,
	CHOICE_ANSWERED = 1 << 1, /* The connection is established. */
	CHOICE_NO_STATE = 1 << 2, /* It is found, but its numbers are not known. */
	CHOICE_NOT_FOUND = 1 << 3,
};

enum { INITIATOR, RESPONDER, SENT_BYTES = 3000 };

struct connection {
	struct tcp_side sides[2];
	uint8_t choices;
	uint32_t first, next; /* What the initiator may wait for. */
	struct conn_key asked;
};

static void require(bool promise)
{
	if (!promise)
		abort();
}

static void step(struct tcp_side sides[2], unsigned int from, uint32_t sequence,
	uint32_t acknowledgment, uint32_t bytes, uint8_t flags)
{
	const struct tcp_segment segment = {
		.sequence = sequence,
		.acknowledgment = acknowledgment,
		.payload_bytes = bytes,
		.window = 8000,
		.flags = flags,
	};

	require(tcp_step(&sides[from], &sides[!from], &segment, from == INITIATOR) <=
		TCP_OK_STATE_CHANGED);
}

/* The initiator has sent a SYN; or SENT_BYTES, none of which is acknowledged. */
static void open_connection(struct connection *connection, uint32_t number)
{
	const struct tcp_segment syn = {.sequence = number, .window = 8000, .flags = TCP_FLAG_SYN};
	struct tcp_side *sides = connection->sides;

	require(tcp_open(&sides[INITIATOR], &sides[RESPONDER], &syn, false) ==
		TCP_OK_STATE_CHANGED);
	connection->first = number;
	connection->next = number + 1;
	if (!(connection->choices & CHOICE_ANSWERED))
		return;
	step(sides, RESPONDER, 7, number + 1, 0, TCP_FLAG_SYN | TCP_FLAG_ACK);
	step(sides, INITIATOR, number + 1, 8, SENT_BYTES, TCP_FLAG_ACK);
	connection->next += SENT_BYTES;
}

static bool find(struct conn_key *key, struct icmp_subject *subject, void *context)
{
	struct connection *connection = context;

	connection->asked = *key;
	if (connection->choices & CHOICE_NOT_FOUND)
		return false;
	if (!(connection->choices & CHOICE_NO_STATE)) {
		subject->sender = &connection->sides[INITIATOR];
		subject->receiver = &connection->sides[RESPONDER];
	}
	return true;
}

/* --- The second reader ------------------------------------------------------------------------ */

static void check_mtu(const uint8_t *icmp, bool ip6)
{
	if (ip6)
		require(icmp[0] != 2 || load_be32(icmp + 4) >= 1280);
	else if (icmp[0] == 3 && icmp[1] == 4)
		require(load_be16(icmp + 6) == 0 || load_be16(icmp + 6) >= 68);
}

/* Of what was believed. */
static void check(const uint8_t *frame, const struct packet *packet,
	const struct connection *connection, uint32_t n)
{
	bool ip6 = packet->key.kind == CONN_KEY_IPV6;
	const uint8_t *icmp = frame + packet->l4_offset, *ip = icmp + 8;
	const uint8_t *sender = ip + (ip6 ? 8 : 12);
	uint32_t header_bytes = ip6 ? 40 : (ip[0] & 15u) * 4;

	require(!(connection->choices & CHOICE_NOT_FOUND));
	require(packet->flags & PACKET_ICMP_ERROR);
	check_mtu(icmp, ip6);
	require(packet->l4_offset + 8 + header_bytes + 8 <= n);
	require(ip[0] >> 4 == (ip6 ? 6 : 4));
	require(memcmp(sender, frame + ETHERNET_BYTES + (ip6 ? 24 : 16), ip6 ? 16 : 4) == 0);
	require(memcmp(&connection->asked.source, &packet->key.destination, 16) == 0);
	if (connection->choices & CHOICE_NO_STATE || ip[ip6 ? 6 : 9] != IPPROTO_TCP)
		return;
	uint32_t sequence = load_be32(ip + header_bytes + 4);
	require((int32_t)(sequence - connection->first) >= 0);
	require((int32_t)(connection->next - sequence) >= 0);
}

/* --- The error -------------------------------------------------------------------------------- */

static void write_ip4(uint8_t *ip, uint32_t bytes)
{
	static const uint8_t plain[IP4_BYTES] = {
		0x45, 0, 0, 0, 0, 0, 0, 0, 64, IPPROTO_ICMP, 0, 0, 192, 0, 2, 9, 10, 0, 0, 1};
	uint32_t sum = 0;

	memcpy(ip, plain, sizeof(plain));
	ip[2] = (uint8_t)((IP4_BYTES + bytes) >> 8);
	ip[3] = (uint8_t)(IP4_BYTES + bytes);
	for (uint32_t at = 0; at < IP4_BYTES; at += 2)
		sum += load_be16(ip + at);
	sum = (sum & UINT16_MAX) + (sum >> 16);
	sum = ~((sum & UINT16_MAX) + (sum >> 16));
	ip[10] = (uint8_t)(sum >> 8);
	ip[11] = (uint8_t)sum;
}

static void write_ip6(uint8_t *ip, uint32_t bytes)
{
	memset(ip, 0, IP6_BYTES);
	ip[0] = 0x60;
	ip[4] = (uint8_t)(bytes >> 8);
	ip[5] = (uint8_t)bytes;
	ip[6] = IPPROTO_ICMPV6;
	ip[7] = 64;
	ip[8] = ip[24] = 0xfd;
	ip[23] = 9;
	ip[39] = 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t macs[12] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2};
	struct connection connection = {0};
	struct packet packet;

	if (size < 3 || size > 4096)
		return 0;
	connection.choices = data[0];
	open_connection(&connection, load_be16(data + 1) * UINT32_C(65539));
	bool ip6 = data[0] & CHOICE_IPV6;
	uint32_t ip_bytes = ip6 ? IP6_BYTES : IP4_BYTES, bytes = (uint32_t)size - 3;
	uint32_t n = ETHERNET_BYTES + ip_bytes + bytes;
	uint8_t *frame = malloc(n);
	require(frame != NULL);
	memcpy(frame, macs, sizeof(macs));
	frame[12] = ip6 ? 0x86 : 0x08;
	frame[13] = ip6 ? 0xdd : 0x00;
	if (ip6)
		write_ip6(frame + ETHERNET_BYTES, bytes);
	else
		write_ip4(frame + ETHERNET_BYTES, bytes);
	memcpy(frame + ETHERNET_BYTES + ip_bytes, data + 3, bytes);
	if (packet_parse(frame, n, n, &packet) == DROP_NONE &&
		icmp_quote_check(frame, n, &packet, find, &connection))
		check(frame, &packet, &connection, n);
	free(frame);
	return 0;
}
