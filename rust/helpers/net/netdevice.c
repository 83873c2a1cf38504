// SPDX-License-Identifier: GPL-2.0

#include <linux/netdevice.h>

bool rust_helper_netdev_xmit_more(void)
{
	return netdev_xmit_more();
}

bool rust_helper___netdev_tx_sent_queue(struct netdev_queue *txq,
					unsigned int bytes, bool xmit_more)
{
	return __netdev_tx_sent_queue(txq, bytes, xmit_more);
}

void rust_helper_netdev_tx_completed_queue(struct netdev_queue *txq,
					   unsigned int pkts,
					   unsigned int bytes)
{
	netdev_tx_completed_queue(txq, pkts, bytes);
	if (!IS_ENABLED(CONFIG_BQL) && bytes)
		smp_mb(); /* BQL would order the ring index and the stop bit */
}

void rust_helper_netdev_tx_reset_queue(struct netdev_queue *txq)
{
	netdev_tx_reset_queue(txq);
}

void rust_helper_netif_tx_stop_queue_mb(struct netdev_queue *txq)
{
	netif_tx_stop_queue(txq);
	/* Pairs with the barrier of netdev_tx_completed_queue(). */
	smp_mb__after_atomic();
}

void rust_helper_netif_tx_start_queue(struct netdev_queue *txq)
{
	netif_tx_start_queue(txq);
}

void rust_helper_netif_tx_disable(struct net_device *dev)
{
	netif_tx_disable(dev);
}

void rust_helper_netif_tx_lock_queue_bh(struct netdev_queue *txq)
{
	__netif_tx_lock_bh(txq);
}

void rust_helper_netif_tx_unlock_queue_bh(struct netdev_queue *txq)
{
	__netif_tx_unlock_bh(txq);
}

void rust_helper_netif_addr_lock_bh(struct net_device *dev)
{
	netif_addr_lock_bh(dev);
}

void rust_helper_netif_addr_unlock_bh(struct net_device *dev)
{
	netif_addr_unlock_bh(dev);
}

void rust_helper_netdev_lock(struct net_device *dev)
{
	netdev_lock(dev);
}

void rust_helper_netdev_unlock(struct net_device *dev)
{
	netdev_unlock(dev);
}

void rust_helper_netif_napi_add_config_locked(struct net_device *dev,
					      struct napi_struct *napi,
					      int (*poll)(struct napi_struct *,
							  int),
					      int index)
{
	netif_napi_add_config_locked(dev, napi, poll, index);
}

void rust_helper_netif_napi_del_locked(struct napi_struct *napi)
{
	netif_napi_del_locked(napi);
}
