# SPDX-License-Identifier: GPL-2.0
#
# Paths and messages shared by the host side of the harness. To be sourced by bash.

set -euo pipefail
export LC_ALL=C

PROJECT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)

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

# find_cache: sets FBNIC_CACHE to an absolute path, whatever the environment has of it.
find_cache() {
	local advice='set FBNIC_CACHE to a folder on a disk with 7 GB to spare'
	[ -n "${FBNIC_CACHE:-${XDG_CACHE_HOME:-${HOME:-}}}" ] || die 'neither HOME nor FBNIC_CACHE is set' "$advice"
	FBNIC_CACHE=$(realpath -m -s -- "${FBNIC_CACHE:-${XDG_CACHE_HOME:-${HOME:-}/.cache}/fbnic-rs}")
	export FBNIC_CACHE
	# Makefiles, those of the kernel among them, take such a path for several.
	[[ $FBNIC_CACHE != *[[:space:]:]* ]] || die "the cache '$FBNIC_CACHE' has a space or colon in its path" "$advice"
	[[ $PROJECT != *[[:space:]:]* ]] || die "this tree, '$PROJECT', has a space or colon in its path" 'move it'
	[[ $FBNIC_CACHE/ != "$PROJECT"/* ]] || die "the cache $FBNIC_CACHE is inside the source tree" "$advice"
}

# check_namespaces: whether the sandbox can be entered.
check_namespaces() {
	if [ "$(id -u)" = 0 ]; then
		unshare --mount --pid --fork --propagation private true 2>/dev/null ||
			die 'root may not create namespaces or mount here' \
				'a container needs more rights, such as: docker run --privileged'
	else
		unshare --user --map-root-user --mount true 2>/dev/null ||
			die 'ordinary users may not create user namespaces here' \
				'run as root, or allow it: sysctl kernel.unprivileged_userns_clone=1' \
				'(Ubuntu: sysctl kernel.apparmor_restrict_unprivileged_userns=0)'
	fi
}

find_cache
# The layout of the cache has a number, so that an older checkout never meets a newer layout.
PREFIX=$FBNIC_CACHE/v1
SANDBOX=$PREFIX/sandbox
STEPS=$PREFIX/steps

# only_help ARGUMENT...: whether the user wants to be told the options and no more, for which nothing
# need be built. Without a sandbox there is no Python to tell them: then the head of the script is shown.
only_help() {
	[ $# = 1 ] && [[ $1 == --help || $1 == -h ]] || return 1
	[ ! -x "$SANDBOX/usr/bin/bash" ] || return 0
	sed -n '4,/^[^#]/{ s/^#$//p; s/^# //p }' "$0"
	printf '\nAll options are told once there is a sandbox; make setup prepares it.\n'
	exit 0
}

# commit_of_tree: prints the commit, and whether anything but the documentation, which holds results,
# differs from it.
commit_of_tree() {
	local commit
	commit=$(git -C "$PROJECT" describe --always --abbrev=12 2>/dev/null) || commit=unknown
	git -C "$PROJECT" diff --quiet HEAD -- ':!Documentation' 2>/dev/null || commit+=-dirty
	printf '%s\n' "$commit"
}
