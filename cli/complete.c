/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cordon --complete WORD...`: what may stand in place of the last word, one a line.  Called by the
 * shell's completion (cordon.bash-completion); made from the table of commands, and for names of
 * ports, networks, zones and rules and numbers of revisions from what is there, if it answers
 * quickly.
 */
#include "cli/cordon.h"

#include <stdlib.h>
#include <string.h>

#include "log/sink_options.h"
#include "svec.h"
#include "util.h"

enum { COMPLETE_TIMEOUT_MS = 300, ARGUMENTS_KEPT = 2 };

/* What the words before the last one say. */
struct place {
	const char *noun, *verb;
	const struct cli_command *command;
	const struct cli_option *awaited; /* The option whose value the last word is. */
	size_t n_arguments;
	const char *arguments[ARGUMENTS_KEPT]; /* The first ones. */
};

static void offer(const struct cli *cli, const char *candidate, const char *start)
{
	if (!strncmp(candidate, start, strlen(start)))
		fprintf(cli->out, "%s\n", candidate);
}

static const struct cli_option *find_option(const struct cli_option *options, const char *word)
{
	for (; options && options->name; options++) {
		if ((word[1] == '-' && !strcmp(word + 2, options->name)) ||
			(word[1] && !word[2] && word[1] == options->letter))
			return options;
	}
	return NULL;
}

static const struct cli_command *find_command(const char *noun, const char *verb)
{
	for (const struct cli_command *c = cli_commands; noun && c->noun; c++) {
		if (!strcmp(c->noun, noun) && (!c->verb || (verb && !strcmp(c->verb, verb))))
			return c;
	}
	return NULL;
}

static void take_word(struct place *place, const char *word)
{
	if (place->awaited) {
		place->awaited = NULL;
	} else if (word[0] == '-') {
		const struct cli_option *option = find_option(cli_global_options, word);

		if (!option && place->command)
			option = find_option(place->command->options, word);
		place->awaited = option && option->argument ? option : NULL;
	} else if (place->command) {
		if (place->n_arguments < ARGUMENTS_KEPT)
			place->arguments[place->n_arguments] = word;
		place->n_arguments++;
	} else if (!place->noun) {
		place->noun = word;
		place->command = find_command(word, NULL);
	} else {
		place->verb = word;
		place->command = find_command(place->noun, word);
	}
}

static void offer_members(
	const struct cli *cli, struct json *rows, const char *name, const char *start)
{
	for (size_t i = 0; rows && rows->type == JSON_ARRAY && i < rows->array.n; i++)
		offer(cli, cli_json_text(rows->array.elems[i], name), start);
	json_destroy(rows);
}

/* What a port is called by, in this kind of word. */
static void offer_port(
	struct cli *cli, const struct cordonrec_port *port, const char *kind, const char *start)
{
	bool endpoint = !strcmp(kind, "ENDPOINT");

	if ((endpoint || !strcmp(kind, "PORT")) && port->host &&
		!strcmp(port->host->name, cli->host))
		offer(cli, port->name, start);
	if ((endpoint || !strcmp(kind, "VM")) && *port->vm_name)
		offer(cli, port->vm_name, start);
	for (size_t i = 0; !strcmp(kind, "ADDRESS") && i < port->n_addresses; i++)
		offer(cli, port->addresses[i], start);
	for (size_t i = 0; !strcmp(kind, "MAC") && i < port->n_macs; i++)
		offer(cli, port->macs[i], start);
}

/* "shop/web-to-app": each rule that is counted. */
static void offer_rules(struct cli *cli, const char *start)
{
	enum cli_status status;
	struct json *rows = cli_ask_switch(cli, true, &status, "cordon/rule-hits", 0, NULL);

	for (size_t i = 0; rows && rows->type == JSON_ARRAY && i < rows->array.n; i++) {
		const struct json *row = rows->array.elems[i];
		const char *policy = cli_json_text(row, "policy");
		char *name =
			xasprintf("%s%s%s", policy, *policy ? "/" : "", cli_json_text(row, "rule"));

		offer(cli, name, start);
		free(name);
	}
	json_destroy(rows);
}

static void offer_revisions(const struct cli *cli, struct model *model, const char *start)
{
	const struct cordonrec_policy_revision *revision;

	CORDONREC_POLICY_REVISION_FOR_EACH (revision, model_idl(model)) {
		char *number = xasprintf("%lld", (long long int)revision->number);

		offer(cli, number, start);
		free(number);
	}
}

static void offer_from_database(struct cli *cli, const char *kind, const char *start)
{
	struct model_error error;
	struct model *model = model_open(cli->database, cli->timeout_ms, &error);
	const struct cordonrec_network *network;
	const struct cordonrec_port *port;
	const struct cordonrec_vm *vm;

	if (!model)
		return;
	if (!strcmp(kind, "GUEST")) {
		CORDONREC_VM_FOR_EACH(vm, model_idl(model))
		{
			if (vm->host && !strcmp(vm->host->name, cli->host))
				offer(cli, vm->name, start);
		}
	} else if (!strcmp(kind, "NETWORK")) {
		CORDONREC_NETWORK_FOR_EACH (network, model_idl(model))
			offer(cli, network->name, start);
	} else if (!strcmp(kind, "REVISION")) {
		offer_revisions(cli, model, start);
	} else {
		CORDONREC_PORT_FOR_EACH (port, model_idl(model))
			offer_port(cli, port, kind, start);
	}
	model_close(model);
}

/* Names of a kind that an option or an argument stands for. */
static void offer_names(struct cli *cli, const char *kind, const char *start)
{
	enum cli_status status;

	if (!strcmp(kind, "ZONE") || !strcmp(kind, "ENDPOINT"))
		offer_members(cli, cli_ask_switch(cli, true, &status, "zone/list", 0, NULL), "zone",
			start);
	if (!strcmp(kind, "POLICY/RULE") || !strcmp(kind, "RULE"))
		offer_rules(cli, start);
	else if (!strcmp(kind, "PORT") || !strcmp(kind, "VM") || !strcmp(kind, "ENDPOINT") ||
		 !strcmp(kind, "NETWORK") || !strcmp(kind, "ADDRESS") || !strcmp(kind, "MAC") ||
		 !strcmp(kind, "REVISION") || !strcmp(kind, "GUEST"))
		offer_from_database(cli, kind, start);
	else if (!strcmp(kind, "FILE") || !strcmp(kind, "DIR"))
		fprintf(cli->out, "<%s>\n", kind); /* The shell knows better. */
}

/* --- Log sinks -------------------------------------------------------------------------------- */

static void offer_sinks(struct cli *cli, const char *start)
{
	struct model_error error;
	struct model *model = model_open(cli->database, cli->timeout_ms, &error);
	const struct cordonrec_log_sink *sink;

	if (!model)
		return;
	CORDONREC_LOG_SINK_FOR_EACH (sink, model_idl(model))
		offer(cli, sink->name, start);
	model_close(model);
}

static const struct sink_kind *kind_of_sink(struct cli *cli, const char *name)
{
	struct model_error error;
	struct model *model = model_open(cli->database, cli->timeout_ms, &error);
	const struct cordonrec_log_sink *sink = model ? model_sink(model, name) : NULL;
	const struct sink_kind *kind = sink ? sink_kind_find(sink->type) : NULL;

	model_close(model);
	return kind;
}

/* "transport=", and when that is written, "transport=udp" and so on. */
static void offer_sink_option(
	const struct cli *cli, const struct sink_option *option, const char *start)
{
	char *name = xasprintf("%s=", option->name);
	char *choices = xstrdup(option->choices ? option->choices : ""), *save = NULL;

	if (strncmp(start, name, strlen(name)) != 0)
		offer(cli, name, start);
	else
		for (char *choice = strtok_r(choices, " ", &save); choice;
			choice = strtok_r(NULL, " ", &save)) {
			char *word = xasprintf("%s%s", name, choice);

			offer(cli, word, start);
			free(word);
		}
	free(choices);
	free(name);
}

static void offer_sink_argument(struct cli *cli, const struct place *place, const char *start)
{
	bool adds = !strcmp(place->command->verb, "add");
	const struct sink_kind *kind;

	if (place->n_arguments == (adds ? 1 : 0) && strcmp(place->command->verb, "list") != 0) {
		if (!adds && strcmp(place->command->verb, "types") != 0)
			offer_sinks(cli, start);
		else
			for (size_t i = 0; i < n_sink_kinds; i++)
				offer(cli, sink_kinds[i].name, start);
		return;
	}
	if (place->n_arguments == 0 || (!adds && strcmp(place->command->verb, "set") != 0))
		return;
	kind = adds ? sink_kind_find(place->arguments[1]) : kind_of_sink(cli, place->arguments[0]);
	for (size_t i = 0; kind && i < kind->n_options; i++)
		offer_sink_option(cli, &kind->options[i], start);
	for (size_t i = 0; kind && i < n_sink_common_options; i++)
		offer_sink_option(cli, &sink_common_options[i], start);
}

/* --- What comes next -------------------------------------------------------------------------- */

static void offer_choices(const struct cli *cli, const char *choices, const char *start)
{
	char *copy = xstrdup(choices), *save = NULL;

	for (char *choice = strtok_r(copy, "|", &save); choice; choice = strtok_r(NULL, "|", &save))
		offer(cli, choice, start);
	free(copy);
}

static void offer_options(
	const struct cli *cli, const struct cli_option *options, const char *start)
{
	for (; options && options->name; options++) {
		char *option = xasprintf("--%s", options->name);

		offer(cli, option, start);
		free(option);
	}
}

static void offer_words(const struct cli *cli, const struct place *place, const char *start)
{
	struct svec words = SVEC_EMPTY_INITIALIZER;
	const char *word;
	size_t i;

	for (const struct cli_command *c = cli_commands; c->noun; c++) {
		if (!place->noun)
			svec_add(&words, c->noun);
		else if (!strcmp(c->noun, place->noun) && c->verb)
			svec_add(&words, c->verb);
	}
	svec_sort_unique(&words);
	SVEC_FOR_EACH (i, word, &words)
		offer(cli, word, start);
	svec_destroy(&words);
}

/* A command's next argument.  Its name is what it is completed by, but for the ports of `port` and
 * the ends of `why`. */
static void offer_argument(struct cli *cli, const struct place *place, const char *start)
{
	const struct cli_command *command = place->command;
	const char *kind = command->arguments ? command->arguments : "";
	char *name;

	if (!strcmp(command->noun, "sink")) {
		offer_sink_argument(cli, place, start);
		return;
	}
	for (size_t i = 0; i < place->n_arguments && *kind; i++) {
		kind += strcspn(kind, " ");
		kind += *kind == ' ';
	}
	if (!strncmp(kind, "SOURCE", 6) || !strncmp(kind, "DESTINATION", 11))
		kind = "PORT";
	if (!strcmp(kind, "NAME") && (!command->verb || strcmp(command->verb, "add")))
		kind = !strcmp(command->noun, "port") ? "PORT" : "NETWORK";
	if (!strcmp(command->noun, "vm") && strcmp(command->verb, "create"))
		kind = place->n_arguments ? "" : "GUEST";
	if (!strcmp(command->noun, "policy") && strspn(kind, "[NM]"))
		kind = "REVISION";
	name = xmemdup0(kind + (*kind == '['), strcspn(kind + (*kind == '['), " ]."));
	offer_names(cli, name, start);
	if (!strcmp(name, "COMMAND"))
		offer_words(cli, &(struct place){0}, start);
	free(name);
}

/* Where the run directory is, as far as the environment says. */
static void read_environment(struct cli *cli)
{
	static char *no_words[] = {"cordon", "version", NULL};
	enum cli_status status = cli_parse(cli, 2, no_words);

	if (status == CLI_OK)
		cli->timeout_ms = COMPLETE_TIMEOUT_MS;
}

enum cli_status cli_complete(struct cli *cli, int argc, char **argv)
{
	const char *start = argc ? argv[argc - 1] : "";
	struct place place = {0};

	read_environment(cli);
	for (int i = 0; i + 1 < argc; i++)
		take_word(&place, argv[i]);
	if (place.awaited && strchr(place.awaited->argument, '|')) {
		offer_choices(cli, place.awaited->argument, start);
	} else if (place.awaited) {
		offer_names(cli, place.awaited->argument, start);
	} else if (*start == '-') {
		offer_options(cli, cli_global_options, start);
		if (place.command)
			offer_options(cli, place.command->options, start);
	} else if (place.command) {
		offer_argument(cli, &place, start);
	} else {
		offer_words(cli, &place, start);
	}
	return CLI_OK;
}
