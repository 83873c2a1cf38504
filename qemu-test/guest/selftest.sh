# SPDX-License-Identifier: GPL-2.0
#
# Functions that run the kernel's own selftests in the guest. To be sourced after lib.sh.

# The tests have 192.0.2.0/24 and 2001:db8::/64 for themselves: they put them into tunnels over the cable.
NEAR4=203.0.113.1 FAR4=203.0.113.2
NEAR6=2001:db8:3::1 FAR6=2001:db8:3::2
SELFTEST_GROUP=/sys/fs/cgroup/selftest
# Addresses behind the near end, for tests that put a network namespace there.
NEAR_PREFIX6=2001:db8:2::

# selftest_ready: a driver and a far end that no test has used yet, with packets passing.
selftest_ready() {
	selftest_clean >/dev/null
	mountpoint -q /sys/fs/cgroup || mount -t cgroup2 cgroup2 /sys/fs/cgroup
	mkdir -p "$SELFTEST_GROUP"
	# The tests' own configuration has these built in, the distribution has them as modules.
	modprobe -a configfs esp4_offload esp6_offload pppoe tls
	mountpoint -q /sys/kernel/config || mount -t configfs configfs /sys/kernel/config
	load_fbnic && cable_up 1500 || return 1
	far ip -6 route add "$NEAR_PREFIX6/64" via "$NEAR6"
}

# selftest_clean: takes away what a test may have left, the driver and the far end.
selftest_clean() {
	local path
	is_loaded && { unload_fbnic || return 1; }
	ip -all netns delete
	rmmod e1000e 2>/dev/null
	for path in /sys/class/net/*; do
		# What has no device was made by a test; those that the kernel keeps cannot be deleted.
		[ -e "$path/device" ] || ip link delete "${path##*/}" 2>/dev/null
	done
	ip xfrm state flush 2>/dev/null
	ip xfrm policy flush 2>/dev/null
	true
}

# near_and_far_together: for tests that want both ends in the namespace they run in.
near_and_far_together() {
	far ip link set "$FAR_IF" netns 1 && ip link set "$FAR_IF" up
}

# far_takes_long_frames: for tests that make the far end do so and send at once, while its link comes
# up again.
far_takes_long_frames() {
	far ip link set "$FAR_IF" mtu 9212 && wait_for 10 ping -n -q -c 1 -W 1 "$FAR4"
}

# four_queues: for tests that skip cases with fewer.
four_queues() { ethtool -L "$(near_if)" combined 4; }

# hash_udp_ports: for tests that take it for granted. The driver hashes only the addresses of UDP, since
# fragments have no ports.
hash_udp_ports() {
	ethtool -N "$(near_if)" rx-flow-hash udp4 sdfn && ethtool -N "$(near_if)" rx-flow-hash udp6 sdfn
}

# two_processors_for_interrupts: for tests that want each interrupt on one processor, and others free.
two_processors_for_interrupts() {
	local irq
	for irq in "/sys/class/net/$(near_if)/device/msi_irqs"/*; do
		irq=${irq##*/}
		# Vectors in reserve have no handler, and nothing to set.
		[ -e "/proc/irq/$irq/smp_affinity_list" ] || continue
		echo $((irq % 2)) >"/proc/irq/$irq/smp_affinity_list" || return 1
	done
}

# stamp_lines: copies lines with the milliseconds since its start before each. Results of cases also
# go to the console, where they tell which case a warning of the kernel belongs to.
stamp_lines() {
	local start=${EPOCHREALTIME/./} line
	while IFS= read -r line; do
		printf '%d %s\n' $(((${EPOCHREALTIME/./} - start) / 1000)) "$line"
		case $line in
		'ok '* | 'not ok '*) echo "selftest: ${line:0:200}" >/dev/kmsg ;;
		esac
	done
}

# selftest_run FOLDER PROGRAM SECONDS [ARGUMENT...]: runs a program as drivers/net/README.rst tells.
# When its time is over it is asked to end, then made to. Nothing it has started outlives it.
selftest_run() {
	local folder=$1 program=$2 limit=$3 fifo=/run/selftest.fifo status reader
	shift 3
	cd "/selftests/$folder" || return 1
	export NETIF LOCAL_V4=$NEAR4 LOCAL_V6=$NEAR6 REMOTE_V4=$FAR4 REMOTE_V6=$FAR6 \
		LOCAL_PREFIX_V6=$NEAR_PREFIX6/64 REMOTE_TYPE=netns REMOTE_ARGS=far
	NETIF=$(near_if)
	export PATH=/guest/tools:$PATH
	rm -f "$fifo"
	mkfifo "$fifo"
	stamp_lines <"$fifo" &
	reader=$!
	(
		echo 0 >"$SELFTEST_GROUP/cgroup.procs"
		# The shell that started this one must not reach the tests.
		unset BASH_ENV
		exec timeout --kill-after=20 "$limit" "./$program" "$@"
	) >"$fifo" 2>&1
	status=$?
	echo 1 >"$SELFTEST_GROUP/cgroup.kill"
	wait "$reader"
	return "$status"
}
