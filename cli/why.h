/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of `cordon why` share.
 *
 *      why.c          the command: the verdict and how it comes about
 *      why_end.c      who is meant by SOURCE and DESTINATION, and which zone they are in
 *      why_traffic.c  what is open between the two now, and what the log has of them
 *      why_print.c    the answer for a person
 */
#ifndef CLI_WHY_H
#define CLI_WHY_H

#include "cli/plan.h"

/* One end of the question. */
struct why_end {
	const char *given; /* As the line has it. */
	int endpoint;	   /* In the view, or VIEW_NO_ENDPOINT: an address that nobody owns. */
	bool disputed;	   /* Two endpoints claim the address. */
	struct in6_addr address; /* All zero: none is known. */
};

/* What is asked. */
struct why {
	struct cli *cli;
	struct cli_revision revision;
	struct cli_endpoints endpoints;
	struct policy_view view;
	struct why_end source, destination;
	const struct service_range *services; /* Any of these. */
	size_t n_services;
};

/* Finds out who is meant.  Not CLI_OK: the reason was said. */
enum cli_status why_find_end(
	struct cli *cli, const struct policy_view *view, const char *text, struct why_end *end);

/* Gives an end that was named an address of the other's family, if it has one. */
void why_choose_addresses(
	const struct policy_view *view, struct why_end *source, struct why_end *destination);

/* The end as the zones see it. */
struct connection_end why_connection_end(const struct policy_view *view, const struct why_end *end);

/* Who it is, its zone, and why it is in that one. */
struct json *why_end_json(
	struct cli *cli, const struct policy_view *view, const struct why_end *end);

/* The live connections between both; an object with "error" and "rows". */
struct json *why_connections(const struct why *why);

/* The newest records about both, of `days` days; likewise. */
struct json *why_records(const struct why *why, int64_t days);

void why_print(struct cli *cli, const struct json *answer);

#endif
