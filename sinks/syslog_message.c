/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records as RFC 5424 messages.  Called by sinks/syslog.c for every record, on the sink's thread;
 * so nothing is allocated, and names are copied whole with their punctuation.
 */
#include "sinks/syslog_message.h"

#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "zones/address.h"
#include "zones/utf8.h"
#include "zones/zone.h"

enum {
	DIGITS_MAX = 20,     /* Of a 64-bit number. */
	CHARACTER_MAX = 5,   /* Bytes that one character of a value becomes: "\\xNN". */
	DATA_END_BYTES = 20, /* Kept for ` left_out="99"]`, a space and a byte order mark. */
	SECOND_NS = 1000000000,
};

#define BYTE_ORDER_MARK "\xef\xbb\xbf"

/* Severities of RFC 5424, table 2. */
enum { ALERT = 1, ERROR = 3, WARNING = 4, NOTICE = 5, INFORMATIONAL = 6 };

static const uint8_t severities[LOG_N_KINDS] = {
	[LOG_START] = INFORMATIONAL,
	[LOG_UPDATE] = INFORMATIONAL,
	[LOG_END] = INFORMATIONAL,
	[LOG_DENIED] = WARNING,
	[LOG_WOULD_DENY] = NOTICE,
	[LOG_SPOOFED] = ALERT,
	[LOG_LIMIT] = ERROR,
	[LOG_GAP] = ERROR,
};

unsigned int syslog_severity(unsigned int kind)
{
	return kind < LOG_N_KINDS ? severities[kind] : ERROR;
}

/* --- Bounded text --------------------------------------------------------------------------- */

/* A message in the making.  Once something has not fitted, nothing more is taken, until whoever
 * writes has gone back to where there was room. */
struct text {
	char *at, *end;
	bool is_full;
	bool has_wide; /* Something beyond ASCII was written. */
};

static void put_bytes(struct text *text, const char *bytes, size_t length)
{
	if (text->is_full || (size_t)(text->end - text->at) < length) {
		text->is_full = true;
		return;
	}
	memcpy(text->at, bytes, length);
	text->at += length;
}

#define PUT(text, literal) put_bytes((text), "" literal, sizeof(literal) - 1)

/* ASCII without anything to escape. */
static void put_word(struct text *text, const char *word)
{
	put_bytes(text, word, strlen(word));
}

static void put_digits(struct text *text, uint64_t number)
{
	char digits[DIGITS_MAX];
	size_t at = DIGITS_MAX;

	do {
		digits[--at] = (char)('0' + number % 10);
		number /= 10;
	} while (number);
	put_bytes(text, digits + at, DIGITS_MAX - at);
}

/* Exactly n digits. */
static char *pad(char *to, unsigned int number, unsigned int n)
{
	for (unsigned int i = n; i-- > 0; number /= 10)
		to[i] = (char)('0' + number % 10);
	return to + n;
}

/* "2026-01-31T14:00:00.123456Z" (RFC 5424, 6.2.3: no more digits than that); "-" for 0. */
static void put_time(struct text *text, uint64_t time_ns)
{
	char form[] = "0000-00-00T00:00:00.000000Z";
	time_t seconds = (time_t)(time_ns / SECOND_NS);
	struct tm utc;

	if (!time_ns || !gmtime_r(&seconds, &utc)) {
		PUT(text, "-");
		return;
	}
	pad(form, (unsigned int)utc.tm_year + 1900, 4);
	pad(form + 5, (unsigned int)utc.tm_mon + 1, 2);
	pad(form + 8, (unsigned int)utc.tm_mday, 2);
	pad(form + 11, (unsigned int)utc.tm_hour, 2);
	pad(form + 14, (unsigned int)utc.tm_min, 2);
	pad(form + 17, (unsigned int)utc.tm_sec, 2);
	pad(form + 20, (unsigned int)(time_ns % SECOND_NS) / 1000, 6);
	put_bytes(text, form, sizeof(form) - 1);
}

