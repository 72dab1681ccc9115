/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The IPFIX sink and collectors on the loopback: those that listen, that are not there, that go
 * away, that never read.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "sinks/sink_type.h"
#include "tests/unit/log_fixture.h"
#include "tests/unit/sink_fixture.h"
#include "tests/unit/ipfix_reader.h"

/* What a test waits for at most, and how much patience a sink has that is to lose it. */
enum { WAIT_MS = 20000, SHORT_MS = 400 };

/* A sink, and the collector's end. */
struct story {
	struct fixture_sink sink;
	char endpoint[64];
	int listener, fd; /* Over UDP both are one. */
	struct reader *reader;
};

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* A collector on a port that the system chooses, which stays with the test; and a sink for it, with
 * one more option. */
static void begin(
	struct story *story, int type, const char *host, const char *option, const char *value)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const char *options[] = {"collector", story->endpoint, "transport",
		type == SOCK_STREAM ? "tcp" : "udp", option, value, NULL};
	socklen_t length = sizeof(address);

	story->listener = socket(AF_INET, type | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(story->listener, (struct sockaddr *)&address, length), 0);
	assert_int_equal(getsockname(story->listener, (struct sockaddr *)&address, &length), 0);
	snprintf(story->endpoint, sizeof(story->endpoint), "%s:%u", host, ntohs(address.sin_port));
	if (type == SOCK_STREAM)
		assert_int_equal(listen(story->listener, 1), 0);
	story->fd = type == SOCK_STREAM ? -1 : story->listener;
	prepare_sink(&story->sink, &sink_ipfix, options);
	story->sink.place.time_limit_ms = WAIT_MS;
	story->reader = reader_create();
}

static void end(struct story *story)
{
	close_sink(&story->sink);
	if (story->fd >= 0)
		close(story->fd);
	if (story->listener >= 0 && story->listener != story->fd)
		close(story->listener);
	reader_free(story->reader);
}

static void open_both(struct story *story)
{
	open_sink(&story->sink);
	if (story->fd < 0)
		story->fd = accept(story->listener, NULL, NULL);
	assert_true(story->fd >= 0);
}

static bool is_readable(const struct story *story, int timeout_ms)
{
	struct pollfd one = {.fd = story->fd, .events = POLLIN};

	return poll(&one, 1, timeout_ms) > 0;
}

static void receive(struct story *story, void *data, size_t length)
{
	assert_int_equal(recv(story->fd, data, length, MSG_WAITALL), length);
}

/* Reads all messages that have come. */
static void collect(struct story *story)
{
	static uint8_t message[65536];

	while (is_readable(story, 100)) {
		if (story->fd == story->listener) {
			ssize_t length = recv(story->fd, message, sizeof(message), 0);

			assert_true(length > 0);
			reader_read(story->reader, message, (size_t)length);
		} else {
			receive(story, message, 4);
			receive(story, message + 4, big16(message + 2) - 4u);
			reader_read(story->reader, message, big16(message + 2));
		}
	}
}

/* Writes records with numbers from `first` on, and has them read in between. */
static void write_numbers(struct story *story, uint64_t first, uint64_t n, uint64_t at_once)
{
	for (uint64_t i = first; i < first + n; i++) {
		struct log_record record = record_of(i, T0 + i);

		write_sink(&story->sink, &record);
		if ((i - first + 1) % at_once == 0) {
			flush_sink(&story->sink, T0);
			collect(story);
		}
	}
}

static void check_sequence(const struct story *story, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		assert_int_equal(reader_find(story->reader, 256, i)->values.sequence, i + 1);
}

/* --- Collectors that are there ---------------------------------------------------------------- */

static void test_udp(void **state)
{
	struct story story;

	(void)state;
	/* It is found at its IPv4 address, though the name may have one of IPv6. */
	begin(&story, SOCK_DGRAM, "localhost", "observation-domain", "4711");
	open_both(&story);
	collect(&story);
	write_numbers(&story, 1, 300, 50);
	check_sequence(&story, 300);
	assert_int_equal(story.reader->domain, 4711);
	/* The MTU without the headers of IPv6 and UDP. */
	assert_in_range(story.reader->longest, 1400 - 48 - 350, 1400 - 48);
	end(&story);
}

