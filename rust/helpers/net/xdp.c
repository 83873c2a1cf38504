// SPDX-License-Identifier: GPL-2.0

#include <linux/bpf_trace.h>
#include <linux/dma-mapping.h>
#include <linux/filter.h>
#include <net/xdp.h>

u32 rust_helper_bpf_prog_run_xdp(const struct bpf_prog *prog,
				 struct xdp_buff *xdp)
{
	return bpf_prog_run_xdp(prog, xdp);
}

void rust_helper_trace_xdp_exception(const struct net_device *dev,
				     const struct bpf_prog *prog, u32 act)
{
	trace_xdp_exception(dev, prog, act);
}

void rust_helper_dma_sync_single_range_for_device(struct device *dev,
						  dma_addr_t addr,
						  unsigned long offset,
						  size_t size)
{
	dma_sync_single_range_for_device(dev, addr, offset, size,
					 DMA_BIDIRECTIONAL);
}
