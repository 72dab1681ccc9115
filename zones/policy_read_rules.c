/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reader of policy documents: policies and their rules.  Called by policy_read.c.
 */
#include "zones/policy_reader.h"

#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

void policy_read_log(struct policy_reader *reader, uint8_t *log)
{
	static const struct policy_choice choices[] = {{"none", ZONE_LOG_NONE},
		{"denied", ZONE_LOG_DENIED}, {"session", ZONE_LOG_SESSION}, {"all", ZONE_LOG_ALL}};

	policy_read_choice(reader, "log level", choices, COUNT(choices), log);
}

/* --- Rules ---------------------------------------------------------------------------------- */

/* A rule while it is read. */
struct rule_in_progress {
	struct document_rule rule;
	uint32_t policy;   /* Its policy's index. */
	uint32_t prepared; /* Of its name. */
	/* Line 0: not given. */
	struct policy_mark log_at, limits_at;
};

static void read_rule_id(struct policy_reader *reader, void *rule_)
{
	struct rule_in_progress *progress = rule_;
	struct policy_document *document = reader->document;
	struct document_name id;

	if (!policy_read_name(reader, "a rule", &id))
		return;
	progress->rule.id = id;
	progress->prepared = name_table_prepare(&document->rule_names, progress->policy, id.text);
}

/* Enters the rule's name, now that the memory for that has come. */
static void enter_rule_id(struct policy_reader *reader, const struct rule_in_progress *progress)
{
	struct policy_document *document = reader->document;
	const struct document_name *id = &progress->rule.id;
	int other;

	if (!id->text)
		return;
	other = name_table_insert_prepared(&document->rule_names, progress->policy, id->text,
		progress->prepared, (uint32_t)document->n_rules);
	if (other != NAME_NONE)
		policy_error_add(reader->errors, id->at,
			"rule '%s' is in this policy twice; first on line %u", id->text,
			document->rules[other].id.at.line);
}

/* Reads one name or a list; `any` must stand alone. */
static void read_names(struct policy_reader *reader, const char *what, struct document_names *names)
{
	*names = policy_read_words(reader, what, POLICY_LIST_MAX);
	for (uint32_t i = 0; i < names->n; i++) {
		if (strcmp(names->names[i].text, "any"))
			continue;
		names->any = true;
		if (names->n > 1)
			policy_error_add(reader->errors, names->names[i].at,
				"'any' takes in all: write it alone, or take it out of the list");
	}
}

static void read_from(struct policy_reader *reader, void *rule_)
{
	read_names(reader, "a zone or a list of zones",
		&((struct rule_in_progress *)rule_)->rule.from);
}

static void read_to(struct policy_reader *reader, void *rule_)
{
	read_names(
		reader, "a zone or a list of zones", &((struct rule_in_progress *)rule_)->rule.to);
}

static void read_rule_service(struct policy_reader *reader, void *rule_)
{
	read_names(reader, "a service or a list of services",
		&((struct rule_in_progress *)rule_)->rule.services);
}

static void read_action(struct policy_reader *reader, void *rule_)
{
	static const struct policy_choice choices[] = {{"allow", ZONE_ALLOW}, {"deny", ZONE_DENY},
		{"reject", ZONE_REJECT}, {"pass", ZONE_PASS}};
	struct rule_in_progress *progress = rule_;

	policy_read_choice(reader, "action", choices, COUNT(choices), &progress->rule.action);
}

static void read_rule_log(struct policy_reader *reader, void *rule_)
{
	struct rule_in_progress *progress = rule_;

	progress->log_at = policy_here(reader);
	policy_read_log(reader, &progress->rule.log);
}

static void read_label(struct policy_reader *reader, void *rule_)
{
	struct rule_in_progress *progress = rule_;
	char quoted[POLICY_QUOTE_MAX];
	struct policy_mark at;
	const char *text = policy_read_text(reader, "a label such as CHG-4711", &at);
	bool control = false;

	if (!text)
		return;
	for (const char *c = text; *c; c++)
		control = control || (unsigned char)*c < ' ' || *c == 0x7f;
	if (control || !*text || strlen(text) > POLICY_LABEL_MAX)
		policy_error_add(reader->errors, at,
			"%s cannot be a label: expected one line of at most %d bytes",
			policy_quote(text, quoted), POLICY_LABEL_MAX);
	progress->rule.label = text;
}

static void read_rule_expires(struct policy_reader *reader, void *rule_)
{
	policy_read_expires(reader, &((struct rule_in_progress *)rule_)->rule.expires);
}

static void read_rule_schedule(struct policy_reader *reader, void *rule_)
{
	policy_read_schedule(reader, &((struct rule_in_progress *)rule_)->rule.schedule);
}

static void read_rule_limits(struct policy_reader *reader, void *rule_)
{
	struct rule_in_progress *progress = rule_;

	progress->limits_at = policy_here(reader);
	policy_read_limits(reader, &progress->rule.limits);
}

static void read_helper(struct policy_reader *reader, void *rule_)
{
	static const struct policy_choice choices[] = {
		{"ftp", ZONE_HELPER_FTP}, {"tftp", ZONE_HELPER_TFTP}};
	struct rule_in_progress *progress = rule_;

	progress->rule.helper_at = policy_here(reader);
	policy_read_choice(reader, "helper", choices, COUNT(choices), &progress->rule.helper);
}

