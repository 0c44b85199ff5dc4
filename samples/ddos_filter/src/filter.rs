// SPDX-License-Identifier: GPL-2.0

//! The filter's maps. They have names in the BPF file system while the filter runs, one directory for
//! each interface, and that is how they are found by who manages it.

use crate::prefix::Prefix;
use anyhow::{anyhow, bail, ensure, Context, Result};
use aya::{
    maps::{
        lpm_trie::{Key, LpmTrie},
        Array, HashMap, Map, MapData, MapError, PerCpuArray,
    },
    Ebpf,
};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    sys::statfs::{statfs, BPF_FS_MAGIC},
};
use oxnic_samples::interface::Interface;
use std::{
    fs::{self, File},
    net::{IpAddr, Ipv6Addr},
    path::{Path, PathBuf},
    time::Duration,
};

const BPFFS: &str = "/sys/fs/bpf";
const DIRECTORY: &str = "/sys/fs/bpf/ddos_filter";

const RULES_V4: &str = "rules_v4";
const RULES_V6: &str = "rules_v6";
const HITS: &str = "hits";
const TOTALS: &str = "totals";
const LIMITS: &str = "limits";
const ACCOUNTS: &str = "accounts";
const MAPS: [&str; 6] = [RULES_V4, RULES_V6, HITS, TOTALS, LIMITS, ACCOUNTS];

/// As in `ddos_filter.bpf.c`.
const MAX_RULES: u32 = 1024;
const BPF_NOEXIST: u64 = 1;

/// `struct rule`: the slot, and whether frames pass.
type RuleValue = [u32; 2];
/// `struct counter`: packets and bytes.
type Counter = [u64; 2];
/// `struct limit`: what a frame costs, the credit, the rate and the burst.
type LimitValue = [u64; 4];
/// `struct account`: when all is paid, and how many frames were dropped.
type Account = [u64; 2];

/// How many frames a source may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Each second; 0 is any number.
    pub rate: u32,
    /// At once, after a pause.
    pub burst: u32,
}

const SECOND: u64 = Duration::from_secs(1).as_nanos() as u64;

impl Limit {
    fn value(self) -> LimitValue {
        let (rate, burst) = (u64::from(self.rate), u64::from(self.burst));
        let cost = SECOND.checked_div(rate).unwrap_or(0);

        // Each frame of a burst but the first goes on credit.
        [cost, cost * burst.saturating_sub(1), rate, burst]
    }

    fn of([_, _, rate, burst]: LimitValue) -> Result<Self> {
        Ok(Self {
            rate: rate.try_into()?,
            burst: burst.try_into()?,
        })
    }
}

/// What is done with frames from a prefix, and to how many it was done.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    pub prefix: Prefix,
    pub pass: bool,
    pub count: Count,
    slot: u32,
}

impl Rule {
    /// What is done with the frames, as a word.
    pub fn what(&self) -> &'static str {
        Self::word(self.pass)
    }

    pub fn word(pass: bool) -> &'static str {
        if pass {
            "allowed"
        } else {
            "blocked"
        }
    }

    /// Whether this is the same rule, looked at before. One that was removed and added again is
    /// another, unless it has counted more meanwhile.
    pub fn is_earlier(&self, now: &Self) -> bool {
        (self.prefix, self.slot, self.pass) == (now.prefix, now.slot, now.pass)
            && self.count.packets <= now.count.packets
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    pub packets: u64,
    pub bytes: u64,
}

/// All that the filter has counted.
#[derive(Clone, Debug)]
pub struct Statistics {
    /// Sorted by prefix.
    pub rules: Vec<Rule>,
    pub passed: Count,
    pub blocked: Count,
    pub limited: Count,
    pub limit: Limit,
    /// The sources that the limit has dropped most frames of, the first the worst.
    pub sources: Vec<(IpAddr, u64)>,
}

/// The maps of a running filter.
pub struct Filter {
    rules_v4: LpmTrie<MapData, [u8; 4], RuleValue>,
    rules_v6: LpmTrie<MapData, [u8; 16], RuleValue>,
    hits: PerCpuArray<MapData, Counter>,
    totals: PerCpuArray<MapData, Counter>,
    limits: Array<MapData, LimitValue>,
    accounts: HashMap<MapData, [u8; 16], Account>,
}

