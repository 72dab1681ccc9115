/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker: sockets that are made, connected to, replaced when they are stale, and removed
 * however their maker ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "hv/broker.h"

struct fixture {
	char folder[32];
	char path[3][64];
	char too_long[200];
	const char *paths[4];
	struct broker *broker;
	struct hv_error error;
};

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	struct seccomp *seccomp;

	assert_non_null(fixture);
	strcpy(fixture->folder, "/tmp/broker-test.XXXXXX");
	assert_non_null(mkdtemp(fixture->folder));
	for (int i = 0; i < 3; i++) {
		snprintf(fixture->path[i], sizeof(fixture->path[i]), "%s/%d", fixture->folder, i);
		fixture->paths[i] = fixture->path[i];
	}
	memset(fixture->too_long, 'x', sizeof(fixture->too_long) - 1);
	fixture->paths[3] = fixture->too_long;
	assert_int_equal(seccomp_create(&seccomp, NULL), 0);
	assert_int_equal(broker_start(&fixture->broker, fixture->paths, 4, seccomp, NULL), 0);
	seccomp_destroy(seccomp);
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	broker_destroy(fixture->broker);
	/* Nothing is left. */
	assert_int_equal(rmdir(fixture->folder), 0);
	free(fixture);
	return 0;
}

static bool is_there(const char *path)
{
	struct stat status;

	return lstat(path, &status) == 0;
}

/* A socket that somebody else has made. */
static int listen_at(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(address.sun_path, path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 1), 0);
	return fd;
}

static void test_listens_for_its_user_only(void **state)
{
	struct fixture *fixture = *state;
	int fd = broker_listen(fixture->broker, fixture->paths[0], &fixture->error);
	struct stat status;

	assert_true(fd >= 0);
	assert_int_equal(lstat(fixture->paths[0], &status), 0);
	assert_int_equal(status.st_mode, S_IFSOCK | 0600);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	close(fd);
}

static void test_connects_for_others(void **state)
{
	struct fixture *fixture = *state;
	int listener = listen_at(fixture->paths[1]), ours, theirs;
	char byte = 0;

	ours = broker_connect(fixture->broker, fixture->paths[1], &fixture->error);
	assert_true(ours >= 0);
	theirs = accept(listener, NULL, NULL);
	assert_int_equal(send(theirs, "x", 1, 0), 1);
	assert_int_equal(recv(ours, &byte, 1, 0), 1);
	assert_int_equal(byte, 'x');
	close(ours);
	close(theirs);
	close(listener);
	unlink(fixture->paths[1]);
}

/* This process's broker. */
static pid_t broker_pid(void)
{
	char path[64], text[32];
	FILE *file;
	int pid = 0;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
	file = fopen(path, "r");
	assert_non_null(file);
	assert_int_equal(fscanf(file, "%d", &pid), 1);
	fclose(file);
	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	file = fopen(path, "r");
	assert_non_null(file);
	assert_non_null(fgets(text, sizeof(text), file));
	fclose(file);
	assert_string_equal(text, "cordon-broker\n");
	return pid;
}

/* The socket that leads to it. */
static int broker_socket(void)
{
	for (int fd = 3; fd < 256; fd++) {
		int type = 0;
		socklen_t bytes = sizeof(type);

		if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &bytes) == 0 &&
			type == SOCK_SEQPACKET)
			return fd;
	}
	return -1;
}

/* It has been stopped, and has not heard what was said since, until there was no room any more. */
static void test_a_broker_that_hears_nothing_is_not_waited_for(void **state)
{
	struct fixture *fixture = *state;
	int fd = broker_socket();
	pid_t broker = broker_pid();

	assert_true(fd >= 0);
	assert_int_equal(kill(broker, SIGSTOP), 0);
	while (send(fd, "", 1, MSG_DONTWAIT) == 1)
		;
	alarm(20);
	assert_int_equal(
		broker_connect(fixture->broker, fixture->paths[1], &fixture->error), -ETIMEDOUT);
	alarm(0);
	assert_non_null(strstr(fixture->error.text, fixture->paths[1]));
	assert_int_equal(kill(broker, SIGCONT), 0);
}

static void test_nobody_there_is_a_sentence(void **state)
{
	struct fixture *fixture = *state;
	int listener = listen_at(fixture->paths[1]);

	close(listener);
	assert_int_equal(
		broker_connect(fixture->broker, fixture->paths[1], &fixture->error), -ECONNREFUSED);
	assert_non_null(strstr(fixture->error.text, fixture->paths[1]));
	unlink(fixture->paths[1]);
	assert_int_equal(
		broker_connect(fixture->broker, fixture->paths[1], &fixture->error), -ENOENT);
	assert_int_equal(broker_connect(fixture->broker, "/elsewhere", &fixture->error), -ENOENT);
}

