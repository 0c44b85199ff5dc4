// SPDX-License-Identifier: GPL-2.0

//! The ioctl that ethtool was before there was netlink, for which no one has a safe function.

#![allow(unsafe_code)]

use crate::bed::Port;
use anyhow::{anyhow, ensure, Context, Result};
use nix::{errno::Errno, libc};
use std::{ffi::CStr, net::UdpSocket, os::fd::AsRawFd};

const SIOCETHTOOL: libc::Ioctl = 0x8946;

pub const SWOL: u32 = 0x06;
pub const SMSGLVL: u32 = 0x08;
pub const NWAY_RST: u32 = 0x09;
pub const SCOALESCE: u32 = 0x0f;
pub const SRINGPARAM: u32 = 0x11;
pub const SPAUSEPARAM: u32 = 0x13;
pub const SFLAGS: u32 = 0x26;
pub const SPFLAGS: u32 = 0x28;
pub const GRXFH: u32 = 0x29;
pub const SRXFH: u32 = 0x2a;
pub const SRXCLSRLDEL: u32 = 0x31;
pub const SRXCLSRLINS: u32 = 0x32;
pub const RESET: u32 = 0x34;
pub const SRXFHINDIR: u32 = 0x39;
pub const SCHANNELS: u32 = 0x3d;
pub const SEEE: u32 = 0x45;
pub const SRSSH: u32 = 0x47;
pub const STUNABLE: u32 = 0x49;
pub const GLINKSETTINGS: u32 = 0x4c;
pub const SLINKSETTINGS: u32 = 0x4d;
pub const SFECPARAM: u32 = 0x51;

const GSTRINGS: u32 = 0x1b;
const GSTATS: u32 = 0x1d;
const GSSET_INFO: u32 = 0x37;
/// The set of names of the counters.
const ETH_SS_STATS: u32 = 1;
/// Length of a name.
const ETH_GSTRING_LEN: usize = 32;

/// Commands with structures of a fixed length, none of which is longer than [`Words`].
const COMMANDS: [u32; 24] = [
    SWOL,
    SMSGLVL - 1,
    SMSGLVL,
    NWAY_RST,
    SCOALESCE - 1,
    SCOALESCE,
    SRINGPARAM - 1,
    SRINGPARAM,
    SPAUSEPARAM - 1,
    SPAUSEPARAM,
    SFLAGS - 1,
    SFLAGS,
    SPFLAGS,
    GRXFH,
    SRXFH,
    SRXCLSRLDEL,
    SRXCLSRLINS,
    RESET,
    SCHANNELS - 1,
    SCHANNELS,
    SEEE,
    GLINKSETTINGS,
    SLINKSETTINGS,
    SFECPARAM,
];
/// Those whose structures end with an array, which the kernel only reads.
const WITH_ARRAY: [u32; 3] = [SRXFHINDIR, SRSSH, STUNABLE];

/// A structure of the interface, the command first.
pub type Words = [u32; 512];

/// A socket in the namespace of a port.
pub struct Ethtool {
    socket: UdpSocket,
    request: libc::ifreq,
}

impl Ethtool {
    pub fn open(port: &Port) -> Result<Self> {
        Ok(Self {
            socket: port.ns.enter(|| Ok(UdpSocket::bind("0.0.0.0:0")?))?,
            request: request(port)?,
        })
    }

    /// Hands a structure to the kernel; the inner error is its refusal.
    pub fn call(&self, words: &mut Words) -> Result<Result<(), Errno>> {
        ensure!(
            COMMANDS.contains(&words[0]) || WITH_ARRAY.contains(&words[0]),
            "command {:#x}",
            words[0]
        );
        // SAFETY: The kernel reads and writes the structure, which is no longer than the array. An
        // array at the end of one is only read, and the kernel checks its length before.
        Ok(unsafe { self.ioctl(words.as_mut_ptr().cast()) })
    }

    /// What `ethtool -S` shows.
    pub fn counters(&self) -> Result<Vec<(String, u64)>> {
        // A bit for the set that is asked for, in two words, comes before the answer.
        let info = self.fill(&[GSSET_INFO, 0, 1 << ETH_SS_STATS, 0], 4)?;
        let count = u32::from_ne_bytes(info.try_into().map_err(|_| anyhow!("no count"))?);
        let len = count as usize;
        ensure!(count > 0, "there are no counters");
        // To the kernel 0 would mean that there is room for all. It fills in nothing if there are
        // not as many any more.
        let names = self.fill(&[GSTRINGS, ETH_SS_STATS, count], len * ETH_GSTRING_LEN)?;
        let values = self.fill(&[GSTATS, count], len * 8)?;

        names
            .chunks_exact(ETH_GSTRING_LEN)
            .zip(values.chunks_exact(8))
            .map(|(name, value)| {
                let name = CStr::from_bytes_until_nul(name)?.to_str()?;
                Ok((name.to_owned(), u64::from_ne_bytes(value.try_into()?)))
            })
            .collect()
    }

    /// Makes the kernel fill in the `len` bytes behind the head of a structure, and returns them.
    /// The head must say how many they are.
    fn fill(&self, head: &[u32], len: usize) -> Result<Vec<u8>> {
        let mut bytes: Vec<u8> = head.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let start = bytes.len();

        bytes.resize(start + len, 0);
        // SAFETY: The kernel reads and writes the head, and writes as many bytes behind it as that
        // says.
        unsafe { self.ioctl(bytes.as_mut_ptr().cast()) }
            .with_context(|| format!("ethtool command {:#x}", head[0]))?;
        bytes.drain(..start);
        Ok(bytes)
    }

    /// # Safety
    ///
    /// `structure` must be valid for all that its command has the kernel read and write there.
    unsafe fn ioctl(&self, structure: *mut libc::c_char) -> Result<(), Errno> {
        let mut request = self.request;

        request.ifr_ifru.ifru_data = structure;
        // SAFETY: The request is one, and the caller answers for the structure that it points to.
        let result =
            unsafe { libc::ioctl(self.socket.as_raw_fd(), SIOCETHTOOL, &raw const request) };
        Errno::result(result).map(drop)
    }
}

/// The request of an ioctl about a port.
pub(super) fn request(port: &Port) -> Result<libc::ifreq> {
    // SAFETY: All of its fields are integers and pointers, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };

    ensure!(port.name.len() < request.ifr_name.len(), "{}", port.name);
    for (to, from) in request.ifr_name.iter_mut().zip(port.name.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}
