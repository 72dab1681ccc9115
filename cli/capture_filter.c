/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cordon capture --filter`: libpcap compiles the text into a program of the BPF machine.  The
 * switch checks the program again, since anybody could have sent it.
 */
#include "cli/capture.h"

#include <pcap/pcap.h>

#include "util.h"

enum { SNAPLEN = 262144, OPTIMIZE = 1 };

static struct json *program_json(const struct bpf_program *program)
{
	struct json *array = json_array_create_empty();

	for (u_int i = 0; i < program->bf_len; i++) {
		const struct bpf_insn *at = &program->bf_insns[i];

		json_array_add(
			array, json_array_create_3(json_integer_create(at->code),
				       json_integer_create(at->jt), json_integer_create(at->jf)));
		json_array_add(array->array.elems[i], json_integer_create(at->k));
	}
	return array;
}

struct json *capture_compile(struct cli *cli, const char *text)
{
	pcap_t *dead = pcap_open_dead(DLT_EN10MB, SNAPLEN);
	struct bpf_program program;
	struct json *json = NULL;

	if (!dead)
		ovs_fatal(0, "there is not enough memory");
	if (pcap_compile(dead, &program, text, OPTIMIZE, PCAP_NETMASK_UNKNOWN)) {
		cli_fail(cli, CLI_USAGE,
			"--filter '%s': %s; the language is that of tcpdump, pcap-filter(7)", text,
			pcap_geterr(dead));
	} else {
		json = program_json(&program);
		pcap_freecode(&program);
	}
	pcap_close(dead);
	return json;
}
