/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Captures as the main thread sees them: sessions that begin, follow the ports that they were asked
 * for, and end.  Called by the commands and by the main loop.
 */
#include <config.h>

#include "datapath/capture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "datapath/control.h"
#include "openvswitch/json.h"
#include "openvswitch/vlog.h"
#include "ovs-rcu.h"
#include "seq.h"
#include "timeval.h"
#include "util.h"

VLOG_DEFINE_THIS_MODULE(capture);

enum {
	RINGS_BYTES = 16 << 20,	  /* Of one session, all rings together... */
	RING_BYTES_MIN = 1 << 20, /* ...but each of at least so much: several large frames. */
};

struct captures {
	struct config *config;
	struct capture_session *sessions[CAPTURE_SESSIONS_MAX];
	struct seq *over; /* Changes when a session's thread has ended. */
	uint64_t seen;
};

static bool any_session(const struct captures *captures)
{
	for (size_t i = 0; i < CAPTURE_SESSIONS_MAX; i++)
		if (captures->sessions[i] != NULL)
			return true;
	return false;
}

/* --- Which ports are meant ------------------------------------------------------------------ */

static const char port_kind[] = "port:", vm_kind[] = "vm:", zone_kind[] = "zone:";

/* What follows "KIND:", or NULL. */
static const char *after(const char *name, const char *kind)
{
	return strncmp(name, kind, strlen(kind)) == 0 ? name + strlen(kind) : NULL;
}

static bool is_of_vm(const struct port *port, const char *name)
{
	const struct port_settings *settings = atomic_load(&port->settings);

	return *name != '\0' &&
	       (strcmp(settings->vm_name, name) == 0 || strcmp(settings->vm_id, name) == 0);
}

static bool is_in_zone(const struct cordon_switch *sw, const struct port *port, const char *name)
{
	const struct endpoint_map *endpoints = atomic_load(&sw->endpoints);

	return atomic_load(&port->settings)->role != PORT_UPLINK &&
	       zone_find(endpoint_map_policy(endpoints), name) ==
		       endpoint_map_port_zone(endpoints, port->number);
}

/* `name` says of which kind it is. */
static bool is_meant_by(const struct cordon_switch *sw, const struct port *port, const char *name)
{
	const char *what;

	if ((what = after(name, port_kind)) != NULL)
		return strcmp(port->name, what) == 0;
	if ((what = after(name, vm_kind)) != NULL)
		return is_of_vm(port, what);
	if ((what = after(name, zone_kind)) != NULL)
		return is_in_zone(sw, port, what);
	return false;
}

static bool is_meant(const struct capture_session *session, const struct port *port)
{
	for (size_t i = 0; i < session->order.n_names; i++)
		if (is_meant_by(session->sw, port, session->order.names[i]))
			return true;
	return false;
}

static bool any_is_meant_by(const struct cordon_switch *sw, const char *name)
{
	for (uint16_t number = 1; number < PORTS_MAX; number++) {
		const struct port *port = switch_port(sw, number);

		if (port != NULL && is_meant_by(sw, port, name))
			return true;
	}
	return false;
}

/* A zone may have no port at the moment, and get some. */
static bool is_known(const struct captures *captures, const char *name)
{
	const struct cordon_switch *sw = captures->config->sw;
	const char *zone = after(name, zone_kind);

	return (zone != NULL &&
		       zone_find(endpoint_map_policy(atomic_load(&sw->endpoints)), zone) >= 0) ||
	       any_is_meant_by(sw, name);
}

/* Says of which kind a name is: a port's, else a VM's, else a zone's.  NULL, or a sentence. */
static char *find_kind(const struct captures *captures, char **name)
{
	static const char *const kinds[] = {"", port_kind, vm_kind, zone_kind};

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		char *full = xasprintf("%s%s", kinds[i], *name);

		if (is_known(captures, full)) {
			free(*name);
			*name = full;
			return NULL;
		}
		free(full);
	}
	const struct config_port *port = shash_find_data(&captures->config->ports, *name);
	if (port != NULL)
		return xasprintf("port %s is not open: %s", *name,
			port->error != NULL ? port->error : "its turn has not come yet");
	return xasprintf("no port, VM or zone of this host is called %s; `cordon port list` and "
			 "`cordon zone list` show those that are",
		*name);
}

/* --- Taps ----------------------------------------------------------------------------------- */

static bool is_at(const struct capture_session *session, uint16_t port)
{
	return session->ports[port / 64] & UINT64_C(1) << port % 64;
}

static struct capture_taps *make_taps(const struct captures *captures, const struct port *port)
{
	const struct capture_taps *now = capture_taps_of(port);
	struct capture_taps *taps = xzalloc(sizeof(*taps));

