/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line of cordon-vmm: what is understood, and that each bad value is refused with a
 * sentence that names it and what is allowed.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "hv/options.h"

enum { WORDS = 64, LINE_BYTES = 2048 };

/* Splits at blanks; the words stay valid until the next call. */
static int read_line(struct vmm_options *options, const char *line, struct hv_error *error)
{
	static char copy[LINE_BYTES];
	char *argv[WORDS + 1] = {NULL}, *rest = copy;
	int argc = 0;

	assert_true(strlen(line) < LINE_BYTES);
	strcpy(copy, line);
	for (char *word; (word = strsep(&rest, " "));) {
		assert_true(argc < WORDS);
		argv[argc++] = word;
	}
	error->text[0] = '\0';
	return options_read(options, argc, argv, error);
}

static void test_defaults(void **state)
{
	struct vmm_options options;
	struct hv_error error;
	(void)state;

	assert_int_equal(read_line(&options, "cordon-vmm --kernel k", &error), 0);
	assert_string_equal(options.name, "guest");
	assert_int_equal(options.n_vcpus, 1);
	assert_int_equal(options.memory_bytes, 512 << 20);
	assert_string_equal(options.serial, "stdio");
	assert_string_equal(options.user, "nobody");
	assert_string_equal(options.command_line, "");
	assert_true(options.rng && options.balloon && options.console && options.sandbox);
	assert_false(options.paused);
	assert_null(options.control);
	assert_null(options.cpu_mask);
}

static void test_everything_at_once(void **state)
{
	struct vmm_options options;
	struct hv_error error;
	const uint8_t mac[] = {2, 0, 0, 0, 0, 0x2a};
	(void)state;

	assert_int_equal(
		read_line(&options,
			"cordon-vmm --name web-1 --uuid 01234567-89ab-cdef-0123-456789abcdef "
			"--vcpus 4 --memory 3G --pages huge --kernel k --initrd i --command-line "
			"x=1 "
			"--cpu-mask xsave,smap --net socket=/s0 --net "
			"socket=/s1,mac=02:00:00:00:00:2a,queues=4,queue-size=1024,mtu=9000 "
			"--disk path=/d0,readonly=on,direct=off,serial=abc --disk socket=/d1 "
			"--no-rng --no-balloon --no-console --serial none --control /c --outcome o "
			"--user vm --no-sandbox --paused",
			&error),
		0);
	assert_int_equal(options.memory_bytes, UINT64_C(3) << 30);
	assert_int_equal(options.pages, GUEST_PAGES_HUGE);
	assert_int_equal(options.n_nets, 2);
	assert_int_equal(options.nets[0].queue_pairs, 1);
	assert_int_equal(options.nets[0].queue_size, 256);
	assert_int_equal(options.nets[0].mtu, 0);
	assert_int_equal(options.nets[0].mac[0], 2);
	assert_memory_equal(options.nets[1].mac, mac, 6);
	assert_int_equal(options.nets[1].queue_pairs, 4);
	assert_int_equal(options.nets[1].queue_size, 1024);
	assert_int_equal(options.nets[1].mtu, 9000);
	assert_int_equal(options.n_disks, 2);
	assert_true(options.disks[0].read_only);
	assert_int_equal(options.disks[0].direct, DISK_DIRECT_OFF);
	assert_string_equal(options.disks[0].serial, "abc");
	assert_string_equal(options.disks[1].socket, "/d1");
	assert_false(options.rng || options.balloon || options.console || options.sandbox);
	assert_true(options.paused);
}

/* The same guest has the same addresses; other guests and other cards have others. */
static void test_made_up_addresses(void **state)
{
	struct vmm_options one, again, other;
	struct hv_error error;
	(void)state;

	read_line(&one, "v --kernel k --name a --net socket=/0 --net socket=/1", &error);
	read_line(&again, "v --kernel k --net socket=/x --name a", &error);
	read_line(&other, "v --kernel k --name b --net socket=/0", &error);
	assert_memory_equal(one.nets[0].mac, again.nets[0].mac, 6);
	assert_memory_not_equal(one.nets[0].mac, one.nets[1].mac, 6);
	assert_memory_not_equal(one.nets[0].mac, other.nets[0].mac, 6);
	assert_int_equal(one.nets[0].mac[0] & 3, 2);
}

