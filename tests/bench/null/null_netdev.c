// SPDX-License-Identifier: GPL-2.0
/*
 * A network device that frees what it is given and does nothing else: null0, null1 ...
 * What a source costs alone is measured against it, and it ends redirects in the benchmarks.
 */

#include <linux/etherdevice.h>
#include <linux/module.h>
#include <linux/netdevice.h>
#include <net/xdp.h>

#define NULL_DEVICES 2

static struct net_device *devices[NULL_DEVICES];

static netdev_tx_t null_start_xmit(struct sk_buff *skb, struct net_device *dev)
{
	dev_kfree_skb(skb);
	return NETDEV_TX_OK;
}

static int null_xdp_xmit(struct net_device *dev, int n, struct xdp_frame **frames, u32 flags)
{
	int i;

	for (i = 0; i < n; i++)
		xdp_return_frame(frames[i]);
	return n;
}

static const struct net_device_ops null_ops = {
	.ndo_start_xmit = null_start_xmit,
	.ndo_xdp_xmit = null_xdp_xmit,
};

static void null_setup(struct net_device *dev)
{
	ether_setup(dev);
	dev->netdev_ops = &null_ops;
	dev->flags |= IFF_NOARP;
	dev->priv_flags |= IFF_NO_QUEUE;
	dev->lltx = true;
	dev->needs_free_netdev = true;
	dev->max_mtu = 0;
	dev->features |= NETIF_F_SG | NETIF_F_HIGHDMA;
	eth_hw_addr_random(dev);
	xdp_set_features_flag(dev, NETDEV_XDP_ACT_NDO_XMIT);
}

static void null_unregister(void)
{
	int i;

	for (i = 0; i < NULL_DEVICES; i++) {
		if (devices[i])
			unregister_netdev(devices[i]);
		devices[i] = NULL;
	}
}

static int __init null_init(void)
{
	int i, err;

	for (i = 0; i < NULL_DEVICES; i++) {
		struct net_device *dev = alloc_netdev(0, "null%d", NET_NAME_ENUM, null_setup);

		if (!dev) {
			null_unregister();
			return -ENOMEM;
		}
		err = register_netdev(dev);
		if (err) {
			free_netdev(dev);
			null_unregister();
			return err;
		}
		devices[i] = dev;
	}
	return 0;
}

static void __exit null_exit(void)
{
	null_unregister();
}

module_init(null_init);
module_exit(null_exit);
MODULE_DESCRIPTION("Network devices that free what they are given");
MODULE_LICENSE("GPL");
