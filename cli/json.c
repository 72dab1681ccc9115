/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading members of JSON objects that may lack them or hold something else, and printing the
 * answer of --json.  Called by table.c and the commands.
 */
#include "cli/cordon.h"

#include <stdlib.h>
#include <string.h>

const struct json *cli_json_member(const struct json *object, const char *name)
{
	if (!object || object->type != JSON_OBJECT)
		return NULL;
	return shash_find_data(object->object, name);
}

const char *cli_json_text(const struct json *object, const char *name)
{
	const struct json *member = cli_json_member(object, name);

	return member && member->type == JSON_STRING ? member->string : "";
}

int64_t cli_json_number(const struct json *object, const char *name)
{
	const struct json *member = cli_json_member(object, name);

	if (member && member->type == JSON_INTEGER)
		return member->integer;
	return member && member->type == JSON_REAL ? (int64_t)member->real : 0;
}

bool cli_json_true(const struct json *object, const char *name)
{
	const struct json *member = cli_json_member(object, name);

	return member && member->type == JSON_TRUE;
}

enum cli_status cli_print_json(struct cli *cli, struct json *json)
{
	char *text = json_to_string(json, JSSF_PRETTY | JSSF_SORT);

	fprintf(cli->out, "%s\n", text);
	free(text);
	json_destroy(json);
	return CLI_OK;
}

static int compare_members(const void *a_, const void *b_, void *name)
{
	const struct json *a = cli_json_member(*(struct json *const *)a_, name);
	const struct json *b = cli_json_member(*(struct json *const *)b_, name);

	if (!a || !b)
		return !!a - !!b;
	if (a->type == JSON_INTEGER && b->type == JSON_INTEGER)
		return (a->integer > b->integer) - (a->integer < b->integer);
	if (a->type == JSON_STRING && b->type == JSON_STRING)
		return strverscmp(a->string, b->string);
	return 0;
}

void cli_json_sort(struct json *array, const char *name)
{
	qsort_r(array->array.elems, array->array.n, sizeof(*array->array.elems), compare_members,
		CONST_CAST(char *, name));
}

static int compare_most(const void *a, const void *b, void *name)
{
	int64_t left = cli_json_number(*(struct json *const *)a, name);
	int64_t right = cli_json_number(*(struct json *const *)b, name);

	return left > right ? -1 : left < right;
}

void cli_json_sort_most(struct json *array, const char *name)
{
	qsort_r(array->array.elems, array->array.n, sizeof(*array->array.elems), compare_most,
		CONST_CAST(char *, name));
}

void cli_json_keep(struct json *array, size_t n)
{
	while (n && array->array.n > n)
		json_destroy(array->array.elems[--array->array.n]);
}
