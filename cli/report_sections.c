/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the sections of the report ask and show.  Called by report.c, on the one thread.  Each is
 * one of the questions of `cordon log`.
 */
#include "cli/report.h"

#include <stdlib.h>
#include <string.h>

#include "openvswitch/dynamic-string.h"
#include "svec.h"
#include "util.h"

enum { ROWS_SHOWN = 15, PAIRS_SHOWN = 20 };

/* --- Asking --------------------------------------------------------------------------------- */

/* A question of the report's span and zone. */
static struct cli_log_answer begin(const struct report *report)
{
	struct cli_log_answer answer;

	/* The options have been read once, and are good. */
	cli_log_answer_begin(report->cli, &answer, 0);
	answer.query.filter.since_ns = report->since_ns;
	answer.query.filter.until_ns = report->until_ns;
	return answer;
}

static void end(struct report *report, struct cli_log_answer *answer)
{
	report_note(report, answer->rc, answer->error);
	cli_log_answer_free(answer);
}

/* --- Totals --------------------------------------------------------------------------------- */

struct counting {
	struct report_totals *totals;
	struct svec hosts;
};

static bool count_flow(const struct log_flow *flow, void *context)
{
	struct counting *counting = context;
	struct report_totals *totals = counting->totals;
	struct json *row = json_object_create();

	totals->records += flow->counts.records;
	if (!svec_contains_unsorted(&counting->hosts, flow->host))
		svec_add_nocopy(&counting->hosts, cli_log_clean_text(flow->host));
	if (!flow->policy_revision) {
		json_destroy(row);
		return true;
	}
	cli_log_put_number(row, "revision", flow->policy_revision);
	cli_log_put_number(row, "first_ns", flow->counts.first_ns);
	json_array_add(totals->revisions, row);
	return true;
}

static bool count_lost(const struct log_gap *gap, void *context)
{
	struct report_totals *totals = context;

	totals->lost += gap->lost;
	return true;
}

void report_count(struct report *report, const char *directory, struct report_totals *totals)
{
	struct cli_log_answer answer = begin(report);
	struct log_flow_query query = {
		.filter = answer.query.filter, .by = LOG_FLOW_REVISION | LOG_FLOW_HOST};
	struct counting counting = {totals, SVEC_EMPTY_INITIALIZER};
	char error[512];

	*totals = (struct report_totals){
		.matrix = json_array_create_empty(), .revisions = json_array_create_empty()};
	cli_log_answer_ask(&answer, &query, count_flow, &counting);
	cli_json_sort(totals->revisions, "revision");
	report_note(report,
		log_gaps(directory, report->since_ns, report->until_ns, count_lost, totals, error,
			sizeof(error)),
		error);
	cli_log_matrix_rows(&answer);
	totals->unlogged = cli_log_matrix_unlogged(&answer);
	for (size_t i = 0; i < answer.rows->array.n; i++) {
		const struct json *row = answer.rows->array.elems[i];

		totals->allowed += (uint64_t)cli_json_number(row, "allowed");
		totals->unprotected += (uint64_t)cli_json_number(row, "unprotected");
		totals->denied += (uint64_t)cli_json_number(row, "denied");
		json_array_add(totals->matrix, json_clone(row));
	}
	totals->hosts = counting.hosts.n ? svec_join(&counting.hosts, ", ", "")
					 : xstrdup(report->cli->host);
	report->records = totals->records;
	svec_destroy(&counting.hosts);
	end(report, &answer);
}

void report_totals_free(struct report_totals *totals)
{
	json_destroy(totals->matrix);
	json_destroy(totals->revisions);
	free(totals->hosts);
	free(totals->unlogged);
}

/* "12 (alice, 2026-01-31 14:00:05: open the shop)" for each that has decided something. */
void report_put_revisions(struct report *report, const struct report_totals *totals)
{
	struct model_error error;
	struct model *model = NULL;
	int64_t last = 0;

	if (!cli_option(report->cli, "directory"))
		model = model_open(report->cli->database, report->cli->timeout_ms, &error);
	fputs("<dt>Policy</dt><dd>", report->out);
	for (size_t i = 0; i < totals->revisions->array.n; i++) {
		int64_t number = cli_json_number(totals->revisions->array.elems[i], "revision");
		const struct cordonrec_policy_revision *row;
		char when[CLI_TEXT_MAX], *text;

		if (number == last) /* Of another host. */
			continue;
		row = model ? model_revision(model, number) : NULL;
		text = row ? xasprintf("revision %lld (%s, %s: %s)", (long long int)number,
				     row->author,
				     report_time((uint64_t)row->time * 1000000000, when),
				     row->comment)
			   : xasprintf("revision %lld", (long long int)number);
		if (last)
			fputs("<br>", report->out);
		report_put_text(report->out, text);
		free(text);
		last = number;
	}
	fputs(last ? "</dd>\n" : "no record names a revision</dd>\n", report->out);
	model_close(model);
}

