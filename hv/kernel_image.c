/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What kind of file a kernel is, by its first bytes.
 *
 * Called by boot_load() on the main thread, before the guest runs.
 */
#include "hv/kernel_image.h"

#include <asm/bootparam.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hv/read_file.h"

#define EXPECTED                                                                                   \
	"expected is a bzImage (as in /boot/vmlinuz-*) or an uncompressed x86-64 ELF file with a " \
	"PVH note"

/* Files that people take for a kernel. */
struct look_alike {
	unsigned int offset, bytes;
	const char *magic;
	const char *name;
};

static const struct look_alike LOOK_ALIKES[] = {
	{56, 4, "ARM\x64", "a kernel for 64-bit ARM"},
	{48, 4, "RISC", "a kernel for RISC-V"},
	{0, 2, "\x1f\x8b", "compressed by gzip: uncompress it first"},
	{0, 6,
		"\xfd"
		"7zXZ\0",
		"compressed by xz: uncompress it first"},
	{0, 4, "\x28\xb5\x2f\xfd", "compressed by zstd: uncompress it first"},
	{0, 4, "\x27\x05\x19\x56", "a U-Boot image"},
	{0, 6, "070701", "an initrd (a cpio archive)"},
	{0, 4, "QFI\xfb", "a qcow2 disk image"},
	{0, 4, "KDMV", "a VMDK disk image"},
	{0, 2, "MZ", "an EFI or Windows program that is no bzImage"},
};

/* ELF's machines that a kernel may have been built for by mistake. */
static const struct {
	uint16_t machine;
	const char *name;
} MACHINES[] = {
	{EM_386, "32-bit x86"},
	{EM_ARM, "32-bit ARM"},
	{EM_AARCH64, "64-bit ARM"},
	{EM_PPC64, "64-bit POWER"},
	{EM_RISCV, "RISC-V"},
	{EM_S390, "S/390"},
	{EM_MIPS, "MIPS"},
	{EM_SPARCV9, "64-bit SPARC"},
};

static const char *machine_name(uint16_t machine)
{
	for (size_t i = 0; i < sizeof(MACHINES) / sizeof(MACHINES[0]); i++) {
		if (MACHINES[i].machine == machine)
			return MACHINES[i].name;
	}
	return "another machine";
}

static const char *elf_type_name(uint16_t type)
{
	switch (type) {
	case ET_REL: return "an object file that was not linked";
	case ET_DYN: return "a shared library or position-independent program";
	case ET_CORE: return "a core dump";
	default: return "of an unknown type";
	}
}

/* An ELF file is only good as a 64-bit program for x86-64. */
static int check_elf(const struct kernel_image *image, struct hv_error *error)
{
	Elf64_Ehdr header;

	memcpy(&header, image->head, sizeof(header));
	if (image->bytes < sizeof(header))
		return hv_fail(error, EINVAL,
			"kernel '%s' is truncated: its ELF header has %zu bytes, the file only "
			"%" PRIu64,
			image->path, sizeof(header), image->bytes);
	/* Type and machine lie in the same place in 32-bit files. */
	if (header.e_ident[EI_DATA] == ELFDATA2LSB && header.e_machine != EM_X86_64)
		return hv_fail(error, EINVAL,
			"kernel '%s' is an ELF file for %s (machine %u); expected is x86-64",
			image->path, machine_name(header.e_machine), header.e_machine);
	if (header.e_ident[EI_DATA] != ELFDATA2LSB)
		return hv_fail(error, EINVAL,
			"kernel '%s' is an ELF file for a big-endian machine; expected is x86-64",
			image->path);
	if (header.e_ident[EI_CLASS] != ELFCLASS64)
		return hv_fail(error, EINVAL,
			"kernel '%s' is a 32-bit ELF file; expected is a 64-bit one", image->path);
	if (header.e_type != ET_EXEC)
		return hv_fail(error, EINVAL,
			"kernel '%s' is an ELF file, but %s; expected is an executable (vmlinux)",
			image->path, elf_type_name(header.e_type));
	return 0;
}

