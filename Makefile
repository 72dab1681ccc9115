# SPDX-License-Identifier: Apache-2.0
#
# Cordon: the virtual switch of a KVM host.  `make help` lists what can be made.
#
# Variables on the command line:
#	CC=clang			another compiler (its objects have a directory of their own)
#	SANITIZE=address,undefined	instrumented objects, in a directory of their own; SANITIZE=thread likewise,
#					see tests/sanitizer/README.md
#	CFLAGS="-O3 -g"			optimisation and debugging
#	PREFIX=/usr DESTDIR=...		where `make install` puts things

VERSION := 0.1.0
PREFIX ?= /usr/local
DESTDIR ?=
SANITIZE ?=
PYTHON ?= /usr/bin/python3
CFLAGS ?= -O2 -g

ifeq ($(origin CC),default)
CC := gcc
endif

# --- Where things are made -----------------------------------------------------------------------------
# The ordinary build is in build/ itself; every other flavour has build/<flavour>/ with the same names in it.

comma := ,
FLAVOUR := $(notdir $(CC))$(if $(SANITIZE),-$(subst $(comma),-,$(SANITIZE)))
BUILD := build
OUT := $(BUILD)$(if $(filter-out gcc,$(FLAVOUR)),/$(FLAVOUR))
OVS := $(BUILD)/openvswitch
OVS_READY := $(OVS)/.built

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules

# What cannot be built for want of a package says so before anything is tried.
GOALS := $(or $(MAKECMDGOALS),all)
NEEDED := $(if $(filter all lib install check-run check-linux-run unit fuzz system bench-run,$(GOALS)),build) $(if $(filter check-run unit fuzz system,$(GOALS)),check) $(if $(filter check-linux-run,$(GOALS)),linux)
MISSING := $(if $(strip $(NEEDED)),$(shell scripts/setup.sh --check $(NEEDED) 2>&1))
ifneq ($(MISSING),)
$(error $(MISSING))
endif

# --- The rooms: every source file, in the order in which a packet, a policy or a command meets them --------------

# A policy is read, checked, compiled and asked; then what the packet path knows of endpoints and TCP; then what a
# change of policy comes to.
ZONES := $(addprefix zones/,$(addsuffix .c, \
	address utf8 arena dictionary name_table \
	policy_error policy_lift policy_event policy_yaml policy_time schedule service tag_expression \
	policy_read policy_read_rules policy_read_terms policy_check policy_moment \
	policy_compile rule_index prefix_table policy_reach zone decide \
	endpoint_map tcp_state announcement \
	policy_diff policy_words both_ends policy_view policy_impact policy_impact_json))

# A record is made, stored, and found again.
LOG := $(addprefix log/,$(addsuffix .c, \
	cap record record_json batch match account sequence sink_options sink_secret names row schema bucket bucket_choose bucket_file \
	memo flow_rows segment slice slice_lump slice_pack indexer writer writer_resume store \
	posting filter condition readahead reader walk query sums flow_match flow_table flows timeline gaps files summary replay))

# Sinks: where records go, each in a thread of its own.
SINKS := $(addprefix sinks/,$(addsuffix .c, \
	sinks sink sqlite json json_file \
	socket ipfix ipfix_encoder ipfix_templates ipfix_element ipfix_values ipfix_interfaces ipfix_text \
	syslog syslog_message syslog_sentence syslog_text syslog_tls syslog_trust \
	postgresql postgresql_client postgresql_schema postgresql_partition postgresql_row))

# Every packet: from the port through the parser and the table of connections to a port.
# First packets: what the table does not know.  Then what follows packets, and what commands the switch.
DATAPATH := $(addprefix datapath/,$(addsuffix .c, \
	port port_ethdev port_vhost vhost_message vhost_device guest_memory_fault vhost_ring vhost_receive vhost_send port_kernel kernel_device kernel_socket kernel_xdp kernel_xsk port_internal port_dpdk \
	worker packet packet_extension packet_quoted fragment reassembly storm conn connection program actions \
	offload offload_shape offload_cut drop \
	miss guard spoof service_guard checksum signalling forward mac_table icmp_error icmp_quote verdict miss_output miss_program hits simulation quota limits connection_limits expectation related reject \
	event event_record port_identity log_thread hits_keeper sweep rule_hits rule_hits_count rule_hits_file rule_hits_save conn_file conn_adopt \
	config config_policy policy_intent policy_compiler wall_clock config_zones policies policy_return config_port config_log status control control_conn control_hits control_limits control_log control_plan \
	trace trace_conn trace_zones trace_output trace_words control_trace inject \
	capture control_capture capture_filter capture_receive capture_refuse capture_send capture_take capture_fate capture_ring capture_stream capture_message capture_words pcapng telemetry \
	dpdk buffers options))
