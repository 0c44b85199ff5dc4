# SPDX-License-Identifier: GPL-2.0
#
# How the Makefiles of the examples compile the program. Included by them.

CLANG ?= $(firstword $(foreach name,clang clang-21 clang-20 clang-19 clang-18 clang-17,\
	$(if $(shell command -v $(name)),$(name))) clang)
# clang finds no headers of the architecture by itself when BPF is the target.
BPF_CFLAGS := -target bpf -mcpu=v3 -g -O2 -Wall -Werror \
	-I/usr/include/$(shell uname -m)-linux-gnu

verdicts.bpf.o: ../verdicts.bpf.c ../bpf.mk
	$(CLANG) $(BPF_CFLAGS) -c $< -o $@
