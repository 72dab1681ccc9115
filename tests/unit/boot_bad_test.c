/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is said of files that are no kernel, or a bad one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/stat.h>

#include "boot_fixture.h"
#include "hv/boot.h"

static void arm(struct kernel_file *file)
{
	elf_header(file)->e_machine = EM_AARCH64;
}

static void of_32_bits(struct kernel_file *file)
{
	elf_header(file)->e_ident[EI_CLASS] = ELFCLASS32;
}

static void big_endian(struct kernel_file *file)
{
	elf_header(file)->e_ident[EI_DATA] = ELFDATA2MSB;
}

static void object_file(struct kernel_file *file)
{
	elf_header(file)->e_type = ET_REL;
}

static void library(struct kernel_file *file)
{
	elf_header(file)->e_type = ET_DYN;
}

static void header_only(struct kernel_file *file)
{
	file->bytes = sizeof(Elf64_Ehdr);
}

static void half_a_header(struct kernel_file *file)
{
	file->bytes = 40;
}

static void no_headers(struct kernel_file *file)
{
	elf_header(file)->e_phnum = 0;
}

static void small_headers(struct kernel_file *file)
{
	elf_header(file)->e_phentsize = 32;
}

static void far_headers(struct kernel_file *file)
{
	elf_header(file)->e_phoff = UINT64_MAX - 8;
}

static void half_a_segment(struct kernel_file *file)
{
	file->bytes = ELF_CODE_OFFSET + 0x100;
}

static void far_segment(struct kernel_file *file)
{
	elf_segment(file, 0)->p_offset = UINT64_MAX - 0x100;
}

static void more_in_the_file(struct kernel_file *file)
{
	elf_segment(file, 0)->p_filesz = ELF_CODE_MEMORY + 1;
}

static void low_segment(struct kernel_file *file)
{
	elf_segment(file, 0)->p_paddr = 0x8000;
}

static void high_segment(struct kernel_file *file)
{
	elf_segment(file, 1)->p_paddr = 64 << 20;
}

static void endless_segment(struct kernel_file *file)
{
	elf_segment(file, 0)->p_memsz = UINT64_MAX;
}

static void overlapping(struct kernel_file *file)
{
	elf_segment(file, 1)->p_paddr = ELF_CODE + ELF_CODE_MEMORY - 1;
}

static void nothing_to_load(struct kernel_file *file)
{
	elf_segment(file, 0)->p_type = PT_NULL;
	elf_segment(file, 1)->p_type = PT_NULL;
}

static void no_note(struct kernel_file *file)
{
	elf_segment(file, 2)->p_type = PT_NULL;
}

static void note_of_another(struct kernel_file *file)
{
	elf_note(file, KERNEL_FILE_NOTES, "Xen", 17, ELF_ENTRY, 8);
	elf_segment(file, 2)->p_filesz = 24;
}

static void endless_note(struct kernel_file *file)
{
	Elf64_Nhdr note = {UINT32_MAX, UINT32_MAX, 18};

	memcpy(file->at + KERNEL_FILE_NOTES, &note, sizeof(note));
}

static void entry_outside(struct kernel_file *file)
{
	elf_note(file, KERNEL_FILE_NOTES, "Xen", 18, ELF_CODE + ELF_CODE_BYTES, 8);
	elf_segment(file, 2)->p_filesz = 24;
}

static void notes_outside(struct kernel_file *file)
{
	elf_segment(file, 2)->p_offset = file->bytes;
}

static void old_protocol(struct kernel_file *file)
{
	bzimage_header(file)->version = 0x20b;
}

static void no_64_bit_entry(struct kernel_file *file)
{
	bzimage_header(file)->xloadflags = 0;
}

static void odd_alignment(struct kernel_file *file)
{
	bzimage_header(file)->kernel_alignment = 0x300000;
}

static void no_alignment(struct kernel_file *file)
{
	bzimage_header(file)->kernel_alignment = 0;
}

static void half_a_bzimage(struct kernel_file *file)
{
	file->bytes = BZIMAGE_KERNEL_OFFSET + BZIMAGE_KERNEL_BYTES / 2;
}

static void setup_beyond_the_end(struct kernel_file *file)
{
	bzimage_header(file)->setup_sects = 255;
}

static void empty_kernel(struct kernel_file *file)
{
	bzimage_header(file)->syssize = 0;
}

static void needs_everything(struct kernel_file *file)
{
	bzimage_header(file)->init_size = UINT32_MAX;
}

static void prefers_the_end(struct kernel_file *file)
{
	bzimage_header(file)->relocatable_kernel = 0;
	bzimage_header(file)->pref_address = UINT64_MAX - 0x1000;
}

static void prefers_low_memory(struct kernel_file *file)
{
	bzimage_header(file)->relocatable_kernel = 0;
	bzimage_header(file)->pref_address = 0x10000;
}

static void aligned_to_half_of_everything(struct kernel_file *file)
{
	bzimage_header(file)->kernel_alignment = UINT32_C(1) << 31;
}

struct bad_kernel {
	void (*make)(struct kernel_file *file);
	void (*spoil)(struct kernel_file *file);
	int code;
	const char *says;
};

