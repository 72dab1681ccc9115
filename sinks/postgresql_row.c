/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records as rows.  Called by the other files of this sink, for every record, on its thread.
 *
 * Binary rows are taken in by the server about a third faster than text is: nothing has to be
 * parsed.  In return the types of the table must be exactly these, which postgresql_schema.c sees
 * to.
 */
#include "sinks/postgresql_row.h"

#include <endian.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "zones/utf8.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define OF(member)   offsetof(struct log_record, member)
#define TEXT(member) POSTGRESQL_TEXT, OF(member)
#define PARTY(name, end)                                                                           \
	{name "_address", POSTGRESQL_ADDRESS, OF(end.address)},                                    \
		{name "_mac", POSTGRESQL_MAC, OF(end.mac)},                                        \
		{name "_transport_port", POSTGRESQL_NUMBER_16, OF(end.transport_port)},            \
		{name "_port", TEXT(end.port)}, {name "_vm_id", TEXT(end.vm_id)},                  \
		{name "_vm_name", TEXT(end.vm_name)}, {name "_zone", TEXT(end.zone)},              \
	{                                                                                          \
		name "_tags", TEXT(end.tags)                                                       \
	}

const struct postgresql_column postgresql_columns[] = {
	{"time", POSTGRESQL_TIME, OF(time_ns)},
	{"start", POSTGRESQL_TIME, OF(start_ns)},
	{"sequence", POSTGRESQL_NUMBER_64, OF(sequence)},
	{"host", TEXT(host)},
	{"kind", POSTGRESQL_KIND, 0},
	{"verdict", POSTGRESQL_VERDICT, 0},
	{"reason", TEXT(reason)},
	{"protocol", POSTGRESQL_PROTOCOL, 0},
	PARTY("source", source),
	PARTY("destination", destination),
	{"tier", TEXT(tier)},
	{"policy", TEXT(policy)},
	{"rule", TEXT(rule)},
	{"label", TEXT(label)},
	{"simulated_verdict", POSTGRESQL_SIMULATED, 0},
	{"simulated_policy", TEXT(simulated_policy)},
	{"simulated_rule", TEXT(simulated_rule)},
	{"policy_revision", POSTGRESQL_NUMBER_32, OF(policy_revision)},
	{"packets_forward", POSTGRESQL_NUMBER_64, OF(packets_forward)},
	{"bytes_forward", POSTGRESQL_NUMBER_64, OF(bytes_forward)},
	{"packets_reverse", POSTGRESQL_NUMBER_64, OF(packets_reverse)},
	{"bytes_reverse", POSTGRESQL_NUMBER_64, OF(bytes_reverse)},
	{"suppressed", POSTGRESQL_NUMBER_32, OF(suppressed)},
	{"vni", POSTGRESQL_NUMBER_32, OF(vni)},
	{"vlan", POSTGRESQL_NUMBER_16, OF(vlan)},
	{"ethertype", POSTGRESQL_NUMBER_16, OF(ethertype)},
	{"tcp_flags", POSTGRESQL_NUMBER_8, OF(tcp_flags)},
	{"icmp_type", POSTGRESQL_NUMBER_8, OF(icmp_type)},
	{"icmp_code", POSTGRESQL_NUMBER_8, OF(icmp_code)},
};
const size_t n_postgresql_columns = COUNT(postgresql_columns);

enum {
	FIELD_MAX = 24,	 /* Of a value that is no string, with its length before it. */
	ESCAPED_MAX = 4, /* Bytes that one byte of a string becomes. */
	FAMILY_IPV4 = 2, /* PostgreSQL's own numbers, the same on all machines. */
	FAMILY_IPV6 = 3,
};

/* PostgreSQL counts from 2000-01-01, in microseconds. */
#define EPOCH_US INT64_C(946684800000000)

const char *postgresql_column_type(const struct postgresql_column *column)
{
	switch (column->value) {
	case POSTGRESQL_TIME: return "timestamp with time zone";
	case POSTGRESQL_ADDRESS: return "inet";
	case POSTGRESQL_MAC: return "macaddr";
	case POSTGRESQL_NUMBER_8: return "smallint";
	case POSTGRESQL_NUMBER_16: return "integer";
	case POSTGRESQL_NUMBER_32:
	case POSTGRESQL_NUMBER_64: return "bigint";
	case POSTGRESQL_TEXT:
	case POSTGRESQL_KIND:
	case POSTGRESQL_VERDICT:
	case POSTGRESQL_SIMULATED:
	case POSTGRESQL_PROTOCOL: break;
	}
	return "text";
}

/* --- Values, each after its length in bytes ------------------------------------------------- */

static char *put_bytes(char *to, const void *bytes, size_t length)
{
	memcpy(to, bytes, length);
	return to + length;
}

static char *put_16(char *to, uint16_t number)
{
	uint16_t network = htobe16(number);

	return put_bytes(to, &network, sizeof(network));
}

static char *put_32(char *to, uint32_t number)
{
	uint32_t network = htobe32(number);

	return put_bytes(to, &network, sizeof(network));
}

static char *put_64(char *to, uint64_t number)
{
	uint64_t network = htobe64(number);

	return put_bytes(to, &network, sizeof(network));
}

