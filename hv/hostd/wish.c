/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is wanted of one guest (wish.h): freeing it.  Called by replica.c and guest.c on the main
 * thread.
 */
#include "hv/hostd/wish.h"

#include <stdlib.h>

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
