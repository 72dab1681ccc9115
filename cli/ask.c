/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Talking to the switch, over its control socket, and to the database.  Called by the commands.
 *
 * The switch answers every command of Cordon's with a JSON text; what is no JSON is an error of the
 * switch.  A switch that does not answer in time is told apart from one that does not run.
 */
#include <config.h> /* Open vSwitch's, for socket-util.h. */

#include "cli/process.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "jsonrpc.h"
#include "openvswitch/poll-loop.h"
#include "socket-util.h"
#include "stream.h"
#include "timeval.h"
#include "util.h"

/* --- The database --------------------------------------------------------------------------- */

enum cli_status cli_fail_model(struct cli *cli, const struct model_error *error)
{
	static const enum cli_status statuses[] = {
		[MODEL_OK] = CLI_OK,
		[MODEL_UNREACHABLE] = CLI_NOT_RUNNING,
		[MODEL_INVALID] = CLI_INVALID,
		[MODEL_NOT_FOUND] = CLI_NOT_FOUND,
		[MODEL_EXISTS] = CLI_CONFLICT,
		[MODEL_CONFLICT] = CLI_CONFLICT,
		[MODEL_FAILED] = CLI_FAILED,
	};

	return cli_fail(cli, statuses[error->result], "%s", error->message);
}

struct model *cli_model(struct cli *cli, enum cli_status *status)
{
	struct model_error error;
	struct model *model = model_open(cli->database, cli->timeout_ms, &error);

	*status = model ? CLI_OK : cli_fail_model(cli, &error);
	return model;
}

/* --- The switch ----------------------------------------------------------------------------- */

/* Opens a program's control socket; 0 or a positive errno. */
static int open_control(
	const struct cli *cli, const char *program, pid_t pid, struct jsonrpc **client)
{
	char *name = xasprintf("unix:%s/%s.%ld.ctl", cli->run_directory, program, (long int)pid);
	struct stream *stream = NULL;
	int error = stream_open_block(
		stream_open(name, &stream, DSCP_DEFAULT), cli->timeout_ms, &stream);

	free(name);
	if (!error)
		*client = jsonrpc_open(stream);
	return error;
}

/* Sends the command and waits for its reply; 0 or a positive errno. */
static int transact(const struct cli *cli, struct jsonrpc *client, const char *command, size_t n,
	const char *const *words, struct jsonrpc_msg **reply)
{
	long long int deadline = time_msec() + cli->timeout_ms;
	struct json *parameters = json_array_create_empty();
	int error;

	for (size_t i = 0; i < n; i++)
		json_array_add(parameters, json_string_create(words[i]));
	error = jsonrpc_send(client, jsonrpc_create_request(command, parameters, NULL));
	while (!error) {
		error = jsonrpc_recv(client, reply);
		if (error != EAGAIN)
			break;
		if (time_msec() >= deadline)
			return ETIMEDOUT;
		error = 0;
		jsonrpc_run(client);
		jsonrpc_wait(client);
		jsonrpc_recv_wait(client);
		poll_timer_wait_until(deadline);
		poll_block();
	}
	return error;
}

static enum cli_status fail_unless_quiet(
	struct cli *cli, bool quiet, enum cli_status status, const char *format, const char *what)
{
	if (quiet)
		return status;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	return cli_fail(cli, status, format, what);
#pragma GCC diagnostic pop
}

/* The JSON within a reply, or NULL after saying what is wrong. */
static struct json *read_reply(
	struct cli *cli, bool quiet, enum cli_status *status, const struct jsonrpc_msg *reply)
{
	struct json *answer = NULL;

	if (reply->error && reply->error->type == JSON_STRING) {
		char *text = xstrdup(reply->error->string);

		text[strcspn(text, "\n")] = '\0';
		*status = fail_unless_quiet(cli, quiet, CLI_FAILED, "the switch says: %s", text);
		free(text);
		return NULL;
	}
	if (reply->result && reply->result->type == JSON_STRING)
		answer = json_from_string(reply->result->string);
	if (!answer || answer->type == JSON_STRING) { /* json_from_string() says why in a string. */
		*status = fail_unless_quiet(cli, quiet, CLI_FAILED,
			"the switch's answer is not understood (%s); are both of the same version? "
			"See `cordon version`",
			answer ? answer->string : "no text");
		json_destroy(answer);
		return NULL;
	}
	*status = CLI_OK;
	return answer;
}

struct json *cli_ask_switch(struct cli *cli, bool quiet, enum cli_status *status,
	const char *command, size_t n, const char *const *words)
{
	pid_t pid = cli_process_find(cli->run_directory, CLI_SWITCH);
	struct jsonrpc_msg *reply = NULL;
	struct jsonrpc *client = NULL;
	struct json *answer = NULL;
	int error;

	if (!pid) {
		*status = fail_unless_quiet(cli, quiet, CLI_NOT_RUNNING,
			"no switch runs in %s; `cordon up` starts it", cli->run_directory);
		return NULL;
	}
	error = open_control(cli, CLI_SWITCH, pid, &client);
	if (!error)
		error = transact(cli, client, command, n, words, &reply);
	if (error)
		*status = fail_unless_quiet(cli, quiet, CLI_NOT_RUNNING,
			"the switch runs, but does not answer (%s); its log says more",
			ovs_retval_to_string(error));
	else
		answer = read_reply(cli, quiet, status, reply);
	jsonrpc_msg_destroy(reply);
	jsonrpc_close(client);
	return answer;
}

struct json *cli_ask_hostd(struct cli *cli, const char *command, const char *word)
{
	pid_t pid = cli_process_find(cli->run_directory, CLI_HOSTD);
	struct jsonrpc_msg *reply = NULL;
	struct jsonrpc *client = NULL;
	struct json *answer = NULL;
	enum cli_status status;

	if (pid && !open_control(cli, CLI_HOSTD, pid, &client) &&
		!transact(cli, client, command, word ? 1 : 0, &word, &reply))
		answer = read_reply(cli, true, &status, reply);
	jsonrpc_msg_destroy(reply);
	jsonrpc_close(client);
	return answer;
}

char *cli_log_directory(const struct cli *cli)
{
	return xasprintf("%s/log", cli->state_directory);
}
