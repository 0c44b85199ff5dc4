// SPDX-License-Identifier: GPL-2.0

//! The card as its driver sees it: in place of the data sheet and the bus of a real card.
//!
//! The model of the hardware, [`nic`](crate::nic), makes no kernel calls. This layer adds the
//! kernel services that a device needs: a lock for each wire, interrupts, timers. It knows nothing
//! of the driver. What the driver uses of it:
//!
//! - A port, [`Port`](port::Port): [`set_up`](port::Port::set_up),
//!   [`set_queues`](port::Port::set_queues), [`set_ring_size`](port::Port::set_ring_size), the
//!   registers `speed`, `rx_pause` and `tx_pause`, and `dev`, the device whose transmit queues the
//!   card wakes.
//! - The other end of the wire, [`Peer`](port::Peer): [`read`](port::Peer::read) in a poll or while
//!   sending, [`get`](port::Peer::get) in process context.
//! - The link: [`lose_link`](port::Port::lose_link), which a [`LinkTimer`](link::LinkTimer) ends.
//! - Receive filter, RSS and steering rules, [`RxSteering`](steering::RxSteering):
//!   [`change_filter`](steering::RxSteering::change_filter);
//!   [`copy`](steering::RxSteering::copy), change the copy, then
//!   [`replace`](steering::RxSteering::replace).
//! - A receive queue, [`RxHwQueue`](rx::RxHwQueue): [`start`](rx::RxHwQueue::start) with the NIC's
//!   side of a descriptor ring, [`stop`](rx::RxHwQueue::stop),
//!   [`stop_for_restart`](rx::RxHwQueue::stop_for_restart), and which
//!   [`RxMetadata`](rx::RxMetadata) frames get.
//! - Descriptors, by the driver's side of the ring, [`DriverSide`](crate::nic::ring::DriverSide):
//!   `post` a buffer, ring the `doorbell`, `take` a completed descriptor.
//! - An interrupt, [`IrqLine`](rx::IrqLine), which schedules the NAPI of its ring:
//!   [`moderate`](rx::IrqLine::moderate) and
//!   [`set_next_to_clean`](rx::IrqLine::set_next_to_clean) at the end of a poll, `rearm` after it;
//!   an [`IrqTrace`](rx::IrqTrace) to be told of each.
//! - To send an skb: [`steer`](port::Port::steer), lock the queue,
//!   [`write_plain`](rx::RxHw::write_plain), [`write`](rx::RxHw::write) or
//!   [`LargeFrame::write`](segmentation::LargeFrame::write), then [`publish`](rx::RxHw::publish).
//! - To send XDP frames: [`WireSender::send`](wire::WireSender::send).
//! - Flow control: [`pauses`](port::Port::pauses) and the queue's `waiters` before a transmit queue
//!   stops, [`wake`](port::Port::wake) after buffers were posted.
//! - Counters: [`stats`].
//!
//! | file | what it holds |
//! | --- | --- |
//! | [`port`] | a port: its queues and registers, and its end of the wire |
//! | [`link`] | the link between the two ends, the carrier, and how a card loses the link |
//! | [`steering`] | which receive queue a frame goes to, and which frames are discarded |
//! | [`dma`] | how the card reads the frames that are sent |
//! | [`rx`] | step 5 of the hook: a receive queue and its interrupt |
//! | [`rx_ring`] | the descriptor ring of a queue: buffers are pages, or umem of AF_XDP sockets |
//! | [`wire`] | sending to a queue of the peer, under its lock |
//! | [`segmentation`] | a large frame, sent segment by segment |
//! | [`flow_control`] | transmit queues that wait for buffers of the peer |
//! | [`stats`] | the counters of the card |

#![forbid(unsafe_code)]

pub(crate) mod dma;
mod flow_control;
pub(crate) mod link;
pub(crate) mod port;
pub(crate) mod rx;
pub(crate) mod rx_ring;
pub(crate) mod segmentation;
pub(crate) mod stats;
pub(crate) mod steering;
pub(crate) mod wire;
