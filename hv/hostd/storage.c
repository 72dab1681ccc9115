/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Storage daemons of a guest's disks (storage.h).  Called by guest.c on the main thread.
 *
 * What a daemon is to open is given to it as JSON, in which no path can say more than a path.  An
 * image is looked at before: what it names on its own (a backing file, extents) must lie in its own
 * folder (image.c).
 */
#include <config.h>

#include "hv/hostd/storage.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hv/hostd/image.h"
#include "hv/hostd/text_file.h"
#include "hv/hostd/vmm.h"
#include "openvswitch/json.h"
#include "openvswitch/poll-loop.h"
#include "openvswitch/vlog.h"
#include "svec.h"
#include "timeval.h"
#include "util.h"

VLOG_DEFINE_THIS_MODULE(storage);

enum { READY_MS = 10000, LOOK_MS = 10, RESTART_MS = 1000, END_MS = 30000 };

static char *file_of(const char *directory, unsigned int position, const char *suffix)
{
	return xasprintf("%s/disk%u.%s", directory, position, suffix);
}

enum vm_storage storage_state(const struct storage *storage, const struct vm_wish *wish)
{
	unsigned int needed = 0;

	for (unsigned int i = 0; i < wish->n_disks; i++)
		needed += vm_disk_needs_daemon(&wish->disks[i]);
	if (!storage->n)
		return needed ? STORAGE_ABSENT : STORAGE_NOT_NEEDED;
	for (unsigned int i = 0; i < storage->n; i++) {
		if (storage->daemons[i].ending)
			return STORAGE_ENDING;
		if (!storage->daemons[i].ready)
			return STORAGE_STARTING;
	}
	return STORAGE_READY;
}

/* --- The command line ----------------------------------------------------------------------- */

static void add_json(struct svec *words, const char *name, struct json *value)
{
	svec_add(words, name);
	svec_add_nocopy(words, json_to_string(value, JSSF_SORT));
	json_destroy(value);
}

static struct json *file_node(const struct vm_disk_wish *disk)
{
	bool direct = !strcmp(disk->direct, "on");
	struct json *cache = json_object_create(), *node = json_object_create();

	json_object_put(cache, "direct", json_boolean_create(direct));
	json_object_put_string(node, "driver", "file");
	json_object_put_string(node, "node-name", "file");
	json_object_put_string(node, "filename", disk->path);
	json_object_put_string(node, "discard", "unmap");
	json_object_put_string(node, "locking", "on");
	json_object_put(node, "read-only", json_boolean_create(disk->read_only));
	json_object_put(node, "cache", cache);
	return node;
}

static struct json *format_node(const struct vm_disk_wish *disk)
{
	struct json *node = json_object_create();

	json_object_put_string(node, "driver", disk->format == VM_DISK_VMDK ? "vmdk" : "qcow2");
	json_object_put_string(node, "node-name", "disk");
	json_object_put_string(node, "file", "file");
	json_object_put_string(node, "discard", "unmap");
	json_object_put(node, "read-only", json_boolean_create(disk->read_only));
	return node;
}

static struct json *export(
	const char *directory, const struct vm_disk_wish *disk, unsigned int queues)
{
	char *socket = file_of(directory, disk->position, "sock");
	struct json *address = json_object_create(), *node = json_object_create();

	json_object_put_string(address, "type", "unix");
	json_object_put_string(address, "path", socket);
	json_object_put_string(node, "type", "vhost-user-blk");
	json_object_put_string(node, "id", "export");
	json_object_put_string(node, "node-name", "disk");
	json_object_put(node, "addr", address);
	json_object_put(node, "writable", json_boolean_create(!disk->read_only));
	json_object_put(node, "num-queues", json_integer_create(queues));
	free(socket);
	return node;
}

