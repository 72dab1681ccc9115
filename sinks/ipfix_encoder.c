/* SPDX-License-Identifier: Apache-2.0 */
/*
 * IPFIX messages out of records: see ipfix_encoder.h.  Called by the IPFIX sink's thread.
 *
 * libfixbuf transcodes: one internal template describes struct ipfix_values, whole, and each
 * external one says which of its elements go on the wire.  It would send a message by itself when
 * the next record does not fit, or leave an empty set at its end; so the room is counted here, and
 * it is never asked to add what does not fit.
 */
#include "sinks/ipfix_encoder.h"

#include <errno.h>
#include <fixbuf/public.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sinks/ipfix_element.h"
#include "sinks/ipfix_interfaces.h"
#include "sinks/ipfix_templates.h"
#include "sinks/ipfix_text.h"
#include "sinks/ipfix_values.h"

enum { MESSAGE_HEADER = 16, SET_HEADER = 4 };

/* What the message under way holds. */
enum content { NOTHING, TEMPLATES, DATA };

struct ipfix_encoder {
	struct ipfix_encoder_options options;
	fbInfoModel_t *model;
	fbSession_t *session;	/* Owned by `buffer` once there is one, as the exporter is. */
	fbExporter_t *exporter; /* Writes to message[]. */
	fBuf_t *buffer;
	struct ipfix_interfaces *interfaces;
	struct ipfix_shape shapes[IPFIX_N_TEMPLATES];

	enum content content;
	size_t used;	   /* Bytes of the message under way. */
	uint16_t template; /* Of the set under way. */

	size_t step;	     /* Of the announcement... */
	size_t interface_at; /* ...and where it is in the interfaces. */
	uint64_t not_sent;

	uint8_t message[IPFIX_MESSAGE_MOST];
	uint8_t scratch[IPFIX_MESSAGE_MOST];
};

/* --- Making ----------------------------------------------------------------------------------- */

static int make(struct ipfix_encoder *encoder, char *error, size_t error_size)
{
	int failure;

	encoder->interfaces = ipfix_interfaces_create();
	if (!encoder->interfaces) {
		snprintf(error, error_size, "no memory for the numbers of interfaces");
		return -ENOMEM;
	}
	for (int i = 0; i < IPFIX_N_TEMPLATES; i++)
		encoder->shapes[i] = ipfix_shape_of((enum ipfix_template)i);
	encoder->model = ipfix_model_create(encoder->options.enterprise);
	encoder->session = fbSessionAlloc(encoder->model);
	fbSessionSetDomain(encoder->session, encoder->options.domain);
	failure = ipfix_templates_add(encoder->session, error, error_size);
	if (failure)
		return failure;
	encoder->exporter =
		fbExporterAllocBuffer(encoder->message, (uint16_t)encoder->options.message_max);
	encoder->buffer = fBufAllocForExport(encoder->session, encoder->exporter);
	fBufSetAutomaticMode(encoder->buffer, FALSE);
	return 0;
}

int ipfix_encoder_create(const struct ipfix_encoder_options *options, struct ipfix_encoder **out,
	char *error, size_t error_size)
{
	struct ipfix_encoder *encoder;
	int failure;

	if (options->enterprise == 0 || options->enterprise == FB_IE_PEN_REVERSE) {
		snprintf(error, error_size,
			"enterprise-number=%u: that number has a meaning of its own in IPFIX; "
			"give the one that IANA has assigned to you",
			options->enterprise);
		return -EINVAL;
	}
	encoder = calloc(1, sizeof(*encoder));
	if (!encoder) {
		snprintf(error, error_size, "no memory for IPFIX messages");
		return -ENOMEM;
	}
	encoder->options = *options;
	failure = make(encoder, error, error_size);
	if (failure)
		ipfix_encoder_free(encoder);
	else
		*out = encoder;
	return failure;
}

void ipfix_encoder_free(struct ipfix_encoder *encoder)
{
	if (!encoder)
		return;
	if (encoder->buffer)
		fBufFree(encoder->buffer);
	else if (encoder->session)
		fbSessionFree(encoder->session);
	if (encoder->model)
		fbInfoModelFree(encoder->model);
	ipfix_interfaces_free(encoder->interfaces);
	free(encoder);
}

/* --- The message ------------------------------------------------------------------------------ */

/* The bytes that come before `content` of a template: none if the set goes on. */
static size_t headers(const struct ipfix_encoder *encoder, uint16_t template)
{
	if (encoder->content == NOTHING)
		return MESSAGE_HEADER + SET_HEADER;
	return encoder->template == template ? 0 : SET_HEADER;
}

static bool has_room(
	const struct ipfix_encoder *encoder, enum content content, uint16_t template, size_t bytes)
{
	if (encoder->content != NOTHING && encoder->content != content)
		return false;
	return encoder->used + headers(encoder, template) + bytes <= encoder->options.message_max;
}

static void note(
	struct ipfix_encoder *encoder, enum content content, uint16_t template, size_t bytes)
{
	encoder->used += headers(encoder, template) + bytes;
	encoder->content = content;
	encoder->template = template;
}

