// SPDX-License-Identifier: GPL-2.0

//! The ports of the storm, what belongs to them, and the log of the steps.

use super::{
    gate::{Gate, Location, PORTS},
    model::Model,
    program::Programs,
    sockets::Bound,
    stuck::wait_for_progress,
    traffic::address,
    trouble::Trouble,
};
use crate::{
    bed::{Bed, Port, NS_A, NS_B},
    host::{kmsg::Kmsg, module, netns::Netns, setting, wait_until, watchdog},
    nl::link::New,
    random::Random,
    wire::probe::Probe,
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

/// The namespaces in which ports can be, as `ip link set netns` takes them.
const SPACES: [&str; 3] = [NS_A, NS_B, "1"];
/// A namespace that is deleted with a port in it.
const DOOMED: &str = "doomed";
/// The namespaces in which the ports have addresses: the inner ones in B, the outer ones in A.
const HOME: [usize; PORTS] = [0, 1, 1, 0];
/// The port of the other pair to which each port's programs redirect.
const PARTNER: [usize; PORTS] = [3, 2, 1, 0];

/// A port, and what belongs to it.
pub struct PortState {
    pub port: Port,
    pub model: Model,
    pub programs: Programs,
    /// AF_XDP sockets, by queue.
    pub sockets: BTreeMap<u32, Bound>,
    /// The namespace in which it is, an index of [`SPACES`].
    space: usize,
}

impl PortState {
    /// Forgets what was deleted with the port.
    fn forget(&mut self) -> Result<()> {
        self.sockets.clear();
        self.model.attached = None;
        self.programs.forget_port()
    }
}

/// The state of the storm.
pub struct Storm<'a> {
    pub ports: Vec<PortState>,
    pub random: Random,
    gate: &'a Gate,
    /// The kinds of steps to make, separated by commas; empty for all.
    kinds: String,
    spaces: [Netns; 3],
    /// Ring size of a new port.
    ring: u32,
    generation: u64,
    /// The module that delays CPUs, while it is loaded.
    slow: Option<Trouble>,
    /// The kernel log since the last check.
    kernel: Kmsg,
    steps: u32,
    lines: VecDeque<String>,
    console: Option<File>,
}

impl<'a> Storm<'a> {
    /// Loads the module, and moves the ports to their namespaces.
    pub fn make(seed: u64, gate: &'a Gate, ns: [&Netns; 2]) -> Result<Self> {
        let mut storm = Self {
            ports: Vec::new(),
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
            // What is written there has left the VM before the next step begins.
            console: OpenOptions::new().write(true).open("/dev/console").ok(),
        };

        storm.load()?;
        Ok(storm)
    }

    /// Logs what is done next.
    pub fn log(&mut self, what: impl Display) {
        let line = format!("storm {}: {what}", self.steps);

        if let Some(console) = &mut self.console {
            // There may be no reader.
            let _ = writeln!(console, "{line}");
        }
        self.lines.push_back(line);
        if self.lines.len() > SHOWN {
            self.lines.pop_front();
        }
        watchdog::still_alive();
    }

    /// Whether steps of this kind are made.
    pub fn makes(&self, kind: &str) -> bool {
        self.kinds.is_empty() || self.kinds.split(',').any(|one| one == kind)
    }

    /// Counts a step that begins.
    pub fn count(&mut self) {
        self.steps += 1;
    }

    pub fn steps(&self) -> u32 {
        self.steps
    }

    /// The last steps.
    pub fn last_steps(&self) -> String {
        self.lines
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join("\n    ")
    }

    /// The two ports of a pair.
    pub fn bed(&self, pair: usize) -> Bed {
        Bed {
            a: self.ports[2 * pair].port.clone(),
            b: self.ports[2 * pair + 1].port.clone(),
        }
    }

