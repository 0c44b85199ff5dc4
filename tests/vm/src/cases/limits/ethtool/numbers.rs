// SPDX-License-Identifier: GPL-2.0

//! Numbers of which each is a member of a structure of the ioctl, an attribute of netlink, or both.

use super::{is_taken, Tried, EDGES, QUEUES};
use crate::{
    bed::Port,
    host::{
        ensure_eq,
        ethtool::{self as ioctl, Ethtool, Words},
    },
    nl::{
        attr,
        ethtool::{
            self as netlink, ETHTOOL_MSG_COALESCE_SET, ETHTOOL_MSG_LINKINFO_SET,
            ETHTOOL_MSG_LINKMODES_SET, ETHTOOL_MSG_PAUSE_SET,
        },
        number,
    },
};
use anyhow::{ensure, Context, Result};

/// Where a number is in a structure of the ioctl: the command that sets it, which follows the one
/// that gets it, and offset and length in bytes.
#[derive(Clone, Copy)]
struct Member(u32, usize, usize);

/// Where it is in netlink: the command that sets it, which follows the one that gets it, attribute
/// and length in bytes.
#[derive(Clone, Copy)]
struct Attribute(u8, u16, usize);

/// A number that ethtool sets.
struct Number {
    name: &'static str,
    member: Option<Member>,
    attribute: Option<Attribute>,
    /// What is tried beside [`EDGES`]. Nothing for what the port does not have, which is 0.
    limits: &'static [u32],
    /// What it then is, or `None` if it is to be refused.
    becomes: fn(u32) -> Option<u32>,
}

/// The bytes of a number that may have fewer than four: then the largest stands for all larger
/// ones.
fn bytes(value: u32, len: usize) -> Vec<u8> {
    match len {
        1 => vec![value.min(u8::MAX.into()) as u8],
        _ => value.to_ne_bytes().to_vec(),
    }
}

impl Member {
    /// The structure as it is now.
    fn words(self, ethtool: &Ethtool) -> Result<Words> {
        let mut words = [0; 512];

        words[0] = self.0 - 1;
        ethtool.call(&mut words)??;
        // The kernel says how many words its masks have, as a negative number, and wants to be
        // told.
        if words[0] == ioctl::GLINKSETTINGS {
            let masks = (words[3] >> 24) as u8;
            words = [0; 512];
            words[0] = self.0 - 1;
            words[3] = u32::from(masks.wrapping_neg()) << 24;
            ethtool.call(&mut words)??;
        }
        Ok(words)
    }

    fn get(self, ethtool: &Ethtool) -> Result<u32> {
        let Self(_, offset, len) = self;
        let word = self.words(ethtool)?[offset / 4].to_ne_bytes();

        Ok(number(&word[offset % 4..][..len])? as u32)
    }

    fn set(self, ethtool: &Ethtool, value: u32) -> Result<bool> {
        let Self(command, offset, len) = self;
        let mut words = self.words(ethtool)?;
        let mut word = words[offset / 4].to_ne_bytes();

        word[offset % 4..][..len].copy_from_slice(&bytes(value, len));
        words[0] = command;
        words[offset / 4] = u32::from_ne_bytes(word);
        Ok(ethtool.call(&mut words)?.is_ok())
    }
}

impl Attribute {
    /// An attribute that is not there counts as 0.
    fn get(self, port: &Port) -> Result<u32> {
        let Self(command, kind, _) = self;
        let answer = netlink::get(port, command - 1)?;

        Ok(attr(&answer, kind).map_or(Ok(0), number)? as u32)
    }

    fn set(self, port: &Port, value: u32) -> Result<bool> {
        let Self(command, kind, len) = self;

        is_taken(netlink::set(port, command, kind, &bytes(value, len)))
    }
}

/// What is not there is 0.
const fn absent(
    name: &'static str,
    member: Option<Member>,
    attribute: Option<Attribute>,
) -> Number {
    Number {
        name,
        member,
        attribute,
        limits: &[],
        becomes: |value| (value == 0).then_some(0),
    }
}

/// A member that is a word, and an attribute of the same meaning.
const fn word(command: u32, at: usize) -> Option<Member> {
    Some(Member(command, 4 * at, 4))
}

const RING_SIZES: [u32; 8] = [63, 64, 65, 128, 4095, 4096, 4097, 8192];

fn ring_size(n: u32) -> Option<u32> {
    ((64..=4096).contains(&n) && n.is_power_of_two()).then_some(n)
}

