/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cordon`: reads the line, runs the command, ends with its status.
 */
#include "cli/cordon.h"

#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <string.h>

#include "openvswitch/vlog.h"
#include "util.h"

/* `cordon --help` and `cordon --version` are the commands of these names. */
static const char *as_command(const char *word)
{
	if (!strcmp(word, "--help") || !strcmp(word, "-h"))
		return "help";
	return strcmp(word, "--version") ? word : "version";
}

int main(int argc, char **argv)
{
	struct cli cli = {.out = stdout, .err = stderr};
	enum cli_status status;

	ovs_set_program_name("cordon", CORDON_VERSION);
	/* The library's own log is for daemons: what a person must know, the commands say. */
	vlog_set_levels(NULL, VLF_ANY_DESTINATION, VLL_OFF);
	signal(SIGPIPE, SIG_IGN); /* A database that goes away must not end us without a word. */
	setlocale(LC_TIME, "");
	if (argc > 1 && !strcmp(argv[1], "--complete")) {
		status = cli_complete(&cli, argc - 2, argv + 2);
		cli_destroy(&cli);
		return status;
	}
	if (argc == 2)
		argv[1] = CONST_CAST(char *, as_command(argv[1]));
	status = cli_parse(&cli, argc, argv);
	if (status == CLI_OK)
		status = cli_flag(&cli, "help") ? cli_help(&cli) : cli.command->run(&cli);
	/* That nobody reads on, as in `cordon conn list | head`, is no failure. */
	if (fflush(stdout) && errno != EPIPE && status == CLI_OK)
		status = cli_fail(&cli, CLI_FAILED, "the output could not be written in full");
	cli_destroy(&cli);
	return status;
}
