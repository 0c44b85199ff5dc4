// SPDX-License-Identifier: GPL-2.0
/*
 * The C side of the bindings: see helpers.h.
 */
#include <linux/bpf_trace.h>
#include <linux/cpumask.h>
#include <linux/dma-mapping.h>
#include <linux/etherdevice.h>
#include <linux/ethtool.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/if_vlan.h>
#include <linux/netdevice.h>
#include <linux/netlink.h>
#include <linux/nsproxy.h>
#include <linux/skbuff.h>
#include <linux/tcp.h>
#include <linux/timekeeping.h>
#include <net/checksum.h>
#include <net/gro.h>
#include <net/netdev_lock.h>
#include <net/netlink.h>

#include "helpers.h"

void oxnic_local_bh_disable(void)
{
	local_bh_disable();
}

void oxnic_local_bh_enable(void)
{
	local_bh_enable();
}

unsigned int oxnic_smp_processor_id(void)
{
	return smp_processor_id();
}

unsigned int oxnic_num_online_cpus(void)
{
	return num_online_cpus();
}

const unsigned long *oxnic_cpumask_of(unsigned int cpu)
{
	return cpumask_bits(cpumask_of(cpu));
}

unsigned int oxnic_cpumask_first(const struct cpumask *mask)
{
	return cpumask_first(mask);
}

unsigned int oxnic_nr_cpu_ids(void)
{
	return nr_cpu_ids;
}

struct net_device *oxnic_alloc_etherdev_mqs(int sizeof_priv, const char *name,
					    unsigned char name_assign_type,
					    unsigned int txqs,
					    unsigned int rxqs)
{
	return alloc_netdev_mqs(sizeof_priv, name, name_assign_type,
				ether_setup, txqs, rxqs);
}

struct net *oxnic_dev_net(const struct net_device *dev)
{
	return dev_net(dev);
}

/* Looks in the network namespace of the caller. */
struct net_device *oxnic_netdev_get_by_name(const char *name,
					    netdevice_tracker *tracker)
{
	return netdev_get_by_name(current->nsproxy->net_ns, name, tracker,
				  GFP_KERNEL);
}

void oxnic_netdev_hold(struct net_device *dev, netdevice_tracker *tracker)
{
	netdev_hold(dev, tracker, GFP_ATOMIC);
}

void oxnic_netdev_put(struct net_device *dev, netdevice_tracker *tracker)
{
	netdev_put(dev, tracker);
}

void oxnic_set_netdev_dev(struct net_device *dev, struct device *parent)
{
	SET_NETDEV_DEV(dev, parent);
}

int oxnic_dma_reach_all(struct device *dev)
{
	return dma_coerce_mask_and_coherent(dev, DMA_BIT_MASK(64));
}

void oxnic_eth_hw_addr_set(struct net_device *dev, const u8 *addr)
{
	eth_hw_addr_set(dev, addr);
}

void oxnic_eth_hw_addr_random(struct net_device *dev)
{
	eth_hw_addr_random(dev);
}

void oxnic_netif_tx_start_all_queues(struct net_device *dev)
{
	netif_tx_start_all_queues(dev);
}

void oxnic_netif_tx_stop_queue(struct net_device *dev, u16 queue)
{
	netif_tx_stop_queue(netdev_get_tx_queue(dev, queue));
}

void oxnic_netif_tx_start_queue(struct net_device *dev, u16 queue)
{
	netif_tx_start_queue(netdev_get_tx_queue(dev, queue));
}

bool oxnic_netif_tx_queue_stopped(const struct net_device *dev, u16 queue)
{
	return netif_tx_queue_stopped(netdev_get_tx_queue(dev, queue));
}

void oxnic_netif_tx_wake_queue(struct net_device *dev, u16 queue)
{
	netif_tx_wake_queue(netdev_get_tx_queue(dev, queue));
}

void oxnic_netdev_add_flags(struct net_device *dev, u32 flags)
{
	dev->priv_flags |= flags;
}

