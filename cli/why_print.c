/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The answer of `cordon why` for a person.  Called by why.c, on its one thread.
 */
#include "cli/why.h"

#include <stdlib.h>
#include <string.h>

#include "cli/log.h"
#include "openvswitch/dynamic-string.h"
#include "util.h"

enum { SPANS_SHOWN = 8, TITLE_WIDTH = 10 };

/* --- Ends ----------------------------------------------------------------------------------- */

/* "web-1 10.0.0.11", "10.0.0.9". */
static char *end_name(const struct json *end)
{
	const char *name = cli_json_text(end, "vm_name"), *address = cli_json_text(end, "address");

	if (!*name)
		name = cli_json_text(end, "port");
	if (!*name && !*address)
		name = cli_json_text(end, "given");
	return xasprintf("%s%s%s", name, *name && *address ? " " : "", address);
}

static void print_title(struct cli *cli, const char *title)
{
	fprintf(cli->out, "  %-*s ", TITLE_WIDTH, title);
}

static void print_end(struct cli *cli, const char *title, const struct json *end)
{
	const char *zone = cli_json_text(end, "zone"), *port = cli_json_text(end, "port");
	enum cli_colour colour = cli_colour_of(zone);
	char *name = end_name(end);

	print_title(cli, title);
	cli_print_clean(cli, name);
	if (*port)
		fprintf(cli->out, ", port %s of host %s", port, cli_json_text(end, "host"));
	fputc('\n', cli->out);
	print_title(cli, "");
	fprintf(cli->out, "in zone %s%s%s: ", cli_colour_start(cli, colour), zone,
		colour == CLI_PLAIN ? "" : cli_colour_end(cli));
	cli_print_clean(cli, cli_json_text(end, "why"));
	fputc('\n', cli->out);
	if (*cli_json_text(end, "claimed_by")) {
		print_title(cli, "");
		fputs("its address is claimed by ", cli->out);
		cli_print_clean(cli, cli_json_text(end, "claimed_by"));
		fputs(": others take it for quarantine\n", cli->out);
	}
	free(name);
}

/* --- Steps ---------------------------------------------------------------------------------- */

/* "application   shop/web-to-app   allow, log session, label CHG-1". */
static void print_step(struct cli *cli, const struct json *step)
{
	const char *action = cli_json_text(step, "action"), *log = cli_json_text(step, "log");
	const char *label = cli_json_text(step, "label"), *tier = cli_json_text(step, "tier");
	const char *helper = cli_json_text(step, "helper");
	const struct json *limits = cli_json_member(step, "limits");
	const struct shash_node *node;

	print_title(cli, "");
	fprintf(cli->out, "  %s%s%s: %s%s%s", tier, *tier ? ", " : "", cli_json_text(step, "rule"),
		cli_colour_start(cli, cli_colour_of(action)), action,
		cli_colour_of(action) == CLI_PLAIN ? "" : cli_colour_end(cli));
	if (*log)
		fprintf(cli->out, ", log %s", log);
	if (*label) {
		fputs(", label ", cli->out);
		cli_print_clean(cli, label);
	}
	if (*helper)
		fprintf(cli->out, ", helper %s", helper);
	if (limits) {
		SHASH_FOR_EACH (node, limits->object)
			fprintf(cli->out, ", at most %lld %s",
				(long long int)cli_json_number(limits, node->name), node->name);
	}
	fprintf(cli->out, "%s\n", cli_json_true(step, "simulated") ? ", simulated" : "");
}

static void print_question(
	struct cli *cli, const struct json *question, const char *service, const char *title)
{
	const struct json *steps = cli_json_member(question, "steps");
	const struct json *idle = cli_json_member(question, "not_in_force");