impl Filter {
    /// The maps of the filter that runs at an interface.
    pub fn find(interface: &Interface) -> Result<Self> {
        let directory = directory(interface);
        // Who runs it holds the lock of its directory.
        let runs = match File::open(&directory) {
            Ok(file) => lock(file)?.is_none(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
            Err(error) => return Err(error).with_context(|| directory.display().to_string()),
        };

        ensure!(runs, "no ddos_filter runs at {interface}");
        Self::open(&directory)
    }

    fn open(directory: &Path) -> Result<Self> {
        let map = |name: &str| {
            MapData::from_pin(directory.join(name)).with_context(|| format!("opening map {name}"))
        };

        Ok(Self {
            rules_v4: LpmTrie::try_from(Map::LpmTrie(map(RULES_V4)?))?,
            rules_v6: LpmTrie::try_from(Map::LpmTrie(map(RULES_V6)?))?,
            hits: PerCpuArray::try_from(Map::PerCpuArray(map(HITS)?))?,
            totals: PerCpuArray::try_from(Map::PerCpuArray(map(TOTALS)?))?,
            limits: Array::try_from(Map::Array(map(LIMITS)?))?,
            accounts: HashMap::try_from(Map::LruHashMap(map(ACCOUNTS)?))?,
        })
    }

    /// Adds a rule. It counts from now on, at once on all CPUs.
    pub fn add(&mut self, prefix: Prefix, pass: bool) -> Result<()> {
        // Else two that add rules at once might choose the same slot.
        let _alone = Flock::lock(File::open(DIRECTORY)?, FlockArg::LockExclusive)
            .map_err(|(_, errno)| errno)
            .context("waiting for others that change the rules")?;
        let rules = self.rules()?;

        if let Some(rule) = rules.iter().find(|rule| rule.prefix == prefix) {
            bail!("{prefix} is {} already", rule.what());
        }
        let slot = (0..MAX_RULES)
            .find(|slot| rules.iter().all(|rule| rule.slot != *slot))
            .ok_or_else(|| anyhow!("there are {MAX_RULES} rules already"))?;
        let value = [slot, pass.into()];

        self.hits.set(slot, per_cpu_zero()?, 0)?;
        match prefix.address {
            IpAddr::V4(v4) => {
                self.rules_v4
                    .insert(&Key::new(prefix.length, v4.octets()), value, BPF_NOEXIST)
            }
            IpAddr::V6(v6) => {
                self.rules_v6
                    .insert(&Key::new(prefix.length, v6.octets()), value, BPF_NOEXIST)
            }
        }
        .with_context(|| format!("adding {prefix}"))
    }

    /// Takes a rule out, and returns what it has counted.
    pub fn remove(&mut self, prefix: Prefix) -> Result<Rule> {
        let rule = self
            .rules()?
            .into_iter()
            .find(|rule| rule.prefix == prefix)
            .ok_or_else(|| anyhow!("there is no rule for {prefix}"))?;

        match prefix.address {
            IpAddr::V4(v4) => self.rules_v4.remove(&Key::new(prefix.length, v4.octets())),
            IpAddr::V6(v6) => self.rules_v6.remove(&Key::new(prefix.length, v6.octets())),
        }
        .with_context(|| format!("removing {prefix}"))?;
        Ok(rule)
    }

    /// All rules, sorted.
    pub fn rules(&self) -> Result<Vec<Rule>> {
        let v4 = self.rules_v4.iter().map(|entry| {
            let (key, value) = entry?;

            Ok((IpAddr::from(key.data()), key.prefix_len(), value))
        });
        let v6 = self.rules_v6.iter().map(|entry| {
            let (key, value) = entry?;

            Ok((IpAddr::from(key.data()), key.prefix_len(), value))
        });
        let mut rules = Vec::new();

        for entry in v4.chain(v6) {
            let (address, length, [slot, pass]) = match entry {
                Ok(entry) => entry,
                // Removed while the list was read.
                Err(MapError::KeyNotFound) => continue,
                Err(error) => return Err(error).context("reading the rules"),
            };

            rules.push(Rule {
                prefix: Prefix { address, length },
                pass: pass != 0,
                count: sum(&self.hits, slot)?,
                slot,
            });
        }
        rules.sort_by_key(|rule| rule.prefix);
        Ok(rules)
    }

    pub fn limit(&self) -> Result<Limit> {
        Limit::of(self.limits.get(&0, 0)?)
    }

    pub fn set_limit(&mut self, limit: Limit) -> Result<()> {
        self.limits
            .set(0, limit.value(), 0)
            .context("setting the limit")
    }

    /// All that was counted so far, with the `sources` worst sources.
    pub fn statistics(&self, sources: usize) -> Result<Statistics> {
        let total = |fate| sum(&self.totals, fate);
        let mut worst = Vec::new();

        for entry in self.accounts.iter() {
            match entry {
                Ok((_, [_, 0])) | Err(MapError::KeyNotFound) => {}
                Ok((address, [_, dropped])) => worst.push((source(address), dropped)),
                Err(error) => return Err(error).context("reading the accounts"),
            }
        }
        worst.sort_by_key(|&(address, dropped)| (std::cmp::Reverse(dropped), address));
        worst.truncate(sources);
        Ok(Statistics {
            rules: self.rules()?,
            // As in `enum fate`.
            passed: total(0)?,
            blocked: total(1)?,
            limited: total(2)?,
            limit: self.limit()?,
            sources: worst,
        })
    }
}

/// The address of an account; one of IPv6 is the first of its /64.
fn source(address: [u8; 16]) -> IpAddr {
    let v6 = Ipv6Addr::from(address);

    v6.to_ipv4_mapped().map_or(v6.into(), IpAddr::from)
}

fn sum(counters: &PerCpuArray<MapData, Counter>, index: u32) -> Result<Count> {
    let cpus = counters.get(&index, 0).context("reading a counter")?;

    Ok(cpus
        .iter()
        .fold(Count::default(), |sum, [packets, bytes]| Count {
            packets: sum.packets + packets,
            bytes: sum.bytes + bytes,
        }))
}

fn per_cpu_zero() -> Result<aya::maps::PerCpuValues<Counter>> {
    let cpus = aya::util::nr_cpus().map_err(|(_, error)| error)?;

    Ok(vec![[0; 2]; cpus].try_into()?)
}

fn directory(interface: &Interface) -> PathBuf {
    Path::new(DIRECTORY).join(&interface.name)
}

/// Locks a file if nobody else has.
fn lock(file: File) -> Result<Option<Flock<File>>> {
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(errno).context("locking"),
    }
}

