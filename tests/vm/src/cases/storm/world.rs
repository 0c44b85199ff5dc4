// SPDX-License-Identifier: GPL-2.0

//! The ports of the storm and what belongs to them, and the log of what is done to them.

use super::{
    gate::{Gate, Place, PORTS},
    model::Model,
    program::Programs,
    traffic::address,
    trouble::Trouble,
};
use crate::{
    bed::{Bed, Port, NS_A, NS_B},
    host::{kmsg::Kmsg, module, netns::Netns, setting, wait_until, watchdog},
    nl::link::New,
    random::Random,
    wire::{probe::Probe, xsk::Xsk},
};
use anyhow::{ensure, Context, Result};
use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Display,
    fs::{File, OpenOptions},
    io::Write,
    ops::Range,
    sync::atomic::Ordering,
    thread,
    time::Duration,
};

/// Lines of the log that an error shows.
const SHOWN: usize = 25;

/// The namespaces in which ports can be, and what `ip link set netns` calls them.
const SPACES: [&str; 3] = [NS_A, NS_B, "1"];
/// One that does not last.
const DOOMED: &str = "doomed";
/// At first the inner ports are in B, the outer ones in A.
const HOME: [usize; PORTS] = [0, 1, 1, 0];
/// What comes in at a port can be redirected to this one, which is of the other pair.
const PARTNER: [usize; PORTS] = [3, 2, 1, 0];

/// A port with all that belongs to it.
pub struct Card {
    pub port: Port,
    pub model: Model,
    pub programs: Programs,
    /// AF_XDP sockets, by queue.
    pub sockets: BTreeMap<u32, Xsk>,
    /// The number of the namespace that it is in.
    space: usize,
}

impl Card {
    /// The port has been deleted.
    fn is_gone(&mut self) -> Result<()> {
        self.sockets.clear();
        self.model.attached = None;
        self.programs.forget_port()
    }
}

/// Everything.
pub struct World<'a> {
    pub cards: Vec<Card>,
    pub random: Random,
    gate: &'a Gate,
    /// The kinds of steps that are taken, with commas between them; none for all.
    kinds: String,
    spaces: [Netns; 3],
    /// Size of the rings of a port that is new.
    ring: u32,
    generation: u64,
    /// Processors are slow.
    slow: Option<Trouble>,
    /// The kernel log, looked at now and then.
    kernel: Kmsg,
    steps: u32,
    lines: VecDeque<String>,
    console: Option<File>,
}

impl<'a> World<'a> {
    /// Loads the module and puts the ports where they belong.
    pub fn make(seed: u64, gate: &'a Gate, ns: [&Netns; 2]) -> Result<Self> {
        let mut world = Self {
            cards: Vec::new(),
            random: Random::new(seed),
            gate,
            kinds: setting("OXNIC_STORM_KINDS", String::new())?,
            spaces: [ns[0].clone(), ns[1].clone(), Netns::initial()],
            ring: 0,
            generation: 0,
            slow: None,
            kernel: Kmsg::from_now()?,
            steps: 0,
            lines: VecDeque::new(),
            // What is written there is outside of the machine before the next step begins.
            console: OpenOptions::new().write(true).open("/dev/ttyS0").ok(),
        };

        world.load()?;
        Ok(world)
    }

    /// Says what is done next.
    pub fn log(&mut self, what: impl Display) {
        let line = format!("storm {}: {what}", self.steps);

        if let Some(console) = &mut self.console {
            // Nobody may look.
            let _ = writeln!(console, "{line}");
        }
        self.lines.push_back(line);
        if self.lines.len() > SHOWN {
            self.lines.pop_front();
        }
        watchdog::still_alive();
    }

    /// Whether steps of this kind are taken.
    pub fn takes(&self, kind: &str) -> bool {
        self.kinds.is_empty() || self.kinds.split(',').any(|one| one == kind)
    }

    /// A step begins.
    pub fn count(&mut self) {
        self.steps += 1;
    }

    pub fn steps(&self) -> u32 {
        self.steps
    }

    /// The steps that were taken last.
    pub fn last_steps(&self) -> String {
        self.lines
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join("\n    ")
    }

    /// A pair of ports.
    pub fn bed(&self, pair: usize) -> Bed {
        Bed {
            a: self.cards[2 * pair].port.clone(),
            b: self.cards[2 * pair + 1].port.clone(),
        }
    }

    /// Does what may have to be refused: `refusal` has pieces of what is then said. Returns whether it
    /// was done.
    pub fn command(&mut self, n: usize, refusal: &[&str], line: &str) -> Result<bool> {
        let Port { ns, name, .. } = self.cards[n].port.clone();
        let line = line.replace("DEV", &name);

        if refusal.is_empty() {
            self.log(&line);
            ns.exec(&line)?;
            return Ok(true);
        }
        self.log(format!("{line} (not allowed: {})", refusal.join(" or ")));
        let said = ns.exec_refusal(&line)?;
        ensure!(
            refusal.iter().any(|piece| said.contains(piece)),
            "refused with \"{said}\""
        );
        Ok(false)
    }

