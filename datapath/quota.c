/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a port may open: its connections, and those of them that are half-open.  Called by workers
 * on the miss path, before a connection is made.
 */
#include <config.h>

#include "datapath/miss.h"

/* The connections that the input port has opened, and those of them that are half-open. */
static void read_quota(
	const struct packet_context *context, uint32_t *n_connections, uint32_t *n_half_open)
{
	const struct port_quota *quota = &context->worker->sw->quotas[context->in->number];
	uint64_t opened = atomic_load_explicit(&quota->opened, memory_order_relaxed);

	*n_connections = (uint32_t)opened;
	*n_half_open = (uint32_t)(opened / QUOTA_HALF_OPEN);
}

enum drop_reason quota_check(const struct packet_context *context)
{
	const struct port_settings *settings = context->settings;
	uint32_t n_connections, n_half_open;

	read_quota(context, &n_connections, &n_half_open);
	if (settings->connection_limit != 0 && n_connections >= settings->connection_limit)
		return DROP_QUOTA;
	if (settings->half_open_limit != 0 && n_half_open >= settings->half_open_limit)
		return DROP_HALF_OPEN_QUOTA;
	return DROP_NONE;
}

/* Half of a limit, or an eighth of the table where there is none. */
static uint32_t share(const struct conn_table *table, uint32_t limit)
{
	return limit != 0 ? limit / 2 : conn_capacity(table) / 8;
}

bool quota_may_cache_denial(const struct miss *miss)
{
	const struct packet_context *context = miss->context;
	const struct conn_table *table = context->worker->sw->connections;
	uint32_t n_connections, n_half_open;

	read_quota(context, &n_connections, &n_half_open);
	return !miss->forwarding.flood &&
	       n_half_open < share(table, context->settings->half_open_limit) &&
	       n_connections < share(table, context->settings->connection_limit);
}
