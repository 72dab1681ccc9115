/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ports of all hosts as the zone engine takes them.  Called by `cordon policy plan` and `cordon
 * why`, on their one thread.
 */
#include "cli/plan.h"

#include <stdlib.h>
#include <string.h>

#include "util.h"

static void load_one(struct view_endpoint *endpoint, const struct cordonrec_port *port)
{
	struct in6_addr *addresses = xcalloc(port->n_addresses + 1, sizeof(*addresses));
	size_t n = 0;

	/* What is no address is the switch's to complain of. */
	for (size_t i = 0; i < port->n_addresses; i++)
		n += ip_address_parse(port->addresses[i], &addresses[n]);
	*endpoint = (struct view_endpoint){
		.host = port->host ? port->host->name : "",
		.port = port->name,
		.vm_name = port->vm_name,
		.vm_id = port->vm_id,
		.tags = (const char *const *)port->tags,
		.n_tags = port->n_tags,
		.addresses = addresses,
		.n_addresses = n,
		.is_uplink = !strcmp(port->role, "uplink"),
	};
}

static int compare_endpoints(const void *a_, const void *b_)
{
	const struct view_endpoint *a = a_, *b = b_;
	int order = strverscmp(a->host, b->host);

	return order ? order : strverscmp(a->port, b->port);
}

void cli_endpoints_load(struct cli_endpoints *endpoints, struct model *model)
{
	const struct cordonrec_port *port;
	size_t n = 0;

	*endpoints = (struct cli_endpoints){0};
	CORDONREC_PORT_FOR_EACH (port, model_idl(model))
		n++;
	endpoints->at = xcalloc(n + 1, sizeof(*endpoints->at));
	CORDONREC_PORT_FOR_EACH (port, model_idl(model))
		load_one(&endpoints->at[endpoints->n++], port);
	qsort(endpoints->at, endpoints->n, sizeof(*endpoints->at), compare_endpoints);
}

void cli_endpoints_free(struct cli_endpoints *endpoints)
{
	for (size_t i = 0; i < endpoints->n; i++)
		free(CONST_CAST(struct in6_addr *, endpoints->at[i].addresses));
	free(endpoints->at);
	*endpoints = (struct cli_endpoints){0};
}

char *cli_endpoint_name(const struct cli *cli, const struct view_endpoint *endpoint)
{
	const char *name = *endpoint->vm_name ? endpoint->vm_name : endpoint->port;

	if (!strcmp(endpoint->host, cli->host))
		return xstrdup(name);
	return xasprintf("%s/%s", endpoint->host, name);
}
