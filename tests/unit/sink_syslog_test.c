/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The syslog sink over UDP and TCP, and servers on the loopback: those that listen, that are not
 * there, that go away, that never read.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sched.h>
#include <sys/mount.h>

#include "sinks/sink_type.h"
#include "tests/unit/log_fixture.h"
#include "tests/unit/sink_fixture.h"
#include "tests/unit/syslog_reader.h"
#include "tests/unit/syslog_server.h"

static struct syslog_read read_back;

/* --- UDP -------------------------------------------------------------------------------------- */

static int bind_udp(int family, char endpoint[64])
{
	struct sockaddr_in6 address6 = {
		.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	struct sockaddr_in address4 = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	bool is_v6 = family == AF_INET6;
	struct sockaddr *address =
		is_v6 ? (struct sockaddr *)&address6 : (struct sockaddr *)&address4;
	socklen_t length = is_v6 ? sizeof(address6) : sizeof(address4);
	int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, address, length), 0);
	assert_int_equal(getsockname(fd, address, &length), 0);
	snprintf(endpoint, 64, is_v6 ? "[::1]:%u" : "127.0.0.1:%u",
		ntohs(is_v6 ? address6.sin6_port : address4.sin_port));
	return fd;
}

/* Reads one datagram, a whole message. */
static size_t receive_datagram(int fd)
{
	static char message[READER_TEXT_MAX];
	struct pollfd one = {.fd = fd, .events = POLLIN};
	ssize_t length;

	assert_int_equal(poll(&one, 1, 20000), 1);
	length = recv(fd, message, sizeof(message), 0);
	assert_true(length > 0);
	syslog_read(message, (size_t)length, &read_back);
	return (size_t)length;
}

static void assert_datagrams(int family)
{
	char endpoint[64], id[24];
	int fd = bind_udp(family, endpoint);
	const char *options[] = {"server", endpoint, "facility", "auth", NULL};
	struct fixture_sink sink;

	prepare_sink(&sink, &sink_syslog, options);
	open_sink(&sink);
	for (uint64_t first = 1; first <= 1000; first += 50) {
		write_numbered(&sink, first, first + 49);
		flush_sink(&sink, T0);
		for (uint64_t sequence = first; sequence < first + 50; sequence++) {
			receive_datagram(fd);
			assert_int_equal(syslog_sequence(&read_back), sequence);
			snprintf(id, sizeof(id), "%llu", (unsigned long long)sequence);
			assert_string_equal(syslog_value(&read_back, "sequenceId"), id);
			assert_string_equal(read_back.host, "host-a");
			assert_int_equal(read_back.facility, 4);
		}
	}
	close_sink(&sink);
	close(fd);
}

static void test_udp_sends_a_message_a_datagram(void **state)
{
	(void)state;
	assert_datagrams(AF_INET);
}

static void test_udp_over_ipv6(void **state)
{
	(void)state;
	assert_datagrams(AF_INET6);
}

static void test_udp_messages_are_bounded(void **state)
{
	static char tags[70000];
	char endpoint[64];
	int fd = bind_udp(AF_INET, endpoint);
	const char *options[] = {"server", endpoint, "message-bytes", "480", NULL};
	struct log_record record = numbered(1);
	struct fixture_sink sink;

	(void)state;
	memset(tags, 't', sizeof(tags) - 1);
	record.source.tags = tags;
	prepare_sink(&sink, &sink_syslog, options);
	open_sink(&sink);
	write_sink(&sink, &record);
	flush_sink(&sink, T0);
	assert_in_range(receive_datagram(fd), 400, 480);
	close_sink(&sink);
	options[2] = NULL;
	prepare_sink(&sink, &sink_syslog, options);
	open_sink(&sink);
	write_sink(&sink, &record);
	flush_sink(&sink, T0);
	assert_in_range(receive_datagram(fd), 1000, 2048);
	assert_string_equal(syslog_value(&read_back, "left_out"), "1");
	close_sink(&sink);
	close(fd);
}

static void test_udp_refusal_is_a_failure(void **state)
{
	char endpoint[64];
	const char *options[] = {"server", endpoint, NULL};
	struct fixture_sink sink;

	(void)state;
	close(bind_udp(AF_INET, endpoint));
	prepare_sink(&sink, &sink_syslog, options);
	open_sink(&sink);
	write_numbered(&sink, 1, 3);
	assert_int_equal(try_flush(&sink, T0), -ECONNREFUSED);
	assert_non_null(strstr(sink.error, endpoint));
	close_sink(&sink);
}

