/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Filters of captures: checked by the main thread before anything is captured, executed by workers
 * for each frame of a captured port.
 */
#include "datapath/capture_filter.h"

#include <stdlib.h>
#include <string.h>

struct capture_filter {
	struct bpf_insn *program;
};

/* --- Instructions --------------------------------------------------------------------------- */

/* What the interpreter knows.  bpf_validate() looks at parts of a code only, and the interpreter
 * ends the process at one that it does not know. */
static const uint16_t known[] = {
	BPF_RET | BPF_K,
	BPF_RET | BPF_A,
	BPF_LD | BPF_W | BPF_ABS,
	BPF_LD | BPF_H | BPF_ABS,
	BPF_LD | BPF_B | BPF_ABS,
	BPF_LD | BPF_W | BPF_IND,
	BPF_LD | BPF_H | BPF_IND,
	BPF_LD | BPF_B | BPF_IND,
	BPF_LD | BPF_W | BPF_LEN,
	BPF_LDX | BPF_W | BPF_LEN,
	BPF_LDX | BPF_MSH | BPF_B,
	BPF_LD | BPF_IMM,
	BPF_LDX | BPF_IMM,
	BPF_LD | BPF_MEM,
	BPF_LDX | BPF_MEM,
	BPF_ST,
	BPF_STX,
	BPF_JMP | BPF_JA,
	BPF_JMP | BPF_JGT | BPF_K,
	BPF_JMP | BPF_JGE | BPF_K,
	BPF_JMP | BPF_JEQ | BPF_K,
	BPF_JMP | BPF_JSET | BPF_K,
	BPF_JMP | BPF_JGT | BPF_X,
	BPF_JMP | BPF_JGE | BPF_X,
	BPF_JMP | BPF_JEQ | BPF_X,
	BPF_JMP | BPF_JSET | BPF_X,
	BPF_ALU | BPF_ADD | BPF_X,
	BPF_ALU | BPF_SUB | BPF_X,
	BPF_ALU | BPF_MUL | BPF_X,
	BPF_ALU | BPF_DIV | BPF_X,
	BPF_ALU | BPF_MOD | BPF_X,
	BPF_ALU | BPF_AND | BPF_X,
	BPF_ALU | BPF_OR | BPF_X,
	BPF_ALU | BPF_XOR | BPF_X,
	BPF_ALU | BPF_LSH | BPF_X,
	BPF_ALU | BPF_RSH | BPF_X,
	BPF_ALU | BPF_ADD | BPF_K,
	BPF_ALU | BPF_SUB | BPF_K,
	BPF_ALU | BPF_MUL | BPF_K,
	BPF_ALU | BPF_DIV | BPF_K,
	BPF_ALU | BPF_MOD | BPF_K,
	BPF_ALU | BPF_AND | BPF_K,
	BPF_ALU | BPF_OR | BPF_K,
	BPF_ALU | BPF_XOR | BPF_K,
	BPF_ALU | BPF_LSH | BPF_K,
	BPF_ALU | BPF_RSH | BPF_K,
	BPF_ALU | BPF_NEG,
	BPF_MISC | BPF_TAX,
	BPF_MISC | BPF_TXA,
};

static bool is_known(uint16_t code)
{
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (known[i] == code)
			return true;
	return false;
}

static bool all_are_known(const struct bpf_insn *program, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!is_known(program[i].code))
			return false;
	return true;
}

/* --- Jumps ---------------------------------------------------------------------------------- */

/* bpf_validate() adds 32-bit numbers for an unconditional jump, so that it may lead backwards: that
 * is how libpcap itself writes the loop of "ip6 protochain".  A loop may have no end. */
static bool jumps_forwards(const struct bpf_insn *program, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (program[i].code == (BPF_JMP | BPF_JA) && program[i].k >= n - i - 1)
			return false;
	return true;
}

/* --- Scratch memory ------------------------------------------------------------------------- */
/*
 * bpf_validate() says that each slot exists, but not that a program writes a slot before it reads
 * it, and the interpreter does not clear them.  Jumps lead forwards, so one pass over the program
 * knows for each instruction which slots all ways to it have written.
 */

_Static_assert(BPF_MEMWORDS <= 16, "a slot is a bit");

static bool reads_slot(const struct bpf_insn *at)
{
	return at->code == (BPF_LD | BPF_MEM) || at->code == (BPF_LDX | BPF_MEM);
}

static bool writes_slot(const struct bpf_insn *at)
{
	return BPF_CLASS(at->code) == BPF_ST || BPF_CLASS(at->code) == BPF_STX;
}

/* Takes what is written at the end of instruction i to those that may come behind it. */
static void pass_on(const struct bpf_insn *program, size_t i, uint16_t written, uint16_t *reached)
{
	const struct bpf_insn *at = &program[i];

	if (BPF_CLASS(at->code) == BPF_RET)
		return;
	if (BPF_CLASS(at->code) != BPF_JMP) {
		reached[i + 1] &= written;
	} else if (BPF_OP(at->code) == BPF_JA) {
		reached[i + 1 + at->k] &= written;
	} else {
		reached[i + 1 + at->jt] &= written;
		reached[i + 1 + at->jf] &= written;
	}
}

/* For a program that bpf_validate() and jumps_forwards() have passed. */
static bool reads_what_it_wrote(const struct bpf_insn *program, size_t n)
{
	uint16_t reached[CAPTURE_FILTER_MAX];

	memset(reached, 0xff, n * sizeof(reached[0]));
	reached[0] = 0;
	for (size_t i = 0; i < n; i++) {
		if (reads_slot(&program[i]) && !(reached[i] & 1u << program[i].k))
			return false;
		pass_on(program, i,
			reached[i] | (writes_slot(&program[i]) ? 1u << program[i].k : 0), reached);
	}
	return true;
}

/* --- Filters -------------------------------------------------------------------------------- */

struct capture_filter *capture_filter_create(
	const struct bpf_insn *program, size_t n, const char **why)
{
	struct capture_filter *filter;

	*why = "it has no instructions, or more than 4096";
	if (n == 0 || n > CAPTURE_FILTER_MAX)
		return NULL;
	*why = "it is no valid BPF program";
	if (!all_are_known(program, n) || !bpf_validate(program, (int)n))
		return NULL;
	*why = "it has a loop, as \"protochain\" makes one";
	if (!jumps_forwards(program, n))
		return NULL;
	*why = "it reads scratch memory that it has not written";
	if (!reads_what_it_wrote(program, n))
		return NULL;
	*why = "there is not enough memory";
	filter = malloc(sizeof(*filter));
	if (filter == NULL)
		return NULL;
	filter->program = malloc(n * sizeof(*program));
	if (filter->program == NULL) {
		free(filter);
		return NULL;
	}
	memcpy(filter->program, program, n * sizeof(*program));
	return filter;
}

void capture_filter_destroy(struct capture_filter *filter)
{
	if (filter == NULL)
		return;
	free(filter->program);
	free(filter);
}

bool capture_filter_accepts(const struct capture_filter *filter, const uint8_t *data,
	uint32_t bytes, uint32_t frame_bytes)
{
	return filter == NULL || bpf_filter(filter->program, data, frame_bytes, bytes) != 0;
}
