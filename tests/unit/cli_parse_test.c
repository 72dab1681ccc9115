/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From lines to commands: options anywhere, mistakes and what is said of them, settings from the
 * environment, help and completion, all from the one table of commands.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/cordon.h"
#include "openvswitch/util.h"
#include "openvswitch/vlog.h"
#include "util.h"

enum { WORDS_MAX = 32 };

/* A command line, taken apart at spaces, and what came of it. */
struct run {
	struct cli cli;
	char *line, *words[WORDS_MAX];
	int n;
	char *out, *err;
	size_t out_size, err_size;
	enum cli_status status;
};

static void split(struct run *run, const char *line)
{
	char *save = NULL;

	*run = (struct run){.line = xstrdup(line)};
	for (char *word = strtok_r(run->line, " ", &save); word && run->n + 1 < WORDS_MAX;
		word = strtok_r(NULL, " ", &save))
		run->words[run->n++] = strcmp(word, "''") ? word : word + 2;
	run->cli.out = open_memstream(&run->out, &run->out_size);
	run->cli.err = open_memstream(&run->err, &run->err_size);
	assert_non_null(run->cli.out);
	assert_non_null(run->cli.err);
}

static void parse(struct run *run, const char *line)
{
	split(run, line);
	run->status = cli_parse(&run->cli, run->n, run->words);
	fflush(run->cli.out);
	fflush(run->cli.err);
}

static void end(struct run *run)
{
	fclose(run->cli.out);
	fclose(run->cli.err);
	free(run->out);
	free(run->err);
	cli_destroy(&run->cli);
	free(run->line);
}

/* --- Lines that are right ------------------------------------------------------------------- */

