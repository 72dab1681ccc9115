/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random policies, and a plain interpreter of the document to compare with: it tries the rules one
 * by one, as the manual says, and shares nothing with the engine but the reader.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "zones/policy_document.h"
#include "zones/zone.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* --- Random policies ------------------------------------------------------------------------ */

/* Random policies from few words, so that rules often meet.  A named service, then its parts. */
static const char *const named_services[][4] = {
	{"one", "tcp/80"},
	{"range", "tcp/79-81"},
	{"mixed", "udp/53", "tcp/53", "icmp/8"},
	{"wide", "tcp", "sctp"},
	{"nested", "tcp/1-65535", "tcp/80", "tcp/81-90"},
	{"all", "any", "udp/1"},
};

static const char *const literal_services[] = {"tcp/80", "tcp/0-79", "udp", "icmp/8/0", "icmpv6",
	"ip/47", "ip/6", "sctp/80", "tcp/65535", "ip/255", "ip/0"};

struct random_text {
	uint64_t state;
	char text[32768];
	size_t length;
};

static uint32_t draw(struct random_text *random, uint32_t below)
{
	random->state = random->state * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (uint32_t)((random->state >> 33) % below);
}

static void write_text(struct random_text *random, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void write_text(struct random_text *random, const char *format, ...)
{
	size_t room = sizeof random->text - random->length;
	va_list arguments;
	int n;

	va_start(arguments, format);
	n = vsnprintf(random->text + random->length, room, format, arguments);
	va_end(arguments);
	assert_true(n >= 0 && (size_t)n < room);
	random->length += (size_t)n;
}

static void write_zones(struct random_text *random, unsigned int n_zones)
{
	uint32_t pick = draw(random, n_zones + 1);

	if (pick == n_zones) {
		write_text(random, "any");
		return;
	}
	write_text(random, "[z%u", pick);
	for (uint32_t zone = pick + 1; zone < n_zones && !draw(random, 3); zone++)
		write_text(random, ", z%u", zone);
	write_text(random, "]");
}

static void write_service(struct random_text *random)
{
	switch (draw(random, 4)) {
	case 0: write_text(random, "any"); break;
	case 1:
		write_text(random, "%s", literal_services[draw(random, COUNT(literal_services))]);
		break;
	case 2:
		write_text(random, "%s", named_services[draw(random, COUNT(named_services))][0]);
		break;
	default:
		write_text(random, "[%s, %s]",
			named_services[draw(random, COUNT(named_services))][0],
			literal_services[draw(random, COUNT(literal_services))]);
		break;
	}
}

/* The days from 1970-01-01, a Thursday, to 1970-01-03: when the policies are asked. */
enum { ASKED_SECONDS = 2 * 86400, HOUR = 3600 };

/* Terms of a rule or policy, often none. */
static void write_terms(struct random_text *random)
{
	static const char *const days[] = {
		"", "days: [thu], ", "days: [wed, fri], ", "days: [mon, thu, fri], "};
	uint32_t from = draw(random, 24), to = (from + 1 + draw(random, 23)) % 25;

	if (!draw(random, 6))
		write_text(random, ", expires: 1970-01-%02uT%02u:00:00Z", 1 + draw(random, 2),
			draw(random, 24));
	if (!draw(random, 5) && from != to)
		write_text(random, ", schedule: {%sfrom: %02u:00, to: %02u:00}",
			days[draw(random, COUNT(days))], from, to);
}

static void write_action(struct random_text *random)
{
	static const char *const actions[] = {
		"allow, log: none", "deny, log: all", "reject", "pass", "allow, log: session"};
	uint32_t pick = draw(random, COUNT(actions));

	write_text(random, ", action: %s", actions[pick]);
	if (pick % 4 == 0 && !draw(random, 4))
		write_text(random, ", limits: {connections: %u}", 1 + draw(random, 9));
}

static void write_rules(struct random_text *random, unsigned int n_zones)
{
	uint32_t n_rules = draw(random, 12);

	for (uint32_t i = 0; i < n_rules; i++) {
		write_text(random, "  %s{id: r%u, from: ", i ? ", " : "", i);
		write_zones(random, n_zones);
		write_text(random, ", to: ");
		write_zones(random, n_zones);
		write_text(random, ", service: ");
		if (!draw(random, 10)) {
			write_text(random, "one, helper: ftp, action: allow");
		} else {
			write_service(random);
			write_action(random);
		}
		write_terms(random);
		write_text(random, "}\n");
	}
}

static void write_policy(struct random_text *random, unsigned int n_zones)
{
	static const char *const verdicts[] = {"allow", "deny", "reject"};
	static const char *const intra[] = {"", ", intra: allow", ", intra: deny"};
	static const char *const modes[] = {"enforce", "enforce", "enforce", "simulate", "off"};
	uint32_t n_tiers = 1 + draw(random, 4), n_policies = draw(random, 6);

	random->length = 0;
	write_text(random, "zones:\n");
	for (unsigned int i = 0; i < n_zones; i++)
		write_text(random, "  z%u: {match: z%u%s%s}\n", i, i, intra[draw(random, 3)],
			draw(random, 6) ? "" : ", limits: {half_open: 3}");
	write_text(random, "services:\n");
	for (size_t i = 0; i < COUNT(named_services); i++) {
		write_text(random, "  %s: [%s", named_services[i][0], named_services[i][1]);
		for (size_t j = 2; j < 4 && named_services[i][j]; j++)
			write_text(random, ", %s", named_services[i][j]);
		write_text(random, "]\n");
	}
	write_text(random, "tiers: [t0");
	for (uint32_t i = 1; i < n_tiers; i++)
		write_text(random, ", t%u", i);
	write_text(random, "]\npolicies:\n");
	for (uint32_t i = 0; i < n_policies; i++) {
		write_text(random, "- {id: p%u, tier: t%u, mode: %s", i, draw(random, n_tiers),
			modes[draw(random, COUNT(modes))]);
		write_terms(random);
		write_text(random, ", rules: [\n");
		write_rules(random, n_zones);
		write_text(random, "  ]}\n");
	}
	write_text(random, "baseline: {between_zones: %s, within_zone: %s}\n",
		verdicts[draw(random, 3)], verdicts[draw(random, 3)]);
}

/* --- A plain interpreter -------------------------------------------------------------------- */

/* Whether a service as written takes a question in, by the words of the manual. */
static bool text_matches(const char *text, const struct zone_question *question)
{
	static const struct {
		const char *word;
		uint8_t protocol;
	} words[] = {{"tcp", 6}, {"udp", 17}, {"sctp", 132}, {"icmp", 1}, {"icmpv6", 58}};
	char word[16];
	unsigned int a, b;
	int n = sscanf(text, "%15[^/]/%u%*1[-/]%u", word, &a, &b);

	if (!strcmp(word, "any"))
		return true;
	if (!strcmp(word, "ip"))
		return question->protocol == a;
	for (size_t i = 0; i < COUNT(words); i++) {
		if (strcmp(word, words[i].word))
			continue;
		if (question->protocol != words[i].protocol || n == 1)
			return question->protocol == words[i].protocol;
		if (word[0] == 'i')
			return question->type == a && (n == 2 || question->code == b);
		return question->destination_port >= a &&
		       question->destination_port <= (n == 2 ? a : b);
	}
	fail_msg("%s", text);
	return false;
}

static bool service_matches(const char *name, const struct zone_question *question)
{
	for (size_t i = 0; i < COUNT(named_services); i++) {
		if (strcmp(name, named_services[i][0]))
			continue;
		for (size_t j = 1; j < 4 && named_services[i][j]; j++) {
			if (text_matches(named_services[i][j], question))
				return true;
		}
		return false;
	}
	return text_matches(name, question);
}

static bool zones_match(const struct document_names *names, uint16_t zone)
{
	for (uint32_t i = 0; i < names->n; i++) {
		if (!strcmp(names->names[i].text, "any") ||
			(unsigned int)atoi(names->names[i].text + 1) + 1 == zone)
			return true;
	}
	return false;
}

static bool rule_matches(const struct document_rule *rule, const struct zone_question *question)
{
	if (!zones_match(&rule->from, question->source_zone) ||
		!zones_match(&rule->to, question->destination_zone))
		return false;
	for (uint32_t i = 0; i < rule->services.n; i++) {
		if (service_matches(rule->services.names[i].text, question))
			return true;
	}
	return false;
}

/* Whether a schedule is open, by the words of the manual; all are in UTC here. */
static bool schedule_holds(const struct document_schedule *schedule, int64_t now)
{
	/* 1970 began on a Thursday, the fourth day of the week. */
	unsigned int today = (unsigned int)(now / 86400 + 3) % 7, yesterday = (today + 6) % 7;
	bool opened_today = schedule->window.days & 1U << today;
	bool opened_yesterday = schedule->window.days & 1U << yesterday;
	int64_t second = now % 86400, from = schedule->window.from, to = schedule->window.to;

	if (to > from)
		return opened_today && from <= second && second < to;
	return (opened_today && from <= second) || (opened_yesterday && second < to);
}

static bool in_force(const struct policy_document *document, const struct document_policy *policy,
	const struct document_rule *rule, int64_t now)
{
	if (policy->mode == MODE_OFF || now >= policy->expires || now >= rule->expires)
		return false;
	if (policy->schedule && !schedule_holds(&document->schedules[policy->schedule - 1], now))
		return false;
	return !rule->schedule || schedule_holds(&document->schedules[rule->schedule - 1], now);
}

struct answer {
	struct zone_verdict verdict;
	struct zone_step steps[ZONE_STEPS_MAX];
	size_t n_steps;
};

/* One question in the mind of the interpreter. */
struct trial {
	const struct policy_document *document;
	const struct zone_question *question;
	int64_t now;
	bool simulated;
	uint32_t number; /* Of the rule that is tried. */
	struct answer answer;
};

static void step(struct trial *trial, uint32_t rule, uint8_t action)
{
	trial->answer.steps[trial->answer.n_steps++] =
		(struct zone_step){.rule = rule, .action = action};
}

/* Tries the rules of one policy, of which `*passed` says whether their tier has passed already.
 * Returns true if one decides. */
static bool try_policy(struct trial *trial, const struct document_policy *policy, bool *passed)
{
	for (uint32_t i = 0; i < policy->n_rules; i++) {
		const struct document_rule *rule = &trial->document->rules[policy->first_rule + i];

		trial->number++;
		if (*passed || (policy->mode == MODE_SIMULATE && !trial->simulated) ||
			!in_force(trial->document, policy, rule, trial->now) ||
			!rule_matches(rule, trial->question))
			continue;
		step(trial, trial->number, rule->action);
		if (rule->action != ZONE_PASS) {
			trial->answer.verdict = (struct zone_verdict){.action = rule->action,
				.log = rule->log,
				.helper = rule->helper,
				.limited = rule->limits.connections != 0,
				.rule = trial->number};
			return true;
		}
		*passed = true;
	}
	return false;
}

static void decide_by_default(struct trial *trial)
{
	const struct policy_document *document = trial->document;
	const struct zone_question *question = trial->question;
	const struct document_zone *zone = &document->zones[question->source_zone - 1];
	struct zone_verdict verdict = {
		.log = document->baseline_log, .action = document->between_zones};

	if (question->source_zone == question->destination_zone) {
		verdict.action = document->within_zone;
		if (zone->intra != INTRA_AS_BASELINE)
			verdict.action = zone->intra == INTRA_ALLOW ? ZONE_ALLOW : ZONE_DENY;
	}
	verdict.rule = (uint32_t)document->n_rules + 1 +
		       question->source_zone * ((uint32_t)document->n_zones + 1) +
		       question->destination_zone;
	trial->answer.verdict = verdict;
	step(trial, verdict.rule, verdict.action);
}

/* Tier by tier, policy by policy, rule by rule. */
static struct answer interpret(const struct policy_document *document,
	const struct zone_question *question, int64_t now, bool simulated)
{
	struct trial trial = {document, question, now, simulated, 0, {.n_steps = 0}};
	struct zone_verdict *verdict = &trial.answer.verdict;
	bool decided = false;

	for (size_t t = 0; t < document->n_tiers && !decided; t++) {
		bool passed = false;

		for (size_t i = 0; i < document->n_policies && !decided; i++) {
			const struct document_policy *policy = &document->policies[i];

			if (!strcmp(policy->tier.text, document->tiers[t].text))
				decided = try_policy(&trial, policy, &passed);
		}
	}
	if (!decided)
		decide_by_default(&trial);
	if (verdict->action == ZONE_ALLOW &&
		document->zones[question->source_zone - 1].limits.half_open)
		verdict->limited = true;
	return trial.answer;
}

/* --- Comparing ------------------------------------------------------------------------------ */

static const uint8_t protocols[] = {6, 17, 132, 1, 58, 47, 0, 3, 255};
/* At, before and behind all places where a service begins or ends. */
static const uint16_t ports[] = {0, 1, 52, 53, 54, 78, 79, 80, 81, 82, 90, 91, 65535};
static const uint8_t types[] = {0, 7, 8, 9, 128, 255};

static struct zone_question random_question(struct random_text *random, unsigned int n_zones)
{
	return (struct zone_question){
		.source_zone = (uint16_t)(1 + draw(random, n_zones)),
		.destination_zone = (uint16_t)(1 + draw(random, n_zones)),
		.protocol = draw(random, 3) ? 6 : protocols[draw(random, COUNT(protocols))],
		.type = types[draw(random, COUNT(types))],
		.code = (uint8_t)draw(random, 2),
		.source_port = (uint16_t)draw(random, 65536),
		.destination_port = ports[draw(random, COUNT(ports))],
	};
}

static bool same_verdict(const struct zone_verdict *a, const struct zone_verdict *b)
{
	return a->rule == b->rule && a->action == b->action && a->log == b->log &&
	       a->helper == b->helper && a->limited == b->limited;
}

static void compare(const char *text, const struct policy_document *document,
	const struct zone_policy *policy, const struct zone_question *question, int64_t now,
	bool simulated)
{
	struct answer expected = interpret(document, question, now, simulated);
	struct zone_step steps[ZONE_STEPS_MAX];
	struct zone_verdict verdict;
	size_t n;

	if (!simulated || !zone_decide_simulated(policy, question, &verdict))
		zone_decide(policy, question, &verdict);
	if (!same_verdict(&verdict, &expected.verdict))
		fail_msg("%s\nat %lld%s: %u -> %u protocol %u type %u code %u port %u: rule %u "
			 "action %u log %u helper %u limited %d, not %u %u %u %u %d",
			text, (long long)now, simulated ? ", simulated" : "", question->source_zone,
			question->destination_zone, question->protocol, question->type,
			question->code, question->destination_port, verdict.rule, verdict.action,
			verdict.log, verdict.helper, verdict.limited, expected.verdict.rule,
			expected.verdict.action, expected.verdict.log, expected.verdict.helper,
			expected.verdict.limited);
	n = zone_explain(policy, question, simulated, steps);
	assert_int_equal(n, expected.n_steps);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(steps[i].rule, expected.steps[i].rule);
		assert_int_equal(steps[i].action, expected.steps[i].action);
	}
}

