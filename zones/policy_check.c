/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finds what every name in a policy document stands for, and what contradicts itself.  Called by
 * zone_policy_create() after reading, on its caller's thread.
 */
#include "zones/policy_document.h"

#include <stdlib.h>
#include <string.h>

#include "zones/prefix_table.h"

struct policy_checker {
	struct policy_document *document;
	struct policy_errors *errors;
	uint32_t list; /* A number for each list, to tell words that it has twice. */
	uint32_t *zone_seen, *service_seen; /* The last list that named each; by index. */
	size_t n_service_seen, allocated_service_seen;
	uint32_t *ports; /* See port_place(); NULL: none has come yet. */
};

/* --- Prefixes ------------------------------------------------------------------------------- */

static void check_prefix(struct policy_checker *checker, struct prefix_table *table, size_t zone,
	const struct document_prefix *prefix)
{
	int other = prefix_table_insert(table, &prefix->prefix, (uint32_t)zone);
	const struct document_zone *zones = checker->document->zones;
	char text[IP_TEXT_MAX];

	if (other == PREFIX_NONE)
		return;
	ip_prefix_format(&prefix->prefix, text);
	if ((size_t)other == zone)
		policy_error_add(checker->errors, prefix->at, "the prefix %s is in zone '%s' twice",
			text, zones[zone].name.text);
	else
		policy_error_add(checker->errors, prefix->at,
			"the prefix %s is in zone '%s' already: no address can be in two zones",
			text, zones[other].name.text);
}

static void check_prefixes(struct policy_checker *checker)
{
	const struct policy_document *document = checker->document;
	struct prefix_table *table = prefix_table_create(document->n_prefixes);

	for (size_t i = 0; i < document->n_zones; i++) {
		const struct document_zone *zone = &document->zones[i];

		for (uint32_t j = 0; j < zone->n_prefixes; j++)
			check_prefix(checker, table, i, &zone->prefixes[j]);
	}
	prefix_table_destroy(table);
}

/* --- Names ---------------------------------------------------------------------------------- */

static void fail_zone(struct policy_checker *checker, const struct document_name *name)
{
	const struct policy_document *document = checker->document;
	char quoted[POLICY_QUOTE_MAX], hint[96];
	struct policy_guess guess;

	if (!strcmp(name->text, "quarantine")) {
		policy_error_add(checker->errors, name->at,
			"no rule can name 'quarantine': nothing passes to or from it");
		return;
	}
	policy_guess_begin(&guess, name->text);
	policy_guess_offer(&guess, "any");
	for (size_t i = 0; i < document->n_zones && policy_errors_have_room(checker->errors); i++)
		policy_guess_offer(&guess, document->zones[i].name.text);
	policy_error_add(checker->errors, name->at,
		"no zone is named %s: expected a key of 'zones', or any%s",
		policy_quote(name->text, quoted), policy_guess_text(&guess, hint));
}

static void check_twice(
	struct policy_checker *checker, const struct document_name *name, uint32_t *seen)
{
	char quoted[POLICY_QUOTE_MAX];

	if (*seen == checker->list)
		policy_error_add(checker->errors, name->at, "%s is in this list twice",
			policy_quote(name->text, quoted));
	*seen = checker->list;
}

static void check_zones(struct policy_checker *checker, struct document_names *names)
{
	checker->list++;
	if (names->any)
		return;
	for (uint32_t i = 0; i < names->n; i++) {
		struct document_name *name = &names->names[i];
		int zone = name_table_find(&checker->document->zone_names, 0, name->text);

		if (zone == NAME_NONE) {
			fail_zone(checker, name);
			continue;
		}
		name->index = (uint32_t)zone;
		check_twice(checker, name, &checker->zone_seen[zone]);
	}
}

static void fail_service(struct policy_checker *checker, const struct document_name *name)
{
	const struct policy_document *document = checker->document;
	char quoted[POLICY_QUOTE_MAX], hint[96];
	struct policy_guess guess;

	policy_guess_begin(&guess, name->text);
	policy_guess_offer(&guess, "any");
	for (size_t i = 0; i < document->n_services && policy_errors_have_room(checker->errors);
		i++)
		policy_guess_offer(&guess, document->services[i].name.text);
	policy_error_add(checker->errors, name->at,
		"no service is named %s: expected a key of 'services', any, or one written out "
		"such as tcp/443%s",
		policy_quote(name->text, quoted), policy_guess_text(&guess, hint));
}

/* Adds a service that a rule writes out, such as tcp/443, under that text.  Returns its index, or
 * NAME_NONE if it is none. */
