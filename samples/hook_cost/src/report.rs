// SPDX-License-Identifier: GPL-2.0

//! What becomes of the costs: a table, a chart.

use crate::flood::{Flood, SIZE};
use anyhow::{ensure, Context, Result};
use oxnic_drop_points::{
    chart::{Bars, Chart, Group, Series},
    cost::{mean, spread, Unit},
    place::Place,
    text::{fill_in, has_place, number, percent, table},
};
use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

/// What the places in texts are named after.
const COMMAND: &str = "make hook-cost";

/// The costs at each place, one of each run.
pub struct Measured {
    pub places: Vec<(Place, Vec<f64>)>,
}

impl Measured {
    pub fn new(places: &[Place]) -> Self {
        Self {
            places: places.iter().map(|place| (*place, Vec::new())).collect(),
        }
    }

    pub fn table(&self, unit: Unit) -> String {
        let native = self
            .places
            .iter()
            .find(|(place, _)| *place == Place::NativeXdp)
            .and_then(|(_, costs)| mean(costs));
        let rows: Vec<_> = self
            .places
            .iter()
            .map(|(place, costs)| {
                let cost = mean(costs);
                let times = cost.zip(native).map(|(cost, native)| cost / native);

                vec![
                    place.title().to_owned(),
                    number(cost, 0),
                    number(times, 1),
                    // One run alone says nothing about that.
                    spread(costs)
                        .filter(|_| costs.len() > 1)
                        .map_or_else(|| "-".into(), percent),
                ]
            })
            .collect();

        table(
            &[
                "dropped by",
                &format!("{unit} per frame"),
                "times native XDP",
                "repeatable to",
            ],
            1,
            &rows,
        )
    }

    fn chart(&self, unit: Unit, flood: &Flood<'_>) -> String {
        let bars = self
            .places
            .iter()
            .map(|(place, costs)| Bars {
                title: place.title().to_owned(),
                values: mean(costs).into_iter().collect(),
            })
            .collect();
        let head = match unit {
            Unit::Instructions => "Instructions per dropped frame",
            Unit::Nanoseconds => "Nanoseconds per dropped frame",
        };

        Chart {
            title: format!("{head}, by the place where it is dropped"),
            head: format!("{head}: less is better"),
            series: vec![Series {
                name: "cost".into(),
                colour: "#b7410e",
            }],
            groups: vec![Group {
                title: format!(
                    "UDP, {SIZE} bytes, sent by pktgen from {} to {}, dropped by:",
                    flood.from(),
                    flood.to()
                ),
                bars,
            }],
        }
        .draw()
    }
}

/// Where the results go besides standard output, opened before the measurement begins.
pub struct Outputs {
    svg: Option<(PathBuf, File)>,
    texts: Vec<PathBuf>,
}

impl Outputs {
    pub fn open(svg: Option<&Path>, texts: &[PathBuf]) -> Result<Self> {
        let svg = match svg {
            Some(path) => Some((path.to_owned(), open(path, true)?)),
            None => None,
        };

        for path in texts {
            open(path, false)?;
            let text = fs::read_to_string(path).with_context(|| reading(path))?;
            ensure!(
                has_place(&text, COMMAND),
                "{} has no line \"<!-- {COMMAND}: table -->\"",
                path.display()
            );
        }
        Ok(Self {
            svg,
            texts: texts.to_owned(),
        })
    }

    pub fn write(
        self,
        measured: &Measured,
        unit: Unit,
        flood: &Flood<'_>,
        said: &str,
    ) -> Result<()> {
        if let Some((path, mut file)) = self.svg {
            file.set_len(0)
                .and_then(|()| file.write_all(measured.chart(unit, flood).as_bytes()))
                .with_context(|| format!("writing {}", path.display()))?;
        }
        let output = format!(
            "# hook_cost {} {}\n{}",
            flood.from(),
            flood.to(),
            said.trim_end()
        );
        let sections = [
            ("table", measured.table(unit)),
            ("output", format!("    {}", output.replace('\n', "\n    "))),
        ];

        for path in &self.texts {
            fill_in(path, COMMAND, &sections)?;
        }
        Ok(())
    }
}

/// Opens a file to be written, and leaves in it what it has.
fn open(path: &Path, create: bool) -> Result<File> {
    OpenOptions::new()
        .write(true)
        .create(create)
        .truncate(false)
        .open(path)
        .with_context(|| format!("writing {}", path.display()))
}

fn reading(path: &Path) -> String {
    format!("reading {}", path.display())
}
