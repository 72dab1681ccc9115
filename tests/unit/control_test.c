/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket: what is answered to good and bad lines, and that no client, whatever it does,
 * stops the others.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "hv/balloon.h"
#include "hv/control.h"

enum { WAIT_MS = 10000, MEMORY = 64 << 20 };

struct fixture {
	char path[64];
	const char *paths[1];
	struct machine machine;
	struct vmm_options options;
	struct broker *broker;
	struct control_subject subject;
	struct control *control;
	pthread_t thread;
};

/* The transport's: this balloon is on none. */
void virtio_device_config_changed(struct virtio_device *device)
{
	(void)device;
}

void virtio_device_fail(struct virtio_device *device, const char *reason)
{
	(void)device, (void)reason;
}

uint64_t virtio_device_interrupts_refused(const struct virtio_device *device)
{
	(void)device;
	return 3;
}

const char *virtio_device_failure(const struct virtio_device *device)
{
	(void)device;
	return "a queue was \xff broken";
}

static void *run(void *loop)
{
	event_loop_run(loop);
	return NULL;
}

/* A machine without processors, with a balloon and a serial port's terminal. */
static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	struct machine *machine = &fixture->machine;

	snprintf(fixture->path, sizeof(fixture->path), "/tmp/control-test.%d", getpid());
	fixture->paths[0] = fixture->path;
	assert_int_equal(broker_start(&fixture->broker, fixture->paths, 1, NULL, NULL), 0);
	pthread_mutex_init(&machine->lock, NULL);
	pthread_cond_init(&machine->vcpus_changed, NULL);
	machine->state = MACHINE_RUNNING;
	assert_int_equal(event_loop_create(&machine->loop, &machine->lock), 0);
	assert_int_equal(guest_memory_create(&machine->memory, MEMORY, GUEST_PAGES_SMALL, NULL), 0);
	fixture->options = (struct vmm_options){.name = "web1", .control = fixture->path};
	fixture->subject = (struct control_subject){
		.machine = machine, .options = &fixture->options, .n_devices = 1};
	assert_int_equal(
		terminal_create(&fixture->subject.serial, "serial port", machine->loop), 0);
	assert_int_equal(
		balloon_create(&fixture->subject.devices[0], &machine->memory, machine->loop), 0);
	assert_int_equal(
		control_create(&fixture->control, &fixture->subject, fixture->broker, NULL), 0);
	assert_int_equal(pthread_create(&fixture->thread, NULL, run, machine->loop), 0);
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;
	struct virtio_device *balloon = fixture->subject.devices[0];

	event_loop_stop(fixture->machine.loop);
	pthread_join(fixture->thread, NULL);
	control_destroy(fixture->control);
	balloon->type->destroy(balloon);
	terminal_destroy(fixture->subject.serial);
	event_loop_destroy(fixture->machine.loop);
	guest_memory_destroy(&fixture->machine.memory);
	broker_destroy(fixture->broker);
	free(fixture);
	return 0;
}

/* --- A client --- */

static int enter(struct fixture *fixture)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval limit = {.tv_sec = WAIT_MS / 1000};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, fixture->path);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	return fd;
}

/* The next line, or "" at the end. */
static const char *hear(int fd)
{
	static char line[16384];
	size_t n = 0;

	while (n < sizeof(line) - 1 && (n == 0 || line[n - 1] != '\n')) {
		ssize_t got = recv(fd, line + n, 1, 0);

		if (got == 0)
			break;
		assert_int_equal(got, 1);
		n++;
	}
	line[n] = 0;
	return line;
}

static const char *ask(int fd, const char *line)
{
	assert_int_equal(send(fd, line, strlen(line), MSG_NOSIGNAL), strlen(line));
	assert_int_equal(send(fd, "\n", 1, MSG_NOSIGNAL), 1);
	return hear(fd);
}

static void expect(int fd, const char *line, const char *answer)
{
	const char *given = ask(fd, line);

	if (!strstr(given, answer))
		fail_msg("'%s' is answered '%s', without '%s'", line, given, answer);
}

/* --- Lines --- */

