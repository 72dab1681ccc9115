/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MSI-X by PCI Local Bus 3.0, 6.8: messages, masks of both kinds, and what is pending.  Nothing
 * that is masked is lost, and nothing is told twice.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "hv/msix.h"
#include "tests/unit/toy_machine.h"

enum { VECTORS = 10, SOURCES = 3, ADDRESS = 0xfee00000, UNMASKED = 0, MASKED = 1 };

struct fixture {
	struct toy_interrupts interrupts;
	struct msix msix;
	struct msix_source sources[SOURCES];
};

static int set_up(void **state)
{
	static struct fixture fixture;

	memset(&fixture, 0, sizeof(fixture));
	fixture.interrupts.base.operations = &toy_interrupt_operations;
	if (msix_create(&fixture.msix, &fixture.interrupts.base, "net0", VECTORS, NULL) != 0)
		return -1;
	for (unsigned int i = 0; i < SOURCES; i++) {
		fixture.sources[i].eventfd = eventfd(0, EFD_NONBLOCK);
		msix_add_source(&fixture.msix, &fixture.sources[i]);
	}
	*state = &fixture;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;

	msix_destroy(&fixture->msix);
	for (unsigned int i = 0; i < SOURCES; i++)
		close(fixture->sources[i].eventfd);
	return toy_n_attached(fixture->interrupts.attached) == 0 ? 0 : -1;
}

/* --- What the driver does -------------------------------------------------------------------- */

static void table_write(
	struct fixture *fixture, unsigned int vector, unsigned int offset, uint32_t value)
{
	msix_table_write(&fixture->msix, vector * MSIX_ENTRY_BYTES + offset,
		(const uint8_t *)&value, sizeof(value));
}

static uint32_t table_read(struct fixture *fixture, unsigned int vector, unsigned int offset)
{
	uint32_t value = 0;

	msix_table_read(&fixture->msix, vector * MSIX_ENTRY_BYTES + offset, (uint8_t *)&value,
		sizeof(value));
	return value;
}

static void program(struct fixture *fixture, unsigned int vector, uint32_t data)
{
	table_write(fixture, vector, PCI_MSIX_ENTRY_LOWER_ADDR, ADDRESS);
	table_write(fixture, vector, PCI_MSIX_ENTRY_UPPER_ADDR, 0);
	table_write(fixture, vector, PCI_MSIX_ENTRY_DATA, data);
}

static void mask(struct fixture *fixture, unsigned int vector, uint32_t masked)
{
	table_write(fixture, vector, PCI_MSIX_ENTRY_VECTOR_CTRL, masked);
}

static uint64_t pending(struct fixture *fixture)
{
	uint64_t bits = 0;

	msix_pending_read(&fixture->msix, 0, (uint8_t *)&bits, sizeof(bits));
	return bits;
}

static void raise(struct fixture *fixture, unsigned int source)
{
	eventfd_write(fixture->sources[source].eventfd, 1);
}

static unsigned int raised(struct fixture *fixture, unsigned int vector)
{
	return toy_raised(&fixture->interrupts, vector);
}

/* Vector 0 is programmed, unmasked, and source 0's. */
static void make_ready(struct fixture *fixture)
{
	msix_control(&fixture->msix, true, false);
	program(fixture, 0, 0x4021);
	mask(fixture, 0, UNMASKED);
	msix_set_vector(&fixture->msix, &fixture->sources[0], 0);
}

/* --- Stories --------------------------------------------------------------------------------- */

static void all_is_masked_at_first(void **state)
{
	struct fixture *fixture = *state;

	for (unsigned int i = 0; i < VECTORS; i++) {
		assert_int_equal(table_read(fixture, i, PCI_MSIX_ENTRY_LOWER_ADDR), 0);
		assert_int_equal(table_read(fixture, i, PCI_MSIX_ENTRY_DATA), 0);
		assert_int_equal(table_read(fixture, i, PCI_MSIX_ENTRY_VECTOR_CTRL), 1);
	}
	msix_control(&fixture->msix, true, false);
	msix_set_vector(&fixture->msix, &fixture->sources[0], 0);
	raise(fixture, 0);
	assert_int_equal(raised(fixture, 0), 0);
	assert_int_equal(fixture->interrupts.n_routes, 0);
}

