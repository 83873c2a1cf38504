// SPDX-License-Identifier: GPL-2.0

#include <linux/dma-mapping.h>
#include <linux/skbuff.h>

int rust_helper_skb_put_padto(struct sk_buff *skb, unsigned int len)
{
	return skb_put_padto(skb, len);
}

int rust_helper_skb_cow_head(struct sk_buff *skb, unsigned int headroom)
{
	return skb_cow_head(skb, headroom);
}

void rust_helper_skb_tx_timestamp(struct sk_buff *skb)
{
	skb_tx_timestamp(skb);
}

dma_addr_t rust_helper_skb_frag_dma_map(struct device *dev,
					const skb_frag_t *frag, size_t offset,
					size_t size)
{
	return skb_frag_dma_map(dev, frag, offset, size, DMA_TO_DEVICE);
}

dma_addr_t rust_helper_dma_map_single(struct device *dev, void *ptr,
				      size_t size)
{
	return dma_map_single(dev, ptr, size, DMA_TO_DEVICE);
}
