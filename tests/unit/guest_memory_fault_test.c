/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that is taken away: what is watched or covered reads as zeros, and everything else ends
 * the process, as it would with no handler.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "datapath/guest_memory_fault.h"

enum { BYTES = 4 << 20, HUGE_PAGE = 2 << 20, MARK = 0x5a };

/* A file that is shared with a guest. */
struct shared {
	int file;
	size_t bytes;
	volatile uint8_t *at;
};

static struct shared share(size_t bytes, unsigned int flags)
{
	struct shared shared = {.file = memfd_create("guest", flags), .bytes = bytes};

	assert_true(shared.file >= 0);
	assert_int_equal(ftruncate(shared.file, (off_t)bytes), 0);
	shared.at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, shared.file, 0);
	if (shared.at == MAP_FAILED)
		shared.at = NULL;
	return shared;
}

/* cmocka takes the signal for itself at the beginning of each test. */
static struct sigaction ours;

static void take_signal(void)
{
	assert_int_equal(sigaction(SIGBUS, &ours, NULL), 0);
}

static void unshare_memory(struct shared *shared)
{
	if (shared->at != NULL)
		munmap((void *)shared->at, shared->bytes);
	close(shared->file);
}

static struct shared share_and_watch(size_t bytes, struct guest_memory_watch *watch)
{
	struct shared shared = share(bytes, 0);

	assert_non_null(shared.at);
	assert_int_equal(guest_memory_fault_watch(watch, (void *)shared.at, bytes), 0);
	return shared;
}

/* --- What is survived ------------------------------------------------------------------------- */

static void test_whole_mapping_becomes_zeros(void **state)
{
	struct guest_memory_watch watch = {0}, other = {0};
	struct shared shared = share_and_watch(BYTES, &watch);
	struct shared neighbour = share_and_watch(BYTES, &other);

	(void)state;
	take_signal();
	shared.at[0] = shared.at[BYTES - 1] = neighbour.at[0] = MARK;
	assert_false(guest_memory_fault_happened(&watch));
	assert_int_equal(ftruncate(shared.file, BYTES / 2), 0);
	assert_int_equal(shared.at[0], MARK); /* Not noticed yet. */
	assert_false(guest_memory_fault_happened(&watch));
	assert_int_equal(shared.at[BYTES - 1], 0);
	assert_int_equal(shared.at[0], 0);
	assert_true(guest_memory_fault_happened(&watch));
	shared.at[BYTES - 1] = MARK;
	assert_int_equal(shared.at[BYTES - 1], MARK);
	assert_int_equal(neighbour.at[0], MARK);
	assert_false(guest_memory_fault_happened(&other));
	assert_true(guest_memory_fault_unwatch(&watch));
	assert_false(guest_memory_fault_unwatch(&watch));
	assert_false(guest_memory_fault_unwatch(&other));
	unshare_memory(&shared);
	unshare_memory(&neighbour);
}

/* A write is repeated too, and errno is left alone. */
static void test_write(void **state)
{
	struct guest_memory_watch watch = {0};
	struct shared shared = share_and_watch(BYTES, &watch);

	(void)state;
	take_signal();
	assert_int_equal(ftruncate(shared.file, 0), 0);
	errno = EXDEV;
	shared.at[4096] = MARK;
	assert_int_equal(errno, EXDEV);
	assert_int_equal(shared.at[4096], MARK);
	assert_true(guest_memory_fault_unwatch(&watch));
	unshare_memory(&shared);
}

struct reader {
	const struct shared *shared;
	pthread_barrier_t *barrier;
	unsigned int first, sum;
};

static void *read_all(void *reader_)
{
	struct reader *reader = reader_;

	pthread_barrier_wait(reader->barrier);
	for (size_t i = reader->first; i < reader->shared->bytes; i += 4096)
		reader->sum += reader->shared->at[i];
	return NULL;
}

