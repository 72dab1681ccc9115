/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Builds the GDT and the page tables that the first processor starts with.
 *
 * Called by the loaders of kernels on the main thread, before the guest runs.
 */
#include "hv/boot_processor.h"

#include <assert.h>
#include <string.h>

/* Linux's 64-bit entry wants its code at selector 0x10 and its data at 0x18; PVH does not care. */
enum { SELECTOR_CODE = 0x10, SELECTOR_DATA = 0x18, SELECTOR_TASK = 0x20, GDT_ENTRIES = 6 };

/* Types of segments: code that was accessed and may be read, data that may be written, a busy TSS.
 */
enum { TYPE_CODE = 0xb, TYPE_DATA = 0x3, TYPE_TASK = 0xb };

enum {
	CR0_PROTECTED = 1 << 0,
	CR0_EXTENSION_TYPE = 1 << 4,
	CR4_PAE = 1 << 5,
	EFER_LONG_MODE_ENABLE = 1 << 8,
	EFER_LONG_MODE_ACTIVE = 1 << 10,
	TSS_LIMIT = 0x67,
};
#define CR0_PAGING UINT64_C(0x80000000)

enum {
	PAGE_PRESENT = 1 << 0,
	PAGE_WRITABLE = 1 << 1,
	PAGE_LARGE = 1 << 7,
	PAGE_BYTES = 4096,
	TABLE_ENTRIES = 512,
	DIRECTORIES = 4, /* Of 1 GiB each. */
};
#define LARGE_PAGE_BYTES UINT64_C(0x200000)

/* A descriptor of the GDT (Intel SDM vol. 3, 3.4.5). */
static uint64_t descriptor_of(const struct kvm_segment *segment)
{
	uint64_t limit = segment->g ? segment->limit >> 12 : segment->limit;

	return (limit & 0xffff) | (limit & 0xf0000) << 32 | (segment->base & 0xffffff) << 16 |
	       (segment->base & 0xff000000) << 32 | (uint64_t)segment->type << 40 |
	       (uint64_t)segment->s << 44 | (uint64_t)segment->dpl << 45 |
	       (uint64_t)segment->present << 47 | (uint64_t)segment->l << 53 |
	       (uint64_t)segment->db << 54 | (uint64_t)segment->g << 55;
}

static struct kvm_segment flat(uint16_t selector, uint8_t type)
{
	return (struct kvm_segment){
		.limit = UINT32_MAX,
		.selector = selector,
		.type = type,
		.present = 1,
		.db = 1,
		.s = 1,
		.g = 1,
	};
}

/* The pages below 1 MiB that this file writes: every guest has them (options.c asks for more). */
static void *low_memory(const struct guest_memory *memory, uint64_t address, uint64_t bytes)
{
	void *at = guest_memory_at(memory, address, bytes);

	assert(at);
	return at;
}

/* The busy TSS is not used; a processor in protected mode has to have one. */
static void write_gdt(const struct guest_memory *memory, struct boot_entry *entry)
{
	uint64_t gdt[GDT_ENTRIES] = {
		[SELECTOR_CODE / 8] = descriptor_of(&entry->code),
		[SELECTOR_DATA / 8] = descriptor_of(&entry->data),
		[SELECTOR_TASK / 8] = descriptor_of(&entry->task),
	};

	memcpy(low_memory(memory, BOOT_GDT, sizeof(gdt)), gdt, sizeof(gdt));
	entry->gdt_base = BOOT_GDT;
	entry->gdt_limit = sizeof(gdt) - 1;
}

static void set_segments(
	const struct guest_memory *memory, struct boot_entry *entry, bool long_mode)
{
	entry->code = flat(SELECTOR_CODE, TYPE_CODE);
	entry->code.l = long_mode;
	entry->code.db = !long_mode;
	entry->data = flat(SELECTOR_DATA, TYPE_DATA);
	entry->task = (struct kvm_segment){
		.limit = TSS_LIMIT, .selector = SELECTOR_TASK, .type = TYPE_TASK, .present = 1};
	write_gdt(memory, entry);
}

/* One PML4 and one directory pointer table, whose four directories map 4 GiB in large pages. */
static void write_page_tables(const struct guest_memory *memory)
{
	uint64_t *root =
		low_memory(memory, BOOT_PAGE_TABLES, (uint64_t)(2 + DIRECTORIES) * PAGE_BYTES);
	uint64_t *pointers = root + TABLE_ENTRIES;
	uint64_t *directory = pointers + TABLE_ENTRIES;
	const uint64_t table = PAGE_PRESENT | PAGE_WRITABLE;

	root[0] = (BOOT_PAGE_TABLES + PAGE_BYTES) | table;
	for (uint64_t i = 0; i < DIRECTORIES; i++)
		pointers[i] = (BOOT_PAGE_TABLES + (2 + i) * PAGE_BYTES) | table;
	for (uint64_t i = 0; i < (uint64_t)DIRECTORIES * TABLE_ENTRIES; i++)
		directory[i] = i * LARGE_PAGE_BYTES | table | PAGE_LARGE;
}

void boot_processor_long_mode(const struct guest_memory *memory, struct boot_entry *entry)
{
	memset(entry, 0, sizeof(*entry));
	set_segments(memory, entry, true);
	write_page_tables(memory);
	entry->cr0 = CR0_PAGING | CR0_EXTENSION_TYPE | CR0_PROTECTED;
	entry->cr3 = BOOT_PAGE_TABLES;
	entry->cr4 = CR4_PAE;
	entry->efer = EFER_LONG_MODE_ENABLE | EFER_LONG_MODE_ACTIVE;
	entry->rsp = BOOT_STACK_END;
}

void boot_processor_protected_mode(const struct guest_memory *memory, struct boot_entry *entry)
{
	memset(entry, 0, sizeof(*entry));
	set_segments(memory, entry, false);
	entry->cr0 = CR0_EXTENSION_TYPE | CR0_PROTECTED;
	entry->rsp = BOOT_STACK_END;
}