static void a_message_is_sent_as_programmed(void **state)
{
	struct fixture *fixture = *state;

	make_ready(fixture);
	raise(fixture, 0);
	assert_int_equal(raised(fixture, 0), 1);
	assert_int_equal(fixture->interrupts.address[TOY_FIRST_GSI], ADDRESS);
	assert_int_equal(fixture->interrupts.data[TOY_FIRST_GSI], 0x4021);
	assert_int_equal(table_read(fixture, 0, PCI_MSIX_ENTRY_LOWER_ADDR), ADDRESS);
	assert_int_equal(table_read(fixture, 0, PCI_MSIX_ENTRY_DATA), 0x4021);
	assert_int_equal(table_read(fixture, 0, PCI_MSIX_ENTRY_VECTOR_CTRL), 0);
	assert_int_equal(pending(fixture), 0);
}

static void a_masked_vector_is_pending_and_then_told_once(void **state)
{
	struct fixture *fixture = *state;

	make_ready(fixture);
	mask(fixture, 0, MASKED);
	assert_int_equal(pending(fixture), 0);
	raise(fixture, 0);
	raise(fixture, 0);
	assert_int_equal(raised(fixture, 0), 0);
	assert_int_equal(pending(fixture), 1);
	assert_int_equal(pending(fixture), 1);
	mask(fixture, 0, UNMASKED);
	assert_int_equal(raised(fixture, 0), 1);
	assert_int_equal(pending(fixture), 0);
	mask(fixture, 0, MASKED);
	mask(fixture, 0, UNMASKED);
	assert_int_equal(raised(fixture, 0), 0);
}

static void a_masked_function_is_pending_and_then_told_once(void **state)
{
	struct fixture *fixture = *state;

	make_ready(fixture);
	program(fixture, 9, 0x4099);
	mask(fixture, 9, UNMASKED);
	msix_set_vector(&fixture->msix, &fixture->sources[1], 9);
	msix_control(&fixture->msix, true, true);
	raise(fixture, 0);
	raise(fixture, 1);
	assert_int_equal(raised(fixture, 0) + raised(fixture, 9), 0);
	assert_int_equal(pending(fixture), 1 << 0 | 1 << 9);
	/* Still masked by itself. */
	mask(fixture, 9, MASKED);
	msix_control(&fixture->msix, true, false);
	assert_int_equal(raised(fixture, 0), 1);
	assert_int_equal(raised(fixture, 9), 0);
	assert_int_equal(pending(fixture), 1 << 9);
	mask(fixture, 9, UNMASKED);
	assert_int_equal(raised(fixture, 9), 1);
}

static void nothing_is_sent_while_it_is_off(void **state)
{
	struct fixture *fixture = *state;

	make_ready(fixture);
	msix_control(&fixture->msix, false, false);
	raise(fixture, 0);
	assert_int_equal(raised(fixture, 0), 0);
	msix_control(&fixture->msix, true, false);
	assert_int_equal(raised(fixture, 0), 1);
}

static void an_entry_is_reprogrammed_while_it_is_masked(void **state)
{
	struct fixture *fixture = *state;

	make_ready(fixture);
	mask(fixture, 0, MASKED);
	raise(fixture, 0);
	program(fixture, 0, 0x4055);
	/* KVM hears of it when it counts. */
	assert_int_equal(fixture->interrupts.n_routes, 1);
	mask(fixture, 0, UNMASKED);
	assert_int_equal(fixture->interrupts.n_routes, 2);
	assert_int_equal(fixture->interrupts.data[TOY_FIRST_GSI], 0x4055);
	assert_int_equal(raised(fixture, 0), 1);
	/* What has not changed is not told again. */
	mask(fixture, 0, MASKED);
	program(fixture, 0, 0x4055);
	mask(fixture, 0, UNMASKED);
	assert_int_equal(fixture->interrupts.n_routes, 2);
}

