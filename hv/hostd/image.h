/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a disk image names by itself: other files, which the storage daemon would open in the host's
 * name.  An image that comes from somebody else must not reach beyond the folder in which it lies.
 *
 * Main thread.
 */
#ifndef HV_HOSTD_IMAGE_H
#define HV_HOSTD_IMAGE_H

#include "hv/hostd/wish.h"

/*
 * Looks at a qcow2 or VMDK image: it is there, it is of its format, and what it names (a backing
 * file, a data file, a parent, extents) lies in its own folder or below.  0, or a negative errno
 * with a sentence in *why, which the caller frees.
 */
int image_check(const struct vm_disk_wish *disk, char **why);

#endif
