/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of the information elements that the IPFIX sink exports.  Read by the encoder.
 *
 * A number that an own element has had is never given to another: collectors keep them.
 */
#include "sinks/ipfix_element.h"

enum {
	IPV4 = 1u << IPFIX_IPV4 | 1u << IPFIX_ICMP,
	IPV6 = 1u << IPFIX_IPV6 | 1u << IPFIX_ICMPV6,
	PORTS = 1u << IPFIX_IPV4 | 1u << IPFIX_IPV6,
	IP = IPV4 | IPV6,
	FLOW = IP | 1u << IPFIX_ETHERNET,
	GAP = 1u << IPFIX_GAP,
	INTERFACE = 1u << IPFIX_INTERFACE,
};

#define VALUE(member)                                                                              \
	.offset = offsetof(struct ipfix_values, member),                                           \
	.size = sizeof(((struct ipfix_values *)NULL)->member)
#define TEXT(member) VALUE(member), .is_text = true, .type = FB_STRING

#define NUMBER(name_, number_, member, templates_, meaning_)                                       \
	{                                                                                          \
		.name = (name_), .number = (number_), VALUE(member), .templates = (templates_),    \
		.meaning = (meaning_)                                                              \
	}
#define REVERSE(name_, number_, member, templates_, meaning_)                                      \
	{                                                                                          \
		.name = (name_), .registry = IPFIX_REVERSE, .number = (number_), VALUE(member),    \
		.templates = (templates_), .meaning = (meaning_)                                   \
	}
#define OWN(name_, number_, member, type_, flags_, templates_, meaning_)                           \
	{                                                                                          \
		.name = (name_), .registry = IPFIX_OWN, .number = (number_), VALUE(member),        \
		.type = (type_), .flags = (flags_) | FB_IE_F_ENDIAN, .templates = (templates_),    \
		.meaning = (meaning_)                                                              \
	}
#define STRING(name_, number_, member, templates_, meaning_)                                       \
	{                                                                                          \
		.name = (name_), .number = (number_), TEXT(member), .templates = (templates_),     \
		.meaning = (meaning_)                                                              \
	}
#define OWN_STRING(name_, number_, member, templates_, meaning_)                                   \
	{                                                                                          \
		.name = (name_), .registry = IPFIX_OWN, .number = (number_), TEXT(member),         \
		.templates = (templates_), .meaning = (meaning_)                                   \
	}

