/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A suggestion as a policy document with comments, and as JSON.  Called by suggest.c, on the one
 * thread.
 *
 * Comments name VMs, whose names may hold anything: what YAML takes for the end of a line, or for
 * no text at all, must not get there.
 */
#include "cli/suggest.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "openvswitch/dynamic-string.h"
#include "util.h"
#include "zones/utf8.h"

enum { LEFT_OUT_SHOWN = 40, COMMENT_MAX = 400 };

/* --- Texts ---------------------------------------------------------------------------------- */

/* Characters that are a part of a line to everybody. */
static bool is_plain(uint32_t character)
{
	return (character >= 0x20 && character < 0x7f) ||
	       (character >= 0xa0 && character < 0xd800 && character != 0x2028 &&
		       character != 0x2029 && !(character >= 0x200b && character <= 0x200f) &&
		       !(character >= 0x202a && character <= 0x202e) &&
		       !(character >= 0x2066 && character <= 0x2069));
}

static void put_comment(FILE *out, const char *text)
{
	size_t length = MIN(strlen(text), (size_t)COMMENT_MAX), n;
	uint32_t character;

	for (size_t i = 0; i < length; i += n ? n : 1) {
		n = utf8_decode(text + i, strlen(text + i), &character);
		if (n && is_plain(character))
			fwrite(text + i, 1, n, out);
		else
			fputc('?', out);
	}
}

/* As YAML's "double quoted". */
static void put_quoted(FILE *out, const char *text)
{
	fputc('"', out);
	for (; *text; text++) {
		if ((unsigned char)*text < ' ') {
			fprintf(out, "\\x%02x", (unsigned char)*text);
			continue;
		}
		if (*text == '"' || *text == '\\')
			fputc('\\', out);
		fputc(*text, out);
	}
	fputc('"', out);
}

/* What others take for a number, or for no text at all, is a name to us: "1.0", "null". */
static bool looks_like_no_text(const char *name)
{
	static const char *const words[] = {
		"y", "yes", "n", "no", "on", "off", "true", "false", "null"};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (!strcasecmp(name, words[i]))
			return true;
	}
	return !isalpha((unsigned char)*name) && *name != '_';
}

static void put_name(FILE *out, const char *name)
{
	fprintf(out, looks_like_no_text(name) ? "\"%s\"" : "%s", name);
}

/* One word, or a list of them. */
static void put_words(FILE *out, const struct svec *words)
{
	const char *word;
	size_t i;

	if (words->n != 1)
		fputc('[', out);
	SVEC_FOR_EACH (i, word, words) {
		fputs(i ? ", " : "", out);
		put_name(out, word);
	}
	if (words->n != 1)
		fputc(']', out);
}

static void put_time(FILE *out, uint64_t time_ns)
{
	char text[CLI_TEXT_MAX];

	cli_format_time(time_ns, text);
	fprintf(out, "%.16s", text);
}

/* "41 connections, 3 refused attempts". */
static void put_counts(FILE *out, const struct suggest_counts *counts)
{
	char allowed[CLI_TEXT_MAX], denied[CLI_TEXT_MAX];

	if (counts->allowed || !counts->denied)
		fprintf(out, "%s connection%s", cli_format_count(counts->allowed, allowed),
			counts->allowed == 1 ? "" : "s");
	if (counts->denied)
		fprintf(out, "%s%s refused attempt%s", counts->allowed ? ", " : "",
			cli_format_count(counts->denied, denied), counts->denied == 1 ? "" : "s");
}

/* --- The rest of the document --------------------------------------------------------------- */

static void put_limits(FILE *out, const struct zone_limits *limits)
{
	const struct {
		const char *key;
		uint32_t value;
	} rows[] = {
		{"connections", limits->connections},
		{"new_per_second", limits->new_per_second},
		{"half_open", limits->half_open},
	};
	const char *separator = "";

	if (!zone_limits_any(limits))
		return;
	fputs(", limits: {", out);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		if (!rows[i].value)
			continue;
		fprintf(out, "%s%s: %u", separator, rows[i].key, rows[i].value);
		separator = ", ";
	}
	fputc('}', out);
}

static void put_zone(FILE *out, const struct document_zone *zone)
{
	fputs("  ", out);
	put_name(out, zone->name.text);
	fputs(": {", out);
	if (zone->match) {
		fputs("match: ", out);
		put_quoted(out, zone->match);
	}
	if (zone->n_prefixes)
		fprintf(out, "%scidrs: [", zone->match ? ", " : "");
	for (uint32_t i = 0; i < zone->n_prefixes; i++) {
		char text[IP_TEXT_MAX];

		fprintf(out, "%s\"%s\"", i ? ", " : "",
			ip_prefix_format(&zone->prefixes[i].prefix, text));
	}
	if (zone->n_prefixes)
		fputc(']', out);
	if (zone->intra != INTRA_AS_BASELINE)
		fprintf(out, ", intra: %s", zone->intra == INTRA_ALLOW ? "allow" : "deny");
	if (zone->pickup)
		fputs(", pickup: true", out);
	put_limits(out, &zone->limits);
	fputs("}\n", out);
}

