# SPDX-License-Identifier: GPL-2.0
#
# The steps that turn Debian's kernel packages into a tree that modules in C and Rust build against.
# To be sourced by setup.

# The spelling is part of Debian's configuration: another one would count as another compiler.
readonly KERNEL_CC=x86_64-linux-gnu-gcc-14

in_sandbox() { "$PROJECT/qemu-test/sandbox" "$@"; }

kernel_release() { cat "$SANDBOX/etc/fbnic-kernel-release"; }

# unpack_source: the part of the source that preparing and building modules reads. Left out are
# the C sources of drivers for other hardware, other architectures and the translated documentation,
# two thirds of it; all Kconfig files and Makefiles are there.
unpack_source() {
	local new=$PREFIX/linux.tmp dir exclude=()
	for dir in drivers/{accel,clk,gpu,iio,infiniband,media,pinctrl,scsi,staging,usb,video,crypto} sound \
		drivers/net/wireless tools/perf arch/{alpha,arc,arm,arm64,loongarch,m68k,mips,parisc,powerpc,riscv,s390,sh,sparc}; do
		exclude+=("--exclude=linux-source-*/$dir/*."{c,h,S,dts,dtsi,json})
	done
	exclude+=('--exclude=linux-source-*/Documentation/devicetree' '--exclude=linux-source-*/Documentation/translations')
	rm -rf "$new"
	mkdir -p "$new"
	in_sandbox bash -c 'out=$1; shift; xz -T0 -dc /usr/src/linux-source-7.3.tar.xz |
		tar -x -C "$out" --strip-components=1 --wildcards "$@"' bash "$new" "${exclude[@]}"
	rm -rf "$PREFIX/linux"
	mv "$new" "$PREFIX/linux"
}

# prepare_kbuild: the headers package has no Rust metadata, so that is built from the source with
# the same compilers; then what belongs to Debian's own build takes its place again. The result is
# checked for the two things that silently go wrong: configuration and version string.
prepare_kbuild() {
	rm -rf "$PREFIX/kbuild"
	mkdir -p "$PREFIX/kbuild"
	in_sandbox bash -euo pipefail -c '
		source=$1 output=$2 release=$3 cc=$4
		headers=/usr/src/linux-headers-$release
		kmake() { make -C "$source" O="$output" CC="$cc" HOSTCC=gcc-14 "$@"; }
		cp "$headers/.config" "$output/.config"
		kmake olddefconfig
		diff "$headers/.config" "$output/.config"
		kmake -j"$(nproc)" prepare
		kmake -j"$(nproc)" LOCALVERSION= KERNELRELEASE="$release" modules_prepare
		cp "$headers/include/generated/utsrelease.h" "$output/include/generated/"
		cp "$headers/include/config/kernel.release" "$output/include/config/"
		cp "$headers/Module.symvers" "$headers/vmlinux" "$output/"
		grep -q "\"$release\"" "$output/include/generated/utsrelease.h"
	' bash "$PREFIX/linux" "$PREFIX/kbuild" "$(kernel_release)" "$KERNEL_CC"
}

# build_cdriver: a copy of the upstream driver of the same source package, built as it is.
build_cdriver() {
	local new=$PREFIX/cdriver.tmp
	rm -rf "$new"
	cp -r "$PREFIX/linux/drivers/net/ethernet/meta/fbnic" "$new"
	in_sandbox make -C "$PREFIX/kbuild" M="$new" CC="$KERNEL_CC" CONFIG_FBNIC=m -j"$(nproc)"
	in_sandbox modinfo -F vermagic "$new/fbnic.ko" | grep -q "^$(kernel_release) "
	rm -rf "$PREFIX/cdriver"
	mv "$new" "$PREFIX/cdriver"
}
