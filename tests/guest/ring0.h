/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What entry.S and the payload agree on.  Read by the assembler too.
 */
#ifndef GUEST_RING0_H
#define GUEST_RING0_H

#define CR0_PAGING	      0x80000000
#define CR4_PAE		      0x20
#define MSR_EFER	      0xc0000080
#define EFER_LONG_MODE_ENABLE 0x100
#define RFLAGS_ALWAYS	      0x002
#define RFLAGS_INTERRUPTS     0x200

#define SELECTOR_CODE0	      0x10
#define SELECTOR_CODE3	      0x1b
#define SELECTOR_DATA3	      0x23
#define SELECTOR_TASK	      0x30
#define TASK_PORTS	      104
#define TASK_LIMIT	      (104 + 8192)

#define PAGE_TABLE	      0x07
#define PAGE_LARGE	      0x87
#define PAGE_NOT_CACHED	      0x18

/* Vectors 0 to 31; those for which the processor pushes an error code. */
#define FAULTS		 32
#define FAULTS_WITH_CODE 0x60227d00
#define FAULT_PROTECTION 13
#define OPCODE_HLT	 0xf4

#define FIRST_INTERRUPT	 0x40
#define INTERRUPTS	 64
#define LOCAL_APIC_EOI	 0xfee000b0

/* All that the guest needs from 2 MiB on; guest.ld checks it. */
#define GUEST_MEMORY 0x2000000

/* What RAX asks ring 0 for. */
#define CALL_IDLE	  0 /* Wait for an interrupt, if RDI is how many there were. */
#define CALL_TRIPLE_FAULT 1
#define CALL_SPIN	  2 /* For ever, with interrupts off. */
#define CALL_HALT	  3 /* For ever, with interrupts off. */

#endif
