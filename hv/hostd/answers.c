/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers of cordon-hostd to `cordon` and ovs-appctl, as JSON.  Main thread.
 *
 *	cordon/status		how it is, and a line for each guest
 *	cordon/stop-guests	ends all guests, which stay as they are wanted
 */
#include <config.h>

#include "hv/hostd/hostd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "openvswitch/json.h"
#include "openvswitch/vlog.h"
#include "ovsdb-idl.h"
#include "timeval.h"
#include "unixctl.h"
#include "util.h"

VLOG_DEFINE_THIS_MODULE(answers);

static void put_number(struct json *object, const char *name, long long int value)
{
	json_object_put(object, name, json_integer_create(value));
}

static struct json *guest_json(const struct guest *guest)
{
	struct json *object = json_object_create();

	json_object_put_string(object, "name", guest->wish.name);
	json_object_put_string(object, "uuid", guest->wish.uuid);
	json_object_put_string(object, "state", vm_state_name(guest->state));
	json_object_put_string(object, "directory", guest->directory);
	put_number(object, "since_ms", guest->since_ms);
	put_number(object, "restarts", guest->restarts);
	if (guest->vmm.process.pid)
		put_number(object, "pid", guest->vmm.process.pid);
	if (guest->error)
		json_object_put_string(object, "error", guest->error);
	if (guest->has_outcome)
		json_object_put_string(object, "last_outcome", vm_outcome_name(guest->outcome));
	json_object_put(object, "deleted", json_boolean_create(guest->deleted));
	return object;
}

/* Why no guest can run here, or NULL; the caller frees. */
static char *kvm_trouble(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	char *text = NULL;

	if (fd < 0)
		text = xasprintf(
			"guests cannot run on this host: /dev/kvm: %s", ovs_strerror(errno));
	else
		close(fd);
	return text;
}

static struct json *warnings_json(const struct hostd *hostd)
{
	struct json *warnings = json_array_create_empty();
	char *trouble = shash_is_empty(&hostd->guests) ? NULL : kvm_trouble();
	const struct shash_node *node;

	if (trouble)
		json_array_add(warnings, json_string_create_nocopy(trouble));
	if (access(hostd->options->vmm, X_OK))
		json_array_add(warnings,
			json_string_create_nocopy(
				xasprintf("guests cannot be started: %s: %s; install Cordon again",
					hostd->options->vmm, ovs_strerror(errno))));
	SHASH_FOR_EACH (node, &hostd->guests) {
		const struct guest *guest = node->data;

		if (guest->error && guest->state != VM_STOPPED && guest->state != VM_ENDED)
			json_array_add(warnings,
				json_string_create_nocopy(
					xasprintf("VM %s is %s: %s", guest->wish.name,
						vm_state_name(guest->state), guest->error)));
	}
	return warnings;
}

static void reply(struct unixctl_conn *conn, struct json *json)
{
	char *text = json_to_string(json, JSSF_SORT);

	unixctl_command_reply(conn, text);
	free(text);
	json_destroy(json);
}

static void answer_status(struct unixctl_conn *conn, int argc, const char *argv[], void *hostd_)
{
	const struct hostd *hostd = hostd_;
	const struct shash_node **nodes = shash_sort(&hostd->guests);
	struct json *object = json_object_create(), *guests = json_array_create_empty();
	long long int alive = 0;

	(void)argc;
	(void)argv;
	for (size_t i = 0; i < shash_count(&hostd->guests); i++) {
		const struct guest *guest = nodes[i]->data;

		alive += guest_is_alive(guest);
		json_array_add(guests, guest_json(guest));
	}
	free(nodes);
	put_number(object, "pid", getpid());
	json_object_put_string(object, "version", CORDON_VERSION);
	json_object_put_string(object, "host", hostd->options->host);
	put_number(object, "uptime_s", (time_msec() - hostd->started_ms) / 1000);
	json_object_put(object, "database_connected",
		json_boolean_create(ovsdb_idl_is_connected(hostd->idl)));
	json_object_put_string(object, "control_groups", cgroups_describe(hostd->cgroups));
	json_object_put(object, "leaving", json_boolean_create(hostd->leaving));
	put_number(object, "alive", alive);
	json_object_put(object, "guests", guests);
	json_object_put(object, "warnings", warnings_json(hostd));
	reply(conn, object);
}

static void answer_stop_guests(
	struct unixctl_conn *conn, int argc, const char *argv[], void *hostd_)
{
	struct hostd *hostd = hostd_;

	(void)argc;
	(void)argv;
	VLOG_INFO("all guests are ended");
	hostd->leaving = true;
	reply(conn, json_object_create());
}

void answers_register(struct hostd *hostd)
{
	unixctl_command_register("cordon/status", "", 0, 0, answer_status, hostd);
	unixctl_command_register("cordon/stop-guests", "", 0, 0, answer_stop_guests, hostd);
}