static struct zone_policy *create(const struct random_text *random, int64_t now)
{
	struct policy_errors errors;
	struct zone_policy *policy =
		zone_policy_create(random->text, random->length, 1, now, &errors);

	if (!policy)
		fail_msg("%s\n%u:%u: %s", random->text, errors.at[0].line, errors.at[0].column,
			errors.at[0].message);
	return policy;
}

static void verdicts_are_those_of_a_plain_interpreter(void **state)
{
	static struct random_text random = {.state = 2026};
	unsigned int by_rule = 0, otherwise = 0;

	(void)state;
	for (unsigned int round = 0; round < 500; round++) {
		unsigned int n_zones = 1 + draw(&random, 5);
		int64_t now = draw(&random, ASKED_SECONDS);
		struct policy_errors errors = {0};
		struct policy_document document;
		struct zone_policy *policy;

		write_policy(&random, n_zones);
		policy = create(&random, now);
		assert_true(policy_document_read(&document, random.text, random.length, &errors));
		for (unsigned int i = 0; i < 300; i++) {
			struct zone_question question = random_question(&random, n_zones);
			struct zone_verdict plain, simulated;

			compare(random.text, &document, policy, &question, now, false);
			compare(random.text, &document, policy, &question, now, true);
			zone_decide(policy, &question, &plain);
			by_rule += plain.rule <= zone_rule_count(policy);
			if (zone_decide_simulated(policy, &question, &simulated))
				otherwise += simulated.rule != plain.rule;
		}
		policy_document_free(&document);
		zone_policy_destroy(policy);
	}
	/* The comparison is worth something: many verdicts are a rule's, many the default, and many
	 * others in simulation. */
	assert_true(by_rule > 30000 && by_rule < 120000);
	assert_true(otherwise > 10000);
}

