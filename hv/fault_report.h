/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is known of a processor that cannot go on: its registers, in a form that a person reads and
 * compares with a disassembly.
 *
 * On the processor's own thread, with the machine's lock held or not.
 */
#ifndef HV_FAULT_REPORT_H
#define HV_FAULT_REPORT_H

#include <stddef.h>
#include <stdint.h>

#include "hv/vcpu.h"

enum {
	FAULT_PLACE_BYTES = 96, /* For fault_report_place(). */
	FAULT_CODE_BYTES = 64,	/* For fault_report_code() and fault_report_hex(). */
};

/* The whole report: registers, control registers, segments, and the bytes at RIP; at most `bytes`
 * with the final zero. */
void fault_report_write(const struct vcpu *vcpu, char *text, size_t bytes);

/* "at rip 0xffffffff81000000, ring 0, 64-bit": returns `text`. */
const char *fault_report_place(const struct vcpu *vcpu, char text[FAULT_PLACE_BYTES]);

/* The bytes at RIP, as many of them as are in guest memory: returns `text`, or NULL if there are
 * none. */
const char *fault_report_code(const struct vcpu *vcpu, char text[FAULT_CODE_BYTES]);

/* "0f 0b 90": at most 16 bytes; returns `text`. */
const char *fault_report_hex(const uint8_t *bytes, unsigned int n, char text[FAULT_CODE_BYTES]);

#endif
