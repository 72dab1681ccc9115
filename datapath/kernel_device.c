/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Network devices of the kernel.  Called by port_kernel.c and port_internal.c, on the main thread.
 */
#include <config.h>

#include "datapath/kernel_device.h"

#include <errno.h>
#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "netlink-socket.h"
#include "netlink.h"
#include "openvswitch/ofpbuf.h"

/* The alias of devices that Cordon has made. */
static const char mark[] = "made by cordon-switchd";

/* --- rtnetlink: reading --------------------------------------------------------------------- */

static uint32_t read_xdp(const struct nlattr *attribute)
{
	const struct nlattr *program = nl_attr_find_nested(attribute, IFLA_XDP_PROG_ID);

	return program != NULL ? nl_attr_get_u32(program) : 0;
}

static int read_link(struct ofpbuf *reply, struct kernel_device *device)
{
	static const struct nl_policy policy[] = {
		[IFLA_IFNAME] = {.type = NL_A_STRING, .max_len = IFNAMSIZ},
		[IFLA_MTU] = {.type = NL_A_U32},
		[IFLA_ADDRESS] = {.type = NL_A_UNSPEC, .min_len = 1, .optional = true},
		[IFLA_CARRIER] = {.type = NL_A_U8, .optional = true},
		[IFLA_LINKINFO] = {.type = NL_A_NESTED, .optional = true},
		[IFLA_IFALIAS] = {.type = NL_A_STRING, .optional = true},
		[IFLA_XDP] = {.type = NL_A_NESTED, .optional = true},
	};
	struct nlattr *at[ARRAY_SIZE(policy)];
	const struct ifinfomsg *header = ofpbuf_at(reply, NLMSG_HDRLEN, sizeof(*header));

	if (header == NULL || !nl_policy_parse(reply, NLMSG_HDRLEN + sizeof(*header), policy, at,
				      ARRAY_SIZE(policy)))
		return -EPROTO;
	memset(device, 0, sizeof(*device));
	device->index = header->ifi_index;
	device->flags = header->ifi_flags;
	snprintf(device->name, sizeof(device->name), "%s", nl_attr_get_string(at[IFLA_IFNAME]));
	device->mtu = nl_attr_get_u32(at[IFLA_MTU]);
	device->has_carrier = header->ifi_flags & IFF_UP && header->ifi_flags & IFF_RUNNING;
	if (at[IFLA_ADDRESS] != NULL && nl_attr_get_size(at[IFLA_ADDRESS]) == sizeof(device->mac))
		memcpy(device->mac, nl_attr_get(at[IFLA_ADDRESS]), sizeof(device->mac));
	if (at[IFLA_LINKINFO] != NULL) {
		const struct nlattr *kind = nl_attr_find_nested(at[IFLA_LINKINFO], IFLA_INFO_KIND);

		if (kind != NULL)
			snprintf(device->kind, sizeof(device->kind), "%.*s",
				(int)nl_attr_get_size(kind), (const char *)nl_attr_get(kind));
	}
	device->is_marked =
		at[IFLA_IFALIAS] != NULL && strcmp(nl_attr_get_string(at[IFLA_IFALIAS]), mark) == 0;
	if (at[IFLA_XDP] != NULL)
		device->xdp_program = read_xdp(at[IFLA_XDP]);
	return 0;
}

/* Asks for one device, by its index, or by its name if that is not NULL. */
static int get_link(unsigned int index, const char *name, struct kernel_device *device)
{
	struct ifinfomsg header = {.ifi_family = AF_UNSPEC, .ifi_index = index};
	struct ofpbuf request, *reply;
	int error;

	ofpbuf_init(&request, 0);
	nl_msg_put_nlmsghdr(&request, sizeof(header), RTM_GETLINK, NLM_F_REQUEST);
	ofpbuf_put(&request, &header, sizeof(header));
	if (name != NULL)
		nl_msg_put_string(&request, IFLA_IFNAME, name);
	error = -nl_transact(NETLINK_ROUTE, &request, &reply);
	ofpbuf_uninit(&request);
	if (error != 0)
		return error;
	error = read_link(reply, device);
	ofpbuf_delete(reply);
	return error;
}

int kernel_device_by_name(const char *name, struct kernel_device *device)
{
	return strlen(name) < IFNAMSIZ ? get_link(0, name, device) : -ENODEV;
}

int kernel_device_by_index(unsigned int index, struct kernel_device *device)
{
	return get_link(index, NULL, device);
}

/* --- rtnetlink: setting --------------------------------------------------------------------- */

/* Sends a request about one device, with a new alias if that is not NULL, and waits for the
 * kernel's answer. */
static int change_link(uint16_t type, const struct ifinfomsg *header, const char *alias)
{
	struct ofpbuf request;

	ofpbuf_init(&request, 0);
	nl_msg_put_nlmsghdr(&request, sizeof(*header), type, NLM_F_REQUEST | NLM_F_ACK);
	ofpbuf_put(&request, header, sizeof(*header));
	if (alias != NULL)
		nl_msg_put_string(&request, IFLA_IFALIAS, alias);
	int error = -nl_transact(NETLINK_ROUTE, &request, NULL);
	ofpbuf_uninit(&request);
	return error;
}

int kernel_device_set_up(const struct kernel_device *device)
{
	const struct ifinfomsg header = {
		.ifi_family = AF_UNSPEC,
		.ifi_index = (int)device->index,
		.ifi_flags = IFF_UP,
		.ifi_change = IFF_UP,
	};

	return change_link(RTM_SETLINK, &header, NULL);
}

int kernel_device_mark(unsigned int index)
{
	const struct ifinfomsg header = {.ifi_family = AF_UNSPEC, .ifi_index = (int)index};

	return change_link(RTM_SETLINK, &header, mark);
}

int kernel_device_hold_promiscuous(const struct kernel_device *device)
{
	const struct packet_mreq promiscuous = {
		.mr_ifindex = (int)device->index,
		.mr_type = PACKET_MR_PROMISC,
	};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0); /* Of no protocol: gets nothing. */

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &promiscuous, sizeof(promiscuous)) !=
		0) {
		int error = errno;

		close(fd);
		return -error;
	}
	return fd;
}

/* --- ethtool -------------------------------------------------------------------------------- */

static int ethtool(const struct kernel_device *device, void *command)
{
	struct ifreq request = {.ifr_data = command};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", device->name);
	int error = ioctl(fd, SIOCETHTOOL, &request) < 0 ? -errno : 0;
	close(fd);
	return error;
}

unsigned int kernel_device_channels(const struct kernel_device *device)
{
	struct ethtool_channels channels = {.cmd = ETHTOOL_GCHANNELS};

	if (ethtool(device, &channels) != 0 || channels.max_combined == 0)
		return 1;
	return channels.combined_count > 0 ? channels.combined_count : 1;
}

/* --- XDP ------------------------------------------------------------------------------------ */

void kernel_device_xdp_name(const struct kernel_device *device, char name[16])
{
	struct bpf_prog_info info = {0};
	uint32_t size = sizeof(info);
	int fd = bpf_prog_get_fd_by_id(device->xdp_program);

	name[0] = '\0';
	if (fd < 0)
		return;
	if (bpf_obj_get_info_by_fd(fd, &info, &size) == 0)
		snprintf(name, 16, "%s", info.name);
	close(fd);
}