	taps->sw = captures->config->sw;
	taps->real = now != NULL ? now->real : port_backend_of(port);
	for (size_t i = 0; i < CAPTURE_SESSIONS_MAX; i++)
		if (captures->sessions[i] != NULL && is_at(captures->sessions[i], port->number))
			taps->at[taps->n++] = captures->sessions[i];
	capture_send_init(taps);
	return taps;
}

static void forget_denial(struct conn_table *table, uint32_t number, void *port_)
{
	const uint16_t *port = port_;
	struct conn *conn = conn_of_flow(table, 2 * number);

	if (atomic_load(&conn->verdict) != CONN_ALLOWED && atomic_load(&conn->out_port) == *port)
		atomic_store(&conn_flow(table, 2 * number)->forwarding_revision, 0);
}

/* Denials on the way to the port that are cached take the miss path from now on, where they are
 * seen. */
static void forget_denials(struct conn_table *table, uint16_t port)
{
	conn_for_each(table, 0, conn_high_water(table), forget_denial, &port);
}

/* Puts the sessions that are at the port there.  A worker that finds taps finds them whole, and one
 * that finds none finds the real back end: see capture_send.c. */
static void set_taps(const struct captures *captures, struct port *port)
{
	struct capture_taps *old = atomic_load(&port->taps), *taps = make_taps(captures, port);

	if (taps->n != 0) {
		atomic_store(&port->taps, taps);
		atomic_store(&port->backend, &taps->backend);
		if (old == NULL)
			forget_denials(captures->config->sw->connections, port->number);
	} else {
		atomic_store(&port->backend, taps->real);
		atomic_store(&port->taps, NULL);
		free(taps);
	}
	if (old != NULL)
		ovsrcu_postpone(free, old);
}

void capture_forget_port(struct port *port)
{
	struct capture_taps *taps = atomic_exchange(&port->taps, NULL);

	if (taps != NULL)
		atomic_store(&port->backend, taps->real);
	free(taps);
}

/* True if a session comes to the port, or leaves it.  A port that is a new one under an old number
 * has no taps yet. */
static bool follow(struct captures *captures, uint16_t number, const struct port *port)
{
	const struct capture_taps *taps = port != NULL ? capture_taps_of(port) : NULL;
	uint64_t bit = UINT64_C(1) << number % 64;
	size_t n = 0;
	bool changed = false;

	for (size_t i = 0; i < CAPTURE_SESSIONS_MAX; i++) {
		struct capture_session *session = captures->sessions[i];

		if (session == NULL)
			continue;
		bool wanted = port != NULL && is_meant(session, port);
		if (wanted != is_at(session, number)) {
			session->ports[number / 64] ^= bit;
			changed = true;
		}
		n += wanted;
	}
	return changed || n != (taps != NULL ? taps->n : 0);
}

/* Takes every session to its ports, and away from others. */
static void follow_all(struct captures *captures)
{
	struct cordon_switch *sw = captures->config->sw;
	bool changed = false, any = false;

	if (any_session(captures)) /* Before the first tap is there. */
		atomic_store(&sw->captured, true);
	for (uint16_t number = 1; number < PORTS_MAX; number++) {
		struct port *port = switch_port(sw, number);

		if (follow(captures, number, port) && port != NULL) {
			set_taps(captures, port);
			changed = true;
		}
		any |= port != NULL && capture_taps_of(port) != NULL;
	}
	if (!any)
		atomic_store(&sw->captured, false);
	if (changed)
		config_assign_queues(sw);
}

/* --- Sessions ------------------------------------------------------------------------------- */

void capture_order_free(struct capture_order *order)
{
	for (size_t i = 0; i < order->n_names; i++)
		free(order->names[i]);
	free(order->filter_text);
	free(order->who);
	capture_filter_destroy(order->filter);
}

/* No worker and no thread uses it any more. */
static void session_free(struct capture_session *session)
{
	for (unsigned int i = 0; i < WORKERS_MAX; i++)
		capture_ring_destroy(session->rings[i]);
	capture_order_free(&session->order);
	free(session);
}

static int make_rings(struct capture_session *session)
{
	unsigned int n = session->sw->n_workers;

	for (unsigned int i = 0; i < n; i++) {
		session->rings[i] =
			capture_ring_create(MAX(RINGS_BYTES / n, (unsigned int)RING_BYTES_MIN));
		if (session->rings[i] == NULL)
			return -errno;
	}
	return 0;
}

static int find_slot(const struct captures *captures)
{
	for (int i = 0; i < CAPTURE_SESSIONS_MAX; i++)
		if (captures->sessions[i] == NULL)
			return i;
	return -1;
}

