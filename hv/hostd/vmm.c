/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One guest's cordon-vmm (vmm.h).  Called by guest.c on the main thread.
 *
 * One that is found running is taken over by its control socket: the kernel says which process
 * listens there, a pidfd is opened for it, and only an answer that comes after that, with the
 * guest's UUID in it, makes sure that it is this process and this guest.
 */
#include <config.h>

#include "hv/hostd/vmm.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "openvswitch/dynamic-string.h"
#include "openvswitch/poll-loop.h"
#include "openvswitch/vlog.h"
#include "svec.h"
#include "timeval.h"
#include "util.h"

VLOG_DEFINE_THIS_MODULE(vmm);

/* It may go on refusing for as long as it runs. */
static struct vlog_rate_limit refusals = VLOG_RATE_LIMIT_INIT(5, 20);

enum {
	CONNECT_MS = 10,
	RECONNECT_MS = 1000,
	STATUS_MS = 1000,
	STATUS_EAGER_MS = 20,
	SILENT_MS = 30000
};

void vmm_init(struct vmm *vmm, const char *program, const char *directory, const char *uuid)
{
	*vmm = (struct vmm){.presence = VMM_ABSENT};
	vmm->program = xstrdup(program);
	vmm->directory = xstrdup(directory);
	vmm->uuid = xstrdup(uuid);
}

static void hang_up(struct vmm *vmm)
{
	control_client_close(vmm->control);
	vmm->control = NULL;
	vmm->next_connect = time_msec() + RECONNECT_MS;
}

static void forget_process(struct vmm *vmm)
{
	hang_up(vmm);
	detached_close(&vmm->process);
	vmm->presence = VMM_ABSENT;
	vmm->machine = MACHINE_IS_STARTING;
	vmm->linked = vmm->silent = false;
	counts_clear(&vmm->counts);
	free(vmm->balloon.refusal);
	vmm->balloon = (struct vmm_balloon){0};
}

void vmm_destroy(struct vmm *vmm)
{
	forget_process(vmm);
	free(vmm->refusal);
	free(vmm->program);
	free(vmm->directory);
	free(vmm->uuid);
}

/* --- Its command line ----------------------------------------------------------------------- */

static void add(struct svec *words, const char *name, const char *value)
{
	svec_add(words, name);
	svec_add(words, value);
}

static void add_file(struct svec *words, const char *name, const char *directory, const char *file)
{
	svec_add(words, name);
	svec_add_nocopy(words, xasprintf("%s/%s", directory, file));
}

static void add_number(struct svec *words, const char *name, unsigned int number)
{
	svec_add(words, name);
	svec_add_nocopy(words, xasprintf("%u", number));
}

static void add_net(struct svec *words, const char *directory, const struct vm_vnic_wish *vnic)
{
	struct ds text = DS_EMPTY_INITIALIZER;

	ds_put_format(&text, "socket=%s/vnic%u.sock,mac=%s,queues=%u", directory, vnic->position,
		vnic->mac, vnic->queues);
	if (vnic->mtu)
		ds_put_format(&text, ",mtu=%u", vnic->mtu);
	svec_add(words, "--net");
	svec_add_nocopy(words, ds_steal_cstr(&text));
}

static void add_disk(struct svec *words, const char *directory, const struct vm_disk_wish *disk)
{
	struct ds text = DS_EMPTY_INITIALIZER;

	if (vm_disk_needs_daemon(disk))
		ds_put_format(&text, "socket=%s/disk%u.sock", directory, disk->position);
	else if (disk->format == VM_DISK_VHOST_USER)
		ds_put_format(&text, "socket=%s", disk->path);
	else
		ds_put_format(&text, "path=%s,direct=%s", disk->path, disk->direct);
	if (disk->read_only)
		ds_put_cstr(&text, ",readonly=on");
	if (*disk->serial)
		ds_put_format(&text, ",serial=%s", disk->serial);
	svec_add(words, "--disk");
	svec_add_nocopy(words, ds_steal_cstr(&text));
}

