/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The umbrella header of `cordon`, the command line.
 *
 * One table (commands.c) lists every command with its noun, verb, arguments, options and help;
 * usage, help and completion are all made from it.  A command is one function in the file of its
 * noun.  It is given a `struct cli` that holds what the line said, and returns an exit status.
 *
 *      main.c -> parse.c (commands.c) -> port.c, conn.c, log.c, ... -> table.c -> terminal.c
 *
 * One thread, one command per process.  What a command shows is always made as JSON first: printed
 * as it is for `--json`, else shown through a table's columns.  So both say the same.
 */
#ifndef CLI_CORDON_H
#define CLI_CORDON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "openvswitch/json.h"

#include "controller/model.h"

/* Exit statuses; cordon.1 documents them. */
enum cli_status {
	CLI_OK,
	CLI_FAILED,	 /* It was tried and failed. */
	CLI_USAGE,	 /* The line makes no sense. */
	CLI_NOT_FOUND,	 /* No port, zone, revision... of that name. */
	CLI_NOT_RUNNING, /* The switch or the database does not answer. */
	CLI_CONFLICT,	 /* It exists already, or somebody else changed it meanwhile. */
	CLI_INVALID,	 /* What it says makes no sense, e.g. a policy with errors. */
	CLI_TIMEOUT,	 /* Asked for, but not confirmed in time. */
};

/* --- Commands and their options ------------------------------------------------------------- */

/* One option.  An array of them ends with a row of NULLs. */
struct cli_option {
	const char *name;     /* Without "--". */
	char letter;	      /* 'm' for "-m"; 0: none. */
	const char *argument; /* NULL: a flag.  "a|b|c": one of these, checked by the parser.  Else
			       * what it stands for; PORT, ZONE, NETWORK, ADDRESS, MAC, FILE, DIR
			       * are completed. */
	const char *help;     /* A few words, no full stop. */
};

struct cli;

struct cli_command {
	const char *noun, *verb; /* verb is NULL for `cordon status` and the like. */
	const char *arguments;	 /* "NAME [WHY] [KEY=VALUE...]"; the parser counts by it. */
	enum cli_status (*run)(struct cli *cli);
	const struct cli_option *options; /* NULL: none of its own. */
	const char *summary;		  /* One line. */
	const char *help; /* Paragraphs and examples for `cordon help`; NULL: the summary does. */
};

extern const struct cli_command cli_commands[]; /* Ends with a row of NULLs. */
extern const struct cli_option cli_global_options[];

enum { CLI_VALUES_MAX = 48 };

/* An option as given. */
struct cli_value {
	const struct cli_option *option;
	const char *value; /* "" for a flag. */
};

/* What the line and the environment say.  Strings live until cli_destroy(). */
struct cli {
	const struct cli_command *command;
	const char *run_directory, *state_directory;
	const char *database; /* An OVSDB remote: "unix:/run/cordon/db.sock". */
	const char *host;     /* Which host's ports are meant. */
	bool json, csv, colour;
	int width; /* Columns of the terminal; 0: not one, so nothing is shortened. */
	unsigned int timeout_ms;
	bool timeout_given;
	char **arguments; /* What is no option. */
	size_t n_arguments;
	struct cli_value values[CLI_VALUES_MAX];
	size_t n_values;
	FILE *out, *err;
	char **kept; /* What cli_destroy() frees. */
	size_t n_kept;
};

/* Takes `text` over until the end, and returns it.  NULL is kept as NULL. */
char *cli_keep(struct cli *cli, char *text);

/* Frees what belongs to *cli, but neither *cli itself nor its streams. */
void cli_destroy(struct cli *cli);

/* The value of option `name`: NULL if not given, "" for a flag.  The last one given counts. */
const char *cli_option(const struct cli *cli, const char *name);
bool cli_flag(const struct cli *cli, const char *name);

/* Reads option `name` as a number within [minimum, maximum] into *value, which keeps its content if
 * the option was not given.  False, after a message to the person, if it is no such number. */
