/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The syslog sink over TLS: whom it believes, what it says of those whom it does not, what it
 * proves itself with, and servers that go away or say nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sinks/sink_type.h"
#include "tests/unit/log_fixture.h"
#include "tests/unit/certificates.h"
#include "tests/unit/sink_fixture.h"
#include "tests/unit/syslog_reader.h"
#include "tests/unit/syslog_server.h"

static struct certificate authority, stranger;

/* --- Servers with certificates ---------------------------------------------------------------- */

static struct syslog_server *new_server(const char *certificate)
{
	struct syslog_server *server = calloc(1, sizeof(*server));
	char name[80];

	assert_non_null(server);
	server->context = SSL_CTX_new(TLS_server_method());
	snprintf(name, sizeof(name), "%s.pem", certificate);
	assert_int_equal(
		SSL_CTX_use_certificate_file(server->context, path_of(name), SSL_FILETYPE_PEM), 1);
	snprintf(name, sizeof(name), "%s.key", certificate);
	assert_int_equal(
		SSL_CTX_use_PrivateKey_file(server->context, path_of(name), SSL_FILETYPE_PEM), 1);
	return server;
}

static void want_client_certificate(struct syslog_server *server)
{
	assert_int_equal(SSL_CTX_load_verify_file(server->context, path_of("authority.pem")), 1);
	SSL_CTX_set_verify(
		server->context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
}

/* A sink for the server, with more options: names and values in turn, up to a NULL. */
static void prepare_tls(
	struct fixture_sink *sink, const struct syslog_server *server, const char *const *more)
{
	static char paths[4][200];
	const char *options[2 * FIXTURE_OPTIONS_MAX] = {
		"server", server->endpoint, "transport", "tls"};
	size_t n = 4, n_paths = 0;

	for (; more[0]; more += 2) {
		options[n] = more[0];
		options[n + 1] = more[1];
		/* What has an end is a file of the test's directory. */
		if (strstr(more[1], ".pem") || strstr(more[1], ".key")) {
			snprintf(paths[n_paths], sizeof(paths[0]), "%s/%s", directory, more[1]);
			options[n + 1] = paths[n_paths++];
		}
		n += 2;
	}
	prepare_sink(sink, &sink_syslog, options);
	sink->place.time_limit_ms = 20000;
}

#define MORE(...) ((const char *[]){__VA_ARGS__, NULL})
#define TRUSTING  MORE("ca", "authority.pem")

static void assert_no_errors_left(void)
{
	assert_int_equal(ERR_peek_error(), 0);
}

static void assert_delivers(struct syslog_server *server, const char *const *more)
{
	struct fixture_sink sink;

	start_server(server);
	prepare_tls(&sink, server, more);
	open_sink(&sink);
	write_numbered(&sink, 1, 100);
	flush_sink(&sink, T0);
	flush_sink(&sink, T0);
	server_has(server, 1, 100);
	assert_no_errors_left();
	close_sink(&sink);
	assert_no_errors_left();
	assert_string_equal(server->refusal, "");
	stop_server(server);
}

/* The sink does not open, and says all of these. */
static void assert_refuses(
	struct syslog_server *server, const char *const *more, const char *const *sentences)
{
	struct fixture_sink sink;

	start_server(server);
	prepare_tls(&sink, server, more);
	assert_true(try_open(&sink) < 0);
	assert_null(sink.state);
	for (; *sentences; sentences++)
		if (!strstr(sink.error, *sentences))
			fail_msg("'%s' does not say '%s'", sink.error, *sentences);
	if (strchr(sink.error, '\n') || strlen(sink.error) == sizeof(sink.error) - 1)
		fail_msg("'%s' is more than one line, or is cut", sink.error);
	assert_no_errors_left();
	assert_int_equal(server->n, 0);
	stop_server(server);
}

#define REFUSES(server, more, ...) assert_refuses(server, more, MORE(__VA_ARGS__))

/* --- The server's certificate ----------------------------------------------------------------- */

static void make(const char *name, const char *alternatives, int from_days, int to_days)
{
	struct certificate made =
		make_certificate(name, alternatives, from_days, to_days, &authority);

	free_certificate(&made);
}

static int make_certificates(void **state)
{
	struct certificate alone;

	if (make_directory(state))
		return -1;
	authority = make_certificate("authority", NULL, -10, 10, NULL);
	stranger = make_certificate("stranger", NULL, -10, 10, NULL);
	make("good", "DNS:logs.example,IP:127.0.0.1", -1, 1);
	make("named", "DNS:logs.example,DNS:other.example,IP:192.0.2.1", -1, 1);
	make("wild", "DNS:*.logs.example", -1, 1);
	make("expired", "IP:127.0.0.1", -3, -1);
	make("future", "IP:127.0.0.1", 1, 3);
	make("client", "DNS:host-a.example", -1, 1);
	make("expired-client", "DNS:host-a.example", -3, -1);
	alone = make_certificate("untrusted", "IP:127.0.0.1", -1, 1, &stranger);
	free_certificate(&alone);
	alone = make_certificate("stranger-client", "DNS:host-a.example", -1, 1, &stranger);
	free_certificate(&alone);
	alone = make_certificate("alone", "IP:127.0.0.1", -1, 1, NULL);
	free_certificate(&alone);
	return 0;
}

static int remove_certificates(void **state)
{
	free_certificate(&authority);
	free_certificate(&stranger);
	return remove_directory(state);
}

static void test_good_certificate(void **state)
{
	(void)state;
	assert_delivers(new_server("good"), TRUSTING);
	assert_delivers(
		new_server("good"), MORE("ca", "authority.pem", "server-name", "logs.example"));
	assert_delivers(
		new_server("wild"), MORE("ca", "authority.pem", "server-name", "a.logs.example"));
	assert_delivers(new_server("alone"), MORE("ca", "alone.pem"));
}

static void test_tls_1_2(void **state)
{
	struct syslog_server *server = new_server("good");

	(void)state;
	SSL_CTX_set_max_proto_version(server->context, TLS1_2_VERSION);
	assert_delivers(server, TRUSTING);
}

static void test_tls_1_1_is_too_old(void **state)
{
	struct syslog_server *server = new_server("good");

	(void)state;
	SSL_CTX_set_security_level(server->context, 0);
	SSL_CTX_set_min_proto_version(server->context, TLS1_VERSION);
	SSL_CTX_set_max_proto_version(server->context, TLS1_1_VERSION);
	REFUSES(server, TRUSTING, server->endpoint, "no version of TLS from 1.2 on");
}

static void test_other_name(void **state)
{
	struct syslog_server *server = new_server("named");

	(void)state;
	REFUSES(server, TRUSTING, server->endpoint,
		"is for logs.example, other.example, 192.0.2.1, not for 127.0.0.1", "server-name=");
	REFUSES(new_server("named"), MORE("ca", "authority.pem", "server-name", "evil.example"),
		"not for evil.example");
	REFUSES(new_server("wild"), MORE("ca", "authority.pem", "server-name", "a.b.logs.example"),
		"is for *.logs.example, not for a.b.logs.example");
}

static void test_expired(void **state)
{
	char date[20];
	time_t then = time(NULL) - DAY_S;
	struct tm utc;

	(void)state;
	strftime(date, sizeof(date), "%Y-%m-%d", gmtime_r(&then, &utc));
	REFUSES(new_server("expired"), TRUSTING, "'expired'", "expired at ", date, "clock");
	REFUSES(new_server("future"), TRUSTING, "'future'", "is not valid before", "clock");
}

static void test_unknown_authority(void **state)
{
	(void)state;
	REFUSES(new_server("untrusted"), TRUSTING, "is signed by 'stranger'", "authority.pem",
		"ca=FILE");
	REFUSES(new_server("good"), MORE("server-name", "logs.example"), "is signed by 'authority'",
		"this system's store");
}

static void hash_of(const char *name, char text[65])
{
	unsigned char bytes[32];
	unsigned int length = sizeof(bytes);
	char file_name[40];
	X509 *x509;
	FILE *file;

	snprintf(file_name, sizeof(file_name), "%s.pem", name);
	file = fopen(path_of(file_name), "r");
	x509 = PEM_read_X509(file, NULL, NULL, NULL);
	assert_int_equal(X509_digest(x509, EVP_sha256(), bytes, &length), 1);
	for (size_t i = 0; i < sizeof(bytes); i++)
		snprintf(text + 2 * i, 3, "%02x", bytes[i]);
	X509_free(x509);
	fclose(file);
}

static void test_signed_by_itself(void **state)
{
	char hash[65], other[65];

	(void)state;
	hash_of("alone", hash);
	hash_of("good", other);
	REFUSES(new_server("alone"), TRUSTING, "nobody but itself", "fingerprint=", hash);
	assert_delivers(new_server("alone"), MORE("fingerprint", hash));
	REFUSES(new_server("alone"), MORE("fingerprint", other), "another fingerprint", hash);
	assert_delivers(new_server("good"), MORE("fingerprint", other));
}

/* --- This host's certificate ------------------------------------------------------------------ */

static struct syslog_server *demanding(int version)
{
	struct syslog_server *server = new_server("good");

	want_client_certificate(server);
	SSL_CTX_set_max_proto_version(server->context, version);
	return server;
}

#define CLIENT(name) MORE("ca", "authority.pem", "certificate", name ".pem", "key", name ".key")

static void assert_client_certificates(int version)
{
	assert_delivers(demanding(version), CLIENT("client"));
	REFUSES(demanding(version), TRUSTING, "certificate= and key=");
	REFUSES(demanding(version), CLIENT("stranger-client"), "does not accept certificate=");
	REFUSES(demanding(version), CLIENT("expired-client"), "does not accept certificate=");
}

static void test_client_certificate(void **state)
{
	(void)state;
	assert_client_certificates(TLS1_3_VERSION);
}

static void test_client_certificate_in_tls_1_2(void **state)
{
	(void)state;
	assert_client_certificates(TLS1_2_VERSION);
}

/* A server that sends no tickets does not say when it has accepted; nothing is lost if it has
 * not. */
static void test_server_without_tickets(void **state)
{
	struct syslog_server *server = demanding(TLS1_3_VERSION);

	(void)state;
	SSL_CTX_set_num_tickets(server->context, 0);
	assert_delivers(server, CLIENT("client"));
	server = demanding(TLS1_3_VERSION);
	SSL_CTX_set_num_tickets(server->context, 0);
	REFUSES(server, TRUSTING, "certificate= and key=");
}

static void write_locked_key(void)
{
	FILE *file = fopen(path_of("locked.key"), "w");

	assert_int_equal(fchmod(fileno(file), 0600), 0);
	assert_int_equal(PEM_write_PKCS8PrivateKey(
				 file, authority.key, EVP_aes_128_cbc(), "secret", 6, NULL, NULL),
		1);
	fclose(file);
}

static void test_files_that_are_not_right(void **state)
{
	(void)state;
	write_garbage("garbage.pem");
	write_garbage("garbage.key");
	assert_int_equal(chmod(path_of("garbage.key"), 0600), 0);
	write_locked_key();
	REFUSES(new_server("good"), MORE("ca", "none.pem"), "none.pem", "No such file");
	REFUSES(new_server("good"), MORE("ca", "garbage.pem"), "garbage.pem", "PEM");
	REFUSES(new_server("good"), MORE("certificate", "garbage.pem", "key", "client.key"),
		"certificate=", "garbage.pem", "PEM");
	REFUSES(new_server("good"), MORE("certificate", "client.pem", "key", "none.key"),
		"key=", "none.key", "No such file");
	REFUSES(new_server("good"), MORE("certificate", "client.pem", "key", "garbage.key"),
		"key=", "garbage.key", "PEM");
	REFUSES(new_server("good"), MORE("certificate", "client.pem", "key", "good.key"),
		"is not the key of", "client.pem");
	REFUSES(new_server("good"), MORE("certificate", "client.pem", "key", "locked.key"),
		"locked by a password");
}

static void test_key_that_others_can_read(void **state)
{
	static const mode_t bad[] = {0644, 0604, 0660, 0601};
	(void)state;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(chmod(path_of("client.key"), bad[i]), 0);
		REFUSES(new_server("good"), CLIENT("client"), "client.key", "can be read by others",
			"chmod 600");
	}
	assert_int_equal(chmod(path_of("client.key"), 0600), 0);
	assert_delivers(new_server("good"), CLIENT("client"));
}

