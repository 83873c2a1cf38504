// SPDX-License-Identifier: GPL-2.0

#include <net/page_pool/helpers.h>

void rust_helper_page_pool_dma_sync_netmem_for_cpu(const struct page_pool *pool,
						   netmem_ref netmem,
						   u32 offset, u32 size)
{
	page_pool_dma_sync_netmem_for_cpu(pool, netmem, offset, size);
}

void *rust_helper_netmem_address(netmem_ref netmem)
{
	return netmem_address(netmem);
}
