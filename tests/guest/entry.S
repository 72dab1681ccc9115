/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All that runs in ring 0: both entries, the way into ring 3, faults and interrupts.
 *
 * Ring 0 may be emulated by the host, slowly and with few instructions, so that there is as little
 * of it as can be: everything else is payload, in ring 3, which all memory and all ports belong to.
 * The payload asks for ring 0 by `hlt`, which faults there: RAX says what for (ring0.h).
 */
#include "ring0.h"

	.section .head, "ax"
	.code32
	.globl pvh_entry
/* EBX is hvm_start_info, whose command line is at 24. */
pvh_entry:
	cli
	mov	24(%ebx), %edi
	mov	%cr4, %eax
	or	$CR4_PAE, %eax
	mov	%eax, %cr4
	mov	$page_root, %eax
	mov	%eax, %cr3
	mov	$MSR_EFER, %ecx
	rdmsr
	or	$EFER_LONG_MODE_ENABLE, %eax
	wrmsr
	mov	%cr0, %eax
	or	$CR0_PAGING, %eax
	mov	%eax, %cr0
	lgdt	gdt_pointer
	ljmp	$SELECTOR_CODE0, $long_mode

/* Linux's boot protocol enters here.  RSI is the zero page, whose command line is at 0x228. */
	.org	0x200
	.code64
bzimage_entry:
	cli
	mov	0x228(%rsi), %edi
	mov	$page_root, %eax
	mov	%rax, %cr3
	lgdt	gdt_pointer
	mov	$ring0_stack_end, %esp
	pushq	$SELECTOR_CODE0
	pushq	$long_mode
	lretq

	.text
	.code64
/* RDI is the command line, the payload's argument. */
long_mode:
	mov	$SELECTOR_DATA3, %eax
	mov	%eax, %ds
	mov	%eax, %es
	xor	%eax, %eax
	mov	%eax, %fs
	mov	%eax, %gs
	mov	%eax, %ss
	mov	$ring0_stack_end, %esp
	/* The TSS's address in its descriptor: the linker cannot split it. */
	mov	$task, %eax
	mov	%ax, gdt + SELECTOR_TASK + 2
	shr	$16, %eax
	mov	%al, gdt + SELECTOR_TASK + 4
	mov	%ah, gdt + SELECTOR_TASK + 7
	mov	$SELECTOR_TASK, %eax
	ltr	%ax
	lidt	idt_pointer
	mov	$payload_start, %eax
	mov	$payload_stack_end, %edx
/* RAX is where to, RDX the stack. */
enter_ring3:
	pushq	$SELECTOR_DATA3
	pushq	%rdx
	pushq	$(RFLAGS_ALWAYS | RFLAGS_INTERRUPTS)
	pushq	$SELECTOR_CODE3
	pushq	%rax
	iretq

/* --- Faults --------------------------------------------------------------------------------------
 * Each is 16 bytes from the one before, so that the payload can fill the IDT.  On the stack are
 * then: the vector, the error code (0 if the processor gives none), RIP, CS, RFLAGS, RSP, SS.
 */
	.balign 16
	.globl fault_entries
fault_entries:
	.set	vector, 0
	.rept	FAULTS
	.balign 16
	.if	((FAULTS_WITH_CODE >> vector) & 1) == 0
	pushq	$0
	.endif
	pushq	$vector
	jmp	fault
	.set	vector, vector + 1
	.endr

fault:
	cmpl	$FAULT_PROTECTION, (%rsp)
	jne	report
	testb	$3, 24(%rsp)
	jz	report
	push	%rbx
	mov	24(%rsp), %rbx
	cmpb	$OPCODE_HLT, (%rbx)
	pop	%rbx
	je	call
/* The payload prints it, on a stack of its own, and ends. */
report:
	pop	fault_report
	pop	fault_report + 8
	mov	(%rsp), %rax
	mov	%rax, fault_report + 16
	mov	8(%rsp), %rax
	mov	%rax, fault_report + 24
	mov	%cr2, %rax
	mov	%rax, fault_report + 32
	mov	$ring0_stack_end, %esp
	mov	$payload_fault, %eax
	mov	$fault_stack_end, %edx
	jmp	enter_ring3

