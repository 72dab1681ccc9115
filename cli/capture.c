/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cordon capture`: frames of ports, VMs or zones with what became of each, into a file, a pipe, or
 * on the terminal.  The switch copies them; what is asked for is said here, and what comes is
 * written here, with the rights of whoever asks.
 */
#include "cli/capture.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "util.h"

enum {
	MESSAGE_BYTES = 256 << 10, /* More than the switch sends at once. */
	SNAPLEN_MAX = 262144,
	SNAPLEN_PRINTED = 256, /* Enough for all headers. */
	SECONDS_DEFAULT = 600,
	SECONDS_MAX = 86400,
	BYTES_DEFAULT_MIB = 100,
	LAST_WAIT_MS = 3000,
};

const struct cli_option cli_capture_options[] = {
	{"write", 'w', "FILE", "into this pcapng file; -: a pipe.  Else on the terminal"},
	{"filter", 'f', "FILTER", "only what matches, as tcpdump has it: 'tcp port 443'"},
	{"verdict", 'v', "allowed|denied|dropped", "only what was decided like this"},
	{"point", 0, "in|out|both", "as received, as sent, or both (both)"},
	{"packets", 'c', "N", "end after so many packets"},
	{"seconds", 0, "N", "end after so many seconds (600)"},
	{"bytes", 0, "SIZE", "end before the file is longer: 500K, 100M, 2G (100M)"},
	{"snaplen", 's', "N", "at most so many bytes of each frame (all)"},
	{0},
};

/* A capture under way. */
struct receiver {
	struct cli *cli;
	int socket, signals;
	const char *name; /* Of the file; NULL: the packets are printed. */
	struct capture_file file;
	struct cli_table *table;
	uint8_t *message;
	struct json *end; /* The switch's last word, or NULL. */
	uint64_t printed;
	bool stopping;
};

/* --- What is asked for ---------------------------------------------------------------------- */

/* "500K", "100M", "2G", or a number. */
static bool read_size(struct cli *cli, int64_t *bytes)
{
	static const char units[] = "KMGT";
	const char *text = cli_option(cli, "bytes"), *unit;
	unsigned long long int n;
	unsigned int shift = 0;
	char *end;

	if (!text)
		return true;
	errno = 0;
	n = strtoull(text, &end, 10);
	unit = *end ? strchr(units, *end) : NULL;
	if (unit) {
		shift = 10 * (unsigned int)(unit - units + 1);
		end++;
	}
	if (*text < '0' || *text > '9' || *end || errno || !n ||
		n > (unsigned long long int)INT64_MAX >> shift) {
		cli_fail(cli, CLI_USAGE,
			"--bytes '%s': give a number from 1 on, with K, M, G or T behind it for "
			"KiB and so on",
			text);
		return false;
	}
	*bytes = (int64_t)(n << shift);
	return true;
}

static bool put_limits(struct cli *cli, struct json *order)
{
	int64_t packets = 0, seconds = SECONDS_DEFAULT;
	bool writes = cli_option(cli, "write");
	int64_t bytes = writes ? (int64_t)BYTES_DEFAULT_MIB << 20 : 0;
	int64_t snaplen = writes ? SNAPLEN_MAX : SNAPLEN_PRINTED;

	if (!cli_option_number(cli, "packets", 1, INT64_MAX, &packets) ||
		!cli_option_number(cli, "seconds", 1, SECONDS_MAX, &seconds) ||
		!cli_option_number(cli, "snaplen", 1, SNAPLEN_MAX, &snaplen) ||
		!read_size(cli, &bytes))
		return false;
	json_object_put(order, "packets", json_integer_create(packets));
	json_object_put(order, "seconds", json_integer_create(seconds));
	json_object_put(order, "bytes", json_integer_create(bytes));
	json_object_put(order, "snaplen", json_integer_create(snaplen));
	return true;
}

static bool put_filter(struct cli *cli, struct json *order)
{
	const char *text = cli_option(cli, "filter");
	struct json *program;

	json_object_put_string(order, "filter", text ? text : "");
	if (!text)
		return true;
	program = capture_compile(cli, text);
	if (program)
		json_object_put(order, "program", program);
	return program;
}

static void put_choice(
	const struct cli *cli, struct json *order, const char *name, const char *otherwise)
{
	const char *given = cli_option(cli, name);

	json_object_put_string(order, name, given ? given : otherwise);
}

/* Who asks, for the switch's own log and the file. */
static char *asker(void)
{
	const char *user = getenv("SUDO_USER");

	return user ? xasprintf("uid %u (%s, by sudo)", (unsigned int)getuid(), user)
		    : xasprintf("uid %u", (unsigned int)getuid());
}

/* The order as the switch reads it; NULL after a message. */
static struct json *make_order(struct cli *cli)
{
	struct json *order = json_object_create(), *names = json_array_create_empty();

	for (size_t i = 0; i < cli->n_arguments; i++)
		json_array_add(names, json_string_create(cli->arguments[i]));
	json_object_put(order, "names", names);
	json_object_put(order, "who", json_string_create_nocopy(asker()));
	put_choice(cli, order, "point", "both");
	put_choice(cli, order, "verdict", "all");
	json_object_put_string(order, "format", cli_option(cli, "write") ? "pcapng" : "json");
	if (put_limits(cli, order) && put_filter(cli, order))
		return order;
	json_destroy(order);
	return NULL;
}

/* --- The switch ----------------------------------------------------------------------------- */

/* Connects to the socket that the switch has named; -1 after a message. */
static int connect_to(struct cli *cli, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	ovs_strlcpy(address.sun_path, path, sizeof(address.sun_path));
	if (fd >= 0 && !connect(fd, (struct sockaddr *)&address, sizeof(address)))
		return fd;
	cli_fail(cli, CLI_NOT_RUNNING, "%s: %s", path, ovs_strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

/* Asks for the capture and takes the other end of it. */
static enum cli_status begin(struct receiver *receiver)
{
	struct cli *cli = receiver->cli;
	struct json *order = make_order(cli), *answer;
	enum cli_status status;

	if (!order)
		return CLI_USAGE;
	char *text = json_to_string(order, JSSF_SORT);
	const char *words[] = {text};
	json_destroy(order);
	answer = cli_ask_switch(cli, false, &status, "capture/begin", 1, words);
	free(text);
	if (!answer)
		return status;
	receiver->socket = connect_to(cli, cli_json_text(answer, "socket"));
	if (receiver->socket >= 0 && !cli->json && !cli_json_member(answer, "ports")->array.n)
		fprintf(cli->err, "No port is in it at the moment; what comes into it is seen.\n");
	json_destroy(answer);
	return receiver->socket >= 0 ? CLI_OK : CLI_NOT_RUNNING;
}

/* The switch sends what there is, and then its last word. */
static void stop(struct receiver *receiver)
{
	receiver->stopping = true;
	(void)!send(receiver->socket, "stop", 4, MSG_NOSIGNAL);
}

/* --- What comes ----------------------------------------------------------------------------- */

static void take_line(struct receiver *receiver, char *line)
{
	struct json *row = json_from_string(line);

	if (row->type != JSON_OBJECT) {
		json_destroy(row);
	} else if (cli_json_member(row, "end")) {
		receiver->end = row;
	} else {
		cli_table_add(receiver->table, row);
		receiver->printed++;
	}
}

static void take_lines(struct receiver *receiver, char *text)
{
	char *rest = text, *line;

	while ((line = strsep(&rest, "\n")) != NULL)
		if (*line)
			take_line(receiver, line);
	if (receiver->table) {
		cli_table_flush(receiver->table);
		fflush(receiver->cli->out);
	}
}

/* One message.  False if there will be no more, or it could not be written. */
static bool take_message(struct receiver *receiver)
{
	ssize_t n = recv(receiver->socket, receiver->message, MESSAGE_BYTES - 1, 0);

	if (n <= 0)
		return n < 0 && (errno == EINTR || errno == EAGAIN);
	receiver->message[n] = '\0';
	if (receiver->message[0] == '{')
		take_lines(receiver, (char *)receiver->message);
	else if (!capture_file_write(&receiver->file, receiver->message, (size_t)n))
		return false;
	return !receiver->end;
}

/* Takes messages until the last one.  An interrupt asks for it; a second one does not wait. */
static void receive(struct receiver *receiver)
{
	struct pollfd fds[] = {
		{.fd = receiver->socket, .events = POLLIN},
		{.fd = receiver->signals, .events = POLLIN},
		{.fd = receiver->name ? receiver->file.fd : STDOUT_FILENO},
	};

	for (;;) {
		int n = poll(fds, ARRAY_SIZE(fds), receiver->stopping ? LAST_WAIT_MS : -1);
		struct signalfd_siginfo signal;

		if (n == 0 || (n < 0 && errno != EINTR))
			return;
		if (fds[1].revents) {
			(void)!read(receiver->signals, &signal, sizeof(signal));
			if (receiver->stopping)
				return;
			stop(receiver);
		}
		if (fds[2].revents & POLLERR) {
			receiver->file.reader_gone = true;
			return;
		}
		if (fds[0].revents && !take_message(receiver))
			return;
	}
}

/* --- The end -------------------------------------------------------------------------------- */

static const char *end_words(const char *end)
{
	static const struct {
		const char *end, *words;
	} all[] = {
		{"packets", "as many packets as asked for"},
		{"bytes", "the file is as long as it may be (--bytes)"},
		{"seconds", "the time is over (--seconds)"},
		{"stopped", "interrupted"},
		{"switch", "the switch has ended"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		if (!strcmp(all[i].end, end))
			return all[i].words;
	return end;
}

static enum cli_status fail_write(const struct receiver *receiver)
{
	const struct capture_file *file = &receiver->file;
	char packets[CLI_TEXT_MAX], bytes[CLI_TEXT_MAX];

	return cli_fail(receiver->cli, CLI_FAILED,
		"%s: %s; the capture has ended, and the file is whole up to there, with %s "
		"packets in %s",
		file->name, ovs_strerror(file->error), cli_format_count(file->packets, packets),
		cli_format_bytes(file->bytes, bytes));
}

/* What there is, and what was lost. */
static void tell(const struct receiver *receiver)
{
	const struct cli *cli = receiver->cli;
	uint64_t lost = (uint64_t)cli_json_number(receiver->end, "lost");
	uint64_t packets = receiver->name ? receiver->file.packets : receiver->printed;
	char counts[2][CLI_TEXT_MAX];

	fprintf(cli->err, "%s packets%s%s, %s lost; ended: %s.\n",
		cli_format_count(packets, counts[0]), receiver->name ? " in " : "",
		receiver->name ? receiver->file.name : "", cli_format_count(lost, counts[1]),
		receiver->file.reader_gone ? "nobody reads any more"
					   : end_words(cli_json_text(receiver->end, "end")));
	if (lost)
		fprintf(cli->err,
			"What was lost found no room between the switch and here: a --filter, a "
			"--snaplen or a faster disk helps.\n");
}

static enum cli_status conclude(struct receiver *receiver)
{
	struct cli *cli = receiver->cli;
	bool closed = !receiver->name || capture_file_close(&receiver->file);

	if (!closed || receiver->file.error)
		return fail_write(receiver);
	if (!receiver->end && !receiver->file.reader_gone)
		return cli_fail(cli, CLI_NOT_RUNNING,
			"the switch is gone; what it has sent up to then is here");
	if (!cli->json || receiver->name)
		tell(receiver);
	return CLI_OK;
}

/* --- The command ---------------------------------------------------------------------------- */

static int take_signals(void)
{
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	return signalfd(-1, &signals, SFD_CLOEXEC);
}

static enum cli_status run(struct receiver *receiver)
{
	enum cli_status status = begin(receiver);

	if (status == CLI_OK && receiver->name)
		status = capture_file_open(receiver->cli, receiver->name, &receiver->file);
	if (status != CLI_OK)
		return status;
	if (!receiver->name)
		receiver->table = capture_table(receiver->cli);
	receiver->signals = take_signals();
	receive(receiver);
	close(receiver->socket);
	close(receiver->signals);
	if (receiver->table)
		cli_table_finish(receiver->table, NULL);
	return conclude(receiver);
}

enum cli_status cli_capture(struct cli *cli)
{
	struct receiver receiver = {
		.cli = cli, .name = cli_option(cli, "write"), .message = xmalloc(MESSAGE_BYTES)};
	enum cli_status status = run(&receiver);

	json_destroy(receiver.end);
	free(receiver.message);
	return status;
}