DATAPATH_MAIN := datapath/main.c

# Those of them that need neither DPDK nor Open vSwitch: tested and fuzzed without.
CORE := $(addprefix datapath/,$(addsuffix .c, \
	vhost_message guest_memory_fault vhost_ring packet packet_extension packet_quoted icmp_quote storm limits conn program drop spoof service_guard fragment mac_table expectation conn_file conn_adopt policy_intent rule_hits rule_hits_count rule_hits_file rule_hits_save capture_filter capture_ring pcapng))

# The rest of them.
DRIVEN := $(filter-out $(CORE),$(DATAPATH)) $(DATAPATH_MAIN)

# Desired state: a database's replica, what may be changed in it, and how a change is made.
MODEL := $(addprefix controller/,$(addsuffix .c, \
	model model_text model_endpoint model_port model_vm_read model_vm model_network model_sink model_policy model_document model_transaction model_wait))

# A line becomes a command; the nouns; an answer becomes a table or JSON.
CLI := $(addprefix cli/,$(addsuffix .c, \
	parse commands help complete \
	up down process status status_guests port port_list network zone limit policy policy_document policy_apply policy_history policy_plan policy_impact policy_diff revision endpoints vm vm_balloon vm_draft vm_yaml vm_list vm_console why why_end why_traffic why_print rule conn log log_options log_record log_flow log_answer log_denied log_talks log_matrix log_top log_new log_spoofed log_simulated log_compare log_gaps suggest suggest_observe suggest_rules suggest_print report report_sections report_matrix report_chart report_page sink mac drops worker \
	trace trace_options trace_packet trace_pcap trace_story \
	capture capture_filter capture_file capture_print \
	ask table csv text json))
CLI_MAIN := cli/main.c

# The virtual machine monitor: a guest's memory, its boot, its processors, its buses, PCI, virtio and the devices; then
# what commands it, and what it may do.
VMM := $(addprefix hv/,$(addsuffix .c, \
	error report options options_device options_paths cpu_features \
	kvm guest_memory bus event_loop interrupts_kvm ioapic \
	acpi_aml acpi_resource acpi_dsdt acpi \
	boot read_file kernel_image bzimage elf_pvh boot_command_line initrd e820 boot_processor \
	cpuid msr signal_stack vcpu vcpu_exit fault_report machine \
	power i8042 \
	pci_config pci msix ioeventfd_kvm \
	virtio_queue virtio_device virtio_pci_add virtio_pci virtio_registers virtio_status \
	block_file block \
	rng \
	balloon \
	vhost_user_message vhost_user vhost_user_talk vhost_user_steps vhost_user_recover \
	net net_control vhost_user_block \
	terminal terminal_client terminal_open serial console \
	control control_status control_metrics control_clients \
	broker broker_process seccomp seccomp_table sandbox json_text outcome))
VMM_MAIN := hv/machine_devices.c hv/machine_setup.c hv/main.c

# The daemon that runs a host's guests: rows become wishes, wishes become decisions, decisions processes.
HOSTD := $(addprefix hv/hostd/,$(addsuffix .c, \
	options replica ports wish decide guest balloon statistics vmm control_client storage image text_file detached cgroup counts answers))
HOSTD_MAIN := hv/hostd/main.c

# What both daemons do with their run directory: no Open vSwitch, no DPDK.
DAEMON := daemon/stale_sockets.c