char **vmm_arguments(const char *program, const char *directory, const struct vm_wish *wish)
{
	struct svec words = SVEC_EMPTY_INITIALIZER;

	svec_add(&words, program);
	add(&words, "--name", wish->name);
	add(&words, "--uuid", wish->uuid);
	add_number(&words, "--vcpus", wish->vcpus);
	add_number(&words, "--memory", wish->memory_mib);
	add(&words, "--pages", wish->pages);
	add(&words, "--kernel", wish->kernel);
	if (*wish->initrd)
		add(&words, "--initrd", wish->initrd);
	if (*wish->command_line)
		add(&words, "--command-line", wish->command_line);
	if (*wish->cpu_mask)
		add(&words, "--cpu-mask", wish->cpu_mask);
	for (unsigned int i = 0; i < wish->n_vnics; i++)
		add_net(&words, directory, &wish->vnics[i]);
	for (unsigned int i = 0; i < wish->n_disks; i++)
		add_disk(&words, directory, &wish->disks[i]);
	if (!wish->rng)
		svec_add(&words, "--no-rng");
	if (!wish->balloon)
		svec_add(&words, "--no-balloon");
	if (!wish->console)
		svec_add(&words, "--no-console");
	if (wish->split_irqchip)
		add(&words, "--irqchip", "split");
	/* Its output is kept by the VMM, in bounds, for who asks by the control socket. */
	add(&words, "--serial", "none");
	add_file(&words, "--control", directory, "control.sock");
	add_file(&words, "--outcome", directory, "outcome");
	if (*wish->user)
		add(&words, "--user", wish->user);
	svec_add(&words, "--paused");
	svec_terminate(&words);
	return words.names;
}

void vmm_free_arguments(char **arguments)
{
	for (char **one = arguments; *one; one++)
		free(*one);
	free(arguments);
}

/* --- Starting, and finding ------------------------------------------------------------------ */

/* What a former one has left. */
static void remove_files(const struct vmm *vmm, const struct vm_wish *wish)
{
	static const char *const files[] = {"control.sock", "outcome", "log"};
	char *path;

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		path = xasprintf("%s/%s", vmm->directory, files[i]);
		unlink(path);
		free(path);
	}
	for (unsigned int i = 0; i < wish->n_vnics; i++) {
		path = xasprintf("%s/vnic%u.sock", vmm->directory, wish->vnics[i].position);
		unlink(path);
		free(path);
	}
}

void vmm_forget_outcome(const struct vmm *vmm)
{
	char *path = xasprintf("%s/outcome", vmm->directory);

	unlink(path);
	free(path);
}

int vmm_start(struct vmm *vmm, const struct vm_wish *wish, const int *groups, unsigned int n_groups)
{
	char **arguments = vmm_arguments(vmm->program, vmm->directory, wish);
	char *log = xasprintf("%s/log", vmm->directory);
	char *pid_file = xasprintf("%s/pid", vmm->directory);
	struct detached_start start = {.arguments = arguments,
		.log = log,
		.pid_file = pid_file,
		.groups = groups,
		.n_groups = n_groups};
	int error;

	remove_files(vmm, wish);
	error = detached_start(&vmm->process, &start);
	if (!error) {
		vmm->presence = VMM_STARTING;
		vmm->machine = MACHINE_IS_STARTING;
		vmm->started_ms = time_msec();
		vmm->next_connect = 0;
		free(vmm->refusal);
		vmm->refusal = NULL;
		VLOG_INFO("%s: VMM started, process %ld", wish->name, (long int)vmm->process.pid);
	}
	free(pid_file);
	free(log);
	vmm_free_arguments(arguments);
	return error;
}

/* 0 or a negative errno. */
static int connect_control(struct vmm *vmm)
{
	char *path = xasprintf("%s/control.sock", vmm->directory);
	int error = control_client_open(path, &vmm->control);

	free(path);
	if (error)
		return error;
	vmm->next_status = 0;
	vmm->metrics_wanted = true;
	return 0;
}

/* One that does not listen yet is found by its number. */
static bool find_process(struct vmm *vmm)
{
	char *pid_file = xasprintf("%s/pid", vmm->directory);
	char *socket = xasprintf("%s/control.sock", vmm->directory);
	int error = detached_find(&vmm->process, pid_file, socket);

	free(socket);
	free(pid_file);
	return !error;
}

void vmm_probe(struct vmm *vmm)
{
	bool there = !connect_control(vmm) &&
		     !detached_adopt(&vmm->process, control_client_pid(vmm->control));

	if (!there) {
		hang_up(vmm);
		there = find_process(vmm);
		vmm->next_connect = time_msec() + CONNECT_MS;
	}
	if (!there)
		return;
	vmm->presence = VMM_UNKNOWN;
	vmm->started_ms = time_msec();
}

/* --- What it says --------------------------------------------------------------------------- */

static const char *text_of(const struct json *object, const char *name)
{
	const struct json *member = shash_find_data(json_object(object), name);

	return member && member->type == JSON_STRING ? member->string : "";
}

