// SPDX-License-Identifier: GPL-2.0

//! The table.

use super::{shown, Set, Setting, Shown, SETTING};
use crate::{
    bed::Bed,
    bpf::Program,
    host::ensure_eq,
    nl::netdev,
    support::{
        buffers::{MTU_MAX, SINGLE_MTU},
        hwtstamp,
        polls::poll_in_threads,
        qstats::check_first,
        rss::{check_spread, hashed},
    },
};
use anyhow::{ensure, Result};
use const_format::formatcp;

/// Headings of `ethtool -g` and `-l`.
const MAXIMUM: &str = "Pre-set maximums";
const CURRENT: &str = "Current hardware settings";

const NOT_SUPPORTED: &str = "Operation not supported";
const INVALID: &str = "Invalid argument";
/// ethtool itself decides what it says.
const ANY_WORDS: &str = "";

/// Does the same at both ports.
fn both(bed: &Bed, option: &str, what: &str) -> Result<()> {
    [&bed.a, &bed.b]
        .iter()
        .try_for_each(|port| port.ethtool(option, what).map(drop))
}

// ethtool -G

const NO_RING_SIZE: &str = "rx: must be a power of two from 64 to 4096";
const NO_TX_RING_SIZE: &str = "tx: must be a power of two from 64 to 4096";
const TOO_LARGE: &str = "requested ring size exceeds maximum";

pub const RING_SIZE: Setting = Setting {
    set: Set::Command("ethtool -G DEV"),
    shown: &[
        Shown::Ethtool("-g", MAXIMUM, "RX"),
        Shown::Ethtool("-g", CURRENT, "RX"),
    ],
    default: &["4096", "512"],
    accepted: &[
        ("rx 64", &["4096", "64"]),
        ("rx 1024", &["4096", "1024"]),
        ("rx 128", &["4096", "128"]),
        ("rx 64", &["4096", "64"]),
        ("rx 4096", &["4096", "4096"]),
        ("rx 256", &["4096", "256"]),
        ("rx 512", &["4096", "512"]),
    ],
    refused: &[
        ("rx 32", NO_RING_SIZE),
        ("rx 0", NO_RING_SIZE),
        ("rx 100", NO_RING_SIZE),
        ("rx 4095", NO_RING_SIZE),
        ("rx 8192", TOO_LARGE),
    ],
    works: |bed, values| check_buffers(bed, values[1].parse()?),
    ..SETTING
};

pub const RING_SIZE_WITH_THREADS: Setting = Setting {
    before: |bed| {
        poll_in_threads(&bed.a)?;
        poll_in_threads(&bed.b)
    },
    ..RING_SIZE
};

/// Of AF_XDP sockets in zero-copy mode.
pub const TX_RING_SIZE: Setting = Setting {
    set: Set::Command("ethtool -G DEV"),
    shown: &[
        Shown::Ethtool("-g", MAXIMUM, "TX"),
        Shown::Ethtool("-g", CURRENT, "TX"),
    ],
    default: &["4096", "512"],
    accepted: &[
        ("tx 64", &["4096", "64"]),
        ("tx 4096", &["4096", "4096"]),
        ("tx 512", &["4096", "512"]),
    ],
    refused: &[
        ("tx 32", NO_TX_RING_SIZE),
        ("tx 0", NO_TX_RING_SIZE),
        ("tx 100", NO_TX_RING_SIZE),
        ("tx 8192", TOO_LARGE),
    ],
    then: &["ethtool -G DEV rx 256", "ethtool -G DEV rx 512"],
    ..SETTING
};

/// Each of two rings has a buffer in every descriptor, but for those that are being refilled.
fn check_buffers(bed: &Bed, size: u64) -> Result<()> {
    const REFILLED: u64 = 64;
    let pools = bed.b.ns.enter(netdev::page_pools)?;
    let posted: u64 = pools
        .iter()
        .filter(|pool| pool.ifindex == Some(bed.b.ifindex.into()) && !pool.detached)
        .map(|pool| pool.inflight.unwrap_or(0))
        .sum();

    ensure!(
        (2 * size - REFILLED..=2 * size).contains(&posted),
        "{posted} buffers are posted to 2 rings of {size}"
    );
    check_first(&bed.b, 2)
}

