/* SPDX-License-Identifier: Apache-2.0 */
/*
 * VMs in the desired-state model, against a real ovsdb-server: what is written, what is refused and
 * with which words, and what goes with a VM.  Run by `make unit` from the top of the tree.
 */
#include "tests/unit/model_fixture.h"

static struct model_vnic no_vnic(void)
{
	return (struct model_vnic){.port = port_change(NULL), .queues = -1, .mtu = -1};
}

/* A change that says nothing but which VM is meant, and its kernel. */
static struct model_vm_change vm_change(const char *name)
{
	return (struct model_vm_change){.name = name,
		.host = "alpha",
		.run_directory = "/run/cordon",
		.vcpus = -1,
		.memory_mib = -1,
		.kernel = "/boot/vmlinuz"};
}

static void create(struct model *model, const struct model_vm_change *change)
{
	struct model_error error;

	if (model_vm_create(model, change, &error) != MODEL_OK)
		fail_msg("%s", error.message);
}

static const struct cordonrec_vm_vnic *vnic_at(const struct cordonrec_vm *vm, int64_t position)
{
	for (size_t i = 0; i < vm->n_vnics; i++) {
		if (vm->vnics[i]->position == position)
			return vm->vnics[i];
	}
	fail_msg("VM %s has no vNIC %lld", vm->name, (long long int)position);
	return NULL;
}

static void test_defaults(void **state)
{
	struct fixture *fixture = *state;
	struct model_vnic vnics[] = {no_vnic()};
	struct model_vm_change change = vm_change("web1");
	const struct cordonrec_vm *vm;

	change.vnics = vnics;
	change.n_vnics = 1;
	create(fixture->model, &change);
	vm = model_vm(fixture->model, "alpha", "web1");
	assert_non_null(vm);
	assert_int_equal(vm->vcpus, 1);
	assert_int_equal(vm->memory_mib, 256);
	assert_string_equal(vm->wanted, "stopped");
	assert_string_equal(vm->restart, "no");
	assert_string_equal(vm->pages, "auto");
	assert_int_equal(vm->n_vnics, 1);
	assert_int_equal(vm->vnics[0]->queues, 1);
	/* One that nobody else has, of the hypervisors' range. */
	assert_memory_equal(vm->vnics[0]->mac, "52:54:00:", 9);
	assert_null(vm->state);
}

/* A VM with two vNICs and two disks, all of whose columns are set. */
static void create_full(struct model *model)
{
	struct model_vnic vnics[] = {no_vnic(), no_vnic()};
	struct model_disk disks[] = {
		{.path = "/srv/a.img", .read_only = true, .direct = "on", .serial = "A1"},
		{.path = "/srv/b.qcow2", .format = "qcow2"}};
	struct model_vm_change change = vm_change("web1");
	struct model_error error;

	assert_int_equal(model_network_add(model, "lan", 10, -1, NULL, &error), MODEL_OK);
	vnics[0].port.network = "lan";
	vnics[0].port.macs = "52:54:00:AA:00:01";
	vnics[0].port.addresses = "10.0.0.1,2001:DB8::1";
	vnics[0].port.tags = "tier=web";
	vnics[0].port.connection_limit = 100;
	vnics[0].queues = 4;
	vnics[0].mtu = 1400;
	change.vnics = vnics;
	change.n_vnics = 2;
	change.disks = disks;
	change.n_disks = 2;
	change.vcpus = 4;
	change.memory_mib = 512;
	change.options = "rng=off,stop-seconds=5";
	change.restart = "on-failure";
	create(model, &change);
}

