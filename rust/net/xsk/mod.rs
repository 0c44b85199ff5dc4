// SPDX-License-Identifier: GPL-2.0

//! AF_XDP zero-copy: frames in the memory of a program in user space.
//!
//! A program registers memory, its umem, and binds a socket to a queue of a device. From then on
//! the queue's frames are received into umem, and sent from it. Program and kernel pass each other
//! frames of umem by four rings:
//!
//! ```text
//!              user space                                        driver
//!   fill ring      -> addresses of empty frames               -> Pool::alloc: UmemBuffer
//!   RX ring        <- frames that were received               <- XDP_REDIRECT to the socket
//!   TX ring        -> frames to be sent                       -> PoolTx::peek: TxDesc
//!   completion     <- frames that have been sent              <- PoolTx::complete
//! ```
//!
//! - [`pool`]: umem and rings as the driver has them (`struct xsk_buff_pool`), and empty buffers;
//! - [`buff`]: received frames that programs run on;
//! - [`tx`]: frames to be sent; [`frame`]: how their bytes are read;
//! - [`metadata`]: what user space requests for a frame that it sends.
//!
//! User space can write to umem and rings at any time. The kernel reads an entry of a ring once,
//! and checks it. The bytes of a frame are only copied: no slice of them exists.
//!
//! C headers: [`include/net/xdp_sock_drv.h`](srctree/include/net/xdp_sock_drv.h),
//! [`include/net/xsk_buff_pool.h`](srctree/include/net/xsk_buff_pool.h)

mod buff;
mod frame;
mod metadata;
mod pool;
mod tx;

pub(crate) use buff::{
    Buff,
    FrameSlot,
    LinearBuff,
    RxQueue, //
};
pub(crate) use frame::{
    UmemBytes,
    UmemFrame,
    START_LEN, //
};
pub(crate) use metadata::TxRequest;
pub(super) use metadata::{
    NO_TX_METADATA_OPS,
    TX_METADATA_OPS, //
};
pub(super) use pool::is_mapped;
pub(crate) use pool::{
    Layout,
    Pool,
    UmemBuffer, //
};
pub(crate) use tx::{
    Peeked,
    PoolTx,
    TxDesc, //
};
