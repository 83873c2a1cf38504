#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# usage: in-tree.sh LINUX KBUILD WORK COMMAND...
#
# Runs COMMAND where the kernel's source tree LINUX has this driver in place of the upstream one, as
# WORK/fbnic, and where WORK/kbuild takes the place of the build tree KBUILD. All of it is undone
# when COMMAND ends, because only this process and its children see the mounts. Inside the sandbox.
set -euo pipefail

if [ "${IN_TREE_NAMESPACE:-}" != yes ]; then
	IN_TREE_NAMESPACE=yes exec unshare --mount --propagation private -- "${BASH_SOURCE[0]}" "$@"
fi

linux=$1 kbuild=$2 work=$3
shift 3
meta=$linux/drivers/net/ethernet/meta

# The vendor's Kconfig as upstream has it, but with the driver's own file in place of its entry.
awk '/^config FBNIC$/ { print "source \"drivers/net/ethernet/meta/fbnic/Kconfig\"\n"; skip = 1 }
	/^endif/ { skip = 0 }
	!skip' "$meta/Kconfig" >"$work/Kconfig"

mount --bind "$work/Kconfig" "$meta/Kconfig"
mount --bind "$work/fbnic" "$meta/fbnic"
mount --bind "$work/kbuild" "$kbuild"
"$@"
