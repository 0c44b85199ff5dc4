// SPDX-License-Identifier: GPL-2.0
/*
 * The C side of the bindings: see helpers.h. No logic of the driver lives
 * here.
 */
#include <linux/bpf_trace.h>
#include <linux/cpumask.h>
#include <linux/etherdevice.h>
#include <linux/ethtool.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/if_vlan.h>
#include <linux/ipv6.h>
#include <linux/netdevice.h>
#include <linux/netlink.h>
#include <linux/nsproxy.h>
#include <linux/skbuff.h>
#include <linux/timekeeping.h>
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

/*
 * What is sent on the CPU of this number goes to the queue. Further queues
 * begin again at the first CPU.
 */
int oxnic_set_xps_queue(struct net_device *dev, u16 queue)
{
	const struct cpumask *cpu;
	int error;

	/* The CPU stays online until the map has it. */
	cpus_read_lock();
	cpu = cpumask_of(cpumask_local_spread(queue, NUMA_NO_NODE));
	error = __netif_set_xps_queue(dev, cpumask_bits(cpu), queue, XPS_CPUS);
	cpus_read_unlock();
	return error;
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

/* In the network namespace of the caller. */
struct net_device *oxnic_dev_get_by_name(const char *name)
{
	return dev_get_by_name(current->nsproxy->net_ns, name);
}

void oxnic_dev_hold(struct net_device *dev)
{
	dev_hold(dev);
}

void oxnic_dev_put(struct net_device *dev)
{
	dev_put(dev);
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

/* Tells whether the queue was stopped. */
bool oxnic_netif_tx_wake_queue(struct net_device *dev, u16 queue)
{
	struct netdev_queue *txq = netdev_get_tx_queue(dev, queue);
	bool stopped = netif_tx_queue_stopped(txq);

	netif_tx_wake_queue(txq);
	return stopped;
}

/*
 * The driver copies what it sends, so an skb may be shared (pktgen's clone_skb)
 * and the address may change while the interface is up. netpoll would send
 * with interrupts off, which a lock shared with softirqs cannot bear. A device
 * without a filter for unicast addresses is made promiscuous when it needs one.
 */
void oxnic_netdev_set_flags(struct net_device *dev, bool unicast_filter)
{
	dev->priv_flags |= IFF_LIVE_ADDR_CHANGE | IFF_TX_SKB_SHARING |
			   IFF_DISABLE_NETPOLL;
	if (unicast_filter)
		dev->priv_flags |= IFF_UNICAST_FLT;
}

/*
 * Callbacks are called under the lock of the device. When several devices are
 * closed at once the kernel holds the locks of all, which lockdep has to know.
 */
void oxnic_netdev_request_lock(struct net_device *dev)
{
	dev->request_ops_lock = true;
	netdev_lockdep_set_classes(dev);
}

void oxnic_netdev_lock(struct net_device *dev)
{
	netdev_lock(dev);
}

void oxnic_netdev_unlock(struct net_device *dev)
{
	netdev_unlock(dev);
}

/*
 * What the stack makes use of follows the limit up and down, unless the user
 * has lowered it.
 */
void oxnic_netif_set_max_segs(struct net_device *dev, u32 segs)
{
	bool follows = READ_ONCE(dev->gso_max_segs) == dev->tso_max_segs;

	netif_set_tso_max_segs(dev, segs);
	if (follows)
		WRITE_ONCE(dev->gso_max_segs, segs);
}

/*
 * Whether segmentation finds the TCP header: not after IPv6 extension headers,
 * nor in PPPoE (pppoe_gro_receive() merges such frames), nor after more than
 * two VLAN tags; @tags more are inserted later. The skb does not tell where IP
 * starts: skb_vlan_push() moves its network header too.
 */
static bool can_segment(const struct sk_buff *skb, int tags)
{
	int offset = 2 * ETH_ALEN;
	const struct ipv6hdr *ipv6;
	struct ipv6hdr ipv6_copy;
	__be16 type_copy;
	const __be16 *type;

	for (;;) {
		type = skb_header_pointer(skb, offset, sizeof(*type),
					  &type_copy);
		if (!type)
			return false;
		if (!eth_type_vlan(*type))
			break;
		tags++;
		if (tags > 2)
			return false;
		offset += VLAN_HLEN;
	}
	if (*type == htons(ETH_P_IP))
		return true;
	if (*type != htons(ETH_P_IPV6))
		return false;
	ipv6 = skb_header_pointer(skb, offset + sizeof(*type), sizeof(*ipv6),
				  &ipv6_copy);
	return ipv6 && ipv6->nexthdr == IPPROTO_TCP;
}

/*
 * The features that the stack may use for this skb. A tag beside the frame is
 * one more in it if the stack puts it in, which comes after this.
 */
netdev_features_t oxnic_features_check(struct sk_buff *skb,
				       struct net_device *dev,
				       netdev_features_t features)
{
	bool insert = skb_vlan_tag_present(skb) &&
		      !vlan_hw_offload_capable(features, skb->vlan_proto);

	if (skb_is_gso(skb) && !can_segment(skb, insert))
		return features & ~NETIF_F_GSO_MASK;
	return features;
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

/* The thread does not leave its CPU, or does not mind. */
bool oxnic_irq_is_for_this_cpu(const struct irq_data *data)
{
	return cpumask_test_cpu(raw_smp_processor_id(),
				data->common->affinity);
}

/* Returns the first CPU, or an error. */
int oxnic_irq_set_effective(struct irq_data *data, const struct cpumask *mask)
{
	unsigned int cpu = cpumask_first(mask);

	if (cpu >= nr_cpu_ids)
		return -EINVAL;
	irq_data_update_effective_affinity(data, mask);
	return cpu;
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

/*
 * Hands over to the stack what GRO holds. The caller has disabled the NAPI, so
 * no poll is at its lists.
 */
void oxnic_napi_gro_flush(struct napi_struct *napi)
{
	LIST_HEAD(skbs);

	local_bh_disable();
	napi_gro_flush(napi, false);
	list_splice_init(&napi->gro.rx_list, &skbs);
	napi->gro.rx_count = 0;
	netif_receive_skb_list(&skbs);
	local_bh_enable();
}

static bool checksum_is_inside(const struct sk_buff *skb)
{
	int start = skb_checksum_start_offset(skb);

	return start >= 0 && start <= skb_headlen(skb) &&
	       start + skb->csum_offset + sizeof(__sum16) <= skb->len;
}

/*
 * Copies the whole frame, also from page fragments and fragment lists, and
 * fills in a checksum that the stack left to the device.
 */
int oxnic_skb_copy(const struct sk_buff *skb, u8 *to)
{
	__sum16 *sum;

	if (skb->ip_summed == CHECKSUM_PARTIAL) {
		if (unlikely(!checksum_is_inside(skb)))
			return -EINVAL;
		skb_copy_and_csum_dev(skb, to);
		sum = (__sum16 *)(to + skb_checksum_start_offset(skb) +
				  skb->csum_offset);
		/* UDP calls a sum of zero no checksum at all. */
		if (!*sum)
			*sum = CSUM_MANGLED_0;
		return 0;
	}
	return skb_copy_bits(skb, 0, to, skb->len);
}

/*
 * The checksum that the stack left to the device, for an skb with
 * CHECKSUM_PARTIAL, and where in the frame it belongs.
 */
int oxnic_skb_checksum(const struct sk_buff *skb, unsigned int *offset,
		       u8 *sum)
{
	int start = skb_checksum_start_offset(skb);
	__sum16 folded;

	if (unlikely(!checksum_is_inside(skb)))
		return -EINVAL;
	folded = csum_fold(skb_checksum(skb, start, skb->len - start, 0));
	/* UDP calls a sum of zero no checksum at all. */
	if (!folded)
		folded = CSUM_MANGLED_0;
	*offset = start + skb->csum_offset;
	memcpy(sum, &folded, sizeof(folded));
	return 0;
}

/* Adds up big-endian words. */
u16 oxnic_skb_sum(const struct sk_buff *skb, u32 offset, u32 len)
{
	__sum16 sum = csum_fold(skb_checksum(skb, offset, len, 0));

	return ntohs(~(__force __be16)sum);
}

u16 oxnic_skb_copy_and_sum(const struct sk_buff *skb, u32 offset, u8 *to,
			   u32 len)
{
	__sum16 sum = csum_fold(skb_copy_and_csum_bits(skb, offset, to, len));

	return ntohs(~(__force __be16)sum);
}

void oxnic_skb_set_vlan_tag(struct sk_buff *skb, u16 proto, u16 tci)
{
	__vlan_hwaccel_put_tag(skb, htons(proto), tci);
}

void oxnic_skb_tx_timestamp(struct sk_buff *skb)
{
	skb_tx_timestamp(skb);
}

void oxnic_skb_set_rx(struct sk_buff *skb, u32 hash, u32 hash_type,
		      bool csum_good)
{
	if (hash_type != PKT_HASH_TYPE_NONE)
		skb_set_hash(skb, hash, hash_type);
	if (csum_good)
		skb->ip_summed = CHECKSUM_UNNECESSARY;
}

/*
 * Without memory it fails, quietly and without killing anybody for it. It takes none of the
 * reserves for those who free memory (pfmemalloc), not even in a softirq that interrupts such a
 * task. Fault injection can make it fail too: it does not reach into page_pool_alloc_pages(), where
 * the same is inlined.
 */
void *oxnic_page_pool_alloc(struct page_pool *pool, bool may_sleep)
{
	gfp_t gfp = may_sleep ? GFP_KERNEL | __GFP_RETRY_MAYFAIL : GFP_ATOMIC;
	netmem_ref netmem;

	gfp |= __GFP_NOMEMALLOC | __GFP_NOWARN;
	netmem = page_pool_alloc_netmems(pool, gfp);
	return netmem ? page_address(netmem_to_page(netmem)) : NULL;
}

void oxnic_page_pool_put(void *va)
{
	netmem_ref netmem = page_to_netmem(virt_to_page(va));

	page_pool_put_full_netmem(netmem_get_pp(netmem), netmem, false);
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

/* The page goes over to the frame unless that has no place for it. */
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

/* Fails if there are not as many bytes. */
int oxnic_xdp_frags_copy(const struct skb_shared_info *info, size_t offset,
			 u8 *to, size_t len)
{
	unsigned int i;

	for (i = 0; i < info->nr_frags && len; i++) {
		const skb_frag_t *frag = &info->frags[i];
		size_t size = skb_frag_size(frag);
		size_t part;

		if (offset >= size) {
			offset -= size;
			continue;
		}
		part = min(size - offset, len);
		memcpy(to, skb_frag_address(frag) + offset, part);
		to += part;
		len -= part;
		offset = 0;
	}
	return len ? -EINVAL : 0;
}

/* Gives the pages behind the first back; from inside the poll of @napi if any. */
void oxnic_xdp_buff_put_frags(const struct napi_struct *napi,
			      struct xdp_buff *xdp)
{
	struct skb_shared_info *info = xdp_get_shared_info_from_buff(xdp);
	unsigned int i;

	for (i = 0; i < info->nr_frags; i++) {
		netmem_ref netmem = skb_frag_netmem(&info->frags[i]);
		struct page_pool *pool = netmem_get_pp(netmem);

		page_pool_put_full_netmem(pool, netmem,
					  napi && pool->p.napi == napi);
	}
	xdp_buff_clear_frags_flag(xdp);
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

u64 oxnic_ktime_get_tai_ns(void)
{
	return ktime_get_clocktai_ns();
}

void oxnic_hrtimer_setup(struct hrtimer *timer,
			 enum hrtimer_restart (*callback)(struct hrtimer *))
{
	hrtimer_setup(timer, callback, CLOCK_MONOTONIC, HRTIMER_MODE_REL);
}

void oxnic_hrtimer_start(struct hrtimer *timer, u64 ns, u64 slack)
{
	hrtimer_start_range_ns(timer, ns_to_ktime(ns), slack, HRTIMER_MODE_REL);
}

/* Whether there is such an attribute among those in @nest. */
bool oxnic_nla_contains(const struct nlattr *nest, int type)
{
	return nla_find_nested(nest, type);
}

struct net *oxnic_newlink_link_net(struct rtnl_newlink_params *params)
{
	return rtnl_newlink_link_net(params);
}

/*
 * Copies the text into the buffer of the extack: it is read after the
 * callback returned, perhaps after the module is gone.
 */
void oxnic_nl_set_err_msg(struct netlink_ext_ack *extack, const char *msg)
{
	NL_SET_ERR_MSG_FMT(extack, "%s", msg);
}
