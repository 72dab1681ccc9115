/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM as a person writes it down: keys and values become a change of the model.  Called by vm.c
 * for options, and by vm_yaml.c for files.  What the values may be, the model says.
 */
#include "cli/vm.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "openvswitch/dynamic-string.h"
#include "smap.h"
#include "util.h"

static bool fail(struct vm_draft *draft, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static bool fail(struct vm_draft *draft, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(draft->sentence, sizeof(draft->sentence), format, arguments);
	va_end(arguments);
	return false;
}

static const char *keep(struct vm_draft *draft, const char *text)
{
	return cli_keep(draft->cli, xstrdup(text));
}

/* "command-line" and "command_line" are one key. */
static bool is_key(const char *key, const char *name)
{
	for (; *key && *name; key++, name++) {
		if (*key != *name && !(*key == '_' && *name == '-'))
			return false;
	}
	return *key == *name;
}

static bool read_number(struct vm_draft *draft, const char *key, const char *value, int64_t *number)
{
	char *end;

	errno = 0;
	*number = strtoll(value, &end, 10);
	if (!*value || *end || errno || *number < 0)
		return fail(draft, "%s '%s' is no number", key, value);
	return true;
}

/* MiB: "512", "512M", "2G". */
static bool read_memory(struct vm_draft *draft, const char *value)
{
	int64_t factor = 1;
	char *end;

	errno = 0;
	draft->change.memory_mib = strtoll(value, &end, 10);
	if (*end == 'G' && end != value)
		factor = 1024;
	if (*end == 'G' || *end == 'M')
		end++;
	if (!*value || *end || errno || draft->change.memory_mib < 0 ||
		draft->change.memory_mib > INT32_MAX)
		return fail(draft,
			"memory '%s' is no size; write MiB, as 512 or 512M, or GiB, as 2G", value);
	draft->change.memory_mib *= factor;
	return true;
}

static bool read_switch(struct vm_draft *draft, const char *key, const char *value, bool *on)
{
	*on = !strcmp(value, "on") || !strcmp(value, "true") || !strcmp(value, "yes");
	if (*on || !strcmp(value, "off") || !strcmp(value, "false") || !strcmp(value, "no"))
		return true;
	return fail(draft, "%s '%s' is neither on nor off", key, value);
}

/* --- The VM itself -------------------------------------------------------------------------- */

void vm_draft_begin(struct vm_draft *draft, struct cli *cli)
{
	*draft = (struct vm_draft){.cli = cli};
	draft->change.host = cli->host;
	draft->change.run_directory = cli->run_directory;
	draft->change.vcpus = draft->change.memory_mib = -1;
}

static bool put_option(struct vm_draft *draft, const char *key, const char *value)
{
	const struct model_vm_option *option = model_vm_options;
	char *escaped, *at;

	while (option->name && !is_key(key, option->name))
		option++;
	if (!option->name)
		return fail(
			draft, "a VM has no setting '%s'; `cordon help vm create` lists them", key);
	escaped = xmalloc(2 * strlen(value) + 1);
	for (at = escaped; *value; value++) {
		if (*value == ',')
			*at++ = '\\';
		*at++ = *value;
	}
	*at = '\0';
	draft->change.options = cli_keep(draft->cli,
		xasprintf("%s%s%s=%s", draft->change.options ? draft->change.options : "",
			draft->change.options ? "," : "", option->name, escaped));
	free(escaped);
	return true;
}

bool vm_draft_put(struct vm_draft *draft, const char *key, const char *value)
{
	struct model_vm_change *change = &draft->change;
	const struct {
		const char *key;
		const char **place;
	} texts[] = {
		{"name", &change->name},
		{"pages", &change->pages},
		{"kernel", &change->kernel},
		{"initrd", &change->initrd},
		{"command-line", &change->command_line},
		{"cpu-mask", &change->cpu_mask},
		{"restart", &change->restart},
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		if (is_key(key, texts[i].key)) {
			*texts[i].place = keep(draft, value);
			return true;
		}
	}
	if (is_key(key, "vcpus"))
		return read_number(draft, key, value, &change->vcpus);
	if (is_key(key, "memory"))
		return read_memory(draft, value);
	return put_option(draft, key, value);
}

/* --- vNICs ---------------------------------------------------------------------------------- */

static void begin_vnic(struct model_vnic *vnic)
{
	*vnic = (struct model_vnic){.queues = -1, .mtu = -1};
	vnic->port.spoof_guard = -1;
	vnic->port.ingress_kbps = vnic->port.mac_limit = vnic->port.storm_pps = -1;
	vnic->port.connection_limit = vnic->port.half_open_limit = -1;
	vnic->port.new_connection_limit = -1;
}

bool vm_draft_add_vnic(struct vm_draft *draft, size_t *place)
{
	if (draft->change.n_vnics == MODEL_VNICS_MAX)
		return fail(draft, "a VM may have %d vNICs", MODEL_VNICS_MAX);
	*place = draft->change.n_vnics++;
	draft->change.vnics = draft->vnics;
	begin_vnic(&draft->vnics[*place]);
	return true;
}

/* Adds to a list, whose former content the first value replaces. */
static void add_to_list(struct vm_draft *draft, size_t place, unsigned int bit, const char **list,
	const char *value)
{
	bool begun = draft->lists_begun[place] & (1U << bit);

	draft->lists_begun[place] |= 1U << bit;
	*list = cli_keep(draft->cli,
		begun && *list && **list ? xasprintf("%s,%s", *list, value) : xstrdup(value));
}

static int64_t *vnic_number(struct model_vnic *vnic, const char *key)
{
	const struct {
		const char *key;
		int64_t *place;
	} numbers[] = {
		{"queues", &vnic->queues},
		{"mtu", &vnic->mtu},
		{"ingress-kbps", &vnic->port.ingress_kbps},
		{"mac-limit", &vnic->port.mac_limit},
		{"storm-limit", &vnic->port.storm_pps},
		{"connection-limit", &vnic->port.connection_limit},
		{"half-open-limit", &vnic->port.half_open_limit},
		{"new-connection-limit", &vnic->port.new_connection_limit},
	};

	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		if (is_key(key, numbers[i].key))
			return numbers[i].place;
	}
	return NULL;
}

