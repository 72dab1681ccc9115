/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cordon vm console`: what a guest writes on its serial port, and what is typed to it.
 *
 * The connection goes to the VMM's own control socket, and carries bytes both ways once it has
 * agreed.  What the guest writes is written as it is to the terminal: a guest may write whatever a
 * program may.  A pipe gets it as well, and what comes from one is typed.
 */
#include "cli/vm.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include "timeval.h"
#include "util.h"

enum { ESCAPE = 0x1d /* Ctrl-] */, ANSWER_BYTES = 4096 };

const struct cli_option cli_vm_console_options[] = {
	{"device", 0, "serial|console", "the serial port, or the virtio console (serial)"},
	{"output-only", 0, NULL, "type nothing: for looking on"},
	{0},
};

/* --- Being connected ------------------------------------------------------------------------ */

static int open_socket(struct cli *cli, const char *path, enum cli_status *status)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int error = 0;

	if (strlen(path) >= sizeof(address.sun_path))
		error = ENAMETOOLONG;
	else
		ovs_strlcpy(address.sun_path, path, sizeof(address.sun_path));
	if (fd < 0 || (!error && connect(fd, (struct sockaddr *)&address, sizeof(address))))
		error = errno;
	if (!error)
		return fd;
	*status = cli_fail(cli, CLI_NOT_RUNNING, "VM %s has no console now (%s: %s); %s",
		cli->arguments[0], path, ovs_strerror(error),
		error == EACCES ? "run this as root"
				: "`cordon vm show` says whether it runs, on which host");
	if (fd >= 0)
		close(fd);
	return -1;
}

/* Reads to the end of the line and no further: what follows is the guest's. */
static bool read_answer(int fd, unsigned int timeout_ms, char text[ANSWER_BYTES])
{
	long long int deadline = time_msec() + timeout_ms;
	size_t n = 0;

	while (n + 1 < ANSWER_BYTES) {
		struct pollfd ready = {.fd = fd, .events = POLLIN};
		long long int left = deadline - time_msec();

		if (left <= 0 || poll(&ready, 1, (int)left) <= 0 || read(fd, text + n, 1) != 1)
			return false;
		if (text[n] == '\n')
			break;
		n++;
	}
	text[n] = '\0';
	return true;
}

static bool ask_for_console(struct cli *cli, int fd, enum cli_status *status)
{
	const char *device = cli_option(cli, "device");
	char *request = xasprintf(
		"{\"command\":\"console\",\"device\":\"%s\"}\n", device ? device : "serial");
	char text[ANSWER_BYTES];
	struct json *answer = NULL;
	bool good = write(fd, request, strlen(request)) == (ssize_t)strlen(request) &&
		    read_answer(fd, cli->timeout_ms, text);

	free(request);
	if (!good) {
		*status = cli_fail(
			cli, CLI_TIMEOUT, "the VMM of %s does not answer", cli->arguments[0]);
		return false;
	}
	answer = json_from_string(text);
	good = cli_json_true(answer, "ok");
	if (!good)
		*status = cli_fail(cli, CLI_FAILED, "VM %s: %s", cli->arguments[0],
			*cli_json_text(answer, "error") ? cli_json_text(answer, "error")
							: "its VMM does not give its console");
	json_destroy(answer);
	return good;
}

/* --- Bytes ---------------------------------------------------------------------------------- */

static bool write_all(int fd, const char *bytes, size_t n)
{
	while (n) {
		ssize_t written = write(fd, bytes, n);

		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
			return false;
		bytes += written;
		n -= (size_t)written;
	}
	return true;
}

/* What is typed, up to the key that leaves; false once it was pressed or nothing more comes. */
static bool pass_input(int fd, bool terminal)
{
	char bytes[1024];
	ssize_t n = read(STDIN_FILENO, bytes, sizeof(bytes));
	const char *escape = terminal && n > 0 ? memchr(bytes, ESCAPE, (size_t)n) : NULL;

	if (n <= 0)
		return false;
	return write_all(fd, bytes, escape ? (size_t)(escape - bytes) : (size_t)n) && !escape;
}

static bool pass_output(int fd)
{
	char bytes[16384];
	ssize_t n = read(fd, bytes, sizeof(bytes));

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return true;
	return n > 0 && write_all(STDOUT_FILENO, bytes, (size_t)n);
}

/* True if the guest has hung up, false if the person has left.  Where a pipe is typed from, its end
 * is not the end of what is to be seen. */
static bool pass(int fd, bool types, bool terminal)
{
	struct pollfd ready[] = {{.fd = fd, .events = POLLIN},
		{.fd = types ? STDIN_FILENO : -1, .events = POLLIN},
		/* That nobody reads on shows in no other way while the guest is silent. */
		{.fd = STDOUT_FILENO, .events = 0}};

	for (;;) {
		if (poll(ready, 3, -1) < 0 && errno != EINTR)
			return true;
		if (ready[0].revents && !pass_output(fd))
			return true;
		if (ready[2].revents & (POLLERR | POLLHUP | POLLNVAL))
			return false;
		if (ready[1].fd >= 0 && ready[1].revents && !pass_input(fd, terminal)) {
			if (terminal)
				return false;
			ready[1].fd = -1;
		}
	}
}

enum cli_status cli_vm_console(struct cli *cli)
{
	char *path = xasprintf("%s/vm/%s/control.sock", cli->run_directory, cli->arguments[0]);
	bool types = !cli_flag(cli, "output-only");
	bool terminal = types && isatty(STDIN_FILENO);
	enum cli_status status = CLI_OK;
	int fd = open_socket(cli, path, &status);
	struct termios before, raw;
	bool ended;

	free(path);
	if (fd < 0)
		return status;
	if (ask_for_console(cli, fd, &status)) {
		fprintf(cli->err, "Connected to VM %s; %s\n", cli->arguments[0],
			terminal ? "Ctrl-] leaves it." : "end this with Ctrl-C.");
		if (terminal && !tcgetattr(STDIN_FILENO, &before)) {
			raw = before;
			cfmakeraw(&raw);
			tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
		} else {
			terminal = false;
		}
		ended = pass(fd, types, terminal);
		if (terminal)
			tcsetattr(STDIN_FILENO, TCSADRAIN, &before);
		fprintf(cli->err, "\n%s\n",
			ended ? "The VM has ended, or its console was closed." : "Left.");
	}
	close(fd);
	return status;
}
