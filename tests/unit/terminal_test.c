/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Terminals: the last output is kept, slow readers lose and are told, input is bounded, files are
 * kept small.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "hv/terminal.h"

enum { WAIT_MS = 10000 };

/* The loop runs in a thread, as in the virtual machine monitor. */
struct fixture {
	pthread_mutex_t lock;
	struct event_loop *loop;
	pthread_t thread;
	struct terminal *terminal;
	char file[32];
	struct hv_error error;
};

static void *run(void *loop)
{
	event_loop_run(loop);
	return NULL;
}

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	int fd;

	pthread_mutex_init(&fixture->lock, NULL);
	assert_int_equal(event_loop_create(&fixture->loop, &fixture->lock), 0);
	assert_int_equal(terminal_create(&fixture->terminal, "serial port", fixture->loop), 0);
	strcpy(fixture->file, "/tmp/terminal-test.XXXXXX");
	fd = mkstemp(fixture->file);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(pthread_create(&fixture->thread, NULL, run, fixture->loop), 0);
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	event_loop_stop(fixture->loop);
	pthread_join(fixture->thread, NULL);
	terminal_destroy(fixture->terminal);
	event_loop_destroy(fixture->loop);
	unlink(fixture->file);
	free(fixture);
	return 0;
}

static int attach(struct fixture *fixture)
{
	int ends[2], status;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
	pthread_mutex_lock(&fixture->lock);
	status = terminal_attach(fixture->terminal, ends[0], NULL, 0);
	pthread_mutex_unlock(&fixture->lock);
	if (status == 0)
		return ends[1];
	close(ends[0]);
	close(ends[1]);
	return status;
}

static void output(struct fixture *fixture, const char *text, size_t n)
{
	pthread_mutex_lock(&fixture->lock);
	terminal_write(fixture->terminal, text, n);
	pthread_mutex_unlock(&fixture->lock);
}

/* Waits for exactly these bytes. */
static void expect(int fd, const char *text)
{
	char received[256];
	size_t got = 0;

	while (got < strlen(text)) {
		struct pollfd ready = {.fd = fd, .events = POLLIN};
		ssize_t more;

		assert_int_equal(poll(&ready, 1, WAIT_MS), 1);
		more = read(fd, received + got, strlen(text) - got);
		assert_true(more > 0);
		got += (size_t)more;
	}
	assert_memory_equal(received, text, got);
}

static size_t input(struct fixture *fixture, char *to, size_t n)
{
	size_t got;

	pthread_mutex_lock(&fixture->lock);
	got = terminal_read(fixture->terminal, to, n);
	pthread_mutex_unlock(&fixture->lock);
	return got;
}

static unsigned int clients(struct fixture *fixture)
{
	struct terminal_counters counters;

	pthread_mutex_lock(&fixture->lock);
	terminal_count(fixture->terminal, &counters);
	pthread_mutex_unlock(&fixture->lock);
	return counters.clients;
}

static void test_who_comes_later_is_shown_the_last_output(void **state)
{
	struct fixture *fixture = *state;
	int first, second;

	output(fixture, "boot: ", 6);
	first = attach(fixture);
	expect(first, "boot: ");
	output(fixture, "ready", 5);
	second = attach(fixture);
	expect(second, "boot: ready");
	expect(first, "ready");
	close(first);
	close(second);
}

static void test_a_slow_reader_loses_and_is_told(void **state)
{
	struct fixture *fixture = *state;
	char *flood = malloc(1 << 20), *received = calloc(4, 1 << 20);
	int slow = attach(fixture), quick = attach(fixture);
	size_t got = 0;
	struct terminal_counters counters;

	memset(flood, 'x', 1 << 20);
	for (int i = 0; i < 64; i++)
		output(fixture, flood, 1 << 20);
	output(fixture, "END", 3);
	/* Both read at last, and both reach the end. */
	while (got < 3 || memcmp(received + got - 3, "END", 3)) {
		struct pollfd ready = {.fd = slow, .events = POLLIN};
		ssize_t more;

		assert_int_equal(poll(&ready, 1, WAIT_MS), 1);
		more = read(slow, received + got, (4 << 20) - got);
		assert_true(more > 0);
		got += (size_t)more;
	}
	received[got] = 0;
	assert_non_null(strstr(received, "\r\n[cordon-vmm: "));
	assert_non_null(strstr(received, " bytes lost here: they were not read in time]\r\n"));
	pthread_mutex_lock(&fixture->lock);
	terminal_count(fixture->terminal, &counters);
	pthread_mutex_unlock(&fixture->lock);
	assert_int_equal(counters.output_bytes, (64ULL << 20) + 3);
	assert_true(counters.lost_bytes > 60ULL << 20);
	close(slow);
	close(quick);
	free(flood);
	free(received);
}

static void test_input_is_bounded_and_loses_nothing(void **state)
{
	struct fixture *fixture = *state;
	char typed[20000], taken[20000];
	int person = attach(fixture);
	size_t sent = 0, got = 0;

	for (size_t i = 0; i < sizeof(typed); i++)
		typed[i] = (char)(i * 7);
	while (got < sizeof(taken)) {
		ssize_t more = write(person, typed + sent, sizeof(typed) - sent);

		sent += more > 0 ? (size_t)more : 0;
		got += input(fixture, taken + got, sizeof(taken) - got);
		if (sent < sizeof(typed) && more < 0)
			assert_int_equal(errno, EAGAIN);
	}
	assert_memory_equal(typed, taken, sizeof(typed));
	close(person);
}

