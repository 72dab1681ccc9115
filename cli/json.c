/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading members of JSON objects that may lack them or hold something else, and printing the
 * answer of --json.  Called by table.c and the commands.
 */
#include "cli/cordon.h"

#include <stdlib.h>
#include <string.h>

#include "util.h"

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

static int64_t number_of(const struct json *member)
{
	if (member && member->type == JSON_INTEGER)
		return member->integer;
	return member && member->type == JSON_REAL ? (int64_t)member->real : 0;
}

int64_t cli_json_number(const struct json *object, const char *name)
{
	return number_of(cli_json_member(object, name));
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

/* An element under way, with its place before. */
struct element {
	struct json *json;
	size_t place;
};

struct order {
	const char *name;
	int (*compare)(const struct json *a, const struct json *b);
};

static int compare_members(const struct json *a, const struct json *b)
{
	if (!a || !b)
		return !!a - !!b;
	if (a->type == JSON_INTEGER && b->type == JSON_INTEGER)
		return (a->integer > b->integer) - (a->integer < b->integer);
	if (a->type == JSON_STRING && b->type == JSON_STRING)
		return strverscmp(a->string, b->string);
	return 0;
}

static int compare_most(const struct json *a, const struct json *b)
{
	int64_t left = number_of(a), right = number_of(b);

	return left > right ? -1 : left < right;
}

/* Equal ones stay in their order, so that an array can be sorted by one member after another. */
static int compare_elements(const void *a_, const void *b_, void *order_)
{
	const struct element *a = a_, *b = b_;
	const struct order *order = order_;
	int sign = order->compare(
		cli_json_member(a->json, order->name), cli_json_member(b->json, order->name));

	return sign ? sign : (a->place > b->place) - (a->place < b->place);
}

static void sort(struct json *array, struct order order)
{
	struct element *elements = xcalloc(array->array.n + 1, sizeof(*elements));

	for (size_t i = 0; i < array->array.n; i++)
		elements[i] = (struct element){array->array.elems[i], i};
	qsort_r(elements, array->array.n, sizeof(*elements), compare_elements, &order);
	for (size_t i = 0; i < array->array.n; i++)
		array->array.elems[i] = elements[i].json;
	free(elements);
}

void cli_json_sort(struct json *array, const char *name)
{
	sort(array, (struct order){name, compare_members});
}

void cli_json_sort_most(struct json *array, const char *name)
{
	sort(array, (struct order){name, compare_most});
}

void cli_json_keep(struct json *array, size_t n)
{
	while (n && array->array.n > n)
		json_destroy(array->array.elems[--array->array.n]);
}
