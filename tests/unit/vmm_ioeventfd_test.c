/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Notifications through KVM: a guest's write to a doorbell becomes an event without coming to this
 * process, whatever it writes and however long it is; writes beside it, and those after the
 * doorbell is gone, come through the bus.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include <cmocka.h>

#include "hv/ioeventfd.h"
#include "hv/machine.h"
#include "tests/unit/vmm_guest.h"

/* For each round that the test asks for: two bytes, four bytes and one byte to the doorbell, then
 * two bytes beside it. */
GUEST_ASSEMBLE(ring_doorbells, "1: mov 0x7000, %eax; cmp 0x7004, %eax; je 1b\n"
			       "movw $7, 0xd0003000\n"
			       "movl $0x12345678, 0xd0003000\n"
			       "movb $1, 0xd0003000\n"
			       "movw $7, 0xd0003004\n"
			       "incl 0x7004\n"
			       "jmp 1b\n");

enum {
	ASKED = GUEST_PAGE,
	DONE = GUEST_PAGE + 4,
	PAGE = 0xd0003000U,
	PAGE_BYTES = 0x1000,
	DOORBELL_WRITES = 3,
};

/* What comes through the bus. */
struct page {
	unsigned int n_writes, n_beside;
};

struct fixture {
	struct guest *guest;
	struct ioeventfds *ioeventfds;
	struct page page;
	int eventfd;
	uint32_t rounds;
};

static void page_read(void *device, uint64_t offset, uint8_t *data, unsigned int bytes)
{
	(void)device;
	(void)offset;
	memset(data, 0, bytes);
}

static void page_write(void *device, uint64_t offset, const uint8_t *data, unsigned int bytes)
{
	struct page *page = device;

	(void)data;
	(void)bytes;
	if (offset == 0)
		page->n_writes++;
	else
		page->n_beside++;
}

static const struct bus_operations page_operations = {page_read, page_write};

static int set_up(void **state)
{
	static struct fixture fixture;
	struct machine *machine;

	*state = NULL;
	if (!guest_has_kvm())
		return 0;
	fixture = (struct fixture){
		.guest = guest_new(1, guest_ring_doorbells, guest_ring_doorbells_bytes),
		.eventfd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
	};
	machine = &fixture.guest->machine;
	assert_int_equal(ioeventfds_kvm_create(&fixture.ioeventfds, machine->vm_fd), 0);
	assert_int_equal(
		bus_add(&machine->mmio, PAGE, PAGE_BYTES, &page_operations, &fixture.page), 0);
	guest_run(fixture.guest);
	*state = &fixture;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;

	if (!fixture)
		return 0;
	guest_stop(fixture->guest);
	ioeventfds_kvm_destroy(fixture->ioeventfds);
	guest_free(fixture->guest);
	close(fixture->eventfd);
	return 0;
}

#define NEED_GUEST()                                                                               \
	do {                                                                                       \
		if (!*state) {                                                                     \
			print_message("there is no /dev/kvm here\n");                              \
			skip();                                                                    \
		}                                                                                  \
	} while (0)

static int attach(struct fixture *fixture)
{
	return fixture->ioeventfds->operations->attach(fixture->ioeventfds, PAGE, fixture->eventfd);
}

static void detach(struct fixture *fixture)
{
	fixture->ioeventfds->operations->detach(fixture->ioeventfds, PAGE, fixture->eventfd);
}

/* What has come through the bus so far: to the doorbell, or beside it. */
static unsigned int n_exits(struct fixture *fixture, bool beside)
{
	unsigned int n;

	pthread_mutex_lock(&fixture->guest->machine.lock);
	n = beside ? fixture->page.n_beside : fixture->page.n_writes;
	pthread_mutex_unlock(&fixture->guest->machine.lock);
	return n;
}

/* One more round of the guest's writes: how many of them were events. */
static unsigned int ring(struct fixture *fixture)
{
	eventfd_t count = 0;

	*guest_word(fixture->guest, ASKED) = ++fixture->rounds;
	assert_true(guest_wait_for(fixture->guest, DONE, fixture->rounds));
	return eventfd_read(fixture->eventfd, &count) == 0 ? (unsigned int)count : 0;
}

static void a_doorbell_is_an_event_and_no_exit(void **state)
{
	struct fixture *fixture = *state;
	NEED_GUEST();

	assert_int_equal(ring(fixture), 0);
	assert_int_equal(n_exits(fixture, false), DOORBELL_WRITES);
	assert_int_equal(n_exits(fixture, true), 1);
	assert_int_equal(attach(fixture), 0);
	assert_int_equal(ring(fixture), DOORBELL_WRITES);
	assert_int_equal(n_exits(fixture, false), DOORBELL_WRITES);
	assert_int_equal(n_exits(fixture, true), 2);
	detach(fixture);
	assert_int_equal(ring(fixture), 0);
	assert_int_equal(n_exits(fixture, false), 2 * DOORBELL_WRITES);
	assert_int_equal(n_exits(fixture, true), 3);
}

/* While the guest writes: each write is an event or comes through the bus, and none is lost. */
static void doorbells_come_and_go_under_the_guest(void **state)
{
	struct fixture *fixture = *state;
	unsigned int events = 0;
	NEED_GUEST();

	for (unsigned int i = 0; i < 100; i++) {
		eventfd_t count = 0;

		*guest_word(fixture->guest, ASKED) = ++fixture->rounds;
		assert_int_equal(attach(fixture), 0);
		detach(fixture);
		assert_true(guest_wait_for(fixture->guest, DONE, fixture->rounds));
		if (eventfd_read(fixture->eventfd, &count) == 0)
			events += (unsigned int)count;
	}
	assert_int_equal(events + n_exits(fixture, false), 100 * DOORBELL_WRITES);
	assert_int_equal(n_exits(fixture, true), 100);
}

static void an_address_is_one_doorbell(void **state)
{
	struct fixture *fixture = *state;
	int other = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	NEED_GUEST();

	assert_int_equal(attach(fixture), 0);
	assert_int_equal(
		fixture->ioeventfds->operations->attach(fixture->ioeventfds, PAGE, other), -EEXIST);
	assert_int_equal(ring(fixture), DOORBELL_WRITES);
	detach(fixture);
	close(other);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
#define STORY(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		STORY(a_doorbell_is_an_event_and_no_exit),
		STORY(doorbells_come_and_go_under_the_guest),
		STORY(an_address_is_one_doorbell),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
