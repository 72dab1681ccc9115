/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tables: JSON objects in rows, seen through columns, as wide as the terminal allows.  Called by
 * the commands that list something.
 *
 * Where the terminal is too narrow, columns are shortened, the least important first and none below
 * its minimum; if that is not enough, the least important column is left out and the rest is laid
 * out anew.  Output that is no terminal is never shortened.
 */
#include "cli/csv.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "openvswitch/dynamic-string.h"
#include "util.h"

enum { COLUMNS_MAX = 32, GAP = 2, MINIMUM_DEFAULT = 6 };

struct cli_table {
	struct cli *cli;
	const struct cli_column *columns;
	size_t n_columns;
	struct json *rows;	     /* An array: those not printed yet. */
	bool flushed;		     /* The heading is out. */
	size_t natural[COLUMNS_MAX]; /* Width of the widest cell up to now. */
	size_t width[COLUMNS_MAX];   /* As it is printed. */
	bool right[COLUMNS_MAX];     /* Stands right: all its values are numbers. */
	bool hidden[COLUMNS_MAX];
	struct cli_csv csv;
};

struct cli_table *cli_table_create(
	struct cli *cli, const struct cli_column *columns, size_t n_columns)
{
	struct cli_table *table = xzalloc(sizeof(*table));

	ovs_assert(n_columns <= COLUMNS_MAX);
	table->cli = cli;
	table->columns = columns;
	table->n_columns = n_columns;
	table->rows = json_array_create_empty();
	table->csv = (struct cli_csv){columns, n_columns, SVEC_EMPTY_INITIALIZER};
	return table;
}

void cli_table_add(struct cli_table *table, struct json *row)
{
	json_array_add(table->rows, row);
}

/* --- Cells ---------------------------------------------------------------------------------- */

static void put_value(struct ds *text, const struct json *value, enum cli_format format);

static void put_list(struct ds *text, const struct json *value, enum cli_format format)
{
	for (size_t i = 0; i < value->array.n; i++) {
		if (i)
			ds_put_cstr(text, ", ");
		put_value(text, value->array.elems[i], format);
	}
}

static void put_object(struct ds *text, const struct json *value, enum cli_format format)
{
	const struct shash_node **nodes = shash_sort(value->object);

	for (size_t i = 0; i < shash_count(value->object); i++) {
		ds_put_format(text, "%s%s=", i ? " " : "", nodes[i]->name);
		put_value(text, nodes[i]->data, format);
	}
	free(nodes);
}

static void put_number(struct ds *text, int64_t number, enum cli_format format)
{
	char buffer[CLI_TEXT_MAX];

	if (number < 0 || format == CLI_AUTO || format == CLI_STATE)
		ds_put_format(text, "%lld", (long long int)number);
	else
		ds_put_cstr(text, format == CLI_COUNT	? cli_format_count(number, buffer)
				  : format == CLI_BYTES ? cli_format_bytes(number, buffer)
				  : format == CLI_AGE	? cli_format_age(number, buffer)
							: cli_format_time(number, buffer));
}

static void put_value(struct ds *text, const struct json *value, enum cli_format format)
{
	switch (value->type) {
	case JSON_STRING: ds_put_cstr(text, value->string); break;
	case JSON_INTEGER: put_number(text, value->integer, format); break;
	case JSON_REAL:
		if (format == CLI_AUTO)
			ds_put_format(text, "%.1f", value->real);
		else
			put_number(text, value->real, format);
		break;
	case JSON_TRUE: ds_put_cstr(text, "yes"); break;
	case JSON_FALSE: ds_put_cstr(text, "no"); break;
	case JSON_ARRAY: put_list(text, value, format); break;
	case JSON_OBJECT: put_object(text, value, format); break;
	default: break;
	}
}

/* Names come from guests and packets as well: nothing in them may speak to the terminal. */
char *cli_cell_text(const struct cli_column *column, const struct json *row)
{
	const struct json *value = cli_json_member(row, column->key);
	char *text = NULL;

	if (column->text) {
		text = column->text(row);
	} else if (value) {
		struct ds buffer = DS_EMPTY_INITIALIZER;

		put_value(&buffer, value, column->format);
		text = ds_steal_cstr(&buffer);
	}
	if (!text)
		text = xstrdup("");
	for (unsigned char *c = (unsigned char *)text; *c; c++) {
		if (iscntrl(*c) || (c[0] == 0xc2 && c[1] >= 0x80 && c[1] <= 0x9f))
			*c = '?';
	}
	return text;
}

