/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A control group for each guest (cgroup.h).  Called by guest.c on the main thread.
 */
#include <config.h>

#include "hv/hostd/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "openvswitch/vlog.h"
#include "util.h"

VLOG_DEFINE_THIS_MODULE(cgroup);

struct hierarchy {
	char *root;   /* Where it is mounted. */
	char *parent; /* The directory of all guests' groups. */
	bool unified; /* Version 2. */
};

struct cgroups {
	struct hierarchy hierarchies[CGROUP_HIERARCHIES];
	unsigned int n;
	char *relative; /* "cordon/run-cordon". */
	char *description;
	bool warned;
};

/* --- Files ---------------------------------------------------------------------------------- */

static int write_file(const char *directory, const char *name, const char *text)
{
	char *path = xasprintf("%s/%s", directory, name);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int error = 0;

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		error = -errno;
	if (fd >= 0)
		close(fd);
	free(path);
	return error;
}

/* The first `bytes` - 1 bytes of a file; false if there is none. */
static bool read_file(const char *directory, const char *name, char *text, size_t bytes)
{
	char *path = xasprintf("%s/%s", directory, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, text, bytes - 1) : -1;

	if (fd >= 0)
		close(fd);
	free(path);
	text[n > 0 ? n : 0] = '\0';
	return n > 0;
}

/* --- What there is -------------------------------------------------------------------------- */

/* Has the controllers handed on to the groups below.  What is not permitted is missing then. */
static void hand_on(const char *directory)
{
	static const char *const controllers[] = {"+cpu", "+memory", "+pids"};

	for (size_t i = 0; i < ARRAY_SIZE(controllers); i++)
		write_file(directory, "cgroup.subtree_control", controllers[i]);
}

/* Makes ROOT/RELATIVE and those on the way. */
static int make_parent(const struct hierarchy *hierarchy, const char *relative)
{
	char *path = xasprintf("%s/%s", hierarchy->root, relative);
	int error = 0;

	for (char *slash = path + strlen(hierarchy->root); slash && !error;
		slash = strchr(slash + 1, '/')) {
		/* The root itself comes first. */
		*slash = '\0';
		if (mkdir(path, 0755) && errno != EEXIST)
			error = -errno;
		else if (hierarchy->unified)
			hand_on(path);
		*slash = '/';
	}
	if (!error && mkdir(path, 0755) && errno != EEXIST)
		error = -errno;
	if (!error && hierarchy->unified)
		hand_on(path);
	free(path);
	return error;
}

static void add_hierarchy(struct cgroups *cgroups, const char *root, bool unified)
{
	struct hierarchy *one = &cgroups->hierarchies[cgroups->n];
	int error;

	if (cgroups->n == CGROUP_HIERARCHIES)
		return;
	*one = (struct hierarchy){.root = xstrdup(root), .unified = unified};
	error = make_parent(one, cgroups->relative);
	one->parent = xasprintf("%s/%s", root, cgroups->relative);
	if (error) {
		VLOG_WARN("%s: no control groups can be made there (%s); guests run without them",
			one->parent, ovs_strerror(-error));
		cgroups->warned = true;
		free(one->parent);
		free(one->root);
		return;
	}
	cgroups->n++;
}

/* Version 2 counts if it has the controllers: with both mounted, version 1 may hold them. */
static bool has_controllers(const char *root)
{
	char text[256];

	return read_file(root, "cgroup.controllers", text, sizeof(text)) && strstr(text, "memory");
}

static bool is_wanted(const struct mntent *mount)
{
	static const char *const wanted[] = {"memory", "cpu", "cpuacct", "pids"};

	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
		if (hasmntopt(mount, wanted[i]))
			return true;
	}
	return false;
}

static void find_hierarchies(struct cgroups *cgroups)
{
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	const struct mntent *mount;

	while (mounts && (mount = getmntent(mounts))) {
		if (!strcmp(mount->mnt_type, "cgroup2") && has_controllers(mount->mnt_dir))
			add_hierarchy(cgroups, mount->mnt_dir, true);
		else if (!strcmp(mount->mnt_type, "cgroup") && is_wanted(mount))
			add_hierarchy(cgroups, mount->mnt_dir, false);
	}
	if (mounts)
		endmntent(mounts);
}

