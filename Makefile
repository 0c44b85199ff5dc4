# SPDX-License-Identifier: GPL-2.0
#
# The front door: `make help` says what there is. The module itself is described by Kbuild,
# which the kernel's build system reads.

# The kernel tree to build against; empty for the lab's, or to install for the kernel of KVER.
KDIR ?=
KVER ?=
# To install into another root, and to sign what is installed.
INSTALL_MOD_PATH ?=
MODULE_SIG_KEY ?=
MODULE_SIG_CERT ?=
# The kernel of the VM: debug for the debug kernel.
KERNEL ?=
# The tests to run: a part of their names.
TESTS ?=
# The steps of the storm, and the number that decides which they are, and what frames from hell are; empty
# for a random one, in `make test` for the same each time.
STEPS ?= 10000
SEED ?=
# The kinds of steps that the storm takes, with commas between them; empty for all.
KINDS ?=
# After how many steps the storm checks everything; empty for 50.
EVERY ?=
# The frames of the soak.
FRAMES ?= 10000000
# How many times as many frames as `make test` `make hell` sends.
HELL ?= 20
# How many times as many cases as `make test` `make fuzz` tries.
FUZZ ?= 100
# The benchmarks to run: a part of their names.
BENCH ?=
# The kernel's tests to run: parts of their files' paths; and how often.
SELFTESTS ?=
REPEAT ?= 1
# For benchmarks in packets per second, with KVM: 1.
KVM ?=

seed = $(if $(SEED),--env OXNIC_SEED=$(SEED))

export KDIR KVER INSTALL_MOD_PATH MODULE_SIG_KEY MODULE_SIG_CERT
export OXNIC_ACCEL OXNIC_MIRROR XDG_CACHE_HOME

# The recipes share the clone, so only one at a time; the tools in them work in parallel.
.NOTPARALLEL:

.PHONY: all modules install uninstall dkms dkms-remove demo samples test test-debug test-install fuzz \
	storm hell soak selftests bench hook-cost vm check lab clean lab-clean help

ifeq ($(KDIR)$(KVER),)
all:
	@scripts/build module
else
all: modules
endif

# For a kernel of this machine. Its Makefile takes these from the command line only.
compilers = $(foreach name,RUSTC BINDGEN,$(if $($(name)),$(name)=$($(name))))

modules:
	@tree=$$(scripts/kernel-tree) && $(MAKE) -C "$$tree" M=$(CURDIR) $(compilers) modules

install: modules
	@scripts/install

uninstall:
	@scripts/install --uninstall

dkms:
	@scripts/dkms

dkms-remove:
	@scripts/dkms --remove

demo:
	@scripts/build module bpf-samples
	@scripts/vm --timeout 300 scripts/demo

samples:
	@scripts/build bpf samples

test:
	@scripts/test --env OXNIC_SEED=$(or $(SEED),3) $(TESTS)

# With room for what the kernel says, and without an end: the tests themselves find out if they hang. With
# four CPUs, even if they are emulated by fewer: two that meet are not enough for what happens between two
# and is sent to a third.
storm:
	@scripts/test --timeout 0 --cpus 4 --append log_buf_len=16M --env OXNIC_STORM_STEPS=$(STEPS) \
		$(seed) $(if $(KINDS),--env OXNIC_STORM_KINDS=$(KINDS)) \
		$(if $(EVERY),--env OXNIC_STORM_EVERY=$(EVERY)) storm::steps

hell:
	@scripts/test --timeout 0 --env OXNIC_HELL=$(HELL) $(seed) $(or $(TESTS),hell::)

soak:
	@scripts/test --timeout 0 --append log_buf_len=16M --env OXNIC_SOAK_FRAMES=$(FRAMES) \
		storm::soak

test-debug:
	@scripts/test --debug --env OXNIC_SEED=$(or $(SEED),3) $(TESTS)

fuzz:
	@scripts/fuzz $(FUZZ)

test-install:
	@scripts/test-install

selftests:
	@scripts/selftests --repeat $(REPEAT) $(SELFTESTS)

bench:
	@scripts/bench $(if $(filter 1,$(KVM)),--kvm) $(BENCH)

hook-cost:
	@scripts/hook-cost