static void test_columns(void **state)
{
	struct fixture *fixture = *state;
	struct model *model = fixture->model;
	struct model_vnic vnics[] = {no_vnic(), no_vnic()};
	struct model_vm_change change = vm_change("web1");
	const struct cordonrec_vm_vnic *vnic;
	const struct cordonrec_vm *vm;
	struct model_error error;
	char *made;

	create_full(model);
	vm = model_vm(model, "alpha", "web1");
	assert_int_equal(vm->n_disks, 2);
	vnic = vnic_at(vm, 0);
	assert_string_equal(vnic->mac, "52:54:00:aa:00:01");
	assert_string_equal(vnic->network->name, "lan");
	assert_int_equal(vnic->n_addresses, 2);
	assert_string_equal(vnic->addresses[1], "2001:db8::1");
	assert_int_equal(vnic->n_limits, 1);
	assert_int_equal(*vnic->mtu, 1400);
	made = strdup(vnic_at(vm, 1)->mac);

	/* Only what is named changes; a vNIC that stays keeps the MAC that was made up for it. */
	change.kernel = NULL;
	change.memory_mib = 1024;
	change.options = "rng=";
	vnics[0].port.tags = "tier=db";
	change.vnics = vnics;
	change.n_vnics = 2;
	if (model_vm_set(model, &change, &error) != MODEL_OK)
		fail_msg("%s", error.message);
	vm = model_vm(model, "alpha", "web1");
	assert_int_equal(vm->memory_mib, 1024);
	assert_int_equal(vm->vcpus, 4);
	assert_string_equal(vm->kernel, "/boot/vmlinuz");
	assert_null(smap_get(&vm->options, "rng"));
	assert_string_equal(smap_get(&vm->options, "stop-seconds"), "5");
	assert_int_equal(vm->n_disks, 2);
	assert_string_equal(vnic_at(vm, 0)->mac, "52:54:00:aa:00:01");
	assert_string_equal(vnic_at(vm, 0)->tags[0], "tier=db");
	assert_int_equal(vnic_at(vm, 0)->n_addresses, 0);
	assert_string_equal(vnic_at(vm, 1)->mac, made);
	free(made);
}

/* What must be refused, and which words the message must hold. */
static const struct refused {
	const char *why;
	struct model_vm_change change;
	struct model_vnic vnic;
	struct model_disk disk;
	enum model_result result;
	const char *word;
} refused[] = {
	{.why = "no kernel", .change.kernel = "", .word = "no kernel"},
	{.why = "kernel", .change.kernel = "vmlinuz", .word = "'vmlinuz' is not an absolute"},
	{.why = "initrd", .change.initrd = "initrd", .word = "initrd 'initrd'"},
	{.why = "vCPUs", .change.vcpus = 65, .word = "65 vCPUs: use 1 to 64"},
	{.why = "no vCPU", .change.vcpus = 0, .word = "0 vCPUs"},
	{.why = "memory", .change.memory_mib = 1, .word = "1 MiB of memory"},
	{.why = "odd memory", .change.memory_mib = 255, .word = "use 256"},
	{.why = "pages", .change.pages = "big", .word = "'big'"},
	{.why = "restart", .change.restart = "never", .word = "no, on-failure, always"},
	{.why = "command line", .change.command_line = "a\nb", .word = "control character"},
	{.why = "CPU mask", .change.cpu_mask = "xsave;smap", .word = "xsave,smap"},
	{.why = "option", .change.options = "cheese=on", .word = "no option 'cheese'"},
	{.why = "option word", .change.options = "rng=maybe", .word = "on off"},
	{.why = "option irqchip", .change.options = "irqchip=pic", .word = "auto split"},
	{.why = "option number", .change.options = "stop-seconds=0", .word = "1 to 3600"},
	{.why = "MAC", .vnic.port.macs = "1:2:3", .word = "vNIC 0: MAC '1:2:3'"},
	{.why = "two MACs",
		.vnic.port.macs = "52:54:00:00:00:01,52:54:00:00:00:02",
		.word = "vNIC 0: a vNIC has one MAC"},
	{.why = "address", .vnic.port.addresses = "10.0.0", .word = "'10.0.0'"},
	{.why = "tag", .vnic.port.tags = "=web", .word = "'=web'"},
	{.why = "queues", .vnic.queues = 17, .word = "17 queues: use 1 to 16"},
	{.why = "MTU", .vnic.mtu = 500, .word = "500 bytes of MTU"},
	{.why = "network",
		.vnic.port.network = "nowhere",
		.result = MODEL_NOT_FOUND,
		.word = "'nowhere'"},
	{.why = "disk path", .disk.path = "a.img", .word = "disk 0: disk 'a.img'"},
	{.why = "disk comma", .disk.path = "/a,b", .word = "comma"},
	{.why = "disk format", .disk = {.path = "/a", .format = "vdi"}, .word = "'vdi'"},
	{.why = "disk serial",
		.disk = {.path = "/a", .serial = "0123456789012345678901"},
		.word = "at most 20"},
	{.why = "socket path",
		.change.run_directory =
			"/a/very/long/path/01234567890123456789012345678901234567890123456789"
			"0123456789012345678901234567890123456789",
		.word = "and a socket's may have 107"},
};