static const struct {
	const char *line, *answer;
} answers[] = {
	{"{\"command\":\"pause\"}", "{\"ok\":true}\n"},
	{"{\"command\":\"pause\"}", "the guest is paused"},
	{"{\"command\":\"power-button\"}", "the guest is paused, so that"},
	{"{\"command\":\"resume\"}", "{\"ok\":true}\n"},
	{"{\"command\":\"resume\"}", "\"ok\":false"},
	{" {\t\"command\" : \"help\" }\r", "\"argument\":\"bytes\""},
	{"{\"command\":\"balloon\",\"bytes\":1048576}", "{\"ok\":true}\n"},
	{"{\"command\":\"balloon\",\"bytes\":67108864}", "has 67108864 bytes of memory"},
	{"{\"command\":\"balloon\",\"bytes\":-1}", "'bytes' must be"},
	{"{\"command\":\"balloon\",\"bytes\":1.5}", "'bytes' must be"},
	{"{\"command\":\"balloon\",\"bytes\":\"1\"}", "'bytes' must be"},
	{"{\"command\":\"balloon\",\"bytes\":99999999999999999999}", "no JSON"},
	{"{\"command\":\"balloon\"}", "'bytes' must be"},
	{"{\"command\":\"console\",\"device\":\"console\"}", "no virtio console"},
	{"{\"command\":\"console\",\"device\":\"tape\"}", "'device' must be"},
	{"{\"command\":\"console\",\"device\":7}", "'device' must be"},
	/* Not commands. */
	{"", "no JSON"},
	{"status", "no JSON"},
	{"{", "no JSON"},
	{"{\"command\":\"status\"} {}", "no JSON"},
	{"{\"command\":\"status\",\"command\":\"stop\"}", "no JSON"},
	{"{\"command\":\"\xff\"}", "no JSON"},
	{"{\"command\":\"a\\u0000b\"}", "no JSON"},
	{"[]", "a member"},
	{"null", "no JSON"},
	{"{}", "a member"},
	{"{\"command\":5}", "a member"},
	{"{\"command\":\"reboot\"}",
		"there is no command 'reboot'; commands are status, metrics, pause, resume, "
		"power-button, stop, balloon, console, help"},
	{"{\"command\":\"stop\",\"force\":true}", "knows no 'force', and nothing else"},
	{"{\"command\":\"balloon\",\"byte\":1}", "knows no 'byte', but 'bytes'"},
	/* Cut in the middle of a letter, the sentence is still JSON. */
	{"{\"command\":\"xéééééééééééééééééééééééééééééééééééé\"}", "there is no command 'x?"},
};

static void test_each_line_has_its_answer(void **state)
{
	struct fixture *fixture = *state;
	int fd = enter(fixture);

	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++)
		expect(fd, answers[i].line, answers[i].answer);
	close(fd);
}

static void test_status_and_metrics(void **state)
{
	struct fixture *fixture = *state;
	int fd = enter(fixture);

	expect(fd, "{\"command\":\"status\"}", "{\"ok\":true,\"name\":\"web1\",\"version\":");
	expect(fd, "{\"command\":\"status\"}", "\"state\":\"running\"");
	expect(fd, "{\"command\":\"status\"}",
		"\"memory_bytes\":67108864,\"huge_pages\":false,"
		"\"nets\":[],\"disks\":[],\"balloon_bytes\":0}");
	expect(fd, "{\"command\":\"metrics\"}", "\"type\":\"balloon\",\"driver\":false");
	expect(fd, "{\"command\":\"metrics\"}", "\"failure\":\"a queue was ? broken\"");
	expect(fd, "{\"command\":\"metrics\"}", "\"interrupts_refused\":3");
	expect(fd, "{\"command\":\"metrics\"}", "\"name\":\"serial\",\"clients\":0");
	close(fd);
}

static void test_stop_is_answered_before_the_end(void **state)
{
	struct fixture *fixture = *state;
	int fd = enter(fixture);

	expect(fd, "{\"command\":\"stop\"}", "{\"ok\":true}\n");
	pthread_mutex_lock(&fixture->machine.lock);
	assert_int_equal(fixture->machine.outcome, MACHINE_STOPPED);
	pthread_mutex_unlock(&fixture->machine.lock);
	close(fd);
}

