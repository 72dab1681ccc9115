/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `cordon status` says of guests.  They outlive cordon-hostd, the switch and the database, so
 * each of these is asked, and last of all the run directory: which VMMs are there.
 */
#include "cli/process.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "openvswitch/dynamic-string.h"
#include "svec.h"
#include "util.h"

enum { NAMES_SHOWN = 5 };

/* --- From the run directory ----------------------------------------------------------------- */

/* The process whose number it has left there, if that is its VMM still: 0 if not. */
static pid_t vmm_of(const char *directory)
{
	char *pid_path = xasprintf("%s/pid", directory);
	char *word = xasprintf("%s/control.sock", directory);
	FILE *file = fopen(pid_path, "re");
	long int pid = 0;

	if (file && (fscanf(file, "%ld", &pid) != 1 || pid <= 1 ||
			    !cli_process_has_word((pid_t)pid, word)))
		pid = 0;
	if (file)
		fclose(file);
	free(word);
	free(pid_path);
	return (pid_t)pid;
}

static pid_t vmm_pid(const struct cli *cli, const char *name)
{
	char *directory = xasprintf("%s/vm/%s", cli->run_directory, name);
	pid_t pid = vmm_of(directory);

	free(directory);
	return pid;
}

/* The names of all guests that have a directory, in their order. */
static void find_directories(const struct cli *cli, struct svec *names)
{
	char *path = xasprintf("%s/vm", cli->run_directory);
	DIR *directory = opendir(path);
	const struct dirent *entry;

	while (directory && (entry = readdir(directory))) {
		if (*entry->d_name != '.')
			svec_add(names, entry->d_name);
	}
	if (directory)
		closedir(directory);
	free(path);
}

/* --- As JSON -------------------------------------------------------------------------------- */

static struct json *guest_json(const char *name, const char *state, const char *error, int64_t pid)
{
	struct json *object = json_object_create();

	json_object_put_string(object, "name", name);
	if (*state)
		json_object_put_string(object, "state", state);
	if (*error)
		json_object_put_string(object, "error", error);
	json_object_put(object, "running", json_boolean_create(pid > 0));
	if (pid > 0)
		json_object_put(object, "pid", json_integer_create(pid));
	return object;
}

static struct json *from_hostd(const struct json *hostd)
{
	const struct json *guests = cli_json_member(hostd, "guests");
	struct json *list = json_array_create_empty();

	for (size_t i = 0; guests && guests->type == JSON_ARRAY && i < guests->array.n; i++) {
		const struct json *guest = guests->array.elems[i];

		json_array_add(list,
			guest_json(cli_json_text(guest, "name"), cli_json_text(guest, "state"),
				cli_json_text(guest, "error"), cli_json_number(guest, "pid")));
	}
	return list;
}

/* The state is what was observed last; whether it runs is seen. */
static struct json *from_rows_and_directories(struct cli *cli, struct model *model)
{
	struct svec names = SVEC_EMPTY_INITIALIZER;
	struct json *list = json_array_create_empty();
	const struct cordonrec_vm *vm;
	const char *name;
	size_t i;

	find_directories(cli, &names);
	if (model) {
		CORDONREC_VM_FOR_EACH(vm, model_idl(model))
		{
			if (vm->host && !strcmp(vm->host->name, cli->host))
				svec_add(&names, vm->name);
		}
	}
	svec_sort_unique(&names);
	SVEC_FOR_EACH (i, name, &names) {
		pid_t pid = vmm_pid(cli, name);

		vm = model ? model_vm(model, cli->host, name) : NULL;
		if (vm || pid)
			json_array_add(list, guest_json(name, vm && vm->state ? vm->state : "",
						     vm && vm->error ? vm->error : "", pid));
	}
	svec_destroy(&names);
	return list;
}

struct json *cli_status_guests(struct cli *cli, struct model *model, const struct json *hostd)
{
	struct json *list = hostd ? from_hostd(hostd) : from_rows_and_directories(cli, model);

	cli_json_sort(list, "name");
	return list;
}

/* --- As a line ------------------------------------------------------------------------------ */

static size_t count_running(const struct json *guests)
{
	size_t n = 0;

	for (size_t i = 0; i < guests->array.n; i++)
		n += cli_json_true(guests->array.elems[i], "running");
	return n;
}

/* " (web1, db1)", a few of them; nothing if none runs. */
static void put_names(struct ds *text, const struct json *guests)
{
	size_t running = count_running(guests), n = 0;

	for (size_t i = 0; i < guests->array.n && n < NAMES_SHOWN; i++) {
		if (cli_json_true(guests->array.elems[i], "running"))
			ds_put_format(text, "%s%s", n++ ? ", " : " (",
				cli_json_text(guests->array.elems[i], "name"));
	}
	if (running > n)
		ds_put_format(text, " and %zu more", running - n);
	ds_put_cstr(text, n ? ")" : "");
}

static void put_hostd(
	struct ds *text, const struct cli *cli, const struct json *hostd, size_t running)
{
	pid_t pid = cli_process_find(cli->run_directory, CLI_HOSTD);

	if (cli_json_true(hostd, "leaving"))
		ds_put_cstr(text, running ? "; all are being shut down"
					  : "; all are shut down, `cordon up` starts them");
	else if (hostd)
		ds_put_format(text, ", cordon-hostd is process %lld",
			(long long int)cli_json_number(hostd, "pid"));
	else if (pid)
		ds_put_format(text, "; cordon-hostd, process %ld, does not answer", (long int)pid);
	else
		ds_put_format(text, "; cordon-hostd does not run in %s, `cordon up` starts it",
			cli->run_directory);
}

char *cli_status_guests_line(const struct cli *cli, const struct json *guests,
	const struct json *hostd, bool switch_runs)
{
	size_t running = count_running(guests), n = guests->array.n;
	struct ds text = DS_EMPTY_INITIALIZER;

	if (!hostd && !n)
		return NULL;
	ds_put_format(&text, "%zu run%s of %zu", running, running == 1 ? "s" : "", n);
	if (!hostd || !switch_runs)
		put_names(&text, guests);
	if (running && !switch_runs)
		ds_put_cstr(&text, ", without a network");
	put_hostd(&text, cli, hostd, running);
	return ds_steal_cstr(&text);
}
