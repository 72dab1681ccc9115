/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers to `cordon trace`: what would become of a frame, and, if asked to, what becomes of it.
 * Main thread.
 */
#include <config.h>

#include "datapath/trace.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "datapath/inject.h"
#include "openvswitch/dynamic-string.h"
#include "openvswitch/json.h"
#include "openvswitch/vlog.h"
#include "unixctl.h"
#include "util.h"

VLOG_DEFINE_THIS_MODULE(trace);

enum { FRAME_BYTES_MAX = 65535 };

/* --- the frame ------------------------------------------------------------------------------ */

/* Reads hexadecimal digits.  Returns the bytes, which the caller frees, or NULL. */
static uint8_t *read_hex(const char *text, size_t *n_bytes)
{
	size_t n = strlen(text);
	uint8_t *bytes;
	bool ok = true;

	if (n == 0 || n % 2 != 0 || n / 2 > FRAME_BYTES_MAX)
		return NULL;
	bytes = xmalloc(n / 2);
	for (size_t i = 0; ok && i < n / 2; i++)
		bytes[i] = (uint8_t)hexits_value(text + 2 * i, 2, &ok);
	if (!ok) {
		free(bytes);
		return NULL;
	}
	*n_bytes = n / 2;
	return bytes;
}

/* Puts the bytes into buffers, as many as they need.  NULL if there are not enough. */
static struct rte_mbuf *make_frame(
	const struct cordon_switch *sw, const uint8_t *bytes, size_t n_bytes)
{
	struct rte_mbuf *frame = rte_pktmbuf_alloc(sw->environment.pool), *last = frame;

	for (size_t at = 0; last != NULL && at < n_bytes;) {
		uint16_t n = (uint16_t)MIN(n_bytes - at, rte_pktmbuf_tailroom(last));

		last->data_len = n;
		memcpy(rte_pktmbuf_mtod(last, uint8_t *), bytes + at, n);
		frame->pkt_len += n;
		at += n;
		if (at == n_bytes)
			return frame;
		last->next = rte_pktmbuf_alloc(sw->environment.pool);
		last = last->next;
		frame->nb_segs++;
	}
	if (frame != NULL && last == NULL)
		frame->nb_segs--;
	rte_pktmbuf_free(frame);
	return NULL;
}

/* --- sending it for real -------------------------------------------------------------------- */

static struct json *list_outputs(const struct cordon_switch *sw, const struct injection *injection)
{
	struct json *array = json_array_create_empty();

	for (uint16_t i = 0; i < injection->n_outputs; i++) {
		if (injection->outputs[i].port == injection->port->number)
			continue;
		struct json *output = json_object_create();

		json_object_put_string(
			output, "port", control_port_name(sw, injection->outputs[i].port));
		json_object_put(
			output, "frames", json_integer_create(injection->outputs[i].frames));
		json_array_add(array, output);
	}
	return array;
}

static struct json *list_drops(const struct injection *injection)
{
	struct json *array = json_array_create_empty();

	for (unsigned int r = DROP_NONE + 1; r < DROP_N_REASONS; r++) {
		if (injection->drops[r] == 0)
			continue;
		struct json *drop = json_object_create();

		json_object_put_string(drop, "reason", drop_name(r));
		json_object_put_string(drop, "text", drop_text(r));
		json_object_put(
			drop, "frames", json_integer_create((long long)injection->drops[r]));
		json_array_add(array, drop);
	}
	return array;
}

static uint64_t count_drops(const struct injection *injection)
{
	uint64_t sum = 0;

	for (unsigned int r = DROP_NONE + 1; r < DROP_N_REASONS; r++)
		sum += injection->drops[r];
	return sum;
}

static bool has_output(const struct injection *injection, uint16_t port)
{
	for (uint16_t i = 0; i < injection->n_outputs; i++)
		if (injection->outputs[i].port == port)
			return true;
	return false;
}

/* The number of ports that frames left by, but for the one that answers go to. */
static uint16_t count_outputs(const struct injection *injection)
{
	return injection->n_outputs - has_output(injection, injection->port->number);
}

/* True if what happened is what was foretold. */
static bool agrees(const struct trace *trace, const struct injection *injection)
{
	uint16_t n_expected = trace->n_outputs;

	if (trace->waits) /* It completed its datagram, or did not: nobody could know. */
		return true;
	if (trace->reason != DROP_NONE)
		return injection->drops[trace->reason] != 0;
	for (unsigned int r = DROP_NONE + 1; r < DROP_N_REASONS; r++) {
		if (injection->drops[r] != trace->refusals[r])
			return false;
		n_expected += trace->refusals[r];
	}
	for (uint16_t i = 0; i < trace->n_outputs; i++)
		if (!has_output(injection, trace->outputs[i]))
			return false;
	return count_outputs(injection) == n_expected;
}

/* How many packets its connection has carried the other way: answers, to those who wait for one. */
static uint64_t count_back(const struct trace *trace, uint32_t flow)
{
	return flow == CONN_FLOW_NONE ? 0
				      : atomic_load(&conn_of_flow(trace->sw->connections, flow)
							     ->dir[!(flow & 1)]
							     .packets);
}