static int add_literal(struct policy_checker *checker, const struct document_name *name)
{
	struct policy_document *document = checker->document;
	struct document_service service = {.name = *name, .n_ranges = 1};
	char problem[SERVICE_PROBLEM_MAX];

	service.ranges = arena_allocate(&document->arena, sizeof *service.ranges);
	if (!service_parse(name->text, service.ranges, problem)) {
		policy_error_add(checker->errors, name->at, "%s", problem);
		return NAME_NONE;
	}
	name_table_insert(&document->service_names, 0, name->text, (uint32_t)document->n_services);
	document->services = zone_grow(document->services, document->n_services,
		&document->allocated_services, sizeof *document->services);
	document->services[document->n_services] = service;
	return (int)document->n_services++;
}

/* Where it is kept in which list a service was named last. */
static uint32_t *service_seen(struct policy_checker *checker, size_t service)
{
	while (checker->n_service_seen <= service) {
		checker->service_seen = zone_grow(checker->service_seen, checker->n_service_seen,
			&checker->allocated_service_seen, sizeof *checker->service_seen);
		checker->service_seen[checker->n_service_seen++] = 0;
	}
	return &checker->service_seen[service];
}

/* Where the index of a service is kept, from 1, that is one port of TCP or UDP, written the
 * shortest way: most services that rules write out are, and a long policy names the same ones over
 * and over. NULL: it is another. */
static uint32_t *port_place(struct policy_checker *checker, const char *text)
{
	bool tcp = !strncmp(text, "tcp/", 4);
	uint32_t port = 0;

	if (!tcp && strncmp(text, "udp/", 4) != 0)
		return NULL;
	text += 4;
	if (!*text || (text[0] == '0' && text[1]))
		return NULL;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return NULL;
		port = port * 10 + (uint32_t)(*text - '0');
		if (port > 0xffff)
			return NULL;
	}
	if (!checker->ports)
		checker->ports = zone_allocate(2 << 16, sizeof *checker->ports);
	return &checker->ports[(tcp ? 0U : 1U << 16) + port];
}

/* What the name stands for; NAME_NONE, having complained, if it is none. */
static int find_service(struct policy_checker *checker, const struct document_name *name)
{
	uint32_t *place = port_place(checker, name->text);
	int service;

	if (place && *place)
		return (int)*place - 1;
	service = name_table_find(&checker->document->service_names, 0, name->text);
	if (service == NAME_NONE && service_is_literal(name->text))
		service = add_literal(checker, name);
	else if (service == NAME_NONE)
		fail_service(checker, name);
	if (place && service != NAME_NONE)
		*place = (uint32_t)service + 1;
	return service;
}

/* Returns false if one of them is none. */
static bool check_services(struct policy_checker *checker, struct document_names *names)
{
	bool all = true;

	checker->list++;
	if (names->any)
		return true;
	for (uint32_t i = 0; i < names->n; i++) {
		struct document_name *name = &names->names[i];
		int service = find_service(checker, name);

		if (service == NAME_NONE) {
			all = false;
			continue;
		}
		name->index = (uint32_t)service;
		check_twice(checker, name, service_seen(checker, (size_t)service));
	}
	return all;
}

static void check_tier(struct policy_checker *checker, struct document_policy *policy)
{
	const struct policy_document *document = checker->document;
	char quoted[POLICY_QUOTE_MAX], hint[96];
	struct policy_guess guess;
	int tier;

	if (!policy->tier.text) {
		policy->tier.index = (uint32_t)document->n_tiers - 1;
		return;
	}
	tier = name_table_find(&document->tier_names, 0, policy->tier.text);
	if (tier != NAME_NONE) {
		policy->tier.index = (uint32_t)tier;
		return;
	}
	policy_guess_begin(&guess, policy->tier.text);
	for (size_t i = 0; i < document->n_tiers; i++)
		policy_guess_offer(&guess, document->tiers[i].text);
	policy_error_add(checker->errors, policy->tier.at,
		"no tier is named %s: expected one of 'tiers'%s",
		policy_quote(policy->tier.text, quoted), policy_guess_text(&guess, hint));
}

/* --- Size ----------------------------------------------------------------------------------- */

static size_t count_ranges(const struct policy_document *document, const struct document_rule *rule)
{
	size_t n = 0;

	if (rule->services.any)
		return 1;
	for (uint32_t i = 0; i < rule->services.n; i++)
		n += document->services[rule->services.names[i].index].n_ranges;
	return n;
}

static bool policy_passes(
	const struct policy_document *document, const struct document_policy *policy)
{
	for (uint32_t i = 0; i < policy->n_rules; i++) {
		if (document->rules[policy->first_rule + i].action == ZONE_PASS)
			return true;
	}
	return false;
}

