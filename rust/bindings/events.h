/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The tracepoints of oxnic. Documentation/device.md describes them, and
 * rust/net/events.rs calls them.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM oxnic

#if !defined(OXNIC_EVENTS_H) || defined(TRACE_HEADER_MULTI_READ)
#define OXNIC_EVENTS_H

#include <linux/bpf.h>
#include <linux/netdevice.h>
#include <linux/tracepoint.h>

#include "helpers.h"

/* So that programs which read the formats of the events know these numbers. */
TRACE_DEFINE_ENUM(XDP_ABORTED);
TRACE_DEFINE_ENUM(XDP_DROP);
TRACE_DEFINE_ENUM(XDP_PASS);
TRACE_DEFINE_ENUM(XDP_TX);
TRACE_DEFINE_ENUM(XDP_REDIRECT);
TRACE_DEFINE_ENUM(BPF_MAP_TYPE_UNSPEC);
TRACE_DEFINE_ENUM(BPF_MAP_TYPE_DEVMAP);
TRACE_DEFINE_ENUM(BPF_MAP_TYPE_DEVMAP_HASH);
TRACE_DEFINE_ENUM(BPF_MAP_TYPE_CPUMAP);
TRACE_DEFINE_ENUM(BPF_MAP_TYPE_XSKMAP);

/* ndo_bpf attaches a program, or detaches the one that is attached. */
TRACE_EVENT(xdp_setup_prog,
	    TP_PROTO(const struct net_device *dev, const struct bpf_prog *prog),
	    TP_ARGS(dev, prog),
	    TP_STRUCT__entry(__string(name, dev->name)
			     __field(int, ifindex)
			     __field(u32, prog_id)
			     __string(prog_name, prog ? prog->aux->name : "")
	    ),
	    TP_fast_assign(__assign_str(name);
			   __entry->ifindex = dev->ifindex;
			   __entry->prog_id = prog_id_of(prog);
			   __assign_str(prog_name);
	    ),
	    TP_printk("dev=%s ifindex=%d prog_id=%u prog_name=%s",
		      __get_str(name), __entry->ifindex, __entry->prog_id,
		      __get_str(prog_name))
);

/* The program of the device was exchanged. */
TRACE_EVENT(xdp_prog_xchg,
	    TP_PROTO(const struct net_device *dev, const struct bpf_prog *old,
		     const struct bpf_prog *new),
	    TP_ARGS(dev, old, new),
	    TP_STRUCT__entry(__string(name, dev->name)
			     __field(int, ifindex)
			     __field(u32, old_prog_id)
			     __field(u32, new_prog_id)
	    ),
	    TP_fast_assign(__assign_str(name);
			   __entry->ifindex = dev->ifindex;
			   __entry->old_prog_id = prog_id_of(old);
			   __entry->new_prog_id = prog_id_of(new);
	    ),
	    TP_printk("dev=%s ifindex=%d old_prog_id=%u new_prog_id=%u",
		      __get_str(name), __entry->ifindex, __entry->old_prog_id,
		      __entry->new_prog_id)
);

/* The program of a receive ring was written. */
TRACE_EVENT(xdp_prog_write_once,
	    TP_PROTO(const struct net_device *dev, u16 queue,
		     const struct bpf_prog *prog),
	    TP_ARGS(dev, queue, prog),
	    TP_STRUCT__entry(__string(name, dev->name)
			     __field(int, ifindex)
			     __field(u16, queue)
			     __field(u32, prog_id)
	    ),
	    TP_fast_assign(__assign_str(name);
			   __entry->ifindex = dev->ifindex;
			   __entry->queue = queue;
			   __entry->prog_id = prog_id_of(prog);
	    ),
	    TP_printk("dev=%s ifindex=%d queue=%u prog_id=%u",
		      __get_str(name), __entry->ifindex, __entry->queue,
		      __entry->prog_id)
);

/*
 * ndo_bpf gives a queue the umem of AF_XDP sockets, or takes it away: then
 * there are no chunks.
 */
TRACE_EVENT(xsk_setup_pool,
	    TP_PROTO(const struct net_device *dev, u16 queue, u32 chunks,
		     u32 chunk_size),
	    TP_ARGS(dev, queue, chunks, chunk_size),
	    TP_STRUCT__entry(__string(name, dev->name)
			     __field(int, ifindex)
			     __field(u16, queue)
			     __field(u32, chunks)
			     __field(u32, chunk_size)
	    ),
	    TP_fast_assign(__assign_str(name);
			   __entry->ifindex = dev->ifindex;
			   __entry->queue = queue;
			   __entry->chunks = chunks;
			   __entry->chunk_size = chunk_size;
	    ),
	    TP_printk("dev=%s ifindex=%d queue=%u chunks=%u chunk_size=%u",
		      __get_str(name), __entry->ifindex, __entry->queue,
		      __entry->chunks, __entry->chunk_size)
);

