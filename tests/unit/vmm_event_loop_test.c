/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event loop: who is called when, what happens to a source that is removed or changed while it
 * is ready, and that other threads may add, remove and stop.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "hv/event_loop.h"

struct counted {
	struct event_source source; /* First. */
	struct event_loop *loop;
	struct counted *removes; /* Removed and freed when this one is called. */
	unsigned int calls, stop_after;
};

struct fixture {
	pthread_mutex_t lock;
	struct event_loop *loop;
};

static int set_up(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	pthread_mutex_init(&fixture->lock, NULL);
	assert_int_equal(event_loop_create(&fixture->loop, &fixture->lock), 0);
	*state = fixture;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;

	event_loop_destroy(fixture->loop);
	event_loop_destroy(NULL);
	pthread_mutex_destroy(&fixture->lock);
	free(fixture);
	return 0;
}

static void counted_end(struct counted *counted)
{
	event_loop_remove(counted->loop, &counted->source);
	close(counted->source.fd);
	free(counted);
}

static void called(struct event_source *source, uint32_t events)
{
	struct counted *counted = (struct counted *)source;

	assert_int_equal(events, EPOLLIN);
	counted->calls++;
	if (counted->removes)
		counted_end(counted->removes);
	counted->removes = NULL;
	if (counted->calls == counted->stop_after)
		event_loop_stop(counted->loop);
}

/* Is ready from the beginning, and stays so. */
static struct counted *counted_new(const struct fixture *fixture)
{
	struct counted *counted = calloc(1, sizeof(*counted));

	counted->loop = fixture->loop;
	counted->source.fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
	counted->source.ready = called;
	assert_int_equal(event_loop_add(fixture->loop, &counted->source, EPOLLIN), 0);
	return counted;
}

static void test_ready_sources_are_called(void **state)
{
	struct counted *one = counted_new(*state), *two = counted_new(*state);

	one->stop_after = 5;
	event_loop_run(one->loop);
	assert_int_equal(one->calls, 5);
	assert_in_range(two->calls, 4, 6);
	counted_end(one);
	counted_end(two);
}

static void test_stop_before_the_loop_runs_counts(void **state)
{
	struct counted *one = counted_new(*state);

	event_loop_stop(one->loop);
	event_loop_run(one->loop);
	assert_int_equal(one->calls, 0);
	counted_end(one);
}

/* Both are reported by the same epoll_wait(); whichever is called first frees the other. */
static void test_removed_source_is_not_called(void **state)
{
	struct counted *first = counted_new(*state), *second = counted_new(*state);

	first->removes = second;
	second->removes = NULL;
	first->stop_after = 3;
	event_loop_run(first->loop);
	assert_int_equal(first->calls, 3);
	counted_end(first);
}

static void test_change_of_events_replaces_them(void **state)
{
	struct counted *one = counted_new(*state), *two = counted_new(*state);

	assert_int_equal(event_loop_add(one->loop, &two->source, 0), 0);
	one->stop_after = 3;
	event_loop_run(one->loop);
	assert_int_equal(two->calls, 0);
	counted_end(one);
	counted_end(two);
}

static void test_many_sources_and_bad_ones(void **state)
{
	struct fixture *fixture = *state;
	struct counted *many[100];
	struct event_source bad = {.fd = -1, .ready = called};

	for (unsigned int i = 0; i < 100; i++)
		many[i] = counted_new(fixture);
	assert_int_equal(event_loop_add(fixture->loop, &bad, EPOLLIN), -EBADF);
	assert_false(bad.added);
	event_loop_remove(fixture->loop, &bad);
	many[99]->stop_after = 2;
	event_loop_run(fixture->loop);
	for (unsigned int i = 0; i < 100; i++) {
		assert_in_range(many[i]->calls, 1, 20);
		counted_end(many[i]);
	}
}

enum { ROUNDS = 2000 };

/* A vCPU that starts and resets a device all the time. */
static void *churn(void *argument)
{
	struct fixture *fixture = argument;

	for (unsigned int round = 0; round < ROUNDS; round++) {
		struct counted *counted;

		pthread_mutex_lock(&fixture->lock);
		counted = counted_new(fixture);
		pthread_mutex_unlock(&fixture->lock);
		pthread_mutex_lock(&fixture->lock);
		counted_end(counted);
		pthread_mutex_unlock(&fixture->lock);
	}
	event_loop_stop(fixture->loop);
	return NULL;
}

static void test_other_threads_may_add_and_remove(void **state)
{
	struct fixture *fixture = *state;
	struct counted *steady = counted_new(fixture);
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, churn, fixture), 0);
	event_loop_run(fixture->loop);
	pthread_join(thread, NULL);
	counted_end(steady);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_ready_sources_are_called, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			test_stop_before_the_loop_runs_counts, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			test_removed_source_is_not_called, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			test_change_of_events_replaces_them, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_many_sources_and_bad_ones, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			test_other_threads_may_add_and_remove, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
