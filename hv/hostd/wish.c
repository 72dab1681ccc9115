/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is wanted of one guest (wish.h): what names may be, and freeing it.  Called by replica.c and
 * guest.c on the main thread.
 */
#include <config.h>

#include "hv/hostd/wish.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "util.h"

bool vm_name_is_usable(const char *name)
{
	static const char plain[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	size_t length = strlen(name);

	return length && length <= VM_NAME_BYTES_MAX && !strchr("._-", *name) &&
	       strspn(name, plain) == length;
}

/* Within a list of KEY=VALUE,... a comma would begin another key. */
static char *word_trouble(const char *what, unsigned int position, const char *word)
{
	for (const char *c = word; *c; c++) {
		if (*c == ',' || iscntrl((unsigned char)*c))
			return xasprintf("%s %u has a comma or a control character in '%.200s'",
				what, position, word);
	}
	return NULL;
}

static char *disk_trouble(const struct vm_disk_wish *disk)
{
	char *trouble = word_trouble("disk", disk->position, disk->path);

	if (!trouble && *disk->path != '/')
		trouble = xasprintf(
			"disk %u has no absolute path, but '%.200s'", disk->position, disk->path);
	return trouble ? trouble : word_trouble("disk", disk->position, disk->serial);
}

char *vm_wish_trouble(const struct vm_wish *wish)
{
	char *trouble = NULL;

	/* They are in the order of their places. */
	for (unsigned int i = 0; i < wish->n_vnics && !trouble; i++) {
		trouble = word_trouble("vNIC", wish->vnics[i].position, wish->vnics[i].mac);
		if (!trouble && i && wish->vnics[i].position == wish->vnics[i - 1].position)
			trouble = xasprintf(
				"two of its vNICs are number %u", wish->vnics[i].position);
	}
	for (unsigned int i = 0; i < wish->n_disks && !trouble; i++) {
		trouble = disk_trouble(&wish->disks[i]);
		if (!trouble && i && wish->disks[i].position == wish->disks[i - 1].position)
			trouble = xasprintf(
				"two of its disks are number %u", wish->disks[i].position);
	}
	return trouble;
}

void vm_wish_destroy(struct vm_wish *wish)
{
	for (unsigned int i = 0; i < wish->n_vnics; i++)
		free(wish->vnics[i].mac);
	for (unsigned int i = 0; i < wish->n_disks; i++) {
		free(wish->disks[i].path);
		free(wish->disks[i].direct);
		free(wish->disks[i].serial);
	}
	free(wish->uuid);
	free(wish->name);
	free(wish->pages);
	free(wish->kernel);
	free(wish->initrd);
	free(wish->command_line);
	free(wish->cpu_mask);
	free(wish->user);
	*wish = (struct vm_wish){0};
}