static bool all_linked(const struct json *status)
{
	const struct json *nets = shash_find_data(json_object(status), "nets");

	for (size_t i = 0; nets && nets->type == JSON_ARRAY && i < nets->array.n; i++) {
		const struct json *net = nets->array.elems[i];
		const struct json *connected =
			net->type == JSON_OBJECT ? shash_find_data(json_object(net), "connected")
						 : NULL;

		if (!connected || connected->type != JSON_TRUE)
			return false;
	}
	return true;
}

static void take_status(struct vmm *vmm, const struct json *status)
{
	static const struct {
		const char *name;
		enum vmm_machine machine;
	} states[] = {
		{"starting", MACHINE_IS_STARTING},
		{"running", MACHINE_IS_RUNNING},
		{"paused", MACHINE_IS_PAUSED},
		{"ending", MACHINE_IS_ENDING},
	};
	const char *state = text_of(status, "state");

	if (strcmp(text_of(status, "uuid"), vmm->uuid)) {
		if (vmm->presence != VMM_FOREIGN)
			VLOG_WARN("%s: process %ld is another guest's (%s), and is ended",
				vmm->directory, (long int)vmm->process.pid,
				text_of(status, "uuid"));
		vmm->presence = VMM_FOREIGN;
		return;
	}
	if (vmm->presence == VMM_UNKNOWN)
		VLOG_INFO("%s: VMM taken over, process %ld, guest %s", vmm->directory,
			(long int)vmm->process.pid, state);
	vmm->presence = VMM_PRESENT;
	vmm->silent = false;
	vmm->linked = all_linked(status);
	for (size_t i = 0; i < ARRAY_SIZE(states); i++) {
		if (!strcmp(state, states[i].name))
			vmm->machine = states[i].machine;
	}
}

/* --- Its balloon, among what it counts ------------------------------------------------------ */

static int64_t count_of(const struct json *device, const char *name)
{
	const struct json *counters = shash_find_data(json_object(device), "counters");
	const struct json *count = counters && counters->type == JSON_OBJECT
					   ? shash_find_data(json_object(counters), name)
					   : NULL;

	return count && count->type == JSON_INTEGER && count->integer > 0 ? count->integer : 0;
}

static bool is_balloon(const struct json *device)
{
	return device->type == JSON_OBJECT && !strcmp(text_of(device, "type"), "balloon");
}

static void take_balloon(struct vmm *vmm, const struct json *metrics)
{
	const struct json *devices = shash_find_data(json_object(metrics), "devices");
	struct vmm_balloon *balloon = &vmm->balloon;
	size_t n = devices && devices->type == JSON_ARRAY ? devices->array.n : 0;

	balloon->known = true;
	balloon->present = balloon->driver = false;
	for (size_t i = 0; i < n; i++) {
		const struct json *device = devices->array.elems[i], *driver;

		if (!is_balloon(device))
			continue;
		driver = shash_find_data(json_object(device), "driver");
		balloon->present = true;
		balloon->driver = driver && driver->type == JSON_TRUE;
		balloon->target_bytes = count_of(device, "target-bytes");
		balloon->given_bytes = count_of(device, "actual-bytes");
	}
}

static void take_balloon_answer(struct vmm *vmm, const struct control_answer *answer)
{
	struct vmm_balloon *balloon = &vmm->balloon;

	free(balloon->refusal);
	balloon->refusal = answer->refusal ? xstrdup(answer->refusal) : NULL;
	if (answer->refusal)
		balloon->refused_bytes = vmm->balloon_asked;
	else
		balloon->target_bytes = vmm->balloon_asked;
	vmm->metrics_wanted = true;
}

void vmm_set_balloon(struct vmm *vmm, int64_t bytes)
{
	const struct vmm_balloon *balloon = &vmm->balloon;

	if (!vmm->control || !balloon->present || balloon->target_bytes == bytes ||
		(balloon->refusal && balloon->refused_bytes == bytes) ||
		control_client_waiting(vmm->control, "balloon"))
		return;
	vmm->balloon_asked = bytes;
	control_client_send_number(vmm->control, "balloon", "bytes", bytes);
}

/* --- Any answer ----------------------------------------------------------------------------- */

