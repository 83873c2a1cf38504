# SPDX-License-Identifier: GPL-2.0
#
# Copies files of the sandbox into the root file system of the guest. To be sourced by bash.
#
# $root is where the guest's files are gathered. $prefix, which may be empty, is a folder with the
# files of more packages: what lies in it keeps its path without the prefix.

# add_file PATH: copies a file and the symbolic links that lead to it.
add_file() {
	local path=$1 inside target
	inside=${path#"${prefix:-}"}
	[ -e "$root$inside" ] && return
	mkdir -p "$root$(dirname "$inside")"
	if [ -L "$path" ]; then
		target=$(readlink -f "$path")
		cp -a "$path" "$root$inside"
		add_file "$target"
	else
		cp -p "$path" "$root$inside"
	fi
}

# add_libraries FILE...: copies the shared libraries that programs or libraries are linked with.
add_libraries() {
	local lib
	while read -r lib; do
		add_file "$lib"
	done < <(ldd "$@" 2>/dev/null | grep -o '/[^ ]*[^ :]' | sort -u)
}

# add_program NAME: copies a program with the shared libraries it is linked with.
add_program() {
	local path
	path=$(command -v "$1") || { echo "no $1, left out" >&2; return 0; }
	add_file "$path"
	add_libraries "$path"
}

# add_modules RELEASE NAME...: the modules with all they depend on, unpacked, and their index.
add_modules() {
	local release=$1 dir=/lib/modules/$1 name file
	shift
	mkdir -p "$root$dir"
	for name; do
		modprobe -S "$release" --show-depends "$name" 2>/dev/null ||
			echo "no module $name, left out" >&2
	done | sed -n 's/^insmod \([^ ]*\).*/\1/p' | sort -u | while read -r file; do
		mkdir -p "$root$(dirname "$file")"
		case $file in
		*.xz) xz -dc "$file" >"$root${file%.xz}" ;;
		*.zst) zstd -qdc "$file" >"$root${file%.zst}" ;;
		*) cp "$file" "$root$file" ;;
		esac
	done
	cp "$dir"/modules.{order,builtin,builtin.modinfo} "$root$dir/"
	depmod -b "$root" "$release"
}

# pack FILE: writes the gathered files as an archive that the kernel unpacks at boot.
pack() {
	(cd "$root" && find . -print0 | LC_ALL=C sort -z | cpio --quiet --null -o -H newc) >"$1"
}
