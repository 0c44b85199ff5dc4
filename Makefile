# SPDX-License-Identifier: GPL-2.0
#
# `make help` lists targets and variables. How the module is built is in Kbuild, which the kernel's
# build system reads.

# The kernel tree to build against; empty for the lab's, or to install for the kernel of KVER.
KDIR ?=
KVER ?=
# The root to install into, and what to sign the installed module with.
INSTALL_MOD_PATH ?=
MODULE_SIG_KEY ?=
MODULE_SIG_CERT ?=
# The kernel of the lab and of the VM: a name in scripts/kernels, debug, or empty for the first of
# those.
KERNEL ?=
# Run the tests whose names contain this.
TESTS ?=
# The XDP program of make run, its section, and the kinds of frames that it gets, separated by
# commas.
PROG ?=
SECTION ?=
TRAFFIC ?=
# Where make install-tools installs to.
PREFIX ?= /usr/local
# The file that make bundle writes.
BUNDLE ?= oxnic-bundle-amd64.tar.gz
# The number of steps of the storm. SEED decides which steps these are, and which frames make hell
# sends; empty for a random seed.
STEPS ?= 10000
SEED ?=
# The kinds of steps that the storm takes, separated by commas; empty for all.
KINDS ?=
# After how many steps the storm checks everything; empty for 50.
EVERY ?=
# The number of frames of the soak.
FRAMES ?= 10000000
# Multipliers against make test: the frames of make hell, the cases of make fuzz.
HELL ?= 20
FUZZ ?= 100
# Run the benchmarks whose names contain this.
BENCH ?=
# Run the kernel's tests whose paths contain this; and how often.
SELFTESTS ?=
REPEAT ?= 1
# 1: measure packets per second, with KVM.
KVM ?=
# The kernels of make matrix; empty for all. 1: only the demo. 1: remove the labs that it makes.
KERNELS ?=
SMOKE ?=
PRUNE ?=

seed = $(if $(SEED),--env OXNIC_SEED=$(SEED))

export KERNEL KDIR KVER INSTALL_MOD_PATH MODULE_SIG_KEY MODULE_SIG_CERT
export OXNIC_ACCEL OXNIC_MIRROR XDG_CACHE_HOME

# The recipes write into the clone, so only one runs at a time; the tools in them work in parallel.
.NOTPARALLEL:

.PHONY: all modules install uninstall dkms dkms-remove deb demo run bundle install-tools samples \
	test test-debug test-install test-ci fuzz \
	storm hell soak selftests bench hook-cost vm check kernels matrix lab clean lab-clean help

ifeq ($(KDIR)$(KVER),)
all:
	@scripts/build module
else
all: modules
endif

# For a kernel of this machine. The kernel's Makefile takes these from the command line only.
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

deb:
	@scripts/deb

demo:
	@scripts/build module bpf-samples
	@scripts/vm --record demo --timeout 300 scripts/demo

run:
	@scripts/run "$(PROG)" "$(SECTION)" "$(TRAFFIC)"

bundle:
	@scripts/bundle --tar "$(BUNDLE)" >/dev/null

install-tools:
	@scripts/bundle --install "$(PREFIX)" >/dev/null

samples:
	@scripts/build bpf samples

test:
	@scripts/test --env OXNIC_SEED=$(or $(SEED),3) $(TESTS)

# A large log buffer for what the kernel says, and no time limit: the tests find out by themselves if
# they hang. Four CPUs, even if the host has fewer: some races take one CPU that sends, one that
# polls and one that is interrupted by both.
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
	@KERNEL=debug scripts/test --env OXNIC_SEED=$(or $(SEED),3) $(TESTS)

fuzz:
	@scripts/fuzz $(FUZZ)

test-install:
	@scripts/test-install

test-ci:
	@scripts/test-ci

selftests:
	@scripts/selftests --repeat $(REPEAT) $(SELFTESTS)

bench:
	@scripts/bench $(if $(filter 1,$(KVM)),--kvm) $(BENCH)

hook-cost:
	@scripts/hook-cost

vm:
	@scripts/build module bpf
	@scripts/vm --interactive scripts/vm-shell

kernels:
	@scripts/kernels-list

matrix:
	@scripts/matrix $(if $(filter 1,$(SMOKE)),--smoke) $(if $(filter 1,$(PRUNE)),--prune) $(KERNELS)

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

