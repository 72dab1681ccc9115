/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Refusals over time as a picture: bars of equal spans, stacked by what was refused, with axes.
 * Called by report.c, on the one thread.
 */
#include "cli/report.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "util.h"

enum { BARS_MOST = 96, WIDTH = 1060, HEIGHT = 250, LEFT = 58, RIGHT = 12, TOP = 14, BOTTOM = 40 };

#define SECOND_NS 1000000000ull

/* The bars. */
struct chart {
	FILE *out;
	uint64_t since_ns, until_ns, slot_ns;
	uint64_t first_slot, n;
	struct log_slot *slots; /* n of them. */
	uint64_t most;
};

/* Spans that people count in. */
static uint64_t choose_slot_seconds(uint64_t seconds)
{
	static const uint64_t steps[] = {
		60, 300, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800};

	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		if (seconds / steps[i] <= BARS_MOST)
			return steps[i];
	}
	return (seconds / BARS_MOST / 604800 + 1) * 604800;
}

static uint64_t sum_of(const struct log_slot *slot)
{
	return slot->denied + slot->rejected + slot->spoofed + slot->limited;
}

static bool add_slot(const struct log_slot *slot, void *context)
{
	struct chart *chart = context;
	uint64_t number = slot->start_ns / chart->slot_ns;

	if (number >= chart->first_slot && number - chart->first_slot < chart->n)
		chart->slots[number - chart->first_slot] = *slot;
	return true;
}

/* --- Axes ----------------------------------------------------------------------------------- */

static double y_of(const struct chart *chart, double value)
{
	return TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / (double)chart->most);
}

static double x_of(const struct chart *chart, double slots)
{
	return LEFT + (WIDTH - LEFT - RIGHT) * slots / (double)chart->n;
}

/* The next of 1, 2, 5, 10, 20, 50... that is not less than a quarter of it. */
static uint64_t choose_step(uint64_t most)
{
	uint64_t step = 1;

	for (;;) {
		if (step * 4 >= most)
			return step;
		if (step * 8 >= most)
			return step * 2;
		if (step * 20 >= most)
			return step * 5;
		step *= 10;
	}
}

static void put_y_axis(struct chart *chart)
{
	uint64_t step = choose_step(MAX(chart->most, 1));
	char text[CLI_TEXT_MAX];

	chart->most = (MAX(chart->most, 1) + step - 1) / step * step;
	for (uint64_t value = 0; value <= chart->most; value += step) {
		double y = y_of(chart, (double)value);

		fprintf(chart->out,
			"<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>"
			"<text class=\"soft\" x=\"%d\" y=\"%.1f\" text-anchor=\"end\" "
			"dominant-baseline=\"central\">%s</text>\n",
			LEFT, WIDTH - RIGHT, y, y, LEFT - 8, y, report_short_count(value, text));
	}
}

static void put_x_label(const struct chart *chart, uint64_t slot, const char *anchor)
{
	time_t seconds = (time_t)((chart->first_slot + slot) * chart->slot_ns / SECOND_NS);
	char day[32] = "", hour[16] = "";
	struct tm local;

	if (localtime_r(&seconds, &local)) {
		strftime(day, sizeof(day), "%Y-%m-%d", &local);
		strftime(hour, sizeof(hour), "%H:%M", &local);
	}
	fprintf(chart->out,
		"<text class=\"soft\" x=\"%.1f\" y=\"%d\" text-anchor=\"%s\">%s</text>"
		"<text class=\"soft\" x=\"%.1f\" y=\"%d\" text-anchor=\"%s\">%s</text>\n",
		x_of(chart, (double)slot), HEIGHT - BOTTOM + 17, anchor, day,
		x_of(chart, (double)slot), HEIGHT - BOTTOM + 32, anchor, hour);
}

static void put_x_axis(const struct chart *chart)
{
	uint64_t step = MAX(chart->n / 6, 1);

	for (uint64_t slot = 0; slot < chart->n; slot += step) {
		if (!slot || chart->n - slot >= step / 2)
			put_x_label(chart, slot, slot ? "middle" : "start");
	}
}