static void test_mtu(void **state)
{
	struct log_record record = record_of(1, T0);
	struct story story;
	char tags[2001];

	(void)state;
	begin(&story, SOCK_DGRAM, "127.0.0.1", "mtu", "576");
	open_both(&story);
	collect(&story);
	memset(tags, 't', 2000);
	tags[2000] = '\0';
	record.source.tags = record.destination.tags = tags;
	assert_int_equal(try_write(&story.sink, &record), 0);
	write_numbers(&story, 2, 20, 20);
	check_sequence(&story, 21);
	assert_in_range(story.reader->longest, 500, 576 - 48);
	end(&story);
}

static void test_tcp(void **state)
{
	struct story story;

	(void)state;
	begin(&story, SOCK_STREAM, "localhost", NULL, NULL);
	open_both(&story);
	collect(&story);
	write_numbers(&story, 1, 1000, 100);
	check_sequence(&story, 1000);
	assert_int_equal(story.reader->domain, 1);
	end(&story);
}

/* Over UDP they come again, also when nothing else does; over TCP they do not. */
static void test_templates_again(void **state)
{
	static const int types[] = {SOCK_DGRAM, SOCK_STREAM};

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct story story;
		size_t n_sets;

		begin(&story, types[i], "127.0.0.1", "template-seconds", "2");
		open_both(&story);
		write_numbers(&story, 1, 1, 1);
		n_sets = story.reader->n_template_sets;
		assert_int_equal(n_sets, 2 + (i == 0));
		assert_int_equal(try_flush(&story.sink, T0), 0);
		assert_false(is_readable(&story, 50));
		usleep(2000000);
		assert_int_equal(try_flush(&story.sink, T0), 0);
		collect(&story);
		assert_int_equal(story.reader->n_template_sets, i == 0 ? 2 * n_sets : n_sets);
		write_numbers(&story, 2, 1, 1);
		check_sequence(&story, 2);
		end(&story);
	}
}

/* --- Collectors that are not ------------------------------------------------------------------ */

static void test_nobody_there(void **state)
{
	static const int types[] = {SOCK_DGRAM, SOCK_STREAM};

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct story story;

		begin(&story, types[i], "127.0.0.1", NULL, NULL);
		close(story.listener);
		story.listener = story.fd = -1;
		assert_int_equal(try_open(&story.sink), -ECONNREFUSED);
		assert_non_null(strstr(story.sink.error, story.endpoint));
		assert_non_null(strstr(story.sink.error, "refused"));
		end(&story);
	}
}

static void test_ipv6(void **state)
{
	static const char *const options[] = {
		"collector", "[::1]:9", "transport", "tcp", NULL}; /* Discard: nobody has it. */
	struct fixture_sink sink;

	(void)state;
	prepare_sink(&sink, &sink_ipfix, options);
	assert_int_not_equal(try_open(&sink), 0);
	assert_non_null(strstr(sink.error, "tcp [::1]:9"));
}

/* The next delivery fails: the records are written once more by who called. */
static void test_gone(void **state)
{
	static const int types[] = {SOCK_DGRAM, SOCK_STREAM};

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct log_record record = record_of(1, T0);
		struct story story;
		int rc;

		begin(&story, types[i], "127.0.0.1", NULL, NULL);
		open_both(&story);
		collect(&story);
		assert_int_equal(try_write(&story.sink, &record), 0);
		assert_int_equal(try_flush(&story.sink, T0), 0);
		collect(&story);
		close(story.fd);
		if (i == 1)
			close(story.listener);
		story.listener = story.fd = -1;
		assert_int_equal(try_write(&story.sink, &record), 0);
		rc = try_flush(&story.sink, T0);
		assert_true(rc == -ECONNREFUSED || rc == -ECONNRESET || rc == -EPIPE);
		assert_non_null(strstr(story.sink.error, story.endpoint));
		end(&story);
	}
}

/* Over TCP it is noticed when there is nothing to write, too. */
static void test_gone_while_idle(void **state)
{
	struct story story;

	(void)state;
	begin(&story, SOCK_STREAM, "127.0.0.1", NULL, NULL);
	open_both(&story);
	collect(&story);
	flush_sink(&story.sink, T0);
	close(story.fd);
	story.fd = -1;
	assert_int_equal(try_flush(&story.sink, T0), -EPIPE);
	end(&story);
}

/* Writes until the collector's window and the socket's buffer are full, which must take no longer
 * than the place allows. */
