/* SPDX-License-Identifier: Apache-2.0 */
/*
 * IP addresses and prefixes.  Everywhere in Cordon an IPv4 address is held as its IPv4-mapped
 * IPv6 address (RFC 4291, 2.5.5.2), so that one 16-byte comparison serves both families.
 */
#ifndef ZONES_ADDRESS_H
#define ZONES_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

/* A prefix.  An IPv4 prefix of /n is held with length 96 + n; bits beyond the length are zero. */
struct ip_prefix {
	struct in6_addr address;
	uint8_t length;
};

#define IP_TEXT_MAX (INET6_ADDRSTRLEN + 4) /* An address or prefix as text, with its NUL. */

static inline bool ip_is_v4(const struct in6_addr *address)
{
	return IN6_IS_ADDR_V4MAPPED(address);
}

/* Reads "10.0.0.1" or "2001:db8::1".  Returns false, leaving *address alone, on anything else; an
 * IPv4 address in IPv6 clothes ("::ffff:10.0.0.1") is such a thing.  (libopenvswitch has taken the
 * name ip_parse for another function.) */
bool ip_address_parse(const char *text, struct in6_addr *address);

/* Reads "10.0.0.0/8", "2001:db8::/32" or a single address.  A host bit set below the prefix length
 * is an error, since it is more often a typing mistake than meant.  Returns false on error. */
bool ip_prefix_parse(const char *text, struct ip_prefix *prefix);

/* Writes the address in its usual form (RFC 5952 for IPv6) and returns `text`. */
const char *ip_format(const struct in6_addr *address, char text[IP_TEXT_MAX]);
const char *ip_prefix_format(const struct ip_prefix *prefix, char text[IP_TEXT_MAX]);

/* Clears the bits of `address` beyond the first `length`, 0 to 128. */
void ip_prefix_mask(struct in6_addr *address, unsigned int length);

/* True for a prefix of IPv4 addresses. */
bool ip_prefix_is_v4(const struct ip_prefix *prefix);

/* True if `address` lies within `prefix`.  An IPv6 prefix, even ::/0, holds no IPv4 address. */
bool ip_prefix_contains(const struct ip_prefix *prefix, const struct in6_addr *address);

/* Reads "00:11:22:aa:bb:cc".  Returns false on anything else. */
bool mac_parse(const char *text, uint8_t mac[6]);

#define MAC_TEXT_MAX 18
const char *mac_format(const uint8_t mac[6], char text[MAC_TEXT_MAX]);

#endif
