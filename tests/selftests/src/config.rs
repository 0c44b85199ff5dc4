// SPDX-License-Identifier: GPL-2.0

//! `selftests.toml`: the files to run, and the cases that are known not to pass.

use crate::results::Outcome;
use anyhow::{Context, Result};
use glob::Pattern;
use serde::Deserialize;
use std::{fs, path::Path};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(rename = "file")]
    pub files: Vec<File>,
    #[serde(default)]
    pub expected: Vec<Expected>,
}

/// A file of the kernel's tests.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Below tools/testing/selftests.
    pub path: String,
    /// How many queues the ports have.
    pub queues: u32,
    #[serde(default)]
    pub arguments: Vec<String>,
}

impl File {
    /// The name of the file without its end; the names of its cases begin with it.
    pub fn stem(&self) -> &str {
        let name = self.path.rsplit('/').next().unwrap_or_default();

        name.strip_suffix(".py").unwrap_or(name)
    }
}

/// What a case that does not pass ends with.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    case: String,
    result: Outcome,
    says: String,
    reason: String,
}

impl Expected {
    fn matches(&self, case: &str, queues: u32, outcome: Outcome, detail: &str) -> bool {
        let any_queues = if self.case.contains('@') { "" } else { "@*" };

        self.result == outcome
            && detail.contains(&self.says)
            && Pattern::new(&format!("{}{any_queues}", self.case))
                .is_ok_and(|pattern| pattern.matches(&format!("{case}@{queues}")))
    }
}

impl Config {
    /// The reason why a case ends like this, if that is known.
    pub fn reason(&self, case: &str, queues: u32, outcome: Outcome, detail: &str) -> Option<&str> {
        self.expected
            .iter()
            .find(|expected| expected.matches(case, queues, outcome, detail))
            .map(|expected| expected.reason.as_str())
    }
}

pub fn read(path: &Path) -> Result<Config> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let config: Config = toml::from_str(&text).with_context(|| path.display().to_string())?;

    for expected in &config.expected {
        Pattern::new(&expected.case).with_context(|| format!("case {}", expected.case))?;
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::{read, Config};
    use crate::results::Outcome;
    use std::path::Path;

    #[test]
    fn patterns_and_queues() {
        let config: Config = toml::from_str(
            r#"
            file = [{ path = "a/b.py", queues = 4 }]
            [[expected]]
            case = "b.x*@2"
            result = "skip"
            says = "not supported"
            reason = "why"
            "#,
        )
        .unwrap();

        assert_eq!(config.files[0].stem(), "b");
        for (case, queues, outcome, detail, expected) in [
            (
                "b.x_1",
                2,
                Outcome::Skip,
                "it is not supported",
                Some("why"),
            ),
            ("b.x_1", 4, Outcome::Skip, "it is not supported", None),
            ("b.y", 2, Outcome::Skip, "not supported", None),
            ("b.x", 2, Outcome::Fail, "not supported", None),
            ("b.x", 2, Outcome::Skip, "something else", None),
        ] {
            assert_eq!(
                config.reason(case, queues, outcome, detail),
                expected,
                "{case}"
            );
        }
    }

    #[test]
    fn the_file_in_use() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("selftests.toml");

        assert!(!read(&path).unwrap().files.is_empty());
    }
}
