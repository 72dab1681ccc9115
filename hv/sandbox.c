/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Into the sandbox, step by step.  Called by main once, on its only thread, when everything has
 * been opened.
 *
 * A step that this host does not allow is told by name, and the guest does not start: a sandbox
 * with a hole that nobody knows of is worse than none.
 *
 * Root unshares namespaces as it is, and becomes another user afterwards.  Anybody else gets the
 * right to do so from a user namespace of his own, in which he stays who he is.  There is no
 * process namespace: it would hold only the children of this process, which has none, and neither
 * signals nor tracing get through the filter of system calls.
 */
#include "hv/sandbox.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What is taken for the root: any folder that is always there.  Nobody else sees it covered. */
static const char root[] = "/proc";

enum {
	DESCRIPTORS = 4096,
	HEAP_BYTES = 64 * 1024 * 1024,
	STACK_BYTES = 16 * 1024 * 1024, /* Of a vCPU's thread, at most. */
};

static int failed(struct hv_error *error, const char *step)
{
	return hv_fail(error, errno,
		"the sandbox cannot be entered: %s: %s. This host or container forbids it: allow "
		"it (as root: CAP_SYS_ADMIN; else: user namespaces), or do without protection from "
		"this guest by --no-sandbox",
		step, strerror(errno));
}

/* --- Who to become ---------------------------------------------------------------------------- */

struct identity {
	uid_t user;
	gid_t group;
};

/* A name or a number.  Looked up while there are files. */
static int find_identity(const char *user, struct identity *identity, struct hv_error *error)
{
	const struct passwd *entry = getpwnam(user);
	char *end;
	unsigned long number = strtoul(user, &end, 10);

	if (entry) {
		*identity = (struct identity){entry->pw_uid, entry->pw_gid};
		return 0;
	}
	if (*user < '0' || *user > '9' || *end || number >= (uid_t)-1)
		return hv_fail(error, ENOENT,
			"there is no user '%s' on this host: name another with --user", user);
	entry = getpwuid((uid_t)number);
	*identity = (struct identity){(uid_t)number, entry ? entry->pw_gid : (gid_t)number};
	return 0;
}

/* --- Limits ----------------------------------------------------------------------------------- */

/* The bytes of private memory that there are by now; 0 if /proc does not tell. */
static rlim_t data_bytes(void)
{
	unsigned long pages = 0;
	FILE *file = fopen("/proc/self/statm", "re");

	if (!file)
		return 0;
	if (fscanf(file, "%*u %*u %*u %*u %*u %lu", &pages) != 1)
		pages = 0;
	fclose(file);
	return pages * (rlim_t)sysconf(_SC_PAGESIZE);
}

/* Lowers a limit, and never raises it. */
static int limit(int resource, rlim_t value)
{
	struct rlimit now;

	if (getrlimit(resource, &now) < 0)
		return -1;
	if (now.rlim_max > value)
		now.rlim_max = value;
	if (now.rlim_cur > now.rlim_max || resource == RLIMIT_NOFILE)
		now.rlim_cur = now.rlim_max;
	return setrlimit(resource, &now);
}

static int enter_limits(const struct vmm_options *options, struct hv_error *error)
{
	rlim_t data = data_bytes() + HEAP_BYTES + options->n_vcpus * (rlim_t)STACK_BYTES;

	if (limit(RLIMIT_CORE, 0) < 0 || limit(RLIMIT_NOFILE, DESCRIPTORS) < 0 ||
		limit(RLIMIT_DATA, data) < 0)
		return failed(error, "its limits cannot be set");
	return 0;
}

/* --- Namespaces and the root ------------------------------------------------------------------ */

static int write_map(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t written = fd < 0 ? -1 : write(fd, text, strlen(text));
	int code = errno;

	if (fd >= 0)
		close(fd);
	errno = code;
	return written < 0 ? -1 : 0;
}

/* In a user namespace of our own we are who we were. */
static int map_identity(uid_t user, gid_t group, struct hv_error *error)
{
	char users[64], groups[64];

	snprintf(users, sizeof(users), "%u %u 1\n", user, user);
	snprintf(groups, sizeof(groups), "%u %u 1\n", group, group);
	if (write_map("/proc/self/setgroups", "deny") < 0 ||
		write_map("/proc/self/uid_map", users) < 0 ||
		write_map("/proc/self/gid_map", groups) < 0)
		return failed(error, "its user namespace cannot be given a user");
	return 0;
}

static int leave_namespaces(struct hv_error *error)
{
	const int spaces = CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
	uid_t user = geteuid();
	gid_t group = getegid();

	if (user == 0)
		return unshare(spaces) < 0
			       ? failed(error, "mounts, network, IPC and host name cannot be left")
			       : 0;
	if (unshare(spaces | CLONE_NEWUSER) < 0)
		return failed(error,
			"user, mounts, network, IPC and host name cannot be left (see the sysctls "
			"kernel.unprivileged_userns_clone and user.max_user_namespaces)");
	return map_identity(user, group, error);
}

/* An empty folder in memory takes the place of everything. */
static int leave_files(struct hv_error *error)
{
	const unsigned long flags = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC;

	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return failed(error, "its mounts cannot be made private");
	if (mount("none", root, "tmpfs", flags, "mode=0555,size=4k,nr_inodes=1") < 0)
		return failed(error, "an empty root cannot be mounted");
	if (chdir(root) < 0 || syscall(SYS_pivot_root, ".", ".") < 0)
		return failed(error, "the empty root cannot take the place of '/'");
	if (umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return failed(error, "the old root cannot be left");
	return 0;
}

/* --- Privileges ------------------------------------------------------------------------------- */

static int drop_privileges(const struct identity *identity, struct hv_error *error)
{
	int status;

	capng_clear(CAPNG_SELECT_BOTH);
	if (geteuid() == 0 && identity)
		status = capng_change_id((int)identity->user, (int)identity->group,
			(capng_flags_t)(CAPNG_DROP_SUPP_GRP | CAPNG_CLEAR_BOUNDING));
	else
		status = capng_apply(CAPNG_SELECT_BOTH);
	if (status < 0)
		return failed(error, "its privileges cannot be dropped");
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return failed(error, "tracing cannot be forbidden");
	return 0;
}

/* Believes the kernel only what it can be seen to have done. */
static int check_privileges(const struct identity *identity, struct hv_error *error)
{
	capng_clear(CAPNG_SELECT_BOTH);
	if (capng_get_caps_process() < 0 ||
		capng_have_capabilities(CAPNG_SELECT_CAPS) != CAPNG_NONE)
		return hv_fail(error, EPERM,
			"the sandbox cannot be entered: capabilities are left after they were "
			"dropped");
	if (identity && (getuid() != identity->user || geteuid() != identity->user ||
				getgid() != identity->group || getgroups(0, NULL) != 0))
		return hv_fail(error, EPERM,
			"the sandbox cannot be entered: the process is still another user's");
	return 0;
}

int sandbox_enter(const struct vmm_options *options, struct hv_error *error)
{
	struct identity identity;
	bool becomes = geteuid() == 0;
	int status;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return failed(error, "new privileges cannot be forbidden");
	if (!options->sandbox)
		return 0;
	status = becomes ? find_identity(options->user, &identity, error) : 0;
	if (status == 0)
		status = enter_limits(options, error);
	if (status == 0)
		status = leave_namespaces(error);
	if (status == 0)
		status = leave_files(error);
	if (status == 0)
		status = drop_privileges(becomes ? &identity : NULL, error);
	return status == 0 ? check_privileges(becomes ? &identity : NULL, error) : status;
}
