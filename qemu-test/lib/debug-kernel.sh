# SPDX-License-Identifier: GPL-2.0
#
# The steps that build the debug kernel of `KERNEL=debug`, from the same source package as the stock
# one. To be sourced by setup, after kernel.sh.
#
# The kernel's configuration allows KASAN together with Rust only under clang. Its packages go to a
# folder of their own, so that whoever never asks for this kernel does not fetch them.

readonly CLANG=$PREFIX/clang
readonly DEBUG=$PREFIX/debug

# in_debug_sandbox COMMAND...: runs a command in the sandbox with clang among its programs.
in_debug_sandbox() {
	in_sandbox env "PATH=$CLANG/usr/lib/llvm-19/bin:/usr/sbin:/usr/bin:/sbin:/bin" "$@"
}

# debug_make ARGUMENT...: make in the debug kernel's build tree.
debug_make() {
	in_debug_sandbox make -C "$DEBUG/kbuild" CC=clang HOSTCC=gcc-14 LD=ld LOCALVERSION= "$@"
}

# fetch_clang: clang with the libraries it was linked against, unpacked and not installed.
fetch_clang() {
	local new=$CLANG.tmp
	rm -rf "$new"
	mkdir -p "$new/deb" "$new/apt/lists/partial" "$new/apt/archives/partial"
	in_sandbox bash -euo pipefail -c '
		cd "$1/deb"
		apt=(-o "Dir::State::Lists=$1/apt/lists" -o "Dir::Cache=$1/apt" -o APT::Sandbox::User=root
			-o Debug::NoLocking=1)
		apt-get "${apt[@]}" update
		apt-get "${apt[@]}" download clang-19 libclang-common-19-dev libclang-cpp19 libllvm19
		for package in *.deb; do dpkg-deb -x "$package" "$1"; done
		"$1/usr/lib/llvm-19/bin/clang" --version
	' bash "$new"
	rm -rf "$new/deb" "$new/apt" "$CLANG"
	mv "$new" "$CLANG"
}

# configure_debug_kernel CONFIG: kconfig drops silently what it cannot grant, so every line is checked.
configure_debug_kernel() {
	local config=$1 line missing=()
	in_debug_sandbox make -C "$PREFIX/linux" O="$DEBUG/kbuild" CC=clang HOSTCC=gcc-14 LD=ld \
		KCONFIG_ALLCONFIG="$config" allnoconfig
	while read -r line; do
		case $line in
		CONFIG_*) grep -Fxq "$line" "$DEBUG/kbuild/.config" || missing+=("$line") ;;
		'# CONFIG_'*) ! grep -q "^$(cut -d ' ' -f 2 <<<"$line")=" "$DEBUG/kbuild/.config" || missing+=("$line") ;;
		esac
	done <"$config"
	[ ${#missing[@]} -eq 0 ] || { printf 'not granted: %s\n' "${missing[@]}"; return 1; }
}

# build_debug_kernel KEY CONFIG: an interrupted build of the same key goes on where it ended.
build_debug_kernel() {
	if [ "$(cat "$DEBUG/key" 2>/dev/null)" != "$1" ]; then
		rm -rf "$DEBUG"
		mkdir -p "$DEBUG/kbuild"
		configure_debug_kernel "$2"
		printf '%s' "$1" >"$DEBUG/key"
	fi
	debug_make -j"$(nproc)" bzImage modules
	rm -rf "$DEBUG/root"
	debug_make INSTALL_MOD_PATH="$DEBUG/root/usr" modules_install
	pack_debug_modules
	cp "$DEBUG/kbuild/arch/x86/boot/bzImage" "$DEBUG/vmlinuz"
	# What building a module reads stays, a tenth of it all.
	find "$DEBUG/kbuild" \( -name '*.o' -o -name '*.a' -o -name 'vmlinux*' \) -type f \
		! -path '*/scripts/*' ! -path '*/tools/*' -delete
}

# pack_debug_modules: the archive that the guest's file system gets on top.
pack_debug_modules() {
	rm -f "$DEBUG/root/usr/lib/modules/"*/{build,source}
	in_sandbox bash -euo pipefail -c 'cd "$1" && find . -mindepth 1 -print0 | LC_ALL=C sort -z |
		cpio --quiet --null -o -H newc >../modules.cpio' bash "$DEBUG/root"
}

# build_debug_cdriver: the upstream driver, with the lines of its source in the debug information.
build_debug_cdriver() {
	local new=$DEBUG/cdriver.tmp
	rm -rf "$new"
	cp -r "$PREFIX/linux/drivers/net/ethernet/meta/fbnic" "$new"
	debug_make M="$new" CONFIG_FBNIC=m KCFLAGS=-g -j"$(nproc)"
	in_sandbox objcopy --strip-debug "$new/fbnic.ko" "$new/stripped.ko"
	rm -rf "$DEBUG/cdriver"
	mv "$new" "$DEBUG/cdriver"
}
