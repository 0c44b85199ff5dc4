# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Shared by the scripts for a machine's own kernel, not the lab's: which kernel it is, and where its
# files are. To be sourced. DKMS runs these scripts too, so they use nothing of the lab.
#
#	KVER	the kernel's release; default: that of KDIR, else of the running kernel
#	KDIR	the tree to build against; default: what scripts/kernel-tree finds

fail() {
	printf 'error: %s\n' "$*" >&2
	exit 1
}

# Used by the scripts that source this file, as some others are.
# shellcheck disable=SC2034
repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

# tree_release TREE: the release of the kernel that it belongs to.
tree_release() {
	[[ -r $1/include/config/kernel.release ]] || fail "$1 is not a kernel's build tree"
	cat "$1/include/config/kernel.release"
}

if [[ ${KVER:-} ]]; then
	release=$KVER
elif [[ ${KDIR:-} ]]; then
	release=$(tree_release "$KDIR")
else
	release=$(uname -r)
fi

# The tree that the kernel's header package has, and the one that scripts/kernel-rust makes.
# shellcheck disable=SC2034
headers=/lib/modules/$release/build
rust_tree=/usr/src/linux-rust-$release

# Whether the tree of scripts/kernel-rust exists and matches the present headers.
rust_tree_is_current() {
	[[ -e $rust_tree/headers.sha256 ]] &&
		(cd "$headers" && sha256sum --check --status "$rust_tree/headers.sha256")
}

# has_rust_metadata TREE. For x86 the kernel makes a target of its own for rustc, which knows that
# for arm64.
has_rust_metadata() {
	[[ -e $1/rust/libcore.rmeta && -e $1/rust/libkernel.rmeta && -e $1/rust/libmacros.so &&
		-e $1/include/generated/rustc_cfg ]] &&
		[[ -e $1/scripts/target.json || $(architecture "$1") != x86 ]]
}

# architecture TREE: the kernel's name for it, as in arch/.
architecture() {
	if [[ $(tree_config "$1" ARM64) == y ]]; then
		echo arm64
	else
		echo x86
	fi
}

# tree_config TREE NAME: the value of CONFIG_NAME, without quotes; nothing if it is not set.
tree_config() {
	sed -n "s/^CONFIG_$2=\"\?\([^\"]*\)\"\?$/\1/p" "$1/include/config/auto.conf"
}

# need_tree TREE: fails if it is not the tree of a kernel with Rust support and AF_XDP.
need_tree() {
	[[ -r $1/include/config/auto.conf ]] ||
		fail "there is no build tree of kernel $release in $1; install its headers (on Debian: apt-get install linux-headers-$release)"
	[[ $(tree_config "$1" RUST) == y ]] ||
		fail "kernel $release has no Rust support (CONFIG_RUST is not set), so no module in Rust can be built for it"
	[[ $(tree_config "$1" XDP_SOCKETS) == y ]] ||
		fail "kernel $release has no AF_XDP (CONFIG_XDP_SOCKETS is not set), which oxnic uses"
	[[ $(tree_config "$1" TRACEPOINTS) == y && $(tree_config "$1" JUMP_LABEL) == y ]] ||
		fail "kernel $release has no tracepoints (CONFIG_TRACEPOINTS) or no static keys (CONFIG_JUMP_LABEL), which oxnic uses"
}