static void test_a_console_is_a_cable(void **state)
{
	struct fixture *fixture = *state;
	struct machine *machine = &fixture->machine;
	int fd = enter(fixture);
	char typed[16];
	size_t n = 0;

	pthread_mutex_lock(&machine->lock);
	terminal_write(fixture->subject.serial, "login:\n", 7);
	pthread_mutex_unlock(&machine->lock);
	/* What is behind the command's line is typed already. */
	expect(fd, "{\"command\":\"console\"}\nroot", "{\"ok\":true}\n");
	assert_string_equal(hear(fd), "login:\n");
	for (int i = 0; i < WAIT_MS && n < 5; i++) {
		pthread_mutex_lock(&machine->lock);
		n += terminal_read(fixture->subject.serial, typed + n, sizeof(typed) - n);
		pthread_mutex_unlock(&machine->lock);
		poll(NULL, 0, 1);
	}
	assert_int_equal(n, 5);
	assert_memory_equal(typed, "root\n", 5);
	close(fd);
}

/* --- Clients --- */

static void test_who_has_said_everything_is_still_answered(void **state)
{
	struct fixture *fixture = *state;
	int fd = enter(fixture);
	static const char lines[] = "{\"command\":\"pause\"}\n{\"command\":\"resume\"}";

	assert_int_equal(send(fd, lines, strlen(lines), 0), strlen(lines));
	shutdown(fd, SHUT_WR);
	assert_string_equal(hear(fd), "{\"ok\":true}\n");
	assert_string_equal(hear(fd), "{\"ok\":true}\n");
	assert_string_equal(hear(fd), "");
	close(fd);
}

static void test_a_line_without_end_is_refused(void **state)
{
	struct fixture *fixture = *state;
	int fd = enter(fixture);
	char line[CONTROL_LINE_BYTES];

	memset(line, ' ', sizeof(line));
	assert_int_equal(send(fd, line, sizeof(line), 0), sizeof(line));
	assert_string_equal(
		hear(fd), "{\"ok\":false,\"error\":\"a line has at most 4095 bytes\"}\n");
	assert_string_equal(hear(fd), "");
	close(fd);
}

static void test_who_does_not_listen_stops_nobody(void **state)
{
	struct fixture *fixture = *state;
	int deaf = enter(fixture), other = enter(fixture);
	static const char line[] = "{\"command\":\"help\"}\n";

	/* Until nothing is taken from it any more. */
	for (int idle = 0; idle < 100;) {
		ssize_t sent = send(deaf, line, strlen(line), MSG_DONTWAIT | MSG_NOSIGNAL);

		idle = sent < 0 ? idle + 1 : 0;
		if (sent < 0)
			poll(NULL, 0, 1);
	}
	expect(other, "{\"command\":\"pause\"}", "{\"ok\":true}\n");
	close(deaf);
	close(other);
}

static void test_clients_are_bounded(void **state)
{
	struct fixture *fixture = *state;
	int fds[CONTROL_CLIENTS], late;

	for (int i = 0; i < CONTROL_CLIENTS; i++) {
		fds[i] = enter(fixture);
		expect(fds[i], "{}", "a member");
	}
	late = enter(fixture);
	assert_non_null(strstr(hear(late), "too many clients"));
	close(late);
	/* One goes, and there is room. */
	close(fds[0]);
	for (int i = 0; i < WAIT_MS; i++) {
		fds[0] = enter(fixture);
		if (strstr(ask(fds[0], "{}"), "a member"))
			break;
		close(fds[0]);
	}
	expect(fds[0], "{}", "a member");
	for (int i = 0; i < CONTROL_CLIENTS; i++)
		close(fds[i]);
}

#define story(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		story(test_each_line_has_its_answer),
		story(test_status_and_metrics),
		story(test_stop_is_answered_before_the_end),
		story(test_a_console_is_a_cable),
		story(test_who_has_said_everything_is_still_answered),
		story(test_a_line_without_end_is_refused),
		story(test_who_does_not_listen_stops_nobody),
		story(test_clients_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