// ethtool -L

const TOO_MANY_CHANNELS: &str = "requested channel count exceeds maximum";
const CHANNEL_IN_USE: &str =
    "requested channel counts are too low for existing indirection table (2)";

pub const CHANNELS: Setting = Setting {
    set: Set::Command("ethtool -L DEV"),
    shown: &[
        Shown::Ethtool("-l", MAXIMUM, "Combined"),
        Shown::Ethtool("-l", CURRENT, "Combined"),
    ],
    default: &["4", "4"],
    // In the end some are gone, whose frames are still in the sums.
    accepted: &[
        ("combined 1", &["4", "1"]),
        ("combined 4", &["4", "4"]),
        ("combined 2", &["4", "2"]),
        ("combined 1", &["4", "1"]),
        ("combined 3", &["4", "3"]),
        ("combined 4", &["4", "4"]),
        ("combined 3", &["4", "3"]),
        ("combined 1", &["4", "1"]),
    ],
    refused: &[
        ("combined 5", TOO_MANY_CHANNELS),
        (
            "combined 0",
            "requested channel counts would result in no RX or TX channel being configured",
        ),
        ("rx 1", TOO_MANY_CHANNELS),
        ("combined 2 tx 1", TOO_MANY_CHANNELS),
    ],
    then: &["ethtool -G DEV rx 256", "ethtool -G DEV rx 512"],
    works: |bed, values| check_channels(bed, values[1].parse()?, values[1].parse()?),
    ..SETTING
};

/// A table that the user has set stays, and its queues must.
pub const CHANNELS_OF_A_TABLE: Setting = Setting {
    accepted: &[("combined 3", &["4", "3"]), ("combined 4", &["4", "4"])],
    refused: &[
        ("combined 2", CHANNEL_IN_USE),
        ("combined 1", CHANNEL_IN_USE),
    ],
    before: |bed| both(bed, "-X", "weight 1 1 1 0"),
    works: |bed, values| check_channels(bed, values[1].parse()?, 3),
    ..CHANNELS
};

/// The kernel has `count` queues, and frames reach the first `used` of them.
fn check_channels(bed: &Bed, count: usize, used: usize) -> Result<()> {
    bed.b.expect_queues(count)?;
    check_spread(bed, used)?;
    check_first(&bed.b, count)
}

// ethtool -C

const USECS: &str = "rx-usecs: at most 10000";
const FRAMES: &str = "rx-frames: at most 512, the size of the ring";
const UNSUPPORTED_PARAMETER: &str = "cannot modify an unsupported parameter";

pub const MODERATION: Setting = Setting {
    set: Set::Command("ethtool -C DEV"),
    shown: &[
        Shown::Ethtool("-c", "", "rx-usecs"),
        Shown::Ethtool("-c", "", "rx-frames"),
        Shown::Ethtool("-c", "", "Adaptive RX"),
    ],
    default: &["0", "64", "on"],
    accepted: &[
        ("rx-usecs 10000", &["10000", "64", "on"]),
        ("adaptive-rx off", &["10000", "64", "off"]),
        ("rx-frames 512", &["10000", "512", "off"]),
        ("rx-usecs 0 rx-frames 64", &["0", "64", "off"]),
        ("rx-usecs 0 rx-frames 0", &["0", "0", "off"]),
        ("rx-usecs 50 rx-frames 1", &["50", "1", "off"]),
        ("rx-usecs 3000 rx-frames 3", &["3000", "3", "off"]),
        ("rx-usecs 10000 rx-frames 0", &["10000", "0", "off"]),
        ("adaptive-rx on rx-usecs 7 rx-frames 9", &["7", "9", "on"]),
        (
            "adaptive-rx off rx-usecs 0 rx-frames 64",
            &["0", "64", "off"],
        ),
        ("adaptive-rx on", &["0", "64", "on"]),
    ],
    refused: &[
        ("rx-usecs 10001", USECS),
        ("rx-usecs 4294967295", USECS),
        ("adaptive-rx off rx-usecs 10001 rx-frames 3", USECS),
        ("rx-frames 513", FRAMES),
        ("rx-usecs 9 rx-frames 4294967295", FRAMES),
        ("tx-usecs 5", UNSUPPORTED_PARAMETER),
        ("adaptive-tx on", UNSUPPORTED_PARAMETER),
        ("rx-usecs 7 rx-usecs-irq 7", UNSUPPORTED_PARAMETER),
    ],
    ..SETTING
};

