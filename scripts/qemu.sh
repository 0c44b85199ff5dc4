# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# How a VM is started, watched and judged: shared by scripts/vm, whose VM is the lab, and
# scripts/oxnic-vm, whose VM is made of a bundle. To be sourced by a script that has say() and
# die(), sets these variables
#
#	arch	the VM's architecture, as Debian names it: amd64 or arm64
#	kernel	which kernel: a name that kernel_files understands
#	probe_kernel	the one that is booted to find out whether KVM works
#	memory cpus timeout interactive accel cpu append mitigations qemu_extra
#		as the options of scripts/vm set them
#	run	the directory of this run: the console, what the guest is to do, its exit status
#	inside	the same directory as QEMU sees it
#	state	the directory in which it is noted whether KVM works
#	devices	QEMU's arguments for what this VM has and others do not
#	wrapper	a command that runs QEMU, whose command line follows; or nothing
#
# and has these functions:
#
#	kernel_files	sets image and initrd to those of $kernel, as QEMU sees them
#	emulator	sets the variable emulator to the command that is QEMU
#	boot SECONDS ARGUMENT...	runs QEMU until it ends or the time is over, which is status 137
#	tsc_khz	prints the rate of the host's time stamp counter in kHz, or fails
#
# shellcheck disable=SC2034,SC2154 # variables that the sourcing script sets or reads

tsc=
# When the VM was started.
started=0

# This machine's architecture, as Debian names it.
case $(uname -m) in
x86_64) host_arch=amd64 ;;
aarch64) host_arch=arm64 ;;
*) host_arch=none ;;
esac

# Sets the variable qemu to the command line without the accelerator and the consoles.
qemu_arguments() {
	local image initrd
	local -a emulator
	local machine
	kernel_files
	emulator
	case $arch in
	amd64) machine=q35,vmport=off,smbus=off,sata=off ;;
	arm64) machine=virt,gic-version=3 ;;
	esac
	qemu=(
		"${emulator[@]}" -nodefaults -no-user-config -no-reboot -display none
		-machine "$machine" -m "$memory" -smp "$cpus"
		-kernel "$image" -initrd "$initrd"
		-serial "file:$inside/console"
		-device virtio-rng-pci
	)
}

# share TAG DIRECTORY [ro]: prints the arguments that make a directory of the host one of 9p in
# the VM, one per line. A comma would end the path, so it is doubled.
share() {
	printf '%s\n' -fsdev "local,id=$1,path=${2//,/,,},security_model=none,multidevs=remap${3:+,readonly=on}" \
		-device "virtio-9p-pci,fsdev=$1,mount_tag=$1"
}

# An oops panics, and a panic ends the VM (-no-reboot). So does a CPU that makes no progress for
# minutes: with interrupts on (soft lockup, twice the threshold) or off (RCU stall). An emulated VM
# on a busy host may stand still for some seconds, also at boot, so the kernel does not check its
# timer then.
kernel_command_line() {
	case $arch in
	amd64) printf 'console=ttyS0 tsc=reliable no_timer_check%s' "$tsc" ;;
	arm64) printf 'console=ttyAMA0' ;;
	esac
	printf ' loglevel=5 panic=-1 oops=panic'
	printf ' softlockup_panic=1 sysctl.kernel.watchdog_thresh=60'
	printf ' rcupdate.rcu_cpu_stall_timeout=300 sysctl.kernel.panic_on_rcu_stall=1'
	printf ' sysctl.kernel.hung_task_timeout_secs=600'
	printf '%s%s' "$mitigations" "${append:+ $append}"
}

# --- Accelerator ---

# /dev/kvm may exist and still not run a stock kernel (nested, for example), so the stock kernel is
# booted to find out. The answer is kept until the host is rebooted, or until /dev/kvm becomes
# writable. Other runs may write and remove it meanwhile.
probe_kvm() {
	local answer result
	# An emulator of another architecture has no KVM.
	if [[ $arch != "$host_arch" ]]; then
		echo tcg
		return
	fi
	answer=$state/kvm.$(
		{
			cat /proc/sys/kernel/random/boot_id /proc/cpuinfo 2>/dev/null | grep -v MHz
			[[ ! -w /dev/kvm ]] || echo writable
		} | sha256sum | cut -c1-12
	)
	result=$(cat "$answer" 2>/dev/null || true)
	if [[ ! $result ]]; then
		if [[ -w /dev/kvm ]] && kvm_boots; then
			result=kvm
		else
			result=tcg
			say "note: KVM cannot boot the kernel on this host"
		fi
		rm -f "$state"/kvm.*
		echo "$result" >"$answer"
	fi
	echo "$result"
}

