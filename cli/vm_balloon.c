/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cordon vm balloon`: how much of its memory a guest is to give back.  cordon-hostd tells its VMM,
 * and this command waits until it has, and says what came of it.
 */
#include "cli/vm.h"

#include <string.h>

#include "util.h"

enum { BALLOON_TIMEOUT_MS = 10000 };

static bool is_alive(const struct cordonrec_vm *vm)
{
	static const char *const states[] = {"starting", "running", "paused", "stopping"};

	for (size_t i = 0; vm->state && i < ARRAY_SIZE(states); i++) {
		if (!strcmp(vm->state, states[i]))
			return true;
	}
	return false;
}

static enum cli_status say(struct cli *cli, const struct cordonrec_vm *vm)
{
	struct json *row = cli_vm_json(cli, vm);
	const struct json *balloon = cli_json_member(row, "balloon");
	char wanted[CLI_TEXT_MAX], given[CLI_TEXT_MAX];

	if (cli->json)
		return cli_print_json(cli, row);
	cli_format_bytes((uint64_t)vm->balloon_mib << 20, wanted);
	cli_format_bytes((uint64_t)cli_json_number(balloon, "given_bytes"), given);
	if (!is_alive(vm) && vm->balloon_mib)
		fprintf(cli->out, "VM %s is %s: it is to give %s back once it runs.\n", vm->name,
			vm->state ? vm->state : "stopped", wanted);
	else if (vm->balloon_mib)
		fprintf(cli->out, "VM %s is to give %s back, and has given %s so far.\n", vm->name,
			wanted, given);
	else
		fprintf(cli->out, "VM %s is to have all its memory.\n", vm->name);
	json_destroy(row);
	return CLI_OK;
}

/* What stands in the way, of one that runs. */
static enum cli_status check(struct cli *cli, const struct cordonrec_vm *vm)
{
	if (!vm->balloon_mib || !is_alive(vm))
		return CLI_OK;
	if (!vm->n_balloon)
		return cli_fail(cli, CLI_FAILED,
			"VM %s was started without a balloon, so that it gives nothing back before "
			"its next start: `cordon vm stop %s`, then `cordon vm start %s`",
			vm->name, vm->name, vm->name);
	if (!model_vm_balloon(vm, "driver"))
		return cli_fail(cli, CLI_FAILED,
			"VM %s: its guest has no driver for the balloon, or has not begun with it "
			"yet; it is asked for %lld MiB once it has one",
			vm->name, (long long int)vm->balloon_mib);
	return CLI_OK;
}

static enum cli_status set(struct cli *cli, struct model *model, int64_t mib)
{
	unsigned int timeout_ms = cli->timeout_given ? cli->timeout_ms : BALLOON_TIMEOUT_MS;
	const char *name = cli->arguments[0];
	const struct cordonrec_vm *vm;
	struct model_error error;
	enum cli_status status;

	if (model_vm_set_balloon(model, cli->host, name, mib, &error) != MODEL_OK)
		return cli_fail_model(cli, &error);
	if (!cli_flag(cli, "no-wait") &&
		model_vm_wait_balloon(model, cli->host, name, timeout_ms, &error) != MODEL_OK)
		return error.result == MODEL_UNREACHABLE
			       ? cli_fail(cli, CLI_TIMEOUT, "%s", error.message)
			       : cli_fail_model(cli, &error);
	vm = cli_vm_find(cli, model, &status);
	if (!vm)
		return status;
	status = cli_flag(cli, "no-wait") ? CLI_OK : check(cli, vm);
	return status == CLI_OK ? say(cli, vm) : status;
}

enum cli_status cli_vm_balloon(struct cli *cli)
{
	struct vm_draft draft;
	enum cli_status status;
	struct model *model;

	vm_draft_begin(&draft, cli);
	if (!vm_draft_put(&draft, "memory", cli->arguments[1]))
		return cli_fail(cli, CLI_USAGE, "%s", draft.sentence);
	model = cli_model(cli, &status);
	if (!model)
		return status;
	status = set(cli, model, draft.change.memory_mib);
	model_close(model);
	return status;
}
