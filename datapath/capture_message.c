/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a capture tells its client: copies as blocks of pcapng, or as lines of JSON.  Called by the
 * capture's thread, under RCU.
 *
 * Interfaces of the file are ports, each described when its first packet comes.
 */
#include <config.h>

#include "datapath/capture.h"

#include <stdlib.h>
#include <string.h>

#include "datapath/control.h"
#include "openvswitch/json.h"
#include "util.h"

enum { MESSAGE_BYTES = 128 << 10 };

void capture_message_init(struct capture_message *message, struct capture_session *session)
{
	*message = (struct capture_message){
		.session = session,
		.blocks = {.bytes = xmalloc(MESSAGE_BYTES), .room = MESSAGE_BYTES},
	};
}

void capture_message_destroy(struct capture_message *message)
{
	free(message->blocks.bytes);
	free(message->interfaces);
}

static bool is_pcapng(const struct capture_message *message)
{
	return message->session->order.format == CAPTURE_PCAPNG;
}

/* --- Blocks --------------------------------------------------------------------------------- */

void capture_message_begin(struct capture_message *message)
{
	const struct capture_session *session = message->session;
	const struct capture_order *order = &session->order;

	if (!is_pcapng(message))
		return;
	char *comment = xasprintf("captured on host %s at %s%s for %s", session->sw->options->host,
		order->names[0], order->n_names > 1 ? " and others" : "", order->who);
	pcapng_section(
		&message->blocks, &(struct pcapng_section){.application = "Cordon " CORDON_VERSION,
					  .system = "Linux",
					  .comment = comment});
	free(comment);
}

static bool put_interface(struct capture_message *message, const char *name, uint16_t port)
{
	const struct capture_order *order = &message->session->order;
	char *words = capture_port_words(message->session->sw, port);
	bool fits = pcapng_interface(&message->blocks, &(struct pcapng_interface){.name = name,
							       .description = words,
							       .filter = order->filter_text,
							       .snaplen = order->snaplen});

	free(words);
	if (!fits)
		return false;
	message->interfaces = xrealloc(
		message->interfaces, (message->n_interfaces + 1) * sizeof(*message->interfaces));
	struct capture_interface *interface = &message->interfaces[message->n_interfaces++];
	*interface = (struct capture_interface){.port = port};
	ovs_strlcpy(interface->name, name, sizeof(interface->name));
	return true;
}

/* The number of the port's interface, or -1 if there is no room to describe it.  A port that has
 * another name than before is another one. */
static int find_interface(struct capture_message *message, uint16_t port)
{
	const char *name = control_port_name(message->session->sw, port);

	for (size_t i = message->n_interfaces; i-- > 0;)
		if (message->interfaces[i].port == port &&
			strcmp(message->interfaces[i].name, name) == 0)
			return (int)i;
	return put_interface(message, name, port) ? (int)message->n_interfaces - 1 : -1;
}

static bool put_block(struct capture_message *message, const struct capture_record *record)
{
	int interface = find_interface(message, record->port);
	char *comment;

	if (interface < 0)
		return false;
	comment = capture_comment(message->session->sw, record);
	bool fits = pcapng_packet(&message->blocks,
		&(struct pcapng_packet){.interface = (uint32_t)interface,
			.time_ns = record->time_ns,
			.data = record->data,
			.captured = record->captured,
			.original = record->original,
			.direction = record->point == CAPTURE_IN ? PCAPNG_INBOUND : PCAPNG_OUTBOUND,
			.comment = comment});
	free(comment);
	message->interfaces[interface].delivered += fits;
	message->last = (size_t)interface;
	return fits;
}

void capture_message_statistics(struct capture_message *message, size_t i, uint64_t end_ns)
{
	const struct capture_interface *interface = &message->interfaces[i];
	struct capture_session *session = message->session;

	pcapng_statistics(
		&message->blocks, &(struct pcapng_statistics){.interface = (uint32_t)i,
					  .time_ns = end_ns,
					  .start_ns = session->start_ns,
					  .end_ns = end_ns,
					  .dropped = atomic_load(&session->lost[interface->port]),
					  .delivered = interface->delivered});
}

/* --- Lines ---------------------------------------------------------------------------------- */

/* Consumes the object. */
static bool put_line(struct capture_message *message, struct json *object)
{
	struct pcapng *blocks = &message->blocks;
	char *text = json_to_string(object, JSSF_SORT);
	size_t n = strlen(text);
	bool fits = n < blocks->room - blocks->n;

	if (fits) {
		memcpy(blocks->bytes + blocks->n, text, n);
		blocks->bytes[blocks->n + n] = '\n';
		blocks->n += n + 1;
	}
	free(text);
	json_destroy(object);
	return fits;
}

void capture_message_end(
	struct capture_message *message, const char *why, uint64_t packets, uint64_t lost)
{
	struct json *object = json_object_create();

	json_object_put_string(object, "end", why);
	json_object_put(object, "packets", json_integer_create((long long int)packets));
	json_object_put(object, "lost", json_integer_create((long long int)lost));
	put_line(message, object);
}

/* --- Either --------------------------------------------------------------------------------- */

bool capture_message_put(struct capture_message *message, const struct capture_record *record)
{
	message->before = message->blocks.n;
	message->interfaces_before = message->n_interfaces;
	return is_pcapng(message)
		       ? put_block(message, record)
		       : put_line(message, capture_describe(message->session->sw, record));
}

void capture_message_take_back(struct capture_message *message)
{
	if (is_pcapng(message))
		message->interfaces[message->last].delivered--;
	message->blocks.n = message->before;
	message->n_interfaces = message->interfaces_before;
}
