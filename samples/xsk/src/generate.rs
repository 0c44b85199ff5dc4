// SPDX-License-Identifier: GPL-2.0

//! `xsk generate`: sends UDP datagrams as fast as it can, with metadata for the card.

use crate::{
    rates::{row, Clock, Count},
    socket::{map_frames, Socket, RING},
    wait, Common, Report,
};
use anyhow::{anyhow, ensure, Context, Result};
use nix::{
    sys::time::TimeSpec,
    time::{clock_gettime, ClockId},
};
use oxnic_samples::{interface::Interface, say, stop::Stop};
use std::{collections::VecDeque, net::SocketAddrV4, os::fd::AsFd, thread, time::Duration};
use xdp::{
    error::PacketError,
    nic::NicIndex,
    packet::{
        csum,
        net_types::{EthHdr, EtherType, IpProto, Ipv4Hdr, MacAddress, UdpHdr},
        CsumOffload, Pod,
    },
    umem::UmemCfgBuilder,
    Packet,
};

/// Where the UDP header is, and the checksum in it.
const CSUM_START: usize = EthHdr::LEN + Ipv4Hdr::LEN;
const CSUM_OFFSET: usize = 6;
const HEADERS: usize = CSUM_START + UdpHdr::LEN;

/// What the kernel keeps at the beginning of each frame of the umem.
const KERNEL_HEADROOM: usize = 256;
/// Between that and the packet. The metadata is right in front of the packet; with less in between,
/// the crate does not find the timestamps of some.
const HEADROOM: usize = 16;

#[derive(clap::Args, Debug)]
pub struct Args {
    /// The interface that sends the frames
    interface: String,

    /// Bytes of a frame
    #[arg(long, value_name = "BYTES", default_value_t = 60,
        value_parser = clap::value_parser!(u16).range(60..))]
    size: u16,

    /// The Ethernet address of the receiver
    #[arg(long, value_name = "MAC", default_value = "ff:ff:ff:ff:ff:ff", value_parser = mac)]
    mac: [u8; 6],

    /// Where the datagrams come from
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "10.0.0.1:9")]
    from: SocketAddrV4,

    /// Where they go to
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "10.0.0.2:9")]
    to: SocketAddrV4,

    /// Have the card compute the UDP checksum (XDP_TXMD_FLAGS_CHECKSUM)
    #[arg(long)]
    checksum: bool,

    /// Have the card say when it sent each frame (XDP_TXMD_FLAGS_TIMESTAMP)
    #[arg(long)]
    timestamp: bool,

    #[command(flatten)]
    common: Common,
}

fn mac(text: &str) -> Result<[u8; 6]> {
    text.split(':')
        .map(|byte| u8::from_str_radix(byte, 16))
        .collect::<Result<Vec<_>, _>>()
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| anyhow!("expected six bytes, as in 02:00:00:00:00:01"))
}

pub fn run(args: &Args, stop: &Stop) -> Result<()> {
    let interface = Interface::find(&args.interface)?;
    let room = args.common.frame_size() - KERNEL_HEADROOM - HEADROOM;

    ensure!(
        usize::from(args.size) <= room,
        "--size {}: a frame of the umem has room for {room}",
        args.size
    );
    say!("1. The socket")?;
    if args.checksum || args.timestamp {
        say!(
            "   {interface} announces this transmit metadata: {}",
            announced(&interface)
        )?;
    }
    let frames = map_frames(
        UmemCfgBuilder {
            frame_size: args.common.chunk(),
            frame_count: 2 * RING,
            head_room: HEADROOM as u32,
            tx_checksum: args.checksum,
            tx_timestamp: args.timestamp,
            ..UmemCfgBuilder::default()
        }
        .build()?,
    )?;
    // The socket receives nothing, as there is no program. But in zero-copy mode the driver has no
    // other frames for this queue: what arrives there for the stack needs some.
    let options = args.common.options(RING as usize / 2);
    let mut socket = Socket::open(&frames, &interface, options)?;
    socket.refill()?;

    say!("\n2. What is sent")?;
    generate(args, stop, &mut socket)?;
    if socket.sending() > 0 {
        say!("   {} frames were not sent any more", socket.sending())?;
    }
    Report::default().add(&interface, &socket)?.say()
}

