/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The names of what is a number in a record.  Pure; any thread.
 */
#include "log/record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "zones/zone.h"

#define X(enumerator, text) [enumerator] = text,
static const char *const kind_names[LOG_N_KINDS] = {LOG_KINDS(X)};
#undef X

const char *log_kind_name(unsigned int kind)
{
	return kind < LOG_N_KINDS ? kind_names[kind] : "?";
}

int log_kind_parse(const char *name)
{
	for (int kind = 0; kind < LOG_N_KINDS; kind++)
		if (!strcmp(kind_names[kind], name))
			return kind;
	return -1;
}

#define X(protocol, name) [protocol] = name,
static const char *const protocol_names[UINT8_MAX + 1] = {LOG_PROTOCOLS(X)};
#undef X

const char *log_protocol_name(uint8_t protocol, char text[LOG_PROTOCOL_MAX])
{
	if (protocol_names[protocol])
		return protocol_names[protocol];
	snprintf(text, LOG_PROTOCOL_MAX, "%u", protocol);
	return text;
}

int log_protocol_parse(const char *text)
{
	char *end;
	unsigned long int number = strtoul(text, &end, 10);

	for (int protocol = 0; protocol <= UINT8_MAX; protocol++)
		if (protocol_names[protocol] && !strcmp(protocol_names[protocol], text))
			return protocol;
	return *text >= '0' && *text <= '9' && !*end && number <= UINT8_MAX ? (int)number : -1;
}

static const char *const verdict_names[] = {
	[ZONE_ALLOW] = "allowed",
	[ZONE_DENY] = "denied",
	[ZONE_REJECT] = "rejected",
};

enum { N_VERDICTS = sizeof(verdict_names) / sizeof(verdict_names[0]) };

const char *log_verdict_name(unsigned int verdict)
{
	return verdict < N_VERDICTS && verdict_names[verdict] ? verdict_names[verdict] : "?";
}

int log_verdict_parse(const char *name)
{
	for (int verdict = 0; verdict < N_VERDICTS; verdict++)
		if (verdict_names[verdict] && !strcmp(verdict_names[verdict], name))
			return verdict;
	return -1;
}

void log_record_gap(struct log_record *record, const char *host, const char *reason, uint64_t lost)
{
	static const struct log_party nobody = {
		.port = "", .vm_id = "", .vm_name = "", .zone = "", .tags = ""};

	*record = (struct log_record){
		.kind = LOG_GAP,
		.host = host,
		.reason = reason,
		.packets_forward = lost,
		.source = nobody,
		.destination = nobody,
		.tier = "",
		.policy = "",
		.rule = "",
		.label = "",
		.simulated_policy = "",
		.simulated_rule = "",
	};
}
