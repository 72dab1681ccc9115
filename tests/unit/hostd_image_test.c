/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disk images that name other files: what lies beyond an image's own folder is found however the
 * image names it, and what is in order is let be.  Each text is one that QEMU opens.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "hv/hostd/image.h"

#define START                                                                                      \
	"# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n"                     \
	"createType=\"monolithicFlat\"\n"

static const struct text {
	const char *text, *words; /* Words of the refusal; NULL: in order. */
} texts[] = {
	{START "RW 8 FLAT \"inside.raw\" 0\nddb.adapterType = \"ide\"\n", NULL},
	{START "RW 8 FLAT \"./inside.raw\" 0\nRW 8 ZERO\n", NULL},
	{START "RW 8 FLAT \"../outside.raw\" 0\n", "an extent, which lies outside"},
	{START "RW 8 FLAT \"/etc/passwd\" 0\n", "an extent, which lies outside"},
	{START "RW 8 FLAT \"link.raw\" 0\n", "an extent, which lies outside"},
	{START "RW 8 FLAT \"missing.raw\" 0\n", "cannot be opened"},
	{START "RW 8 FLAT \"nbd://host/disk\" 0\n", "no plain file name"},
	/* Over two lines, behind a stray quote, with another name behind it. */
	{START "RW\n8 FLAT \"../outside.raw\" 0\n", "an extent, which lies outside"},
	{START "x = \"\nRW 8 FLAT \"../outside.raw\" 0\n", "an extent, which lies outside"},
	{START "RW 8 FLAT \"link.raw\" 0 \"inside.raw\"\n", "an extent, which lies outside"},
	/* Parents. */
	{START "parentFileNameHint=\"inside.raw\"\nRW 8 FLAT \"inside.raw\" 0\n", NULL},
	{START "parentFileNameHint=\"../outside.raw\"\n", "its parent, which lies outside"},
	{START "# xparentFileNameHint=\"../outside.raw\"\n", "its parent, which lies outside"},
	/* Another description, whose name or first line says nothing of it. */
	{START "parentFileNameHint=\"text.raw\"\n", "an extent, which lies outside"},
	/* Each names the other twice. */
	{START "RW 8 FLAT \"loop.raw\" 0\nRW 8 FLAT \"loop.raw\" 0\n", "more than 128 files"},
};

static void put(const char *directory, const char *name, const void *bytes, size_t n)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, n), (ssize_t)n);
	close(fd);
}

struct place {
	char above[40], folder[64], image[80];
};

static void open_place(struct place *place)
{
	static const uint8_t sectors[4096];
	const char hidden[] = "createType=\"monolithicFlat\"\nRW 8 FLAT \"../outside.raw\" 0\n";
	const char loop[] = "createType=\"\"\nRW 8 FLAT \"image\" 0\nRW 8 FLAT \"image\" 0\n";
	char path[128];

	strcpy(place->above, "/tmp/image-test-XXXXXX");
	assert_non_null(mkdtemp(place->above));
	snprintf(place->folder, sizeof(place->folder), "%s/inside", place->above);
	snprintf(place->image, sizeof(place->image), "%s/image", place->folder);
	assert_int_equal(mkdir(place->folder, 0700), 0);
	put(place->above, "outside.raw", sectors, sizeof(sectors));
	put(place->folder, "inside.raw", sectors, sizeof(sectors));
	put(place->folder, "loop.raw", loop, sizeof(loop) - 1);
	put(place->folder, "text.raw", hidden, sizeof(hidden) - 1);
	snprintf(path, sizeof(path), "%s/link.raw", place->folder);
	assert_int_equal(symlink("../outside.raw", path), 0);
}

static void close_place(const struct place *place)
{
	static const char *const names[] = {"inside/image", "inside/inside.raw", "inside/text.raw",
		"inside/loop.raw", "inside/link.raw", "outside.raw"};
	char path[128];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", place->above, names[i]);
		unlink(path);
	}
	rmdir(place->folder);
	rmdir(place->above);
}

/* Judges the image that is there. */
static void judge(const struct place *place, const char *words, unsigned int number)
{
	struct vm_disk_wish disk = {.format = VM_DISK_VMDK, .path = (char *)place->image};
	char *why = NULL;
	int error = image_check(&disk, &why);

	if ((error != 0) != (words != NULL) || (words && !strstr(why, words)))
		fail_msg("case %u: %d, %s", number, error, why ? why : "-");
	free(why);
}

static void test_descriptions(void **state)
{
	struct place place;

	(void)state;
	open_place(&place);
	for (unsigned int i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		put(place.folder, "image", texts[i].text, strlen(texts[i].text));
		judge(&place, texts[i].words, i);
	}
	close_place(&place);
}

/* A sparse file, whose description is where QEMU looks for it, and not where the header says. */
static void test_sparse_files(void **state)
{
	static const struct {
		const char *magic, *words;
		uint8_t capacity;
		uint8_t description; /* In which sector, by the header. */
		const char *text;    /* In sector 1, and in sector 3: */
		const char *other;
	} cases[] = {
		{"KDMV", NULL, 16, 1, START "RW 16 SPARSE \"renamed.vmdk\"\n", ""},
		{"KDMV", "its parent", 16, 1, START "parentFileNameHint=\"../outside.raw\"\n", ""},
		{"KDMV", "its parent", 16, 0, START "parentFileNameHint=\"../outside.raw\"\n", ""},
		{"COWD", "its parent", 16, 0, START "parentFileNameHint=\"../outside.raw\"\n", ""},
		{"KDMV", "an extent", 0, 3, "", START "RW 8 FLAT \"../outside.raw\" 0\n"},
	};
	struct place place;

	(void)state;
	open_place(&place);
	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t image[4096] = {0};

		memcpy(image, cases[i].magic, 4);
		image[12] = cases[i].capacity;
		image[28] = cases[i].description;
		image[36] = 1; /* One sector, and QEMU reads on. */
		memcpy(image + 512, cases[i].text, strlen(cases[i].text));
		memcpy(image + 3 * 512, cases[i].other, strlen(cases[i].other));
		put(place.folder, "image", image, sizeof(image));
		judge(&place, cases[i].words, i);
	}
	close_place(&place);
}

/* As QEMU makes them, under another name than they were made with. */
static void test_images_in_order(void **state)
{
	static const char *const formats[] = {"qcow2", "vmdk", "vmdk -o subformat=streamOptimized",
		"vmdk -o subformat=monolithicFlat", "vmdk -o subformat=twoGbMaxExtentSparse"};

	(void)state;
	if (access("/usr/bin/qemu-img", X_OK) != 0)
		skip();
	for (unsigned int i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
		struct vm_disk_wish disk = {.format = i ? VM_DISK_VMDK : VM_DISK_QCOW2};
		char command[256], *why = NULL;
		struct place place;

		open_place(&place);
		snprintf(command, sizeof(command),
			"cd %s && qemu-img create -q -f %s made.img 8M && mv made.img image",
			place.folder, formats[i]);
		assert_int_equal(system(command), 0);
		disk.path = place.image;
		if (image_check(&disk, &why) != 0)
			fail_msg("%s: %s", formats[i], why);
		snprintf(command, sizeof(command), "rm -f %s/made*", place.folder);
		assert_int_equal(system(command), 0);
		close_place(&place);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_descriptions),
		cmocka_unit_test(test_sparse_files),
		cmocka_unit_test(test_images_in_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
