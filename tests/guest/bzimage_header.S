/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The boot sector and the one sector of set-up code that make the guest a bzImage (boot protocol
 * 2.12).  KERNEL_BYTES, how long the image is, comes from the Makefile.
 */
#include "ring0.h"

	.section .header, "a"
	.org	0x1f1
	.byte	1				/* setup_sects */
	.word	0
	.long	(KERNEL_BYTES + 15) / 16	/* syssize */
	.word	0, 0, 0
	.word	0xaa55
	.byte	0xeb, header_end - magic	/* jump */
magic:
	.ascii	"HdrS"
	.word	0x20c				/* version */
	.long	0
	.word	0, 0
	.byte	0
	.byte	1				/* loadflags: loaded high */
	.word	0
	.long	0x100000			/* code32_start */
	.long	0, 0, 0				/* ramdisk_image, ramdisk_size, bootsect_kludge */
	.word	0
	.byte	0, 0
	.long	0				/* cmd_line_ptr */
	.long	0x7fffffff			/* initrd_addr_max */
	.long	0x200000			/* kernel_alignment */
	.byte	0				/* relocatable_kernel */
	.byte	21				/* min_alignment */
	.word	1				/* xloadflags: a 64-bit entry */
	.long	2047				/* cmdline_size */
	.long	0
	.quad	0
	.long	0, 0				/* payload_offset, payload_length */
	.quad	0				/* setup_data */
	.quad	0x200000			/* pref_address */
		.long	GUEST_MEMORY			/* init_size */
	.long	0				/* handover_offset */
header_end:
	.org	1024
	.section .note.GNU-stack, "", @progbits