static int fill(struct story *story)
{
	int rc = 0;

	for (uint64_t i = 1; rc == 0 && i < 1000000; i++) {
		struct log_record record = record_of(i, T0);

		rc = try_write(&story->sink, &record);
	}
	return rc;
}

static void test_never_reads(void **state)
{
	struct story story;
	uint64_t start;

	(void)state;
	begin(&story, SOCK_STREAM, "127.0.0.1", NULL, NULL);
	open_both(&story);
	story.sink.place.time_limit_ms = SHORT_MS;
	start = now_ms();
	assert_int_equal(fill(&story), -ETIMEDOUT);
	assert_in_range(now_ms() - start, 300, WAIT_MS);
	assert_non_null(strstr(story.sink.error, story.endpoint));
	end(&story);
}

static void test_ending(void **state)
{
	struct story story;
	uint64_t start;

	(void)state;
	begin(&story, SOCK_STREAM, "127.0.0.1", NULL, NULL);
	story.sink.place.time_limit_ms = 60000;
	open_both(&story);
	story.sink.ending = true;
	start = now_ms();
	assert_int_equal(fill(&story), -ECANCELED);
	assert_in_range(now_ms() - start, 0, WAIT_MS);
	end(&story);
}

/* The queue of connections that nobody accepts fills up, and then packets are not answered. */
static void test_no_answer(void **state)
{
	struct story story;
	uint64_t start = now_ms();
	int rc = 0;

	(void)state;
	begin(&story, SOCK_STREAM, "127.0.0.1", NULL, NULL);
	story.sink.place.time_limit_ms = SHORT_MS;
	for (int i = 0; rc == 0 && i < 5; i++) {
		rc = try_open(&story.sink);
		if (rc == 0)
			close_sink(&story.sink);
	}
	assert_int_equal(rc, -ETIMEDOUT);
	assert_in_range(now_ms() - start, 300, WAIT_MS);
	assert_non_null(strstr(story.sink.error, story.endpoint));
	story.sink.state = NULL;
	end(&story);
}

static void test_no_such_name(void **state)
{
	struct story story;
	uint64_t start = now_ms();
	int rc;

	(void)state;
	begin(&story, SOCK_DGRAM, "no-such-host.invalid", NULL, NULL);
	story.sink.place.time_limit_ms = SHORT_MS;
	rc = try_open(&story.sink);
	assert_true(rc == -EHOSTUNREACH || rc == -ETIMEDOUT);
	assert_non_null(strstr(story.sink.error, "no-such-host.invalid"));
	assert_in_range(now_ms() - start, 0, WAIT_MS);
	end(&story);
}

/* --- Settings --------------------------------------------------------------------------------- */

static void test_settings(void **state)
{
	static const char *const bad[][2] = {{"transport", "tls"}, {"mtu", "575"},
		{"template-seconds", "0"}, {"observation-domain", "4294967296"},
		{"enterprise-number", "0"}, {"collector", "a b"}};
	struct sink_setting at[2] = {{"collector", "192.0.2.1"}};
	struct sink_settings settings = {.kind = sink_kind_find("ipfix"), .n = 2, .at = at};
	char error[256];

	(void)state;
	assert_ptr_equal(settings.kind, sink_ipfix.kind);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		at[1] = (struct sink_setting){bad[i][0], bad[i][1]};
		assert_false(sink_settings_check(&settings, error, sizeof(error)));
		assert_non_null(strstr(error, bad[i][0]));
	}
	settings.n = 0;
	assert_false(sink_settings_check(&settings, error, sizeof(error)));
	assert_non_null(strstr(error, "collector="));
}

static void test_close_nothing(void **state)
{
	(void)state;
	sink_ipfix.close(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_udp),
		cmocka_unit_test(test_mtu),
		cmocka_unit_test(test_tcp),
		cmocka_unit_test(test_templates_again),
		cmocka_unit_test(test_nobody_there),
		cmocka_unit_test(test_ipv6),
		cmocka_unit_test(test_gone),
		cmocka_unit_test(test_gone_while_idle),
		cmocka_unit_test(test_never_reads),
		cmocka_unit_test(test_ending),
		cmocka_unit_test(test_no_answer),
		cmocka_unit_test(test_no_such_name),
		cmocka_unit_test(test_settings),
		cmocka_unit_test(test_close_nothing),
	};

	return cmocka_run_group_tests_name("ipfix_sink", tests, NULL, NULL);
}
