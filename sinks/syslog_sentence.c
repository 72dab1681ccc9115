/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sentence of a syslog message, for people.  Called by sinks/syslog_message.c for every record,
 * on the sink's thread.
 */
#include "sinks/syslog_sentence.h"

#include <string.h>

#include "zones/address.h"
#include "zones/zone.h"

#define BYTE_ORDER_MARK "\xef\xbb\xbf"

static void say_endpoint(struct syslog_text *text, const struct log_party *party)
{
	bool is_ipv6 = !ip_is_v4(&party->address);

	if (IN6_IS_ADDR_UNSPECIFIED(&party->address)) {
		if (syslog_has_mac(party))
			syslog_put_mac(text, party->mac);
		else
			SYSLOG_PUT(text, "unknown");
		return;
	}
	if (is_ipv6 && party->transport_port)
		SYSLOG_PUT(text, "[");
	syslog_put_address(text, &party->address);
	if (is_ipv6 && party->transport_port)
		SYSLOG_PUT(text, "]");
	if (party->transport_port) {
		SYSLOG_PUT(text, ":");
		syslog_put_number(text, party->transport_port);
	}
}

/* "web-1 10.0.1.5:40000 (zone web)" */
static void say_party(struct syslog_text *text, const struct log_party *party)
{
	const char *name = *party->vm_name ? party->vm_name : party->port;

	syslog_put_string(text, name, SYSLOG_IN_SENTENCE);
	if (*name)
		SYSLOG_PUT(text, " ");
	say_endpoint(text, party);
	if (*party->zone) {
		SYSLOG_PUT(text, " (zone ");
		syslog_put_string(text, party->zone, SYSLOG_IN_SENTENCE);
		SYSLOG_PUT(text, ")");
	}
}

static const char *action_of(const struct log_record *record)
{
	switch (record->kind) {
	case LOG_START:
	case LOG_WOULD_DENY: return "Allowed";
	case LOG_UPDATE: return "Still allowed";
	case LOG_END: return "Ended";
	case LOG_DENIED: return record->verdict == ZONE_REJECT ? "Rejected" : "Denied";
	case LOG_SPOOFED: return "Spoofed";
	default: return "Refused";
	}
}

static void say_rule(struct syslog_text *text, const char *policy, const char *rule)
{
	syslog_put_string(text, policy, SYSLOG_IN_SENTENCE);
	if (*policy && *rule)
		SYSLOG_PUT(text, "/");
	syslog_put_string(text, rule, SYSLOG_IN_SENTENCE);
}

static void say_protocol(struct syslog_text *text, const struct log_record *record)
{
	char protocol[LOG_PROTOCOL_MAX];

	if (record->protocol) {
		syslog_put_word(text, log_protocol_name(record->protocol, protocol));
	} else {
		SYSLOG_PUT(text, "ethertype ");
		syslog_put_number(text, record->ethertype);
	}
	if (syslog_is_icmp(record)) {
		SYSLOG_PUT(text, " type ");
		syslog_put_number(text, record->icmp_type);
	}
}

static void say_decision(struct syslog_text *text, const struct log_record *record)
{
	if (*record->reason) {
		SYSLOG_PUT(text, ": ");
		syslog_put_string(text, record->reason, SYSLOG_IN_SENTENCE);
	}
	if (*record->rule) {
		syslog_put_word(text, record->kind == LOG_END ? "; allowed by rule "
				      : *record->reason	      ? ", by rule "
							      : " by rule ");
		say_rule(text, record->policy, record->rule);
		SYSLOG_PUT(text, " of revision ");
		syslog_put_number(text, record->policy_revision);
	}
	if (record->kind == LOG_WOULD_DENY) {
		SYSLOG_PUT(text, "; on trial, rule ");
		say_rule(text, record->simulated_policy, record->simulated_rule);
		SYSLOG_PUT(text, " would refuse it");
	}
}

static void say_amount(struct syslog_text *text, uint64_t packets, uint64_t bytes)
{
	syslog_put_number(text, packets);
	syslog_put_word(text, packets == 1 ? " packet (" : " packets (");
	syslog_put_number(text, bytes);
	syslog_put_word(text, bytes == 1 ? " byte)" : " bytes)");
}

static void say_counts(struct syslog_text *text, const struct log_record *record)
{
	if (record->kind == LOG_UPDATE || record->kind == LOG_END) {
		SYSLOG_PUT(text, "; ");
		say_amount(text, record->packets_forward, record->bytes_forward);
		SYSLOG_PUT(text, " there, ");
		say_amount(text, record->packets_reverse, record->bytes_reverse);
		SYSLOG_PUT(text, " back");
	}
	if (record->suppressed) {
		SYSLOG_PUT(text, "; ");
		syslog_put_number(text, record->suppressed);
		SYSLOG_PUT(text, " more like it were held back");
	}
}

static void say(struct syslog_text *text, const struct log_record *record)
{
	if (record->kind == LOG_GAP) {
		syslog_put_number(text, record->packets_forward);
		syslog_put_word(text, record->packets_forward == 1
					      ? " record before this one was lost: "
					      : " records before this one were lost: ");
		syslog_put_string(text, record->reason, SYSLOG_IN_SENTENCE);
	} else {
		syslog_put_word(text, action_of(record));
		SYSLOG_PUT(text, " ");
		say_protocol(text, record);
		SYSLOG_PUT(text, " from ");
		say_party(text, &record->source);
		SYSLOG_PUT(text, " to ");
		say_party(text, &record->destination);
		say_decision(text, record);
		say_counts(text, record);
	}
	SYSLOG_PUT(text, ".");
}

/* UTF-8 begins with a mark, by which it can be told from whatever else a sender may use; plain
 * ASCII needs none (RFC 5424, 6.4).  There is room for it. */
void syslog_sentence(struct syslog_text *text, const struct log_record *record)
{
	char *begin = text->at;

	text->has_wide = false;
	text->end -= SYSLOG_MARK_BYTES;
	say(text, record);
	text->end += SYSLOG_MARK_BYTES;
	if (!text->has_wide)
		return;
	memmove(begin + SYSLOG_MARK_BYTES, begin, (size_t)(text->at - begin));
	memcpy(begin, BYTE_ORDER_MARK, SYSLOG_MARK_BYTES);
	text->at += SYSLOG_MARK_BYTES;
}
