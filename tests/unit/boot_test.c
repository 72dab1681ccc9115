/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What becomes of a kernel file, an initrd and a command line in guest memory, by both protocols.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "boot_fixture.h"
#include "hv/acpi.h"
#include "hv/layout.h"

/* --- PVH ------------------------------------------------------------------------------------- */

struct start_info {
	uint32_t magic, version, flags, n_modules;
	uint64_t modules, command_line, rsdp, memory_map;
	uint32_t n_memory_map, reserved;
};

struct memory_range {
	uint64_t address, bytes;
	uint32_t type, reserved;
};

static const struct start_info *start_info(struct fixture *f)
{
	return at(f, f->entry.rbx, sizeof(struct start_info));
}

static void elf_is_loaded(void **state)
{
	struct fixture *f = *state;

	elf_file(&f->file);
	write_kernel(f);
	must_load(f);
	assert_filled(f, ELF_CODE, ELF_CODE_BYTES, 0xc0);
	assert_filled(f, ELF_CODE + ELF_CODE_BYTES, ELF_CODE_MEMORY - ELF_CODE_BYTES, 0);
	assert_filled(f, ELF_DATA, ELF_DATA_BYTES, 0xda);
	assert_int_equal(f->entry.rip, ELF_ENTRY);
	/* As Xen's document has it: protected, no paging, flat segments of 32 bits. */
	assert_int_equal(f->entry.cr0 & ~UINT64_C(0x10), 1);
	assert_int_equal(f->entry.cr4, 0);
	assert_int_equal(f->entry.efer, 0);
	assert_int_equal(f->entry.code.base, 0);
	assert_int_equal(f->entry.code.limit, UINT32_MAX);
	assert_true(f->entry.code.db && !f->entry.code.l);
	assert_int_equal(f->entry.data.limit, UINT32_MAX);
	assert_int_equal(f->entry.task.type, 0xb);
	assert_int_equal(f->entry.task.limit, 0x67);
}

static void elf_is_told_what_it_has(void **state)
{
	struct fixture *f = *state;
	const struct start_info *info;

	elf_file(&f->file);
	write_kernel(f);
	f->options.command_line = "console=ttyS0 quiet";
	must_load(f);
	info = start_info(f);
	assert_int_equal(info->magic, 0x336ec578);
	assert_int_equal(info->version, 1);
	assert_int_equal(info->n_modules, 0);
	assert_int_equal(info->rsdp, ACPI_RSDP);
	assert_string_equal(at(f, info->command_line, 20), "console=ttyS0 quiet");
}

static void elf_has_an_initrd(void **state)
{
	struct fixture *f = *state;
	const struct start_info *info;
	const uint64_t *module;

	elf_file(&f->file);
	write_kernel(f);
	give_initrd(f, 5000);
	must_load(f);
	info = start_info(f);
	assert_int_equal(info->n_modules, 1);
	module = at(f, info->modules, 4 * sizeof(*module));
	/* Two pages from the end of memory: as high as it can be. */
	assert_int_equal(module[0], 64 * MIB - 8192);
	assert_int_equal(module[1], 5000);
	assert_filled(f, module[0], 5000, 0x1d);
}

/* Notes are aligned to 8 bytes where the segment says so, and a value may have 4 bytes. */
static void elf_notes_may_be_wide(void **state)
{
	struct fixture *f = *state;
	size_t end;

	elf_file(&f->file);
	/* 12 and 4 bytes of header and name, 8 of value: a multiple of 8 in both alignments. */
	end = elf_note(&f->file, KERNEL_FILE_NOTES, "GNU", 5, 0, 8);
	end = elf_note(&f->file, end, "Xen", 18, ELF_ENTRY + 1, 4);
	elf_segment(&f->file, 2)->p_filesz = end - KERNEL_FILE_NOTES;
	elf_segment(&f->file, 2)->p_align = 8;
	write_kernel(f);
	must_load(f);
	assert_int_equal(f->entry.rip, ELF_ENTRY + 1);
}

