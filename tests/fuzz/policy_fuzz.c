/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: any bytes as a policy document.  What is refused must be refused with a reason and a
 * place; what is taken must answer every question with a rule that it can name.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

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

/* The questions are taken from the document's own bytes. */
static void ask(const struct zone_policy *policy, const uint8_t *data, size_t size)
{
	struct zone_rule_info info;
	struct zone_verdict verdict;
	char name[160];

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
		assert(verdict.action < ZONE_PASS && verdict.log <= ZONE_LOG_ALL);
		if (verdict.rule == RULE_NONE) {
			assert(verdict.action == ZONE_DENY);
			continue;
		}
		assert(zone_rule_info(policy, verdict.rule, &info, name));
		assert(info.action == verdict.action && info.log == verdict.log);
	}
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct policy_errors errors;
	/* The reader may not count on a NUL behind the text. */
	char *text = malloc(size ? size : 1);
	struct zone_policy *policy;

	if (!text)
		return 0;
	memcpy(text, data, size);
	policy = zone_policy_create(text, size, 1, 0, &errors);
	free(text);
	if (!policy) {
		check_errors(&errors);
		return 0;
	}
	assert(!errors.n_total);
	ask(policy, data, size);
	walk_zones(policy);
	zone_policy_destroy(policy);
	return 0;
}
