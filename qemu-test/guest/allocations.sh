# SPDX-License-Identifier: GPL-2.0
#
# Failing memory allocations, one after the other or by chance. For guests with the debug kernel.

readonly FAULTS=/sys/kernel/debug
readonly MANY=1000000

# symbol NAME: prints its address.
symbol() { awk -v name="$1" '$3 == name { print "0x" $1; exit }' /proc/kallsyms; }

# aim_at_driver [DEPTH]: only allocations with the driver's code among their nearest DEPTH callers (32)
# shall fail, whoever makes them. Not those of kmemleak's books, one for each allocation: it gets along.
aim_at_driver() {
	local first last kind
	read -r first last < <(awk '/\[fbnic\]$/ && $2 ~ /[tT]/ { print $1 }' /proc/kallsyms | sort |
		sed -n '1p;$p' | tr '\n' ' ')
	[ -n "$last" ] || { say 'the driver has no code in /proc/kallsyms'; return 1; }
	for kind in failslab fail_page_alloc; do
		echo "0x$first" >"$FAULTS/$kind/require-start"
		printf '%#x' "$((0x$last + 4096))" >"$FAULTS/$kind/require-end"
		symbol kmemleak_alloc >"$FAULTS/$kind/reject-start"
		symbol kmemleak_scan_area >"$FAULTS/$kind/reject-end"
		echo "${1:-32}" >"$FAULTS/$kind/stacktrace-depth"
		echo N >"$FAULTS/$kind/ignore-gfp-wait"
		echo 0 >"$FAULTS/$kind/verbose"
		echo "$MANY" >"$FAULTS/$kind/times"
	done
	echo 0 >"$FAULTS/fail_page_alloc/min-order"
}

# injected: how many allocations have failed on purpose since aim_at_driver.
injected() { echo $((2 * MANY - $(<"$FAULTS/failslab/times") - $(<"$FAULTS/fail_page_alloc/times"))); }

# fail_each FROM STEP MOST ACTION REPAIR: runs the bash ACTION again and again, in which the allocation
# number FROM fails, then number FROM + STEP, until there are no more or MOST were tried. After each
# failure REPAIR has to succeed. Prints how many were tried: fewer than MOST at the end. An ACTION that
# is a command has to be run with exec, because only the process itself, not its children, is affected.
fail_each() {
	local number=$1 step=$2 most=$3 action=$4 repair=$5 before tried=0
	while [ "$tried" -lt "$most" ]; do
		before=$(injected)
		bash -c "echo $number >/proc/self/fail-nth; $action" >/dev/null 2>&1
		[ "$(injected)" != "$before" ] || break
		tried=$((tried + 1))
		eval "$repair" || { say "after the failure of allocation $number: $repair"; return 1; }
		number=$((number + step))
	done
	eval "$repair" || { say 'without a failure'; return 1; }
	say "$tried"
}

# fail_by_chance PERCENT: from now on allocations fail by chance, in interrupts as well; 0 ends it.
fail_by_chance() {
	local kind
	for kind in failslab fail_page_alloc; do
		echo 1 >"$FAULTS/$kind/interval"
		echo "$1" >"$FAULTS/$kind/probability"
	done
}
