/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sinks that the database wants, given to the log thread's set of them; and how they do, for
 * whoever asks.  Main thread.
 */
#include <config.h>

#include "datapath/config.h"

#include <stdlib.h>
#include <string.h>

#include "cordon-idl.h"
#include "openvswitch/vlog.h"
#include "sset.h"
#include "util.h"

VLOG_DEFINE_THIS_MODULE(config_log);

/* The row's options, which stay the row's. */
static struct sink_settings settings_of(
	const struct cordonrec_log_sink *row, const struct sink_kind *kind)
{
	struct sink_setting *at = xcalloc(smap_count(&row->options) + 1, sizeof(*at));
	const struct smap_node *node;
	size_t n = 0;

	SMAP_FOR_EACH (node, &row->options)
		at[n++] = (struct sink_setting){node->key, node->value};
	return (struct sink_settings){.kind = kind, .n = n, .at = at};
}

/* What is wrong with the row, or NULL; the caller frees.  Where it is wrong, *wanted has no kind:
 * the sink of that name goes on as it was. */
static char *read_row(const struct cordonrec_log_sink *row, struct sink_wanted *wanted)
{
	const struct sink_kind *kind = sink_kind_find(row->type);
	char error[SINK_ERROR_MAX];

	*wanted = (struct sink_wanted){.name = row->name};
	if (kind == NULL)
		return xasprintf("this version has no sinks of type %s", row->type);
	if (strlen(row->name) >= SINK_NAME_MAX)
		return xasprintf("its name is longer than %d characters", SINK_NAME_MAX - 1);
	wanted->settings = settings_of(row, kind);
	if (sink_settings_check(&wanted->settings, error, sizeof(error)))
		return NULL;
	free(CONST_CAST(struct sink_setting *, wanted->settings.at));
	wanted->settings = (struct sink_settings){0};
	return xstrdup(error);
}

/* Keeps what is wrong with a row, and says it once. */
static void note_error(struct config *config, const char *name, char *error)
{
	char *before = shash_find_and_delete(&config->sink_errors, name);

	if (error != NULL && (before == NULL || strcmp(before, error) != 0))
		VLOG_WARN("log sink %s: %s", name, error);
	if (error != NULL)
		shash_add(&config->sink_errors, name, error);
	free(before);
}

static void forget_errors(struct config *config)
{
	const struct cordonrec_log_sink *row;
	struct shash_node *node;
	struct sset names = SSET_INITIALIZER(&names);

	CORDONREC_LOG_SINK_FOR_EACH (row, config->idl)
		sset_add(&names, row->name);
	SHASH_FOR_EACH_SAFE (node, &config->sink_errors)
		if (!sset_contains(&names, node->name)) {
			free(node->data);
			shash_delete(&config->sink_errors, node);
		}
	sset_destroy(&names);
}

void config_log(struct config *config)
{
	const struct cordonrec_log_sink *row;
	struct sink_wanted wanted[LOG_ACCOUNT_SINKS];
	size_t n = 0;

	forget_errors(config);
	CORDONREC_LOG_SINK_FOR_EACH (row, config->idl) {
		if (n == LOG_ACCOUNT_SINKS) {
			note_error(config, row->name,
				xasprintf("there are more than %d sinks", LOG_ACCOUNT_SINKS));
			continue;
		}
		note_error(config, row->name, read_row(row, &wanted[n++]));
	}
	if (sinks_configure(log_thread_sinks(config->sw->log), wanted, n) != 0)
		VLOG_WARN("not all log sinks could be begun, for want of memory");
	for (size_t i = 0; i < n; i++)
		free(CONST_CAST(struct sink_setting *, wanted[i].settings.at));
}

/* Says in the switch's own log when a sink fails, and when it works again. */
void config_log_watch(struct config *config, const struct sinks_row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const char *error = rows[i].statistics.error;
		char *before = shash_find_and_delete(&config->sinks_seen, rows[i].name);

		if (error[0] != '\0' && (before == NULL || strcmp(before, error) != 0))
			VLOG_WARN("log sink %s: %s; records wait for it as long as there is room, "
				  "and are counted when they are lost",
				rows[i].name, error);
		else if (error[0] == '\0' && before != NULL)
			VLOG_INFO("log sink %s: works again", rows[i].name);
		if (error[0] != '\0')
			shash_add(&config->sinks_seen, rows[i].name, xstrdup(error));
		free(before);
	}
}

void config_log_destroy(struct config *config)
{
	shash_destroy_free_data(&config->sink_errors);
	shash_destroy_free_data(&config->sinks_seen);
}