static void test_a_full_queue_is_not_waited_for(void **state)
{
	struct fixture *fixture = *state;
	int listener = listen_at(fixture->paths[1]), fds[8], n = 0, fd;

	while ((fd = broker_connect(fixture->broker, fixture->paths[1], &fixture->error)) >= 0) {
		assert_in_range(n, 0, 7);
		fds[n++] = fd;
	}
	assert_int_equal(fd, -EAGAIN);
	while (n)
		close(fds[--n]);
	close(listener);
	unlink(fixture->paths[1]);
}

static void test_what_is_used_is_refused_and_left_alone(void **state)
{
	struct fixture *fixture = *state;
	int listener = listen_at(fixture->paths[0]), file;

	assert_int_equal(
		broker_listen(fixture->broker, fixture->paths[0], &fixture->error), -EADDRINUSE);
	assert_non_null(strstr(fixture->error.text, "another process listens"));
	assert_true(is_there(fixture->paths[0]));
	close(listener);
	unlink(fixture->paths[0]);

	file = open(fixture->paths[0], O_CREAT | O_WRONLY, 0600);
	close(file);
	assert_int_equal(
		broker_listen(fixture->broker, fixture->paths[0], &fixture->error), -EADDRINUSE);
	assert_non_null(strstr(fixture->error.text, "no socket"));
	assert_int_equal(unlink(fixture->paths[0]), 0);
}

static void test_stale_sockets_are_replaced(void **state)
{
	struct fixture *fixture = *state;
	int fd;

	close(listen_at(fixture->paths[0]));
	fd = broker_listen(fixture->broker, fixture->paths[0], &fixture->error);
	assert_true(fd >= 0);
	close(fd);
}

static void test_bad_paths_are_sentences(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(
		broker_listen(fixture->broker, fixture->too_long, &fixture->error), -ENAMETOOLONG);
	assert_non_null(strstr(fixture->error.text, "199 bytes, and 107"));
	assert_int_equal(
		broker_connect(fixture->broker, fixture->too_long, &fixture->error), -ENAMETOOLONG);
	assert_int_equal(broker_listen(fixture->broker, "/elsewhere", &fixture->error), -ENOENT);
}

/* Somebody has taken the place meanwhile: what he made is his. */
static void test_others_sockets_are_not_removed(void **state)
{
	struct fixture *fixture = *state;
	int fd = broker_listen(fixture->broker, fixture->paths[0], &fixture->error), other;

	assert_true(fd >= 0);
	unlink(fixture->paths[0]);
	other = listen_at(fixture->paths[0]);
	broker_destroy(fixture->broker);
	fixture->broker = NULL;
	assert_true(is_there(fixture->paths[0]));
	close(other);
	close(fd);
	unlink(fixture->paths[0]);
}

static void test_removes_what_a_killed_process_made(void **state)
{
	const struct timespec moment = {.tv_nsec = 10 * 1000 * 1000};
	struct fixture *fixture = *state;
	int told[2];
	char byte;
	pid_t child;

	assert_int_equal(pipe(told), 0);
	child = fork();
	if (child == 0) {
		struct broker *broker;

		if (broker_start(&broker, fixture->paths, 4, NULL, NULL) < 0 ||
			broker_listen(broker, fixture->paths[2], NULL) < 0 ||
			write(told[1], "x", 1) != 1)
			_exit(1);
		pause();
		_exit(0);
	}
	assert_int_equal(read(told[0], &byte, 1), 1);
	assert_true(is_there(fixture->paths[2]));
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	for (int i = 0; i < 2000 && is_there(fixture->paths[2]); i++)
		nanosleep(&moment, NULL);
	assert_false(is_there(fixture->paths[2]));
	close(told[0]);
	close(told[1]);
}

#define story(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		story(test_listens_for_its_user_only),
		story(test_connects_for_others),
		story(test_a_broker_that_hears_nothing_is_not_waited_for),
		story(test_nobody_there_is_a_sentence),
		story(test_a_full_queue_is_not_waited_for),
		story(test_what_is_used_is_refused_and_left_alone),
		story(test_stale_sockets_are_replaced),
		story(test_bad_paths_are_sentences),
		story(test_others_sockets_are_not_removed),
		story(test_removes_what_a_killed_process_made),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