void oxnic_netdev_lockdep_set_classes(struct net_device *dev)
{
	netdev_lockdep_set_classes(dev);
}

bool oxnic_netdev_need_ops_lock(const struct net_device *dev)
{
	return netdev_need_ops_lock(dev);
}

void oxnic_netdev_lock_ops_to_full(struct net_device *dev)
{
	netdev_lock_ops_to_full(dev);
}

void oxnic_netdev_unlock_full_to_ops(struct net_device *dev)
{
	netdev_unlock_full_to_ops(dev);
}

void oxnic_netdev_lock(struct net_device *dev)
{
	netdev_lock(dev);
}

void oxnic_netdev_unlock(struct net_device *dev)
{
	netdev_unlock(dev);
}

void oxnic_xdp_set_features(struct net_device *dev, xdp_features_t features)
{
	xdp_set_features_flag(dev, features);
}

void *oxnic_file_private_data(const struct file *file)
{
	return file->private_data;
}

u32 *oxnic_rxfh_context_indir(struct ethtool_rxfh_context *context)
{
	return ethtool_rxfh_context_indir(context);
}

u8 *oxnic_rxfh_context_key(struct ethtool_rxfh_context *context)
{
	return ethtool_rxfh_context_key(context);
}

/* The caller stays on its CPU, or does not need an exact answer. */
bool oxnic_irq_is_for_this_cpu(const struct irq_data *data)
{
	return cpumask_test_cpu(raw_smp_processor_id(),
				data->common->affinity);
}

void oxnic_irq_update_effective_affinity(struct irq_data *data,
					 const struct cpumask *mask)
{
	irq_data_update_effective_affinity(data, mask);
}

/*
 * A NAPI that has not been added to its device: like one that is disabled, it
 * cannot be scheduled, and no CPU polls it.
 */
void oxnic_napi_init(struct napi_struct *napi)
{
	memset(napi, 0, sizeof(*napi));
	napi->state = NAPIF_STATE_SCHED;
	napi->list_owner = -1;
}

void oxnic_netif_napi_add_config(struct net_device *dev,
				 struct napi_struct *napi,
				 int (*poll)(struct napi_struct *napi,
					     int budget), int index)
{
	netif_napi_add_config_locked(dev, napi, poll, index);
}

/* Receive queue and NAPI have the same index. */
void oxnic_netif_queue_set_napi(struct napi_struct *napi, bool set)
{
	netif_queue_set_napi(napi->dev, napi->index, NETDEV_QUEUE_TYPE_RX,
			     set ? napi : NULL);
}

void oxnic_napi_schedule(struct napi_struct *napi)
{
	napi_schedule(napi);
}

void oxnic_napi_gro_receive(struct napi_struct *napi, struct sk_buff *skb)
{
	napi_gro_receive(napi, skb);
}

void oxnic_napi_gro_flush(struct napi_struct *napi)
{
	napi_gro_flush(napi, false);
}

void oxnic_skb_set_vlan_tag(struct sk_buff *skb, u16 proto, u16 tci)
{
	__vlan_hwaccel_put_tag(skb, htons(proto), tci);
}

void oxnic_skb_tx_timestamp(struct sk_buff *skb)
{
	skb_tx_timestamp(skb);
}

/*
 * The time of sending by the clock of the device, for an skb whose sender has
 * asked for that. The flag keeps skb_tx_timestamp() from reporting another time,
 * by the clock of the kernel, unless the sender has asked for both.
 */
void oxnic_skb_hw_tx_timestamp(struct sk_buff *skb, u64 ns)
{
	struct skb_shared_hwtstamps stamps = { .hwtstamp = ns_to_ktime(ns) };
	struct skb_shared_info *info = skb_shinfo(skb);
	bool asked = info->tx_flags & SKBTX_HW_TSTAMP;

	if (asked)
		info->tx_flags |= SKBTX_IN_PROGRESS;
	skb_tx_timestamp(skb);
	if (asked)
		skb_tstamp_tx(skb, &stamps);
}

