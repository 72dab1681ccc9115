/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log's account: what one process has not settled, the next one is told.
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

#include "datapath/log_account.h"

struct fixture {
	char directory[64], path[96];
};

static int make_directory(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	if (fixture == NULL)
		return -1;
	*state = fixture;
	snprintf(fixture->directory, sizeof(fixture->directory), "/tmp/log-account-XXXXXX");
	if (mkdtemp(fixture->directory) == NULL) {
		free(fixture);
		return -1;
	}
	snprintf(fixture->path, sizeof(fixture->path), "%s/log-account", fixture->directory);
	return 0;
}

static int remove_directory(void **state)
{
	struct fixture *fixture = *state;

	unlink(fixture->path);
	rmdir(fixture->directory);
	free(fixture);
	return 0;
}

static struct log_account *open_account(const struct fixture *fixture, uint64_t missing)
{
	uint64_t seen;
	int error;
	struct log_account *account = log_account_open(fixture->directory, &seen, &error);

	assert_non_null(account);
	assert_int_equal(seen, missing);
	return account;
}

static void produce(struct log_account *account, unsigned int producer, uint64_t n)
{
	atomic_fetch_add(log_account_producer(account, producer), n);
}

static void test_new_account_misses_nothing(void **state)
{
	log_account_close(open_account(*state, 0));
	log_account_close(open_account(*state, 0));
}

static void test_what_is_not_settled_is_missing(void **state)
{
	struct log_account *account = open_account(*state, 0);

	produce(account, 0, 5);
	produce(account, 7, 10);
	produce(account, LOG_ACCOUNT_PRODUCERS - 1, 1);
	log_account_settle(account, 12);
	log_account_close(account);
	log_account_close(open_account(*state, 4));
}

/* A process that dies before it could tell of the one before hands both on. */
static void test_missing_ones_are_handed_on_until_they_are_settled(void **state)
{
	struct log_account *account = open_account(*state, 0);

	produce(account, 1, 3);
	log_account_close(account);
	account = open_account(*state, 3);
	produce(account, 1, 2);
	log_account_close(account);
	account = open_account(*state, 5);
	log_account_settle(account, 5);
	log_account_close(account);
	log_account_close(open_account(*state, 0));
}

/* A transaction that was stored, but not yet settled, can make it too many; too few, nothing can.
 */
static void test_more_settled_than_produced_is_nothing_missing(void **state)
{
	struct log_account *account = open_account(*state, 0);

	produce(account, 2, 1);
	log_account_settle(account, 2);
	log_account_close(account);
	log_account_close(open_account(*state, 0));
}

static void test_other_contents_are_no_account(void **state)
{
	const struct fixture *fixture = *state;
	char rubbish[4096];
	int fd = open(fixture->path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	memset(rubbish, 0xa5, sizeof(rubbish));
	assert_int_equal(write(fd, rubbish, sizeof(rubbish)), sizeof(rubbish));
	close(fd);
	log_account_close(open_account(fixture, 0));
}

static void test_directory_that_is_missing(void **state)
{
	uint64_t missing;
	int error;

	(void)state;
	assert_null(log_account_open("/tmp/no/such/directory", &missing, &error));
	assert_int_equal(error, -2);
	log_account_close(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_new_account_misses_nothing, make_directory, remove_directory),
		cmocka_unit_test_setup_teardown(
			test_what_is_not_settled_is_missing, make_directory, remove_directory),
		cmocka_unit_test_setup_teardown(
			test_missing_ones_are_handed_on_until_they_are_settled, make_directory,
			remove_directory),
		cmocka_unit_test_setup_teardown(test_more_settled_than_produced_is_nothing_missing,
			make_directory, remove_directory),
		cmocka_unit_test_setup_teardown(
			test_other_contents_are_no_account, make_directory, remove_directory),
		cmocka_unit_test(test_directory_that_is_missing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
