/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cordon why`: whether one end may open a connection to another, and by which rule.  Called by
 * main.c, on its one thread.
 *
 * The policy wanted and the endpoints are the database's, so that the answer does not depend on a
 * switch; what is open now is the switch's to say, and what was, the log's.  A service that stands
 * for many ports is asked port by port, which takes milliseconds, and ports that are decided alike
 * are told together.
 */
#include "cli/why.h"

#include <stdlib.h>
#include <string.h>

#include "cli/log.h"
#include "timeval.h"
#include "util.h"

enum { DAYS_DEFAULT = 7, DAYS_MAX = 3650, SPANS_MAX = 64, IDLE_RULES_MAX = 20 };

const struct cli_option cli_why_options[] = {
	{"days", 0, "N", "look for records of so many days (7; 0: none)"},
	{"directory", 'd', "DIR", "the log's files (STATEDIR/log)"},
	{0},
};

/* Services that are next to each other and decided alike, also with what is simulated. */
struct span {
	struct service_range range;
	struct both_ends_verdict verdict, simulated;
	bool has_simulated;
};

struct spans {
	struct span at[SPANS_MAX];
	size_t n, n_left_out; /* Services behind the last of them. */
};

/* --- The question --------------------------------------------------------------------------- */

static struct zone_question question_of(uint32_t point)
{
	uint8_t protocol = (uint8_t)(point >> 16);
	bool is_icmp = protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6;

	return (struct zone_question){.protocol = protocol,
		.type = is_icmp ? (uint8_t)(point >> 8) : 0,
		.code = is_icmp ? (uint8_t)point : 0,
		.destination_port = is_icmp ? 0 : (uint16_t)point};
}

static size_t ask_both(const struct why *why, bool reverse, uint32_t point,
	struct zone_question questions[BOTH_ENDS_QUESTIONS_MAX])
{
	const struct zone_question service = question_of(point);
	struct connection_end source = why_connection_end(&why->view, &why->source);
	struct connection_end destination = why_connection_end(&why->view, &why->destination);

	return reverse ? both_ends_questions(&destination, &source, &service, questions)
		       : both_ends_questions(&source, &destination, &service, questions);
}

/* Points that no packet of their protocol has are passed over: those behind the first one, where
 * there are neither ports nor types. */
static uint32_t next_point(uint32_t point)
{
	switch (point >> 16) {
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
	case IPPROTO_TCP:
	case IPPROTO_UDP:
	case IPPROTO_SCTP: return point + 1;
	default: return (point | 0xffff) + 1;
	}
}

static bool is_alike(const struct both_ends_verdict *a, const struct both_ends_verdict *b)
{
	return a->verdict.rule == b->verdict.rule && a->verdict.action == b->verdict.action &&
	       a->n_asked == b->n_asked;
}

static void add_span(struct spans *spans, const struct span *span)
{
	struct span *before = spans->n ? &spans->at[spans->n - 1] : NULL;

	if (before && before->range.last + 1 == span->range.first &&
		is_alike(&before->verdict, &span->verdict) &&
		(!span->has_simulated || is_alike(&before->simulated, &span->simulated)))
		before->range.last = span->range.last;
	else if (spans->n < SPANS_MAX)
		spans->at[spans->n++] = *span;
	else
		spans->n_left_out++;
}

static struct span ask_span(const struct why *why, bool reverse, uint32_t first, uint32_t last)
{
	const struct zone_policy *policy = why->view.policy;
	struct zone_question questions[BOTH_ENDS_QUESTIONS_MAX];
	struct span span = {.range = {first, last}};
	size_t n = ask_both(why, reverse, first, questions);

	both_ends_decide(policy, questions, n, &span.verdict);
	span.has_simulated =
		!reverse && both_ends_decide_simulated(policy, questions, n, &span.simulated);
	return span;
}

static void find_spans(const struct why *why, bool reverse, struct spans *spans)
{
	*spans = (struct spans){.n = 0};
	for (size_t i = 0; i < why->n_services; i++) {
		const struct service_range *range = &why->services[i];
		uint32_t point = range->first, next;

		for (; point <= range->last; point = next) {
			struct span span;

			next = next_point(point);
			span = ask_span(why, reverse, point, MIN(next - 1, range->last));
			add_span(spans, &span);
		}
	}
}

/* --- Rules that would match, but are not in force ------------------------------------------- */

static bool names_hold(const struct document_names *names, const char *name)
{
	for (uint32_t i = 0; !names->any && i < names->n; i++) {
		if (!strcmp(names->names[i].text, name))
			return true;
	}
	return names->any;
}

static bool services_hold(
	const struct policy_document *document, const struct document_names *names, uint32_t point)
{
	for (uint32_t i = 0; !names->any && i < names->n; i++) {
		const struct document_service *service = &document->services[names->names[i].index];

		for (uint32_t j = 0; j < service->n_ranges; j++) {
			if (point >= service->ranges[j].first && point <= service->ranges[j].last)
				return true;
		}
	}
	return names->any;
}

static const char *idle_reason(
	const struct document_policy *policy, const struct document_rule *rule)
{
	int64_t now = time_wall();

	if (policy->mode == MODE_OFF)
		return "its policy is off";
	if (now >= policy->expires)
		return "its policy has expired";
	if (now >= rule->expires)
		return "it has expired";
	return "its schedule leaves this moment out";
}

/* The names of rules that are not in force now, and would match the question if they were. */
static struct json *idle_rules_json(
	const struct why *why, const struct zone_question *question, uint32_t point)
{
	const struct policy_document *document = &why->revision.document;
	const struct zone_policy *policy = why->view.policy;
	const char *from = zone_info(policy, question->source_zone).name;
	const char *to = zone_info(policy, question->destination_zone).name;
	struct json *array = json_array_create_empty();
	struct zone_rule_info info;
	char name[160];

	for (uint32_t number = 1;
		number <= zone_rule_count(policy) && array->array.n < IDLE_RULES_MAX; number++) {
		const struct document_rule *rule;
		struct json *row;
		int index;

		if (!zone_rule_info(policy, number, &info, name) || info.in_force)
			continue;
		index = name_table_find(&document->policy_names, 0, info.policy);
		rule = &document->rules[name_table_find(
			&document->rule_names, (uint32_t)index, info.rule)];
		if (!names_hold(&rule->from, from) || !names_hold(&rule->to, to) ||
			!services_hold(document, &rule->services, point))
			continue;
		row = json_object_create();
		json_object_put_format(row, "rule", "%s/%s", info.policy, info.rule);
		json_object_put_string(row, "why", idle_reason(&document->policies[index], rule));
		json_array_add(array, row);
	}
	return array;
}

/* --- How it comes about --------------------------------------------------------------------- */

static const char *action_name(unsigned int action)
{
	static const char *const names[] = {[ZONE_ALLOW] = "allow",
		[ZONE_DENY] = "deny",
		[ZONE_REJECT] = "reject",
		[ZONE_PASS] = "pass"};

	return names[action];
}

static const char *verdict_name(unsigned int action)
{
	return action == ZONE_ALLOW ? "allowed" : action == ZONE_REJECT ? "rejected" : "denied";
}

static char *rule_text(const struct zone_policy *policy, uint32_t rule)
{
	struct zone_rule_info info;
	char name[160];

	if (!zone_rule_info(policy, rule, &info, name))
		return xstrdup("");
	return xasprintf("%s/%s", info.policy, info.rule);
}

static void put_limits(struct json *step, const struct zone_limits *limits)
{
	const struct {
		const char *name;
		uint32_t value;
	} of[] = {{"connections", limits->connections}, {"new_per_second", limits->new_per_second},
		{"half_open", limits->half_open}};
	struct json *object = json_object_create();

	for (size_t i = 0; i < ARRAY_SIZE(of); i++) {
		if (of[i].value)
			json_object_put(object, of[i].name, json_integer_create(of[i].value));
	}
	json_object_put(step, "limits", object);
}

static struct json *step_json(const struct zone_policy *policy, const struct zone_step *step)
{
	static const char *const logs[] = {"none", "denied", "session", "all"};
	static const char *const helpers[] = {"", "ftp", "tftp"};
	struct json *object = json_object_create();
	struct zone_rule_info info;
	char name[160];

	json_object_put_string(object, "action", action_name(step->action));
	if (!zone_rule_info(policy, step->rule, &info, name)) {
		json_object_put_string(object, "rule", "quarantine");
		json_object_put_string(object, "tier", "");
		return object;
	}
	json_object_put_format(object, "rule", "%s/%s", info.policy, info.rule);
	json_object_put_string(object, "tier", info.tier);
	json_object_put_string(object, "log", step->action == ZONE_PASS ? "" : logs[info.log]);
	json_object_put_string(object, "label", info.label ? info.label : "");
	json_object_put_string(object, "helper", helpers[info.helper]);
	json_object_put(object, "simulated", json_boolean_create(info.simulated));
	put_limits(object, &info.limits);
	return object;
}

/* One question, and the steps to its answer. */
static struct json *question_json(
	const struct why *why, const struct zone_question *question, uint32_t point, bool simulated)
{
	const struct zone_policy *policy = why->view.policy;
	struct json *object = json_object_create(), *array = json_array_create_empty();
	struct zone_step steps[ZONE_STEPS_MAX];
	size_t n = zone_explain(policy, question, simulated, steps);

	for (size_t i = 0; i < n; i++)
		json_array_add(array, step_json(policy, &steps[i]));
	json_object_put_string(
		object, "source_zone", zone_info(policy, question->source_zone).name);
	json_object_put_string(
		object, "destination_zone", zone_info(policy, question->destination_zone).name);
	json_object_put(object, "steps", array);
	if (!simulated)
		json_object_put(object, "not_in_force", idle_rules_json(why, question, point));
	return object;
}

static struct json *verdict_json(const struct why *why, const struct zone_question *questions,
	const struct both_ends_verdict *verdict, uint32_t point, bool simulated)
{
	struct json *object = json_object_create(), *array = json_array_create_empty();

	for (size_t i = 0; i < verdict->n_asked; i++)
		json_array_add(array, question_json(why, &questions[i], point, simulated));
	json_object_put_string(object, "verdict", verdict_name(verdict->verdict.action));
	json_object_put(object, "rule",
		json_string_create_nocopy(rule_text(why->view.policy, verdict->verdict.rule)));
	json_object_put(object, "quarantine",
		json_boolean_create(verdict->n_asked && verdict->verdict.rule == RULE_NONE));
	json_object_put(object, "questions", array);
	return object;
}

/* "tcp/443"; "tcp/1-21"; where no one word says it, its ends. */
static char *span_text(const struct service_range *range)
{
	struct service_range first = {range->first, range->first};
	struct service_range last = {range->last, range->last};
	char text[SERVICE_TEXT_MAX], from[SERVICE_TEXT_MAX], to[SERVICE_TEXT_MAX];
	bool one_protocol = range->first >> 16 == range->last >> 16;
	bool is_icmp = one_protocol && ((range->first >> 16) == IPPROTO_ICMP ||
					       (range->first >> 16) == IPPROTO_ICMPV6);
	bool one_type = !(range->first & 0xff) && range->last == (range->first | 0xff);
	bool whole = !(range->first & 0xffff) && (range->last & 0xffff) == 0xffff;
	bool any = !range->first && range->last == SERVICE_POINT_MAX;

	if (any || range->first == range->last || (one_protocol && (!is_icmp || one_type || whole)))
		return xstrdup(service_format(range, text));
	return xasprintf("%s to %s", service_format(&first, from), service_format(&last, to));
}

/* The spans of one direction, and how each verdict comes about.  *left_out gets how many services
 * there was no room for. */
static struct json *spans_json(const struct why *why, bool reverse, size_t *left_out)
{
	struct spans *spans = xmalloc(sizeof(*spans));
	struct json *array = json_array_create_empty();

	find_spans(why, reverse, spans);
	for (size_t i = 0; i < spans->n; i++) {
		const struct span *span = &spans->at[i];
		struct zone_question questions[BOTH_ENDS_QUESTIONS_MAX];
		struct json *row;

		ask_both(why, reverse, span->range.first, questions);
		row = verdict_json(why, questions, &span->verdict, span->range.first, false);

		json_object_put(row, "service", json_string_create_nocopy(span_text(&span->range)));
		if (span->has_simulated)
			json_object_put(row, "simulated",
				verdict_json(
					why, questions, &span->simulated, span->range.first, true));
		json_array_add(array, row);
	}
	*left_out = spans->n_left_out;
	free(spans);
	return array;
}

/* --- The command ---------------------------------------------------------------------------- */

static enum cli_status fail_service(struct cli *cli, const struct policy_document *document,
	const char *text, const char *problem)
{
	const char **names = xcalloc(document->n_services + 1, sizeof(*names));
	const char *guess;
	size_t n = 0;

	for (size_t i = 0; i < document->n_services; i++) {
		if (!service_is_literal(document->services[i].name.text))
			names[n++] = document->services[i].name.text;
	}
	guess = cli_did_you_mean(text, names);
	if (guess && !service_is_literal(text))
		cli_fail(cli, CLI_NOT_FOUND, "no service is named '%s'; did you mean '%s'?", text,
			guess);
	else
		cli_fail(cli, CLI_USAGE, "%s, or a name of the policy's 'services'", problem);
	free(names);
	return guess && !service_is_literal(text) ? CLI_NOT_FOUND : CLI_USAGE;
}

/* What is asked for: a service of the policy's, or one written out. */
static enum cli_status find_service(
	struct why *why, const char *text, struct service_range *written)
{
	const struct policy_document *document = &why->revision.document;
	int index = name_table_find(&document->service_names, 0, text);
	char problem[SERVICE_PROBLEM_MAX];

	if (index != NAME_NONE) {
		why->services = document->services[index].ranges;
		why->n_services = document->services[index].n_ranges;
		return CLI_OK;
	}
	if (!service_parse(text, written, problem))
		return fail_service(why->cli, document, text, problem);
	why->services = written;
	why->n_services = 1;
	return CLI_OK;
}

static enum cli_status find_ends(struct why *why)
{
	struct cli *cli = why->cli;
	enum cli_status status;

	status = why_find_end(cli, &why->view, cli->arguments[0], &why->source);
	if (status == CLI_OK)
		status = why_find_end(cli, &why->view, cli->arguments[1], &why->destination);
	if (status != CLI_OK)
		return status;
	why_choose_addresses(&why->view, &why->source, &why->destination);
	if (why->source.endpoint != VIEW_NO_ENDPOINT &&
		why->source.endpoint == why->destination.endpoint)
		return cli_fail(cli, CLI_USAGE,
			"'%s' and '%s' are the same endpoint: what it says to itself does not "
			"reach the switch",
			why->source.given, why->destination.given);
	return CLI_OK;
}

/* What this host has in force, if that is not the revision that was asked. */
static void put_in_force(struct json *answer, struct model *model, const struct why *why)
{
	const struct cordonrec_host *host = model_host(model, why->cli->host);

	if (host)
		json_object_put(answer, "in_force", json_integer_create(host->policy_reached));
}

static struct json *make_answer(struct why *why, struct model *model, int64_t days)
{
	struct json *answer = json_object_create();
	size_t left_out, reverse_left_out;

	json_object_put(answer, "revision", json_integer_create(why->revision.number));
	put_in_force(answer, model, why);
	json_object_put_string(answer, "service", why->cli->arguments[2]);
	json_object_put(answer, "source", why_end_json(why->cli, &why->view, &why->source));
	json_object_put(
		answer, "destination", why_end_json(why->cli, &why->view, &why->destination));
	json_object_put(answer, "verdicts", spans_json(why, false, &left_out));
	json_object_put(answer, "reverse", spans_json(why, true, &reverse_left_out));
	json_object_put(answer, "left_out",
		json_integer_create((long long int)MAX(left_out, reverse_left_out)));
	json_object_put(answer, "connections", why_connections(why));
	if (days)
		json_object_put(answer, "records", why_records(why, days));
	return answer;
}

static enum cli_status explain(struct why *why, struct model *model, int64_t days)
{
	struct service_range written;
	enum cli_status status;
	struct json *answer;

	cli_endpoints_load(&why->endpoints, model);
	policy_view_init(&why->view, why->revision.policy, why->endpoints.at, why->endpoints.n);
	status = find_ends(why);
	if (status == CLI_OK)
		status = find_service(why, why->cli->arguments[2], &written);
	if (status == CLI_OK) {
		answer = make_answer(why, model, days);
		if (why->cli->json) {
			cli_print_json(why->cli, answer);
		} else {
			why_print(why->cli, answer);
			json_destroy(answer);
		}
	}
	policy_view_free(&why->view);
	cli_endpoints_free(&why->endpoints);
	return status;
}

enum cli_status cli_why(struct cli *cli)
{
	struct why why = {.cli = cli};
	int64_t days = DAYS_DEFAULT;
	enum cli_status status;
	struct model *model;

	if (!cli_option_number(cli, "days", 0, DAYS_MAX, &days))
		return CLI_USAGE;
	model = cli_model(cli, &status);
	if (!model)
		return status;
	status = cli_revision_load(cli, model, -1, &why.revision);
	if (status == CLI_OK)
		status = explain(&why, model, days);
	cli_revision_free(&why.revision);
	model_close(model);
	return status;
}