/*
 * Copies bytes, and adds their sum to that of the @offset bytes before them, as
 * skb_copy_and_csum_bits() does for each piece of an skb.
 */
u32 oxnic_csum_copy(const void *from, void *to, int len, u32 sum, int offset)
{
	__wsum piece = csum_partial_copy_nocheck(from, to, len);

	return (__force u32)csum_block_add((__force __wsum)sum, piece, offset);
}

/* One call for each frame that goes to the stack. */
void oxnic_skb_set_rx(struct sk_buff *skb, u32 hash, u32 hash_type,
		      bool csum_good)
{
	if (hash_type != PKT_HASH_TYPE_NONE)
		skb_set_hash(skb, hash, hash_type);
	if (csum_good)
		skb->ip_summed = CHECKSUM_UNNECESSARY;
}

/*
 * The linear part of a received skb, from its Ethernet header on, if nobody
 * else has a reference to the skb or to its data, and so may read it.
 */
void *oxnic_skb_own_head(struct sk_buff *skb, u32 *len)
{
	if (skb_shared(skb) || skb_cloned(skb) ||
	    !skb_mac_header_was_set(skb))
		return NULL;
	*len = skb_tail_pointer(skb) - skb_mac_header(skb);
	return skb_mac_header(skb);
}

/* The metadata that a program has put in front of a received frame. */
const void *oxnic_skb_metadata(const struct sk_buff *skb, u32 *len)
{
	*len = skb_metadata_len(skb);
	return (u8 *)skb_metadata_end(skb) - *len;
}

/*
 * Adds the bytes of a frame after the first @skip to an skb, as fragments. If it
 * succeeds, the skb owns all pages of the frame. The skb must free its pages to
 * page_pools (pp_recycle), and nobody else may refer to it.
 */
bool oxnic_skb_append_xdp(struct sk_buff *skb, const struct xdp_buff *xdp,
			  u32 skip)
{
	u32 len = xdp->data_end - xdp->data;
	const struct skb_shared_info *from = NULL;
	u32 n = skb_shinfo(skb)->nr_frags;
	u32 more = 0;
	u32 i;

	if (unlikely(xdp_buff_has_frags(xdp))) {
		from = xdp_get_shared_info_from_buff(xdp);
		more = from->nr_frags;
	}
	if (len <= skip || n + 1 + more > MAX_SKB_FRAGS)
		return false;
	if (unlikely(!skb->pp_recycle || skb_shared(skb) || skb_cloned(skb)))
		return false;
	skb_add_rx_frag_netmem(skb, n,
			       page_to_netmem(virt_to_page(xdp->data_hard_start)),
			       xdp->data + skip - xdp->data_hard_start,
			       len - skip, xdp->frame_sz);
	for (i = 0; i < more; i++) {
		const skb_frag_t *frag = &from->frags[i];

		skb_add_rx_frag_netmem(skb, n + 1 + i, skb_frag_netmem(frag),
				       skb_frag_off(frag), skb_frag_size(frag),
				       xdp->frame_sz);
	}
	return true;
}

/*
 * Marks a received skb as one TCP packet that several were merged to. @tcp is the
 * offset of the TCP header from the Ethernet header. Returns false, and does
 * nothing, if that is not in the linear part.
 */
bool oxnic_skb_set_tcp_gso(struct sk_buff *skb, u16 tcp, u16 size, u16 segs,
			   bool ipv6)
{
	u16 start = skb_mac_header(skb) + tcp - skb->data;

	if (!skb_partial_csum_set(skb, start, offsetof(struct tcphdr, check)))
		return false;
	skb_shinfo(skb)->gso_size = size;
	skb_shinfo(skb)->gso_segs = segs;
	skb_shinfo(skb)->gso_type = ipv6 ? SKB_GSO_TCPV6 : SKB_GSO_TCPV4;
	return true;
}

/*
 * IP packets that are merged of several must have fewer bytes. 0: GRO does not
 * merge packets of the device (netif_elide_gro()), or makes lists of them, which
 * must be the single ones.
 */