struct cgroups *cgroups_create(const char *run_directory)
{
	struct cgroups *cgroups = xzalloc(sizeof(*cgroups));
	char *name = xstrdup(run_directory + strspn(run_directory, "/"));

	for (char *c = name; *c; c++) {
		if (*c == '/')
			*c = '-';
	}
	cgroups->relative = xasprintf("cordon/%s", name);
	free(name);
	find_hierarchies(cgroups);
	if (!cgroups->n && !cgroups->warned)
		VLOG_WARN("no control groups are mounted; what guests use is not accounted for");
	cgroups->description =
		cgroups->n ? xasprintf("%s: %s%s",
				     cgroups->hierarchies[0].unified ? "version 2" : "version 1",
				     cgroups->hierarchies[0].parent,
				     cgroups->n > 1 ? " and others" : "")
			   : xstrdup("none");
	return cgroups;
}

void cgroups_destroy(struct cgroups *cgroups)
{
	if (!cgroups)
		return;
	for (unsigned int i = 0; i < cgroups->n; i++) {
		/* Gone if no guest is left, and kept otherwise. */
		rmdir(cgroups->hierarchies[i].parent);
		free(cgroups->hierarchies[i].root);
		free(cgroups->hierarchies[i].parent);
	}
	free(cgroups->relative);
	free(cgroups->description);
	free(cgroups);
}

const char *cgroups_describe(const struct cgroups *cgroups)
{
	return cgroups->description;
}

/* --- One guest's ---------------------------------------------------------------------------- */

static char *group_of(const struct hierarchy *hierarchy, const char *name)
{
	return xasprintf("%s/vm-%s", hierarchy->parent, name);
}

unsigned int cgroups_enter(struct cgroups *cgroups, const char *name, unsigned int n_tasks,
	int fds[CGROUP_HIERARCHIES])
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < cgroups->n; i++) {
		char *group = group_of(&cgroups->hierarchies[i], name);
		char *procs = xasprintf("%s/cgroup.procs", group), limit[16];

		mkdir(group, 0755);
		snprintf(limit, sizeof(limit), "%u", n_tasks);
		write_file(group, "pids.max", limit); /* Of those that have it. */
		fds[n] = open(procs, O_WRONLY | O_CLOEXEC);
		if (fds[n] >= 0) {
			n++;
		} else if (!cgroups->warned) {
			VLOG_WARN(
				"%s: %s; the guest runs outside of it", procs, ovs_strerror(errno));
			cgroups->warned = true;
		}
		free(procs);
		free(group);
	}
	return n;
}

/* A number that stands alone in its file, or behind `key` on a line of it. */
static bool read_number(const char *group, const char *file, const char *key, int64_t *number)
{
	char text[4096];
	const char *at = text;

	if (!read_file(group, file, text, sizeof(text)))
		return false;
	if (key) {
		size_t length = strlen(key);

		while (strncmp(at, key, length) || at[length] != ' ') {
			at = strchr(at, '\n');
			if (!at)
				return false;
			at++;
		}
		at += length;
	}
	return sscanf(at, "%" SCNd64, number) == 1;
}

void cgroups_count(const struct cgroups *cgroups, const char *name, struct counts *counts)
{
	static const struct {
		const char *file, *key, *name;
		int64_t divisor;
	} files[] = {
		{"memory.current", NULL, "memory_bytes", 1},
		{"memory.usage_in_bytes", NULL, "memory_bytes", 1},
		{"cpu.stat", "usage_usec", "cpu_ms", 1000},
		{"cpuacct.usage", NULL, "cpu_ms", 1000000},
		{"pids.current", NULL, "tasks", 1},
	};

	for (unsigned int i = 0; i < cgroups->n; i++) {
		char *group = group_of(&cgroups->hierarchies[i], name);
		int64_t number;

		for (size_t j = 0; j < ARRAY_SIZE(files); j++) {
			if (read_number(group, files[j].file, files[j].key, &number))
				counts_put(counts, files[j].name, number / files[j].divisor);
		}
		free(group);
	}
}

void cgroups_remove(const struct cgroups *cgroups, const char *name)
{
	for (unsigned int i = 0; i < cgroups->n; i++) {
		char *group = group_of(&cgroups->hierarchies[i], name);

		rmdir(group);
		free(group);
	}
}