static void take_answer(struct vmm *vmm, const struct control_answer *answer)
{
	if (!strcmp(answer->command, "balloon")) {
		take_balloon_answer(vmm, answer);
	} else if (answer->refusal) {
		VLOG_WARN_RL(&refusals, "%s: the VMM refuses %s: %s", vmm->directory,
			answer->command, answer->refusal);
		free(vmm->refusal);
		vmm->refusal =
			xasprintf("its VMM refuses %s: %s", answer->command, answer->refusal);
	} else if (!strcmp(answer->command, "resume")) {
		vmm->machine = MACHINE_IS_RUNNING;
	} else if (!strcmp(answer->command, "pause")) {
		vmm->machine = MACHINE_IS_PAUSED;
	} else if (!strcmp(answer->command, "status")) {
		take_status(vmm, answer->json);
	} else if (!strcmp(answer->command, "metrics")) {
		counts_clear(&vmm->counts);
		counts_put_json(&vmm->counts, answer->json);
		take_balloon(vmm, answer->json);
	}
	/* After anything else its state may be another one. */
	if (strcmp(answer->command, "status") && strcmp(answer->command, "metrics"))
		vmm->next_status = 0;
}

static void ask(struct vmm *vmm)
{
	bool eager = vmm->presence == VMM_UNKNOWN || vmm->machine == MACHINE_IS_STARTING ||
		     (vmm->machine == MACHINE_IS_PAUSED && !vmm->linked);
	long long int now = time_msec();

	if (now >= vmm->next_status && !control_client_waiting(vmm->control, "status")) {
		control_client_send(vmm->control, "status");
		vmm->next_status = now + (eager ? STATUS_EAGER_MS : STATUS_MS);
	}
	if (vmm->metrics_wanted && vmm->presence == VMM_PRESENT &&
		!control_client_waiting(vmm->control, "metrics")) {
		control_client_send(vmm->control, "metrics");
		vmm->metrics_wanted = false;
	}
}

static void talk(struct vmm *vmm)
{
	struct control_answer answer;
	int result;

	if (!vmm->control) {
		if (time_msec() < vmm->next_connect)
			return;
		if (connect_control(vmm)) {
			vmm->next_connect =
				time_msec() +
				(vmm->presence == VMM_STARTING || vmm->presence == VMM_UNKNOWN
						? CONNECT_MS
						: RECONNECT_MS);
			vmm->silent |= vmm->presence == VMM_UNKNOWN &&
				       time_msec() >= vmm->started_ms + SILENT_MS;
			return;
		}
	}
	ask(vmm);
	while ((result = control_client_take(vmm->control, &answer)) == 1) {
		take_answer(vmm, &answer);
		json_destroy(answer.json);
		ask(vmm);
	}
	if (result < 0) {
		/* If it has ended, that will be seen in a moment; else it is tried again. */
		vmm->silent |= result != -EPIPE;
		/* One that was found running and does not answer may be told to end all the same,
		 * if its command line says whose it is. */
		if (vmm->silent && vmm->presence == VMM_UNKNOWN &&
			detached_has_word(vmm->process.pid, vmm->uuid))
			vmm->presence = VMM_STARTING;
		hang_up(vmm);
	}
}

bool vmm_run(struct vmm *vmm, struct detached_end *end)
{
	if (vmm->presence == VMM_ABSENT)
		return false;
	talk(vmm);
	if (!detached_ended(&vmm->process, end))
		return false;
	forget_process(vmm);
	return true;
}

void vmm_wait(const struct vmm *vmm)
{
	if (vmm->presence == VMM_ABSENT)
		return;
	detached_wait(&vmm->process);
	if (!vmm->control) {
		poll_timer_wait_until(vmm->next_connect);
		return;
	}
	control_client_wait(vmm->control);
	if (!control_client_waiting(vmm->control, "status"))
		poll_timer_wait_until(vmm->next_status);
	if (vmm->metrics_wanted && vmm->presence == VMM_PRESENT &&
		!control_client_waiting(vmm->control, "metrics"))
		poll_immediate_wake();
}

void vmm_ask_metrics(struct vmm *vmm)
{
	vmm->metrics_wanted = true;
}

bool vmm_owes_metrics(const struct vmm *vmm)
{
	return vmm->presence == VMM_PRESENT && vmm->control &&
	       (vmm->metrics_wanted || control_client_waiting(vmm->control, "metrics"));
}

void vmm_tell(struct vmm *vmm, const char *command)
{
	if (vmm->control && !control_client_waiting(vmm->control, command))
		control_client_send(vmm->control, command);
	else if (!vmm->control && !strcmp(command, "stop"))
		detached_signal(&vmm->process, SIGTERM);
}
