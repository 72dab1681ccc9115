/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sink of JSON lines: what is in the file after rotation, a full disk, a crash, and other
 * people's hands on it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "sinks/sink_type.h"
#include "tests/unit/log_fixture.h"
#include "tests/unit/sink_fixture.h"

static char file_path[128];

/* Not before the sink's own reading of the clock. */
static uint64_t now_ns(void)
{
	return ((uint64_t)time(NULL) + 1) * SECOND;
}

static void prepare(struct fixture_sink *sink, const char *rotate_bytes, const char *keep)
{
	const char *options[] = {
		"path", file_path, "rotate-bytes", rotate_bytes, "rotate-keep", keep, NULL};

	snprintf(file_path, sizeof(file_path), "%s/traffic.json", directory);
	prepare_sink(sink, &sink_json, options);
}

/* Appends the numbers of the file's lines, each of which must be whole. */
static size_t read_sequences(const char *name, uint64_t *sequences, size_t n)
{
	FILE *file = fopen(path_of(name), "r");
	char *line = NULL;
	size_t size = 0;
	ssize_t length;

	if (!file)
		return n;
	while ((length = getline(&line, &size, file)) > 0) {
		const char *member = strstr(line, "\"sequence\":");

		if (strncmp(line, "{\"time\":\"", 9) != 0 || !member ||
			strcmp(line + length - 2, "}\n") != 0)
			fail_msg("%s: not a whole line: %s", name, line);
		sequences[n++] = strtoull(member + strlen("\"sequence\":"), NULL, 10);
	}
	free(line);
	fclose(file);
	return n;
}

/* FILE.3, FILE.2, FILE.1, FILE in this order hold first...last, nothing twice and nothing less. */
static void assert_files_hold(uint64_t first, uint64_t last)
{
	static uint64_t sequences[20000];
	char name[40];
	size_t n = 0;

	for (int i = 20; i > 0; i--) {
		snprintf(name, sizeof(name), "traffic.json.%d", i);
		n = read_sequences(name, sequences, n);
	}
	n = read_sequences("traffic.json", sequences, n);
	assert_int_equal(n, last + 1 - first);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(sequences[i], first + i);
}

static uint64_t size_of(const char *name)
{
	struct stat status;

	assert_int_equal(stat(path_of(name), &status), 0);
	return (uint64_t)status.st_size;
}

static void test_lines_are_there_after_a_flush(void **state)
{
	struct fixture_sink sink;
	struct stat status;

	(void)state;
	prepare(&sink, "1000000", "3");
	open_sink(&sink);
	write_numbered(&sink, 1, 5);
	assert_int_equal(size_of("traffic.json"), 0);
	flush_sink(&sink, now_ns());
	assert_files_hold(1, 5);
	assert_int_equal(stat(file_path, &status), 0);
	assert_int_equal(status.st_mode & 07777, 0640);
	close_sink(&sink);
	open_sink(&sink);
	write_numbered(&sink, 6, 1000);
	flush_sink(&sink, now_ns());
	close_sink(&sink);
	assert_files_hold(1, 1000);
}

static void test_what_was_not_flushed_is_taken_back(void **state)
{
	struct fixture_sink sink;

	(void)state;
	prepare(&sink, "10000000", "3");
	open_sink(&sink);
	write_numbered(&sink, 1, 5);
	flush_sink(&sink, now_ns());
	/* More than the buffer holds, so that some is in the file. */
	write_numbered(&sink, 6, 1000);
	assert_true(size_of("traffic.json") > 100000);
	close_sink(&sink);
	assert_files_hold(1, 5);
	open_sink(&sink);
	write_numbered(&sink, 6, 1000);
	flush_sink(&sink, now_ns());
	close_sink(&sink);
	assert_files_hold(1, 1000);
}

static void test_rotation_by_size(void **state)
{
	struct fixture_sink sink;

	(void)state;
	prepare(&sink, "65536", "3");
	open_sink(&sink);
	for (uint64_t sequence = 1; sequence <= 250; sequence += 10) {
		write_numbered(&sink, sequence, sequence + 9);
		flush_sink(&sink, now_ns());
	}
	assert_files_hold(1, 250);
	assert_int_equal(count_files("traffic.json"), 4);
	for (int i = 1; i <= 3; i++) {
		char name[40];

		snprintf(name, sizeof(name), "traffic.json.%d", i);
		assert_in_range(size_of(name), 65536, 65536 + 10 * 2000);
	}
	close_sink(&sink);
}

