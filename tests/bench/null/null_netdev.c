// SPDX-License-Identifier: GPL-2.0
/*
 * A network device that frees what it is given and does nothing else: null0, null1 ...
 * What a source costs alone is measured against it, and it ends redirects in the benchmarks.
 *
 * For AF_XDP sockets in zero-copy mode it does what no driver can do without. It reads what they
 * send, and completes it. When a socket that receives wakes it, it fills all buffers of the fill
 * ring, and runs an XDP program on them that redirects to the socket.
 */

#include <linux/bpf_trace.h>
#include <linux/device/faux.h>
#include <linux/dma-mapping.h>
#include <linux/etherdevice.h>
#include <linux/module.h>
#include <linux/netdevice.h>
#include <net/xdp.h>
#include <net/xdp_sock_drv.h>

#define NULL_DEVICES 2
/* Descriptors that are read and completed together. */
#define NULL_BATCH 64

static struct net_device *devices[NULL_DEVICES];
/* The kernel demands that the memory of sockets is mapped for DMA by a device. */
static struct faux_device *parent;
/* The rings of a socket have one user at a time. */
static DEFINE_SPINLOCK(xsk_lock);

struct null_priv {
	struct bpf_prog *prog;
	struct xdp_rxq_info rxq;
};

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

static int null_attach_pool(struct net_device *dev, struct xsk_buff_pool *pool)
{
	struct null_priv *priv = netdev_priv(dev);
	int err;

	err = xdp_rxq_info_reg(&priv->rxq, dev, 0, 0);
	if (err)
		return err;
	err = xdp_rxq_info_reg_mem_model(&priv->rxq, MEM_TYPE_XSK_BUFF_POOL, NULL);
	if (!err)
		err = xsk_pool_dma_map(pool, &parent->dev, DMA_ATTR_SKIP_CPU_SYNC);
	if (err) {
		xdp_rxq_info_unreg(&priv->rxq);
		return err;
	}
	xsk_pool_set_rxq_info(pool, &priv->rxq);
	if (xsk_uses_need_wakeup(pool))
		xsk_set_rx_need_wakeup(pool);
	return 0;
}

static void null_detach_pool(struct net_device *dev, struct xsk_buff_pool *pool)
{
	struct null_priv *priv = netdev_priv(dev);

	/* Until a caller of null_xsk_wakeup() that has found the pool is done with it. */
	synchronize_net();
	xsk_pool_dma_unmap(pool, DMA_ATTR_SKIP_CPU_SYNC);
	xdp_rxq_info_unreg(&priv->rxq);
}

static int null_bpf(struct net_device *dev, struct netdev_bpf *bpf)
{
	struct null_priv *priv = netdev_priv(dev);
	struct xsk_buff_pool *pool;
	struct bpf_prog *old;

	switch (bpf->command) {
	case XDP_SETUP_PROG:
		old = xchg(&priv->prog, bpf->prog);
		if (old)
			bpf_prog_put(old);
		return 0;
	case XDP_SETUP_XSK_POOL:
		if (bpf->xsk.pool)
			return null_attach_pool(dev, bpf->xsk.pool);
		pool = xsk_get_pool_from_qid(dev, bpf->xsk.queue_id);
		if (pool)
			null_detach_pool(dev, pool);
		return 0;
	default:
		return -EINVAL;
	}
}

static void null_receive(struct net_device *dev, struct xsk_buff_pool *pool)
{
	struct bpf_net_context context, *bpf_net_ctx;
	struct null_priv *priv = netdev_priv(dev);
	struct bpf_prog *prog = READ_ONCE(priv->prog);
	struct xdp_buff *buffs[NULL_BATCH];
	u32 i, count;

	if (!prog)
		return;
	bpf_net_ctx = bpf_net_ctx_set(&context);
	while ((count = xsk_buff_alloc_batch(pool, buffs, NULL_BATCH))) {
		for (i = 0; i < count; i++) {
			xsk_buff_set_size(buffs[i], ETH_ZLEN);
			if (bpf_prog_run_xdp(prog, buffs[i]) != XDP_REDIRECT)
				xsk_buff_free(buffs[i]);
			else
				/* Frees the buffer if it fails, see xsk_rcv_zc(). */
				xdp_do_redirect(dev, buffs[i], prog);
		}
		xdp_do_flush();
	}
	bpf_net_ctx_clear(bpf_net_ctx);
}

/* The caller is in an RCU read-side critical section. */
static int null_xsk_wakeup(struct net_device *dev, u32 queue, u32 flags)
{
	struct xsk_buff_pool *pool = xsk_get_pool_from_qid(dev, queue);
	u32 count;

	if (!pool)
		return -EINVAL;
	spin_lock_bh(&xsk_lock);
	if (flags & XDP_WAKEUP_RX)
		null_receive(dev, pool);
	if (flags & XDP_WAKEUP_TX) {
		while ((count = xsk_tx_peek_release_desc_batch(pool, NULL_BATCH)))
			xsk_tx_completed(pool, count);
	}
	spin_unlock_bh(&xsk_lock);
	return 0;
}

static const struct net_device_ops null_ops = {
	.ndo_start_xmit = null_start_xmit,
	.ndo_xdp_xmit = null_xdp_xmit,
	.ndo_bpf = null_bpf,
	.ndo_xsk_wakeup = null_xsk_wakeup,
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
	xdp_set_features_flag(dev, NETDEV_XDP_ACT_NDO_XMIT | NETDEV_XDP_ACT_XSK);
	SET_NETDEV_DEV(dev, &parent->dev);
}

static void null_unregister(void)
{
	int i;

	for (i = 0; i < NULL_DEVICES; i++) {
		if (devices[i])
			unregister_netdev(devices[i]);
		devices[i] = NULL;
	}
	faux_device_destroy(parent);
}

static int __init null_init(void)
{
	int i, err;

	parent = faux_device_create("null_netdev", NULL, NULL);
	if (!parent)
		return -ENODEV;
	err = dma_coerce_mask_and_coherent(&parent->dev, DMA_BIT_MASK(64));
	if (err) {
		faux_device_destroy(parent);
		return err;
	}

	for (i = 0; i < NULL_DEVICES; i++) {
		struct net_device *dev = alloc_netdev(sizeof(struct null_priv), "null%d",
						      NET_NAME_ENUM, null_setup);

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
