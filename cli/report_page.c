/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTML: escaped text, tables, and how the page looks.  Called by report*.c, on the one thread.
 */
#include "cli/report.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "util.h"

/* Light and dark by the reader's own choice, and on paper black on white.  Colours are told apart
 * by people who see no red or green, too, and in the matrix by place as well. */
const char report_style[] =
	":root{--paper:#fff;--ink:#1c2330;--soft:#5b6675;--line:#d9dee6;--band:#f4f6f9;"
	"--allowed:#1f7a5c;--allowed-ink:#fff;--unprotected:#e8b100;--unprotected-ink:#2b2200;"
	"--denied:#b3263a;--denied-ink:#fff;--other:#7a5ca8;--link:#1a5fb4}"
	"@media (prefers-color-scheme:dark){:root{--paper:#14181f;--ink:#e4e8ee;--soft:#9aa5b4;"
	"--line:#333c49;--band:#1c222c;--allowed:#2f9e79;--unprotected:#d9a406;--denied:#d04a5d;"
	"--other:#9d80cc;--link:#7fb2f0}}"
	"*{box-sizing:border-box}"
	"body{margin:0 auto;max-width:1120px;padding:28px 24px 48px;background:var(--paper);"
	"color:var(--ink);font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',"
	"sans-serif}"
	"header{border-bottom:3px solid var(--ink);padding-bottom:14px}"
	"h1{font-size:27px;line-height:1.2;margin:0 0 6px}"
	"h2{font-size:19px;margin:0 0 4px}"
	"h3{font-size:15px;margin:20px 0 4px}"
	"section{margin-top:34px}"
	".note,footer,.more,dt{color:var(--soft)}.note{margin:0 0 10px;max-width:78ch}"
	".more{font-size:13px;margin:6px 0 0}"
	"dl{display:grid;grid-template-columns:max-content 1fr;gap:2px 18px;margin:10px 0 0}"
	"dd{margin:0;overflow-wrap:anywhere;unicode-bidi:isolate}"
	".figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;"
	"list-style:none;margin:22px 0 0;padding:0}"
	".figures li{border:1px solid var(--line);border-left-width:5px;border-radius:4px;"
	"padding:9px 12px}"
	".figures "
	"b{display:block;font-size:23px;line-height:1.25;font-variant-numeric:tabular-nums}"
	".figures span{color:var(--soft);font-size:13px}"
	".figures .allowed{border-left-color:var(--allowed)}"
	".figures .unprotected{border-left-color:var(--unprotected)}"
	".figures .denied{border-left-color:var(--denied)}"
	".figures .other{border-left-color:var(--other)}"
	".scroll{overflow-x:auto}"
	"table{border-collapse:collapse;width:100%;font-size:13.5px}"
	"th{text-align:left;font-weight:600;color:var(--soft);white-space:nowrap;"
	"border-bottom:2px solid var(--line)}"
	"td,th{padding:5px 10px 5px 0;vertical-align:top}"
	"td{border-bottom:1px solid var(--line);overflow-wrap:anywhere;unicode-bidi:isolate;"
	"min-width:4.5em}"
	"td.n,th.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums;"
	"overflow-wrap:normal;min-width:0;padding-right:22px}"
	"td.t{white-space:nowrap;font-variant-numeric:tabular-nums}"
	".v-allowed{color:var(--allowed)}.v-denied,.v-rejected{color:var(--denied)}"
	"svg{display:block;max-width:100%;height:auto;margin-top:6px}"
	"svg text{fill:var(--ink);font:12px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu "
	"Sans',"
	"sans-serif}svg .soft{fill:var(--soft)}svg .grid{stroke:var(--line);stroke-width:1}"
	"svg .blank{fill:var(--band)}"
	"svg .allowed{fill:var(--allowed)}svg .unprotected{fill:var(--unprotected)}"
	"svg .denied{fill:var(--denied)}svg .other{fill:var(--other)}"
	"svg text.on-allowed,svg text.on-denied{fill:#fff}svg text.on-unprotected{fill:#2b2200}"
	".legend{display:flex;flex-wrap:wrap;gap:4px 20px;list-style:none;margin:8px 0 0;padding:0;"
	"font-size:13px;color:var(--soft)}"
	".legend i{display:inline-block;width:12px;height:12px;border-radius:2px;margin-right:6px;"
	"vertical-align:-1px}"
	".legend .allowed{background:var(--allowed)}.legend .unprotected{background:"
	"var(--unprotected)}.legend .denied{background:var(--denied)}.legend .other{background:"
	"var(--other)}"
	".warning{border:1px solid var(--unprotected);border-left-width:5px;border-radius:4px;"
	"padding:8px 12px;margin:16px 0 0}"
	"footer{margin-top:44px;border-top:1px solid var(--line);padding-top:10px;font-size:13px}"
	"@media (max-width:820px){body{padding:18px 14px 36px}td,th{padding-right:7px}}"
	"@media print{:root{--paper:#fff;--ink:#000;--soft:#444;--line:#bbb;--band:#f3f3f3;"
	"--allowed:#1f7a5c;--unprotected:#e8b100;--denied:#b3263a;--other:#7a5ca8}"
	"body{max-width:none;padding:0;font-size:11pt}table{font-size:9pt}"
	"section{break-inside:auto}h2,h3{break-after:avoid}tr,svg,.figures{break-inside:avoid}"
	".scroll{overflow:visible}"
	"*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}"
	"@page{margin:15mm}";