/// What the card says of itself, by netlink.
fn announced(interface: &Interface) -> String {
    match NicIndex::new(interface.index).query_capabilities() {
        Ok(capabilities) => format!("{:?}", capabilities.tx_metadata),
        Err(error) => format!("unknown ({error})"),
    }
}

/// Sends frames until it is time to stop, and then waits for the last of them.
fn generate(args: &Args, stop: &Stop, socket: &mut Socket) -> Result<()> {
    const PAUSE: Duration = Duration::from_millis(1);
    /// How often to look for frames that were sent, before the rest is given up: without a link a
    /// card does not send them.
    const ATTEMPTS: u32 = 1000;
    let template = Template::new(args);
    let mut clock = Clock::start(stop, args.common.seconds);
    let mut given = 0;
    let (mut now, mut before) = (Count::default(), Count::default());
    let mut stamps = args.timestamp.then(Stamps::default);
    let mut is_over = false;
    let mut idle = 0;

    row("second", &titles(args))?;
    loop {
        if !is_over {
            // Before they are in the ring: in copy mode they are sent in the same call.
            let time = clock_gettime(ClockId::CLOCK_TAI).context("CLOCK_TAI")?;
            let count = socket.generate(args.common.batch_left(given), |packet| {
                template.write(packet)
            })?;

            given += count as u64;
            if let Some(stamps) = &mut stamps {
                stamps.given(time, count);
            }
        } else {
            socket.send()?;
        }
        let sent = match &mut stamps {
            Some(stamps) => stamps.reclaim(socket, args.common.batch()),
            None => socket.reclaim(),
        };
        now.frames += sent as u64;
        now.bytes += sent as u64 * u64::from(args.size);

        let go_on = clock.tick(|second, time| {
            let mut cells = (now - before).cells(time).to_vec();

            before = now;
            cells.extend(stamps.as_mut().map(Stamps::cell));
            row(&second.to_string(), &cells)
        })?;
        is_over |= !go_on || args.common.is_enough(given);
        idle = if sent == 0 { idle + 1 } else { 0 };
        let all_sent = socket.sending() == 0 && !socket.is_waiting();
        if is_over && (all_sent || idle >= ATTEMPTS) {
            break;
        }
        match sent {
            // After Ctrl-C `wait` would not wait.
            0 if is_over => thread::sleep(PAUSE),
            // Poll has the kernel send, too.
            0 => wait(stop, &[socket.as_fd()], PAUSE)?,
            _ => {}
        }
    }
    let mut cells = now.cells(clock.elapsed()).to_vec();
    cells.extend(stamps.map(|stamps| stamps.all.cell()));
    row("all", &cells)
}

fn titles(args: &Args) -> Vec<&'static str> {
    let mut titles = vec!["frames", "Mbit/s"];

    if args.timestamp {
        titles.push("ns to the wire");
    }
    titles
}

/// The frame, and what the card is asked to do with it.
struct Template {
    bytes: Vec<u8>,
    checksum: bool,
    timestamp: bool,
}

