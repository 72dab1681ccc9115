/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What disk images name by themselves (image.h).  Called by storage.c on the main thread.
 *
 * qcow2: a backing file, in the header; it may be a qcow2 image with another one.  VMDK: extents
 * and a parent, in a text that is the whole file or embedded in a sparse one.  Numbers in images
 * are not believed: everything is read in bounds.
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
	CHAIN_MAX = 16,
	HEADER_BYTES = 104,
	DESCRIPTOR_BYTES_MAX = 1 << 17,
	SECTOR_BYTES = 512,
	QCOW2_EXTERNAL_DATA = 1 << 2, /* An incompatible feature. */
};

/* An image under examination. */
struct image {
	const char *path;   /* As it was named. */
	const char *folder; /* Of the disk's own file, without links: the limit. */
	int fd;
	uint8_t header[HEADER_BYTES];
	unsigned int depth;
	char **why;
};

static int check_file(const char *path, const char *folder, unsigned int depth, char **why);

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
		error = check_file(resolved, image->folder, image->depth + 1, image->why);
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

/* Names of extents stand in quotes behind access, size and type; a parent behind its key. */
static int check_descriptor_line(const struct image *image, char *line)
{
	static const char *const starts[] = {"RW ", "RDONLY ", "NOACCESS "};
	bool is_extent = false;
	char *name, *end;

	line += strspn(line, " \t");
	for (size_t i = 0; i < ARRAY_SIZE(starts); i++)
		is_extent |= !strncasecmp(line, starts[i], strlen(starts[i]));
	if (!is_extent && strncasecmp(line, "parentFileNameHint", 18))
		return 0;
	name = strchr(line, '"');
	end = name ? strrchr(name + 1, '"') : NULL;
	if (!end) /* An extent of zeros has no file. */
		return 0;
	*end = '\0';
	return follow(image, is_extent ? "an extent" : "its parent", name + 1);
}

static int check_descriptor(const struct image *image, uint64_t at, uint64_t bytes)
{
	size_t room = bytes < DESCRIPTOR_BYTES_MAX ? (size_t)bytes : DESCRIPTOR_BYTES_MAX;
	char *text = xzalloc(room + 1), *save = NULL;
	ssize_t n = at <= INT64_MAX ? pread(image->fd, text, room, (off_t)at) : -1;
	int error = 0;

	if (bytes > DESCRIPTOR_BYTES_MAX || n < 0) {
		*image->why = xasprintf("%s is damaged: its description has %llu bytes at %llu",
			image->path, (unsigned long long int)bytes, (unsigned long long int)at);
		error = -EINVAL;
	}
	for (char *line = strtok_r(text, "\r\n", &save); line && !error;
		line = strtok_r(NULL, "\r\n", &save))
		error = check_descriptor_line(image, line);
	free(text);
	return error;
}

static int check_vmdk(const struct image *image)
{
	uint64_t sectors, at;
	struct stat status;

	if (!memcmp(image->header, "COWD", 4))
		return 0;
	if (memcmp(image->header, "KDMV", 4))
		return fstat(image->fd, &status)
			       ? -errno
			       : check_descriptor(image, 0, (uint64_t)status.st_size);
	at = little_endian_64(image->header + 28);
	sectors = little_endian_64(image->header + 36);
	if (!at) /* An extent of another one's. */
		return 0;
	if (at > INT64_MAX / SECTOR_BYTES || sectors > INT64_MAX / SECTOR_BYTES)
		return check_descriptor(image, at, UINT64_MAX);
	return check_descriptor(image, at * SECTOR_BYTES, sectors * SECTOR_BYTES);
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

/* One that is in neither format is opened as it is, and names nothing. */
static int check_file(const char *path, const char *folder, unsigned int depth, char **why)
{
	struct image image = {.path = path, .folder = folder, .fd = -1, .depth = depth, .why = why};
	int error = open_image(&image);

	if (!error && depth > CHAIN_MAX) {
		*why = xasprintf("%s: more than %d images that name each other", path, CHAIN_MAX);
		error = -ELOOP;
	}
	if (!error && is_qcow2(&image))
		error = check_qcow2(&image);
	else if (!error && is_vmdk(&image))
		error = check_vmdk(&image);
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
	int error = check_format(disk, &text);

	if (!error && !realpath(disk->path, folder)) {
		error = -errno;
		text = xasprintf("%s: %s", disk->path, ovs_strerror(-error));
	}
	if (!error) {
		char *own = xstrdup(folder);

		*strrchr(folder, '/') = '\0';
		error = check_file(own, folder, 0, &text);
		free(own);
	}
	if (error)
		*why = xasprintf("disk %u: %s", disk->position, text ? text : ovs_strerror(-error));
	free(text);
	return error;
}