/* The standard leaves open what happens; here, each part takes effect as it is written. */
static void an_entry_is_reprogrammed_while_it_is_not_masked(void **state)
{
	struct fixture *fixture = *state;

	make_ready(fixture);
	table_write(fixture, 0, PCI_MSIX_ENTRY_DATA, 0x4066);
	assert_int_equal(fixture->interrupts.data[TOY_FIRST_GSI], 0x4066);
	table_write(fixture, 0, PCI_MSIX_ENTRY_LOWER_ADDR, 0xfee01003);
	assert_int_equal(fixture->interrupts.address[TOY_FIRST_GSI], 0xfee01000);
	table_write(fixture, 0, PCI_MSIX_ENTRY_UPPER_ADDR, 7);
	assert_int_equal(fixture->interrupts.address[TOY_FIRST_GSI], 0x7fee01000);
	raise(fixture, 0);
	assert_int_equal(raised(fixture, 0), 1);
}

/* A message that KVM takes for none: nothing is told, and nothing is lost. */
static void what_kvm_refuses_is_pending(void **state)
{
	struct fixture *fixture = *state;

	make_ready(fixture);
	fixture->interrupts.refuse_route = true;
	table_write(fixture, 0, PCI_MSIX_ENTRY_UPPER_ADDR, 0xffffffff);
	raise(fixture, 0);
	assert_int_equal(raised(fixture, 0), 0);
	assert_int_equal(pending(fixture), 1);
	assert_int_equal(fixture->msix.refused, 1);
	fixture->interrupts.refuse_route = false;
	table_write(fixture, 0, PCI_MSIX_ENTRY_UPPER_ADDR, 0);
	assert_int_equal(raised(fixture, 0), 1);
	assert_int_equal(fixture->msix.refused, 1);
	/* As when it does not take an eventfd. */
	mask(fixture, 0, MASKED);
	fixture->interrupts.refuse_attach = true;
	mask(fixture, 0, UNMASKED);
	raise(fixture, 0);
	assert_int_equal(pending(fixture), 1);
	assert_int_equal(fixture->msix.refused, 2);
	fixture->interrupts.refuse_attach = false;
	mask(fixture, 0, MASKED);
	mask(fixture, 0, UNMASKED);
	assert_int_equal(raised(fixture, 0), 1);
	assert_int_equal(fixture->msix.refused, 2);
}

static void sources_share_a_vector(void **state)
{
	struct fixture *fixture = *state;

	make_ready(fixture);
	msix_set_vector(&fixture->msix, &fixture->sources[2], 0);
	raise(fixture, 2);
	assert_int_equal(raised(fixture, 0), 1);
	mask(fixture, 0, MASKED);
	raise(fixture, 2);
	assert_int_equal(pending(fixture), 1);
	raise(fixture, 0);
	mask(fixture, 0, UNMASKED);
	assert_int_equal(raised(fixture, 0), 2);
	assert_int_equal(pending(fixture), 0);
}

static void a_source_moves_with_what_it_has_to_tell(void **state)
{
	struct fixture *fixture = *state;

	make_ready(fixture);
	mask(fixture, 0, MASKED);
	raise(fixture, 0);
	program(fixture, 3, 0x4033);
	mask(fixture, 3, UNMASKED);
	msix_set_vector(&fixture->msix, &fixture->sources[0], 3);
	assert_int_equal(raised(fixture, 3), 1);
	assert_int_equal(raised(fixture, 0), 0);
	/* There are no such vectors. */
	msix_set_vector(&fixture->msix, &fixture->sources[0], VECTORS);
	assert_int_equal(fixture->sources[0].vector, MSIX_NO_VECTOR);
	msix_set_vector(&fixture->msix, &fixture->sources[0], MSIX_NO_VECTOR);
	assert_int_equal(fixture->sources[0].vector, MSIX_NO_VECTOR);
	raise(fixture, 0);
	assert_int_equal(raised(fixture, 3), 0);
	assert_int_equal(pending(fixture), 0);
}

static void what_no_vector_tells_can_be_taken(void **state)
{
	struct fixture *fixture = *state;

	assert_false(msix_take_untold(&fixture->msix, &fixture->sources[0]));
	raise(fixture, 0);
	assert_true(msix_take_untold(&fixture->msix, &fixture->sources[0]));
	assert_false(msix_take_untold(&fixture->msix, &fixture->sources[0]));
	/* With a vector it will be told, though not now. */
	make_ready(fixture);
	mask(fixture, 0, MASKED);
	raise(fixture, 0);
	assert_false(msix_take_untold(&fixture->msix, &fixture->sources[0]));
	assert_int_equal(pending(fixture), 1);
	msix_forget(&fixture->sources[0]);
	assert_int_equal(pending(fixture), 0);
}

