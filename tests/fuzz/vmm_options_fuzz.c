/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any command line for cordon-vmm: it is refused with a sentence, or what it asks for is within
 * the bounds that devices rely on.  The input is the words, each ended by a zero byte.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "hv/options.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

enum { WORDS_MAX = 64, BYTES_MAX = 4096 };

/* --help and --version are answered there. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	return freopen("/dev/null", "w", stdout) ? 0 : -1;
}

static void require(bool promise)
{
	if (!promise)
		abort();
}

static void check_socket(const char *path)
{
	require(*path && strlen(path) < sizeof(((struct sockaddr_un *)NULL)->sun_path));
}

static void check_net(const struct net_options *net)
{
	require(net->socket);
	check_socket(net->socket);
	require((net->mac[0] & 1) == 0);
	require(net->queue_pairs >= 1 && net->queue_pairs <= OPTIONS_QUEUE_PAIRS);
	require(net->queue_size >= 64 && net->queue_size <= 1024);
	require((net->queue_size & (net->queue_size - 1)) == 0);
	require(net->mtu == 0 || (net->mtu >= 68 && net->mtu <= 65535));
}

static void check(const struct vmm_options *options)
{
	require(options->kernel && *options->kernel);
	require(*options->name && strlen(options->name) <= 63 && !strchr(options->name, '/'));
	require(options->n_vcpus >= 1 && options->n_vcpus <= OPTIONS_VCPUS);
	require(options->memory_bytes > 0 && options->memory_bytes % (2 << 20) == 0);
	require(options->n_nets <= OPTIONS_NETS && options->n_disks <= OPTIONS_DISKS);
	for (unsigned int i = 0; i < options->n_nets; i++)
		check_net(&options->nets[i]);
	for (unsigned int i = 0; i < options->n_disks; i++) {
		const struct disk_options *disk = &options->disks[i];

		require(!disk->path != !disk->socket);
		require(!disk->serial || strlen(disk->serial) <= 20);
		if (disk->socket)
			check_socket(disk->socket);
	}
	if (options->control)
		check_socket(options->control);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char line[BYTES_MAX + 1], program[] = "cordon-vmm";
	char *argv[WORDS_MAX + 2] = {program};
	struct vmm_options options;
	struct hv_error error = {""};
	int argc = 1, status;

	if (size > BYTES_MAX)
		return 0;
	memcpy(line, data, size);
	line[size] = '\0';
	for (size_t at = 0; at < size && argc <= WORDS_MAX; at += strlen(line + at) + 1)
		argv[argc++] = line + at;
	status = options_read(&options, argc, argv, &error);
	if (status == 0)
		check(&options);
	else if (status < 0)
		require(error.text[0]);
	return 0;
}