static void test_last_words_of_who_hangs_up_arrive(void **state)
{
	struct fixture *fixture = *state;
	int person = attach(fixture);
	char taken[8];
	size_t got = 0;

	assert_int_equal(write(person, "halt\n", 5), 5);
	close(person);
	for (int i = 0; i < WAIT_MS && got < 5; i++) {
		got += input(fixture, taken + got, sizeof(taken) - got);
		poll(NULL, 0, 1);
	}
	assert_int_equal(got, 5);
	for (int i = 0; i < WAIT_MS && clients(fixture) > 0; i++)
		poll(NULL, 0, 1);
	assert_int_equal(clients(fixture), 0);
}

static void test_clients_are_bounded(void **state)
{
	struct fixture *fixture = *state;
	int person[TERMINAL_CLIENTS];

	for (int i = 0; i < TERMINAL_CLIENTS; i++) {
		person[i] = attach(fixture);
		assert_true(person[i] >= 0);
	}
	assert_int_equal(attach(fixture), -ENOSPC);
	for (int i = 0; i < TERMINAL_CLIENTS; i++)
		close(person[i]);
}

static off_t size_of(const char *path)
{
	struct stat status;

	return stat(path, &status) == 0 ? status.st_size : -1;
}

static void open_terminal(struct fixture *fixture, const char *where, int expected)
{
	pthread_mutex_lock(&fixture->lock);
	assert_int_equal(terminal_open(fixture->terminal, where, &fixture->error), expected);
	pthread_mutex_unlock(&fixture->lock);
}

static void test_a_file_gets_everything(void **state)
{
	struct fixture *fixture = *state;
	char text[64] = "";
	FILE *file = fopen(fixture->file, "w");

	fputs("before, ", file);
	fclose(file);
	open_terminal(fixture, fixture->file, 0);
	output(fixture, "after", 5);
	for (int i = 0; i < WAIT_MS && size_of(fixture->file) < 13; i++)
		poll(NULL, 0, 1);
	file = fopen(fixture->file, "r");
	assert_non_null(fgets(text, sizeof(text), file));
	fclose(file);
	assert_string_equal(text, "before, after");
}

/* However much the guest writes. */
static void test_a_file_stays_below_its_bound(void **state)
{
	struct fixture *fixture = *state;
	char *flood = malloc(60000);
	off_t size, last = 0;
	bool begun_anew = false;

	memset(flood, 'x', 60000);
	open_terminal(fixture, fixture->file, 0);
	for (int i = 0; i < 4000 && !begun_anew; i++) {
		output(fixture, flood, 60000);
		do {
			size = size_of(fixture->file);
		} while (size == last && poll(NULL, 0, 1) == 0);
		assert_true(size <= TERMINAL_FILE_BYTES);
		begun_anew = size < last;
		last = size;
	}
	assert_true(begun_anew);
	free(flood);
}

static void test_what_is_no_file_is_a_sentence(void **state)
{
	struct fixture *fixture = *state;

	open_terminal(fixture, "/tmp", -EISDIR);
	assert_non_null(strstr(fixture->error.text, "'/tmp' for the guest's serial port"));
	open_terminal(fixture, "/no/such/folder/log", -ENOENT);
	assert_non_null(strstr(fixture->error.text, "/no/such/folder/log"));
	unlink(fixture->file);
	assert_int_equal(mkfifo(fixture->file, 0600), 0);
	open_terminal(fixture, fixture->file, -ENXIO);
	assert_non_null(strstr(fixture->error.text, "nobody reads"));
	open_terminal(fixture, "none", 0);
	open_terminal(fixture, "/dev/null", 0);
	output(fixture, "gone", 4);
	assert_int_equal(clients(fixture), 1);
}

static void test_the_end_of_the_output(void **state)
{
	struct fixture *fixture = *state;
	char tail[8], *flood = malloc(70000);

	assert_int_equal(terminal_tail(fixture->terminal, tail, sizeof(tail)), 0);
	output(fixture, "abc", 3);
	assert_int_equal(terminal_tail(fixture->terminal, tail, sizeof(tail)), 3);
	memset(flood, 'x', 70000);
	memcpy(flood + 70000 - 8, "the end.", 8);
	output(fixture, flood, 70000);
	assert_int_equal(terminal_tail(fixture->terminal, tail, sizeof(tail)), 8);
	assert_memory_equal(tail, "the end.", 8);
	free(flood);
}

#define story(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		story(test_who_comes_later_is_shown_the_last_output),
		story(test_a_slow_reader_loses_and_is_told),
		story(test_input_is_bounded_and_loses_nothing),
		story(test_last_words_of_who_hangs_up_arrive),
		story(test_clients_are_bounded),
		story(test_a_file_gets_everything),
		story(test_a_file_stays_below_its_bound),
		story(test_what_is_no_file_is_a_sentence),
		story(test_the_end_of_the_output),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