    /// Whether a port is where it has its address.
    fn is_home(&self, n: usize) -> bool {
        self.cards[n].space == HOME[n]
    }

    /// Tells the traffic where a port is.
    pub fn publish(&self, n: usize) {
        let card = &self.cards[n];

        self.gate.set_place(
            n,
            Some(Place {
                port: card.port.clone(),
                mtu: card.model.mtu,
                home: self.is_home(n),
                generation: self.generation,
            }),
        );
    }

    /// Loads the module with other parameters each time.
    fn load(&mut self) -> Result<()> {
        let queues = self.some_queues();
        self.ring = self.random.pick(&[64, 128, 512, 1024]);
        let params = format!("pairs=2 queues={queues} ring_size={}", self.ring);

        self.log(format!("insmod oxnic.ko {params}"));
        module::load(&params)?;
        self.install(0..PORTS, queues)
    }

    fn some_queues(&mut self) -> u32 {
        1 + self.random.below(4)
    }

    /// Puts ports that have just been made where they belong, and up.
    fn install(&mut self, ports: Range<usize>, queues: u32) -> Result<()> {
        for n in ports.clone() {
            let port = Port::find(&self.spaces[2], &format!("ox{n}"))?;
            let model = Model::new(queues, self.ring, port.mac()?);

            // The control path has several lines to say about every step.
            port.msglvl("drv off")?;
            if let Some(card) = self.cards.get_mut(n) {
                card.port = port;
                card.model = model;
                card.space = 2;
            } else {
                self.cards.push(Card {
                    port,
                    model,
                    programs: Programs::make()?,
                    sockets: BTreeMap::new(),
                    space: 2,
                });
            }
        }
        for n in ports.clone() {
            self.settle_in(n, HOME[n])?;
        }
        self.refill()?;
        for n in ports {
            self.cards[n].port.up()?;
            self.cards[n].model.up = true;
        }
        Ok(())
    }

    /// Unloads the module, with everything attached and in use, and loads it again.
    pub fn reload(&mut self) -> Result<()> {
        self.unload()?;
        self.load()
    }

    pub fn unload(&mut self) -> Result<()> {
        self.slow = None;
        self.log("rmmod oxnic");
        for n in 0..PORTS {
            self.gate.set_place(n, None);
        }
        module::unload()?;
        ensure!(!module::is_loaded(), "the module is still there");
        self.cards.iter_mut().try_for_each(Card::is_gone)
    }

    /// Deletes a pair, one end after the other, with everything attached and in use, and makes another. The
    /// first may go with the namespace that it is in.
    pub fn replace(&mut self, pair: usize) -> Result<()> {
        let mut ends = [2 * pair, 2 * pair + 1];
        let queues = self.some_queues();

        if self.random.flip() {
            ends.reverse();
        }
        for n in ends {
            self.gate.set_place(n, None);
            if n == ends[0] && self.random.flip() {
                self.delete_with_namespace(n, ends[1])?;
            } else {
                self.log(format!("ip link del dev ox{n}"));
                self.cards[n].port.delete()?;
            }
            self.cards[n].is_gone()?;
            if n == ends[0] {
                self.cards[ends[1]].port.wait_running(false)?;
            }
        }
        let [first, second] = ends;
        self.make_port(first, queues, None)?;
        self.make_port(second, queues, Some(first))?;
        self.install(2 * pair..2 * pair + 2, queues)
    }

    /// Creates a port, joined with `peer` if there is one.
    fn make_port(&mut self, n: usize, queues: u32, peer: Option<usize>) -> Result<()> {
        let link = peer.map_or(String::new(), |peer| format!("link ox{peer} "));

        self.log(format!(
            "ip link add ox{n} numrxqueues {queues} numtxqueues {queues} {link}type oxnic"
        ));
        let ns = &self.spaces[2];
        let new = match peer {
            Some(peer) => New::peer_of(Port::find(ns, &format!("ox{peer}"))?.ifindex),
            None => New::port(),
        };
        ns.enter(|| new.queues(queues).add(&format!("ox{n}")))
    }

    /// Moves a port to a namespace of its own, where it is up again, and deletes that. The kernel deletes
    /// the ports in it when it finds time; `peer` is not joined any more then.
    fn delete_with_namespace(&mut self, n: usize, peer: usize) -> Result<()> {
        let doomed = Netns::create(DOOMED)?;

        self.log(format!(
            "ip link set dev ox{n} netns {DOOMED}; ip netns del {DOOMED}"
        ));
        let port = self.cards[n].port.move_to(&doomed)?;
        self.cards[n].sockets.clear();
        port.up()?;
        doomed.delete()?;
        let peer = &self.cards[peer].port;
        wait_until("the port goes with its namespace", || {
            Ok(peer.link()?.link == Some(0))
        })
    }

