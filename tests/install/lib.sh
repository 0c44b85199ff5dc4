# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Shared by the two parts of the test of the installation. To be sourced.

log=/tmp/test-install.log

# passes WHAT COMMAND...: ends the test if the command fails.
passes() {
	local what=$1
	shift
	"$@" >"$log" 2>&1 || failed "$what" "$@"
	printf 'ok      %s\n' "$what"
}

# refuses WHAT REASON COMMAND...: the command must fail, and say REASON.
refuses() {
	local what=$1 reason=$2
	shift 2
	if "$@" >"$log" 2>&1 || ! grep -qF -- "$reason" "$log"; then
		failed "$what is refused with '$reason'" "$@"
	fi
	printf 'refused %s\n' "$what"
}

failed() {
	printf 'FAILED  %s\n' "$1"
	shift
	printf 'the command was: %s\nits output:\n' "$*"
	cat "$log"
	exit 1
}

# prints TEXT COMMAND...: whether TEXT is a line of the command's output.
prints() {
	local text=$1
	shift
	"$@" | tee /dev/stderr | grep -xF -- "$text" >/dev/null
}
