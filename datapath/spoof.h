/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The spoof guard: a vNIC speaks for itself only.  Its frames' source MAC and address, and what its
 * ARP and neighbour discovery packets claim, must be its own.
 *
 * What a vNIC may be besides its configured addresses:
 * - nobody yet: 0.0.0.0 in DHCP requests (RFC 2131, 4.1) and IGMP reports (RFC 3376, 4.2.13); "::"
 *   in duplicate address detection, router solicitations and MLD (RFC 4861, 4.1 and 4.3; RFC 3590);
 *   ARP probes (RFC 5227) and duplicate address detection ask for an address of its own only, since
 *   such a question alone makes another host give the address up;
 * - any link-local IPv6 address, with its own MAC, but none that was made of another's MAC.  Most
 *   guests choose one that cannot be computed from the MAC (RFC 7217), and such an address means
 *   nothing beyond the link, while zones go by vNIC.  Once a link-local address is configured for
 *   the vNIC, only that one, and the one that its MAC makes (RFC 4291, appendix A), are its own.
 *   That no other endpoint owns the address is the caller's to check, see spoof_claim().
 */
#ifndef DATAPATH_SPOOF_H
#define DATAPATH_SPOOF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "datapath/drop.h"
#include "datapath/packet.h"

/* What a vNIC is allowed to be.  IPv4 addresses are IPv4-mapped. */
struct spoof_binding {
	const uint8_t (*macs)[6];
	size_t n_macs; /* 0: any. */
	const struct in6_addr *addresses;
	size_t n_addresses; /* 0: any. */
};

/* DROP_NONE, or DROP_SPOOFED_MAC, _ADDRESS, _ARP or _ND, or DROP_ICMP_SHORT for a neighbour
 * discovery message that ends too early.  `packet` is what packet_parse() made of `frame`; a later
 * fragment is judged by its addresses.  Any worker; no state. */
enum drop_reason spoof_check(const struct spoof_binding *binding, const uint8_t *frame,
	uint32_t header_bytes, const struct packet *packet);

/* True if spoof_check() passes any packet of TCP, UDP or SCTP from this MAC and address: said ahead
 * of the packet.  Any worker; no state. */
bool spoof_may_send(
	const struct spoof_binding *binding, const uint8_t mac[6], const struct in6_addr *address);

/* The address that an ARP packet or a neighbour advertisement claims, or is about to claim, for its
 * sender.  False if the packet makes no such claim; its IP source, which packet->key has, is
 * another matter. */
bool spoof_claim(const uint8_t *frame, uint32_t header_bytes, const struct packet *packet,
	struct in6_addr *address);

#endif