/* --- Figures -------------------------------------------------------------------------------- */

static void put_figure(FILE *out, const char *class, uint64_t n, const char *words)
{
	char count[CLI_TEXT_MAX];

	fprintf(out, "<li class=\"%s\"><b>%s</b><span>%s</span></li>\n", class,
		report_short_count(n, count), words);
}

static void put_figures(const struct report *report, const struct report_totals *totals)
{
	FILE *out = report->out;

	fputs("<ul class=\"figures\">\n", out);
	put_figure(out, "allowed", totals->allowed, "connections allowed by a rule");
	put_figure(out, "unprotected", totals->unprotected,
		"connections unprotected: allowed by a default only");
	put_figure(out, "denied", totals->denied, "attempts refused");
	put_figure(out, "other", totals->lost, "records lost");
	fputs("</ul>\n", out);
}

/* --- Sections ------------------------------------------------------------------------------- */

static void put_matrix(struct report *report, const struct report_totals *totals)
{
	static const struct cli_column columns[] = {
		{"from", "source_zone", CLI_AUTO, 0, 0, NULL},
		{"to", "destination_zone", CLI_AUTO, 0, 0, NULL},
		{"allowed", "allowed", CLI_COUNT, 0, 0, NULL},
		{"unprotected", "unprotected", CLI_COUNT, 0, 0, NULL},
		{"denied", "denied", CLI_COUNT, 0, 0, NULL},
		{"bytes", "bytes", CLI_BYTES, 0, 0, NULL},
		{"last", "last_ns", CLI_AUTO, 0, 0, report_last_cell},
	};

	report_section(report->out, "zones", "Which zones talk",
		"Connections from the zone of a row to that of a column. Unprotected is what no "
		"rule "
		"but only a default has allowed: nobody has said that it should be.");
	if (totals->matrix->array.n)
		report_put_matrix(report->out, totals->matrix);
	if (totals->unlogged) {
		fputs("<p class=\"warning\">Unprotected too, as the switch has counted, but "
		      "without "
		      "a record of this time: ",
			report->out);
		report_put_text(report->out, totals->unlogged);
		fputs(".</p>\n", report->out);
	}
	fputs("<h3>Pairs of zones, the busiest first</h3>\n", report->out);
	report_table(report, columns, ARRAY_SIZE(columns), totals->matrix, PAIRS_SHOWN,
		"Nothing was recorded.");
	report_section_end(report->out);
}

static void put_denials(struct report *report)
{
	static const struct cli_column columns[] = {
		{"source", "source_vm_name", CLI_AUTO, 0, 0, cli_log_source_cell},
		{"destination", "destination_vm_name", CLI_AUTO, 0, 0, cli_log_destination_cell},
		{"service", "protocol", CLI_AUTO, 0, 0, cli_log_service_cell},
		{"rule", "rule", CLI_AUTO, 0, 0, cli_log_rule_cell},
		{"attempts", "refused", CLI_COUNT, 0, 0, NULL},
		{"last", "last_ns", CLI_AUTO, 0, 0, report_last_cell},
	};
	struct cli_log_answer answer = begin(report);

	report_section(report->out, "denials", "What was refused", NULL);
	report_put_chart(report, answer.directory);
	answer.query.filter.kind = LOG_DENIED;
	answer.limit = 1000;
	cli_log_answer_flows(&answer,
		LOG_FLOW_SOURCE_ZONE | LOG_FLOW_DESTINATION_ZONE | LOG_FLOW_SOURCE |
			LOG_FLOW_DESTINATION | LOG_FLOW_SERVICE | LOG_FLOW_TYPE | LOG_FLOW_RULE,
		LOG_FLOW_MOST_OFTEN);
	if (answer.rows->array.n) {
		fputs("<h3>By whom and by which rule, the most first</h3>\n", report->out);
		report_table(report, columns, ARRAY_SIZE(columns), answer.rows, ROWS_SHOWN, "");
	}
	report_section_end(report->out);
	end(report, &answer);
}

