/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Builds frames for tests, header by header from the outside in:
 *
 *      struct frame f;
 *      frame_begin(&f, MAC_B, MAC_A);
 *      frame_tag(&f, 0x8100, 10);
 *      frame_ip4(&f, "10.0.0.1", "10.0.0.2", IPPROTO_UDP);
 *      frame_udp(&f, 1000, 53);
 *      frame_fill(&f, 20);
 *      frame_end(&f);
 *
 * frame_end() fills in lengths and checksums; to spoil a field, write to f.bytes after it, with
 * f.l3 and f.l4 as the offsets of the IP and transport headers.  A frame that does not fit ends the
 * test program.
 */
#ifndef TESTS_UNIT_FRAME_H
#define TESTS_UNIT_FRAME_H

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>

struct frame {
	uint8_t bytes[9216];
	uint32_t n;
	uint32_t type_at; /* Where the next layer's ethertype or protocol number goes. */
	uint32_t l3, l4;  /* 0: none. */
	uint8_t protocol; /* Of the transport header. */
};

#define MAC_A	((const uint8_t[6]){0x02, 0, 0, 0, 0, 0x0a})
#define MAC_B	((const uint8_t[6]){0x02, 0, 0, 0, 0, 0x0b})
#define MAC_ALL ((const uint8_t[6]){0xff, 0xff, 0xff, 0xff, 0xff, 0xff})

static inline void frame_set16(struct frame *f, uint32_t at, uint32_t value)
{
	f->bytes[at] = (uint8_t)(value >> 8);
	f->bytes[at + 1] = (uint8_t)value;
}

static inline void frame_set32(struct frame *f, uint32_t at, uint32_t value)
{
	frame_set16(f, at, value >> 16);
	frame_set16(f, at + 2, value & 0xffff);
}

/* Appends n zero bytes and returns where they are. */
static inline uint8_t *frame_zero(struct frame *f, uint32_t n)
{
	uint8_t *at = f->bytes + f->n;

	assert(f->n + n <= sizeof(f->bytes));
	memset(at, 0, n);
	f->n += n;
	return at;
}

static inline void frame_append(struct frame *f, const void *bytes, uint32_t n)
{
	memcpy(frame_zero(f, n), bytes, n);
}

/* Appends n bytes of payload: 1, 2, 3 and so on. */
static inline void frame_fill(struct frame *f, uint32_t n)
{
	uint8_t *at = frame_zero(f, n);

	for (uint32_t i = 0; i < n; i++)
		at[i] = (uint8_t)(i + 1);
}

static inline void frame_type(struct frame *f, uint32_t ethertype)
{
	frame_set16(f, f->type_at, ethertype);
}

static inline void frame_begin(
	struct frame *f, const uint8_t destination[6], const uint8_t source[6])
{
	f->n = f->l3 = f->l4 = 0;
	f->protocol = 0;
	frame_append(f, destination, 6);
	frame_append(f, source, 6);
	f->type_at = f->n;
	frame_zero(f, 2);
}

static inline void frame_tag(struct frame *f, uint32_t tpid, uint32_t tci)
{
	frame_type(f, tpid);
	frame_zero(f, 4);
	frame_set16(f, f->n - 4, tci);
	f->type_at = f->n - 2;
}

static inline void frame_arp(struct frame *f, uint32_t operation, const uint8_t sender_mac[6],
	const char *sender, const uint8_t target_mac[6], const char *target)
{
	static const uint8_t fixed[] = {0, 1, 8, 0, 6, 4};

	frame_type(f, 0x0806);
	f->l3 = f->n;
	frame_append(f, fixed, sizeof(fixed));
	frame_zero(f, 2);
	frame_set16(f, f->n - 2, operation);
	frame_append(f, sender_mac, 6);
	inet_pton(AF_INET, sender, frame_zero(f, 4));
	frame_append(f, target_mac, 6);
	inet_pton(AF_INET, target, frame_zero(f, 4));
}

/* An IPv4 header with `n_options` bytes of options, a multiple of four. */
static inline void frame_ip4_options(struct frame *f, const char *source, const char *destination,
	uint8_t protocol, const uint8_t *options, uint32_t n_options)
{
	frame_type(f, 0x0800);
	f->l3 = f->n;
	uint8_t *ip = frame_zero(f, 20);
	ip[0] = (uint8_t)(0x45 + n_options / 4);
	ip[8] = 64;
	ip[9] = protocol;
	inet_pton(AF_INET, source, ip + 12);
	inet_pton(AF_INET, destination, ip + 16);
	frame_append(f, options, n_options);
	f->protocol = protocol;
	f->l4 = f->n;
}

static inline void frame_ip4(
	struct frame *f, const char *source, const char *destination, uint8_t protocol)
{
	frame_ip4_options(f, source, destination, protocol, (const uint8_t *)"", 0);
}

/* Makes the last IPv4 header a fragment's. */
static inline void frame_ip4_fragment(struct frame *f, uint32_t id, uint32_t offset, int more)
{
	frame_set16(f, f->l3 + 4, id);
	frame_set16(f, f->l3 + 6, offset / 8 | (more ? 0x2000 : 0));
}