u32 oxnic_gro_limit(const struct net_device *dev)
{
	if (netif_elide_gro(dev) || dev->features & NETIF_F_GRO_FRAGLIST)
		return 0;
	return min3(READ_ONCE(dev->gro_max_size),
		    READ_ONCE(dev->gro_ipv4_max_size),
		    (unsigned int)GRO_LEGACY_MAX_SIZE);
}

/*
 * Without memory it fails, without a warning and without the OOM killer. It
 * does not use the memory reserves (pfmemalloc), not even in a softirq that
 * interrupts a task which may. Fault injection can make it fail, as it could not
 * with page_pool_alloc_pages(), into which the same function is inlined. The
 * pools have pages only: none is made with PP_FLAG_ALLOW_UNREADABLE_NETMEM.
 */
static __always_inline void *pool_alloc(struct page_pool *pool, gfp_t gfp)
{
	netmem_ref netmem;

	gfp |= __GFP_NOMEMALLOC | __GFP_NOWARN;
	netmem = page_pool_alloc_netmems(pool, gfp);
	return netmem ? page_address(__netmem_to_page(netmem)) : NULL;
}

void *oxnic_page_pool_alloc(struct page_pool *pool)
{
	return pool_alloc(pool, GFP_ATOMIC);
}

void *oxnic_page_pool_alloc_may_sleep(struct page_pool *pool)
{
	return pool_alloc(pool, GFP_KERNEL | __GFP_RETRY_MAYFAIL);
}

void oxnic_page_pool_put(void *va)
{
	netmem_ref netmem = page_to_netmem(virt_to_page(va));

	page_pool_put_full_netmem(__netmem_get_pp(netmem), netmem, false);
}

/*
 * Returns pages to their pools, which need not be the same. @pages has an
 * address in each, and is overwritten.
 */
void oxnic_page_pool_put_bulk(unsigned long *pages, u32 count)
{
	netmem_ref *netmems = (netmem_ref *)pages;
	u32 i;

	for (i = 0; i < count; i++)
		netmems[i] = virt_to_netmem((void *)pages[i]);
	page_pool_put_netmem_bulk(netmems, count);
}

/*
 * Returns the page of a fragment, directly to the pool's cache if this is the
 * poll of its NAPI, which @napi then is. One call for each fragment.
 */
void oxnic_page_pool_put_frag(const skb_frag_t *frag,
			      const struct napi_struct *napi)
{
	netmem_ref netmem = skb_frag_netmem(frag);
	struct page_pool *pool = netmem_get_pp(netmem);

	page_pool_put_full_netmem(pool, netmem, napi && pool->p.napi == napi);
}

static bool page_pool_owns(const struct page_pool *pool, const void *va)
{
	return __netmem_get_pp(page_to_netmem(virt_to_page(va))) == pool;
}

bool oxnic_page_pool_owns(const struct page_pool *pool, const void *va)
{
	return page_pool_owns(pool, va);
}

/*
 * One call for each redirected frame, which must be in a page of the poll's own
 * pool: see rust/net/xdp/redirect.rs.
 */
int oxnic_xdp_do_redirect(struct net_device *dev, struct xdp_buff *xdp,
			  const struct bpf_prog *prog,
			  const struct page_pool *pool)
{
	if (unlikely(!page_pool_owns(pool, xdp->data_hard_start)))
		return -EINVAL;
	return xdp_do_redirect(dev, xdp, prog);
}

/* The static keys that bpf_prog_run_xdp() checks for each frame. */
bool oxnic_xdp_run_has_extras(void)
{
	return static_branch_unlikely(&bpf_stats_enabled_key) ||
	       static_branch_unlikely(&bpf_master_redirect_enabled_key);
}

u32 oxnic_bpf_prog_run_xdp(const struct bpf_prog *prog, struct xdp_buff *xdp)
{
	return bpf_prog_run_xdp(prog, xdp);
}

void oxnic_trace_xdp_exception(const struct net_device *dev,
			       const struct bpf_prog *prog, u32 act)
{
	trace_xdp_exception(dev, prog, act);
}

