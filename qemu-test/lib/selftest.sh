# SPDX-License-Identifier: GPL-2.0
#
# The steps that build the kernel's own tests of network drivers and pack them for the guest.
# To be sourced by setup after lib/kernel.sh.

readonly SELFTEST=$PREFIX/selftest

# The folders of tools/testing/selftests whose programs are run.
readonly SELFTEST_TARGETS='drivers/net drivers/net/hw'

# make_selftests: on top of make_all, which sets the keys of what they are built from.
make_selftests() {
	local packages_key build_key
	packages_key=$sandbox_key-$(key "$QEMU_TEST/selftests/packages" <(declare -f fetch_selftest_packages))
	build_key=$kernel_key-$packages_key-$(key <(declare -f build_selftests))
	run_step selftest-packages "$packages_key" 25 "Fetching what the kernel's selftests need" fetch_selftest_packages
	run_step selftest-build "$build_key" 60 "Building the kernel's selftests" build_selftests
	run_step selftest-guest "$build_key-$(key "$QEMU_TEST/guest/mkselftests" "$QEMU_TEST/guest/pack.sh")" 10 \
		"Packing the kernel's selftests for the guest" pack_selftests
}

# fetch_selftest_packages: the packages and what they depend on, as far as the sandbox does not have
# it. They are unpacked in a folder of their own, so the sandbox stays what its key says.
fetch_selftest_packages() {
	rm -rf "$SELFTEST/packages"
	mkdir -p "$SELFTEST/packages"/{root,lists/partial,archives/partial}
	in_sandbox bash -euo pipefail -c '
		dir=$1
		shift
		apt_get() {
			apt-get -o APT::Sandbox::User=root -o Debug::NoLocking=1 -o "Dir::State::Lists=$dir/lists" \
				-o "Dir::Cache::Archives=$dir/archives" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= "$@"
		}
		apt_get update
		apt_get install --yes --download-only --no-install-recommends "$@"
		for package in "$dir"/archives/*.deb; do
			dpkg-deb -x "$package" "$dir/root"
		done
	' bash "$SELFTEST/packages" $(grep -v '^#' "$QEMU_TEST/selftests/packages")
	rm -rf "$SELFTEST/packages"/{lists,archives}
}

# with_selftest_packages COMMAND...: runs COMMAND in the sandbox, where it finds those packages.
with_selftest_packages() {
	local root=$SELFTEST/packages/root lib=usr/lib/x86_64-linux-gnu
	in_sandbox env "PATH=$root/usr/lib/llvm-19/bin:$root/usr/sbin:$root/usr/bin:/usr/sbin:/usr/bin" \
		"LD_LIBRARY_PATH=$root/$lib" "LIBRARY_PATH=$root/$lib" "CPATH=$root/usr/include" \
		"PYTHONPATH=$root/usr/lib/python3/dist-packages" "$@"
}

# build_selftests: builds in a copy of that part of the source which the tests are made of, because
# the netlink library is always built where its source is. It finds the top of the tree by MAINTAINERS.
build_selftests() {
	local tree=$SELFTEST/linux
	rm -rf "$tree" "$SELFTEST/install"
	mkdir -p "$tree"
	(cd "$PREFIX/linux" && cp -r --parents MAINTAINERS Documentation/netlink scripts/subarch.include scripts/bpf_doc.py \
		include/uapi tools/{arch,build,include,lib,net,scripts} tools/testing/selftests/{Makefile,lib.mk,run_kselftest.sh} \
		tools/testing/selftests/{kselftest,drivers/net,net/lib,net/forwarding} \
		tools/testing/selftests/kselftest*.h tools/testing/selftests/net/*.{mk,sh} "$tree")
	# Without FORCE_TARGETS a folder that does not build would only be missing.
	with_selftest_packages make -C "$tree/tools/testing/selftests" -j"$(nproc)" \
		"TARGETS=$SELFTEST_TARGETS" FORCE_TARGETS=1 install "KSFT_INSTALL_PATH=$SELFTEST/install"
	rm -rf "$tree"
}

pack_selftests() {
	with_selftest_packages "$QEMU_TEST/guest/mkselftests" "$SELFTEST/guest.cpio.tmp" \
		"$(kernel_release)" "$SELFTEST/packages/root" "$SELFTEST/install"
	mv "$SELFTEST/guest.cpio.tmp" "$SELFTEST/guest.cpio"
}
