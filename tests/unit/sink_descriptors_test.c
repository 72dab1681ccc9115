/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A place that cannot be opened is tried again and again, for weeks: no try may leave a descriptor
 * behind.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sinks/sink_type.h"
#include "tests/unit/log_fixture.h"
#include "tests/unit/sink_fixture.h"

enum { TRIES = 50 };

static unsigned int count_descriptors(void)
{
	DIR *stream = opendir("/proc/self/fd");
	unsigned int n = 0;

	assert_non_null(stream);
	while (readdir(stream))
		n++;
	closedir(stream);
	return n;
}

/* Opens it so often; it must fail each time, and nothing be left. */
static void expect_nothing_left(const struct sink_type *type, const char *const *options)
{
	struct fixture_sink sink;
	unsigned int before;

	prepare_sink(&sink, type, options);
	assert_true(try_open(&sink) < 0); /* A library may keep what it needs for the first one. */
	before = count_descriptors();
	for (int i = 0; i < TRIES; i++) {
		assert_true(try_open(&sink) < 0);
		assert_true(sink.error[0] != '\0');
	}
	assert_int_equal(count_descriptors(), before);
}

static void write_file(const char *name, const char *text)
{
	FILE *file = fopen(path_of(name), "w");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void test_json(void **state)
{
	char path[512];
	struct fixture_sink first;

	(void)state;
	snprintf(path, sizeof(path), "%s", path_of("missing/log.json"));
	expect_nothing_left(&sink_json, (const char *const[]){"path", path, NULL});
	write_file("prose", "this is no JSON\n");
	snprintf(path, sizeof(path), "%s", path_of("prose"));
	expect_nothing_left(&sink_json, (const char *const[]){"path", path, NULL});
	snprintf(path, sizeof(path), "%s", path_of("taken"));
	prepare_sink(&first, &sink_json, (const char *const[]){"path", path, NULL});
	open_sink(&first);
	expect_nothing_left(&sink_json, (const char *const[]){"path", path, NULL});
	close_sink(&first);
	expect_nothing_left(&sink_json, (const char *const[]){"path", directory, NULL});
}

static void test_sqlite(void **state)
{
	char path[512];
	struct fixture_sink first;

	(void)state;
	snprintf(path, sizeof(path), "%s", path_of("missing/log"));
	expect_nothing_left(&sink_sqlite, (const char *const[]){"directory", path, NULL});
	write_file("file", "no directory\n");
	snprintf(path, sizeof(path), "%s", path_of("file"));
	expect_nothing_left(&sink_sqlite, (const char *const[]){"directory", path, NULL});
	snprintf(path, sizeof(path), "%s", path_of("log"));
	prepare_sink(&first, &sink_sqlite, (const char *const[]){"directory", path, NULL});
	open_sink(&first);
	expect_nothing_left(&sink_sqlite, (const char *const[]){"directory", path, NULL});
	close_sink(&first);
}

/* A port of this machine where nobody listens, as long as the socket is open. */
static int reserve_port(char endpoint[64])
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, length), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
	snprintf(endpoint, 64, "127.0.0.1:%u", ntohs(address.sin_port));
	return fd;
}

static void test_collectors(void **state)
{
	char endpoint[64], connection[128];
	int fd = reserve_port(endpoint);

	(void)state;
	expect_nothing_left(&sink_ipfix, (const char *const[]){"collector", endpoint, NULL});
	expect_nothing_left(&sink_ipfix,
		(const char *const[]){"collector", endpoint, "transport", "tcp", NULL});
	expect_nothing_left(
		&sink_syslog, (const char *const[]){"server", endpoint, "transport", "tcp", NULL});
	expect_nothing_left(
		&sink_syslog, (const char *const[]){"server", endpoint, "transport", "tls", NULL});
	snprintf(connection, sizeof(connection), "host=127.0.0.1 port=%s dbname=fleet",
		strchr(endpoint, ':') + 1);
	expect_nothing_left(
		&sink_postgresql, (const char *const[]){"connection", connection, NULL});
	expect_nothing_left(&sink_postgresql,
		(const char *const[]){"connection", "host=", "schema", "s", NULL});
	expect_nothing_left(
		&sink_postgresql, (const char *const[]){"connection", "no=such option", NULL});
	close(fd);
}

static void test_trust(void **state)
{
	char endpoint[64], path[512];
	int fd = reserve_port(endpoint);

	(void)state;
	/* The kernel accepts, and nobody ever answers; what is wrong is found before that. */
	assert_int_equal(listen(fd, 4 * TRIES), 0);
	write_file("rubbish.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n");
	snprintf(path, sizeof(path), "%s", path_of("rubbish.pem"));
	chmod(path, 0600);
	expect_nothing_left(&sink_syslog,
		(const char *const[]){"server", endpoint, "transport", "tls", "ca", path, NULL});
	expect_nothing_left(&sink_syslog, (const char *const[]){"server", endpoint, "transport",
						  "tls", "certificate", path, "key", path, NULL});
	expect_nothing_left(&sink_syslog, (const char *const[]){"server", endpoint, "transport",
						  "tls", "ca", "/no/such/ca.pem", NULL});
	close(fd);
}

int main(void)
{
#define IN_A_DIRECTORY(test) cmocka_unit_test_setup_teardown(test, make_directory, remove_directory)
	const struct CMUnitTest tests[] = {
		IN_A_DIRECTORY(test_json),
		IN_A_DIRECTORY(test_sqlite),
		IN_A_DIRECTORY(test_collectors),
		IN_A_DIRECTORY(test_trust),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
