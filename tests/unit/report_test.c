/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines for the operator: each once, and not too many.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "hv/report.h"

enum { TEXT_BYTES = 16384, MINUTE_MS = 60000 };

struct fixture {
	struct report report;
	int file, stderr_kept;
	char text[TEXT_BYTES];
};

static int set_up(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	char path[] = "/tmp/report-test.XXXXXX";

	fixture->file = mkstemp(path);
	unlink(path);
	fixture->stderr_kept = dup(STDERR_FILENO);
	dup2(fixture->file, STDERR_FILENO);
	*state = fixture;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;

	dup2(fixture->stderr_kept, STDERR_FILENO);
	close(fixture->stderr_kept);
	close(fixture->file);
	free(fixture);
	return 0;
}

/* How many lines there are. */
static unsigned int lines(struct fixture *fixture)
{
	ssize_t n = pread(fixture->file, fixture->text, TEXT_BYTES - 1, 0);
	unsigned int count = 0;

	fixture->text[n > 0 ? n : 0] = '\0';
	for (const char *at = fixture->text; (at = strchr(at, '\n')); at++)
		count++;
	return count;
}

static void the_same_is_told_once(void **state)
{
	struct fixture *fixture = *state;
	char long_text[2048];

	report_line(&fixture->report, "net0", "it has gone");
	report_line(&fixture->report, "net0", "it has gone");
	assert_int_equal(lines(fixture), 1);
	assert_string_equal(fixture->text, "cordon-vmm: net0: it has gone\n");
	report_line(&fixture->report, "net0", "it has gone away");
	report_line(&fixture->report, "net0", "it is back");
	report_line(&fixture->report, "net0", "it has gone");
	assert_int_equal(lines(fixture), 4);
	memset(long_text, 'x', sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = '\0';
	report_line(&fixture->report, "net0", long_text);
	report_line(&fixture->report, "net0", long_text);
	assert_int_equal(lines(fixture), 5);
}

static void so_many_in_a_minute(void **state)
{
	struct fixture *fixture = *state;

	for (unsigned int i = 0; i < 100; i++)
		report_line(&fixture->report, "net0", i % 2 ? "it has gone" : "it is back");
	assert_int_equal(lines(fixture), 20);
	/* The minute is over. */
	fixture->report.since_ms -= MINUTE_MS;
	report_line(&fixture->report, "net0", "it is back");
	report_line(&fixture->report, "net0", "it is back");
	assert_int_equal(lines(fixture), 21);
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(the_same_is_told_once),
		STORY(so_many_in_a_minute),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