pub const MODERATION_OF_A_SMALL_RING: Setting = Setting {
    accepted: &[
        ("rx-frames 0", &["0", "0", "on"]),
        ("rx-frames 64", &["0", "64", "on"]),
    ],
    refused: &[(
        "rx-frames 65",
        "rx-frames: at most 64, the size of the ring",
    )],
    ..MODERATION
};

pub const MODERATION_OF_A_LARGER_RING: Setting = Setting {
    accepted: &[
        ("rx-frames 65", &["0", "65", "on"]),
        ("rx-frames 256", &["0", "256", "on"]),
    ],
    refused: &[(
        "rx-frames 257",
        "rx-frames: at most 256, the size of the ring",
    )],
    before: |bed| both(bed, "-G", "rx 256"),
    ..MODERATION
};

// ethtool -A

const AUTONEG_REFUSED: &str = "oxnic DEV: pause: autonegotiation not supported";

pub const FLOW_CONTROL: Setting = Setting {
    set: Set::Command("ethtool -A DEV"),
    shown: &[
        Shown::Ethtool("-a", "", "Autonegotiate"),
        Shown::Ethtool("-a", "", "RX"),
        Shown::Ethtool("-a", "", "TX"),
    ],
    default: &["off", "on", "on"],
    accepted: &[
        ("rx off", &["off", "off", "on"]),
        ("tx off", &["off", "off", "off"]),
        ("rx on", &["off", "on", "off"]),
        ("autoneg off tx on", &["off", "on", "on"]),
        ("rx off tx off", &["off", "off", "off"]),
        ("rx on tx on", &["off", "on", "on"]),
    ],
    refused: &[
        ("autoneg on", NOT_SUPPORTED),
        // ethtool shows no reason, so the log has it.
        ("autoneg on", AUTONEG_REFUSED),
        ("autoneg on rx off", AUTONEG_REFUSED),
    ],
    may_lose: true,
    ..SETTING
};

// ethtool -s

const SPEED_REFUSED: &str = "oxnic DEV: link: speed must be 1 to 10000000 Mb/s";
const HALF_REFUSED: &str = "oxnic DEV: link: half duplex not supported";

pub const LINK: Setting = Setting {
    set: Set::Command("ethtool -s DEV"),
    shown: &[
        Shown::Ethtool("", "", "Speed"),
        Shown::Ethtool("", "", "Duplex"),
        Shown::Ethtool("", "", "Auto-negotiation"),
        Shown::Ethtool("", "", "Port"),
    ],
    default: &["10000Mb/s", "Full", "off", "Other"],
    accepted: &[
        ("speed 50000", &["50000Mb/s", "Full", "off", "Other"]),
        ("duplex full", &["50000Mb/s", "Full", "off", "Other"]),
        (
            "speed 25000 duplex full autoneg off",
            &["25000Mb/s", "Full", "off", "Other"],
        ),
        ("speed 1", &["1Mb/s", "Full", "off", "Other"]),
        (
            "speed 10000000 duplex full",
            &["10000000Mb/s", "Full", "off", "Other"],
        ),
    ],
    // ethtool shows no reason, so the log has it.
    refused: &[
        ("speed 0", SPEED_REFUSED),
        ("speed 10000001", SPEED_REFUSED),
        ("duplex half", HALF_REFUSED),
        ("speed 25000 duplex half", HALF_REFUSED),
        (
            "autoneg on",
            "oxnic DEV: link: autonegotiation not supported",
        ),
        ("port tp", NOT_SUPPORTED),
        ("advertise 0x1000", ANY_WORDS),
    ],
    without_link: Some(&["Unknown!", "Unknown! (255)", "off", "Other"]),
    both_ends: true,
    works: |bed, values| check_sysfs(bed, values[0]),
    ..SETTING
};