/* How often the compiled policy holds a rule of each tier: once, and once more for every earlier
 * tier from which a `pass` may go on to it; all that twice if some policies are simulated. */
static void count_copies(const struct policy_document *document, size_t copies[POLICY_TIERS_MAX])
{
	bool passes[POLICY_TIERS_MAX] = {false}, simulated = false;
	size_t n = 1;

	for (size_t i = 0; i < document->n_policies; i++) {
		const struct document_policy *policy = &document->policies[i];

		if (policy->mode != MODE_OFF && policy_passes(document, policy))
			passes[policy->tier.index] = true;
		simulated = simulated || policy->mode == MODE_SIMULATE;
	}
	for (size_t i = 0; i < document->n_tiers; i++) {
		copies[i] = simulated ? 2 * n : n;
		n += passes[i];
	}
}

/* What a rule with lists stands for.  Each factor is at most 4096, or 2^24 for services. */
static size_t count_combinations(
	const struct policy_document *document, const struct document_rule *rule)
{
	return (rule->from.any ? 1 : (size_t)rule->from.n) *
	       (rule->to.any ? 1 : (size_t)rule->to.n) * count_ranges(document, rule);
}

/* Finds the rule, if there is one, with which the policy grows too large. */
static void check_size(struct policy_checker *checker)
{
	const struct policy_document *document = checker->document;
	size_t copies[POLICY_TIERS_MAX], n = 0;

	count_copies(document, copies);
	for (size_t i = 0; i < document->n_policies; i++) {
		const struct document_policy *policy = &document->policies[i];

		for (uint32_t j = 0; policy->mode != MODE_OFF && j < policy->n_rules; j++) {
			const struct document_rule *rule = &document->rules[policy->first_rule + j];

			n += count_combinations(document, rule) * copies[policy->tier.index];
			if (n <= POLICY_COMBINATIONS_MAX)
				continue;
			policy_error_add(checker->errors, rule->id.at,
				"with rule '%s' the policy stands for more than %d combinations of "
				"zone, zone and service: use 'any', or fewer names in lists",
				rule->id.text, POLICY_COMBINATIONS_MAX);
			return;
		}
	}
}

/* A helper reads one protocol, so nothing else may come to it. */
static void check_helper(struct policy_checker *checker, const struct document_rule *rule)
{
	static const struct {
		const char *name, *ports;
		uint8_t protocol;
	} helpers[] = {[ZONE_HELPER_FTP] = {"ftp", "TCP ports, such as tcp/21", IPPROTO_TCP},
		[ZONE_HELPER_TFTP] = {"tftp", "UDP ports, such as udp/69", IPPROTO_UDP}};
	const struct document_service *services = checker->document->services;

	if (rule->services.any)
		policy_error_add(checker->errors, rule->helper_at,
			"the helper '%s' needs a service that is %s, not 'any'",
			helpers[rule->helper].name, helpers[rule->helper].ports);
	for (uint32_t i = 0; !rule->services.any && i < rule->services.n; i++) {
		const struct document_name *name = &rule->services.names[i];
		const struct document_service *service = &services[name->index];
		uint32_t j = 0;

		while (j < service->n_ranges &&
			service->ranges[j].first >> 16 == helpers[rule->helper].protocol &&
			service->ranges[j].last >> 16 == helpers[rule->helper].protocol)
			j++;
		if (j < service->n_ranges)
			policy_error_add(checker->errors, name->at,
				"the helper '%s' needs a service that is %s: '%s' is more or other "
				"than that",
				helpers[rule->helper].name, helpers[rule->helper].ports,
				name->text);
	}
}

static void check_policy(struct policy_checker *checker, struct document_policy *policy)
{
	check_tier(checker, policy);
	for (uint32_t i = 0; i < policy->n_rules; i++) {
		struct document_rule *rule = &checker->document->rules[policy->first_rule + i];

		check_zones(checker, &rule->from);
		check_zones(checker, &rule->to);
		if (check_services(checker, &rule->services) && rule->helper)
			check_helper(checker, rule);
	}
}

void policy_document_check(struct policy_document *document, struct policy_errors *errors)
{
	struct policy_checker checker = {.document = document, .errors = errors};

	checker.zone_seen = zone_allocate(document->n_zones, sizeof *checker.zone_seen);
	check_prefixes(&checker);
	for (size_t i = 0; i < document->n_policies; i++)
		check_policy(&checker, &document->policies[i]);
	if (!errors->n_total)
		check_size(&checker);
	free(checker.zone_seen);
	free(checker.service_seen);
	free(checker.ports);
}
