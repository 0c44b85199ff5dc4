// SPDX-License-Identifier: GPL-2.0

//! Files with compiled BPF programs, and the verifier's refusal.

use anyhow::{anyhow, Context, Result};
use aya::{programs::ProgramError, Ebpf, EbpfLoader};
use std::{
    env, fmt,
    path::{Path, PathBuf},
};

/// The option that names the file.
#[derive(clap::Args, Clone, Debug)]
pub struct ObjectFile {
    /// The compiled BPF programs, instead of the sample's own. Those are looked for in the directory
    /// that OXNIC_BPF names in the environment, then beside this program
    #[arg(long = "obj", value_name = "FILE")]
    given: Option<PathBuf>,
}

impl ObjectFile {
    /// The file: the one that was given, else `NAME.bpf.o` where it is found.
    pub fn path(&self, name: &str) -> Result<PathBuf> {
        if let Some(path) = &self.given {
            return Ok(path.clone());
        }
        let file = format!("{name}.bpf.o");
        let beside = env::current_exe().context("looking for this program's own file")?;
        let places = [
            env::var_os("OXNIC_BPF").map(PathBuf::from),
            beside.parent().map(Path::to_path_buf),
        ];

        places
            .into_iter()
            .flatten()
            .map(|directory| directory.join(&file))
            .find(|path| path.exists())
            .ok_or_else(|| {
                anyhow!("{file} is neither in the directory OXNIC_BPF nor beside this program; --obj names another file")
            })
    }
}

/// Opens a file with BPF programs: its maps are made, its programs are not loaded yet.
pub fn open(path: &Path) -> Result<Ebpf> {
    // No sample needs the kernel's own types, and it takes a while to read them.
    EbpfLoader::new()
        .btf(None)
        .load_file(path)
        .with_context(|| format!("opening {}", path.display()))
}

/// The verifier did not let a program in.
#[derive(Debug)]
pub struct Refused {
    /// What the verifier wrote about it.
    pub log: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the verifier refuses it, and says why above")
    }
}

impl std::error::Error for Refused {}

/// Makes an error with the verifier's log of it, if loading a program failed in the verifier.
pub fn loaded(name: &str, result: Result<(), ProgramError>) -> Result<()> {
    match result {
        Ok(()) => Ok(()),
        // Without a log it did not get as far as the verifier: a privilege is missing, for one.
        Err(ProgramError::LoadError {
            io_error,
            verifier_log,
        }) => {
            let log = verifier_log.to_string();

            if log.trim().is_empty() {
                return Err(io_error).with_context(|| format!("loading program {name}"));
            }
            Err(Refused { log }).with_context(|| format!("loading program {name}"))
        }
        Err(error) => Err(error).with_context(|| format!("loading program {name}")),
    }
}