UNLISTED := $(filter-out $(DAEMON) $(ZONES) $(LOG) $(SINKS) $(DATAPATH) $(DATAPATH_MAIN) $(MODEL) $(CLI) $(CLI_MAIN) $(HOSTD) $(HOSTD_MAIN) $(VMM) $(VMM_MAIN), \
	$(wildcard daemon/*.c zones/*.c log/*.c sinks/*.c datapath/*.c controller/*.c cli/*.c hv/*.c hv/hostd/*.c))
ifneq ($(UNLISTED),)
$(warning in no list of the Makefile, and so in no program: $(UNLISTED))
endif

# --- Tests -----------------------------------------------------------------------------------------------

# What a unit test is linked with beside libcore and libzones.
UNIT := $(sort $(wildcard tests/unit/*_test.c))
UNIT_DPDK := $(shell grep -lE '"datapath/(switch|port|worker|log_thread|offload|segment|checksum)\.h"|<rte_' $(UNIT) /dev/null)
UNIT_MODEL := $(shell grep -lE '"(controller/model|cordon-idl|openvswitch|tests/unit/model_fixture)' $(UNIT) /dev/null)
UNIT_SINKS := $(shell grep -lE '"sinks/' $(UNIT) /dev/null)
UNIT_CLI := $(shell grep -lE '"cli/' $(UNIT) /dev/null)
UNIT_HOSTD := $(shell grep -lE '"hv/hostd/' $(UNIT) /dev/null)
UNIT_DAEMON := $(shell grep -lE '"daemon/' $(UNIT) /dev/null)
UNIT_VMM := $(filter-out $(UNIT_HOSTD),$(shell grep -lE '"hv/' $(UNIT) /dev/null))

FUZZ := $(sort $(wildcard tests/fuzz/*_fuzz.c))
FUZZ_SECONDS ?= 10

# --- Flags -----------------------------------------------------------------------------------------------

WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Werror
DPDK_CFLAGS := $(patsubst -I%,-isystem %,$(shell pkg-config --cflags libdpdk 2>/dev/null))
# What the zones stand on: YAML, the log's store, and GLib's time zones.
ZONES_LIBS := -lyaml -lsqlite3 $(or $(shell pkg-config --libs glib-2.0 2>/dev/null),-lglib-2.0)
# Filters of captures.
CORE_LIBS := -lpcap
GLIB_CFLAGS := $(patsubst -I%,-isystem %,$(shell pkg-config --cflags glib-2.0 2>/dev/null))
# Collectors' protocols: IPFIX, PostgreSQL, TLS.
SINKS_PACKAGES := libfixbuf libpq openssl
SINKS_CFLAGS := $(patsubst -I%,-isystem %,$(shell pkg-config --cflags $(SINKS_PACKAGES) 2>/dev/null))
SINKS_LIBS := $(shell pkg-config --libs $(SINKS_PACKAGES) 2>/dev/null)
DPDK_LIBS := $(shell pkg-config --libs libdpdk 2>/dev/null)
# Disks, the list of allowed system calls, and the control protocol of the virtual machine monitor.
VMM_LIBS := -luring -lseccomp -ljansson -lcap-ng
# The same instruction set in all rooms of the packet path as in DPDK's inline functions.
MACHINE := $(filter -m%,$(DPDK_CFLAGS)) -mprfchw
# Where Open vSwitch's macros are used, clang blames us for their comparisons; gcc looks after ours.
OVS_CFLAGS := -isystem $(OVS)/include -isystem $(OVS)/lib -isystem $(OVS) \
	$(if $(findstring clang,$(CC)),-Wno-sign-compare)
OVS_LIBS = $(OVS)/lib/.libs/libopenvswitch.a $(OVS)/lib/.libs/libopenvswitchavx512.a \
	$(shell sed -n 's/^Libs.private: //p' $(OVS)/lib/libopenvswitch.pc 2>/dev/null)
# With sanitizers gcc guesses more, and wrongly: the plain builds are what is held to its warnings.
SANITIZE_FLAGS := $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-omit-frame-pointer -fno-sanitize-recover=all \
	$(if $(findstring clang,$(CC)),,-Wno-maybe-uninitialized -Wno-format-truncation))
# DPDK's inline locks and rings are assembly and plain stores unless they are asked to be atomics of the compiler's,
# which ThreadSanitizer understands.  It knows no fences; those that are left stand between two processes, which it does
# not see both of in any case.
SANITIZE_FLAGS += $(if $(findstring thread,$(SANITIZE)),-DRTE_FORCE_INTRINSICS -DRTE_USE_C11_MEM_MODEL \
	$(if $(findstring clang,$(CC)),,-Wno-tsan))

COMMON := -std=gnu17 $(WARNINGS) -I. -I$(BUILD) -D_GNU_SOURCE -DCORDON_VERSION='"$(VERSION)"' $(MACHINE)
COMPILE = $(CC) $(CFLAGS) $(COMMON) $(SANITIZE_FLAGS) $(ROOM_CFLAGS) -MMD -MP -c -o $@ $<
# A program that is in use, or wanted meanwhile, is replaced at once and whole.
LINK = $(CC) $(CFLAGS) $(SANITIZE_FLAGS) $(LDFLAGS) -o $@.new
LINKED = && mv -f $@.new $@

ifeq ($(V),)
say = @printf '  %-8s %s\n' $(1) '$(2)';
else
say =
endif

# What ThreadSanitizer is told of DPDK's buffer pools.
THREAD_SANITIZED := $(if $(findstring thread,$(SANITIZE)),tests/sanitizer/thread_mempool.c)

# --- What is made ------------------------------------------------------------------------------------------

objects = $(patsubst %.c,$(OUT)/obj/%.o,$(1))
IDL_OBJECT := $(OUT)/obj/cordon-idl.o
IDL := $(BUILD)/cordon-idl
GUESTS := $(OUT)/tests/guest/guest.elf $(OUT)/tests/guest/guest.bzimage
UNIT_PROGRAMS := $(patsubst tests/unit/%.c,$(OUT)/tests/%,$(UNIT))
FUZZ_PROGRAMS := $(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/%,$(FUZZ))
PROGRAMS := $(OUT)/cordon-switchd $(OUT)/cordon $(OUT)/cordon-vmm $(OUT)/cordon-hostd
SCHEMA := $(OUT)/cordon.ovsschema

all: $(PROGRAMS) $(SCHEMA) ## Build the programs (the default)

lib: $(OUT)/libzones.a $(OUT)/liblog.a $(OUT)/libsinks.a $(OUT)/libcore.a $(OUT)/libmodel.a $(OUT)/libvmm.a

$(OUT)/libzones.a: $(call objects,$(ZONES))
$(OUT)/liblog.a: $(call objects,$(LOG))
$(OUT)/libsinks.a: $(call objects,$(SINKS))
$(OUT)/libcore.a: $(call objects,$(CORE))
$(OUT)/libdatapath.a: $(call objects,$(filter-out $(DATAPATH_MAIN),$(DRIVEN)))
$(OUT)/libmodel.a: $(call objects,$(MODEL)) $(IDL_OBJECT)
$(OUT)/libcli.a: $(call objects,$(CLI))
$(OUT)/libvmm.a: $(call objects,$(VMM))
$(OUT)/libhostd.a: $(call objects,$(HOSTD)) $(IDL_OBJECT)

$(OUT)/lib%.a:
	$(call say,AR,$@) rm -f $@ && $(AR) rcs $@ $^

$(OUT)/cordon-switchd: $(call objects,$(DATAPATH_MAIN) $(DAEMON) $(THREAD_SANITIZED)) $(OUT)/libdatapath.a $(OUT)/libcore.a \
		$(OUT)/libmodel.a $(OUT)/libsinks.a $(OUT)/liblog.a $(OUT)/libzones.a
	$(call say,LD,$@) $(LINK) $^ $(OVS_LIBS) $(DPDK_LIBS) $(SINKS_LIBS) $(CORE_LIBS) $(ZONES_LIBS) -lm -lpthread $(LINKED)

$(OUT)/cordon: $(call objects,$(CLI_MAIN)) $(OUT)/libcli.a $(OUT)/libmodel.a $(OUT)/liblog.a $(OUT)/libzones.a
	$(call say,LD,$@) $(LINK) $^ $(OVS_LIBS) $(ZONES_LIBS) -lpcap -lm -lpthread $(LINKED)

# One small program for each guest: neither DPDK nor Open vSwitch.
$(OUT)/cordon-vmm: $(call objects,$(VMM_MAIN)) $(OUT)/libvmm.a
	$(call say,LD,$@) $(LINK) $^ $(VMM_LIBS) -lpthread $(LINKED)

$(OUT)/cordon-hostd: $(call objects,$(HOSTD_MAIN) $(DAEMON)) $(OUT)/libhostd.a
	$(call say,LD,$@) $(LINK) $^ $(OVS_LIBS) -lm -lpthread $(LINKED)

$(SCHEMA): controller/cordon.ovsschema
	@mkdir -p $(@D) && cp $< $@

# --- Objects -------------------------------------------------------------------------------------------------

$(call objects,zones/schedule.c): ROOM_CFLAGS = $(GLIB_CFLAGS)
$(call objects,$(SINKS)): ROOM_CFLAGS = $(SINKS_CFLAGS)
$(call objects,$(DRIVEN) $(THREAD_SANITIZED)): ROOM_CFLAGS = $(DPDK_CFLAGS) $(OVS_CFLAGS) -DALLOW_EXPERIMENTAL_API
$(call objects,$(MODEL) $(HOSTD_MAIN) $(HOSTD) $(CLI_MAIN) $(CLI)): ROOM_CFLAGS = $(OVS_CFLAGS)
$(call objects,$(DRIVEN) $(MODEL) $(HOSTD_MAIN) $(HOSTD) $(CLI_MAIN) $(CLI)): | $(IDL).h
$(call objects,$(UNIT_DPDK)): ROOM_CFLAGS = $(DPDK_CFLAGS) $(OVS_CFLAGS) -DALLOW_EXPERIMENTAL_API
$(call objects,$(filter-out $(UNIT_DPDK),$(UNIT_MODEL) $(UNIT_HOSTD) $(UNIT_CLI))): ROOM_CFLAGS = $(OVS_CFLAGS)
$(call objects,$(filter-out $(UNIT_DPDK) $(UNIT_MODEL) $(UNIT_CLI),$(UNIT_SINKS))): ROOM_CFLAGS = $(SINKS_CFLAGS)
$(call objects,$(UNIT_DPDK) $(UNIT_MODEL) $(UNIT_HOSTD) $(UNIT_CLI)): | $(IDL).h

$(OUT)/obj/%.o: %.c $(OUT)/flags
	@mkdir -p $(@D)
	$(call say,CC,$<) $(COMPILE)

# Generated code is the generator's business: no warnings of ours.
$(IDL_OBJECT): $(IDL).c $(IDL).h $(OUT)/flags
	@mkdir -p $(@D)
	$(call say,CC,$<) $(CC) $(CFLAGS) -std=gnu17 -w $(SANITIZE_FLAGS) -I$(BUILD) $(OVS_CFLAGS) -MMD -MP -c -o $@ $<

# Everything is made anew when the flags are others than last time.
$(OUT)/flags: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' '$(subst ','\'',$(CC) $(CFLAGS) $(COMMON) $(SANITIZE_FLAGS))' | cmp -s - $@ || \
		printf '%s\n' '$(subst ','\'',$(CC) $(CFLAGS) $(COMMON) $(SANITIZE_FLAGS))' >$@

# --- Open vSwitch's library, and the access to the database made by its generator -----------------------------

$(OVS_READY):
	scripts/build-openvswitch.sh $(OVS)

IDLC := PYTHONPATH=$(OVS)/python PYTHONDONTWRITEBYTECODE=1 $(PYTHON) $(OVS)/ovsdb/ovsdb-idlc

$(IDL).ovsidl: controller/cordon.ovsschema controller/cordon-idl.ann | $(OVS_READY)
	$(call say,IDL,$@) $(IDLC) annotate $^ >$@

$(IDL).c: $(IDL).ovsidl
	$(call say,IDL,$@) $(IDLC) c-idl-source $< >$@

$(IDL).h: $(IDL).ovsidl
	$(call say,IDL,$@) $(IDLC) c-idl-header $< >$@

# --- Tests -----------------------------------------------------------------------------------------------------

# Under ThreadSanitizer, the story that is made for it: two workers, and everything else at the same time.
SYSTEM_TESTS := $(if $(wildcard tests/system/test_*.py),--system \
	tests/system$(if $(findstring thread,$(SANITIZE)),/test_two_workers.py))
FUZZ_TESTS := $(if $(findstring thread,$(SANITIZE)),,--fuzz "$(FUZZ_PROGRAMS)" --fuzz-seconds $(FUZZ_SECONDS))

check: ## Install what is missing, build, and run all tests
	@scripts/setup.sh build run check
	@$(MAKE) --no-print-directory check-run

check-run: all $(GUESTS) $(UNIT_PROGRAMS) $(if $(FUZZ_TESTS),$(FUZZ_PROGRAMS))
	@tests/run --build $(OUT) --unit "$(UNIT_PROGRAMS)" $(FUZZ_TESTS) $(SYSTEM_TESTS)

unit: $(UNIT_PROGRAMS) ## Build and run the unit tests
	@tests/run --build $(OUT) --unit "$(UNIT_PROGRAMS)"

fuzz: $(FUZZ_PROGRAMS) ## Build and run the fuzz targets (FUZZ_SECONDS=10 each)
	@tests/run --fuzz "$(FUZZ_PROGRAMS)" --fuzz-seconds $(FUZZ_SECONDS)

system: all $(GUESTS) ## Build and run the system tests (as root)
	@tests/run --build $(OUT) --system tests/system

# Apart from `check`, for it takes minutes, and compiles a kernel the first time.
check-linux: ## Install what is missing, build, and run Linux guests on a switch (as root)
	@scripts/setup.sh build run linux
	@$(MAKE) --no-print-directory check-linux-run

check-linux-run: all
	@tests/linux/build-kernel >/dev/null
	@tests/linux/fetch-packages linux-image-cloud-amd64 busybox-static >/dev/null
	@tests/run --build $(OUT) --system tests/linux --jobs 1

unit_programs = $(patsubst tests/unit/%.c,$(OUT)/tests/%,$(1))

$(OUT)/tests/%_test: $(OUT)/obj/tests/unit/%_test.o
	@mkdir -p $(@D)
	$(call say,LD,$@) $(LINK) $^ $(UNIT_LIBS) $(CORE_LIBS) $(ZONES_LIBS) -lcmocka -lm -lpthread $(LINKED)

# The order matters to the linker: who calls comes before who is called.
$(call unit_programs,tests/unit/generator_test.c): \
	$(call objects,$(addprefix tests/bench/generator/,frame.c histogram.c ring.c))
$(call unit_programs,$(UNIT_DAEMON)): $(call objects,$(DAEMON))
$(call unit_programs,$(UNIT_CLI)): $(OUT)/libcli.a
$(call unit_programs,$(UNIT_DPDK)): $(OUT)/libdatapath.a
$(call unit_programs,$(UNIT_CLI) $(UNIT_MODEL) $(UNIT_DPDK)): $(OUT)/libmodel.a
$(call unit_programs,$(UNIT_SINKS)): $(OUT)/libsinks.a
$(call unit_programs,$(UNIT_VMM)): $(OUT)/libvmm.a
$(call unit_programs,$(UNIT_HOSTD)): $(OUT)/libhostd.a
$(call unit_programs,$(UNIT)): $(OUT)/libcore.a $(OUT)/liblog.a $(OUT)/libzones.a
$(call unit_programs,$(filter-out $(UNIT_DPDK),$(UNIT_CLI) $(UNIT_MODEL) $(UNIT_HOSTD))): UNIT_LIBS = $(OVS_LIBS)
$(call unit_programs,$(UNIT_DPDK)): UNIT_LIBS = $(OVS_LIBS) $(DPDK_LIBS) $(SINKS_LIBS)
$(call unit_programs,$(filter-out $(UNIT_DPDK),$(UNIT_SINKS))): UNIT_LIBS = $(SINKS_LIBS)
$(call unit_programs,$(UNIT_VMM)): UNIT_LIBS = $(VMM_LIBS)

# The small guest: a kernel of its own, which runs on nothing but the machine that cordon-vmm makes.
GUEST_FLAGS := -std=gnu17 $(WARNINGS) -O2 -g -m64 -ffreestanding -fno-builtin -fno-pic -fno-pie -mcmodel=small \
	-mgeneral-regs-only -mno-red-zone -fno-stack-protector -fno-asynchronous-unwind-tables -fcf-protection=none
GUEST_OBJECTS := $(call objects,$(sort $(wildcard tests/guest/*.c))) $(OUT)/obj/tests/guest/entry.o

$(OUT)/obj/tests/guest/%.o: tests/guest/%.c $(OUT)/flags
	@mkdir -p $(@D)
	$(call say,GUEST-CC,$<) $(CC) $(GUEST_FLAGS) -MMD -MP -c -o $@ $<

$(OUT)/obj/tests/guest/%.o: tests/guest/%.S tests/guest/ring0.h
	@mkdir -p $(@D)
	$(call say,GUEST-AS,$<) $(CC) -c -o $@ $<

$(OUT)/tests/guest/guest.elf: $(GUEST_OBJECTS) tests/guest/guest.ld
	@mkdir -p $(@D)
	$(call say,GUEST-LD,$@) $(CC) -nostdlib -static -Wl,--build-id=none,--no-warn-rwx-segments -T tests/guest/guest.ld -o $@ $(GUEST_OBJECTS)

# The same as a bzImage: a header and the plain image.
$(OUT)/tests/guest/guest.bzimage: $(OUT)/tests/guest/guest.elf tests/guest/bzimage_header.S
	$(call say,GUEST-BZ,$@) objcopy -O binary $< $@.image && \
		$(CC) -c -DKERNEL_BYTES=$$(stat -c %s $@.image) -o $@.o tests/guest/bzimage_header.S && \
		objcopy -O binary -j .header $@.o $@.header && cat $@.header $@.image >$@.new && mv -f $@.new $@

# Fuzz targets: clang's, with the rooms' sources instrumented for it.
FUZZ_FLAGS := -O1 -g -fno-omit-frame-pointer -fno-sanitize-recover=all
fuzz_objects = $(patsubst %.c,$(BUILD)/fuzz/obj/%.o,$(1))

$(BUILD)/fuzz/obj/%.o: %.c
	@mkdir -p $(@D)
	$(call say,FUZZ-CC,$<) clang $(FUZZ_FLAGS) $(COMMON) $(GLIB_CFLAGS) -fsanitize=fuzzer-no-link,address,undefined \
		-MMD -MP -c -o $@ $<

$(BUILD)/fuzz/librooms.a: $(call fuzz_objects,$(VMM) $(CORE) $(LOG) $(ZONES))
	$(call say,AR,$@) rm -f $@ && $(AR) rcs $@ $^

$(BUILD)/fuzz/%_fuzz: $(BUILD)/fuzz/obj/tests/fuzz/%_fuzz.o $(BUILD)/fuzz/librooms.a
	$(call say,FUZZ-LD,$@) clang $(FUZZ_FLAGS) -fsanitize=fuzzer,address,undefined -o $@ $^ $(VMM_LIBS) $(CORE_LIBS) $(ZONES_LIBS) -lm -lpthread

# --- Benches: programs of their own, not part of `all` --------------------------------------------------------------

GENERATOR_OBJECTS := $(call objects,$(sort $(wildcard tests/bench/generator/*.c)))

$(OUT)/bench/generator: $(GENERATOR_OBJECTS)
	@mkdir -p $(@D)
	$(call say,LD,$@) $(LINK) $^ $(LINKED)

$(OUT)/bench/frame_sender: $(OUT)/obj/tests/bench/frame_sender.o
	@mkdir -p $(@D)
	$(call say,LD,$@) $(LINK) $^ $(LINKED)

# What the parts cost by themselves: $(OUT)/bench/*_bench, each of which says at its top how it is run.
BENCHES := $(patsubst tests/bench/%.c,$(OUT)/bench/%,$(sort $(wildcard tests/bench/*_bench.c)))

$(OUT)/bench/%_bench: $(OUT)/obj/tests/bench/%_bench.o
	@mkdir -p $(@D)
	$(call say,LD,$@) $(LINK) $^ $(BENCH_LIBS) $(CORE_LIBS) $(ZONES_LIBS) -lm -lpthread $(LINKED)

$(OUT)/obj/tests/bench/miss_bench.o: ROOM_CFLAGS = $(OVS_CFLAGS) $(DPDK_CFLAGS)
$(OUT)/bench/miss_bench: $(OUT)/libdatapath.a $(OUT)/libmodel.a
$(OUT)/bench/miss_bench: BENCH_LIBS = $(OVS_LIBS) $(DPDK_LIBS)
$(OUT)/bench/sink_bench: $(OUT)/libsinks.a
$(OUT)/bench/sink_bench: BENCH_LIBS = $(SINKS_LIBS)
$(OUT)/bench/virtio_bench: $(OUT)/libvmm.a
$(OUT)/bench/virtio_bench: BENCH_LIBS = $(VMM_LIBS) -lcmocka
$(BENCHES): $(OUT)/libcore.a $(OUT)/liblog.a $(OUT)/libzones.a

bench-parts: $(BENCHES) ## Build the benches of the parser, the connection table, the verdicts and the log

bench: ## Install what is missing, and measure beside testpmd and Open vSwitch (as root; BENCH="--case forward.1k" chooses)
	@scripts/setup.sh build run bench
	@$(MAKE) --no-print-directory bench-run

bench-quick: ## The same in three minutes: one short round of what matters most
	@scripts/setup.sh build run bench
	@$(MAKE) --no-print-directory bench-run BENCH="--quick $(BENCH)"

bench-run: all $(GUESTS) $(OUT)/bench/generator $(OUT)/bench/frame_sender
	@CORDON_BUILD=$(abspath $(OUT)) $(PYTHON) tests/bench/bench.py $(BENCH)

# Instructions per packet, which do not depend on what else the machine is doing.
INSTRUCTIONS_OBJECTS := $(call objects,$(sort $(wildcard tests/bench/instructions/*.c)))

$(INSTRUCTIONS_OBJECTS): ROOM_CFLAGS = $(DPDK_CFLAGS) $(OVS_CFLAGS) -DALLOW_EXPERIMENTAL_API
$(INSTRUCTIONS_OBJECTS): | $(IDL).h
$(OUT)/bench/instructions: $(INSTRUCTIONS_OBJECTS) $(OUT)/libdatapath.a $(OUT)/libcore.a $(OUT)/libmodel.a $(OUT)/libsinks.a $(OUT)/liblog.a $(OUT)/libzones.a
	@mkdir -p $(@D)
	$(call say,LD,$@) $(LINK) $^ $(OVS_LIBS) $(DPDK_LIBS) $(CORE_LIBS) $(ZONES_LIBS) -lm -lpthread $(LINKED)

bench-instructions: ## Count the packet path's instructions and hold them to their bounds (RECORD=1 writes new bounds)
	@scripts/setup.sh build instructions
	@$(MAKE) --no-print-directory bench-instructions-run

bench-instructions-run: $(OUT)/bench/instructions
	@$(PYTHON) tests/bench/instructions.py --build $(OUT) $(if $(RECORD),--record)

# --- Soak: everything is churned under traffic, and judged at the end ---------------------------------------------------

MINUTES ?= 10
STATIONS_OBJECTS := $(call objects,$(sort $(wildcard tests/soak/stations/*.c)))

$(OUT)/soak/stations: $(STATIONS_OBJECTS)
	@mkdir -p $(@D)
	$(call say,LD,$@) $(LINK) $^ $(LINKED)

soak: all $(OUT)/soak/stations ## Churn a switch for MINUTES=10 under traffic, and check what it promised (as root)
	@$(PYTHON) tests/soak/soak.py --build $(OUT) --minutes $(MINUTES) $(SOAK_OPTIONS)

# --- Style -------------------------------------------------------------------------------------------------------

C_FILES = $(shell find daemon zones log sinks ebpf datapath hv controller cli tests -name '*.[ch]' 2>/dev/null)
SHELL_FILES = $(shell grep -lE '^#!.*(/| )(sh|bash)$$' -r scripts tests .ci packaging --exclude-dir=corpus --exclude='*.py' 2>/dev/null)

lint: ## Install the checkers that are missing, and check style, folder dependencies and common mistakes
	@scripts/setup.sh lint
	@echo '  LINT     format'; clang-format --dry-run -Werror $(C_FILES)
	@echo '  LINT     rooms'; scripts/lint-rooms
	@echo '  LINT     files'; scripts/lint-files
	@echo '  LINT     shell'; shellcheck $(SHELL_FILES)
	@echo '  LINT     cppcheck'; cppcheck --quiet --std=c11 --language=c --enable=warning,performance,portability \
		--inline-suppr --suppress=missingIncludeSystem --error-exitcode=1 -j 2 --include=scripts/cppcheck.h -D_GNU_SOURCE -I. $(filter %.c,$(C_FILES))
	@echo 'lint: nothing found'

# --- The demonstration -------------------------------------------------------------------------------------------

demo: ## Install what is missing, build, and show web, app and db talking through a switch with zones
	@scripts/setup.sh build run
	@$(MAKE) --no-print-directory all $(GUESTS)
	@scripts/demo.sh $(OUT)

setup: ## Install the packages that building, running, testing and checking need
	@scripts/setup.sh build run check lint

# --- Installation ------------------------------------------------------------------------------------------------

# File, mode, directory, and its name there if it is another.
INSTALLED = \
	$(OUT)/cordon-switchd:755:sbin \
	$(OUT)/cordon-hostd:755:sbin \
	$(OUT)/cordon:755:bin \
	$(OUT)/cordon-vmm:755:sbin \
	$(SCHEMA):644:share/cordon \
	cli/cordon.bash-completion:644:share/bash-completion/completions:cordon \
	$(foreach page,$(wildcard cli/*.1 docs/*.1),$(page):644:share/man/man1) \
	$(foreach page,$(wildcard cli/*.8 docs/*.8),$(page):644:share/man/man8) \
	$(foreach text,$(wildcard README.md LICENSE docs/*.md),$(text):644:share/doc/cordon) \
	$(foreach text,$(wildcard examples/*),$(text):644:share/doc/cordon/examples) \
	$(foreach unit,$(wildcard packaging/*.service packaging/*.mount),$(OUT)/$(unit):644:lib/systemd/system)

$(OUT)/packaging/%: packaging/%
	@mkdir -p $(@D)
	@sed 's|@PREFIX@|$(PREFIX)|g' $< >$@

install: all $(foreach unit,$(wildcard packaging/*.service packaging/*.mount),$(OUT)/$(unit)) ## Install below DESTDIR and PREFIX
	@set -e; for entry in $(INSTALLED); do \
		IFS=:; set -- $$entry; unset IFS; \
		install -D -m "$$2" "$$1" '$(DESTDIR)$(PREFIX)'/"$$3/$${4:-$${1##*/}}"; \
	done
	@echo 'installed in $(DESTDIR)$(PREFIX)'

uninstall: ## Remove what `make install` installed
	@for entry in $(INSTALLED); do \
		IFS=:; set -- $$entry; unset IFS; \
		rm -f '$(DESTDIR)$(PREFIX)'/"$$3/$${4:-$${1##*/}}"; \
	done
	@echo 'removed from $(DESTDIR)$(PREFIX)'

# --- House-keeping -------------------------------------------------------------------------------------------------

clean: ## Remove what was built, but keep Open vSwitch's library
	@[ ! -d $(BUILD) ] || find $(BUILD) -mindepth 1 -maxdepth 1 ! -name 'openvswitch*' -exec rm -rf {} +

distclean: ## Remove build/ altogether
	rm -rf $(BUILD)

help: ## List what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

.PHONY: all lib check check-run check-linux check-linux-run unit fuzz system soak bench bench-quick bench-run bench-instructions bench-instructions-run bench-parts lint demo setup install uninstall clean distclean help FORCE
.SECONDARY:

-include $(shell [ ! -d $(OUT)/obj ] || find $(OUT)/obj -name '*.d') $(shell [ ! -d $(BUILD)/fuzz/obj ] || find $(BUILD)/fuzz/obj -name '*.d')