/* Each is added to a line that is right; the sentence must have this in it. */
static const struct {
	const char *words, *part;
} refused[] = {
	{"--initrd k", "--kernel and --initrd both name 'k'"},
	{"--outcome k", "--kernel and --outcome both name 'k'"},
	{"--disk path=d --outcome d", "--disk and --outcome both name 'd'"},
	{"--disk path=d --disk path=d", "--disk and --disk both name 'd'"},
	{"--disk path=d,readonly=on --disk path=d,readonly=on", "--disk and --disk both name 'd'"},
	{"--disk path=d --disk socket=d", "--disk and --disk both name 'd'"},
	{"--disk socket=/s --disk socket=/s", "--disk and --disk both name '/s'"},
	{"--disk socket=/s --net socket=/s", "--net and --disk both name '/s'"},
	{"--disk socket=/s --control /s", "--disk and --control both name '/s'"},
	{"--serial i --initrd i", "--initrd and --serial both name 'i'"},
	{"--serial s --outcome s", "--serial and --outcome both name 's'"},
	{"--control c --outcome c", "--control and --outcome both name 'c'"},
	{"--control c --outcome ./c", "--control 'c' and --outcome './c' are the same"},
	{"--outcome /dev/null --serial /dev/../dev/null", "are the same"},
	{"--name", "--name needs a value"},
	{"--name a/b", "'a/b'"},
	{"--name 0123456789012345678901234567890123456789012345678901234567890123", "1 to 63"},
	{"--uuid 0123", "no UUID"},
	{"--uuid 01234567-89ab-cdef-0123-456789abcdeg", "no UUID"},
	{"--vcpus 0", "from 1 to 64"},
	{"--vcpus 65", "'65'"},
	{"--vcpus two", "'two'"},
	{"--vcpus -1", "'-1'"},
	{"--memory 0", "no size"},
	{"--memory 513", "a multiple of 2"},
	{"--memory 2", "from 4 to"},
	{"--memory 1T", "M (MiB"},
	{"--memory 99999999999999999999999", "no size"},
	{"--memory 18446744073709551615G", "from 4 to"},
	{"--pages big", "none of auto, huge and small"},
	{"--irqchip kernel", "neither auto nor split"},
	{"--initrd=", "--initrd is empty"},
	{"--cpu-mask xsaf", "xsave"},
	{"--cpu-mask avx512", "avx512f"},
	{"--cpu-mask smap,", "comma"},
	{"--cpu-mask smap,,avx", "''"},
	{"--cpu-mask nonsense", "'nonsense'"},
	{"--net mac=02:00:00:00:00:01", "no socket="},
	{"--net socket=", "empty path"},
	{"--net socket", "key=value"},
	{"--net socket=/s,mac=03:00:00:00:00:01", "group"},
	{"--net socket=/s,mac=00:00:00:00:00:00", "nobody"},
	{"--net socket=/s,mac=02:00:00:00:00", "02:00:00:00:00:01"},
	{"--net socket=/s,mac=02:00:00:00:00:01:02", "no MAC"},
	{"--net socket=/s,mac=2:0:0:0:0:1", "no MAC"},
	{"--net socket=/s,queues=17", "from 1 to 16"},
	{"--net socket=/s,queue-size=100", "power of two"},
	{"--net socket=/s,queue-size=32", "from 64 to 1024"},
	{"--net socket=/s,mtu=67", "from 68 to 65535"},
	{"--net socket=/s,speed=1", "'speed'"},
	{"--net socket=/s --net socket=/s", "--net and --net both name '/s'"},
	{"--net socket=/s,mac=02:00:00:00:00:01 --net socket=/t,mac=02:00:00:00:00:01", "same MAC"},
	{"--net socket=/s --control /s", "--net and --control both name '/s'"},
	{"--disk readonly=on", "one of path=FILE"},
	{"--disk path=/d,socket=/s", "not both"},
	{"--disk path=", "empty path"},
	{"--disk path=/d,readonly=yes", "neither on nor off"},
	{"--disk path=/d,direct=maybe", "on, off and auto"},
	{"--disk path=/d,serial=123456789012345678901", "1 to 20"},
	{"--disk path=/d,size=3", "'size'"},
	{"--disk socket=/s,direct=on", "back end"},
	{"--control "
	 "/0123456789012345678901234567890123456789012345678901234567890123456789012345678"
	 "90123456789012345678901234567890",
		"at most 107"},
	{"--speed 3", "'--speed'"},
	{"--paused=yes", "'--paused=yes'"},
	{"extra", "'extra'"},
};

