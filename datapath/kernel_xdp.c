/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The XDP program in front of AF_XDP sockets.  Called by port_kernel.c on the main thread.
 *
 * libxdp has one of its own.  It is not used since it stays on the device when the process is
 * killed, and since libxdp (as of 1.3) leaves two descriptors open for each socket.
 */
#include <config.h>

#include "datapath/kernel_xdp.h"

#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

/* return bpf_redirect_map(&map, context->rx_queue_index, XDP_PASS); */
static int load_program(int map)
{
	const struct bpf_insn program[] = {
		{.code = BPF_LDX | BPF_MEM | BPF_W,
			.dst_reg = BPF_REG_2,
			.src_reg = BPF_REG_1,
			.off = offsetof(struct xdp_md, rx_queue_index)},
		{.code = BPF_LD | BPF_DW | BPF_IMM,
			.dst_reg = BPF_REG_1,
			.src_reg = BPF_PSEUDO_MAP_FD,
			.imm = map},
		{0}, /* The upper half of the map's address. */
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_3, .imm = XDP_PASS},
		{.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_redirect_map},
		{.code = BPF_JMP | BPF_EXIT},
	};

	return bpf_prog_load(BPF_PROG_TYPE_XDP, "cordon_port", "Dual BSD/GPL", program,
		sizeof(program) / sizeof(program[0]), NULL);
}

int kernel_xdp_attach(struct kernel_xdp *xdp, unsigned int device_index, unsigned int n_queues)
{
	const struct bpf_link_create_opts options = {
		.sz = sizeof(options),
		.flags = XDP_FLAGS_DRV_MODE,
	};
	int error;

	*xdp = (struct kernel_xdp){-1, -1, -1};
	error = xdp->map = bpf_map_create(BPF_MAP_TYPE_XSKMAP, "cordon_port", sizeof(uint32_t),
		sizeof(uint32_t), n_queues, NULL);
	if (error >= 0)
		error = xdp->program = load_program(xdp->map);
	if (error >= 0)
		error = xdp->link =
			bpf_link_create(xdp->program, (int)device_index, BPF_XDP, &options);
	if (error >= 0)
		return 0;
	kernel_xdp_detach(xdp);
	return error;
}

int kernel_xdp_direct(const struct kernel_xdp *xdp, unsigned int queue, int socket)
{
	return bpf_map_update_elem(xdp->map, &queue, &socket, BPF_ANY);
}

static void close_descriptor(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void kernel_xdp_detach(struct kernel_xdp *xdp)
{
	close_descriptor(&xdp->link);
	close_descriptor(&xdp->program);
	close_descriptor(&xdp->map);
}
