/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is left to a process that has entered the sandbox.  As root it becomes another user; a child
 * that is another user enters by a user namespace, where the host allows that.
 */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "hv/sandbox.h"

enum { SKIPPED = 77, STRANGER = 54321 };

/* Says on stderr what is wrong, and gives the child's exit status. */
#define require(condition)                                                                         \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "line %d: not so: %s (%s)\n", __LINE__, #condition,        \
				strerror(errno));                                                  \
			return 1;                                                                  \
		}                                                                                  \
	} while (0)

static int check_sandbox(uid_t user)
{
	struct rlimit limit;
	struct stat status;
	struct if_nameindex *devices;

	require(getuid() == user && geteuid() == user);
	require(setuid(user + 1) < 0);
	require(stat("/", &status) == 0 && status.st_nlink == 2);
	require(open("/etc/passwd", O_RDONLY) < 0 && errno == ENOENT);
	require(open("/file", O_CREAT | O_WRONLY, 0600) < 0);
	require(mkdir("/folder", 0700) < 0);
	require(chdir("..") == 0 && open("etc", O_RDONLY) < 0 && errno == ENOENT);
	require(mount("none", "/", "tmpfs", 0, NULL) < 0 && errno == EPERM);
	require(chroot("/") < 0 && errno == EPERM);
	devices = if_nameindex();
	require(devices && (!devices[0].if_name ||
				   (!strcmp(devices[0].if_name, "lo") && !devices[1].if_name)));
	require(socket(AF_INET, SOCK_RAW, 255) < 0);
	require(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
	require(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0);
	require(prctl(PR_CAPBSET_READ, 21 /* CAP_SYS_ADMIN */, 0, 0, 0) == 0);
	require(getrlimit(RLIMIT_CORE, &limit) == 0 && limit.rlim_max == 0);
	require(getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_max <= 4096);
	/* stdio is still there. */
	require(write(STDOUT_FILENO, "", 0) == 0);
	return 0;
}

/* Runs `child` in a process of its own: its exit status. */
static int in_a_child(int (*child)(void))
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(child());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int enter(const char *user)
{
	const struct vmm_options options = {.sandbox = true, .user = user, .n_vcpus = 1};
	struct hv_error error;
	int status = sandbox_enter(&options, &error);

	if (status < 0)
		fprintf(stderr, "%s\n", error.text);
	return status;
}

static int as_root(void)
{
	return enter("nobody") < 0 ? 1 : check_sandbox(65534);
}

static int as_a_number(void)
{
	return enter("54321") < 0 ? 1 : check_sandbox(54321);
}

/* The host may forbid user namespaces: then the sentence names the step. */
static int as_a_stranger(void)
{
	int status;

	require(geteuid() != 0 || (setgid(STRANGER) == 0 && setuid(STRANGER) == 0));
	/* Another user's files in /proc are closed to a process that was root's. */
	require(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0);
	status = enter("nobody");
	if (status < 0)
		return status == -EPERM || status == -ENOSPC || status == -EACCES ? SKIPPED : 1;
	return check_sandbox(geteuid());
}

static int as_nobody_known(void)
{
	const struct vmm_options options = {.sandbox = true, .user = "no-such-user", .n_vcpus = 1};
	struct hv_error error;

	require(sandbox_enter(&options, &error) == -ENOENT);
	require(strstr(error.text, "no-such-user") && strstr(error.text, "--user"));
	return 0;
}

static int without(void)
{
	const struct vmm_options options = {.sandbox = false, .user = "nobody"};
	struct hv_error error;
	uid_t before = geteuid();

	require(sandbox_enter(&options, &error) == 0);
	require(geteuid() == before && access("/etc/passwd", R_OK) == 0);
	require(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
	return 0;
}

/* Root without CAP_SYS_ADMIN, as in most containers. */
static int in_a_container(void)
{
	const struct vmm_options options = {.sandbox = true, .user = "nobody", .n_vcpus = 1};
	struct hv_error error;
	struct {
		uint32_t version;
		int pid;
	} header = {0x20080522, 0};
	struct {
		uint32_t effective, permitted, inheritable;
	} none[2] = {{0}};
	extern int capset(void *header, const void *data);

	require(capset(&header, none) == 0);
	require(sandbox_enter(&options, &error) == -EPERM);
	require(strstr(error.text, "cannot be left") && strstr(error.text, "--no-sandbox"));
	return 0;
}

static void test_root_becomes_nobody(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(in_a_child(as_root), 0);
	assert_int_equal(in_a_child(as_a_number), 0);
}

static void test_others_stay_who_they_are(void **state)
{
	int status;

	(void)state;
	status = in_a_child(as_a_stranger);
	if (status == SKIPPED)
		skip();
	assert_int_equal(status, 0);
}

static void test_unknown_users_are_a_sentence(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(in_a_child(as_nobody_known), 0);
}

static void test_without_it_only_privileges_are_fixed(void **state)
{
	(void)state;
	assert_int_equal(in_a_child(without), 0);
}

static void test_a_host_that_forbids_it_is_a_sentence(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(in_a_child(in_a_container), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_root_becomes_nobody),
		cmocka_unit_test(test_others_stay_who_they_are),
		cmocka_unit_test(test_unknown_users_are_a_sentence),
		cmocka_unit_test(test_without_it_only_privileges_are_fixed),
		cmocka_unit_test(test_a_host_that_forbids_it_is_a_sentence),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