bool cli_cell_stands_right(const struct cli_column *column, const struct json *row)
{
	const struct json *value = column->key ? cli_json_member(row, column->key) : NULL;

	if (column->text)
		return column->format == CLI_COUNT || column->format == CLI_BYTES ||
		       column->format == CLI_AGE;
	return column->format != CLI_TIME && value &&
	       (value->type == JSON_INTEGER || value->type == JSON_REAL);
}

/* --- Layout --------------------------------------------------------------------------------- */

static void measure(struct cli_table *table)
{
	for (size_t i = 0; i < table->n_columns; i++) {
		const struct cli_column *column = &table->columns[i];
		bool right = false, left = false;

		table->natural[i] = MAX(table->natural[i], strlen(column->title));
		for (size_t r = 0; r < table->rows->array.n; r++) {
			const struct json *row = table->rows->array.elems[r];
			char *text = cli_cell_text(column, row);

			table->natural[i] = MAX(table->natural[i], cli_text_width(text));
			if (cli_cell_stands_right(column, row))
				right = true;
			else if (*text)
				left = true;
			free(text);
		}
		table->right[i] = right && !left;
	}
}

static size_t total_width(const struct cli_table *table, const size_t *widths)
{
	size_t total = 0;

	for (size_t i = 0; i < table->n_columns; i++) {
		if (!table->hidden[i])
			total += widths[i] + (total ? GAP : 0);
	}
	return total;
}

/* How narrow a column may become.  A number that is cut is another number. */
static size_t minimum_width(const struct cli_table *table, size_t i)
{
	const struct cli_column *column = &table->columns[i];

	if (table->right[i])
		return table->natural[i];
	return column->minimum ? column->minimum : MINIMUM_DEFAULT;
}

/* The shown column with the highest priority above 0 that is still wider than its minimum, or that
 * may be hidden; the rightmost of several.  -1: none. */
static int least_important(const struct cli_table *table, const size_t *widths, bool to_hide)
{
	int least = -1;

	for (size_t i = 0; i < table->n_columns; i++) {
		unsigned int priority = table->columns[i].priority;

		if (table->hidden[i] || !priority ||
			(!to_hide && widths[i] <= minimum_width(table, i)))
			continue;
		if (least < 0 || priority >= table->columns[least].priority)
			least = i;
	}
	return least;
}

static void shorten(const struct cli_table *table, size_t *widths, size_t limit)
{
	for (;;) {
		size_t total = total_width(table, widths);
		int i = least_important(table, widths, false);
		size_t minimum, excess;

		if (total <= limit || i < 0)
			return;
		minimum = minimum_width(table, i);
		excess = total - limit;
		widths[i] = widths[i] - minimum > excess ? widths[i] - excess : minimum;
	}
}

static void fit(struct cli_table *table)
{
	int limit = table->cli->width;

	for (;;) {
		int i;

		memcpy(table->width, table->natural, sizeof(table->width));
		if (!limit)
			return;
		shorten(table, table->width, limit);
		if (total_width(table, table->width) <= (size_t)limit)
			return;
		i = least_important(table, table->width, true);
		if (i < 0)
			return;
		table->hidden[i] = true;
	}
}

/* --- Printing ------------------------------------------------------------------------------- */

/* The first `width` characters of the text, the last one an ellipsis if there were more. */
static void put_shortened(struct ds *line, const char *text, size_t width)
{
	size_t n = 0;

	if (cli_text_width(text) <= width) {
		ds_put_cstr(line, text);
		return;
	}
	for (; *text; text++) {
		if (((unsigned char)*text & 0xc0) != 0x80 && ++n >= width)
			break;
		ds_put_char(line, *text);
	}
	ds_put_cstr(line, "…");
}

