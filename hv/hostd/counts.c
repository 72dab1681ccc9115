/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters by name (counts.h).  Called by guest.c and cgroup.c on the main thread.
 */
#include <config.h>

#include "hv/hostd/counts.h"

#include <stdlib.h>
#include <string.h>

#include "util.h"

enum { DEPTH_MAX = 6, NAME_BYTES_MAX = 100 };

/* Names are a VMM's own words, and the database would refuse a transaction for one that is no
 * text. */
static bool is_name(const char *name)
{
	size_t n = 0;

	while (n <= NAME_BYTES_MAX && name[n] > ' ' && name[n] < 0x7f)
		n++;
	return n && n <= NAME_BYTES_MAX && !name[n];
}

void counts_put(struct counts *counts, const char *name, int64_t value)
{
	if (counts->n >= COUNTS_MAX || !is_name(name))
		return;
	counts->names = xrealloc(counts->names, (counts->n + 1) * sizeof(*counts->names));
	counts->values = xrealloc(counts->values, (counts->n + 1) * sizeof(*counts->values));
	counts->names[counts->n] = xstrdup(name);
	counts->values[counts->n++] = value;
}

static void put(struct counts *counts, const char *path, const struct json *json, int depth);

static void put_member(struct counts *counts, const char *path, const char *name,
	const struct json *json, int depth)
{
	/* The word says nothing that the place does not. */
	char *inner = *path && !strcmp(name, "counters")
			      ? xstrdup(path)
			      : xasprintf("%s%s%s", path, *path ? "." : "", name);

	put(counts, inner, json, depth + 1);
	free(inner);
}

static void put_element(
	struct counts *counts, const char *path, size_t place, const struct json *json, int depth)
{
	const struct json *name =
		json->type == JSON_OBJECT ? shash_find_data(json_object(json), "name") : NULL;
	char *number;

	if (name && name->type == JSON_STRING) {
		put_member(counts, "", name->string, json, depth);
		return;
	}
	number = xasprintf("%zu", place);
	put_member(counts, path, number, json, depth);
	free(number);
}

static void put(struct counts *counts, const char *path, const struct json *json, int depth)
{
	const struct shash_node *node;

	if (depth > DEPTH_MAX)
		return;
	switch (json->type) {
	case JSON_INTEGER: counts_put(counts, path, json->integer); break;
	case JSON_OBJECT:
		SHASH_FOR_EACH (node, json_object(json))
			put_member(counts, path, node->name, node->data, depth);
		break;
	case JSON_ARRAY:
		for (size_t i = 0; i < json->array.n; i++)
			put_element(counts, path, i, json->array.elems[i], depth);
		break;
	case JSON_NULL:
	case JSON_FALSE:
	case JSON_TRUE:
	case JSON_REAL:
	case JSON_STRING:
	case JSON_N_TYPES:
	case JSON_SERIALIZED_OBJECT:
	default: break;
	}
}

void counts_put_json(struct counts *counts, const struct json *object)
{
	put(counts, "", object, 0);
}

void counts_clear(struct counts *counts)
{
	for (size_t i = 0; i < counts->n; i++)
		free(counts->names[i]);
	free(counts->names);
	free(counts->values);
	*counts = (struct counts){0};
}
