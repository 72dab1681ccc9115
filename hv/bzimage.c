/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linux's 64-bit boot protocol (Documentation/arch/x86/boot.rst and zero-page.rst).
 *
 * The file has a boot sector, whose end is the setup header; some sectors of real-mode code, which
 * nobody runs any more; and the protected-mode kernel, which is read to where it wants to be.  It
 * is entered at 0x200 bytes from its start, with the address of the zero page in RSI.
 *
 * Called by boot_load() on the main thread, before the guest runs.
 */
#include "hv/bzimage.h"

#include <asm/bootparam.h>
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "hv/acpi.h"
#include "hv/boot_command_line.h"
#include "hv/boot_processor.h"
#include "hv/e820.h"
#include "hv/initrd.h"

enum {
	SECTOR_BYTES = 512,
	SETUP_SECTORS_DEFAULT = 4, /* What 0 stands for. */
	PARAGRAPH_BYTES = 16,	   /* The unit of syssize. */
	HEADER_START = offsetof(struct boot_params, hdr),
	HEADER_JUMP =
		0x202, /* The header ends as many bytes behind this as the byte before says. */
	PROTOCOL_64_BIT = 0x20c,
	PROTOCOL_RSDP = 0x20e,
	LOADER_UNDEFINED = 0xff,
	ENTRY_64_BIT = 0x200,
};

/* The kernel proper: where it is in the file and in memory. */
struct bzimage {
	struct setup_header header;
	uint64_t file_offset, file_bytes;
	uint64_t address, needs_bytes; /* Until it runs, it needs more than it has in the file. */
};

static int check_protocol(
	const struct kernel_image *image, const struct setup_header *header, struct hv_error *error)
{
	if (header->version < PROTOCOL_64_BIT)
		return hv_fail(error, EINVAL,
			"kernel '%s' speaks boot protocol %u.%02u; expected is 2.12 or newer "
			"(Linux "
			"3.8)",
			image->path, header->version >> 8, header->version & 0xff);
	if (!(header->loadflags & LOADED_HIGH) || !(header->xloadflags & XLF_KERNEL_64))
		return hv_fail(error, EINVAL,
			"kernel '%s' is a bzImage without a 64-bit entry; expected is a kernel for "
			"x86-64",
			image->path);
	if (header->kernel_alignment == 0 ||
		(header->kernel_alignment & (header->kernel_alignment - 1)) != 0)
		return hv_fail(error, EINVAL,
			"kernel '%s' is damaged: it asks for an alignment of 0x%x, which is no "
			"power "
			"of two",
			image->path, header->kernel_alignment);
	return 0;
}

/* The header, as long as this kernel has it; what it does not have is 0. */
static int read_header(
	struct bzimage *kernel, const struct kernel_image *image, struct hv_error *error)
{
	uint64_t end = HEADER_JUMP + (uint64_t)image->head[HEADER_JUMP - 1];
	uint64_t bytes = end - HEADER_START;

	if (bytes > sizeof(kernel->header))
		bytes = sizeof(kernel->header);
	memset(kernel, 0, sizeof(*kernel));
	memcpy(&kernel->header, image->head + HEADER_START, bytes);
	return check_protocol(image, &kernel->header, error);
}

/* Where the protected-mode kernel is in the file.  It may end within its last paragraph. */
static int find_in_file(
	struct bzimage *kernel, const struct kernel_image *image, struct hv_error *error)
{
	uint64_t sectors = kernel->header.setup_sects ? kernel->header.setup_sects
						      : (uint64_t)SETUP_SECTORS_DEFAULT;
	uint64_t bytes = (uint64_t)kernel->header.syssize * PARAGRAPH_BYTES;
	uint64_t available;

	kernel->file_offset = (sectors + 1) * SECTOR_BYTES;
	available = image->bytes > kernel->file_offset ? image->bytes - kernel->file_offset : 0;
	if (bytes <= ENTRY_64_BIT)
		return hv_fail(error, EINVAL,
			"kernel '%s' is damaged: its header says that the kernel has %" PRIu64
			" bytes, which end before its 64-bit entry",
			image->path, bytes);
	if (available + PARAGRAPH_BYTES <= bytes)
		return hv_fail(error, EINVAL,
			"kernel '%s' is truncated: by its header it has %" PRIu64
			" bytes, the file only %" PRIu64,
			image->path, kernel->file_offset + bytes, image->bytes);
	kernel->file_bytes = available < bytes ? available : bytes;
	return 0;
}

