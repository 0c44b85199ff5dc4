// SPDX-License-Identifier: GPL-2.0

//! BPF programs: loading, their maps, and the ids the kernel knows them by.

use crate::{
    bed::Port,
    host::{bpffs::Pins, wait_until},
};
use anyhow::{anyhow, Context, Result};
use aya::{
    maps::{Array, Map, MapData, XskMap},
    programs::{loaded_programs, ProgramFd, ProgramInfo, RawTracePoint, TracePoint, Xdp},
    Ebpf, EbpfLoader, Pod,
};
use std::{
    collections::BTreeSet,
    env,
    os::fd::{AsFd, BorrowedFd},
    path::PathBuf,
};

/// An XDP program in the kernel, together with the maps of its object file. It is not attached yet.
/// Dropping this drops the test's reference.
pub struct Program {
    object: Ebpf,
    name: String,
    pub id: u32,
}

impl Program {
    /// Loads the program `name` of `file.bpf.o`.
    pub fn load(file: &str, name: &str) -> Result<Self> {
        let mut object = load_object(file)?;
        let program = xdp_mut(&mut object, name)?;

        program.load().with_context(|| format!("loading {name}"))?;
        let id = program.info()?.id();

        Ok(Self {
            object,
            name: name.to_owned(),
            id,
        })
    }

    /// A program of `samples/bpf`: file, function and section name are one.
    pub fn sample(name: &str) -> Result<Self> {
        Self::load(name, name)
    }

    pub fn fd(&self) -> Result<BorrowedFd<'_>> {
        let program: &Xdp = self
            .object
            .program(&self.name)
            .ok_or_else(|| anyhow!("no program {}", self.name))?
            .try_into()?;

        Ok(program.fd()?.as_fd())
    }

    /// The program as aya sees it, for links.
    pub fn xdp(&mut self) -> Result<&mut Xdp> {
        xdp_mut(&mut self.object, &self.name)
    }

    pub fn object(&mut self) -> &mut Ebpf {
        &mut self.object
    }

    /// Reads an element of an array map.
    pub fn read<V: Pod>(&self, map: &str, index: u32) -> Result<V> {
        let map = self
            .object
            .map(map)
            .ok_or_else(|| anyhow!("no map {map}"))?;

        Ok(Array::<_, V>::try_from(map)?.get(&index, 0)?)
    }

    /// Writes an element of an array map.
    pub fn write<V: Pod>(&mut self, map: &str, index: u32, value: V) -> Result<()> {
        let map = self
            .object
            .map_mut(map)
            .ok_or_else(|| anyhow!("no map {map}"))?;

        Ok(Array::<_, V>::try_from(map)?.set(index, value, 0)?)
    }

    /// Takes a map out of the program; it can then outlive it.
    pub fn take_map(&mut self, map: &str) -> Result<Map> {
        self.object
            .take_map(map)
            .ok_or_else(|| anyhow!("no map {map}"))
    }

    /// Loads another program of the same object, to run on an entry of a map.
    pub fn load_more(&mut self, name: &str) -> Result<ProgramFd> {
        let program = xdp_mut(&mut self.object, name)?;

        program.load().with_context(|| format!("loading {name}"))?;
        Ok(program.fd()?.try_clone()?)
    }

    /// A map, to be changed.
    pub fn map_mut(&mut self, map: &str) -> Result<&mut Map> {
        self.object
            .map_mut(map)
            .ok_or_else(|| anyhow!("no map {map}"))
    }

    /// The kernel's number for a map.
    pub fn map_id(&self, map: &str) -> Result<u32> {
        let data = match self.object.map(map) {
            Some(Map::DevMap(data) | Map::CpuMap(data) | Map::XskMap(data)) => data,
            Some(_) => return Err(anyhow!("map {map} is none to redirect with")),
            None => return Err(anyhow!("no map {map}")),
        };

        Ok(data.info()?.id())
    }

    /// How many frames a program of `count.bpf.c` has seen.
    pub fn seen(&self) -> Result<u64> {
        self.read("seen", 0)
    }
}

/// The tracepoint at which a CPU begins to handle an interrupt from another CPU that wants a function
/// called.
const IPI_ENTRY: &str = if cfg!(target_arch = "x86_64") {
    "call_function_single_entry"
} else {
    "ipi_entry"
};

