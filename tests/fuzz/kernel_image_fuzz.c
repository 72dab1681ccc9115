/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a kernel file: boot_load() must load it into guest memory or refuse it with a
 * sentence, and touch nothing else.
 *
 * The first byte chooses how much memory the guest has, and whether it has an initrd and a long
 * command line; the rest is the file.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hv/boot.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

enum { INITRD = 1, LONG_COMMAND_LINE = 2, MUCH_MEMORY = 4, INITRD_BYTES = 5000 };

static const uint64_t MIB = 1 << 20;

static struct machine small, large;
static int kernel_fd, initrd_fd;
static char kernel_path[32], initrd_path[32], long_command_line[1500];

static void require(bool promise)
{
	if (!promise)
		abort();
}

/* A file without a name, and the path that opens it. */
static int file_of(const char *name, char *path, size_t bytes)
{
	int fd = memfd_create(name, MFD_CLOEXEC);

	require(fd >= 0);
	snprintf(path, bytes, "/proc/self/fd/%d", fd);
	return fd;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	require(guest_memory_create(&small.memory, 4 * MIB, GUEST_PAGES_SMALL, NULL) == 0);
	require(guest_memory_create(&large.memory, 4096 * MIB, GUEST_PAGES_SMALL, NULL) == 0);
	kernel_fd = file_of("kernel", kernel_path, sizeof(kernel_path));
	initrd_fd = file_of("initrd", initrd_path, sizeof(initrd_path));
	require(ftruncate(initrd_fd, INITRD_BYTES) == 0);
	memset(long_command_line, 'x', sizeof(long_command_line) - 1);
	return 0;
}

/* What is handed to the processor lies in memory. */
static void check_entry(const struct machine *machine, const struct boot_entry *entry)
{
	require(guest_memory_at(&machine->memory, entry->rip, 1));
	require(guest_memory_at(&machine->memory, entry->rsp - 8, 8));
	require(guest_memory_at(&machine->memory, entry->gdt_base, entry->gdt_limit + 1U));
	require(entry->rip >= BOOT_HIGH_START);
	require((entry->rbx == BOOT_PARAMETERS) != (entry->rsi == BOOT_PARAMETERS));
}

/* The next input finds zeros again. */
static void forget(const struct machine *machine)
{
	require(fallocate(machine->memory.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
			(off_t)machine->memory.bytes) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vmm_options options = {.kernel = kernel_path};
	const struct machine *machine;
	struct boot_entry entry;
	struct hv_error error = {.text = ""};

	if (size == 0)
		return 0;
	require(ftruncate(kernel_fd, 0) == 0);
	require(pwrite(kernel_fd, data + 1, size - 1, 0) == (ssize_t)(size - 1));
	options.initrd = data[0] & INITRD ? initrd_path : NULL;
	options.command_line = data[0] & LONG_COMMAND_LINE ? long_command_line : "console=ttyS0";
	machine = data[0] & MUCH_MEMORY ? &large : &small;
	if (boot_load(machine, &options, &entry, &error) == 0)
		check_entry(machine, &entry);
	else
		require(error.text[0] != '\0');
	forget(machine);
	return 0;
}