char **storage_arguments(const char *program, const char *directory,
	const struct vm_disk_wish *disk, unsigned int queues)
{
	struct svec words = SVEC_EMPTY_INITIALIZER;

	svec_add(&words, program);
	add_json(&words, "--blockdev", file_node(disk));
	add_json(&words, "--blockdev", format_node(disk));
	add_json(&words, "--export", export(directory, disk, queues));
	svec_add(&words, "--pidfile");
	svec_add_nocopy(&words, file_of(directory, disk->position, "pid"));
	svec_terminate(&words);
	return words.names;
}

/* --- One daemon ----------------------------------------------------------------------------- */

static void remove_files(const char *directory, unsigned int position)
{
	static const char *const suffixes[] = {"sock", "pid", "log"};

	for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
		char *path = file_of(directory, position, suffixes[i]);

		unlink(path);
		free(path);
	}
}

static int start_daemon(struct storage_daemon *daemon, const struct storage_place *place)
{
	char *log = file_of(place->directory, daemon->position, "log");
	struct detached_start start = {.arguments = daemon->arguments,
		.log = log,
		.groups = place->groups,
		.n_groups = place->n_groups};
	int error;

	remove_files(place->directory, daemon->position);
	error = detached_start(&daemon->process, &start);
	daemon->ready = false;
	daemon->deadline = time_msec() + READY_MS;
	free(log);
	return error;
}

/* Its last words, which begin with its name. */
static char *say_why(const struct storage_daemon *daemon, const char *directory)
{
	char *log = file_of(directory, daemon->position, "log");
	char *said = text_file_last_line(log);
	char *why = xasprintf("disk %u: %s", daemon->position,
		*said ? said : "qemu-storage-daemon ended without a word");

	free(said);
	free(log);
	return why;
}

static bool probe_daemon(struct storage_daemon *daemon, const char *directory)
{
	char *pid_file = file_of(directory, daemon->position, "pid");
	char *socket = file_of(directory, daemon->position, "sock");

	/* Only one with this socket on its command line is taken for the daemon. */
	daemon->ready = !detached_find(&daemon->process, pid_file, socket);
	free(socket);
	free(pid_file);
	return daemon->ready;
}

/* --- All of a guest's ----------------------------------------------------------------------- */

static void prepare(
	struct storage *storage, const struct storage_place *place, const struct vm_wish *wish)
{
	storage_destroy(storage);
	for (unsigned int i = 0; i < wish->n_disks; i++) {
		const struct vm_disk_wish *disk = &wish->disks[i];

		if (!vm_disk_needs_daemon(disk))
			continue;
		storage->daemons[storage->n++] = (struct storage_daemon){
			.position = disk->position,
			.arguments = storage_arguments(
				place->program, place->directory, disk, wish->vcpus),
		};
	}
}

int storage_start(struct storage *storage, const struct storage_place *place,
	const struct vm_wish *wish, char **why)
{
	int error = 0;

	for (unsigned int i = 0; i < wish->n_disks; i++) {
		if (!vm_disk_needs_daemon(&wish->disks[i]))
			continue;
		error = image_check(&wish->disks[i], why);
		if (error)
			return error;
	}
	prepare(storage, place, wish);
	for (unsigned int i = 0; i < storage->n && !error; i++) {
		error = start_daemon(&storage->daemons[i], place);
		if (error)
			*why = xasprintf("disk %u: %s cannot be started: %s",
				storage->daemons[i].position, place->program, ovs_strerror(-error));
	}
	if (error)
		storage_stop(storage, place->directory);
	return error;
}

void storage_probe(
	struct storage *storage, const struct storage_place *place, const struct vm_wish *wish)
{
	prepare(storage, place, wish);
	for (unsigned int i = 0; i < storage->n; i++) {
		if (probe_daemon(&storage->daemons[i], place->directory))
			continue;
		/* The guest waits for it, if there is one. */
		storage->daemons[i].restart_at = time_msec();
		storage->daemons[i].ready = true;
	}
}

