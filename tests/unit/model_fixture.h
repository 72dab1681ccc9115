/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests of the desired-state model: a real ovsdb-server for each test, on a socket in a
 * directory of its own, with the host "alpha" in it.  Included by tests/unit/model*_test.c only.
 */
#ifndef TESTS_UNIT_MODEL_FIXTURE_H
#define TESTS_UNIT_MODEL_FIXTURE_H

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "controller/model_private.h"
#include "openvswitch/vlog.h"

enum { TIMEOUT_MS = 5000 };

struct fixture {
	char directory[64], socket[96], remote[128], database[96];
	pid_t server;
	struct model *model;
};

static pid_t start(char *const arguments[])
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		execvp(arguments[0], arguments);
		_exit(127);
	}
	return pid;
}

static void start_server(struct fixture *fixture)
{
	char remote[160], control[160];
	struct stat status;

	snprintf(remote, sizeof(remote), "--remote=p%s", fixture->remote);
	snprintf(control, sizeof(control), "--unixctl=%s/ctl", fixture->directory);
	fixture->server = start((char *[]){"ovsdb-server", remote, control, "--no-chdir",
		"-vconsole:off", fixture->database, NULL});
	for (int i = 0; i < 500 && stat(fixture->socket, &status); i++)
		nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	assert_int_equal(stat(fixture->socket, &status), 0);
}

static void stop_server(struct fixture *fixture)
{
	if (!fixture->server)
		return;
	kill(fixture->server, SIGTERM);
	waitpid(fixture->server, NULL, 0);
	fixture->server = 0;
	unlink(fixture->socket);
}

static struct model *open_model(struct fixture *fixture)
{
	struct model_error error;
	struct model *model = model_open(fixture->remote, TIMEOUT_MS, &error);

	if (!model)
		fail_msg("%s", error.message);
	return model;
}

static int set_up(void **state)
{
	const char *schema = getenv("CORDON_SCHEMA");
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	struct model_error error;
	int status;
	pid_t tool;

	vlog_set_levels(NULL, VLF_ANY_DESTINATION, VLL_OFF);
	strcpy(fixture->directory, "/tmp/cordon-model-XXXXXX");
	assert_non_null(mkdtemp(fixture->directory));
	snprintf(fixture->socket, sizeof(fixture->socket), "%s/db.sock", fixture->directory);
	snprintf(fixture->remote, sizeof(fixture->remote), "unix:%s", fixture->socket);
	snprintf(fixture->database, sizeof(fixture->database), "%s/db", fixture->directory);
	tool = start((char *[]){"ovsdb-tool", "create", fixture->database,
		(char *)(schema ? schema : "controller/cordon.ovsschema"), NULL});
	assert_int_equal(waitpid(tool, &status, 0), tool);
	assert_int_equal(status, 0);
	start_server(fixture);
	fixture->model = open_model(fixture);
	assert_int_equal(model_initialize(fixture->model, "alpha", &error), MODEL_OK);
	*state = fixture;
	return 0;
}

static int tear_down(void **state)
{
	static const char *const files[] = {"db", ".db.~lock~", "ctl", "db.sock"};
	struct fixture *fixture = *state;

	model_close(fixture->model);
	stop_server(fixture);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		char path[128];

		snprintf(path, sizeof(path), "%s/%s", fixture->directory, files[i]);
		unlink(path);
	}
	rmdir(fixture->directory);
	free(fixture);
	return 0;
}

/* A change that says nothing but which port is meant. */
static struct model_port_change port_change(const char *name)
{
	return (struct model_port_change){
		.name = name,
		.host = "alpha",
		.spoof_guard = -1,
		.ingress_kbps = -1,
		.mac_limit = -1,
		.storm_pps = -1,
		.connection_limit = -1,
		.half_open_limit = -1,
		.new_connection_limit = -1,
	};
}

#endif
