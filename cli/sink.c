/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cordon sink`: where the records of the traffic log go, from the database, and how the sinks of
 * this host do, from the switch.
 */
#include "cli/cordon.h"

#include <stdlib.h>
#include <string.h>

#include "log/sink_options.h"
#include "log/sink_secret.h"
#include "openvswitch/dynamic-string.h"
#include "smap.h"
#include "util.h"

/* --- Changes ---------------------------------------------------------------------------------- */

static enum cli_status finish(
	struct cli *cli, struct model *model, enum model_result result, struct model_error *error)
{
	model_close(model);
	return result == MODEL_OK ? CLI_OK : cli_fail_model(cli, error);
}

enum cli_status cli_sink_add(struct cli *cli)
{
	struct model_error error;
	enum cli_status status;
	struct model *model = cli_model(cli, &status);

	if (!model)
		return status;
	return finish(cli, model,
		model_sink_add(model, cli->arguments[0], cli->arguments[1],
			(const char *const *)cli->arguments + 2, cli->n_arguments - 2, &error),
		&error);
}

enum cli_status cli_sink_set(struct cli *cli)
{
	struct model_error error;
	enum cli_status status;
	struct model *model = cli_model(cli, &status);

	if (!model)
		return status;
	return finish(cli, model,
		model_sink_set(model, cli->arguments[0], (const char *const *)cli->arguments + 1,
			cli->n_arguments - 1, &error),
		&error);
}

enum cli_status cli_sink_delete(struct cli *cli)
{
	struct model_error error;
	enum cli_status status;
	struct model *model = cli_model(cli, &status);

	if (!model)
		return status;
	return finish(cli, model, model_sink_delete(model, cli->arguments[0], &error), &error);
}

/* --- What there is ---------------------------------------------------------------------------- */

static const struct json *find_live(const struct json *live, const char *name)
{
	for (size_t i = 0; live && live->type == JSON_ARRAY && i < live->array.n; i++)
		if (!strcmp(cli_json_text(live->array.elems[i], "name"), name))
			return live->array.elems[i];
	return NULL;
}

/* "ok", "error", "opening", or "unknown" where the switch does not say. */
static const char *state_of(const struct json *live)
{
	if (!live)
		return "unknown";
	if (*cli_json_text(live, "error"))
		return "error";
	return cli_json_true(live, "open") ? "ok" : "opening";
}

/* As they are in the database, but for passwords: those are nobody's to read, in JSON neither. */
static struct json *options_of(const struct cordonrec_log_sink *sink)
{
	const struct sink_kind *kind = sink_kind_find(sink->type);
	struct json *options = json_object_create();
	const struct smap_node *node;

	SMAP_FOR_EACH (node, &sink->options) {
		const struct sink_option *option = kind ? sink_option_find(kind, node->key) : NULL;
		bool is_public = option && !option->has_secrets;
		char *masked = is_public ? NULL : sink_secret_mask(node->value);

		json_object_put_string(options, node->key,
			is_public ? node->value
			: masked  ? masked
				  : SINK_SECRET_MASK);
		free(masked);
	}
	return options;
}

static struct json *row_of(const struct cordonrec_log_sink *sink, const struct json *live)
{
	static const char *const counts[] = {
		"delivered", "lost", "waiting", "waiting_bytes", "failures"};
	struct json *row = json_object_create();

	json_object_put_string(row, "name", sink->name);
	json_object_put_string(row, "type", sink->type);
	json_object_put(row, "options", options_of(sink));
	json_object_put_string(row, "state", state_of(live));
	for (size_t i = 0; live && i < ARRAY_SIZE(counts); i++)
		json_object_put(
			row, counts[i], json_integer_create(cli_json_number(live, counts[i])));
	json_object_put_string(row, "error", live ? cli_json_text(live, "error") : "");
	return row;
}

static struct json *rows_of(struct cli *cli, struct model *model)
{
	const struct cordonrec_log_sink *sink;
	enum cli_status status;
	struct json *live = cli_ask_switch(cli, true, &status, "cordon/sinks", 0, NULL);
	struct json *rows = json_array_create_empty();

	CORDONREC_LOG_SINK_FOR_EACH (sink, model_idl(model))
		json_array_add(rows, row_of(sink, find_live(live, sink->name)));
	json_destroy(live);
	cli_json_sort(rows, "name");
	return rows;
}

/* The error, or how it was set up. */
static char *detail_text(const struct json *row)
{
	const struct json *options = cli_json_member(row, "options");
	struct ds text = DS_EMPTY_INITIALIZER;
	const struct shash_node *node;

	if (*cli_json_text(row, "error"))
		return xstrdup(cli_json_text(row, "error"));
	SHASH_FOR_EACH (node, json_object(options))
		ds_put_format(&text, "%s%s=%s", text.length ? " " : "", node->name,
			json_string(node->data));
	return ds_steal_cstr(&text);
}

enum cli_status cli_sink_list(struct cli *cli)
{
	static const struct cli_column columns[] = {
		{"name", "name", CLI_AUTO, 0, 0, NULL},
		{"type", "type", CLI_AUTO, 0, 0, NULL},
		{"state", "state", CLI_STATE, 0, 0, NULL},
		{"delivered", "delivered", CLI_COUNT, 1, 0, NULL},
		{"lost", "lost", CLI_COUNT, 1, 0, NULL},
		{"waiting", "waiting", CLI_COUNT, 2, 0, NULL},
		{"detail", "options", CLI_AUTO, 3, 20, detail_text},
	};
	enum cli_status status;
	struct model *model = cli_model(cli, &status);

	if (!model)
		return status;
	struct json *rows = rows_of(cli, model);
	model_close(model);
	return cli_print_table(cli, columns, ARRAY_SIZE(columns), rows,
		"No sinks: the traffic log is written nowhere.");
}

static void print_settings(struct cli *cli, const struct json *row)
{
	const struct shash *options = json_object(cli_json_member(row, "options"));
	const struct sink_kind *kind = sink_kind_find(cli_json_text(row, "type"));
	const struct shash_node *node;

	SHASH_FOR_EACH (node, options)
		fprintf(cli->out, "  %-18s %s\n", node->name, json_string(node->data));
	for (size_t i = 0; kind && i < kind->n_options; i++) {
		const struct sink_option *option = &kind->options[i];

		if (option->otherwise && !shash_find(options, option->name))
			fprintf(cli->out, "  %-18s %s (default)\n", option->name,
				option->otherwise);
	}
}

static void print_sink(struct cli *cli, const struct json *row)
{
	cli_print_member(cli, row, "name", "name", CLI_AUTO);
	cli_print_member(cli, row, "type", "type", CLI_AUTO);
	cli_print_member(cli, row, "state", "state", CLI_STATE);
	cli_print_member(cli, row, "error", "error", CLI_AUTO);
	cli_print_member(cli, row, "delivered", "delivered", CLI_COUNT);
	cli_print_member(cli, row, "lost", "lost", CLI_COUNT);
	cli_print_member(cli, row, "waiting", "waiting", CLI_COUNT);
	cli_print_member(cli, row, "memory", "waiting_bytes", CLI_BYTES);
	cli_print_member(cli, row, "failures", "failures", CLI_COUNT);
	fprintf(cli->out, "options\n");
	print_settings(cli, row);
}

enum cli_status cli_sink_show(struct cli *cli)
{
	enum cli_status status;
	struct model *model = cli_model(cli, &status);
	struct json *rows;
	const struct json *row;

	if (!model)
		return status;
	rows = rows_of(cli, model);
	model_close(model);
	row = find_live(rows, cli->arguments[0]);
	if (!row) {
		json_destroy(rows);
		return cli_fail(cli, CLI_NOT_FOUND,
			"there is no log sink '%s'; `cordon sink list` shows those that are",
			cli->arguments[0]);
	}
	if (cli->json) {
		status = cli_print_json(cli, json_clone(row));
	} else {
		print_sink(cli, row);
		status = CLI_OK;
	}
	json_destroy(rows);
	return status;
}

/* --- What there could be ---------------------------------------------------------------------- */

static void add_option(struct json *rows, const char *type, const struct sink_option *option)
{
	struct json *row = json_object_create();

	json_object_put_string(row, "type", type);
	json_object_put_string(row, "option", option->name);
	json_object_put_string(row, "default",
		option->otherwise  ? option->otherwise
		: option->required ? "(required)"
				   : "");
	json_object_put_string(row, "meaning", option->meaning);
	json_array_add(rows, row);
}

static enum cli_status list_types(struct cli *cli)
{
	static const struct cli_column columns[] = {
		{"type", "type", CLI_AUTO, 0, 0, NULL},
		{"meaning", "meaning", CLI_AUTO, 0, 20, NULL},
	};
	struct json *rows = json_array_create_empty();

	for (size_t i = 0; i < n_sink_kinds; i++) {
		struct json *row = json_object_create();

		json_object_put_string(row, "type", sink_kinds[i].name);
		json_object_put_string(row, "meaning", sink_kinds[i].meaning);
		json_array_add(rows, row);
	}
	return cli_print_table(cli, columns, ARRAY_SIZE(columns), rows, NULL);
}

enum cli_status cli_sink_types(struct cli *cli)
{
	static const struct cli_column columns[] = {
		{"option", "option", CLI_AUTO, 0, 0, NULL},
		{"default", "default", CLI_AUTO, 0, 0, NULL},
		{"meaning", "meaning", CLI_AUTO, 1, 20, NULL},
	};
	const struct sink_kind *kind;
	struct json *rows;

	if (cli->n_arguments == 0)
		return list_types(cli);
	kind = sink_kind_find(cli->arguments[0]);
	if (!kind)
		return cli_fail(cli, CLI_NOT_FOUND,
			"there are no log sinks of type '%s'; `cordon sink types` lists the types",
			cli->arguments[0]);
	rows = json_array_create_empty();
	for (size_t i = 0; i < kind->n_options; i++)
		add_option(rows, kind->name, &kind->options[i]);
	for (size_t i = 0; i < n_sink_common_options; i++)
		add_option(rows, kind->name, &sink_common_options[i]);
	return cli_print_table(cli, columns, ARRAY_SIZE(columns), rows, NULL);
}