/* clang-format off */
const struct ipfix_element ipfix_elements[] = {
	NUMBER("exportingProcessId", 144, exporting_process, GAP,
		"stands for the sink"),
	NUMBER("ingressInterface", 10, ingress, FLOW | INTERFACE,
		"the source's port, by a number of the transport session; 0: none"),
	NUMBER("egressInterface", 14, egress, FLOW,
		"the destination's port, likewise"),
	NUMBER("sourceIPv4Address", 8, source_ipv4, IPV4,
		"of the connection's first packet, as all sources and destinations"),
	NUMBER("destinationIPv4Address", 12, destination_ipv4, IPV4,
		"of the first packet"),
	NUMBER("sourceTransportPort", 7, source_port, PORTS,
		"0 with a protocol that has none"),
	NUMBER("destinationTransportPort", 11, destination_port, PORTS,
		"likewise"),
	OWN("cordonPolicyRevision", 19, policy_revision, FB_UINT_32, FB_IE_IDENTIFIER, FLOW,
		"The revision of the policy that was in force"),
	OWN("cordonSuppressed", 23, suppressed, FB_UINT_32, FB_IE_DELTACOUNTER | FB_UNITS_FLOWS, FLOW,
		"Records like this one that were held back before it"),
	NUMBER("sourceIPv6Address", 27, source_ipv6, IPV6,
		"of the first packet"),
	NUMBER("destinationIPv6Address", 28, destination_ipv6, IPV6,
		"of the first packet"),
	NUMBER("flowId", 148, flow, FLOW,
		"the same in all records of one connection"),
	NUMBER("flowStartMilliseconds", 152, start_ms, FLOW,
		"the first packet"),
	NUMBER("flowEndMilliseconds", 153, end_ms, FLOW,
		"the event that the record tells"),
	NUMBER("flowStartNanoseconds", 156, start_ntp, FLOW,
		"as flowStartMilliseconds"),
	NUMBER("flowEndNanoseconds", 157, end_ntp, FLOW | GAP,
		"as flowEndMilliseconds; of a gap: when it was noticed"),
	NUMBER("packetTotalCount", 86, packets, FLOW,
		"from source to destination, since the first packet"),
	NUMBER("octetTotalCount", 85, octets, IP,
		"likewise, of frames without 14 octets of Ethernet header each"),
	NUMBER("layer2OctetTotalCount", 353, frame_octets, FLOW,
		"likewise, of whole frames"),
	REVERSE("reversePacketTotalCount", 86, reverse_packets, FLOW,
		"from destination to source"),
	REVERSE("reverseOctetTotalCount", 85, reverse_octets, IP,
		"from destination to source"),
	REVERSE("reverseLayer2OctetTotalCount", 353, reverse_frame_octets, FLOW,
		"from destination to source"),
	NUMBER("layer2SegmentId", 351, segment, FLOW,
		"the overlay network: 1 (VXLAN) in the first octet, the VNI in the last three; 0: none"),
	NUMBER("notSentFlowTotalCount", 166, not_sent, GAP,
		"records lost since the transport session began"),
	OWN("cordonLostRecords", 24, lost, FB_UINT_64, FB_IE_DELTACOUNTER | FB_UNITS_FLOWS, GAP,
		"Records lost in this gap"),
	OWN("cordonSequence", 1, sequence, FB_UINT_64, FB_IE_IDENTIFIER, FLOW | GAP,
		"Counts up by one for each record of a host; a hole is a loss"),
	NUMBER("sourceMacAddress", 56, source_mac, FLOW,
		"of the first packet"),
	NUMBER("destinationMacAddress", 80, destination_mac, FLOW,
		"of the first packet"),
	NUMBER("vlanId", 58, vlan, FLOW,
		"the network's VLAN; 0: none"),
	NUMBER("ethernetType", 256, ethertype, 1u << IPFIX_ETHERNET,
		"2054 for ARP and so on"),
	NUMBER("tcpControlBits", 6, tcp_flags, PORTS,
		"all flags seen"),
	NUMBER("icmpTypeCodeIPv4", 32, icmp_type_code, 1u << IPFIX_ICMP,
		"of the first packet: 256 * type + code"),
	NUMBER("icmpTypeCodeIPv6", 139, icmpv6_type_code, 1u << IPFIX_ICMPV6,
		"likewise"),
	NUMBER("protocolIdentifier", 4, protocol, IP,
		"IANA's protocol number"),
	NUMBER("firewallEvent", 233, firewall_event, FLOW,
		"1 start, 2 end, 3 denied, spoofed or limit, 4 would-deny, 5 update"),
	NUMBER("flowEndReason", 136, end_reason, FLOW,
		"1 idle, 2 still active, 3 ended by the ends, 4 ended by the switch; 0: did not begin or end"),
	NUMBER("forwardingStatus", 89, forwarding, FLOW,
		"64 forwarded, 129 rejected, 130 denied, 140 spoofed, 128 dropped for a limit"),
	NUMBER("biflowDirection", 239, biflow_direction, FLOW,
		"1: the source is who sent the first packet"),
	NUMBER("paddingOctets", 210, padding, 0,
		"not exported"),
	STRING("interfaceName", 82, interface, INTERFACE,
		"the port of the switch that has that number"),
	STRING("observationDomainName", 300, host, FLOW | GAP,
		"the host"),
	OWN_STRING("cordonKind", 2, kind, FLOW | GAP,
		"The kind of record: start, update, end, denied, would-deny, spoofed, limit or gap"),
	OWN_STRING("cordonVerdict", 3, verdict, FLOW,
		"allowed, denied or rejected"),
	OWN_STRING("cordonReason", 4, reason, FLOW | GAP,
		"Why it ended, was dropped, or was lost"),
	OWN_STRING("cordonSourcePort", 5, source_port_name, FLOW,
		"The source's port of the switch, by name"),
	OWN_STRING("cordonDestinationPort", 6, destination_port_name, FLOW,
		"The destination's port of the switch, by name"),
	OWN_STRING("cordonSourceVmId", 7, source_vm_id, FLOW,
		"The source's virtual machine, by identifier"),
	OWN_STRING("cordonDestinationVmId", 8, destination_vm_id, FLOW,
		"The destination's virtual machine, by identifier"),
	OWN_STRING("cordonSourceVmName", 9, source_vm_name, FLOW,
		"The source's virtual machine, by name"),
	OWN_STRING("cordonDestinationVmName", 10, destination_vm_name, FLOW,
		"The destination's virtual machine, by name"),
	OWN_STRING("cordonSourceZone", 11, source_zone, FLOW,
		"The source's zone"),
	OWN_STRING("cordonDestinationZone", 12, destination_zone, FLOW,
		"The destination's zone"),
	OWN_STRING("cordonSourceTags", 13, source_tags, FLOW,
		"The source's tags: key=value, separated by spaces"),
	OWN_STRING("cordonDestinationTags", 14, destination_tags, FLOW,
		"The destination's tags: key=value, separated by spaces"),
	OWN_STRING("cordonTier", 15, tier, FLOW,
		"The tier of the policy that decided"),
	OWN_STRING("cordonPolicy", 16, policy, FLOW,
		"The policy that decided"),
	OWN_STRING("cordonRule", 17, rule, FLOW,
		"The rule that decided"),
	OWN_STRING("cordonLabel", 18, label, FLOW,
		"The label of the rule that decided"),
	OWN_STRING("cordonSimulatedVerdict", 20, simulated_verdict, FLOW,
		"What policies under simulation would have said; empty: there are none"),
	OWN_STRING("cordonSimulatedPolicy", 21, simulated_policy, FLOW,
		"The policy that would have decided"),
	OWN_STRING("cordonSimulatedRule", 22, simulated_rule, FLOW,
		"The rule that would have decided"),
};
/* clang-format on */

const size_t n_ipfix_elements = sizeof(ipfix_elements) / sizeof(ipfix_elements[0]);

struct template_row {
	uint16_t identifier, n_scope;
	const char *name;
};

static const struct template_row templates[] = {
#define X(enumerator, identifier, n_scope, name) {identifier, n_scope, name},
	IPFIX_TEMPLATES(X)
#undef X
};

uint16_t ipfix_template_identifier(enum ipfix_template template)
{
	return templates[template].identifier;
}

const char *ipfix_template_name(enum ipfix_template template)
{
	return templates[template].name;
}

uint16_t ipfix_template_scope(enum ipfix_template template)
{
	return templates[template].n_scope;
}