void report_put_text(FILE *out, const char *text)
{
	for (; *text; text++) {
		switch (*text) {
		case '&': fputs("&amp;", out); break;
		case '<': fputs("&lt;", out); break;
		case '>': fputs("&gt;", out); break;
		case '"': fputs("&quot;", out); break;
		case '\'': fputs("&#39;", out); break;
		default: fputc(iscntrl((unsigned char)*text) ? '?' : *text, out); break;
		}
	}
}

void report_section(FILE *out, const char *id, const char *title, const char *note)
{
	fprintf(out, "<section id=\"%s\">\n<h2>%s</h2>\n", id, title);
	if (note)
		fprintf(out, "<p class=\"note\">%s</p>\n", note);
}

void report_section_end(FILE *out)
{
	fputs("</section>\n", out);
}

/* --- Tables --------------------------------------------------------------------------------- */

/* What is short is not broken into lines; a column stands right as its first row does. */
static const char *class_of(const struct cli_column *column, const struct json *row)
{
	if (column->text == report_first_cell || column->text == report_last_cell ||
		column->text == cli_log_service_cell || !strcmp(column->key, "claimed_mac"))
		return " class=\"t\"";
	return cli_cell_stands_right(column, row) ? " class=\"n\"" : "";
}

static void put_cell(FILE *out, const struct cli_column *column, const struct json *row)
{
	char *text = cli_cell_text(column, row);

	fprintf(out, "<td%s>", class_of(column, row));
	if (column->format == CLI_STATE && *text) {
		fputs("<span class=\"v-", out);
		report_put_text(out, text);
		fputs("\">", out);
	}
	report_put_text(out, text);
	fputs(column->format == CLI_STATE && *text ? "</span></td>" : "</td>", out);
	free(text);
}

static void put_heading(
	FILE *out, const struct cli_column *columns, size_t n, const struct json *row)
{
	fputs("<thead><tr>", out);
	for (size_t i = 0; i < n; i++)
		fprintf(out, "<th scope=\"col\"%s>%c%s</th>", class_of(&columns[i], row),
			toupper((unsigned char)columns[i].title[0]), columns[i].title + 1);
	fputs("</tr></thead>\n", out);
}

void report_table(struct report *report, const struct cli_column *columns, size_t n_columns,
	const struct json *rows, size_t most, const char *none)
{
	size_t n = rows->array.n, shown = MIN(n, most);
	char count[CLI_TEXT_MAX];
	FILE *out = report->out;

	if (!n) {
		fprintf(out, "<p>%s</p>\n", none);
		return;
	}
	fputs("<div class=\"scroll\"><table>\n", out);
	put_heading(out, columns, n_columns, rows->array.elems[0]);
	fputs("<tbody>\n", out);
	for (size_t r = 0; r < shown; r++) {
		fputs("<tr>", out);
		for (size_t i = 0; i < n_columns; i++)
			put_cell(out, &columns[i], rows->array.elems[r]);
		fputs("</tr>\n", out);
	}
	fputs("</tbody></table></div>\n", out);
	if (n > shown)
		fprintf(out, "<p class=\"more\">And %s more.</p>\n",
			cli_format_count(n - shown, count));
}

/* --- Numbers and times ---------------------------------------------------------------------- */

const char *report_short_count(uint64_t count, char text[CLI_TEXT_MAX])
{
	static const char units[] = {'k', 'M', 'G', 'T', 'P', 'E'};
	double value = (double)count;
	size_t unit = 0;

	if (count < 10000)
		return cli_format_count(count, text);
	/* 999.95 would be written as 1000. */
	for (value /= 1000; value >= 999.5 && unit + 1 < sizeof(units); unit++)
		value /= 1000;
	snprintf(text, CLI_TEXT_MAX, value < 99.95 ? "%.1f%c" : "%.0f%c", value, units[unit]);
	return text;
}

const char *report_time(uint64_t time_ns, char text[CLI_TEXT_MAX])
{
	time_t seconds = (time_t)(time_ns / 1000000000);
	struct tm local;

	*text = '\0';
	if (localtime_r(&seconds, &local))
		strftime(text, CLI_TEXT_MAX, "%Y-%m-%d %H:%M:%S", &local);
	return text;
}

static char *time_cell(const struct json *row, const char *name)
{
	uint64_t time_ns = (uint64_t)cli_json_number(row, name);
	char text[CLI_TEXT_MAX];

	return time_ns ? xstrdup(report_time(time_ns, text)) : xstrdup("");
}

char *report_first_cell(const struct json *row)
{
	return time_cell(row, "first_ns");
}

char *report_last_cell(const struct json *row)
{
	return time_cell(row, "last_ns");
}