    /// Runs a command at port `n`. If `refusal` is not empty it must fail, with one of these texts.
    /// Returns whether it was to succeed.
    pub fn command(&mut self, n: usize, refusal: &[&str], line: &str) -> Result<bool> {
        let Port { ns, name, .. } = self.ports[n].port.clone();
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

    /// Whether a port is in the namespace in which it has an address.
    fn is_home(&self, n: usize) -> bool {
        self.ports[n].space == HOME[n]
    }

    /// Tells the traffic where a port is.
    pub fn publish(&self, n: usize) {
        let state = &self.ports[n];

        self.gate.set_location(
            n,
            Some(Location {
                port: state.port.clone(),
                mtu: state.model.mtu,
                home: self.is_home(n),
                generation: self.generation,
            }),
        );
    }

    /// Loads the module with random parameters.
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

    /// Moves new ports to their namespaces, and brings them up.
    fn install(&mut self, ports: Range<usize>, queues: u32) -> Result<()> {
        for n in ports.clone() {
            let port = Port::find(&self.spaces[2], &format!("ox{n}"))?;
            let model = Model::new(queues, self.ring, port.mac()?);

            // Else the control path would log several lines for every step.
            port.msglvl("drv off")?;
            if let Some(state) = self.ports.get_mut(n) {
                state.port = port;
                state.model = model;
                state.space = 2;
            } else {
                self.ports.push(PortState {
                    port,
                    model,
                    programs: Programs::make()?,
                    sockets: BTreeMap::new(),
                    space: 2,
                });
            }
        }
        for n in ports.clone() {
            self.put_in(n, HOME[n])?;
        }
        self.refill_maps()?;
        for n in ports {
            self.ports[n].port.up()?;
            self.ports[n].model.up = true;
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
            self.gate.set_location(n, None);
        }
        module::unload()?;
        ensure!(!module::is_loaded(), "the module is still there");
        self.ports.iter_mut().try_for_each(PortState::forget)
    }

    /// Deletes a pair, one end after the other, with everything attached and in use, and creates it
    /// again. The first end may be deleted with the namespace that it is in.
    pub fn replace(&mut self, pair: usize) -> Result<()> {
        let mut ends = [2 * pair, 2 * pair + 1];
        let queues = self.some_queues();

        if self.random.flip() {
            ends.reverse();
        }
        for n in ends {
            self.gate.set_location(n, None);
            if n == ends[0] && self.random.flip() {
                self.delete_with_namespace(n, ends[1])?;
            } else {
                self.log(format!("ip link del dev ox{n}"));
                self.ports[n].port.delete()?;
            }
            self.ports[n].forget()?;
            if n == ends[0] {
                self.ports[ends[1]].port.wait_running(false)?;
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

    /// Moves a port to a namespace of its own, brings it up, and deletes the namespace. The kernel
    /// deletes the port in it some time later; then `peer` has no peer any more.
    fn delete_with_namespace(&mut self, n: usize, peer: usize) -> Result<()> {
        let doomed = Netns::create(DOOMED)?;

        self.log(format!(
            "ip link set dev ox{n} netns {DOOMED}; ip netns del {DOOMED}"
        ));
        let port = self.ports[n].port.move_to(&doomed)?;
        self.ports[n].sockets.clear();
        port.up()?;
        doomed.delete()?;
        let peer = &self.ports[peer].port;
        wait_until("the port is deleted with its namespace", || {
            Ok(peer.link()?.link == Some(0))
        })
    }

    /// Moves a port to another namespace.
    pub fn move_port(&mut self, n: usize) -> Result<()> {
        let to = (self.ports[n].space + 1 + self.random.below(2) as usize) % SPACES.len();

        self.log(format!("ip link set dev ox{n} netns {}", SPACES[to]));
        self.gate.set_location(n, None);
        self.put_in(n, to)?;
        let state = &mut self.ports[n];
        // The kernel has unbound them, as if the port had been deleted.
        state.sockets.clear();
        state.model.up = false;
        self.refill_maps()
    }

    /// Moves a port to a namespace, and gives it its address if it has one there.
    fn put_in(&mut self, n: usize, space: usize) -> Result<()> {
        let state = &mut self.ports[n];

        state.port = state.port.move_to(&self.spaces[space])?;
        state.space = space;
        if self.is_home(n) {
            let state = &self.ports[n];
            state.port.add_address(&format!("{}/24", address(n)))?;
        }
        self.generation += 1;
        self.publish(n);
        Ok(())
    }

    /// Adds the ports to the devmaps again: the kernel removes one that is deleted or moved.
    fn refill_maps(&mut self) -> Result<()> {
        for (n, partner) in PARTNER.into_iter().enumerate() {
            let partner = self.ports[partner].port.clone();

            for program in &mut self.ports[n].programs.storm {
                program.redirect_to(&partner)?;
            }
        }
        Ok(())
    }

    /// Starts to delay CPUs where they could race, or ends it.
    pub fn slow_cpus(&mut self) -> Result<()> {
        if self.slow.is_some() {
            self.log("CPUs are no longer delayed");
            self.slow = None;
            return Ok(());
        }
        self.log("CPUs are delayed");
        self.slow = Some(Trouble::slow_cpus()?);
        Ok(())
    }

    /// Makes the ports' page allocations fail, several times for a short while, the last time until
    /// `meanwhile` has ended.
    pub fn without_pages(
        &mut self,
        times: u32,
        meanwhile: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        self.log(format!("page allocations fail, {times} times"));
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
        self.log("page allocations succeed again");
        outcome
    }

    /// Makes each page allocation slow while `meanwhile` runs: rings are emptied faster than they
    /// are filled.
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

    /// Loads the module that makes rare events frequent, unless it is loaded.
    fn own_trouble(&self) -> Result<Option<Trouble>> {
        match &self.slow {
            Some(_) => Ok(None),
            None => Trouble::load().map(Some),
        }
    }

    /// Sets which redirected frames the programs of all devmaps drop.
    pub fn drop_redirected(&mut self, which: u32) -> Result<()> {
        self.log(format!("programs of devmaps drop: {which}"));
        self.gate.drops.store(which, Ordering::Relaxed);
        self.ports
            .iter_mut()
            .flat_map(|state| &mut state.programs.storm)
            .try_for_each(|program| program.drop_redirected(which))
    }

    /// Waits until the frames that a port's AF_XDP sockets have given to the kernel are sent, or
    /// lost and counted. A port that is down keeps them.
    pub fn finish_sockets(&mut self, n: usize) -> Result<()> {
        let state = &mut self.ports[n];

        if !state.model.up {
            return Ok(());
        }
        for (queue, socket) in &mut state.sockets {
            socket.wake()?;
            wait_for_progress("the frames of an AF_XDP socket are sent", || {
                let left = socket.finish()?;

                Ok(
                    (left > 0)
                        .then(|| format!("{left} buffers are left at queue {queue} of ox{n}")),
                )
            })?;
        }
        Ok(())
    }

    /// Compares the frames in a port's AF_XDP sockets.
    pub fn drain_sockets(&self, n: usize) -> Result<()> {
        for (queue, socket) in &self.ports[n].sockets {
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

    /// Makes all programs pass every frame, or act on them as before.
    pub fn pass_all(&mut self, pass_all: bool) -> Result<()> {
        self.ports
            .iter_mut()
            .flat_map(|state| &mut state.programs.storm)
            .try_for_each(|program| program.pass_all(pass_all))
    }

    /// Fails if the kernel log has a warning.
    pub fn check_log(&mut self) -> Result<()> {
        let bad: Vec<_> = self
            .kernel
            .lines()?
            .iter()
            .filter(|line| line.is_bad(super::LOGGED))
            .map(|line| line.text.clone())
            .collect();

        ensure!(bad.is_empty(), "kernel log: {}", bad.join("\n"));
        self.kernel.forget()
    }
}
