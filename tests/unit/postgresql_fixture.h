/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A PostgreSQL server of the test's own: real, in a directory of its own, on a UNIX socket, run by
 * an unprivileged user, and gone when the test is.  Included after tests/unit/sink_fixture.h.
 */
#ifndef TESTS_UNIT_POSTGRESQL_FIXTURE_H
#define TESTS_UNIT_POSTGRESQL_FIXTURE_H

#include <errno.h>
#include <glob.h>
#include <grp.h>
#include <libpq-fe.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

enum { SERVER_STARTS_MAX = 40 };

static struct {
	char programs[200]; /* The directory of postgres and initdb; "": there are none. */
	pid_t pid;
	PGconn *connection; /* The test's own, as superuser. */
} server;

__attribute__((unused)) static void pause_ms(long int ms)
{
	nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

/* The server refuses to be root. */
static void become_somebody(void)
{
	const struct passwd *user = getpwnam("postgres");

	if (geteuid() != 0)
		return;
	if (!user)
		user = getpwnam("nobody");
	if (!user || setgroups(0, NULL) || setgid(user->pw_gid) || setuid(user->pw_uid))
		_exit(1);
}

/* Runs a program of PostgreSQL's as somebody; it ends with this process. */
static pid_t run_server_program(const char *const *words)
{
	pid_t parent = getpid(), pid = fork();
	char program[300];

	assert_true(pid >= 0);
	if (pid)
		return pid;
	become_somebody();
	prctl(PR_SET_PDEATHSIG, SIGQUIT);
	snprintf(program, sizeof(program), "%s/%s", server.programs, words[0]);
	if (getppid() == parent && chdir(directory) == 0 && freopen("output", "a", stdout) &&
		dup2(STDOUT_FILENO, STDERR_FILENO) >= 0)
		execv(program, (char *const *)words);
	_exit(1);
}

static PGconn *connect_as(const char *user)
{
	char conninfo[300];

	snprintf(conninfo, sizeof(conninfo), "host=%s user=%s dbname=postgres", directory, user);
	return PQconnectdb(conninfo);
}

/* Starts the server, and waits until it answers.  What is left of one that was killed may still be
 * there for a moment, so it may take several starts. */
__attribute__((unused)) static void start_server(void)
{
	static const char *const words[] = {"postgres", "-D", "data", "-k", directory, "-h", "",
		"-c", "fsync=off", "-c", "shared_buffers=16MB", "-c", "max_wal_size=4GB", NULL};

	for (int i = 0; i < SERVER_STARTS_MAX; i++) {
		server.pid = run_server_program(words);
		while (waitpid(server.pid, NULL, WNOHANG) == 0) {
			server.connection = connect_as("admin");
			if (PQstatus(server.connection) == CONNECTION_OK)
				return;
			PQfinish(server.connection);
			pause_ms(20);
		}
		pause_ms(250);
	}
	fail_msg("the server does not start; see its output");
}

/* Ends it by a signal: SIGQUIT as `pg_ctl stop -m immediate` does, SIGKILL as fate does. */
__attribute__((unused)) static void stop_server(int signal_number)
{
	if (!server.pid)
		return;
	PQfinish(server.connection);
	server.connection = NULL;
	kill(server.pid, signal_number);
	waitpid(server.pid, NULL, 0);
	server.pid = 0;
}

__attribute__((unused)) static int make_server(void **state)
{
	static const char *const words[] = {"initdb", "-D", "data", "-U", "admin", "-A", "trust",
		"--no-sync", "-E", "UTF8", "--locale=C", NULL};
	glob_t found;
	FILE *rules;
	int status;

	if (make_directory(state) || glob("/usr/lib/postgresql/*/bin", 0, NULL, &found))
		return -1;
	snprintf(
		server.programs, sizeof(server.programs), "%s", found.gl_pathv[found.gl_pathc - 1]);
	globfree(&found);
	if (chmod(directory, 0777) || waitpid(run_server_program(words), &status, 0) < 0 ||
		status != 0)
		return -1;
	rules = fopen(path_of("data/pg_hba.conf"), "w");
	if (!rules)
		return -1;
	fputs("local all locked scram-sha-256\nlocal all all trust\n", rules);
	fclose(rules);
	start_server();
	return 0;
}

__attribute__((unused)) static int remove_server(void **state)
{
	stop_server(SIGQUIT);
	return remove_directory(state);
}

/* Runs SQL, several rows and columns of which come back as "a|b\nc|d". */
__attribute__((unused)) static const char *sql_on(PGconn *connection, const char *sql)
{
	static char text[1 << 16];
	PGresult *result = PQexec(connection, sql);
	size_t used = 0;

	if (PQresultStatus(result) != PGRES_TUPLES_OK && PQresultStatus(result) != PGRES_COMMAND_OK)
		fail_msg("%s: %s", sql, PQresultErrorMessage(result));
	text[0] = '\0';
	for (int row = 0; row < PQntuples(result); row++)
		for (int column = 0; column < PQnfields(result); column++)
			used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s",
				column ? "|"
				: row  ? "\n"
				       : "",
				PQgetisnull(result, row, column) ? "NULL"
								 : PQgetvalue(result, row, column));
	PQclear(result);
	return text;
}

