/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting for a switch to do what was asked of it, by watching what it writes back.  Called by the
 * model's user, on its one thread.
 */
#include "controller/model_private.h"

#include <string.h>

#include "openvswitch/dynamic-string.h"
#include "timeval.h"

/* MODEL_OK, MODEL_FAILED or MODEL_NOT_FOUND once it is decided; MODEL_UNREACHABLE: not yet. */
static enum model_result port_outcome(
	struct model *model, const char *host, const char *name, struct model_error *error)
{
	const struct cordonrec_port *port = model_port(model, host, name);

	if (!port)
		return model_fail(error, MODEL_NOT_FOUND,
			"port %s was removed while its opening was awaited", name);
	if (port->error)
		return model_fail(error, MODEL_FAILED, "port %s: %s", name, port->error);
	if (port->link_state)
		return MODEL_OK;
	return MODEL_UNREACHABLE;
}

enum model_result model_port_wait(struct model *model, const char *host, const char *name,
	unsigned int timeout_ms, struct model_error *error)
{
	long long int deadline = time_msec() + timeout_ms;

	for (;;) {
		enum model_result result = port_outcome(model, host, name, error);

		if (result != MODEL_UNREACHABLE)
			return result;
		if (!model_wait_for_change(model, deadline))
			break;
	}
	return model_fail(error, MODEL_UNREACHABLE,
		"port %s is in the database, but the switch on host %s has not opened it within %u "
		"s; it "
		"will once it runs: see `cordon status`",
		name, host, timeout_ms / 1000);
}

/* --- Guests --------------------------------------------------------------------------------- */

static bool is_state(const struct cordonrec_vm *vm, const char *state)
{
	return vm->state && !strcmp(vm->state, state);
}

/* MODEL_UNREACHABLE: not decided yet. */
static enum model_result vm_outcome(
	struct model *model, const char *host, const char *name, struct model_error *error)
{
	const struct cordonrec_vm *vm = model_vm(model, host, name);
	bool resting;

	if (!vm)
		return model_fail(
			error, MODEL_NOT_FOUND, "VM %s was removed while it was waited for", name);
	resting = !vm->state || is_state(vm, "failed") || is_state(vm, "ended");
	if (!strcmp(vm->wanted, "stopped"))
		return resting || is_state(vm, "stopped") ? MODEL_OK : MODEL_UNREACHABLE;
	if (vm->start_reached < vm->start_request)
		return MODEL_UNREACHABLE;
	if (is_state(vm, vm->wanted))
		return MODEL_OK;
	if (vm->state && resting)
		return model_fail(error, MODEL_FAILED, "VM %s has %s: %s", name, vm->state,
			vm->error ? vm->error : "it gave no reason");
	/* What its first try lacked will hardly be there at the next one: whoever waits is told. */
	if (is_state(vm, "waiting") && vm->last_outcome && !strcmp(vm->last_outcome, "not-started"))
		return model_fail(error, MODEL_FAILED,
			"VM %s could not be started, and is tried again: %s", name,
			vm->error ? vm->error : "it gave no reason");
	return MODEL_UNREACHABLE;
}

enum model_result model_vm_wait(struct model *model, const char *host, const char *name,
	unsigned int timeout_ms, struct model_error *error)
{
	long long int deadline = time_msec() + timeout_ms;
	const struct cordonrec_vm *vm;
	enum model_result result;

	do
		result = vm_outcome(model, host, name, error);
	while (result == MODEL_UNREACHABLE && model_wait_for_change(model, deadline));
	if (result != MODEL_UNREACHABLE)
		return result;
	vm = model_vm(model, host, name);
	return model_fail(error, MODEL_UNREACHABLE,
		"VM %s is to be %s, but after %u s it is %s%s%s; `cordon status` shows whether "
		"cordon-hostd runs on host %s",
		name, vm->wanted, timeout_ms / 1000, vm->state ? vm->state : "not taken up",
		vm->error ? ": " : "", vm->error ? vm->error : "", host);
}

int64_t model_vm_balloon(const struct cordonrec_vm *vm, const char *key)
{
	for (size_t i = 0; i < vm->n_balloon; i++) {
		if (!strcmp(vm->key_balloon[i], key))
			return vm->value_balloon[i];
	}
	return 0;
}

