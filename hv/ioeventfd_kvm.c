/* SPDX-License-Identifier: Apache-2.0 */
/*
 * KVM's ioeventfds.  Called by virtio's transport, with the machine's lock held.
 *
 * Where KVM can, an ioeventfd is for writes of any length: KVM then need not look at the guest's
 * instruction (Intel), and no driver is slower for writing more than it has to.  Otherwise it is
 * for 16 bits, which is what drivers write (virtio 1.2, 4.1.5.2), and the rest leaves the guest.
 */
#include "hv/ioeventfd.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <sys/ioctl.h>

struct kvm_ioeventfds {
	struct ioeventfds base;
	int vm_fd;
	uint32_t bytes;
};

static int set(struct ioeventfds *ioeventfds, uint64_t address, int eventfd, uint32_t flags)
{
	const struct kvm_ioeventfds *kvm = (const struct kvm_ioeventfds *)ioeventfds;
	struct kvm_ioeventfd ioeventfd = {
		.addr = address,
		.len = kvm->bytes,
		.fd = eventfd,
		.flags = flags,
	};

	return ioctl(kvm->vm_fd, KVM_IOEVENTFD, &ioeventfd) == 0 ? 0 : -errno;
}

static int attach(struct ioeventfds *ioeventfds, uint64_t address, int eventfd)
{
	return set(ioeventfds, address, eventfd, 0);
}

static void detach(struct ioeventfds *ioeventfds, uint64_t address, int eventfd)
{
	set(ioeventfds, address, eventfd, KVM_IOEVENTFD_FLAG_DEASSIGN);
}

static const struct ioeventfd_operations operations = {attach, detach};

int ioeventfds_kvm_create(struct ioeventfds **created, int vm_fd)
{
	struct kvm_ioeventfds *kvm = calloc(1, sizeof(*kvm));

	if (!kvm)
		return -ENOMEM;
	kvm->base.operations = &operations;
	kvm->vm_fd = vm_fd;
	kvm->bytes = ioctl(vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_IOEVENTFD_ANY_LENGTH) > 0
			     ? 0
			     : sizeof(uint16_t);
	*created = &kvm->base;
	return 0;
}

void ioeventfds_kvm_destroy(struct ioeventfds *ioeventfds)
{
	free(ioeventfds);
}