enum { RULES_MAX = 64 };

/* What the interpreter sees of a rule when it is asked everything. */
struct sight {
	bool reached;	       /* It decides, or passes. */
	bool meets[RULES_MAX]; /* By number: rules that match a question that it matches. */
};

/* The numbers of the rules that match a question, first to last. */
static size_t matching_rules(const struct policy_document *document,
	const struct zone_question *question, uint32_t numbers[RULES_MAX])
{
	uint32_t number = 0;
	size_t n = 0;

	for (size_t t = 0; t < document->n_tiers; t++) {
		for (size_t i = 0; i < document->n_policies; i++) {
			const struct document_policy *policy = &document->policies[i];

			if (strcmp(policy->tier.text, document->tiers[t].text))
				continue;
			for (uint32_t j = 0; j < policy->n_rules; j++) {
				number++;
				if (rule_matches(
					    &document->rules[policy->first_rule + j], question))
					numbers[n++] = number;
			}
		}
	}
	return n;
}

static void look(const struct policy_document *document, const struct zone_policy *policy,
	const struct zone_question *question, int64_t now, struct sight *sights)
{
	struct answer plain = interpret(document, question, now, false);
	struct answer simulated = interpret(document, question, now, true);
	uint32_t numbers[RULES_MAX];
	size_t n = matching_rules(document, question, numbers);

	for (size_t i = 0; i < n; i++) {
		struct sight *sight = &sights[numbers[i]];
		struct zone_rule_info info;
		const struct answer *answer;
		char name[160];

		assert_true(zone_rule_info(policy, numbers[i], &info, name));
		answer = info.simulated ? &simulated : &plain;
		for (size_t j = 0; j < answer->n_steps; j++)
			sight->reached = sight->reached || answer->steps[j].rule == numbers[i];
		for (size_t j = 0; j < i; j++)
			sight->meets[numbers[j]] = true;
	}
}