/* Gives "two.example" an address of each family, for this process alone. */
static bool name_two_addresses(void)
{
	FILE *hosts = fopen(path_of("hosts"), "w");

	assert_non_null(hosts);
	fputs("::1 two.example\n127.0.0.1 two.example\n", hosts);
	fclose(hosts);
	return unshare(CLONE_NEWNS) == 0 &&
	       mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount(path_of("hosts"), "/etc/hosts", NULL, MS_BIND, NULL) == 0;
}

static bool receives_nothing(int fd)
{
	char nothing[8];

	return recv(fd, nothing, sizeof(nothing), 0) == 0;
}

static void assert_finds(int family)
{
	char endpoint[64], by_name[64];
	const char *options[] = {"server", by_name, NULL};
	struct fixture_sink sink;
	int fd = bind_udp(family, endpoint);

	snprintf(by_name, sizeof(by_name), "two.example%s", strrchr(endpoint, ':'));
	prepare_sink(&sink, &sink_syslog, options);
	open_sink(&sink);
	write_numbered(&sink, 1, 1);
	flush_sink(&sink, T0);
	assert_true(receives_nothing(fd));
	receive_datagram(fd);
	assert_int_equal(syslog_sequence(&read_back), 1);
	close_sink(&sink);
	close(fd);
	assert_int_equal(try_open(&sink), -ECONNREFUSED);
	assert_non_null(strstr(sink.error, "two.example"));
}

/* Whichever of them comes first. */
static void test_udp_finds_the_address_that_listens(void **state)
{
	(void)state;
	if (geteuid() != 0 || !name_two_addresses())
		skip();
	assert_finds(AF_INET);
	assert_finds(AF_INET6);
}

/* --- TCP -------------------------------------------------------------------------------------- */

static struct syslog_server *new_server(void)
{
	struct syslog_server *server = calloc(1, sizeof(*server));

	assert_non_null(server);
	return server;
}

static void prepare_tcp(struct fixture_sink *sink, const char *endpoint)
{
	const char *options[] = {"server", endpoint, "transport", "tcp", NULL};

	prepare_sink(sink, &sink_syslog, options);
	sink->place.time_limit_ms = 20000;
}

static void test_tcp_counts_octets(void **state)
{
	struct syslog_server *server = new_server();
	struct fixture_sink sink;

	(void)state;
	start_server(server);
	prepare_tcp(&sink, server->endpoint);
	open_sink(&sink);
	for (uint64_t first = 1; first <= 50000; first += 10000) {
		write_numbered(&sink, first, first + 9999);
		flush_sink(&sink, T0);
	}
	server_has(server, 1, 50000);
	assert_int_equal(server->connections, 1);
	close_sink(&sink);
	stop_server(server);
}

static void test_tcp_messages_may_be_longer(void **state)
{
	static char tags[70000];
	struct syslog_server *server = new_server();
	struct log_record record = numbered(1);
	struct fixture_sink sink;

	(void)state;
	memset(tags, 't', 7000);
	record.source.tags = tags;
	start_server(server);
	prepare_tcp(&sink, server->endpoint);
	open_sink(&sink);
	write_sink(&sink, &record);
	flush_sink(&sink, T0);
	server_has(server, 1, 1);
	assert_string_equal(syslog_value(&server->read, "source_tags"), tags);
	close_sink(&sink);
	stop_server(server);
}

static void test_tcp_server_is_not_there(void **state)
{
	char endpoint[64];
	struct fixture_sink sink;

	(void)state;
	close(bind_udp(AF_INET, endpoint));
	prepare_tcp(&sink, endpoint);
	assert_int_equal(try_open(&sink), -ECONNREFUSED);
	assert_null(sink.state);
	assert_non_null(strstr(sink.error, endpoint));
	assert_non_null(strstr(sink.error, "refused"));
}

/* As sink.c does it: what was not delivered is given again, after the place was opened anew. */
static unsigned int deliver_whatever_comes(struct fixture_sink *sink, uint64_t first, uint64_t last)
{
	unsigned int failures = 0;

	for (int tries = 0; tries < 50; tries++) {
		int error = sink->state ? 0 : try_open(sink);

		for (uint64_t sequence = first; error == 0 && sequence <= last; sequence++) {
			struct log_record record = numbered(sequence);

			error = try_write(sink, &record);
		}
		if (error == 0)
			error = try_flush(sink, T0);
		if (error == 0)
			return failures;
		failures++;
		assert_true(error != -EINVAL && *sink->error);
		if (sink->state)
			close_sink(sink);
		server_wait_ms(20);
	}
	fail_msg("never delivered: %s", sink->error);
	return failures;
}