static void put_ipv4(struct text *text, const uint8_t *bytes)
{
	for (int i = 0; i < 4; i++) {
		if (i > 0)
			PUT(text, ".");
		put_digits(text, bytes[i]);
	}
}

static void put_address(struct text *text, const struct in6_addr *address)
{
	char form[IP_TEXT_MAX];

	if (ip_is_v4(address))
		put_ipv4(text, &address->s6_addr[12]);
	else
		put_word(text, ip_format(address, form));
}

static void put_mac(struct text *text, const uint8_t mac[6])
{
	char form[MAC_TEXT_MAX];

	put_word(text, mac_format(mac, form));
}

/* --- Strings from outside -------------------------------------------------------------------- */

/* Where a string stands: in the quotes of a parameter, or in the sentence. */
enum where { IN_VALUE, IN_SENTENCE };

/* True for a byte that stands for itself everywhere. */
static bool is_plain(unsigned char byte)
{
	return byte >= ' ' && byte < 0x7f && byte != '"' && byte != '\\' && byte != ']';
}

static size_t put_hex(char to[CHARACTER_MAX], unsigned char byte, enum where where)
{
	static const char digits[] = "0123456789abcdef";
	size_t n = 0;

	to[n++] = '\\';
	if (where == IN_VALUE)
		to[n++] = '\\';
	to[n++] = 'x';
	to[n++] = digits[byte >> 4];
	to[n++] = digits[byte & 15];
	return n;
}

/* Writes the first character of `string`, and returns its bytes. */
static size_t put_character(struct text *text, const char *string, enum where where)
{
	char form[CHARACTER_MAX];
	unsigned char byte = (unsigned char)*string;
	uint32_t character = byte;
	size_t n = byte < 0x80 ? 1 : utf8_decode(string, strnlen(string, 4), &character);

	/* C1 controls are characters that no reader of a log should be sent either. */
	if (n == 0 || character < ' ' || (character >= 0x7f && character < 0xa0)) {
		n = n ? n : 1;
		for (size_t i = 0; i < n; i++)
			put_bytes(text, form, put_hex(form, (unsigned char)string[i], where));
		return n;
	}
	if (where == IN_VALUE && (byte == '"' || byte == '\\' || byte == ']')) {
		form[0] = '\\';
		form[1] = (char)byte;
		put_bytes(text, form, 2);
		return 1;
	}
	text->has_wide = text->has_wide || n > 1;
	put_bytes(text, string, n);
	return n;
}

/* Takes of plain text what there is room for. */
static void put_plain(struct text *text, const char *bytes, size_t length)
{
	size_t room = (size_t)(text->end - text->at);
	bool is_cut = length > room;

	put_bytes(text, bytes, is_cut ? room : length);
	text->is_full = text->is_full || is_cut;
}

static void put_string(struct text *text, const char *string, enum where where)
{
	while (*string && !text->is_full) {
		size_t plain = 0;

		while (is_plain((unsigned char)string[plain]))
			plain++;
		put_plain(text, string, plain);
		string += plain;
		if (*string)
			string += put_character(text, string, where);
	}
}

/* --- Structured data ------------------------------------------------------------------------- */

/* The parameters of the element under way. */
struct parameters {
	struct text *text;
	unsigned int left_out;
};

/* A parameter's name with the punctuation around it. */
struct name {
	const char *text;
	size_t length;
};

#define NAME(literal)                                                                              \
	&(const struct name)                                                                       \
	{                                                                                          \
		" " literal "=\"", sizeof(" " literal "=\"") - 1                                   \
	}

static char *begin_parameter(struct parameters *parameters, const struct name *name)
{
	char *begin = parameters->text->at;

	put_bytes(parameters->text, name->text, name->length);
	return begin;
}

/* Takes the parameter back if it has not fitted. */
static void end_parameter(struct parameters *parameters, char *begin)
{
	struct text *text = parameters->text;

	PUT(text, "\"");
	if (!text->is_full)
		return;
	text->at = begin;
	text->is_full = false;
	parameters->left_out++;
}