static void test_only_so_many_are_kept(void **state)
{
	struct fixture_sink sink;

	(void)state;
	prepare(&sink, "65536", "2");
	open_sink(&sink);
	for (uint64_t sequence = 1; sequence <= 1000; sequence += 100) {
		write_numbered(&sink, sequence, sequence + 99);
		flush_sink(&sink, now_ns());
	}
	assert_int_equal(count_files("traffic.json"), 3);
	assert_files_hold(701, 1000);
	close_sink(&sink);
	/* A lower limit deletes what the higher one kept. */
	prepare(&sink, "65536", "1");
	open_sink(&sink);
	write_numbered(&sink, 1001, 1100);
	flush_sink(&sink, now_ns());
	assert_int_equal(count_files("traffic.json"), 2);
	assert_files_hold(901, 1100);
	close_sink(&sink);
	prepare(&sink, "65536", "0");
	open_sink(&sink);
	write_numbered(&sink, 1101, 1200);
	flush_sink(&sink, now_ns());
	assert_int_equal(count_files("traffic.json"), 1);
	assert_files_hold(1101, 1200);
	close_sink(&sink);
}

static void test_rotation_by_time(void **state)
{
	const char *options[] = {"path", file_path, "rotate-seconds", "3600", NULL};
	struct fixture_sink sink;

	(void)state;
	prepare(&sink, "65536", "3");
	prepare_sink(&sink, &sink_json, options);
	open_sink(&sink);
	/* An empty file has nothing to be kept. */
	flush_sink(&sink, now_ns() + HOUR);
	assert_int_equal(count_files("traffic.json"), 1);
	write_numbered(&sink, 1, 2);
	flush_sink(&sink, now_ns());
	flush_sink(&sink, now_ns() + HOUR);
	assert_int_equal(count_files("traffic.json"), 2);
	assert_int_equal(size_of("traffic.json"), 0);
	write_numbered(&sink, 3, 4);
	flush_sink(&sink, now_ns());
	assert_files_hold(1, 4);
	close_sink(&sink);
}

/* Numbers go on where the file ends, or the one before. */
static void test_the_last_sequence_is_known(void **state)
{
	struct fixture_sink sink;

	(void)state;
	prepare(&sink, "65536", "3");
	open_sink(&sink);
	assert_int_equal(sink.known_sequence, 0);
	write_numbered(&sink, 1, 100);
	flush_sink(&sink, now_ns());
	close_sink(&sink);
	prepare(&sink, "65536", "3");
	open_sink(&sink);
	assert_int_equal(sink.known_sequence, 100);
	flush_sink(&sink, now_ns());
	assert_int_equal(size_of("traffic.json"), 0);
	close_sink(&sink);
	prepare(&sink, "65536", "3");
	open_sink(&sink);
	assert_int_equal(sink.known_sequence, 100);
	write_numbered(&sink, 101, 101);
	flush_sink(&sink, now_ns());
	close_sink(&sink);
	sink.known_sequence = 0;
	open_sink(&sink);
	assert_int_equal(sink.known_sequence, 101);
	close_sink(&sink);
}

/* As logrotate does it, with and without `create`. */
static void test_somebody_else_rotates(void **state)
{
	struct fixture_sink sink;
	uint64_t now = now_ns();
	char old[160];
	int fd;

	(void)state;
	prepare(&sink, "10000000", "3");
	snprintf(old, sizeof(old), "%s.3", file_path);
	open_sink(&sink);
	write_numbered(&sink, 1, 5);
	flush_sink(&sink, now);
	assert_int_equal(rename(file_path, old), 0);
	flush_sink(&sink, now + SECOND);
	write_numbered(&sink, 6, 7);
	flush_sink(&sink, now + 2 * SECOND);
	assert_files_hold(1, 7);
	snprintf(old, sizeof(old), "%s.2", file_path);
	assert_int_equal(rename(file_path, old), 0);
	fd = open(file_path, O_CREAT | O_EXCL | O_WRONLY, 0600);
	assert_true(fd >= 0);
	close(fd);
	/* Within a load that never pauses. */
	for (uint64_t i = 0; i < 4; i++) {
		write_numbered(&sink, 8 + i, 8 + i);
		flush_sink(&sink, now + (3 + i) * SECOND);
	}
	assert_files_hold(1, 11);
	assert_true(size_of("traffic.json") > 0);
	assert_int_equal(unlink(file_path), 0);
	flush_sink(&sink, now + 10 * SECOND);
	write_numbered(&sink, 12, 12);
	flush_sink(&sink, now + 11 * SECOND);
	assert_true(size_of("traffic.json") > 0);
	close_sink(&sink);
}

