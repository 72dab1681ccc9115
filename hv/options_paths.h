/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The paths on the command line, all together.  Called by options.c.
 */
#ifndef HV_OPTIONS_PATHS_H
#define HV_OPTIONS_PATHS_H

#include "hv/options.h"

/*
 * Refuses a file or a socket that is named twice, under whatever names: a socket in the place of
 * another one, an outcome that overwrites a disk.  When all is read.  0, or -EINVAL and a sentence
 * that names both.
 */
int options_check_paths(const struct vmm_options *options, struct hv_error *error);

#endif