/* It closes while more is on its way than sockets hold. */
static void test_tcp_server_stops_in_the_middle(void **state)
{
	struct syslog_server *server = new_server();
	struct fixture_sink sink;

	(void)state;
	server->close_after = 700;
	start_server(server);
	prepare_tcp(&sink, server->endpoint);
	open_sink(&sink);
	assert_true(deliver_whatever_comes(&sink, 1, 15000) >= 1);
	server_await(server, 700 + 15000);
	server_has_all(server, 1, 15000);
	assert_int_equal(server->connections, 2);
	close_sink(&sink);
	stop_server(server);
}

static void test_tcp_server_never_reads(void **state)
{
	struct syslog_server *server = new_server();
	struct fixture_sink sink;
	int error = 0;

	(void)state;
	server->never_reads = true;
	start_server(server);
	prepare_tcp(&sink, server->endpoint);
	open_sink(&sink);
	sink.place.time_limit_ms = 200;
	for (uint64_t i = 1; error == 0 && i < 1000000; i++) {
		struct log_record record = numbered(i);

		error = try_write(&sink, &record);
	}
	assert_int_equal(error, -ETIMEDOUT);
	assert_non_null(strstr(sink.error, "nothing can be sent"));
	close_sink(&sink);
	stop_server(server);
}

/* It is given the time that it needs, however much longer than the limit that is. */
static void test_tcp_server_is_slow(void **state)
{
	struct syslog_server *server = new_server();
	struct fixture_sink sink;
	struct timespec begin, end;

	(void)state;
	clock_gettime(CLOCK_MONOTONIC, &begin);
	server->is_slow = true;
	start_server(server);
	prepare_tcp(&sink, server->endpoint);
	sink.place.time_limit_ms = 1000;
	open_sink(&sink);
	write_numbered(&sink, 1, 1000);
	flush_sink(&sink, T0);
	clock_gettime(CLOCK_MONOTONIC, &end);
	assert_true(end.tv_sec - begin.tv_sec >= 2);
	server_has(server, 1, 1000);
	assert_int_equal(server->connections, 1);
	close_sink(&sink);
	stop_server(server);
}

static void test_tcp_ends_when_it_must(void **state)
{
	struct syslog_server *server = new_server();
	struct fixture_sink sink;
	int error = 0;

	(void)state;
	server->never_reads = true;
	start_server(server);
	prepare_tcp(&sink, server->endpoint);
	sink.place.time_limit_ms = 60000;
	open_sink(&sink);
	sink.ending = true;
	for (uint64_t i = 1; error == 0 && i < 1000000; i++) {
		struct log_record record = numbered(i);

		error = try_write(&sink, &record);
	}
	assert_int_equal(error, -ECANCELED);
	close_sink(&sink);
	stop_server(server);
}

/* Nothing is written to a connection that the server has closed while there was nothing to say. */
static void test_tcp_server_closes_while_idle(void **state)
{
	struct syslog_server *server = new_server();
	struct fixture_sink sink;

	(void)state;
	start_server(server);
	prepare_tcp(&sink, server->endpoint);
	open_sink(&sink);
	write_numbered(&sink, 1, 10);
	flush_sink(&sink, T0);
	flush_sink(&sink, T0);
	server_has(server, 1, 10);
	server->closes = true;
	while (server->closes)
		server_wait_ms(5);
	server_wait_ms(20);
	assert_int_equal(try_flush(&sink, T0), -EPIPE);
	close_sink(&sink);
	open_sink(&sink);
	write_numbered(&sink, 11, 20);
	flush_sink(&sink, T0);
	server_has(server, 1, 20);
	close_sink(&sink);
	stop_server(server);
}

/* What a server says is nothing to a sink, and does not fill up anything. */
static void test_tcp_server_speaks(void **state)
{
	struct syslog_server *server = new_server();
	struct fixture_sink sink;

	(void)state;
	server->greeting = "220 welcome, whoever you are\r\n";
	start_server(server);
	prepare_tcp(&sink, server->endpoint);
	open_sink(&sink);
	write_numbered(&sink, 1, 10);
	flush_sink(&sink, T0);
	server_has(server, 1, 10);
	flush_sink(&sink, T0);
	close_sink(&sink);
	stop_server(server);
}