static char *put_null(char *to)
{
	return put_32(to, UINT32_MAX);
}

/* A bigint has a sign; no counter of a switch gets so far. */
static char *put_bigint(char *to, uint64_t number)
{
	return put_64(put_32(to, 8), number < INT64_MAX ? number : INT64_MAX);
}

static char *put_time(char *to, uint64_t time_ns)
{
	if (time_ns == 0)
		return put_null(to);
	return put_64(put_32(to, 8), (uint64_t)((int64_t)(time_ns / 1000) - EPOCH_US));
}

static char *put_address(char *to, const struct in6_addr *address)
{
	bool v4 = IN6_IS_ADDR_V4MAPPED(address);
	uint8_t length = v4 ? 4 : 16;

	if (IN6_IS_ADDR_UNSPECIFIED(address))
		return put_null(to);
	to = put_32(to, 4U + length);
	*to++ = v4 ? FAMILY_IPV4 : FAMILY_IPV6;
	*to++ = (char)(8 * length); /* Bits of the prefix: all. */
	*to++ = 0;		    /* It is no cidr. */
	*to++ = (char)length;
	return put_bytes(to, &address->s6_addr[16 - length], length);
}

static char *put_mac(char *to, const uint8_t mac[6])
{
	static const uint8_t none[6];

	if (memcmp(mac, none, sizeof(none)) == 0)
		return put_null(to);
	return put_bytes(put_32(to, sizeof(none)), mac, sizeof(none));
}

static char *put_character(char *to, const char *text, size_t *n)
{
	static const char digits[] = "0123456789abcdef";
	unsigned char byte = (unsigned char)*text;
	uint32_t character;

	*n = utf8_decode(text, strnlen(text, 4), &character);
	if (*n)
		return put_bytes(to, text, *n);
	*n = 1;
	return put_bytes(
		to, (const char[]){'\\', 'x', digits[byte >> 4], digits[byte & 15]}, ESCAPED_MAX);
}

static char *put_text(char *to, const char *text)
{
	char *begin = to + 4;
	size_t n;

	if (!*text)
		return put_null(to);
	for (to = begin; *text; text += n) {
		if ((unsigned char)*text < 0x80) {
			*to++ = *text;
			n = 1;
		} else {
			to = put_character(to, text, &n);
		}
	}
	put_32(begin - 4, (uint32_t)(to - begin));
	return to;
}

/* --- Rows ----------------------------------------------------------------------------------- */

static char *put_protocol(char *to, uint8_t protocol)
{
	char text[LOG_PROTOCOL_MAX];

	return put_text(to, protocol ? log_protocol_name(protocol, text) : "");
}

static char *put_value(
	char *to, const struct postgresql_column *column, const struct log_record *record)
{
	const void *at = (const char *)record + column->offset;
	bool gap = record->kind == LOG_GAP;

	switch (column->value) {
	case POSTGRESQL_TIME: return put_time(to, *(const uint64_t *)at);
	case POSTGRESQL_TEXT: return put_text(to, *(const char *const *)at);
	case POSTGRESQL_ADDRESS: return put_address(to, at);
	case POSTGRESQL_MAC: return put_mac(to, at);
	case POSTGRESQL_NUMBER_8: return put_16(put_32(to, 2), *(const uint8_t *)at);
	case POSTGRESQL_NUMBER_16: return put_32(put_32(to, 4), *(const uint16_t *)at);
	case POSTGRESQL_NUMBER_32: return put_bigint(to, *(const uint32_t *)at);
	case POSTGRESQL_NUMBER_64: return put_bigint(to, *(const uint64_t *)at);
	case POSTGRESQL_KIND: return put_text(to, log_kind_name(record->kind));
	case POSTGRESQL_VERDICT: return put_text(to, gap ? "" : log_verdict_name(record->verdict));
	case POSTGRESQL_SIMULATED:
		return put_text(
			to, record->simulated ? log_verdict_name(record->simulated - 1U) : "");
	case POSTGRESQL_PROTOCOL: return put_protocol(to, record->protocol);
	}
	return put_null(to);
}

size_t postgresql_row_size(const struct log_record *record)
{
	size_t size = sizeof(uint16_t) + n_postgresql_columns * FIELD_MAX;

	for (size_t i = 0; i < n_postgresql_columns; i++) {
		const struct postgresql_column *column = &postgresql_columns[i];

		if (column->value == POSTGRESQL_TEXT)
			size += ESCAPED_MAX * strlen(*(const char *const *)((const char *)record +
									    column->offset));
	}
	return size;
}

size_t postgresql_row(const struct log_record *record, char *bytes)
{
	char *to = put_16(bytes, (uint16_t)n_postgresql_columns);

	for (size_t i = 0; i < n_postgresql_columns; i++)
		to = put_value(to, &postgresql_columns[i], record);
	return (size_t)(to - bytes);
}

void postgresql_put_header(char bytes[POSTGRESQL_HEADER_BYTES])
{
	/* The signature; no flags; no extension. */
	memcpy(bytes, "PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0", POSTGRESQL_HEADER_BYTES);
}

void postgresql_put_trailer(char bytes[POSTGRESQL_TRAILER_BYTES])
{
	memset(bytes, 0xff, POSTGRESQL_TRAILER_BYTES);
}
