/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: any bytes as a policy document.  What is refused must be refused with a reason and a
 * place; what is taken must answer every question with a rule that it can name.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "tests/policy_same.h"
#include "zones/zone.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_errors(const struct policy_errors *errors)
{
	assert(errors->n > 0 && errors->n_total >= errors->n);
	for (size_t i = 0; i < errors->n; i++) {
		assert(errors->at[i].message[0]);
		assert(!errors->at[i].line == !errors->at[i].column);
	}
}

/* A verdict is a rule's that is in force, and its last step. */
static void check_verdict(const struct zone_policy *policy, const struct zone_question *question,
	const struct zone_verdict *verdict, bool simulated)
{
	struct zone_step steps[ZONE_STEPS_MAX];
	size_t n = zone_explain(policy, question, simulated, steps);
	struct zone_rule_info info;
	char name[160];

	assert(n >= 1 && n <= ZONE_STEPS_MAX);
	assert(steps[n - 1].rule == verdict->rule && steps[n - 1].action == verdict->action);
	assert(verdict->action < ZONE_PASS && verdict->log <= ZONE_LOG_ALL);
	if (verdict->rule == RULE_NONE) {
		assert(verdict->action == ZONE_DENY);
		return;
	}
	assert(zone_rule_info(policy, verdict->rule, &info, name));
	assert(info.action == verdict->action && info.log == verdict->log);
	assert(info.helper == verdict->helper && info.in_force);
	assert(simulated || !info.simulated);
}

/* The questions are taken from the document's own bytes. */
static void ask(const struct zone_policy *policy, const uint8_t *data, size_t size)
{
	struct zone_verdict verdict;

	for (size_t i = 0; i + 8 <= size && i < 512; i += 8) {
		struct zone_question question = {
			.source_zone = data[i] % (zone_count(policy) + 1),
			.destination_zone = data[i + 1] % (zone_count(policy) + 1),
			.protocol = data[i + 2],
			.type = data[i + 3],
			.code = data[i + 4],
			.destination_port = (uint16_t)(data[i + 5] << 8 | data[i + 6]),
		};

		zone_decide(policy, &question, &verdict);
		check_verdict(policy, &question, &verdict, false);
		if (zone_decide_simulated(policy, &question, &verdict))
			check_verdict(policy, &question, &verdict, true);
	}
}

static void check_unreachable(uint32_t rule, uint32_t by, void *policy)
{
	assert(rule >= 1 && rule <= zone_rule_count(policy) && by < rule);
}

/* At the moment of the next change the text must be as good as it is now. */
static void check_change(
	const char *text, size_t size, int64_t now, const struct zone_policy *policy)
{
	int64_t change = zone_policy_next_change(policy);
	struct policy_errors errors;
	struct zone_policy *then;

	assert(change > now);
	if (change == ZONE_NO_CHANGE)
		return;
	then = zone_policy_create(text, size, 2, change, &errors);
	assert(then && zone_rule_count(then) == zone_rule_count(policy));
	zone_policy_destroy(then);
}

static void walk_zones(const struct zone_policy *policy)
{
	static const char *const tags[] = {"tier=web", "env=prod", "legacy", "x"};

	for (uint16_t i = 0; i < zone_count(policy); i++) {
		struct zone_info info = zone_info(policy, i);

		assert(zone_find(policy, info.name) == i);
		for (size_t j = 0; j < info.n_prefixes; j++)
			assert(ip_is_v4(&info.prefixes[j].address) !=
					ip_prefix_is_v4(&info.prefixes[j]) ||
				zone_of_prefix(policy, &info.prefixes[j].address) !=
					ZONE_QUARANTINE);
	}
	assert(zone_of_tags(policy, tags, 4, NULL) < zone_count(policy));
}

/* The reader's shortcut must not be seen. */
static void check_shortcut(const char *text, size_t size)
{
	struct policy_errors lifted_errors = {0}, errors = {0};
	struct policy_document lifted, document;
	bool whole = policy_document_read(&lifted, text, size, &lifted_errors);

	assert(whole == policy_document_read_unlifted(&document, text, size, &errors));
	assert(same_errors(&lifted_errors, &errors));
	assert(same_documents(&lifted, &document));
	policy_document_free(&lifted);
	policy_document_free(&document);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct policy_errors errors;
	/* The reader may not count on a NUL behind the text. */
	char *text = malloc(size ? size : 1);
	struct zone_policy *policy;
	/* Some moment of some decade, by the text. */
	int64_t now = (int64_t)size * 9999991 % 4000000000;

	if (!text)
		return 0;
	memcpy(text, data, size);
	check_shortcut(text, size);
	policy = zone_policy_create(text, size, 1, now, &errors);
	if (policy) {
		assert(!errors.n_total);
		ask(policy, data, size);
		walk_zones(policy);
		zone_each_unreachable_rule(policy, check_unreachable, policy);
		check_change(text, size, now, policy);
		zone_policy_destroy(policy);
	} else {
		check_errors(&errors);
	}
	free(text);
	return 0;
}
