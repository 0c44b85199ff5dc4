# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Shared by the scripts that run on the host: where things are, and how to get into the
# lab. To be sourced.

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
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

# The name of the lab is a hash of the files that determine its content. So a change to one of them
# makes a new lab, and all clones with the same files share one.
lab_key=$(cd "$repo/scripts" && cat lab.conf lab lab-inside kernel-prepare initrd-init | digest)
cache=${XDG_CACHE_HOME:-${HOME:?}/.cache}/oxnic
# Used by the scripts that source this file.
# shellcheck disable=SC2034
lab=$cache/$lab_key
# Build results of this clone. Clones must not share them: cargo takes a file that is older than its
# output for unchanged.
build=$lab/clones/$(digest <<<"$repo")

# The debug kernel of this clone's configuration; see scripts/debug-kernel.
# shellcheck disable=SC2034
debug_kernel=$lab/debug/$(cd "$repo/scripts" && cat debug.config debug-kernel | digest)

need_root() {
	[[ $EUID -eq 0 ]] || die "this needs root (for chroot and mount): run it as root, for example with sudo"
}

# Runs a command in mount and process namespaces of its own. They end with it or with this script, so
# no mount and no process is left behind.
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
	local -a environment
	mapfile -t environment < <(network_environment)
	mkdir -p "$build" "$lab/cargo"
	cargo_configuration
	contained "$BASH" "$repo/scripts/lab-enter" "$lab/root" "$repo" "$build" "$lab/cargo" \
		"$(host_ca_bundle)" env "${environment[@]}" "$@"
}

# The lab uses the user's registry settings. Written only when changed, since other runs may be reading
# the file.
cargo_configuration() {
	local source=${CARGO_HOME:-$HOME/.cargo}/config.toml target=$lab/cargo/config.toml
	if [[ ! -f $source ]]; then
		rm -f "$target"
	elif ! cmp -s "$source" "$target"; then
		cp "$source" "$target.$$" && mv "$target.$$" "$target"
	fi
}

# Makes the lab if it is missing. A hint at the most frequent cause of a failure is printed last.
need_lab() {
	need_root
	if ! mkdir -p "$lab" 2>/dev/null || [[ ! -w $lab ]]; then
		die "cannot write to $lab; XDG_CACHE_HOME=DIRECTORY puts the lab elsewhere"
	fi
	"$repo/scripts/lab" && return
	if [[ ! -e $lab/root.ok && -s $lab/log/packages.log ]]; then
		say "Most often the Debian mirror cannot be reached, or is incomplete: OXNIC_MIRROR=URL names another."
	fi
	exit 1
}

# Options of scripts/vm for a VM in which each instruction takes one nanosecond, on any machine: QEMU
# counts instructions (-icount) and skips idle time. It counts each iteration of a string instruction,
# so the CPU model has none of the flags that make memcpy use them.
# shellcheck disable=SC2034,SC2054 # the commas are QEMU's
counting_vm=(
	--cpus 1 --mitigations
	--accel tcg,thread=single,tb-size=512 --cpu "max,-erms,-fsrm,-fzrm,-fsrs"
	--qemu -icount --qemu "shift=0,sleep=off"
)