kvm_boots() {
	local -a qemu
	local kernel=$probe_kernel
	qemu_arguments
	boot 20 "${qemu[@]}" -accel kvm -cpu host \
		-append "$(kernel_command_line) oxnic.probe" >"$run/probe" 2>&1 </dev/null || return 1
	grep -q oxnic-probe-ok "$run/console"
}

choose_accelerator() {
	if [[ -z $accel ]]; then
		accel=$(probe_kvm)
	elif [[ $accel == kvm && $(probe_kvm) != kvm ]]; then
		die "KVM was asked for (OXNIC_ACCEL or --accel), but cannot boot the kernel on this host"
	fi
	: >"$run/console"
	case $accel in
	kvm) cpu=${cpu:-host} ;;
	# All CPUs in one thread. With a thread each, QEMU may translate an instruction while
	# another CPU replaces it, and keep the old one: when programs are swapped under traffic, a
	# breakpoint in the kernel's XDP dispatcher. The kernel no longer expects the breakpoint,
	# and oopses.
	tcg)
		accel=tcg,thread=single,tb-size=512
		[[ $arch != amd64 ]] || tell_tsc
		;;
	esac
	# The architecture's cipher for signing return addresses costs an emulated CPU more than
	# everything else.
	case $arch in
	amd64) cpu=${cpu:-max} ;;
	arm64) cpu=${cpu:-max,pauth-impdef=on} ;;
	esac
}

# An emulated CPU has the host's time stamp counter. At boot the kernel measures its rate against
# other timers. On a busy host the result may be several times too low, and then all times in the VM
# are too short. So the rate is passed on the command line.
tell_tsc() {
	local khz
	khz=$(tsc_khz) || return 0
	tsc=" tsc_early_khz=$khz"
}

# --- The run ---

say_booting() {
	local how=emulated
	[[ $accel != kvm ]] || how='with KVM'
	say "== Booting the VM ($how)"
}

# Runs the VM; the status is that of boot.
run_vm() {
	local -a qemu
	local status=0 output reader
	started=$SECONDS
	qemu_arguments
	qemu=(
		"${wrapper[@]}" "${qemu[@]}" "${devices[@]}" -accel "$accel" -cpu "$cpu"
		-device "virtio-serial-pci,max_ports=2"
		-append "$(kernel_command_line)${interactive:+ oxnic.interactive}"
		"${qemu_extra[@]}"
	)
	if [[ $interactive ]]; then
		boot "$timeout" "${qemu[@]}" -chardev stdio,mux=on,signal=off,id=terminal \
			-device virtconsole,chardev=terminal -mon chardev=terminal || status=$?
	else
		# A pipe for QEMU's stdout: with its stdio device the port in the guest would be
		# closed when stdin ends. Not "boot | cat": its subshell would stand between this
		# process and the namespaces that must end with it.
		exec {output}> >(exec cat)
		reader=$!
		boot "$timeout" "${qemu[@]}" -chardev file,path=/dev/stdout,id=terminal \
			-device virtserialport,chardev=terminal,name=terminal \
			1>&"$output" 2>"$run/qemu" </dev/null || status=$?
		exec {output}>&-
		wait "$reader" || true
	fi
	return "$status"
}

# The end of the console. A panic is long, so the last steps of the storm are shown before it.
show_console() {
	local steps
	steps=$(tr -d '\r' <"$run/console" | grep -a '^storm [0-9]*: ' | tail -n 25 || true)
	if [[ $steps ]]; then
		say "--- the last steps of the storm:"
		say "$steps"
	fi
	say "--- the end of the VM's console, $run/console:"
	tr -d '\r' <"$run/console" | tail -n 40 >&2
	if [[ -s $run/qemu ]]; then
		say "--- QEMU says:"
		tail -n 5 "$run/qemu" >&2
	fi
}

# The reason of a panic, if there was one.
death() {
	local line
	line=$(tr -d '\r' <"$run/console" | grep -a -o 'Kernel panic - not syncing: .*' | head -n 1 || true)
	printf '%s' "${line:+: $line}"
}

# judge QEMU_STATUS: sets the variable status to the exit status of what ran in the VM. Of a VM that
# did not end by itself it shows the console, and says why as the last line.
judge() {
	if [[ -s $run/status ]]; then
		status=$(<"$run/status")
	elif [[ $interactive && $1 -eq 0 && -z $(death) ]]; then
		status=0
		say "The VM was ended with Ctrl-A x."
	elif [[ $1 -eq 137 && $timeout -gt 0 && $((SECONDS - started)) -ge $timeout ]]; then
		show_console
		say "error: the VM was still running after $timeout seconds and was killed"
		status=124
	else
		show_console
		say "error: the VM died before the command had ended$(death)"
		status=125
	fi
}
