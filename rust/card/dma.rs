// SPDX-License-Identifier: GPL-2.0

//! How the card reads the frames that the driver sends: skbs, XDP frames, and frames of AF_XDP
//! sockets in the memory of user space.

use super::wire::Batch;
use crate::{
    dest::Dest,
    net::{
        skbuff::SkBuff,
        xdp::{
            self,
            LinearBuff,
            XdpBuff, //
        },
        xsk::{
            UmemFrame,
            START_LEN, //
        },
    },
    nic::{
        headers::{
            self,
            Flow, //
        },
        vlan::{
            Protocol,
            Tag, //
        },
        wire::{
            Checksum,
            FrameHead,
            Malformed,
            Patch,
            TxFrame, //
        },
    },
};

impl TxFrame for SkBuff {
    #[inline]
    fn len(&self) -> usize {
        SkBuff::len(self)
    }

    #[inline]
    fn head(&self) -> FrameHead<'_> {
        let linear = SkBuff::head(self);
        if linear.len() == self.len() || Flow::is_enough(linear) {
            return FrameHead::Linear(linear);
        }
        copy_head(self)
    }

    #[inline]
    fn is_plain(&self) -> bool {
        SkBuff::is_plain(self)
    }

    #[inline]
    fn start(&self) -> &[u8] {
        SkBuff::head(self)
    }

    #[inline]
    fn tag(&self) -> Option<Tag> {
        let tag = self.vlan_tag()?;
        Some(Tag {
            protocol: Protocol::from_ethertype(tag.protocol)?,
            tci: tag.tci,
        })
    }

    fn copy_to(&self, to: Dest<'_>) -> Result<Checksum, Malformed> {
        SkBuff::copy_to(self, to).map_err(|_| Malformed)?;
        Ok(if self.csum_is_good() {
            Checksum::Good
        } else {
            Checksum::Unknown
        })
    }

    fn checksum(&self) -> Result<(Checksum, Option<Patch>), Malformed> {
        Ok(match SkBuff::checksum(self).map_err(|_| Malformed)? {
            Some((offset, bytes)) => (Checksum::Good, Some(Patch { offset, bytes })),
            None => (Checksum::Unknown, None),
        })
    }

    fn copy_part(&self, offset: usize, to: Dest<'_>) -> Result<(), Malformed> {
        SkBuff::copy_part(self, offset, to).map_err(|_| Malformed)
    }
}

/// Copies the headers of a frame whose first buffer does not hold all of them.
#[cold]
fn copy_head(frame: &impl TxFrame) -> FrameHead<'_> {
    let mut bytes = [0; headers::HEADERS_LEN];
    let len = bytes.len().min(frame.len());
    // Writing the frame to the wire reports the error.
    let _ = frame.copy_part(0, bytes.get_mut(..len).unwrap_or_default().into());
    FrameHead::Copied(bytes, len)
}

/// XDP frames. The program may have changed any byte, so no checksum is known to be good; and after
/// `bpf_xdp_adjust_head` the first buffer may hold little more than the Ethernet header.
macro_rules! xdp_frame {
    ($frame:ty) => {
        impl TxFrame for $frame {
            #[inline]
            fn len(&self) -> usize {
                self.len()
            }

            #[inline]
            fn head(&self) -> FrameHead<'_> {
                if self.has_frags() && !Flow::is_enough(self.data()) {
                    return copy_head(self);
                }
                FrameHead::Linear(self.data())
            }

            #[inline]
            fn is_plain(&self) -> bool {
                !self.has_frags()
            }

            #[inline]
            fn start(&self) -> &[u8] {
                self.data()
            }

            fn copy_to(&self, to: Dest<'_>) -> Result<Checksum, Malformed> {
                self.copy_part(0, to)?;
                Ok(Checksum::Unknown)
            }

            fn checksum(&self) -> Result<(Checksum, Option<Patch>), Malformed> {
                Ok((Checksum::Unknown, None))
            }

            fn copy_part(&self, offset: usize, to: Dest<'_>) -> Result<(), Malformed> {
                <$frame>::copy_to(self, offset, to).map_err(|_| Malformed)
            }
        }
    };
}

xdp_frame!(LinearBuff);
xdp_frame!(XdpBuff);
xdp_frame!(xdp::Frame);

/// The frames that other devices redirect to a port.
impl Batch for xdp::Frames<'_> {
    type Frame = xdp::Frame;

    #[inline]
    fn peek(&self) -> Option<&xdp::Frame> {
        xdp::Frames::peek(self)
    }

    #[inline]
    fn finish(&mut self) {
        xdp::Frames::finish(self);
    }
}

/// A frame in umem. It is filtered and steered by copies of its headers, which user space can
/// change before the whole frame is copied. The frame is then received on the wrong queue, no more.
pub(crate) struct UmemTx<F> {
    frame: F,
    /// Its first bytes, for the receive filter.
    start: [u8; START_LEN],
}

impl<F: UmemFrame> UmemTx<F> {
    #[inline]
    pub(crate) fn new(frame: F) -> Self {
        let start = frame.whole().and_then(|bytes| bytes.start());
        Self {
            start: start.unwrap_or_else(|| copy_start(&frame)),
            frame,
        }
    }
}

/// Copies the first bytes of a frame that is shorter or in several parts.
#[cold]
fn copy_start(frame: &impl UmemFrame) -> [u8; START_LEN] {
    let (len, _) = frame.size();
    let mut start = [0; START_LEN];
    let part = start.get_mut(..len.min(START_LEN)).unwrap_or_default();
    // Writing the frame to the wire reports the error.
    let _ = frame.copy_to(0, part.into());
    start
}

impl<F: UmemFrame> TxFrame for UmemTx<F> {
    #[inline]
    fn len(&self) -> usize {
        self.frame.size().0
    }

    fn head(&self) -> FrameHead<'_> {
        copy_head(self)
    }

    #[inline]
    fn is_plain(&self) -> bool {
        self.frame.whole().is_some()
    }

    // Not from the start: no slice of its bytes exists.

    #[inline]
    fn plain_len(&self, _start: &[u8]) -> usize {
        self.len()
    }

    #[inline]
    fn copy_plain(&self, _start: &[u8], to: &mut Dest<'_>) -> Option<()> {
        self.frame.whole()?.copy_all(to)
    }

    #[inline]
    fn start(&self) -> &[u8] {
        self.start.get(..self.len()).unwrap_or(&self.start)
    }

    #[inline]
    fn copy_to(&self, mut to: Dest<'_>) -> Result<Checksum, Malformed> {
        self.frame
            .copy_to(0, to.reborrow())
            .map_err(|_| Malformed)?;
        if let (_, Some(patch)) = self.checksum()? {
            patch.apply(0, to);
        }
        Ok(Checksum::Unknown)
    }

    /// Not marked as good: user space decides what the checksum covers.
    #[inline]
    fn checksum(&self) -> Result<(Checksum, Option<Patch>), Malformed> {
        let patch = self.frame.checksum().map_err(|_| Malformed)?;
        let patch = patch.map(|(offset, bytes)| Patch { offset, bytes });
        Ok((Checksum::Unknown, patch))
    }

    fn copy_part(&self, offset: usize, to: Dest<'_>) -> Result<(), Malformed> {
        self.frame.copy_to(offset, to).map_err(|_| Malformed)
    }
}
