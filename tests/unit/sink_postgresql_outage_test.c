/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PostgreSQL sink when a real server is killed in the middle, says nothing, or stores a batch
 * without being heard; and when several hosts write at once.  Nothing is lost, nothing is twice.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "sinks/sink_type.h"
#include "tests/unit/log_fixture.h"
#include "tests/unit/sink_fixture.h"
#include "tests/unit/postgresql_fixture.h"

/* --- Several at once -------------------------------------------------------------------------- */

enum { WRITERS = 4, WRITER_BATCHES = 20, WRITER_RECORDS = 50 };

struct writer {
	struct fixture_sink sink;
	char host[20];
	pthread_t thread;
	int error;
};

/* Each batch has records of two days; all writers make the same partitions at the same time. */
static void *write_batches(void *writer_)
{
	struct writer *writer = writer_;
	struct fixture_sink *sink = &writer->sink;
	uint64_t sequence = 0;

	writer->error = try_open(sink);
	for (int batch = 0; writer->error == 0 && batch < WRITER_BATCHES; batch++) {
		for (int i = 0; writer->error == 0 && i < WRITER_RECORDS; i++) {
			struct log_record record =
				record_of(++sequence, T0 + (uint64_t)(batch + i % 2) * 24 * HOUR);

			record.host = writer->host;
			writer->error = try_write(sink, &record);
		}
		if (writer->error == 0)
			writer->error = try_flush(sink, T0);
	}
	return NULL;
}

static void test_several_hosts_at_once(void **state)
{
	static struct writer writers[WRITERS];

	(void)state;
	for (int i = 0; i < WRITERS; i++) {
		prepare(&writers[i].sink);
		snprintf(writers[i].host, sizeof(writers[i].host), "host-%d", i);
		writers[i].sink.place.host = writers[i].host;
	}
	for (int i = 0; i < WRITERS; i++)
		assert_int_equal(
			pthread_create(&writers[i].thread, NULL, write_batches, &writers[i]), 0);
	for (int i = 0; i < WRITERS; i++) {
		pthread_join(writers[i].thread, NULL);
		if (writers[i].error)
			fail_msg("writer %d: %s", i, writers[i].sink.error);
		close_sink(&writers[i].sink);
	}
	assert_string_equal(ask("SELECT host, count(*), count(DISTINCT sequence), max(sequence)"
				" FROM %.traffic GROUP BY host ORDER BY host"),
		"host-0|1000|1000|1000\nhost-1|1000|1000|1000\n"
		"host-2|1000|1000|1000\nhost-3|1000|1000|1000");
	assert_string_equal(ask("SELECT count(*) FROM pg_inherits WHERE inhparent ="
				" '%.traffic'::regclass"),
		"21");
	assert_string_equal(ask("SELECT count(*), sum(records) FROM %.traffic_writers"), "4|4000");
}

/* --- The server goes away --------------------------------------------------------------------- */

enum { KILL_RECORDS = 8000 };

struct killer {
	pthread_t thread;
	int delay_ms, signal_number;
	pid_t victim;
};

static void *kill_server(void *killer_)
{
	const struct killer *killer = killer_;

	pause_ms(killer->delay_ms);
	kill(killer->victim, killer->signal_number);
	return NULL;
}

static void restart_server(void)
{
	PQfinish(server.connection);
	start_server();
}

/* As sink.c does it: what was not delivered is given again, after the place was opened anew.
 * Returns how often a delivery failed. */
static unsigned int deliver_whatever_comes(struct fixture_sink *sink, uint64_t first, uint64_t last)
{
	unsigned int failures = 0;
	bool done = false;

	for (int tries = 0; !done && tries < 100; tries++) {
		int error = sink->state ? 0 : try_open(sink);

		for (uint64_t sequence = first; error == 0 && sequence <= last; sequence++) {
			struct log_record record = numbered(sequence);

			error = try_write(sink, &record);
		}
		if (error == 0)
			error = try_flush(sink, T0);
		done = error == 0;
		if (done)
			break;
		failures += error == -ECONNRESET;
		if (!*sink->error)
			fail_msg("no sentence for %d", error);
		if (sink->state)
			close_sink(sink);
		if (waitpid(server.pid, NULL, WNOHANG) == server.pid)
			restart_server();
		pause_ms(20);
	}
	if (!done)
		fail_msg("never delivered: %s", sink->error);
	return failures;
}

