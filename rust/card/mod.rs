// SPDX-License-Identifier: GPL-2.0

//! The card, as its driver sees it: what a data sheet and a bus are for the driver of a real card.
//!
//! The model of the hardware, [`nic`](crate::nic), knows nothing of a kernel. Here it gets the kernel
//! services that it needs in order to behave like a device: a lock for each wire, interrupts, timers. The
//! card knows nothing of the driver. All that the driver uses of it:
//!
//! | what | registers, doorbells and interrupts |
//! | --- | --- |
//! | a port, [`Port`](port::Port) | [`set_up`](port::Port::set_up), [`set_queues`](port::Port::set_queues), [`set_ring_size`](port::Port::set_ring_size), `speed`, `rx_pause`, `tx_pause`; the device in `dev`, whose transmit queues the card wakes |
//! | the other end of the wire, [`Peer`](port::Peer) | [`read`](port::Peer::read) in a poll or while sending, [`get`](port::Peer::get) else |
//! | filter, RSS and rules, [`RxSteering`](steering::RxSteering) | [`change_filter`](steering::RxSteering::change_filter), [`copy`](steering::RxSteering::copy), change and [`replace`](steering::RxSteering::replace) |
//! | a receive queue, [`RxHwQueue`](rx::RxHwQueue) | [`start`](rx::RxHwQueue::start) with the NIC's side of a descriptor ring, [`stop`](rx::RxHwQueue::stop), [`stop_for_restart`](rx::RxHwQueue::stop_for_restart); [`RxMetadata`](rx::RxMetadata) for each frame |
//! | descriptors | the driver's side of the ring, [`DriverSide`](crate::nic::ring::DriverSide): `post` a buffer, ring the `doorbell`, `take` what is completed |
//! | an interrupt, [`IrqLine`](rx::IrqLine) | it schedules the NAPI of its ring; [`moderate`](rx::IrqLine::moderate), [`set_next_to_clean`](rx::IrqLine::set_next_to_clean) at the end of a poll, `rearm` after it |
//! | sending an skb | [`steer`](port::Port::steer), lock the queue, [`write_plain`](rx::RxHw::write_plain) or [`write`](rx::RxHw::write) or [`LargeFrame::write`](segmentation::LargeFrame::write), [`publish`](rx::RxHw::publish) |
//! | sending XDP frames | [`WireSender::send`](wire::WireSender::send) |
//! | flow control | [`pauses`](port::Port::pauses) and the queue's `waiters` before a transmit queue stops, [`wake`](port::Port::wake) after buffers were posted |
//! | counters | [`stats`] |
//!
//! | file | what it holds |
//! | --- | --- |
//! | [`port`] | a port: its queues and registers, its end of the wire, and the carrier |
//! | [`steering`] | which receive queue a frame goes to, and which frames are discarded |
//! | [`dma`] | how the card reads the frames that are sent |
//! | [`rx`] | step 5 of the hook: a receive queue and its interrupt |
//! | [`wire`] | sending to a queue of the peer, under its lock |
//! | [`segmentation`] | a large frame is cut into segments |
//! | [`flow_control`] | transmit queues that wait for buffers of the peer |
//! | [`stats`] | what the card counts |

#![forbid(unsafe_code)]

mod dma;
mod flow_control;
pub(crate) mod port;
pub(crate) mod rx;
pub(crate) mod segmentation;
pub(crate) mod stats;
pub(crate) mod steering;
pub(crate) mod wire;