	print_title(cli, title);
	fprintf(cli->out, "may %s open %s to %s?\n", cli_json_text(question, "source_zone"),
		service, cli_json_text(question, "destination_zone"));
	for (size_t i = 0; i < steps->array.n; i++)
		print_step(cli, steps->array.elems[i]);
	for (size_t i = 0; idle && i < idle->array.n; i++) {
		print_title(cli, "");
		fprintf(cli->out, "  not in force, %s: %s\n",
			cli_json_text(idle->array.elems[i], "rule"),
			cli_json_text(idle->array.elems[i], "why"));
	}
}

/* With two questions, both ends' words are told apart. */
static void print_questions(
	struct cli *cli, const struct json *verdict, const char *service, const char *title)
{
	const struct json *questions = cli_json_member(verdict, "questions");

	for (size_t i = 0; i < questions->array.n; i++) {
		const char *at = i ? "" : title;

		if (questions->array.n > 1) {
			print_title(cli, at);
			fprintf(cli->out, "at the %s's vNIC:\n", i ? "destination" : "source");
			at = "";
		}
		print_question(cli, questions->array.elems[i], service, at);
	}
	if (!questions->array.n) {
		print_title(cli, title);
		fputs("neither end is a vNIC: what goes from uplink to uplink meets no rule\n",
			cli->out);
	}
}

/* --- Verdicts ------------------------------------------------------------------------------- */

static void print_verdict(struct cli *cli, const struct json *verdict)
{
	const char *word = cli_json_text(verdict, "verdict"),
		   *rule = cli_json_text(verdict, "rule");

	fprintf(cli->out, "%s%s%s", cli_colour_start(cli, cli_colour_of(word)), word,
		cli_colour_of(word) == CLI_PLAIN ? "" : cli_colour_end(cli));
	if (!cli_json_member(verdict, "questions")->array.n)
		fputs(" without being asked for", cli->out);
	else if (cli_json_true(verdict, "quarantine"))
		fputs(", since an end is in quarantine", cli->out);
	else if (*rule)
		fprintf(cli->out, " by %s", rule);
}

static bool same_verdict(const struct json *a, const struct json *b)
{
	return !strcmp(cli_json_text(a, "verdict"), cli_json_text(b, "verdict")) &&
	       !strcmp(cli_json_text(a, "rule"), cli_json_text(b, "rule"));
}

static void print_span(
	struct cli *cli, const struct json *answer, const struct json *span, const char *revision)
{
	const struct json *simulated = cli_json_member(span, "simulated");
	const char *service = cli_json_text(span, "service");
	char *from = end_name(cli_json_member(answer, "source"));
	char *to = end_name(cli_json_member(answer, "destination"));

	fputs(cli_colour_start(cli, CLI_BOLD), cli->out);
	cli_print_clean(cli, from);
	fputs(" -> ", cli->out);
	cli_print_clean(cli, to);
	fprintf(cli->out, ", %s:%s ", service, cli_colour_end(cli));
	print_verdict(cli, span);
	fprintf(cli->out, "%s\n", revision);
	print_questions(cli, span, service, "how");
	if (simulated) {
		print_title(cli, "simulated");
		if (same_verdict(span, simulated)) {
			fputs("the same\n", cli->out);
		} else {
			print_verdict(cli, simulated);
			fputc('\n', cli->out);
			print_questions(cli, simulated, service, "");
		}
	}
	free(from);
	free(to);
}

static void print_spans(struct cli *cli, const struct json *answer)
{
	const struct json *spans = cli_json_member(answer, "verdicts");
	long long int number = cli_json_number(answer, "revision");
	long long int left_out = cli_json_number(answer, "left_out");
	char *revision =
		number ? xasprintf(", revision %lld", number) : xstrdup("; there is no policy yet");

	for (size_t i = 0; i < spans->array.n && i < SPANS_SHOWN; i++)
		print_span(cli, answer, spans->array.elems[i], revision);
	if (spans->array.n > SPANS_SHOWN)
		fprintf(cli->out, "and %zu more spans of services; --json has them\n",
			spans->array.n - SPANS_SHOWN);
	if (left_out)
		fprintf(cli->out,
			"and %lld more services, of which there are too many: ask for fewer at "
			"once\n",
			left_out);
	free(revision);
}

