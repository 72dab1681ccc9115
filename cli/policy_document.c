/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A policy document from a file: read, compiled, and what is wrong with it shown where it stands.
 * Called by the commands of `cordon policy`, on their one thread.
 */
#include "cli/policy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "openvswitch/dynamic-string.h"
#include "timeval.h"
#include "util.h"

enum { DOCUMENT_MAX_BYTES = 64 << 20, EXCERPT_BYTES = 100 };

/* Room for a file of that size; a pipe says nothing of its size.  False: it is too large. */
static bool make_room(FILE *file, struct ds *text)
{
	struct stat status;

	if (fstat(fileno(file), &status) || !S_ISREG(status.st_mode))
		return true;
	if (status.st_size > DOCUMENT_MAX_BYTES)
		return false;
	ds_reserve(text, (size_t)status.st_size + 1);
	return true;
}

/* Reads until the end.  False if it is too large, or cannot be read: then errno says why. */
static bool read_all(FILE *file, struct ds *text)
{
	char buffer[65536];
	size_t n;

	errno = 0;
	if (!make_room(file, text))
		return false;
	while ((n = fread(buffer, 1, sizeof(buffer), file)) && text->length <= DOCUMENT_MAX_BYTES)
		ds_put_buffer(text, buffer, n);
	if (!ferror(file))
		errno = 0;
	return !errno && text->length <= DOCUMENT_MAX_BYTES;
}

/* A whole file, or standard input for "-".  NULL after saying why not. */
static char *read_document(
	struct cli *cli, const char *path, size_t *length, enum cli_status *status)
{
	FILE *file = strcmp(path, "-") ? fopen(path, "r") : stdin;
	struct ds text = DS_EMPTY_INITIALIZER;
	int error;
	bool ok;

	if (!file) {
		*status = cli_fail(cli, errno == ENOENT ? CLI_NOT_FOUND : CLI_FAILED,
			"policy file '%s' cannot be read: %s", path, ovs_strerror(errno));
		return NULL;
	}
	ok = read_all(file, &text);
	error = errno;
	if (file != stdin)
		fclose(file);
	if (!ok) {
		*status = cli_fail(cli, error ? CLI_FAILED : CLI_INVALID,
			"policy file '%s' cannot be read: %s", path,
			error ? ovs_strerror(error) : "it is larger than 64 MiB");
		ds_destroy(&text);
		return NULL;
	}
	*length = text.length;
	return text.string ? ds_steal_cstr(&text) : xstrdup("");
}

/* A part of a line of the document: a line may be as long as the document. */
struct excerpt {
	const char *start;
	size_t length, mark; /* Bytes; where the mark belongs. */
	bool cut_before, cut_behind;
};

/* The bytes around column `column`, whole characters of UTF-8. */
static struct excerpt excerpt_of(const char *line, unsigned int column)
{
	size_t length = strcspn(line, "\r\n"), at = column ? column - 1 : 0;
	size_t begin = at > EXCERPT_BYTES ? at - EXCERPT_BYTES : 0;
	size_t end;

	if (at > length)
		at = length;
	if (begin > length)
		begin = length;
	end = MIN(length, at + EXCERPT_BYTES);
	while (begin && begin < length && ((unsigned char)line[begin] & 0xc0) == 0x80)
		begin--;
	while (end < length && ((unsigned char)line[end] & 0xc0) == 0x80)
		end++;
	return (struct excerpt){.start = line + begin,
		.length = end - begin,
		.mark = at - begin,
		.cut_before = begin > 0,
		.cut_behind = end < length};
}

