/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What tests of booting share: a machine that has memory only, and files to boot from.  Include
 * cmocka.h before.
 */
#ifndef TESTS_BOOT_FIXTURE_H
#define TESTS_BOOT_FIXTURE_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "hv/boot.h"
#include "kernel_files.h"

static const uint64_t MIB = 1 << 20;

struct fixture {
	char directory[64], kernel[96], initrd[96];
	struct kernel_file file;
	struct machine machine;
	struct vmm_options options;
	struct boot_entry entry;
	struct hv_error error;
};

static inline void write_file(const char *path, const void *bytes, size_t n)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, n, file), n);
	assert_int_equal(fclose(file), 0);
}

static inline void write_kernel(struct fixture *f)
{
	write_file(f->kernel, f->file.at, f->file.bytes);
}

/* An initrd that begins and ends with known bytes. */
static inline void give_initrd(struct fixture *f, size_t bytes)
{
	uint8_t *content = calloc(1, bytes + 1);

	memset(content, 0x1d, bytes);
	write_file(f->initrd, content, bytes);
	free(content);
	f->options.initrd = f->initrd;
}

/* New memory, as a guest's is. */
static inline void give_memory(struct fixture *f, uint64_t bytes)
{
	guest_memory_destroy(&f->machine.memory);
	assert_int_equal(
		guest_memory_create(&f->machine.memory, bytes, GUEST_PAGES_SMALL, &f->error), 0);
}

static inline int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	strcpy(f->directory, "/tmp/cordon-boot-XXXXXX");
	assert_non_null(mkdtemp(f->directory));
	snprintf(f->kernel, sizeof(f->kernel), "%s/kernel", f->directory);
	snprintf(f->initrd, sizeof(f->initrd), "%s/initrd", f->directory);
	f->options.kernel = f->kernel;
	f->machine.memory.fd = -1;
	assert_int_equal(
		guest_memory_create(&f->machine.memory, 64 * MIB, GUEST_PAGES_SMALL, &f->error), 0);
	*state = f;
	return 0;
}

static inline int tear_down(void **state)
{
	struct fixture *f = *state;

	guest_memory_destroy(&f->machine.memory);
	unlink(f->kernel);
	unlink(f->initrd);
	rmdir(f->directory);
	free(f);
	return 0;
}

static inline int load(struct fixture *f)
{
	f->error.text[0] = '\0';
	return boot_load(&f->machine, &f->options, &f->entry, &f->error);
}

static inline void must_load(struct fixture *f)
{
	int status = load(f);

	if (status != 0)
		fail_msg("%s", f->error.text);
}

/* It must be refused with a sentence that has `part` in it. */
static inline void must_say(struct fixture *f, int code, const char *part)
{
	assert_int_equal(load(f), -code);
	if (!strstr(f->error.text, part))
		fail_msg("\"%s\" does not say \"%s\"", f->error.text, part);
}

static inline const void *at(struct fixture *f, uint64_t address, uint64_t bytes)
{
	const void *host = guest_memory_at(&f->machine.memory, address, bytes);

	assert_non_null(host);
	return host;
}

static inline void assert_filled(struct fixture *f, uint64_t address, uint64_t bytes, uint8_t value)
{
	const uint8_t *host = at(f, address, bytes);

	for (uint64_t i = 0; i < bytes; i++)
		assert_int_equal(host[i], value);
}

#endif
