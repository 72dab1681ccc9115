/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of `cordon policy` share.
 */
#ifndef CLI_POLICY_H
#define CLI_POLICY_H

#include "cli/cordon.h"
#include "zones/zone.h"

/* Reads and compiles the document in file `path`, "-" being standard input, as it is in force now.
 * On failure says what is wrong (with --json also as the answer), sets *status, and returns NULL.
 * *text, which may be NULL then, is the caller's to free. */
struct zone_policy *cli_policy_compile(
	struct cli *cli, const char *path, char **text, enum cli_status *status);

/* The same without compiling it: true if it is valid. */
bool cli_policy_read(struct cli *cli, const char *path, char **text, enum cli_status *status);

/* Is this document valid?  `name` stands before each error. */
bool cli_policy_check_text(
	struct cli *cli, const char *name, const char *text, enum cli_status *status);

/* Reads a revision's number, from 1.  False, after a message to the person, on anything else. */
bool cli_policy_read_number(struct cli *cli, const char *text, int64_t *number);

/* What waits for confirmation, in words with the time left, of which at most `asked_seconds` is
 * told to whoever has just asked for so much (else 0); the caller frees.  NULL: nothing. */
char *cli_policy_pending_text(struct model *model, unsigned int asked_seconds);

/* Puts it into an object of JSON, as member "pending". */
void cli_policy_put_pending(struct json *object, struct model *model);

#endif