static void print_reverse(struct cli *cli, const struct json *answer)
{
	const struct json *spans = cli_json_member(answer, "reverse");

	for (size_t i = 0; i < spans->array.n && i < SPANS_SHOWN; i++) {
		print_title(cli, i ? "" : "reverse");
		fprintf(cli->out, "%s, opened the other way: ",
			cli_json_text(spans->array.elems[i], "service"));
		print_verdict(cli, spans->array.elems[i]);
		fputc('\n', cli->out);
	}
}

/* --- Traffic -------------------------------------------------------------------------------- */

static char *port_text(const struct json *row)
{
	return xasprintf("%lld", (long long int)cli_json_number(row, "source_port"));
}

static char *rule_text(const struct json *row)
{
	const char *policy = cli_json_text(row, "policy");

	return xasprintf("%s%s%s@%lld", policy, *policy ? "/" : "", cli_json_text(row, "rule"),
		(long long int)cli_json_number(row, "policy_revision"));
}

static bool print_error(struct cli *cli, const struct json *part, const char *heading)
{
	const char *error = cli_json_text(part, "error");

	if (!*error && cli_json_member(part, "rows")->array.n)
		return false;
	cli_print_heading(cli, "%s", heading);
	if (*error) {
		fputs("Not known: ", cli->out);
		cli_print_clean(cli, error);
		fputs(".\n", cli->out);
	} else {
		fputs("None.\n", cli->out);
	}
	return true;
}

static void print_connections(struct cli *cli, const struct json *connections)
{
	static const struct cli_column columns[] = {
		{"id", "id", CLI_AUTO, 3, 6, NULL},
		{"protocol", "protocol", CLI_AUTO, 0, 0, NULL},
		{"from port", "source_port", CLI_AUTO, 0, 0, port_text},
		{"to port", "destination_port", CLI_AUTO, 0, 0, NULL},
		{"state", "state", CLI_STATE, 0, 0, NULL},
		{"rule", "rule", CLI_AUTO, 1, 12, rule_text},
		{"age", "age_s", CLI_AGE, 0, 0, NULL},
		{"idle", "idle_s", CLI_AGE, 0, 0, NULL},
	};

	if (print_error(cli, connections, "Live connections"))
		return;
	cli_print_heading(cli, "Live connections");
	cli_print_table(cli, columns, ARRAY_SIZE(columns),
		json_clone(cli_json_member(connections, "rows")), NULL);
}

static void print_records(struct cli *cli, const struct json *records)
{
	const struct json *rows = cli_json_member(records, "rows");
	struct cli_table *table;

	if (!rows->array.n) {
		print_error(cli, records, "Last records");
		return;
	}
	cli_print_heading(cli, "Last records");
	table = cli_log_record_table(cli);
	for (size_t i = 0; i < rows->array.n; i++)
		cli_table_add(table, json_clone(rows->array.elems[i]));
	cli_table_finish(table, NULL);
	if (*cli_json_text(records, "error")) {
		fputs("A part of the log could not be read: ", cli->out);
		cli_print_clean(cli, cli_json_text(records, "error"));
		fputc('\n', cli->out);
	}
}

void why_print(struct cli *cli, const struct json *answer)
{
	const struct json *records = cli_json_member(answer, "records");
	const struct json *in_force = cli_json_member(answer, "in_force");

	print_spans(cli, answer);
	print_end(cli, "from", cli_json_member(answer, "source"));
	print_end(cli, "to", cli_json_member(answer, "destination"));
	print_reverse(cli, answer);
	if (in_force && cli_json_number(answer, "in_force") != cli_json_number(answer, "revision"))
		fprintf(cli->out,
			"%sHost %s has revision %lld in force, and not yet the one wanted.%s\n",
			cli_colour_start(cli, CLI_YELLOW), cli->host,
			(long long int)cli_json_number(answer, "in_force"), cli_colour_end(cli));
	print_connections(cli, cli_json_member(answer, "connections"));
	if (records)
		print_records(cli, records);
}
