/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Building and recognizing the generator's frames.  Called by the generator's one thread, for every
 * frame: nothing here allocates or loops over more than a header, frame_maker_init() apart.
 */
#include "tests/bench/generator/frame.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	ETHERNET_BYTES = 14,
	IP4_BYTES = 20,
	IP6_BYTES = 40,
	UDP_BYTES = 8,
	TCP_BYTES = 20,
	MAGIC_BYTES = 4,
	/* A SYN offers window scaling: NOP and a three-byte option. */
	SYN_OPTION_BYTES = 4,
	WINDOW_SCALE = 7,
};

/* Flow f: port FIRST + f mod SPAN on side A, SERVICE + f / SPAN on side B. */
enum { FIRST_PORT = 10000, PORT_SPAN = 50000, SERVICE_PORT = 2000 };

/* Followed by the sender's letter. */
static const uint8_t magic[MAGIC_BYTES - 1] = {'c', 'd', 'n'};

static void store16(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static void store32(uint8_t *at, uint32_t value)
{
	store16(at, value >> 16);
	store16(at + 2, value);
}

static uint32_t load16(const uint8_t *at)
{
	return (uint32_t)at[0] << 8 | at[1];
}

static uint32_t load32(const uint8_t *at)
{
	return load16(at) << 16 | load16(at + 2);
}

/* RFC 1071, in host order; `bytes` is even. */
static uint32_t sum_bytes(const uint8_t *at, size_t bytes)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < bytes; i += 2)
		sum += load16(at + i);
	return sum;
}

static uint32_t sum_word(uint32_t word)
{
	return (word >> 16) + (word & 0xffff);
}

static uint16_t sum_finish(uint32_t sum)
{
	sum = sum_word(sum);
	sum = sum_word(sum);
	return (uint16_t)~sum;
}

static enum side_name other(enum side_name side)
{
	return side == SIDE_A ? SIDE_B : SIDE_A;
}

static uint16_t l4_offset(const struct traffic *traffic)
{
	return ETHERNET_BYTES + (traffic->ipv6 ? IP6_BYTES : IP4_BYTES);
}

uint16_t frame_bytes_min(const struct traffic *traffic)
{
	uint16_t headers = l4_offset(traffic) + (traffic->tcp ? TCP_BYTES : UDP_BYTES);

	if (traffic->tcp)
		headers += SYN_OPTION_BYTES;
	if (traffic->stamped)
		headers += FRAME_STAMP_BYTES;
	if (headers + MAGIC_BYTES < FRAME_BYTES_MIN)
		return FRAME_BYTES_MIN;
	return headers + MAGIC_BYTES;
}

static bool traffic_is_valid(const struct traffic *traffic)
{
	if (traffic->n_flows == 0 || traffic->n_flows > FRAME_FLOWS_MAX)
		return false;
	if (traffic->tcp && traffic->stamped)
		return false;
	if (traffic->n_sizes == 0 || traffic->n_sizes > FRAME_SIZES_MAX)
		return false;
	for (unsigned int i = 0; i < traffic->n_sizes; i++)
		if (traffic->sizes[i] < frame_bytes_min(traffic) ||
			traffic->sizes[i] > FRAME_BYTES_MAX)
			return false;
	return true;
}

static void ip4_header(struct frame_maker *maker, enum side_name side, uint8_t *ip)
{
	const struct traffic *traffic = &maker->traffic;

	ip[0] = 0x45;
	ip[6] = 0x40; /* Don't fragment. */
	ip[8] = 64;
	ip[9] = traffic->tcp ? IPPROTO_TCP : IPPROTO_UDP;
	memcpy(ip + 12, &traffic->address[side].s6_addr[12], 4);
	memcpy(ip + 16, &traffic->address[other(side)].s6_addr[12], 4);
	maker->ip_sum[side] = sum_bytes(ip, IP4_BYTES);
	maker->l4_sum[side] = sum_bytes(ip + 12, 8) + ip[9];
}

static void ip6_header(struct frame_maker *maker, enum side_name side, uint8_t *ip)
{
	const struct traffic *traffic = &maker->traffic;

	ip[0] = 0x60;
	ip[6] = traffic->tcp ? IPPROTO_TCP : IPPROTO_UDP;
	ip[7] = 64;
	memcpy(ip + 8, &traffic->address[side], 16);
	memcpy(ip + 24, &traffic->address[other(side)], 16);
	maker->l4_sum[side] = sum_bytes(ip + 8, 32) + ip[6];
}

static uint32_t magic_sum(const struct frame_maker *maker, enum side_name side)
{
	return sum_bytes(&maker->header[side][maker->magic_offset], MAGIC_BYTES);
}

