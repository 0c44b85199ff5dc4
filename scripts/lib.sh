# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Shared by the scripts that run on the host: where things are, and how to get into the
# lab. To be sourced.

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
# To the scripts that a script runs.
export KERNEL=${KERNEL:-}
# shellcheck source=lab.conf
. "$repo/scripts/lab.conf"

say() {
	printf '%s\n' "$*" >&2
}

die() {
	say "error: $*"
	exit 1
}

# A short hash of the standard input.
digest() {
	sha256sum | cut -c1-12
}

case $repo in
*[[:space:],:]*) # A comma would end an option of QEMU, a colon one of mount.
	die "the path of the clone has a space, comma or colon in it, which the kernel's build cannot handle: '$repo'" ;;
esac

# The name of a lab is the kernel's, and a hash of the files that determine its content. So a change
# to one of them makes a new lab, and all clones with the same files share one.
lab_key=$(cd "$repo/scripts" && { cat lab.conf lab lab-inside kernel-prepare initrd-init && echo "$LAB_ROW"; } | digest)
cache=${XDG_CACHE_HOME:-${HOME:?}/.cache}/oxnic
# Used by the scripts that source this file.
# shellcheck disable=SC2034
lab=$cache/$LAB_NAME-$lab_key

# lab_of NAME: the directory of the lab of another kernel.
lab_of() {
	# shellcheck disable=SC2016 # the variables are the other shell's
	KERNEL=$1 bash -c '. "$1" && printf %s "$lab"' sh "$repo/scripts/lib.sh"
}

# What cargo has downloaded, for all labs.
cargo_home=$cache/cargo
# Build results of this clone. Clones must not share them: cargo takes a file that is older than its
# output for unchanged.
build=$lab/clones/$(digest <<<"$repo")

# Whether KERNEL names the default kernel, whose results the pages of the documentation show.
is_default_kernel() {
	[[ $LAB_NAME == "$LAB_DEFAULT" && $KERNEL != debug ]]
}

# Modules that are built for the VM. The debug kernel shares the lab, and with it these directories,
# with the default kernel, of which only oxnic.ko is in the clone.
# shellcheck disable=SC2034
{
	variant=
	[[ $KERNEL != debug ]] || variant=-debug
	ko=/build/module$variant/oxnic/oxnic.ko
	! is_default_kernel || ko=/oxnic/oxnic.ko
	beat_ko=/build/beat$variant/oxnic/beat.ko
	trouble_ko=/build/trouble$variant/trouble.ko
}

# Where cargo leaves the programs for the VM, below the directory of the crate in /build/cargo.
# shellcheck disable=SC2034
cargo_debug=${LAB_RUST_TARGET:+$LAB_RUST_TARGET/}debug

# The debug kernel of this clone's configuration; see scripts/debug-kernel.
# shellcheck disable=SC2034
debug_kernel=$lab/debug/$(cd "$repo/scripts" && cat debug.config debug-kernel | digest)

need_root() {
	[[ $EUID -eq 0 ]] || die "this needs root (for chroot and mount): run it as root, for example with sudo"
}

# need_amd64 WHAT: for what is not cross-built.
need_amd64() {
	[[ $LAB_ARCH == amd64 ]] || die "$1 is for the kernels of amd64 only, and KERNEL=$KERNEL is of $LAB_ARCH"
}

# Runs a command in mount and process namespaces of its own. They end with it or with this script,
# so no mount and no process is left behind.
contained() {
	setpriv --pdeathsig KILL \
		unshare --mount --propagation private --pid --mount-proc --fork --kill-child "$@"
}

# The environment variables that decide how the network is reached; the lab takes them over from the
# host. One NAME=VALUE per line.
network_environment() {
	local name
	for name in $(compgen -e); do
		case $name in
		# These name files of the host; the lab has its own.
		CARGO_HOME | CARGO_HTTP_CAINFO | CARGO_TARGET_DIR) ;;
		CARGO_HTTP_* | CARGO_NET_* | CARGO_REGISTRY_* | CARGO_REGISTRIES_* | CARGO_SOURCE_* | \
			http_proxy | https_proxy | no_proxy | all_proxy | \
			HTTP_PROXY | HTTPS_PROXY | NO_PROXY | ALL_PROXY)
			printf '%s=%s\n' "$name" "${!name}" ;;
		esac
	done
}

# The host's file of certificate authorities, if there is one.
host_ca_bundle() {
	local file
	for file in "${SSL_CERT_FILE:-}" /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt; do
		[[ -s $file ]] && readlink -f "$file" && return
	done
	return 0
}

# in_lab COMMAND...: runs a command in the lab, in the clone, which is /oxnic there.
in_lab() {
	in_root "$lab/root" "$@"
}

