/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows of JSON objects as comma-separated values (RFC 4180, but with lines that end in one \n): for
 * spreadsheets and for those who count with awk.  Called by table.c.
 *
 * Names come from guests and packets as well, and a spreadsheet takes a cell that begins with "="
 * for a formula: such a text gets an apostrophe in front.
 */
#include "cli/csv.h"

#include <stdlib.h>
#include <string.h>

#include "openvswitch/dynamic-string.h"
#include "util.h"

/* --- Which members -------------------------------------------------------------------------- */

static bool is_chosen(const struct cli_csv *csv, const char *name)
{
	for (size_t i = 0; i < csv->names.n; i++) {
		if (!strcmp(csv->names.names[i], name))
			return true;
	}
	return false;
}

/* All members that any of the rows has: first those that people see, then the others by name. */
static void choose_names(struct cli_csv *csv, const struct json *rows)
{
	struct svec others = SVEC_EMPTY_INITIALIZER;
	const char *name;
	size_t i;

	for (i = 0; i < csv->n_columns; i++) {
		if (csv->columns[i].key && !is_chosen(csv, csv->columns[i].key))
			svec_add(&csv->names, csv->columns[i].key);
	}
	for (i = 0; i < rows->array.n; i++) {
		const struct shash_node *node;

		SHASH_FOR_EACH (node, rows->array.elems[i]->object) {
			if (!is_chosen(csv, node->name))
				svec_add(&others, node->name);
		}
		svec_sort_unique(&others);
	}
	SVEC_FOR_EACH (i, name, &others)
		svec_add(&csv->names, name);
	svec_destroy(&others);
}

/* --- Values --------------------------------------------------------------------------------- */

static void put_text(struct ds *line, const char *text)
{
	bool formula = *text && strchr("=+-@\t\r\n", *text);

	if (!formula && !strpbrk(text, ",\"\r\n")) {
		ds_put_cstr(line, text);
		return;
	}
	ds_put_char(line, '"');
	if (formula)
		ds_put_char(line, '\'');
	for (; *text; text++) {
		if (*text == '"')
			ds_put_char(line, '"');
		ds_put_char(line, *text);
	}
	ds_put_char(line, '"');
}

/* A list of texts is one cell, separated by spaces; any other value is written as in JSON. */
static char *value_text(const struct json *value)
{
	struct ds text = DS_EMPTY_INITIALIZER;

	if (!value || value->type == JSON_NULL)
		return xstrdup("");
	if (value->type == JSON_STRING)
		return xstrdup(value->string);
	if (value->type != JSON_ARRAY)
		return json_to_string(value, JSSF_SORT);
	for (size_t i = 0; i < value->array.n; i++) {
		char *item = value_text(value->array.elems[i]);

		ds_put_format(&text, "%s%s", i ? " " : "", item);
		free(item);
	}
	return text.string ? ds_steal_cstr(&text) : xstrdup("");
}

static void put_value(struct ds *line, const struct json *value)
{
	char *text = value_text(value);

	if (value && (value->type == JSON_INTEGER || value->type == JSON_REAL))
		ds_put_cstr(line, text);
	else
		put_text(line, text);
	free(text);
}

/* --- Lines ---------------------------------------------------------------------------------- */

static void print_line(const struct cli_csv *csv, FILE *out, const struct json *row)
{
	struct ds line = DS_EMPTY_INITIALIZER;

	for (size_t i = 0; i < csv->names.n; i++) {
		const char *name = csv->names.names[i];

		if (i)
			ds_put_char(&line, ',');
		if (row)
			put_value(&line, cli_json_member(row, name));
		else
			put_text(&line, name);
	}
	fprintf(out, "%s\n", ds_cstr(&line));
	ds_destroy(&line);
}

void cli_csv_print(struct cli_csv *csv, FILE *out, const struct json *rows)
{
	if (!csv->names.n) {
		choose_names(csv, rows);
		print_line(csv, out, NULL);
	}
	for (size_t i = 0; i < rows->array.n; i++)
		print_line(csv, out, rows->array.elems[i]);
}

void cli_csv_destroy(struct cli_csv *csv)
{
	svec_destroy(&csv->names);
}