static void test_two_threads_at_once(void **state)
{
	(void)state;
	take_signal();
	for (unsigned int round = 0; round < 200; round++) {
		struct guest_memory_watch watch = {0};
		struct shared shared = share_and_watch(BYTES, &watch);
		pthread_barrier_t barrier;
		struct reader readers[2];
		pthread_t threads[2];

		memset((void *)shared.at, MARK, 8192);
		assert_int_equal(ftruncate(shared.file, 0), 0);
		pthread_barrier_init(&barrier, NULL, 2);
		for (unsigned int i = 0; i < 2; i++) {
			readers[i] = (struct reader){&shared, &barrier, i, 0};
			assert_int_equal(
				pthread_create(&threads[i], NULL, read_all, &readers[i]), 0);
		}
		for (unsigned int i = 0; i < 2; i++) {
			pthread_join(threads[i], NULL);
			assert_int_equal(readers[i].sum, 0);
		}
		pthread_barrier_destroy(&barrier);
		assert_true(guest_memory_fault_unwatch(&watch));
		unshare_memory(&shared);
	}
}

/* Memory in huge pages.  `bytes` is how much of it is said to be watched. */
static void lose_huge_pages(size_t bytes)
{
	struct guest_memory_watch watch = {0};
	struct shared shared = share(2 * HUGE_PAGE, MFD_HUGETLB);

	if (shared.at == NULL) {
		unshare_memory(&shared);
		skip(); /* None are free. */
	}
	assert_int_equal(guest_memory_fault_watch(&watch, (void *)shared.at, bytes), 0);
	shared.at[0] = MARK;
	assert_int_equal(ftruncate(shared.file, HUGE_PAGE), 0);
	assert_int_equal(shared.at[HUGE_PAGE + 1], 0);
	assert_int_equal(shared.at[0], 0);
	shared.at[2 * HUGE_PAGE - 1] = MARK;
	assert_true(guest_memory_fault_unwatch(&watch));
	unshare_memory(&shared);
}

static void test_huge_pages(void **state)
{
	(void)state;
	take_signal();
	lose_huge_pages(2 * (size_t)HUGE_PAGE);
}

static void test_end_within_a_huge_page(void **state)
{
	(void)state;
	take_signal();
	lose_huge_pages(HUGE_PAGE + 4096);
}

static long int resident_pages(void)
{
	long int all = 0, resident = -1;
	FILE *file = fopen("/proc/self/statm", "r");

	if (file != NULL) {
		if (fscanf(file, "%ld %ld", &all, &resident) != 2)
			resident = -1;
		fclose(file);
	}
	return resident;
}

/* Far more than this machine has, of which what is touched is paid for. */
static void test_larger_than_memory(void **state)
{
	const size_t bytes = (size_t)1 << 40;
	struct guest_memory_watch watch = {0};
	struct shared shared = share_and_watch(bytes, &watch);
	long int before = resident_pages();

	(void)state;
	take_signal();
	assert_int_equal(ftruncate(shared.file, 0), 0);
	assert_int_equal(shared.at[bytes - 1], 0);
	assert_true(guest_memory_fault_unwatch(&watch));
	assert_true(before > 0 && resident_pages() - before < 16384);
	unshare_memory(&shared);
}

static void test_covered_thread(void **state)
{
	struct shared shared = share(BYTES, 0);

	(void)state;
	take_signal();
	assert_false(guest_memory_fault_uncover());
	guest_memory_fault_cover();
	shared.at[0] = MARK;
	assert_int_equal(ftruncate(shared.file, 0), 0);
	assert_int_equal(shared.at[0], 0);
	assert_int_equal(shared.at[BYTES - 1], 0);
	assert_true(guest_memory_fault_uncover());
	assert_false(guest_memory_fault_uncover());
	guest_memory_fault_cover();
	assert_int_equal(shared.at[0], 0);
	assert_false(guest_memory_fault_uncover());
	unshare_memory(&shared);
}

/* --- What is not ------------------------------------------------------------------------------ */

/* The signal that ends a process which does this; 0 if it goes on. */
static int signal_of(void (*act)(struct shared *shared), struct shared *shared)
{
	const struct rlimit none = {0, 0};
	int status;
	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0) {
		setrlimit(RLIMIT_CORE, &none);
		alarm(10);
		act(shared);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void touch_first(struct shared *shared)
{
	(void)shared->at[0];
}

static void touch_last(struct shared *shared)
{
	(void)shared->at[shared->bytes - 1];
}

static void touch_when_covered_no_more(struct shared *shared)
{
	guest_memory_fault_cover();
	(void)guest_memory_fault_uncover();
	touch_first(shared);
}

static void *touch_in_thread(void *shared)
{
	touch_first(shared);
	return NULL;
}

static void touch_while_another_is_covered(struct shared *shared)
{
	pthread_t thread;

	guest_memory_fault_cover();
	if (pthread_create(&thread, NULL, touch_in_thread, shared) == 0)
		pthread_join(thread, NULL);
}

/* A program that is overwritten while it runs is no guest's memory. */
static void touch_private_when_covered(struct shared *shared)
{
	volatile uint8_t *own = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, shared->file, 0);

	guest_memory_fault_cover();
	(void)own[0];
}

