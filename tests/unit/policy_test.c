/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading policy documents: what is understood, and what is said of what is not.
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

static struct zone_policy *create(const char *text, struct policy_errors *errors)
{
	return zone_policy_create(text, strlen(text), 1, 0, errors);
}

/* --- What is understood --------------------------------------------------------------------- */

static void valid_documents(void **state)
{
	static const struct {
		const char *text;
		unsigned int zones, rules; /* Zones with quarantine. */
	} cases[] = {
		{"zones: {}", 1, 0},
		{"zones:\n", 1, 0},
		{"\xef\xbb\xbfzones: {a: {match: x}}", 2, 0},
		{"---\nzones: {a: {match: x}}\n...\n", 2, 0},
		{"zones: {a: {match: 'x = \"y z\"', cidrs: 10.0.0.1, intra: allow}}", 2, 0},
		{"zones:\r\n  a:\r\n    match: x\r\n", 2, 0},
		{"zones: {a: {match: x}}\nservices:\ntiers: [one]\npolicies:\nbaseline: {}", 2, 0},
		{"policies:\n- id: p\n  rules:\nzones: ~", 1, 0},
		/* What is defined may come behind what uses it. */
		{"policies:\n- {id: p, tier: t, rules: [{id: r, from: a, to: any, service: s, "
		 "action: deny}]}\n"
		 "services: {s: [tcp/1, udp, any]}\ntiers: [t]\nzones: {a: {match: x}}",
			2, 1},
		{"zones: {a: {match: x}, b: {match: y}}\n"
		 "policies:\n"
		 "- id: p\n"
		 "  mode: enforce\n"
		 "  tier: emergency\n"
		 "  rules:\n"
		 "  - {id: r, from: [a, b], to: [a], service: [tcp/1-2, icmp/3/4, ip/47], action: "
		 "pass}\n"
		 "  - {id: s, from: any, to: any, action: reject, log: none, label: \"\xc3\x84 "
		 "1\"}\n"
		 "- {id: q, mode: off, rules: [{id: r, from: a, to: b, action: allow, log: all}]}\n"
		 "- {id: r, rules: []}\n"
		 "baseline: {between_zones: reject, within_zone: deny, log: session}",
			3, 3},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct policy_errors errors;
		struct zone_policy *policy = create(cases[i].text, &errors);

		if (!policy)
			fail_msg("%s\n%u:%u: %s", cases[i].text, errors.at[0].line,
				errors.at[0].column, errors.at[0].message);
		assert_int_equal(errors.n, 0);
		assert_int_equal(errors.n_total, 0);
		assert_int_equal(zone_count(policy), cases[i].zones);
		assert_int_equal(zone_rule_count(policy), cases[i].rules);
		assert_true(zone_policy_memory_bytes(policy) > 0);
		zone_policy_destroy(policy);
	}
}

/* --- What is wrong -------------------------------------------------------------------------- */

/* Beginnings and ends of documents of which the middle is wrong. */
#define ZONE "zones: {a: {match: x}, web: {match: y}}\n"
#define RULE ZONE "policies: [{id: p, rules: [\n"
#define END  "\n]}]\n"

