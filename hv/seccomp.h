/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The system calls that this program may make, by thread, each with its reason: one table
 * (seccomp_table.c).
 *
 * A call that is not in it is not made: the thread gets SIGSYS, whose handler (outcome.c) names the
 * call and ends the process as a fault of its own.
 */
#ifndef HV_SECCOMP_H
#define HV_SECCOMP_H

#include <stdbool.h>
#include <stdint.h>

#include "hv/error.h"

enum seccomp_thread {
	SECCOMP_MAIN = 1,
	SECCOMP_VCPU = 2,
	SECCOMP_BROKER = 4,
};

/* What one argument must be; several for the same call are alternatives. */
enum seccomp_test {
	SECCOMP_ANY,
	SECCOMP_EQUAL,
	SECCOMP_WITHOUT, /* None of these bits. */
	SECCOMP_OWN,	 /* The number of the process that seccomp_create() was called in. */
};

struct seccomp_rule {
	int call;
	const char *name;
	unsigned int threads; /* Of enum seccomp_thread. */
	enum seccomp_test test;
	unsigned int argument;
	uint64_t value;
	const char *reason;
};

extern const struct seccomp_rule seccomp_rules[];
extern const unsigned int seccomp_n_rules;

/* The name of a call of the table (so that its arguments were forbidden), or NULL.  Also from a
 * signal handler. */
const char *seccomp_call_name(int call);

/* The filters, ready to be entered: made once, by the main thread, before the sandbox. */
struct seccomp;
int seccomp_create(struct seccomp **seccomp, struct hv_error *error);
void seccomp_destroy(struct seccomp *seccomp);

/*
 * From now on the calling thread makes only its calls of the table.  Threads that it starts later
 * would be held to its filter as well: so vCPU threads enter theirs first, and the main thread
 * enters its own when all of them have.  NULL is accepted and does nothing (--no-sandbox).
 */
int seccomp_enter(
	const struct seccomp *seccomp, enum seccomp_thread thread, struct hv_error *error);

#endif
