// SPDX-License-Identifier: GPL-2.0

//! The driver's side of the XDP hook.
//!
//! | file | what it holds |
//! | --- | --- |
//! | [`setup`] | steps 3 and 4: `ndo_bpf`, which gives a program to the device and to every ring |
//! | [`xsk_pool`] | step 3 for AF_XDP: gives a queue the umem of sockets |
//! | [`run`] | steps 6 and 7: runs the program on a frame, and acts on the verdict |
//! | [`tx_bulk`] | step 7: collects frames of XDP_TX and sends them |

pub(super) mod run;
pub(super) mod setup;
pub(super) mod tx_bulk;
mod xsk_pool;