    /// Moves a port to another namespace.
    pub fn travel(&mut self, n: usize) -> Result<()> {
        let to = (self.cards[n].space + 1 + self.random.below(2) as usize) % SPACES.len();

        self.log(format!("ip link set dev ox{n} netns {}", SPACES[to]));
        self.gate.set_place(n, None);
        self.settle_in(n, to)?;
        let card = &mut self.cards[n];
        // The kernel lets go of them, as if the port were gone.
        card.sockets.clear();
        card.model.up = false;
        self.refill()
    }

    /// Puts a port into a namespace, and gives it its address if it is at home there.
    fn settle_in(&mut self, n: usize, space: usize) -> Result<()> {
        let card = &mut self.cards[n];

        card.port = card.port.move_to(&self.spaces[space])?;
        card.space = space;
        if self.is_home(n) {
            let card = &self.cards[n];
            card.port.add_address(&format!("{}/24", address(n)))?;
        }
        self.generation += 1;
        self.publish(n);
        Ok(())
    }

    /// Fills in the maps what the kernel has taken out with a port.
    fn refill(&mut self) -> Result<()> {
        for (n, partner) in PARTNER.into_iter().enumerate() {
            let partner = self.cards[partner].port.clone();

            for swirl in &mut self.cards[n].programs.swirls {
                swirl.redirect_to(&partner)?;
            }
        }
        Ok(())
    }

    /// Makes processors slow where they may meet, or no longer.
    pub fn slow_processors(&mut self) -> Result<()> {
        if self.slow.is_some() {
            self.log("processors are as fast as before");
            self.slow = None;
            return Ok(());
        }
        self.log("processors are slow");
        self.slow = Some(Trouble::slow_processors()?);
        Ok(())
    }

    /// There are no pages for the ports, several times for a short while, the last time until `meanwhile` has
    /// ended.
    pub fn without_pages(
        &mut self,
        times: u32,
        meanwhile: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        self.log(format!("no pages, {times} times"));
        let pauses: Vec<_> = (0..2 * times)
            .map(|_| Duration::from_millis(1 + u64::from(self.random.below(20))))
            .collect();
        let own = self.own_trouble()?;
        let trouble = own.as_ref().or(self.slow.as_ref()).context("no module")?;

        for (n, pause) in pauses.iter().enumerate() {
            trouble.pages(n % 2 == 1)?;
            thread::sleep(*pause);
        }
        trouble.pages(false)?;
        let outcome = meanwhile();
        trouble.pages(true)?;
        self.log("pages again");
        outcome
    }

    /// Pages come slowly as long as `meanwhile` runs: rings are not filled as fast as they are emptied.
    pub fn with_slow_pages(
        &self,
        usecs: u32,
        meanwhile: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let own = self.own_trouble()?;
        let trouble = own.as_ref().or(self.slow.as_ref()).context("no module")?;

        trouble.page_usecs(usecs)?;
        let outcome = meanwhile();
        trouble.page_usecs(0)?;
        outcome
    }

    /// The module that makes trouble, unless it is loaded.
    fn own_trouble(&self) -> Result<Option<Trouble>> {
        match &self.slow {
            Some(_) => Ok(None),
            None => Trouble::load().map(Some),
        }
    }

    /// Says which redirected frames the programs of all devmaps drop.
    pub fn drop_redirected(&mut self, which: u32) -> Result<()> {
        self.log(format!("programs of devmaps drop: {which}"));
        self.gate.drops.store(which, Ordering::Relaxed);
        self.cards
            .iter_mut()
            .flat_map(|card| &mut card.programs.swirls)
            .try_for_each(|swirl| swirl.drop_redirected(which))
    }

    /// Compares the frames that have come to a port's sockets.
    pub fn drain_sockets(&self, n: usize) -> Result<()> {
        for (queue, socket) in &self.cards[n].sockets {
            for frame in socket.drain()? {
                let probe =
                    Probe::parse(&frame).with_context(|| format!("socket of queue {queue}"))?;

                ensure!(
                    probe.is_some(),
                    "a frame that is no probe in the socket of queue {queue}"
                );
                self.gate.count(frame.len() as u64);
            }
        }
        Ok(())
    }

    /// Makes every frame pass, or not any more.
    pub fn calm(&mut self, calm: bool) -> Result<()> {
        self.cards
            .iter_mut()
            .flat_map(|card| &mut card.programs.swirls)
            .try_for_each(|swirl| swirl.calm(calm))
    }

    /// The kernel has nothing to complain about so far.
    pub fn check_log(&mut self) -> Result<()> {
        let bad: Vec<_> = self
            .kernel
            .lines()?
            .iter()
            .filter(|line| line.is_bad(&[super::PKTGEN]))
            .map(|line| line.text.clone())
            .collect();

        ensure!(bad.is_empty(), "kernel log: {}", bad.join("\n"));
        self.kernel.forget()
    }
}
