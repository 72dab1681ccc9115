/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records as RFC 5424 messages.  Called by sinks/syslog.c for every record, on the sink's thread;
 * so nothing is allocated, and names are copied whole with their punctuation.
 */
#include "sinks/syslog_message.h"

#include "sinks/syslog_sentence.h"
#include "sinks/syslog_text.h"

/* Kept for ` left_out="99"]`, a space and a byte order mark. */
enum { DATA_END_BYTES = 16 + SYSLOG_MARK_BYTES };

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

/* --- Structured data ------------------------------------------------------------------------- */

/* The parameters of the element under way. */
struct parameters {
	struct syslog_text *text;
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

	syslog_put(parameters->text, name->text, name->length);
	return begin;
}

/* Takes the parameter back if it has not fitted. */
static void end_parameter(struct parameters *parameters, char *begin)
{
	struct syslog_text *text = parameters->text;

	SYSLOG_PUT(text, "\"");
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
	syslog_put_string(to->text, string, SYSLOG_IN_VALUE);
	end_parameter(to, begin);
}

static void add_count(struct parameters *to, const struct name *name, uint64_t number)
{
	char *begin = begin_parameter(to, name);

	syslog_put_number(to->text, number);
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
	syslog_put_address(to->text, address);
	end_parameter(to, begin);
}

static void add_mac(struct parameters *to, const struct name *name, const struct log_party *party)
{
	if (!syslog_has_mac(party))
		return;
	char *begin = begin_parameter(to, name);
	syslog_put_mac(to->text, party->mac);
	end_parameter(to, begin);
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
	if (syslog_is_icmp(record)) {
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
	struct syslog_text *text, const struct syslog_form *form, const struct log_record *record)
{
	struct parameters parameters = {.text = text};

	SYSLOG_PUT(text, "[cordon@");
	syslog_put_number(text, form->enterprise);
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
	SYSLOG_PUT(text, "]");
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
	struct syslog_text *text, const struct syslog_form *form, const struct log_record *record)
{
	SYSLOG_PUT(text, "<");
	syslog_put_number(text, form->facility * 8 + syslog_severity(record->kind));
	SYSLOG_PUT(text, ">1 ");
	syslog_put_time(text, record->time_ns);
	SYSLOG_PUT(text, " ");
	syslog_put_word(text, form->host);
	SYSLOG_PUT(text, " cordon ");
	syslog_put_number(text, form->process);
	SYSLOG_PUT(text, " ");
	syslog_put_word(text, log_kind_name(record->kind));
	SYSLOG_PUT(text, " ");
}

size_t syslog_message(const struct syslog_form *form, const struct log_record *record,
	uint32_t sequence_id, char *to, size_t size)
{
	struct syslog_text text = {.at = to, .end = to + size};

	put_header(&text, form, record);
	SYSLOG_PUT(&text, "[meta sequenceId=\"");
	syslog_put_number(&text, sequence_id);
	SYSLOG_PUT(&text, "\"]");
	put_element(&text, form, record);
	SYSLOG_PUT(&text, " ");
	syslog_sentence(&text, record);
	return (size_t)(text.at - to);
}
