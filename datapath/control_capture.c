/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers to `cordon capture`: reads what is asked for, all of it, before anything is begun.  Main
 * thread.
 */
#include <config.h>

#include "datapath/capture.h"

#include <stdlib.h>
#include <string.h>

#include "datapath/control.h"
#include "openvswitch/json.h"
#include "unixctl.h"
#include "util.h"

/* The order under way, with the first thing that is wrong with it. */
struct reader {
	const struct json *json;
	struct capture_order *order;
	char *error;
};

static void fail(struct reader *reader, const char *what)
{
	if (reader->error == NULL)
		reader->error = xasprintf("the capture that is asked for makes no sense: %s", what);
}

static const struct json *member(const struct reader *reader, const char *name)
{
	return shash_find_data(reader->json->object, name);
}

static char *read_text(struct reader *reader, const char *name)
{
	const struct json *json = member(reader, name);

	if (json == NULL || json->type != JSON_STRING) {
		fail(reader, name);
		return xstrdup("");
	}
	return xstrdup(json->string);
}

static uint64_t read_number(struct reader *reader, const char *name, uint64_t least, uint64_t most)
{
	const struct json *json = member(reader, name);

	if (json != NULL && json->type == JSON_INTEGER && json->integer >= 0 &&
		(uint64_t)json->integer >= least && (uint64_t)json->integer <= most)
		return (uint64_t)json->integer;
	fail(reader, name);
	return least;
}

/* A word, and what it stands for. */
struct choice {
	const char *word;
	unsigned int value;
};

static unsigned int read_choice(
	struct reader *reader, const char *name, const struct choice *choices, size_t n)
{
	char *word = read_text(reader, name);
	unsigned int value = 0;

	for (size_t i = 0; i < n; i++)
		if (strcmp(choices[i].word, word) == 0)
			value = choices[i].value;
	if (value == 0)
		fail(reader, name);
	free(word);
	return value;
}

static void read_names(struct reader *reader)
{
	const struct json *json = member(reader, "names");

	if (json == NULL || json->type != JSON_ARRAY || json->array.n == 0 ||
		json->array.n > CAPTURE_NAMES_MAX) {
		fail(reader, "names");
		return;
	}
	for (size_t i = 0; i < json->array.n; i++) {
		if (json->array.elems[i]->type != JSON_STRING) {
			fail(reader, "names");
			return;
		}
		reader->order->names[reader->order->n_names++] =
			xstrdup(json->array.elems[i]->string);
	}
}

/* --- The filter ----------------------------------------------------------------------------- */

/* [code, jt, jf, k]; false if it is no instruction. */
static bool read_instruction(const struct json *json, struct bpf_insn *instruction)
{
	static const long long int most[] = {UINT16_MAX, UINT8_MAX, UINT8_MAX, UINT32_MAX};
	long long int fields[ARRAY_SIZE(most)];

	if (json->type != JSON_ARRAY || json->array.n != ARRAY_SIZE(most))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(most); i++) {
		const struct json *field = json->array.elems[i];

		if (field->type != JSON_INTEGER || field->integer < 0 || field->integer > most[i])
			return false;
		fields[i] = field->integer;
	}
	*instruction = (struct bpf_insn){.code = (u_short)fields[0],
		.jt = (u_char)fields[1],
		.jf = (u_char)fields[2],
		.k = (bpf_u_int32)fields[3]};
	return true;
}

static void read_filter(struct reader *reader)
{
	const struct json *json = member(reader, "program");
	const char *why = "the filter is no list of instructions";
	struct bpf_insn *program;
	size_t n;

	if (json == NULL)
		return;
	if (json->type != JSON_ARRAY || json->array.n > CAPTURE_FILTER_MAX) {
		fail(reader, why);
		return;
	}
	n = json->array.n;
	program = xcalloc(n + 1, sizeof(*program));
	for (size_t i = 0; i < n; i++)
		if (!read_instruction(json->array.elems[i], &program[i]))
			fail(reader, why);
	if (reader->error == NULL) {
		reader->order->filter = capture_filter_create(program, n, &why);
		if (reader->order->filter == NULL)
			fail(reader, why);
	}
	free(program);
}

/* --- The command ---------------------------------------------------------------------------- */

static const struct choice points[] = {
	{"in", CAPTURE_IN}, {"out", CAPTURE_OUT}, {"both", CAPTURE_IN | CAPTURE_OUT}};

static const struct choice verdicts[] = {{"all", CAPTURE_ALL}, {"allowed", CAPTURE_ALLOWED},
	{"denied", CAPTURE_DENIED}, {"dropped", CAPTURE_DENIED | CAPTURE_DROPPED}};

static const struct choice formats[] = {{"pcapng", CAPTURE_PCAPNG}, {"json", CAPTURE_JSON}};

static char *read_order(const struct json *json, struct capture_order *order)
{
	struct reader reader = {.json = json, .order = order};

	if (json->type != JSON_OBJECT)
		return xstrdup("the capture that is asked for is no JSON object");
	read_names(&reader);
	order->filter_text = read_text(&reader, "filter");
	order->who = read_text(&reader, "who");
	order->points = read_choice(&reader, "point", points, ARRAY_SIZE(points));
	order->verdicts = read_choice(&reader, "verdict", verdicts, ARRAY_SIZE(verdicts));
	order->format = read_choice(&reader, "format", formats, ARRAY_SIZE(formats));
	order->snaplen = (uint32_t)read_number(&reader, "snaplen", 1, CAPTURE_SNAPLEN_MAX);
	order->seconds = (uint32_t)read_number(&reader, "seconds", 1, CAPTURE_SECONDS_MAX);
	order->packets = read_number(&reader, "packets", 0, UINT64_MAX);
	order->bytes = read_number(&reader, "bytes", 0, UINT64_MAX);
	read_filter(&reader);
	return reader.error;
}

static struct json *describe(const struct capture_session *session)
{
	struct json *object = json_object_create();

	json_object_put_string(object, "socket", capture_stream_path(session->stream));
	json_object_put(object, "ports", capture_port_names(session));
	return object;
}

static void begin(struct unixctl_conn *conn, int argc OVS_UNUSED, const char *argv[], void *config_)
{
	struct config *config = config_;
	struct capture_order order = {0};
	struct json *json = json_from_string(argv[1]);
	const struct capture_session *session = NULL;
	char *error = read_order(json, &order);

	if (error == NULL)
		session = capture_begin(config->sw->captures, &order, &error);
	else
		capture_order_free(&order);
	if (session != NULL)
		control_reply(conn, describe(session));
	else
		unixctl_command_reply_error(conn, error);
	json_destroy(json);
	free(error);
}

void control_capture_register(struct config *config)
{
	unixctl_command_register("capture/begin", "ORDER", 1, 1, begin, config);
}
