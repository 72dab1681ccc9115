/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exchanges that this guest begins when it is told to: pings, UDP datagrams that are to be sent
 * back, TCP connections to an echo server.
 *
 * One at a time.  exchange_look() is shown every packet and keeps what the one at work waits for.
 */
#include "guest.h"

enum {
	TRIES = 3,
	TRY_MS = 800,
	ICMP_BYTES = 64,
	ICMP_UNREACHABLE = 3,
	ICMPV6_UNREACHABLE = 1,
	UDP_HEADER = 8,
	TCP_HEADER = 20,
	TCP_FIN = 1,
	TCP_SYN = 2,
	TCP_RST = 4,
	TCP_PSH = 8,
	TCP_ACK = 16,
	PORT_FIRST = 40000,
	ADDRESS_TEXT = 48,
};

struct exchange {
	bool active;
	struct net *net;
	struct address peer;
	uint8_t mac[6];
	uint8_t protocol;
	uint16_t own_port, peer_port; /* ICMP: identifier and sequence number. */
	/* What has come. */
	bool answered, unreachable, refused;
	/* TCP: the next byte to send and to receive, the peer's FIN, and its bytes. */
	uint32_t next_sent, next_received, acknowledged;
	bool accepted, finished;
	uint32_t received;
};

static struct exchange exchange;
static uint16_t next_port = PORT_FIRST;

/* --- What comes --- */

static void look_icmp(const struct packet *packet)
{
	bool ipv4 = packet->protocol == PROTOCOL_ICMP;
	const uint8_t *icmp = packet->payload;

	if (packet->payload_bytes < 8)
		return;
	if (icmp[0] == (ipv4 ? ICMP_UNREACHABLE : ICMPV6_UNREACHABLE))
		exchange.unreachable = true;
	if (exchange.protocol == packet->protocol && icmp[0] == (ipv4 ? 0 : 129) &&
		get_be16(icmp + 4) == exchange.own_port && get_be16(icmp + 6) == exchange.peer_port)
		exchange.answered = true;
}

static void look_tcp(const uint8_t *tcp, size_t bytes)
{
	size_t header = (size_t)(tcp[12] >> 4) * 4, data;
	uint32_t sequence = get_be32(tcp + 4);

	if (header < TCP_HEADER || header > bytes)
		return;
	data = bytes - header;
	if (tcp[13] & TCP_RST) {
		exchange.refused = true;
		return;
	}
	exchange.acknowledged = get_be32(tcp + 8);
	if (tcp[13] & TCP_SYN) {
		exchange.accepted = true;
		exchange.next_received = sequence + 1;
		return;
	}
	/* In order or not at all: the peer sends again. */
	if (sequence != exchange.next_received)
		return;
	exchange.received += (uint32_t)data;
	exchange.next_received += (uint32_t)data;
	if (tcp[13] & TCP_FIN && !exchange.finished) {
		exchange.finished = true;
		exchange.next_received++;
	}
}

void exchange_look(const struct packet *packet)
{
	const uint8_t *at = packet->payload;
	bool icmp = packet->protocol == PROTOCOL_ICMP || packet->protocol == PROTOCOL_ICMPV6;

	if (!exchange.active)
		return;
	if (icmp) {
		look_icmp(packet);
		return;
	}
	if (packet->protocol != exchange.protocol ||
		!address_same(&packet->source, &exchange.peer) ||
		packet->payload_bytes <
			(exchange.protocol == PROTOCOL_TCP ? TCP_HEADER : UDP_HEADER) ||
		get_be16(at) != exchange.peer_port || get_be16(at + 2) != exchange.own_port)
		return;
	if (exchange.protocol == PROTOCOL_TCP)
		look_tcp(at, packet->payload_bytes);
	else
		exchange.answered = true;
}

/* --- What is sent --- */

/* Over the vNIC that the option via= names, the first one otherwise. */
static bool begin(char **line, uint8_t protocol)
{
	char *peer = word(line);

	memset(&exchange, 0, sizeof(exchange));
	exchange.net = &nets[option_number("via", 0) % NETS_MAX];
	exchange.protocol = protocol;
	exchange.own_port = next_port++;
	if (n_nets == 0 || !address_read(&exchange.peer, peer) ||
		!neighbour_find(exchange.net, &exchange.peer, exchange.mac))
		return false;
	exchange.active = true;
	return true;
}

/* Sends `bytes` of a payload that is all but for what protocols have in front. */
static void send(const uint8_t *header, size_t header_bytes, const char *text, size_t bytes)
{
	uint8_t *frame = net_frame(exchange.net, 0), *payload;

	if (!frame)
		return;
	payload =
		packet_begin(frame, exchange.net, exchange.mac, &exchange.peer, exchange.protocol);
	memcpy(payload, header, header_bytes);
	memcpy(payload + header_bytes, text, bytes);
	net_send(exchange.net, 0, packet_end(frame, header_bytes + bytes));
}

