// SPDX-License-Identifier: GPL-2.0
/*
 * The helpers for AF_XDP: frames in umem, to which user space can write at any
 * time.
 */
#include <linux/dma-mapping.h>
#include <linux/etherdevice.h>
#include <linux/filter.h>
#include <linux/netdevice.h>
#include <linux/skbuff.h>
#include <linux/swiotlb.h>
#include <net/netdev_rx_queue.h>
#include <net/xdp_sock_drv.h>

#include "helpers.h"

/*
 * The simulated card accesses umem by the CPU. Where DMA goes through bounce
 * buffers (swiotlb), unmapping must not copy theirs to umem: they have its content
 * of the time of the mapping.
 */
#define XSK_DMA_ATTRS DMA_ATTR_SKIP_CPU_SYNC

int oxnic_xsk_dma_map(struct xsk_buff_pool *pool, struct net_device *dev)
{
	if (!dev->dev.parent)
		return -EOPNOTSUPP;
	return xsk_pool_dma_map(pool, dev->dev.parent, XSK_DMA_ATTRS);
}

/*
 * Whether umem is mapped, but its buffers cannot be used: they need not be in one
 * page, and DMA goes through bounce buffers. Each page has one of its own. Two that
 * are next to each other look like pages that are, so the kernel accepts a buffer
 * in both. When it syncs that, swiotlb warns of an overflow; and a fragment there
 * would go on in a page that is not umem.
 */
bool oxnic_xsk_bounces_unaligned(const struct xsk_buff_pool *pool,
				 const struct net_device *dev)
{
	return pool->unaligned && dev->dev.parent &&
	       is_swiotlb_force_bounce(dev->dev.parent);
}

void oxnic_xsk_dma_unmap(struct xsk_buff_pool *pool)
{
	xsk_pool_dma_unmap(pool, XSK_DMA_ATTRS);
}

/*
 * As xsk_get_pool_from_qid(), also on a device that has been unregistered: then no
 * queue is in use any more, but the pool of one may still be to be taken back.
 */
struct xsk_buff_pool *oxnic_xsk_pool_of(const struct net_device *dev, u16 queue)
{
	if (queue < dev->num_rx_queues && dev->_rx[queue].pool)
		return dev->_rx[queue].pool;
	if (queue < dev->num_tx_queues)
		return dev->_tx[queue].pool;
	return NULL;
}

u32 oxnic_xsk_frame_size(struct xsk_buff_pool *pool)
{
	return xsk_pool_get_rx_frame_size(pool);
}

bool oxnic_xsk_has_sg(const struct xsk_buff_pool *pool)
{
	return pool->umem->flags & XDP_UMEM_SG_FLAG;
}

u32 oxnic_xsk_frag_step(struct xsk_buff_pool *pool)
{
	return xsk_pool_get_rx_frag_step(pool);
}

/* Without an allocator, registering the memory model cannot fail. */
int oxnic_xsk_rxq_reg(struct xdp_rxq_info *rxq, struct net_device *dev,
		      u32 queue, u32 frag_size)
{
	int err = __xdp_rxq_info_reg(rxq, dev, queue, 0, frag_size);

	return err ?: xdp_rxq_info_reg_mem_model(rxq, MEM_TYPE_XSK_BUFF_POOL,
						 NULL);
}

void oxnic_xsk_set_rxq(struct xsk_buff_pool *pool, struct xdp_rxq_info *rxq)
{
	xsk_pool_set_rxq_info(pool, rxq);
}

u32 oxnic_xsk_alloc(struct xsk_buff_pool *pool, struct xdp_buff **xdp, u32 max)
{
	return xsk_buff_alloc_batch(pool, xdp, max);
}

/* Frees the fragments too. Does nothing if the buffer is free already. */
void oxnic_xsk_free(struct xdp_buff *xdp)
{
	xsk_buff_free(xdp);
}

static struct xdp_buff_xsk *to_xskb(const struct xdp_buff *xdp)
{
	return container_of(xdp, struct xdp_buff_xsk, xdp);
}