/* --- Accesses that drivers do not make ------------------------------------------------------- */

static void the_table_takes_dwords_and_quadwords(void **state)
{
	static const uint8_t ones[8] = {1, 1, 1, 1, 1, 1, 1, 1};
	struct fixture *fixture = *state;
	uint8_t data[8];

	/* Ignored: of a byte or two, askew, or behind the table. */
	msix_table_write(&fixture->msix, 0, ones, 1);
	msix_table_write(&fixture->msix, 0, ones, 2);
	msix_table_write(&fixture->msix, 2, ones, 4);
	msix_table_write(&fixture->msix, 4, ones, 8);
	msix_table_write(&fixture->msix, VECTORS * MSIX_ENTRY_BYTES, ones, 8);
	msix_table_write(&fixture->msix, UINT64_MAX - 7, ones, 8);
	for (unsigned int i = 0; i < VECTORS; i++)
		assert_int_equal(table_read(fixture, i, PCI_MSIX_ENTRY_LOWER_ADDR), 0);
	/* Taken. */
	msix_table_write(&fixture->msix, 16, ones, 8);
	assert_int_equal(table_read(fixture, 1, PCI_MSIX_ENTRY_LOWER_ADDR), 0x01010100);
	assert_int_equal(table_read(fixture, 1, PCI_MSIX_ENTRY_UPPER_ADDR), 0x01010101);
	/* Read at any place: the end of one entry and the beginning of the next. */
	msix_table_read(&fixture->msix, 14, data, 4);
	assert_memory_equal(data, "\0\0\0\1", 4);
	msix_table_read(&fixture->msix, VECTORS * MSIX_ENTRY_BYTES - 4, data, 8);
	assert_memory_equal(data, "\1\0\0\0\0\0\0\0", 8);
}

static void pending_bits_are_read_in_any_piece(void **state)
{
	struct fixture *fixture = *state;
	uint8_t data[8];

	msix_control(&fixture->msix, true, false);
	msix_set_vector(&fixture->msix, &fixture->sources[0], 9);
	raise(fixture, 0);
	msix_pending_read(&fixture->msix, 1, data, 1);
	assert_int_equal(data[0], 2);
	msix_pending_read(&fixture->msix, 0, data, 4);
	assert_memory_equal(data, "\0\2\0\0", 4);
	msix_pending_read(&fixture->msix, 2, data, 4);
	assert_memory_equal(data, "\0\0\0\0", 4);
	msix_pending_read(&fixture->msix, 4088, data, 8);
	assert_memory_equal(data, "\0\0\0\0\0\0\0\0", 8);
}

static void there_may_be_no_place_for_more(void **state)
{
	struct fixture *fixture = *state;
	struct msix other = {0};
	struct hv_error error;

	assert_true(msix_create(&other, &fixture->interrupts.base, "net1", TOY_GSIS, &error) < 0);
	assert_non_null(strstr(error.text, "64 more interrupts"));
	msix_destroy(&other);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
#define STORY(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		STORY(all_is_masked_at_first),
		STORY(a_message_is_sent_as_programmed),
		STORY(a_masked_vector_is_pending_and_then_told_once),
		STORY(a_masked_function_is_pending_and_then_told_once),
		STORY(nothing_is_sent_while_it_is_off),
		STORY(an_entry_is_reprogrammed_while_it_is_masked),
		STORY(an_entry_is_reprogrammed_while_it_is_not_masked),
		STORY(what_kvm_refuses_is_pending),
		STORY(sources_share_a_vector),
		STORY(a_source_moves_with_what_it_has_to_tell),
		STORY(what_no_vector_tells_can_be_taken),
		STORY(the_table_takes_dwords_and_quadwords),
		STORY(pending_bits_are_read_in_any_piece),
		STORY(there_may_be_no_place_for_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