/* One that never stops holds nobody up. */
static void test_tcp_server_babbles(void **state)
{
	struct syslog_server *server = new_server();
	struct fixture_sink sink;

	(void)state;
	server->babbles = true;
	start_server(server);
	prepare_tcp(&sink, server->endpoint);
	open_sink(&sink);
	alarm(30);
	for (int i = 0; i < 20; i++) {
		flush_sink(&sink, T0);
		server_wait_ms(5);
	}
	alarm(0);
	close_sink(&sink);
	stop_server(server);
}

/* --- Options ---------------------------------------------------------------------------------- */

static void assert_refused(const char *const *options, const char *sentence)
{
	struct sink_setting at[FIXTURE_OPTIONS_MAX];
	struct sink_settings settings = {.kind = sink_kind_find("syslog"), .at = at};
	char error[SINK_ERROR_MAX] = "";

	for (; options[0]; options += 2)
		at[settings.n++] = (struct sink_setting){options[0], options[1]};
	assert_false(sink_settings_check(&settings, error, sizeof(error)));
	if (!strstr(error, sentence))
		fail_msg("'%s' does not say '%s'", error, sentence);
}

#define REFUSED(sentence, ...) assert_refused((const char *[]){__VA_ARGS__, NULL}, sentence)

static void test_options_that_make_no_sense_are_refused(void **state)
{
	(void)state;
	REFUSED("one line", "server", "host", "transport", "tls", "ca", "/ca\n.pem");
	REFUSED("needs server=", "transport", "tcp");
	REFUSED("facility=kernel", "server", "a", "facility", "kernel");
	REFUSED("message-bytes=479", "server", "a", "message-bytes", "479");
	REFUSED("ca= means nothing without transport=tls", "server", "a", "ca", "/a.pem");
	REFUSED("key= needs certificate=", "server", "a", "transport", "tls", "key", "/a");
	REFUSED("certificate= needs key=", "server", "a", "transport", "tls", "certificate", "/a");
	REFUSED("64 hexadecimal digits", "server", "a", "transport", "tls", "fingerprint", "ab:cd");
}

static void test_fingerprints(void **state)
{
	static const char digits[] =
		"000102030405060708090A0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
	uint8_t bytes[SINK_FINGERPRINT_BYTES];
	char text[200] = "SHA-256:";

	(void)state;
	assert_true(sink_fingerprint_parse(digits, bytes));
	for (uint8_t i = 0; i < sizeof(bytes); i++)
		assert_int_equal(bytes[i], i);
	for (size_t i = 0; i < sizeof(bytes); i++)
		snprintf(text + strlen(text), 4, "%s%.2s", i ? ":" : "", digits + 2 * i);
	memset(bytes, 0xee, sizeof(bytes));
	assert_true(sink_fingerprint_parse(text, bytes));
	assert_int_equal(bytes[31], 31);
	strcat(text, ":00");
	assert_false(sink_fingerprint_parse(text, bytes));
	assert_false(sink_fingerprint_parse("", bytes));
	assert_false(sink_fingerprint_parse("sha-256:", bytes));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_udp_sends_a_message_a_datagram),
		cmocka_unit_test(test_udp_over_ipv6),
		cmocka_unit_test(test_udp_messages_are_bounded),
		cmocka_unit_test(test_udp_refusal_is_a_failure),
		cmocka_unit_test(test_udp_finds_the_address_that_listens),
		cmocka_unit_test(test_tcp_counts_octets),
		cmocka_unit_test(test_tcp_messages_may_be_longer),
		cmocka_unit_test(test_tcp_server_is_not_there),
		cmocka_unit_test(test_tcp_server_stops_in_the_middle),
		cmocka_unit_test(test_tcp_server_never_reads),
		cmocka_unit_test(test_tcp_server_is_slow),
		cmocka_unit_test(test_tcp_ends_when_it_must),
		cmocka_unit_test(test_tcp_server_closes_while_idle),
		cmocka_unit_test(test_tcp_server_speaks),
		cmocka_unit_test(test_tcp_server_babbles),
		cmocka_unit_test(test_options_that_make_no_sense_are_refused),
		cmocka_unit_test(test_fingerprints),
	};

	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
