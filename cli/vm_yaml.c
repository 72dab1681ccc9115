/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM in a file of YAML (examples/vm.yaml): its keys are those of the options of `cordon vm
 * create`, and what is wrong is told with line and column.  Called by vm.c.
 */
#include "cli/vm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <yaml.h>

#include "util.h"

enum { FILE_BYTES_MAX = 1 << 18 };

/* A document that is being read. */
struct vm_yaml {
	struct vm_draft *draft;
	const char *path;
	yaml_document_t document;
};

/* Says where; always false. */
static bool fail_at(const struct vm_yaml *yaml, const yaml_node_t *node, const char *sentence)
{
	cli_fail(yaml->draft->cli, CLI_INVALID, "%s:%zu:%zu: %s", yaml->path,
		node->start_mark.line + 1, node->start_mark.column + 1, sentence);
	return false;
}

static yaml_node_t *node_at(struct vm_yaml *yaml, int number)
{
	return yaml_document_get_node(&yaml->document, number);
}

/* A text without NULs, or NULL. */
static const char *scalar(const yaml_node_t *node)
{
	if (node->type != YAML_SCALAR_NODE ||
		strlen((const char *)node->data.scalar.value) != node->data.scalar.length)
		return NULL;
	return (const char *)node->data.scalar.value;
}

/* What a key and a value are given to; `place` is that of a vNIC or disk. */
typedef bool put_function(struct vm_yaml *yaml, size_t place, const char *key, yaml_node_t *value);

static bool each_pair(
	struct vm_yaml *yaml, yaml_node_t *node, size_t place, put_function *put, const char *what)
{
	char sentence[96];

	if (node->type != YAML_MAPPING_NODE) {
		snprintf(sentence, sizeof(sentence), "%s is written as keys and values", what);
		return fail_at(yaml, node, sentence);
	}
	for (yaml_node_pair_t *pair = node->data.mapping.pairs.start;
		pair < node->data.mapping.pairs.top; pair++) {
		yaml_node_t *key = node_at(yaml, pair->key);

		if (!scalar(key))
			return fail_at(yaml, key, "a key is a word");
		for (yaml_node_pair_t *other = node->data.mapping.pairs.start; other < pair;
			other++) {
			const char *word = scalar(node_at(yaml, other->key));

			if (word && !strcmp(word, scalar(key)))
				return fail_at(yaml, key, "this key is given twice; give it once");
		}
		if (!put(yaml, place, scalar(key), node_at(yaml, pair->value)))
			return false;
	}
	return true;
}

static bool checked(const struct vm_yaml *yaml, const yaml_node_t *node, bool good)
{
	return good || fail_at(yaml, node, yaml->draft->sentence);
}

/* --- vNICs and disks ------------------------------------------------------------------------ */

static bool put_vnic_value(struct vm_yaml *yaml, size_t place, const char *key, yaml_node_t *value)
{
	if (!scalar(value))
		return fail_at(yaml, value, "a word or a number belongs here");
	return checked(yaml, value, vm_draft_put_vnic(yaml->draft, place, key, scalar(value)));
}

static bool put_vnic(struct vm_yaml *yaml, size_t place, const char *key, yaml_node_t *value)
{
	if (!strcmp(key, "limits"))
		return each_pair(yaml, value, place, put_vnic_value, "`limits`");
	if (value->type != YAML_SEQUENCE_NODE)
		return put_vnic_value(yaml, place, key, value);
	for (yaml_node_item_t *item = value->data.sequence.items.start;
		item < value->data.sequence.items.top; item++) {
		if (!put_vnic_value(yaml, place, key, node_at(yaml, *item)))
			return false;
	}
	return true;
}

static bool put_disk(struct vm_yaml *yaml, size_t place, const char *key, yaml_node_t *value)
{
	if (!scalar(value))
		return fail_at(yaml, value, "a word belongs here");
	return checked(yaml, value, vm_draft_put_disk(yaml->draft, place, key, scalar(value)));
}

