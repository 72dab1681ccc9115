/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records as JSON text.  Called for every record by the sinks that write JSON, on their threads,
 * and by the command line; so members are copied whole with their punctuation, and nothing is
 * allocated.
 */
#include "log/record_json.h"

#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "zones/address.h"
#include "zones/utf8.h"

enum {
	FIXED_SIZE = 2048, /* All names and punctuation, numbers, times and addresses. */
	ESCAPED_MAX = 6,   /* Bytes that one byte of a string becomes: "\u001f". */
	DIGITS_MAX = 20,   /* Of a 64-bit number. */
	SECOND_NS = 1000000000,
};

/* A member's name with all that stands before its value. */
struct key {
	const char *text;
	size_t length;
};

#define KEY(name)                                                                                  \
	&(const struct key)                                                                        \
	{                                                                                          \
		",\"" name "\":", sizeof(",\"" name "\":") - 1                                     \
	}

/* --- Values --------------------------------------------------------------------------------- */

static char *put_bytes(char *to, const char *bytes, size_t length)
{
	memcpy(to, bytes, length);
	return to + length;
}

static char *put_digits(char *to, uint64_t number)
{
	char digits[DIGITS_MAX];
	size_t at = DIGITS_MAX;

	do {
		digits[--at] = (char)('0' + number % 10);
		number /= 10;
	} while (number);
	return put_bytes(to, digits + at, DIGITS_MAX - at);
}

/* Exactly n digits. */
static char *put_padded(char *to, unsigned int number, unsigned int n)
{
	for (unsigned int i = n; i-- > 0; number /= 10)
		to[i] = (char)('0' + number % 10);
	return to + n;
}

static char *put_hex(char *to, uint8_t byte)
{
	static const char digits[] = "0123456789abcdef";

	*to++ = digits[byte >> 4];
	*to++ = digits[byte & 15];
	return to;
}

/* True for a byte that stands for itself in a string. */
static bool is_plain(unsigned char byte)
{
	return byte >= ' ' && byte < 0x7f && byte != '"' && byte != '\\';
}

/* Writes the first character of `text` as it must be in a string, and sets *n to its bytes. */
static char *put_character(char *to, const char *text, size_t *n)
{
	unsigned char byte = (unsigned char)*text;
	uint32_t character;

	*n = byte < 0x80 ? 1 : utf8_decode(text, strnlen(text, 4), &character);
	if (!*n) {
		*n = 1;
		return put_hex(put_bytes(to, "\\\\x", 3), byte);
	}
	if (byte == '"' || byte == '\\')
		*to++ = '\\';
	else if (byte < ' ' || byte == 0x7f)
		return put_hex(put_bytes(to, "\\u00", 4), byte);
	return put_bytes(to, text, *n);
}

static char *put_text(char *to, const struct key *key, const char *text)
{
	size_t n;

	to = put_bytes(to, key->text, key->length);
	*to++ = '"';
	for (; *text; text += n) {
		if (is_plain((unsigned char)*text)) {
			*to++ = *text;
			n = 1;
		} else {
			to = put_character(to, text, &n);
		}
	}
	*to++ = '"';
	return to;
}

static char *put_number(char *to, const struct key *key, uint64_t number)
{
	return put_digits(put_bytes(to, key->text, key->length), number);
}

/* "2026-01-31T14:00:00.123456789Z"; "" for 0. */
static char *put_time(char *to, const struct key *key, uint64_t time_ns)
{
	time_t seconds = (time_t)(time_ns / SECOND_NS);
	struct tm utc;

	to = put_bytes(to, key->text, key->length);
	*to++ = '"';
	if (time_ns && gmtime_r(&seconds, &utc)) {
		to = put_padded(to, (unsigned int)utc.tm_year + 1900, 4);
		*to++ = '-';
		to = put_padded(to, (unsigned int)utc.tm_mon + 1, 2);
		*to++ = '-';
		to = put_padded(to, (unsigned int)utc.tm_mday, 2);
		*to++ = 'T';
		to = put_padded(to, (unsigned int)utc.tm_hour, 2);
		*to++ = ':';
		to = put_padded(to, (unsigned int)utc.tm_min, 2);
		*to++ = ':';
		to = put_padded(to, (unsigned int)utc.tm_sec, 2);
		*to++ = '.';
		to = put_padded(to, (unsigned int)(time_ns % SECOND_NS), 9);
		*to++ = 'Z';
	}
	*to++ = '"';
	return to;
}

/* "" for none. */
static char *put_address(char *to, const struct key *key, const struct in6_addr *address)
{
	char text[IP_TEXT_MAX] = "";
	const uint8_t *bytes = &address->s6_addr[12];

	if (!ip_is_v4(address))
		return put_text(
			to, key, IN6_IS_ADDR_UNSPECIFIED(address) ? "" : ip_format(address, text));
	to = put_bytes(to, key->text, key->length);
	*to++ = '"';
	for (int i = 0; i < 4; i++) {
		to = put_digits(to, bytes[i]);
		*to++ = i < 3 ? '.' : '"';
	}
	return to;
}

