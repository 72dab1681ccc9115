/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What carries records to the sinks, what chooses among them, and what a sink may be told.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "log/batch.h"
#include "log/match.h"
#include "log/sink_options.h"
#include "zones/address.h"
#include "zones/zone.h"

/* --- Batches ---------------------------------------------------------------------------------- */

static struct log_record record_of(const char *tags)
{
	struct log_record record;

	log_record_gap(&record, "here", "policy", 0);
	record.kind = LOG_DENIED;
	record.verdict = ZONE_DENY;
	record.protocol = 6;
	record.policy = "db-access";
	record.rule = "no-internet";
	record.label = "CHG-1";
	record.source = (struct log_party){.port = "vm1-eth0",
		.vm_id = "id-1",
		.vm_name = "web-1",
		.zone = "web",
		.tags = tags,
		.transport_port = 40000};
	record.destination = (struct log_party){.port = "uplink0",
		.vm_id = "",
		.vm_name = "",
		.zone = "internet",
		.tags = "",
		.transport_port = 443};
	assert_true(ip_address_parse("10.0.1.5", &record.source.address));
	assert_true(ip_address_parse("2001:db8::5", &record.destination.address));
	return record;
}

static void test_batch_has_strings_of_its_own(void **state)
{
	static struct log_batch_builder builder;
	char tags[] = "tier=web";
	struct log_record record = record_of(tags);

	(void)state;
	assert_true(log_batch_add(&builder, &record));
	memset(tags, 'x', sizeof(tags) - 1);
	assert_true(log_batch_add(&builder, &record));
	struct log_batch *batch = log_batch_create(&builder);
	assert_non_null(batch);
	memset(builder.text, 'y', sizeof(builder.text));
	assert_int_equal(batch->n, 2);
	assert_int_equal(batch->events, 2);
	assert_string_equal(batch->records[0].source.tags, "tier=web");
	assert_string_equal(batch->records[1].source.tags, "xxxxxxxx");
	assert_string_equal(batch->records[0].simulated_rule, "");
	assert_string_equal(batch->records[1].host, "here");
	assert_int_equal(builder.n, 0);
	log_batch_put(log_batch_take(batch));
	assert_string_equal(batch->records[1].destination.zone, "internet");
	log_batch_put(batch);
	log_batch_put(NULL);
}

static void test_batch_is_full_by_number_or_by_text(void **state)
{
	static struct log_batch_builder builder;
	struct log_record record = record_of("tier=web");
	char *tags = malloc(3 * LOG_BATCH_TEXT);
	unsigned int n = 0;

	(void)state;
	assert_non_null(tags);
	while (log_batch_add(&builder, &record))
		n++;
	assert_int_equal(n, LOG_BATCH_RECORDS);
	log_batch_put(log_batch_create(&builder));

	memset(tags, 't', 3 * LOG_BATCH_TEXT);
	tags[LOG_BATCH_TEXT / 3] = '\0';
	record.source.tags = tags;
	for (n = 0; log_batch_add(&builder, &record);)
		n++;
	assert_int_equal(n, 2);
	struct log_batch *batch = log_batch_create(&builder);
	assert_int_equal(strlen(batch->records[1].source.tags), LOG_BATCH_TEXT / 3);
	log_batch_put(batch);

	/* Longer than any batch: cut, not lost. */
	tags[LOG_BATCH_TEXT / 3] = 't';
	tags[3 * LOG_BATCH_TEXT - 1] = '\0';
	assert_true(log_batch_add(&builder, &record));
	batch = log_batch_create(&builder);
	assert_in_range(strlen(batch->records[0].source.tags), 1000, LOG_BATCH_TEXT);
	assert_string_equal(batch->records[0].source.zone, "web");
	log_batch_put(batch);
	free(tags);
}

/* --- Conditions ------------------------------------------------------------------------------- */

static bool holds(const char *words, const struct log_record *record)
{
	char error[200] = "";
	struct log_match *match = log_match_parse(words, error, sizeof(error));

	if (!match)
		fail_msg("'%s': %s", words, error);
	bool result = log_match_holds(match, record);
	log_match_free(match);
	return result;
}

static void test_conditions(void **state)
{
	static const struct {
		const char *words;
		bool holds;
	} cases[] = {
		{"", true},
		{"   ", true},
		{"kind=denied", true},
		{"kind=start,denied", true},
		{"kind=start,end", false},
		{"kind!=start", true},
		{"kind!=start,denied", false},
		{"verdict=denied", true},
		{"verdict=rejected", false},
		{"simulated=denied", false},
		{"zone=web", true},
		{"zone=internet", true},
		{"zone=db", false},
		{"zone!=db", true},
		{"zone!=web", false},
		{"vm=web-1", true},
		{"vm=id-1", true},
		{"vm=web", false},
		{"port=uplink0", true},
		{"address=10.0.0.0/8", true},
		{"address=2001:db8::/32", true},
		{"address=10.0.1.6", false},
		{"protocol=tcp", true},
		{"protocol=udp,6", true},
		{"transport-port=443", true},
		{"transport-port=80", false},
		{"rule=no-internet", true},
		{"rule=db-access/no-internet", true},
		{"rule=db-access", false},
		{"rule=other/no-internet", false},
		{"label=CHG-1", true},
		{"reason=policy", true},
		{"kind=denied zone=web transport-port=443", true},
		{"kind=denied zone=db", false},
		{" kind=denied\tzone=web ", true},
	};
	struct log_record record = record_of("tier=web");

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (holds(cases[i].words, &record) != cases[i].holds)
			fail_msg("'%s'", cases[i].words);
}

