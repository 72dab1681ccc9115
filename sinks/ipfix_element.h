/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The information elements that the IPFIX sink exports, in one table, and the values that they are
 * given.  What IANA's registry has is named as there; the rest are elements of Cordon's own, under
 * the enterprise number that the sink is told.  docs/ipfix.md lists them for a person.
 */
#ifndef SINKS_IPFIX_ELEMENT_H
#define SINKS_IPFIX_ELEMENT_H

#include <fixbuf/public.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The templates, with the identifiers that they have on the wire: one for each shape of flow, and
 * the options templates, which say something about the export itself.  X(enumerator, identifier,
 * number of scope elements, name). */
#define IPFIX_TEMPLATES(X)                                                                         \
	X(IPFIX_IPV4, 256, 0, "ipv4")		/* IPv4, other than ICMP. */                       \
	X(IPFIX_IPV6, 257, 0, "ipv6")		/* IPv6, other than ICMPv6. */                     \
	X(IPFIX_ICMP, 258, 0, "icmp")		/* ICMP over IPv4. */                              \
	X(IPFIX_ICMPV6, 259, 0, "icmpv6")	/* ICMPv6 over IPv6. */                            \
	X(IPFIX_ETHERNET, 260, 0, "ethernet")	/* Without IP addresses: ARP and so on. */         \
	X(IPFIX_GAP, 261, 1, "gap")		/* Records that were lost. */                      \
	X(IPFIX_INTERFACE, 262, 1, "interface") /* The name of an interface's number. */

#define X(enumerator, identifier, n_scope, name) enumerator,
enum ipfix_template { IPFIX_TEMPLATES(X) IPFIX_N_TEMPLATES };
#undef X

/* What RFC 5610 has for the types of elements. */
enum { IPFIX_TYPE_TEMPLATE = 263, IPFIX_INTERNAL_TEMPLATE = 1024, IPFIX_INTERNAL_TYPE = 1025 };

uint16_t ipfix_template_identifier(enum ipfix_template template);
const char *ipfix_template_name(enum ipfix_template template);
uint16_t ipfix_template_scope(enum ipfix_template template);

/* The values of a record, in the order of the table and without holes. */
struct ipfix_values {
	uint32_t exporting_process, ingress, egress;
	uint32_t source_ipv4, destination_ipv4; /* Host byte order. */
	uint16_t source_port, destination_port;
	uint32_t policy_revision, suppressed;
	struct in6_addr source_ipv6, destination_ipv6;
	uint64_t flow, start_ms, end_ms, start_ntp, end_ntp;
	uint64_t packets, octets, frame_octets, reverse_packets, reverse_octets;
	uint64_t reverse_frame_octets, segment, not_sent, lost, sequence;
	uint8_t source_mac[6], destination_mac[6];
	uint16_t vlan, ethertype, tcp_flags, icmp_type_code, icmpv6_type_code;
	uint8_t protocol, firewall_event, end_reason, forwarding, biflow_direction;
	uint8_t padding[5];
	fbVarfield_t interface, host, kind, verdict, reason;
	fbVarfield_t source_port_name, destination_port_name;
	fbVarfield_t source_vm_id, destination_vm_id, source_vm_name, destination_vm_name;
	fbVarfield_t source_zone, destination_zone, source_tags, destination_tags;
	fbVarfield_t tier, policy, rule, label;
	fbVarfield_t simulated_verdict, simulated_policy, simulated_rule;
};

enum { IPFIX_TEXTS = 22 };

/* Who has given the element its number. */
enum ipfix_registry { IPFIX_IANA, IPFIX_REVERSE /* RFC 5103. */, IPFIX_OWN };

struct ipfix_element {
	const char *name;
	enum ipfix_registry registry;
	uint16_t number;
	uint16_t offset, size; /* Of its value in struct ipfix_values. */
	bool is_text;
	uint8_t templates; /* Bits of enum ipfix_template. */
	uint8_t type;	   /* Of an own one: enum fbInfoElementDataType_en. */
	uint32_t flags;	   /* Of an own one: semantics and units. */
	const char *meaning;
};

extern const struct ipfix_element ipfix_elements[];
extern const size_t n_ipfix_elements;

static inline bool ipfix_element_is_in(
	const struct ipfix_element *element, enum ipfix_template template)
{
	return element->templates & 1u << template;
}

#endif
