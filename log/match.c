/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Conditions on records in memory.  Read by the command line and the switch, to check them, and by
 * each sink, whose thread asks them of every record.
 */
#include "log/match.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "zones/address.h"

enum { WORDS_MAX = 16, VALUES_MAX = 32 };

struct value {
	const char *text; /* Of the match's own copy. */
	int number;
	struct ip_prefix prefix;
};

struct field;

struct word {
	const struct field *field;
	bool negated;
	unsigned int n;
	struct value values[VALUES_MAX];
};

struct log_match {
	unsigned int n;
	struct word words[WORDS_MAX];
	char text[]; /* The words, cut into values. */
};

/* What a word may be about. */
struct field {
	const char *name;
	const char *expected;
	bool (*read)(struct value *value);
	bool (*holds)(const struct value *value, const struct log_record *record);
};

/* --- What each word asks -------------------------------------------------------------------- */

static bool read_text(struct value *value)
{
	return value->text[0] != '\0';
}

static bool read_kind(struct value *value)
{
	return (value->number = log_kind_parse(value->text)) >= 0;
}

static bool read_verdict(struct value *value)
{
	return (value->number = log_verdict_parse(value->text)) >= 0;
}

static bool read_protocol(struct value *value)
{
	return (value->number = log_protocol_parse(value->text)) >= 0;
}

static bool read_transport_port(struct value *value)
{
	char *end;
	unsigned long int number = strtoul(value->text, &end, 10);

	value->number = (int)number;
	return value->text[0] >= '0' && value->text[0] <= '9' && *end == '\0' && number != 0 &&
	       number <= UINT16_MAX;
}

static bool read_address(struct value *value)
{
	return ip_prefix_parse(value->text, &value->prefix);
}

static bool has_kind(const struct value *value, const struct log_record *record)
{
	return record->kind == value->number;
}

static bool has_verdict(const struct value *value, const struct log_record *record)
{
	return record->verdict == value->number;
}

static bool has_simulated(const struct value *value, const struct log_record *record)
{
	return record->simulated == value->number + 1;
}

static bool has_protocol(const struct value *value, const struct log_record *record)
{
	return record->protocol == value->number;
}

static bool has_transport_port(const struct value *value, const struct log_record *record)
{
	return record->source.transport_port == value->number ||
	       record->destination.transport_port == value->number;
}

static bool has_address(const struct value *value, const struct log_record *record)
{
	return ip_prefix_contains(&value->prefix, &record->source.address) ||
	       ip_prefix_contains(&value->prefix, &record->destination.address);
}

static bool either(const struct value *value, const char *one, const char *other)
{
	return strcmp(value->text, one) == 0 || strcmp(value->text, other) == 0;
}

static bool has_zone(const struct value *value, const struct log_record *record)
{
	return either(value, record->source.zone, record->destination.zone);
}

static bool has_vm(const struct value *value, const struct log_record *record)
{
	return either(value, record->source.vm_name, record->destination.vm_name) ||
	       either(value, record->source.vm_id, record->destination.vm_id);
}

static bool has_port(const struct value *value, const struct log_record *record)
{
	return either(value, record->source.port, record->destination.port);
}

static bool has_reason(const struct value *value, const struct log_record *record)
{
	return strcmp(value->text, record->reason) == 0;
}

static bool has_label(const struct value *value, const struct log_record *record)
{
	return strcmp(value->text, record->label) == 0;
}

static bool is_rule(const char *text, const char *policy, const char *rule)
{
	size_t length = strlen(policy);

	return strcmp(text, rule) == 0 ||
	       (strncmp(text, policy, length) == 0 && text[length] == '/' &&
		       strcmp(text + length + 1, rule) == 0);
}

/* "RULE" or "POLICY/RULE", which decided or, simulated, would have. */
static bool has_rule(const struct value *value, const struct log_record *record)
{
	return is_rule(value->text, record->policy, record->rule) ||
	       is_rule(value->text, record->simulated_policy, record->simulated_rule);
}