static bool is_text(const struct kernel_image *image)
{
	uint64_t n = image->bytes < KERNEL_IMAGE_HEAD ? image->bytes : KERNEL_IMAGE_HEAD;

	for (uint64_t i = 0; i < n; i++) {
		uint8_t c = image->head[i];

		if (c == 0x7f || (c < 0x20 && (c < '\t' || c > '\r')))
			return false;
	}
	return true;
}

static int refuse(const struct kernel_image *image, struct hv_error *error)
{
	for (size_t i = 0; i < sizeof(LOOK_ALIKES) / sizeof(LOOK_ALIKES[0]); i++) {
		const struct look_alike *other = &LOOK_ALIKES[i];

		if (memcmp(image->head + other->offset, other->magic, other->bytes) == 0)
			return hv_fail(error, EINVAL, "kernel '%s' is %s; " EXPECTED, image->path,
				other->name);
	}
	return hv_fail(error, EINVAL, "kernel '%s' is %s, not a kernel; " EXPECTED, image->path,
		is_text(image) ? "text" : "data of an unknown kind");
}

static bool is_bzimage(const struct kernel_image *image)
{
	const uint8_t *header = image->head + offsetof(struct boot_params, hdr);

	return header[offsetof(struct setup_header, boot_flag)] == 0x55 &&
	       header[offsetof(struct setup_header, boot_flag) + 1] == 0xaa &&
	       memcmp(header + offsetof(struct setup_header, header), "HdrS", 4) == 0;
}

static int identify(struct kernel_image *image, struct hv_error *error)
{
	if (image->bytes == 0)
		return hv_fail(error, EINVAL, "kernel '%s' is empty; " EXPECTED, image->path);
	if (memcmp(image->head, ELFMAG, SELFMAG) == 0) {
		image->kind = KERNEL_ELF;
		return check_elf(image, error);
	}
	if (is_bzimage(image)) {
		image->kind = KERNEL_BZIMAGE;
		return 0;
	}
	return refuse(image, error);
}

int kernel_image_open(struct kernel_image *image, const char *path, struct hv_error *error)
{
	uint64_t head;
	int status;

	memset(image, 0, sizeof(*image));
	image->path = path;
	image->fd = read_file_open(path, "kernel", &image->bytes, error);
	if (image->fd < 0)
		return image->fd;
	head = image->bytes < KERNEL_IMAGE_HEAD ? image->bytes : KERNEL_IMAGE_HEAD;
	status = kernel_image_read(image, 0, image->head, head, "beginning", error);
	return status ? status : identify(image, error);
}

void kernel_image_close(struct kernel_image *image)
{
	if (image->fd >= 0)
		close(image->fd);
	image->fd = -1;
}

static int check_range(const struct kernel_image *image, uint64_t offset, uint64_t bytes,
	const char *what, struct hv_error *error)
{
	if (offset <= image->bytes && bytes <= image->bytes - offset)
		return 0;
	return hv_fail(error, EINVAL,
		"kernel '%s' is truncated: its %s needs %" PRIu64 " bytes from byte %" PRIu64
		" on, but the file has only %" PRIu64 " bytes",
		image->path, what, bytes, offset, image->bytes);
}

/* What has become of reading, as a sentence. */
static int tell(
	const struct kernel_image *image, int status, const char *what, struct hv_error *error)
{
	if (status == -ENODATA)
		return hv_fail(error, EINVAL, "kernel '%s' became shorter while its %s was read",
			image->path, what);
	if (status < 0)
		return hv_fail(error, -status, "cannot read the %s of kernel '%s': %s", what,
			image->path, strerror(-status));
	return 0;
}

int kernel_image_read(const struct kernel_image *image, uint64_t offset, void *to, uint64_t bytes,
	const char *what, struct hv_error *error)
{
	int status = check_range(image, offset, bytes, what, error);

	if (status < 0)
		return status;
	return tell(image, read_file_exactly(image->fd, offset, to, bytes), what, error);
}

int kernel_image_load(const struct kernel_image *image, uint64_t offset,
	const struct guest_memory *memory, uint64_t address, uint64_t bytes, const char *what,
	struct hv_error *error)
{
	int status = check_range(image, offset, bytes, what, error);

	if (status < 0)
		return status;
	status = read_file_to_guest(image->fd, offset, memory, address, bytes);
	return tell(image, status, what, error);
}
