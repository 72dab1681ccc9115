/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was captured, into a file or a pipe.  Called by capture.c.
 *
 * A file is whole at any moment up to its last whole block: when a write fails, what there is of a
 * block is taken away again.  Nobody but its owner may read it, since it holds what others said.
 */
#include "cli/capture.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BLOCK_PACKET = 6 }; /* draft-ietf-opsawg-pcapng, 4.3. */

static enum cli_status open_output(struct cli *cli, struct capture_file *file)
{
	file->name = "standard output";
	file->fd = STDOUT_FILENO;
	if (isatty(file->fd))
		return cli_fail(cli, CLI_USAGE,
			"-w -: the output is a terminal; pipe it into tshark -r - or wireshark -k "
			"-i -, or leave -w out to see the packets here");
	return CLI_OK;
}

enum cli_status capture_file_open(struct cli *cli, const char *name, struct capture_file *file)
{
	struct stat status;

	*file = (struct capture_file){.name = name};
	if (!strcmp(name, "-"))
		return open_output(cli, file);
	/* A link that somebody has laid in our way is not followed. */
	file->fd = open(name, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (file->fd < 0)
		return cli_fail(cli, CLI_FAILED, "%s cannot be written: %m%s", name,
			errno == ELOOP ? "; it is a symbolic link: name the file itself" : "");
	file->is_regular = !fstat(file->fd, &status) && S_ISREG(status.st_mode);
	if (file->is_regular && (fchmod(file->fd, 0600) || ftruncate(file->fd, 0))) {
		cli_fail(cli, CLI_FAILED, "%s cannot be written: %m", name);
		close(file->fd);
		return CLI_FAILED;
	}
	return CLI_OK;
}

/* Writes as much as it can; returns how much. */
static size_t write_bytes(struct capture_file *file, const uint8_t *bytes, size_t n)
{
	size_t done = 0;

	while (done < n) {
		ssize_t written = write(file->fd, bytes + done, n - done);

		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0) {
			file->error = written < 0 ? errno : EIO;
			break;
		}
		done += (size_t)written;
	}
	return done;
}

/* Counts the whole blocks among the first `n` bytes. */
static void count_blocks(struct capture_file *file, const uint8_t *blocks, size_t n)
{
	for (size_t at = 0; at + 8 <= n;) {
		uint32_t head[2]; /* Type, and bytes of all. */

		memcpy(head, blocks + at, sizeof(head));
		if (head[1] < 12 || head[1] > n - at)
			break;
		at += head[1];
		file->bytes += head[1];
		file->packets += head[0] == BLOCK_PACKET;
	}
}

bool capture_file_write(struct capture_file *file, const uint8_t *blocks, size_t n)
{
	size_t written = write_bytes(file, blocks, n);

	count_blocks(file, blocks, written);
	if (written == n)
		return true;
	if (file->error == EPIPE) {
		file->error = 0;
		file->reader_gone = true;
	} else if (file->is_regular) {
		(void)!ftruncate(file->fd, (off_t)file->bytes);
	}
	return false;
}

bool capture_file_close(struct capture_file *file)
{
	if (file->fd == STDOUT_FILENO)
		return true;
	if (close(file->fd) && !file->error)
		file->error = errno;
	return !file->error;
}