# in_root ROOT COMMAND...: the same in another root.
in_root() {
	local root=$1
	local -a environment
	shift
	mapfile -t environment < <(network_environment)
	environment+=("KERNEL=$KERNEL" "${LAB_ENVIRONMENT[@]}")
	mkdir -p "$build" "$cargo_home"
	cargo_configuration
	if [[ $LAB_ARCH != amd64 ]]; then
		local -x LAB_GUEST=$lab/guest
	fi
	contained "$BASH" "$repo/scripts/lab-enter" "$root" "$repo" "$build" "$cargo_home" \
		"$(host_ca_bundle)" env "${environment[@]}" "$@"
}

# The lab uses the user's registry settings. Written only when changed, since other runs may be
# reading the file.
cargo_configuration() {
	local source=${CARGO_HOME:-$HOME/.cargo}/config.toml target=$cargo_home/config.toml
	if [[ ! -f $source ]]; then
		rm -f "$target"
	elif ! cmp -s "$source" "$target"; then
		cp "$source" "$target.$$" && mv "$target.$$" "$target"
	fi
}

# The proxy of the host's apt, which mmdebstrap does not look at: its options, one per line.
apt_proxy() {
	local proxy uri_proxy
	for proxy in http https; do
		uri_proxy=
		eval "$(apt-config shell uri_proxy "Acquire::$proxy::Proxy")"
		if [[ $uri_proxy ]]; then
			printf '%s\n' "--aptopt=Acquire::$proxy::Proxy \"$uri_proxy\""
		fi
	done
}

# small_root DIRECTORY LOG PACKAGES [HOOK]: makes another Debian root beside the lab, from the same
# suites: the essential packages, and those of the array PACKAGES. HOOK is a command of mmdebstrap's
# --customize-hook. Fails with the end of LOG.
small_root() {
	local dir=$1 log=$2
	local -n wanted=$3
	local -a proxy
	mkdir -p "$dir"
	rm -rf --one-file-system "$dir"
	mapfile -t proxy < <(apt_proxy)
	# shellcheck disable=SC2016 # $1 is for the shells that run the hooks
	contained mmdebstrap --verbose --mode=root --variant=essential \
		--architectures="$LAB_ARCH" \
		--aptopt='APT::Install-Recommends "false"' "${proxy[@]}" \
		--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt=force-unsafe-io \
		--setup-hook="mkdir -p \"\$1/etc/apt\" && cp -r $lab/root/etc/apt/preferences.d \"\$1/etc/apt/\"" \
		--customize-hook="${4:-true}" \
		--include="$(IFS=, && echo "${wanted[*]}")" \
		"$LAB_SUITE" "$dir" "$lab/root/etc/apt/sources.list" >"$log" 2>&1 </dev/null || {
		tail -n 25 "$log" >&2
		die "the packages of another root could not be installed; the whole log is $log"
	}
}

# record WHAT RESULT: notes what was run on the kernel, for scripts/kernels-list. Kept when the lab
# is made again.
record() {
	local name=$LAB_NAME
	[[ $KERNEL != debug ]] || name=debug
	mkdir -p "$cache/last/$name"
	printf '%s %s\n' "$(date +%F)" "$2" >"$cache/last/$name/$1"
}

# Makes the lab if it is missing. A hint at the most frequent cause of a failure is printed last.
need_lab() {
	need_root
	if ! mkdir -p "$lab" 2>/dev/null || [[ ! -w $lab ]]; then
		die "cannot write to $lab; XDG_CACHE_HOME=DIRECTORY puts the lab elsewhere"
	fi
	"$repo/scripts/lab" && return
	if [[ -e $lab/root.ok || ! -s $lab/log/packages.log ]]; then
		exit 1
	fi
	if grep -qE "^E: (Unable to locate package|Version .* for) '?linux-" "$lab/log/packages.log"; then
		say "The mirror no longer has $LAB_KERNEL_RELEASE, version $LAB_KERNEL_PACKAGE_VERSION of its packages," \
			"which scripts/kernels names. OXNIC_MIRROR=URL names another mirror; make kernels lists other kernels."
	else
		say "Most often the Debian mirror cannot be reached, or is incomplete: OXNIC_MIRROR=URL names another."
	fi
	exit 1
}

# Options of scripts/vm for a VM in which each instruction takes one nanosecond, on any machine:
# QEMU counts instructions (-icount) and skips idle time. It counts each iteration of a string
# instruction, so the CPU model has none of the flags that make memcpy use them.
# shellcheck disable=SC2034,SC2054 # the commas are QEMU's
counting_vm=(
	--cpus 1 --mitigations
	--accel tcg,thread=single,tb-size=512 --cpu "max,-erms,-fsrm,-fzrm,-fsrs"
	--qemu -icount --qemu "shift=0,sleep=off"
)