static void test_commands(void **state)
{
	static const struct {
		const char *line, *noun, *verb;
		size_t n_arguments;
	} table[] = {
		{"cordon status", "status", NULL, 0},
		{"cordon port add web1", "port", "add", 1},
		{"cordon port --json list", "port", "list", 0},
		{"cordon --json port list", "port", "list", 0},
		{"cordon -j --timeout 3 port list", "port", "list", 0},
		{"cordon --type vhost port add --tag a=b web1 -n lan", "port", "add", 1},
		{"cordon port --type=vhost add web1", "port", "add", 1},
		{"cordon drops", "drops", NULL, 0},
		{"cordon drops web1", "drops", NULL, 1},
		{"cordon port show -- --odd", "port", "show", 1},
		{"cordon help port add", "help", NULL, 2},
		{"cordon port add --help", "port", "add", 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		struct run run;

		parse(&run, table[i].line);
		if (run.status != CLI_OK)
			fail_msg("%s: %s", table[i].line, run.err);
		assert_string_equal(run.cli.command->noun, table[i].noun);
		if (table[i].verb)
			assert_string_equal(run.cli.command->verb, table[i].verb);
		else
			assert_null(run.cli.command->verb);
		assert_int_equal(run.cli.n_arguments, table[i].n_arguments);
		end(&run);
	}
}

static void test_values(void **state)
{
	struct run run;
	int64_t number = -1;

	(void)state;
	parse(&run, "cordon port add web1 -tvhost --network=lan --mac-limit 5 --tag a --tag b "
		    "--vm-name '' --no-wait --queues -1");
	assert_int_equal(run.status, CLI_OK);
	assert_string_equal(cli_option(&run.cli, "type"), "vhost");
	assert_string_equal(cli_option(&run.cli, "network"), "lan");
	assert_string_equal(cli_option(&run.cli, "tag"), "b"); /* The last one. */
	assert_string_equal(cli_option(&run.cli, "vm-name"), "");
	assert_string_equal(cli_option(&run.cli, "queues"), "-1");
	assert_true(cli_flag(&run.cli, "no-wait"));
	assert_false(cli_flag(&run.cli, "json"));
	assert_null(cli_option(&run.cli, "role"));
	assert_true(cli_option_number(&run.cli, "mac-limit", 0, 10, &number));
	assert_int_equal(number, 5);
	assert_true(cli_option_number(&run.cli, "storm-limit", 0, 10, &number));
	assert_int_equal(number, 5); /* Not given: as it was. */
	assert_false(cli_option_number(&run.cli, "mac-limit", 0, 4, &number));
	fflush(run.cli.err);
	assert_non_null(strstr(run.err, "--mac-limit '5': give a number from 0 to 4"));
	assert_false(cli_option_number(&run.cli, "vm-name", 0, 4, &number));
	end(&run);
}

static void test_synonyms(void **state)
{
	struct run run;

	(void)state;
	parse(&run, "cordon conn list --verdict deny");
	assert_int_equal(run.status, CLI_OK);
	assert_string_equal(cli_option(&run.cli, "verdict"), "denied");
	end(&run);
	parse(&run, "cordon conn list --verdict allowed");
	assert_int_equal(run.status, CLI_OK);
	assert_string_equal(cli_option(&run.cli, "verdict"), "allowed");
	end(&run);
}

/* --- Lines that are wrong ------------------------------------------------------------------- */

static void test_mistakes(void **state)
{
	static const struct {
		const char *line, *words;
	} table[] = {
		{"cordon", "cordon help"},
		{"cordon prot list", "did you mean 'port'?"},
		{"cordon zebra", "use one of: capture, conn"},
		{"cordon port", "add, set, del, list, show"},
		{"cordon port lst", "did you mean 'list'?"},
		{"cordon port list --jsn", "did you mean --json?"},
		{"cordon port add web1 --tpye vhost", "did you mean --type?"},
		{"cordon port list --type vhost", "--type is not known here"},
		{"cordon port list -x", "option -x is not known here"},
		{"cordon port add web1 --type vhots", "did you mean 'vhost'?"},
		{"cordon port add web1 --type", "needs a value"},
		{"cordon port list --json=yes", "takes no value"},
		{"cordon port add", "needs NAME"},
		{"cordon port add web1 web2 --type vhost", "'web2' is one word too many"},
		{"cordon policy show 1 2", "'2' is one word too many"},
		{"cordon status --timeout 0", "from 1 to 86400"},
		{"cordon status --timeout 5x", "--timeout '5x'"},
		{"cordon status --color sometimes", "auto|always|never"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		struct run run;

		parse(&run, table[i].line);
		if (run.status != CLI_USAGE || !strstr(run.err, table[i].words))
			fail_msg("%s: status %d, \"%s\"", table[i].line, run.status, run.err);
		assert_memory_equal(run.err, "cordon: ", 8);
		end(&run);
	}
}

static void test_too_many_options(void **state)
{
	char *line = xstrdup("cordon port list");
	struct run run;

	(void)state;
	for (int i = 0; i < CLI_VALUES_MAX + 1; i++) {
		char *longer = xasprintf("%s -j", line);

		free(line);
		line = longer;
	}
	split(&run, "cordon");
	end(&run);
	run = (struct run){.line = line, .err = NULL};
	run.cli.out = open_memstream(&run.out, &run.out_size);
	run.cli.err = open_memstream(&run.err, &run.err_size);
	char *words[CLI_VALUES_MAX + 8], *save = NULL;
	int n = 0;
	for (char *word = strtok_r(line, " ", &save); word; word = strtok_r(NULL, " ", &save))
		words[n++] = word;
	assert_int_equal(cli_parse(&run.cli, n, words), CLI_USAGE);
	fflush(run.cli.err);
	assert_non_null(strstr(run.err, "more than"));
	end(&run);
}

/* --- Settings ------------------------------------------------------------------------------- */

static void clear_environment(void)
{
	unsetenv("CORDON_RUNDIR");
	unsetenv("CORDON_STATEDIR");
	unsetenv("CORDON_DB");
}

static void check_settings(
	const char *line, const char *run_directory, const char *state_directory, const char *db)
{
	struct run run;

	parse(&run, line);
	assert_int_equal(run.status, CLI_OK);
	assert_string_equal(run.cli.run_directory, run_directory);
	assert_string_equal(run.cli.state_directory, state_directory);
	assert_string_equal(run.cli.database, db);
	end(&run);
}

static void test_settings(void **state)
{
	(void)state;
	clear_environment();
	check_settings(
		"cordon status", "/run/cordon", "/var/lib/cordon", "unix:/run/cordon/db.sock");
	check_settings("cordon status --rundir /r", "/r", "/r/state", "unix:/r/db.sock");
	check_settings("cordon --statedir /s status --rundir /r --db ssl:h:6640", "/r", "/s",
		"ssl:h:6640");
	setenv("CORDON_RUNDIR", "/e", 1);
	check_settings("cordon status", "/e", "/e/state", "unix:/e/db.sock");
	check_settings("cordon status --rundir /r", "/r", "/r/state", "unix:/r/db.sock");
	setenv("CORDON_STATEDIR", "/es", 1);
	setenv("CORDON_DB", "unix:/x", 1);
	check_settings("cordon status", "/e", "/es", "unix:/x");
	check_settings("cordon status --statedir /s --db unix:/y", "/e", "/s", "unix:/y");
	clear_environment();
}

static void test_output_settings(void **state)
{
	struct run run;

	(void)state;
	parse(&run, "cordon status --color always --json --timeout 7 --host far");
	assert_true(run.cli.colour);
	assert_true(run.cli.json);
	assert_int_equal(run.cli.timeout_ms, 7000);
	assert_int_equal(run.cli.width, 0);
	assert_string_equal(run.cli.host, "far");
	end(&run);
	parse(&run, "cordon status");
	assert_false(run.cli.colour); /* A stream in memory is no terminal. */
	assert_false(run.cli.timeout_given);
	assert_true(*run.cli.host);
	end(&run);
}

/* --- Help ----------------------------------------------------------------------------------- */

static void check_help(const char *line, enum cli_status status, const char *words)
{
	struct run run;

	parse(&run, line);
	assert_int_equal(run.status, CLI_OK);
	run.status = cli_help(&run.cli);
	fflush(run.cli.out);
	fflush(run.cli.err);
	if (run.status != status || !strstr(status == CLI_OK ? run.out : run.err, words))
		fail_msg("%s: status %d, \"%s\" \"%s\"", line, run.status, run.out, run.err);
	end(&run);
}

static void test_help(void **state)
{
	(void)state;
	check_help("cordon help", CLI_OK, "policy apply FILE");
	check_help("cordon help port add", CLI_OK, "--spoof-guard on|off");
	check_help("cordon port add --help", CLI_OK, "--spoof-guard on|off");
	check_help("cordon help port", CLI_OK, "port show NAME");
	check_help("cordon help status", CLI_OK, "one screen");
	check_help("cordon help prot", CLI_USAGE, "did you mean 'port'?");
	check_help("cordon help port ad", CLI_USAGE, "did you mean 'port add'?");
	check_help("cordon help zebra", CLI_USAGE, "lists them all");
}

/* Every command has what help and completion need, and no two options of one are the same. */
static void test_table_is_whole(void **state)
{
	(void)state;
	for (const struct cli_command *c = cli_commands; c->noun; c++) {
		assert_non_null(c->run);
		assert_non_null(c->summary);
		for (const struct cli_option *o = c->options; o && o->name; o++) {
			assert_non_null(o->help);
			for (const struct cli_option *g = cli_global_options; g->name; g++) {
				assert_string_not_equal(o->name, g->name);
				assert_true(!o->letter || o->letter != g->letter);
			}
			for (const struct cli_option *p = c->options; p != o; p++) {
				assert_string_not_equal(o->name, p->name);
				assert_true(!o->letter || o->letter != p->letter);
			}
		}
	}
}

/* The manual page, which people write, names every command. */
static void test_manual(void **state)
{
	FILE *file = fopen("cli/cordon.1", "r");
	char *text = NULL;
	size_t size = 0;

	(void)state;
	assert_non_null(file);
	assert_true(getdelim(&text, &size, '\0', file) > 0);
	fclose(file);
	for (const struct cli_command *c = cli_commands; c->noun; c++) {
		char *name = xasprintf(
			"cordon %s%s%s", c->noun, c->verb ? " " : "", c->verb ? c->verb : "");

		if (!strstr(text, name))
			fail_msg("cordon.1 does not name `%s`", name);
		free(name);
	}
	free(text);
}

/* --- Completion ----------------------------------------------------------------------------- */

/* `line` is what stands behind `cordon`; a last word "''" is empty. */
static void check_completion(const char *line, const char *candidates)
{
	struct run run;

	split(&run, line);
	assert_int_equal(cli_complete(&run.cli, run.n, run.words), CLI_OK);
	fflush(run.cli.out);
	if (strcmp(run.out, candidates))
		fail_msg("%s: \"%s\"", line, run.out);
	end(&run);
}

static void test_completion(void **state)
{
	(void)state;
	setenv("CORDON_RUNDIR", "/nonexistent/cordon", 1);
	check_completion("po", "policy\nport\n");
	check_completion("port s", "set\nshow\n");
	check_completion("port ''", "add\ndel\nlist\nset\nshow\n");
	check_completion("--json port d", "del\n");
	check_completion("port add web1 --type ''", "vhost\nkernel\ninternal\ndpdk\n");
	check_completion("port add web1 -t k", "kernel\n");
	check_completion("port add web1 --spoof", "--spoof-guard\n");
	check_completion("port list --st", "--statedir\n");
	check_completion("--color a", "auto\nalways\n");
	check_completion("policy check ''", "<FILE>\n");
	check_completion("policy apply --rundir ''", "<DIR>\n");
	check_completion("help ne", "network\n");
	check_completion("port show ''", ""); /* No database to ask for names. */
	check_completion("zone show ''", "");
	check_completion("tra", "trace\n");
	check_completion(
		"trace web1 --s", "--statedir\n--sctp\n--source-port\n--sequence\n--send\n");
	check_completion("trace web1 --pcap ''", "<FILE>\n");
	check_completion("rule ''", "list\nshow\n");
	check_completion("rule list --unu", "--unused\n--unused-for\n");
	check_completion("log list --sim", "--simulated\n");
	check_completion("log list --simulated ''", "allowed\ndenied\nrejected\n");
	check_completion("log summary --simula", "--simulated\n");
	check_completion("zebra ''", "");
	clear_environment();
}

int main(void)
{
	vlog_set_levels(NULL, VLF_ANY_DESTINATION, VLL_OFF);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_commands),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_synonyms),
		cmocka_unit_test(test_mistakes),
		cmocka_unit_test(test_too_many_options),
		cmocka_unit_test(test_settings),
		cmocka_unit_test(test_output_settings),
		cmocka_unit_test(test_help),
		cmocka_unit_test(test_table_is_whole),
		cmocka_unit_test(test_manual),
		cmocka_unit_test(test_completion),
	};

	return cmocka_run_group_tests_name("cli_parse", tests, NULL, NULL);
}
