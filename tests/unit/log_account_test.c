/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log's account: what one process has not settled, the next one is told.
 */
#include <errno.h>
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

#include "log/account.h"

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

static struct log_account *open_account(const struct fixture *fixture)
{
	int error;
	struct log_account *account = log_account_open(fixture->directory, &error);

	assert_non_null(account);
	return account;
}

/* Where the sink counts, once it is seen that it misses so many. */
static _Atomic uint64_t *sink_of(struct log_account *account, const char *name, uint64_t missing)
{
	uint64_t seen;
	_Atomic uint64_t *settled = log_account_sink(account, name, &seen);

	assert_non_null(settled);
	assert_int_equal(seen, missing);
	return settled;
}

static void expect_missing(const struct fixture *fixture, const char *name, uint64_t missing)
{
	struct log_account *account = open_account(fixture);

	sink_of(account, name, missing);
	log_account_close(account);
}

static void produce(struct log_account *account, unsigned int producer, uint64_t n)
{
	atomic_fetch_add(log_account_producer(account, producer), n);
}

static void test_new_account_misses_nothing(void **state)
{
	expect_missing(*state, "default", 0);
	expect_missing(*state, "default", 0);
}

static void test_what_is_not_settled_is_missing(void **state)
{
	struct log_account *account = open_account(*state);
	_Atomic uint64_t *quick = sink_of(account, "quick", 0);
	_Atomic uint64_t *slow = sink_of(account, "slow", 0);

	produce(account, 0, 5);
	produce(account, 7, 10);
	produce(account, LOG_ACCOUNT_PRODUCERS - 1, 1);
	atomic_fetch_add(quick, 16);
	atomic_fetch_add(slow, 12);
	log_account_close(account);
	expect_missing(*state, "slow", 4);
	expect_missing(*state, "quick", 0);
}

/* A process that dies before it could tell of the one before hands both on. */
static void test_missing_ones_are_handed_on_until_they_are_settled(void **state)
{
	struct log_account *account = open_account(*state);

	sink_of(account, "default", 0);
	produce(account, 1, 3);
	log_account_close(account);
	account = open_account(*state);
	sink_of(account, "default", 3);
	produce(account, 1, 2);
	log_account_close(account);
	account = open_account(*state);
	atomic_fetch_add(sink_of(account, "default", 5), 5);
	log_account_close(account);
	expect_missing(*state, "default", 0);
}

/* A delivery that was made, but not yet settled, can make it too many; too few, nothing can. */
static void test_more_settled_than_produced_is_nothing_missing(void **state)
{
	struct log_account *account = open_account(*state);

	produce(account, 2, 1);
	atomic_fetch_add(sink_of(account, "default", 0), 2);
	log_account_close(account);
	expect_missing(*state, "default", 0);
	expect_missing(*state, "default", 0);
}

/* What came before a sink was there is none of its business. */
static void test_sink_that_comes_later(void **state)
{
	struct log_account *account = open_account(*state);
	uint64_t missing;

	produce(account, 0, 100);
	log_account_add(account, 90);
	_Atomic uint64_t *settled = log_account_sink(account, "late", &missing);
	assert_int_equal(missing, 0);
	atomic_fetch_add(settled, 4);
	log_account_close(account);
	expect_missing(*state, "late", 6);
}

static void test_forgotten_sink_begins_anew(void **state)
{
	struct log_account *account = open_account(*state);

	_Atomic uint64_t *settled = sink_of(account, "gone", 0);
	produce(account, 0, 3);
	log_account_forget(account, settled);
	log_account_close(account);
	expect_missing(*state, "gone", 0);
}

/* A sink is replaced by another one of its name, and the process killed before the first has
 * ended: what the second one misses is told, not what the first one did. */
static void test_namesake_that_is_about_to_end(void **state)
{
	struct log_account *account = open_account(*state);
	_Atomic uint64_t *old = sink_of(account, "archive", 0);

	produce(account, 0, 100);
	log_account_add(account, 100);
	_Atomic uint64_t *new = sink_of(account, "archive", 0);
	assert_ptr_not_equal(old, new);
	produce(account, 0, 7);
	log_account_add(account, 7);
	atomic_fetch_add(new, 5);
	atomic_fetch_add(old, 60);
	log_account_close(account);
	expect_missing(*state, "archive", 2);
}