/* If it succeeds, the frame owns the page. */
bool oxnic_xdp_buff_add_frag(struct xdp_buff *xdp, void *va, u32 offset,
			     u32 len)
{
	return xdp_buff_add_frag(xdp, page_to_netmem(virt_to_page(va)), offset,
				 len, PAGE_SIZE);
}

const struct skb_shared_info *
oxnic_xdp_buff_shared_info(const struct xdp_buff *xdp)
{
	return xdp_get_shared_info_from_buff(xdp);
}

const struct skb_shared_info *
oxnic_xdp_frame_shared_info(const struct xdp_frame *frame)
{
	return xdp_get_shared_info_from_frame(frame);
}

u32 oxnic_xdp_frags_len(const struct skb_shared_info *info)
{
	return info->xdp_frags_size;
}

const void *oxnic_skb_frag_address(const skb_frag_t *frag)
{
	return skb_frag_address(frag);
}

void oxnic_xdp_get_target(struct oxnic_xdp_target *target)
{
	const struct bpf_redirect_info *ri = bpf_net_ctx_get_ri();

	*target = (struct oxnic_xdp_target){
		.map_type = ri->map_type,
		.map_id = ri->map_id,
		.index = ri->tgt_index,
		.broadcast = ri->flags & BPF_F_BROADCAST,
	};
}

/*
 * A new skb with a copy of the first buffer of a frame, and of the metadata in
 * front of it. What it needs for the stack is left to the caller.
 */
struct sk_buff *oxnic_xdp_copy_linear(struct napi_struct *napi,
				      const struct xdp_buff *xdp)
{
	u32 metalen = xdp->data - xdp->data_meta;
	u32 len = xdp->data_end - xdp->data_meta;
	struct sk_buff *skb;

	skb = napi_alloc_skb(napi, len);
	if (unlikely(!skb))
		return NULL;
	memcpy(__skb_put(skb, len), xdp->data_meta, len);
	if (metalen) {
		skb_metadata_set(skb, metalen);
		__skb_pull(skb, metalen);
	}
	return skb;
}

/*
 * Copies a frame in a single buffer to a small skb, with the metadata in front
 * of it. Otherwise like xdp_build_skb_from_buff(), which keeps the buffer.
 */
struct sk_buff *oxnic_xdp_copy_skb(struct napi_struct *napi,
				   const struct xdp_buff *xdp)
{
	struct sk_buff *skb = oxnic_xdp_copy_linear(napi, xdp);

	if (unlikely(!skb))
		return NULL;
	skb_record_rx_queue(skb, xdp->rxq->queue_index);
	skb->protocol = eth_type_trans(skb, xdp->rxq->dev);
	return skb;
}

u64 oxnic_ktime_get_tai_ns(void)
{
	return ktime_get_clocktai_ns();
}

void oxnic_hrtimer_setup(struct hrtimer *timer,
			 enum hrtimer_restart (*callback)(struct hrtimer *),
			 bool soft)
{
	hrtimer_setup(timer, callback, CLOCK_MONOTONIC,
		      soft ? HRTIMER_MODE_REL_SOFT : HRTIMER_MODE_REL);
}

void oxnic_hrtimer_start(struct hrtimer *timer, u64 ns, u64 slack, bool soft)
{
	hrtimer_start_range_ns(timer, ns_to_ktime(ns), slack,
			       soft ? HRTIMER_MODE_REL_SOFT : HRTIMER_MODE_REL);
}

/* Whether @nest contains an attribute of this type. */
bool oxnic_nla_contains(const struct nlattr *nest, int type)
{
	return nla_find_nested(nest, type);
}

struct net *oxnic_newlink_link_net(struct rtnl_newlink_params *params)
{
	return rtnl_newlink_link_net(params);
}

/*
 * Copies the text: the extack is read after the callback has returned, perhaps
 * when the module is unloaded.
 */
void oxnic_nl_set_err_msg(struct netlink_ext_ack *extack, const char *msg)
{
	NL_SET_ERR_MSG_FMT(extack, "%s", msg);
}
