// SPDX-License-Identifier: GPL-2.0

//! Tries rows of the table in all states of a port.

use super::{shown, Set, Setting};
use crate::{
    bed::{Bed, Port},
    host::kmsg::Kmsg,
    support::{
        changes::Background,
        traffic::{check_alive, wait_flowing},
    },
    wire::{probe::Probe, toeplitz::Key, ETH_ZLEN},
};
use anyhow::{bail, ensure, Context, Result};

/// What is expected to show at a port.
type Values = &'static [&'static str];

/// A setting, and its values.
struct Tried<'a> {
    setting: &'a Setting,
    now: Values,
}

/// Sets the settings, one after the other, in each state: all accepted values, then all refused
/// ones. What is set in one state stays in the next.
pub fn in_all_states(bed: &Bed, settings: &[Setting]) -> Result<()> {
    let mut tried: Vec<_> = settings
        .iter()
        .map(|setting| Tried {
            setting,
            now: setting.default,
        })
        .collect();

    prepare(bed, settings)?;
    down(bed, &mut tried).context("while the port is down")?;
    prepare(bed, settings)?;
    up(bed, &mut tried).context("while the port is up")?;
    prepare(bed, settings)?;
    under_traffic(bed, &mut tried).context("under traffic")
}

fn prepare(bed: &Bed, settings: &[Setting]) -> Result<()> {
    bed.up()?;
    settings
        .iter()
        .try_for_each(|setting| (setting.before)(bed))
        .context("before anything is set")
}