/*
 * The fragments of a frame, as listed by its pool, of which only one frame is
 * worked on at a time. The frame's own list is in umem, to which user space can
 * write.
 */
static struct list_head *xsk_frags(const struct xdp_buff *xdp)
{
	return &to_xskb(xdp)->pool->xskb_list;
}

/* Frees the fragments of a frame. */
void oxnic_xsk_free_frags(struct xdp_buff *xdp)
{
	struct xdp_buff_xsk *frag, *next;

	list_for_each_entry_safe(frag, next, xsk_frags(xdp), list_node) {
		list_del_init(&frag->list_node);
		xp_free(frag);
	}
	xdp_buff_clear_frags_flag(xdp);
}

/*
 * As xsk_buff_set_size() and xsk_buff_add_frag(), with two differences. The page
 * comes from the umem, which is mapped by vmap(): virt_to_page() does not work
 * there. The fragments are counted on the pool's list, because user space can
 * write to that of the frame. A buffer is refused, and stays as it is, if user
 * space has put it into the fill ring twice: if it is on a list already, or the
 * frame's first buffer, whose flags say that the frame has fragments.
 */
bool oxnic_xsk_add_frag(struct xdp_buff *xdp, struct xdp_buff *xfrag, u32 len)
{
	struct skb_shared_info *info = xdp_get_shared_info_from_buff(xdp);
	struct xdp_buff_xsk *frag = to_xskb(xfrag);
	struct xsk_buff_pool *pool = frag->pool;
	size_t nr = list_count_nodes(&pool->xskb_list);
	struct page *page;

	if (unlikely(xdp == xfrag || !list_empty(&frag->list_node) ||
		     nr >= MAX_SKB_FRAGS))
		return false;
	xsk_buff_set_size(xfrag, len);
	if (!xdp_buff_has_frags(xdp)) {
		xdp_buff_set_frags_flag(xdp);
		info->xdp_frags_size = 0;
		info->xdp_frags_truesize = 0;
	}
	page = pool->umem->pgs[(xfrag->data - pool->addrs) >> PAGE_SHIFT];
	skb_frag_fill_page_desc(&info->frags[nr], page,
				offset_in_page(xfrag->data), len);
	info->nr_frags = nr + 1;
	info->xdp_frags_size += len;
	info->xdp_frags_truesize += xfrag->frame_sz;
	list_add_tail(&frag->list_node, &pool->xskb_list);
	return true;
}

/* Whether the bytes from @start to the end are in the buffer: at least @min. */
static bool xsk_is_inside(const struct xdp_buff *xdp, const void *start,
			  size_t min)
{
	size_t from = start - xdp->data_hard_start;
	size_t to = xdp->data_end - xdp->data_hard_start;

	return to <= xdp->frame_sz && from <= to && to - from >= min;
}

/*
 * Whether a frame that had fragments is still inside its buffers, after a program
 * ran on it. bpf_xdp_adjust_tail() and bpf_xdp_pull_data() compute the new lengths
 * from the frame's struct skb_shared_info, to which user space can write. If it
 * has, this frees the fragments and leaves a frame of ETH_HLEN bytes.
 */
bool oxnic_xsk_check_frags(struct xdp_buff *xdp)
{
	struct xdp_buff_xsk *frag;
	bool ok;

	ok = xdp->data_meta <= xdp->data &&
	     xsk_is_inside(xdp, xdp->data_meta, ETH_HLEN) &&
	     xsk_is_inside(xdp, xdp->data, ETH_HLEN) &&
	     xdp_buff_has_frags(xdp) == !list_empty(xsk_frags(xdp));
	list_for_each_entry(frag, xsk_frags(xdp), list_node)
		ok = ok && xsk_is_inside(&frag->xdp, frag->xdp.data, 1);
	if (unlikely(!ok)) {
		oxnic_xsk_free_frags(xdp);
		xsk_buff_set_size(xdp, ETH_HLEN);
	}
	return ok;
}

u32 oxnic_xsk_len(const struct xdp_buff *xdp, u32 *buffers)
{
	u32 len = xdp->data_end - xdp->data;
	struct xdp_buff_xsk *frag;

	*buffers = 1;
	list_for_each_entry(frag, xsk_frags(xdp), list_node) {
		len += frag->xdp.data_end - frag->xdp.data;
		(*buffers)++;
	}
	return len;
}

