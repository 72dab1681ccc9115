/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connection to the database, the look-ups in its replica, and the rows that must be there
 * before anything else.  Called by whoever uses the model, on its one thread.
 */
#include "controller/model_private.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "openvswitch/dynamic-string.h"
#include "openvswitch/poll-loop.h"
#include "timeval.h"
#include "util.h"

enum model_result model_fail(
	struct model_error *error, enum model_result result, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	error->result = result;
	vsnprintf(error->message, sizeof(error->message), format, arguments);
	va_end(arguments);
	return result;
}

/* The first replica: at once if nobody listens, else until `deadline`. */
static bool wait_for_replica(struct ovsdb_idl *idl, long long int deadline)
{
	for (;;) {
		ovsdb_idl_run(idl);
		if (ovsdb_idl_has_ever_connected(idl))
			return true;
		if (!ovsdb_idl_is_alive(idl) || time_msec() >= deadline)
			return false;
		ovsdb_idl_wait(idl);
		poll_timer_wait_until(deadline);
		poll_block();
	}
}

struct model *model_open(const char *remote, unsigned int timeout_ms, struct model_error *error)
{
	struct model *model = xzalloc(sizeof(*model));

	model->timeout_ms = timeout_ms;
	model->remote = xstrdup(remote);
	model->idl = ovsdb_idl_create(remote, &cordonrec_idl_class, true, false);
	/* Any member of a cluster, or a relay, will do. */
	ovsdb_idl_set_leader_only(model->idl, false);
	ovsdb_idl_omit(model->idl, &cordonrec_policy_revision_col_document);
	if (!wait_for_replica(model->idl, time_msec() + timeout_ms)) {
		int reason = ovsdb_idl_get_last_error(model->idl);

		model_fail(error, MODEL_UNREACHABLE,
			"no Cordon database answers at %s (%s); `cordon up` starts it", remote,
			reason ? ovs_retval_to_string(reason) : "no answer in time");
		model_close(model);
		return NULL;
	}
	ovsdb_idl_enable_reconnect(model->idl);
	return model;
}

void model_close(struct model *model)
{
	if (!model)
		return;
	ovsdb_idl_destroy(model->idl);
	free(model->remote);
	free(model);
}

struct ovsdb_idl *model_idl(struct model *model)
{
	return model->idl;
}

bool model_wait_for_change(struct model *model, long long int deadline)
{
	unsigned int before = ovsdb_idl_get_seqno(model->idl);

	for (;;) {
		ovsdb_idl_run(model->idl);
		if (ovsdb_idl_get_seqno(model->idl) != before)
			return true;
		if (time_msec() >= deadline)
			return false;
		ovsdb_idl_wait(model->idl);
		poll_timer_wait_until(deadline);
		poll_block();
	}
}

/* --- Look-ups ------------------------------------------------------------------------------- */

const struct cordonrec_cordon *model_root(struct model *model)
{
	return cordonrec_cordon_first(model->idl);
}

const struct cordonrec_host *model_host(struct model *model, const char *name)
{
	const struct cordonrec_host *host;

	CORDONREC_HOST_FOR_EACH (host, model->idl) {
		if (!strcmp(host->name, name))
			return host;
	}
	return NULL;
}

const struct cordonrec_port *model_port(struct model *model, const char *host, const char *name)
{
	const struct cordonrec_port *port;

	CORDONREC_PORT_FOR_EACH (port, model->idl) {
		if (!strcmp(port->name, name) && port->host && !strcmp(port->host->name, host))
			return port;
	}
	return NULL;
}

const struct cordonrec_network *model_network(struct model *model, const char *name)
{
	const struct cordonrec_network *network;

	CORDONREC_NETWORK_FOR_EACH (network, model->idl) {
		if (!strcmp(network->name, name))
			return network;
	}
	return NULL;
}

const struct cordonrec_policy_revision *model_revision(struct model *model, int64_t number)
{
	const struct cordonrec_policy_revision *revision;

	CORDONREC_POLICY_REVISION_FOR_EACH (revision, model->idl) {
		if (revision->number == number)
			return revision;
	}
	return NULL;
}

const struct cordonrec_vm *model_vm(struct model *model, const char *host, const char *name)
{
	const struct cordonrec_vm *vm;

	CORDONREC_VM_FOR_EACH(vm, model->idl)
	{
		if (!strcmp(vm->name, name) && vm->host && !strcmp(vm->host->name, host))
			return vm;
	}
	return NULL;
}

const struct cordonrec_host *model_need_host(
	struct model *model, const char *name, struct model_error *error)
{
	const struct cordonrec_host *host = model_host(model, name);
	const struct cordonrec_host *other;
	struct ds known = DS_EMPTY_INITIALIZER;

	if (host)
		return host;
	CORDONREC_HOST_FOR_EACH (other, model->idl)
		ds_put_format(&known, "%s%s", known.length ? ", " : "", other->name);
	model_fail(error, MODEL_NOT_FOUND,
		"host '%s' is not in the database (known: %s); run `cordon up` there, or name one "
		"of these with --host",
		name, known.length ? ds_cstr(&known) : "none");
	ds_destroy(&known);
	return NULL;
}

const struct cordonrec_network *model_need_network(
	struct model *model, const char *name, struct model_error *error)
{
	const struct cordonrec_network *network = model_network(model, name);

	if (!network)
		model_fail(error, MODEL_NOT_FOUND,
			"network '%s' does not exist; `cordon network list` shows those that do, "
			"`cordon network add %s --vlan N` makes it",
			name, name);
	return network;
}

/* --- What must be there first --------------------------------------------------------------- */

static enum model_result build_initial_rows(struct model *model, struct ovsdb_idl_txn *transaction,
	void *context, struct model_error *error)
{
	const char *name = context;

	(void)error;
	bool is_new = !model_root(model);
	if (is_new)
		cordonrec_cordon_insert(transaction);
	if (!model_host(model, name)) {
		struct cordonrec_host *host = cordonrec_host_insert(transaction);

		cordonrec_host_set_name(host, name);
	}
	if (is_new && !cordonrec_log_sink_first(model->idl)) {
		struct cordonrec_log_sink *sink = cordonrec_log_sink_insert(transaction);

		cordonrec_log_sink_set_name(sink, "default");
		cordonrec_log_sink_set_type(sink, "sqlite");
	}
	return MODEL_OK;
}

enum model_result model_initialize(struct model *model, const char *host, struct model_error *error)
{
	struct model_change change = {
		.build = build_initial_rows,
		.context = CONST_CAST(char *, host),
		.what = "the first rows of the database",
		.retry = true,
	};

	if (!model_check_name("host", host, 253, error))
		return error->result;
	return model_commit(model, &change, error);
}