/* --- The memory map -------------------------------------------------------------------------- */

/* No two ranges meet, memory is what the guest has, and what is taken is not memory. */
static void check_map(struct fixture *f, const struct memory_range *map, unsigned int n)
{
	uint64_t memory = 0, reserved = 0;

	for (unsigned int i = 0; i < n; i++) {
		assert_true(map[i].bytes > 0);
		if (i > 0)
			assert_true(map[i - 1].address + map[i - 1].bytes <= map[i].address);
		if (map[i].type == 1) {
			at(f, map[i].address, map[i].bytes);
			memory += map[i].bytes;
		}
		if (map[i].type == 2 && map[i].address <= LAYOUT_ECAM_BASE &&
			map[i].address + map[i].bytes >= LAYOUT_ECAM_BASE + LAYOUT_ECAM_BYTES)
			reserved++;
		if (map[i].type == 2 && map[i].address <= ACPI_RSDP &&
			map[i].address + map[i].bytes >= ACPI_END)
			reserved++;
	}
	assert_int_equal(reserved, 2);
	assert_int_equal(f->machine.memory.bytes - memory, BOOT_HIGH_START - BOOT_LOW_END);
}

static void map_is_of_the_memory(void **state)
{
	static const uint64_t sizes[] = {4, 64, 3072, 3074, 8192};
	struct fixture *f = *state;

	elf_file(&f->file);
	write_kernel(f);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		const struct start_info *info;

		give_memory(f, sizes[i] * MIB);
		must_load(f);
		info = start_info(f);
		check_map(f, at(f, info->memory_map, 24), info->n_memory_map);
	}
}

/* --- bzImage --------------------------------------------------------------------------------- */

static const struct boot_params *zero_page(struct fixture *f)
{
	return at(f, f->entry.rsi, sizeof(struct boot_params));
}

static void bzimage_is_loaded(void **state)
{
	struct fixture *f = *state;

	bzimage_file(&f->file);
	write_kernel(f);
	must_load(f);
	assert_filled(f, BZIMAGE_PREFERRED, BZIMAGE_KERNEL_BYTES, 0xb2);
	assert_int_equal(f->entry.rip, BZIMAGE_PREFERRED + 0x200);
	assert_int_equal(f->entry.code.selector, 0x10);
	assert_int_equal(f->entry.data.selector, 0x18);
	assert_true(f->entry.code.l && !f->entry.code.db);
	assert_int_equal(f->entry.efer, 0x500);
	assert_int_equal(f->entry.cr0 & UINT64_C(0x80000001), UINT64_C(0x80000001));
}

static void bzimage_has_a_zero_page(void **state)
{
	struct fixture *f = *state;
	const struct boot_params *page;
	struct memory_range map[16];

	bzimage_file(&f->file);
	write_kernel(f);
	f->options.command_line = "a=1";
	must_load(f);
	page = zero_page(f);
	assert_memory_equal(&page->hdr.header, "HdrS", 4);
	assert_int_equal(page->hdr.type_of_loader, 0xff);
	assert_int_equal(page->hdr.ramdisk_size, 0);
	assert_int_equal(page->hdr.init_size, BZIMAGE_NEEDS);
	assert_int_equal(page->acpi_rsdp_addr, ACPI_RSDP);
	assert_int_equal(page->sentinel, 0);
	assert_string_equal(at(f, page->hdr.cmd_line_ptr, 4), "a=1");
	assert_in_range(page->e820_entries, 1, 16);
	for (unsigned int i = 0; i < page->e820_entries; i++)
		map[i] = (struct memory_range){page->e820_table[i].addr, page->e820_table[i].size,
			page->e820_table[i].type, 0};
	check_map(f, map, page->e820_entries);
}

