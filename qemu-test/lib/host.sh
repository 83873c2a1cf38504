# SPDX-License-Identifier: GPL-2.0
#
# The steps that run on the host itself, before there is a sandbox. To be sourced by setup.

readonly NEEDED_GB=7

# check_programs PROGRAM...
check_programs() {
	local missing=() program
	for program; do
		command -v "$program" >/dev/null || missing+=("$program")
	done
	[ ${#missing[@]} -eq 0 ] || die "missing on this machine: ${missing[*]}" \
		'on Debian or Ubuntu: apt-get install apt dpkg util-linux tar perl' \
		'on other systems: run in a Debian container or virtual machine'
}

# check_host: everything that could stop a first run, before it has begun.
check_host() {
	[ "$(uname -m)" = x86_64 ] || die "this machine is $(uname -m)" 'the guest and its kernel are x86-64; use such a machine'
	check_programs apt-get dpkg-deb tar perl
	check_namespaces
	[ "$(id -u)" = 0 ] || check_subordinate_ids
	check_space "$FBNIC_CACHE" "$NEEDED_GB" 'set FBNIC_CACHE to a folder on a larger disk'
	perl -MPod::Usage -MTime::HiRes -e 1 2>/dev/null ||
		die 'perl on this machine lacks its standard modules' 'run: apt-get install perl'
}

# check_space DIRECTORY GB ADVICE
check_space() {
	local free
	free=$(df --output=avail -B 1M "$1" | tail -n 1)
	free=$((free / 1024))
	[ "$free" -ge "$2" ] || die "$1 has ${free} GB free, $2 GB are needed" "free some space, or $3"
}

# An ordinary user needs a range of subordinate ids.
check_subordinate_ids() {
	command -v newuidmap >/dev/null || die 'newuidmap is missing' 'run: apt-get install uidmap, or run as root'
	grep -qE "^($(id -un)|$(id -u)):" /etc/subuid 2>/dev/null && grep -qE "^($(id -un)|$(id -u)):" /etc/subgid 2>/dev/null ||
		die "no subordinate ids for $(id -un)" \
			"run as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $(id -un)"
	check_space /var/tmp 3 'run as root'
}

# fetch_mmdebstrap: the tool, and the keys of the Debian archive, from the host's own package
# sources. The index goes to the cache when the host has none, so the host needs no apt-get update.
fetch_mmdebstrap() {
	local dir=$PREFIX/mmdebstrap options=()
	rm -rf "$dir"
	mkdir -p "$dir/deb" "$dir/lists/partial" "$dir/archives/partial"
	cd "$dir/deb"
	if ! apt-get download mmdebstrap debian-archive-keyring; then
		options=(-o "Dir::State::Lists=$dir/lists" -o "Dir::Cache=$dir" -o Debug::NoLocking=1)
		apt-get "${options[@]}" update
		apt-get "${options[@]}" download mmdebstrap debian-archive-keyring
	fi
	for package in *.deb; do
		dpkg-deb -x "$package" "$dir/root"
	done
	rm -rf "$dir/deb" "$dir/lists" "$dir/archives" "$dir"/*.bin
	# The archive's keys come in as .gpg files, .pgp in newer releases of the package.
	[ -x "$dir/root/usr/bin/mmdebstrap" ]
}

mmdebstrap() {
	local packages enter=()
	# What it mounts and starts ends with it, however it ends. As an ordinary user it sees to that itself.
	[ "$(id -u)" != 0 ] || enter=(unshare --mount --pid --fork --kill-child --mount-proc --propagation private)
	packages=$(grep -v '^#' "$QEMU_TEST/packages" | tr -s '\n' ',')
	"${enter[@]}" "$PREFIX/mmdebstrap/root/usr/bin/mmdebstrap" --variant=minbase \
		--aptopt='APT::Install-Recommends "false"' \
		--keyring="$PREFIX/mmdebstrap/root/usr/share/keyrings" --include="${packages%,}" \
		--setup-hook="'$QEMU_TEST/lib/sandbox-hook' setup \"\$1\"" \
		--customize-hook="'$QEMU_TEST/lib/sandbox-hook' kernel \"\$1\"" \
		"$@"
}

# make_sandbox: root gets a directory at once. For an ordinary user mmdebstrap makes an archive,
# whose files then all belong to that user: no helper is needed to use or delete the sandbox.
make_sandbox() {
	local new=$SANDBOX.tmp mirror=(${MIRROR:+"$MIRROR"})
	remove_tree "$new"
	if [ "$(id -u)" = 0 ]; then
		mmdebstrap --mode=root --format=directory trixie "$new" "${mirror[@]}"
	else
		mkdir -p "$new"
		TMPDIR=/var/tmp mmdebstrap --mode=unshare --format=tar trixie - "${mirror[@]}" |
			tar -x --no-same-owner --exclude='./dev/*' -C "$new"
	fi
	mkdir -p "$new/proc" "$new/sys" "$new/dev"
	remove_tree "$SANDBOX"
	mv "$new" "$SANDBOX"
}

# remove_tree DIRECTORY: deletes a folder of the cache; some in a Debian tree are not writable.
remove_tree() {
	[ -e "$1" ] || return 0
	[ "$(id -u)" = 0 ] || find "$1" -type d ! -perm -u=w -exec chmod u+w {} +
	rm -rf --one-file-system "$1"
}

# update_kernel: forgets the sandbox when the archive has a newer kernel than the one in it. What
# depends on the kernel's release is then built again by itself.
update_kernel() {
	local newest have
	[ -f "$SANDBOX/etc/fbnic-kernel-release" ] || return 0
	have=$(<"$SANDBOX/etc/fbnic-kernel-release")
	step 'Asking the archive for the newest kernel'
	"$PROJECT/qemu-test/sandbox" apt-get -qq -o APT::Sandbox::User=root update ||
		die 'the archive does not answer' 'check the network connection and http_proxy'
	newest=$("$PROJECT/qemu-test/sandbox" apt-cache pkgnames "linux-headers-${have%%.*}." |
		sed -nE "s/^linux-headers-(${have%%.*}\.[0-9]+\.[0-9]+\+deb13-amd64)$/\1/p" |
		grep "^${have%.*+*}\." | sort -V | tail -n 1)
	if [ "$newest" = "$have" ] || [ -z "$newest" ]; then
		say "    $have is the newest there is"
	else
		say "    $newest takes the place of $have"
		rm -f "$STEPS/sandbox"
	fi
}

# remove_all: the files of the locks go last, because whoever finds none begins to prepare the cache.
remove_all() {
	local path
	say "removing $PREFIX"
	shopt -s dotglob nullglob
	for path in "$PREFIX"/*; do
		[[ ${path##*/} == lock* ]] || remove_tree "$path"
	done
	rm -f "$PREFIX"/lock*
	rmdir "$PREFIX" 2>/dev/null || true
}