ifeq ($(KERNEL),debug)
vm:
	@scripts/build module-debug bpf
	@scripts/vm --kernel debug --interactive --env OXNIC_KO=/build/debug/oxnic/oxnic.ko scripts/vm-shell
else
vm:
	@scripts/build module bpf
	@scripts/vm --interactive scripts/vm-shell
endif

check:
	@scripts/check

lab:
	@scripts/lab

clean:
	@scripts/clean

lab-clean:
	@scripts/clean --lab

define HELP
oxnic: a simulated network card with an XDP driver in Rust, for a stock Linux kernel.

Targets (all but a build with KDIR or KVER, and the installation, run in the lab, which is made
when it is missing, and need root):

  make            build the module oxnic.ko
  make install    build it for a kernel of this machine, and install it (Documentation/install.md)
  make uninstall  remove what make install has installed
  make dkms       hand it to DKMS, which builds it again for each new kernel
  make dkms-remove
                  take it back from DKMS, for all kernels
  make demo       boot the VM, load the module and play a session with XDP programs
  make samples    build the programs of samples/, to be run in the shell of make vm
  make test       run the tests, on the host and in the VM
  make test-debug run the tests in the VM on a kernel with KASAN, lockdep, kmemleak and more; it is
                  built first (once, about half an hour)
  make test-install
                  install it in the lab, and load what is installed in the VM
  make fuzz       try the simulated hardware on the host with many more random cases
  make storm      random changes under traffic, thousands of them
  make hell       fuzz the data path with malformed frames and hostile programs
  make soak       millions of frames, after which memory is where it was
  make selftests  run the kernel's own driver tests, on oxnic and on veth
  make bench      measure what a packet costs, on oxnic and on veth, in instructions
  make hook-cost  measure what a dropped frame costs at each place to drop it, in instructions
  make vm         a shell in the VM with oxnic loaded; leaving it powers off
  make check      rustfmt, clippy, checkpatch, shellcheck and rustdoc, without a warning, and
                  whether the documentation quotes, links and names what there is
  make lab        make the lab: a Debian root with the kernel, its tree, compilers and QEMU
  make clean      remove what was built from this clone
  make lab-clean  remove all labs from the cache
  make help       this text

Variables:

  KDIR=           kernel tree to build oxnic.ko against [the lab's; to install, the one of KVER]
  KVER=           kernel to build and install for [the running one, with the tree in
                  /lib/modules/KVER/build, or the one that scripts/kernel-rust has made]
  INSTALL_MOD_PATH=
                  root to install into [/]
  MODULE_SIG_KEY= MODULE_SIG_CERT=
                  sign what make install installs with this key and certificate [not signed]
  KERNEL=         debug: make vm on the kernel of make test-debug [the stock kernel]
  TESTS=          run only the tests in the VM whose names contain this [all, and the host's]
  FUZZ=           how many times as many cases make fuzz tries as make test does [100]
  STEPS=          how many changes the storm makes [10000]
  SEED=           which they are: the number that an earlier storm has printed [a random one;
                  in make test and test-debug the same each time]
  KINDS=          take only these kinds of steps in the storm, with commas between them [all]
  EVERY=          check everything in the storm after so many steps [50]
  HELL=           multiplier for the number of frames of make hell, against make test [20]
  FRAMES=         how many frames the soak sends [10000000]
  SELFTESTS=      run only the files of the kernel's tests whose paths contain this [all, and
                  write Documentation/selftests.md]
  REPEAT=         how often to run the kernel's tests [1]
  BENCH=          run only the benchmarks whose names contain this [all]
  KVM=            1: the benchmarks in packets per second, with KVM [in instructions, emulated]
  OXNIC_ACCEL=    kvm or tcg: how the VM runs [KVM if a probe shows that it works, else
                  emulated (tcg)]
  OXNIC_MIRROR=   Debian mirror that the lab is made from [the host's own on Debian, else
                  mmdebstrap's default]
  XDG_CACHE_HOME= the lab is made in the folder oxnic of this one [~/.cache]

The versions of everything in the lab are pinned in scripts/lab.conf. A command in the lab:
scripts/in-lab COMMAND; in the VM: scripts/vm COMMAND (see scripts/vm --help).
endef
export HELP

help:
	@echo "$$HELP"
