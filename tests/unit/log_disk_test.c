/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The traffic log without a place to write: directories that cannot be used, files that cannot
 * grow, and a full disk.  What is lost is counted, and the log goes on when there is room again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "tests/unit/log_fixture.h"

static void test_says_why_a_directory_cannot_be_written(void **state)
{
	struct log_store_options options = {.directory = "/proc/self/cordon"};
	struct log_store *store;
	char error[256] = "", path[128];

	(void)state;
	assert_int_equal(log_store_open(&options, &store, error, sizeof(error)), -ENOENT);
	assert_non_null(strstr(error, "/proc/self/cordon"));
	write_garbage("file");
	snprintf(path, sizeof(path), "%s/file", directory);
	options.directory = path;
	assert_int_equal(log_store_open(&options, &store, error, sizeof(error)), -ENOTDIR);
	assert_non_null(strstr(error, path));
}

/* The same as an ordinary user, in a child if the test runs as root. */
static void test_says_why_permission_is_missing(void **state)
{
	struct log_store_options options = {.directory = directory};
	struct log_store *store;
	char error[256] = "";
	int status;
	pid_t pid;

	(void)state;
	assert_int_equal(chmod(directory, 0555), 0);
	pid = fork();
	if (!pid) {
		if (!getuid() && (setgid(65534) || setuid(65534)))
			_exit(2);
		_exit(log_store_open(&options, &store, error, sizeof(error)) != -EACCES ||
			!strstr(error, directory));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(chmod(directory, 0700), 0);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* The directory vanishes under the writer: what is written after the next commit is kept. */
static void test_makes_a_removed_directory_again(void **state)
{
	struct log_store *store = open_store(NULL);

	(void)state;
	write_many(store, 1, 10, T0, SECOND);
	remove_directory(NULL);
	commit(store, T0 + 20 * SECOND);
	write_many(store, 11, 15, T0 + 21 * SECOND, SECOND);
	log_store_close(store);
	assert_int_equal(query_all()->n, 5);
}

/* Writes batches of 1000 until `enough` have failed; every record is stored or counted. */
static void fill_until_it_fails(struct log_store *store, uint64_t *sequence, uint64_t *time,
	uint64_t *n_stored, int enough, int errno_expected)
{
	for (int batch = 0, failures = 0; failures < enough; batch++) {
		size_t n_accepted = 0, n_lost;
		int rc;

		assert_true(batch < 200);
		for (int i = 0; i < 1000; i++) {
			struct log_record record = record_of((*sequence)++, *time += 1000);

			rc = log_store_write(store, &record);
			if (rc)
				assert_int_equal(rc, -errno_expected);
			n_accepted += !rc;
		}
		rc = log_store_commit(store, *time, &n_lost);
		if (rc) {
			failures++;
			assert_int_equal(rc, -errno_expected);
			assert_int_equal(n_lost, n_accepted);
			assert_true(strlen(log_store_error(store)) > 0);
		} else {
			assert_int_equal(n_lost, 0);
			assert_int_equal(n_accepted, 1000);
			*n_stored += n_accepted;
		}
	}
}

/* A file may not grow past a limit, as on a file system that is full. */
static void test_a_file_that_cannot_grow(void **state)
{
	struct log_store *store = open_store(NULL);
	uint64_t sequence = 1, time = T0, n_stored = 0;
	struct rlimit was, limit;

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
	limit = was;
	limit.rlim_cur = 1 << 20;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	fill_until_it_fails(store, &sequence, &time, &n_stored, 3, EFBIG);
	assert_true(n_stored > 0);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
	write_many(store, sequence, sequence + 499, time, 1000);
	assert_int_equal(log_store_last_sequence(store), sequence + 499);
	log_store_close(store);
	assert_int_equal(query_all()->n, n_stored + 500);
}

/* In a mount namespace of its own: a file system of 3 MiB, which a second file fills. */
static int use_a_small_disk(void)
{
	struct log_store *store;
	uint64_t sequence = 1, time = T0, n_stored = 0;
	int fd;

	if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
		mount("tmpfs", directory, "tmpfs", 0, "size=3m"))
		return 77;
	fd = open(path_of("ballast"), O_RDWR | O_CREAT, 0600);
	assert_int_equal(ftruncate(fd, 1 << 20), 0);
	assert_int_equal(posix_fallocate(fd, 0, 1 << 20), 0);
	store = open_store(NULL);
	fill_until_it_fails(store, &sequence, &time, &n_stored, 3, ENOSPC);
	assert_true(n_stored > 0);
	assert_int_equal(unlink(path_of("ballast")), 0);
	close(fd);
	write_many(store, sequence, sequence + 499, time, 1000);
	log_store_close(store);
	assert_int_equal(query_all()->n, n_stored + 500);
	return 0;
}

static void test_a_full_disk(void **state)
{
	pid_t pid = fork();
	int status;

	(void)state;
	if (!pid)
		_exit(use_a_small_disk());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* A disk that is full from the start, so that not even a file can be begun. */
static void test_a_file_that_cannot_be_begun(void **state)
{
	struct log_store *store = open_store(NULL);
	struct log_record record = record_of(1, T0);
	struct rlimit was, limit;
	size_t n_lost;

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
	limit = was;
	limit.rlim_cur = 8192;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	assert_int_equal(log_store_write(store, &record), -EFBIG);
	assert_int_equal(log_store_write(store, &record), -EFBIG);
	assert_int_equal(log_store_commit(store, T0, &n_lost), -EFBIG);
	assert_int_equal(n_lost, 0);
	assert_non_null(strstr(log_store_error(store), directory));
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
	write_one(store, &record);
	commit(store, T0);
	log_store_close(store);
	assert_int_equal(query_all()->n, 1);
	assert_int_equal(count_files(".damaged"), 0);
}

/* Whatever limit a test left behind ends with it. */
static int clean_up(void **state)
{
	struct rlimit limit;

	getrlimit(RLIMIT_FSIZE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_FSIZE, &limit);
	return remove_directory(state);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_directory, clean_up)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_says_why_a_directory_cannot_be_written),
		TEST(test_says_why_permission_is_missing),
		TEST(test_makes_a_removed_directory_again),
		TEST(test_a_file_that_cannot_grow),
		TEST(test_a_full_disk),
		TEST(test_a_file_that_cannot_be_begun),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
