/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the words of the line to a `struct cli`: which command, which options with which values,
 * which arguments.  Called once, by main.c.
 *
 * Options may stand anywhere, so the command has to be found first: the first pass picks out the
 * words that are neither options nor options' values, the second reads everything against the
 * command's own options.
 */
#include "cli/cordon.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "openvswitch/dynamic-string.h"
#include "svec.h"
#include "util.h"

enum { TIMEOUT_DEFAULT_S = 10, TIMEOUT_MAX_S = 86400 };

enum cli_status cli_fail(struct cli *cli, enum cli_status status, const char *format, ...)
{
	va_list arguments;

	fflush(cli->out);
	fputs("cordon: ", cli->err);
	va_start(arguments, format);
	vfprintf(cli->err, format, arguments);
	va_end(arguments);
	fputc('\n', cli->err);
	return status;
}

char *cli_keep(struct cli *cli, char *text)
{
	if (!text)
		return NULL;
	cli->kept = xrealloc(cli->kept, (cli->n_kept + 1) * sizeof(*cli->kept));
	cli->kept[cli->n_kept++] = text;
	return text;
}

void cli_destroy(struct cli *cli)
{
	for (size_t i = 0; i < cli->n_kept; i++)
		free(cli->kept[i]);
	free(cli->kept);
	free(cli->arguments);
}

const char *cli_option(const struct cli *cli, const char *name)
{
	for (size_t i = cli->n_values; i-- > 0;) {
		if (!strcmp(cli->values[i].option->name, name))
			return cli->values[i].value;
	}
	return NULL;
}

bool cli_flag(const struct cli *cli, const char *name)
{
	return cli_option(cli, name) != NULL;
}

bool cli_option_number(
	struct cli *cli, const char *name, int64_t minimum, int64_t maximum, int64_t *value)
{
	const char *text = cli_option(cli, name);
	long long int number;
	char *end;

	if (!text)
		return true;
	errno = 0;
	number = strtoll(text, &end, 10);
	if (!*text || *end || errno || number < minimum || number > maximum) {
		cli_fail(cli, CLI_USAGE, "--%s '%s': give a number from %lld to %lld", name, text,
			(long long int)minimum, (long long int)maximum);
		return false;
	}
	*value = number;
	return true;
}

/* --- Options -------------------------------------------------------------------------------- */

/* An option as it stands in the line: "--name", "--name=value", "-l", "-lvalue". */
struct word {
	char *name;	   /* Without dashes; owned. */
	const char *value; /* What is attached to it, or NULL. */
	bool is_letter;
};

/* False if the text is no option. */
static bool split_option(const char *text, struct word *word)
{
	const char *equals;

	if (text[0] != '-' || !text[1])
		return false;
	word->is_letter = text[1] != '-';
	if (word->is_letter) {
		word->name = xmemdup0(text + 1, 1);
		word->value = text[2] ? text + 2 : NULL;
		return true;
	}
	equals = strchr(text, '=');
	word->name = equals ? xmemdup0(text + 2, equals - text - 2) : xstrdup(text + 2);
	word->value = equals ? equals + 1 : NULL;
	return true;
}

static const struct cli_option *find_in(const struct cli_option *options, const struct word *word)
{
	for (; options && options->name; options++) {
		if (word->is_letter ? options->letter == *word->name
				    : !strcmp(options->name, word->name))
			return options;
	}
	return NULL;
}

/* The option, of `command` if it is known, else of any command. */
static const struct cli_option *find_option(
	const struct cli_command *command, const struct word *word)
{
	const struct cli_option *option = find_in(cli_global_options, word);

	if (option)
		return option;
	if (command)
		return find_in(command->options, word);
	for (command = cli_commands; command->noun && !option; command++)
		option = find_in(command->options, word);
	return option;
}

static enum cli_status say_unknown_option(struct cli *cli, const struct word *word)
{
	const struct cli_command *command = cli->command;
	struct svec names = SVEC_EMPTY_INITIALIZER;
	const char *guess;