static void put_top(struct report *report, const char *of, const char *title)
{
	static const struct cli_column columns[] = {
		{"name", "name", CLI_AUTO, 0, 0, NULL},
		{"zone", "zone", CLI_AUTO, 0, 0, NULL},
		{"bytes", "bytes", CLI_BYTES, 0, 0, NULL},
		{"sent", "bytes_sent", CLI_BYTES, 0, 0, NULL},
		{"received", "bytes_received", CLI_BYTES, 0, 0, NULL},
		{"opened", "opened", CLI_COUNT, 0, 0, NULL},
		{"accepted", "accepted", CLI_COUNT, 0, 0, NULL},
		{"refused", "refused", CLI_COUNT, 0, 0, NULL},
	};
	static const struct cli_column service_columns[] = {
		{"service", "name", CLI_AUTO, 0, 0, NULL},
		{"bytes", "bytes", CLI_BYTES, 0, 0, NULL},
		{"packets", "packets", CLI_COUNT, 0, 0, NULL},
		{"connections", "connections", CLI_COUNT, 0, 0, NULL},
		{"refused", "refused", CLI_COUNT, 0, 0, NULL},
	};
	struct cli_log_answer answer = begin(report);

	cli_log_top_rows(&answer, of, "bytes");
	fprintf(report->out, "<h3>%s</h3>\n", title);
	if (!strcmp(of, "service"))
		report_table(report, service_columns, ARRAY_SIZE(service_columns), answer.rows,
			ROWS_SHOWN, "None.");
	else
		report_table(
			report, columns, ARRAY_SIZE(columns), answer.rows, ROWS_SHOWN, "None.");
	end(report, &answer);
}

static void put_talkers(struct report *report)
{
	report_section(report->out, "talkers", "Top talkers",
		"By bytes of connections that have ended. Opened are connections as their source, "
		"accepted as their destination.");
	put_top(report, "vm", "VMs, and ports beyond which others are");
	put_top(report, "service", "Services");
	report_section_end(report->out);
}

static void put_new(struct report *report)
{
	static const struct cli_column columns[] = {
		{"first seen", "first_ns", CLI_AUTO, 0, 0, report_first_cell},
		{"source", "source_vm_name", CLI_AUTO, 0, 0, cli_log_source_cell},
		{"destination", "destination_vm_name", CLI_AUTO, 0, 0, cli_log_destination_cell},
		{"zones", "source_zone", CLI_AUTO, 0, 0, cli_log_zones_cell},
		{"service", "protocol", CLI_AUTO, 0, 0, cli_log_service_cell},
		{"connections", "connections", CLI_COUNT, 0, 0, NULL},
		{"refused", "refused", CLI_COUNT, 0, 0, NULL},
	};
	struct cli_log_answer answer = begin(report);

	report_section(report->out, "new", "Seen for the first time",
		"Pairs and services of which the log has no record from before this span. If it "
		"begins only within the span, all of them are new to it.");
	answer.limit = 1000;
	cli_log_new_rows(&answer, false);
	report_table(
		report, columns, ARRAY_SIZE(columns), answer.rows, ROWS_SHOWN, "Nothing was new.");
	report_section_end(report->out);
	end(report, &answer);
}

static char *spoofer_cell(const struct json *row)
{
	const char *vm = cli_json_text(row, "vm_name"), *port = cli_json_text(row, "port");

	return *vm && strcmp(vm, port) ? xasprintf("%s (port %s)", vm, port) : xstrdup(port);
}

static void put_spoofed(struct report *report)
{
	static const struct cli_column columns[] = {
		{"who", "vm_name", CLI_AUTO, 0, 0, spoofer_cell},
		{"zone", "zone", CLI_AUTO, 0, 0, NULL},
		{"reason", "reason", CLI_AUTO, 0, 0, NULL},
		{"claimed address", "claimed_address", CLI_AUTO, 0, 0, NULL},
		{"claimed MAC", "claimed_mac", CLI_AUTO, 0, 0, NULL},
		{"attempts", "attempts", CLI_COUNT, 0, 0, NULL},
		{"last", "last_ns", CLI_AUTO, 0, 0, report_last_cell},
	};
	struct cli_log_answer answer = begin(report);

	report_section(report->out, "spoofed", "Who spoke in somebody else&#39;s name",
		"Frames with an address or MAC that is not the sender&#39;s own. All of them were "
		"dropped.");
	cli_log_spoofed_rows(&answer);
	report_table(report, columns, ARRAY_SIZE(columns), answer.rows, ROWS_SHOWN, "Nobody.");
	report_section_end(report->out);
	end(report, &answer);
}

static char *simulated_rule_cell(const struct json *row)
{
	const char *policy = cli_json_text(row, "simulated_policy");

	return xasprintf(
		"%s%s%s", policy, *policy ? "/" : "", cli_json_text(row, "simulated_rule"));
}