/// While this exists a CPU answers inter-CPU interrupts late.
pub struct SlowIpi(#[expect(dead_code, reason = "keeps the program attached")] Ebpf);

impl SlowIpi {
    pub fn on(cpu: usize) -> Result<Self> {
        let mut object = load_object("slow_ipi")?;
        let number = object.map_mut("cpu").context("no map cpu")?;

        Array::<_, u32>::try_from(number)?.set(0, cpu as u32, 0)?;
        let program: &mut RawTracePoint = object
            .program_mut("slow_ipi")
            .context("no program slow_ipi")?
            .try_into()?;
        program.load().context("loading slow_ipi")?;
        program.attach(IPI_ENTRY)?;
        Ok(Self(object))
    }
}

/// Programs at the module's tracepoint `oxnic:verdict` that count the verdicts, in the two ways in
/// which a program can be attached to one.
pub struct Verdicts(Ebpf);

impl Verdicts {
    pub fn count() -> Result<Self> {
        let mut object = load_object("trace_events")?;
        let raw: &mut RawTracePoint = object
            .program_mut("count_raw")
            .context("no program count_raw")?
            .try_into()?;
        raw.load().context("loading count_raw")?;
        raw.attach("verdict").context("attaching count_raw")?;

        let event: &mut TracePoint = object
            .program_mut("count_event")
            .context("no program count_event")?
            .try_into()?;
        event.load().context("loading count_event")?;
        event
            .attach("oxnic", "verdict")
            .context("attaching count_event")?;
        Ok(Self(object))
    }

    /// What the program of a map has counted for each verdict: frames and bytes.
    pub fn read(&self, map: &str, act: u32) -> Result<[u64; 2]> {
        let map = self.0.map(map).with_context(|| format!("no map {map}"))?;

        Ok(Array::<_, [u64; 2]>::try_from(map)?.get(&act, 0)?)
    }
}

/// A program that is bound to a port, as it has to be to ask the port for metadata. Only libbpf
/// knows how to load such a program, so bpftool does it; the program and its maps come by way of a
/// file system.
pub struct Bound {
    fd: ProgramFd,
    pins: Pins,
    pub id: u32,
}

impl Bound {
    /// Loads the only program of `file.bpf.o` for a port.
    pub fn load(port: &Port, file: &str) -> Result<Self> {
        let pins = Pins::make(&format!("{file}-{}", port.name))?;
        let path = path(file)?;

        port.ns.exec(&format!(
            "bpftool prog load {} {} xdpmeta_dev {} pinmaps {}",
            path.display(),
            pins.program().display(),
            port.name,
            pins.folder().display()
        ))?;
        let info = ProgramInfo::from_pin(pins.program())?;

        Ok(Self {
            fd: info.fd()?,
            pins,
            id: info.id(),
        })
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// A map of the program, an array.
    pub fn array<V: Pod>(&self, map: &str) -> Result<Array<MapData, V>> {
        let data = MapData::from_pin(self.pins.folder().join(map))?;

        Ok(Array::try_from(Map::Array(data))?)
    }

    /// A map of the program, of AF_XDP sockets.
    pub fn xsk_map(&self, map: &str) -> Result<XskMap<MapData>> {
        let data = MapData::from_pin(self.pins.folder().join(map))?;

        Ok(XskMap::try_from(Map::XskMap(data))?)
    }
}

fn xdp_mut<'a>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    Ok(object
        .program_mut(name)
        .ok_or_else(|| anyhow!("no program {name}"))?
        .try_into()?)
}

/// The path of a compiled program.
pub fn path(file: &str) -> Result<PathBuf> {
    let folder = env::var("OXNIC_BPF").context("OXNIC_BPF names no folder")?;

    Ok(PathBuf::from(folder).join(format!("{file}.bpf.o")))
}

fn load_object(file: &str) -> Result<Ebpf> {
    let path = path(file)?;

    // Nothing here needs the kernel's own types, and reading them takes long under emulation.
    EbpfLoader::new()
        .btf(None)
        .load_file(&path)
        .with_context(|| format!("loading {}", path.display()))
}

/// The ids of all programs in the kernel.
pub fn program_ids() -> Result<BTreeSet<u32>> {
    loaded_programs()
        .map(|info| info.map(|info| info.id()))
        // A program can be freed between listing its id and looking it up.
        .filter(|id| !matches!(id, Err(e) if is_gone(e)))
        .collect::<Result<_, _>>()
        .context("listing BPF programs")
}

fn is_gone(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);

    while let Some(e) = cause {
        if let Some(io) = e.downcast_ref::<std::io::Error>() {
            return io.kind() == std::io::ErrorKind::NotFound;
        }
        cause = e.source();
    }
    false
}

/// Waits until the kernel has freed a program: its last reference was dropped and a grace period
/// went by.
pub fn wait_freed(id: u32) -> Result<()> {
    wait_until(&format!("program {id} is freed"), || {
        Ok(!program_ids()?.contains(&id))
    })
}