impl Template {
    fn new(args: &Args) -> Self {
        let mut bytes = vec![0; usize::from(args.size)];
        let len = bytes.len();
        let eth = EthHdr {
            destination: MacAddress(args.mac),
            // Locally administered, and of no card.
            source: MacAddress([0x02, 0, 0, 0, 0, 0x58]),
            ether_type: EtherType::Ipv4,
        };
        let mut ip = Ipv4Hdr::zeroed();
        ip.reset(64, IpProto::Udp);
        ip.total_length = ((len - EthHdr::LEN) as u16).into();
        ip.source = args.from.ip().to_bits().into();
        ip.destination = args.to.ip().to_bits().into();
        ip.calc_checksum();
        let udp = UdpHdr {
            source: args.from.port().into(),
            destination: args.to.port().into(),
            length: ((len - CSUM_START) as u16).into(),
            check: 0,
        };

        bytes[..EthHdr::LEN].copy_from_slice(eth.as_bytes());
        bytes[EthHdr::LEN..CSUM_START].copy_from_slice(ip.as_bytes());
        bytes[CSUM_START..HEADERS].copy_from_slice(udp.as_bytes());

        // The card adds up what is behind `CSUM_START`. The rest of what a UDP checksum is made of
        // has to be in the field already.
        let pseudo = [
            &args.from.ip().octets()[..],
            &args.to.ip().octets(),
            &[0, IpProto::Udp],
            &((len - CSUM_START) as u16).to_be_bytes(),
        ]
        .concat();
        let pseudo = csum::partial(&pseudo, 0);
        let check = if args.checksum {
            !csum::fold_checksum(pseudo)
        } else {
            match csum::fold_checksum(csum::partial(&bytes[CSUM_START..], pseudo)) {
                // 0 would mean that there is none.
                0 => 0xffff,
                check => check,
            }
        };
        let at = CSUM_START + CSUM_OFFSET;
        // The crate computes checksums in the order of the bytes in memory.
        bytes[at..at + 2].copy_from_slice(&check.to_ne_bytes());
        Self {
            bytes,
            checksum: args.checksum,
            timestamp: args.timestamp,
        }
    }

    fn write(&self, packet: &mut Packet) -> Result<(), PacketError> {
        packet.append(&self.bytes)?;
        if !self.checksum && !self.timestamp {
            return Ok(());
        }
        let checksum = if self.checksum {
            CsumOffload::Request {
                start: CSUM_START as u16,
                offset: CSUM_OFFSET as u16,
            }
        } else {
            CsumOffload::None
        };

        packet.set_tx_metadata(checksum, self.timestamp)
    }
}

/// How long frames take from the TX ring to the wire.
#[derive(Default)]
struct Stamps {
    /// When frames were put into the TX ring, and how many. They are sent in this order.
    given: VecDeque<(u64, usize)>,
    buffer: Vec<u64>,
    second: Delay,
    all: Delay,
}

impl Stamps {
    /// So many frames are put into the TX ring, and the time is this, by the clock of the card.
    fn given(&mut self, time: TimeSpec, count: usize) {
        if count > 0 {
            let time = Duration::from(time).as_nanos() as u64;

            self.given.push_back((time, count));
        }
    }

    /// Takes sent frames back; returns how many they were.
    fn reclaim(&mut self, socket: &mut Socket, batch: usize) -> usize {
        self.buffer.resize(batch, 0);
        let count = socket.reclaim_with_timestamps(&mut self.buffer);

        for stamp in self.buffer.iter().take(count) {
            let Some((time, left)) = self.given.front_mut() else {
                break;
            };
            let delay = i128::from(*stamp) - i128::from(*time);

            self.second.add(delay);
            self.all.add(delay);
            *left -= 1;
            if *left == 0 {
                self.given.pop_front();
            }
        }
        count
    }

    /// What to print for the last second.
    fn cell(&mut self) -> String {
        std::mem::take(&mut self.second).cell()
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Delay {
    frames: i128,
    nanoseconds: i128,
}

impl Delay {
    fn add(&mut self, nanoseconds: i128) {
        self.frames += 1;
        self.nanoseconds += nanoseconds;
    }

    /// The mean.
    fn cell(&self) -> String {
        match self.nanoseconds.checked_div(self.frames) {
            Some(mean) => mean.to_string(),
            None => "-".to_owned(),
        }
    }
}