static void test_place_of_one_that_is_about_to_end_is_not_given_away(void **state)
{
	struct log_account *account = open_account(*state);
	_Atomic uint64_t *old = sink_of(account, "archive", 0);

	sink_of(account, "archive", 0);
	assert_ptr_not_equal(sink_of(account, "other", 0), old);
	log_account_forget(account, old);
	assert_ptr_equal(sink_of(account, "third", 0), old);
	log_account_close(account);
}

/* Wanted no more while no process ran, and wanted again some processes later. */
static void test_sink_that_comes_back_owes_nothing(void **state)
{
	static const char *const wanted[] = {"default", "wrong"};
	struct log_account *account = open_account(*state);

	sink_of(account, "default", 0);
	sink_of(account, "gone", 0);
	sink_of(account, "wrong", 0);
	log_account_close(account);
	account = open_account(*state);
	atomic_fetch_add(sink_of(account, "default", 0), 10);
	log_account_forget_others(account, wanted, 2);
	produce(account, 0, 10);
	log_account_close(account);
	account = open_account(*state);
	sink_of(account, "gone", 0);
	sink_of(account, "default", 0);
	sink_of(account, "wrong", 10);
	log_account_close(account);
}

static void test_more_sinks_than_places(void **state)
{
	struct log_account *account = open_account(*state);
	uint64_t missing;
	char name[16];

	for (int i = 0; i < LOG_ACCOUNT_SINKS; i++) {
		snprintf(name, sizeof(name), "sink%d", i);
		sink_of(account, name, 0);
	}
	assert_null(log_account_sink(account, "one more", &missing));
	log_account_close(account);
	account = open_account(*state);
	sink_of(account, "one more", 0); /* In the place of one that is there no more. */
	log_account_close(account);
}

static void test_sequence_is_kept(void **state)
{
	struct log_account *account = open_account(*state);

	assert_int_equal(atomic_load(log_account_sequence(account)), 0);
	atomic_store(log_account_sequence(account), 77);
	log_account_close(account);
	account = open_account(*state);
	assert_int_equal(atomic_load(log_account_sequence(account)), 77);
	log_account_close(account);
}

/* What nobody has numbered gets a number; what had one keeps it. */
static void test_number_of_the_gap(void **state)
{
	struct log_account *account = open_account(*state);

	produce(account, 0, 10);
	log_account_add(account, 10);
	atomic_store(log_account_sequence(account), 10);
	log_account_close(account);
	account = open_account(*state);
	assert_int_equal(log_account_gap_sequence(account), 10);
	produce(account, 0, 3);
	log_account_add(account, 2);
	atomic_store(log_account_sequence(account), 12);
	log_account_close(account);
	account = open_account(*state);
	assert_int_equal(log_account_gap_sequence(account), 13);
	assert_int_equal(atomic_load(log_account_sequence(account)), 13);
	log_account_close(account);
	account = open_account(*state);
	assert_int_equal(log_account_gap_sequence(account), 13);
	log_account_close(account);
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
	expect_missing(fixture, "default", 0);
}

/* It counts all the same, for as long as the process lives. */
static void test_directory_that_is_missing(void **state)
{
	int error;
	struct log_account *account = log_account_open("/tmp/no/such/directory", &error);

	(void)state;
	assert_non_null(account);
	assert_int_equal(error, -ENOENT);
	produce(account, 3, 1);
	sink_of(account, "default", 0);
	log_account_close(account);
	log_account_close(NULL);
}

int main(void)
{
#define IN_A_DIRECTORY(test) cmocka_unit_test_setup_teardown(test, make_directory, remove_directory)
	const struct CMUnitTest tests[] = {
		IN_A_DIRECTORY(test_new_account_misses_nothing),
		IN_A_DIRECTORY(test_what_is_not_settled_is_missing),
		IN_A_DIRECTORY(test_missing_ones_are_handed_on_until_they_are_settled),
		IN_A_DIRECTORY(test_more_settled_than_produced_is_nothing_missing),
		IN_A_DIRECTORY(test_sink_that_comes_later),
		IN_A_DIRECTORY(test_forgotten_sink_begins_anew),
		IN_A_DIRECTORY(test_namesake_that_is_about_to_end),
		IN_A_DIRECTORY(test_place_of_one_that_is_about_to_end_is_not_given_away),
		IN_A_DIRECTORY(test_sink_that_comes_back_owes_nothing),
		IN_A_DIRECTORY(test_more_sinks_than_places),
		IN_A_DIRECTORY(test_sequence_is_kept),
		IN_A_DIRECTORY(test_number_of_the_gap),
		IN_A_DIRECTORY(test_other_contents_are_no_account),
		cmocka_unit_test(test_directory_that_is_missing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