/* What only some actions go with. */
static void check_action(struct policy_reader *reader, const struct rule_in_progress *progress)
{
	const struct document_rule *rule = &progress->rule;

	if (progress->log_at.line && rule->action == ZONE_PASS)
		policy_error_add(reader->errors, progress->log_at,
			"'log' has no meaning with 'action: pass': the rule that decides logs");
	if (progress->limits_at.line && rule->action != ZONE_ALLOW)
		policy_error_add(reader->errors, progress->limits_at,
			"'limits' has a meaning with 'action: allow' only: they bound what is "
			"opened");
	if (rule->helper_at.line && rule->action != ZONE_ALLOW)
		policy_error_add(reader->errors, rule->helper_at,
			"'helper' has a meaning with 'action: allow' only: it opens what an "
			"allowed connection announces");
}

static void read_rule(struct policy_reader *reader, void *policy_)
{
	static const struct policy_key keys[] = {{"id", true, read_rule_id},
		{"from", true, read_from}, {"to", true, read_to},
		{"service", false, read_rule_service}, {"action", true, read_action},
		{"log", false, read_rule_log}, {"label", false, read_label},
		{"expires", false, read_rule_expires}, {"schedule", false, read_rule_schedule},
		{"limits", false, read_rule_limits}, {"helper", false, read_helper}};
	struct policy_document *document = reader->document;
	struct document_policy *policy = policy_;
	struct rule_in_progress progress = {
		.rule = {.log = ZONE_LOG_DENIED, .expires = POLICY_NEVER},
		.policy = (uint32_t)document->n_policies};

	if (document->n_rules == ZONE_RULES_MAX) {
		policy_fail(reader, "more than %d rules", ZONE_RULES_MAX);
		policy_skip(reader);
		return;
	}
	progress.rule.services.any = true;
	policy_read_mapping(reader, "a rule", keys, COUNT(keys), &progress);
	enter_rule_id(reader, &progress);
	check_action(reader, &progress);
	document->rules = zone_grow(document->rules, document->n_rules, &document->allocated_rules,
		sizeof *document->rules);
	document->rules[document->n_rules++] = progress.rule;
	policy->n_rules++;
}

/* --- Policies ------------------------------------------------------------------------------- */

static void read_policy_id(struct policy_reader *reader, void *policy_)
{
	struct policy_document *document = reader->document;
	struct document_policy *policy = policy_;
	struct document_name id;
	int other;

	if (!policy_read_name(reader, "a policy", &id))
		return;
	policy->id = id;
	if (!strcmp(id.text, "baseline"))
		policy_error_add(reader->errors, id.at,
			"'baseline' is the built-in policy: choose another id");
	other = name_table_insert(
		&document->policy_names, 0, id.text, (uint32_t)document->n_policies);
	if (other != NAME_NONE)
		policy_error_add(reader->errors, id.at,
			"policy '%s' is defined twice; first on line %u", id.text,
			document->policies[other].id.at.line);
}

static void read_policy_tier(struct policy_reader *reader, void *policy_)
{
	policy_read_name(reader, "a tier", &((struct document_policy *)policy_)->tier);
}

static void read_mode(struct policy_reader *reader, void *policy_)
{
	static const struct policy_choice choices[] = {
		{"enforce", MODE_ENFORCE}, {"simulate", MODE_SIMULATE}, {"off", MODE_OFF}};
	struct document_policy *policy = policy_;

	policy_read_choice(reader, "mode", choices, COUNT(choices), &policy->mode);
}

static void read_policy_expires(struct policy_reader *reader, void *policy)
{
	policy_read_expires(reader, &((struct document_policy *)policy)->expires);
}

static void read_policy_schedule(struct policy_reader *reader, void *policy)
{
	policy_read_schedule(reader, &((struct document_policy *)policy)->schedule);
}

static void read_rules(struct policy_reader *reader, void *policy)
{
	if (policy_is_null(reader))
		policy_skip(reader);
	else
		policy_read_sequence(reader, "rules", read_rule, policy);
}

static void read_policy(struct policy_reader *reader, void *unused)
{
	static const struct policy_key keys[] = {{"id", true, read_policy_id},
		{"tier", false, read_policy_tier}, {"mode", false, read_mode},
		{"rules", true, read_rules}, {"expires", false, read_policy_expires},
		{"schedule", false, read_policy_schedule}};
	struct policy_document *document = reader->document;
	struct document_policy policy = {
		.first_rule = (uint32_t)document->n_rules, .expires = POLICY_NEVER};

	(void)unused;
	if (document->n_policies == POLICY_POLICIES_MAX) {
		policy_fail(reader, "more than %d policies", POLICY_POLICIES_MAX);
		policy_skip(reader);
		return;
	}
	policy_read_mapping(reader, "a policy", keys, COUNT(keys), &policy);
	document->policies = zone_grow(document->policies, document->n_policies,
		&document->allocated_policies, sizeof *document->policies);
	document->policies[document->n_policies++] = policy;
}

void policy_read_policies(struct policy_reader *reader, void *unused)
{
	if (policy_is_null(reader))
		policy_skip(reader);
	else
		policy_read_sequence(
			reader, "policies, each beginning with '- id:'", read_policy, unused);
}