fn all_numbers() -> Vec<Number> {
    use ioctl::{SCHANNELS, SCOALESCE, SFLAGS, SLINKSETTINGS, SMSGLVL, SPAUSEPARAM, SRINGPARAM};
    use netlink::{ETHTOOL_MSG_CHANNELS_SET as CHANNELS, ETHTOOL_MSG_RINGS_SET as RINGS};
    const COALESCE: u8 = ETHTOOL_MSG_COALESCE_SET;
    const PAUSE: u8 = ETHTOOL_MSG_PAUSE_SET;
    /// `ETH_FLAG_TXVLAN`, `_RXVLAN`, `_NTUPLE` and `_RXHASH`.
    const FLAGS: u32 = (1 << 7) | (1 << 8) | (1 << 27) | (1 << 28);
    const SWITCH: fn(u32) -> Option<u32> = |value| Some((value != 0).into());
    let mut numbers = vec![
        Number {
            name: "rx",
            member: word(SRINGPARAM, 5),
            attribute: Some(Attribute(RINGS, 6, 4)),
            limits: &RING_SIZES,
            becomes: ring_size,
        },
        Number {
            name: "tx",
            member: word(SRINGPARAM, 8),
            attribute: Some(Attribute(RINGS, 9, 4)),
            limits: &RING_SIZES,
            becomes: ring_size,
        },
        Number {
            name: "combined",
            member: word(SCHANNELS, 8),
            attribute: Some(Attribute(CHANNELS, 9, 4)),
            limits: &[2, QUEUES, QUEUES + 1, 64, 65],
            becomes: |n| (1..=QUEUES).contains(&n).then_some(n),
        },
        Number {
            name: "rx-usecs",
            member: word(SCOALESCE, 1),
            attribute: Some(Attribute(COALESCE, 2, 4)),
            limits: &[9_999, 10_000, 10_001],
            becomes: |n| (n <= 10_000).then_some(n),
        },
        Number {
            name: "rx-frames",
            member: word(SCOALESCE, 2),
            attribute: Some(Attribute(COALESCE, 3, 4)),
            limits: &[511, 512, 513],
            becomes: |n| (n <= 512).then_some(n),
        },
        Number {
            name: "adaptive-rx",
            member: word(SCOALESCE, 10),
            attribute: Some(Attribute(COALESCE, 11, 1)),
            limits: &[2],
            becomes: SWITCH,
        },
        Number {
            name: "pause rx",
            member: word(SPAUSEPARAM, 2),
            attribute: Some(Attribute(PAUSE, 3, 1)),
            limits: &[2],
            becomes: SWITCH,
        },
        Number {
            name: "pause tx",
            member: word(SPAUSEPARAM, 3),
            attribute: Some(Attribute(PAUSE, 4, 1)),
            limits: &[2],
            becomes: SWITCH,
        },
        Number {
            name: "speed",
            member: word(SLINKSETTINGS, 1),
            attribute: Some(Attribute(ETHTOOL_MSG_LINKMODES_SET, 5, 4)),
            limits: &[9_999_999, 10_000_000, 10_000_001],
            becomes: |n| match n {
                1..=10_000_000 => Some(n),
                // Unknown (SPEED_UNKNOWN): it stays as it is.
                u32::MAX => Some(10_000),
                _ => None,
            },
        },
        Number {
            name: "duplex",
            member: Some(Member(SLINKSETTINGS, 8, 1)),
            attribute: Some(Attribute(ETHTOOL_MSG_LINKMODES_SET, 6, 1)),
            limits: &[2],
            // Unknown (DUPLEX_UNKNOWN) leaves it as it is.
            becomes: |n| [1, 0xff].contains(&n).then_some(1),
        },
        Number {
            name: "port",
            member: Some(Member(SLINKSETTINGS, 9, 1)),
            attribute: Some(Attribute(ETHTOOL_MSG_LINKINFO_SET, 2, 1)),
            limits: &[0xfe],
            becomes: |n| (n == 0xff).then_some(0xff),
        },
        Number {
            name: "msglvl",
            member: word(SMSGLVL, 1),
            attribute: None,
            limits: &[],
            becomes: Some,
        },
        Number {
            name: "flags",
            member: word(SFLAGS, 1),
            attribute: None,
            limits: &[1 << 7, 1 << 15, FLAGS, FLAGS | (1 << 15)],
            becomes: |n| (n & !FLAGS == 0).then_some(n),
        },
        absent(
            "pause autoneg",
            word(SPAUSEPARAM, 1),
            Some(Attribute(PAUSE, 2, 1)),
        ),
        absent(
            "autoneg",
            Some(Member(SLINKSETTINGS, 11, 1)),
            Some(Attribute(ETHTOOL_MSG_LINKMODES_SET, 2, 1)),
        ),
        absent(
            "phyad",
            Some(Member(SLINKSETTINGS, 10, 1)),
            Some(Attribute(ETHTOOL_MSG_LINKINFO_SET, 3, 1)),
        ),
        absent(
            "mdix",
            Some(Member(SLINKSETTINGS, 14, 1)),
            Some(Attribute(ETHTOOL_MSG_LINKINFO_SET, 5, 1)),
        ),
        absent(
            "master-slave",
            Some(Member(SLINKSETTINGS, 17, 1)),
            Some(Attribute(ETHTOOL_MSG_LINKMODES_SET, 7, 1)),
        ),
        absent(
            "lanes",
            None,
            Some(Attribute(ETHTOOL_MSG_LINKMODES_SET, 9, 4)),
        ),
    ];

    for (at, name) in ["rx-mini", "rx-jumbo"].into_iter().enumerate() {
        let attribute = Attribute(RINGS, 7 + at as u16, 4);
        numbers.push(absent(name, word(SRINGPARAM, 6 + at), Some(attribute)));
    }
    // Length of a buffer, where to split headers off, size of a completion, push modes and buffer.
    for (kind, len) in [
        (10, 4),
        (11, 1),
        (12, 4),
        (13, 1),
        (14, 1),
        (15, 4),
        (17, 4),
    ] {
        numbers.push(absent(
            "another of -G",
            None,
            Some(Attribute(RINGS, kind, len)),
        ));
    }
    for (at, name) in ["channels rx", "channels tx", "channels other"]
        .into_iter()
        .enumerate()
    {
        let attribute = Attribute(CHANNELS, 6 + at as u16, 4);
        numbers.push(absent(name, word(SCHANNELS, 5 + at), Some(attribute)));
    }
    for at in (3..=9).chain(11..=22) {
        let len = if at == 11 { 1 } else { 4 };
        let attribute = Attribute(COALESCE, at as u16 + 1, len);
        numbers.push(absent(
            "another of -C",
            word(SCOALESCE, at),
            Some(attribute),
        ));
    }
    numbers
}