static void put_zones(const struct suggestion *suggestion, FILE *out)
{
	const struct policy_document *document = &suggestion->reference->document;
	const char *address;
	size_t i;

	fputs("zones:\n", out);
	for (size_t z = 0; z < document->n_zones; z++)
		put_zone(out, &document->zones[z]);
	if (!suggestion->outside.n)
		return;
	fprintf(out,
		"  # In no zone until now.  Give them a name that says who they are.\n"
		"  %s: {cidrs: [",
		suggestion->outside_zone);
	SVEC_FOR_EACH (i, address, &suggestion->outside)
		fprintf(out, "%s\"%s\"", i ? ", " : "", address);
	fputs("]}\n", out);
}

static bool is_used(const struct suggestion *suggestion, const char *service)
{
	for (size_t i = 0; i < suggestion->n_rules; i++) {
		if (svec_contains_unsorted(&suggestion->rules[i].services, service))
			return true;
	}
	return false;
}

static void put_services(const struct suggestion *suggestion, FILE *out)
{
	const struct policy_document *document = &suggestion->reference->document;
	bool any = false;

	for (size_t i = 0; i < document->n_services; i++) {
		const struct document_service *service = &document->services[i];

		if (!is_used(suggestion, service->name.text) ||
			service_is_literal(service->name.text))
			continue;
		fputs(any ? "  " : "\nservices:\n  ", out);
		put_name(out, service->name.text);
		fputs(": [", out);
		any = true;
		for (uint32_t r = 0; r < service->n_ranges; r++) {
			char text[SERVICE_TEXT_MAX];

			fprintf(out, "%s%s", r ? ", " : "",
				service_format(&service->ranges[r], text));
		}
		fputs("]\n", out);
	}
}

static void put_tiers_of(const struct policy_document *document, FILE *out)
{
	fputs("\ntiers: [", out);
	for (size_t i = 0; i < document->n_tiers; i++) {
		fputs(i ? ", " : "", out);
		put_name(out, document->tiers[i].text);
	}
	fputs("]\n\npolicies:\n", out);
}

static void put_baseline(const struct policy_document *document, FILE *out)
{
	static const char *const actions[] = {
		[ZONE_ALLOW] = "allow", [ZONE_DENY] = "deny", [ZONE_REJECT] = "reject"};
	static const char *const levels[] = {[ZONE_LOG_NONE] = "none",
		[ZONE_LOG_DENIED] = "denied",
		[ZONE_LOG_SESSION] = "session",
		[ZONE_LOG_ALL] = "all"};

	fprintf(out, "\nbaseline: {between_zones: %s, within_zone: %s, log: %s}\n",
		actions[document->between_zones], actions[document->within_zone],
		levels[document->baseline_log]);
}

/* --- The policy ----------------------------------------------------------------------------- */

static void put_rule(FILE *out, const struct suggest_rule *rule)
{
	char count[CLI_TEXT_MAX];

	fputs("      # ", out);
	put_counts(out, &rule->counts);
	fputs("; ", out);
	put_time(out, rule->counts.first_ns);
	fputs(" to ", out);
	put_time(out, rule->counts.last_ns);
	fputs(".\n      # ", out);
	put_comment(out, rule->example);
	if (rule->n_pairs > 1)
		fprintf(out, ", and %s more", cli_format_count(rule->n_pairs - 1, count));
	fputc('\n', out);
	if (rule->n_high)
		fprintf(out, "      # %s high ports were seen; the range takes in those between.\n",
			cli_format_count(rule->n_high, count));
	fputs("      - {id: ", out);
	put_name(out, rule->id);
	fputs(", from: ", out);
	put_words(out, &rule->from);
	fputs(", to: ", out);
	put_words(out, &rule->to);
	fputs(", service: ", out);
	put_words(out, &rule->services);
	fputs(", action: allow, log: session}\n", out);
}

static void put_left_out(const struct suggestion *suggestion, FILE *out)
{
	const struct shash_node **nodes = shash_sort(&suggestion->left_out);
	size_t n = shash_count(&suggestion->left_out);

	if (n)
		fputs("    # Left out:\n", out);
	for (size_t i = 0; i < n && i < LEFT_OUT_SHOWN; i++) {
		const struct suggest_counts *counts = nodes[i]->data;

		fputs("    #   ", out);
		put_comment(out, nodes[i]->name);
		fputs(" (", out);
		put_counts(out, counts);
		fputs("; last ", out);
		put_time(out, counts->last_ns);
		fputs(")\n", out);
	}
	if (n > LEFT_OUT_SHOWN)
		fprintf(out, "    #   and %zu more; --json has all\n", n - LEFT_OUT_SHOWN);
	free(nodes);
}