/*
 * Copies from a piece of @size bytes at @from, after skipping @offset bytes, and
 * advances what is left to skip and to copy.
 */
static void copy_piece(const void *from, u32 size, u32 *offset, void **to,
		       u32 *len)
{
	u32 part;

	if (*offset >= size) {
		*offset -= size;
		return;
	}
	part = min(size - *offset, *len);
	memcpy(*to, from + *offset, part);
	*to += part;
	*len -= part;
	*offset = 0;
}

int oxnic_xsk_copy(const struct xdp_buff *xdp, u32 offset, void *to, u32 len)
{
	struct xdp_buff_xsk *frag;

	copy_piece(xdp->data, xdp->data_end - xdp->data, &offset, &to, &len);
	list_for_each_entry(frag, xsk_frags(xdp), list_node) {
		if (!len)
			break;
		copy_piece(frag->xdp.data, frag->xdp.data_end - frag->xdp.data,
			   &offset, &to, &len);
	}
	return len ? -EINVAL : 0;
}

/*
 * Copies the frame to a new skb. xdp_build_skb_from_zc() allocates a head of the
 * size of the buffer, in which a long frame and struct skb_shared_info do not
 * fit.
 */
struct sk_buff *oxnic_xsk_build_skb(struct napi_struct *napi,
				    const struct xdp_buff *xdp)
{
	struct sk_buff *skb = oxnic_xdp_copy_linear(napi, xdp);
	struct xdp_buff_xsk *frag;
	u32 len;

	if (unlikely(!skb))
		return NULL;
	list_for_each_entry(frag, xsk_frags(xdp), list_node) {
		int nr = skb_shinfo(skb)->nr_frags;
		struct page *page;

		page = nr < MAX_SKB_FRAGS ? dev_alloc_page() : NULL;
		if (unlikely(!page)) {
			dev_kfree_skb_any(skb);
			return NULL;
		}
		len = frag->xdp.data_end - frag->xdp.data;
		memcpy(page_address(page), frag->xdp.data, len);
		skb_add_rx_frag(skb, nr, page, 0, len, PAGE_SIZE);
	}
	skb_record_rx_queue(skb, xdp->rxq->queue_index);
	skb->protocol = eth_type_trans(skb, xdp->rxq->dev);
	return skb;
}

/*
 * Copies a frame in several buffers; xdp_convert_buff_to_frame() copies only the
 * first.
 */
static struct xdp_frame *xsk_copy_to_frame(const struct xdp_buff *xdp)
{
	u32 metalen = xdp->data - xdp->data_meta;
	u32 len = xdp->data_end - xdp->data_meta;
	struct skb_shared_info *info;
	struct xdp_buff_xsk *pos;
	struct xdp_frame *frame;
	struct page *page;

	if (sizeof(*frame) + len > SKB_WITH_OVERHEAD(PAGE_SIZE))
		return NULL;
	page = dev_alloc_page();
	if (!page)
		return NULL;
	frame = page_address(page);
	*frame = (struct xdp_frame){
		.data = (void *)(frame + 1) + metalen,
		.len = len - metalen,
		.headroom = metalen,
		.metasize = metalen,
		.frame_sz = PAGE_SIZE,
		.mem_type = MEM_TYPE_PAGE_ORDER0,
		.flags = XDP_FLAGS_HAS_FRAGS,
	};
	memcpy(frame + 1, xdp->data_meta, len);
	info = xdp_get_shared_info_from_frame(frame);
	memset(info, 0, sizeof(*info));
	list_for_each_entry(pos, xsk_frags(xdp), list_node) {
		page = info->nr_frags < MAX_SKB_FRAGS ? dev_alloc_page() : NULL;
		if (!page) {
			xdp_return_frame(frame);
			return NULL;
		}
		len = pos->xdp.data_end - pos->xdp.data;
		memcpy(page_address(page), pos->xdp.data, len);
		skb_frag_fill_page_desc(&info->frags[info->nr_frags++], page, 0,
					len);
		info->xdp_frags_size += len;
		info->xdp_frags_truesize += PAGE_SIZE;
	}
	return frame;
}

