/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM in YAML: what becomes of each key, and where errors are said to be.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/vm.h"

struct reading {
	struct cli cli;
	struct vm_draft draft;
	char *said;
	size_t bytes;
};

static void begin(struct reading *reading)
{
	*reading = (struct reading){.cli = {.host = "alpha", .run_directory = "/run/cordon"}};
	reading->cli.out = stdout;
	reading->cli.err = open_memstream(&reading->said, &reading->bytes);
	vm_draft_begin(&reading->draft, &reading->cli);
}

static void end(struct reading *reading)
{
	fclose(reading->cli.err);
	free(reading->said);
	cli_destroy(&reading->cli);
}

static bool read_text(struct reading *reading, const char *text)
{
	bool good = vm_yaml_read_text(&reading->draft, "vm.yaml", text, strlen(text));

	fflush(reading->cli.err);
	return good;
}

static void test_whole(void **state)
{
	const struct model_vm_change *change;
	struct reading reading;

	(void)state;
	begin(&reading);
	if (!read_text(&reading, "name: web1\n"
				 "vcpus: 2\n"
				 "memory: 2G\n"
				 "kernel: /srv/vmlinuz\n"
				 "command_line: \"console=ttyS0, quiet\"\n"
				 "restart: on-failure\n"
				 "irqchip: split\n"
				 "options: {rng: off, stop-seconds: 5}\n"
				 "nics:\n"
				 "  - network: lan\n"
				 "    mac: 52:54:00:00:00:01\n"
				 "    addresses: [10.0.0.1, \"fd00::1\"]\n"
				 "    tags: [tier=web, stage=test]\n"
				 "    queues: 2\n"
				 "    limits: {connection-limit: 100}\n"
				 "  - {}\n"
				 "disks:\n"
				 "  - path: /srv/a.img\n"
				 "    readonly: yes\n"
				 "  - {path: /srv/b.qcow2, format: qcow2, serial: B}\n"))
		fail_msg("%s", reading.said);
	change = &reading.draft.change;
	assert_string_equal(change->name, "web1");
	assert_int_equal(change->vcpus, 2);
	assert_int_equal(change->memory_mib, 2048);
	assert_string_equal(change->command_line, "console=ttyS0, quiet");
	assert_string_equal(change->options, "irqchip=split,rng=off,stop-seconds=5");
	assert_int_equal(change->n_vnics, 2);
	assert_string_equal(change->vnics[0].port.addresses, "10.0.0.1,fd00::1");
	assert_string_equal(change->vnics[0].port.tags, "tier=web,stage=test");
	assert_int_equal(change->vnics[0].port.connection_limit, 100);
	assert_int_equal(change->vnics[0].queues, 2);
	assert_null(change->vnics[1].port.macs);
	assert_int_equal(change->vnics[1].queues, -1);
	assert_int_equal(change->n_disks, 2);
	assert_true(change->disks[0].read_only);
	assert_string_equal(change->disks[1].format, "qcow2");
	end(&reading);
}

static const struct {
	const char *text, *said;
} wrong[] = {
	{"", "vm.yaml is empty"},
	{"- a\n", "vm.yaml:1:1: a VM is written as keys and values"},
	{"vcpus: two\n", "vm.yaml:1:8: vcpus 'two' is no number"},
	{"memory: 2T\n", "vm.yaml:1:9: memory '2T' is no size"},
	{"cheese: 1\n", "a VM has no setting 'cheese'"},
	{"name: a\nname: b\n", "vm.yaml:2:1: this key is given twice"},
	{"kernel: [a]\n", "vm.yaml:1:9: a word or a number belongs here"},
	{"nics: lan\n", "vm.yaml:1:7: a list belongs here"},
	{"nics:\n  - lan\n", "vm.yaml:2:5: a vNIC is written as keys and values"},
	{"nics:\n  - colour: red\n", "vm.yaml:2:13: a vNIC has no 'colour'"},
	{"nics:\n  - tags: [[a]]\n", "vm.yaml:2:12: a word or a number belongs here"},
	{"disks:\n  - {path: /a, readonly: maybe}\n", "readonly 'maybe' is neither on nor off"},
	{"disks:\n  - {path: /a, size: 1G}\n", "a disk has no 'size'"},
	{"options: {a: b}\n", "a VM has no setting 'a'"},
	{"a: [\n", "vm.yaml:2:1:"},
	{"? [a]\n: b\n", "a key is a word"},
	{"nics: [{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}]\n", "a VM may have 16 vNICs"},
};

static void test_wrong(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct reading reading;

		begin(&reading);
		if (read_text(&reading, wrong[i].text) || !reading.said ||
			!strstr(reading.said, wrong[i].said))
			fail_msg("%s: said \"%s\"", wrong[i].text, reading.said);
		end(&reading);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole),
		cmocka_unit_test(test_wrong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