static inline void frame_ip6(
	struct frame *f, const char *source, const char *destination, uint8_t protocol)
{
	frame_type(f, 0x86dd);
	f->l3 = f->n;
	uint8_t *ip = frame_zero(f, 40);
	ip[0] = 0x60;
	ip[6] = protocol;
	ip[7] = 255;
	inet_pton(AF_INET6, source, ip + 8);
	inet_pton(AF_INET6, destination, ip + 24);
	f->type_at = f->l3 + 6;
	f->protocol = protocol;
	f->l4 = f->n;
}

/* An extension header of kind `kind` and n bytes, of which those past the first two are `body`, or
 * zero if NULL.  To be followed by further ones, and then by the transport header that frame_ip6()
 * was given. */
static inline void frame_extension(struct frame *f, uint8_t kind, uint32_t n, const void *body)
{
	f->bytes[f->type_at] = kind;
	f->type_at = f->n;
	uint8_t *header = frame_zero(f, n);
	header[0] = f->protocol;
	if (kind != IPPROTO_FRAGMENT)
		header[1] = (uint8_t)(kind == IPPROTO_AH ? n / 4 - 2 : n / 8 - 1);
	if (body != NULL)
		memcpy(header + 2, body, n - 2);
	f->l4 = f->n;
}

static inline void frame_ip6_fragment(struct frame *f, uint32_t id, uint32_t offset, int more)
{
	frame_extension(f, IPPROTO_FRAGMENT, 8, NULL);
	frame_set16(f, f->n - 6, (offset & 0xfff8) | (more ? 1 : 0));
	frame_set32(f, f->n - 4, id);
}

static inline void frame_tcp(struct frame *f, uint32_t source, uint32_t destination, uint8_t flags)
{
	uint8_t *tcp = frame_zero(f, 20);

	frame_set16(f, f->l4, source);
	frame_set16(f, f->l4 + 2, destination);
	tcp[12] = 5 << 4;
	tcp[13] = flags;
	frame_set16(f, f->l4 + 14, 65535);
}

static inline void frame_udp(struct frame *f, uint32_t source, uint32_t destination)
{
	frame_zero(f, 8);
	frame_set16(f, f->l4, source);
	frame_set16(f, f->l4 + 2, destination);
}

static inline void frame_icmp(
	struct frame *f, uint8_t type, uint8_t code, uint32_t id, uint32_t sequence)
{
	uint8_t *icmp = frame_zero(f, 8);

	icmp[0] = type;
	icmp[1] = code;
	frame_set16(f, f->l4 + 4, id);
	frame_set16(f, f->l4 + 6, sequence);
}

/* Sums 16-bit words onto `sum`. */
static inline uint32_t frame_sum(uint32_t sum, const uint8_t *bytes, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		sum += i % 2 ? bytes[i] : (uint32_t)bytes[i] << 8;
	return sum;
}

static inline uint16_t frame_fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

/* Fills the transport checksum in, where the protocol has one that is known here. */
static inline void frame_transport_checksum(struct frame *f)
{
	uint32_t n = f->n > f->l4 ? f->n - f->l4 : 0, sum = 0, at;
	int v4 = f->bytes[f->l3] >> 4 == 4;

	if (f->protocol == IPPROTO_TCP && n >= 20)
		at = f->l4 + 16;
	else if (f->protocol == IPPROTO_UDP && n >= 8)
		at = f->l4 + 6;
	else if ((f->protocol == IPPROTO_ICMP || f->protocol == IPPROTO_ICMPV6) && n >= 8)
		at = f->l4 + 2;
	else
		return;
	if (f->protocol != IPPROTO_ICMP) {
		uint32_t addresses = v4 ? f->l3 + 12 : f->l3 + 8;
		sum = frame_sum(f->protocol + n, f->bytes + addresses, v4 ? 8 : 32);
	}
	frame_set16(f, at, 0);
	frame_set16(f, at, frame_fold(frame_sum(sum, f->bytes + f->l4, n)));
}

static inline void frame_ip4_checksum(struct frame *f)
{
	uint32_t header = (f->bytes[f->l3] & 0xfu) * 4;

	frame_set16(f, f->l3 + 10, 0);
	frame_set16(f, f->l3 + 10, frame_fold(frame_sum(0, f->bytes + f->l3, header)));
}

/* Fills in lengths and checksums of the last IP header and what is behind it. */
static inline void frame_end(struct frame *f)
{
	if (f->l4 == 0)
		return;
	if (f->protocol == IPPROTO_UDP && f->n >= f->l4 + 8)
		frame_set16(f, f->l4 + 4, f->n - f->l4);
	if (f->bytes[f->l3] >> 4 == 4)
		frame_set16(f, f->l3 + 2, f->n - f->l3);
	else
		frame_set16(f, f->l3 + 4, f->n - f->l3 - 40);
	frame_transport_checksum(f);
	if (f->bytes[f->l3] >> 4 == 4)
		frame_ip4_checksum(f);
}

#endif
