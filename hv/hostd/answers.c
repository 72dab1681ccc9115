/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers of cordon-hostd to `cordon` and ovs-appctl, as JSON.  Main thread.
 *
 *	cordon/status		how it is, and a line for each guest
 *	cordon/stop-guests	ends all guests, which stay as they are wanted, and starts none: for
 *				so many seconds, in which it is to be said again, or for good
 *	cordon/start-guests	takes that back
 */
#include <config.h>

#include "hv/hostd/hostd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "openvswitch/json.h"
#include "openvswitch/vlog.h"
#include "ovsdb-idl.h"
#include "timeval.h"
#include "unixctl.h"
#include "util.h"

VLOG_DEFINE_THIS_MODULE(answers);

enum { LEAVE_SECONDS_MAX = 3600 };

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
	else if (ioctl(fd, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
		text = xstrdup("guests cannot run on this host: /dev/kvm is not KVM");
	if (fd >= 0)
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

static long long int count_alive(const struct hostd *hostd)
{
	const struct shash_node *node;
	long long int alive = 0;

	SHASH_FOR_EACH (node, &hostd->guests)
		alive += guest_is_alive(node->data);
	return alive;
}

static void answer_status(struct unixctl_conn *conn, int argc, const char *argv[], void *hostd_)
{
	const struct hostd *hostd = hostd_;
	const struct shash_node **nodes = shash_sort(&hostd->guests);
	struct json *object = json_object_create(), *guests = json_array_create_empty();

	(void)argc;
	(void)argv;
	for (size_t i = 0; i < shash_count(&hostd->guests); i++)
		json_array_add(guests, guest_json(nodes[i]->data));
	free(nodes);
	put_number(object, "pid", getpid());
	json_object_put_string(object, "version", CORDON_VERSION);
	json_object_put_string(object, "host", hostd->options->host);
	put_number(object, "uptime_s", (time_msec() - hostd->started_ms) / 1000);
	json_object_put(object, "database_connected",
		json_boolean_create(ovsdb_idl_is_connected(hostd->idl)));
	json_object_put_string(object, "control_groups", cgroups_describe(hostd->cgroups));
	json_object_put(object, "leaving", json_boolean_create(hostd_is_leaving(hostd)));
	put_number(object, "alive", count_alive(hostd));
	json_object_put(object, "guests", guests);
	json_object_put(object, "warnings", warnings_json(hostd));
	reply(conn, object);
}

static void leave(struct hostd *hostd, long long int until)
{
	const struct shash_node *node;

	if (!hostd_is_leaving(hostd)) {
		VLOG_INFO("all guests are ended");
		SHASH_FOR_EACH (node, &hostd->guests)
			guest_ask_anew(node->data);
	}
	hostd->leaving_until = MAX(hostd->leaving_until, until);
}

static void answer_stop_guests(
	struct unixctl_conn *conn, int argc, const char *argv[], void *hostd_)
{
	struct json *object = json_object_create();
	struct hostd *hostd = hostd_;
	int seconds = 0;

	if (argc > 1 && (!str_to_int(argv[1], 10, &seconds) || seconds < 1 ||
				seconds > LEAVE_SECONDS_MAX)) {
		char *why = xasprintf(
			"'%s' is no number of seconds from 1 to %d", argv[1], LEAVE_SECONDS_MAX);

		unixctl_command_reply_error(conn, why);
		free(why);
		json_destroy(object);
		return;
	}
	leave(hostd, argc == 1 ? LLONG_MAX : time_msec() + 1000LL * seconds);
	put_number(object, "alive", count_alive(hostd));
	reply(conn, object);
}

static void answer_start_guests(
	struct unixctl_conn *conn, int argc, const char *argv[], void *hostd_)
{
	struct json *object = json_object_create();
	struct hostd *hostd = hostd_;

	(void)argc;
	(void)argv;
	json_object_put(object, "were_stopped", json_boolean_create(hostd_is_leaving(hostd)));
	hostd->leaving_until = 0;
	reply(conn, object);
}

void answers_register(struct hostd *hostd)
{
	unixctl_command_register("cordon/status", "", 0, 0, answer_status, hostd);
	unixctl_command_register(
		"cordon/stop-guests", "[SECONDS]", 0, 1, answer_stop_guests, hostd);
	unixctl_command_register("cordon/start-guests", "", 0, 0, answer_start_guests, hostd);
}
