/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The matrix of zones as a picture: who opens connections to whom.  Called by report.c, on the one
 * thread.
 *
 * Each cell has three bands, always in the same order: allowed, unprotected, denied.  So the place
 * tells them apart as the colour does.  With many zones the cells become too small for numbers,
 * which a pointer still shows, and the table below has.
 */
#include "cli/report.h"

#include <stdlib.h>
#include <string.h>

#include "openvswitch/shash.h"
#include "svec.h"
#include "util.h"

enum { ZONES_MAX_SHOWN = 48, ZONES_WITH_NUMBERS = 12, LABEL_CHARACTERS = 20 };

static const struct band {
	const char *member, *words;
} bands[] = {
	{"allowed", "allowed"},
	{"unprotected", "unprotected (allowed by default only)"},
	{"denied", "denied"},
};

enum { BANDS = ARRAY_SIZE(bands) };

struct matrix {
	FILE *out;
	struct svec zones;
	struct shash pairs; /* Rows by "SOURCE\nDESTINATION". */
	double cell_width, band_height, left, top;
	bool numbers;
	size_t n_left_out; /* Zones. */
};

/* --- Which zones ---------------------------------------------------------------------------- */

/* The busiest ones, in the order of their names. */
static void choose_zones(struct matrix *matrix, const struct json *rows)
{
	for (size_t i = 0; i < rows->array.n; i++) {
		const char *ends[2] = {cli_json_text(rows->array.elems[i], "source_zone"),
			cli_json_text(rows->array.elems[i], "destination_zone")};

		for (size_t e = 0; e < 2; e++) {
			if (svec_contains_unsorted(&matrix->zones, ends[e]))
				continue;
			if (matrix->zones.n < ZONES_MAX_SHOWN)
				svec_add(&matrix->zones, ends[e]);
			else
				matrix->n_left_out++;
		}
	}
	svec_sort(&matrix->zones);
}

static const struct json *pair_of(const struct matrix *matrix, size_t from, size_t to)
{
	char *key = xasprintf("%s\n%s", matrix->zones.names[from], matrix->zones.names[to]);
	const struct json *row = shash_find_data(&matrix->pairs, key);

	free(key);
	return row;
}

/* --- Drawing -------------------------------------------------------------------------------- */

static void put_zone(FILE *out, const char *zone, bool shortened)
{
	size_t n = strlen(zone);

	if (!n)
		fputs("(none)", out);
	else if (shortened && n > LABEL_CHARACTERS) {
		char *start = xmemdup0(zone, LABEL_CHARACTERS - 1);

		report_put_text(out, start);
		fputs("…", out);
		free(start);
	} else {
		report_put_text(out, zone);
	}
}

static void put_labels(const struct matrix *matrix)
{
	double height = matrix->band_height * BANDS;
	const char *zone;
	size_t i;

	SVEC_FOR_EACH (i, zone, &matrix->zones) {
		double x = matrix->left + ((double)i + 0.5) * matrix->cell_width;
		double y = matrix->top + ((double)i + 0.5) * height;

		fprintf(matrix->out,
			"<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\" "
			"dominant-baseline=\"central\">",
			matrix->left - 8, y);
		put_zone(matrix->out, zone, true);
		fprintf(matrix->out, "</text><text transform=\"translate(%.1f %.1f) rotate(-50)\">",
			x, matrix->top - 8);
		put_zone(matrix->out, zone, true);
		fputs("</text>\n", matrix->out);
	}
}

static void put_band(
	const struct matrix *matrix, const struct band *band, uint64_t n, double x, double y)
{
	char text[CLI_TEXT_MAX];

	if (!n)
		return;
	fprintf(matrix->out,
		"<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>",
		band->member, x, y, matrix->cell_width - 2, matrix->band_height - 1);
	if (matrix->numbers)
		fprintf(matrix->out,
			"<text class=\"on-%s\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\" "
			"dominant-baseline=\"central\">%s</text>",
			band->member, x + matrix->cell_width / 2 - 1, y + matrix->band_height / 2,
			report_short_count(n, text));
}

