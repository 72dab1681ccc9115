/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a verdict costs, by the number of rules: run by hand.
 *
 *	decide_bench [RULES...]         default: 10 1000 120000
 *
 * The policy is like a company's: most rules from zone to zone, some from or to any zone, a few for
 * all.  Questions come in two ways: from the zone pairs of one host's guests (64 pairs), and evenly
 * from all pairs there are, which no host sees.  Both are shuffled, and half of them match no rule.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "zones/zone.h"

enum { QUESTIONS = 1 << 16, HOST_PAIRS = 64, ROUNDS = 9 };

struct bench {
	uint64_t state; /* Of the random numbers; the same in every run. */
	struct zone_question questions[QUESTIONS];
};

static uint32_t draw(struct bench *bench, uint32_t below)
{
	bench->state = bench->state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)((bench->state >> 33) * below >> 31);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static unsigned int zones_for(unsigned int rules)
{
	unsigned int zones = rules / 250;

	return zones < 10 ? 10 : zones > 500 ? 500 : zones;
}

static void write_rule(struct bench *bench, FILE *out, unsigned int number, unsigned int zones)
{
	uint32_t kind = draw(bench, 100), from = draw(bench, zones), to = draw(bench, zones);

	fprintf(out, "  - {id: rule-%u, ", number);
	if (kind < 5)
		fprintf(out, "from: any, to: z%u, ", to);
	else if (kind < 10)
		fprintf(out, "from: z%u, to: any, ", from);
	else if (kind == 10 && number < 5000)
		fprintf(out, "from: any, to: any, ");
	else
		fprintf(out, "from: z%u, to: z%u, ", from, to);
	fprintf(out, "service: tcp/%u, action: %s, log: session}\n", 1000 + draw(bench, 2000),
		draw(bench, 4) ? "allow" : "deny");
}

static struct zone_policy *make_policy(struct bench *bench, unsigned int rules)
{
	unsigned int zones = zones_for(rules);
	struct policy_errors errors;
	struct zone_policy *policy;
	char *text = NULL;
	size_t length = 0;
	FILE *out = open_memstream(&text, &length);
	uint64_t begin;

	fprintf(out, "zones:\n");
	for (unsigned int i = 0; i < zones; i++)
		fprintf(out, "  z%u: {match: zone=z%u}\n", i, i);
	fprintf(out, "policies:\n");
	for (unsigned int i = 0; i < rules; i++) {
		static const char *const tiers[] = {"emergency", "environment", "application"};

		if (i % (rules / 3 + 1) == 0)
			fprintf(out, "- id: policy-%u\n  tier: %s\n  rules:\n", i,
				tiers[i / (rules / 3 + 1)]);
		write_rule(bench, out, i, zones);
	}
	fclose(out);
	begin = now_ns();
	policy = zone_policy_create(text, length, 1, 0, &errors);
	if (!policy) {
		fprintf(stderr, "line %u: %s\n", errors.at[0].line, errors.at[0].message);
		exit(1);
	}
	printf("%u rules, %u zones, %zu KiB of text: read and compiled in %.0f ms, holds %zu KiB\n",
		rules, zones, length >> 10, (double)(now_ns() - begin) / 1e6,
		zone_policy_memory_bytes(policy) >> 10);
	free(text);
	return policy;
}

static void make_questions(struct bench *bench, unsigned int zones, unsigned int pairs)
{
	struct {
		uint16_t from, to;
	} host[HOST_PAIRS];

	for (unsigned int i = 0; i < HOST_PAIRS; i++) {
		host[i].from = (uint16_t)(1 + draw(bench, zones));
		host[i].to = (uint16_t)(1 + draw(bench, zones));
	}
	for (unsigned int i = 0; i < QUESTIONS; i++) {
		uint32_t pair = draw(bench, HOST_PAIRS);

		bench->questions[i] = (struct zone_question){
			.source_zone = pairs ? host[pair].from : (uint16_t)(1 + draw(bench, zones)),
			.destination_zone =
				pairs ? host[pair].to : (uint16_t)(1 + draw(bench, zones)),
			.protocol = IPPROTO_TCP,
			.destination_port = (uint16_t)(1000 + draw(bench, 4000)),
		};
	}
}

static double measure(const struct bench *bench, const struct zone_policy *policy)
{
	double best = 1e9;
	volatile uint32_t sink = 0;

	for (unsigned int round = 0; round < ROUNDS; round++) {
		uint64_t begin = now_ns();
		double each;

		for (unsigned int i = 0; i < QUESTIONS; i++) {
			struct zone_verdict verdict;

			zone_decide(policy, &bench->questions[i], &verdict);
			sink = sink + verdict.rule;
		}
		each = (double)(now_ns() - begin) / QUESTIONS;
		best = each < best ? each : best;
	}
	return best;
}

static void count_rule(uint32_t rule, uint32_t by, void *count)
{
	(void)rule;
	(void)by;
	++*(unsigned int *)count;
}

/* What a plan asks: rules that nothing reaches. */
static void measure_unreachable(const struct zone_policy *policy)
{
	unsigned int n = 0;
	uint64_t begin = now_ns();

	zone_each_unreachable_rule(policy, count_rule, &n);
	printf("    %u rules that nothing reaches, found in %.0f ms\n", n,
		(double)(now_ns() - begin) / 1e6);
}

int main(int argc, char **argv)
{
	static const char *const defaults[] = {"10", "1000", "120000"};
	static struct bench bench = {.state = 1};
	int n = argc > 1 ? argc - 1 : 3;

	for (int i = 0; i < n; i++) {
		unsigned int rules =
			(unsigned int)strtoul(argc > 1 ? argv[i + 1] : defaults[i], NULL, 10);
		struct zone_policy *policy = make_policy(&bench, rules);
		double host, all;

		make_questions(&bench, zones_for(rules), HOST_PAIRS);
		host = measure(&bench, policy);
		make_questions(&bench, zones_for(rules), 0);
		all = measure(&bench, policy);
		printf("    a verdict: %.1f ns among one host's zone pairs, %.1f ns among all\n",
			host, all);
		measure_unreachable(policy);
		zone_policy_destroy(policy);
	}
	return 0;
}