static void check_refused(struct model *model, const struct refused *row)
{
	struct model_vm_change change = vm_change("p");
	struct model_error error = {.message = ""};
	enum model_result expected = row->result ? row->result : MODEL_INVALID;
	struct model_vnic vnic = no_vnic();

	change.kernel = row->change.kernel ? row->change.kernel : change.kernel;
	change.initrd = row->change.initrd;
	change.vcpus = row->change.vcpus || strstr(row->why, "no vCPU") ? row->change.vcpus : -1;
	change.memory_mib = row->change.memory_mib ? row->change.memory_mib : -1;
	change.pages = row->change.pages;
	change.restart = row->change.restart;
	change.command_line = row->change.command_line;
	change.cpu_mask = row->change.cpu_mask;
	change.options = row->change.options;
	if (row->change.run_directory)
		change.run_directory = row->change.run_directory;
	vnic.port.macs = row->vnic.port.macs;
	vnic.port.addresses = row->vnic.port.addresses;
	vnic.port.tags = row->vnic.port.tags;
	vnic.port.network = row->vnic.port.network;
	vnic.queues = row->vnic.queues ? row->vnic.queues : -1;
	vnic.mtu = row->vnic.mtu ? row->vnic.mtu : -1;
	change.vnics = &vnic;
	change.n_vnics = 1;
	change.disks = &row->disk;
	change.n_disks = row->disk.path ? 1 : 0;
	if (model_vm_create(model, &change, &error) != expected ||
		!strstr(error.message, row->word))
		fail_msg("%s: result %d, message \"%s\"", row->why, error.result, error.message);
}

static void test_refused(void **state)
{
	struct fixture *fixture = *state;

	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
		check_refused(fixture->model, &refused[i]);
	assert_null(cordonrec_vm_first(model_idl(fixture->model)));
}

static void test_names(void **state)
{
	static const char *const bad[] = {"", "a b", "-a", "a/b", "../x", ".x",
		"0123456789012345678901234567890123456789012345678901234567890"};
	struct fixture *fixture = *state;
	struct model_vm_change change;
	struct model_error error;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		change = vm_change(bad[i]);
		assert_int_equal(model_vm_create(fixture->model, &change, &error), MODEL_INVALID);
	}
	change = vm_change("a");
	create(fixture->model, &change);
	assert_int_equal(model_vm_create(fixture->model, &change, &error), MODEL_EXISTS);
	assert_non_null(strstr(error.message, "vm set a"));
	change.name = "b";
	assert_int_equal(model_vm_set(fixture->model, &change, &error), MODEL_NOT_FOUND);
	change.host = "gamma";
	assert_int_equal(model_vm_create(fixture->model, &change, &error), MODEL_NOT_FOUND);
	assert_non_null(strstr(error.message, "alpha"));
}