static void put_simulated(struct report *report)
{
	static const struct cli_column columns[] = {
		{"zones", "source_zone", CLI_AUTO, 0, 0, cli_log_zones_cell},
		{"service", "protocol", CLI_AUTO, 0, 0, cli_log_service_cell},
		{"now", "verdict", CLI_STATE, 0, 0, NULL},
		{"would be", "simulated_verdict", CLI_STATE, 0, 0, NULL},
		{"by", "simulated_rule", CLI_AUTO, 0, 0, simulated_rule_cell},
		{"times", "times", CLI_COUNT, 0, 0, NULL},
		{"last", "last_ns", CLI_AUTO, 0, 0, report_last_cell},
	};
	struct cli_log_answer answer = begin(report);

	report_section(report->out, "simulated", "What policies on trial would change",
		"Policies of mode <i>simulate</i> decide nothing; this is what would be otherwise "
		"if "
		"they were enforced.");
	cli_log_simulated_rows(&answer);
	report_table(report, columns, ARRAY_SIZE(columns), answer.rows, ROWS_SHOWN, "Nothing.");
	report_section_end(report->out);
	end(report, &answer);
}

static void put_unused(struct report *report)
{
	static const struct cli_column columns[] = {
		{"rule", "rule", CLI_AUTO, 0, 0, cli_log_rule_cell},
		{"action", "action", CLI_STATE, 0, 0, NULL},
		{"tier", "tier", CLI_AUTO, 0, 0, NULL},
		{"label", "label", CLI_AUTO, 0, 0, NULL},
		{"counted since", "since_ns", CLI_AUTO, 0, 0, cli_rule_since_cell},
		{"last in the log", "logged_last_ns", CLI_AUTO, 0, 0, cli_rule_logged_cell},
	};
	struct json *rows = NULL;

	report_section(report->out, "unused", "Rules that nothing uses",
		"Rules in force that have decided nothing since the switch counts them.");
	if (!cli_option(report->cli, "directory"))
		rows = cli_rule_unused(report->cli);
	if (rows)
		report_table(report, columns, ARRAY_SIZE(columns), rows, PAIRS_SHOWN,
			"Every rule in force has been used.");
	else
		fputs("<p>Not known: the switch that counts them did not answer.</p>\n",
			report->out);
	json_destroy(rows);
	report_section_end(report->out);
}

static char *gap_from_cell(const struct json *row)
{
	uint64_t from_ns = (uint64_t)cli_json_number(row, "from_ns");
	char text[CLI_TEXT_MAX];

	return xstrdup(from_ns ? report_time(from_ns, text) : "the beginning");
}

static char *gap_until_cell(const struct json *row)
{
	uint64_t until_ns = (uint64_t)cli_json_number(row, "until_ns");
	char text[CLI_TEXT_MAX];

	return xstrdup(until_ns ? report_time(until_ns, text) : "");
}

static void put_gaps(struct report *report, const struct report_totals *totals)
{
	static const struct cli_column columns[] = {
		{"what", "what", CLI_AUTO, 0, 0, NULL},
		{"from", "from_ns", CLI_AUTO, 0, 0, gap_from_cell},
		{"until", "until_ns", CLI_AUTO, 0, 0, gap_until_cell},
		{"lost", "lost", CLI_COUNT, 0, 0, NULL},
		{"reason", "reason", CLI_AUTO, 0, 0, NULL},
		{"host", "host", CLI_AUTO, 0, 0, NULL},
		{"file", "file", CLI_AUTO, 0, 0, NULL},
	};
	struct cli_log_answer answer = begin(report);
	char records[CLI_TEXT_MAX], lost[CLI_TEXT_MAX];
	double all = (double)totals->records + (double)totals->lost;

	report_section(report->out, "gaps", "How complete the record is", NULL);
	cli_log_gap_rows(&answer);
	fprintf(report->out, "<p class=\"note\">%s records%s; %s were lost%s",
		cli_format_count(totals->records, records), report->zone ? " of this zone" : "",
		totals->lost ? cli_format_count(totals->lost, lost) : "none",
		totals->lost && !report->zone ? "" : ".</p>\n");
	if (totals->lost && !report->zone)
		fprintf(report->out, ": %.3f %% are here.</p>\n",
			100 * (double)totals->records / all);
	report_table(report, columns, ARRAY_SIZE(columns), answer.rows, PAIRS_SHOWN,
		"There are no gaps.");
	report_section_end(report->out);
	end(report, &answer);
}

void report_put_sections(struct report *report, const struct report_totals *totals)
{
	put_figures(report, totals);
	put_matrix(report, totals);
	put_denials(report);
	put_talkers(report);
	put_new(report);
	put_spoofed(report);
	put_simulated(report);
	put_unused(report);
	put_gaps(report, totals);
}