static bool wait_for(const bool *flag, unsigned int tries)
{
	uint64_t end = clock_cycles() + tries * TRY_MS * cycles_per_ms();

	while (!*(const volatile bool *)flag && clock_cycles() < end) {
		if (((volatile struct exchange *)&exchange)->refused ||
			((volatile struct exchange *)&exchange)->unreachable)
			break;
		work();
	}
	return *flag;
}

static const char *outcome(void)
{
	if (exchange.refused)
		return "refused";
	return exchange.unreachable ? "unreachable" : "silent";
}

void exchange_ping(char *line, char *reply, size_t size)
{
	static const char data[ICMP_BYTES - 8] = "ping";
	char peer[ADDRESS_TEXT];
	uint64_t count, answered = 0;

	if (!begin(&line, 0)) {
		format_to(reply, size, "ping: no neighbour");
		return;
	}
	exchange.protocol = exchange.peer.version == 4 ? PROTOCOL_ICMP : PROTOCOL_ICMPV6;
	count = number(word(&line));
	if (count == 0)
		count = 1;
	for (uint64_t i = 0; i < count; i++) {
		uint8_t header[8] = {exchange.peer.version == 4 ? 8 : 128};

		exchange.peer_port = (uint16_t)i;
		set_be16(header + 4, exchange.own_port);
		set_be16(header + 6, exchange.peer_port);
		exchange.answered = false;
		send(header, sizeof(header), data, sizeof(data));
		/* Each is sent once, and waited for as long as other exchanges are. */
		answered += wait_for(&exchange.answered, TRIES);
	}
	exchange.active = false;
	address_write(peer, sizeof(peer), &exchange.peer);
	format_to(reply, size, "ping %s: %u of %u answered", peer, answered, count);
}

void exchange_udp(char *line, char *reply, size_t size)
{
	uint8_t header[UDP_HEADER] = {0};
	char *text;

	if (!begin(&line, PROTOCOL_UDP)) {
		format_to(reply, size, "udp: no neighbour");
		return;
	}
	exchange.peer_port = (uint16_t)number(word(&line));
	text = word(&line);
	set_be16(header, exchange.own_port);
	set_be16(header + 2, exchange.peer_port);
	for (unsigned int try = 0; try < TRIES && !exchange.answered && !exchange.unreachable;
		try++) {
		send(header, sizeof(header), text, strlen(text));
		wait_for(&exchange.answered, 1);
	}
	exchange.active = false;
	format_to(reply, size, "udp: %s", exchange.answered ? "answered" : outcome());
}

/* --- TCP --- */

static void tcp_send(uint8_t flags, const char *text, size_t bytes)
{
	uint8_t header[TCP_HEADER] = {0};

	set_be16(header, exchange.own_port);
	set_be16(header + 2, exchange.peer_port);
	set_be32(header + 4, exchange.next_sent);
	set_be32(header + 8, exchange.next_received);
	header[12] = TCP_HEADER / 4 << 4;
	header[13] = flags;
	set_be16(header + 14, 16384);
	send(header, sizeof(header), text, bytes);
}

static bool tcp_open(void)
{
	for (unsigned int try = 0; try < TRIES; try++) {
		tcp_send(TCP_SYN, NULL, 0);
		if (wait_for(&exchange.accepted, 1))
			break;
		if (exchange.refused || exchange.unreachable)
			return false;
	}
	if (!exchange.accepted || exchange.acknowledged != exchange.next_sent + 1)
		return false;
	exchange.next_sent++;
	tcp_send(TCP_ACK, NULL, 0);
	return true;
}

/* Sends the text and waits until as much has come back. */
static bool tcp_talk(const char *text)
{
	uint32_t bytes = (uint32_t)strlen(text);
	bool echoed = false;

	for (unsigned int try = 0; try < TRIES && !echoed; try++) {
		uint64_t end = clock_cycles() + TRY_MS * cycles_per_ms();

		tcp_send(TCP_ACK | TCP_PSH, text, bytes);
		while (!echoed && clock_cycles() < end) {
			work();
			echoed = exchange.received >= bytes;
		}
	}
	exchange.next_sent += bytes;
	if (echoed)
		tcp_send(TCP_ACK, NULL, 0);
	return echoed;
}

static bool tcp_close(void)
{
	for (unsigned int try = 0; try < TRIES && !exchange.finished; try++) {
		tcp_send(TCP_ACK | TCP_FIN, NULL, 0);
		wait_for(&exchange.finished, 1);
	}
	exchange.next_sent++;
	if (exchange.finished)
		tcp_send(TCP_ACK, NULL, 0);
	return exchange.finished;
}

void exchange_tcp(char *line, char *reply, size_t size)
{
	const char *text;

	if (!begin(&line, PROTOCOL_TCP)) {
		format_to(reply, size, "tcp: no neighbour");
		return;
	}
	exchange.peer_port = (uint16_t)number(word(&line));
	exchange.next_sent = (uint32_t)clock_cycles();
	text = word(&line);
	if (!tcp_open())
		format_to(reply, size, "tcp: %s", outcome());
	else if (!tcp_talk(text))
		format_to(reply, size, "tcp: no echo");
	else
		format_to(reply, size, "tcp: echoed%s", tcp_close() ? ", closed" : "");
	exchange.active = false;
}