static const struct mistake {
	const char *text;
	unsigned int line, column;
	const char *message; /* How the message begins. */
} mistakes[] = {
	/* The document. */
	{"", 0, 0, "the document is empty: a policy needs at least the key 'zones'"},
	{"# nothing\n", 0, 0, "the document is empty"},
	{"zones", 1, 1, "expected a policy, as keys and values, found 'zones'"},
	{"[a]", 1, 1, "expected a policy, as keys and values, found a list"},
	{"tiers: [a]", 1, 1, "a policy needs the key 'zones'"},
	{ZONE "zonse: {}", 2, 1,
		"unknown key 'zonse' in a policy; did you mean 'zones'? (known: zones, services, "
		"tiers, "
		"policies, baseline)"},
	{ZONE "xyz: {}", 2, 1, "unknown key 'xyz' in a policy (known:"},
	{ZONE "zones: {}", 2, 1, "the key 'zones' is in a policy twice"},
	{ZONE "? [a]\n: b", 2, 3, "expected a key of a policy, found a list"},
	{ZONE "---\nzones: {}", 2, 1, "a second YAML document begins here"},
	{ZONE "...\nmore", 3, 1, "not valid YAML at 'more'"},
	{"zones: {a: &here {match: x}}", 1, 12, "the anchor 'here' is not allowed in a policy"},
	{"zones: {a: *here}", 1, 12, "the alias 'here' is not allowed in a policy"},
	{"zones: {a: {match: !!str x}}", 1, 20,
		"the YAML tag 'tag:yaml.org,2002:str' is not allowed in a policy"},
	{"zones: {a: {match: x}\nb: [}", 2, 1,
		"not valid YAML at 'b: [}': did not find expected ',' or '}'"},
	{"zones:\n\ta: b", 2, 1, "not valid YAML at '?a: b': found character that cannot start"},
	{"zones: {a: {match: \"x\\0y\"}}", 1, 20,
		"expected a tag expression such as 'tier=web', found a text with a NUL character"},
	{"zones: {a: {match: \xff}}", 1, 20, "the byte 0xff is not UTF-8 text"},
	{"zones: {a: {match: \xc0\xaf}}", 1, 20, "the byte 0xc0 is not UTF-8 text"},
	{"# \xc3\xa4\n# \xed\xa0\x80", 2, 3, "the byte 0xed is not UTF-8 text"},
	{"zones: \x01", 1, 8, "the character U+0001 is not allowed in a policy"},
	/* Zones. */
	{"zones: []", 1, 8, "expected for each zone its name and what it is, found a list"},
	{"zones: {a: x}", 1, 12, "expected a zone, as keys and values, found 'x'"},
	{"zones: {a: }", 1, 12, "expected a zone, as keys and values, found nothing"},
	{"zones: {a: {}}", 1, 9, "zone 'a' can have no member: give it 'match' (tags), 'cidrs'"},
	{"zones: {a: {intra: deny}}", 1, 9, "zone 'a' can have no member"},
	{"zones: {any: {match: x}}", 1, 9, "'any' is a built-in zone and cannot be defined"},
	{"zones: {quarantine: {match: x}}", 1, 9, "'quarantine' is a built-in zone"},
	{"zones: {a: {match: x},\n a: {match: y}}", 2, 2,
		"zone 'a' is defined twice; first on line 1"},
	{"zones: {a b: {match: x}}", 1, 9, "'a b' cannot be the name of a zone: use at most 63"},
	{"zones: {'': {match: x}}", 1, 9, "'' cannot be the name of a zone"},
	{"zones: {aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa: {match: x}}", 1,
		9, "'aaaaaaaa"},
	{"zones: {[a]: {match: x}}", 1, 9, "expected the name of a zone, found a list"},
	{"zones: {a: {mtach: x, intra: allow, cidrs: 10.0.0.1}}", 1, 13,
		"unknown key 'mtach' in a zone; did you mean 'match'?"},
	{"zones: {a: {match: [x]}}", 1, 20,
		"expected a tag expression such as 'tier=web', found a"},
	{"zones: {a: {match: x and}}", 1, 25, "in the tag expression: expected a tag's key"},
	{"zones: {a: {match: \"x (y)\"}}", 1, 23,
		"in the tag expression: expected 'and', 'or' or the end, found '('"},
	{"zones: {a: {match: \"x\n  (y)\"}}", 1, 20, "in the tag expression: expected 'and'"},
	{"zones: {a: {intra: alow, match: x}}", 1, 20,
		"'alow' is no verdict within a zone: expected allow or deny; did you mean "
		"'allow'?"},
	{"zones: {a: {cidrs: 10.0.0.1/8}}", 1, 20,
		"'10.0.0.1/8' is no prefix: expected an address"},
	{"zones: {a: {cidrs: [10.0.0.0/8, ten]}}", 1, 33, "'ten' is no prefix"},
	{"zones: {a: {cidrs: []}}", 1, 20,
		"the list is empty: expected a prefix such as 10.0.0.0/8"},
	{"zones: {a: {cidrs: [[10.0.0.0/8]]}}", 1, 21,
		"expected a prefix such as 10.0.0.0/8, found a list"},
	{"zones:\n a: {cidrs: 10.0.0.0/8}\n b: {cidrs: 10.0.0.0/8}", 3, 13,
		"the prefix 10.0.0.0/8 is in zone 'a' already"},
	{"zones: {a: {cidrs: ['::1', '::1/128']}}", 1, 28,
		"the prefix ::1/128 is in zone 'a' twice"},
	/* Services. */
	{ZONE "services: {s: tcp/70000}", 2, 15,
		"'tcp/70000' is not a service: expected a port from 0 to 65535, or a range"},
	{ZONE "services: {s: tcp/90-80}", 2, 15, "'tcp/90-80' is not a service"},
	{ZONE "services: {s: tcp/}", 2, 15, "'tcp/' is not a service"},
	{ZONE "services: {s: tcp/80x}", 2, 15, "'tcp/80x' is not a service"},
	{ZONE "services: {s: tcp/-80}", 2, 15, "'tcp/-80' is not a service"},
	{ZONE "services: {s: icmp/256}", 2, 15, "'icmp/256' is not a service: expected a type"},
	{ZONE "services: {s: icmp/3/x}", 2, 15, "'icmp/3/x' is not a service"},
	{ZONE "services: {s: ip}", 2, 15, "'ip' is not a service: expected a protocol number"},
	{ZONE "services: {s: ip/256}", 2, 15, "'ip/256' is not a service"},
	{ZONE "services: {s: any/1}", 2, 15, "'any/1' is not a service: 'any' stands alone"},
	{ZONE "services: {s: [tcp/1, tpc/2]}", 2, 23,
		"'tpc/2' is not a service: it begins with tcp, udp, sctp, icmp, icmpv6 or ip; did "
		"you "
		"mean 'tcp'?"},
	{ZONE "services: {s: 5432}", 2, 15, "'5432' is not a service: it begins with"},
	{ZONE "services: {tcp: tcp/1}", 2, 12, "'tcp' is a built-in service and cannot be defined"},
	{ZONE "services: {s: tcp/1, s: tcp/2}", 2, 22,
		"service 's' is defined twice; first on line"},
	{ZONE "services: {s: []}", 2, 15, "the list is empty: expected a service such as tcp/5432"},
	{ZONE "services: {s: {port: 1}}", 2, 15, "expected a service such as tcp/5432, found keys"},
	/* Tiers and baseline. */
	{ZONE "tiers: one", 2, 8, "expected a list of tiers, first to last, found 'one'"},
	{ZONE "tiers: []", 2, 8, "the list is empty: name at least one tier"},
	{ZONE "tiers: [a, b, a]", 2, 15, "tier 'a' is named twice"},
	{ZONE "tiers: [baseline]", 2, 9, "'baseline' always comes last"},
	{ZONE "tiers: [1,2,3,4,5,6,7,8,9,a,b,c,d,e,f,g,h]", 2, 41, "more than 16 tiers"},
	{ZONE "baseline: {between_zone: deny}", 2, 12,
		"unknown key 'between_zone' in the baseline; did you mean 'between_zones'?"},
	{ZONE "baseline: {between_zones: pass}", 2, 27,
		"'pass' is no verdict: expected allow, deny or reject"},
	{ZONE "baseline: {log: some}", 2, 17,
		"'some' is no log level: expected none, denied, session or all"},
	/* Policies. */
	{ZONE "policies: {id: p}", 2, 11,
		"expected a list of policies, each beginning with '- id:'"},
	{ZONE "policies: [{id: p}]", 2, 12, "a policy needs the key 'rules'"},
	{ZONE "policies: [{rules: []}]", 2, 12, "a policy needs the key 'id'"},
	{ZONE "policies: [{id: baseline, rules: []}]", 2, 17, "'baseline' is the built-in policy"},
	{ZONE "policies: [{id: p, rules: []}, {id: p, rules: []}]", 2, 37,
		"policy 'p' is defined twice; first on line 2"},
	{ZONE "policies: [{id: p, tier: aplication, rules: []}]", 2, 26,
		"no tier is named 'aplication': expected one of 'tiers'; did you mean "
		"'application'?"},
	{ZONE "policies: [{id: p, mode: enforced, rules: []}]", 2, 26,
		"'enforced' is no mode: expected enforce, simulate or off; did you mean "
		"'enforce'?"},
	/* Rules. */
	{RULE "{id: r, from: a, to: a, action: allow, port: 80}" END, 3, 40,
		"unknown key 'port' in a rule"},
	{RULE "{from: a, to: a, action: allow}" END, 3, 1, "a rule needs the key 'id'"},
	{RULE "{id: r, to: a, action: allow}" END, 3, 1, "a rule needs the key 'from'"},
	{RULE "{id: r, from: a, action: allow}" END, 3, 1, "a rule needs the key 'to'"},
	{RULE "{id: r, from: a, to: a}" END, 3, 1, "a rule needs the key 'action'"},
	{RULE "allow all" END, 3, 1, "expected a rule, as keys and values, found 'allow all'"},
	{RULE "{id: r, from: a, to: a, action: allow},\n{id: r, from: a, to: a, action: allow}" END,
		4, 6, "rule 'r' is in this policy twice; first on line 3"},
	{RULE "{id: r, from: wbe, to: a, action: allow}" END, 3, 15,
		"no zone is named 'wbe': expected a key of 'zones', or any; did you mean 'web'?"},
	{RULE "{id: r, from: a, to: [a, an], action: allow}" END, 3, 26,
		"no zone is named 'an': expected a key of 'zones', or any"},
	{RULE "{id: r, from: quarantine, to: a, action: allow}" END, 3, 15,
		"no rule can name 'quarantine': nothing passes to or from it"},
	{RULE "{id: r, from: [a, any], to: a, action: allow}" END, 3, 19,
		"'any' takes in all: write it alone"},
	{RULE "{id: r, from: [a, a], to: a, action: allow}" END, 3, 19,
		"'a' is in this list twice"},
	{RULE "{id: r, from: [], to: a, action: allow}" END, 3, 15,
		"the list is empty: expected a zone or a list of zones"},
	{RULE "{id: r, from: a, to: a, service: htpt, action: allow}" END
	      "services: {http: tcp/80}",
		3, 34,
		"no service is named 'htpt': expected a key of 'services', any, or one written "
		"out such as tcp/443; did you mean 'http'?"},
	{RULE "{id: r, from: a, to: a, service: tcp/http, action: allow}" END, 3, 34,
		"'tcp/http' is not a service: expected a port"},
	{RULE "{id: r, from: a, to: a, service: [tcp/1, tcp/1], action: allow}" END, 3, 42,
		"'tcp/1' is in this list twice"},
	{RULE "{id: r, from: a, to: a, action: permit}" END, 3, 33,
		"'permit' is no action: expected allow, deny, reject or pass"},
	{RULE "{id: r, from: a, to: a, action: pass, log: all}" END, 3, 44,
		"'log' has no meaning with 'action: pass'"},
	{RULE "{id: r, from: a, to: a, action: allow, label: \"a\\nb\"}" END, 3, 47,
		"'a?b' cannot be a label: expected one line of at most 128 bytes"},
	{RULE "{id: r, from: a, to: a, action: allow, label: ''}" END, 3, 47,
		"'' cannot be a label"},
};

