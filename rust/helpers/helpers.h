/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Out-of-line forms of kernel macros and inline functions for the Rust code.
 *
 * One file per C header, one call each. Rust sees them without the prefix. A
 * helper costs a call, so the hot path only uses those whose inline form
 * depends on the configuration, static keys or per-CPU data; plain field
 * accesses are written in Rust.
 */
#ifndef _FBNIC_HELPERS_H
#define _FBNIC_HELPERS_H

#include <linux/completion.h>
#include <linux/filter.h>
#include <linux/netdevice.h>
#include <linux/skbuff.h>
#include <net/netmem.h>
#include <net/page_pool/types.h>
#include <net/xdp.h>

/* completion.c */
void rust_helper_reinit_completion(struct completion *x);

/* net/netdevice.c */
bool rust_helper_netdev_xmit_more(void);
bool rust_helper___netdev_tx_sent_queue(struct netdev_queue *txq,
					unsigned int bytes, bool xmit_more);
void rust_helper_netdev_tx_completed_queue(struct netdev_queue *txq,
					   unsigned int pkts,
					   unsigned int bytes);
void rust_helper_netdev_tx_reset_queue(struct netdev_queue *txq);
void rust_helper_netif_tx_stop_queue_mb(struct netdev_queue *txq);
void rust_helper_netif_tx_start_queue(struct netdev_queue *txq);
void rust_helper_netif_tx_disable(struct net_device *dev);
void rust_helper_netif_tx_lock_queue_bh(struct netdev_queue *txq);
void rust_helper_netif_tx_unlock_queue_bh(struct netdev_queue *txq);
void rust_helper_netif_addr_lock_bh(struct net_device *dev);
void rust_helper_netif_addr_unlock_bh(struct net_device *dev);
void rust_helper_netdev_lock(struct net_device *dev);
void rust_helper_netdev_unlock(struct net_device *dev);
void rust_helper_netif_napi_add_config_locked(struct net_device *dev,
					      struct napi_struct *napi,
					      int (*poll)(struct napi_struct *,
							  int),
					      int index);
void rust_helper_netif_napi_del_locked(struct napi_struct *napi);

/* net/page_pool.c */
void rust_helper_page_pool_dma_sync_netmem_for_cpu(const struct page_pool *pool,
						   netmem_ref netmem,
						   u32 offset, u32 size);
void *rust_helper_netmem_address(netmem_ref netmem);

/* net/skbuff.c */
int rust_helper_skb_put_padto(struct sk_buff *skb, unsigned int len);
int rust_helper_skb_cow_head(struct sk_buff *skb, unsigned int headroom);
void rust_helper_skb_tx_timestamp(struct sk_buff *skb);
dma_addr_t rust_helper_skb_frag_dma_map(struct device *dev,
					const skb_frag_t *frag, size_t offset,
					size_t size);
dma_addr_t rust_helper_dma_map_single(struct device *dev, void *ptr,
				      size_t size);

/* net/xdp.c */
u32 rust_helper_bpf_prog_run_xdp(const struct bpf_prog *prog,
				 struct xdp_buff *xdp);
void rust_helper_trace_xdp_exception(const struct net_device *dev,
				     const struct bpf_prog *prog, u32 act);
void rust_helper_dma_sync_single_range_for_device(struct device *dev,
						  dma_addr_t addr,
						  unsigned long offset,
						  size_t size);

#endif