/*
 * Redirects a copy of the frame, and frees the frame. The copy is made here
 * because xdp_do_redirect() does not free one that the target refuses.
 */
static noinline int xsk_redirect_copy(struct net_device *dev,
				      struct xdp_buff *xdp,
				      const struct bpf_prog *prog)
{
	struct xdp_frame *frame;
	int err;

	if (unlikely(xdp_buff_has_frags(xdp))) {
		frame = xsk_copy_to_frame(xdp);
		xsk_buff_free(xdp);
	} else {
		frame = xdp_convert_buff_to_frame(xdp);
		if (unlikely(!frame))
			xsk_buff_free(xdp);
	}
	err = xdp_do_redirect_frame(dev, xdp, frame, prog);
	if (unlikely(err && frame))
		xdp_return_frame(frame);
	return err;
}

/*
 * A socket gets the frame itself. If this fails, the frame may be free already;
 * freeing it again does nothing.
 */
int oxnic_xsk_do_redirect(struct net_device *dev, struct xdp_buff *xdp,
			  const struct bpf_prog *prog)
{
	if (likely(bpf_net_ctx_get_ri()->map_type == BPF_MAP_TYPE_XSKMAP))
		return xdp_do_redirect(dev, xdp, prog);
	return xsk_redirect_copy(dev, xdp, prog);
}

/* In C, because the compiler must not assume that the bytes do not change. */
void oxnic_umem_copy(void *to, const void *from, size_t len)
{
	memcpy(to, from, len);
}

/* The kernel has checked the descriptors when it read them. */
int oxnic_xsk_tx_copy(struct xsk_buff_pool *pool, u32 desc, u32 count,
		      u32 offset, void *to, u32 len)
{
	const struct xdp_desc *descs = pool->tx_descs + desc;
	u32 i;

	for (i = 0; i < count && len; i++)
		copy_piece(xsk_buff_raw_get_data(pool, descs[i].addr),
			   descs[i].len, &offset, &to, &len);
	return len ? -EINVAL : 0;
}

/* The checksum of the bytes from @start to the end of the frame. */
int oxnic_xsk_tx_checksum(struct xsk_buff_pool *pool, u32 desc, u32 count,
			  u32 start, u8 *sum)
{
	const struct xdp_desc *descs = pool->tx_descs + desc;
	__wsum all = 0;
	__sum16 folded;
	u32 i, at = 0;

	for (i = 0; i < count; i++) {
		void *data = xsk_buff_raw_get_data(pool, descs[i].addr);
		u32 len = descs[i].len;

		if (start >= len) {
			start -= len;
			continue;
		}
		len -= start;
		all = csum_block_add(all, csum_partial(data + start, len, 0),
				     at);
		at += len;
		start = 0;
	}
	if (!at)
		return -EINVAL;
	folded = csum_fold(all);
	/* In UDP a checksum of zero means that there is none. */
	if (!folded)
		folded = CSUM_MANGLED_0;
	memcpy(sum, &folded, sizeof(folded));
	return 0;
}

/* Calls those of @ops that are requested; returns the place for the time. */
struct xsk_tx_metadata *
oxnic_xsk_tx_metadata(struct xsk_buff_pool *pool, u32 desc,
		      const struct xsk_tx_metadata_ops *ops, void *priv)
{
	const struct xdp_desc *d = pool->tx_descs + desc;
	struct xsk_tx_metadata *meta;

	meta = xsk_buff_get_metadata(pool, d->addr, d->options);
	xsk_tx_metadata_request(pool, &meta, ops, priv);
	return meta;
}

void oxnic_xsk_tx_complete(struct xsk_tx_metadata *meta,
			   const struct xsk_tx_metadata_ops *ops, void *priv)
{
	struct xsk_tx_metadata_compl compl;

	xsk_tx_metadata_to_compl(meta, &compl);
	xsk_tx_metadata_complete(&compl, ops, priv);
}