/* A header of an older protocol ends earlier: what is behind it is not the header's. */
static void bzimage_header_ends_where_it_says(void **state)
{
	struct fixture *f = *state;

	bzimage_file(&f->file);
	bzimage_header(&f->file)->version = 0x20d;
	f->file.at[0x201] = 0x264 - 0x202;
	bzimage_header(&f->file)->kernel_info_offset = 0x12345678;
	write_kernel(f);
	must_load(f);
	assert_int_equal(zero_page(f)->hdr.kernel_info_offset, 0);
	assert_int_equal(zero_page(f)->acpi_rsdp_addr, 0);
}

/* Walks the page tables as a processor does. */
static uint64_t walk(struct fixture *f, uint64_t address)
{
	uint64_t table = f->entry.cr3;

	for (unsigned int shift = 39; shift >= 21; shift -= 9) {
		const uint64_t *entries = at(f, table, 4096);
		uint64_t entry = entries[address >> shift & 511];

		assert_int_equal(entry & 3, 3);
		table = entry & UINT64_C(0xffffffffff000);
		if (entry & 0x80)
			return table + (address & ((UINT64_C(1) << shift) - 1));
	}
	fail();
	return 0;
}

static void pages_map_themselves(void **state)
{
	static const uint64_t addresses[] = {
		0x2000, 0x20000, 0x1000200, 0x40000000, 0xbffff123, 0xfee00020, 0xffffffff};
	struct fixture *f = *state;

	bzimage_file(&f->file);
	write_kernel(f);
	must_load(f);
	for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++)
		assert_int_equal(walk(f, addresses[i]), addresses[i]);
}

/* The descriptors in the GDT are those that the registers start with (Intel SDM vol. 3, 3.4.5). */
static void gdt_is_what_is_loaded(void **state)
{
	struct fixture *f = *state;
	const uint64_t *gdt;

	bzimage_file(&f->file);
	write_kernel(f);
	must_load(f);
	gdt = at(f, f->entry.gdt_base, f->entry.gdt_limit + 1U);
	assert_int_equal(f->entry.gdt_limit % 8, 7);
	assert_int_equal(gdt[0], 0);
	assert_int_equal(gdt[f->entry.code.selector / 8], UINT64_C(0x00af9b000000ffff));
	assert_int_equal(gdt[f->entry.data.selector / 8], UINT64_C(0x00cf93000000ffff));
	assert_int_equal(gdt[f->entry.task.selector / 8], UINT64_C(0x00008b0000000067));
}

static void bzimage_is_moved_where_it_has_room(void **state)
{
	struct fixture *f = *state;

	bzimage_file(&f->file);
	write_kernel(f);
	give_memory(f, 8 * MIB);
	must_load(f);
	assert_int_equal(f->entry.rip, BZIMAGE_ALIGNMENT + 0x200);
	assert_int_equal(zero_page(f)->hdr.code32_start, BZIMAGE_ALIGNMENT);
	assert_filled(f, BZIMAGE_ALIGNMENT, BZIMAGE_KERNEL_BYTES, 0xb2);

	give_memory(f, 4 * MIB);
	must_say(f, ENOMEM,
		"needs 4096 KiB of memory from 0x200000 on, but the guest has only 4096");

	bzimage_header(&f->file)->relocatable_kernel = 0;
	write_kernel(f);
	give_memory(f, 8 * MIB);
	must_say(f, ENOMEM, "from 0x1000000 on, but the guest has only 8192");
}

static void last_paragraph_may_be_short(void **state)
{
	struct fixture *f = *state;

	bzimage_file(&f->file);
	f->file.bytes -= 15;
	write_kernel(f);
	must_load(f);
	assert_filled(f, BZIMAGE_PREFERRED, BZIMAGE_KERNEL_BYTES - 15, 0xb2);
	f->file.bytes -= 1;
	write_kernel(f);
	must_say(f, EINVAL, "is truncated");
}

/* --- initrd and command line ----------------------------------------------------------------- */