bool cli_option_number(
	struct cli *cli, const char *name, int64_t minimum, int64_t maximum, int64_t *value);

/* Says "cordon: MESSAGE" on the error stream and returns `status`. */
enum cli_status cli_fail(struct cli *cli, enum cli_status status, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
enum cli_status cli_fail_model(struct cli *cli, const struct model_error *error);

/* Where the log's files are: STATEDIR/log.  Caller frees. */
char *cli_log_directory(const struct cli *cli);

/* Prints `json` on the output, with a newline, and frees it.  The whole answer for --json. */
enum cli_status cli_print_json(struct cli *cli, struct json *json);

/* --- Tables --------------------------------------------------------------------------------- */

/* How a value is shown.  With CLI_AUTO, numbers stand right, lists are joined with commas. */
enum cli_format {
	CLI_AUTO,
	CLI_COUNT, /* 1,234,567. */
	CLI_BYTES, /* 1.2 MiB. */
	CLI_AGE,   /* Seconds, as "5s", "3m12s", "2d4h". */
	CLI_TIME,  /* Nanoseconds since 1970, as local time with milliseconds. */
	CLI_STATE, /* A word whose colour says whether it is good: allow, up, denied, error... */
};

/* A column: a view of one member of each row, which is a JSON object. */
struct cli_column {
	const char *title; /* "RX packets". */
	const char *key;   /* The member.  A row that lacks it has an empty cell. */
	enum cli_format format;
	/* Where the terminal is too narrow, columns of the highest number are shortened (to
	 * `minimum` characters; 0: 6) and then left out first; 0 is neither.  Numbers are never
	 * shortened. */
	unsigned int priority, minimum;
	/* Makes the text from the whole row instead of from `key`; caller frees.  May be NULL. */
	char *(*text)(const struct json *row);
};

/* A table under way. */
struct cli_table;

struct cli_table *cli_table_create(
	struct cli *cli, const struct cli_column *columns, size_t n_columns);

/* Adds a row, an object, which the table then owns. */
void cli_table_add(struct cli_table *table, struct json *row);

/* For output that goes on for ever: prints the rows added since the last time, under a heading the
 * first time, with --json as one object a line, with --csv (where a command has it) as one line of
 * values.  Call it after each batch.  Ends the process if nobody reads the output any more. */
void cli_table_flush(struct cli_table *table);

/* Prints all rows (with --json: an array, unless rows were flushed before) and frees the table.
 * `none` is said instead of an empty table, e.g. "No connections."; NULL: only the heading. */
enum cli_status cli_table_finish(struct cli_table *table, const char *none);

/* All of it in one: an array of objects, which is freed. */
enum cli_status cli_print_table(struct cli *cli, const struct cli_column *columns, size_t n_columns,
	struct json *rows, const char *none);

/* The text of a row's cell, never NULL and without control characters; the caller frees. */
char *cli_cell_text(const struct cli_column *column, const struct json *row);

/* True if it is a number, which stands right. */
bool cli_cell_stands_right(const struct cli_column *column, const struct json *row);

/* For what is shown as "title  value", a line each: prints member `key` of an object, or nothing if
 * it is missing or empty. */
void cli_print_member(struct cli *cli, const struct json *object, const char *title,
	const char *key, enum cli_format format);

/* Members of JSON objects, with a default for what is not there or of another type. */
const char *cli_json_text(const struct json *object, const char *name); /* "" */
int64_t cli_json_number(const struct json *object, const char *name);	/* 0 */
bool cli_json_true(const struct json *object, const char *name);
const struct json *cli_json_member(const struct json *object, const char *name); /* NULL */

/* Sorts an array of objects by a member, numbers by value and texts as people count ("p2", "p10");
 * equal ones stay in their order. */
void cli_json_sort(struct json *array, const char *name);

/* The same for numbers, the highest first. */
void cli_json_sort_most(struct json *array, const char *name);

/* Drops all but the first `n`; 0: keeps all. */
void cli_json_keep(struct json *array, size_t n);

/* --- Text for people ------------------------------------------------------------------------ */

enum { CLI_TEXT_MAX = 40 };
const char *cli_format_count(uint64_t count, char text[CLI_TEXT_MAX]);
const char *cli_format_bytes(uint64_t bytes, char text[CLI_TEXT_MAX]);
const char *cli_format_age(uint64_t seconds, char text[CLI_TEXT_MAX]);
const char *cli_format_time(uint64_t time_ns, char text[CLI_TEXT_MAX]);

enum cli_colour { CLI_PLAIN, CLI_GREEN, CLI_RED, CLI_YELLOW, CLI_DIM, CLI_BOLD };
const char *cli_colour_start(const struct cli *cli, enum cli_colour colour);
const char *cli_colour_end(const struct cli *cli);
/* The colour of a word such as "up", "denied" or "ESTABLISHED". */
enum cli_colour cli_colour_of(const char *word);

/* Width of UTF-8 text in characters (not bytes); continuation bytes do not count. */
size_t cli_text_width(const char *text);

/* Of `candidates` (ended by NULL), the one that `word` was probably meant to be, or NULL. */
const char *cli_did_you_mean(const char *word, const char *const *candidates);

/* --- The switch and the database ------------------------------------------------------------ */

/* Opens the model, or says why not and returns NULL with the exit status in *status. */
struct model *cli_model(struct cli *cli, enum cli_status *status);

/* Asks cordon-hostd likewise, always quietly; `word` is the command's argument, or NULL. */
struct json *cli_ask_hostd(struct cli *cli, const char *command, const char *word);

/* Asks cordon-switchd `command` with `n` words.  Returns its JSON answer, which the caller frees.
 * On failure: NULL, with the reason said, unless `quiet`, and the exit status in *status. */
struct json *cli_ask_switch(struct cli *cli, bool quiet, enum cli_status *status,
	const char *command, size_t n, const char *const *words);

/* --- parse.c, commands.c: from a line to a command ------------------------------------------ */

/* Reads the line and the environment into *cli.  Not CLI_OK: the reason was said. */
enum cli_status cli_parse(struct cli *cli, int argc, char **argv);

/* --- The commands, by noun ------------------------------------------------------------------ */

enum cli_status cli_up(struct cli *cli);
enum cli_status cli_down(struct cli *cli);
enum cli_status cli_show_status(struct cli *cli);
enum cli_status cli_port_add(struct cli *cli);
enum cli_status cli_port_set(struct cli *cli);
enum cli_status cli_port_delete(struct cli *cli);
enum cli_status cli_port_list(struct cli *cli);
enum cli_status cli_port_show(struct cli *cli);
enum cli_status cli_network_add(struct cli *cli);
enum cli_status cli_network_delete(struct cli *cli);
enum cli_status cli_network_list(struct cli *cli);
enum cli_status cli_zone_list(struct cli *cli);
enum cli_status cli_zone_show(struct cli *cli);
enum cli_status cli_limit_list(struct cli *cli);
enum cli_status cli_policy_check(struct cli *cli);
enum cli_status cli_policy_plan(struct cli *cli);
enum cli_status cli_policy_apply(struct cli *cli);
enum cli_status cli_policy_diff(struct cli *cli);
enum cli_status cli_policy_confirm(struct cli *cli);
enum cli_status cli_policy_rollback(struct cli *cli);
enum cli_status cli_policy_show(struct cli *cli);
enum cli_status cli_policy_history(struct cli *cli);
enum cli_status cli_why(struct cli *cli);
enum cli_status cli_rule_list(struct cli *cli);
enum cli_status cli_rule_show(struct cli *cli);
enum cli_status cli_conn_list(struct cli *cli);
enum cli_status cli_conn_show(struct cli *cli);
enum cli_status cli_conn_flush(struct cli *cli);
enum cli_status cli_log_list(struct cli *cli);
enum cli_status cli_log_follow(struct cli *cli);
enum cli_status cli_log_summary(struct cli *cli);
enum cli_status cli_log_denied(struct cli *cli);
enum cli_status cli_log_talks(struct cli *cli);
enum cli_status cli_log_matrix(struct cli *cli);
enum cli_status cli_log_top(struct cli *cli);
enum cli_status cli_log_new(struct cli *cli);
enum cli_status cli_log_spoofed(struct cli *cli);
enum cli_status cli_log_simulated(struct cli *cli);
enum cli_status cli_log_gaps(struct cli *cli);
enum cli_status cli_log_compare(struct cli *cli);
enum cli_status cli_log_suggest(struct cli *cli);
enum cli_status cli_report(struct cli *cli);
enum cli_status cli_sink_add(struct cli *cli);
enum cli_status cli_sink_set(struct cli *cli);
enum cli_status cli_sink_delete(struct cli *cli);
enum cli_status cli_sink_list(struct cli *cli);
enum cli_status cli_sink_show(struct cli *cli);
enum cli_status cli_sink_types(struct cli *cli);
enum cli_status cli_vm_create(struct cli *cli);
enum cli_status cli_vm_set(struct cli *cli);
enum cli_status cli_vm_delete(struct cli *cli);
enum cli_status cli_vm_start(struct cli *cli);
enum cli_status cli_vm_stop(struct cli *cli);
enum cli_status cli_vm_pause(struct cli *cli);
enum cli_status cli_vm_resume(struct cli *cli);
enum cli_status cli_vm_balloon(struct cli *cli);
enum cli_status cli_vm_list(struct cli *cli);
enum cli_status cli_vm_show(struct cli *cli);
enum cli_status cli_vm_console(struct cli *cli);
enum cli_status cli_vm_stats(struct cli *cli);
enum cli_status cli_mac_list(struct cli *cli);
enum cli_status cli_drops(struct cli *cli);
enum cli_status cli_trace(struct cli *cli);
enum cli_status cli_capture(struct cli *cli);
enum cli_status cli_worker_list(struct cli *cli);
enum cli_status cli_version(struct cli *cli);
enum cli_status cli_help(struct cli *cli);
enum cli_status cli_complete(struct cli *cli, int argc, char **argv);

/* Their options. */
extern const struct cli_option cli_up_options[], cli_down_options[];
extern const struct cli_option cli_port_add_options[], cli_port_set_options[];
extern const struct cli_option cli_port_list_options[];
extern const struct cli_option cli_network_add_options[];
extern const struct cli_option cli_limit_list_options[];
extern const struct cli_option cli_policy_apply_options[], cli_policy_rollback_options[];
extern const struct cli_option cli_policy_plan_options[], cli_why_options[];
extern const struct cli_option cli_rule_list_options[];
extern const struct cli_option cli_conn_list_options[], cli_conn_flush_options[];
extern const struct cli_option cli_log_list_options[], cli_log_follow_options[];
extern const struct cli_option cli_log_summary_options[], cli_log_denied_options[];
extern const struct cli_option cli_log_talks_options[], cli_log_matrix_options[];
extern const struct cli_option cli_log_top_options[], cli_log_new_options[];
extern const struct cli_option cli_log_spoofed_options[], cli_log_simulated_options[];
extern const struct cli_option cli_log_gaps_options[], cli_log_compare_options[];
extern const struct cli_option cli_log_suggest_options[], cli_report_options[];
extern const struct cli_option cli_vm_create_options[], cli_vm_set_options[];
extern const struct cli_option cli_vm_start_options[], cli_vm_stop_options[];
extern const struct cli_option cli_vm_delete_options[], cli_vm_list_options[];
extern const struct cli_option cli_vm_console_options[];
extern const struct cli_option cli_drops_options[], cli_trace_options[];
extern const struct cli_option cli_capture_options[];

#endif
