/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a change of policy does to traffic, as JSON: the switch's answer about live connections and
 * the command line's about the stored ones have one form.  Called by both, on their threads.
 */
#include "zones/policy_impact.h"

/* A text between quotation marks (RFC 8259, 7): names of VMs may hold anything. */
static void put_text(FILE *stream, const char *name, const char *text)
{
	fprintf(stream, "\"%s\": \"", name);
	for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
		if (*c == '"' || *c == '\\')
			fprintf(stream, "\\%c", *c);
		else if (*c < ' ' || *c == 0x7f)
			fprintf(stream, "\\u%04x", *c);
		else
			fputc(*c, stream);
	}
	fputc('"', stream);
}

static void put_number(FILE *stream, const char *name, uint64_t number)
{
	/* What JSON's readers take for an integer. */
	fprintf(stream, "\"%s\": %llu", name,
		(unsigned long long int)(number < INT64_MAX ? number : INT64_MAX));
}

static void put_end(FILE *stream, const char *end, const char *name, const struct in6_addr *address)
{
	char text[IP_TEXT_MAX] = "", key[32];

	if (!IN6_IS_ADDR_UNSPECIFIED(address))
		ip_format(address, text);
	snprintf(key, sizeof key, "%s_name", end);
	put_text(stream, key, name);
	fputs(", ", stream);
	put_text(stream, end, text);
	fputs(", ", stream);
}

static void put_examples(FILE *stream, const struct impact_row *row, size_t max)
{
	fputs("\"examples\": [", stream);
	for (size_t i = 0; i < row->n_examples && i < max; i++) {
		const struct impact_example *example = &row->examples[i];

		fputs(i ? ", {" : "{", stream);
		put_end(stream, "source", example->source_name, &example->source);
		put_end(stream, "destination", example->destination_name, &example->destination);
		put_number(stream, "connections", example->connections);
		fputs(", ", stream);
		put_number(stream, "last_ns", example->last_ns);
		fputs("}", stream);
	}
	fputs("]", stream);
}

static const char *action_name(unsigned int action)
{
	return action == ZONE_ALLOW ? "allow" : action == ZONE_REJECT ? "reject" : "deny";
}

static void put_row(FILE *stream, const struct impact_row *row, const struct zone_policy *before,
	const struct zone_policy *after, size_t max_examples)
{
	struct impact_row_names names;

	impact_row_names(row, before, after, &names);
	const struct {
		const char *name, *text;
	} texts[] = {{"kind", impact_kind_name(row->kind)}, {"service", names.service},
		{"source_zone", names.source_zone}, {"destination_zone", names.destination_zone},
		{"rule_before", names.rule_before}, {"rule_after", names.rule_after},
		{"action_before", action_name(row->action_before)},
		{"action_after", action_name(row->action_after)}};

	fputs("{", stream);
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		put_text(stream, texts[i].name, texts[i].text);
		fputs(", ", stream);
	}
	put_number(stream, "connections", row->connections);
	fputs(", ", stream);
	put_number(stream, "last_ns", row->last_ns);
	fputs(", ", stream);
	put_examples(stream, row, max_examples);
	fputs("}", stream);
}

void policy_impact_write(struct policy_impact *impact, const struct zone_policy *before,
	const struct zone_policy *after, size_t max_rows, size_t max_examples, FILE *stream)
{
	size_t of_kind[IMPACT_N_KINDS] = {0}, written = 0;

	policy_impact_sort(impact);
	fputs("{", stream);
	put_number(stream, "judged", impact->judged);
	for (unsigned int kind = 0; kind < IMPACT_N_KINDS; kind++) {
		fputs(", ", stream);
		put_number(stream, impact_kind_name(kind), impact->changed[kind]);
	}
	fputs(", \"rows\": [", stream);
	for (size_t i = 0; i < impact->n; i++) {
		if (of_kind[impact->rows[i]->kind]++ >= max_rows)
			continue;
		fputs(written++ ? ", " : "", stream);
		put_row(stream, impact->rows[i], before, after, max_examples);
	}
	fputs("], ", stream);
	put_number(stream, "rows_left_out", impact->n - written);
	fputs("}", stream);
}