/* A receive queue got another ring. */
DECLARE_EVENT_CLASS(oxnic_queue,
		    TP_PROTO(const struct net_device *dev, u16 queue),
		    TP_ARGS(dev, queue),
		    TP_STRUCT__entry(__string(name, dev->name)
				     __field(int, ifindex)
				     __field(u16, queue)
		    ),
		    TP_fast_assign(__assign_str(name);
				   __entry->ifindex = dev->ifindex;
				   __entry->queue = queue;
		    ),
		    TP_printk("dev=%s ifindex=%d queue=%u",
			      __get_str(name), __entry->ifindex, __entry->queue)
);

/* One with buffers from the fill ring. */
DEFINE_EVENT(oxnic_queue, xsk_attached,
	     TP_PROTO(const struct net_device *dev, u16 queue),
	     TP_ARGS(dev, queue)
);

/* One with buffers from the page_pool. */
DEFINE_EVENT(oxnic_queue, xsk_detached,
	     TP_PROTO(const struct net_device *dev, u16 queue),
	     TP_ARGS(dev, queue)
);

/* The old one was stopped, to restart the queue. */
DEFINE_EVENT(oxnic_queue, ndo_queue_stop,
	     TP_PROTO(const struct net_device *dev, u16 queue),
	     TP_ARGS(dev, queue)
);

/* The new one runs. */
DEFINE_EVENT(oxnic_queue, ndo_queue_start,
	     TP_PROTO(const struct net_device *dev, u16 queue),
	     TP_ARGS(dev, queue)
);

/*
 * The receive filter has too little room for the addresses of a kind, and
 * accepts all frames of that kind; or it has enough again.
 */
TRACE_EVENT(rx_filter,
	    TP_PROTO(const struct net_device *dev, bool multicast, u32 room,
		     bool overflow),
	    TP_ARGS(dev, multicast, room, overflow),
	    TP_STRUCT__entry(__string(name, dev->name)
			     __field(int, ifindex)
			     __field(bool, multicast)
			     __field(u32, room)
			     __field(bool, overflow)
	    ),
	    TP_fast_assign(__assign_str(name);
			   __entry->ifindex = dev->ifindex;
			   __entry->multicast = multicast;
			   __entry->room = room;
			   __entry->overflow = overflow;
	    ),
	    TP_printk("dev=%s ifindex=%d multicast=%d room=%u overflow=%d",
		      __get_str(name), __entry->ifindex, __entry->multicast,
		      __entry->room, __entry->overflow)
);

/* The interrupt of a receive ring fires, or will after this delay. */
TRACE_EVENT(interrupt,
	    TP_PROTO(const struct net_device *dev, u16 queue, u64 delay_ns),
	    TP_ARGS(dev, queue, delay_ns),
	    TP_STRUCT__entry(__string(name, dev->name)
			     __field(int, ifindex)
			     __field(u16, queue)
			     __field(u64, delay_ns)
	    ),
	    TP_fast_assign(__assign_str(name);
			   __entry->ifindex = dev->ifindex;
			   __entry->queue = queue;
			   __entry->delay_ns = delay_ns;
	    ),
	    TP_printk("dev=%s ifindex=%d queue=%u delay_ns=%llu",
		      __get_str(name), __entry->ifindex, __entry->queue,
		      __entry->delay_ns)
);

/* The kernel polls a receive ring. */
TRACE_EVENT(poll_begin,
	    TP_PROTO(const struct net_device *dev, u16 queue, u32 budget),
	    TP_ARGS(dev, queue, budget),
	    TP_STRUCT__entry(__string(name, dev->name)
			     __field(int, ifindex)
			     __field(u16, queue)
			     __field(u32, budget)
	    ),
	    TP_fast_assign(__assign_str(name);
			   __entry->ifindex = dev->ifindex;
			   __entry->queue = queue;
			   __entry->budget = budget;
	    ),
	    TP_printk("dev=%s ifindex=%d queue=%u budget=%u",
		      __get_str(name), __entry->ifindex, __entry->queue,
		      __entry->budget)
);