/* What does not apply, an empty text or a 0, is not told. */
static void add_string(struct parameters *to, const struct name *name, const char *string)
{
	if (!*string)
		return;
	char *begin = begin_parameter(to, name);
	put_string(to->text, string, IN_VALUE);
	end_parameter(to, begin);
}

static void add_count(struct parameters *to, const struct name *name, uint64_t number)
{
	char *begin = begin_parameter(to, name);

	put_digits(to->text, number);
	end_parameter(to, begin);
}

static void add_number(struct parameters *to, const struct name *name, uint64_t number)
{
	if (number)
		add_count(to, name, number);
}

static void add_address(
	struct parameters *to, const struct name *name, const struct in6_addr *address)
{
	if (IN6_IS_ADDR_UNSPECIFIED(address))
		return;
	char *begin = begin_parameter(to, name);
	put_address(to->text, address);
	end_parameter(to, begin);
}

static bool has_mac(const struct log_party *party)
{
	static const uint8_t none[6];

	return memcmp(party->mac, none, sizeof(none)) != 0;
}

static void add_mac(struct parameters *to, const struct name *name, const struct log_party *party)
{
	if (!has_mac(party))
		return;
	char *begin = begin_parameter(to, name);
	put_mac(to->text, party->mac);
	end_parameter(to, begin);
}

static bool is_icmp(const struct log_record *record)
{
	return record->protocol == IPPROTO_ICMP || record->protocol == IPPROTO_ICMPV6;
}

static void add_event(struct parameters *to, const struct log_record *record)
{
	add_count(to, NAME("sequence"), record->sequence);
	add_string(to, NAME("kind"), log_kind_name(record->kind));
	if (record->kind != LOG_GAP)
		add_string(to, NAME("verdict"), log_verdict_name(record->verdict));
	add_string(to, NAME("reason"), record->reason);
}

static void add_addresses(struct parameters *to, const struct log_record *record)
{
	char protocol[LOG_PROTOCOL_MAX];

	add_address(to, NAME("source_address"), &record->source.address);
	add_number(to, NAME("source_transport_port"), record->source.transport_port);
	add_address(to, NAME("destination_address"), &record->destination.address);
	add_number(to, NAME("destination_transport_port"), record->destination.transport_port);
	if (record->protocol)
		add_string(to, NAME("protocol"), log_protocol_name(record->protocol, protocol));
}

static void add_decision(struct parameters *to, const struct log_record *record)
{
	add_string(to, NAME("policy"), record->policy);
	add_string(to, NAME("rule"), record->rule);
	add_number(to, NAME("policy_revision"), record->policy_revision);
	add_string(to, NAME("source_zone"), record->source.zone);
	add_string(to, NAME("destination_zone"), record->destination.zone);
	add_string(to, NAME("source_vm_name"), record->source.vm_name);
	add_string(to, NAME("destination_vm_name"), record->destination.vm_name);
	add_string(to, NAME("source_port"), record->source.port);
	add_string(to, NAME("destination_port"), record->destination.port);
	add_string(to, NAME("tier"), record->tier);
	add_string(to, NAME("label"), record->label);
}

static void add_counts(struct parameters *to, const struct log_record *record)
{
	add_count(to, NAME("packets_forward"), record->packets_forward);
	if (record->kind != LOG_GAP) {
		add_count(to, NAME("bytes_forward"), record->bytes_forward);
		add_count(to, NAME("packets_reverse"), record->packets_reverse);
		add_count(to, NAME("bytes_reverse"), record->bytes_reverse);
	}
	add_number(to, NAME("suppressed"), record->suppressed);
	add_number(to, NAME("time_ns"), record->time_ns);
	add_number(to, NAME("start_ns"), record->start_ns);
}

static void add_simulation(struct parameters *to, const struct log_record *record)
{
	if (record->simulated && record->kind != LOG_GAP)
		add_string(to, NAME("simulated_verdict"), log_verdict_name(record->simulated - 1U));
	add_string(to, NAME("simulated_policy"), record->simulated_policy);
	add_string(to, NAME("simulated_rule"), record->simulated_rule);
}