static bool fits(const struct guest_memory *memory, uint64_t address, uint64_t bytes)
{
	uint64_t end = memory->regions[0].bytes;

	return address >= BOOT_HIGH_START && address <= end && bytes <= end - address;
}

/* At its preferred address; or, if it may be moved and has no room there, as low as may be. */
static int find_in_memory(struct bzimage *kernel, const struct kernel_image *image,
	const struct guest_memory *memory, struct hv_error *error)
{
	const struct setup_header *header = &kernel->header;
	uint64_t alignment = header->kernel_alignment;

	kernel->needs_bytes =
		header->init_size > kernel->file_bytes ? header->init_size : kernel->file_bytes;
	kernel->address = header->pref_address;
	/* A kernel that may be moved moves itself to its alignment otherwise. */
	if (header->relocatable_kernel && (!fits(memory, kernel->address, kernel->needs_bytes) ||
						  kernel->address % alignment != 0))
		kernel->address = (BOOT_HIGH_START + alignment - 1) & ~(alignment - 1);
	if (!fits(memory, kernel->address, kernel->needs_bytes))
		return hv_fail(error, ENOMEM,
			"kernel '%s' needs %" PRIu64 " KiB of memory from 0x%" PRIx64
			" on, but the guest has only %" PRIu64
			" KiB (below 3 GiB); give the guest more memory",
			image->path, (kernel->needs_bytes + 1023) / 1024, kernel->address,
			memory->regions[0].bytes / 1024);
	return 0;
}

static int load_initrd(struct initrd *initrd, const struct bzimage *kernel,
	const struct guest_memory *memory, const char *path, struct hv_error *error)
{
	struct initrd_room room = {
		.kernel_start = kernel->address,
		.kernel_end = kernel->address + kernel->needs_bytes,
		.last = kernel->header.initrd_addr_max,
	};

	return initrd_load(initrd, path, memory, &room, error);
}

static void write_memory_map(struct boot_params *zero_page, const struct guest_memory *memory)
{
	struct e820_range ranges[E820_RANGES];
	unsigned int n = e820_build(memory, ranges);

	for (unsigned int i = 0; i < n; i++) {
		zero_page->e820_table[i].addr = ranges[i].address;
		zero_page->e820_table[i].size = ranges[i].bytes;
		zero_page->e820_table[i].type = ranges[i].type;
	}
	zero_page->e820_entries = (uint8_t)n;
}

/* The kernel's own header, with what its loader has to fill in; all else is 0, or the map. */
static void write_zero_page(const struct guest_memory *memory, const struct bzimage *kernel,
	const struct initrd *initrd)
{
	struct boot_params zero_page = {.hdr = kernel->header};
	struct setup_header *header = &zero_page.hdr;

	header->type_of_loader = LOADER_UNDEFINED;
	header->code32_start = (uint32_t)kernel->address;
	header->ramdisk_image = (uint32_t)initrd->address;
	header->ramdisk_size = (uint32_t)initrd->bytes;
	header->cmd_line_ptr = BOOT_COMMAND_LINE;
	if (header->version >= PROTOCOL_RSDP)
		zero_page.acpi_rsdp_addr = ACPI_RSDP;
	write_memory_map(&zero_page, memory);
	guest_memory_write(memory, BOOT_PARAMETERS, &zero_page, sizeof(zero_page));
}

int bzimage_load(const struct guest_memory *memory, const struct kernel_image *image,
	const struct vmm_options *options, struct boot_entry *entry, struct hv_error *error)
{
	struct initrd initrd;
	struct bzimage kernel;
	int status = read_header(&kernel, image, error);

	if (status == 0)
		status = find_in_file(&kernel, image, error);
	if (status == 0)
		status = find_in_memory(&kernel, image, memory, error);
	if (status == 0)
		status = boot_command_line_write(
			memory, options->command_line, kernel.header.cmdline_size, error);
	if (status == 0)
		status = kernel_image_load(image, kernel.file_offset, memory, kernel.address,
			kernel.file_bytes, "protected-mode code", error);
	if (status == 0)
		status = load_initrd(&initrd, &kernel, memory, options->initrd, error);
	if (status < 0)
		return status;
	write_zero_page(memory, &kernel, &initrd);
	boot_processor_long_mode(memory, entry);
	entry->rip = kernel.address + ENTRY_64_BIT;
	entry->rsi = BOOT_PARAMETERS;
	return 0;
}