/// What is set holds at once, when the port is up, and when it is down again.
fn down(bed: &Bed, all: &mut [Tried<'_>]) -> Result<()> {
    bed.a.down()?;
    bed.b.down()?;
    for tried in all {
        let setting = tried.setting;

        tried.expect(&bed.b, false).context("at first")?;
        for &(value, shows) in setting.accepted {
            if let Some(reason) = setting.refused_when_down {
                tried.refuse(&bed.b, value, reason, false)?;
                continue;
            }
            tried.accept(&bed.b, value, shows, false)?;
            bed.up()?;
            tried
                .expect(&bed.b, true)
                .and_then(|()| tried.works(bed))
                .with_context(|| format!("{}: up afterwards", setting.line(&bed.b, value)))?;
            bed.b.down()?;
            bed.a.down()?;
            tried
                .expect(&bed.b, false)
                .with_context(|| format!("{}: down afterwards", setting.line(&bed.b, value)))?;
        }
        for &(value, reason) in setting.refused {
            tried.refuse(&bed.b, value, reason, false)?;
        }
        tried.expect_other_end(&bed.a, false)?;
    }
    bed.up()?;
    check_alive(bed)
}

fn up(bed: &Bed, all: &mut [Tried<'_>]) -> Result<()> {
    for tried in all.iter_mut() {
        let setting = tried.setting;

        tried.expect(&bed.b, true).context("at first")?;
        for &(value, shows) in setting.accepted {
            tried.accept(&bed.b, value, shows, true)?;
            tried
                .works(bed)
                .with_context(|| setting.line(&bed.b, value))?;
        }
        for &(value, reason) in setting.refused {
            tried.refuse(&bed.b, value, reason, true)?;
        }
        tried.expect_other_end(&bed.a, true)?;
    }
    // No other setting has changed one.
    all.iter()
        .try_for_each(|tried| tried.expect(&bed.b, true))
        .context("in the end")?;
    check_alive(bed)
}

/// At both ports, with a program each.
fn under_traffic(bed: &Bed, all: &mut [Tried<'_>]) -> Result<()> {
    let [first, ..] = all else {
        bail!("no setting");
    };
    let background = Background {
        programs: first.setting.programs,
        // Shorter than the smallest MTU.
        probe: Probe::new(0, 0).len(ETH_ZLEN),
        may_lose: all.iter().any(|tried| tried.setting.may_lose),
    };

    background.run(bed, || {
        for tried in all.iter_mut() {
            let setting = tried.setting;

            tried.expect(&bed.b, true).context("at first")?;
            for &(value, shows) in setting.accepted {
                for port in [&bed.b, &bed.a] {
                    tried.accept(port, value, shows, true)?;
                    wait_flowing(bed, 100).with_context(|| setting.line(port, value))?;
                }
            }
            for &(value, reason) in setting.refused {
                tried.refuse(&bed.b, value, reason, true)?;
            }
            wait_flowing(bed, 100).context("after the refusals")?;
        }
        Ok(())
    })?;
    let other = Bed {
        a: bed.b.clone(),
        b: bed.a.clone(),
    };
    // The page pools are new then, without pages from the traffic.
    bed.a.down()?;
    bed.b.down()?;
    bed.up()?;
    for bed in [bed, &other] {
        for tried in all.iter() {
            tried
                .works(bed)
                .with_context(|| format!("{}: afterwards", tried.setting.set.name(&bed.b)))?;
        }
    }
    check_alive(bed)
}

impl Tried<'_> {
    /// Sets a value, which has to show then.
    fn accept(&mut self, port: &Port, value: &str, shows: Values, link: bool) -> Result<()> {
        let setting = self.setting;

        setting.set.set(port, value)?;
        self.now = shows;
        self.expect(port, link)
            .with_context(|| setting.line(port, value))?;
        for command in setting.then {
            Set::Command(command)
                .set(port, "")
                .and_then(|()| self.expect(port, link))
                .with_context(|| format!("{}, then {command}", setting.line(port, value)))?;
        }
        Ok(())
    }

    /// Sets a value that is refused with these words; then all shows as before.
    fn refuse(&self, port: &Port, value: &str, reason: &str, link: bool) -> Result<()> {
        let mut log = Kmsg::from_now()?;
        let line = self.setting.line(port, value);

        let Err(refusal) = self.setting.set.set(port, value) else {
            bail!("{line}: expected a refusal (\"{reason}\"), found none");
        };
        let logged: Vec<_> = log.lines()?.iter().map(|line| line.text.clone()).collect();
        let said = format!("{refusal:#}\n{}", logged.join("\n"));
        let reason = &reason.replace("DEV", &port.name);
        ensure!(
            says(&said, reason),
            "{line}: expected a refusal with \"{reason}\", found \"{said}\""
        );
        self.expect(port, link)
            .with_context(|| format!("{line}: after the refusal"))
    }

    /// Fails unless the values show that are set.
    fn expect(&self, port: &Port, link: bool) -> Result<()> {
        match self.setting.without_link {
            Some(values) if !link => self.expect_values(port, values),
            _ => self.expect_values(port, self.now),
        }
    }

    /// Each port's values are its own, or those of both.
    fn expect_other_end(&self, port: &Port, link: bool) -> Result<()> {
        match self.setting {
            Setting {
                both_ends: true, ..
            } => self.expect(port, link),
            Setting {
                without_link: Some(values),
                ..
            } if !link => self.expect_values(port, values),
            Setting { default, .. } => self.expect_values(port, default),
        }
        .context("the other end")
    }

    fn expect_values(&self, port: &Port, values: Values) -> Result<()> {
        if values.is_empty() {
            return Ok(());
        }
        let found = shown::read(self.setting.shown, port)?;

        for ((place, expected), found) in self.setting.shown.iter().zip(values).zip(&found) {
            ensure!(
                expected == found,
                "{}: {place}: expected \"{expected}\", found \"{found}\"",
                port.name
            );
        }
        Ok(())
    }

    fn works(&self, bed: &Bed) -> Result<()> {
        (self.setting.works)(bed, self.now)
    }
}

impl Setting {
    /// What the user types.
    fn line(&self, port: &Port, value: &str) -> String {
        self.set.line(port, value)
    }
}

impl Set {
    fn set(self, port: &Port, value: &str) -> Result<()> {
        let value = value.replace("KEY", &Key::of_the_system()?.text());

        match self {
            Self::Command(_) => port.ns.exec(&self.line(port, &value)).map(drop),
            Self::Sysfs(file) => port.write_sysfs(file, &value),
            Self::By(_, set) => set(port, &value),
        }
    }

    fn name(self, port: &Port) -> String {
        match self {
            Self::Command(command) => command.replace("DEV", &port.name),
            Self::Sysfs(file) => format!("/sys/class/net/{}/{file}", port.name),
            Self::By(name, _) => format!("{}: {name}", port.name),
        }
    }

    fn line(self, port: &Port, value: &str) -> String {
        let name = self.name(port);

        match self {
            Self::Command(_) | Self::By(..) => format!("{name} {value}").trim_end().to_owned(),
            Self::Sysfs(_) => format!("echo {value} >{name}"),
        }
    }
}

/// Whether a text has these words, and no longer number or word in their place.
fn says(text: &str, words: &str) -> bool {
    let text = text.to_lowercase();
    let words = words.to_lowercase();

    text.match_indices(&words)
        .any(|(at, _)| !text[at + words.len()..].starts_with(char::is_alphanumeric))
}
