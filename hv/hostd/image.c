/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What disk images name by themselves (image.h).  Called by storage.c on the main thread.
 *
 * qcow2: a backing file, in the header; it may be a qcow2 image with another one.  VMDK: extents
 * and a parent, in a text that is the whole file or embedded in a sparse one.  Numbers in images
 * are not believed: everything is read in bounds.
 *
 * QEMU reads a VMDK's text with a loose hand: an extent may go on in the next line, a parent's key
 * may stand anywhere, also in a comment, and where the text lies in a sparse file the header has
 * little say in.  So what is looked at is all that QEMU might take for a name, not what a well
 * formed text would mean by it.
 */
#include <config.h>

#include "hv/hostd/image.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "openvswitch/types.h"
#include "unaligned.h"
#include "util.h"

enum {
	FILES_MAX = 128, /* That an image leads to, one through the other. */
	HEADER_BYTES = 104,
	TEXT_BYTES_MAX = (1 << 20) - 1, /* QEMU's limits. */
	TEXT_AT = 512,			/* Of a sparse file's text, for its parent. */
	SECTOR_BYTES = 512,
	QCOW2_EXTERNAL_DATA = 1 << 2, /* An incompatible feature. */
};

/* An image under examination. */
struct image {
	const char *path;   /* As it was named. */
	const char *folder; /* Of the disk's own file, without links: the limit. */
	int fd;
	uint8_t header[HEADER_BYTES];
	unsigned int *n_files; /* Examined so far. */
	char **why;
};

static int check_file(const char *path, const char *folder, unsigned int *n_files, char **why);

static uint64_t big_endian_64(const uint8_t *at)
{
	return ntohll(get_unaligned_be64((const ovs_be64 *)at));
}

static uint32_t big_endian_32(const uint8_t *at)
{
	return ntohl(get_unaligned_be32((const ovs_be32 *)at));
}

static uint64_t little_endian_64(const uint8_t *at)
{
	uint64_t value = 0;

	for (int i = 7; i >= 0; i--)
		value = value << 8 | at[i];
	return value;
}

/* --- What is named -------------------------------------------------------------------------- */

/* Follows a name in an image, as the storage daemon would: beside the image, if it is no path of
 * its own. */
static int follow(const struct image *image, const char *what, const char *name)
{
	const char *slash = strrchr(image->path, '/');
	char resolved[PATH_MAX], *path;
	size_t length = strlen(image->folder);
	int error = 0;

	if (strchr(name, ':')) { /* "json:{...}", "nbd://...". */
		*image->why = xasprintf("%s names '%.200s' as %s, which is no plain file name; "
					"nothing but files in its own folder is opened",
			image->path, name, what);
		return -EPERM;
	}
	path = *name == '/' ? xstrdup(name)
			    : xasprintf("%.*s/%s", (int)(slash - image->path), image->path, name);
	if (!realpath(path, resolved)) {
		error = -errno;
		*image->why = xasprintf("%s names %.200s as %s, which cannot be opened: %s",
			image->path, path, what, ovs_strerror(-error));
	} else if (!strcmp(resolved, image->path)) {
		error = 0; /* A sparse extent that has its own description in it. */
	} else if (strncmp(resolved, image->folder, length) || resolved[length] != '/') {
		*image->why = xasprintf("%s names %.200s as %s, which lies outside of its folder "
					"%s; move both into one folder",
			image->path, path, what, image->folder);
		error = -EPERM;
	} else {
		error = check_file(resolved, image->folder, image->n_files, image->why);
	}
	free(path);
	return error;
}

/* --- qcow2 ---------------------------------------------------------------------------------- */

static bool is_qcow2(const struct image *image)
{
	return !memcmp(image->header, "QFI\xfb", 4);
}

static int check_qcow2(const struct image *image)
{
	uint32_t version = big_endian_32(image->header + 4);
	uint64_t at = big_endian_64(image->header + 8);
	uint32_t bytes = big_endian_32(image->header + 16);
	char name[1024];

	if (version >= 3 && big_endian_64(image->header + 72) & QCOW2_EXTERNAL_DATA) {
		*image->why = xasprintf("%s keeps its data in another file, which is not "
					"supported; convert it with `qemu-img convert -O qcow2`",
			image->path);
		return -ENOTSUP;
	}
	if (!at)
		return 0;
	if (!bytes || bytes >= sizeof(name) ||
		pread(image->fd, name, bytes, (off_t)at) != (ssize_t)bytes) {
		*image->why = xasprintf("%s is damaged: the name of its backing file cannot be "
					"read",
			image->path);
		return -EINVAL;
	}
	name[bytes] = '\0';
	return follow(image, "its backing file", name);
}

/* --- VMDK ----------------------------------------------------------------------------------- */

static bool is_vmdk(const struct image *image)
{
	return !memcmp(image->header, "KDMV", 4) || !memcmp(image->header, "COWD", 4) ||
	       !memcmp(image->header, "# Disk Descriptor", 17);
}

/* What QEMU would read as text from `at` on, up to a zero byte; the caller frees.  NULL, and a
 * sentence, if there is none. */
static char *read_text(const struct image *image, uint64_t at)
{
	char *text = xzalloc(TEXT_BYTES_MAX + 1);
	ssize_t n = at <= INT64_MAX ? pread(image->fd, text, TEXT_BYTES_MAX, (off_t)at) : -1;

	if (n >= 0)
		return text;
	*image->why = xasprintf("%s is damaged: its description cannot be read at %llu",
		image->path, (unsigned long long int)at);
	free(text);
	return NULL;
}