/* A poll has taken this many frames; it is complete, or is called again. */
TRACE_EVENT(poll_end,
	    TP_PROTO(const struct net_device *dev, u16 queue, u32 work,
		     bool again),
	    TP_ARGS(dev, queue, work, again),
	    TP_STRUCT__entry(__string(name, dev->name)
			     __field(int, ifindex)
			     __field(u16, queue)
			     __field(u32, work)
			     __field(bool, again)
	    ),
	    TP_fast_assign(__assign_str(name);
			   __entry->ifindex = dev->ifindex;
			   __entry->queue = queue;
			   __entry->work = work;
			   __entry->again = again;
	    ),
	    TP_printk("dev=%s ifindex=%d queue=%u work=%u again=%d",
		      __get_str(name), __entry->ifindex, __entry->queue,
		      __entry->work, __entry->again)
);

/* A received frame, with the length and the buffers that it arrived with. */
DECLARE_EVENT_CLASS(oxnic_frame,
		    TP_PROTO(const struct net_device *dev, u16 queue,
			     u32 prog_id, u32 len, u32 buffers),
		    TP_ARGS(dev, queue, prog_id, len, buffers),
		    TP_STRUCT__entry(__string(name, dev->name)
				     __field(int, ifindex)
				     __field(u16, queue)
				     __field(u32, prog_id)
				     __field(u32, len)
				     __field(u32, buffers)
		    ),
		    TP_fast_assign(__assign_str(name);
				   __entry->ifindex = dev->ifindex;
				   __entry->queue = queue;
				   __entry->prog_id = prog_id;
				   __entry->len = len;
				   __entry->buffers = buffers;
		    ),
		    TP_printk("dev=%s ifindex=%d queue=%u prog_id=%u len=%u buffers=%u",
			      __get_str(name), __entry->ifindex, __entry->queue,
			      __entry->prog_id, __entry->len, __entry->buffers)
);

/*
 * A poll has taken it off the ring, and is to run this program on it. Without
 * one it goes to the stack.
 */
DEFINE_EVENT(oxnic_frame, rx,
	     TP_PROTO(const struct net_device *dev, u16 queue, u32 prog_id,
		      u32 len, u32 buffers),
	     TP_ARGS(dev, queue, prog_id, len, buffers)
);

/* It was dropped: it has several buffers, and the program supports only one. */
DEFINE_EVENT(oxnic_frame, xdp_no_frags,
	     TP_PROTO(const struct net_device *dev, u16 queue, u32 prog_id,
		      u32 len, u32 buffers),
	     TP_ARGS(dev, queue, prog_id, len, buffers)
);

/* What the program has returned for it. */
TRACE_EVENT(verdict,
	    TP_PROTO(const struct net_device *dev, u16 queue, u32 prog_id,
		     u32 len, u32 buffers, u32 act),
	    TP_ARGS(dev, queue, prog_id, len, buffers, act),
	    TP_STRUCT__entry(__string(name, dev->name)
			     __field(int, ifindex)
			     __field(u16, queue)
			     __field(u32, prog_id)
			     __field(u32, len)
			     __field(u32, buffers)
			     __field(u32, act)
	    ),
	    TP_fast_assign(__assign_str(name);
			   __entry->ifindex = dev->ifindex;
			   __entry->queue = queue;
			   __entry->prog_id = prog_id;
			   __entry->len = len;
			   __entry->buffers = buffers;
			   __entry->act = act;
	    ),
	    TP_printk("dev=%s ifindex=%d queue=%u prog_id=%u len=%u buffers=%u act=%s",
		      __get_str(name), __entry->ifindex, __entry->queue,
		      __entry->prog_id, __entry->len, __entry->buffers,
		      __print_symbolic(__entry->act,
				       { XDP_ABORTED, "XDP_ABORTED" },
				       { XDP_DROP, "XDP_DROP" },
				       { XDP_PASS, "XDP_PASS" },
				       { XDP_TX, "XDP_TX" },
				       { XDP_REDIRECT, "XDP_REDIRECT" }))
);

/*
 * XDP_REDIRECT: where to, and the error, or 0. Without a map the index is an
 * ifindex. With one it is a key, unless the frame goes to all entries.
 */