/* Asks everything that can make a difference. */
static void look_everywhere(const struct policy_document *document,
	const struct zone_policy *policy, unsigned int n_zones, int64_t now, struct sight *sights)
{
	unsigned int n = n_zones * n_zones * COUNT(protocols) * COUNT(ports) * COUNT(types) * 2;

	for (unsigned int i = 0; i < n; i++) {
		unsigned int rest = i / (n_zones * n_zones);
		struct zone_question question = {.source_zone = (uint16_t)(1 + i % n_zones),
			.destination_zone = (uint16_t)(1 + i / n_zones % n_zones),
			.protocol = protocols[rest % COUNT(protocols)]};
		bool is_icmp = question.protocol == 1 || question.protocol == 58;

		rest /= COUNT(protocols);
		question.destination_port = ports[rest % COUNT(ports)];
		rest /= COUNT(ports);
		question.code = (uint8_t)(rest % 2);
		question.type = types[rest / 2];
		/* What does not matter is not varied. */
		if (is_icmp ? question.destination_port != 0 : question.code || question.type)
			continue;
		look(document, policy, &question, now, sights);
	}
}

/* What the engine said of each rule: 0, or 1 and what takes it away. */
static void take_note(uint32_t rule, uint32_t by, void *said)
{
	((uint32_t *)said)[rule] = 1 + by;
}

