/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opens KVM and makes an empty guest.  Called by machine_create(), on the main thread, before
 * anything runs.
 */
#include "hv/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "hv/layout.h"

/* What this program cannot do without. */
static const struct {
	int capability;
	const char *name, *purpose;
} needed[] = {
	{KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY", "guest memory"},
	{KVM_CAP_IRQ_ROUTING, "KVM_CAP_IRQ_ROUTING", "routes of interrupts"},
	{KVM_CAP_SIGNAL_MSI, "KVM_CAP_SIGNAL_MSI", "message-signalled interrupts"},
	{KVM_CAP_IRQFD, "KVM_CAP_IRQFD", "interrupts from descriptors"},
	{KVM_CAP_IOEVENTFD, "KVM_CAP_IOEVENTFD", "notifications to descriptors"},
	{KVM_CAP_IOEVENTFD_ANY_LENGTH, "KVM_CAP_IOEVENTFD_ANY_LENGTH",
		"notifications of any length"},
	{KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID", "CPUID"},
	{KVM_CAP_MP_STATE, "KVM_CAP_MP_STATE", "several processors"},
	{KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT", "stopping processors"},
	{KVM_CAP_VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS", "reports of faults"},
};

static int open_device(struct hv_error *error)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC), code = errno;

	if (fd >= 0)
		return fd;
	switch (code) {
	case ENOENT:
	case ENXIO:
	case ENODEV:
		return hv_fail(error, code,
			"there is no /dev/kvm here: load the module kvm_intel or kvm_amd, switch "
			"virtualisation on in the firmware, or allow nested virtualisation if this "
			"host is itself a guest");
	case EACCES:
	case EPERM:
		return hv_fail(error, code,
			"/dev/kvm may not be opened by this user (%s): join the group kvm, or run "
			"as root",
			strerror(code));
	default: return hv_fail(error, code, "/dev/kvm cannot be opened: %s", strerror(code));
	}
}

enum kvm_ioapic kvm_best_ioapic(int kvm_fd)
{
	return ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_IRQCHIP) > 0 ? KVM_IOAPIC_IN_KERNEL
								       : KVM_IOAPIC_SPLIT;
}

static int check(int kvm_fd, struct hv_error *error)
{
	int version = ioctl(kvm_fd, KVM_GET_API_VERSION, 0);

	if (version < 0)
		return hv_fail(error, ENOTSUP, "/dev/kvm is there, but it is not KVM: %s",
			strerror(errno));
	if (version != KVM_API_VERSION)
		return hv_fail(error, ENOTSUP,
			"/dev/kvm speaks version %d of KVM's API, and this program version %d: use "
			"a Linux of this century",
			version, KVM_API_VERSION);
	for (unsigned int i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
		if (ioctl(kvm_fd, KVM_CHECK_EXTENSION, needed[i].capability) <= 0)
			return hv_fail(error, ENOTSUP,
				"this host's KVM has no %s (%s), which guests need: use a newer "
				"Linux",
				needed[i].name, needed[i].purpose);
	}
	if (kvm_best_ioapic(kvm_fd) == KVM_IOAPIC_SPLIT &&
		ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_SPLIT_IRQCHIP) <= 0)
		return hv_fail(error, ENOTSUP,
			"this host's KVM has neither KVM_CAP_IRQCHIP nor KVM_CAP_SPLIT_IRQCHIP "
			"(interrupt controllers), which guests need: use a newer Linux");
	return 0;
}

int kvm_open(struct hv_error *error)
{
	int fd = open_device(error), status;

	if (fd < 0)
		return fd;
	status = check(fd, error);
	if (status < 0) {
		close(fd);
		return status;
	}
	return fd;
}

unsigned int kvm_vcpus_max(int kvm_fd)
{
	int max = ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);

	return max > 0 ? (unsigned int)max : 1;
}

/* Opening a guest is interrupted by signals, and tried again. */
static int create(int kvm_fd)
{
	int fd;

	do
		fd = ioctl(kvm_fd, KVM_CREATE_VM, 0);
	while (fd < 0 && errno == EINTR);
	return fd;
}

static int create_irqchip(int vm_fd, enum kvm_ioapic ioapic)
{
	struct kvm_enable_cap split = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {LAYOUT_LINES}};

	if (ioapic == KVM_IOAPIC_SPLIT)
		return ioctl(vm_fd, KVM_ENABLE_CAP, &split);
	return ioctl(vm_fd, KVM_CREATE_IRQCHIP, 0);
}

int kvm_create_guest(int kvm_fd, enum kvm_ioapic ioapic, struct hv_error *error)
{
	uint64_t identity_map = LAYOUT_KVM_IDENTITY_MAP;
	int fd = create(kvm_fd), code;
	const char *step;

	if (fd < 0)
		return hv_fail(error, errno, "KVM makes no guest: %s", strerror(errno));
	/* Intel's processors need pages of their own in the guest's address space for real mode. */
	if (ioctl(fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_map) < 0)
		step = "KVM_SET_IDENTITY_MAP_ADDR";
	else if (ioctl(fd, KVM_SET_TSS_ADDR, (unsigned long)LAYOUT_KVM_TSS) < 0)
		step = "KVM_SET_TSS_ADDR";
	else if (create_irqchip(fd, ioapic) < 0)
		step = ioapic == KVM_IOAPIC_SPLIT ? "KVM_CAP_SPLIT_IRQCHIP" : "KVM_CREATE_IRQCHIP";
	else
		return fd;
	code = errno;
	close(fd);
	return hv_fail(error, code, "KVM cannot set the guest up (%s): %s", step, strerror(code));
}

int kvm_set_memory(int vm_fd, const struct guest_memory *memory, struct hv_error *error)
{
	for (unsigned int i = 0; i < memory->n_regions; i++) {
		const struct guest_memory_region *region = &memory->regions[i];
		struct kvm_userspace_memory_region slot = {
			.slot = i,
			.guest_phys_addr = region->address,
			.memory_size = region->bytes,
			.userspace_addr = (uintptr_t)region->host,
		};

		if (ioctl(vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
			return hv_fail(error, errno, "KVM does not take %llu MiB of memory: %s",
				(unsigned long long)region->bytes >> 20, strerror(errno));
	}
	return 0;
}
