/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers, times and words as people read them.  Pure functions, called by table.c and by the
 * commands.
 */
#include "cli/cordon.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "openvswitch/util.h"
#include "util.h"

const char *cli_format_count(uint64_t count, char text[CLI_TEXT_MAX])
{
	char digits[24];
	int n = snprintf(digits, sizeof(digits), "%llu", (unsigned long long int)count);
	char *out = text;

	for (int i = 0; i < n; i++) {
		*out++ = digits[i];
		if (i + 1 < n && !((n - i - 1) % 3))
			*out++ = ',';
	}
	*out = '\0';
	return text;
}

const char *cli_format_bytes(uint64_t bytes, char text[CLI_TEXT_MAX])
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double value = bytes;
	size_t unit = 0;

	/* 1023.95 would be written as 1024.0. */
	while (value >= 1023.95 && unit + 1 < ARRAY_SIZE(units)) {
		value /= 1024;
		unit++;
	}
	snprintf(text, CLI_TEXT_MAX, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
	return text;
}

const char *cli_format_age(uint64_t seconds, char text[CLI_TEXT_MAX])
{
	unsigned long long int s = seconds;

	if (s < 60)
		snprintf(text, CLI_TEXT_MAX, "%llus", s);
	else if (s < 3600)
		snprintf(text, CLI_TEXT_MAX, "%llum%02llus", s / 60, s % 60);
	else if (s < 86400)
		snprintf(text, CLI_TEXT_MAX, "%lluh%02llum", s / 3600, s / 60 % 60);
	else
		snprintf(text, CLI_TEXT_MAX, "%llud%lluh", s / 86400, s / 3600 % 24);
	return text;
}

const char *cli_format_time(uint64_t time_ns, char text[CLI_TEXT_MAX])
{
	time_t seconds = time_ns / 1000000000;
	struct tm local;
	size_t n;

	localtime_r(&seconds, &local);
	n = strftime(text, CLI_TEXT_MAX, "%Y-%m-%d %H:%M:%S", &local);
	snprintf(text + n, CLI_TEXT_MAX - n, ".%03u", (unsigned int)(time_ns / 1000000 % 1000));
	return text;
}

size_t cli_text_width(const char *text)
{
	size_t width = 0;

	for (; *text; text++)
		width += ((unsigned char)*text & 0xc0) != 0x80;
	return width;
}

/* --- Colour --------------------------------------------------------------------------------- */

const char *cli_colour_start(const struct cli *cli, enum cli_colour colour)
{
	static const char *const codes[] = {
		[CLI_PLAIN] = "",
		[CLI_GREEN] = "\033[32m",
		[CLI_RED] = "\033[31m",
		[CLI_YELLOW] = "\033[33m",
		[CLI_DIM] = "\033[2m",
		[CLI_BOLD] = "\033[1m",
	};

	return cli->colour ? codes[colour] : "";
}

const char *cli_colour_end(const struct cli *cli)
{
	return cli->colour ? "\033[0m" : "";
}

enum cli_colour cli_colour_of(const char *word)
{
	static const struct {
		const char *word;
		enum cli_colour colour;
	} words[] = {
		{"allow", CLI_GREEN},
		{"up", CLI_GREEN},
		{"running", CLI_GREEN},
		{"ESTABLISHED", CLI_GREEN},
		{"start", CLI_GREEN},
		{"ok", CLI_GREEN},
		{"allowed", CLI_GREEN},
		{"ANSWERED", CLI_GREEN},
		{"deny", CLI_RED},
		{"rejected", CLI_RED},
		{"DENIED", CLI_RED},
		{"denied", CLI_RED},
		{"failed", CLI_RED},
		{"paused", CLI_YELLOW},
		{"starting", CLI_YELLOW},
		{"stopping", CLI_YELLOW},
		{"stopped", CLI_DIM},
		{"ended", CLI_DIM},
		{"reject", CLI_RED},
		{"spoofed", CLI_RED},
		{"error", CLI_RED},
		{"quarantine", CLI_RED},
		{"down", CLI_YELLOW},
		{"limit", CLI_YELLOW},
		{"gap", CLI_YELLOW},
		{"would-deny", CLI_YELLOW},
		{"waiting", CLI_YELLOW},
		{"end", CLI_DIM},
		{"update", CLI_DIM},
	};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (!strcmp(word, words[i].word))
			return words[i].colour;
	}
	return CLI_PLAIN;
}

/* --- Words that were nearly right ----------------------------------------------------------- */

enum { WORD_MAX = 40 };

/* The number of letters to insert, leave out, replace or swap with their neighbour. */
static size_t edit_distance(const char *a, const char *b)
{
	size_t rows[3][WORD_MAX + 1];
	size_t n_a = strlen(a), n_b = strlen(b);

	if (n_a > WORD_MAX || n_b > WORD_MAX)
		return SIZE_MAX;
	for (size_t j = 0; j <= n_b; j++)
		rows[0][j] = j;
	for (size_t i = 1; i <= n_a; i++) {
		size_t *row = rows[i % 3];
		const size_t *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];

		row[0] = i;
		for (size_t j = 1; j <= n_b; j++) {
			row[j] = above[j - 1] + (a[i - 1] != b[j - 1]);
			row[j] = MIN(row[j], MIN(above[j], row[j - 1]) + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				row[j] = MIN(row[j], above2[j - 2] + 1);
		}
	}
	return rows[n_a % 3][n_b];
}

const char *cli_did_you_mean(const char *word, const char *const *candidates)
{
	size_t length = strlen(word), least = SIZE_MAX;
	const char *best = NULL;

	for (; *candidates; candidates++) {
		size_t distance = edit_distance(word, *candidates);

		if (length > 1 && !strncmp(word, *candidates, length))
			distance = 0; /* It was cut short. */
		if (distance < least) {
			least = distance;
			best = *candidates;
		}
	}
	return least <= (length < 4 ? 1 : length / 3) ? best : NULL;
}
