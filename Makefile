# SPDX-License-Identifier: Apache-2.0
# Cordon: the virtual switch of a KVM host.  `make help` lists what can be made.

BUILD := build
OVS := $(BUILD)/openvswitch
CC ?= gcc

DPDK_CFLAGS := $(shell pkg-config --cflags libdpdk 2>/dev/null)
DPDK_LIBS := $(shell pkg-config --libs libdpdk 2>/dev/null)
WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Werror
CFLAGS ?= -O2 -g
CFLAGS += -std=gnu17 $(WARNINGS) -I. -I$(BUILD) -D_GNU_SOURCE
OVS_CFLAGS := -isystem $(OVS)/include -isystem $(OVS)/lib -isystem $(OVS)

# In the order in which a packet meets them.
ZONES := address policy_parse