static void check_mistakes(const struct mistake *at, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct mistake *mistake = &at[i];
		struct policy_errors errors;

		if (create(mistake->text, &errors))
			fail_msg("%s\nwas taken", mistake->text);
		/* One mistake is one message. */
		assert_int_equal(errors.n, errors.n_total);
		if (errors.n != 1 || errors.at[0].line != mistake->line ||
			errors.at[0].column != mistake->column ||
			strncmp(errors.at[0].message, mistake->message, strlen(mistake->message))) {
			for (size_t j = 0; j < errors.n; j++)
				print_error("%u:%u: %s\n", errors.at[j].line, errors.at[j].column,
					errors.at[j].message);
			fail_msg("%s\nexpected %u:%u: %s", mistake->text, mistake->line,
				mistake->column, mistake->message);
		}
	}
}

static void mistakes_are_named_where_they_are(void **state)
{
	(void)state;
	check_mistakes(mistakes, COUNT(mistakes));
}

/* --- The terms of rules, policies and zones -------------------------------------------------- */

#define ALLOW	 RULE "{id: r, from: a, to: a, action: allow, "
#define EXPIRES	 ALLOW "expires: "
#define SCHEDULE ALLOW "schedule: "
#define LIMITS	 ALLOW "limits: "
#define HELPER	 RULE "{id: r, from: a, to: a, helper: "

static const struct mistake mistaken_terms[] = {
	{EXPIRES "2027-02-29}" END, 3, 49, "'2027-02-29' is no date: expected one such as"},
	{EXPIRES "2100-02-29}" END, 3, 49, "'2100-02-29' is no date"},
	{EXPIRES "2027-13-01}" END, 3, 49, "'2027-13-01' is no date"},
	{EXPIRES "2027-00-01}" END, 3, 49, "'2027-00-01' is no date"},
	{EXPIRES "2027-04-31}" END, 3, 49, "'2027-04-31' is no date"},
	{EXPIRES "2027-04-00}" END, 3, 49, "'2027-04-00' is no date"},
	{EXPIRES "2027-1-1}" END, 3, 49, "'2027-1-1' is no date"},
	{EXPIRES "2027-01-31T24:00:00Z}" END, 3, 49, "'2027-01-31T24:00:00Z' is no date"},
	{EXPIRES "2027-01-31T18:60:00Z}" END, 3, 49, "'2027-01-31T18:60:00Z' is no date"},
	{EXPIRES "2027-01-31T18:00:60Z}" END, 3, 49, "'2027-01-31T18:00:60Z' is no date"},
	{EXPIRES "2027-01-31T18:00:00+24:00}" END, 3, 49, "'2027-01-31T18:00:00+24:00' is no date"},
	{EXPIRES "2027-01-31T18:00:00+01:60}" END, 3, 49, "'2027-01-31T18:00:00+01:60' is no date"},
	{EXPIRES "2027-01-31T18:00:00}" END, 3, 49, "'2027-01-31T18:00:00' is no date"},
	{EXPIRES "tomorrow}" END, 3, 49, "'tomorrow' is no date"},
	{EXPIRES "[2027-01-31]}" END, 3, 49, "expected a date such as 2027-01-31, found a list"},
	{ZONE "policies: [{id: p, rules: [], expires: 31.1.2027}]", 2, 40,
		"'31.1.2027' is no date"},
	{SCHEDULE "{days: [monday], from: 00:00, to: 24:00}}" END, 3, 58,
		"'monday' is no day: expected mon, tue, wed, thu, fri, sat or sun"},
	{SCHEDULE "{days: [mon, tue, mon], from: 00:00, to: 24:00}}" END, 3, 68,
		"'mon' is in this list twice"},
	{SCHEDULE "{days: [], from: 00:00, to: 24:00}}" END, 3, 57,
		"the list is empty: name at least one day, or leave 'days' out"},
	{SCHEDULE "{days: mon, from: 00:00, to: 24:00}}" END, 3, 57,
		"expected a list of days such as [mon, tue], found 'mon'"},
	{SCHEDULE "{from: 24:00, to: 06:00}}" END, 3, 57,
		"'24:00' is no time of day: expected one from 00:00 to 23:59"},
	{SCHEDULE "{from: 22:00, to: 24:01}}" END, 3, 68,
		"'24:01' is no time of day: expected one from 00:00 to 24:00"},
	{SCHEDULE "{from: 09:60, to: 10:00}}" END, 3, 57, "'09:60' is no time of day"},
	{SCHEDULE "{from: 09:00:60, to: 10:00}}" END, 3, 57, "'09:00:60' is no time of day"},
	{SCHEDULE "{from: 9:00, to: 10:00}}" END, 3, 57, "'9:00' is no time of day"},
	{SCHEDULE "{from: 09:00}}" END, 3, 50, "a schedule needs the key 'to'"},
	{SCHEDULE "{from: 09:00, to: 09:00}}" END, 3, 50,
		"the schedule ends when it begins: for whole days, write from 00:00 to 24:00"},
	{SCHEDULE "nights}" END, 3, 50, "expected a schedule, as keys and values, found"},
	{SCHEDULE "{from: 09:00, to: 10:00, zone: UTC}}" END, 3, 75,
		"unknown key 'zone' in a schedule"},
	{SCHEDULE "{from: 09:00, to: 10:00, time_zone: Europe/Berln}}" END, 3, 86,
		"no time zone is named 'Europe/Berln': expected one such as Europe/Berlin or UTC; "
		"did you mean 'Europe/Berlin'?"},
	{SCHEDULE "{from: 09:00, to: 10:00, time_zone: ../../../etc/passwd}}" END, 3, 86,
		"no time zone is named '../../../etc/passwd'"},
	{SCHEDULE "{from: 09:00, to: 10:00, time_zone: /etc/localtime}}" END, 3, 86,
		"no time zone is named '/etc/localtime'"},
	{SCHEDULE "{from: 09:00, to: 10:00, time_zone: zone.tab}}" END, 3, 86,
		"no time zone is named 'zone.tab'"},
	{SCHEDULE "{from: 09:00, to: 10:00, time_zone: Europe}}" END, 3, 86,
		"no time zone is named 'Europe'"},
	{SCHEDULE "{from: 09:00, to: 10:00, time_zone: right/Europe/Berlin}}" END, 3, 86,
		"no time zone is named 'right/Europe/Berlin'"},
	{SCHEDULE "{from: 09:00, to: 10:00, time_zone: localtime}}" END, 3, 86,
		"no time zone is named 'localtime'"},
	{SCHEDULE "{from: 09:00, to: 10:00, time_zone: '+01:00'}}" END, 3, 86,
		"no time zone is named '+01:00'"},
	{SCHEDULE "{from: 09:00, to: 10:00, time_zone: CET-1CEST}}" END, 3, 86,
		"no time zone is named 'CET-1CEST'"},
	{ZONE "policies: [{id: p, rules: [], schedule: {to: 10:00}}]", 2, 41,
		"a schedule needs the key 'from'"},
	{LIMITS "{connections: 0}}" END, 3, 62,
		"'0' is no limit: expected a number from 1 to 1000000000; for no limit, leave the "
		"key out"},
	{LIMITS "{connections: 1000000001}}" END, 3, 62, "'1000000001' is no limit"},
	{LIMITS "{connections: 99999999999999999999999999}}" END, 3, 62, "'9999"},
	{LIMITS "{new_per_second: -1}}" END, 3, 65, "'-1' is no limit"},
	{LIMITS "{half_open: 1e3}}" END, 3, 60, "'1e3' is no limit"},
	{LIMITS "{half_open: ''}}" END, 3, 60, "'' is no limit"},
	{LIMITS "{half_open: 1, connection: 1}}" END, 3, 63,
		"unknown key 'connection' in limits; did you mean 'connections'?"},
	{LIMITS "{}}" END, 3, 48, "the limits are empty: expected connections, new_per_second or"},
	{LIMITS "100}" END, 3, 48, "expected limits, as keys and values, found '100'"},
	{RULE "{id: r, from: a, to: a, action: deny, limits: {half_open: 1}}" END, 3, 47,
		"'limits' has a meaning with 'action: allow' only"},
	{"zones: {a: {match: x, limits: {half_open: no}}}", 1, 43, "'no' is no limit"},
	{"zones: {a: {match: x, pickup: yes}}", 1, 31,
		"'yes' is no truth value: expected true or false"},
	{HELPER "ftpd, service: tcp/21, action: allow}" END, 3, 33,
		"'ftpd' is no helper: expected ftp or tftp; did you mean 'ftp'?"},
	{HELPER "ftp, action: allow}" END, 3, 33,
		"the helper 'ftp' needs a service that is TCP ports, such as tcp/21, not 'any'"},
	{HELPER "ftp, service: any, action: allow}" END, 3, 33, "the helper 'ftp' needs"},
	{HELPER "ftp, service: udp/21, action: allow}" END, 3, 47,
		"the helper 'ftp' needs a service that is TCP ports, such as tcp/21: 'udp/21' is "
		"more or other than that"},
	{HELPER "tftp, service: [udp/69, tcp/69], action: allow}" END, 3, 57,
		"the helper 'tftp' needs a service that is UDP ports, such as udp/69: 'tcp/69'"},
	{HELPER "ftp, service: mixed, action: allow}" END "services: {mixed: [tcp/21, udp/21]}", 3,
		47, "the helper 'ftp' needs a service that is TCP ports"},
	{HELPER "ftp, service: mixd, action: allow}" END "services: {mixed: [tcp/21, udp/21]}", 3,
		47, "no service is named 'mixd'"},
	{HELPER "ftp, service: tcp/21, action: reject}" END, 3, 33,
		"'helper' has a meaning with 'action: allow' only"},
};

static void mistakes_in_terms_are_named_where_they_are(void **state)
{
	(void)state;
	check_mistakes(mistaken_terms, COUNT(mistaken_terms));
}

static void terms_are_told(void **state)
{
	static const char text[] =
		"zones:\n"
		"  a: {match: a, pickup: true, limits: {connections: 10, new_per_second: 20, "
		"half_open: 30}}\n"
		"  b: {match: b, pickup: false}\n"
		"policies:\n"
		"- id: p\n"
		"  mode: simulate\n"
		"  rules:\n"
		"  - {id: ftp, from: a, to: b, service: [tcp/21, tcp/2121-2122], action: allow, "
		"helper: ftp}\n"
		"- id: q\n"
		"  expires: 2030-01-01\n"
		"  schedule: {from: 00:00, to: 24:00}\n"
		"  rules:\n"
		"  - {id: tftp, from: b, to: a, service: udp/69, action: allow, helper: tftp,\n"
		"     limits: {connections: 1000000000}}\n"
		"  - {id: old, from: b, to: a, action: allow, expires: 1969-12-31}\n"
		"  - {id: plain, from: b, to: b, action: allow, limits: {half_open: 7}}\n";
	struct policy_errors errors;
	struct zone_policy *policy = create(text, &errors);
	struct zone_rule_info info;
	char name[160];

	(void)state;
	assert_non_null(policy);
	assert_true(zone_info(policy, 1).pickup);
	assert_int_equal(zone_info(policy, 1).limits.connections, 10);
	assert_int_equal(zone_info(policy, 1).limits.new_per_second, 20);
	assert_int_equal(zone_info(policy, 1).limits.half_open, 30);
	assert_false(zone_info(policy, 2).pickup);
	assert_int_equal(zone_info(policy, 2).limits.connections, 0);
	assert_true(zone_rule_info(policy, 1, &info, name));
	assert_true(info.simulated && info.in_force);
	assert_int_equal(info.helper, ZONE_HELPER_FTP);
	assert_int_equal(info.limits.connections, 0);
	assert_true(zone_rule_info(policy, 2, &info, name));
	assert_true(!info.simulated && info.in_force);
	assert_int_equal(info.helper, ZONE_HELPER_TFTP);
	assert_int_equal(info.limits.connections, 1000000000);
	assert_true(zone_rule_info(policy, 3, &info, name));
	assert_false(info.in_force);
	assert_true(zone_rule_info(policy, 4, &info, name));
	assert_int_equal(info.limits.connections, 0);
	assert_int_equal(info.limits.half_open, 7);
	assert_int_equal(zone_policy_next_change(policy), 1893542400);
	zone_policy_destroy(policy);
}