/* The connection that the packet has now, and whether it is new. */
static void put_connection(struct json *sent, const struct trace *trace, uint64_t back)
{
	const struct conn_table *table = trace->sw->connections;
	uint32_t flow = CONN_FLOW_NONE;

	if (trace->hashed)
		flow = conn_lookup(table, &trace->packet.key, trace->packet.hash);
	if (flow == CONN_FLOW_NONE)
		return;
	bool is_new = flow != trace->flow;
	json_object_put(sent, "connection", json_integer_create(flow / 2));
	json_object_put_string(
		sent, "connection_state", control_conn_state(conn_of_flow(table, flow)));
	json_object_put(sent, "connection_is_new", json_boolean_create(is_new));
	json_object_put_string(sent, "direction", flow & 1 ? "reverse" : "forward");
	/* A connection that began anew counts from 0 again. */
	if (is_new || count_back(trace, flow) < back)
		back = 0;
	json_object_put(sent, "packets_back", json_integer_create((long long int)back));
}

static struct json *describe_sent(
	const struct trace *trace, const struct injection *injection, uint64_t back)
{
	struct json *sent = json_object_create();
	uint64_t dropped = count_drops(injection);
	const char *result = count_outputs(injection) != 0 ? "forwarded"
			     : dropped != 0		   ? "dropped"
							   : "waits";

	json_object_put_string(sent, "result", result);
	json_object_put(sent, "outputs", list_outputs(trace->sw, injection));
	json_object_put(sent, "drops", list_drops(injection));
	json_object_put(sent, "answered", json_integer_create((long long)injection->answered));
	json_object_put(sent, "as_foretold", json_boolean_create(agrees(trace, injection)));
	put_connection(sent, trace, back);
	return sent;
}

/* Sends the frame for real.  NULL with a sentence in *error if it could not be. */
static struct json *send_frame(const struct trace *trace, const uint8_t *bytes, size_t n_bytes,
	const char *who, char **error)
{
	struct port *in = trace->context.in;
	struct rte_mbuf *frame = make_frame(trace->sw, bytes, n_bytes);
	struct injection *injection;
	struct json *sent = NULL;
	int result;

	if (frame == NULL) {
		*error = xstrdup("no packet buffer is free for it");
		return NULL;
	}
	injection = xmalloc(sizeof(*injection));
	uint64_t back = count_back(trace, trace->flow);
	result = inject_frame(trace->sw, in, frame, injection);
	if (result == 0)
		sent = describe_sent(trace, injection, back);
	else
		*error =
			xasprintf(result == -ETIMEDOUT
					  ? "the worker of port %s does not answer: `cordon worker "
					    "list`"
					  : "no worker polls port %s; is a policy in force? See "
					    "`cordon status`",
				in->name);
	VLOG_INFO("a frame of %zu bytes was sent in the name of port %s, as %s asked: %s", n_bytes,
		in->name, who,
		sent != NULL ? json_string(shash_find_data(sent->object, "result")) : *error);
	free(injection);
	return sent;
}

/* --- the command ---------------------------------------------------------------------------- */

struct order {
	struct port *in;
	uint8_t *bytes;
	size_t n_bytes;
	const char *sender; /* Who wants it sent for real, or NULL. */
};

/* Follows the frame, and sends it if that is wanted.  NULL with a sentence in *error. */
static struct json *carry_out(struct cordon_switch *sw, const struct order *order, char **error)
{
	struct rte_mbuf *frame = make_frame(sw, order->bytes, order->n_bytes);
	struct json *story = NULL, *sent = NULL;

	if (frame == NULL) {
		*error = xstrdup("no packet buffer is free for it");
		return NULL;
	}
	struct trace *trace = trace_create(sw, order->in, frame);
	trace_run(trace);
	if (order->sender != NULL)
		sent = send_frame(trace, order->bytes, order->n_bytes, order->sender, error);
	if (sent != NULL || order->sender == NULL)
		story = trace_story(trace);
	if (sent != NULL)
		json_object_put(story, "sent", sent);
	trace_destroy(trace);
	rte_pktmbuf_free(frame);
	return story;
}

static char *read_order(
	const struct config *config, int argc, const char *argv[], struct order *order)
{
	const struct config_port *port = shash_find_data(&config->ports, argv[1]);

	*order = (struct order){.sender = argc > 3 ? argv[3] : NULL};
	if (port == NULL)
		return xasprintf(
			"there is no port %s; `cordon port list` shows those that are", argv[1]);
	if (port->port == NULL)
		return xasprintf("port %s is not open: %s", argv[1],
			port->error != NULL ? port->error : "its turn has not come yet");
	order->in = port->port;
	if (order->sender != NULL && !atomic_load(&order->in->link_up))
		return xasprintf("port %s is down (%s), so no frame can come in by it; without "
				 "--send you are told what would become of one",
			argv[1], order->in->status);
	order->bytes = read_hex(argv[2], &order->n_bytes);
	if (order->bytes == NULL)
		return xasprintf("a frame is written as hexadecimal digits, two for each of at "
				 "most %d bytes",
			FRAME_BYTES_MAX);
	return NULL;
}

static void trace_frame(struct unixctl_conn *conn, int argc, const char *argv[], void *config_)
{
	const struct config *config = config_;
	struct json *story = NULL;
	struct order order;
	char *error = read_order(config, argc, argv, &order);

	if (error == NULL)
		story = carry_out(config->sw, &order, &error);
	if (story != NULL)
		control_reply(conn, story);
	else
		unixctl_command_reply_error(conn, error);
	free(order.bytes);
	free(error);
}

void control_trace_register(struct config *config)
{
	unixctl_command_register("cordon/trace", "PORT FRAME [WHO]", 2, 3, trace_frame, config);
}