static void rules_without_effect_are_those_that_no_question_reaches(void **state)
{
	static struct random_text random = {.state = 815};
	unsigned int unreachable = 0, reachable = 0;

	(void)state;
	for (unsigned int round = 0; round < 400; round++) {
		unsigned int n_zones = 1 + draw(&random, 4);
		int64_t now = draw(&random, ASKED_SECONDS);
		struct policy_errors errors = {0};
		struct policy_document document;
		struct zone_policy *policy;
		struct sight *sights;
		uint32_t *said;

		write_policy(&random, n_zones);
		policy = create(&random, now);
		assert_true(policy_document_read(&document, random.text, random.length, &errors));
		assert_true(document.n_rules < RULES_MAX);
		sights = calloc(document.n_rules + 1, sizeof *sights);
		said = calloc(document.n_rules + 1, sizeof *said);
		assert_true(sights && said);
		look_everywhere(&document, policy, n_zones, now, sights);
		zone_each_unreachable_rule(policy, take_note, said);
		for (uint32_t i = 1; i <= document.n_rules; i++) {
			struct zone_rule_info info;
			char name[160];

			assert_true(zone_rule_info(policy, i, &info, name));
			if ((said[i] != 0) != (info.in_force && !sights[i].reached))
				fail_msg("%s\nat %lld: rule %u (%s/%s) is %s reached", random.text,
					(long long)now, i, info.policy, info.rule,
					sights[i].reached ? "" : "not");
			assert_true(!said[i] || sights[i].meets[said[i] - 1]);
			unreachable += said[i] != 0;
			reachable += sights[i].reached;
		}
		free(sights);
		free(said);
		policy_document_free(&document);
		zone_policy_destroy(policy);
	}
	assert_true(unreachable > 1000 && reachable > 1000);
}

static void the_same_text_has_the_same_numbers(void **state)
{
	static struct random_text random = {.state = 4711};
	struct zone_policy *one, *other;

	(void)state;
	write_policy(&random, 5);
	one = create(&random, 0);
	other = create(&random, 0);
	for (unsigned int i = 0; i < 1000; i++) {
		struct zone_question question = random_question(&random, 5);
		struct zone_verdict a, b;

		zone_decide(one, &question, &a);
		zone_decide(other, &question, &b);
		assert_true(same_verdict(&a, &b));
	}
	zone_policy_destroy(one);
	zone_policy_destroy(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(verdicts_are_those_of_a_plain_interpreter),
		cmocka_unit_test(rules_without_effect_are_those_that_no_question_reaches),
		cmocka_unit_test(the_same_text_has_the_same_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
