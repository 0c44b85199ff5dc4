// SPDX-License-Identifier: GPL-2.0

//! How the card reads the frames that the driver sends: skbs and XDP frames.

use crate::{
    net::{
        skbuff::SkBuff,
        xdp::{
            self,
            LinearBuff,
            XdpBuff, //
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

    fn copy_to(&self, to: &mut [u8]) -> Result<Checksum, Malformed> {
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

    fn copy_part(&self, offset: usize, to: &mut [u8]) -> Result<(), Malformed> {
        SkBuff::copy_part(self, offset, to).map_err(|_| Malformed)
    }
}

/// Copies the headers of a frame whose first buffer does not hold all of them.
#[cold]
fn copy_head(frame: &impl TxFrame) -> FrameHead<'_> {
    let mut bytes = [0; headers::HEADERS_LEN];
    let len = bytes.len().min(frame.len());
    // Writing the frame to the wire reports the error.
    let _ = frame.copy_part(0, bytes.get_mut(..len).unwrap_or_default());
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

            fn copy_to(&self, to: &mut [u8]) -> Result<Checksum, Malformed> {
                self.copy_part(0, to)?;
                Ok(Checksum::Unknown)
            }

            fn checksum(&self) -> Result<(Checksum, Option<Patch>), Malformed> {
                Ok((Checksum::Unknown, None))
            }

            fn copy_part(&self, offset: usize, to: &mut [u8]) -> Result<(), Malformed> {
                <$frame>::copy_to(self, offset, to).map_err(|_| Malformed)
            }
        }
    };
}

xdp_frame!(LinearBuff);
xdp_frame!(XdpBuff);
xdp_frame!(xdp::Frame);