/* --- Calls --------------------------------------------------------------------------------------- */
call:
	add	$16, %rsp
	incq	(%rsp)			/* Behind the hlt. */
	cmp	$CALL_IDLE, %eax
	je	idle
	cmp	$CALL_TRIPLE_FAULT, %eax
	je	triple_fault
	cmp	$CALL_SPIN, %eax
	je	spin
	cmp	$CALL_HALT, %eax
	je	halt
	iretq

/* RDI is how many interrupts the payload knows of: if there were more, there is something to do. */
idle:
	cmp	%rdi, interrupts
	jne	1f
	sti
	hlt
	cli
1:	iretq

triple_fault:
	lidt	empty_pointer
	ud2

spin:
	jmp	spin

halt:
	cli
	hlt
	jmp	halt

/* --- Interrupts: counted ------------------------------------------------------------------------- */
	.balign 16
	.globl interrupt_entries
interrupt_entries:
	.set	vector, FIRST_INTERRUPT
	.rept	INTERRUPTS
	.balign 16
	pushq	$(vector * 8)
	jmp	interrupt
	.set	vector, vector + 1
	.endr

interrupt:
	push	%rax
	mov	8(%rsp), %rax
	incq	interrupt_counts(%rax)
	incq	interrupts
	mov	$LOCAL_APIC_EOI, %eax
	movl	$0, (%rax)
	pop	%rax
	add	$8, %rsp
	iretq

/* --- Tables -------------------------------------------------------------------------------------- */
	.data
	.balign 16
gdt:
	.quad	0
	.quad	0
	.quad	0x00af9b000000ffff	/* 0x10: ring 0, 64-bit code. */
	.quad	0x00affb000000ffff	/* 0x18: ring 3, 64-bit code. */
	.quad	0x00cff3000000ffff	/* 0x20: ring 3, data. */
	.quad	0
	.quad	0x0000890000000000 | TASK_LIMIT	/* 0x30: the TSS. */
	.quad	0
gdt_end:
gdt_pointer:
	.word	gdt_end - gdt - 1
	.quad	gdt
idt_pointer:
	.word	256 * 16 - 1
	.quad	idt
empty_pointer:
	.word	0
	.quad	0

	.balign 16
task:
	.long	0
	.quad	ring0_stack_end
	.fill	90, 1, 0
	.word	TASK_PORTS		/* Where the bitmap of ports is: all are allowed. */
	.fill	8192, 1, 0
	.byte	0xff

/* 4 GiB one to one, in pages of 2 MiB, for ring 3; above 3 GiB are devices, not cached. */
	.balign 4096
page_root:
	.quad	page_pointers + PAGE_TABLE
	.fill	511, 8, 0
page_pointers:
	.set	i, 0
	.rept	4
	.quad	page_directories + 4096 * i + PAGE_TABLE
	.set	i, i + 1
	.endr
	.fill	508, 8, 0
page_directories:
	.set	i, 0
	.rept	4 * 512
	.if	i < 3 * 512
	.quad	i * 0x200000 + PAGE_LARGE
	.else
	.quad	i * 0x200000 + PAGE_LARGE + PAGE_NOT_CACHED
	.endif
	.set	i, i + 1
	.endr

	.bss
	.balign 16
	.globl idt, interrupts, interrupt_counts, fault_report
idt:
	.fill	256 * 16, 1, 0
interrupts:
	.quad	0
interrupt_counts:
	.fill	256, 8, 0
fault_report:
	.fill	5, 8, 0
	.balign 16
	.fill	4096, 1, 0
ring0_stack_end:
	.fill	65536, 1, 0
payload_stack_end:
	.fill	4096, 1, 0
fault_stack_end:

	.section .note.pvh, "a", @note
	.balign 4
	.long	4, 8, 18
	.asciz	"Xen"
	.quad	pvh_entry
	.section .note.GNU-stack, "", @progbits
