#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage: enter.sh ROOT DIRECTORY PROJECT CACHE COMMAND...
#
# The inner half of qemu-test/sandbox: process 1 of the new namespaces. Mounts what the sandbox
# needs, makes it the root, and runs the command.
set -euo pipefail

# The lock of the cache belongs to the process outside, see sandbox.
exec 8>&-

root=$1 directory=$2 project=$3 cache=$4
shift 4

# The host's pivot_root is there, and Debian leaves these folders out of an ordinary user's search path.
PATH=$PATH:/usr/sbin:/sbin

# bind_file HOST_FILE PATH: shows a file of the host in the sandbox, if the host has it.
bind_file() {
	local file
	file=$(readlink -e "$1") || return 0
	[ -e "$root$2" ] || { mkdir -p "$(dirname "$root$2")" && : >"$root$2"; }
	mount --bind "$file" "$root$2"
}

# A pivot, not a chroot: a process in a chroot may not create user namespaces, which passt does.
# The new root has to be a mount point. What the mounts below cover is the bind mount, never the host.
mount --bind "$root" "$root"
mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"
mount -t proc proc "$root/proc"
# make names its job server after its process number, which is a small one in here and would be the
# same for two sandboxes that share /tmp: MAKE_TMPDIR points it at this folder of our own. The files
# of the guests are here, too.
mount -t tmpfs tmpfs "$root/run"
for path in /tmp "$project" "$cache"; do
	mkdir -p "$root$path"
	mount --rbind "$path" "$root$path"
done
bind_file /etc/resolv.conf /etc/resolv.conf
bind_file /etc/hosts /etc/hosts
bind_file "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}" /etc/ssl/certs/ca-certificates.crt

cd "$root"
pivot_root . .
umount --lazy .
cd "$directory" 2>/dev/null || cd "$project"

# bash stays process 1: a first process without signal handlers would ignore Ctrl-C.
trap : INT TERM
"$@"
exit $?
