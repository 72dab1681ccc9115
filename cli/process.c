/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding, running and watching other programs.  Called by up.c, down.c, status.c and ask.c.
 */
#include "cli/process.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "openvswitch/dynamic-string.h"
#include "timeval.h"
#include "util.h"

/* --- Is it alive, and is it that? ----------------------------------------------------------- */

/* A process id is used again sooner or later, so the program's name counts as well.  The link also
 * vanishes from a process that has ended but that nobody has collected. */
static bool process_is(pid_t pid, const char *program)
{
	char path[64], target[PATH_MAX];
	const char *name;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%ld/exe", (long int)pid);
	n = readlink(path, target, sizeof(target) - 1);
	if (n < 0)
		return false;
	target[n] = '\0';
	name = strrchr(target, '/');
	name = name ? name + 1 : target;
	/* " (deleted)" follows where the file was replaced by a newer one. */
	return !strncmp(name, program, strlen(program)) &&
	       (!name[strlen(program)] || name[strlen(program)] == ' ');
}

bool cli_process_has_word(pid_t pid, const char *word)
{
	char path[64], words[16384];
	bool found = false;
	FILE *file;
	size_t n;

	snprintf(path, sizeof(path), "/proc/%ld/cmdline", (long int)pid);
	file = fopen(path, "re");
	if (!file)
		return false;
	n = fread(words, 1, sizeof(words) - 1, file);
	words[n] = '\0';
	fclose(file);
	for (const char *one = words; one < words + n && !found; one += strlen(one) + 1)
		found = !strcmp(one, word);
	return found;
}

pid_t cli_process_find(const char *run_directory, const char *program)
{
	char *path = xasprintf("%s/%s.pid", run_directory, program);
	FILE *file = fopen(path, "r");
	long int pid = 0;

	free(path);
	if (!file)
		return 0;
	if (fscanf(file, "%ld", &pid) != 1 || pid <= 1 || !process_is(pid, program))
		pid = 0;
	fclose(file);
	return pid;
}

bool cli_process_wait_end(pid_t pid, const char *program, unsigned int timeout_ms)
{
	long long int deadline = time_msec() + timeout_ms;

	while (process_is(pid, program)) {
		if (time_msec() >= deadline)
			return false;
		nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
	}
	return true;
}

/* --- Where things are ----------------------------------------------------------------------- */

/* The directory of this program, without a slash at the end; the caller frees. */
static char *own_directory(void)
{
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
	char *slash;

	path[n < 0 ? 0 : n] = '\0';
	slash = strrchr(path, '/');
	return slash ? xmemdup0(path, slash - path) : xstrdup(".");
}

/* The first of DIRECTORY/PLACE/NAME that may be used in this way; the caller frees. */
static char *find_beside(const char *const *places, const char *name, int access_mode)
{
	char *directory = own_directory(), *path = NULL;

	for (; *places && !path; places++) {
		path = xasprintf("%s/%s/%s", directory, *places, name);
		if (access(path, access_mode)) {
			free(path);
			path = NULL;
		}
	}
	free(directory);
	return path;
}

char *cli_find_program(const char *name)
{
	static const char *const places[] = {".", "../sbin", "../bin", NULL};
	const char *path = getenv("PATH");
	char *found = find_beside(places, name, X_OK);
	char *directories, *save = NULL;

	if (found)
		return found;
	directories = xasprintf("%s:/usr/local/sbin:/usr/sbin:/sbin", path ? path : "/usr/bin");
	for (char *one = strtok_r(directories, ":", &save); one && !found;
		one = strtok_r(NULL, ":", &save)) {
		found = xasprintf("%s/%s", one, name);
		if (access(found, X_OK)) {
			free(found);
			found = NULL;
		}
	}
	free(directories);
	return found;
}

char *cli_find_schema(void)
{
	static const char *const places[] = {".", "../controller", "../share/cordon", NULL};

	return find_beside(places, "cordon.ovsschema", R_OK);
}

int cli_make_directory(const char *path, mode_t mode)
{
	char *copy = xstrdup(path);
	struct stat status;
	int error = 0;

	for (char *slash = strchr(copy + 1, '/'); slash && !error; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		/* Those on the way belong to the system: the usual mode. */
		if (mkdir(copy, 0755) && errno != EEXIST)
			error = -errno;
		*slash = '/';
	}
	if (!error && mkdir(path, mode)) {
		if (errno != EEXIST)
			error = -errno;
		else if (stat(path, &status) || !S_ISDIR(status.st_mode))
			error = -ENOTDIR;
	}
	free(copy);
	return error;
}

/* --- Running -------------------------------------------------------------------------------- */

static char *read_all(int file)
{
	struct ds text = DS_EMPTY_INITIALIZER;
	char buffer[4096];
	ssize_t n;

	lseek(file, 0, SEEK_SET);
	while ((n = read(file, buffer, sizeof(buffer))) > 0)
		ds_put_buffer(&text, buffer, n);
	while (text.length && (ds_last(&text) == '\n' || ds_last(&text) == ' '))
		ds_truncate(&text, text.length - 1);
	return text.string ? ds_steal_cstr(&text) : xstrdup("");
}

int cli_run_program(char *const arguments[], char **output)
{
	/* A file, not a pipe: a daemon may hold it open for ever. */
	int file = memfd_create("output", MFD_CLOEXEC);
	int status = -1;
	pid_t pid;

	if (file < 0) {
		*output = xasprintf("no room for its output: %s", ovs_strerror(errno));
		return -1;
	}
	pid = fork();
	if (!pid) {
		dup2(file, STDOUT_FILENO);
		dup2(file, STDERR_FILENO);
		execv(arguments[0], arguments);
		dprintf(STDERR_FILENO, "%s cannot be run: %s", arguments[0], strerror(errno));
		_exit(127);
	}
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	*output = pid > 0 ? read_all(file) : xstrdup(ovs_strerror(errno));
	close(file);
	return pid > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