static void test_a_server_that_is_killed_in_the_middle(void **state)
{
	static const int delays_ms[] = {0, 5, 15, 25, 40, 60};
	struct fixture_sink sink;
	unsigned int failures = 0;
	uint64_t first = 1;

	(void)state;
	prepare(&sink);
	open_sink(&sink);
	for (size_t i = 0; i < sizeof(delays_ms) / sizeof(delays_ms[0]); i++) {
		struct killer killer = {.delay_ms = delays_ms[i],
			.signal_number = i % 2 ? SIGKILL : SIGQUIT,
			.victim = server.pid};

		assert_int_equal(pthread_create(&killer.thread, NULL, kill_server, &killer), 0);
		failures += deliver_whatever_comes(&sink, first, first + KILL_RECORDS - 1);
		first += KILL_RECORDS;
		pthread_join(killer.thread, NULL);
		/* Should it have been quicker than the killer: */
		if (killer.victim == server.pid && waitpid(server.pid, NULL, 0) == server.pid)
			restart_server();
		(void)deliver_whatever_comes(&sink, first, first + 9);
		first += 10;
		assert_stored(1, first - 1);
	}
	assert_true(failures > 0);
	close_sink(&sink);
}

/* While nothing is to be written, it is noticed too. */
static void test_a_server_that_ends_meanwhile(void **state)
{
	struct fixture_sink sink;
	int error = 0;

	(void)state;
	prepare(&sink);
	open_sink(&sink);
	write_numbered(&sink, 1, 3);
	flush_sink(&sink, T0);
	stop_server(SIGQUIT);
	for (int i = 0; error == 0 && i < 50; i++) {
		error = try_flush(&sink, T0);
		pause_ms(20);
	}
	assert_int_equal(error, -ECONNRESET);
	assert_non_null(strstr(sink.error, "the connection to PostgreSQL was lost"));
	close_sink(&sink);
	start_server();
	open_sink(&sink);
	write_numbered(&sink, 4, 6);
	flush_sink(&sink, T0);
	close_sink(&sink);
	assert_stored(1, 6);
}

static int listen_at(const char *folder)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(mkdir(path_of(folder), 0755), 0);
	snprintf(name.sun_path, sizeof(name.sun_path), "%s/%s/.s.PGSQL.5432", directory, folder);
	assert_int_equal(bind(fd, (struct sockaddr *)&name, sizeof(name)), 0);
	assert_int_equal(listen(fd, 5), 0);
	return fd;
}

/* Between the sink and the server: passes all on, until the server says that a batch is stored, and
 * dies with this word. */
static void *stand_between(void *listener)
{
	static const char word[] = "INSERT 0 1";
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	int client = accept(*(int *)listener, NULL, NULL);
	int real = socket(AF_UNIX, SOCK_STREAM, 0);
	static char bytes[1 << 16];
	struct pollfd ends[2] = {{.fd = client, .events = POLLIN}, {.fd = real, .events = POLLIN}};

	snprintf(name.sun_path, sizeof(name.sun_path), "%s/.s.PGSQL.5432", directory);
	if (connect(real, (struct sockaddr *)&name, sizeof(name)) == 0)
		while (poll(ends, 2, 10000) > 0) {
			int from = ends[0].revents ? 0 : 1;
			ssize_t n = read(ends[from].fd, bytes, sizeof(bytes));

			if (n <= 0 || (from == 1 && memmem(bytes, (size_t)n, word, 10)))
				break;
			if (send(ends[1 - from].fd, bytes, (size_t)n, MSG_NOSIGNAL) != n)
				break;
		}
	close(client);
	close(real);
	return NULL;
}