static int follow_part(
	const struct image *image, const char *what, const char *name, const char *end)
{
	char *copy = xmemdup0(name, (size_t)(end - name));
	int error = follow(image, what, copy);

	free(copy);
	return error;
}

/* Names in quotes that are no values: all that may be an extent's. */
static int check_extents(const struct image *image, const char *text)
{
	int error = 0;

	for (const char *quote = strchr(text, '"'); quote && !error;
		quote = strchr(quote + 1, '"')) {
		const char *end = quote + 1 + strcspn(quote + 1, "\"\r\n"), *before = quote;

		while (before > text && (before[-1] == ' ' || before[-1] == '\t'))
			before--;
		if (*end == '"' && end > quote + 1 && before > text && before[-1] != '=')
			error = follow_part(image, "an extent", quote + 1, end);
	}
	return error;
}

/* Behind the key QEMU skips an equals sign and a quote without looking at them. */
static int check_parents(const struct image *image, const char *text)
{
	static const char key[] = "parentFileNameHint";
	const char *at = text;
	int error = 0;

	while (!error && (at = strstr(at, key))) {
		const char *name = at + strnlen(at, sizeof(key) + 1);
		const char *end = strchr(name, '"');

		if (end && end > name)
			error = follow_part(image, "its parent", name, end);
		at += strlen(key);
	}
	return error;
}

static int check_text(const struct image *image, uint64_t at, bool has_extents)
{
	char *text = read_text(image, at);
	int error = text ? check_parents(image, text) : -EINVAL;

	if (!error && has_extents)
		error = check_extents(image, text);
	free(text);
	return error;
}

/* A sparse file's text tells of extents only if the file itself has no room for data. */
static int check_sparse(const struct image *image)
{
	uint64_t capacity = little_endian_64(image->header + 12);
	uint64_t at = little_endian_64(image->header + 28);
	int error = check_text(image, TEXT_AT, false);

	if (error || memcmp(image->header, "KDMV", 4) || capacity || !at)
		return error;
	return check_text(
		image, at > INT64_MAX / SECTOR_BYTES ? UINT64_MAX : at * SECTOR_BYTES, true);
}

static int check_vmdk(const struct image *image)
{
	if (!memcmp(image->header, "KDMV", 4) || !memcmp(image->header, "COWD", 4))
		return check_sparse(image);
	return check_text(image, 0, true);
}

/* What is opened as a VMDK since another image says so, or since QEMU takes it for one. */
static int check_other(const struct image *image)
{
	char *text;
	bool describes;

	if (!memcmp(image->header, "QED", 4)) {
		*image->why = xasprintf(
			"%s is a QED image, which is not supported; convert it with `qemu-img "
			"convert -O qcow2`",
			image->path);
		return -ENOTSUP;
	}
	text = read_text(image, 0);
	if (!text)
		return -EINVAL;
	describes = strstr(text, "createType") != NULL;
	free(text);
	return describes ? check_text(image, 0, true) : 0;
}

/* --- Any file ------------------------------------------------------------------------------- */

static int open_image(struct image *image)
{
	struct stat status;
	int error = 0;

	image->fd = open(image->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (image->fd < 0 || fstat(image->fd, &status))
		error = -errno;
	else if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode))
		error = -EINVAL;
	else if (pread(image->fd, image->header, HEADER_BYTES, 0) < 0)
		error = -errno;
	if (error)
		*image->why = xasprintf("%s cannot be read: %s", image->path,
			error == -EINVAL ? "it is no file" : ovs_strerror(-error));
	return error;
}

static int check_file(const char *path, const char *folder, unsigned int *n_files, char **why)
{
	struct image image = {
		.path = path, .folder = folder, .fd = -1, .n_files = n_files, .why = why};
	int error = open_image(&image);

	if (!error && ++*n_files > FILES_MAX) {
		*why = xasprintf("%s: more than %d files that images name one after the other",
			path, FILES_MAX);
		error = -ELOOP;
	}
	if (!error && is_qcow2(&image))
		error = check_qcow2(&image);
	else if (!error && is_vmdk(&image))
		error = check_vmdk(&image);
	else if (!error)
		error = check_other(&image);
	if (image.fd >= 0)
		close(image.fd);
	return error;
}

static int check_format(const struct vm_disk_wish *disk, char **why)
{
	struct image image = {.path = disk->path, .fd = -1, .why = why};
	bool vmdk = disk->format == VM_DISK_VMDK;
	int error = open_image(&image);

	if (!error && !(vmdk ? is_vmdk(&image) : is_qcow2(&image))) {
		*why = xasprintf("%s is no %s image", disk->path, vmdk ? "VMDK" : "qcow2");
		error = -EINVAL;
	}
	if (image.fd >= 0)
		close(image.fd);
	return error;
}

int image_check(const struct vm_disk_wish *disk, char **why)
{
	char folder[PATH_MAX], *text = NULL;
	unsigned int n_files = 0;
	int error = check_format(disk, &text);

	if (!error && !realpath(disk->path, folder)) {
		error = -errno;
		text = xasprintf("%s: %s", disk->path, ovs_strerror(-error));
	}
	if (!error) {
		char *own = xstrdup(folder);

		*strrchr(folder, '/') = '\0';
		error = check_file(own, folder, &n_files, &text);
		free(own);
	}
	if (error)
		*why = xasprintf("disk %u: %s", disk->position, text ? text : ovs_strerror(-error));
	free(text);
	return error;
}