/* As logrotate's `copytruncate` does it. */
static void test_somebody_else_truncates(void **state)
{
	struct fixture_sink sink;
	uint64_t now = now_ns();

	(void)state;
	prepare(&sink, "10000000", "3");
	open_sink(&sink);
	write_numbered(&sink, 1, 500);
	flush_sink(&sink, now);
	assert_int_equal(truncate(file_path, 0), 0);
	write_numbered(&sink, 501, 600);
	flush_sink(&sink, now + SECOND);
	assert_files_hold(501, 600);
	/* What is taken back now must not make the file longer. */
	assert_int_equal(truncate(file_path, 0), 0);
	write_numbered(&sink, 601, 601);
	close_sink(&sink);
	assert_int_equal(size_of("traffic.json"), 0);
}

static void test_half_a_line_is_cut_off(void **state)
{
	static const char half[] = "{\"time\":\"2026-10-01T12:00:00.0";
	struct fixture_sink sink;
	uint64_t size;
	FILE *file;

	(void)state;
	prepare(&sink, "10000000", "3");
	open_sink(&sink);
	write_numbered(&sink, 1, 300);
	flush_sink(&sink, now_ns());
	close_sink(&sink);
	size = size_of("traffic.json");
	/* Short, and longer than what is read at once. */
	for (int i = 0; i < 2; i++) {
		file = fopen(file_path, "a");
		assert_non_null(file);
		fputs(half, file);
		for (int n = 0; n < i * 150000; n++)
			fputc('x', file);
		fclose(file);
		open_sink(&sink);
		assert_int_equal(size_of("traffic.json"), size);
		close_sink(&sink);
	}
	open_sink(&sink);
	write_numbered(&sink, 301, 302);
	flush_sink(&sink, now_ns());
	close_sink(&sink);
	assert_files_hold(1, 302);
	/* Nothing but half a line. */
	file = fopen(file_path, "w");
	assert_non_null(file);
	fputs(half, file);
	fclose(file);
	open_sink(&sink);
	assert_int_equal(size_of("traffic.json"), 0);
	close_sink(&sink);
}

static void test_what_is_no_file_of_lines_is_left_alone(void **state)
{
	struct fixture_sink sink;
	FILE *file;

	(void)state;
	prepare(&sink, "1000000", "3");
	file = fopen(file_path, "w");
	assert_non_null(file);
	fputs("root:x:0:0:root:/root:/bin/bash\n", file);
	fclose(file);
	assert_int_equal(try_open(&sink), -EEXIST);
	assert_non_null(strstr(sink.error, "holds something else than JSON lines"));
	assert_null(sink.state);
	assert_int_equal(size_of("traffic.json"), 32);
	/* One line of two megabytes is none of ours. */
	file = fopen(file_path, "w");
	assert_non_null(file);
	for (int i = 0; i < 2 << 20; i++)
		fputc('{', file);
	fclose(file);
	assert_int_equal(try_open(&sink), -EEXIST);
	assert_int_equal(size_of("traffic.json"), 2 << 20);
	assert_int_equal(unlink(file_path), 0);
	assert_int_equal(mkfifo(file_path, 0600), 0);
	assert_int_equal(try_open(&sink), -EEXIST);
	assert_non_null(strstr(sink.error, "is not a file"));
	assert_int_equal(unlink(file_path), 0);
	assert_int_equal(mkdir(file_path, 0700), 0);
	assert_int_equal(try_open(&sink), -EISDIR);
	assert_non_null(strstr(sink.error, file_path));
}

static void test_a_directory_that_is_not_there(void **state)
{
	const char *options[] = {"path", "/nonexistent/directory/traffic.json", NULL};
	struct fixture_sink sink;

	(void)state;
	prepare_sink(&sink, &sink_json, options);
	assert_int_equal(try_open(&sink), -ENOENT);
	assert_string_equal(sink.error,
		"cannot open /nonexistent/directory/traffic.json: No such file or directory");
}

static void test_two_on_one_file(void **state)
{
	struct fixture_sink one, other;

	(void)state;
	prepare(&one, "65536", "3");
	prepare(&other, "65536", "3");
	open_sink(&one);
	assert_int_equal(try_open(&other), -EBUSY);
	assert_non_null(strstr(other.error, "is written by another sink or process"));
	/* Nor after the one has begun a new file. */
	write_numbered(&one, 1, 100);
	flush_sink(&one, now_ns());
	flush_sink(&one, now_ns());
	assert_int_equal(count_files("traffic.json"), 2);
	assert_int_equal(try_open(&other), -EBUSY);
	close_sink(&one);
	open_sink(&other);
	close_sink(&other);
}