static char *policy_name(const struct suggestion *suggestion)
{
	return xasprintf("suggested-%.*s", POLICY_NAME_MAX - 10, suggestion->zone);
}

static void put_policy(const struct suggestion *suggestion, FILE *out)
{
	const struct policy_document *document = &suggestion->reference->document;
	char *name = policy_name(suggestion);

	fprintf(out, "  - id: %s\n", name);
	if (document->n_tiers) {
		fputs("    tier: ", out);
		put_name(out, document->tiers[document->n_tiers - 1].text);
		fputc('\n', out);
	}
	put_left_out(suggestion, out);
	fputs(suggestion->n_rules ? "    rules:\n" : "    rules: []\n", out);
	for (size_t i = 0; i < suggestion->n_rules; i++)
		put_rule(out, &suggestion->rules[i]);
	free(name);
}

static void put_head(const struct suggestion *suggestion, FILE *out)
{
	fprintf(out, "# What zone %s was seen to do: ", suggestion->zone);
	put_counts(out, &suggestion->seen);
	fputs(", ", out);
	put_time(out, suggestion->seen.first_ns);
	fputs(" to ", out);
	put_time(out, suggestion->seen.last_ns);
	fputs(".\n# That something was tried does not mean that it should be allowed: read it, and "
	      "name the rules.\n",
		out);
}

void suggest_print(const struct suggestion *suggestion, FILE *out, bool rules_only)
{
	const struct policy_document *document = &suggestion->reference->document;

	put_head(suggestion, out);
	if (rules_only) {
		put_policy(suggestion, out);
		return;
	}
	fputs("# A document of its own, to be checked and planned as it is.  What stands below "
	      "`policies`\n# belongs into your policy.\n",
		out);
	put_zones(suggestion, out);
	put_services(suggestion, out);
	put_tiers_of(document, out);
	put_policy(suggestion, out);
	put_baseline(document, out);
}

/* --- JSON ----------------------------------------------------------------------------------- */

static struct json *words_json(const struct svec *words)
{
	struct json *list = json_array_create_empty();
	const char *word;
	size_t i;

	SVEC_FOR_EACH (i, word, words)
		json_array_add(list, json_string_create(word));
	return list;
}

static void put_counts_json(struct json *object, const struct suggest_counts *counts)
{
	cli_log_put_number(object, "connections", counts->allowed);
	cli_log_put_number(object, "refused", counts->denied);
	cli_log_put_number(object, "first_ns", counts->first_ns);
	cli_log_put_time(object, "first", counts->first_ns);
	cli_log_put_number(object, "last_ns", counts->last_ns);
	cli_log_put_time(object, "last", counts->last_ns);
}

static struct json *rule_json(const struct suggest_rule *rule)
{
	struct json *object = json_object_create();

	json_object_put_string(object, "id", rule->id);
	json_object_put(object, "from", words_json(&rule->from));
	json_object_put(object, "to", words_json(&rule->to));
	json_object_put(object, "services", words_json(&rule->services));
	json_object_put(
		object, "example", json_string_create_nocopy(cli_log_clean_text(rule->example)));
	cli_log_put_number(object, "pairs", rule->n_pairs);
	cli_log_put_number(object, "high_ports", rule->n_high);
	put_counts_json(object, &rule->counts);
	return object;
}

struct json *suggest_json(const struct suggestion *suggestion)
{
	struct json *answer = json_object_create(), *rules = json_array_create_empty();
	struct json *left_out = json_array_create_empty();
	const struct shash_node **nodes = shash_sort(&suggestion->left_out);
	char *document = NULL;
	size_t length;
	FILE *text = open_memstream(&document, &length);

	for (size_t i = 0; i < suggestion->n_rules; i++)
		json_array_add(rules, rule_json(&suggestion->rules[i]));
	for (size_t i = 0; i < shash_count(&suggestion->left_out); i++) {
		struct json *row = json_object_create();

		json_object_put(
			row, "why", json_string_create_nocopy(cli_log_clean_text(nodes[i]->name)));
		put_counts_json(row, nodes[i]->data);
		json_array_add(left_out, row);
	}
	free(nodes);
	json_object_put_string(answer, "zone", suggestion->zone);
	json_object_put(answer, "rules", rules);
	json_object_put(answer, "left_out", left_out);
	if (text) {
		suggest_print(suggestion, text, false);
		fclose(text);
		json_object_put(answer, "document", json_string_create(document));
		free(document);
	}
	return answer;
}
