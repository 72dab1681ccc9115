/* SPDX-License-Identifier: Apache-2.0 */
/*
 * IPFIX templates out of the table of elements: see ipfix_templates.h.  Called by the encoder when
 * it is made.
 */
#include "sinks/ipfix_templates.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>

enum { ENTERPRISE_NUMBER = 4 };

int ipfix_complain(GError **complaint, int failure, char *error, size_t error_size)
{
	snprintf(error, error_size, "libfixbuf: %s",
		*complaint ? (*complaint)->message : "it does not say why");
	g_clear_error(complaint);
	return failure;
}

fbInfoModel_t *ipfix_model_create(uint32_t enterprise)
{
	fbInfoModel_t *model = fbInfoModelAlloc();

	for (size_t i = 0; i < n_ipfix_elements; i++) {
		const struct ipfix_element *from = &ipfix_elements[i];
		fbInfoElement_t element = FB_IE_INIT_FULL(from->name, enterprise, from->number,
			from->is_text ? FB_IE_VARLEN : from->size, from->flags, 0, 0, from->type,
			(char *)from->meaning);

		if (from->registry == IPFIX_OWN)
			fbInfoModelAddElement(model, &element);
	}
	return model;
}

static bool append_element(
	fbTemplate_t *template, const struct ipfix_element *element, GError **complaint)
{
	fbInfoElementSpec_t specifier = {.name = (char *)element->name,
		.len_override = element->is_text ? FB_IE_VARLEN : element->size};

	return fbTemplateAppendSpec(template, &specifier, 0, complaint);
}

/* The elements of struct ipfix_values that are in the template; in the internal one all are. */
static fbTemplate_t *make_template(fbInfoModel_t *model, int template, GError **complaint)
{
	fbTemplate_t *made = fbTemplateAlloc(model);

	for (size_t i = 0; i < n_ipfix_elements; i++) {
		const struct ipfix_element *element = &ipfix_elements[i];

		if (template >= 0 && !ipfix_element_is_in(element, (enum ipfix_template) template))
			continue;
		if (!append_element(made, element, complaint)) {
			fbTemplateFreeUnused(made);
			return NULL;
		}
	}
	if (template >= 0 && ipfix_template_scope((enum ipfix_template) template) > 0)
		fbTemplateSetOptionsScope(
			made, ipfix_template_scope((enum ipfix_template) template));
	return made;
}

static bool add_template(fbSession_t *session, bool internal, uint16_t identifier,
	fbTemplate_t *template, GError **complaint)
{
	return template &&
	       fbSessionAddTemplate(session, internal, identifier, template, complaint) != 0;
}

static bool add_templates(fbSession_t *session, GError **complaint)
{
	fbInfoModel_t *model = fbSessionGetInfoModel(session);

	if (!add_template(session, true, IPFIX_INTERNAL_TEMPLATE,
		    make_template(model, -1, complaint), complaint))
		return false;
	for (int i = 0; i < IPFIX_N_TEMPLATES; i++)
		if (!add_template(session, false, ipfix_template_identifier((enum ipfix_template)i),
			    make_template(model, i, complaint), complaint))
			return false;
	return add_template(session, true, IPFIX_INTERNAL_TYPE,
		       fbInfoElementAllocTypeTemplate(model, complaint), complaint) &&
	       add_template(session, false, IPFIX_TYPE_TEMPLATE,
		       fbInfoElementAllocTypeTemplate(model, complaint), complaint);
}

int ipfix_templates_add(fbSession_t *session, char *error, size_t error_size)
{
	GError *complaint = NULL;

	return add_templates(session, &complaint)
		       ? 0
		       : ipfix_complain(&complaint, -EIO, error, error_size);
}

static size_t index_of_text(const struct ipfix_element *element)
{
	return (element->offset - offsetof(struct ipfix_values, interface)) / sizeof(fbVarfield_t);
}

struct ipfix_shape ipfix_shape_of(enum ipfix_template template)
{
	struct ipfix_shape shape = {.template_bytes = IPFIX_TEMPLATE_HEADER};

	if (ipfix_template_scope(template) > 0)
		shape.template_bytes += IPFIX_SCOPE_COUNT;
	for (size_t i = 0; i < n_ipfix_elements; i++) {
		const struct ipfix_element *element = &ipfix_elements[i];

		if (!ipfix_element_is_in(element, template))
			continue;
		shape.template_bytes += IPFIX_SPECIFIER;
		if (element->registry != IPFIX_IANA)
			shape.template_bytes += ENTERPRISE_NUMBER;
		if (element->is_text)
			shape.texts |= 1u << index_of_text(element);
		else
			shape.fixed_bytes += element->size;
	}
	return shape;
}
