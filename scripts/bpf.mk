# SPDX-License-Identifier: GPL-2.0
#
# Builds the BPF programs; runs in the lab, in the clone.

out := /build/bpf
sources := $(wildcard samples/bpf/*.bpf.c tests/bpf/*.bpf.c)
objects := $(patsubst %.c,$(out)/%.o,$(notdir $(sources)))

# clang finds no headers of the architecture by itself when BPF is the target.
flags := -target bpf -mcpu=v3 -g -O2 -Wall -Werror \
	-I/usr/include/x86_64-linux-gnu -MMD -MP

vpath %.bpf.c samples/bpf tests/bpf

all: $(objects)

$(out)/%.bpf.o: %.bpf.c scripts/bpf.mk | $(out)
	@echo "  BPF     $<"
	@clang-19 $(flags) -c $< -o $@

$(out):
	@mkdir -p $@

-include $(objects:.o=.d)

.PHONY: all
.DELETE_ON_ERROR:
