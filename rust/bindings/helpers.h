/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Functions that make the kernel's static inlines and macros callable from
 * Rust. Each calls one of these. If it calls several, these are one step of the
 * hot path, which should cost one call.
 */
#ifndef OXNIC_HELPERS_H
#define OXNIC_HELPERS_H

#include <linux/ethtool.h>
#include <linux/hrtimer.h>
#include <linux/irq.h>
#include <linux/netdevice.h>
#include <linux/smp.h>
#include <net/page_pool/helpers.h>
#include <net/rtnetlink.h>
#include <net/xdp.h>
#include <net/xdp_sock_drv.h>

/* Bottom halves and RCU */
void oxnic_local_bh_disable(void);
void oxnic_local_bh_enable(void);
unsigned int oxnic_smp_processor_id(void);

/* net_device */
unsigned int oxnic_num_online_cpus(void);
const unsigned long *oxnic_cpumask_of(unsigned int cpu);
struct net_device *oxnic_alloc_etherdev_mqs(int sizeof_priv, const char *name,
					    unsigned char name_assign_type,
					    unsigned int txqs,
					    unsigned int rxqs);
struct net *oxnic_dev_net(const struct net_device *dev);
struct net_device *oxnic_netdev_get_by_name(const char *name,
					    netdevice_tracker *tracker);
void oxnic_netdev_hold(struct net_device *dev, netdevice_tracker *tracker);
void oxnic_netdev_put(struct net_device *dev, netdevice_tracker *tracker);
void oxnic_set_netdev_dev(struct net_device *dev, struct device *parent);
int oxnic_dma_reach_all(struct device *dev);
void oxnic_eth_hw_addr_set(struct net_device *dev, const u8 *addr);
void oxnic_eth_hw_addr_random(struct net_device *dev);
void oxnic_netif_tx_start_all_queues(struct net_device *dev);
void oxnic_netif_tx_stop_queue(struct net_device *dev, u16 queue);
void oxnic_netif_tx_start_queue(struct net_device *dev, u16 queue);
bool oxnic_netif_tx_queue_stopped(const struct net_device *dev, u16 queue);
void oxnic_netif_tx_wake_queue(struct net_device *dev, u16 queue);
void oxnic_netdev_add_flags(struct net_device *dev, u32 flags);
void oxnic_netdev_lockdep_set_classes(struct net_device *dev);
bool oxnic_netdev_need_ops_lock(const struct net_device *dev);
void oxnic_netdev_lock_ops_to_full(struct net_device *dev);
void oxnic_netdev_unlock_full_to_ops(struct net_device *dev);
void oxnic_netdev_lock(struct net_device *dev);
void oxnic_netdev_unlock(struct net_device *dev);
void oxnic_xdp_set_features(struct net_device *dev, xdp_features_t features);

/* debugfs */
void *oxnic_file_private_data(const struct file *file);

/* ethtool */
u32 *oxnic_rxfh_context_indir(struct ethtool_rxfh_context *context);
u8 *oxnic_rxfh_context_key(struct ethtool_rxfh_context *context);

/* Interrupts */
bool oxnic_irq_is_for_this_cpu(const struct irq_data *data);
unsigned int oxnic_cpumask_first(const struct cpumask *mask);
unsigned int oxnic_nr_cpu_ids(void);
void oxnic_irq_update_effective_affinity(struct irq_data *data,
					 const struct cpumask *mask);

/* NAPI */
void oxnic_napi_init(struct napi_struct *napi);
void oxnic_netif_napi_add_config(struct net_device *dev,
				 struct napi_struct *napi,
				 int (*poll)(struct napi_struct *napi,
					     int budget), int index);
void oxnic_netif_queue_set_napi(struct napi_struct *napi, bool set);
void oxnic_napi_schedule(struct napi_struct *napi);
void oxnic_napi_gro_receive(struct napi_struct *napi, struct sk_buff *skb);
void oxnic_napi_gro_flush(struct napi_struct *napi);

/* sk_buff */
void oxnic_skb_set_vlan_tag(struct sk_buff *skb, u16 proto, u16 tci);
void oxnic_skb_tx_timestamp(struct sk_buff *skb);
void oxnic_skb_hw_tx_timestamp(struct sk_buff *skb, u64 ns);
u32 oxnic_csum_copy(const void *from, void *to, int len, u32 sum, int offset);
void oxnic_skb_set_rx(struct sk_buff *skb, u32 hash, u32 hash_type,
		      bool csum_good);

/* page_pool */
void *oxnic_page_pool_alloc(struct page_pool *pool);
void *oxnic_page_pool_alloc_may_sleep(struct page_pool *pool);
void oxnic_page_pool_put(void *va);
void oxnic_page_pool_put_bulk(unsigned long *pages, u32 count);
void oxnic_page_pool_put_frag(const skb_frag_t *frag,
			      const struct napi_struct *napi);
bool oxnic_page_pool_owns(const struct page_pool *pool, const void *va);

/* XDP */
bool oxnic_xdp_run_has_extras(void);
int oxnic_xdp_do_redirect(struct net_device *dev, struct xdp_buff *xdp,
			  const struct bpf_prog *prog,
			  const struct page_pool *pool);
u32 oxnic_bpf_prog_run_xdp(const struct bpf_prog *prog, struct xdp_buff *xdp);
void oxnic_trace_xdp_exception(const struct net_device *dev,
			       const struct bpf_prog *prog, u32 act);
void *oxnic_skb_own_head(struct sk_buff *skb, u32 *len);
const void *oxnic_skb_metadata(const struct sk_buff *skb, u32 *len);
bool oxnic_skb_append_xdp(struct sk_buff *skb, const struct xdp_buff *xdp,
			  u32 skip);
bool oxnic_skb_set_tcp_gso(struct sk_buff *skb, u16 tcp, u16 size, u16 segs,
			   bool ipv6);
u32 oxnic_gro_limit(const struct net_device *dev);
bool oxnic_xdp_buff_add_frag(struct xdp_buff *xdp, void *va, u32 offset,
			     u32 len);
const struct skb_shared_info *
oxnic_xdp_buff_shared_info(const struct xdp_buff *xdp);
const struct skb_shared_info *
oxnic_xdp_frame_shared_info(const struct xdp_frame *frame);
u32 oxnic_xdp_frags_len(const struct skb_shared_info *info);
const void *oxnic_skb_frag_address(const skb_frag_t *frag);

/* AF_XDP: frames in umem, to which user space can write at any time */
int oxnic_xsk_dma_map(struct xsk_buff_pool *pool, struct net_device *dev);
bool oxnic_xsk_bounces_unaligned(const struct xsk_buff_pool *pool,
				 const struct net_device *dev);
void oxnic_xsk_dma_unmap(struct xsk_buff_pool *pool);
struct xsk_buff_pool *oxnic_xsk_pool_of(const struct net_device *dev, u16 queue);
u32 oxnic_xsk_frame_size(struct xsk_buff_pool *pool);
bool oxnic_xsk_has_sg(const struct xsk_buff_pool *pool);
int oxnic_xsk_rxq_reg(struct xdp_rxq_info *rxq, struct net_device *dev,
		      u32 queue, u32 frag_size);
void oxnic_xsk_set_rxq(struct xsk_buff_pool *pool, struct xdp_rxq_info *rxq);
u32 oxnic_xsk_frag_step(struct xsk_buff_pool *pool);
u32 oxnic_xsk_alloc(struct xsk_buff_pool *pool, struct xdp_buff **xdp,
		    u32 max);
void oxnic_xsk_free(struct xdp_buff *xdp);
void oxnic_xsk_free_frags(struct xdp_buff *xdp);
bool oxnic_xsk_add_frag(struct xdp_buff *xdp, struct xdp_buff *frag, u32 len);
bool oxnic_xsk_check_frags(struct xdp_buff *xdp);
u32 oxnic_xsk_len(const struct xdp_buff *xdp, u32 *buffers);
int oxnic_xsk_copy(const struct xdp_buff *xdp, u32 offset, void *to, u32 len);
struct sk_buff *oxnic_xdp_copy_linear(struct napi_struct *napi,
				      const struct xdp_buff *xdp);
struct sk_buff *oxnic_xdp_copy_skb(struct napi_struct *napi,
				   const struct xdp_buff *xdp);
struct sk_buff *oxnic_xsk_build_skb(struct napi_struct *napi,
				    const struct xdp_buff *xdp);
int oxnic_xsk_do_redirect(struct net_device *dev, struct xdp_buff *xdp,
			  const struct bpf_prog *prog);
void oxnic_umem_copy(void *to, const void *from, size_t len);
int oxnic_xsk_tx_copy(struct xsk_buff_pool *pool, u32 desc, u32 count,
		      u32 offset, void *to, u32 len);
int oxnic_xsk_tx_checksum(struct xsk_buff_pool *pool, u32 desc, u32 count,
			  u32 start, u8 *sum);
struct xsk_tx_metadata *
oxnic_xsk_tx_metadata(struct xsk_buff_pool *pool, u32 desc,
		      const struct xsk_tx_metadata_ops *ops, void *priv);
void oxnic_xsk_tx_complete(struct xsk_tx_metadata *meta,
			   const struct xsk_tx_metadata_ops *ops, void *priv);

/* The target that a program's redirect helper has set. */
struct oxnic_xdp_target {
	u32 map_type;
	u32 map_id;
	u64 index;
	bool broadcast;
};

void oxnic_xdp_get_target(struct oxnic_xdp_target *target);

/* Time */
u64 oxnic_ktime_get_tai_ns(void);
void oxnic_hrtimer_setup(struct hrtimer *timer,
			 enum hrtimer_restart (*callback)(struct hrtimer *),
			 bool soft);
void oxnic_hrtimer_start(struct hrtimer *timer, u64 ns, u64 slack, bool soft);

/* The parameter of the module, or NULL. */
extern char *oxnic_personality;

/* rtnetlink */
bool oxnic_nla_contains(const struct nlattr *nest, int type);
struct net *oxnic_newlink_link_net(struct rtnl_newlink_params *params);
void oxnic_nl_set_err_msg(struct netlink_ext_ack *extack, const char *msg);

#endif /* OXNIC_HELPERS_H */