/// The files in sysfs show the same, at both ends.
fn check_sysfs(bed: &Bed, speed: &str) -> Result<()> {
    const FILES: [Shown; 2] = [Shown::Sysfs("speed"), Shown::Sysfs("duplex")];

    for port in [&bed.a, &bed.b] {
        ensure_eq!(
            shown::read(&FILES, port)?,
            [speed.trim_end_matches("Mb/s"), "full"],
            "{}: speed and duplex in sysfs",
            port.name
        );
    }
    Ok(())
}

/// Only types that say nothing about single frames.
pub const MESSAGES: Setting = Setting {
    set: Set::Command("ethtool -s DEV msglvl"),
    shown: &[Shown::Ethtool("", "", "Current message level")],
    default: &["0x00000001 (1)"],
    accepted: &[
        ("drv off", &["0x00000000 (0)"]),
        ("probe on link on", &["0x00000006 (6)"]),
        ("0x0f", &["0x0000000f (15)"]),
        ("probe off timer off", &["0x00000005 (5)"]),
        ("0x01", &["0x00000001 (1)"]),
    ],
    ..SETTING
};

// ethtool -K

/// A feature that can be switched, and is on or off at first; or one that the port does not have.
macro_rules! feature {
    ($option:literal, $name:literal, on) => {
        feature!(
            $option,
            $name,
            "on",
            &[("off", &["off"]), ("on", &["on"])],
            &[]
        )
    };
    ($option:literal, $name:literal, off) => {
        feature!(
            $option,
            $name,
            "off",
            &[("on", &["on"]), ("off", &["off"])],
            &[]
        )
    };
    ($option:literal, $name:literal, none) => {
        feature!(
            $option,
            $name,
            "off [fixed]",
            &[],
            &[("on", "Could not change any device features")]
        )
    };
    ($option:literal, $name:literal, $default:literal, $accepted:expr, $refused:expr) => {
        Setting {
            set: Set::Command(concat!("ethtool -K DEV ", $option)),
            shown: &[Shown::Ethtool("-k", "", $name)],
            default: &[$default],
            accepted: $accepted,
            refused: $refused,
            ..SETTING
        }
    };
}

pub const FEATURES: [Setting; 24] = [
    feature!("rx", "rx-checksumming", on),
    feature!("tx", "tx-checksumming", on),
    feature!("tx-checksum-ip-generic", "tx-checksum-ip-generic", on),
    feature!("sg", "scatter-gather", on),
    feature!("tx-scatter-gather", "tx-scatter-gather", on),
    feature!("highdma", "highdma", on),
    feature!("rxhash", "receive-hashing", on),
    feature!("ntuple", "ntuple-filters", on),
    feature!("gro", "generic-receive-offload", on),
    feature!("tso", "tcp-segmentation-offload", on),
    feature!("tx-tcp-segmentation", "tx-tcp-segmentation", on),
    feature!("tx-tcp6-segmentation", "tx-tcp6-segmentation", on),
    feature!("tx-tcp-ecn-segmentation", "tx-tcp-ecn-segmentation", on),
    feature!("rxvlan", "rx-vlan-offload", on),
    feature!("txvlan", "tx-vlan-offload", on),
    feature!("rx-vlan-stag-hw-parse", "rx-vlan-stag-hw-parse", off),
    feature!("tx-vlan-stag-hw-insert", "tx-vlan-stag-hw-insert", off),
    feature!("rx-vlan-filter", "rx-vlan-filter", off),
    feature!("tx-udp-segmentation", "tx-udp-segmentation", none),
    feature!("tx-gso-partial", "tx-gso-partial", none),
    feature!("tx-checksum-ipv4", "tx-checksum-ipv4", none),
    feature!("lro", "large-receive-offload", none),
    feature!("rx-gro-hw", "rx-gro-hw", none),
    feature!("loopback", "loopback", none),
];

// ethtool -X and -N

macro_rules! own_key {
    () => {
        "6d:5a:56:da:25:5b:0e:c2:41:67:25:3d:43:a3:8f:b0:d0:ca:2b:cb:\
         ae:7b:30:b4:77:cb:2d:a3:80:30:f2:0c:6a:42:b7:3b:be:ac:01:fa"
    };
}
/// What shows with the system's key, and with that key.
macro_rules! shows {
    ($table:literal, $rest:literal) => {
        &[concat!($table, "; key of the system; ", $rest)]
    };
    ($table:literal, own, $rest:literal) => {
        &[concat!($table, "; key ", own_key!(), "; ", $rest)]
    };
}