/* --- Bars ----------------------------------------------------------------------------------- */

static double put_part(
	const struct chart *chart, uint64_t slot, const char *class, uint64_t n, double below)
{
	double y = y_of(chart, below + (double)n), x = x_of(chart, (double)slot);
	double gap = chart->n > 60 ? 1 : 2;

	if (n)
		fprintf(chart->out,
			"<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>",
			class, x + gap / 2, y, x_of(chart, (double)slot + 1) - x - gap,
			MAX(y_of(chart, below) - y, 0.8));
	return below + (double)n;
}

static void put_bar(const struct chart *chart, uint64_t i)
{
	const struct log_slot *slot = &chart->slots[i];
	char when[CLI_TEXT_MAX], denied[CLI_TEXT_MAX], spoofed[CLI_TEXT_MAX], limited[CLI_TEXT_MAX];
	double below = 0;

	if (!sum_of(slot))
		return;
	fprintf(chart->out, "<g><title>%s: %s denied, %s spoofed, %s over a limit</title>",
		report_time((chart->first_slot + i) * chart->slot_ns, when),
		cli_format_count(slot->denied + slot->rejected, denied),
		cli_format_count(slot->spoofed, spoofed), cli_format_count(slot->limited, limited));
	below = put_part(chart, i, "denied", slot->denied + slot->rejected, below);
	below = put_part(chart, i, "other", slot->spoofed, below);
	put_part(chart, i, "unprotected", slot->limited, below);
	fputs("</g>\n", chart->out);
}

static void draw(struct chart *chart)
{
	fprintf(chart->out,
		"<svg viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" role=\"img\" "
		"aria-labelledby=\"chart-title\">\n<title id=\"chart-title\">Refused attempts over "
		"time</title>\n",
		WIDTH, HEIGHT, WIDTH, HEIGHT);
	put_y_axis(chart);
	put_x_axis(chart);
	for (uint64_t i = 0; i < chart->n; i++)
		put_bar(chart, i);
	fputs("</svg>\n<ul class=\"legend\"><li><i class=\"denied\"></i>denied or rejected by "
	      "policy</li><li><i class=\"other\"></i>spoofed</li><li><i class=\"unprotected\"></i>"
	      "over a limit</li></ul>\n",
		chart->out);
}

void report_put_chart(struct report *report, const char *directory)
{
	struct log_filter filter = LOG_FILTER_ANY;
	uint64_t seconds = (report->until_ns - report->since_ns) / SECOND_NS;
	uint64_t slot_seconds = choose_slot_seconds(seconds), sum = 0;
	struct chart chart = {.out = report->out,
		.slot_ns = slot_seconds * SECOND_NS,
		.first_slot = report->since_ns / (slot_seconds * SECOND_NS)};
	char text[CLI_TEXT_MAX], age[CLI_TEXT_MAX], error[sizeof(report->error)];

	filter.since_ns = report->since_ns;
	filter.until_ns = report->until_ns;
	filter.zone = report->zone;
	chart.n = report->until_ns / chart.slot_ns - chart.first_slot + 1;
	chart.slots = xcalloc(chart.n, sizeof(*chart.slots));
	report_note(report,
		log_timeline(
			directory, &filter, slot_seconds, add_slot, &chart, error, sizeof(error)),
		error);
	for (uint64_t i = 0; i < chart.n; i++) {
		chart.most = MAX(chart.most, sum_of(&chart.slots[i]));
		sum += sum_of(&chart.slots[i]);
	}
	if (sum) {
		fprintf(report->out, "<p class=\"note\">%s attempts, in bars of %s.</p>\n",
			cli_format_count(sum, text), cli_format_age(slot_seconds, age));
		draw(&chart);
	} else {
		fputs("<p>Nothing was refused.</p>\n", report->out);
	}
	free(chart.slots);
}