__attribute__((unused)) static const char *sql(const char *text)
{
	return sql_on(server.connection, text);
}

/* --- The sink and its tables --------------------------------------------------------------- */

static char connection[200], schema[40];

/* A schema of each test's own. */
__attribute__((unused)) static int begin_test(void **state)
{
	static unsigned int n;

	(void)state;
	snprintf(connection, sizeof(connection), "host=%s user=admin dbname=postgres", directory);
	snprintf(schema, sizeof(schema), "test_%u", ++n);
	return 0;
}

__attribute__((unused)) static void prepare_with(
	struct fixture_sink *sink, const char *name, const char *value)
{
	const char *options[] = {"connection", connection, "schema", schema, name, value, NULL};

	prepare_sink(sink, &sink_postgresql, options);
}

__attribute__((unused)) static void prepare(struct fixture_sink *sink)
{
	prepare_with(sink, NULL, NULL);
}

/* The answer to `text`, in which every % is the test's schema. */
__attribute__((unused)) static const char *ask(const char *text)
{
	char query_text[2000], *to = query_text;

	for (; *text; text++) {
		if (*text == '%')
			to = stpcpy(to, schema);
		else
			*to++ = *text;
	}
	*to = '\0';
	return sql(query_text);
}

/* Records first...last are there, each once. */
__attribute__((unused)) static void assert_stored(uint64_t first, uint64_t last)
{
	char expected[100];

	snprintf(expected, sizeof(expected), "%llu|%llu|%llu|%llu",
		(unsigned long long)(last + 1 - first), (unsigned long long)(last + 1 - first),
		(unsigned long long)first, (unsigned long long)last);
	assert_string_equal(ask("SELECT count(*), count(DISTINCT sequence), min(sequence),"
				" max(sequence) FROM %.traffic"),
		expected);
}

__attribute__((unused)) static void assert_open_fails(
	const char *conninfo, int error, const char *sentence)
{
	const char *options[] = {"connection", conninfo, "schema", schema, NULL};
	struct fixture_sink sink;

	prepare_sink(&sink, &sink_postgresql, options);
	sink.place.time_limit_ms = error == -ETIMEDOUT ? 400 : 20000;
	assert_int_equal(try_open(&sink), error);
	assert_null(sink.state);
	if (!strstr(sink.error, sentence) || strchr(sink.error, '\n'))
		fail_msg("'%s' does not say '%s' in one line", sink.error, sentence);
}

#define WITH_SCHEMA(test) cmocka_unit_test_setup(test, begin_test)

#endif
