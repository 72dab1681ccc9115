/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine without KVM: guest memory, the two buses and PCI on them, interrupts and ioeventfds
 * that do what KVM's would, when they are told to.
 *
 * An eventfd that is attached to an interrupt is read by toy_deliver(), which counts the messages;
 * a write of the guest's through toy_write() goes to an ioeventfd if there is one at the address,
 * as in KVM, and to the bus otherwise.
 */
#ifndef TESTS_UNIT_TOY_MACHINE_H
#define TESTS_UNIT_TOY_MACHINE_H

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "hv/bus.h"
#include "hv/event_loop.h"
#include "hv/guest_memory.h"
#include "hv/layout.h"
#include "hv/pci.h"

enum {
	TOY_MEMORY = 2 << 20,
	TOY_GSIS = 64,
	TOY_FIRST_GSI = 24,
	TOY_ATTACHED = 64,
};

#define TOY_WINDOW_64 UINT64_C(0x100000000)

struct toy_attached {
	uint64_t place; /* A GSI or an address. */
	int eventfd;
	bool used;
};

struct toy_interrupts {
	struct interrupts base; /* First. */
	unsigned int n_reserved, n_routes;
	bool refuse_route, refuse_attach;
	uint64_t address[TOY_GSIS];
	uint32_t data[TOY_GSIS];
	unsigned int raised[TOY_GSIS];
	struct toy_attached attached[TOY_ATTACHED];
};

struct toy_ioeventfds {
	struct ioeventfds base; /* First. */
	bool refuse;
	struct toy_attached attached[TOY_ATTACHED];
};

struct toy_machine {
	pthread_mutex_t lock;
	struct guest_memory memory;
	struct bus ports, mmio;
	struct event_loop *loop;
	struct toy_interrupts interrupts;
	struct toy_ioeventfds ioeventfds;
	unsigned int n_functions; /* Set before it is created; 0 is as good as 31. */
	struct pci_root *root;
};

/* --- What is attached ------------------------------------------------------------------------ */

static inline struct toy_attached *toy_find(
	struct toy_attached *attached, uint64_t place, int eventfd)
{
	for (unsigned int i = 0; i < TOY_ATTACHED; i++)
		if (attached[i].used && attached[i].place == place &&
			(eventfd < 0 || attached[i].eventfd == eventfd))
			return &attached[i];
	return NULL;
}

/* KVM takes an eventfd once. */
static inline int toy_attach(struct toy_attached *attached, uint64_t place, int eventfd)
{
	for (unsigned int i = 0; i < TOY_ATTACHED; i++)
		if (attached[i].used && attached[i].eventfd == eventfd)
			abort();
	for (unsigned int i = 0; i < TOY_ATTACHED; i++)
		if (!attached[i].used) {
			attached[i] = (struct toy_attached){place, eventfd, true};
			return 0;
		}
	return -ENOSPC;
}

/* What is not attached is not detached: that would be our mistake. */
static inline void toy_detach(struct toy_attached *attached, uint64_t place, int eventfd)
{
	struct toy_attached *found = toy_find(attached, place, eventfd);

	if (!found)
		abort();
	found->used = false;
}

static inline unsigned int toy_n_attached(const struct toy_attached *attached)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < TOY_ATTACHED; i++)
		n += attached[i].used;
	return n;
}

/* --- Interrupts ------------------------------------------------------------------------------ */

static inline int toy_reserve(struct interrupts *base, unsigned int n)
{
	struct toy_interrupts *interrupts = (struct toy_interrupts *)base;
	int first = TOY_FIRST_GSI + (int)interrupts->n_reserved;

	if (first + n > TOY_GSIS)
		return -ENOSPC;
	interrupts->n_reserved += n;
	return first;
}

static inline int toy_route(
	struct interrupts *base, unsigned int gsi, uint64_t address, uint32_t data)
{
	struct toy_interrupts *interrupts = (struct toy_interrupts *)base;

	if (interrupts->refuse_route)
		return -EINVAL;
	interrupts->n_routes++;
	interrupts->address[gsi] = address;
	interrupts->data[gsi] = data;
	return 0;
}

static inline int toy_attach_interrupt(struct interrupts *base, unsigned int gsi, int eventfd)
{
	struct toy_interrupts *interrupts = (struct toy_interrupts *)base;

	return interrupts->refuse_attach ? -EINVAL : toy_attach(interrupts->attached, gsi, eventfd);
}

static inline void toy_detach_interrupt(struct interrupts *base, unsigned int gsi, int eventfd)
{
	toy_detach(((struct toy_interrupts *)base)->attached, gsi, eventfd);
}

static const struct interrupt_operations toy_interrupt_operations = {
	toy_reserve, toy_route, toy_attach_interrupt, toy_detach_interrupt};