static bool each_item(struct vm_yaml *yaml, yaml_node_t *list, bool vnics)
{
	size_t place;

	if (list->type != YAML_SEQUENCE_NODE)
		return fail_at(yaml, list, "a list belongs here");
	for (yaml_node_item_t *item = list->data.sequence.items.start;
		item < list->data.sequence.items.top; item++) {
		yaml_node_t *node = node_at(yaml, *item);
		bool room = vnics ? vm_draft_add_vnic(yaml->draft, &place)
				  : vm_draft_add_disk(yaml->draft, &place);

		if (!checked(yaml, node, room) ||
			!each_pair(yaml, node, place, vnics ? put_vnic : put_disk,
				vnics ? "a vNIC" : "a disk"))
			return false;
	}
	return true;
}

/* --- The VM --------------------------------------------------------------------------------- */

static bool put_setting(struct vm_yaml *yaml, size_t place, const char *key, yaml_node_t *value)
{
	(void)place;
	if (!scalar(value))
		return fail_at(yaml, value, "a word or a number belongs here");
	return checked(yaml, value, vm_draft_put(yaml->draft, key, scalar(value)));
}

static bool put_top(struct vm_yaml *yaml, size_t place, const char *key, yaml_node_t *value)
{
	struct vm_draft *draft = yaml->draft;

	if (!strcmp(key, "nics")) {
		/* All that there are: none, if the list is empty. */
		draft->change.vnics = draft->vnics;
		draft->change.n_vnics = 0;
		return each_item(yaml, value, true);
	}
	if (!strcmp(key, "disks")) {
		draft->change.disks = draft->disks;
		draft->change.n_disks = 0;
		return each_item(yaml, value, false);
	}
	if (!strcmp(key, "options"))
		return each_pair(yaml, value, place, put_setting, "`options`");
	return put_setting(yaml, place, key, value);
}

static bool read_document(struct vm_yaml *yaml)
{
	yaml_node_t *root = yaml_document_get_root_node(&yaml->document);

	if (!root) {
		cli_fail(yaml->draft->cli, CLI_INVALID, "%s is empty; examples/vm.yaml shows a VM",
			yaml->path);
		return false;
	}
	return each_pair(yaml, root, 0, put_top, "a VM");
}

bool vm_yaml_read_text(struct vm_draft *draft, const char *path, const char *text, size_t bytes)
{
	struct vm_yaml yaml = {.draft = draft, .path = path};
	yaml_parser_t parser;
	bool good;

	if (!yaml_parser_initialize(&parser))
		out_of_memory();
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, bytes);
	good = yaml_parser_load(&parser, &yaml.document);
	if (!good) {
		cli_fail(draft->cli, CLI_INVALID, "%s:%zu:%zu: %s", path,
			parser.problem_mark.line + 1, parser.problem_mark.column + 1,
			parser.problem ? parser.problem : "this is not YAML");
	} else {
		good = read_document(&yaml);
		yaml_document_delete(&yaml.document);
	}
	yaml_parser_delete(&parser);
	return good;
}

bool vm_yaml_read(struct vm_draft *draft, const char *path)
{
	FILE *file = strcmp(path, "-") ? fopen(path, "re") : stdin;
	char *text = xmalloc(FILE_BYTES_MAX + 1);
	size_t n = file ? fread(text, 1, FILE_BYTES_MAX + 1, file) : 0;
	bool good = file && !ferror(file);

	if (!good)
		cli_fail(
			draft->cli, CLI_FAILED, "%s cannot be read: %s", path, ovs_strerror(errno));
	else if (n > FILE_BYTES_MAX)
		good = (cli_fail(draft->cli, CLI_INVALID, "%s is longer than %d bytes; a VM is not",
				path, FILE_BYTES_MAX),
			false);
	if (file && file != stdin)
		fclose(file);
	good = good && vm_yaml_read_text(draft, path, text, n);
	free(text);
	return good;
}