static void add_frame(struct parameters *to, const struct log_record *record)
{
	if (is_icmp(record)) {
		add_count(to, NAME("icmp_type"), record->icmp_type);
		add_count(to, NAME("icmp_code"), record->icmp_code);
	}
	add_number(to, NAME("tcp_flags"), record->tcp_flags);
	add_number(to, NAME("ethertype"), record->ethertype);
	add_number(to, NAME("vlan"), record->vlan);
	add_number(to, NAME("vni"), record->vni);
	add_mac(to, NAME("source_mac"), &record->source);
	add_mac(to, NAME("destination_mac"), &record->destination);
}

/* In the order of importance: what has no room is left out from the end, more or less. */
static void put_element(
	struct text *text, const struct syslog_form *form, const struct log_record *record)
{
	struct parameters parameters = {.text = text};

	PUT(text, "[cordon@");
	put_digits(text, form->enterprise);
	text->end -= DATA_END_BYTES;
	add_event(&parameters, record);
	add_addresses(&parameters, record);
	add_decision(&parameters, record);
	add_counts(&parameters, record);
	add_simulation(&parameters, record);
	add_frame(&parameters, record);
	add_string(&parameters, NAME("source_vm_id"), record->source.vm_id);
	add_string(&parameters, NAME("destination_vm_id"), record->destination.vm_id);
	add_string(&parameters, NAME("source_tags"), record->source.tags);
	add_string(&parameters, NAME("destination_tags"), record->destination.tags);
	text->end += DATA_END_BYTES;
	add_number(&parameters, NAME("left_out"), parameters.left_out);
	PUT(text, "]");
}

/* --- The sentence ---------------------------------------------------------------------------- */

static void say_endpoint(struct text *text, const struct log_party *party)
{
	bool is_ipv6 = !ip_is_v4(&party->address);

	if (IN6_IS_ADDR_UNSPECIFIED(&party->address)) {
		if (has_mac(party))
			put_mac(text, party->mac);
		else
			PUT(text, "unknown");
		return;
	}
	if (is_ipv6 && party->transport_port)
		PUT(text, "[");
	put_address(text, &party->address);
	if (is_ipv6 && party->transport_port)
		PUT(text, "]");
	if (party->transport_port) {
		PUT(text, ":");
		put_digits(text, party->transport_port);
	}
}