/* --- Servers that do other things ------------------------------------------------------------- */

static void test_server_does_not_speak_tls(void **state)
{
	struct syslog_server *server = calloc(1, sizeof(*server));

	(void)state;
	server->greeting = "220 logs.example ESMTP\r\n";
	server->never_reads = true;
	REFUSES(server, TRUSTING, server->endpoint, "not in TLS", "right port");
}

static void test_server_says_nothing(void **state)
{
	struct syslog_server *server = new_server("good");
	struct fixture_sink sink;

	(void)state;
	server->never_reads = true;
	start_server(server);
	prepare_tls(&sink, server, TRUSTING);
	sink.place.time_limit_ms = 200;
	assert_int_equal(try_open(&sink), -ETIMEDOUT);
	assert_non_null(strstr(sink.error, "does not answer in TLS"));
	sink.place.time_limit_ms = 60000;
	sink.ending = true;
	assert_int_equal(try_open(&sink), -ECANCELED);
	stop_server(server);
}

static void test_server_stops_reading(void **state)
{
	struct syslog_server *server = new_server("good");
	struct fixture_sink sink;
	int error = 0;

	(void)state;
	server->shakes_hands_only = true;
	start_server(server);
	prepare_tls(&sink, server, TRUSTING);
	open_sink(&sink);
	sink.place.time_limit_ms = 200;
	for (uint64_t i = 1; error == 0 && i < 1000000; i++) {
		struct log_record record = numbered(i);

		error = try_write(&sink, &record);
	}
	assert_int_equal(error, -ETIMEDOUT);
	close_sink(&sink);
	assert_no_errors_left();
	stop_server(server);
}