static void side_header(struct frame_maker *maker, enum side_name side)
{
	const struct traffic *traffic = &maker->traffic;
	uint8_t *header = maker->header[side];

	memcpy(header, traffic->mac[other(side)], 6);
	memcpy(header + 6, traffic->mac[side], 6);
	store16(header + 12, traffic->ipv6 ? 0x86dd : 0x0800);
	if (traffic->ipv6)
		ip6_header(maker, side, header + ETHERNET_BYTES);
	else
		ip4_header(maker, side, header + ETHERNET_BYTES);
	memcpy(header + maker->magic_offset, magic, sizeof(magic));
	header[maker->magic_offset + sizeof(magic)] = (uint8_t)('A' + side);
	memcpy(&maker->magic_word[side], header + maker->magic_offset, MAGIC_BYTES);
	/* The payload is zero but for the magic word, which starts at an even offset.  A UDP
	 * datagram always has it, a TCP segment may not. */
	if (!traffic->tcp)
		maker->l4_sum[side] += magic_sum(maker, side);
}

int frame_maker_init(struct frame_maker *maker, const struct traffic *traffic)
{
	*maker = (struct frame_maker){.traffic = *traffic};
	if (!traffic_is_valid(traffic))
		return -EINVAL;
	maker->l4_offset = l4_offset(traffic);
	maker->payload_offset = maker->l4_offset + (traffic->tcp ? TCP_BYTES : UDP_BYTES);
	maker->magic_offset = frame_bytes_min(traffic) - MAGIC_BYTES;
	side_header(maker, SIDE_A);
	side_header(maker, SIDE_B);
	if (!traffic->tcp)
		return 0;
	maker->tcp = calloc(traffic->n_flows, sizeof(maker->tcp[0]));
	return maker->tcp ? 0 : -ENOMEM;
}

void frame_maker_free(struct frame_maker *maker)
{
	free(maker->tcp);
	maker->tcp = NULL;
}

void frame_prepare(const struct frame_maker *maker, enum side_name side, uint8_t *data)
{
	memset(data, 0, FRAME_BYTES_MAX);
	memcpy(data, maker->header[side], maker->magic_offset + MAGIC_BYTES);
}

static void write_length(
	const struct frame_maker *maker, enum side_name side, uint16_t l4_bytes, uint8_t *data)
{
	uint8_t *ip = data + ETHERNET_BYTES;

	if (maker->traffic.ipv6) {
		store16(ip + 4, l4_bytes);
	} else {
		store16(ip + 2, IP4_BYTES + l4_bytes);
		store16(ip + 10, sum_finish(maker->ip_sum[side] + IP4_BYTES + l4_bytes));
	}
}

/* Writes the lengths and the ports, and returns the sum of the transport checksum so far. */
static uint32_t write_common(const struct frame_maker *maker, enum side_name side, uint32_t flow,
	uint16_t l4_bytes, uint8_t *data)
{
	uint8_t *l4 = data + maker->l4_offset;
	uint32_t port_a = FIRST_PORT + flow % PORT_SPAN, port_b = SERVICE_PORT + flow / PORT_SPAN;

	write_length(maker, side, l4_bytes, data);
	store16(l4, side == SIDE_A ? port_a : port_b);
	store16(l4 + 2, side == SIDE_A ? port_b : port_a);
	return maker->l4_sum[side] + port_a + port_b + l4_bytes;
}

/* Ports, length and checksum are one word of eight bytes. */
static void write_udp(const struct frame_maker *maker, enum side_name side, uint32_t flow,
	uint16_t frame_bytes, uint32_t payload_sum, uint8_t *data)
{
	uint16_t l4_bytes = frame_bytes - maker->l4_offset;
	uint32_t port_a = FIRST_PORT + flow % PORT_SPAN, port_b = SERVICE_PORT + flow / PORT_SPAN;
	uint64_t ports = side == SIDE_A ? port_a << 16 | port_b : port_b << 16 | port_a;
	uint16_t checksum =
		sum_finish(maker->l4_sum[side] + port_a + port_b + 2u * l4_bytes + payload_sum);
	uint64_t header = ports << 32 | (uint64_t)l4_bytes << 16 |
			  (checksum ? checksum : 0xffff); /* RFC 768: zero means none. */

	write_length(maker, side, l4_bytes, data);
	header = __builtin_bswap64(header);
	memcpy(data + maker->l4_offset, &header, sizeof(header));
}

void frame_write_stamped(const struct frame_maker *maker, enum side_name side, uint32_t flow,
	uint16_t frame_bytes, uint64_t stamp, uint8_t *data)
{
	uint8_t *at = data + maker->magic_offset - FRAME_STAMP_BYTES;

	memcpy(at, &stamp, sizeof(stamp));
	write_udp(maker, side, flow, frame_bytes, sum_bytes(at, FRAME_STAMP_BYTES), data);
}

