/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is wanted of one guest (wish.h): what names may be, and freeing it.  Called by replica.c and
 * guest.c on the main thread.
 */
#include "hv/hostd/wish.h"

#include <stdlib.h>
#include <string.h>

bool vm_name_is_usable(const char *name)
{
	static const char plain[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	size_t length = strlen(name);

	return length && length <= VM_NAME_BYTES_MAX && !strchr("._-", *name) &&
	       strspn(name, plain) == length;
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