/// What is set in one way is the same when it is asked for in the other.
pub fn numbers(port: &Port) -> Result<()> {
    let ethtool = Ethtool::open(port)?;
    let tried = Tried::new(port)?;

    for number in all_numbers() {
        let Number {
            name,
            member,
            attribute,
            limits,
            becomes,
        } = number;
        let get = || -> Result<_> {
            Ok((
                member.map(|member| member.get(&ethtool)).transpose()?,
                attribute.map(|attribute| attribute.get(port)).transpose()?,
            ))
        };
        // With these there is nothing to be set, so that nothing is no reason to be refused.
        let is_absent = becomes(1).is_none() && limits.is_empty();

        for value in EDGES.into_iter().chain(limits.iter().copied()) {
            let (old, _) = get()?;
            for by_netlink in [false, true] {
                let len = match (by_netlink, member, attribute) {
                    (false, Some(Member(_, _, len)), _) | (true, _, Some(Attribute(_, _, len))) => {
                        len
                    }
                    _ => continue,
                };
                let way = if by_netlink { "netlink" } else { "ioctl" };
                let what = format!("{name} {value}, by {way}");
                let set = |value| match (by_netlink, member, attribute) {
                    (false, Some(member), _) => member.set(&ethtool, value),
                    (_, _, Some(attribute)) => attribute.set(port, value),
                    _ => Ok(false),
                };
                let value = if len == 1 { value.min(0xff) } else { value };

                if is_absent && value == 0 {
                    set(value).context(what.clone())?;
                    tried.ensure_same(&what)?;
                    continue;
                }
                let new = becomes(value);
                tried.attempt(
                    &what,
                    new.is_some(),
                    || set(value),
                    || {
                        ensure_eq!(
                            get()?,
                            (member.and(new), attribute.and(new)),
                            "by ioctl and by netlink"
                        );
                        Ok(())
                    },
                    || {
                        let taken = set(old.unwrap_or(0))?;
                        ensure!(taken, "refused");
                        Ok(())
                    },
                )?;
            }
        }
    }
    Ok(())
}