pub const RSS: Setting = Setting {
    set: Set::Command("ethtool -X DEV"),
    shown: &[Shown::By(
        "table, key, function and transformation",
        shown::rss,
    )],
    default: shows!("0 1 2 3", "toeplitz"),
    accepted: &[
        ("equal 3", shows!("0 1 2", "toeplitz")),
        (
            concat!("hkey ", own_key!()),
            shows!("0 1 2", own, "toeplitz"),
        ),
        ("weight 1 0 3 0", shows!("0x32 2x96", own, "toeplitz")),
        (
            "xfrm symmetric-xor",
            shows!("0x32 2x96", own, "toeplitz symmetric-xor"),
        ),
        ("default", shows!("0 1 2 3", own, "toeplitz symmetric-xor")),
        (
            "equal 1 start 3",
            shows!("3", own, "toeplitz symmetric-xor"),
        ),
        ("xfrm none hkey KEY equal 1", shows!("0", "toeplitz")),
        ("default", shows!("0 1 2 3", "toeplitz")),
    ],
    refused: &[
        ("hfunc xor", NOT_SUPPORTED),
        ("equal 5", INVALID),
        ("weight 1 1 1 1 1", INVALID),
        ("hkey 00:11", "Key is too short"),
        ("context 1 equal 1", "No such file or directory"),
    ],
    ..SETTING
};

pub const RSS_FIELDS: Setting = Setting {
    set: Set::Command("ethtool -N DEV rx-flow-hash"),
    shown: &[
        Shown::By("ethtool -n, tcp4", |port| hashed(port, "tcp4")),
        Shown::By("ethtool -n, udp4", |port| hashed(port, "udp4")),
        Shown::By("ethtool -n, tcp6", |port| hashed(port, "tcp6")),
        Shown::By("ethtool -n, udp6", |port| hashed(port, "udp6")),
        Shown::By("ethtool -n, sctp4", |port| hashed(port, "sctp4")),
        Shown::By("ethtool -n, esp6", |port| hashed(port, "esp6")),
    ],
    default: &["sdfn", "sdfn", "sdfn", "sdfn", "sd", "sd"],
    accepted: &[
        ("udp4 sd", &["sdfn", "sd", "sdfn", "sdfn", "sd", "sd"]),
        ("udp4 f", &["sdfn", "f", "sdfn", "sdfn", "sd", "sd"]),
        ("tcp4 n", &["n", "f", "sdfn", "sdfn", "sd", "sd"]),
        ("tcp6 d", &["n", "f", "d", "sdfn", "sd", "sd"]),
        ("udp6 s", &["n", "f", "d", "s", "sd", "sd"]),
        ("udp4 sdfn", &["n", "sdfn", "d", "s", "sd", "sd"]),
        ("tcp4 sdfn", &["sdfn", "sdfn", "d", "s", "sd", "sd"]),
        ("tcp6 sdfn", &["sdfn", "sdfn", "sdfn", "s", "sd", "sd"]),
        ("udp6 sdfn", &["sdfn", "sdfn", "sdfn", "sdfn", "sd", "sd"]),
    ],
    refused: &[
        ("tcp4 v", NOT_SUPPORTED),
        ("udp4 sdfnm", NOT_SUPPORTED),
        ("sctp4 s", NOT_SUPPORTED),
        ("esp6 sd", NOT_SUPPORTED),
        ("tcp6 t", NOT_SUPPORTED),
    ],
    ..SETTING
};

/// With a symmetric transformation both directions of a flow must have the same fields.
pub const FIELDS_OF_A_SYMMETRIC_HASH: Setting = Setting {
    accepted: &[
        ("tcp4 sd", &["sd", "sdfn", "sdfn", "sdfn", "sd", "sd"]),
        ("tcp4 sdfn", &["sdfn", "sdfn", "sdfn", "sdfn", "sd", "sd"]),
    ],
    refused: &[("tcp4 sdf", INVALID), ("udp6 d", INVALID)],
    before: |bed| both(bed, "-X", "xfrm symmetric-xor"),
    ..RSS_FIELDS
};