bool vm_draft_put_vnic(struct vm_draft *draft, size_t place, const char *key, const char *value)
{
	struct model_port_change *port = &draft->vnics[place].port;
	const struct {
		const char *key, *other;
		const char **list;
	} lists[] = {
		{"address", "addresses", &port->addresses},
		{"tag", "tags", &port->tags},
		{"trunk", "trunks", &port->trunks},
		{"serves", "serves", &port->serves},
	};
	int64_t *number = vnic_number(&draft->vnics[place], key);

	if (number)
		return read_number(draft, key, value, number);
	if (is_key(key, "network")) {
		port->network = keep(draft, value);
		return true;
	}
	if (is_key(key, "mac")) {
		port->macs = keep(draft, value);
		return true;
	}
	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		if (is_key(key, lists[i].key) || is_key(key, lists[i].other)) {
			add_to_list(draft, place, (unsigned int)i, lists[i].list, value);
			return true;
		}
	}
	return fail(draft,
		"a vNIC has no '%s'; it has network, mac, address, tag, trunk, serves, queues, mtu "
		"and limits as a port",
		key);
}

/* --- Disks ---------------------------------------------------------------------------------- */

bool vm_draft_add_disk(struct vm_draft *draft, size_t *place)
{
	if (draft->change.n_disks == MODEL_DISKS_MAX)
		return fail(draft, "a VM may have %d disks", MODEL_DISKS_MAX);
	*place = draft->change.n_disks++;
	draft->change.disks = draft->disks;
	draft->disks[*place] = (struct model_disk){0};
	return true;
}

bool vm_draft_put_disk(struct vm_draft *draft, size_t place, const char *key, const char *value)
{
	struct model_disk *disk = &draft->disks[place];

	if (is_key(key, "path"))
		disk->path = keep(draft, value);
	else if (is_key(key, "format"))
		disk->format = keep(draft, value);
	else if (is_key(key, "direct"))
		disk->direct = keep(draft, value);
	else if (is_key(key, "serial"))
		disk->serial = keep(draft, value);
	else if (is_key(key, "readonly") || is_key(key, "read-only"))
		return read_switch(draft, key, value, &disk->read_only);
	else
		return fail(draft,
			"a disk has no '%s'; it has path, format, readonly, direct and serial",
			key);
	return true;
}

/* --- What there is -------------------------------------------------------------------------- */

static const char *join(struct vm_draft *draft, char *const *words, size_t n)
{
	struct ds text = DS_EMPTY_INITIALIZER;

	for (size_t i = 0; i < n; i++)
		ds_put_format(&text, "%s%s", i ? "," : "", words[i]);
	return cli_keep(draft->cli, text.string ? ds_steal_cstr(&text) : xstrdup(""));
}

static void take_limits(struct model_vnic *vnic, const struct cordonrec_vm_vnic *row)
{
	static const struct {
		const char *column, *key;
	} names[] = {
		{"ingress-kbps", "ingress-kbps"},
		{"macs", "mac-limit"},
		{"storm-pps", "storm-limit"},
		{"connections", "connection-limit"},
		{"half-open", "half-open-limit"},
		{"new-per-second", "new-connection-limit"},
	};

	for (size_t i = 0; i < row->n_limits; i++) {
		for (size_t j = 0; j < ARRAY_SIZE(names); j++) {
			if (!strcmp(row->key_limits[i], names[j].column))
				*vnic_number(vnic, names[j].key) = row->value_limits[i];
		}
	}
}

static void take_vnic(struct vm_draft *draft, const struct cordonrec_vm_vnic *row)
{
	struct model_vnic *vnic = &draft->vnics[row->position];
	struct ds trunks = DS_EMPTY_INITIALIZER;

	begin_vnic(vnic);
	vnic->port.network = row->network ? keep(draft, row->network->name) : NULL;
	vnic->port.macs = keep(draft, row->mac);
	vnic->port.addresses = join(draft, row->addresses, row->n_addresses);
	vnic->port.tags = join(draft, row->tags, row->n_tags);
	vnic->port.serves = join(draft, row->serves, row->n_serves);
	for (size_t i = 0; i < row->n_trunks; i++)
		ds_put_format(&trunks, "%s%lld", i ? "," : "", (long long int)row->trunks[i]);
	vnic->port.trunks = trunks.string ? cli_keep(draft->cli, ds_steal_cstr(&trunks)) : NULL;
	vnic->queues = row->queues;
	vnic->mtu = row->n_mtu ? *row->mtu : -1;
	take_limits(vnic, row);
}

void vm_draft_from_row(struct vm_draft *draft, const struct cordonrec_vm *vm)
{
	draft->change.name = keep(draft, vm->name);
	for (size_t i = 0; i < vm->n_vnics; i++)
		take_vnic(draft, vm->vnics[i]);
	draft->change.n_vnics = vm->n_vnics;
}
