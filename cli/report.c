/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cordon report`: the questions to the traffic log on one page of HTML, to be read and printed by
 * whoever answers for the network.  Called by main.c, on its one thread.
 *
 *      report.c            the file, the head of the page, and its sections in order
 *      report_sections.c   what each section asks and shows
 *      report_matrix.c, report_chart.c    pictures
 *      report_page.c       HTML
 *
 * The page is written beside its place and put there when it is whole.
 */
#include "cli/report.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "log/files.h"
#include "util.h"

#define SECOND_NS 1000000000ull
#define WEEK_NS	  (7 * 86400 * SECOND_NS)

const struct cli_option cli_report_options[] = {
	{"output", 'o', "FILE", "where the page is written (-: standard output)"},
	{"since", 's', "TIME", "from then on: 1d, 4w, or \"2026-01-31 14:00\" (7d)"},
	{"until", 'u', "TIME", "up to then"},
	{"zone", 'z', "ZONE", "only traffic of this zone, either end"},
	{"directory", 'd', "DIR", "the log's files (STATEDIR/log)"},
	{0},
};

void report_note(struct report *report, int rc, const char *error)
{
	if (!rc || rc == -ENOENT || report->rc)
		return;
	report->rc = rc;
	ovs_strlcpy(report->error, error, sizeof(report->error));
}

/* --- The head ------------------------------------------------------------------------------- */

static void put_item(FILE *out, const char *name, const char *text)
{
	fprintf(out, "<dt>%s</dt><dd>", name);
	report_put_text(out, text);
	fputs("</dd>\n", out);
}

static void put_span(const struct report *report)
{
	char since[CLI_TEXT_MAX], until[CLI_TEXT_MAX], *text;
	time_t seconds = (time_t)(report->now_ns / SECOND_NS);
	struct tm local = {0};
	long int minutes;

	localtime_r(&seconds, &local);
	minutes = labs(local.tm_gmtoff) / 60;
	text = xasprintf("%s to %s (UTC%c%02ld:%02ld)", report_time(report->since_ns, since),
		report_time(report->until_ns, until), local.tm_gmtoff < 0 ? '-' : '+', minutes / 60,
		minutes % 60);
	put_item(report->out, "Span", text);
	free(text);
}

static void put_reach(const struct report *report, const char *directory)
{
	char error[512], first[CLI_TEXT_MAX];
	uint64_t first_ns, last_ns;
	struct log_files files;

	if (!log_files_read(directory, &files, error, sizeof(error))) {
		log_files_reach(&files, &first_ns, &last_ns);
		if (first_ns > report->since_ns)
			fprintf(report->out,
				"<p class=\"warning\">The log begins only at %s: of the time "
				"before "
				"there is nothing in this report.</p>\n",
				report_time(first_ns, first));
	}
	log_files_free(&files);
}

static void put_head(const struct report *report, const char *hosts)
{
	FILE *out = report->out;

	fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
	      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
	      "style-src 'unsafe-inline'\">\n"
	      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
	      "<meta name=\"color-scheme\" content=\"light dark\">\n<title>Traffic report, ",
		out);
	report_put_text(out, hosts);
	fprintf(out, "</title>\n<style>%s</style>\n</head>\n<body>\n<header>\n<h1>Traffic report",
		report_style);
	if (report->zone) {
		fputs(": zone ", out);
		report_put_text(out, report->zone);
	}
	fputs("</h1>\n<dl>\n", out);
	put_item(out, "Host", hosts);
	put_span(report);
}

static void put_foot(const struct report *report)
{
	char when[CLI_TEXT_MAX];

	fprintf(report->out,
		"<footer>Written by cordon %s at %s, from the records of the traffic log. "
		"Connections are those that began within the span or were open at its start; "
		"packets "
		"and bytes are of those that ended within it.</footer>\n</body>\n</html>\n",
		CORDON_VERSION, report_time(report->now_ns, when));
}

/* --- The page ------------------------------------------------------------------------------- */

static void put_page(struct report *report, const char *directory)
{
	struct report_totals totals;

	report_count(report, directory, &totals);
	put_head(report, totals.hosts);
	report_put_revisions(report, &totals);
	fputs("</dl>\n</header>\n", report->out);
	put_reach(report, directory);
	report_put_sections(report, &totals);
	put_foot(report);
	report_totals_free(&totals);
}

/* The span, with both ends.  Not CLI_OK: the reason was said. */
static enum cli_status read_span(struct report *report)
{
	struct cli_log_answer answer;
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	report->now_ns = (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
	if (cli_log_answer_begin(report->cli, &answer, 0) != CLI_OK)
		return CLI_USAGE;
	cli_log_answer_default_since(&answer, WEEK_NS);
	report->since_ns = answer.query.filter.since_ns;
	report->until_ns = answer.query.filter.until_ns;
	report->zone = answer.query.filter.zone;
	cli_log_answer_free(&answer);
	if (!report->until_ns || report->until_ns > report->now_ns)
		report->until_ns = report->now_ns;
	if (report->since_ns >= report->until_ns)
		return cli_fail(report->cli, CLI_USAGE, "--since '%s' is not in the past",
			cli_option(report->cli, "since"));
	return CLI_OK;
}

/* Where the page is written before it takes the place of `path`, so that nobody reads a half of it;
 * in *beside its name, or NULL: what is no file, such as a pipe, is written to as it is. */
static FILE *open_page(const char *path, char **beside)
{
	struct stat status;
	mode_t mask;
	FILE *page;
	int fd;

	*beside = NULL;
	if (!stat(path, &status) && !S_ISREG(status.st_mode))
		return fopen(path, "w");
	*beside = xasprintf("%s.XXXXXX", path);
	fd = mkstemp(*beside);
	page = fd >= 0 ? fdopen(fd, "w") : NULL;
	mask = umask(0);
	umask(mask);
	if (page && !fchmod(fd, 0666 & ~mask))
		return page;
	if (fd >= 0)
		unlink(*beside);
	if (page)
		fclose(page);
	return NULL;
}

static enum cli_status finish(struct report *report, const char *path, const char *beside)
{
	struct cli *cli = report->cli;
	bool whole = !fflush(report->out) && !ferror(report->out);
	int error = errno;

	if (report->out != cli->out) {
		whole = !fclose(report->out) && whole;
		error = whole ? 0 : error;
	}
	if (beside) {
		if (whole && rename(beside, path)) {
			whole = false;
			error = errno;
		}
		if (!whole)
			unlink(beside);
	}
	if (!whole)
		return cli_fail(cli, CLI_FAILED, "the report cannot be written to '%s': %s", path,
			ovs_strerror(error));
	if (report->rc)
		return cli_fail(cli, CLI_FAILED,
			"the report is written, but a part of the log could not be read, and is "
			"missing in it: %s",
			report->error);
	return CLI_OK;
}

enum cli_status cli_report(struct cli *cli)
{
	const char *path = cli_option(cli, "output");
	struct report report = {.cli = cli};
	char *beside = NULL, *directory;
	enum cli_status status = read_span(&report);

	if (status != CLI_OK)
		return status;
	if (!path || !*path)
		return cli_fail(cli, CLI_USAGE, "say where to: cordon report -o report.html");
	directory = cli_log_place(cli);
	if (cli_option(cli, "directory") && access(directory, R_OK | X_OK)) {
		status = cli_fail(cli, CLI_NOT_FOUND, "cannot read the log directory %s: %s",
			directory, ovs_strerror(errno));
		free(directory);
		return status;
	}
	report.out = strcmp(path, "-") ? open_page(path, &beside) : cli->out;
	if (report.out) {
		put_page(&report, directory);
		status = finish(&report, path, beside);
	} else {
		status = cli_fail(cli, CLI_FAILED, "the report cannot be written to '%s': %s", path,
			ovs_strerror(errno));
	}
	if (status == CLI_OK && beside)
		fprintf(cli->err, "The report is in %s%s%s%s.\n", path,
			report.records ? ": open it with a browser"
				       : ", but the log has nothing of this time",
			!report.records && report.zone ? " and of a zone " : "",
			!report.records && report.zone ? report.zone : "");
	free(beside);
	free(directory);
	return status;
}