/* libfixbuf says so once when templates follow data, or data templates, even if the message is
 * empty. */
static bool is_end_of_message(GError **complaint)
{
	bool is = g_error_matches(*complaint, FB_ERROR_DOMAIN, FB_ERROR_EOM);

	if (is)
		g_clear_error(complaint);
	return is;
}

size_t ipfix_encoder_take(struct ipfix_encoder *encoder, const uint8_t **message)
{
	GError *complaint = NULL;

	if (encoder->content == NOTHING)
		return 0;
	encoder->content = NOTHING;
	encoder->used = 0;
	/* Only a copy, which cannot fail. */
	if (!fBufEmit(encoder->buffer, &complaint)) {
		g_clear_error(&complaint);
		return 0;
	}
	*message = encoder->message;
	return fbExporterGetMsgLen(encoder->exporter);
}

/* --- Data ------------------------------------------------------------------------------------- */

/* The n-th text of the values, which are all at their end. */
static fbVarfield_t *text_at(struct ipfix_values *values, size_t n)
{
	return (fbVarfield_t *)((char *)values + offsetof(struct ipfix_values, interface)) + n;
}

/* Makes the texts fit.  Returns the length of the record. */
static size_t fit(
	struct ipfix_encoder *encoder, enum ipfix_template template, struct ipfix_values *values)
{
	const struct ipfix_shape *shape = &encoder->shapes[template];
	size_t room = encoder->options.message_max - MESSAGE_HEADER - SET_HEADER, n = 0;
	fbVarfield_t *texts[IPFIX_TEXTS];

	for (size_t i = 0; i < IPFIX_TEXTS; i++)
		if (shape->texts & 1u << i)
			texts[n++] = text_at(values, i);
	return shape->fixed_bytes +
	       ipfix_texts_fit(texts, n, room - shape->fixed_bytes, encoder->scratch);
}

static bool append(struct ipfix_encoder *encoder, uint16_t template, struct ipfix_values *values,
	GError **complaint)
{
	return fBufSetInternalTemplate(encoder->buffer, IPFIX_INTERNAL_TEMPLATE, complaint) &&
	       fBufSetExportTemplate(encoder->buffer, template, complaint) &&
	       fBufAppend(encoder->buffer, (uint8_t *)values, sizeof(*values), complaint);
}

/* There is room for it. */
static int add_values(struct ipfix_encoder *encoder, enum ipfix_template template,
	struct ipfix_values *values, size_t length, char *error, size_t error_size)
{
	uint16_t identifier = ipfix_template_identifier(template);
	GError *complaint = NULL;
	bool added = append(encoder, identifier, values, &complaint);

	if (!added && is_end_of_message(&complaint))
		added = append(encoder, identifier, values, &complaint);
	if (!added)
		return ipfix_complain(&complaint, -EINVAL, error, error_size);
	note(encoder, DATA, identifier, length);
	return 0;
}

static bool has_room_for(
	const struct ipfix_encoder *encoder, enum ipfix_template template, size_t length)
{
	return has_room(encoder, DATA, ipfix_template_identifier(template), length);
}

/* --- Interfaces ------------------------------------------------------------------------------- */

static struct ipfix_values interface_values(const char *name, uint32_t number)
{
	return (struct ipfix_values){
		.ingress = number,
		.interface = {.len = strlen(name), .buf = (uint8_t *)name},
	};
}

/* The number of a port, which is told to the collector first if it is new.  *number is 0 if there
 * is no memory for one. */
static int number_of(struct ipfix_encoder *encoder, const char *name, uint32_t *number, char *error,
	size_t error_size)
{
	*number = ipfix_interfaces_find(encoder->interfaces, name);
	if (*number || !*name)
		return 0;
	struct ipfix_values values = interface_values(name, 0);
	size_t length = fit(encoder, IPFIX_INTERFACE, &values);

	if (!has_room_for(encoder, IPFIX_INTERFACE, length))
		return -ENOBUFS;
	*number = values.ingress = ipfix_interfaces_add(encoder->interfaces, name);
	return *number ? add_values(encoder, IPFIX_INTERFACE, &values, length, error, error_size)
		       : 0;
}

/* --- Records ---------------------------------------------------------------------------------- */

static int add_gap(
	struct ipfix_encoder *encoder, struct ipfix_values *values, char *error, size_t error_size)
{
	size_t length = fit(encoder, IPFIX_GAP, values);
	int failure;

	if (!has_room_for(encoder, IPFIX_GAP, length))
		return -ENOBUFS;
	values->exporting_process = encoder->options.process;
	values->not_sent = encoder->not_sent + values->lost;
	failure = add_values(encoder, IPFIX_GAP, values, length, error, error_size);
	if (!failure)
		encoder->not_sent = values->not_sent;
	return failure;
}

static int add_flow(struct ipfix_encoder *encoder, const struct log_record *record,
	enum ipfix_template template, struct ipfix_values *values, char *error, size_t error_size)
{
	int failure = number_of(encoder, record->source.port, &values->ingress, error, error_size);
	size_t length;

