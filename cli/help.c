/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cordon help` and `cordon version`, made from the table of commands.
 */
#include "cli/cordon.h"

#include <stdlib.h>
#include <string.h>

#include "openvswitch/dynamic-string.h"
#include "util.h"

enum { INDENT = 2, NAME_WIDTH = 30, OPTION_WIDTH = 32 };

static void print_command_line(const struct cli *cli, const struct cli_command *command)
{
	struct ds text = DS_EMPTY_INITIALIZER;

	ds_put_cstr(&text, command->noun);
	if (command->verb)
		ds_put_format(&text, " %s", command->verb);
	if (command->arguments)
		ds_put_format(&text, " %s", command->arguments);
	fprintf(cli->out, "%*s%-*s %s\n", INDENT, "", NAME_WIDTH, ds_cstr(&text), command->summary);
	ds_destroy(&text);
}

static void print_options(const struct cli *cli, const struct cli_option *options)
{
	for (; options && options->name; options++) {
		struct ds text = DS_EMPTY_INITIALIZER;

		if (options->letter)
			ds_put_format(&text, "-%c, ", options->letter);
		ds_put_format(&text, "--%s", options->name);
		if (options->argument)
			ds_put_format(&text, " %s", options->argument);
		if (text.length > OPTION_WIDTH)
			ds_put_format(&text, "\n%*s", INDENT + OPTION_WIDTH, "");
		fprintf(cli->out, "%*s%-*s %s\n", INDENT, "", OPTION_WIDTH, ds_cstr(&text),
			options->help);
		ds_destroy(&text);
	}
}

static void print_heading(const struct cli *cli, const char *heading)
{
	fprintf(cli->out, "\n%s%s%s\n", cli_colour_start(cli, CLI_BOLD), heading,
		cli_colour_end(cli));
}

static enum cli_status print_all(const struct cli *cli)
{
	const char *last = "";

	fprintf(cli->out, "cordon: the virtual switch of a KVM host, with zones, policy and log\n");
	print_heading(cli, "Commands");
	for (const struct cli_command *c = cli_commands; c->noun; c++) {
		if (*last && strcmp(c->noun, last) && c->verb)
			fputc('\n', cli->out);
		last = c->noun;
		print_command_line(cli, c);
	}
	print_heading(cli, "Options of all commands (anywhere in the line)");
	print_options(cli, cli_global_options);
	fprintf(cli->out, "\n`cordon help COMMAND` tells more; cordon(1) has the exit statuses.\n");
	return CLI_OK;
}

static enum cli_status print_one(const struct cli *cli, const struct cli_command *command)
{
	fprintf(cli->out, "cordon %s%s%s%s%s%s\n\n%s\n", command->noun, command->verb ? " " : "",
		command->verb ? command->verb : "", command->arguments ? " " : "",
		command->arguments ? command->arguments : "",
		command->options ? " [OPTION...]" : "", command->summary);
	if (command->help)
		fprintf(cli->out, "\n%s\n", command->help);
	if (command->options) {
		print_heading(cli, "Options");
		print_options(cli, command->options);
	}
	fprintf(cli->out, "\n`cordon help` lists the options of all commands.\n");
	return CLI_OK;
}

static enum cli_status print_noun(const struct cli *cli, const char *noun)
{
	for (const struct cli_command *c = cli_commands; c->noun; c++) {
		if (!strcmp(c->noun, noun))
			print_command_line(cli, c);
	}
	return CLI_OK;
}

static enum cli_status say_unknown(struct cli *cli, const char *noun, const char *verb)
{
	const char *nouns[64];
	const char *guess;
	size_t n = 0;

	for (const struct cli_command *c = cli_commands; c->noun && n + 1 < ARRAY_SIZE(nouns);
		c++) {
		if (!verb || !strcmp(c->noun, noun))
			nouns[n++] = verb ? c->verb : c->noun;
	}
	nouns[n] = NULL;
	guess = cli_did_you_mean(verb ? verb : noun, nouns);
	return cli_fail(cli, CLI_USAGE, "there is no command '%s%s%s'%s%s%s%s%s", noun,
		verb ? " " : "", verb ? verb : "", guess ? "; did you mean '" : "",
		guess && verb ? noun : "", guess && verb ? " " : "", guess ? guess : "",
		guess ? "'?" : "; `cordon help` lists them all");
}

enum cli_status cli_help(struct cli *cli)
{
	const char *noun, *verb;
	bool has_noun = false;

	if (cli->command->run != cli_help) /* `cordon port add --help` */
		return print_one(cli, cli->command);
	if (!cli->n_arguments)
		return print_all(cli);
	noun = cli->arguments[0];
	verb = cli->n_arguments > 1 ? cli->arguments[1] : NULL;
	for (const struct cli_command *c = cli_commands; c->noun; c++) {
		if (strcmp(c->noun, noun))
			continue;
		has_noun = true;
		if (!c->verb || (verb && !strcmp(c->verb, verb)))
			return print_one(cli, c);
	}
	if (has_noun && !verb)
		return print_noun(cli, noun);
	return say_unknown(cli, noun, has_noun ? verb : NULL);
}

enum cli_status cli_version(struct cli *cli)
{
	enum cli_status status;
	struct json *live = cli_ask_switch(cli, true, &status, "cordon/status", 0, NULL);
	const char *running = cli_json_text(live, "version");

	if (cli->json) {
		struct json *answer = json_object_create();

		json_object_put_string(answer, "cordon", CORDON_VERSION);
		json_object_put(answer, "switch",
			*running ? json_string_create(running) : json_null_create());
		cli_print_json(cli, answer);
	} else {
		fprintf(cli->out, "cordon %s\ncordon-switchd %s\n", CORDON_VERSION,
			*running ? running : "(not running)");
	}
	json_destroy(live);
	return CLI_OK;
}
