# SPDX-License-Identifier: GPL-2.0
#
# Builds the BPF programs; runs in the lab, in the clone. `samples` builds those of samples/bpf
# alone. With WERROR=1 a warning is an error, as scripts/check has it.

out ?= /build/bpf
tree ?= /usr/src/linux
sources := $(wildcard samples/bpf/*.bpf.c tests/bpf/*.bpf.c)
objects := $(patsubst %.c,$(out)/%.o,$(notdir $(sources)))
samples := $(patsubst %.c,$(out)/%.o,$(notdir $(wildcard samples/bpf/*.bpf.c)))

# The compiler of the lab, and what the kernel's architecture is called by Debian and by libbpf.
clang := clang-$(shell bash -c '. scripts/lab.conf && echo $$LAB_CLANG')
headers := $(if $(filter arm64,$(ARCH)),aarch64,x86_64)-linux-gnu
target := $(if $(filter arm64,$(ARCH)),arm64,x86)

# clang finds no headers of the architecture by itself when BPF is the target. vmlinux.h has the
# types of the kernel.
flags := -target bpf -mcpu=v3 -g -O2 -Wall $(if $(WERROR),-Werror) \
	-D__TARGET_ARCH_$(target) -I/usr/include/$(headers) -I$(out) -MMD -MP

vpath %.bpf.c samples/bpf tests/bpf

all: $(objects)

samples: $(samples)

$(out)/%.bpf.o: %.bpf.c scripts/bpf.mk $(out)/vmlinux.h
	@echo "  BPF     $<"
	@$(clang) $(flags) -c $< -o $@

# A program that is not one of the clone's; scripts/run has copied it there.
/build/run/%.bpf.o: /build/run/%.bpf.c $(out)/vmlinux.h
	@$(clang) $(flags) -c $< -o $@

$(out)/vmlinux.h: $(tree)/vmlinux | $(out)
	@bpftool btf dump file $< format c >$@

$(out):
	@mkdir -p $@

-include $(objects:.o=.d)

.PHONY: all samples
.DELETE_ON_ERROR:
