/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A policy document as it was written: names still are words, each with its place in the text.
 *
 *	policy_document_read()	text -> document	policy_read*.c on policy_yaml.c
 *	policy_document_check()	words -> indices	policy_check.c
 *	zone_policy_compile()	document -> policy	policy_compile.c
 *
 * Each step adds what is wrong to one list; the next needs a document without errors.
 */
#ifndef ZONES_POLICY_DOCUMENT_H
#define ZONES_POLICY_DOCUMENT_H

#include "zones/arena.h"
#include "zones/name_table.h"
#include "zones/policy_error.h"
#include "zones/schedule.h"
#include "zones/service.h"
#include "zones/zone.h"

#define POLICY_BYTES_MAX ((size_t)64 << 20)

enum {
	POLICY_NAME_MAX = 63,	 /* Bytes of a name. */
	POLICY_LABEL_MAX = 128,	 /* Bytes of a label. */
	POLICY_NESTING_MAX = 12, /* Levels of YAML; the grammar uses seven. */
	POLICY_TIERS_MAX = 16,
	POLICY_LIST_MAX = 4096,	       /* Words of one list in a rule or service. */
	POLICY_PREFIXES_MAX = 1 << 20, /* Prefixes of all zones. */
	POLICY_SERVICES_MAX = 1 << 20, /* Named ones. */
	POLICY_POLICIES_MAX = 1 << 16,
	POLICY_WORDS_MAX = 4 << 20, /* Words of all lists. */
	/* What all rules together may stand for, their lists multiplied out. */
	POLICY_COMBINATIONS_MAX = 4 << 20,
	POLICY_LIMIT_MAX = 1000000000, /* Of what `limits` may count. */
};

/* What never expires. */
#define POLICY_NEVER INT64_MAX

/* A word of the document, and once checked, what it stands for. */
struct document_name {
	const char *text; /* NULL: not given. */
	struct policy_mark at;
	uint32_t index;
};

/* What `from`, `to` or `service` says. */
struct document_names {
	struct document_name *names;
	uint32_t n;
	bool any; /* The word `any`, alone. */
};

struct document_prefix {
	struct ip_prefix prefix;
	struct policy_mark at;
};

enum document_intra { INTRA_AS_BASELINE, INTRA_ALLOW, INTRA_DENY };

struct document_zone {
	struct document_name name;
	const char *match; /* NULL: not given. */
	struct document_prefix *prefixes;
	uint32_t n_prefixes;
	uint8_t intra; /* enum document_intra. */
	uint8_t pickup;
	struct zone_limits limits;
};

struct document_service {
	struct document_name name;
	struct service_range *ranges;
	uint32_t n_ranges;
};

struct document_time_zone {
	const char *name;
	struct schedule_zone *zone; /* Owned. */
};

/* A schedule, kept once however often it is written. */
struct document_schedule {
	struct schedule window;
	const char *time_zone;
};

struct document_rule {
	struct document_name id;
	const char *label; /* NULL: not given. */
	struct document_names from, to, services;
	struct policy_mark helper_at;
	int64_t expires;     /* The first second without it, since 1970, or POLICY_NEVER. */
	uint32_t schedule;   /* Its place in `schedules`, from 1; 0: always. */
	uint8_t action, log; /* enum zone_action, enum zone_log. */
	uint8_t helper;	     /* enum zone_helper. */
	struct zone_limits limits;
};

enum document_mode { MODE_ENFORCE, MODE_SIMULATE, MODE_OFF };

struct document_policy {
	struct document_name id, tier;
	uint8_t mode; /* enum document_mode. */
	uint32_t first_rule, n_rules;
	int64_t expires;   /* As a rule's; both count. */
	uint32_t schedule; /* As a rule's; both count. */
};

struct policy_document {
	struct arena arena; /* All texts and lists. */
	struct document_zone *zones;
	struct document_service *services; /* Behind the named ones: those written out in a rule. */
	struct document_name *tiers;
	struct document_policy *policies;
	struct document_rule *rules;
	struct document_schedule *schedules;
	struct document_time_zone *time_zones;
	size_t n_zones, n_services, n_tiers, n_policies, n_rules, n_schedules, n_time_zones,
		n_prefixes, n_words;
	size_t allocated_zones, allocated_services, allocated_tiers, allocated_policies,
		allocated_rules, allocated_schedules, allocated_time_zones;
	uint8_t between_zones, within_zone; /* enum zone_action. */
	uint8_t baseline_log;		    /* enum zone_log. */
	struct name_table zone_names, service_names, tier_names, policy_names;
	struct name_table rule_names; /* Scope: the index of the policy. */
	struct name_table time_zone_names, schedule_names;
};

static inline bool zone_limits_any(const struct zone_limits *limits)
{
	return limits->connections || limits->new_per_second || limits->half_open;
}

/* Reads a document.  *document is filled in as far as the text could be understood, and must be
 * freed in any case.  Returns false if the text ends before its end: then a name that is missing
 * may only not have been reached, and the document is not worth checking. */
bool policy_document_read(struct policy_document *document, const char *text, size_t length,
	struct policy_errors *errors);

/* The same without the shortcut of zones/policy_lift.h: what the tests hold it to. */
bool policy_document_read_unlifted(struct policy_document *document, const char *text,
	size_t length, struct policy_errors *errors);

/* Finds what every name stands for. */
void policy_document_check(struct policy_document *document, struct policy_errors *errors);

void policy_document_free(struct policy_document *document);

#endif
