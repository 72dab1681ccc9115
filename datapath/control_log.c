/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the log's sinks do: for `cordon status` and `cordon sink list`.  Main thread.
 */
#include <config.h>

#include "datapath/control.h"

#include "openvswitch/json.h"
#include "sset.h"
#include "unixctl.h"
#include "util.h"

static void put_integer(struct json *object, const char *name, uint64_t value)
{
	json_object_put(object, name, json_integer_create((long long int)value));
}

static struct json *describe(const struct sinks_row *row)
{
	const struct sink_statistics *statistics = &row->statistics;
	struct json *object = json_object_create();

	json_object_put_string(object, "name", row->name);
	json_object_put_string(object, "type", row->type);
	json_object_put(object, "open", json_boolean_create(statistics->is_open));
	put_integer(object, "delivered", statistics->delivered);
	put_integer(object, "lost", statistics->lost);
	put_integer(object, "waiting", statistics->waiting);
	put_integer(object, "waiting_bytes", statistics->waiting_bytes);
	put_integer(object, "failures", statistics->failures);
	json_object_put_string(object, "error", statistics->error);
	return object;
}

/* A sink of which there is only a row that is wrong. */
static struct json *describe_wrong(const char *name, const char *error)
{
	struct sinks_row row = {.type = ""};

	ovs_strlcpy(row.name, name, sizeof(row.name));
	ovs_strlcpy(row.statistics.error, error, sizeof(row.statistics.error));
	return describe(&row);
}

struct json *control_log_sinks(const struct config *config)
{
	struct json *array = json_array_create_empty();
	struct sset told = SSET_INITIALIZER(&told);
	const struct shash_node *node;
	struct sinks_row rows[LOG_ACCOUNT_SINKS];
	size_t n = sinks_read_statistics(log_thread_sinks(config->sw->log), rows, ARRAY_SIZE(rows));

	for (size_t i = 0; i < n; i++) {
		const char *error = shash_find_data(&config->sink_errors, rows[i].name);

		if (error != NULL)
			ovs_strlcpy(
				rows[i].statistics.error, error, sizeof(rows[i].statistics.error));
		json_array_add(array, describe(&rows[i]));
		sset_add(&told, rows[i].name);
	}
	SHASH_FOR_EACH (node, &config->sink_errors)
		if (!sset_contains(&told, node->name))
			json_array_add(array, describe_wrong(node->name, node->data));
	sset_destroy(&told);
	return array;
}

struct json *control_log_status(const struct config *config)
{
	struct sinks_total total = sinks_total(log_thread_sinks(config->sw->log));
	struct json *object = json_object_create(), *sinks = control_log_sinks(config);
	char *error = NULL;

	for (size_t i = 0; i < sinks->array.n; i++) {
		const struct shash *sink = json_object(sinks->array.elems[i]);
		const char *text = json_string(shash_find_data(sink, "error"));

		if (error == NULL && text[0] != '\0')
			error = xasprintf(
				"%s: %s", json_string(shash_find_data(sink, "name")), text);
	}
	put_integer(object, "stored", total.delivered);
	put_integer(object, "lost", total.lost);
	json_object_put_string(object, "error", error != NULL ? error : "");
	json_object_put(object, "sinks", sinks);
	free(error);
	return object;
}

static void list_sinks(struct unixctl_conn *conn, int argc, const char *argv[], void *config)
{
	(void)argc;
	(void)argv;
	control_reply(conn, control_log_sinks(config));
}

void control_log_register(struct config *config)
{
	unixctl_command_register("cordon/sinks", "", 0, 0, list_sinks, config);
}