void storage_end_leftovers(struct storage *storage, const char *directory)
{
	storage_destroy(storage);
	for (unsigned int position = 0; position < VM_DISKS_MAX; position++) {
		struct storage_daemon daemon = {.position = position};

		if (probe_daemon(&daemon, directory))
			storage->daemons[storage->n++] = daemon;
	}
	storage_stop(storage, directory);
}

static bool has_ended(struct storage_daemon *daemon, const char *directory)
{
	struct detached_end end;

	if (detached_ended(&daemon->process, &end) || !daemon->process.pid) {
		remove_files(directory, daemon->position);
		return true;
	}
	if (time_msec() >= daemon->deadline) {
		VLOG_WARN("%s: the storage daemon of disk %u does not end, and is killed",
			directory, daemon->position);
		detached_signal(&daemon->process, SIGKILL);
		daemon->deadline = time_msec() + END_MS;
	}
	return false;
}

/* True once none is left. */
static bool all_have_ended(struct storage *storage, const char *directory)
{
	unsigned int left = 0;

	for (unsigned int i = 0; i < storage->n; i++)
		left += !has_ended(&storage->daemons[i], directory);
	if (!left)
		storage_destroy(storage);
	return !left;
}

static int run_daemon(struct storage_daemon *daemon, const struct storage_place *place, char **why)
{
	struct detached_end end;
	char *pid_file;

	if (!daemon->process.pid) {
		if (time_msec() < daemon->restart_at)
			return 0;
		daemon->restart_at = time_msec() + RESTART_MS;
		return start_daemon(daemon, place) ? 0 : (daemon->ready = true, 0);
	}
	if (detached_ended(&daemon->process, &end)) {
		daemon->restart_at = time_msec() + RESTART_MS;
		if (!daemon->ready) {
			*why = say_why(daemon, place->directory);
			return -ECHILD;
		}
		VLOG_WARN("%s: the storage daemon of disk %u has ended, and is started again",
			place->directory, daemon->position);
		return 0;
	}
	if (daemon->ready)
		return 0;
	pid_file = file_of(place->directory, daemon->position, "pid");
	daemon->ready = !access(pid_file, F_OK);
	free(pid_file);
	if (daemon->ready || time_msec() < daemon->deadline)
		return 0;
	*why = xasprintf("disk %u: %s is not ready after %d s", daemon->position, place->program,
		READY_MS / 1000);
	return -ETIMEDOUT;
}

int storage_run(struct storage *storage, const struct storage_place *place, char **why)
{
	if (storage->n && storage->daemons[0].ending) {
		all_have_ended(storage, place->directory);
		return 0;
	}
	for (unsigned int i = 0; i < storage->n; i++) {
		int error = run_daemon(&storage->daemons[i], place, why);

		if (error)
			return error;
	}
	return 0;
}

void storage_wait(const struct storage *storage)
{
	for (unsigned int i = 0; i < storage->n; i++) {
		const struct storage_daemon *daemon = &storage->daemons[i];

		detached_wait(&daemon->process);
		if (daemon->ending)
			poll_timer_wait_until(daemon->deadline);
		else if (!daemon->process.pid)
			poll_timer_wait_until(daemon->restart_at);
		else if (!daemon->ready)
			poll_timer_wait(LOOK_MS);
	}
}

void storage_stop(struct storage *storage, const char *directory)
{
	for (unsigned int i = 0; i < storage->n; i++) {
		struct storage_daemon *daemon = &storage->daemons[i];

		/* It finishes what it has begun. */
		detached_signal(&daemon->process, SIGTERM);
		daemon->ending = true;
		daemon->deadline = time_msec() + END_MS;
	}
	all_have_ended(storage, directory);
}

void storage_destroy(struct storage *storage)
{
	for (unsigned int i = 0; i < storage->n; i++) {
		detached_close(&storage->daemons[i].process);
		if (storage->daemons[i].arguments) /* One that was left over has none. */
			vmm_free_arguments(storage->daemons[i].arguments);
	}
	*storage = (struct storage){0};
}
