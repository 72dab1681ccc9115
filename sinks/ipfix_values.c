/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records in IPFIX's terms: see ipfix_values.h.  Called by the encoder for each record.
 *
 * The counters of a record are totals since the connection's first packet, in updates as at the
 * end, which makes them totalCounters and not deltaCounters.
 */
#include "sinks/ipfix_values.h"

#include <string.h>

#include "zones/zone.h"

#define SECOND_NS UINT64_C(1000000000)

enum {
	ETHERNET_HEADER = 14,
	VXLAN_SEGMENT_SHIFT = 56, /* layer2SegmentId: the kind of overlay; 1 is VXLAN. */
	TO_RESPONDER = 1,	  /* biflowDirection "initiator". */
};

/* Between the NTP era that began in 1900 and 1970, in seconds. */
#define NTP_TO_UNIX UINT64_C(2208988800)

static fbVarfield_t text_of(const char *text)
{
	return (fbVarfield_t){.len = strlen(text), .buf = (uint8_t *)text};
}

/* RFC 7011, 6.1.10: 32 bits of seconds, which begin anew in 2036, and 32 of their fractions,
 * rounded up so that who rounds down finds the same nanosecond. */
static uint64_t ntp_of(uint64_t ns)
{
	uint64_t seconds = ns / SECOND_NS + NTP_TO_UNIX;

	return seconds << 32 | (((ns % SECOND_NS) << 32) + SECOND_NS - 1) / SECOND_NS;
}

/* --- The shape -------------------------------------------------------------------------------- */

static bool is_ipv4(const struct log_record *record)
{
	return IN6_IS_ADDR_V4MAPPED(&record->source.address) ||
	       IN6_IS_ADDR_V4MAPPED(&record->destination.address);
}

static bool is_ipv6(const struct log_record *record)
{
	return !IN6_IS_ADDR_UNSPECIFIED(&record->source.address) ||
	       !IN6_IS_ADDR_UNSPECIFIED(&record->destination.address);
}

static enum ipfix_template template_of(const struct log_record *record)
{
	if (record->kind == LOG_GAP)
		return IPFIX_GAP;
	if (is_ipv4(record))
		return record->protocol == IPPROTO_ICMP ? IPFIX_ICMP : IPFIX_IPV4;
	if (is_ipv6(record))
		return record->protocol == IPPROTO_ICMPV6 ? IPFIX_ICMPV6 : IPFIX_IPV6;
	return IPFIX_ETHERNET;
}

static uint64_t mix(uint64_t hash, uint64_t word)
{
	hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
	return hash ^ hash >> 32;
}

static uint64_t mix_party(uint64_t hash, const struct log_party *party)
{
	uint64_t words[2];

	memcpy(words, &party->address, sizeof(words));
	return mix(mix(mix(hash, words[0]), words[1]), party->transport_port);
}

static uint64_t mix_mac(uint64_t hash, const uint8_t mac[6])
{
	uint64_t word = 0;

	memcpy(&word, mac, 6);
	return mix(hash, word);
}

/* What all records of a connection have in common, and no other connection. */
static uint64_t flow_of(const struct log_record *record, enum ipfix_template template)
{
	uint64_t hash = mix(record->start_ns,
		(uint64_t)record->vni << 32 | (uint64_t)record->vlan << 8 | record->protocol);

	hash = mix_party(mix_party(hash, &record->source), &record->destination);
	if (template == IPFIX_ETHERNET)
		hash = mix_mac(mix_mac(mix(hash, record->ethertype), record->source.mac),
			record->destination.mac);
	return hash;
}

/* --- The event -------------------------------------------------------------------------------- */

static const uint8_t firewall_events[LOG_N_KINDS] = {
	[LOG_START] = 1,      /* Flow created. */
	[LOG_UPDATE] = 5,     /* Flow update. */
	[LOG_END] = 2,	      /* Flow deleted. */
	[LOG_DENIED] = 3,     /* Flow denied. */
	[LOG_WOULD_DENY] = 4, /* Flow alert. */
	[LOG_SPOOFED] = 3,
	[LOG_LIMIT] = 3,
	[LOG_GAP] = 0, /* Ignore. */
};

static uint8_t end_reason_of(const struct log_record *record)
{
	static const struct {
		const char *reason;
		uint8_t number;
	} reasons[] = {
		{"timeout", 1}, {"unanswered", 1},		    /* Idle time-out. */
		{"fin", 3}, {"reset", 3}, {"reused", 3},	    /* End of flow detected. */
		{"policy", 4}, {"flushed", 4}, {"port-removed", 4}, /* Forced end. */
	};

	if (record->kind == LOG_UPDATE)
		return 2; /* Active time-out: told while it goes on. */
	if (record->kind != LOG_END)
		return 0;
	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
		if (strcmp(record->reason, reasons[i].reason) == 0)
			return reasons[i].number;
	return 3;
}

