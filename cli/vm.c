/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cordon vm create|set|delete|start|stop|pause|resume`: what is wanted of guests.  cordon-hostd
 * does it, and these commands wait until it has, or says why not.
 */
#include "cli/vm.h"

#include "cli/process.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "util.h"

enum { START_TIMEOUT_MS = 60000, STOP_GRACE_MS = 30000, VALUE_BYTES_MAX = 4096 };

#define VM_OPTIONS                                                                                 \
	{"file", 'f', "FILE", "what it is to be, in YAML (examples/vm.yaml; -: standard input)"},  \
		{"vcpus", 0, "N", "virtual CPUs (1)"},                                             \
		{"memory", 0, "SIZE", "MiB, as 512, or GiB, as 2G (256)"},                         \
		{"pages", 0, "auto|huge|small", "kind of memory pages (auto)"},                    \
		{"kernel", 0, "FILE", "bzImage, or an uncompressed vmlinux"},                      \
		{"initrd", 0, "FILE", "initial RAM disk"},                                         \
		{"command-line", 0, "TEXT", "of the kernel"},                                      \
		{"cpu-mask", 0, "LIST", "CPU features to hide: xsave,smap"},                       \
		{"nic", 0, "KEY=VALUE,...", "a vNIC: network, mac, address, tag, queues, mtu..."}, \
		{"disk", 0, "KEY=VALUE,...", "a disk: path, format, readonly, direct, serial"},    \
		{"restart", 0, "no|on-failure|always", "whether it is started again (no)"},        \
		{"irqchip", 0, "auto|split", "KVM's I/O APIC if it has one, or the VMM's (auto)"}, \
	{                                                                                          \
		"option", 'o', "KEY=VALUE",                                                        \
			"rng, balloon, console, stop-seconds, restart-limit..."                    \
	}

const struct cli_option cli_vm_create_options[] = {
	VM_OPTIONS,
	{"start", 0, NULL, "start it as well, and wait until it runs"},
	{0},
};

const struct cli_option cli_vm_set_options[] = {
	VM_OPTIONS,
	{0},
};

const struct cli_option cli_vm_start_options[] = {
	{"no-wait", 0, NULL, "do not wait until it is so"},
	{0},
};

const struct cli_option cli_vm_stop_options[] = {
	{"force", 0, NULL, "at once, without asking the guest"},
	{"no-wait", 0, NULL, "do not wait until it has stopped"},
	{0},
};

const struct cli_option cli_vm_delete_options[] = {
	{"force", 0, NULL, "also one that runs: stops it at once"},
	{0},
};

/* --- From options to a draft ---------------------------------------------------------------- */

typedef bool put_function(struct vm_draft *draft, size_t place, const char *key, const char *value);

/* "network=lan,tag=tier=web": each KEY=VALUE to `put`. */
static bool put_list(struct vm_draft *draft, size_t place, const char *text, put_function *put)
{
	char *copy = xstrdup(text), *save = NULL;
	bool good = true;

	for (char *word = strtok_r(copy, ",", &save); word && good;
		word = strtok_r(NULL, ",", &save)) {
		char *equals = strchr(word, '=');

		if (!equals || equals == word) {
			snprintf(draft->sentence, sizeof(draft->sentence),
				"'%.100s' is not KEY=VALUE; give lists one by one, as in "
				"address=10.0.0.1,address=fd00::1",
				word);
			good = false;
		} else {
			*equals = '\0';
			good = put(draft, place, word, equals + 1);
		}
	}
	free(copy);
	return good;
}

/* "1,tag=tier=db" is about vNIC 1, if the VM is there already; what begins with a key is a new one.
 */
static bool put_vnic(struct vm_draft *draft, const char *text)
{
	size_t digits = strspn(text, "0123456789"), place;

	if (!digits || (text[digits] && text[digits] != ','))
		return vm_draft_add_vnic(draft, &place) &&
		       put_list(draft, place, text, vm_draft_put_vnic);
	place = (size_t)strtoul(text, NULL, 10);
	if (digits > 2 || place >= draft->change.n_vnics) {
		snprintf(draft->sentence, sizeof(draft->sentence),
			"VM %s has no vNIC %.*s; it has %zu, counted from 0", draft->change.name,
			(int)digits, text, draft->change.n_vnics);
		return false;
	}
	draft->change.vnics = draft->vnics;
	return put_list(draft, place, text + digits + (text[digits] == ','), vm_draft_put_vnic);
}

static bool put_disk(struct vm_draft *draft, const char *text)
{
	size_t place;

	return vm_draft_add_disk(draft, &place) && put_list(draft, place, text, vm_draft_put_disk);
}

static bool put_pair(struct vm_draft *draft, size_t place, const char *key, const char *value)
{
	(void)place;
	return vm_draft_put(draft, key, value);
}

static bool put_value(struct vm_draft *draft, const struct cli_value *given)
{
	const char *name = given->option->name;

	if (!strcmp(name, "file") || !strcmp(name, "start") || !given->option->argument)
		return true;
	if (!strcmp(name, "nic"))
		return put_vnic(draft, given->value);
	if (!strcmp(name, "disk"))
		return put_disk(draft, given->value);
	if (!strcmp(name, "option"))
		return put_list(draft, 0, given->value, put_pair);
	return vm_draft_put(draft, name, given->value);
}

static bool is_global(const struct cli_option *option)
{
	for (const struct cli_option *one = cli_global_options; one->name; one++) {
		if (one == option)
			return true;
	}
	return false;
}

/* The file first, so that options count over what it says. */
static bool read_draft(struct vm_draft *draft)
{
	struct cli *cli = draft->cli;
	const char *file = cli_option(cli, "file");

	if (file && !vm_yaml_read(draft, file))
		return false;
	for (size_t i = 0; i < cli->n_values; i++) {
		if (is_global(cli->values[i].option) || put_value(draft, &cli->values[i]))
			continue;
		cli_fail(cli, CLI_USAGE, "--%s: %s", cli->values[i].option->name, draft->sentence);
		return false;
	}
	return true;
}

static enum cli_status take_name(struct vm_draft *draft)
{
	struct cli *cli = draft->cli;
	const char *name = cli->n_arguments ? cli->arguments[0] : NULL;

	if (name && draft->change.name && strcmp(name, draft->change.name))
		return cli_fail(cli, CLI_USAGE, "the file is of VM %s, and the line says %s",
			draft->change.name, name);
	if (name)
		draft->change.name = name;
	if (!draft->change.name)
		return cli_fail(cli, CLI_USAGE,
			"which name is it to have?  Say `cordon vm create NAME`, or `name:` in the "
			"file");
	return CLI_OK;
}

/* --- Waiting -------------------------------------------------------------------------------- */

static enum cli_status fail_waiting(struct cli *cli, const struct model_error *error)
{
	if (error->result == MODEL_UNREACHABLE)
		return cli_fail(cli, CLI_TIMEOUT, "%s", error->message);
	return cli_fail_model(cli, error);
}

static enum cli_status say(struct cli *cli, struct model *model, const char *name)
{
	const struct cordonrec_vm *vm = model_vm(model, cli->host, name);

	if (!vm)
		return CLI_OK;
	if (cli->json)
		return cli_print_json(cli, cli_vm_json(cli, vm));
	fprintf(cli->out, "VM %s is %s.\n", name, vm->state ? vm->state : "stopped");
	return CLI_OK;
}

/* How long the guest may take to shut down, and a little more. */
static unsigned int stop_timeout_ms(const struct cli *cli, const struct cordonrec_vm *vm)
{
	if (cli->timeout_given || !vm)
		return cli->timeout_ms;
	return smap_get_uint(&vm->options, "stop-seconds", 60) * 1000 + STOP_GRACE_MS;
}

static enum cli_status want(
	struct cli *cli, struct model *model, const char *name, const struct model_vm_wish *wish)
{
	unsigned int timeout_ms = cli->timeout_given ? cli->timeout_ms : START_TIMEOUT_MS;
	struct model_error error;

	if (model_vm_want(model, cli->host, name, wish, &error) != MODEL_OK)
		return cli_fail_model(cli, &error);
	if (!strcmp(wish->wanted, "stopped"))
		timeout_ms = stop_timeout_ms(cli, model_vm(model, cli->host, name));
	if (!cli_flag(cli, "no-wait") &&
		model_vm_wait(model, cli->host, name, timeout_ms, &error) != MODEL_OK)
		return fail_waiting(cli, &error);
	return say(cli, model, name);
}

static enum cli_status want_alone(struct cli *cli, const struct model_vm_wish *wish)
{
	enum cli_status status;
	struct model *model = cli_model(cli, &status);

	if (!model)
		return status;
	status = want(cli, model, cli->arguments[0], wish);
	model_close(model);
	return status;
}

/* --- The commands --------------------------------------------------------------------------- */

static void advise(const struct cli *cli, const struct model_vm_change *change)
{
	fprintf(cli->out, "VM %s is made.  Start it: cordon vm start %s\n", change->name,
		change->name);
	for (size_t i = 0; i < change->n_vnics; i++) {
		if (!change->vnics[i].port.tags)
			fprintf(cli->out,
				"Its vNIC %zu has no tags, so it is in no zone and nothing passes: "
				"cordon vm set %s --nic %zu,tag=KEY=VALUE\n",
				i, change->name, i);
	}
}

enum cli_status cli_vm_create(struct cli *cli)
{
	const struct model_vm_wish start = {.wanted = "running"};
	struct model_error error;
	struct vm_draft draft;
	enum cli_status status;
	struct model *model;

	vm_draft_begin(&draft, cli);
	if (!read_draft(&draft))
		return CLI_INVALID;
	status = take_name(&draft);
	if (status != CLI_OK)
		return status;
	model = cli_model(cli, &status);
	if (!model)
		return status;
	if (model_vm_create(model, &draft.change, &error) != MODEL_OK)
		status = cli_fail_model(cli, &error);
	else if (cli_flag(cli, "start"))
		status = want(cli, model, draft.change.name, &start);
	else if (cli->json)
		status = say(cli, model, draft.change.name);
	else
		advise(cli, &draft.change);
	model_close(model);
	return status;
}

static void say_when(struct cli *cli, const struct cordonrec_vm *vm)
{
	if (!vm || !vm->state || !strcmp(vm->state, "stopped") || !strcmp(vm->state, "ended") ||
		!strcmp(vm->state, "failed"))
		return;
	fprintf(cli->out,
		"VM %s is %s: network, addresses, tags and limits hold at once, the rest from its "
		"next start on.\n",
		vm->name, vm->state);
}

enum cli_status cli_vm_set(struct cli *cli)
{
	const struct cordonrec_vm *vm;
	struct model_error error;
	struct vm_draft draft;
	enum cli_status status;
	struct model *model;

	if (!cli->n_values)
		return cli_fail(cli, CLI_USAGE,
			"say what to change of VM %s, e.g. --memory 1G; see `cordon help vm set`",
			cli->arguments[0]);
	model = cli_model(cli, &status);
	if (!model)
		return status;
	vm = cli_vm_find(cli, model, &status);
	if (vm) {
		vm_draft_begin(&draft, cli);
		vm_draft_from_row(&draft, vm);
		status = read_draft(&draft) ? take_name(&draft) : CLI_INVALID;
	}
	if (vm && status == CLI_OK) {
		if (model_vm_set(model, &draft.change, &error) != MODEL_OK)
			status = cli_fail_model(cli, &error);
		else if (cli->json)
			status = say(cli, model, draft.change.name);
		else
			say_when(cli, model_vm(model, cli->host, draft.change.name));
	}
	model_close(model);
	return status;
}

enum cli_status cli_vm_start(struct cli *cli)
{
	return want_alone(cli, &(struct model_vm_wish){.wanted = "running"});
}

enum cli_status cli_vm_stop(struct cli *cli)
{
	return want_alone(cli,
		&(struct model_vm_wish){.wanted = "stopped", .at_once = cli_flag(cli, "force")});
}

enum cli_status cli_vm_pause(struct cli *cli)
{
	return want_alone(cli, &(struct model_vm_wish){.wanted = "paused"});
}

enum cli_status cli_vm_resume(struct cli *cli)
{
	return want_alone(cli, &(struct model_vm_wish){.wanted = "running", .only_resume = true});
}

enum cli_status cli_vm_delete(struct cli *cli)
{
	const struct model_vm_wish stop = {.wanted = "stopped", .at_once = true};
	const char *name = cli->arguments[0];
	bool force = cli_flag(cli, "force");
	struct model_error error;
	enum cli_status status;
	struct model *model = cli_model(cli, &status);

	if (!model)
		return status;
	/* Its end is waited for if there is somebody who can end it; else cordon-hostd does when it
	 * is back. */
	if (force && cli_process_find(cli->run_directory, CLI_HOSTD) &&
		(model_vm_want(model, cli->host, name, &stop, &error) != MODEL_OK ||
			model_vm_wait(model, cli->host, name, cli->timeout_ms, &error) != MODEL_OK))
		status = fail_waiting(cli, &error);
	else if (model_vm_delete(model, cli->host, name, force, &error) != MODEL_OK)
		status = cli_fail_model(cli, &error);
	model_close(model);
	return status;
}
