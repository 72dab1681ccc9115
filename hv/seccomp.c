/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Filters of system calls, made from the table by libseccomp.  Made on the main thread, entered by
 * each thread for itself.
 *
 * libseccomp would make a filter anew for each thread that enters one; here it is made once for
 * each kind of thread, and handed to the kernel as it is.
 */
#include "hv/seccomp.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { KINDS = 3 };

static const enum seccomp_thread kinds[KINDS] = {SECCOMP_MAIN, SECCOMP_VCPU, SECCOMP_BROKER};

struct seccomp {
	struct sock_fprog programs[KINDS];
};

const char *seccomp_call_name(int call)
{
	for (unsigned int i = 0; i < seccomp_n_rules; i++)
		if (seccomp_rules[i].call == call)
			return seccomp_rules[i].name;
	return NULL;
}

static int add_rule(scmp_filter_ctx context, const struct seccomp_rule *rule)
{
	struct scmp_arg_cmp condition = {.arg = rule->argument};

	switch (rule->test) {
	case SECCOMP_ANY: return seccomp_rule_add(context, SCMP_ACT_ALLOW, rule->call, 0);
	case SECCOMP_EQUAL:
		condition.op = SCMP_CMP_EQ;
		condition.datum_a = rule->value;
		break;
	case SECCOMP_WITHOUT:
		condition.op = SCMP_CMP_MASKED_EQ;
		condition.datum_a = rule->value;
		break;
	case SECCOMP_OWN:
		condition.op = SCMP_CMP_EQ;
		condition.datum_a = (uint64_t)getpid();
		break;
	}
	return seccomp_rule_add_array(context, SCMP_ACT_ALLOW, rule->call, 1, &condition);
}

/* Reads a filter from a file into memory of its own. */
static int load_program(int fd, struct sock_fprog *program)
{
	struct stat status;

	if (fstat(fd, &status) < 0)
		return -errno;
	program->len = (unsigned short)((size_t)status.st_size / sizeof(*program->filter));
	program->filter = malloc((size_t)status.st_size);
	if (!program->filter)
		return -ENOMEM;
	if (pread(fd, program->filter, (size_t)status.st_size, 0) != status.st_size)
		return -EIO;
	return 0;
}

/* libseccomp writes filters only into files. */
static int export_program(scmp_filter_ctx context, struct sock_fprog *program)
{
	int fd = memfd_create("filter", MFD_CLOEXEC), status;

	if (fd < 0)
		return -errno;
	status = seccomp_export_bpf(context, fd);
	if (status == 0)
		status = load_program(fd, program);
	close(fd);
	return status;
}

static int make_program(enum seccomp_thread thread, struct sock_fprog *program)
{
	scmp_filter_ctx context = seccomp_init(SCMP_ACT_TRAP);
	int status = context ? 0 : -ENOMEM;

	for (unsigned int i = 0; status == 0 && i < seccomp_n_rules; i++)
		if (seccomp_rules[i].threads & thread)
			status = add_rule(context, &seccomp_rules[i]);
	if (status == 0)
		status = export_program(context, program);
	if (context)
		seccomp_release(context);
	return status;
}

int seccomp_create(struct seccomp **created, struct hv_error *error)
{
	struct seccomp *seccomp = calloc(1, sizeof(*seccomp));
	int status = seccomp ? 0 : -ENOMEM;

	*created = NULL;
	for (unsigned int i = 0; status == 0 && i < KINDS; i++)
		status = make_program(kinds[i], &seccomp->programs[i]);
	if (status < 0) {
		seccomp_destroy(seccomp);
		return hv_fail(error, -status,
			"the list of allowed system calls cannot be made into a filter: %s",
			strerror(-status));
	}
	*created = seccomp;
	return 0;
}

void seccomp_destroy(struct seccomp *seccomp)
{
	if (!seccomp)
		return;
	for (unsigned int i = 0; i < KINDS; i++)
		free(seccomp->programs[i].filter);
	free(seccomp);
}

int seccomp_enter(const struct seccomp *seccomp, enum seccomp_thread thread, struct hv_error *error)
{
	if (!seccomp)
		return 0;
	for (unsigned int i = 0; i < KINDS; i++)
		if (kinds[i] == thread && syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0,
						  &seccomp->programs[i]) == 0)
			return 0;
	return hv_fail(error, errno,
		"the filter of system calls is refused by this kernel (%s): it needs "
		"CONFIG_SECCOMP_FILTER, and a container must allow seccomp(); --no-sandbox runs "
		"the guest without, for debugging",
		strerror(errno));
}
