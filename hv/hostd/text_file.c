/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small files that other processes have written (text_file.h).  Called by guest.c and storage.c on
 * the main thread.  They are read in bounds, and nothing in them is believed to be well formed.
 */
#include <config.h>

#include "hv/hostd/text_file.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "openvswitch/json.h"
#include "util.h"

enum { TAIL_BYTES = 4096, OUTCOME_BYTES_MAX = 1 << 20, SENTENCE_BYTES_MAX = 1000 };

/* The last `bytes` bytes of a regular file, with a NUL; NULL if it cannot be read. */
static char *read_tail(const char *path, size_t bytes)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct stat status;
	char *text = NULL;
	ssize_t n;

	if (fd >= 0 && !fstat(fd, &status) && S_ISREG(status.st_mode)) {
		off_t start = status.st_size > (off_t)bytes ? status.st_size - (off_t)bytes : 0;

		text = xmalloc(bytes + 1);
		n = pread(fd, text, bytes, start);
		text[n > 0 ? n : 0] = '\0';
	}
	if (fd >= 0)
		close(fd);
	return text;
}

/* The bytes of the character at `text`, which is UTF-8 (RFC 3629); 0 if it is none. */
static size_t character_bytes(const unsigned char *text)
{
	size_t n = *text < 0x80	  ? 1
		   : *text < 0xc2 ? 0
		   : *text < 0xe0 ? 2
		   : *text < 0xf0 ? 3
		   : *text < 0xf5 ? 4
				  : 0;

	for (size_t i = 1; i < n; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return 0;
	}
	/* Too long for what they say, surrogates, and beyond U+10FFFF. */
	if ((*text == 0xe0 && text[1] < 0xa0) || (*text == 0xed && text[1] > 0x9f) ||
		(*text == 0xf0 && text[1] < 0x90) || (*text == 0xf4 && text[1] > 0x8f))
		return 0;
	return n;
}

char *text_readable(const char *text)
{
	char *copy = xmalloc(SENTENCE_BYTES_MAX + 1), *out = copy;
	const unsigned char *at = (const unsigned char *)text;

	while (*at) {
		size_t n = character_bytes(at);

		if (out + (n ? n : 1) > copy + SENTENCE_BYTES_MAX)
			break;
		if (n == 1 && iscntrl(*at))
			*out++ = ' ';
		else if (!n)
			*out++ = '?';
		else
			out = (char *)memcpy(out, at, n) + n;
		at += n ? n : 1;
	}
	*out = '\0';
	return copy;
}

char *text_file_last_line(const char *path)
{
	char *text = read_tail(path, TAIL_BYTES), *line = NULL, *save = NULL, *result;

	if (!text)
		return xstrdup("");
	for (char *one = strtok_r(text, "\n", &save); one; one = strtok_r(NULL, "\n", &save))
		line = one;
	result = text_readable(line ? line : "");
	free(text);
	return result;
}

/* False if there is no such file, or not a whole one. */
static bool read_object(const char *path, enum vm_outcome *outcome, char **reason)
{
	char *text = read_tail(path, OUTCOME_BYTES_MAX);
	struct json *json = text && *text ? json_from_string(text) : NULL;
	const struct json *how = NULL, *why = NULL;
	bool known;

	if (json && json->type == JSON_OBJECT) {
		how = shash_find_data(json_object(json), "outcome");
		why = shash_find_data(json_object(json), "reason");
	}
	known = how && how->type == JSON_STRING && vm_outcome_from_name(how->string, outcome);
	if (known)
		*reason = text_readable(
			why && why->type == JSON_STRING ? why->string : "no reason given");
	json_destroy(json);
	free(text);
	return known;
}

/* "cordon-vmm: the kernel ..." without its beginning. */
static char *last_words(const char *directory)
{
	char *log = xasprintf("%s/log", directory);
	char *line = text_file_last_line(log);
	char *result =
		xstrdup(strncmp(line, "cordon-vmm: ", 12) ? line : line + strlen("cordon-vmm: "));

	free(line);
	free(log);
	return result;
}

enum vm_outcome outcome_read(const char *directory, const struct detached_end *end, char **reason)
{
	char *path = xasprintf("%s/outcome", directory);
	enum vm_outcome outcome = VM_VMM_FAULT;
	bool told = read_object(path, &outcome, reason);

	free(path);
	if (told)
		return outcome;
	if (!end->known) {
		*reason = xstrdup("its VMM has vanished without a word");
	} else if (end->exit_status < 0) {
		*reason = xasprintf(
			"its VMM was ended by signal %d (%s)", end->signal, strsignal(end->signal));
	} else {
		outcome = end->exit_status == 127 ? VM_NOT_STARTED
						  : vm_outcome_from_status(end->exit_status);
		*reason = last_words(directory);
		if (!**reason) {
			free(*reason);
			*reason = xasprintf(
				"its VMM ended with status %d without a word", end->exit_status);
		}
	}
	return outcome;
}
