# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Shared by what runs in the VM and shows what it does. To be sourced.

# colour CODE TEXT: in colour on a terminal; elsewhere scripts/vm sets NO_COLOR.
colour() {
	if [[ ${NO_COLOR:-} ]]; then
		printf '%s\n' "$2"
	else
		printf '\e[%sm%s\e[0m\n' "$1" "$2"
	fi
}

# run COMMAND: shows a command, then runs it.
run() {
	colour 32 "# $1"
	eval "$1"
}
