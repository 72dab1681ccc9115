/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes ACPI's tables into guest memory: the RSDP, behind it the others, each with its checksum.
 *
 * Called by main() through the machine's setup, before the guest runs.
 */
#include "hv/acpi.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "hv/acpi_dsdt.h"
#include "hv/layout.h"
#include "hv/options.h"
#include "hv/power.h"

enum {
	TABLE_ALIGNMENT = 16,
	DSDT_BYTES_MAX = 8192,
	RSDP_BYTES_1 = 20, /* What the first checksum covers. */
	RSDP_REVISION = 2,
	DSDT_REVISION = 2, /* Integers have 64 bits. */
	XSDT_REVISION = 1,
	FADT_REVISION = 6,
	FADT_MINOR = 5,
	MADT_REVISION = 6,
	MCFG_REVISION = 1,
};

/* FADT (5.2.9). */
enum {
	PROFILE_ENTERPRISE_SERVER = 4,
	/* Flags: WBINVD works; no power and sleep button but those of the DSDT; the reset register
	 * is there; the rest of the hardware is not. */
	FADT_WBINVD = 1 << 0,
	FADT_POWER_BUTTON = 1 << 4,
	FADT_SLEEP_BUTTON = 1 << 5,
	FADT_RESET_REGISTER = 1 << 10,
	FADT_HARDWARE_REDUCED = 1 << 20,
	/* IAPC_BOOT_ARCH: no 8042 to be looked for, and ... */
	BOOT_NO_VGA = 1 << 2,
	BOOT_NO_ASPM = 1 << 4,
	BOOT_NO_CMOS_RTC = 1 << 5,
};

enum { ADDRESS_SPACE_IO = 1, ACCESS_BYTE = 1, REGISTER_BITS = 8 };

/* MADT (5.2.12). */
enum {
	MADT_LOCAL_APIC = 0,
	MADT_IO_APIC = 1,
	MADT_LOCAL_APIC_NMI = 4,
	PROCESSOR_ENABLED = 1,
	ALL_PROCESSORS = 0xff,
	NMI_LINT = 1,
};

struct acpi_header {
	char signature[4];
	uint32_t length;
	uint8_t revision, checksum;
	char oem_id[6], oem_table_id[8];
	uint32_t oem_revision;
	char creator_id[4];
	uint32_t creator_revision;
} __attribute__((packed));

struct acpi_rsdp {
	char signature[8];
	uint8_t checksum;
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt, length;
	uint64_t xsdt;
	uint8_t checksum_all, reserved[3];
} __attribute__((packed));

struct acpi_xsdt {
	struct acpi_header header;
	uint64_t tables[3];
} __attribute__((packed));

struct acpi_register {
	uint8_t space, bits, first_bit, access;
	uint64_t address;
} __attribute__((packed));

struct acpi_fadt {
	struct acpi_header header;
	uint32_t facs, dsdt;
	uint8_t reserved_1, profile;
	uint8_t fixed_hardware_1[109 - 46];
	uint16_t boot_architecture;
	uint8_t reserved_2;
	uint32_t flags;
	struct acpi_register reset;
	uint8_t reset_value;
	uint16_t arm_boot_architecture;
	uint8_t minor;
	uint64_t x_facs, x_dsdt;
	struct acpi_register fixed_hardware_2[8];
	struct acpi_register sleep_control, sleep_status;
	char hypervisor[8];
} __attribute__((packed));

struct madt_local_apic {
	uint8_t type, length, processor, apic;
	uint32_t flags;
} __attribute__((packed));

struct acpi_madt {
	struct acpi_header header;
	uint32_t local_apic_address, flags;
	struct {
		uint8_t type, length, id, reserved;
		uint32_t address, first_line;
	} __attribute__((packed)) io_apic;
	struct {
		uint8_t type, length, processor;
		uint16_t flags;
		uint8_t lint;
	} __attribute__((packed)) nmi;
	struct madt_local_apic local_apics[OPTIONS_VCPUS];
} __attribute__((packed));

struct acpi_mcfg {
	struct acpi_header header;
	uint8_t reserved_1[8];
	uint64_t base;
	uint16_t segment;
	uint8_t first_bus, last_bus, reserved_2[4];
} __attribute__((packed));

_Static_assert(sizeof(struct acpi_header) == 36, "ACPI 5.2.6");
_Static_assert(sizeof(struct acpi_rsdp) == 36, "ACPI 5.2.5.3");
_Static_assert(sizeof(struct acpi_fadt) == 276, "ACPI 5.2.9");
_Static_assert(offsetof(struct acpi_fadt, boot_architecture) == 109, "ACPI 5.2.9");
_Static_assert(offsetof(struct acpi_fadt, sleep_control) == 244, "ACPI 5.2.9");

/* Where the next table goes; 0 once there was no room. */
struct acpi_writer {
	const struct guest_memory *memory;
	uint64_t next;
};

static uint64_t aligned(uint64_t address)
{
	return (address + TABLE_ALIGNMENT - 1) & ~(uint64_t)(TABLE_ALIGNMENT - 1);
}

static uint8_t checksum_of(const void *bytes, size_t n)
{
	const uint8_t *at = bytes;
	uint8_t sum = 0;

	while (n-- > 0)
		sum = (uint8_t)(sum + *at++);
	return (uint8_t)-sum;
}

static struct acpi_header header_of(const char *signature, uint8_t revision)
{
	struct acpi_header header = {
		.revision = revision, .oem_revision = 1, .creator_revision = 1};

	memcpy(header.signature, signature, sizeof(header.signature));
	memcpy(header.oem_id, "CORDON", sizeof(header.oem_id));
	memcpy(header.oem_table_id, "CORDONVM", sizeof(header.oem_table_id));
	memcpy(header.creator_id, "CRDN", sizeof(header.creator_id));
	return header;
}