/* RFC 7270, 4.12. */
static uint8_t forwarding_of(const struct log_record *record)
{
	if (record->kind == LOG_SPOOFED)
		return 140; /* Dropped, RPF: the source is not where it says. */
	if (record->kind == LOG_LIMIT)
		return 128; /* Dropped. */
	switch (record->verdict) {
	case ZONE_DENY: return 130;   /* ACL drop. */
	case ZONE_REJECT: return 129; /* ACL deny. */
	default: return 64;	      /* Forwarded. */
	}
}

/* --- The values ------------------------------------------------------------------------------- */

static void fill_addresses(
	const struct log_record *record, enum ipfix_template template, struct ipfix_values *values)
{
	const struct log_party *source = &record->source, *destination = &record->destination;
	uint16_t type_code = (uint16_t)(record->icmp_type << 8 | record->icmp_code);

	values->source_ipv4 = ntohl(source->address.s6_addr32[3]);
	values->destination_ipv4 = ntohl(destination->address.s6_addr32[3]);
	values->source_ipv6 = source->address;
	values->destination_ipv6 = destination->address;
	values->source_port = source->transport_port;
	values->destination_port = destination->transport_port;
	values->icmp_type_code = values->icmpv6_type_code = type_code;
	memcpy(values->source_mac, source->mac, 6);
	memcpy(values->destination_mac, destination->mac, 6);
	values->vlan = record->vlan;
	values->ethertype = record->ethertype;
	values->segment =
		record->vni ? UINT64_C(1) << VXLAN_SEGMENT_SHIFT | (record->vni & 0xffffff) : 0;
	values->tcp_flags = record->tcp_flags;
	values->protocol = record->protocol;
	values->flow = flow_of(record, template);
}

static void fill_times(const struct log_record *record, struct ipfix_values *values)
{
	values->start_ms = record->start_ns / 1000000;
	values->end_ms = record->time_ns / 1000000;
	values->start_ntp = ntp_of(record->start_ns);
	values->end_ntp = ntp_of(record->time_ns);
}

/* The octets of IP packets: of frames as they were counted, without what is before IP.  The tag of
 * a VLAN and the padding of a short frame cannot be told from these. */
static uint64_t octets_of(uint64_t frame_octets, uint64_t packets)
{
	uint64_t headers = packets * ETHERNET_HEADER;

	return frame_octets > headers ? frame_octets - headers : 0;
}

static void fill_counters(const struct log_record *record, struct ipfix_values *values)
{
	values->packets = record->packets_forward;
	values->frame_octets = record->bytes_forward;
	values->octets = octets_of(record->bytes_forward, record->packets_forward);
	values->reverse_packets = record->packets_reverse;
	values->reverse_frame_octets = record->bytes_reverse;
	values->reverse_octets = octets_of(record->bytes_reverse, record->packets_reverse);
	values->suppressed = record->suppressed;
}

static void fill_parties(const struct log_record *record, struct ipfix_values *values)
{
	const struct log_party *source = &record->source, *destination = &record->destination;

	values->source_port_name = text_of(source->port);
	values->destination_port_name = text_of(destination->port);
	values->source_vm_id = text_of(source->vm_id);
	values->destination_vm_id = text_of(destination->vm_id);
	values->source_vm_name = text_of(source->vm_name);
	values->destination_vm_name = text_of(destination->vm_name);
	values->source_zone = text_of(source->zone);
	values->destination_zone = text_of(destination->zone);
	values->source_tags = text_of(source->tags);
	values->destination_tags = text_of(destination->tags);
}

static void fill_decision(const struct log_record *record, struct ipfix_values *values)
{
	values->firewall_event = firewall_events[record->kind];
	values->end_reason = end_reason_of(record);
	values->forwarding = forwarding_of(record);
	values->biflow_direction = TO_RESPONDER;
	values->verdict = text_of(log_verdict_name(record->verdict));
	values->policy_revision = record->policy_revision;
	values->tier = text_of(record->tier);
	values->policy = text_of(record->policy);
	values->rule = text_of(record->rule);
	values->label = text_of(record->label);
	values->simulated_verdict =
		text_of(record->simulated ? log_verdict_name(record->simulated - 1u) : "");
	values->simulated_policy = text_of(record->simulated_policy);
	values->simulated_rule = text_of(record->simulated_rule);
}

enum ipfix_template ipfix_values_of(const struct log_record *record, struct ipfix_values *values)
{
	enum ipfix_template template = template_of(record);

	fill_times(record, values);
	values->sequence = record->sequence;
	values->host = text_of(record->host);
	values->kind = text_of(log_kind_name(record->kind));
	values->reason = text_of(record->reason);
	if (template == IPFIX_GAP) {
		values->lost = record->packets_forward;
		return template;
	}
	fill_addresses(record, template, values);
	fill_counters(record, values);
	fill_parties(record, values);
	fill_decision(record, values);
	return template;
}
