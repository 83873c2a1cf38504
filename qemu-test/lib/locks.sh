# SPDX-License-Identifier: GPL-2.0
#
# Who may do what with the cache at the same time. To be sourced after common.sh.
#
# lock, lock-debug and lock-selftest are each held by the one set-up that prepares that part. What runs
# in the sandbox shares lock-use; who replaces or deletes files under it has lock-use alone.

# take_lock DESCRIPTOR NAME WAITING [OPTION...]: takes a lock of the cache, for as long as DESCRIPTOR is
# open, and says the word WAITING if that takes time. OPTION is one of flock's.
take_lock() {
	local descriptor=$1 name=$2 waiting=$3
	shift 3
	while :; do
		mkdir -p "$PREFIX" 2>/dev/null && [ -w "$PREFIX" ] ||
			die "cannot write to $PREFIX" 'set FBNIC_CACHE to a folder of your own on a disk with 7 GB to spare'
		eval "exec $descriptor>>\"\$PREFIX/\$name\""
		flock --nonblock "$@" "$descriptor" || { say "$waiting"; flock "$@" "$descriptor"; }
		# `make distclean` may have deleted the file meanwhile, and whoever comes next would lock another.
		[ ! "$PREFIX/$name" -ef "/proc/self/fd/$descriptor" ] || return 0
	done
}

# share_cache: nobody replaces what is in the cache while descriptor 8 is open. A cache that is only
# there to be read needs no such care.
share_cache() {
	[ "${FBNIC_CACHE_OWNED:-}" = "$PREFIX" ] || [ ! -w "$PREFIX" ] ||
		take_lock 8 lock-use "waiting until the cache in $PREFIX is ready" --shared
}

# own_cache: waits until nothing runs in the sandbox any more. What this script starts there may run.
own_cache() {
	[ "${FBNIC_CACHE_OWNED:-}" != "$PREFIX" ] || return 0
	take_lock 8 lock-use "$PREFIX is in use by other runs (processes $(users_of_cache)); waiting for their end"
	export FBNIC_CACHE_OWNED=$PREFIX
}

# disown_cache: others may run again.
disown_cache() {
	exec 8>&-
	unset FBNIC_CACHE_OWNED
}

# users_of_cache: the processes that share it, as far as this user may see them.
users_of_cache() {
	local file found=()
	for file in /proc/[0-9]*/fd/8; do
		[ ! "$file" -ef "$PREFIX/lock-use" ] || found+=("$(cut -d / -f 3 <<<"$file")")
	done
	echo "${found[*]:-unknown}"
}