pub const SYMMETRY_OF_OTHER_FIELDS: Setting = Setting {
    accepted: &[
        ("equal 2", shows!("0 1", "toeplitz")),
        ("default", shows!("0 1 2 3", "toeplitz")),
    ],
    refused: &[("xfrm symmetric-xor", INVALID)],
    before: |bed| both(bed, "-N", "rx-flow-hash udp6 s"),
    ..RSS
};

const NO_QUEUE: &str = "oxnic DEV: ntuple: queue 2 out of range (2 queues)";
const NO_LOCATION: &str = "oxnic DEV: ntuple: location 64 out of range (0-63)";
const NO_RULE: &str = "oxnic DEV: ntuple: unsupported flow type or action";

pub const RULES: Setting = Setting {
    set: Set::Command("ethtool -N DEV"),
    shown: &[Shown::By("locations of rules", shown::rules)],
    default: &[""],
    accepted: &[
        ("flow-type ether proto 0x806 action 1", &["0"]),
        ("delete 0", &[""]),
        ("flow-type udp4 dst-port 9 action 1 loc 3", &["3"]),
        ("flow-type tcp4 action -1 loc 63", &["3 63"]),
        ("flow-type ether proto 0x806 action 1", &["0 3 63"]),
        ("delete 63", &["0 3"]),
        ("delete 3", &["0"]),
    ],
    // ethtool shows no reason, so the log has it.
    refused: &[
        ("flow-type udp4 action 2", NO_QUEUE),
        ("flow-type udp4 action -2", NO_RULE),
        ("flow-type udp4 action 1 loc 64", NO_LOCATION),
        ("flow-type sctp4 action 1", NO_RULE),
        ("flow-type esp4 spi 1 action 1", NO_RULE),
        ("flow-type ip4 l4data 1 action 1", NO_RULE),
        ("flow-type udp4 user-def 1 action 1", NO_RULE),
        ("flow-type udp4 vf 1 queue 1", NO_RULE),
        ("delete 1", "Cannot delete"),
        ("delete 64", "Cannot delete"),
    ],
    ..SETTING
};

// ip link set

const TOO_LARGE_MTU: &str = "mtu greater than device maximum";
const TOO_SMALL_MTU: &str = "mtu less than device minimum";

/// Values of the MTU as they are typed and shown: the greatest, the greatest at which each frame is in
/// one buffer, and the next.
const GREATEST_MTU: &str = formatcp!("{MTU_MAX}");
const ONE_BUFFER_MTU: &str = formatcp!("{SINGLE_MTU}");
const TWO_BUFFERS_MTU: &str = formatcp!("{}", SINGLE_MTU + 1);

pub const MTU: Setting = Setting {
    set: Set::Command("ip link set dev DEV mtu"),
    shown: &[
        Shown::By("MTU", |port| Ok(port.link()?.mtu.to_string())),
        Shown::By("least MTU", |port| Ok(port.link()?.min_mtu.to_string())),
        Shown::By("greatest MTU", |port| Ok(port.link()?.max_mtu.to_string())),
    ],
    default: &["1500", "68", GREATEST_MTU],
    accepted: &[
        ("68", &["68", "68", GREATEST_MTU]),
        (GREATEST_MTU, &[GREATEST_MTU, "68", GREATEST_MTU]),
        (TWO_BUFFERS_MTU, &[TWO_BUFFERS_MTU, "68", GREATEST_MTU]),
        ("1500", &["1500", "68", GREATEST_MTU]),
    ],
    refused: &[
        (formatcp!("{}", MTU_MAX + 1), TOO_LARGE_MTU),
        ("65536", TOO_LARGE_MTU),
        ("67", TOO_SMALL_MTU),
        ("0", TOO_SMALL_MTU),
    ],
    ..SETTING
};

