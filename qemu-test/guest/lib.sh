# SPDX-License-Identifier: GPL-2.0
#
# Functions for commands run in the guest. bash reads this file before every command (BASH_ENV), so
# nothing here may print or change state when it is sourced.
#
# Two ends of one cable live in the guest. The near end is the NIC under test, in the first network
# namespace. The far end is an e1000e in the namespace "far", at a fixed PCI slot.

NEAR4=192.0.2.1 FAR4=192.0.2.2
NEAR6=2001:db8::1 FAR6=2001:db8::2
FAR_SLOT=0000:00:10.0
FAR_IF=far0

say() { printf '%s\n' "$*"; }
fail() { printf 'FAIL: %s\n' "$*"; exit 1; }

# far COMMAND...: runs COMMAND at the far end of the cable.
far() { ip netns exec far "$@"; }

# pause SECONDS: sleeps, but starts no program for it, which here takes longer than most pauses. It is
# all that a loop ends with, so it succeeds.
pause() { read -r -t "$1" <>/run/never || :; }

# wait_for SECONDS COMMAND...: polls until COMMAND succeeds; fails when the time is over. SLOWNESS comes
# from the kernel's command line: a kernel with many checks gets more time.
wait_for() {
	local end=$((SECONDS + $1 * ${SLOWNESS:-1}))
	shift
	until "$@" >/dev/null 2>&1; do
		[ "$SECONDS" -lt "$end" ] || return 1
		pause 0.05
	done
}

# netdev_at SLOT: prints the name of the network device of a PCI slot, if it has one.
netdev_at() {
	local path
	for path in "/sys/bus/pci/devices/$1/net/"*; do
		[ -e "$path" ] && say "${path##*/}" && return 0
	done
	return 1
}

# fbnic_slot: prints the PCI slot of the emulated NIC.
fbnic_slot() {
	local dev vendor device
	for dev in /sys/bus/pci/devices/*; do
		read -r vendor <"$dev/vendor" && read -r device <"$dev/device" || continue
		if [ "$vendor $device" = '0x1d9b 0x0013' ]; then
			say "${dev##*/}"
			return 0
		fi
	done
	return 1
}

# find_near: sets `near` to the name of the network device under test. The C and the Rust driver both
# bind the emulated NIC, so the slot names it whatever the module. No $(...): each costs a process.
find_near() {
	local path vendor device
	for path in /sys/bus/pci/devices/*/net/*; do
		read -r vendor 2>/dev/null <"${path%/net/*}/vendor" && read -r device <"${path%/net/*}/device" || continue
		if [ "$vendor $device" = '0x1d9b 0x0013' ]; then
			near=${path##*/}
			return 0
		fi
	done
	return 1
}

# near_if: prints that name.
near_if() {
	local near
	find_near && say "$near"
}

# An interface that is down has no carrier to read.
has_carrier() {
	local carrier
	read -r carrier 2>/dev/null <"/sys/class/net/$1/carrier" && [ "$carrier" = 1 ]
}

# insmod_with_deps FILE.ko [PARAMETER...]: loads the modules FILE.ko depends on, then FILE.ko.
insmod_with_deps() {
	local dep
	for dep in $(modinfo -F depends "$1" | tr ',-' ' _'); do
		[ -d "/sys/module/$dep" ] || modprobe "$dep" || return 1
	done
	insmod "$@"
}

# load_extra MODULE...: loads kernel modules that are not part of every guest.
load_extra() {
	local name file
	for name in "$@"; do
		modprobe "$name" 2>/dev/null && continue
		for file in $(<"/guest/modules/$name.list"); do
			[ -d "/sys/module/$(basename "$file" .ko | tr - _)" ] || insmod "/guest/modules/$file" || return 1
		done
	done
}

# load_fbnic [rust|c]: loads a driver and waits for its network device.
load_fbnic() {
	local ko=/guest/ko/${1:-${DRIVER:-rust}}.ko
	insmod_with_deps "$ko" || return 1
	wait_for 10 find_near || { say "no network device after insmod"; return 1; }
}