static void initrd_keeps_below_its_limit(void **state)
{
	struct fixture *f = *state;

	bzimage_file(&f->file);
	bzimage_header(&f->file)->initrd_addr_max = 0x2ffffff;
	write_kernel(f);
	give_initrd(f, 4097);
	must_load(f);
	assert_int_equal(zero_page(f)->hdr.ramdisk_image, 0x3000000 - 8192);
	assert_int_equal(zero_page(f)->hdr.ramdisk_size, 4097);
	assert_filled(f, 0x3000000 - 8192, 4097, 0x1d);
}

/* Above the kernel there is no room: below it is some. */
static void initrd_goes_below_the_kernel(void **state)
{
	struct fixture *f = *state;

	bzimage_file(&f->file);
	bzimage_header(&f->file)->initrd_addr_max = BZIMAGE_PREFERRED + BZIMAGE_NEEDS + 4094;
	write_kernel(f);
	give_initrd(f, 4096);
	must_load(f);
	assert_int_equal(zero_page(f)->hdr.ramdisk_image, BZIMAGE_PREFERRED - 4096);
}

/* To the byte: 64 MiB but for the kernel's end at 20 MiB. */
static void initrd_that_does_not_fit_is_refused(void **state)
{
	struct fixture *f = *state;

	bzimage_file(&f->file);
	write_kernel(f);
	give_initrd(f, 44 * MIB);
	must_load(f);
	assert_int_equal(zero_page(f)->hdr.ramdisk_image, 20 * MIB);
	give_initrd(f, 44 * MIB + 1);
	must_say(f, ENOSPC, "initrd '");
	must_say(f, ENOSPC, "of 45057 KiB does not fit: of the guest's 65536 KiB of memory");
}

static void initrd_must_be_a_file(void **state)
{
	struct fixture *f = *state;

	elf_file(&f->file);
	write_kernel(f);
	f->options.initrd = f->initrd;
	must_say(f, ENOENT, "cannot open initrd '");
	give_initrd(f, 0);
	must_say(f, EINVAL, "is empty");
	f->options.initrd = f->directory;
	must_say(f, EINVAL, "is a directory");
}

static void command_line_has_a_limit(void **state)
{
	struct fixture *f = *state;
	char text[2050];

	memset(text, 'x', sizeof(text));
	f->options.command_line = text;
	bzimage_file(&f->file);
	write_kernel(f);
	text[BZIMAGE_COMMAND_LINE] = '\0';
	must_load(f);
	text[BZIMAGE_COMMAND_LINE] = 'x';
	text[BZIMAGE_COMMAND_LINE + 1] = '\0';
	must_say(f, E2BIG, "the command line has 256 bytes, but this kernel takes only 255");

	text[BZIMAGE_COMMAND_LINE + 1] = 'x';
	elf_file(&f->file);
	write_kernel(f);
	text[2047] = '\0';
	must_load(f);
	text[2047] = 'x';
	text[2048] = '\0';
	must_say(f, E2BIG, "the command line has 2048 bytes, but this kernel takes only 2047");
}

int main(void)
{
#define STORY(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		STORY(elf_is_loaded),
		STORY(elf_is_told_what_it_has),
		STORY(elf_has_an_initrd),
		STORY(elf_notes_may_be_wide),
		STORY(map_is_of_the_memory),
		STORY(bzimage_is_loaded),
		STORY(bzimage_has_a_zero_page),
		STORY(bzimage_header_ends_where_it_says),
		STORY(pages_map_themselves),
		STORY(gdt_is_what_is_loaded),
		STORY(bzimage_is_moved_where_it_has_room),
		STORY(last_paragraph_may_be_short),
		STORY(initrd_keeps_below_its_limit),
		STORY(initrd_goes_below_the_kernel),
		STORY(initrd_that_does_not_fit_is_refused),
		STORY(initrd_must_be_a_file),
		STORY(command_line_has_a_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
