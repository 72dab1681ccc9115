/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a killed daemon has left is removed, and nothing else.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/stale_sockets.h"

struct fixture {
	char folder[40];
	int descriptor;
};

static int set_up(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	strcpy(fixture->folder, "/tmp/stale-sockets-test.XXXXXX");
	assert_non_null(mkdtemp(fixture->folder));
	fixture->descriptor = open(fixture->folder, O_RDONLY | O_DIRECTORY);
	*state = fixture;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;

	close(fixture->descriptor);
	assert_int_equal(rmdir(fixture->folder), 0);
	free(fixture);
	return 0;
}

/* A socket of this name: its descriptor.  Whoever closes it leaves the name behind. */
static int listen_at(const struct fixture *fixture, const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s", fixture->folder, name);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 1), 0);
	return fd;
}

static bool take_away(const struct fixture *fixture, const char *name)
{
	return unlinkat(fixture->descriptor, name, 0) == 0;
}

static void what_is_stale_and_own_is_removed(void **state)
{
	const struct fixture *fixture = *state;
	int self = listen_at(fixture, "cordon-switchd.77.ctl");

	close(listen_at(fixture, "cordon-switchd.123.ctl"));
	close(listen_at(fixture, "cordon-switchd.4194304.ctl"));
	assert_int_equal(stale_sockets_remove(fixture->folder, "cordon-switchd"), 2);
	assert_false(take_away(fixture, "cordon-switchd.123.ctl"));
	assert_false(take_away(fixture, "cordon-switchd.4194304.ctl"));
	/* Somebody listens there. */
	assert_true(take_away(fixture, "cordon-switchd.77.ctl"));
	close(self);
}

static void everything_else_stays(void **state)
{
	static const char *const others[] = {"cordon-hostd.123.ctl", "cordon-switchd.ctl",
		"cordon-switchd..ctl", "cordon-switchd.12a.ctl", "cordon-switchd.12.ctl2",
		"cordon-switchd.12", "cordon-switchd2.12.ctl", "xcordon-switchd.12.ctl"};
	const struct fixture *fixture = *state;

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		close(listen_at(fixture, others[i]));
	/* A file, and a link to a socket. */
	close(openat(fixture->descriptor, "cordon-switchd.5.ctl", O_WRONLY | O_CREAT, 0600));
	assert_int_equal(
		symlinkat("cordon-hostd.123.ctl", fixture->descriptor, "cordon-switchd.6.ctl"), 0);
	assert_int_equal(stale_sockets_remove(fixture->folder, "cordon-switchd"), 0);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		assert_true(take_away(fixture, others[i]));
	assert_true(take_away(fixture, "cordon-switchd.5.ctl"));
	assert_true(take_away(fixture, "cordon-switchd.6.ctl"));
}

static void no_directory_is_an_error(void **state)
{
	(void)state;
	assert_int_equal(stale_sockets_remove("/no/such/folder", "cordon-switchd"), -ENOENT);
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(what_is_stale_and_own_is_removed),
		STORY(everything_else_stays),
		cmocka_unit_test(no_directory_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
