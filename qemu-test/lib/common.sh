# SPDX-License-Identifier: GPL-2.0
#
# Paths and messages shared by the host side of the harness. To be sourced by bash.

set -euo pipefail
export LC_ALL=C

PROJECT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
FBNIC_CACHE=${FBNIC_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/fbnic-rs}
# The layout of the cache has a number, so that an older checkout never meets a newer layout.
PREFIX=$FBNIC_CACHE/v1
SANDBOX=$PREFIX/sandbox
STEPS=$PREFIX/steps

# The command line of a terminal may be coloured, a log file stays plain.
if [ -t 2 ]; then BOLD=$'\e[1m' RED=$'\e[31m' PLAIN=$'\e[0m'; else BOLD='' RED='' PLAIN=''; fi

say() { printf '%s\n' "$*" >&2; }
step() { printf '%s==> %s%s\n' "$BOLD" "$*" "$PLAIN" >&2; }

# die MESSAGE [WHAT_TO_DO...]: one clear line each, then exit.
die() {
	printf '%serror:%s %s\n' "$RED" "$PLAIN" "$1" >&2
	shift
	local line
	for line; do printf '       %s\n' "$line" >&2; done
	exit 1
}
