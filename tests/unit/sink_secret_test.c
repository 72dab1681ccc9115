/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Passwords in descriptions of PostgreSQL connections: what is shown of them, and of libpq's
 * messages about them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "log/sink_secret.h"

/* What stands in each is what is shown. */
static const struct {
	const char *connection, *shown;
} rows[] = {
	{"", ""},
	{"host=db dbname=fleet user=me passfile=/etc/pgpass sslmode=verify-full",
		"host=db dbname=fleet user=me passfile=/etc/pgpass sslmode=verify-full"},
	{"host=db password=s3cret user=me", "host=db password=*** user=me"},
	{"host=db sslpassword=s3cret", "host=db sslpassword=***"},
	{"password = s3cret  host = db", "password = ***  host = db"},
	{"password='s3 cret' host=db", "password=*** host=db"},
	{"password='s3\\'cret x' host=db", "password=*** host=db"},
	{"password=s3\\ cret host=db", "password=*** host=db"},
	{"password= host=db", "password= ***"},
	{"password=", "password=***"},
	{"host='my db' password=x", "host='my db' password=***"},
	/* Misspelt, of a later libpq, of another case. */
	{"passwort=s3cret host=db", "passwort=*** host=db"},
	{"oauth_client_secret=s3cret", "oauth_client_secret=***"},
	{"Password=s3cret", "Password=***"},
	/* Not as it should be. */
	{"password=my s3cret", "password=*** ***"},
	{"host=db s3cret", "host=db ***"},
	{"host='s3cret", "host=***"},
	{"password='s3cret host=db", "password=***"},
	{"s3cret\\", "***"},
	/* URIs. */
	{"postgresql://db.example/fleet", "postgresql://db.example/fleet"},
	{"postgresql://me@db/fleet", "postgresql://me@db/fleet"},
	{"postgresql://me:s3cret@db:5432/fleet", "postgresql://me:***@db:5432/fleet"},
	{"postgres://me:s3cret@[fd00::1]:5432,b:1/fleet?sslmode=require",
		"postgres://me:***@[fd00::1]:5432,b:1/fleet?sslmode=require"},
	{"postgresql://me:@db", "postgresql://me:***@db"},
	{"postgresql:///fleet?host=/tmp&password=s3cret&user=me",
		"postgresql:///fleet?host=/tmp&password=***&user=me"},
	{"postgresql://db/fleet?sslpassword=s3cret", "postgresql://db/fleet?sslpassword=***"},
	{"postgresql://db/fleet?pass%77ord=s3cret", "postgresql://db/fleet?pass%77ord=***"},
	{"postgresql://db/fleet?s3cret", "postgresql://db/fleet?***"},
	{"postgresql://db/fleet?host=a?s3cret", "postgresql://db/fleet?host=a?***"},
	/* Not escaped. */
	{"postgresql://me:s3@cret@db/fleet", "postgresql://me:***"},
	{"postgresql://me:s3/cret@db/fleet", "postgresql://me:***"},
	{"postgresql://me:s3?cret@db/fleet", "postgresql://me:***"},
	{"postgresql://db:5432/fleet?password=s3@cret", "postgresql://db:***"},
};

static void test_what_is_shown(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *shown = sink_secret_mask(rows[i].connection);

		assert_string_equal(shown, rows[i].shown);
		free(shown);
	}
}

static void test_ambiguous(void **state)
{
	(void)state;
	assert_true(sink_secret_is_ambiguous("postgresql://me:s3@cret@db"));
	assert_true(sink_secret_is_ambiguous("postgresql://me:s3/cret@db"));
	assert_true(sink_secret_is_ambiguous("postgresql://me:s3?cret@db"));
	assert_false(sink_secret_is_ambiguous("postgresql://me:s3cret@db:1/fleet?user=you"));
	assert_false(sink_secret_is_ambiguous("postgresql://me@[fd00::1]:1/fleet"));
	assert_false(sink_secret_is_ambiguous("host=db password=a@b/c?d user=x:y"));
}

static void assert_message(const char *connection, const char *message, const char *expected)
{
	char *shown = sink_secret_mask_message(connection, message);

	assert_string_equal(shown, expected);
	free(shown);
}

static void test_messages(void **state)
{
	(void)state;
	assert_message("hots=db", "invalid connection option \"hots\"",
		"invalid connection option \"hots\"");
	assert_message("password=my s3cret", "missing \"=\" after \"s3cret\" in it",
		"missing \"=\" after \"***\"");
	assert_message("password=my s3\"cret", "missing \"=\" after \"s3\"cret\" in it",
		"missing \"***\"");
	assert_message("postgresql://me:5%s3cret@db", "invalid token: \"5%s3cret\"",
		"invalid token: \"***\"");
	assert_message("host='", "unterminated quoted string", "unterminated quoted string");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_shown),
		cmocka_unit_test(test_ambiguous),
		cmocka_unit_test(test_messages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
