/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the command line writes numbers, times and guesses, and how it lays tables out.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "cli/cordon.h"
#include "openvswitch/util.h"
#include "util.h"

static void test_counts(void **state)
{
	static const struct {
		uint64_t count;
		const char *text;
	} table[] = {
		{0, "0"},
		{999, "999"},
		{1000, "1,000"},
		{999999, "999,999"},
		{1000000, "1,000,000"},
		{UINT64_MAX, "18,446,744,073,709,551,615"},
	};
	char text[CLI_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		assert_string_equal(cli_format_count(table[i].count, text), table[i].text);
}

static void test_bytes(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} table[] = {
		{0, "0 B"},
		{1023, "1023 B"},
		{1024, "1.0 KiB"},
		{1536, "1.5 KiB"},
		{1048575, "1.0 MiB"},
		{1048576, "1.0 MiB"},
		{UINT64_C(5) << 30, "5.0 GiB"},
		{UINT64_MAX, "16.0 EiB"},
	};
	char text[CLI_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		assert_string_equal(cli_format_bytes(table[i].bytes, text), table[i].text);
}

static void test_ages(void **state)
{
	static const struct {
		uint64_t seconds;
		const char *text;
	} table[] = {
		{0, "0s"},
		{59, "59s"},
		{60, "1m00s"},
		{3599, "59m59s"},
		{3600, "1h00m"},
		{86399, "23h59m"},
		{86400, "1d0h"},
		{UINT64_C(400) * 86400, "400d0h"},
	};
	char text[CLI_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		assert_string_equal(cli_format_age(table[i].seconds, text), table[i].text);
}

static void test_times(void **state)
{
	char text[CLI_TEXT_MAX];

	(void)state;
	setenv("TZ", "UTC", 1);
	tzset();
	assert_string_equal(
		cli_format_time(UINT64_C(1700000000123456789), text), "2023-11-14 22:13:20.123");
}

static void test_did_you_mean(void **state)
{
	static const char *const words[] = {
		"list", "show", "add", "del", "set", "history", "network", NULL};
	static const struct {
		const char *word, *guess;
	} table[] = {
		{"lst", "list"},
		{"lits", "list"},
		{"shwo", "show"},
		{"his", "history"},
		{"histroy", "history"},
		{"netwrok", "network"},
		{"ad", "add"},
		{"zebra", NULL},
		{"", NULL},
		{"0123456789012345678901234567890123456789012345", NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		const char *guess = cli_did_you_mean(table[i].word, words);

		if (!table[i].guess)
			assert_null(guess);
		else if (!guess || strcmp(guess, table[i].guess))
			fail_msg("'%s': %s", table[i].word, guess ? guess : "nothing");
	}
}

static void test_width(void **state)
{
	(void)state;
	assert_int_equal(cli_text_width(""), 0);
	assert_int_equal(cli_text_width("abc"), 3);
	assert_int_equal(cli_text_width("Müller…"), 7);
}

/* --- Tables --------------------------------------------------------------------------------- */

static const struct cli_column columns[] = {
	{"name", "name", CLI_AUTO, 0, 0, NULL},
	{"packets", "packets", CLI_COUNT, 1, 0, NULL},
	{"state", "state", CLI_STATE, 2, 0, NULL},
	{"comment", "comment", CLI_AUTO, 3, 7, NULL},
};

static const char rows_text[] =
	"[{\"name\":\"web1\",\"packets\":1234567,\"state\":\"up\",\"comment\":\"the first of the "
	"web "
	"servers\"},"
	"{\"name\":\"db\",\"packets\":7,\"state\":\"denied\",\"comment\":\"\"}]";

/* Prints the rows as they look on a terminal of this width; the caller frees. */
static char *print(int width, bool json, bool colour, const char *text)
{
	struct cli cli = {.width = width, .json = json, .colour = colour, .err = stderr};
	char *output = NULL;
	size_t size;

	cli.out = open_memstream(&output, &size);
	assert_non_null(cli.out);
	assert_int_equal(cli_print_table(&cli, columns, ARRAY_SIZE(columns), json_from_string(text),
				 "Nothing."),
		CLI_OK);
	fclose(cli.out);
	return output;
}

static void check_table(int width, const char *expected)
{
	char *output = print(width, false, false, rows_text);

	assert_string_equal(output, expected);
	free(output);
}

static void test_table(void **state)
{
	static const char whole[] = "NAME    PACKETS  STATE   COMMENT\n"
				    "web1  1,234,567  up      the first of the web servers\n"
				    "db            7  denied\n";

	(void)state;
	check_table(0, whole); /* No terminal: never shortened. */
	check_table(53, whole);
	check_table(80, whole);
}

static void test_table_narrow(void **state)
{
	(void)state;
	check_table(40, "NAME    PACKETS  STATE   COMMENT\n"
			"web1  1,234,567  up      the first of t…\n"
			"db            7  denied\n");
	/* The comment is at its minimum. */
	check_table(32, "NAME    PACKETS  STATE   COMMENT\n"
			"web1  1,234,567  up      the fi…\n"
			"db            7  denied\n");
	/* It goes, and the rest has room again. */
	check_table(30, "NAME    PACKETS  STATE\n"
			"web1  1,234,567  up\n"
			"db            7  denied\n");
	/* A number is shown whole or not at all. */
	check_table(15, "NAME    PACKETS\n"
			"web1  1,234,567\n"
			"db            7\n");
	check_table(14, "NAME\n"
			"web1\n"
			"db\n");
	/* The first column is never left out, however narrow it gets. */
	check_table(2, "NAME\n"
		       "web1\n"
		       "db\n");
}

static void test_table_utf8(void **state)
{
	char *output = print(
		20, false, false, "[{\"name\":\"Übergrößenträger\",\"comment\":\"äöüäöüäöü\"}]");

	(void)state;
	assert_string_equal(output, "NAME\nÜbergrößenträger\n");
	free(output);
	output =
		print(44, false, false, "[{\"name\":\"ü\",\"comment\":\"äöüäöüäöüäöüäöüäöüäöü\"}]");
	assert_string_equal(output, "NAME  PACKETS  STATE  COMMENT\n"
				    "ü                     äöüäöüäöüäöüäöüäöüäöü\n");
	free(output);
}

static void test_table_empty_and_json(void **state)
{
	char *output = print(0, false, false, "[]");
	struct json *json;

	(void)state;
	assert_string_equal(output, "Nothing.\n");
	free(output);
	output = print(10, true, true, rows_text);
	json = json_from_string(output);
	assert_int_equal(json->type, JSON_ARRAY);
	assert_int_equal(json->array.n, 2);
	assert_int_equal(cli_json_number(json->array.elems[0], "packets"), 1234567);
	json_destroy(json);
	free(output);
	output = print(0, true, false, "[]");
	assert_string_equal(output, "[]\n");
	free(output);
}

static void test_table_colour(void **state)
{
	char *output = print(0, false, true, rows_text);

	(void)state;
	assert_non_null(strstr(output, "\033[32mup\033[0m"));
	assert_non_null(strstr(output, "\033[31mdenied\033[0m"));
	free(output);
}

/* What a guest calls itself must not speak to the terminal of whoever looks at it. */
static void test_table_control_characters(void **state)
{
	char *output = print(0, false, false,
		"[{\"name\":\"\\u001b[2Jx\\n\\u009by\",\"packets\":[1,\"a\"],\"comment\":true}]");

	(void)state;
	assert_null(strchr(output, '\033'));
	assert_null(strstr(output, "\xc2\x9b"));
	assert_non_null(strstr(output, "?[2Jx?"));
	assert_non_null(strstr(output, "1, a"));
	assert_non_null(strstr(output, "yes"));
	free(output);
}

static void test_table_stream(void **state)
{
	char *output = NULL;
	size_t size;
	struct cli cli = {.err = stderr, .out = open_memstream(&output, &size)};
	struct cli_table *table = cli_table_create(&cli, columns, ARRAY_SIZE(columns));

	(void)state;
	cli_table_add(table, json_from_string("{\"name\":\"a\",\"packets\":1}"));
	cli_table_flush(table);
	cli_table_add(table, json_from_string("{\"name\":\"longer\",\"packets\":22}"));
	cli_table_flush(table);
	assert_int_equal(cli_table_finish(table, "Nothing."), CLI_OK);
	fclose(cli.out);
	assert_string_equal(output, "NAME  PACKETS  STATE  COMMENT\n"
				    "a           1\n"
				    "longer       22\n");
	free(output);
}

static void test_table_stream_json(void **state)
{
	char *output = NULL;
	size_t size;
	struct cli cli = {.err = stderr, .json = true, .out = open_memstream(&output, &size)};
	struct cli_table *table = cli_table_create(&cli, columns, ARRAY_SIZE(columns));

	(void)state;
	cli_table_add(table, json_from_string("{\"name\":\"a\"}"));
	cli_table_flush(table);
	cli_table_add(table, json_from_string("{\"name\":\"b\"}"));
	assert_int_equal(cli_table_finish(table, NULL), CLI_OK);
	fclose(cli.out);
	assert_string_equal(output, "{\"name\":\"a\"}\n{\"name\":\"b\"}\n");
	free(output);
}

static void test_json_members(void **state)
{
	struct json *json =
		json_from_string("{\"a\":\"x\",\"n\":-5,\"r\":2.5,\"t\":true,\"l\":[1]}");
	struct json *array = json_from_string("[{\"k\":\"p10\"},{\"k\":\"p2\"},{\"k\":\"p1\"}]");

	(void)state;
	assert_string_equal(cli_json_text(json, "a"), "x");
	assert_string_equal(cli_json_text(json, "n"), "");
	assert_int_equal(cli_json_number(json, "n"), -5);
	assert_int_equal(cli_json_number(json, "r"), 2);
	assert_int_equal(cli_json_number(json, "none"), 0);
	assert_true(cli_json_true(json, "t"));
	assert_false(cli_json_true(json, "a"));
	assert_null(cli_json_member(NULL, "a"));
	assert_null(cli_json_member(cli_json_member(json, "l"), "a"));
	cli_json_sort(array, "k");
	assert_string_equal(cli_json_text(array->array.elems[0], "k"), "p1");
	assert_string_equal(cli_json_text(array->array.elems[2], "k"), "p10");
	json_destroy(array);
	json_destroy(json);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_ages),
		cmocka_unit_test(test_times),
		cmocka_unit_test(test_did_you_mean),
		cmocka_unit_test(test_width),
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_table_narrow),
		cmocka_unit_test(test_table_utf8),
		cmocka_unit_test(test_table_empty_and_json),
		cmocka_unit_test(test_table_colour),
		cmocka_unit_test(test_table_control_characters),
		cmocka_unit_test(test_table_stream),
		cmocka_unit_test(test_table_stream_json),
		cmocka_unit_test(test_json_members),
	};

	return cmocka_run_group_tests_name("cli_text", tests, NULL, NULL);
}