# unload_fbnic: unloads the driver. What ran of it is only known while it lies where it does.
unload_fbnic() {
	[ ! "${COVERAGE:-}" ] || report_coverage
	rmmod fbnic
}

# report_coverage: tells where the driver lies, and has the plugin tcg-count report what ran of it.
report_coverage() {
	local section places=
	is_loaded || return 0
	for section in /sys/module/fbnic/sections/.*text*; do
		places+="${section##*/}=$(cat "$section") "
	done
	echo "fbnic lies at $places." >/dev/kmsg
	/guest/files/bench-mark report 1
}

# far_up [MTU]: brings up the far end. Running it again only changes the MTU.
far_up() {
	if [ ! -e /run/netns/far ]; then
		modprobe e1000e || return 1
		wait_for 10 netdev_at "$FAR_SLOT" || return 1
		ip netns add far
		ip link set "$(netdev_at "$FAR_SLOT")" name "$FAR_IF" netns far
		far ip link set lo up
		far ip addr add "$FAR4/24" dev "$FAR_IF"
		far ip addr add "$FAR6/64" dev "$FAR_IF" nodad
	fi
	ip -n far link set "$FAR_IF" mtu "${1:-1500}" up
}

# near_up [MTU [SECONDS]]: gives the NIC under test its addresses and waits for carrier, for 20 s or less.
near_up() {
	local near dev
	find_near || { say "no network device under test"; return 1; }
	dev=$near
	ip link set "$dev" mtu "${1:-1500}" up || return 1
	# Where somebody has switched IPv6 off, the first address alone has to do.
	ip -batch - <<-EOT
		address replace $NEAR4/24 dev $dev
		address replace $NEAR6/64 dev $dev nodad
	EOT
	wait_for "${2:-20}" has_carrier "$dev" || { say "no carrier on $dev"; return 1; }
}

# echoes_unanswered: requests of ping that the kernel has sent, less the answers it has had, IPv4 and IPv6.
echoes_unanswered() {
	awk '
		$1 == "Icmp:" && !sent { for (i = 2; i <= NF; i++) { if ($i == "OutEchos") sent = i; if ($i == "InEchoReps") had = i } next }
		$1 == "Icmp:" { open += $sent - $had }
		$1 == "Icmp6OutEchos" { open += $2 }
		$1 == "Icmp6InEchoReplies" { open -= $2 }
		END { print open + 0 }
	' /proc/net/snmp /proc/net/snmp6
}

# cable_up [MTU]: both ends up, and one packet has made the way.
cable_up() {
	far_up "$1" && near_up "$1" || return 1
	wait_for 10 ping -n -q -c 1 -W 1 "$FAR4" || { say "no answer from the far end"; return 1; }
}

# far_server / near_server: start an iperf3 server at that end unless one is there.
far_server() {
	far ss -Hltn 'sport = :5201' | grep -q . || far iperf3 -s -D
	wait_for 5 eval "far ss -Hltn 'sport = :5201' | grep -q ."
}
near_server() {
	ss -Hltn 'sport = :5201' | grep -q . || iperf3 -s -D
	wait_for 5 eval "ss -Hltn 'sport = :5201' | grep -q ."
}

is_loaded() { [ -d /sys/module/fbnic ]; }

# ready [MTU]: whatever came before, the driver is loaded and packets pass.
ready() {
	is_loaded || load_fbnic || return 1
	cable_up "$1"
}

# reference_count: users of the driver's module, 0 when it may be removed.
reference_count() { cat /sys/module/fbnic/refcnt; }

# watch_page_pools: from here on the kernel records what every page pool still has out when it is
# destroyed, and each look at a pool that waits for its last pages.
watch_page_pools() {
	echo 0 >/sys/kernel/tracing/tracing_on
	echo >/sys/kernel/tracing/trace
	echo 1 >/sys/kernel/tracing/events/page_pool/page_pool_release/enable
	echo 1 >/sys/kernel/tracing/tracing_on
}

