/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cordon status`: one screen on one host, from the switch and the database.  Either may be down:
 * what the other knows is still shown, and the exit status says so.
 */
#include "cli/policy.h"
#include "cli/process.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "openvswitch/dynamic-string.h"
#include "timeval.h"
#include "util.h"

/* --- What the database knows ---------------------------------------------------------------- */

static struct json *database_json(struct cli *cli, struct model *model)
{
	const struct cordonrec_cordon *root = model ? model_root(model) : NULL;
	const struct cordonrec_host *host = model ? model_host(model, cli->host) : NULL;
	struct json *answer = json_object_create();

	json_object_put_string(answer, "remote", cli->database);
	json_object_put(answer, "connected", json_boolean_create(model != NULL));
	if (root) {
		json_object_put(answer, "policy_wanted", json_integer_create(root->policy_wanted));
		json_object_put(
			answer, "policy_reached", json_integer_create(root->policy_reached));
	}
	if (model)
		cli_policy_put_pending(answer, model);
	if (host && host->policy_error)
		json_object_put_string(answer, "policy_error", host->policy_error);
	return answer;
}

static char *returned_text(struct model *model)
{
	const struct cordonrec_policy_revision *returned = model_policy_returned(model);

	return xasprintf("policy revision %lld, applied by %s, was not confirmed in time: revision "
			 "%lld is wanted again",
		(long long int)returned->number, returned->author,
		(long long int)model_policy_wanted(model));
}

/* One sentence for each thing that a person should look at: the switch's, and only without it what
 * the database remembers. */
static struct json *collect_warnings(struct cli *cli, struct model *model, const struct json *live,
	const struct json *hostd, const struct json *database)
{
	const struct json *own = cli_json_member(live, "warnings");
	const struct json *guests = cli_json_member(hostd, "warnings");
	const char *policy_error = cli_json_text(database, "policy_error");
	char *pending = model ? cli_policy_pending_text(model, 0) : NULL;
	struct json *warnings = json_array_create_empty();
	const struct cordonrec_port *port;

	if (pending)
		json_array_add(warnings, json_string_create_nocopy(pending));
	if (model && model_policy_returned(model))
		json_array_add(warnings, json_string_create_nocopy(returned_text(model)));
	if (*policy_error && !live) /* Else the switch says it. */
		json_array_add(
			warnings, json_string_create_nocopy(xasprintf("policy: %s", policy_error)));
	if (model && !live) {
		CORDONREC_PORT_FOR_EACH (port, model_idl(model)) {
			if (port->error && port->host && !strcmp(port->host->name, cli->host))
				json_array_add(warnings, json_string_create(port->error));
		}
	}
	for (size_t i = 0; own && own->type == JSON_ARRAY && i < own->array.n; i++)
		json_array_add(warnings, json_clone(own->array.elems[i]));
	for (size_t i = 0; guests && guests->type == JSON_ARRAY && i < guests->array.n; i++)
		json_array_add(warnings, json_clone(guests->array.elems[i]));
	return warnings;
}

/* --- The screen ----------------------------------------------------------------------------- */

static void print_line(const struct cli *cli, const char *title, enum cli_colour colour,
	const char *format, ...) __attribute__((format(printf, 4, 5)));

static void print_line(
	const struct cli *cli, const char *title, enum cli_colour colour, const char *format, ...)
{
	va_list arguments;

	fprintf(cli->out, "%-13s%s", title, cli_colour_start(cli, colour));
	va_start(arguments, format);
	vfprintf(cli->out, format, arguments);
	va_end(arguments);
	fprintf(cli->out, "%s\n", colour == CLI_PLAIN ? "" : cli_colour_end(cli));
}

static void print_connections(const struct cli *cli, const struct json *live)
{
	const struct json *connections = cli_json_member(live, "connections");
	int64_t count = cli_json_number(connections, "count");
	int64_t capacity = cli_json_number(connections, "capacity");
	int64_t adopted = cli_json_number(connections, "adopted");
	char counted[CLI_TEXT_MAX], room[CLI_TEXT_MAX], taken[CLI_TEXT_MAX];

	print_line(cli, "connections", capacity && count > capacity / 10 * 9 ? CLI_RED : CLI_PLAIN,
		"%s of %s (%.1f %%), %lld bytes each%s%s%s", cli_format_count(count, counted),
		cli_format_count(capacity, room), capacity ? 100.0 * count / capacity : 0.0,
		(long long int)cli_json_number(connections, "bytes_each"), adopted ? "; " : "",
		adopted ? cli_format_count(adopted, taken) : "",
		adopted ? " taken over at the start" : "");
}

/* What is wrong with a sink is among the warnings. */
static void print_log(const struct cli *cli, const struct json *live)
{
	const struct json *log = cli_json_member(live, "log");
	const struct json *sinks = cli_json_member(log, "sinks");
	size_t n = sinks && sinks->type == JSON_ARRAY ? sinks->array.n : 0, failing = 0;
	int64_t lost = cli_json_number(log, "lost");
	char stored[CLI_TEXT_MAX], gone[CLI_TEXT_MAX], trouble[64] = "";

	for (size_t i = 0; i < n; i++)
		failing += *cli_json_text(sinks->array.elems[i], "error") != '\0';
	if (failing)
		snprintf(trouble, sizeof(trouble), "; %zu of %zu sinks failing", failing, n);
	print_line(cli, "log", lost || failing ? CLI_RED : CLI_PLAIN, "%s stored, %s lost%s",
		cli_format_count(cli_json_number(log, "stored"), stored),
		cli_format_count(lost, gone), trouble);
}

/* Whoever looks at the switch is to see who looks at packets. */
static void print_captures(const struct cli *cli, const struct json *live)
{
	const struct json *captures = cli_json_member(live, "captures");
	uint64_t now = (uint64_t)time_wall_msec() / 1000;
	char age[CLI_TEXT_MAX];

	for (size_t i = 0; captures && i < captures->array.n; i++) {
		const struct json *capture = captures->array.elems[i];
		uint64_t start = (uint64_t)cli_json_number(capture, "start_ns") / 1000000000u;

		print_line(cli, i ? "" : "captures", CLI_YELLOW, "at %s%s, for %s, since %s",
			cli_json_text(capture, "name"),
			cli_json_number(capture, "names") > 1 ? " and others" : "",
			cli_json_text(capture, "who"),
			cli_format_age(now > start ? now - start : 0, age));
	}
}

static void print_switch(const struct cli *cli, const struct json *live)
{
	const struct json *ports = cli_json_member(live, "ports");
	const struct json *workers = cli_json_member(live, "workers");
	char age[CLI_TEXT_MAX];

	print_line(cli, "switch", CLI_GREEN, "up %s, process %lld, version %s, host %s",
		cli_format_age(cli_json_number(live, "uptime_s"), age),
		(long long int)cli_json_number(live, "pid"), cli_json_text(live, "version"),
		cli_json_text(live, "host"));
	print_line(cli, "workers", CLI_PLAIN, "%lld, %s huge pages",
		workers && workers->type == JSON_ARRAY
			? (long long int)workers->array.n
			: (long long int)cli_json_number(live, "workers"),
		cli_json_true(live, "huge_pages") ? "with" : "without");
	print_line(cli, "ports", CLI_PLAIN, "%lld up of %lld",
		(long long int)cli_json_number(ports, "up"),
		(long long int)cli_json_number(ports, "total"));
	print_connections(cli, live);
	print_log(cli, live);
	print_captures(cli, live);
}

static void print_policy(
	const struct cli *cli, const struct json *live, const struct json *database)
{
	long long int wanted = cli_json_number(database, "policy_wanted");
	long long int here = cli_json_number(live, "policy_revision");
	long long int reached = cli_json_number(database, "policy_reached");
	char bytes[CLI_TEXT_MAX];

	if (!cli_json_true(database, "connected")) {
		if (live)
			print_line(
				cli, "policy", CLI_PLAIN, "revision %lld is in force here", here);
	} else if (!wanted) {
		print_line(cli, "policy", CLI_YELLOW,
			"none, so nothing passes; `cordon policy apply FILE -m WHY` makes one");
	} else if (!live) {
		print_line(cli, "policy", CLI_PLAIN, "revision %lld wanted", wanted);
	} else {
		print_line(cli, "policy",
			here == wanted && reached == wanted ? CLI_GREEN : CLI_YELLOW,
			"revision %lld wanted, %lld in force here, %lld on all hosts; %s in "
			"memory%s",
			wanted, here, reached,
			cli_format_bytes(cli_json_number(live, "policy_memory_bytes"), bytes),
			here != wanted && cli_json_number(live, "policy_compiling") == wanted
				? "; being compiled"
				: "");
	}
}

static void print_guests(const struct cli *cli, const struct json *guests, const struct json *hostd,
	bool switch_runs)
{
	char *line = cli_status_guests_line(cli, guests, hostd, switch_runs);

	if (line)
		print_line(cli, "guests", hostd ? CLI_PLAIN : CLI_RED, "%s", line);
	free(line);
}

static void print_screen(struct cli *cli, const struct json *live, const struct json *guests,
	const struct json *hostd, const struct json *database, const struct json *warnings)
{
	pid_t pid = cli_process_find(cli->run_directory, CLI_SWITCH);

	if (live)
		print_switch(cli, live);
	else if (pid)
		print_line(cli, "switch", CLI_RED, "process %ld does not answer", (long int)pid);
	else
		print_line(cli, "switch", CLI_RED, "not running in %s; `cordon up` starts it",
			cli->run_directory);
	print_guests(cli, guests, hostd, live || pid);
	if (cli_json_true(database, "connected"))
		print_line(cli, "database", CLI_GREEN, "%s", cli->database);
	else
		print_line(cli, "database", CLI_RED,
			"no answer from %s; traffic and policy stay as they are", cli->database);
	print_policy(cli, live, database);
	for (size_t i = 0; i < warnings->array.n; i++) {
		if (warnings->array.elems[i]->type == JSON_STRING)
			print_line(cli, i ? "" : "warnings", CLI_YELLOW, "%s",
				warnings->array.elems[i]->string);
	}
}

enum cli_status cli_show_status(struct cli *cli)
{
	enum cli_status status;
	struct json *live = cli_ask_switch(cli, true, &status, "cordon/status", 0, NULL);
	struct model_error error;
	struct model *model = model_open(cli->database, cli->timeout_ms, &error);
	struct json *database = database_json(cli, model);
	struct json *hostd = cli_ask_hostd(cli, "cordon/status", NULL);
	struct json *warnings = collect_warnings(cli, model, live, hostd, database);
	struct json *guests = cli_status_guests(cli, model, hostd);

	status = live && model ? CLI_OK : CLI_NOT_RUNNING;
	if (cli->json) {
		/* The switch's own words, and what it cannot know. */
		struct json *answer = live ? json_deep_clone(live) : json_object_create();

		json_object_put(answer, "running", json_boolean_create(live != NULL));
		json_object_put(answer, "database", json_clone(database));
		json_object_put(answer, "warnings", json_clone(warnings));
		json_object_put(answer, "guests", json_clone(guests));
		if (hostd)
			json_object_put(answer, "hostd", json_clone(hostd));
		cli_print_json(cli, answer);
	} else {
		print_screen(cli, live, guests, hostd, database, warnings);
	}
	model_close(model);
	json_destroy(guests);
	json_destroy(hostd);
	json_destroy(warnings);
	json_destroy(database);
	json_destroy(live);
	return status;
}