/* Puts a table, whose header is its beginning, behind the others: its address. */
static uint64_t append(struct acpi_writer *writer, struct acpi_header *table, uint32_t bytes)
{
	uint64_t address = writer->next;

	table->length = bytes;
	table->checksum = 0;
	table->checksum = checksum_of(table, bytes);
	if (address == 0 || address + bytes > ACPI_END ||
		!guest_memory_write(writer->memory, address, table, bytes)) {
		writer->next = 0;
		return 0;
	}
	writer->next = aligned(address + bytes);
	return address;
}

static uint64_t append_dsdt(struct acpi_writer *writer, const struct machine *machine)
{
	uint8_t table[DSDT_BYTES_MAX] __attribute__((aligned(8)));
	struct acpi_header header = header_of("DSDT", DSDT_REVISION);
	struct aml aml = {.code = table + sizeof(header), .size = sizeof(table) - sizeof(header)};

	acpi_dsdt_build(&aml, machine);
	if (aml.overflow) {
		writer->next = 0;
		return 0;
	}
	memcpy(table, &header, sizeof(header));
	return append(writer, (struct acpi_header *)table, (uint32_t)sizeof(header) + aml.bytes);
}

static struct acpi_register port_register(uint16_t port)
{
	return (struct acpi_register){ADDRESS_SPACE_IO, REGISTER_BITS, 0, ACCESS_BYTE, port};
}

static uint64_t append_fadt(struct acpi_writer *writer, uint64_t dsdt)
{
	struct acpi_fadt fadt = {
		.header = header_of("FACP", FADT_REVISION),
		.dsdt = (uint32_t)dsdt,
		.x_dsdt = dsdt,
		.profile = PROFILE_ENTERPRISE_SERVER,
		.boot_architecture = BOOT_NO_VGA | BOOT_NO_ASPM | BOOT_NO_CMOS_RTC,
		.flags = FADT_WBINVD | FADT_POWER_BUTTON | FADT_SLEEP_BUTTON | FADT_RESET_REGISTER |
			 FADT_HARDWARE_REDUCED,
		.reset = port_register(POWER_PORT_RESET),
		.reset_value = POWER_RESET_VALUE,
		.minor = FADT_MINOR,
		.sleep_control = port_register(POWER_PORT_SLEEP_CONTROL),
		.sleep_status = port_register(POWER_PORT_SLEEP_STATUS),
		.hypervisor = "CORDON",
	};

	return append(writer, &fadt.header, sizeof(fadt));
}

/* No interrupt overrides: lines are GSIs, one to one. */
static uint64_t append_madt(struct acpi_writer *writer, unsigned int n_vcpus)
{
	struct acpi_madt madt = {
		.header = header_of("APIC", MADT_REVISION),
		.local_apic_address = LAYOUT_LOCAL_APIC_BASE,
		.io_apic = {MADT_IO_APIC, sizeof(madt.io_apic), 0, 0, LAYOUT_IOAPIC_BASE, 0},
		.nmi = {MADT_LOCAL_APIC_NMI, sizeof(madt.nmi), ALL_PROCESSORS, 0, NMI_LINT},
	};

	for (unsigned int i = 0; i < n_vcpus; i++)
		madt.local_apics[i] = (struct madt_local_apic){MADT_LOCAL_APIC,
			sizeof(struct madt_local_apic), (uint8_t)i, (uint8_t)i, PROCESSOR_ENABLED};
	return append(writer, &madt.header,
		(uint32_t)(offsetof(struct acpi_madt, local_apics) +
			   n_vcpus * sizeof(struct madt_local_apic)));
}

static uint64_t append_mcfg(struct acpi_writer *writer)
{
	struct acpi_mcfg mcfg = {
		.header = header_of("MCFG", MCFG_REVISION), .base = LAYOUT_ECAM_BASE};

	return append(writer, &mcfg.header, sizeof(mcfg));
}

static void write_rsdp(const struct guest_memory *memory, uint64_t xsdt)
{
	struct acpi_rsdp rsdp = {.revision = RSDP_REVISION, .length = sizeof(rsdp), .xsdt = xsdt};

	memcpy(rsdp.signature, "RSD PTR ", sizeof(rsdp.signature));
	memcpy(rsdp.oem_id, "CORDON", sizeof(rsdp.oem_id));
	rsdp.checksum = checksum_of(&rsdp, RSDP_BYTES_1);
	rsdp.checksum_all = checksum_of(&rsdp, sizeof(rsdp));
	guest_memory_write(memory, ACPI_RSDP, &rsdp, sizeof(rsdp));
}

int acpi_build(const struct machine *machine, struct hv_error *error)
{
	struct acpi_writer writer = {
		&machine->memory, aligned(ACPI_RSDP + sizeof(struct acpi_rsdp))};
	struct acpi_xsdt xsdt = {.header = header_of("XSDT", XSDT_REVISION)};
	uint64_t address;

	if (machine->n_vcpus > OPTIONS_VCPUS)
		return hv_fail(error, EINVAL,
			"a guest of %u processors has no place in ACPI's tables; at most %d",
			machine->n_vcpus, OPTIONS_VCPUS);
	xsdt.tables[0] = append_fadt(&writer, append_dsdt(&writer, machine));
	xsdt.tables[1] = append_madt(&writer, machine->n_vcpus);
	xsdt.tables[2] = append_mcfg(&writer);
	address = append(&writer, &xsdt.header, sizeof(xsdt));
	if (address == 0)
		return hv_fail(error, ENOSPC,
			"ACPI's tables for %u processors do not fit into guest memory below 1 MiB",
			machine->n_vcpus);
	write_rsdp(&machine->memory, address);
	return 0;
}
