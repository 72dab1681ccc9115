/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Services: what a rule says after `service:`, as a range of points.
 *
 * A point is one kind of traffic in 24 bits: the IANA protocol number, then 16 bits of the
 * destination port, or of ICMP's type and code.  "tcp/80" is one point, "tcp" a range of 65536 and
 * "any" the whole line, so matching any service is one comparison.
 */
#ifndef ZONES_SERVICE_H
#define ZONES_SERVICE_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

enum { SERVICE_POINT_MAX = 0xffffff };

struct service_range {
	uint32_t first, last; /* Points, both included. */
};

#define SERVICE_PROBLEM_MAX 160

/* Reads "any", "tcp", "tcp/5432", "udp/5000-5010", "sctp/...", "icmp", "icmp/TYPE",
 * "icmp/TYPE/CODE", "icmpv6..." or "ip/PROTOCOL".  On anything else returns false and says in
 * problem[] what was expected. */
bool service_parse(
	const char *text, struct service_range *range, char problem[SERVICE_PROBLEM_MAX]);

/* True for what service_parse() is to read, rightly spelt or not; no service's name is that. */
bool service_is_literal(const char *text);

#define SERVICE_TEXT_MAX 24

/* Writes a range that service_parse() or the point of a connection can be ("tcp/443", "icmp/8") as
 * it is written in a policy, and returns `text`. */
const char *service_format(const struct service_range *range, char text[SERVICE_TEXT_MAX]);

/* The point of a connection.  The port counts for protocols that have ports, type and code for
 * ICMP; what else the caller filled in does not. */
static inline uint32_t service_point(
	uint8_t protocol, uint8_t type, uint8_t code, uint16_t destination_port)
{
	switch (protocol) {
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6: return (uint32_t)protocol << 16 | (uint32_t)type << 8 | code;
	case IPPROTO_TCP:
	case IPPROTO_UDP:
	case IPPROTO_SCTP: return (uint32_t)protocol << 16 | destination_port;
	default: return (uint32_t)protocol << 16;
	}
}

#endif