static void send_to_itself(struct shared *shared)
{
	(void)shared;
	kill(getpid(), SIGBUS);
}

static void test_what_is_not_watched_kills(void **state)
{
	struct shared shared = share(BYTES, 0);
	struct guest_memory_watch watch = {0};

	(void)state;
	take_signal();
	/* All but its first and last page. */
	assert_int_equal(
		guest_memory_fault_watch(&watch, (void *)(shared.at + 4096), BYTES - 8192), 0);
	assert_int_equal(signal_of(touch_first, &shared), 0);
	assert_int_equal(ftruncate(shared.file, 0), 0);
	assert_int_equal(signal_of(touch_first, &shared), SIGBUS);
	assert_int_equal(signal_of(touch_last, &shared), SIGBUS);
	guest_memory_fault_unwatch(&watch);
	unshare_memory(&shared);
}

static void test_what_is_watched_no_more_kills(void **state)
{
	struct guest_memory_watch watch = {0};
	struct shared shared = share_and_watch(BYTES, &watch);

	(void)state;
	take_signal();
	assert_int_equal(ftruncate(shared.file, 0), 0);
	assert_int_equal(signal_of(touch_first, &shared), 0);
	guest_memory_fault_unwatch(&watch);
	assert_int_equal(signal_of(touch_first, &shared), SIGBUS);
	unshare_memory(&shared);
}

static void test_uncovered_threads_are_killed(void **state)
{
	struct shared shared = share(BYTES, 0);

	(void)state;
	take_signal();
	assert_int_equal(ftruncate(shared.file, 0), 0);
	assert_int_equal(signal_of(touch_when_covered_no_more, &shared), SIGBUS);
	assert_int_equal(signal_of(touch_while_another_is_covered, &shared), SIGBUS);
	assert_int_equal(signal_of(touch_private_when_covered, &shared), SIGBUS);
	unshare_memory(&shared);
}

static void test_signal_that_was_sent_kills(void **state)
{
	(void)state;
	take_signal();
	assert_int_equal(signal_of(send_to_itself, NULL), SIGBUS);
}

/* --- The table -------------------------------------------------------------------------------- */

static void test_full(void **state)
{
	static struct guest_memory_watch
		watches[GUEST_MEMORY_FAULT_WATCHED_MAX / GUEST_MAPPINGS_MAX + 1];
	const size_t n = sizeof(watches) / sizeof(watches[0]);
	char *at = (char *)4096;

	(void)state;
	take_signal();
	for (unsigned int round = 0; round < 2; round++) {
		for (size_t i = 0; i < GUEST_MEMORY_FAULT_WATCHED_MAX; i++)
			assert_int_equal(guest_memory_fault_watch(
						 &watches[i / GUEST_MAPPINGS_MAX], at, 4096),
				0);
		assert_int_equal(guest_memory_fault_watch(&watches[0], at, 4096), -ENOSPC);
		assert_int_equal(guest_memory_fault_watch(&watches[n - 1], at, 4096), -ENOSPC);
		for (size_t i = 0; i < n; i++)
			assert_false(guest_memory_fault_unwatch(&watches[i]));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole_mapping_becomes_zeros),
		cmocka_unit_test(test_write),
		cmocka_unit_test(test_two_threads_at_once),
		cmocka_unit_test(test_huge_pages),
		cmocka_unit_test(test_end_within_a_huge_page),
		cmocka_unit_test(test_larger_than_memory),
		cmocka_unit_test(test_covered_thread),
		cmocka_unit_test(test_what_is_not_watched_kills),
		cmocka_unit_test(test_what_is_watched_no_more_kills),
		cmocka_unit_test(test_uncovered_threads_are_killed),
		cmocka_unit_test(test_signal_that_was_sent_kills),
		cmocka_unit_test(test_full),
	};

	/* A sanitizer's handler would report what is meant to happen. */
	signal(SIGBUS, SIG_DFL);
	if (guest_memory_fault_start() != 0 || guest_memory_fault_start() != 0 ||
		sigaction(SIGBUS, NULL, &ours) != 0)
		return EXIT_FAILURE;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
