/* SPDX-License-Identifier: Apache-2.0 */
/*
 * No path twice on the command line.  Called by options_read(), before anything is opened.
 *
 * What is there is known by its device and inode, whatever names lead to it (a block device by its
 * number); what is not there yet, by its folder's and its name.  That is for mistakes: who renames
 * files meanwhile deceives it, and is stopped where it matters by the locks of disks and sockets.
 */
#include "hv/options_paths.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum {
	/* Kernel, initrd, control, outcome, serial port. */
	OTHER_PATHS = 5,
	PATHS = OTHER_PATHS + OPTIONS_NETS + OPTIONS_DISKS,
	FOLDER_BYTES = 4096,
};

struct named_path {
	const char *option, *path, *name; /* `name`: the last part of a path that is not there. */
	bool is_known;			  /* Something tells which it is: */
	bool is_block_device;
	dev_t device;
	ino_t inode; /* Its own; of what is not there, its folder's; of a block device 0. */
};

struct named_paths {
	unsigned int n;
	struct named_path all[PATHS];
};

/* What would be made at `path`. */
static void identify_future(struct named_path *named)
{
	const char *slash = strrchr(named->path, '/');
	size_t length = slash ? (size_t)(slash - named->path) + 1 : 0;
	char folder[FOLDER_BYTES] = ".";
	struct stat status;

	named->name = slash ? slash + 1 : named->path;
	if (length >= sizeof(folder))
		return;
	if (length > 0) {
		memcpy(folder, named->path, length);
		folder[length] = '\0';
	}
	if (stat(folder, &status) < 0)
		return;
	named->is_known = true;
	named->device = status.st_dev;
	named->inode = status.st_ino;
}

static void identify(struct named_path *named)
{
	struct stat status;

	if (stat(named->path, &status) < 0) {
		identify_future(named);
		return;
	}
	named->is_known = true;
	named->is_block_device = S_ISBLK(status.st_mode);
	named->device = named->is_block_device ? status.st_rdev : status.st_dev;
	named->inode = named->is_block_device ? 0 : status.st_ino;
}

static void add(struct named_paths *paths, const char *option, const char *path)
{
	struct named_path *named = &paths->all[paths->n];

	if (!path)
		return;
	*named = (struct named_path){.option = option, .path = path};
	identify(named);
	paths->n++;
}

static bool is_same(const struct named_path *a, const struct named_path *b)
{
	if (strcmp(a->path, b->path) == 0)
		return true;
	if (!a->is_known || !b->is_known || a->is_block_device != b->is_block_device ||
		a->device != b->device || a->inode != b->inode)
		return false;
	if (!a->name || !b->name)
		return !a->name && !b->name;
	return strcmp(a->name, b->name) == 0;
}

static int refuse(
	const struct named_path *first, const struct named_path *second, struct hv_error *error)
{
	if (strcmp(first->path, second->path) == 0)
		return hv_fail(error, EINVAL,
			"%s and %s both name '%s': each file and each socket may be named once",
			first->option, second->option, first->path);
	return hv_fail(error, EINVAL,
		"%s '%.120s' and %s '%.120s' are the same: each file and each socket may be named "
		"once",
		first->option, first->path, second->option, second->path);
}

static void add_serial(struct named_paths *paths, const char *serial)
{
	if (strcmp(serial, "stdio") != 0 && strcmp(serial, "none") != 0)
		add(paths, "--serial", serial);
}

int options_check_paths(const struct vmm_options *options, struct hv_error *error)
{
	struct named_paths paths = {0};

	add(&paths, "--kernel", options->kernel);
	add(&paths, "--initrd", options->initrd);
	for (unsigned int i = 0; i < options->n_nets; i++)
		add(&paths, "--net", options->nets[i].socket);
	for (unsigned int i = 0; i < options->n_disks; i++)
		add(&paths, "--disk",
			options->disks[i].path ? options->disks[i].path : options->disks[i].socket);
	add_serial(&paths, options->serial);
	add(&paths, "--control", options->control);
	add(&paths, "--outcome", options->outcome);
	for (unsigned int i = 0; i < paths.n; i++) {
		for (unsigned int j = 0; j < i; j++) {
			if (is_same(&paths.all[j], &paths.all[i]))
				return refuse(&paths.all[j], &paths.all[i], error);
		}
	}
	return 0;
}
