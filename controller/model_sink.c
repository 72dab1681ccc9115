/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sinks of the traffic log as they are wanted: rows of Log_Sink.  Called by the model's user,
 * on its one thread.
 */
#include "controller/model_private.h"

#include <stdlib.h>
#include <string.h>

#include "log/sink_options.h"
#include "util.h"

enum { SINK_NAME_LENGTH_MAX = 63 };

/* Names and options as the person wrote them. */
struct sink_change {
	const char *name, *type;  /* type is NULL for one that is there. */
	const char *const *words; /* "key=value"; "key=": the default again. */
	size_t n_words;
};

const struct cordonrec_log_sink *model_sink(struct model *model, const char *name)
{
	const struct cordonrec_log_sink *sink;

	CORDONREC_LOG_SINK_FOR_EACH (sink, model->idl)
		if (!strcmp(sink->name, name))
			return sink;
	return NULL;
}

static enum model_result no_such_sink(const char *name, struct model_error *error)
{
	return model_fail(error, MODEL_NOT_FOUND,
		"there is no log sink '%s'; `cordon sink list` shows those that are", name);
}

static bool read_words(
	const struct sink_change *change, struct smap *options, struct model_error *error)
{
	for (size_t i = 0; i < change->n_words; i++) {
		const char *word = change->words[i], *equals = strchr(word, '=');

		if (strncmp(word, "postgres", 8) == 0 && strstr(word, "://")) {
			model_fail(error, MODEL_INVALID,
				"options are written KEY=VALUE: that of a PostgreSQL server is "
				"connection=URI"); /* Which may have a password. */
			return false;
		}
		if (!equals || equals == word) {
			model_fail(error, MODEL_INVALID,
				"'%s': options are written KEY=VALUE, or KEY= for the default",
				word);
			return false;
		}
		char *key = xmemdup0(word, (size_t)(equals - word));
		if (equals[1] != '\0')
			smap_replace(options, key, equals + 1);
		else
			smap_remove(options, key);
		free(key);
	}
	return true;
}

static bool check_options(
	const struct sink_kind *kind, const struct smap *options, struct model_error *error)
{
	struct sink_setting *at = xcalloc(smap_count(options) + 1, sizeof(*at));
	struct sink_settings settings = {.kind = kind, .at = at};
	const struct smap_node *node;
	char why[256];

	SMAP_FOR_EACH (node, options)
		at[settings.n++] = (struct sink_setting){node->key, node->value};
	bool good = sink_settings_check(&settings, why, sizeof(why));
	free(at);
	if (!good)
		model_fail(error, MODEL_INVALID, "%s; `cordon sink types %s` lists the options",
			why, kind->name);
	return good;
}

static enum model_result no_such_type(const char *type, struct model_error *error)
{
	return model_fail(error, MODEL_INVALID,
		"there are no log sinks of type '%s'; `cordon sink types` lists the types", type);
}

/* Writes the options, once they are checked. */
static enum model_result write_options(const struct cordonrec_log_sink *sink, const char *type,
	const struct sink_change *change, struct smap *options, struct model_error *error)
{
	const struct sink_kind *kind = sink_kind_find(type);

	if (!kind)
		return no_such_type(type, error);
	if (!read_words(change, options, error) || !check_options(kind, options, error))
		return error->result;
	cordonrec_log_sink_set_options(sink, options);
	return MODEL_OK;
}

static enum model_result build_add(struct model *model, struct ovsdb_idl_txn *transaction,
	void *context, struct model_error *error)
{
	const struct sink_change *change = context;
	struct smap options = SMAP_INITIALIZER(&options);

	if (model_sink(model, change->name))
		return model_fail(error, MODEL_EXISTS,
			"log sink '%s' exists already; change it with `cordon sink set`, or choose "
			"another name",
			change->name);
	if (!sink_kind_find(change->type))
		return no_such_type(change->type, error);
	struct cordonrec_log_sink *sink = cordonrec_log_sink_insert(transaction);
	cordonrec_log_sink_set_name(sink, change->name);
	cordonrec_log_sink_set_type(sink, change->type);
	enum model_result result = write_options(sink, change->type, change, &options, error);
	smap_destroy(&options);
	return result;
}

static enum model_result build_set(struct model *model, struct ovsdb_idl_txn *transaction,
	void *context, struct model_error *error)
{
	const struct sink_change *change = context;
	const struct cordonrec_log_sink *sink = model_sink(model, change->name);
	struct smap options;

	(void)transaction;
	if (!sink)
		return no_such_sink(change->name, error);
	smap_clone(&options, &sink->options);
	enum model_result result = write_options(sink, sink->type, change, &options, error);
	smap_destroy(&options);
	return result;
}

static enum model_result build_delete(struct model *model, struct ovsdb_idl_txn *transaction,
	void *context, struct model_error *error)
{
	const struct sink_change *change = context;
	const struct cordonrec_log_sink *sink = model_sink(model, change->name);

	(void)transaction;
	if (!sink)
		return no_such_sink(change->name, error);
	cordonrec_log_sink_delete(sink);
	return MODEL_OK;
}

static enum model_result commit(struct model *model, struct sink_change *sink,
	enum model_result (*build)(
		struct model *, struct ovsdb_idl_txn *, void *, struct model_error *),
	struct model_error *error)
{
	char *what = xasprintf("log sink %s", sink->name);
	struct model_change change = {.build = build, .context = sink, .what = what, .retry = true};
	enum model_result result = model_commit(model, &change, error);

	free(what);
	return result;
}

enum model_result model_sink_add(struct model *model, const char *name, const char *type,
	const char *const *words, size_t n_words, struct model_error *error)
{
	struct sink_change change = {
		.name = name, .type = type, .words = words, .n_words = n_words};

	if (!model_check_name("log sink", name, SINK_NAME_LENGTH_MAX, error))
		return error->result;
	return commit(model, &change, build_add, error);
}

enum model_result model_sink_set(struct model *model, const char *name, const char *const *words,
	size_t n_words, struct model_error *error)
{
	struct sink_change change = {.name = name, .words = words, .n_words = n_words};

	return commit(model, &change, build_set, error);
}

enum model_result model_sink_delete(
	struct model *model, const char *name, struct model_error *error)
{
	struct sink_change change = {.name = name};

	return commit(model, &change, build_delete, error);
}