static void test_bad_values_are_named(void **state)
{
	(void)state;

	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		struct vmm_options options;
		struct hv_error error;
		char line[LINE_BYTES];

		snprintf(line, sizeof(line), "cordon-vmm --kernel k %s", refused[i].words);
		assert_true(read_line(&options, line, &error) < 0);
		if (!strstr(error.text, refused[i].part))
			fail_msg("%s: '%s' is not in '%s'", refused[i].words, refused[i].part,
				error.text);
	}
}

/* --- One thing under two names --- */

struct names {
	char folder[32], file[64], link[64], hard[64], other[64], folder_link[64], future[64],
		future_again[80];
};

static int make_names(void **state)
{
	struct names *names = calloc(1, sizeof(*names));

	strcpy(names->folder, "/tmp/options-test.XXXXXX");
	assert_non_null(mkdtemp(names->folder));
	snprintf(names->file, sizeof(names->file), "%s/file", names->folder);
	snprintf(names->link, sizeof(names->link), "%s/link", names->folder);
	snprintf(names->hard, sizeof(names->hard), "%s/hard", names->folder);
	snprintf(names->other, sizeof(names->other), "%s/other", names->folder);
	snprintf(names->folder_link, sizeof(names->folder_link), "%s/folder", names->folder);
	snprintf(names->future, sizeof(names->future), "%s/future", names->folder);
	snprintf(names->future_again, sizeof(names->future_again), "%s/future", names->folder_link);
	close(open(names->file, O_WRONLY | O_CREAT, 0600));
	close(open(names->other, O_WRONLY | O_CREAT, 0600));
	assert_int_equal(symlink("file", names->link), 0);
	assert_int_equal(link(names->file, names->hard), 0);
	assert_int_equal(symlink(".", names->folder_link), 0);
	*state = names;
	return 0;
}

static int remove_names(void **state)
{
	struct names *names = *state;

	unlink(names->file);
	unlink(names->link);
	unlink(names->hard);
	unlink(names->other);
	unlink(names->folder_link);
	assert_int_equal(rmdir(names->folder), 0);
	free(names);
	return 0;
}

static int two_outputs(const char *disk, const char *outcome, struct hv_error *error)
{
	struct vmm_options options;
	char line[LINE_BYTES];

	snprintf(line, sizeof(line), "v --kernel k --disk path=%s --outcome %s", disk, outcome);
	return read_line(&options, line, error);
}

static void test_one_thing_has_many_names(void **state)
{
	struct names *names = *state;
	struct hv_error error;

	assert_int_equal(two_outputs(names->file, names->link, &error), -EINVAL);
	assert_non_null(strstr(error.text, names->file));
	assert_non_null(strstr(error.text, names->link));
	assert_int_equal(two_outputs(names->hard, names->link, &error), -EINVAL);
	assert_int_equal(two_outputs(names->future, names->future_again, &error), -EINVAL);
	assert_int_equal(two_outputs(names->file, names->other, &error), 0);
	assert_int_equal(two_outputs(names->file, names->future, &error), 0);
	assert_int_equal(two_outputs("/no/such/a", "/no/such/b", &error), 0);
}

static void test_too_many_devices(void **state)
{
	char line[LINE_BYTES] = "cordon-vmm --kernel k";
	struct vmm_options options;
	struct hv_error error;
	(void)state;

	for (unsigned int i = 0; i <= OPTIONS_NETS; i++)
		snprintf(line + strlen(line), sizeof(line) - strlen(line), " --net socket=/%u", i);
	assert_int_equal(read_line(&options, line, &error), -EINVAL);
	assert_non_null(strstr(error.text, "at most 16"));
}

static void test_kernel_is_needed(void **state)
{
	struct vmm_options options;
	struct hv_error error;
	(void)state;

	assert_int_equal(read_line(&options, "cordon-vmm", &error), -EINVAL);
	assert_non_null(strstr(error.text, "--kernel"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_everything_at_once),
		cmocka_unit_test(test_made_up_addresses),
		cmocka_unit_test(test_bad_values_are_named),
		cmocka_unit_test_setup_teardown(
			test_one_thing_has_many_names, make_names, remove_names),
		cmocka_unit_test(test_too_many_devices),
		cmocka_unit_test(test_kernel_is_needed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