/* KVM's part: what is attached and readable becomes a message. */
static inline void toy_deliver(struct toy_interrupts *interrupts)
{
	for (unsigned int i = 0; i < TOY_ATTACHED; i++) {
		eventfd_t count;

		if (interrupts->attached[i].used &&
			eventfd_read(interrupts->attached[i].eventfd, &count) == 0)
			interrupts->raised[interrupts->attached[i].place]++;
	}
}

/* How often message `n` was raised since this was asked last. */
static inline unsigned int toy_raised(struct toy_interrupts *interrupts, unsigned int n)
{
	unsigned int raised;

	toy_deliver(interrupts);
	raised = interrupts->raised[TOY_FIRST_GSI + n];
	interrupts->raised[TOY_FIRST_GSI + n] = 0;
	return raised;
}

/* --- ioeventfds ------------------------------------------------------------------------------ */

static inline int toy_attach_doorbell(struct ioeventfds *base, uint64_t address, int eventfd)
{
	struct toy_ioeventfds *ioeventfds = (struct toy_ioeventfds *)base;

	return ioeventfds->refuse ? -ENOSPC : toy_attach(ioeventfds->attached, address, eventfd);
}

static inline void toy_detach_doorbell(struct ioeventfds *base, uint64_t address, int eventfd)
{
	toy_detach(((struct toy_ioeventfds *)base)->attached, address, eventfd);
}

static const struct ioeventfd_operations toy_ioeventfd_operations = {
	toy_attach_doorbell, toy_detach_doorbell};

/* --- The machine ----------------------------------------------------------------------------- */

/* 0, or -1.  `machine` is all zeros, but for n_functions. */
static inline int toy_machine_create(struct toy_machine *machine)
{
	struct pci_environment environment = {
		.ports = &machine->ports,
		.mmio = &machine->mmio,
		.interrupts = &machine->interrupts.base,
		.ioeventfds = &machine->ioeventfds.base,
		.ecam = LAYOUT_ECAM_BASE,
		.window_32 = {LAYOUT_PCI32_BASE, LAYOUT_PCI32_BYTES},
		.window_64 = {TOY_WINDOW_64, LAYOUT_PCI64_BYTES},
		.n_functions = machine->n_functions,
	};

	pthread_mutex_init(&machine->lock, NULL);
	machine->interrupts.base.operations = &toy_interrupt_operations;
	machine->ioeventfds.base.operations = &toy_ioeventfd_operations;
	if (guest_memory_create(&machine->memory, TOY_MEMORY, GUEST_PAGES_SMALL, NULL) != 0 ||
		event_loop_create(&machine->loop, &machine->lock) != 0)
		return -1;
	return pci_root_create(&machine->root, &environment, NULL);
}

static inline void toy_machine_destroy(struct toy_machine *machine)
{
	pci_root_destroy(machine->root);
	event_loop_destroy(machine->loop);
	guest_memory_destroy(&machine->memory);
	pthread_mutex_destroy(&machine->lock);
}

/* --- The guest's accesses -------------------------------------------------------------------- */

static inline void toy_write(
	struct toy_machine *machine, uint64_t address, uint64_t value, unsigned int bytes)
{
	const struct toy_attached *doorbell = toy_find(machine->ioeventfds.attached, address, -1);

	if (doorbell)
		eventfd_write(doorbell->eventfd, 1);
	else
		bus_write(&machine->mmio, address, (const uint8_t *)&value, bytes);
}

static inline uint64_t toy_read(struct toy_machine *machine, uint64_t address, unsigned int bytes)
{
	uint64_t value = 0;

	bus_read(&machine->mmio, address, (uint8_t *)&value, bytes);
	return value;
}

/* Configuration space through ECAM; function 8 is device 1. */
static inline uint64_t toy_ecam(unsigned int function, unsigned int offset)
{
	return LAYOUT_ECAM_BASE + (uint64_t)function * 4096 + offset;
}

static inline uint32_t toy_config_read(
	struct toy_machine *machine, unsigned int function, unsigned int offset, unsigned int bytes)
{
	return (uint32_t)toy_read(machine, toy_ecam(function, offset), bytes);
}

static inline void toy_config_write(struct toy_machine *machine, unsigned int function,
	unsigned int offset, uint32_t value, unsigned int bytes)
{
	toy_write(machine, toy_ecam(function, offset), value, bytes);
}

/* The first capability of `id` that is of `type` (at offset 3; 0: any), or 0. */
static inline unsigned int toy_find_capability(
	struct toy_machine *machine, unsigned int function, unsigned int id, unsigned int type)
{
	unsigned int at = toy_config_read(machine, function, PCI_CAPABILITY_LIST, 1);

	for (unsigned int i = 0; at != 0 && i < 48; i++) {
		if (toy_config_read(machine, function, at, 1) == id &&
			(type == 0 || toy_config_read(machine, function, at + 3, 1) == type))
			return at;
		at = toy_config_read(machine, function, at + PCI_CAP_LIST_NEXT, 1);
	}
	return 0;
}

#endif