/* What a pointer shows, and a screen reader says: "web to db: 12 allowed, 3 denied". */
static void put_title(const struct matrix *matrix, size_t from, size_t to, const struct json *row)
{
	const char *separator = ": ";
	char count[CLI_TEXT_MAX];

	fputs("<title>", matrix->out);
	put_zone(matrix->out, matrix->zones.names[from], false);
	fputs(" to ", matrix->out);
	put_zone(matrix->out, matrix->zones.names[to], false);
	for (size_t b = 0; b < BANDS; b++) {
		uint64_t n = (uint64_t)cli_json_number(row, bands[b].member);

		if (!n)
			continue;
		fprintf(matrix->out, "%s%s %s", separator, cli_format_count(n, count),
			bands[b].words);
		separator = ", ";
	}
	fputs("</title>", matrix->out);
}

static void put_cell(const struct matrix *matrix, size_t from, size_t to)
{
	const struct json *row = pair_of(matrix, from, to);
	double height = matrix->band_height * BANDS;
	double x = matrix->left + (double)to * matrix->cell_width + 1;
	double y = matrix->top + (double)from * height + 1;

	fputs("<g>", matrix->out);
	if (row)
		put_title(matrix, from, to, row);
	fprintf(matrix->out,
		"<rect class=\"blank\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>", x,
		y, matrix->cell_width - 2, height - 3);
	for (size_t b = 0; row && b < BANDS; b++)
		put_band(matrix, &bands[b], (uint64_t)cli_json_number(row, bands[b].member), x,
			y + (double)b * (matrix->band_height - 0.7));
	fputs("</g>\n", matrix->out);
}

static void draw(struct matrix *matrix)
{
	double n = (double)matrix->zones.n;
	double width = matrix->left + n * matrix->cell_width + 80;
	double height = matrix->top + n * matrix->band_height * BANDS + 4;

	fprintf(matrix->out,
		"<svg viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" height=\"%.0f\" role=\"img\" "
		"aria-labelledby=\"matrix-title\">\n<title id=\"matrix-title\">Connections and "
		"refused attempts, from the zone of the row to that of the column</title>\n",
		width, height, width, height);
	fprintf(matrix->out,
		"<text class=\"soft\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">from ↓ to "
		"→</text>\n",
		matrix->left - 8, matrix->top - 8);
	put_labels(matrix);
	for (size_t from = 0; from < matrix->zones.n; from++) {
		for (size_t to = 0; to < matrix->zones.n; to++)
			put_cell(matrix, from, to);
	}
	fputs("</svg>\n", matrix->out);
}

static size_t longest_label(const struct matrix *matrix)
{
	size_t longest = 6, i;
	const char *zone;

	SVEC_FOR_EACH (i, zone, &matrix->zones)
		longest = MAX(longest, strlen(zone));
	return MIN(longest, (size_t)LABEL_CHARACTERS);
}

/* Wide enough to read where there are few zones, and never wider than a page where there are many.
 */
static void choose_sizes(struct matrix *matrix)
{
	double label = (double)longest_label(matrix) * 7.2;
	double n = (double)matrix->zones.n;

	matrix->numbers = matrix->zones.n <= ZONES_WITH_NUMBERS;
	matrix->left = MAX(label + 14, 92);
	matrix->top = label * 0.8 + 22;
	matrix->cell_width = MIN(72, (1060 - matrix->left - 80) / n);
	matrix->band_height = matrix->numbers ? 17 : MIN(8, matrix->cell_width / BANDS);
}

void report_put_matrix(FILE *out, const struct json *rows)
{
	struct matrix matrix = {.out = out,
		.zones = SVEC_EMPTY_INITIALIZER,
		.pairs = SHASH_INITIALIZER(&matrix.pairs)};

	choose_zones(&matrix, rows);
	for (size_t i = 0; i < rows->array.n; i++) {
		struct json *row = rows->array.elems[i];

		shash_add_nocopy(&matrix.pairs,
			xasprintf("%s\n%s", cli_json_text(row, "source_zone"),
				cli_json_text(row, "destination_zone")),
			row);
	}
	choose_sizes(&matrix);
	draw(&matrix);
	fputs("<ul class=\"legend\"><li><i class=\"allowed\"></i>allowed by a rule (top)</li>"
	      "<li><i class=\"unprotected\"></i>unprotected: allowed by a default only "
	      "(middle)</li>"
	      "<li><i class=\"denied\"></i>denied (bottom)</li></ul>\n",
		out);
	if (matrix.n_left_out)
		fprintf(out,
			"<p class=\"more\">Only the %d busiest zones are drawn; the table has all "
			"pairs.</p>\n",
			ZONES_MAX_SHOWN);
	svec_destroy(&matrix.zones);
	shash_destroy(&matrix.pairs);
}