static const struct field fields[] = {
	{"kind", "start, update, end, denied, would-deny, spoofed, limit or gap", read_kind,
		has_kind},
	{"verdict", "allowed, denied or rejected", read_verdict, has_verdict},
	{"simulated", "allowed, denied or rejected", read_verdict, has_simulated},
	{"zone", "the name of a zone", read_text, has_zone},
	{"vm", "the name or id of a VM", read_text, has_vm},
	{"port", "the name of a port of the switch", read_text, has_port},
	{"address", "an address or a prefix", read_address, has_address},
	{"protocol", "tcp, udp, icmp, icmpv6, sctp or a number up to 255", read_protocol,
		has_protocol},
	{"transport-port", "a number from 1 to 65535", read_transport_port, has_transport_port},
	{"rule", "RULE or POLICY/RULE", read_text, has_rule},
	{"label", "the label of a rule", read_text, has_label},
	{"reason", "the reason of an end or a refusal", read_text, has_reason},
};

/* --- Reading the words ------------------------------------------------------------------------ */

static const struct field *find_field(const char *name)
{
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		if (strcmp(fields[i].name, name) == 0)
			return &fields[i];
	return NULL;
}

/* Cuts "a,b,c" into its values. */
static bool read_values(struct word *word, char *text, char *error, size_t error_size)
{
	for (char *rest = text, *at; (at = strsep(&rest, ","));) {
		struct value *value = &word->values[word->n];

		if (word->n == VALUES_MAX) {
			snprintf(error, error_size, "%s: at most %d values", word->field->name,
				VALUES_MAX);
			return false;
		}
		value->text = at;
		if (!word->field->read(value)) {
			snprintf(error, error_size, "%s '%s': must be %s", word->field->name, at,
				word->field->expected);
			return false;
		}
		word->n++;
	}
	return true;
}

static bool read_word(struct word *word, char *text, char *error, size_t error_size)
{
	char *equals = strchr(text, '=');

	if (!equals) {
		snprintf(error, error_size,
			"'%s': conditions look like zone=db or verdict!=allowed", text);
		return false;
	}
	word->negated = equals != text && equals[-1] == '!';
	equals[word->negated ? -1 : 0] = '\0';
	word->field = find_field(text);
	if (!word->field) {
		snprintf(error, error_size,
			"'%s': records are chosen by kind, verdict, simulated, zone, vm, port, "
			"address, protocol, transport-port, rule, label and reason",
			text);
		return false;
	}
	return read_values(word, equals + 1, error, error_size);
}

struct log_match *log_match_parse(const char *words, char *error, size_t error_size)
{
	size_t length = strlen(words);
	struct log_match *match = calloc(1, sizeof(*match) + length + 1);
	char *rest, *at;

	if (!match) {
		snprintf(error, error_size, "no memory");
		return NULL;
	}
	rest = memcpy(match->text, words, length + 1);
	while ((at = strsep(&rest, " \t"))) {
		if (*at == '\0')
			continue;
		if (match->n == WORDS_MAX) {
			snprintf(error, error_size, "at most %d conditions", WORDS_MAX);
			break;
		}
		if (!read_word(&match->words[match->n], at, error, error_size))
			break;
		match->n++;
	}
	if (!at)
		return match;
	free(match);
	return NULL;
}

static bool word_holds(const struct word *word, const struct log_record *record)
{
	for (unsigned int i = 0; i < word->n; i++)
		if (word->field->holds(&word->values[i], record))
			return !word->negated;
	return word->negated;
}

bool log_match_holds(const struct log_match *match, const struct log_record *record)
{
	if (record->kind == LOG_GAP)
		return true;
	for (unsigned int i = 0; i < match->n; i++)
		if (!word_holds(&match->words[i], record))
			return false;
	return true;
}

void log_match_free(struct log_match *match)
{
	free(match);
}