/* --- Many, and large ------------------------------------------------------------------------ */

static void many_mistakes_come_in_order(void **state)
{
	char text[8192] = "zones: {}\npolicies:\n- id: p\n  rules:\n";
	struct policy_errors errors;

	(void)state;
	for (unsigned int i = 0; i < 30; i++)
		sprintf(text + strlen(text), "  - {id: r%u, from: a, to: any, action: %s}\n", i,
			i < 5	? "allow"
			: i < 8 ? "alow"
				: "deny");
	assert_null(create(text, &errors));
	assert_int_equal(errors.n_total, 33);
	assert_int_equal(errors.n, COUNT(errors.at));
	for (size_t i = 1; i < errors.n; i++)
		assert_true(errors.at[i].line > errors.at[i - 1].line ||
			    errors.at[i].column > errors.at[i - 1].column);
	assert_string_equal(
		errors.at[0].message, "no zone is named 'a': expected a key of 'zones', or any");
}

static void what_is_too_large_is_refused_by_name(void **state)
{
	size_t length = POLICY_BYTES_MAX + 1, used;
	char *text = malloc(length + 1);
	struct policy_errors errors;

	(void)state;
	assert_non_null(text);
	memset(text, '\n', length);
	text[length] = '\0';
	assert_null(zone_policy_create(text, length, 1, 0, &errors));
	assert_string_equal(errors.at[0].message,
		"the document has 67108865 bytes: a policy may have 67108864 (64 MiB)");

	/* 4096 zones, one more than there may be beside quarantine. */
	used = (size_t)sprintf(text, "zones:\n");
	for (unsigned int i = 0; i < ZONES_MAX; i++)
		used += (size_t)sprintf(text + used, "  z%u: {match: z%u}\n", i, i);
	assert_null(create(text, &errors));
	assert_int_equal(errors.n_total, 1);
	assert_int_equal(errors.at[0].line, ZONES_MAX + 1);
	assert_string_equal(errors.at[0].message, "more than 4095 zones");

	/* 1500 zones squared are within what lists may stand for; 1500 squared twice are not. */
	used = (size_t)sprintf(text, "zones:\n");
	for (unsigned int i = 0; i < 1500; i++)
		used += (size_t)sprintf(text + used, "  z%u: {match: z%u}\n", i, i);
	used += (size_t)sprintf(text + used, "policies:\n- id: p\n  rules:\n");
	for (unsigned int rule = 0; rule < 2; rule++) {
		used += (size_t)sprintf(text + used, "  - {id: r%u, action: allow", rule);
		for (unsigned int end = 0; end < 2; end++) {
			used += (size_t)sprintf(text + used, ", %s: [z0", end ? "to" : "from");
			for (unsigned int i = 1; i < 1500; i++)
				used += (size_t)sprintf(text + used, ",z%u", i);
			used += (size_t)sprintf(text + used, "]");
		}
		used += (size_t)sprintf(text + used, "}\n");
	}
	assert_null(create(text, &errors));
	assert_int_equal(errors.n_total, 1);
	assert_int_equal(errors.at[0].line, 1506);
	assert_string_equal(errors.at[0].message,
		"with rule 'r1' the policy stands for more than 4194304 combinations of zone, zone "
		"and service: use 'any', or fewer names in lists");
	free(text);
}