TRACE_EVENT(xdp_do_redirect,
	    TP_PROTO(const struct net_device *dev, u16 queue,
		     const struct oxnic_xdp_target *target, int err),
	    TP_ARGS(dev, queue, target, err),
	    TP_STRUCT__entry(__string(name, dev->name)
			     __field(int, ifindex)
			     __field(u16, queue)
			     __field(u32, map_type)
			     __field(u32, map_id)
			     __field(u64, index)
			     __field(bool, broadcast)
			     __field(int, err)
	    ),
	    TP_fast_assign(__assign_str(name);
			   __entry->ifindex = dev->ifindex;
			   __entry->queue = queue;
			   __entry->map_type = target->map_type;
			   __entry->map_id =
				target->map_type ? target->map_id : 0;
			   __entry->index = target->index;
			   __entry->broadcast = target->broadcast;
			   __entry->err = err;
	    ),
	    TP_printk("dev=%s ifindex=%d queue=%u to=%s map_id=%u index=%llu broadcast=%d err=%d",
		      __get_str(name), __entry->ifindex, __entry->queue,
		      __print_symbolic(__entry->map_type,
				       { BPF_MAP_TYPE_UNSPEC, "ifindex" },
				       { BPF_MAP_TYPE_DEVMAP, "devmap" },
				       { BPF_MAP_TYPE_DEVMAP_HASH, "devmap_hash" },
				       { BPF_MAP_TYPE_CPUMAP, "cpumap" },
				       { BPF_MAP_TYPE_XSKMAP, "xskmap" }),
		      __entry->map_id, __entry->index, __entry->broadcast,
		      __entry->err)
);

/* XDP_TX could not send this many frames of a batch, as the peer is down. */
TRACE_EVENT(xdp_tx_lost,
	    TP_PROTO(const struct net_device *dev, u16 queue, u64 lost),
	    TP_ARGS(dev, queue, lost),
	    TP_STRUCT__entry(__string(name, dev->name)
			     __field(int, ifindex)
			     __field(u16, queue)
			     __field(u64, lost)
	    ),
	    TP_fast_assign(__assign_str(name);
			   __entry->ifindex = dev->ifindex;
			   __entry->queue = queue;
			   __entry->lost = lost;
	    ),
	    TP_printk("dev=%s ifindex=%d queue=%u lost=%llu",
		      __get_str(name), __entry->ifindex, __entry->queue,
		      __entry->lost)
);

/*
 * A batch of frames was redirected to this device; so many of them it took. The
 * queue is one for transmission.
 */
TRACE_EVENT(ndo_xdp_xmit,
	    TP_PROTO(const struct net_device *dev, u16 queue, u32 frames,
		     u32 taken),
	    TP_ARGS(dev, queue, frames, taken),
	    TP_STRUCT__entry(__string(name, dev->name)
			     __field(int, ifindex)
			     __field(u16, queue)
			     __field(u32, frames)
			     __field(u32, taken)
	    ),
	    TP_fast_assign(__assign_str(name);
			   __entry->ifindex = dev->ifindex;
			   __entry->queue = queue;
			   __entry->frames = frames;
			   __entry->taken = taken;
	    ),
	    TP_printk("dev=%s ifindex=%d queue=%u frames=%u taken=%u",
		      __get_str(name), __entry->ifindex, __entry->queue,
		      __entry->frames, __entry->taken)
);

/*
 * A transmit queue has been stopped for too long. It waits for a receive ring
 * of the peer, which has this many buffers, all of them and free ones, and
 * whose poll is due; off the wire there are none. If it waits for no ring,
 * which is rx_queue -1, it was woken.
 */
TRACE_EVENT(ndo_tx_timeout,
	    TP_PROTO(const struct net_device *dev, u16 queue, int rx_queue,
		     u32 size, u32 free, bool due),
	    TP_ARGS(dev, queue, rx_queue, size, free, due),
	    TP_STRUCT__entry(__string(name, dev->name)
			     __field(int, ifindex)
			     __field(u16, queue)
			     __field(int, rx_queue)
			     __field(u32, size)
			     __field(u32, free)
			     __field(bool, due)
	    ),
	    TP_fast_assign(__assign_str(name);
			   __entry->ifindex = dev->ifindex;
			   __entry->queue = queue;
			   __entry->rx_queue = rx_queue;
			   __entry->size = size;
			   __entry->free = free;
			   __entry->due = due;
	    ),
	    TP_printk("dev=%s ifindex=%d queue=%u rx_queue=%d size=%u free=%u due=%d",
		      __get_str(name), __entry->ifindex, __entry->queue,
		      __entry->rx_queue, __entry->size, __entry->free,
		      __entry->due)
);

#endif /* OXNIC_EVENTS_H */

/* This file again, from the include path that Kbuild adds for events.c. */
#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE events
#include <trace/define_trace.h>
