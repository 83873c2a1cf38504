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

# wait_for SECONDS COMMAND...: polls until COMMAND succeeds; fails when the time is over.
wait_for() {
	local end=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		[ "$SECONDS" -lt "$end" ] || return 1
		sleep 0.05
	done
}

# netdev_at SLOT: prints the name of the network device of a PCI slot, if it has one.
netdev_at() {
	local path
	for path in "/sys/bus/pci/devices/$1/net/"*; do
		[ -e "$path" ] && basename "$path" && return 0
	done
	return 1
}

# fbnic_slot: prints the PCI slot of the emulated NIC.
fbnic_slot() {
	local dev
	for dev in /sys/bus/pci/devices/*; do
		if [ "$(<"$dev/vendor")" = 0x1d9b ] && [ "$(<"$dev/device")" = 0x0013 ]; then
			basename "$dev"
			return 0
		fi
	done
	return 1
}

# near_if: prints the name of the network device under test. The C and the Rust driver both bind
# the emulated NIC, so the slot names it whatever the module.
near_if() { netdev_at "$(fbnic_slot)"; }

has_carrier() { [ "$(cat "/sys/class/net/$1/carrier" 2>/dev/null)" = 1 ]; }

# insmod_with_deps FILE.ko [PARAMETER...]: loads the modules FILE.ko depends on, then FILE.ko.
insmod_with_deps() {
	local dep
	for dep in $(modinfo -F depends "$1" | tr ',' ' '); do
		modprobe "$dep" || return 1
	done
	insmod "$@"
}

# load_fbnic [rust|c]: loads a driver and waits for its network device.
load_fbnic() {
	local ko=/guest/ko/${1:-${DRIVER:-rust}}.ko
	insmod_with_deps "$ko" || return 1
	wait_for 10 near_if || { say "no network device after insmod"; return 1; }
}

unload_fbnic() { rmmod fbnic; }

# far_up [MTU]: brings up the far end. Running it again only changes the MTU.
far_up() {
	if ! ip netns list 2>/dev/null | grep -qw far; then
		modprobe e1000e || return 1
		wait_for 10 netdev_at "$FAR_SLOT" || return 1
		ip netns add far
		ip link set "$(netdev_at "$FAR_SLOT")" name "$FAR_IF" netns far
		far ip link set lo up
		far ip addr add "$FAR4/24" dev "$FAR_IF"
		far ip addr add "$FAR6/64" dev "$FAR_IF" nodad
	fi
	far ip link set "$FAR_IF" mtu "${1:-1500}" up
}

# near_up [MTU]: gives the NIC under test its addresses and waits for carrier.
near_up() {
	local dev
	dev=$(near_if) || { say "no network device under test"; return 1; }
	ip link set "$dev" mtu "${1:-1500}" && ip link set "$dev" up || return 1
	ip addr replace "$NEAR4/24" dev "$dev"
	ip addr replace "$NEAR6/64" dev "$dev" nodad
	wait_for 20 has_carrier "$dev" || { say "no carrier on $dev"; return 1; }
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
