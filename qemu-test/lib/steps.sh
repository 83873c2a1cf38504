# SPDX-License-Identifier: GPL-2.0
#
# Runs the steps of the set-up: each once, with progress, a log, and advice when it fails.
# To be sourced after common.sh.

LOGS=$PREFIX/log

# done_step NAME KEY: whether the step was completed for this key.
done_step() { [ -f "$STEPS/$1" ] && [ "$(<"$STEPS/$1")" = "$2" ]; }

# run_step NAME KEY SECONDS TITLE COMMAND...
#
# Runs COMMAND unless it was completed for this KEY. The stamp goes before the command starts and
# comes back only when it has succeeded, so whatever an interrupted run leaves is never taken for
# whole. SECONDS is what to expect on two idle CPUs.
run_step() {
	local name=$1 key=$2 expected=$3 title=$4 started=$SECONDS pid
	shift 4
	! done_step "$name" "$key" || return 0
	mkdir -p "$STEPS" "$LOGS"
	rm -f "$STEPS/$name"
	step "$title (about $expected s)"
	# A process group of its own, so that an interrupted step ends with all it has started.
	set -m
	("$@") </dev/null >"$LOGS/$name.log" 2>&1 &
	pid=$!
	set +m
	trap 'stop_step "$pid"' INT TERM HUP
	show_progress "$pid" "$LOGS/$name.log" "$started" "$expected"
	if ! wait "$pid"; then
		trap - INT TERM HUP
		explain_failure "$title" "$LOGS/$name.log"
	fi
	trap - INT TERM HUP
	printf '%s' "$key" >"$STEPS/$name.tmp" || die "cannot write to $STEPS" "free some disk space in $FBNIC_CACHE"
	mv "$STEPS/$name.tmp" "$STEPS/$name"
	say "    done in $((SECONDS - started)) s"
}

# stop_step PID: ends a step that the user has interrupted, and the script.
stop_step() {
	local tenths
	trap '' INT TERM HUP
	kill -TERM -- "-$1" 2>/dev/null || true
	for ((tenths = 0; tenths < 50; tenths++)); do
		kill -0 "$1" 2>/dev/null || break
		sleep 0.1
	done
	kill -KILL -- "-$1" 2>/dev/null || true
	wait "$1" 2>/dev/null || true
	say 'interrupted; the next run goes on from the last complete step'
	exit 130
}

# show_progress PID LOG STARTED EXPECTED: elapsed time and the log's last line until PID ends.
show_progress() {
	local pid=$1 log=$2 started=$3 expected=$4 last elapsed shown=0
	while kill -0 "$pid" 2>/dev/null; do
		sleep 0.5
		elapsed=$((SECONDS - started))
		last=$(tail -n 1 "$log" | tr -d '\r' | cut -c 1-60)
		if [ -t 2 ]; then
			printf '\r\e[K    %3d of about %d s  %s' "$elapsed" "$expected" "$last" >&2
		elif [ $((elapsed - shown)) -ge 20 ]; then
			shown=$elapsed
			say "    $elapsed of about $expected s  $last"
		fi
	done
	[ ! -t 2 ] || printf '\r\e[K' >&2
}

# explain_failure TITLE LOG: says what went wrong and what to do, then exits.
explain_failure() {
	local log=$2 advice="the whole log is $2"
	say "    the log ends with:"
	tail -n 12 "$log" | sed 's/^/    | /' >&2
	if grep -q 'E: no-kernel' "$log"; then
		advice='the series has left backports: take a newer checkout of this project'
	elif grep -qiE 'No space left' "$log"; then
		advice="free some disk space in $FBNIC_CACHE and ${TMPDIR:-/tmp}, or set FBNIC_CACHE"
	elif grep -qiE 'Could not resolve|Temporary failure|Could not connect|Failed to fetch|Connection (timed out|refused)|Network is unreachable' "$log"; then
		advice='no network, or the mirror is out of reach: check the connection and http_proxy, or set MIRROR=URL'
	elif grep -qiE 'newuidmap|newgidmap|subuid|Operation not permitted|cannot unshare' "$log"; then
		advice='user namespaces do not work here: install uidmap, have an entry in /etc/subuid and /etc/subgid, or run as root'
	fi
	die "$1 failed" "$advice" "then try again: what is complete is kept (log: $log)"
}