static void deep_nesting_ends_the_reading(void **state)
{
	char text[1000] = "zones: ";
	struct policy_errors errors;

	(void)state;
	memset(text + 7, '[', sizeof text - 8);
	assert_null(create(text, &errors));
	assert_int_equal(errors.n, 2);
	assert_string_equal(errors.at[1].message, "nested too deeply: at most 12 levels");
	assert_int_equal(errors.at[1].column, 19);
}

static void a_nul_byte_ends_nothing(void **state)
{
	static const char text[] = "zones: {a: {match: x}}\n\0policies: nonsense";
	struct policy_errors errors;

	(void)state;
	assert_null(zone_policy_create(text, sizeof text - 1, 1, 0, &errors));
	assert_int_equal(errors.at[0].line, 2);
	assert_int_equal(errors.at[0].column, 1);
	assert_string_equal(
		errors.at[0].message, "the NUL character U+0000 is not allowed in a policy");
}

/* The documents that people begin with. */
static void examples_are_valid(void **state)
{
	static const char *const paths[] = {"examples/policy.yaml", "examples/terms.yaml"};

	(void)state;
	for (size_t i = 0; i < COUNT(paths); i++) {
		char text[16384];
		FILE *file = fopen(paths[i], "r");
		struct policy_errors errors;
		struct zone_policy *policy;
		size_t n;

		assert_non_null(file);
		n = fread(text, 1, sizeof text, file);
		fclose(file);
		assert_true(n < sizeof text);
		policy = zone_policy_create(text, n, 1, 0, &errors);
		if (!policy)
			fail_msg("%s:%u:%u: %s", paths[i], errors.at[0].line, errors.at[0].column,
				errors.at[0].message);
		zone_policy_destroy(policy);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(valid_documents),
		cmocka_unit_test(mistakes_are_named_where_they_are),
		cmocka_unit_test(mistakes_in_terms_are_named_where_they_are),
		cmocka_unit_test(terms_are_told),
		cmocka_unit_test(examples_are_valid),
		cmocka_unit_test(many_mistakes_come_in_order),
		cmocka_unit_test(what_is_too_large_is_refused_by_name),
		cmocka_unit_test(deep_nesting_ends_the_reading),
		cmocka_unit_test(a_nul_byte_ends_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