/* A MAC or an address belongs to one vNIC or port of the host. */
static void test_unique(void **state)
{
	struct fixture *fixture = *state;
	struct model *model = fixture->model;
	struct model_port_change port = port_change("p");
	struct model_vnic vnics[] = {no_vnic(), no_vnic()};
	struct model_vm_change change = vm_change("a");
	struct model_error error;

	port.type = "kernel";
	port.macs = "52:54:00:00:00:01";
	port.addresses = "10.0.0.1";
	assert_int_equal(model_port_add(model, &port, &error), MODEL_OK);
	change.vnics = vnics;
	change.n_vnics = 2;
	vnics[1].port.macs = "52:54:00:00:00:01";
	assert_int_equal(model_vm_create(model, &change, &error), MODEL_INVALID);
	assert_non_null(strstr(error.message, "belongs to port p"));
	assert_non_null(strstr(error.message, "vNIC 1 of VM a"));
	vnics[1].port.macs = vnics[0].port.macs = "52:54:00:00:00:02";
	assert_int_equal(model_vm_create(model, &change, &error), MODEL_INVALID);
	assert_non_null(strstr(error.message, "is vNIC 0's"));
	vnics[1].port.macs = NULL;
	vnics[1].port.addresses = "10.0.0.2";
	create(model, &change);
	/* It may be given again what it has. */
	assert_int_equal(model_vm_set(model, &change, &error), MODEL_OK);
	change.name = "b";
	vnics[0].port.macs = NULL;
	assert_int_equal(model_vm_create(model, &change, &error), MODEL_INVALID);
	assert_non_null(strstr(error.message, "10.0.0.2 belongs to VM a"));
	port.name = "q";
	port.macs = "52:54:00:00:00:02";
	port.addresses = NULL;
	assert_int_equal(model_port_add(model, &port, &error), MODEL_INVALID);
	assert_non_null(strstr(error.message, "belongs to VM a"));
	/* Nor may a port have the name that cordon-hostd will give to a vNIC's. */
	port = port_change("c.0");
	port.type = "kernel";
	assert_int_equal(model_port_add(model, &port, &error), MODEL_OK);
	change = vm_change("c");
	vnics[0] = no_vnic();
	change.vnics = vnics;
	change.n_vnics = 1;
	assert_int_equal(model_vm_create(model, &change, &error), MODEL_EXISTS);
	assert_non_null(strstr(error.message, "port c.0"));
}

/* --- Wishes ---------------------------------------------------------------------------------- */

static enum model_result want(
	struct model *model, const char *name, struct model_vm_wish wish, struct model_error *error)
{
	return model_vm_want(model, "alpha", name, &wish, error);
}

static void refuse_balloon(struct model *model, int64_t mib, const char *word)
{
	struct model_error error;

	assert_int_equal(model_vm_set_balloon(model, "alpha", "a", mib, &error), MODEL_INVALID);
	if (!strstr(error.message, word))
		fail_msg("%lld MiB: \"%s\"", (long long int)mib, error.message);
}

/* A guest gives back what it has, and through a balloon; neither may be taken from it afterwards.
 */
static void test_balloon(void **state)
{
	struct fixture *fixture = *state;
	struct model *model = fixture->model;
	struct model_vm_change change = vm_change("a");
	struct model_error error;

	change.memory_mib = 64;
	create(model, &change);
	assert_int_equal(model_vm_set_balloon(model, "alpha", "b", 1, &error), MODEL_NOT_FOUND);
	refuse_balloon(model, 64, "has 64 MiB of memory");
	assert_int_equal(model_vm_set_balloon(model, "alpha", "a", 63, &error), MODEL_OK);
	assert_int_equal(model_vm(model, "alpha", "a")->balloon_mib, 63);
	change.memory_mib = 32;
	assert_int_equal(model_vm_set(model, &change, &error), MODEL_INVALID);
	change.memory_mib = -1;
	change.options = "balloon=off";
	assert_int_equal(model_vm_set(model, &change, &error), MODEL_INVALID);
	assert_non_null(strstr(error.message, "vm balloon a 0"));
	assert_int_equal(model_vm_set_balloon(model, "alpha", "a", 0, &error), MODEL_OK);
	assert_int_equal(model_vm_set(model, &change, &error), MODEL_OK);
	refuse_balloon(model, 1, "balloon=on");
}

