/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every reason for which the switch drops a packet.  This list makes the enum, the counters and the
 * texts; a drop that is not in it does not exist.  X(enumerator, name, what a person should know).
 */
#ifndef DATAPATH_DROP_H
#define DATAPATH_DROP_H

#define DROP_REASONS(X)                                                                            \
	/* packet_parse: the frame is not what it says it is. */                                   \
	X(DROP_ETHERNET_SHORT, "ethernet-short", "frame ends within its Ethernet header")          \
	X(DROP_ETHERNET_SOURCE, "ethernet-source-multicast", "source MAC is a group address")      \
	X(DROP_VLAN_SHORT, "vlan-short", "frame ends within a VLAN tag")                           \
	X(DROP_VLAN_DEPTH, "vlan-depth", "more than two VLAN tags")                                \
	X(DROP_VLAN_PRIORITY, "vlan-priority", "priority tag in front of another tag")             \
	X(DROP_ARP_SHORT, "arp-short", "frame ends within its ARP packet")                         \
	X(DROP_ARP_FORMAT, "arp-format", "ARP that is no request or reply for Ethernet and IPv4")  \
	X(DROP_ARP_SENDER, "arp-sender", "ARP sender is multicast, broadcast or loopback")         \
	X(DROP_IP4_SHORT, "ipv4-short", "frame ends within its IPv4 header")                       \
	X(DROP_IP4_VERSION, "ipv4-version", "version field is not 4")                              \
	X(DROP_IP4_HEADER_LENGTH, "ipv4-header-length", "header length below 20 or past the end")  \
	X(DROP_IP4_TOTAL_LENGTH, "ipv4-total-length", "length inside the header or past the end")  \
	X(DROP_IP4_CHECKSUM, "ipv4-checksum", "header checksum is wrong")                          \
	X(DROP_IP4_OPTIONS, "ipv4-options", "malformed or source-routing IP options")              \
	X(DROP_IP4_SOURCE, "ipv4-source", "source address is multicast, broadcast or loopback")    \
	X(DROP_IP4_DESTINATION, "ipv4-destination", "destination address is 0.0.0.0 or loopback")  \
	X(DROP_IP6_SHORT, "ipv6-short", "frame ends within its IPv6 header")                       \
	X(DROP_IP6_VERSION, "ipv6-version", "version field is not 6")                              \
	X(DROP_IP6_PAYLOAD_LENGTH, "ipv6-payload-length", "payload length past the frame's end")   \
	X(DROP_IP6_JUMBOGRAM, "ipv6-jumbogram", "jumbograms are not supported")                    \
	X(DROP_IP6_EXTENSION, "ipv6-extension", "malformed extension header chain")                \
	X(DROP_IP6_EXTENSION_DEPTH, "ipv6-extension-depth", "more than eight extension headers")   \
	X(DROP_IP6_ROUTING, "ipv6-routing", "routing header that leads to another destination")    \
	X(DROP_IP6_SOURCE, "ipv6-source", "source is multicast, loopback or IPv4-mapped")          \
	X(DROP_IP6_DESTINATION, "ipv6-destination", "destination is ::, loopback or IPv4-mapped")  \
	X(DROP_TCP_SHORT, "tcp-short", "packet ends within its TCP header")                        \
	X(DROP_TCP_OFFSET, "tcp-data-offset", "data offset below 20 bytes or past the end")        \
	X(DROP_UDP_SHORT, "udp-short", "packet ends within its UDP header")                        \
	X(DROP_UDP_LENGTH, "udp-length", "UDP length does not fit the packet")                     \
	X(DROP_ICMP_SHORT, "icmp-short", "packet ends within its ICMP header")                     \
	X(DROP_SCTP_SHORT, "sctp-short", "packet ends within its SCTP header")                     \
	X(DROP_FRAGMENT_TINY, "fragment-tiny", "first fragment without its transport header")      \
	X(DROP_FRAGMENT_LENGTH, "fragment-length", "empty, or not the last and not 8n bytes long") \
	X(DROP_FRAGMENT_OVERSIZE, "fragment-oversize", "datagram of more than 65535 bytes")        \
	/* checksum_verify: first packets, ICMP, and the ends of TCP connections. */               \
	X(DROP_TCP_CHECKSUM, "tcp-checksum", "TCP checksum is wrong")                              \
	X(DROP_UDP_CHECKSUM, "udp-checksum", "UDP checksum is wrong")                              \
	X(DROP_ICMP_CHECKSUM, "icmp-checksum", "ICMP or ICMPv6 checksum is wrong")                 \
	X(DROP_SCTP_CHECKSUM, "sctp-checksum", "SCTP checksum is wrong")                           \
	/* The port that it came in by. */                                                         \
	X(DROP_GUEST_DESCRIPTOR, "guest-descriptor", "the guest's descriptors lead to no frame")   \
	X(DROP_VLAN_NOT_ALLOWED, "vlan-not-allowed", "tag is not one of the port's VLANs")         \
	X(DROP_STORM, "storm", "more broadcast or unknown frames than the port's limit")           \
	X(DROP_RATE_LIMIT, "rate-limit", "more than the port's rate limit")                        \
	X(DROP_SPOOFED_MAC, "spoofed-mac", "source MAC is not the vNIC's")                         \
	X(DROP_SPOOFED_ADDRESS, "spoofed-address", "source address is not the vNIC's")             \
	X(DROP_SPOOFED_ARP, "spoofed-arp", "ARP sender is not the vNIC")                           \
	X(DROP_SPOOFED_ND, "spoofed-nd", "neighbour discovery or redirect in another's name")      \
	X(DROP_ROUTER_ADVERTISEMENT, "router-advertisement", "from a port that serves no router")  \
	X(DROP_DHCP_SERVER, "dhcp-server", "DHCP answer from a port that does not serve DHCP")     \
	X(DROP_RESERVED_MULTICAST, "reserved-multicast", "link-local protocol of switches")        \
	/* Fragments and related errors. */                                                        \
	X(DROP_FRAGMENT_DUPLICATE, "fragment-duplicate", "fragment that was held already")         \
	X(DROP_FRAGMENT_OVERLAP, "fragment-overlap", "fragments that overlap each other")          \
	X(DROP_FRAGMENT_INCONSISTENT, "fragment-inconsistent", "fragments contradict each other")  \
	X(DROP_FRAGMENT_ICMP, "fragment-icmp", "neighbour discovery or ICMP error in fragments")   \
	X(DROP_FRAGMENT_TOO_MANY, "fragment-too-many", "datagram in more than 128 fragments")      \
	X(DROP_FRAGMENT_TABLE_FULL, "fragment-table-full", "too many fragments are held")          \
	X(DROP_FRAGMENT_TIMEOUT, "fragment-timeout", "the rest of the datagram did not come")      \
	X(DROP_ICMP_UNRELATED, "icmp-unrelated", "ICMP error or reply without a live connection")  \
	/* Forwarding. */                                                                          \
	X(DROP_NO_OUTPUT, "no-output", "no port to send to (its own port, or none in the VLAN)")   \
	X(DROP_MAC_LIMIT, "mac-limit", "the port has learned as many MACs as it may")              \
	/* Zones and connections. */                                                               \
	X(DROP_POLICY, "policy", "denied by a rule or a default of the policy")                    \
	X(DROP_REJECTED, "rejected", "denied by a rule that answers the sender")                   \
	X(DROP_QUARANTINE, "quarantine", "an endpoint is in no zone, or matches two")              \
	X(DROP_FTP_BOUNCE, "ftp-bounce", "FTP command or reply that names another's address")      \
	X(DROP_TCP_FLAGS, "tcp-flags", "combination of TCP flags that no stack sends")             \
	X(DROP_TCP_OUT_OF_STATE, "tcp-out-of-state", "segment that fits no connection")            \
	X(DROP_TCP_WINDOW, "tcp-out-of-window", "sequence or ack number outside the window")       \
	X(DROP_TABLE_FULL, "table-full", "the connection table is full")                           \
	X(DROP_QUOTA, "port-quota", "the port has as many connections as it may")                  \
	X(DROP_HALF_OPEN_QUOTA, "half-open-quota", "the port has too many half-open connections")  \
	X(DROP_RATE_QUOTA, "port-rate", "the port opens more connections a second than it may")    \
	X(DROP_INBOUND_QUOTA, "inbound-quota", "the port has as many from outside as it may")      \
	X(DROP_INBOUND_HALF_OPEN, "inbound-half-open",                                             \
		"the port has too many half-open ones from outside")                               \
	X(DROP_INBOUND_RATE, "inbound-rate",                                                       \
		"more connections a second from outside than the port may get")                    \
	X(DROP_ZONE_QUOTA, "zone-quota", "the source's zone has as many connections as it may")    \
	X(DROP_ZONE_HALF_OPEN, "zone-half-open",                                                   \
		"the source's zone has too many half-open connections")                            \
	X(DROP_ZONE_RATE, "zone-rate",                                                             \
		"the source's zone opens more connections a second than it may")                   \
	X(DROP_RULE_QUOTA, "rule-quota", "the rule has allowed as many connections as it may")     \
	X(DROP_RULE_HALF_OPEN, "rule-half-open", "the rule has too many half-open connections")    \
	X(DROP_RULE_RATE, "rule-rate", "more connections a second than the rule may allow")        \
	X(DROP_LIMITS_FULL, "limits-full",                                                         \
		"too many zones and rules with limits have connections")                           \
	/* Actions and output. */                                                                  \
	X(DROP_NO_BUFFER, "no-buffer", "no packet buffer for a copy")                              \
	X(DROP_OUTPUT_MISSING, "output-missing", "the output port is being removed")               \
	X(DROP_OUTPUT_DOWN, "output-down", "the output port's link is down")                       \
	X(DROP_OUTPUT_FULL, "output-full", "the output port's queue is full")                      \
	X(DROP_OUTPUT_MTU, "output-mtu", "larger than the output port's MTU")                      \
	X(DROP_SEGMENTATION, "segmentation", "a large frame could not be cut into segments")

#define X(enumerator, name, text) enumerator,
enum drop_reason { DROP_NONE, DROP_REASONS(X) DROP_N_REASONS };
#undef X

/* "tcp-flags" and so on; DROP_NONE is "none", a number that is no reason is "?". */
const char *drop_name(unsigned int reason);

/* What a person should know of it. */
const char *drop_text(unsigned int reason);

#endif
