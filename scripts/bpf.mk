# SPDX-License-Identifier: GPL-2.0
#
# Builds the BPF programs; runs in the lab, in the clone. `samples` builds those of samples/bpf
# alone. With WERROR=1 a warning is an error, as scripts/check has it.

out ?= /build/bpf
tree ?= /usr/src/linux
sources := $(wildcard samples/bpf/*.bpf.c tests/bpf/*.bpf.c)
objects := $(patsubst %.c,$(out)/%.o,$(notdir $(sources)))
samples := $(patsubst %.c,$(out)/%.o,$(notdir $(wildcard samples/bpf/*.bpf.c)))

# clang finds no headers of the architecture by itself when BPF is the target. vmlinux.h has the
# types of the kernel.
flags := -target bpf -mcpu=v3 -g -O2 -Wall $(if $(WERROR),-Werror) \
	-I/usr/include/x86_64-linux-gnu -I$(out) -MMD -MP

vpath %.bpf.c samples/bpf tests/bpf

all: $(objects)

samples: $(samples)

$(out)/%.bpf.o: %.bpf.c scripts/bpf.mk $(out)/vmlinux.h
	@echo "  BPF     $<"
	@clang-19 $(flags) -c $< -o $@

$(out)/vmlinux.h: $(tree)/vmlinux | $(out)
	@bpftool btf dump file $< format c >$@

$(out):
	@mkdir -p $@

-include $(objects:.o=.d)

.PHONY: all samples
.DELETE_ON_ERROR:
