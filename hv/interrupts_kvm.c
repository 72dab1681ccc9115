/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interrupts through KVM.  Called by devices with the machine's lock held: by vCPU threads, when a
 * driver programs a vector, and at start-up by the main thread.
 *
 * KVM takes all routes at once, so that all of them are kept here: the I/O APIC's lines, and each
 * message that has been given an address.  A change that KVM refuses is taken back, so that
 * what is kept is always what KVM has.
 */
#include "hv/interrupts_kvm.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "hv/layout.h"

struct interrupts_kvm {
	struct interrupts interrupts; /* First. */
	int vm_fd;
	unsigned int n_gsis, gsis_max; /* Given out; what KVM can have. */
	/* As KVM_SET_GSI_ROUTING takes it; room for all GSIs given out. */
	struct kvm_irq_routing *table;
};

static struct interrupts_kvm *of(struct interrupts *interrupts)
{
	return (struct interrupts_kvm *)interrupts;
}

static int submit(const struct interrupts_kvm *kvm)
{
	return ioctl(kvm->vm_fd, KVM_SET_GSI_ROUTING, kvm->table) < 0 ? -errno : 0;
}

static size_t table_bytes(unsigned int n)
{
	return sizeof(struct kvm_irq_routing) + n * sizeof(struct kvm_irq_routing_entry);
}

static int reserve(struct interrupts *interrupts, unsigned int n)
{
	struct interrupts_kvm *kvm = of(interrupts);
	unsigned int first = kvm->n_gsis;
	struct kvm_irq_routing *table;

	if (n > kvm->gsis_max - first)
		return -ENOSPC;
	table = realloc(kvm->table, table_bytes(first + n));
	if (!table)
		return -ENOMEM;
	kvm->table = table;
	kvm->n_gsis += n;
	return (int)first;
}

static struct kvm_irq_routing_entry *entry_of(const struct interrupts_kvm *kvm, unsigned int gsi)
{
	for (unsigned int i = 0; i < kvm->table->nr; i++) {
		if (kvm->table->entries[i].gsi == gsi)
			return &kvm->table->entries[i];
	}
	return NULL;
}

static int set_message(
	struct interrupts_kvm *kvm, unsigned int gsi, uint64_t address, uint32_t data)
{
	struct kvm_irq_routing_entry *entry = entry_of(kvm, gsi), old;
	struct kvm_irq_routing_entry wanted = {
		.gsi = gsi,
		.type = KVM_IRQ_ROUTING_MSI,
		.u.msi = {(uint32_t)address, (uint32_t)(address >> 32), data, {0}},
	};
	uint32_t n = kvm->table->nr;
	int status;

	if (!entry)
		entry = &kvm->table->entries[kvm->table->nr++];
	else if (memcmp(&entry->u.msi, &wanted.u.msi, sizeof(wanted.u.msi)) == 0)
		return 0;
	old = *entry;
	*entry = wanted;
	status = submit(kvm);
	if (status < 0) {
		*entry = old;
		kvm->table->nr = n;
	}
	return status;
}

static int route(struct interrupts *interrupts, unsigned int gsi, uint64_t address, uint32_t data)
{
	struct interrupts_kvm *kvm = of(interrupts);

	if (gsi < LAYOUT_LINES || gsi >= kvm->n_gsis)
		return -EINVAL;
	return set_message(kvm, gsi, address, data);
}

int interrupts_kvm_route_line(
	struct interrupts *interrupts, unsigned int line, uint64_t address, uint32_t data)
{
	return line < LAYOUT_LINES ? set_message(of(interrupts), line, address, data) : -EINVAL;
}

int interrupts_kvm_unroute_line(struct interrupts *interrupts, unsigned int line)
{
	struct interrupts_kvm *kvm = of(interrupts);
	struct kvm_irq_routing_entry *entry = entry_of(kvm, line), *last, old;
	int status;

	if (!entry)
		return 0;
	last = &kvm->table->entries[kvm->table->nr - 1];
	old = *entry;
	*entry = *last;
	kvm->table->nr--;
	status = submit(kvm);
	if (status < 0) {
		*entry = old;
		kvm->table->nr++;
	}
	return status;
}

static int set_irqfd(
	const struct interrupts_kvm *kvm, unsigned int gsi, int eventfd, uint32_t flags)
{
	struct kvm_irqfd irqfd = {.fd = (uint32_t)eventfd, .gsi = gsi, .flags = flags};

	return ioctl(kvm->vm_fd, KVM_IRQFD, &irqfd) < 0 ? -errno : 0;
}

/*
 * KVM raises the interrupt for what was in the eventfd already, but leaves it there: taken out, so
 * that it is raised once.  What is signalled from now on KVM takes out itself, before anybody could
 * read it.
 */
static int attach(struct interrupts *interrupts, unsigned int gsi, int eventfd)
{
	int status = set_irqfd(of(interrupts), gsi, eventfd, 0);
	uint64_t count;

	if (status == 0)
		(void)!read(eventfd, &count, sizeof(count));
	return status;
}

static void detach(struct interrupts *interrupts, unsigned int gsi, int eventfd)
{
	set_irqfd(of(interrupts), gsi, eventfd, KVM_IRQFD_FLAG_DEASSIGN);
}

static const struct interrupt_operations operations = {reserve, route, attach, detach};

static void route_lines(struct interrupts_kvm *kvm)
{
	kvm->table->nr = LAYOUT_LINES;
	for (unsigned int line = 0; line < LAYOUT_LINES; line++)
		kvm->table->entries[line] = (struct kvm_irq_routing_entry){
			.gsi = line,
			.type = KVM_IRQ_ROUTING_IRQCHIP,
			.u.irqchip = {KVM_IRQCHIP_IOAPIC, line},
		};
}

int interrupts_kvm_create(struct interrupts **interrupts, int kvm_fd, int vm_fd,
	enum kvm_ioapic ioapic, struct hv_error *error)
{
	struct interrupts_kvm *kvm = calloc(1, sizeof(*kvm));
	int max = ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_IRQ_ROUTING), status;

	*interrupts = NULL;
	if (!kvm)
		return hv_fail(error, ENOMEM, "there is no memory for the guest's interrupts");
	kvm->interrupts.operations = &operations;
	kvm->vm_fd = vm_fd;
	kvm->gsis_max = max < LAYOUT_LINES ? LAYOUT_LINES : (unsigned int)max;
	status = reserve(&kvm->interrupts, LAYOUT_LINES);
	if (status >= 0) {
		kvm->table->nr = kvm->table->flags = 0;
		if (ioapic == KVM_IOAPIC_IN_KERNEL)
			route_lines(kvm);
		status = submit(kvm);
	}
	if (status < 0) {
		interrupts_kvm_destroy(&kvm->interrupts);
		return hv_fail(error, -status, "KVM routes no interrupts: %s", strerror(-status));
	}
	*interrupts = &kvm->interrupts;
	return 0;
}

void interrupts_kvm_destroy(struct interrupts *interrupts)
{
	if (!interrupts)
		return;
	free(of(interrupts)->table);
	free(interrupts);
}