static void test_many_records(void **state)
{
	struct syslog_server *server = new_server("good");
	struct fixture_sink sink;

	(void)state;
	start_server(server);
	prepare_tls(&sink, server, TRUSTING);
	open_sink(&sink);
	for (uint64_t first = 1; first <= 40000; first += 20000) {
		write_numbered(&sink, first, first + 19999);
		flush_sink(&sink, T0);
	}
	server_has(server, 1, 40000);
	assert_int_equal(server->connections, 1);
	close_sink(&sink);
	stop_server(server);
}

/* As sink.c does it: what was not delivered is given again, after the place was opened anew. */
static void test_server_stops_in_the_middle(void **state)
{
	struct syslog_server *server = new_server("good");
	struct fixture_sink sink;
	int error = -1;

	(void)state;
	server->close_after = 300;
	start_server(server);
	prepare_tls(&sink, server, TRUSTING);
	for (int tries = 0; error && tries < 20; tries++) {
		open_sink(&sink);
		error = 0;
		for (uint64_t i = 1; error == 0 && i <= 15000; i++) {
			struct log_record record = numbered(i);

			error = try_write(&sink, &record);
		}
		if (error == 0)
			error = try_flush(&sink, T0);
		assert_true(tries > 0 || error != 0);
		assert_true(error == 0 || *sink.error);
		assert_no_errors_left();
		close_sink(&sink);
	}
	assert_int_equal(error, 0);
	server_await(server, 300 + 15000);
	server_has_all(server, 1, 15000);
	stop_server(server);
}