static void put_cell(struct ds *line, const struct cli_table *table, size_t i, const char *text,
	enum cli_colour colour)
{
	const struct cli *cli = table->cli;
	size_t width = cli_text_width(text);
	size_t shown = MIN(width, table->width[i]);
	size_t pad = table->width[i] - shown;

	if (table->right[i])
		ds_put_char_multiple(line, ' ', pad);
	ds_put_cstr(line, cli_colour_start(cli, colour));
	put_shortened(line, text, shown);
	if (colour != CLI_PLAIN)
		ds_put_cstr(line, cli_colour_end(cli));
	if (!table->right[i])
		ds_put_char_multiple(line, ' ', pad);
}

static void print_line(struct cli_table *table, const struct json *row)
{
	struct ds line = DS_EMPTY_INITIALIZER;
	bool first = true;

	for (size_t i = 0; i < table->n_columns; i++) {
		const struct cli_column *column = &table->columns[i];
		char *text;

		if (table->hidden[i])
			continue;
		if (!first)
			ds_put_char_multiple(&line, ' ', GAP);
		first = false;
		text = row ? cli_cell_text(column, row) : xstrdup(column->title);
		for (char *c = text; !row && *c; c++)
			*c = toupper((unsigned char)*c);
		put_cell(&line, table, i, text,
			!row			      ? CLI_BOLD
			: column->format == CLI_STATE ? cli_colour_of(text)
						      : CLI_PLAIN);
		free(text);
	}
	while (ds_last(&line) == ' ')
		ds_truncate(&line, line.length - 1);
	fprintf(table->cli->out, "%s\n", ds_cstr(&line));
	ds_destroy(&line);
}

static void print_rows(struct cli_table *table)
{
	for (size_t r = 0; r < table->rows->array.n; r++)
		print_line(table, table->rows->array.elems[r]);
}

static void print_json_lines(struct cli_table *table)
{
	for (size_t r = 0; r < table->rows->array.n; r++) {
		char *text = json_to_string(table->rows->array.elems[r], JSSF_SORT);

		fprintf(table->cli->out, "%s\n", text);
		free(text);
	}
}

void cli_table_flush(struct cli_table *table)
{
	if (table->cli->json) {
		print_json_lines(table);
	} else if (table->cli->csv) {
		cli_csv_print(&table->csv, table->cli->out, table->rows);
	} else {
		measure(table);
		fit(table);
		if (!table->flushed)
			print_line(table, NULL);
		print_rows(table);
	}
	if (fflush(table->cli->out) && errno == EPIPE)
		exit(CLI_OK);
	table->flushed = true;
	json_destroy(table->rows);
	table->rows = json_array_create_empty();
}

enum cli_status cli_table_finish(struct cli_table *table, const char *none)
{
	struct cli *cli = table->cli;

	if (table->flushed)
		cli_table_flush(table);
	else if (cli->json)
		cli_print_json(cli, json_clone(table->rows));
	else if (!table->rows->array.n && none && !cli->csv)
		fprintf(cli->out, "%s\n", none);
	else
		cli_table_flush(table);
	json_destroy(table->rows);
	cli_csv_destroy(&table->csv);
	free(table);
	return CLI_OK;
}

enum cli_status cli_print_table(struct cli *cli, const struct cli_column *columns, size_t n_columns,
	struct json *rows, const char *none)
{
	struct cli_table *table = cli_table_create(cli, columns, n_columns);

	if (rows->type == JSON_ARRAY) {
		for (size_t i = 0; i < rows->array.n; i++)
			cli_table_add(table, json_clone(rows->array.elems[i]));
	}
	json_destroy(rows);
	return cli_table_finish(table, none);
}

void cli_print_member(struct cli *cli, const struct json *object, const char *title,
	const char *key, enum cli_format format)
{
	const struct cli_column column = {title, key, format, 0, 0, NULL};
	char *text = cli_cell_text(&column, object);
	enum cli_colour colour = format == CLI_STATE ? cli_colour_of(text) : CLI_PLAIN;

	if (*text)
		fprintf(cli->out, "  %-14s %s%s%s\n", title, cli_colour_start(cli, colour), text,
			colour == CLI_PLAIN ? "" : cli_colour_end(cli));
	free(text);
}
