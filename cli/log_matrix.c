/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cordon log matrix`: which zones talk to which; what was allowed by a rule, what only by a
 * default ("unprotected"), what was refused.  Called by main.c and by the report, on their one
 * thread.
 */
#include "cli/log.h"

#include <stdlib.h>
#include <string.h>

#include "openvswitch/dynamic-string.h"
#include "openvswitch/shash.h"
#include "svec.h"
#include "util.h"

const struct cli_option cli_log_matrix_options[] = {
	CLI_LOG_FILTERS,
	CLI_LOG_SPAN,
	{"rows", 0, NULL, "a line for each pair instead of a matrix"},
	{"limit", 'n', "N", "at most so many pairs, the busiest (all)"},
	{0},
};

/* --- Rows ----------------------------------------------------------------------------------- */

static void add_to(struct json *row, const char *name, uint64_t number)
{
	cli_log_put_number(row, name, (uint64_t)cli_json_number(row, name) + number);
}

static struct json *make_row(const struct log_flow *flow)
{
	static const char *const counts[] = {
		"allowed", "unprotected", "denied", "total", "packets", "bytes"};
	struct json *row = json_object_create();

	json_object_put(row, "source_zone",
		json_string_create_nocopy(cli_log_clean_text(flow->source.zone)));
	json_object_put(row, "destination_zone",
		json_string_create_nocopy(cli_log_clean_text(flow->destination.zone)));
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
		cli_log_put_number(row, counts[i], 0);
	return row;
}

static void put_span(struct json *row, const struct log_flow_counts *counts)
{
	uint64_t first_ns = (uint64_t)cli_json_number(row, "first_ns");
	uint64_t last_ns = (uint64_t)cli_json_number(row, "last_ns");

	if (!first_ns || counts->first_ns < first_ns)
		first_ns = counts->first_ns;
	last_ns = MAX(last_ns, counts->last_ns);
	cli_log_put_number(row, "first_ns", first_ns);
	cli_log_put_time(row, "first", first_ns);
	cli_log_put_number(row, "last_ns", last_ns);
	cli_log_put_time(row, "last", last_ns);
}

struct pairs {
	struct cli_log_answer *answer;
	struct shash by_name; /* Rows, which the answer owns. */
};

static bool add_flow(const struct log_flow *flow, void *context)
{
	struct pairs *pairs = context;
	const struct log_flow_counts *counts = &flow->counts;
	uint64_t connections = log_flow_connections(counts);
	bool is_default = !strcmp(flow->policy, "baseline");
	char *key = xasprintf("%s\n%s", flow->source.zone, flow->destination.zone);
	struct json *row = shash_find_data(&pairs->by_name, key);

	if (!row && connections + counts->refused) {
		row = make_row(flow);
		shash_add(&pairs->by_name, key, row);
		json_array_add(pairs->answer->rows, row);
	}
	free(key);
	if (!row)
		return true;
	add_to(row, is_default ? "unprotected" : "allowed", connections);
	add_to(row, "denied", counts->refused);
	add_to(row, "total", connections + counts->refused);
	add_to(row, "packets", counts->packets_forward + counts->packets_reverse);
	add_to(row, "bytes", counts->bytes_forward + counts->bytes_reverse);
	put_span(row, counts);
	return true;
}

void cli_log_matrix_rows(struct cli_log_answer *answer)
{
	struct pairs pairs = {answer, SHASH_INITIALIZER(&pairs.by_name)};
	struct log_flow_query query = {
		.filter = answer->query.filter,
		.by = LOG_FLOW_SOURCE_ZONE | LOG_FLOW_DESTINATION_ZONE | LOG_FLOW_RULE,
	};

	cli_log_answer_ask(answer, &query, add_flow, &pairs);
	shash_destroy(&pairs.by_name);
	cli_json_sort(answer->rows, "destination_zone");
	cli_json_sort(answer->rows, "source_zone");
	cli_json_sort_most(answer->rows, "total");
}

/* --- What left no record -------------------------------------------------------------------- */

static bool has_record(const struct json *rows, const char *pair)
{
	for (size_t i = 0; i < rows->array.n; i++) {
		const struct json *row = rows->array.elems[i];
		char *name = xasprintf("%s->%s", cli_json_text(row, "source_zone"),
			cli_json_text(row, "destination_zone"));
		bool found = !strcmp(name, pair) && cli_json_number(row, "unprotected");

		free(name);
		if (found)
			return true;
	}
	return false;
}

/* The switch counts what each pair of zones does, and when last; not by whom, nor at what time. */
static bool asks_for_more_than_counts(const struct cli_log_answer *answer)
{
	const struct log_filter *filter = &answer->query.filter;

	return cli_option(answer->cli, "until") || filter->vm || filter->port || filter->prefix ||
	       filter->rule || filter->kind >= 0 || filter->verdict >= 0 || filter->protocol >= 0 ||
	       filter->transport_port >= 0 || filter->simulated >= 0;
}

/* True if a zone is one of a pair's, which is "FROM->TO". */
static bool is_of_pair(const char *zone, const char *pair)
{
	const char *arrow = strstr(pair, "->");

	return arrow &&
	       ((strlen(zone) == (size_t)(arrow - pair) && !strncmp(pair, zone, strlen(zone))) ||
		       !strcmp(arrow + 2, zone));
}

/* The baseline logs refusals unless it is told otherwise; so what it lets pass would be missing
 * here without a word.  The switch counts it. */
char *cli_log_matrix_unlogged(struct cli_log_answer *answer)
{
	const struct log_filter *filter = &answer->query.filter;
	const char *words[] = {"policy=baseline"};
	struct ds text = DS_EMPTY_INITIALIZER;
	enum cli_status status;
	struct json *hits;
	char count[CLI_TEXT_MAX];

	if (cli_option(answer->cli, "directory") || asks_for_more_than_counts(answer))
		return NULL;
	hits = cli_ask_switch(answer->cli, true, &status, "cordon/rule-hits", 1, words);
	for (size_t i = 0; hits && hits->type == JSON_ARRAY && i < hits->array.n; i++) {
		const struct json *hit = hits->array.elems[i];
		int64_t n = cli_json_number(hit, "connections");

		if (strcmp(cli_json_text(hit, "action"), "allow") || !n ||
			(uint64_t)cli_json_number(hit, "last_ns") < filter->since_ns ||
			(filter->zone && !is_of_pair(filter->zone, cli_json_text(hit, "rule"))) ||
			has_record(answer->rows, cli_json_text(hit, "rule")))
			continue;
		ds_put_format(&text, "%s%s (%s)", text.length ? ", " : "",
			cli_json_text(hit, "rule"), cli_format_count((uint64_t)n, count));
	}
	json_destroy(hits);
	return text.string ? ds_steal_cstr(&text) : NULL;
}

static void say_unlogged(struct cli *cli, char *pairs)
{
	if (pairs)
		fprintf(cli->err,
			"Unprotected too, as the switch has counted, but without a record of "
			"this time: %s.\nThe baseline logs connections with `log: session` only.\n",
			pairs);
	free(pairs);
}

/* --- The matrix ----------------------------------------------------------------------------- */

enum { LABEL_MAX = 18, CELL_MIN = 5, GAP = 2 };

static const struct line {
	const char *title, *member;
	enum cli_colour colour;
} lines[] = {
	{"allowed", "allowed", CLI_GREEN},
	{"unprotected", "unprotected", CLI_YELLOW},
	{"denied", "denied", CLI_RED},
};

enum { TITLE_WIDTH = 11 };

/* Zones and counts of a matrix, and a part of its columns. */
struct matrix {
	struct cli *cli;
	struct svec sources, destinations;
	struct shash pairs; /* Rows by "SOURCE\nDESTINATION". */
	size_t label;	    /* Width of the zones' names on the left. */
	size_t *widths;	    /* Of each destination's column. */
	size_t first, end;  /* The columns that are printed together. */
};

static uint64_t count_at(
	const struct matrix *matrix, const char *from, const char *to, const char *member)
{
	char *key = xasprintf("%s\n%s", from, to);
	const struct json *row = shash_find_data(&matrix->pairs, key);

	free(key);
	return (uint64_t)cli_json_number(row, member);
}

static void put_padded(struct ds *line, const char *text, size_t width, bool right)
{
	size_t n = cli_text_width(text);

	if (right && n < width)
		ds_put_char_multiple(line, ' ', width - n);
	ds_put_cstr(line, text);
	if (!right && n < width)
		ds_put_char_multiple(line, ' ', width - n);
}

/* A zone's name in no more than LABEL_MAX characters, where there is a terminal to fit; the caller
 * frees.  Names of zones are ASCII. */
static char *label_of(const struct matrix *matrix, const char *zone)
{
	if (!*zone)
		return xstrdup("(none)");
	if (!matrix->cli->width || strlen(zone) <= LABEL_MAX)
		return xstrdup(zone);
	return xasprintf("%.*s…", LABEL_MAX - 1, zone);
}

static size_t column_width(const struct matrix *matrix, const char *to)
{
	char *label = label_of(matrix, to);
	size_t width = MAX(CELL_MIN, cli_text_width(label)), i;
	char count[CLI_TEXT_MAX];
	const char *from;

	free(label);
	SVEC_FOR_EACH (i, from, &matrix->sources) {
		for (size_t l = 0; l < ARRAY_SIZE(lines); l++) {
			uint64_t n = count_at(matrix, from, to, lines[l].member);

			width = MAX(width, strlen(cli_format_count(n, count)));
		}
	}
	return width;
}

static void measure(struct matrix *matrix)
{
	const char *zone;
	size_t i;

	SVEC_FOR_EACH (i, zone, &matrix->sources) {
		char *label = label_of(matrix, zone);

		matrix->label = MAX(matrix->label, cli_text_width(label));
		free(label);
	}
	matrix->widths = xcalloc(matrix->destinations.n + 1, sizeof(*matrix->widths));
	SVEC_FOR_EACH (i, zone, &matrix->destinations)
		matrix->widths[i] = column_width(matrix, zone);
}

static void collect_zones(struct matrix *matrix, const struct json *rows)
{
	for (size_t i = 0; i < rows->array.n; i++) {
		struct json *row = rows->array.elems[i];
		const char *from = cli_json_text(row, "source_zone");
		const char *to = cli_json_text(row, "destination_zone");

		svec_add(&matrix->sources, from);
		svec_add(&matrix->destinations, to);
		shash_add_nocopy(&matrix->pairs, xasprintf("%s\n%s", from, to), row);
	}
	svec_sort_unique(&matrix->sources);
	svec_sort_unique(&matrix->destinations);
}

static void print_heading(const struct matrix *matrix)
{
	struct cli *cli = matrix->cli;
	struct ds line = DS_EMPTY_INITIALIZER;

	put_padded(&line, "FROM", matrix->label + GAP, false);
	put_padded(&line, "TO", TITLE_WIDTH, false);
	for (size_t i = matrix->first; i < matrix->end; i++) {
		char *label = label_of(matrix, matrix->destinations.names[i]);

		ds_put_char_multiple(&line, ' ', GAP);
		put_padded(&line, label, matrix->widths[i], true);
		free(label);
	}
	fprintf(cli->out, "%s%s%s\n", cli_colour_start(cli, CLI_BOLD), ds_cstr(&line),
		cli_colour_end(cli));
	ds_destroy(&line);
}

/* One of the lines of a zone, unless all of it is 0 in these columns. */
static bool print_counts(
	const struct matrix *matrix, const char *from, const struct line *what, const char *label)
{
	struct ds text = DS_EMPTY_INITIALIZER;
	char count[CLI_TEXT_MAX];
	uint64_t sum = 0;

	put_padded(&text, label, matrix->label + GAP, false);
	ds_put_cstr(&text, cli_colour_start(matrix->cli, what->colour));
	put_padded(&text, what->title, TITLE_WIDTH, false);
	for (size_t i = matrix->first; i < matrix->end; i++) {
		uint64_t n = count_at(matrix, from, matrix->destinations.names[i], what->member);

		ds_put_char_multiple(&text, ' ', GAP);
		put_padded(&text, n ? cli_format_count(n, count) : ".", matrix->widths[i], true);
		sum += n;
	}
	if (sum)
		fprintf(matrix->cli->out, "%s%s\n", ds_cstr(&text), cli_colour_end(matrix->cli));
	ds_destroy(&text);
	return sum;
}

/* As many of the remaining columns as fit; at least one. */
static void take_columns(struct matrix *matrix)
{
	size_t width = matrix->label + GAP + TITLE_WIDTH;

	for (matrix->end = matrix->first; matrix->end < matrix->destinations.n; matrix->end++) {
		width += GAP + matrix->widths[matrix->end];
		if (matrix->cli->width && width > (size_t)matrix->cli->width &&
			matrix->end > matrix->first)
			break;
	}
}

static void print_matrix(struct matrix *matrix)
{
	for (; matrix->first < matrix->destinations.n; matrix->first = matrix->end) {
		const char *from;
		size_t i;

		take_columns(matrix);
		if (matrix->first)
			fputc('\n', matrix->cli->out);
		print_heading(matrix);
		SVEC_FOR_EACH (i, from, &matrix->sources) {
			char *label = label_of(matrix, from);
			const char *shown = label;

			for (size_t l = 0; l < ARRAY_SIZE(lines); l++) {
				if (print_counts(matrix, from, &lines[l], shown))
					shown = "";
			}
			free(label);
		}
	}
}

static void show_matrix(struct cli *cli, const struct json *rows)
{
	struct matrix matrix = {.cli = cli,
		.sources = SVEC_EMPTY_INITIALIZER,
		.destinations = SVEC_EMPTY_INITIALIZER,
		.pairs = SHASH_INITIALIZER(&matrix.pairs),
		.label = 4};

	collect_zones(&matrix, rows);
	measure(&matrix);
	print_matrix(&matrix);
	svec_destroy(&matrix.sources);
	svec_destroy(&matrix.destinations);
	shash_destroy(&matrix.pairs);
	free(matrix.widths);
}

enum cli_status cli_log_matrix(struct cli *cli)
{
	static const struct cli_column columns[] = {
		{"from", "source_zone", CLI_AUTO, 0, 0, NULL},
		{"to", "destination_zone", CLI_AUTO, 0, 0, NULL},
		{"allowed", "allowed", CLI_COUNT, 0, 0, NULL},
		{"unprotected", "unprotected", CLI_COUNT, 0, 0, NULL},
		{"denied", "denied", CLI_COUNT, 0, 0, NULL},
		{"bytes", "bytes", CLI_BYTES, 1, CLI_LOG_UNCUT, NULL},
		{"first", "first_ns", CLI_AUTO, 3, CLI_LOG_UNCUT, cli_log_first_cell},
		{"last", "last_ns", CLI_AUTO, 2, CLI_LOG_UNCUT, cli_log_last_cell},
	};
	struct cli_log_answer answer;
	enum cli_status status;
	char *unlogged;

	if (cli_log_answer_begin(cli, &answer, 0) != CLI_OK)
		return CLI_USAGE;
	cli_log_matrix_rows(&answer);
	unlogged = cli_log_matrix_unlogged(&answer);
	if (cli->json || cli->csv || cli_flag(cli, "rows")) {
		status = cli_log_answer_finish(&answer, columns, ARRAY_SIZE(columns), "traffic");
	} else {
		cli_json_keep(answer.rows, (size_t)answer.limit);
		if (answer.rows->array.n)
			show_matrix(cli, answer.rows);
		status = cli_log_answer_end(&answer, "traffic");
	}
	say_unlogged(cli, unlogged);
	return status;
}
