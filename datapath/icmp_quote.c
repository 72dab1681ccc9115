/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether an ICMP error can be believed.  Called on the miss path, by workers, for each of them.
 *
 * Whoever forges an error must know a connection's addresses and ports, which is not much, and for
 * TCP a number in the window of what is on its way, which is.
 */
#include "datapath/icmp_quote.h"

#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>

#include "datapath/packet_private.h"

/* Offsets within the ICMP header. */
enum { MTU4_AT = 6, MTU6_AT = 4, TCP_SEQUENCE_AT = 4 };

/* An MTU below the least would have hosts send tiny packets, or none (RFC 5927, 7; RFC 8201, 4). */
static bool mtu_is_plausible(const uint8_t *icmp, const struct packet *error)
{
	enum { LEAST_MTU4 = 68, LEAST_MTU6 = 1280 };

	if (error->key.kind == CONN_KEY_IPV6)
		return error->icmp_type != ICMP6_PACKET_TOO_BIG ||
		       load_be32(icmp + MTU6_AT) >= LEAST_MTU6;
	if (error->icmp_type != ICMP_DEST_UNREACH || error->icmp_code != ICMP_FRAG_NEEDED)
		return true;
	uint16_t mtu = load_be16(icmp + MTU4_AT);
	return mtu == 0 || mtu >= LEAST_MTU4;
}

bool icmp_quote_check(const uint8_t *data, uint32_t header_bytes, const struct packet *error,
	icmp_find_function *find, void *context)
{
	struct icmp_subject subject = {0};
	struct packet quoted;

	if (error->flags & PACKET_FRAGMENT_FIRST ||
		!packet_parse_quoted(data, header_bytes, error, &quoted) ||
		!mtu_is_plausible(data + error->l4_offset, error) ||
		!find(&quoted.key, &subject, context))
		return false;
	return subject.sender == NULL || quoted.protocol != IPPROTO_TCP ||
	       tcp_is_outstanding(subject.sender, subject.receiver,
		       load_be32(data + quoted.l4_offset + TCP_SEQUENCE_AT));
}
