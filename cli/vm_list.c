/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cordon vm list|show|stats`: guests as they are wanted and as they are, from the database.
 */
#include "cli/vm.h"

#include <stdlib.h>
#include <string.h>

#include "openvswitch/dynamic-string.h"
#include "smap.h"
#include "timeval.h"
#include "util.h"
#include "uuid.h"

/* --- From rows to JSON ---------------------------------------------------------------------- */

static struct json *texts_json(char **texts, size_t n)
{
	struct json *array = json_array_create_empty();

	for (size_t i = 0; i < n; i++)
		json_array_add(array, json_string_create(texts[i]));
	return array;
}

static void put_number(struct json *object, const char *name, int64_t value)
{
	json_object_put(object, name, json_integer_create(value));
}

static struct json *vnic_json(const struct cordonrec_vm *vm, const struct cordonrec_vm_vnic *row)
{
	struct json *object = json_object_create(), *limits = json_object_create();
	struct json *trunks = json_array_create_empty();

	put_number(object, "position", row->position);
	json_object_put(object, "port",
		json_string_create_nocopy(
			xasprintf("%s.%lld", vm->name, (long long int)row->position)));
	if (row->network)
		json_object_put_string(object, "network", row->network->name);
	json_object_put_string(object, "mac", row->mac);
	json_object_put(object, "addresses", texts_json(row->addresses, row->n_addresses));
	json_object_put(object, "tags", texts_json(row->tags, row->n_tags));
	json_object_put(object, "serves", texts_json(row->serves, row->n_serves));
	for (size_t i = 0; i < row->n_trunks; i++)
		json_array_add(trunks, json_integer_create(row->trunks[i]));
	json_object_put(object, "trunks", trunks);
	for (size_t i = 0; i < row->n_limits; i++)
		put_number(limits, row->key_limits[i], row->value_limits[i]);
	json_object_put(object, "limits", limits);
	put_number(object, "queues", row->queues);
	if (row->n_mtu)
		put_number(object, "mtu", *row->mtu);
	return object;
}

static struct json *disk_json(const struct cordonrec_vm_disk *row)
{
	struct json *object = json_object_create();

	put_number(object, "position", row->position);
	json_object_put_string(object, "path", row->path);
	json_object_put_string(object, "format", row->format);
	json_object_put_string(object, "direct", row->direct);
	json_object_put_string(object, "serial", row->serial);
	json_object_put(object, "read_only", json_boolean_create(row->read_only));
	return object;
}

static void put_devices(struct json *object, const struct cordonrec_vm *vm)
{
	struct json *vnics = json_array_create_empty(), *disks = json_array_create_empty();

	for (size_t i = 0; i < vm->n_vnics; i++)
		json_array_add(vnics, vnic_json(vm, vm->vnics[i]));
	for (size_t i = 0; i < vm->n_disks; i++)
		json_array_add(disks, disk_json(vm->disks[i]));
	cli_json_sort(vnics, "position");
	cli_json_sort(disks, "position");
	json_object_put(object, "nics", vnics);
	json_object_put(object, "disks", disks);
}

static void put_balloon(struct json *object, const struct cordonrec_vm *vm)
{
	struct json *balloon = json_object_create();

	put_number(balloon, "wanted_bytes", vm->balloon_mib << 20);
	if (vm->n_balloon) {
		put_number(balloon, "target_bytes", model_vm_balloon(vm, "target_bytes"));
		put_number(balloon, "given_bytes", model_vm_balloon(vm, "given_bytes"));
		json_object_put(balloon, "driver",
			json_boolean_create(model_vm_balloon(vm, "driver") != 0));
	}
	json_object_put(object, "balloon", balloon);
}

static void put_observed(struct json *object, const struct cordonrec_vm *vm)
{
	struct json *statistics = json_object_create();

	json_object_put_string(object, "state", vm->state ? vm->state : "stopped");
	if (vm->since)
		put_number(object, "since_s",
			MAX(time_wall_msec() - (long long int)vm->since, 0) / 1000);
	if (vm->n_pid)
		put_number(object, "pid", *vm->pid);
	if (vm->error)
		json_object_put_string(object, "error", vm->error);
	if (vm->last_outcome)
		json_object_put_string(object, "last_outcome", vm->last_outcome);
	put_number(object, "restarts", vm->restarts);
	for (size_t i = 0; i < vm->n_statistics; i++)
		put_number(statistics, vm->key_statistics[i], vm->value_statistics[i]);
	json_object_put(object, "statistics", statistics);
}

struct json *cli_vm_json(const struct cli *cli, const struct cordonrec_vm *vm)
{
	struct json *object = json_object_create();
	char *directory = xasprintf("%s/vm/%s", cli->run_directory, vm->name);

	json_object_put_string(object, "name", vm->name);
	json_object_put(object, "uuid",
		json_string_create_nocopy(xasprintf(UUID_FMT, UUID_ARGS(&vm->header_.uuid))));
	if (vm->host)
		json_object_put_string(object, "host", vm->host->name);
	json_object_put_string(object, "wanted", vm->wanted);
	put_number(object, "vcpus", vm->vcpus);
	put_number(object, "memory_bytes", vm->memory_mib << 20);
	json_object_put_string(object, "pages", vm->pages);
	json_object_put_string(object, "kernel", vm->kernel);
	json_object_put_string(object, "initrd", vm->initrd);
	json_object_put_string(object, "command_line", vm->command_line);
	json_object_put_string(object, "cpu_mask", vm->cpu_mask);
	json_object_put_string(object, "restart", vm->restart);
	json_object_put(object, "options", smap_to_json(&vm->options));
	json_object_put_string(object, "directory", directory);
	free(directory);
	put_devices(object, vm);
	put_balloon(object, vm);
	put_observed(object, vm);
	return object;
}

const struct cordonrec_vm *cli_vm_find(
	struct cli *cli, struct model *model, enum cli_status *status)
{
	const struct cordonrec_vm *vm = model_vm(model, cli->host, cli->arguments[0]);

	if (!vm)
		*status = cli_fail(cli, CLI_NOT_FOUND,
			"there is no VM '%s' on host %s; `cordon vm list` shows those that are",
			cli->arguments[0], cli->host);
	return vm;
}

/* --- vm list -------------------------------------------------------------------------------- */

const struct cli_option cli_vm_list_options[] = {
	{"all-hosts", 'a', NULL, "the VMs of all hosts"},
	{0},
};

static char *addresses_text(const struct json *row)
{
	const struct json *vnics = cli_json_member(row, "nics");
	struct ds text = DS_EMPTY_INITIALIZER;

	for (size_t i = 0; vnics && i < vnics->array.n; i++) {
		const struct json *addresses = cli_json_member(vnics->array.elems[i], "addresses");

		for (size_t j = 0; addresses && j < addresses->array.n; j++)
			ds_put_format(&text, "%s%s", text.length ? ", " : "",
				json_string(addresses->array.elems[j]));
	}
	return text.string ? ds_steal_cstr(&text) : xstrdup("");
}

static char *statistic_text(const struct json *row, const char *name, enum cli_format format)
{
	const struct json *statistics = cli_json_member(row, "statistics");
	char text[CLI_TEXT_MAX];
	int64_t value = cli_json_number(statistics, name);

	if (!cli_json_member(statistics, name))
		return NULL;
	return xstrdup(format == CLI_BYTES ? cli_format_bytes((uint64_t)value, text)
					   : cli_format_age((uint64_t)value / 1000, text));
}

static char *cpu_text(const struct json *row)
{
	return statistic_text(row, "cpu_ms", CLI_AGE);
}

static char *used_text(const struct json *row)
{
	return statistic_text(row, "memory_bytes", CLI_BYTES);
}

static struct json *rows_of(struct cli *cli, struct model *model)
{
	struct json *rows = json_array_create_empty();
	const struct cordonrec_vm *vm;

	CORDONREC_VM_FOR_EACH(vm, model_idl(model))
	{
		if (cli_flag(cli, "all-hosts") || (vm->host && !strcmp(vm->host->name, cli->host)))
			json_array_add(rows, cli_vm_json(cli, vm));
	}
	cli_json_sort(rows, "name");
	return rows;
}

enum cli_status cli_vm_list(struct cli *cli)
{
	static const struct cli_column columns[] = {
		{"name", "name", CLI_AUTO, 0, 0, NULL},
		{"state", "state", CLI_STATE, 0, 0, NULL},
		{"for", "since_s", CLI_AGE, 2, 0, NULL},
		{"vcpus", "vcpus", CLI_AUTO, 3, 0, NULL},
		{"memory", "memory_bytes", CLI_BYTES, 2, 0, NULL},
		{"cpu time", "cpu", CLI_AGE, 4, 0, cpu_text},
		{"restarts", "restarts", CLI_COUNT, 4, 0, NULL},
		{"addresses", "addresses", CLI_AUTO, 2, 12, addresses_text},
		{"remark", "error", CLI_AUTO, 1, 16, NULL},
	};
	enum cli_status status;
	struct model *model = cli_model(cli, &status);
	struct json *rows;

	if (!model)
		return status;
	rows = rows_of(cli, model);
	model_close(model);
	return cli_print_table(cli, columns, ARRAY_SIZE(columns), rows,
		"No VMs; `cordon help vm create` tells how to make one.");
}

/* --- vm show -------------------------------------------------------------------------------- */

static void print_vnics(struct cli *cli, const struct json *row)
{
	static const struct {
		const char *title, *key;
	} lines[] = {{"port", "port"}, {"network", "network"}, {"MAC", "mac"},
		{"addresses", "addresses"}, {"tags", "tags"}, {"trunks", "trunks"},
		{"serves", "serves"}, {"limits", "limits"}, {"queues", "queues"}, {"MTU", "mtu"}};
	const struct json *vnics = cli_json_member(row, "nics");

	for (size_t i = 0; vnics && i < vnics->array.n; i++) {
		fprintf(cli->out, "vNIC %zu\n", i);
		for (size_t j = 0; j < ARRAY_SIZE(lines); j++)
			cli_print_member(
				cli, vnics->array.elems[i], lines[j].title, lines[j].key, CLI_AUTO);
	}
}

static void print_disks(struct cli *cli, const struct json *row)
{
	const struct json *disks = cli_json_member(row, "disks");

	for (size_t i = 0; disks && i < disks->array.n; i++) {
		const struct json *disk = disks->array.elems[i];

		fprintf(cli->out, "disk %zu\n", i);
		cli_print_member(cli, disk, "path", "path", CLI_AUTO);
		cli_print_member(cli, disk, "format", "format", CLI_AUTO);
		cli_print_member(cli, disk, "direct", "direct", CLI_AUTO);
		cli_print_member(cli, disk, "serial", "serial", CLI_AUTO);
		if (cli_json_true(disk, "read_only"))
			cli_print_member(cli, disk, "read only", "read_only", CLI_AUTO);
	}
}

/* "512 MiB to be given back, 300 MiB given", where anything is. */
static void print_balloon(struct cli *cli, const struct json *row)
{
	const struct json *balloon = cli_json_member(row, "balloon");
	int64_t wanted = cli_json_number(balloon, "wanted_bytes");
	int64_t given = cli_json_number(balloon, "given_bytes");
	char wanted_text[CLI_TEXT_MAX], given_text[CLI_TEXT_MAX];

	if (!wanted && !given)
		return;
	fprintf(cli->out, "  %-14s %s to be given back", "balloon",
		cli_format_bytes((uint64_t)wanted, wanted_text));
	if (cli_json_member(balloon, "given_bytes"))
		fprintf(cli->out, ", %s given%s", cli_format_bytes((uint64_t)given, given_text),
			cli_json_true(balloon, "driver") ? "" : " (its guest has no driver yet)");
	fprintf(cli->out, "\n");
}

static void print_vm(struct cli *cli, const struct json *row)
{
	static const struct {
		const char *title, *key;
		enum cli_format format;
	} lines[] = {
		{"state", "state", CLI_STATE},
		{"for", "since_s", CLI_AGE},
		{"error", "error", CLI_AUTO},
		{"wanted", "wanted", CLI_AUTO},
		{"host", "host", CLI_AUTO},
		{"UUID", "uuid", CLI_AUTO},
		{"process", "pid", CLI_AUTO},
		{"vCPUs", "vcpus", CLI_AUTO},
		{"memory", "memory_bytes", CLI_BYTES},
		{"pages", "pages", CLI_AUTO},
		{"kernel", "kernel", CLI_AUTO},
		{"initrd", "initrd", CLI_AUTO},
		{"command line", "command_line", CLI_AUTO},
		{"CPU mask", "cpu_mask", CLI_AUTO},
		{"options", "options", CLI_AUTO},
		{"restart", "restart", CLI_AUTO},
		{"restarts", "restarts", CLI_COUNT},
		{"last outcome", "last_outcome", CLI_AUTO},
		{"directory", "directory", CLI_AUTO},
	};

	fprintf(cli->out, "%sVM %s%s\n", cli_colour_start(cli, CLI_BOLD),
		cli_json_text(row, "name"), cli_colour_end(cli));
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
		cli_print_member(cli, row, lines[i].title, lines[i].key, lines[i].format);
	print_balloon(cli, row);
	print_vnics(cli, row);
	print_disks(cli, row);
}

enum cli_status cli_vm_show(struct cli *cli)
{
	enum cli_status status;
	struct model *model = cli_model(cli, &status);
	const struct cordonrec_vm *vm = model ? cli_vm_find(cli, model, &status) : NULL;
	struct json *row = vm ? cli_vm_json(cli, vm) : NULL;

	model_close(model);
	if (!row)
		return status;
	if (cli->json)
		return cli_print_json(cli, row);
	print_vm(cli, row);
	json_destroy(row);
	return CLI_OK;
}

/* --- vm stats ------------------------------------------------------------------------------- */

static enum cli_status stats_of_all(struct cli *cli, struct json *rows)
{
	static const struct cli_column columns[] = {
		{"name", "name", CLI_AUTO, 0, 0, NULL},
		{"state", "state", CLI_STATE, 0, 0, NULL},
		{"cpu time", "cpu", CLI_AGE, 1, 0, cpu_text},
		{"memory used", "used", CLI_BYTES, 1, 0, used_text},
		{"memory", "memory_bytes", CLI_BYTES, 2, 0, NULL},
		{"restarts", "restarts", CLI_COUNT, 2, 0, NULL},
	};

	return cli_print_table(cli, columns, ARRAY_SIZE(columns), rows, "No VMs.");
}

static enum cli_status stats_of_one(struct cli *cli, struct json *vm)
{
	static const struct cli_column columns[] = {
		{"counter", "counter", CLI_AUTO, 0, 0, NULL},
		{"value", "value", CLI_COUNT, 0, 0, NULL},
	};
	const struct json *statistics = cli_json_member(vm, "statistics");
	struct json *rows = json_array_create_empty();
	const struct shash_node **nodes = shash_sort(json_object(statistics));

	for (size_t i = 0; i < shash_count(json_object(statistics)); i++) {
		struct json *row = json_object_create();

		json_object_put_string(row, "counter", nodes[i]->name);
		json_object_put(row, "value", json_clone(nodes[i]->data));
		json_array_add(rows, row);
	}
	free(nodes);
	json_destroy(vm);
	return cli_print_table(cli, columns, ARRAY_SIZE(columns), rows,
		"Nothing is counted: it does not run, or was started a moment ago.");
}

enum cli_status cli_vm_stats(struct cli *cli)
{
	const struct cordonrec_vm *vm = NULL;
	enum cli_status status;
	struct model *model = cli_model(cli, &status);
	struct json *json = NULL;

	if (!model)
		return status;
	if (!cli->n_arguments)
		json = rows_of(cli, model);
	else if ((vm = cli_vm_find(cli, model, &status)))
		json = cli_vm_json(cli, vm);
	model_close(model);
	if (!json)
		return status;
	return vm ? stats_of_one(cli, json) : stats_of_all(cli, json);
}
