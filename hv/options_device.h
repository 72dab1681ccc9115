/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The values of --net and --disk, and the checks that all of the command line's values share.
 * Called by options.c.
 */
#ifndef HV_OPTIONS_DEVICE_H
#define HV_OPTIONS_DEVICE_H

#include "hv/options.h"

/* Adds a network card or a disk; `value` is cut into its parts in place.  0, or a negative errno
 * and a sentence. */
int options_add_net(struct vmm_options *options, char *value, struct hv_error *error);
int options_add_disk(struct vmm_options *options, char *value, struct hv_error *error);

/* When all is read: makes up the MAC addresses that are missing, refuses what is there twice. */
int options_finish_devices(struct vmm_options *options, struct hv_error *error);

/* A decimal number from `min` to `max`; `what` names it in the sentence. */
int options_number(const char *value, uint64_t min, uint64_t max, const char *what,
	uint64_t *number, struct hv_error *error);

/* Whether a UNIX socket can be at this path at all. */
int options_check_socket(const char *what, const char *path, struct hv_error *error);

#endif
