// SPDX-License-Identifier: GPL-2.0

//! The XDP hook, the driver's side.
//!
//! | file | what it holds |
//! | --- | --- |
//! | [`setup`] | steps 3 and 4: `ndo_bpf`, and a program is published to the device and to every ring |
//! | [`run`] | steps 6 and 7: the program runs on a frame, and the verdict is done |
//! | [`tx_bulk`] | step 7: frames that XDP_TX collects and sends |

pub(super) mod run;
pub(super) mod setup;
pub(super) mod tx_bulk;
