/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PVH (Xen's docs/misc/pvh.pandoc): an uncompressed ELF file, whose segments are read to their
 * physical addresses, and whose note says where it is entered.
 *
 * Called by boot_load() on the main thread, before the guest runs.
 */
#include "hv/elf_pvh.h"

#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "hv/acpi.h"
#include "hv/boot_command_line.h"
#include "hv/boot_processor.h"
#include "hv/e820.h"
#include "hv/initrd.h"

enum {
	SEGMENTS_MAX = 64,
	NOTES_MAX = 16 * 1024,
	NOTE_TYPE_PHYS32_ENTRY = 18, /* XEN_ELFNOTE_PHYS32_ENTRY. */
	NOTE_NAME_BYTES = 4,	     /* "Xen" and its zero. */
};

#define START_INFO_MAGIC UINT32_C(0x336ec578)

/* Xen's public/arch-x86/hvm/start_info.h, version 1. */
struct start_info {
	uint32_t magic, version, flags, n_modules;
	uint64_t modules, command_line, rsdp, memory_map;
	uint32_t n_memory_map, reserved;
};

struct start_module {
	uint64_t address, bytes, command_line, reserved;
};

struct start_memory_range {
	uint64_t address, bytes;
	uint32_t type, reserved;
};

/* All three in the page of BOOT_PARAMETERS. */
struct start_page {
	struct start_info info;
	struct start_module initrd;
	struct start_memory_range memory[E820_RANGES];
};

struct elf {
	const struct kernel_image *image;
	const struct guest_memory *memory;
	unsigned int n_segments;
	Elf64_Phdr segments[SEGMENTS_MAX];
	uint64_t start, end; /* Of all segments in memory. */
	bool has_entry;
	uint64_t entry;
};

static int read_segments(struct elf *elf, struct hv_error *error)
{
	const struct kernel_image *image = elf->image;
	Elf64_Ehdr header;

	memcpy(&header, image->head, sizeof(header));
	if (header.e_phnum == 0 || header.e_phnum > SEGMENTS_MAX ||
		header.e_phentsize != sizeof(Elf64_Phdr))
		return hv_fail(error, EINVAL,
			"kernel '%s' is damaged: it has %u program headers of %u bytes; expected "
			"are 1 "
			"to %d of %zu",
			image->path, header.e_phnum, header.e_phentsize, SEGMENTS_MAX,
			sizeof(Elf64_Phdr));
	elf->n_segments = header.e_phnum;
	return kernel_image_read(image, header.e_phoff, elf->segments,
		elf->n_segments * sizeof(Elf64_Phdr), "table of program headers", error);
}

static bool overlap(const Elf64_Phdr *a, const Elf64_Phdr *b)
{
	return a->p_paddr < b->p_paddr + b->p_memsz && b->p_paddr < a->p_paddr + a->p_memsz;
}

/* Sizes are checked against memory before they are added to anything. */
static int check_segment(const struct elf *elf, unsigned int i, struct hv_error *error)
{
	const Elf64_Phdr *segment = &elf->segments[i];
	uint64_t end = elf->memory->regions[0].bytes;

	if (segment->p_filesz > segment->p_memsz)
		return hv_fail(error, EINVAL,
			"kernel '%s' is damaged: its segment %u has %" PRIu64
			" bytes in the file, but only %" PRIu64 " in memory",
			elf->image->path, i, segment->p_filesz, segment->p_memsz);
	if (segment->p_paddr < BOOT_HIGH_START)
		return hv_fail(error, EINVAL,
			"kernel '%s' cannot be loaded: its segment %u wants to be at 0x%" PRIx64
			"; expected is an address from 0x%x on",
			elf->image->path, i, segment->p_paddr, BOOT_HIGH_START);
	if (segment->p_paddr > end || segment->p_memsz > end - segment->p_paddr)
		return hv_fail(error, ENOMEM,
			"kernel '%s' does not fit: its segment %u needs %" PRIu64
			" KiB from 0x%" PRIx64 " on, but the guest has only %" PRIu64
			" KiB (below 3 GiB); give the guest more memory",
			elf->image->path, i, segment->p_memsz / 1024, segment->p_paddr, end / 1024);
	return 0;
}

static bool is_loaded(const Elf64_Phdr *segment)
{
	return segment->p_type == PT_LOAD && segment->p_memsz > 0;
}

static int check_overlaps(const struct elf *elf, unsigned int i, struct hv_error *error)
{
	for (unsigned int j = 0; j < i; j++) {
		if (is_loaded(&elf->segments[j]) && overlap(&elf->segments[i], &elf->segments[j]))
			return hv_fail(error, EINVAL,
				"kernel '%s' is damaged: its segments %u and %u overlap in memory",
				elf->image->path, j, i);
	}
	return 0;
}

static int check_segments(struct elf *elf, struct hv_error *error)
{
	elf->start = UINT64_MAX;
	for (unsigned int i = 0; i < elf->n_segments; i++) {
		const Elf64_Phdr *segment = &elf->segments[i];
		int status;

		if (!is_loaded(segment))
			continue;
		status = check_segment(elf, i, error);
		if (status == 0)
			status = check_overlaps(elf, i, error);
		if (status < 0)
			return status;
		if (segment->p_paddr < elf->start)
			elf->start = segment->p_paddr;
		if (segment->p_paddr + segment->p_memsz > elf->end)
			elf->end = segment->p_paddr + segment->p_memsz;
	}
	if (elf->end == 0)
		return hv_fail(error, EINVAL,
			"kernel '%s' is damaged: it has no segment that is to be loaded",
			elf->image->path);
	return 0;
}

/* The entry is the note's value, of 4 or 8 bytes; the last note counts. */
static void read_note(
	struct elf *elf, const Elf64_Nhdr *note, const uint8_t *name, const uint8_t *value)
{
	if (note->n_type != NOTE_TYPE_PHYS32_ENTRY || note->n_namesz != NOTE_NAME_BYTES ||
		memcmp(name, "Xen", NOTE_NAME_BYTES) != 0)
		return;
	if (note->n_descsz != sizeof(uint32_t) && note->n_descsz != sizeof(uint64_t))
		return;
	elf->entry = 0;
	memcpy(&elf->entry, value, note->n_descsz);
	elf->has_entry = true;
}

static uint64_t align(uint64_t offset, uint64_t alignment)
{
	return (offset + alignment - 1) & ~(alignment - 1);
}

/* A note is a header, a name and a value, each from a multiple of `alignment` on. */
static void read_notes(struct elf *elf, const uint8_t *notes, uint64_t bytes, uint64_t alignment)
{
	uint64_t at = 0;

	while (at < bytes && bytes - at >= sizeof(Elf64_Nhdr)) {
		uint64_t name = at + sizeof(Elf64_Nhdr), value, end;
		Elf64_Nhdr note;

		memcpy(&note, notes + at, sizeof(note));
		value = align(name + note.n_namesz, alignment);
		end = value + note.n_descsz;
		if (end > bytes)
			return;
		read_note(elf, &note, notes + name, notes + value);
		at = align(end, alignment);
	}
}

static int find_entry(struct elf *elf, struct hv_error *error)
{
	uint8_t notes[NOTES_MAX];

	for (unsigned int i = 0; i < elf->n_segments; i++) {
		const Elf64_Phdr *segment = &elf->segments[i];
		int status;

		if (segment->p_type != PT_NOTE || segment->p_filesz > sizeof(notes))
			continue;
		status = kernel_image_read(elf->image, segment->p_offset, notes, segment->p_filesz,
			"segment of notes", error);
		if (status < 0)
			return status;
		read_notes(elf, notes, segment->p_filesz, segment->p_align == 8 ? 8 : 4);
	}
	if (!elf->has_entry)
		return hv_fail(error, EINVAL,
			"kernel '%s' has no PVH entry (a Xen note of type %d); build it with "
			"CONFIG_PVH=y, or give a bzImage",
			elf->image->path, NOTE_TYPE_PHYS32_ENTRY);
	return 0;
}

static int check_entry(const struct elf *elf, struct hv_error *error)
{
	for (unsigned int i = 0; i < elf->n_segments; i++) {
		const Elf64_Phdr *segment = &elf->segments[i];

		if (is_loaded(segment) && elf->entry >= segment->p_paddr &&
			elf->entry - segment->p_paddr < segment->p_filesz)
			return 0;
	}
	return hv_fail(error, EINVAL,
		"kernel '%s' is damaged: its PVH entry 0x%" PRIx64 " is in none of its segments",
		elf->image->path, elf->entry);
}

/* What a segment has in memory beyond the file is 0 already: the guest's memory is new. */
static int load_segments(const struct elf *elf, struct hv_error *error)
{
	for (unsigned int i = 0; i < elf->n_segments; i++) {
		const Elf64_Phdr *segment = &elf->segments[i];
		char what[32];
		int status;

		if (!is_loaded(segment) || segment->p_filesz == 0)
			continue;
		snprintf(what, sizeof(what), "segment %u", i);
		status = kernel_image_load(elf->image, segment->p_offset, elf->memory,
			segment->p_paddr, segment->p_filesz, what, error);
		if (status < 0)
			return status;
	}
	return 0;
}

static void write_start_info(const struct guest_memory *memory, const struct initrd *initrd)
{
	struct e820_range ranges[E820_RANGES];
	unsigned int n = e820_build(memory, ranges);
	struct start_page page = {
		.info =
			{
				.magic = START_INFO_MAGIC,
				.version = 1,
				.command_line = BOOT_COMMAND_LINE,
				.rsdp = ACPI_RSDP,
				.memory_map = BOOT_PARAMETERS + offsetof(struct start_page, memory),
				.n_memory_map = n,
			},
	};

	if (initrd->bytes > 0) {
		page.info.n_modules = 1;
		page.info.modules = BOOT_PARAMETERS + offsetof(struct start_page, initrd);
		page.initrd.address = initrd->address;
		page.initrd.bytes = initrd->bytes;
	}
	for (unsigned int i = 0; i < n; i++)
		page.memory[i] = (struct start_memory_range){
			ranges[i].address, ranges[i].bytes, ranges[i].type, 0};
	guest_memory_write(memory, BOOT_PARAMETERS, &page, sizeof(page));
}

static int load_initrd(
	struct initrd *initrd, const struct elf *elf, const char *path, struct hv_error *error)
{
	struct initrd_room room = {
		.kernel_start = elf->start, .kernel_end = elf->end, .last = UINT32_MAX};

	return initrd_load(initrd, path, elf->memory, &room, error);
}

int elf_pvh_load(const struct guest_memory *memory, const struct kernel_image *image,
	const struct vmm_options *options, struct boot_entry *entry, struct hv_error *error)
{
	struct elf elf = {.image = image, .memory = memory};
	struct initrd initrd;
	int status = read_segments(&elf, error);

	if (status == 0)
		status = check_segments(&elf, error);
	if (status == 0)
		status = find_entry(&elf, error);
	if (status == 0)
		status = check_entry(&elf, error);
	if (status == 0)
		status = boot_command_line_write(
			memory, options->command_line, BOOT_COMMAND_LINE_LINUX, error);
	if (status == 0)
		status = load_segments(&elf, error);
	if (status == 0)
		status = load_initrd(&initrd, &elf, options->initrd, error);
	if (status < 0)
		return status;
	write_start_info(memory, &initrd);
	boot_processor_protected_mode(memory, entry);
	entry->rip = elf.entry;
	entry->rbx = BOOT_PARAMETERS;
	return 0;
}