	for (const struct cli_option *o = cli_global_options; o->name; o++)
		svec_add(&names, o->name);
	for (const struct cli_option *o = command->options; o && o->name; o++)
		svec_add(&names, o->name);
	svec_terminate(&names);
	guess = word->is_letter ? NULL
				: cli_did_you_mean(word->name, (const char *const *)names.names);
	cli_fail(cli, CLI_USAGE, "option %s%s is not known here%s%s%s; see `cordon help %s%s%s`",
		word->is_letter ? "-" : "--", word->name, guess ? "; did you mean --" : "",
		guess ? guess : "", guess ? "?" : "", command->noun, command->verb ? " " : "",
		command->verb ? command->verb : "");
	svec_destroy(&names);
	return CLI_USAGE;
}

/* A rule says allow, a record says allowed: whoever says one for the other is understood. */
static const char *synonym(const char *value)
{
	static const char *const pairs[][2] = {
		{"allow", "allowed"},
		{"deny", "denied"},
		{"reject", "rejected"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
		for (size_t j = 0; j < 2; j++) {
			if (!strcmp(value, pairs[i][j]))
				return pairs[i][!j];
		}
	}
	return "";
}

/* Checks *value against "a|b|c", and makes it the one of these that is meant. */
static bool check_choice(struct cli *cli, const struct cli_option *option, const char **value)
{
	struct svec choices = SVEC_EMPTY_INITIALIZER;
	const char *guess;
	char *copy, *save = NULL;
	bool found;

	if (!strchr(option->argument, '|'))
		return true;
	copy = xstrdup(option->argument);
	for (char *choice = strtok_r(copy, "|", &save); choice; choice = strtok_r(NULL, "|", &save))
		svec_add(&choices, choice);
	svec_terminate(&choices);
	if (svec_contains_unsorted(&choices, synonym(*value)))
		*value = synonym(*value);
	found = svec_contains_unsorted(&choices, *value);
	guess = found ? NULL : cli_did_you_mean(*value, (const char *const *)choices.names);
	if (!found)
		cli_fail(cli, CLI_USAGE, "--%s '%s': use one of %s%s%s%s", option->name, *value,
			option->argument, guess ? "; did you mean '" : "", guess ? guess : "",
			guess ? "'?" : "");
	svec_destroy(&choices);
	free(copy);
	return found;
}

/* Reads the option at argv[*i], and moves *i past its value if that is the next word. */
static enum cli_status read_option(
	struct cli *cli, int argc, char **argv, int *i, const struct word *word)
{
	const struct cli_option *option = find_option(cli->command, word);
	const char *value = word->value;

	if (!option)
		return say_unknown_option(cli, word);
	if (!option->argument && value)
		return cli_fail(cli, CLI_USAGE, "option --%s takes no value; leave out '%s'",
			option->name, value);
	if (option->argument && !value) {
		if (*i + 1 >= argc)
			return cli_fail(cli, CLI_USAGE, "option --%s needs a value: --%s %s",
				option->name, option->name, option->argument);
		value = argv[++*i];
	}
	if (cli->n_values == CLI_VALUES_MAX)
		return cli_fail(
			cli, CLI_USAGE, "more than %d options; leave some out", CLI_VALUES_MAX);
	if (option->argument && !check_choice(cli, option, &value))
		return CLI_USAGE;
	cli->values[cli->n_values++] = (struct cli_value){option, value ? value : ""};
	return CLI_OK;
}

/* --- Which command -------------------------------------------------------------------------- */

/* The first two words that are neither options nor values of options. */
static size_t find_words(int argc, char **argv, const char *words[2])
{
	size_t n = 0;

	for (int i = 1; i < argc && n < 2; i++) {
		const struct cli_option *option;
		struct word word;

		if (!strcmp(argv[i], "--"))
			continue;
		if (!split_option(argv[i], &word)) {
			words[n++] = argv[i];
			continue;
		}
		option = find_option(NULL, &word);
		if (option && option->argument && !word.value)
			i++;
		free(word.name);
	}
	return n;
}

/* The names of the verbs of a noun, or of all nouns for NULL, ended by NULL. */
static void list_names(const char *noun, struct svec *names)
{
	for (const struct cli_command *c = cli_commands; c->noun; c++) {
		if (!noun)
			svec_add(names, c->noun);
		else if (!strcmp(c->noun, noun))
			svec_add(names, c->verb);
	}
	if (!noun)
		svec_sort_unique(names);
	svec_terminate(names);
}

/* `word` is no verb of `noun`, or no noun if that is NULL.  A NULL word: none was given. */
static enum cli_status say_unknown_word(struct cli *cli, const char *noun, const char *word)
{
	struct svec names = SVEC_EMPTY_INITIALIZER;
	const char *of = noun ? " of a " : "";
	const char *guess;
	char *known;

	list_names(noun, &names);
	known = svec_join(&names, ", ", "");
	guess = word ? cli_did_you_mean(word, (const char *const *)names.names) : NULL;
	noun = noun ? noun : "";
	if (!word)
		cli_fail(cli, CLI_USAGE, "say what to do with a %s: %s", noun, known);
	else if (guess)
		cli_fail(cli, CLI_USAGE, "'%s' is not known%s%s; did you mean '%s'?", word, of,
			noun, guess);
	else
		cli_fail(cli, CLI_USAGE, "'%s' is not known%s%s; use one of: %s", word, of, noun,
			known);
	free(known);
	svec_destroy(&names);
	return CLI_USAGE;
}

static enum cli_status find_command(struct cli *cli, int argc, char **argv)
{
	const char *words[2];
	size_t n = find_words(argc, argv, words);
	bool has_noun = false;

	for (const struct cli_command *c = cli_commands; n && c->noun; c++) {
		if (strcmp(c->noun, words[0]))
			continue;
		has_noun = true;
		if (!c->verb || (n > 1 && !strcmp(c->verb, words[1]))) {
			cli->command = c;
			return CLI_OK;
		}
	}
	if (!n)
		return cli_fail(cli, CLI_USAGE,
			"say what to do, e.g. `cordon status`; `cordon help` lists all commands");
	if (has_noun)
		return say_unknown_word(cli, words[0], n > 1 ? words[1] : NULL);
	return say_unknown_word(cli, NULL, words[0]);
}

/* --- Arguments ------------------------------------------------------------------------------ */

/* Counts against "NAME [WHY] [KEY=VALUE...]". */
static enum cli_status check_arguments(struct cli *cli)
{
	const struct cli_command *command = cli->command;
	const char *spec = command->arguments ? command->arguments : "";
	bool endless = strstr(spec, "...") != NULL;
	char *copy = xstrdup(spec), *save = NULL;
	const char *missing = NULL;
	size_t minimum = 0, maximum = 0;

	for (char *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		maximum++;
		if (*word == '[')
			continue;
		if (minimum++ == cli->n_arguments)
			missing = command->arguments + (word - copy);
	}
	free(copy);
	if (missing)
		return cli_fail(cli, CLI_USAGE,
			"`cordon %s%s%s` needs %.*s; see `cordon help %s%s%s`", command->noun,
			command->verb ? " " : "", command->verb ? command->verb : "",
			(int)strcspn(missing, " "), missing, command->noun,
			command->verb ? " " : "", command->verb ? command->verb : "");
	if (!endless && cli->n_arguments > maximum)
		return cli_fail(cli, CLI_USAGE,
			"'%s' is one word too many; see `cordon help %s%s%s`",
			cli->arguments[maximum], command->noun, command->verb ? " " : "",
			command->verb ? command->verb : "");
	return CLI_OK;
}

static enum cli_status read_words(struct cli *cli, int argc, char **argv)
{
	size_t skip = cli->command->verb ? 2 : 1; /* The noun and the verb themselves. */
	bool only_arguments = false;

	cli->arguments = xcalloc(argc, sizeof(*cli->arguments));
	for (int i = 1; i < argc; i++) {
		enum cli_status status;
		struct word word;

		if (!only_arguments && !strcmp(argv[i], "--")) {
			only_arguments = true;
		} else if (!only_arguments && split_option(argv[i], &word)) {
			status = read_option(cli, argc, argv, &i, &word);
			free(word.name);
			if (status != CLI_OK)
				return status;
		} else if (skip) {
			skip--;
		} else {
			cli->arguments[cli->n_arguments++] = argv[i];
		}
	}
	return CLI_OK;
}

/* --- What holds for all commands ------------------------------------------------------------ */

/* The option, else the environment variable, else the default. */
static const char *setting(
	const struct cli *cli, const char *name, const char *variable, const char *standard)
{
	const char *value = cli_option(cli, name);

	if (!value && variable)
		value = getenv(variable);
	return value && *value ? value : standard;
}

/* Daemons do not stay in our working directory: what is relative to it is made absolute. */
static const char *directory_setting(
	struct cli *cli, const char *name, const char *variable, const char *standard)
{
	const char *value = setting(cli, name, variable, standard);
	const char *absolute = cli_keep(cli, abs_file_name(NULL, value));

	return absolute ? absolute : value; /* The working directory may be gone. */
}

static const char *host_name(struct cli *cli)
{
	char name[256] = "";

	if (gethostname(name, sizeof(name) - 1) || !*name)
		return "localhost";
	return cli_keep(cli, xstrdup(name));
}

static int terminal_width(FILE *out)
{
	struct winsize size;
	const char *columns;

	if (!isatty(fileno(out)))
		return 0;
	if (!ioctl(fileno(out), TIOCGWINSZ, &size) && size.ws_col)
		return size.ws_col;
	columns = getenv("COLUMNS");
	return columns && atoi(columns) > 0 ? atoi(columns) : 80;
}

static bool use_colour(const struct cli *cli)
{
	const char *when = cli_option(cli, "color");
	const char *none = getenv("NO_COLOR"), *terminal = getenv("TERM");

	if (when && strcmp(when, "auto"))
		return !strcmp(when, "always");
	return isatty(fileno(cli->out)) && !(none && *none) &&
	       !(terminal && !strcmp(terminal, "dumb"));
}

static enum cli_status read_settings(struct cli *cli)
{
	static const char standard[] = "/run/cordon";
	const char *state, *database;
	int64_t timeout_s = TIMEOUT_DEFAULT_S;

	if (!cli_option_number(cli, "timeout", 1, TIMEOUT_MAX_S, &timeout_s))
		return CLI_USAGE;
	cli->timeout_given = cli_flag(cli, "timeout");
	cli->timeout_ms = timeout_s * 1000;
	cli->run_directory = directory_setting(cli, "rundir", "CORDON_RUNDIR", standard);
	state = strcmp(cli->run_directory, standard)
			? cli_keep(cli, xasprintf("%s/state", cli->run_directory))
			: "/var/lib/cordon";
	cli->state_directory = directory_setting(cli, "statedir", "CORDON_STATEDIR", state);
	database = cli_keep(cli, xasprintf("unix:%s/db.sock", cli->run_directory));
	cli->database = setting(cli, "db", "CORDON_DB", database);
	cli->host = setting(cli, "host", NULL, NULL);
	if (!cli->host)
		cli->host = host_name(cli);
	cli->json = cli_flag(cli, "json");
	cli->csv = cli_flag(cli, "csv");
	if (cli->json && cli->csv)
		return cli_fail(cli, CLI_USAGE, "--json and --csv are two answers: choose one");
	cli->colour = use_colour(cli);
	cli->width = terminal_width(cli->out);
	return CLI_OK;
}

enum cli_status cli_parse(struct cli *cli, int argc, char **argv)
{
	enum cli_status status = find_command(cli, argc, argv);

	if (status == CLI_OK)
		status = read_words(cli, argc, argv);
	if (status == CLI_OK)
		status = read_settings(cli);
	if (status == CLI_OK && !cli_flag(cli, "help"))
		status = check_arguments(cli);
	return status;
}