/* What is lost might have matched. */
static void test_gaps_always_match(void **state)
{
	struct log_record record;

	(void)state;
	log_record_gap(&record, "here", "ring-full", 3);
	assert_true(holds("kind=denied zone=db", &record));
	assert_true(holds("kind!=gap", &record));
}

static void test_conditions_that_make_no_sense(void **state)
{
	static const struct {
		const char *words, *names;
	} cases[] = {
		{"denied", "'denied'"},
		{"colour=red", "'colour'"},
		{"kind=refused", "would-deny"},
		{"kind=", "kind ''"},
		{"verdict=allowed,maybe", "'maybe'"},
		{"address=10.0.0.1/8", "10.0.0.1/8"},
		{"transport-port=0", "'0'"},
		{"transport-port=65536", "65536"},
		{"protocol=quic", "quic"},
		{"zone=a,,b", "zone ''"},
		{"=x", "''"},
		{"!=x", "''"},
		{"zone=a zone=a zone=a zone=a zone=a zone=a zone=a zone=a zone=a zone=a zone=a "
		 "zone=a "
		 "zone=a zone=a zone=a zone=a zone=a",
			"16"},
	};
	char error[200];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		error[0] = '\0';
		assert_null(log_match_parse(cases[i].words, error, sizeof(error)));
		if (!strstr(error, cases[i].names))
			fail_msg("'%s': \"%s\" does not name %s", cases[i].words, error,
				cases[i].names);
	}
}

/* --- Options ---------------------------------------------------------------------------------- */

static bool option_is_good(const char *name, const char *value, char error[200])
{
	const struct sink_setting at = {name, value};
	const struct sink_settings settings = {.kind = sink_kind_find("sqlite"), .n = 1, .at = &at};

	return sink_settings_check(&settings, error, 200);
}

static void test_options(void **state)
{
	char error[200];

	(void)state;
	assert_true(option_is_good("retention-days", "90", error));
	assert_true(option_is_good("filter", "kind=denied", error));
	assert_false(option_is_good("filter", "kind=refused", error));
	assert_non_null(strstr(error, "filter=kind=refused"));
	assert_false(option_is_good("retention-days", "ninety", error));
	assert_non_null(strstr(error, "retention-days=ninety"));
	assert_false(option_is_good("retention-days", "0", error));
	assert_false(option_is_good("retention-days", "99999999999999999999", error));
	assert_false(option_is_good("directory", "log", error));
	assert_false(option_is_good("colour", "red", error));
	assert_non_null(strstr(error, "no option 'colour'"));
	assert_null(sink_kind_find("pigeon"));
}

/* Every default of every type is a good value itself. */
static void test_defaults_are_good(void **state)
{
	(void)state;
	for (size_t i = 0; i < n_sink_kinds; i++)
		for (size_t j = 0; j < sink_kinds[i].n_options; j++) {
			const struct sink_option *option = &sink_kinds[i].options[j];
			struct sink_setting at[8] = {{option->name, option->otherwise}};
			struct sink_settings settings = {.kind = &sink_kinds[i], .n = 1, .at = at};
			char error[200] = "";

			if (!option->otherwise)
				continue;
			if (!sink_settings_check(&settings, error, sizeof(error)) &&
				!strstr(error, " needs "))
				fail_msg("%s: %s", sink_kinds[i].name, error);
			assert_string_equal(
				sink_setting_text(&settings, option->name), option->otherwise);
		}
}

static void test_endpoints(void **state)
{
	static const struct {
		const char *endpoint, *host, *port;
	} cases[] = {
		{"collector", "collector", ""},
		{"collector:4739", "collector", "4739"},
		{"10.0.0.9:514", "10.0.0.9", "514"},
		{"[2001:db8::9]:514", "2001:db8::9", "514"},
		{"[2001:db8::9]", "2001:db8::9", ""},
		{"2001:db8::9", "2001:db8::9", ""},
		{"", "", ""},
		{":514", "", ""},
		{"host:", "", ""},
		{"host:0", "", ""},
		{"host:65536", "", ""},
		{"host:http", "", ""},
		{"[2001:db8::9", "", ""},
		{"[2001:db8::9]x", "", ""},
		{"ho st:514", "", ""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char host[SINK_HOST_MAX], port[SINK_PORT_MAX];

		sink_endpoint_split(cases[i].endpoint, host, port);
		assert_string_equal(host, cases[i].host);
		assert_string_equal(port, cases[i].port);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_batch_has_strings_of_its_own),
		cmocka_unit_test(test_batch_is_full_by_number_or_by_text),
		cmocka_unit_test(test_conditions),
		cmocka_unit_test(test_gaps_always_match),
		cmocka_unit_test(test_conditions_that_make_no_sense),
		cmocka_unit_test(test_options),
		cmocka_unit_test(test_defaults_are_good),
		cmocka_unit_test(test_endpoints),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
