/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A thread that compiles policies, so that the main thread goes on answering meanwhile.  One at a
 * time: what is asked for is compiled to its end.  All functions are for the main thread.
 */
#ifndef DATAPATH_POLICY_COMPILER_H
#define DATAPATH_POLICY_COMPILER_H

#include <stdbool.h>
#include <stdint.h>

#include "zones/zone.h"

struct policy_compiler;

/* What to compile: the document of `revision`, as it is in force at second `at` since 1970. */
struct policy_request {
	uint32_t revision;
	int64_t at;
	const char *document; /* Must stay until the result is taken. */
};

/* What came of it. */
struct policy_result {
	struct policy_request request;
	struct zone_policy *policy; /* Whoever takes it owns it.  NULL: `errors` say why. */
	struct policy_errors errors;
	long long int took_ms;
};

struct policy_compiler *policy_compiler_start(void);

/* Waits for what is being compiled.  Accepts NULL. */
void policy_compiler_join(struct policy_compiler *compiler);

/* True from policy_compiler_begin() until its result is taken; *request says what it is. */
bool policy_compiler_is_busy(
	const struct policy_compiler *compiler, struct policy_request *request);

/* Starts compiling.  It must not be busy. */
void policy_compiler_begin(struct policy_compiler *compiler, const struct policy_request *request);

/* True, with the result, once what was begun is done. */
bool policy_compiler_take(struct policy_compiler *compiler, struct policy_result *result);

/* Has poll_block() return when a result is there. */
void policy_compiler_wait(struct policy_compiler *compiler);

#endif
