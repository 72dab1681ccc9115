/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cordon up`: everything that one host needs, from nothing, or whatever of it is missing.
 *
 *      directories -> database file -> ovsdb-server -> first rows -> cordon-switchd -> cordon-hostd
 *
 * Each step looks first, so that the command can be repeated, and after a failure goes on where it
 * stopped.  A database elsewhere (--db) is used as it is.
 */
#include "cli/process.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "svec.h"
#include "timeval.h"
#include "util.h"

enum { START_TIMEOUT_MS = 30000, POLL_MS = 5, DATABASE_NICE = -10 };

const struct cli_option cli_up_options[] = {
	{"no-huge", 0, NULL, "do without huge pages"},
	{"workers", 'w', "N", "threads that forward (1)"},
	{"cores", 0, "LIST", "CPUs of the workers, e.g. 2,3"},
	{"max-connections", 0, "N", "room in the connection table"},
	{"db-only", 0, NULL, "only the database, not the switch"},
	{"no-guests", 0, NULL, "without cordon-hostd, which runs guests"},
	{0},
};

/* What was found and what was done, for the report. */
struct progress {
	bool database_started, switch_started, hostd_started, huge_pages;
	long long int took_ms;
};

static unsigned int start_timeout_ms(const struct cli *cli)
{
	return cli->timeout_given ? cli->timeout_ms : START_TIMEOUT_MS;
}

/* --- Directories ---------------------------------------------------------------------------- */

static enum cli_status make_directories(struct cli *cli)
{
	const char *const paths[] = {cli->run_directory, cli->state_directory};

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		int error = cli_make_directory(paths[i], 0750);

		if (!error && access(paths[i], W_OK))
			error = -errno;
		if (error)
			return cli_fail(cli, CLI_FAILED,
				"directory %s cannot be made or written: %s; %s", paths[i],
				ovs_strerror(-error),
				geteuid() ? "run this as root, or choose others with --rundir and "
					    "--statedir"
					  : "choose another one with --rundir or --statedir");
	}
	return CLI_OK;
}

/* --- The database --------------------------------------------------------------------------- */

/* Runs a program: `words` are its arguments behind an empty first one.  `package` is where it comes
 * from, `advice` what to do if it fails.  *output is the caller's to free. */
static enum cli_status run(struct cli *cli, const char *program, const char *package,
	const char *advice, struct svec *words, char **output)
{
	char *path = cli_find_program(program);
	int result;

	*output = NULL;
	if (!path)
		return cli_fail(cli, CLI_FAILED,
			"%s is neither beside `cordon` nor in PATH; install %s", program, package);
	free(words->names[0]);
	words->names[0] = path;
	svec_terminate(words);
	result = cli_run_program(words->names, output);
	if (result)
		return cli_fail(cli, CLI_FAILED, "%s failed (%d): %s; %s", program, result,
			**output ? *output : "it said nothing", advice);
	return CLI_OK;
}

static enum cli_status run_ovsdb_tool(
	struct cli *cli, const char *verb, const char *file, const char *schema, char **output)
{
	struct svec words = SVEC_EMPTY_INITIALIZER;
	enum cli_status status;

	svec_add(&words, "");
	svec_add(&words, verb);
	svec_add(&words, file);
	svec_add(&words, schema);
	status = run(cli, "ovsdb-tool", "openvswitch-common",
		"if the file is damaged, put a copy of it back, or move it away to begin anew",
		&words, output);
	svec_destroy(&words);
	return status;
}

/* Makes the file if it is missing, and brings one of an older schema up to date. */
static enum cli_status prepare_file(struct cli *cli, const char *file)
{
	char *schema = cli_find_schema(), *output = NULL;
	enum cli_status status;

	if (!schema)
		return cli_fail(cli, CLI_FAILED,
			"cordon.ovsschema is neither beside `cordon` nor in ../share/cordon; "
			"install "
			"Cordon again");
	if (access(file, F_OK)) {
		status = run_ovsdb_tool(cli, "create", file, schema, &output);
	} else {
		status = run_ovsdb_tool(cli, "needs-conversion", file, schema, &output);
		if (status == CLI_OK && !strcmp(output, "yes")) {
			free(output);
			status = run_ovsdb_tool(cli, "convert", file, schema, &output);
			if (status == CLI_OK)
				fprintf(cli->out, "The database was converted to this version.\n");
		}
	}
	free(output);
	free(schema);
	return status;
}

static enum cli_status start_server(struct cli *cli, const char *file)
{
	char *advice = xasprintf("see %s/" CLI_DATABASE ".log", cli->state_directory);
	struct svec words = SVEC_EMPTY_INITIALIZER;
	int nice = getpriority(PRIO_PROCESS, 0);
	enum cli_status status;
	char *output;

	svec_add(&words, "");
	svec_add_nocopy(&words, xasprintf("--remote=punix:%s/db.sock", cli->run_directory));
	svec_add_nocopy(&words, xasprintf("--pidfile=%s/" CLI_DATABASE ".pid", cli->run_directory));
	svec_add_nocopy(&words, xasprintf("--unixctl=%s/" CLI_DATABASE ".ctl", cli->run_directory));
	svec_add_nocopy(
		&words, xasprintf("--log-file=%s/" CLI_DATABASE ".log", cli->state_directory));
	svec_add(&words, "-vconsole:off");
	svec_add(&words, "-vsyslog:off");
	/* That `cordon` hangs up when it has its answer is nothing to warn of. */
	svec_add(&words, "-vjsonrpc:file:err");
	svec_add(&words, "-vreconnect:file:err");
	svec_add(&words, "--no-chdir");
	svec_add(&words, "--detach");
	svec_add(&words, file);
	/* A new policy is waited for, so what carries it has the switch's precedence; it is well if
	 * that is not permitted. */
	(void)setpriority(PRIO_PROCESS, 0, DATABASE_NICE);
	status = run(cli, CLI_DATABASE, "openvswitch-common", advice, &words, &output);
	(void)setpriority(PRIO_PROCESS, 0, nice);
	free(output);
	free(advice);
	svec_destroy(&words);
	return status;
}

/* Connects; starts a server first if nobody answers and the database is this host's own. */
static struct model *open_database(
	struct cli *cli, struct progress *progress, enum cli_status *status)
{
	char *own = xasprintf("unix:%s/db.sock", cli->run_directory);
	char *file = xasprintf("%s/cordon.db", cli->state_directory);
	bool is_own = !strcmp(cli->database, own);
	struct model_error error;
	struct model *model = NULL;

	*status = CLI_OK;
	if (!is_own || cli_process_find(cli->run_directory, CLI_DATABASE) ||
		!access(own + strlen("unix:"), F_OK))
		model = model_open(cli->database, cli->timeout_ms, &error);
	if (!model && !is_own)
		*status = cli_fail_model(cli, &error);
	if (!model && is_own) {
		*status = prepare_file(cli, file);
		if (*status == CLI_OK)
			*status = start_server(cli, file);
		if (*status == CLI_OK) {
			progress->database_started = true;
			model = cli_model(cli, status);
		}
	}
	free(file);
	free(own);
	return model;
}

static enum cli_status bring_up_database(struct cli *cli, struct progress *progress)
{
	enum cli_status status;
	struct model *model = open_database(cli, progress, &status);
	struct model_error error;

	if (!model)
		return status;
	if (model_initialize(model, cli->host, &error) != MODEL_OK)
		status = cli_fail_model(cli, &error);
	model_close(model);
	return status;
}

/* --- The switch ----------------------------------------------------------------------------- */

static void add_option(struct svec *words, const char *name, const char *value)
{
	if (!value)
		return;
	svec_add_nocopy(words, xasprintf("--%s", name));
	svec_add(words, value);
}

static enum cli_status start_switch(struct cli *cli)
{
	char *advice = xasprintf("see %s/" CLI_SWITCH ".log", cli->state_directory);
	struct svec words = SVEC_EMPTY_INITIALIZER;
	enum cli_status status;
	char *output;

	svec_add(&words, "");
	add_option(&words, "rundir", cli->run_directory);
	add_option(&words, "statedir", cli->state_directory);
	add_option(&words, "db", cli->database);
	add_option(&words, "host", cli->host);
	add_option(&words, "workers", cli_option(cli, "workers"));
	add_option(&words, "cores", cli_option(cli, "cores"));
	add_option(&words, "max-connections", cli_option(cli, "max-connections"));
	if (cli_flag(cli, "no-huge"))
		svec_add(&words, "--no-huge");
	svec_add_nocopy(
		&words, xasprintf("--log-file=%s/" CLI_SWITCH ".log", cli->state_directory));
	svec_add(&words, "-vconsole:err");
	svec_add(&words, "-vsyslog:off");
	svec_add(&words, "--detach");
	status = run(cli, CLI_SWITCH, "Cordon again, or `make` it", advice, &words, &output);
	free(output);
	free(advice);
	svec_destroy(&words);
	return status;
}

static enum cli_status wait_for_switch(struct cli *cli, struct progress *progress)
{
	long long int deadline = time_msec() + start_timeout_ms(cli);

	for (;;) {
		enum cli_status status;
		struct json *answer = cli_ask_switch(cli, true, &status, "cordon/status", 0, NULL);

		progress->huge_pages = cli_json_true(answer, "huge_pages");
		json_destroy(answer);
		if (answer)
			return CLI_OK;
		if (time_msec() >= deadline)
			return cli_fail(cli, CLI_TIMEOUT,
				"the switch was started, but does not answer within %u s; "
				"%s/" CLI_SWITCH ".log says more",
				start_timeout_ms(cli) / 1000, cli->state_directory);
		nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000}, NULL);
	}
}

static enum cli_status bring_up_switch(struct cli *cli, struct progress *progress)
{
	enum cli_status status = CLI_OK;

	if (!cli_process_find(cli->run_directory, CLI_SWITCH)) {
		status = start_switch(cli);
		progress->switch_started = status == CLI_OK;
	}
	return status == CLI_OK ? wait_for_switch(cli, progress) : status;
}

/* --- The guests ----------------------------------------------------------------------------- */

static enum cli_status bring_up_hostd(struct cli *cli, struct progress *progress)
{
	struct svec words = SVEC_EMPTY_INITIALIZER;
	enum cli_status status;
	char *output, *advice;

	if (cli_process_find(cli->run_directory, CLI_HOSTD)) {
		/* After `cordon down --guests-only` it starts none by itself. */
		json_destroy(cli_ask_hostd(cli, "cordon/start-guests", NULL));
		return CLI_OK;
	}
	advice = xasprintf("see %s/" CLI_HOSTD ".log, or leave guests out with --no-guests",
		cli->state_directory);
	svec_add(&words, "");
	add_option(&words, "rundir", cli->run_directory);
	add_option(&words, "db", cli->database);
	add_option(&words, "host", cli->host);
	svec_add_nocopy(&words, xasprintf("--log-file=%s/" CLI_HOSTD ".log", cli->state_directory));
	svec_add(&words, "-vconsole:err");
	svec_add(&words, "-vsyslog:off");
	svec_add(&words, "--detach");
	status = run(cli, CLI_HOSTD, "Cordon again, or `make` it", advice, &words, &output);
	progress->hostd_started = status == CLI_OK;
	free(output);
	free(advice);
	svec_destroy(&words);
	return status;
}

/* --- The report ----------------------------------------------------------------------------- */

static void say_huge_pages(const struct cli *cli)
{
	fprintf(cli->out,
		"Without huge pages%s: forwarding is slower by up to a third.  For 2 GiB of them:\n"
		"sysctl vm.nr_hugepages=1024, then `cordon down` and `cordon up`.\n",
		cli_flag(cli, "no-huge") ? "" : " (too few are free)");
}

static enum cli_status report(struct cli *cli, const struct progress *progress)
{
	bool db_only = cli_flag(cli, "db-only");
	pid_t pid = cli_process_find(cli->run_directory, CLI_SWITCH);
	pid_t hostd = cli_process_find(cli->run_directory, CLI_HOSTD);

	if (cli->json) {
		struct json *answer = json_object_create();

		json_object_put(answer, "database_started",
			json_boolean_create(progress->database_started));
		json_object_put(
			answer, "switch_started", json_boolean_create(progress->switch_started));
		if (pid)
			json_object_put(answer, "switch_pid", json_integer_create(pid));
		json_object_put(
			answer, "hostd_started", json_boolean_create(progress->hostd_started));
		if (hostd)
			json_object_put(answer, "hostd_pid", json_integer_create(hostd));
		json_object_put(answer, "took_ms", json_integer_create(progress->took_ms));
		return cli_print_json(cli, answer);
	}
	fprintf(cli->out, "Database: %s, %s\n", cli->database,
		progress->database_started ? "started" : "was up already");
	if (db_only)
		return CLI_OK;
	fprintf(cli->out, "Switch:   process %ld, %s\n", (long int)pid,
		progress->switch_started ? "started" : "was up already");
	if (hostd)
		fprintf(cli->out, "Guests:   process %ld, %s\n", (long int)hostd,
			progress->hostd_started ? "started" : "was up already");
	if (progress->switch_started && !progress->huge_pages)
		say_huge_pages(cli);
	if (progress->switch_started)
		fprintf(cli->out, "Ready after %lld ms.  Next: cordon help port add\n",
			progress->took_ms);
	return CLI_OK;
}

enum cli_status cli_up(struct cli *cli)
{
	long long int start = time_msec();
	struct progress progress = {0};
	enum cli_status status;
	int64_t number;

	if (!cli_option_number(cli, "workers", 1, 64, &number) ||
		!cli_option_number(cli, "max-connections", 1024, 1 << 28, &number))
		return CLI_USAGE;
	status = make_directories(cli);
	if (status == CLI_OK)
		status = bring_up_database(cli, &progress);
	if (status == CLI_OK && !cli_flag(cli, "db-only"))
		status = bring_up_switch(cli, &progress);
	if (status == CLI_OK && !cli_flag(cli, "db-only") && !cli_flag(cli, "no-guests"))
		status = bring_up_hostd(cli, &progress);
	progress.took_ms = time_msec() - start;
	return status == CLI_OK ? report(cli, &progress) : status;
}