/// The names of a filter's maps, gone when this is dropped.
pub struct Pins {
    directory: PathBuf,
    _lock: Flock<File>,
}

impl Pins {
    /// Gives the maps of the object names in the directory of the interface.
    pub fn make(interface: &Interface, object: &mut Ebpf) -> Result<(Self, Filter)> {
        let is_bpffs = statfs(BPFFS).is_ok_and(|fs| fs.filesystem_type() == BPF_FS_MAGIC);

        ensure!(
            is_bpffs,
            "there is no BPF file system at {BPFFS} (mount -t bpf bpf {BPFFS})"
        );
        let directory = directory(interface);

        fs::create_dir_all(&directory)
            .with_context(|| format!("making {}", directory.display()))?;
        let Some(lock) = lock(File::open(&directory)?)? else {
            bail!("a ddos_filter runs at {interface} already");
        };
        let pins = Self {
            directory,
            _lock: lock,
        };

        // One that was killed could not do it.
        pins.remove();
        for name in MAPS {
            pin(object, name, &pins.directory.join(name))?;
        }
        let filter = Filter::open(&pins.directory)?;

        Ok((pins, filter))
    }

    fn remove(&self) {
        for name in MAPS {
            // It is not there, unless another was killed.
            let _ = fs::remove_file(self.directory.join(name));
        }
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        self.remove();
        if let Err(error) = fs::remove_dir(&self.directory) {
            eprintln!(
                "ddos_filter: removing {}: {error}",
                self.directory.display()
            );
        }
        // Other interfaces may have directories there.
        let _ = fs::remove_dir(DIRECTORY);
    }
}

fn pin(object: &mut Ebpf, name: &str, path: &Path) -> Result<()> {
    match object.take_map(name) {
        Some(
            Map::Array(map) | Map::PerCpuArray(map) | Map::LpmTrie(map) | Map::LruHashMap(map),
        ) => map
            .pin(path)
            .with_context(|| format!("pinning map {name} as {}", path.display())),
        _ => bail!("the file has no map {name} of the right kind"),
    }
}
