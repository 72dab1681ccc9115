/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small kernel files for tests: an ELF file with a PVH note, and a bzImage; both good, to be spoilt
 * by whoever tests.
 */
#ifndef TESTS_KERNEL_FILES_H
#define TESTS_KERNEL_FILES_H

#include <asm/bootparam.h>
#include <elf.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { KERNEL_FILE_MAX = 16384, KERNEL_FILE_SEGMENTS = 3, KERNEL_FILE_NOTES = 0x200 };

struct kernel_file {
	size_t bytes;
	uint8_t at[KERNEL_FILE_MAX];
};

/* --- ELF: two segments and the notes --- */

enum {
	ELF_CODE = 0x100000,
	ELF_ENTRY = ELF_CODE + 0x20,
	ELF_CODE_OFFSET = 0x1000,
	ELF_CODE_BYTES = 0x300,
	ELF_CODE_MEMORY = 0x2000,
	ELF_DATA = 0x200000,
	ELF_DATA_OFFSET = 0x1400,
	ELF_DATA_BYTES = 0x10,
};

static inline Elf64_Ehdr *elf_header(struct kernel_file *file)
{
	return (Elf64_Ehdr *)(void *)file->at;
}

static inline Elf64_Phdr *elf_segment(struct kernel_file *file, unsigned int i)
{
	return (Elf64_Phdr *)(void *)(file->at + sizeof(Elf64_Ehdr)) + i;
}

/* A note of 4-byte alignment; where the next one goes. */
static inline size_t elf_note(struct kernel_file *file, size_t at, const char *name, uint32_t type,
	uint64_t value, uint32_t bytes)
{
	Elf64_Nhdr note = {(uint32_t)strlen(name) + 1, bytes, type};

	memcpy(file->at + at, &note, sizeof(note));
	at += sizeof(note);
	memcpy(file->at + at, name, note.n_namesz);
	at += (note.n_namesz + 3) & ~3U;
	memcpy(file->at + at, &value, bytes);
	return at + ((bytes + 3) & ~3U);
}

static inline void elf_file(struct kernel_file *file)
{
	Elf64_Ehdr header = {
		.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
		.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_phoff = sizeof(header),
		.e_ehsize = sizeof(header),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = KERNEL_FILE_SEGMENTS,
	};
	Elf64_Phdr segments[KERNEL_FILE_SEGMENTS] = {
		{PT_LOAD, PF_R | PF_X, ELF_CODE_OFFSET, 0, ELF_CODE, ELF_CODE_BYTES,
			ELF_CODE_MEMORY, 4096},
		{PT_LOAD, PF_R | PF_W, ELF_DATA_OFFSET, 0, ELF_DATA, ELF_DATA_BYTES, ELF_DATA_BYTES,
			4096},
		{PT_NOTE, PF_R, KERNEL_FILE_NOTES, 0, 0, 0, 0, 4},
	};
	size_t end;

	memset(file, 0, sizeof(*file));
	file->bytes = ELF_DATA_OFFSET + ELF_DATA_BYTES;
	end = elf_note(file, KERNEL_FILE_NOTES, "GNU", 3, 0x1234567, 7);
	end = elf_note(file, end, "Xen", 18, ELF_ENTRY, 8);
	segments[2].p_filesz = segments[2].p_memsz = end - KERNEL_FILE_NOTES;
	memcpy(file->at, &header, sizeof(header));
	memcpy(elf_segment(file, 0), segments, sizeof(segments));
	memset(file->at + ELF_CODE_OFFSET, 0xc0, ELF_CODE_BYTES);
	memset(file->at + ELF_DATA_OFFSET, 0xda, ELF_DATA_BYTES);
}

/* --- bzImage: one sector of set-up code, and a kernel of 0x310 bytes --- */

enum {
	BZIMAGE_KERNEL_OFFSET = 1024,
	BZIMAGE_KERNEL_BYTES = 0x310,
	BZIMAGE_PREFERRED = 0x1000000,
	BZIMAGE_ALIGNMENT = 0x200000,
	BZIMAGE_NEEDS = 0x400000,
	BZIMAGE_COMMAND_LINE = 255,
	BZIMAGE_INITRD_LAST = 0x7fffffff,
};

static inline struct setup_header *bzimage_header(struct kernel_file *file)
{
	return (struct setup_header *)(void *)(file->at + offsetof(struct boot_params, hdr));
}

static inline void bzimage_file(struct kernel_file *file)
{
	struct setup_header *header = bzimage_header(file);

	memset(file, 0, sizeof(*file));
	file->bytes = BZIMAGE_KERNEL_OFFSET + BZIMAGE_KERNEL_BYTES;
	memset(file->at + BZIMAGE_KERNEL_OFFSET, 0xb2, BZIMAGE_KERNEL_BYTES);
	header->setup_sects = 1;
	header->syssize = BZIMAGE_KERNEL_BYTES / 16;
	header->boot_flag = 0xaa55;
	/* A short jump over the header, whose end it tells. */
	header->jump =
		(uint16_t)(0xeb | (offsetof(struct boot_params, hdr) + sizeof(*header) - 0x202)
					  << 8);
	memcpy(&header->header, "HdrS", 4);
	header->version = 0x20f;
	header->loadflags = LOADED_HIGH;
	header->xloadflags = XLF_KERNEL_64;
	header->relocatable_kernel = 1;
	header->kernel_alignment = BZIMAGE_ALIGNMENT;
	header->pref_address = BZIMAGE_PREFERRED;
	header->init_size = BZIMAGE_NEEDS;
	header->cmdline_size = BZIMAGE_COMMAND_LINE;
	header->initrd_addr_max = BZIMAGE_INITRD_LAST;
}

#endif