static const struct bad_kernel bad_kernels[] = {
	{elf_file, arm, EINVAL, "is an ELF file for 64-bit ARM (machine 183); expected is x86-64"},
	{elf_file, of_32_bits, EINVAL, "is a 32-bit ELF file"},
	{elf_file, big_endian, EINVAL, "for a big-endian machine"},
	{elf_file, object_file, EINVAL, "an object file that was not linked"},
	{elf_file, library, EINVAL, "a shared library or position-independent program"},
	{elf_file, header_only, EINVAL, "is truncated: its table of program headers"},
	{elf_file, half_a_header, EINVAL,
		"is truncated: its ELF header has 64 bytes, the file only 40"},
	{elf_file, no_headers, EINVAL, "has 0 program headers of 56 bytes"},
	{elf_file, small_headers, EINVAL, "has 3 program headers of 32 bytes"},
	{elf_file, far_headers, EINVAL, "is truncated: its table of program headers"},
	{elf_file, half_a_segment, EINVAL,
		"is truncated: its segment 0 needs 768 bytes from byte 4096 on, but the file has "
		"only "
		"4352"},
	{elf_file, far_segment, EINVAL, "is truncated: its segment 0"},
	{elf_file, more_in_the_file, EINVAL, "but only 8192 in memory"},
	{elf_file, low_segment, EINVAL, "its segment 0 wants to be at 0x8000"},
	{elf_file, high_segment, ENOMEM, "does not fit: its segment 1"},
	{elf_file, endless_segment, ENOMEM, "does not fit: its segment 0"},
	{elf_file, overlapping, EINVAL, "its segments 0 and 1 overlap"},
	{elf_file, nothing_to_load, EINVAL, "has no segment that is to be loaded"},
	{elf_file, no_note, EINVAL, "has no PVH entry"},
	{elf_file, note_of_another, EINVAL, "has no PVH entry"},
	{elf_file, endless_note, EINVAL, "has no PVH entry"},
	{elf_file, entry_outside, EINVAL, "its PVH entry 0x100300 is in none of its segments"},
	{elf_file, notes_outside, EINVAL, "is truncated: its segment of notes"},
	{bzimage_file, old_protocol, EINVAL, "speaks boot protocol 2.11; expected is 2.12"},
	{bzimage_file, no_64_bit_entry, EINVAL, "without a 64-bit entry"},
	{bzimage_file, odd_alignment, EINVAL, "an alignment of 0x300000"},
	{bzimage_file, no_alignment, EINVAL, "an alignment of 0x0"},
	{bzimage_file, half_a_bzimage, EINVAL,
		"is truncated: by its header it has 1808 bytes, the file only 1416"},
	{bzimage_file, setup_beyond_the_end, EINVAL, "is truncated: by its header"},
	{bzimage_file, empty_kernel, EINVAL, "which end before its 64-bit entry"},
	{bzimage_file, needs_everything, ENOMEM, "needs 4194304 KiB of memory"},
	{bzimage_file, prefers_the_end, ENOMEM, "of memory from 0xffffffffffffefff on"},
	{bzimage_file, prefers_low_memory, ENOMEM, "of memory from 0x10000 on"},
	{bzimage_file, aligned_to_half_of_everything, ENOMEM, "from 0x80000000 on"},
};

static void bad_kernels_are_refused(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(bad_kernels) / sizeof(bad_kernels[0]); i++) {
		const struct bad_kernel *bad = &bad_kernels[i];

		bad->make(&f->file);
		bad->spoil(&f->file);
		write_kernel(f);
		must_say(f, bad->code, bad->says);
		assert_non_null(strstr(f->error.text, f->kernel));
	}
}

/* What is not even meant to be a kernel for this machine. */
static void other_files_are_named(void **state)
{
	static const struct {
		size_t offset, bytes;
		const char *content, *says;
	} files[] = {
		{0, 0, "", "is empty"},
		{0, 30, "#!/bin/sh\necho I am no kernel\n", "is text, not a kernel"},
		{0, 4, "\x01\x02\x03\x04", "is data of an unknown kind, not a kernel"},
		{0, 4, "\x1f\x8b\x08\x00", "is compressed by gzip"},
		{0, 6,
			"\xfd"
			"7zXZ\0",
			"is compressed by xz"},
		{0, 4, "\x28\xb5\x2f\xfd", "is compressed by zstd"},
		{0, 6, "070701", "is an initrd (a cpio archive)"},
		{0, 4, "QFI\xfb", "is a qcow2 disk image"},
		{0, 2, "MZ", "is an EFI or Windows program"},
		{56, 4, "ARM\x64", "is a kernel for 64-bit ARM"},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		memset(&f->file, 0, sizeof(f->file));
		memcpy(f->file.at + files[i].offset, files[i].content, files[i].bytes);
		f->file.bytes = files[i].offset + files[i].bytes;
		write_kernel(f);
		must_say(f, EINVAL, files[i].says);
	}
}

static void kernel_must_be_a_file(void **state)
{
	struct fixture *f = *state;

	must_say(f, ENOENT, "cannot open kernel '");
	assert_int_equal(mkfifo(f->kernel, 0600), 0);
	must_say(f, EINVAL, "is neither a file nor a link to one");
	f->options.kernel = f->directory;
	must_say(f, EINVAL, "is a directory; give a file");
}

int main(void)
{
#define STORY(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		STORY(bad_kernels_are_refused),
		STORY(other_files_are_named),
		STORY(kernel_must_be_a_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
