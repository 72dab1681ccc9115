/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cordon down`: ends cordon-hostd, the switch, then the database, each after making sure that the
 * process is really that program.  Guests run on, unless they are to end as well.
 */
#include "cli/process.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <time.h>
#include <unistd.h>

#include "timeval.h"
#include "util.h"

enum { GUESTS_TIMEOUT_MS = 120000, POLL_MS = 50 };

/* For so many seconds cordon-hostd takes a word for it that guests are to end, unless it is said
 * again: if this command is broken off, they are soon what they are wanted to be again. */
#define LEASE_S "10"

const struct cli_option cli_down_options[] = {
	{"keep-connections", 0, NULL, "the next `cordon up` goes on with them"},
	{"all", 0, NULL, "shut the guests down as well"},
	{"guests-only", 0, NULL, "shut the guests down, and leave the rest as it is"},
	{0},
};

/* Gives the connections' memory back: the file, and the huge pages that it may lie on.  That there
 * is none is no error. */
static void forget_connections(const struct cli *cli)
{
	char *huge = xasprintf("%s/huge", cli->run_directory);
	char *files[] = {
		xasprintf("%s/connections", cli->run_directory), xasprintf("%s/connections", huge)};

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		unlink(files[i]);
		free(files[i]);
	}
	umount2(huge, MNT_DETACH);
	rmdir(huge);
	free(huge);
}

/* Ends one program.  *pid gets what it was, 0 if it did not run. */
static enum cli_status end(struct cli *cli, const char *program, pid_t *pid)
{
	*pid = cli_process_find(cli->run_directory, program);
	if (!*pid)
		return CLI_OK;
	if (kill(*pid, SIGTERM) && errno != ESRCH)
		return cli_fail(cli, CLI_FAILED, "%s, process %ld, cannot be ended: %s%s", program,
			(long int)*pid, ovs_strerror(errno),
			errno == EPERM ? "; run this as root" : "");
	if (!cli_process_wait_end(*pid, program, cli->timeout_ms))
		return cli_fail(cli, CLI_TIMEOUT,
			"%s, process %ld, has not ended within %u s; wait longer with --timeout, "
			"or look "
			"at its log before you kill it",
			program, (long int)*pid, cli->timeout_ms / 1000);
	return CLI_OK;
}

/* --- Guests --------------------------------------------------------------------------------- */

/* How many run, as cordon-hostd answers; -1: it does not. */
static int64_t guests_alive(struct cli *cli, const char *question, const char *word)
{
	struct json *answer = cli_ask_hostd(cli, question, word);
	int64_t alive = answer ? cli_json_number(answer, "alive") : -1;

	json_destroy(answer);
	return alive;
}

/* Has them shut down, and waits until the last has. */
static enum cli_status stop_guests(struct cli *cli)
{
	unsigned int timeout_ms = cli->timeout_given ? cli->timeout_ms : GUESTS_TIMEOUT_MS;
	long long int deadline = time_msec() + timeout_ms;
	int64_t alive;

	if (!cli_process_find(cli->run_directory, CLI_HOSTD))
		return cli_fail(cli, CLI_NOT_RUNNING,
			"cordon-hostd does not run in %s, so nobody can shut guests down; `cordon "
			"up` starts it",
			cli->run_directory);
	while ((alive = guests_alive(cli, "cordon/stop-guests", LEASE_S)) > 0 &&
		time_msec() < deadline)
		nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000}, NULL);
	if (alive > 0)
		return cli_fail(cli, CLI_TIMEOUT,
			"%lld guest%s not ended within %u s; wait longer with --timeout, or end "
			"%s with `cordon vm stop NAME --force`.  In " LEASE_S
			" s those that have are started again",
			(long long int)alive, alive == 1 ? " has" : "s have", timeout_ms / 1000,
			alive == 1 ? "it" : "them");
	/* For good, until the next `cordon up`. */
	if (alive < 0 || guests_alive(cli, "cordon/stop-guests", NULL) != 0)
		return cli_fail(cli, CLI_NOT_RUNNING,
			"cordon-hostd does not answer, so that it is not known whether guests have "
			"ended; its log says more");
	return CLI_OK;
}

static void say(const struct cli *cli, const char *what, pid_t pid)
{
	if (pid)
		fprintf(cli->out, "%s process %ld, stopped\n", what, (long int)pid);
	else
		fprintf(cli->out, "%s not running\n", what);
}

enum cli_status cli_down(struct cli *cli)
{
	pid_t hostd_pid = 0, switch_pid = 0, database_pid = 0;
	bool guests = cli_flag(cli, "all") || cli_flag(cli, "guests-only");
	enum cli_status status = guests ? stop_guests(cli) : CLI_OK;
	int64_t alive;

	if (cli_flag(cli, "guests-only"))
		return status;
	alive = status == CLI_OK ? guests_alive(cli, "cordon/status", NULL) : 0;
	if (status == CLI_OK)
		status = end(cli, CLI_HOSTD, &hostd_pid);
	if (status == CLI_OK)
		status = end(cli, CLI_SWITCH, &switch_pid);
	if (status == CLI_OK)
		status = end(cli, CLI_DATABASE, &database_pid);
	if (status != CLI_OK)
		return status;
	if (!cli_flag(cli, "keep-connections"))
		forget_connections(cli);
	if (cli->json) {
		struct json *answer = json_object_create();

		json_object_put(answer, "hostd_stopped", json_boolean_create(hostd_pid != 0));
		json_object_put(answer, "guests_left", json_integer_create(MAX(alive, 0)));
		json_object_put(answer, "switch_stopped", json_boolean_create(switch_pid != 0));
		json_object_put(answer, "database_stopped", json_boolean_create(database_pid != 0));
		return cli_print_json(cli, answer);
	}
	say(cli, "Guests:  ", hostd_pid);
	say(cli, "Switch:  ", switch_pid);
	say(cli, "Database:", database_pid);
	if (alive > 0)
		fprintf(cli->out,
			"%lld guest%s on, without a network; `cordon up` takes %s over.\n",
			(long long int)alive, alive == 1 ? " runs" : "s run",
			alive == 1 ? "it" : "them");
	return CLI_OK;
}
