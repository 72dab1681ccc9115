/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `cordon policy plan`, `cordon policy diff` and `cordon why` share: revisions and endpoints
 * of the database as the zone engine takes them, and how their parts of the answer are shown.
 */
#ifndef CLI_PLAN_H
#define CLI_PLAN_H

#include "cli/cordon.h"
#include "log/replay.h"
#include "zones/policy_diff.h"
#include "zones/policy_view.h"

/* --- endpoints.c: the ports of all hosts ---------------------------------------------------- */

struct cli_endpoints {
	struct view_endpoint *at; /* Texts belong to the model's replica. */
	size_t n;
};

void cli_endpoints_load(struct cli_endpoints *endpoints, struct model *model);
void cli_endpoints_free(struct cli_endpoints *endpoints);

/* "web-1", with the host in front if it is not the one that is meant: "host-b/web-1".  The VM's
 * name if it has one, else the port's.  The caller frees. */
char *cli_endpoint_name(const struct cli *cli, const struct view_endpoint *endpoint);

/* --- revision.c: documents of the database -------------------------------------------------- */

/* A revision, read and compiled as it is in force now.  Number 0: no policy yet, and all is in
 * quarantine. */
struct cli_revision {
	int64_t number;
	char *text;		      /* The document; number 0: "". */
	const char *author, *comment; /* The replica's. */
	int64_t time;
	struct zone_policy *policy;
	struct policy_document document;
};

/* Loads revision `number`; -1: the one wanted.  Not CLI_OK: the reason was said.  In any case
 * cli_revision_free() must follow, unless *revision is all zero. */
enum cli_status cli_revision_load(
	struct cli *cli, struct model *model, int64_t number, struct cli_revision *revision);
void cli_revision_free(struct cli_revision *revision);

/* --- policy_diff.c: changes in words -------------------------------------------------------- */

/* All changes as an array of objects. */
struct json *cli_changes_json(
	const struct policy_document *before, const struct policy_document *after);

/* Shows such an array, as many as a person would read, a line each. */
void cli_changes_print(struct cli *cli, const struct json *changes);

/* A heading over a part of the answer, with an empty line before it. */
void cli_print_heading(struct cli *cli, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Prints a text that may hold anything; nothing in it speaks to the terminal. */
void cli_print_clean(struct cli *cli, const char *text);

/* "revision 3 (alice, 2026-01-31 14:00: open the shop)"; "no policy" for number 0.  The caller
 * frees. */
char *cli_revision_title(const struct cli_revision *revision);

/* --- policy_impact.c: what traffic would meet ----------------------------------------------- */

/* Puts the stored traffic of the log in `directory` from `since_ns` on to both policies. */
struct json *cli_impact_stored(struct cli *cli, const char *directory, uint64_t since_ns,
	const struct policy_view *before, const struct policy_view *after);

/* Has the switch put its live connections to both documents.  An object with the member "error" if
 * it does not run, or cannot. */
struct json *cli_impact_live(struct cli *cli, const char *before, const char *after);

/* Shows what one of these found. */
void cli_impact_print_stored(struct cli *cli, const struct json *stored);
void cli_impact_print_live(struct cli *cli, const struct json *live);

#endif