/// A program that does not support frames in several buffers.
pub const MTU_WITH_A_PROGRAM: Setting = Setting {
    default: &["1500", "68", ONE_BUFFER_MTU],
    accepted: &[
        ("68", &["68", "68", ONE_BUFFER_MTU]),
        (ONE_BUFFER_MTU, &[ONE_BUFFER_MTU, "68", ONE_BUFFER_MTU]),
        ("1500", &["1500", "68", ONE_BUFFER_MTU]),
    ],
    refused: &[
        (TWO_BUFFERS_MTU, TOO_LARGE_MTU),
        (GREATEST_MTU, TOO_LARGE_MTU),
        ("67", TOO_SMALL_MTU),
        ("0", TOO_SMALL_MTU),
    ],
    before: |bed| {
        let program = Program::sample("xdp_pass")?;

        bed.a.attach(&program)?;
        bed.b.attach(&program)
    },
    programs: ["count_drop", "count_pass"],
    ..MTU
};

// SIOCSHWTSTAMP: ethtool has no option for it yet.

/// Values and what shows: `tx_type` and `rx_filter`.
pub const TIME_STAMPS: Setting = Setting {
    set: Set::By("SIOCSHWTSTAMP", hwtstamp::set_text),
    shown: &[Shown::By("SIOCGHWTSTAMP", hwtstamp::text)],
    default: &["0 0"],
    accepted: &[
        ("1 0", &["1 0"]),
        ("0 1", &["0 1"]),
        // PTP, and NTP.
        ("1 12", &["1 1"]),
        ("0 15", &["0 1"]),
        ("0 0", &["0 0"]),
        ("1 1", &["1 1"]),
    ],
    refused: &[
        ("2 0", hwtstamp::ONE_STEP_REFUSED),
        ("3 1", hwtstamp::ONE_STEP_REFUSED),
        ("4 0", "Math result not representable"),
        ("0 16", "Math result not representable"),
    ],
    works: |bed, values| hwtstamp::check(bed, values[0]),
    // They are still there afterwards, when a socket wants to receive at each port.
    programs: ["count_pass_frags", "count_pass_frags"],
    ..SETTING
};

const NO_ADDRESS: &str = "Cannot assign requested address";

pub const ADDRESS: Setting = Setting {
    set: Set::Command("ip link set dev DEV address"),
    shown: &[Shown::By("address", shown::mac)],
    accepted: &[
        ("02:aa:bb:cc:dd:01", &["02:aa:bb:cc:dd:01"]),
        ("02:aa:bb:cc:dd:02", &["02:aa:bb:cc:dd:02"]),
    ],
    refused: &[
        ("01:00:5e:00:00:01", NO_ADDRESS),
        ("ff:ff:ff:ff:ff:ff", NO_ADDRESS),
        ("00:00:00:00:00:00", NO_ADDRESS),
    ],
    ..SETTING
};

pub const PROMISC: Setting = Setting {
    set: Set::Command("ip link set dev DEV promisc"),
    shown: &[Shown::By("promiscuous mode", |port| {
        Ok(shown::on_or_off(port.link()?.promisc))
    })],
    default: &["off"],
    accepted: &[("on", &["on"]), ("off", &["off"])],
    ..SETTING
};

pub const ALLMULTICAST: Setting = Setting {
    set: Set::Command("ip link set dev DEV allmulticast"),
    shown: &[Shown::By("all-multicast mode", |port| {
        Ok(shown::on_or_off(port.link()?.allmulticast))
    })],
    ..PROMISC
};

// sysfs

/// NAPIs of a port that is down are no NAPIs that could have a thread.
pub const NAPI: [Setting; 3] = [
    Setting {
        set: Set::Sysfs("threaded"),
        shown: &[Shown::Sysfs("threaded")],
        default: &["0"],
        accepted: &[("1", &["1"]), ("0", &["0"])],
        refused: &[("2", NOT_SUPPORTED)],
        refused_when_down: Some(NOT_SUPPORTED),
        ..SETTING
    },
    Setting {
        set: Set::Sysfs("gro_flush_timeout"),
        shown: &[Shown::Sysfs("gro_flush_timeout")],
        default: &["0"],
        accepted: &[("40000", &["40000"]), ("20000", &["20000"])],
        refused: &[("-1", INVALID)],
        ..SETTING
    },
    Setting {
        set: Set::Sysfs("napi_defer_hard_irqs"),
        shown: &[Shown::Sysfs("napi_defer_hard_irqs")],
        default: &["0"],
        accepted: &[("2", &["2"]), ("0", &["0"])],
        refused: &[("2147483648", "Numerical result out of range")],
        ..SETTING
    },
];
