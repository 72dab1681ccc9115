/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The summary of a traffic log: who talked to whom, by which rule.  Called by `cordon log summary`,
 * on its thread.  It is one question to log_flows().
 */
#include "log/flows.h"

struct summary {
	const struct log_filter *filter;
	size_t n;
	bool (*each)(const struct log_summary_row *row, void *context);
	void *context;
};

static uint64_t connections_of(
	const struct log_filter *filter, const struct log_flow_counts *counts)
{
	uint64_t n = log_flow_connections(counts) + counts->refused;

	if (filter->kind == LOG_UPDATE)
		return counts->updated;
	return filter->simulation || filter->kind == LOG_WOULD_DENY ? n + counts->would_deny : n;
}

/* What would be denied was allowed: it has other records, or wants none. */
static bool is_counted(const struct log_filter *filter, const struct log_flow_counts *counts)
{
	return filter->simulation || filter->kind == LOG_WOULD_DENY || counts->began ||
	       counts->ended || counts->updated || counts->refused;
}

static bool add_flow(const struct log_flow *flow, void *context)
{
	struct summary *summary = context;
	const struct log_filter *filter = summary->filter;
	const struct log_flow_counts *counts = &flow->counts;
	struct log_summary_row row = {
		.source_zone = flow->source.zone,
		.destination_zone = flow->destination.zone,
		.policy = filter->simulation ? flow->simulated_policy : flow->policy,
		.rule = filter->simulation ? flow->simulated_rule : flow->rule,
		.protocol = flow->protocol,
		.verdict = flow->verdict,
		.simulated = flow->simulated,
		.destination_port = flow->port,
		.connections = connections_of(filter, counts),
		.packets = counts->packets_forward + counts->packets_reverse,
		.bytes = counts->bytes_forward + counts->bytes_reverse,
		.last_ns = counts->last_ns,
	};

	if (!is_counted(filter, counts))
		return true;
	if (filter->limit && summary->n == filter->limit)
		return false;
	summary->n++;
	return summary->each(&row, summary->context);
}

int log_summarize(const char *directory, const struct log_filter *filter,
	bool (*each)(const struct log_summary_row *row, void *context), void *context, char *error,
	size_t error_size)
{
	struct summary summary = {.filter = filter, .each = each, .context = context};
	struct log_flow_query query = {
		.filter = *filter,
		.by = LOG_FLOW_SOURCE_ZONE | LOG_FLOW_DESTINATION_ZONE | LOG_FLOW_SERVICE |
		      LOG_FLOW_VERDICT | (filter->simulation ? LOG_FLOW_SIMULATED : LOG_FLOW_RULE),
	};

	query.filter.limit = 0;
	return log_flows(directory, &query, add_flow, &summary, error, error_size);
}