static void test_wishes(void **state)
{
	struct fixture *fixture = *state;
	struct model *model = fixture->model;
	struct model_vm_change change = vm_change("a");
	struct model_error error;

	create(model, &change);
	assert_int_equal(want(model, "a", (struct model_vm_wish){.wanted = "paused"}, &error),
		MODEL_INVALID);
	assert_non_null(strstr(error.message, "vm start a"));
	assert_int_equal(
		want(model, "a", (struct model_vm_wish){.wanted = "running", .only_resume = true},
			&error),
		MODEL_INVALID);
	assert_int_equal(want(model, "b", (struct model_vm_wish){.wanted = "running"}, &error),
		MODEL_NOT_FOUND);
	assert_int_equal(
		want(model, "a", (struct model_vm_wish){.wanted = "running"}, &error), MODEL_OK);
	assert_int_equal(model_vm(model, "alpha", "a")->start_request, 1);
	assert_int_equal(
		want(model, "a", (struct model_vm_wish){.wanted = "paused"}, &error), MODEL_OK);
	assert_int_equal(model_vm(model, "alpha", "a")->start_request, 1);
	/* Nobody starts it here, which is what the waiting says. */
	assert_int_equal(model_vm_wait(model, "alpha", "a", 50, &error), MODEL_UNREACHABLE);
	assert_non_null(strstr(error.message, "not taken up"));
	/* It may run at any moment. */
	assert_int_equal(model_vm_delete(model, "alpha", "a", false, &error), MODEL_INVALID);
	assert_int_equal(
		want(model, "a", (struct model_vm_wish){.wanted = "stopped", .at_once = true},
			&error),
		MODEL_OK);
	assert_true(model_vm(model, "alpha", "a")->at_once);
	assert_int_equal(model_vm_wait(model, "alpha", "a", 50, &error), MODEL_OK);
	assert_int_equal(model_vm_delete(model, "alpha", "a", false, &error), MODEL_OK);
	assert_null(model_vm(model, "alpha", "a"));
	assert_int_equal(model_vm_delete(model, "alpha", "a", true, &error), MODEL_NOT_FOUND);
}

/* --- What belongs to a VM -------------------------------------------------------------------- */

/* As cordon-hostd makes it. */
static enum model_result build_vm_port(struct model *model, struct ovsdb_idl_txn *transaction,
	void *context, struct model_error *error)
{
	struct cordonrec_port *port = cordonrec_port_insert(transaction);

	(void)error;
	cordonrec_port_set_name(port, "a.0");
	cordonrec_port_set_host(port, model_host(model, "alpha"));
	cordonrec_port_set_type(port, "vhost");
	cordonrec_port_set_role(port, "vnic");
	cordonrec_port_set_vlan_mode(port, "access");
	cordonrec_port_set_vm(port, context);
	return MODEL_OK;
}

static void test_belongings(void **state)
{
	struct fixture *fixture = *state;
	struct model *model = fixture->model;
	struct model_vnic vnic = no_vnic();
	struct model_disk disk = {.path = "/srv/a.img"};
	struct model_vm_change change = vm_change("a");
	struct model_port_change port = port_change("a.0");
	struct model_change insert = {.build = build_vm_port, .what = "port a.0"};
	struct model_error error;

	assert_int_equal(model_network_add(model, "lan", 10, -1, NULL, &error), MODEL_OK);
	vnic.port.network = "lan";
	change.vnics = &vnic;
	change.n_vnics = 1;
	change.disks = &disk;
	change.n_disks = 1;
	create(model, &change);
	insert.context = (void *)model_vm(model, "alpha", "a");
	assert_int_equal(model_commit(model, &insert, &error), MODEL_OK);

	/* The port follows the vNIC, so it is not changed by itself. */
	port.tags = "tier=db";
	assert_int_equal(model_port_set(model, &port, &error), MODEL_INVALID);
	assert_non_null(strstr(error.message, "cordon vm set a"));
	assert_int_equal(model_port_delete(model, "alpha", "a.0", &error), MODEL_INVALID);
	assert_non_null(strstr(error.message, "cordon vm delete a"));
	assert_int_equal(model_network_delete(model, "lan", &error), MODEL_INVALID);
	assert_non_null(strstr(error.message, "VM a"));

	/* A change that does not speak of vNICs and disks leaves them, whatever their number. */
	change = vm_change("a");
	change.n_vnics = change.n_disks = 1;
	change.memory_mib = 64;
	assert_int_equal(model_vm_set(model, &change, &error), MODEL_OK);
	assert_int_equal(model_vm(model, "alpha", "a")->n_vnics, 1);

	/* All of it goes with the VM. */
	assert_int_equal(model_vm_delete(model, "alpha", "a", false, &error), MODEL_OK);
	assert_null(cordonrec_vm_vnic_first(model_idl(model)));
	assert_null(cordonrec_vm_disk_first(model_idl(model)));
	assert_null(model_port(model, "alpha", "a.0"));
	assert_int_equal(model_network_delete(model, "lan", &error), MODEL_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_defaults, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_columns, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_balloon, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_names, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_unique, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_wishes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_belongings, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