/* The line of the document with a mark under the column.  Tabs stay, so that the mark fits. */
static void print_source(struct cli *cli, const char *text, unsigned int line, unsigned int column)
{
	const char *start = text;
	struct excerpt part;

	for (unsigned int i = 1; i < line && start; i++) {
		start = strchr(start, '\n');
		start = start ? start + 1 : NULL;
	}
	if (!line || !start)
		return;
	part = excerpt_of(start, column);
	fprintf(cli->err, "  %s", part.cut_before ? "..." : "");
	for (size_t i = 0; i < part.length; i++) {
		char c = part.start[i];

		fputc((unsigned char)c < ' ' && c != '\t' ? '?' : c, cli->err);
	}
	fprintf(cli->err, "%s\n  %s", part.cut_behind ? "..." : "", part.cut_before ? "   " : "");
	for (size_t i = 0; i < part.mark; i++) {
		if (((unsigned char)part.start[i] & 0xc0) != 0x80)
			fputc(part.start[i] == '\t' ? '\t' : ' ', cli->err);
	}
	fputs("^\n", cli->err);
}

static void print_errors(
	struct cli *cli, const char *path, const char *text, const struct policy_errors *errors)
{
	for (size_t i = 0; i < errors->n; i++) {
		const struct policy_error *error = &errors->at[i];

		if (error->line)
			fprintf(cli->err, "%s:%u:%u: %s\n", path, error->line, error->column,
				error->message);
		else
			fprintf(cli->err, "%s: %s\n", path, error->message);
		print_source(cli, text, error->line, error->column);
	}
	if (errors->n_total > errors->n)
		fprintf(cli->err, "%s: and %zu more\n", path, errors->n_total - errors->n);
}

static struct json *errors_json(const struct policy_errors *errors)
{
	struct json *array = json_array_create_empty();

	for (size_t i = 0; i < errors->n; i++) {
		struct json *row = json_object_create();

		json_object_put(row, "line", json_integer_create(errors->at[i].line));
		json_object_put(row, "column", json_integer_create(errors->at[i].column));
		json_object_put_string(row, "message", errors->at[i].message);
		json_array_add(array, row);
	}
	return array;
}

/* Says what is wrong with a document, with --json also as the answer. */
static void report_errors(
	struct cli *cli, const char *name, const char *text, const struct policy_errors *errors)
{
	print_errors(cli, name, text, errors);
	if (cli->json) {
		struct json *answer = json_object_create();

		json_object_put(answer, "valid", json_boolean_create(false));
		json_object_put(answer, "errors", errors_json(errors));
		cli_print_json(cli, answer);
	}
}

bool cli_policy_check_text(
	struct cli *cli, const char *name, const char *text, enum cli_status *status)
{
	struct policy_errors *errors = xzalloc(sizeof(*errors));
	bool valid = zone_policy_check(text, strlen(text), errors);

	*status = valid ? CLI_OK : CLI_INVALID;
	if (!valid)
		report_errors(cli, name, text, errors);
	free(errors);
	return valid;
}

/* The text of a file; false after saying what is wrong with it. */
static bool read_text(struct cli *cli, const char *path, char **text, enum cli_status *status)
{
	size_t length;

	*text = read_document(cli, path, &length, status);
	if (!*text)
		return false;
	if (strlen(*text) == length)
		return true;
	*status = cli_fail(cli, CLI_INVALID, "%s holds a NUL byte after %zu bytes; it must be text",
		path, strlen(*text));
	return false;
}

bool cli_policy_read(struct cli *cli, const char *path, char **text, enum cli_status *status)
{
	return read_text(cli, path, text, status) &&
	       cli_policy_check_text(cli, path, *text, status);
}

struct zone_policy *cli_policy_compile(
	struct cli *cli, const char *path, char **text, enum cli_status *status)
{
	struct policy_errors *errors;
	struct zone_policy *policy;

	if (!read_text(cli, path, text, status))
		return NULL;
	errors = xzalloc(sizeof(*errors));
	policy = zone_policy_create(*text, strlen(*text), 0, time_wall(), errors);
	*status = policy ? CLI_OK : CLI_INVALID;
	if (!policy)
		report_errors(cli, path, *text, errors);
	free(errors);
	return policy;
}

bool cli_policy_read_number(struct cli *cli, const char *text, int64_t *number)
{
	char *end;

	*number = strtoll(text, &end, 10);
	if (*text && !*end && *number > 0)
		return true;
	cli_fail(cli, CLI_USAGE, "'%s' is no revision; give its number, e.g. 3", text);
	return false;
}