static enum model_result balloon_outcome(
	struct model *model, const char *host, const char *name, struct model_error *error)
{
	const struct cordonrec_vm *vm = model_vm(model, host, name);

	if (!vm)
		return model_fail(
			error, MODEL_NOT_FOUND, "VM %s was removed while it was waited for", name);
	if (!is_state(vm, "running") && !is_state(vm, "paused"))
		return MODEL_OK;
	if (vm->n_balloon && model_vm_balloon(vm, "target_bytes") == vm->balloon_mib << 20)
		return MODEL_OK;
	if (!vm->n_balloon && !vm->balloon_mib)
		return MODEL_OK;
	return MODEL_UNREACHABLE;
}

enum model_result model_vm_wait_balloon(struct model *model, const char *host, const char *name,
	unsigned int timeout_ms, struct model_error *error)
{
	long long int deadline = time_msec() + timeout_ms;
	const struct cordonrec_vm *vm;
	enum model_result result;

	do
		result = balloon_outcome(model, host, name, error);
	while (result == MODEL_UNREACHABLE && model_wait_for_change(model, deadline));
	if (result != MODEL_UNREACHABLE)
		return result;
	vm = model_vm(model, host, name);
	if (vm->error)
		return model_fail(error, MODEL_FAILED, "VM %s: %s", name, vm->error);
	return model_fail(error, MODEL_UNREACHABLE,
		"VM %s is to give %lld MiB back, but its VMM was not told within %u s; `cordon "
		"status` shows whether cordon-hostd runs on host %s",
		name, (long long int)vm->balloon_mib, timeout_ms / 1000, host);
}

/* --- The policy ------------------------------------------------------------------------------ */

static enum model_result superseded(struct model *model, int64_t number, struct model_error *error)
{
	int64_t wanted = model_policy_wanted(model);
	const struct cordonrec_policy_revision *revision = model_revision(model, wanted);
	const char *comment = revision ? revision->comment : "?";

	if (wanted < number)
		return model_fail(error, MODEL_CONFLICT,
			"revision %lld was not confirmed in time, and hosts go back to %lld",
			(long long int)number, (long long int)wanted);
	return model_fail(error, MODEL_CONFLICT,
		"revision %lld was replaced by %lld (by %s, \"%.*s\") before every host had it "
		"in force",
		(long long int)number, (long long int)wanted, revision ? revision->author : "?",
		model_comment_excerpt(comment), comment);
}

/* MODEL_UNREACHABLE, and who is missing, as long as it is not decided. */
static enum model_result policy_outcome(
	struct model *model, int64_t number, struct ds *missing, struct model_error *error)
{
	const struct cordonrec_host *host;

	ds_clear(missing);
	if (model_policy_wanted(model) != number)
		return superseded(model, number, error);
	CORDONREC_HOST_FOR_EACH (host, model->idl) {
		if (host->policy_reached == number)
			continue;
		if (host->policy_error && *host->policy_error)
			return model_fail(error, MODEL_FAILED,
				"host %s refuses policy revision %lld, and keeps %lld: %s",
				host->name, (long long int)number,
				(long long int)host->policy_reached, host->policy_error);
		ds_put_format(missing, "%s%s (at %lld)", missing->length ? ", " : "", host->name,
			(long long int)host->policy_reached);
	}
	return missing->length ? MODEL_UNREACHABLE : MODEL_OK;
}

enum model_result model_policy_wait(
	struct model *model, int64_t number, unsigned int timeout_ms, struct model_error *error)
{
	long long int deadline = time_msec() + timeout_ms;
	struct ds missing = DS_EMPTY_INITIALIZER;
	enum model_result result;

	do
		result = policy_outcome(model, number, &missing, error);
	while (result == MODEL_UNREACHABLE && model_wait_for_change(model, deadline));
	if (result == MODEL_UNREACHABLE)
		model_fail(error, MODEL_UNREACHABLE,
			"policy revision %lld is the one wanted, but after %u s not in force on: "
			"%s.  %s",
			(long long int)number, timeout_ms / 1000, ds_cstr(&missing),
			ovsdb_idl_is_connected(model->idl)
				? "Their switches do not run, do not reach the database, or are "
				  "still at it: `cordon status` there says which"
				: "The database went away meanwhile: whether they have it now "
				  "cannot be seen");
	ds_destroy(&missing);
	return result;
}