static void test_server_closes_while_idle(void **state)
{
	struct syslog_server *server = new_server("good");
	struct fixture_sink sink;

	(void)state;
	start_server(server);
	prepare_tls(&sink, server, TRUSTING);
	open_sink(&sink);
	write_numbered(&sink, 1, 10);
	flush_sink(&sink, T0);
	server_has(server, 1, 10);
	server->closes = true;
	while (server->closes)
		server_wait_ms(5);
	server_wait_ms(20);
	assert_int_equal(try_flush(&sink, T0), -EPIPE);
	assert_non_null(strstr(sink.error, "closed the connection"));
	close_sink(&sink);
	stop_server(server);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good_certificate),
		cmocka_unit_test(test_tls_1_2),
		cmocka_unit_test(test_tls_1_1_is_too_old),
		cmocka_unit_test(test_other_name),
		cmocka_unit_test(test_expired),
		cmocka_unit_test(test_unknown_authority),
		cmocka_unit_test(test_signed_by_itself),
		cmocka_unit_test(test_client_certificate),
		cmocka_unit_test(test_client_certificate_in_tls_1_2),
		cmocka_unit_test(test_server_without_tickets),
		cmocka_unit_test(test_files_that_are_not_right),
		cmocka_unit_test(test_key_that_others_can_read),
		cmocka_unit_test(test_server_does_not_speak_tls),
		cmocka_unit_test(test_server_says_nothing),
		cmocka_unit_test(test_server_stops_reading),
		cmocka_unit_test(test_many_records),
		cmocka_unit_test(test_server_stops_in_the_middle),
		cmocka_unit_test(test_server_closes_while_idle),
	};

	return cmocka_run_group_tests(tests, make_certificates, remove_certificates);
}
