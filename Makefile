# SPDX-License-Identifier: GPL-2.0
#
# The project's front door; `make help` lists what it does. What kbuild needs to know is in Kbuild,
# which is also what `make -C <kernel tree> M=$PWD` reads.

export DRIVER KERNEL ACCEL FBNIC_CACHE MIRROR T V SEED
ifeq ($(FBNIC_CACHE),)
unexport FBNIC_CACHE
endif

TEST := qemu-test
SANDBOX := $(TEST)/sandbox

.DEFAULT_GOAL := all
.PHONY: all modules emulator setup update run test unit mutate soak selftest fuzz bench help clean distclean

all: modules

# The plus sign lets the build share the jobs of `make -j`.
modules:
	+@$(TEST)/build module

emulator:
	@$(TEST)/build emulator

setup:
	@$(TEST)/setup

update:
	@$(TEST)/setup update

run:
	@$(TEST)/run

test:
	@$(TEST)/test

unit:
	@$(TEST)/test --unit

mutate:
	@$(TEST)/mutate

soak:
	@$(TEST)/soak

selftest:
	@$(TEST)/selftest

fuzz:
	@$(TEST)/fuzz $(FUZZ)

bench:
	@bench/bench $(BENCH)

clean:
	@$(TEST)/build clean

distclean: clean
	@$(TEST)/setup remove

help:
	@printf '%s\n' \
	'make              build fbnic.ko, for the kernel of the sandbox or for KDIR' \
	'make run          boot a stock kernel with the emulated NIC, load the driver, move packets;' \
	'                  on a terminal, leaves you in a shell in the guest (Ctrl-D ends it)' \
	'make test         all tests; the last line says how many passed and failed' \
	'make unit         only the tests that need no guest' \
	'make mutate       break the driver on purpose, in every way that qemu-test/mutations lists, and tell' \
	'                  what no test notices; takes hours, T=PATTERN picks mutations or tests' \
	'make soak T=30m   traffic and random reconfiguration for as long as told; SEED= repeats a run' \
	"make selftest     the kernel's own tests of network drivers (tools/testing/selftests/drivers/net)," \
	'                  Rust beside C; T=ping.py runs one; a whole run writes Documentation/selftests.md' \
	'make fuzz         hostile sessions by seed, the same ones for both drivers; FUZZ="--help" tells' \
	'                  its options' \
	'make bench        cost per packet, curves and throughput, Rust beside C, e1000e, igb, virtio-net;' \
	'                  BENCH="--help" tells its options' \
	'make emulator     build fbnic-emu, the emulated NIC' \
	'make setup        only prepare the cache: sandbox, kernel tree, C driver, guest' \
	'make update       prepare it anew if the Debian archive has a newer kernel of the series' \
	'make clean        delete what was built in this tree' \
	'make distclean    delete the cache as well (sandbox and kernel tree)' \
	'' \
	'DRIVER=rust|c     the driver to run or test: this one, or the upstream one in C; by default' \
	'                  make run takes rust, make test takes both' \
	'KERNEL=stock|checked|debug  the kernel of the guest: that of Debian (the default); the same with' \
	'                  all checks it offers switched on; or one built with KASAN, UBSAN, lockdep,' \
	'                  kmemleak and fault injection, which takes ten minutes once' \
	'T=PATTERN         only the tests whose name contains PATTERN' \
	'LOADS=N, STEP=N   how often loads-under-traffic loads (20); every how many-th allocation' \
	'                  probe-without-memory lets fail (7)' \
	'KDIR=DIR          build fbnic.ko for a prepared kernel tree of yours (needs CONFIG_RUST=y),' \
	'                  with the compilers of this machine' \
	'ACCEL=auto|tcg|kvm  how the guest runs: auto takes KVM when a trial boot has succeeded' \
	'FBNIC_CACHE=DIR   where the cache is; default: $$XDG_CACHE_HOME/fbnic-rs or ~/.cache/fbnic-rs' \
	'MIRROR=URL        Debian mirror for the sandbox instead of the default one' \
	'V=1               show the commands of a build'