/* "web-1 10.0.1.5:40000 (zone web)" */
static void say_party(struct text *text, const struct log_party *party)
{
	const char *name = *party->vm_name ? party->vm_name : party->port;

	put_string(text, name, IN_SENTENCE);
	if (*name)
		PUT(text, " ");
	say_endpoint(text, party);
	if (*party->zone) {
		PUT(text, " (zone ");
		put_string(text, party->zone, IN_SENTENCE);
		PUT(text, ")");
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

static void say_rule(struct text *text, const char *policy, const char *rule)
{
	put_string(text, policy, IN_SENTENCE);
	if (*policy && *rule)
		PUT(text, "/");
	put_string(text, rule, IN_SENTENCE);
}

static void say_protocol(struct text *text, const struct log_record *record)
{
	char protocol[LOG_PROTOCOL_MAX];

	if (record->protocol) {
		put_word(text, log_protocol_name(record->protocol, protocol));
	} else {
		PUT(text, "ethertype ");
		put_digits(text, record->ethertype);
	}
	if (is_icmp(record)) {
		PUT(text, " type ");
		put_digits(text, record->icmp_type);
	}
}

static void say_decision(struct text *text, const struct log_record *record)
{
	if (*record->reason) {
		PUT(text, ": ");
		put_string(text, record->reason, IN_SENTENCE);
	}
	if (*record->rule) {
		put_word(text, record->kind == LOG_END ? "; allowed by rule "
			       : *record->reason       ? ", by rule "
						       : " by rule ");
		say_rule(text, record->policy, record->rule);
		PUT(text, " of revision ");
		put_digits(text, record->policy_revision);
	}
	if (record->kind == LOG_WOULD_DENY) {
		PUT(text, "; on trial, rule ");
		say_rule(text, record->simulated_policy, record->simulated_rule);
		PUT(text, " would refuse it");
	}
}

static void say_amount(struct text *text, uint64_t packets, uint64_t bytes)
{
	put_digits(text, packets);
	put_word(text, packets == 1 ? " packet (" : " packets (");
	put_digits(text, bytes);
	put_word(text, bytes == 1 ? " byte)" : " bytes)");
}

static void say_counts(struct text *text, const struct log_record *record)
{
	if (record->kind == LOG_UPDATE || record->kind == LOG_END) {
		PUT(text, "; ");
		say_amount(text, record->packets_forward, record->bytes_forward);
		PUT(text, " there, ");
		say_amount(text, record->packets_reverse, record->bytes_reverse);
		PUT(text, " back");
	}
	if (record->suppressed) {
		PUT(text, "; ");
		put_digits(text, record->suppressed);
		PUT(text, " more like it were held back");
	}
}

static void say(struct text *text, const struct log_record *record)
{
	if (record->kind == LOG_GAP) {
		put_digits(text, record->packets_forward);
		put_word(text, record->packets_forward == 1
				       ? " record before this one was lost: "
				       : " records before this one were lost: ");
		put_string(text, record->reason, IN_SENTENCE);
	} else {
		put_word(text, action_of(record));
		PUT(text, " ");
		say_protocol(text, record);
		PUT(text, " from ");
		say_party(text, &record->source);
		PUT(text, " to ");
		say_party(text, &record->destination);
		say_decision(text, record);
		say_counts(text, record);
	}
	PUT(text, ".");
}

/* UTF-8 begins with a mark, by which it can be told from whatever else a sender may use; plain
 * ASCII needs none (RFC 5424, 6.4).  There is room for it. */
static void put_sentence(struct text *text, const struct log_record *record)
{
	static const size_t mark = sizeof(BYTE_ORDER_MARK) - 1;
	char *begin;

	PUT(text, " ");
	begin = text->at;
	text->has_wide = false;
	text->end -= mark;
	say(text, record);
	text->end += mark;
	if (!text->has_wide)
		return;
	memmove(begin + mark, begin, (size_t)(text->at - begin));
	memcpy(begin, BYTE_ORDER_MARK, mark);
	text->at += mark;
}

/* --- The message ------------------------------------------------------------------------------ */

void syslog_form_init(struct syslog_form *form, const char *host, unsigned int facility,
	uint32_t enterprise, uint32_t process)
{
	size_t n = 0;

	*form = (struct syslog_form){
		.facility = facility, .enterprise = enterprise, .process = process};
	for (; n < SYSLOG_HOSTNAME_MAX && host[n]; n++)
		form->host[n] = host[n] > ' ' && host[n] < 0x7f ? host[n] : '?';
	if (n == 0)
		form->host[0] = '-';
}

static void put_header(
	struct text *text, const struct syslog_form *form, const struct log_record *record)
{
	PUT(text, "<");
	put_digits(text, form->facility * 8 + syslog_severity(record->kind));
	PUT(text, ">1 ");
	put_time(text, record->time_ns);
	PUT(text, " ");
	put_word(text, form->host);
	PUT(text, " cordon ");
	put_digits(text, form->process);
	PUT(text, " ");
	put_word(text, log_kind_name(record->kind));
	PUT(text, " ");
}

size_t syslog_message(const struct syslog_form *form, const struct log_record *record,
	uint32_t sequence_id, char *to, size_t size)
{
	struct text text = {.at = to, .end = to + size};

	put_header(&text, form, record);
	PUT(&text, "[meta sequenceId=\"");
	put_digits(&text, sequence_id);
	PUT(&text, "\"]");
	put_element(&text, form, record);
	put_sentence(&text, record);
	return (size_t)(text.at - to);
}
