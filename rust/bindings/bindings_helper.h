/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Everything a network driver may need from the kernel. bindgen reads this
 * header; which items come out is decided by bindgen_parameters.
 */

#include <linux/aer.h>
#include <linux/bpf.h>
#include <linux/bpf_trace.h>
#include <linux/debugfs.h>
#include <linux/dma-mapping.h>
#include <linux/dynamic_queue_limits.h>
#include <linux/etherdevice.h>
#include <linux/ethtool.h>
#include <linux/ethtool_netlink.h>
#include <linux/filter.h>
#include <linux/hwmon.h>
#include <linux/if_ether.h>
#include <linux/if_vlan.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/mdio.h>
#include <linux/netdevice.h>
#include <linux/pci.h>
#include <linux/pcs/pcs-xpcs.h>
#include <linux/phy.h>
#include <linux/phylink.h>
#include <linux/pldmfw.h>
#include <linux/pm.h>
#include <linux/ptp_clock_kernel.h>
#include <linux/rtnetlink.h>
#include <linux/skbuff.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <net/devlink.h>
#include <net/gro.h>
#include <net/ipv6.h>
#include <net/netdev_lock.h>
#include <net/netdev_queues.h>
#include <net/netdev_rx_queue.h>
#include <net/netmem.h>
#include <net/page_pool/helpers.h>
#include <net/page_pool/types.h>
#include <net/tcp.h>
#include <net/xdp.h>

#include "../helpers/helpers.h"

/*
 * Macros bindgen cannot evaluate. The prefix is removed from the generated
 * file, so Rust sees the C name.
 */
#define RUST_CONST(type, name) const type RUST_CONST_HELPER_##name = name

RUST_CONST(netdev_features_t, NETIF_F_SG);
RUST_CONST(netdev_features_t, NETIF_F_HW_CSUM);
RUST_CONST(netdev_features_t, NETIF_F_CSUM_MASK);
RUST_CONST(netdev_features_t, NETIF_F_RXCSUM);
RUST_CONST(netdev_features_t, NETIF_F_RXHASH);
RUST_CONST(netdev_features_t, NETIF_F_NTUPLE);
RUST_CONST(netdev_features_t, NETIF_F_LOOPBACK);
RUST_CONST(netdev_features_t, NETIF_F_TSO);
RUST_CONST(netdev_features_t, NETIF_F_TSO6);
RUST_CONST(netdev_features_t, NETIF_F_TSO_ECN);
RUST_CONST(netdev_features_t, NETIF_F_TSO_MANGLEID);
RUST_CONST(netdev_features_t, NETIF_F_GSO_MASK);
RUST_CONST(netdev_features_t, NETIF_F_GSO_PARTIAL);
RUST_CONST(netdev_features_t, NETIF_F_GSO_GRE);
RUST_CONST(netdev_features_t, NETIF_F_GSO_GRE_CSUM);
RUST_CONST(netdev_features_t, NETIF_F_GSO_IPXIP4);
RUST_CONST(netdev_features_t, NETIF_F_GSO_IPXIP6);
RUST_CONST(netdev_features_t, NETIF_F_GSO_UDP_TUNNEL);
RUST_CONST(netdev_features_t, NETIF_F_GSO_UDP_TUNNEL_CSUM);
RUST_CONST(netdev_features_t, NETIF_F_GSO_UDP_L4);
RUST_CONST(u32, PP_FLAG_DMA_MAP);
RUST_CONST(u32, PP_FLAG_DMA_SYNC_DEV);
RUST_CONST(u32, PP_FLAG_ALLOW_UNREADABLE_NETMEM);
RUST_CONST(u32, ETHTOOL_COALESCE_RX_USECS);
RUST_CONST(u32, ETHTOOL_COALESCE_RX_MAX_FRAMES);
RUST_CONST(u32, ETHTOOL_COALESCE_TX_USECS);
RUST_CONST(u32, ETHTOOL_COALESCE_TX_MAX_FRAMES);
RUST_CONST(u32, ETHTOOL_RING_USE_TCP_DATA_SPLIT);
RUST_CONST(u32, ETHTOOL_RING_USE_HDS_THRS);
RUST_CONST(u32, ETHTOOL_FEC_NONE);
RUST_CONST(u32, ETHTOOL_FEC_OFF);
RUST_CONST(u32, ETHTOOL_FEC_AUTO);
RUST_CONST(u32, ETHTOOL_FEC_RS);
RUST_CONST(u32, ETHTOOL_FEC_BASER);
RUST_CONST(u32, ETH_RSS_HASH_TOP);
RUST_CONST(u32, ETH_RSS_HASH_XOR);
RUST_CONST(u32, ETHTOOL_OP_NEEDS_RTNL_SCHANNELS);
RUST_CONST(u32, ETHTOOL_OP_NEEDS_RTNL_TEST);
RUST_CONST(u32, ETHTOOL_OP_NEEDS_RTNL_GLINK);
RUST_CONST(u32, ETHTOOL_OP_NEEDS_RTNL_SPAUSEPARAM);
RUST_CONST(u32, ETHTOOL_OP_NEEDS_RTNL_GPAUSEPARAM);
RUST_CONST(u32, ETHTOOL_OP_NEEDS_RTNL_LINKSETTINGS);
RUST_CONST(u32, ETHTOOL_OP_NEEDS_RTNL_SRINGPARAM);
RUST_CONST(gfp_t, GFP_ATOMIC);
RUST_CONST(gfp_t, GFP_KERNEL);
RUST_CONST(gfp_t, __GFP_NOWARN);
RUST_CONST(u8, SKBTX_HW_TSTAMP);
RUST_CONST(u32, MDIO_DEVS_AN);
RUST_CONST(u32, MDIO_DEVS_PCS);
RUST_CONST(u32, MDIO_DEVS_PMAPMD);
RUST_CONST(unsigned int, PCI_D0);