	if (!failure)
		failure = number_of(
			encoder, record->destination.port, &values->egress, error, error_size);
	if (failure)
		return failure;
	length = fit(encoder, template, values);
	if (!has_room_for(encoder, template, length))
		return -ENOBUFS;
	return add_values(encoder, template, values, length, error, error_size);
}

int ipfix_encoder_add(struct ipfix_encoder *encoder, const struct log_record *record, char *error,
	size_t error_size)
{
	struct ipfix_values values;
	enum ipfix_template template;

	if (record->kind >= LOG_N_KINDS) {
		snprintf(error, error_size, "a record of kind %u, which is none", record->kind);
		return -EINVAL;
	}
	template = ipfix_values_of(record, &values);
	if (template == IPFIX_GAP)
		return add_gap(encoder, &values, error, error_size);
	return add_flow(encoder, record, template, &values, error, error_size);
}

/* --- The announcement ------------------------------------------------------------------------- */

/* Its steps: the templates of records, that of types, each element's type, the interfaces. */
enum { STEP_TYPE_TEMPLATE = IPFIX_N_TEMPLATES, STEP_TYPES };

void ipfix_encoder_begin_announcement(struct ipfix_encoder *encoder)
{
	encoder->step = 0;
	encoder->interface_at = 0;
}

static int announce_template(struct ipfix_encoder *encoder, uint16_t identifier, size_t bytes,
	bool is_options, char *error, size_t error_size)
{
	uint16_t set = is_options ? FB_TID_OTS : FB_TID_TS;
	GError *complaint = NULL;
	bool added;

	if (!has_room(encoder, TEMPLATES, set, bytes))
		return -ENOBUFS;
	added = fbSessionExportTemplate(encoder->session, identifier, &complaint);
	if (!added && is_end_of_message(&complaint))
		added = fbSessionExportTemplate(encoder->session, identifier, &complaint);
	if (!added)
		return ipfix_complain(&complaint, -EIO, error, error_size);
	note(encoder, TEMPLATES, set, bytes);
	return 0;
}

static bool append_type(
	struct ipfix_encoder *encoder, const struct ipfix_element *element, GError **complaint)
{
	const fbInfoElement_t *own = fbInfoModelGetElementByID(
		encoder->model, element->number, encoder->options.enterprise);

	return fbInfoElementWriteOptionsRecord(
		encoder->buffer, own, IPFIX_INTERNAL_TYPE, IPFIX_TYPE_TEMPLATE, complaint);
}

static int announce_type(struct ipfix_encoder *encoder, const struct ipfix_element *element,
	char *error, size_t error_size)
{
	size_t bytes = IPFIX_TYPE_RECORD_BYTES + strlen(element->name) + strlen(element->meaning);
	GError *complaint = NULL;
	bool added;

	if (!has_room(encoder, DATA, IPFIX_TYPE_TEMPLATE, bytes))
		return -ENOBUFS;
	added = append_type(encoder, element, &complaint);
	if (!added && is_end_of_message(&complaint))
		added = append_type(encoder, element, &complaint);
	if (!added)
		return ipfix_complain(&complaint, -EIO, error, error_size);
	note(encoder, DATA, IPFIX_TYPE_TEMPLATE, bytes);
	return 0;
}

static int announce_interfaces(struct ipfix_encoder *encoder, char *error, size_t error_size)
{
	size_t at = encoder->interface_at;
	const char *name;
	uint32_t number;

	while (ipfix_interfaces_next(encoder->interfaces, &at, &name, &number)) {
		struct ipfix_values values = interface_values(name, number);
		size_t length = fit(encoder, IPFIX_INTERFACE, &values);
		int failure;

		if (!has_room_for(encoder, IPFIX_INTERFACE, length))
			return -ENOBUFS;
		failure = add_values(encoder, IPFIX_INTERFACE, &values, length, error, error_size);
		if (failure)
			return failure;
		encoder->interface_at = at;
	}
	return 0;
}

static int announce_step(struct ipfix_encoder *encoder, char *error, size_t error_size)
{
	size_t step = encoder->step;

	if (step < IPFIX_N_TEMPLATES)
		return announce_template(encoder,
			ipfix_template_identifier((enum ipfix_template)step),
			encoder->shapes[step].template_bytes,
			ipfix_template_scope((enum ipfix_template)step) > 0, error, error_size);
	if (step == STEP_TYPE_TEMPLATE)
		return announce_template(encoder, IPFIX_TYPE_TEMPLATE, IPFIX_TYPE_TEMPLATE_BYTES,
			true, error, error_size);
	if (ipfix_elements[step - STEP_TYPES].registry != IPFIX_OWN)
		return 0;
	return announce_type(encoder, &ipfix_elements[step - STEP_TYPES], error, error_size);
}

int ipfix_encoder_announce(struct ipfix_encoder *encoder, char *error, size_t error_size)
{
	for (; encoder->step < STEP_TYPES + n_ipfix_elements; encoder->step++) {
		int failure = announce_step(encoder, error, error_size);

		if (failure)
			return failure;
	}
	return announce_interfaces(encoder, error, error_size);
}