# free_deferred: packets that one processor is done with wait on a list of another, which looks at it
# only when it handles network work of its own. So every processor gets some.
free_deferred() {
	local cpu
	for ((cpu = 0; cpu < $(nproc); cpu++)); do
		taskset -c "$cpu" ping -n -q -c 1 127.0.0.1 >/dev/null
	done
}

# page_pools_gone: waits until every destroyed page pool has got its last page back.
page_pools_gone() {
	wait_for 15 eval 'free_deferred; page_pools_out' || page_pools_out
}

# page_pools_out: prints the pools whose last record says that pages are missing, fails if any is.
page_pools_out() {
	awk '/page_pool_release:/ {
		for (i = 1; i <= NF; i++) {
			split($i, pair, "=")
			if (pair[1] == "page_pool") pool = pair[2]
			if (pair[1] == "inflight") out[pool] = pair[2] + 0
		}
		seen++
	}
	END {
		for (pool in out) if (out[pool] != 0) { print "page pool " pool ": " out[pool] " pages out"; bad = 1 }
		if (!seen) { print "no page pool was destroyed"; bad = 1 }
		exit bad
	}' /sys/kernel/tracing/trace
}

# no_leak: fails with the report of the kernel, if it has one, on memory that nothing points to any
# more. It reports an object that two looks have found so, and that is older than five seconds.
no_leak() {
	local report=/sys/kernel/debug/kmemleak
	[ -e "$report" ] || return 0
	echo scan >"$report"
	sleep 6
	echo scan >"$report"
	! grep . "$report"
}

# forget_leaks: what the kernel has lost so far is not the driver's.
forget_leaks() {
	no_leak >/dev/null || echo clear >/sys/kernel/debug/kmemleak
}

# watch_dma [map]: from here on the kernel records each piece of coherent memory that the NIC under
# test gets and gives back, and with "map" each mapping. Only for tests with little traffic.
watch_dma() {
	local trace=/sys/kernel/tracing event
	echo 0 >$trace/tracing_on
	[ "$(<$trace/buffer_size_kb)" = 8192 ] || echo 8192 >$trace/buffer_size_kb
	echo >$trace/trace
	for event in alloc free ${1:+map_phys unmap_phys}; do
		echo "device == \"$(fbnic_slot)\"" >$trace/events/dma/dma_$event/filter
		echo 1 >$trace/events/dma/dma_$event/enable
	done
	echo 1 >$trace/tracing_on
}

# dma_gone: fails and prints them if any recorded piece or mapping was not given back. Ends watching.
dma_gone() {
	local trace=/sys/kernel/tracing
	echo 0 >$trace/tracing_on
	echo 0 >$trace/events/dma/enable
	grep -q '^overrun: [^0]' $trace/per_cpu/cpu*/stats && fail 'too much to record'
	awk '/ dma_/ {
		for (i = 1; i <= NF; i++) if ($i ~ /^dma_addr=/) address = substr($i, 10)
		if (/dma_(alloc|map_phys):/ && address != "0") { out[address]++; seen++ }
		if (/dma_(free|unmap_phys):/) out[address]--
	}
	END {
		for (address in out) if (out[address] > 0) { print "not given back: DMA address " address; bad = 1 }
		if (!seen) { print "no DMA memory was used"; bad = 1 }
		exit bad
	}' $trace/trace
}

# failing FUNCTION VALUE NTH DEPTH COMMAND...: runs COMMAND while the NTH call of FUNCTION with the
# driver among its nearest DEPTH callers returns VALUE; -1 is every call. The result is in the
# variables $status, that of COMMAND, $calls, how many have counted, and $fired, how many have failed.
failing() {
	local parameters=/sys/module/failcall/parameters
	echo "$1 $2 $3 $4" >$parameters/arm || fail "$1 cannot be made to fail"
	shift 4
	status=0
	"$@" || status=$?
	calls=$(<$parameters/calls)
	fired=$(<$parameters/fired)
	echo off >$parameters/arm
}

