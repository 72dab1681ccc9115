/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A packet's way through the switch as a person reads it: a line for each step, what is behind it
 * indented below, and the end.  Called by trace.c.
 */
#include "cli/trace.h"

#include <string.h>

#include "util.h"

enum { STAGE_WIDTH = 12 };

static const struct mark {
	const char *name, *sign;
	enum cli_colour colour;
} marks[] = {
	{"pass", "+", CLI_GREEN},
	{"drop", "x", CLI_RED},
	{"wait", "~", CLI_YELLOW},
	{"note", "-", CLI_DIM},
};

static const struct mark *find_mark(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(marks); i++)
		if (!strcmp(marks[i].name, name))
			return &marks[i];
	return &marks[ARRAY_SIZE(marks) - 1];
}

static void print_step(struct cli *cli, const struct json *step)
{
	const struct mark *mark = find_mark(cli_json_text(step, "mark"));
	const struct json *details = cli_json_member(step, "details");

	fprintf(cli->out, "  %s%s%s %-*s %s\n", cli_colour_start(cli, mark->colour), mark->sign,
		cli_colour_end(cli), STAGE_WIDTH, cli_json_text(step, "stage"),
		cli_json_text(step, "text"));
	for (size_t i = 0; details && details->type == JSON_ARRAY && i < details->array.n; i++)
		if (details->array.elems[i]->type == JSON_STRING)
			fprintf(cli->out, "    %-*s %s%s%s\n", STAGE_WIDTH, "",
				cli_colour_start(cli, CLI_DIM), details->array.elems[i]->string,
				cli_colour_end(cli));
}

/* "a, b" of an array of texts, or of objects with a member "port". */
static void print_ports(struct cli *cli, const struct json *ports)
{
	for (size_t i = 0; ports && ports->type == JSON_ARRAY && i < ports->array.n; i++) {
		const struct json *port = ports->array.elems[i];

		fprintf(cli->out, "%s%s", i ? ", " : " by ",
			port->type == JSON_STRING ? port->string : cli_json_text(port, "port"));
	}
}

static void print_fate(struct cli *cli, const struct json *story, const char *fate)
{
	bool dropped = !strcmp(fate, "dropped");

	fprintf(cli->out, "%s%s%s", cli_colour_start(cli, dropped ? CLI_RED : CLI_GREEN), fate,
		cli_colour_end(cli));
	if (dropped)
		fprintf(cli->out, ": %s (%s)", cli_json_text(story, "reason"),
			cli_json_text(story, "text"));
	else
		print_ports(cli, cli_json_member(story, "outputs"));
	fputc('\n', cli->out);
	if (*cli_json_text(story, "advice"))
		fprintf(cli->out, "%s\n", cli_json_text(story, "advice"));
}

static void print_result(struct cli *cli, const struct json *story)
{
	const char *result = cli_json_text(story, "result"), *then = cli_json_text(story, "then");

	fputc('\n', cli->out);
	if (strcmp(result, "waits")) {
		print_fate(cli, story, result);
		return;
	}
	fprintf(cli->out, "%swaits%s for the other fragments of its datagram%s",
		cli_colour_start(cli, CLI_YELLOW), cli_colour_end(cli),
		*then ? ", which once it is whole is " : "\n");
	if (*then)
		print_fate(cli, story, then);
}

/* --- what really happened ------------------------------------------------------------------- */

static void print_drops(struct cli *cli, const struct json *drops)
{
	for (size_t i = 0; drops && drops->type == JSON_ARRAY && i < drops->array.n; i++)
		fprintf(cli->out, "  dropped: %s (%s)\n",
			cli_json_text(drops->array.elems[i], "reason"),
			cli_json_text(drops->array.elems[i], "text"));
}

static void print_connection(struct cli *cli, const struct json *sent)
{
	const struct json *answer = cli_json_member(sent, "answer");

	if (cli_json_member(sent, "connection"))
		fprintf(cli->out, "  connection %lld, %s, %s\n",
			(long long int)cli_json_number(sent, "connection"),
			cli_json_true(sent, "connection_is_new") ? "new" : "known before",
			cli_json_text(sent, "connection_state"));
	if (!answer)
		return;
	if (cli_json_true(answer, "came"))
		fprintf(cli->out, "  answered after %lld ms; the connection is now %s\n",
			(long long int)cli_json_number(answer, "after_ms"),
			cli_json_text(answer, "state"));
	else
		fprintf(cli->out, "  no answer within %lld ms\n",
			(long long int)cli_json_number(answer, "after_ms"));
}

static void print_sent(struct cli *cli, const struct json *sent)
{
	bool as_foretold = cli_json_true(sent, "as_foretold");

	fprintf(cli->out, "\nsent for real: %s", cli_json_text(sent, "result"));
	print_ports(cli, cli_json_member(sent, "outputs"));
	fprintf(cli->out, ", %s%s%s\n", cli_colour_start(cli, as_foretold ? CLI_GREEN : CLI_YELLOW),
		as_foretold ? "as foretold" : "which is NOT as foretold", cli_colour_end(cli));
	print_drops(cli, cli_json_member(sent, "drops"));
	if (cli_json_number(sent, "answered"))
		fputs("  the switch answered the sender\n", cli->out);
	print_connection(cli, sent);
}

void trace_print(struct cli *cli, const struct json *story)
{
	const struct json *steps = cli_json_member(story, "steps");
	const struct json *sent = cli_json_member(story, "sent");
	const char *packet = cli_json_text(story, "packet");

	fprintf(cli->out, "%s%s%s, policy revision %lld\n", cli_colour_start(cli, CLI_BOLD),
		*packet ? packet : "a malformed frame", cli_colour_end(cli),
		(long long int)cli_json_number(story, "policy_revision"));
	for (size_t i = 0; steps && steps->type == JSON_ARRAY && i < steps->array.n; i++)
		print_step(cli, steps->array.elems[i]);
	print_result(cli, story);
	if (sent)
		print_sent(cli, sent);
}