static void test_a_commit_whose_answer_is_lost(void **state)
{
	struct fixture_sink sink;
	pthread_t thread;
	char direct[sizeof(connection)];
	int listener = listen_at("between");

	(void)state;
	memcpy(direct, connection, sizeof(direct));
	prepare(&sink);
	open_sink(&sink);
	write_numbered(&sink, 1, 99);
	flush_sink(&sink, T0);
	close_sink(&sink);
	snprintf(connection, sizeof(connection), "host=%s/between user=admin dbname=postgres",
		directory);
	assert_int_equal(pthread_create(&thread, NULL, stand_between, &listener), 0);
	open_sink(&sink);
	write_numbered(&sink, 100, 300);
	assert_int_equal(try_flush(&sink, T0), -ECONNRESET);
	pthread_join(thread, NULL);
	close_sink(&sink);
	assert_stored(1, 300);
	/* Written once more, with what has come meanwhile. */
	memcpy(connection, direct, sizeof(direct));
	open_sink(&sink);
	write_numbered(&sink, 100, 400);
	flush_sink(&sink, T0);
	assert_stored(1, 400);
	close_sink(&sink);
	/* All of a delivery may be there already. */
	open_sink(&sink);
	write_numbered(&sink, 301, 400);
	flush_sink(&sink, T0);
	write_numbered(&sink, 401, 402);
	flush_sink(&sink, T0);
	close_sink(&sink);
	assert_stored(1, 402);
	close(listener);
}

static void test_a_server_that_says_nothing(void **state)
{
	const char *options[] = {"connection", connection, NULL};
	int fd = listen_at("silent");
	struct fixture_sink sink;

	(void)state;
	snprintf(connection, sizeof(connection), "host=%s/silent dbname=x", directory);
	assert_open_fails(connection, -ETIMEDOUT, "PostgreSQL did not answer within");
	/* An end is not waited for. */
	prepare_sink(&sink, &sink_postgresql, options);
	sink.ending = true;
	sink.place.time_limit_ms = 60000;
	assert_int_equal(try_open(&sink), -ECANCELED);
	close(fd);
}

/* libpq would wait for as long as the resolver does. */
static void test_a_name_server_that_says_nothing(void **state)
{
	struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(53)};
	struct ifreq loopback = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int server_fd, fd;
	time_t start;
	FILE *file;

	(void)state;
	if (geteuid() != 0)
		skip();
	file = fopen(path_of("resolv.conf"), "w");
	assert_non_null(file);
	fputs("nameserver 127.0.0.1\n", file);
	fclose(file);
	assert_int_equal(unshare(CLONE_NEWNET | CLONE_NEWNS), 0);
	assert_int_equal(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	assert_int_equal(mount(path_of("resolv.conf"), "/etc/resolv.conf", NULL, MS_BIND, NULL), 0);
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &loopback), 0);
	name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	server_fd = socket(AF_INET, SOCK_DGRAM, 0);
	assert_int_equal(bind(server_fd, (struct sockaddr *)&name, sizeof(name)), 0);
	start = time(NULL);
	assert_open_fails("host=db.example", -ETIMEDOUT, "the name db.example could not be");
	assert_in_range(time(NULL) - start, 0, 3);
	close(server_fd);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_SCHEMA(test_several_hosts_at_once),
		WITH_SCHEMA(test_a_server_that_is_killed_in_the_middle),
		WITH_SCHEMA(test_a_server_that_ends_meanwhile),
		WITH_SCHEMA(test_a_commit_whose_answer_is_lost),
		WITH_SCHEMA(test_a_server_that_says_nothing),
		WITH_SCHEMA(test_a_name_server_that_says_nothing),
	};

	return cmocka_run_group_tests(tests, make_server, remove_server);
}