/* NULL, or a sentence. */
static char *check(const struct captures *captures, struct capture_order *order)
{
	for (size_t i = 0; i < order->n_names; i++) {
		char *error = find_kind(captures, &order->names[i]);

		if (error != NULL)
			return error;
	}
	if (find_slot(captures) < 0)
		return xasprintf("%d captures are under way already, which is as many as there may "
				 "be; `cordon status` shows who began them",
			CAPTURE_SESSIONS_MAX);
	return NULL;
}

/* NULL with errno set. */
static struct capture_session *make_session(
	struct captures *captures, const struct capture_order *order)
{
	struct cordon_switch *sw = captures->config->sw;
	struct capture_session *session = xzalloc(sizeof(*session));

	session->sw = sw;
	session->slot = (unsigned int)find_slot(captures);
	session->start_ns = (uint64_t)time_wall_msec() * 1000000u;
	int error = make_rings(session);
	session->order = *order;
	if (error == 0)
		session->stream =
			capture_stream_start(session, sw->options->run_directory, captures->over);
	if (session->stream != NULL)
		return session;
	error = error != 0 ? -error : errno;
	session->order = (struct capture_order){0}; /* The caller's still. */
	session_free(session);
	errno = error;
	return NULL;
}

const struct capture_session *capture_begin(
	struct captures *captures, struct capture_order *order, char **error)
{
	struct capture_session *session = NULL;

	*error = check(captures, order);
	if (*error == NULL) {
		session = make_session(captures, order);
		if (session == NULL)
			*error = xasprintf("the capture cannot begin: %s", ovs_strerror(errno));
	}
	if (session == NULL) {
		capture_order_free(order);
		return NULL;
	}
	captures->sessions[session->slot] = session;
	follow_all(captures);
	VLOG_INFO("capture %u begins at %s%s for %s", session->slot, session->order.names[0],
		session->order.n_names > 1 ? " and others" : "", session->order.who);
	return session;
}

/* Takes a session whose thread has ended out of everybody's sight. */
static void end(struct captures *captures, struct capture_session *session)
{
	captures->sessions[session->slot] = NULL;
	follow_all(captures);
	capture_stream_join(session->stream);
	session->stream = NULL;
	VLOG_INFO("capture %u for %s has ended", session->slot, session->order.who);
	ovsrcu_postpone(session_free, session);
}

/* --- The main loop -------------------------------------------------------------------------- */

void captures_run(struct captures *captures)
{
	captures->seen = seq_read(captures->over);
	if (!any_session(captures))
		return;
	for (size_t i = 0; i < CAPTURE_SESSIONS_MAX; i++) {
		struct capture_session *session = captures->sessions[i];

		if (session != NULL && capture_stream_is_over(session->stream))
			end(captures, session);
	}
	follow_all(captures);
}

void captures_wait(struct captures *captures)
{
	seq_wait(captures->over, captures->seen);
}

struct captures *captures_create(struct config *config)
{
	struct captures *captures = xzalloc(sizeof(*captures));

	captures->config = config;
	captures->over = seq_create();
	captures->seen = seq_read(captures->over);
	return captures;
}

void captures_destroy(struct captures *captures)
{
	if (captures == NULL)
		return;
	for (size_t i = 0; i < CAPTURE_SESSIONS_MAX; i++)
		if (captures->sessions[i] != NULL)
			atomic_store(&captures->sessions[i]->cancel, true);
	for (size_t i = 0; i < CAPTURE_SESSIONS_MAX; i++)
		if (captures->sessions[i] != NULL)
			end(captures, captures->sessions[i]);
	seq_destroy(captures->over);
	free(captures);
}

/* --- For people ----------------------------------------------------------------------------- */

struct json *capture_port_names(const struct capture_session *session)
{
	struct json *names = json_array_create_empty();

	for (uint16_t number = 1; number < PORTS_MAX; number++)
		if (is_at(session, number))
			json_array_add(
				names, json_string_create(control_port_name(session->sw, number)));
	return names;
}

struct json *captures_list(const struct captures *captures)
{
	struct json *list = json_array_create_empty();

	for (size_t i = 0; i < CAPTURE_SESSIONS_MAX; i++) {
		const struct capture_session *session = captures->sessions[i];
		struct json *object;

		if (session == NULL)
			continue;
		object = json_object_create();
		json_object_put_string(object, "name", session->order.names[0]);
		json_object_put(
			object, "names", json_integer_create((long long)session->order.n_names));
		json_object_put_string(object, "who", session->order.who);
		json_object_put_string(object, "filter", session->order.filter_text);
		json_object_put(
			object, "start_ns", json_integer_create((long long int)session->start_ns));
		json_object_put(object, "ports", capture_port_names(session));
		json_array_add(list, object);
	}
	return list;
}