/* On a file system of 256 KiB, in a mount namespace of this process. */
static void fill_the_disk(void)
{
	struct fixture_sink sink;
	uint64_t last = 0, filler_size;
	char filler[128];
	FILE *file;
	int rc;

	prepare(&sink, "10000000", "3");
	snprintf(filler, sizeof(filler), "%s/filler", directory);
	file = fopen(filler, "w");
	for (int i = 0; i < 100000; i++)
		fputc('x', file);
	fclose(file);
	filler_size = size_of("filler");
	assert_int_equal(filler_size, 100000);
	open_sink(&sink);
	/* In steps that are no multiple of a page, so that a write succeeds in part. */
	do {
		write_numbered(&sink, last + 1, last + 7);
		rc = try_flush(&sink, now_ns());
		last += rc == 0 ? 7 : 0;
	} while (rc == 0 && last < 10000);
	assert_int_equal(rc, -ENOSPC);
	assert_non_null(strstr(sink.error, "free space there"));
	assert_non_null(strstr(sink.error, "No space left on device"));
	close_sink(&sink);
	assert_files_hold(1, last);
	/* Again and again, to no avail, and to no harm. */
	for (int i = 0; i < 3; i++) {
		open_sink(&sink);
		write_numbered(&sink, last + 1, last + 7);
		assert_int_equal(try_flush(&sink, now_ns()), -ENOSPC);
		close_sink(&sink);
		assert_files_hold(1, last);
	}
	assert_int_equal(unlink(filler), 0);
	open_sink(&sink);
	write_numbered(&sink, last + 1, last + 7);
	flush_sink(&sink, now_ns());
	close_sink(&sink);
	assert_files_hold(1, last + 7);
}

static void test_a_full_disk(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(unshare(CLONE_NEWNS), 0);
	assert_int_equal(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	assert_int_equal(mount("none", directory, "tmpfs", 0, "size=256k"), 0);
	fill_the_disk();
	assert_int_equal(umount(directory), 0);
}

static void test_options(void **state)
{
	static const struct {
		const char *options[5], *error;
	} cases[] = {
		{{NULL}, "needs path="},
		{{"path", "traffic.json", NULL}, "must be an absolute path"},
		{{"path", "/x", "rotate-bytes", "1000", NULL}, "rotate-bytes=1000"},
		{{"path", "/x", "rotate-keep", "-1", NULL}, "rotate-keep=-1"},
		{{"path", "/x", "rotate-seconds", "1", NULL}, "rotate-seconds=1"},
		{{"path", "/x", "directory", "/y", NULL}, "has no option 'directory'"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct sink_setting at[2];
		struct sink_settings settings = {.kind = sink_json.kind, .at = at};
		char error[SINK_ERROR_MAX] = "";

		for (; cases[i].options[2 * settings.n]; settings.n++)
			at[settings.n] = (struct sink_setting){cases[i].options[2 * settings.n],
				cases[i].options[2 * settings.n + 1]};
		assert_false(sink_settings_check(&settings, error, sizeof(error)));
		if (!strstr(error, cases[i].error))
			fail_msg("'%s' does not say '%s'", error, cases[i].error);
	}
}

#define IN_DIRECTORY(test) cmocka_unit_test_setup_teardown(test, make_directory, remove_directory)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_options),
		IN_DIRECTORY(test_lines_are_there_after_a_flush),
		IN_DIRECTORY(test_what_was_not_flushed_is_taken_back),
		IN_DIRECTORY(test_rotation_by_size),
		IN_DIRECTORY(test_only_so_many_are_kept),
		IN_DIRECTORY(test_rotation_by_time),
		IN_DIRECTORY(test_the_last_sequence_is_known),
		IN_DIRECTORY(test_somebody_else_rotates),
		IN_DIRECTORY(test_somebody_else_truncates),
		IN_DIRECTORY(test_half_a_line_is_cut_off),
		IN_DIRECTORY(test_what_is_no_file_of_lines_is_left_alone),
		IN_DIRECTORY(test_a_directory_that_is_not_there),
		IN_DIRECTORY(test_two_on_one_file),
		IN_DIRECTORY(test_a_full_disk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