Targets. They run in the lab, which is made when it is missing, and need root; only a build with
KDIR or KVER, and the installation, work without the lab. Durations are for two CPUs and an
emulated VM.

  make            build the module oxnic.ko
  make demo       boot the VM, load the module and play a session with XDP programs (a minute)
  make run PROG=FILE
                  attach an XDP program, FILE.bpf.c or FILE.o, send it some frames and show what it
                  did with them (half a minute)
  make vm         a shell in the VM with oxnic loaded; leaving it powers off
  make samples    build the programs of samples/, for the shell of make vm (4 minutes at first)

  make test       run the tests, on the host and in the VM (a quarter of an hour)
  make test-debug run the tests in the VM on a kernel with KASAN, lockdep, kmemleak and more (two
                  hours; the kernel is built first, once, in half an hour)
  make test-install
                  install the module in the lab, also by the package of make deb, and load what is
                  installed in the VM
  make fuzz       property tests of the simulated hardware on the host, with many more cases
  make storm      thousands of random configuration changes under traffic (an hour)
  make hell       fuzz the data path with malformed frames and hostile programs
  make soak       millions of frames; memory use must not grow
  make selftests  run the kernel's own driver tests, on oxnic and on veth (15 minutes)
  make bench      measure what a packet costs, on oxnic and on veth, in instructions
  make hook-cost  measure what a dropped frame costs at each place to drop it, in instructions
  make check      rustfmt, clippy, rustdoc, unit tests, checkpatch and shellcheck, all without a
                  warning; and the documentation's quotations, links and names (10 minutes at first)

  make install    build for a kernel of this machine and install (Documentation/install.md)
  make uninstall  remove what make install installed
  make dkms       hand the source to DKMS, which builds it again for each new kernel
  make dkms-remove
                  take it back from DKMS, for all kernels
  make deb        build the Debian package oxnic-dkms_VERSION_all.deb, which hands the source to
                  DKMS where it is installed (a minute; another minute at first)

  make install-tools
                  install oxnic-vm, which runs the tests of other projects in a VM with oxnic
                  (Documentation/ci.md)
  make bundle     pack what oxnic-vm needs into one file, for a machine without the lab
  make test-ci    test oxnic-vm, make run and the examples of samples/ci (5 minutes)

  make kernels    list the kernels that KERNEL= can name, and what was run on them last
  make matrix     run the demo and the tests in the VM on all of them (half an hour for each, and
                  five minutes for its lab at first)
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
  KERNEL=         another kernel: a name that make kernels lists, or debug, the kernel of make
                  test-debug [the first that make kernels lists]
  KERNELS=        the kernels of make matrix [all]
  SMOKE=          1: make matrix only runs the demo [and the tests in the VM]
  PRUNE=          1: make matrix removes the labs that it makes [they stay, 8 GB each]
  PROG=           the XDP program of make run: a source in C (.c) or an object
  SECTION=        its section [the first one]
  TRAFFIC=        the frames it gets, separated by commas: ping, ping6, udp, tcp, forward, jumbo,
                  vlan [ping,udp,tcp,ping6]
  PREFIX=         install oxnic-vm below this directory [/usr/local]
  BUNDLE=         the file that make bundle writes [oxnic-bundle-amd64.tar.gz]
  TESTS=          run only the tests in the VM whose names contain this [all, and the host's]
  FUZZ=           multiplier for the number of cases of make fuzz, against make test [100]
  STEPS=          how many changes the storm makes [10000]
  SEED=           seed of the storm and of make hell, as an earlier run printed it [random; in
                  make test and make test-debug fixed]
  KINDS=          take only these kinds of steps in the storm, separated by commas [all]
  EVERY=          check everything in the storm after this many steps [50]
  HELL=           multiplier for the number of frames of make hell, against make test [20]
  FRAMES=         how many frames the soak sends [10000000]
  SELFTESTS=      run only the kernel's tests whose paths contain this [all, and write
                  Documentation/selftests.md]
  REPEAT=         how often to run the kernel's tests [1]
  BENCH=          run only the benchmarks whose names contain this [all]
  KVM=            1: measure packets per second, with KVM [instructions, emulated]
  OXNIC_ACCEL=    kvm or tcg: how the VM runs [KVM if a probe shows that it works, else
                  emulated (tcg)]
  OXNIC_MIRROR=   Debian mirror that the lab is made from [the host's own on Debian, else
                  mmdebstrap's default]
  XDG_CACHE_HOME= the lab is made in the directory oxnic below this one [~/.cache]

The versions of everything in the lab are pinned in scripts/lab.conf. scripts/in-lab COMMAND runs a
command in the lab, scripts/vm COMMAND in the VM (see scripts/vm --help).
endef
export HELP

help:
	@echo "$$HELP"