# load_failcall [rust|c]: the driver is loaded anew, so that "failing" knows where it is.
load_failcall() {
	! is_loaded || unload_fbnic || return 1
	[ -d /sys/module/failcall ] || insmod /guest/ko/failcall.ko || return 1
	load_fbnic "$@"
}

# fbnic_bind/fbnic_unbind: the driver takes the device, or lets go of it.
fbnic_bind() { echo "$(fbnic_slot)" 2>/dev/null >/sys/bus/pci/drivers/fbnic/bind; }
fbnic_unbind() {
	local slot
	slot=$(fbnic_slot)
	[ ! -e "/sys/bus/pci/drivers/fbnic/$slot" ] || echo "$slot" >/sys/bus/pci/drivers/fbnic/unbind
}

# nothing_left: fails unless a device that no driver has is free of all traces of the driver.
nothing_left() {
	! grep fbnic /proc/interrupts && ! grep fbnic /proc/iomem && ! devlink dev show | grep . &&
		! near_if && [ "$(reference_count)" = 0 ]
}

# _transfer RECEIVE_PREFIX SEND_PREFIX ADDRESS MEGABYTES: the work of the two functions below.
_transfer() {
	local receive=$1 send=$2 address=$3 megabytes=$4 want got
	head -c "$((megabytes << 20))" /dev/urandom >/tmp/sent
	$receive socat -u TCP-LISTEN:5202,reuseaddr CREATE:/tmp/received &
	wait_for 5 eval "$receive ss -Hltn 'sport = :5202' | grep -q ."
	$send socat -u FILE:/tmp/sent "TCP:$address:5202,connect-timeout=10"
	wait $!
	want=$(sha256sum </tmp/sent) got=$(sha256sum </tmp/received)
	rm -f /tmp/sent /tmp/received
	[ "$want" = "$got" ] || { say "sent $want"; say "got  $got"; return 1; }
}

# transfer_out/transfer_in MEGABYTES: random bytes over TCP arrive as they were sent.
transfer_out() { _transfer far '' "$FAR4" "$1"; }
transfer_in() { _transfer '' far "$NEAR4" "$1"; }

# pci_serial_mac: the MAC address that the device's serial number (DSN capability at 0x100) names.
pci_serial_mac() {
	od -An -v -tx1 -j 260 -N 8 "/sys/bus/pci/devices/$(fbnic_slot)/config" |
		awk '{ printf "%s:%s:%s:%s:%s:%s\n", $8, $7, $6, $3, $2, $1 }'
}

# start_traffic: TCP both ways and fast echoes, in the background, until stop_traffic. Processes are
# killed, not asked: iperf3 would first want to talk to its other end.
start_traffic() {
	far_server && near_server || return 1
	(
		iperf3 -c "$FAR4" -t 600 &
		far iperf3 -c "$NEAR4" -t 600 &
		ping -n -q -i 0.002 "$FAR4" &
		wait
	) >/dev/null 2>&1 &
	sleep 0.3
	wait_for 5 _traffic_runs || { say 'a client of the traffic has ended'; return 1; }
}
_traffic_runs() { [ "$(pgrep -fc '^iperf3 -c ')" -ge 2 ] && pgrep -x ping; }
stop_traffic() {
	pkill -KILL iperf3
	pkill -KILL ping
	sleep 0.1
	# A closed connection goes on until its peer has answered, and keeps what it has received out of
	# order, in the driver's pages. With the interface gone that would take minutes.
	ss --kill --tcp state connected >/dev/null
	far ss --kill --tcp state connected >/dev/null
	true
}

# load_cycle: loads the driver, moves packets, unloads it while they still move.
load_cycle() {
	local references
	ready 1500 && start_traffic || return 1
	references=$(reference_count)
	unload_fbnic || return 1
	stop_traffic
	[ "$references" = 0 ] || { say "references while loaded: $references"; return 1; }
}