/* "" for none. */
static char *put_mac(char *to, const struct key *key, const uint8_t mac[6])
{
	static const uint8_t none[6];

	to = put_bytes(to, key->text, key->length);
	*to++ = '"';
	for (int i = 0; memcmp(mac, none, sizeof(none)) != 0 && i < 6; i++) {
		if (i > 0)
			*to++ = ':';
		to = put_hex(to, mac[i]);
	}
	*to++ = '"';
	return to;
}

/* --- Records -------------------------------------------------------------------------------- */

/* The names of one end's members. */
struct party_keys {
	const struct key *address, *mac, *transport_port, *port, *vm_id, *vm_name, *zone, *tags;
};

#define PARTY_KEYS(end)                                                                            \
	&(const struct party_keys)                                                                 \
	{                                                                                          \
		.address = KEY(end "_address"), .mac = KEY(end "_mac"),                            \
		.transport_port = KEY(end "_transport_port"), .port = KEY(end "_port"),            \
		.vm_id = KEY(end "_vm_id"), .vm_name = KEY(end "_vm_name"),                        \
		.zone = KEY(end "_zone"), .tags = KEY(end "_tags"),                                \
	}

static char *put_party(char *to, const struct party_keys *keys, const struct log_party *party)
{
	to = put_address(to, keys->address, &party->address);
	to = put_number(to, keys->transport_port, party->transport_port);
	to = put_mac(to, keys->mac, party->mac);
	to = put_text(to, keys->port, party->port);
	to = put_text(to, keys->vm_id, party->vm_id);
	to = put_text(to, keys->vm_name, party->vm_name);
	to = put_text(to, keys->zone, party->zone);
	return put_text(to, keys->tags, party->tags);
}

static char *put_event(char *to, const struct log_record *record)
{
	bool decided = record->kind != LOG_GAP;

	to = put_time(to, KEY("time"), record->time_ns);
	to = put_text(to, KEY("host"), record->host);
	to = put_number(to, KEY("sequence"), record->sequence);
	to = put_text(to, KEY("kind"), log_kind_name(record->kind));
	to = put_text(to, KEY("verdict"), decided ? log_verdict_name(record->verdict) : "");
	return put_text(to, KEY("reason"), record->reason);
}

static char *put_protocol(char *to, const struct log_record *record)
{
	char protocol[LOG_PROTOCOL_MAX];

	to = put_text(to, KEY("protocol"),
		record->protocol ? log_protocol_name(record->protocol, protocol) : "");
	to = put_number(to, KEY("protocol_number"), record->protocol);
	to = put_number(to, KEY("icmp_type"), record->icmp_type);
	to = put_number(to, KEY("icmp_code"), record->icmp_code);
	to = put_number(to, KEY("tcp_flags"), record->tcp_flags);
	to = put_number(to, KEY("ethertype"), record->ethertype);
	to = put_number(to, KEY("vlan"), record->vlan);
	return put_number(to, KEY("vni"), record->vni);
}

static char *put_decision(char *to, const struct log_record *record)
{
	bool simulated = record->simulated != 0 && record->kind != LOG_GAP;

	to = put_text(to, KEY("tier"), record->tier);
	to = put_text(to, KEY("policy"), record->policy);
	to = put_text(to, KEY("rule"), record->rule);
	to = put_text(to, KEY("label"), record->label);
	to = put_number(to, KEY("policy_revision"), record->policy_revision);
	to = put_text(to, KEY("simulated_verdict"),
		simulated ? log_verdict_name(record->simulated - 1U) : "");
	to = put_text(to, KEY("simulated_policy"), record->simulated_policy);
	return put_text(to, KEY("simulated_rule"), record->simulated_rule);
}

static char *put_counters(char *to, const struct log_record *record)
{
	to = put_number(to, KEY("packets_forward"), record->packets_forward);
	to = put_number(to, KEY("bytes_forward"), record->bytes_forward);
	to = put_number(to, KEY("packets_reverse"), record->packets_reverse);
	to = put_number(to, KEY("bytes_reverse"), record->bytes_reverse);
	to = put_number(to, KEY("suppressed"), record->suppressed);
	to = put_time(to, KEY("start"), record->start_ns);
	to = put_number(to, KEY("time_ns"), record->time_ns);
	return put_number(to, KEY("start_ns"), record->start_ns);
}

size_t log_record_json_size(const struct log_record *record)
{
	const struct log_party *from = &record->source, *to = &record->destination;
	const char *const strings[] = {record->host, record->reason, record->tier, record->policy,
		record->rule, record->label, record->simulated_policy, record->simulated_rule,
		from->port, from->vm_id, from->vm_name, from->zone, from->tags, to->port, to->vm_id,
		to->vm_name, to->zone, to->tags};
	size_t length = 0;

	for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++)
		length += strlen(strings[i]);
	return FIXED_SIZE + ESCAPED_MAX * length;
}

size_t log_record_json(const struct log_record *record, char *text)
{
	char *to = put_event(text, record);

	to = put_protocol(to, record);
	to = put_party(to, PARTY_KEYS("source"), &record->source);
	to = put_party(to, PARTY_KEYS("destination"), &record->destination);
	to = put_decision(to, record);
	to = put_counters(to, record);
	text[0] = '{'; /* In place of the first member's comma. */
	*to++ = '}';
	return (size_t)(to - text);
}