/* A SYN has a window scaling option; all have the largest window. */
static void write_segment(const struct frame_maker *maker, enum side_name side,
	const struct tcp_segment *segment, uint8_t *data)
{
	bool syn = segment->flags & TCP_SYN;
	uint8_t *tcp = data + maker->l4_offset;
	uint16_t header_bytes = TCP_BYTES + (syn ? SYN_OPTION_BYTES : 0);
	uint32_t sum = write_common(
		maker, side, segment->flow, header_bytes + segment->payload_bytes, data);
	uint32_t offset_flags = (uint32_t)header_bytes / 4 << 12 | segment->flags;
	uint32_t options = syn ? 0x01030300 | WINDOW_SCALE : 0;

	if (segment->payload_bytes)
		sum += magic_sum(maker, side);
	store32(tcp + 4, segment->sequence);
	store32(tcp + 8, segment->acknowledgment);
	store16(tcp + 12, offset_flags);
	store16(tcp + 14, 0xffff);
	sum += sum_word(segment->sequence) + sum_word(segment->acknowledgment) + offset_flags +
	       0xffff;
	store16(tcp + 16, sum_finish(sum + sum_word(options)));
	store32(tcp + TCP_BYTES, options);
}

uint16_t frame_write_segment(const struct frame_maker *maker, enum side_name side,
	const struct tcp_segment *segment, uint8_t *data)
{
	uint16_t bytes = maker->payload_offset + segment->payload_bytes;

	write_segment(maker, side, segment, data);
	return bytes < frame_bytes_min(&maker->traffic) ? frame_bytes_min(&maker->traffic) : bytes;
}

void frame_write_tcp(const struct frame_maker *maker, enum side_name side, uint32_t flow,
	uint16_t frame_bytes, enum tcp_step step, uint8_t *data)
{
	static const uint8_t flags[] = {[TCP_SYN_FRAME] = TCP_SYN,
		[TCP_SYN_ACK_FRAME] = TCP_SYN | TCP_ACK,
		[TCP_DATA_FRAME] = TCP_PUSH | TCP_ACK};
	const struct tcp_flow *at = &maker->tcp[flow];
	struct tcp_segment segment = {.flow = flow,
		.sequence = at->next[side],
		.acknowledgment = step == TCP_SYN_FRAME ? 0 : at->heard[side],
		.payload_bytes = step == TCP_DATA_FRAME ? frame_bytes - maker->payload_offset : 0,
		.flags = flags[step]};

	write_segment(maker, side, &segment, data);
}

void frame_write(const struct frame_maker *maker, enum side_name side, uint32_t flow,
	uint16_t frame_bytes, uint8_t *data)
{
	if (maker->tcp)
		frame_write_tcp(maker, side, flow, frame_bytes, TCP_DATA_FRAME, data);
	else
		write_udp(maker, side, flow, frame_bytes, 0, data);
}

void frame_sent(struct frame_maker *maker, enum side_name side, uint32_t flow, uint16_t bytes,
	enum tcp_step step)
{
	if (!maker->tcp)
		return;
	maker->tcp[flow].next[side] += step == TCP_DATA_FRAME ? bytes - maker->payload_offset : 1;
}

uint32_t frame_flow(const struct frame_maker *maker, enum side_name receiver, const uint8_t *data)
{
	const uint8_t *l4 = data + maker->l4_offset;
	uint32_t port_a = load16(receiver == SIDE_B ? l4 : l4 + 2);
	uint32_t port_b = load16(receiver == SIDE_B ? l4 + 2 : l4);

	return (port_b - SERVICE_PORT) * PORT_SPAN + port_a - FIRST_PORT;
}

uint32_t frame_flow_of_next_service(uint32_t n_flows)
{
	return (n_flows + PORT_SPAN - 1) / PORT_SPAN * PORT_SPAN;
}

uint16_t frame_service_port(uint32_t flow)
{
	return (uint16_t)(SERVICE_PORT + flow / PORT_SPAN);
}

struct tcp_segment frame_read_segment(
	const struct frame_maker *maker, enum side_name receiver, const uint8_t *data)
{
	const uint8_t *ip = data + ETHERNET_BYTES, *tcp = data + maker->l4_offset;
	uint32_t l4_bytes = maker->traffic.ipv6 ? load16(ip + 4) : load16(ip + 2) - IP4_BYTES;

	return (struct tcp_segment){.flow = frame_flow(maker, receiver, data),
		.sequence = load32(tcp + 4),
		.acknowledgment = load32(tcp + 8),
		.payload_bytes = (uint16_t)(l4_bytes - (tcp[12] >> 4) * 4u),
		.flags = tcp[13]};
}

void frame_heard(struct frame_maker *maker, enum side_name receiver, const uint8_t *data)
{
	struct tcp_segment segment = frame_read_segment(maker, receiver, data);

	if (segment.flow < maker->traffic.n_flows)
		maker->tcp[segment.flow].heard[receiver] = segment.sequence +
							   segment.payload_bytes +
							   (segment.flags & TCP_SYN ? 1 : 0);
}
