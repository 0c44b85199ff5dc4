// SPDX-License-Identifier: GPL-2.0

//! The chart: a bar for each device and scenario.

use crate::{
    device::{Kind, KINDS},
    result::{cost, Results},
    scenario::{SINKS, SOURCES},
    xsk,
};
use anyhow::{ensure, Result};
use oxnic_drop_points::chart::{Bars, Chart, Group, Series};

/// Draws the verdicts for all sources, as far as they were measured on both devices.
pub fn draw(results: &Results) -> Result<String> {
    let mut groups = Vec::new();

    for (source, title) in SOURCES {
        let bars: Vec<_> = SINKS
            .iter()
            .filter_map(|(end, title, ..)| {
                let name = format!("{source}-{end}");
                let row = results.scenarios.iter().find(|row| row.name == name)?;

                Some(Bars {
                    title: (*title).to_owned(),
                    values: KINDS
                        .iter()
                        .map(|kind| cost(&row.cells, *kind))
                        .collect::<Option<_>>()?,
                })
            })
            .collect();

        if !bars.is_empty() {
            groups.push(Group {
                title: title.to_owned(),
                bars,
            });
        }
    }
    ensure!(!groups.is_empty(), "there is nothing to draw");
    groups.extend(af_xdp(results));
    let series = KINDS.map(|kind| Series {
        name: kind.name().to_owned(),
        colour: match kind {
            Kind::Oxnic => "#b7410e",
            Kind::Veth => "#8a97a6",
        },
    });

    Ok(Chart {
        title: "Instructions per frame of 60 bytes on oxnic and on veth".into(),
        head: "Instructions per frame of 60 bytes: less is better".into(),
        series: series.into(),
        groups,
    }
    .draw())
}

/// AF_XDP in the mode that each device has, if all of it was measured.
fn af_xdp(results: &Results) -> Option<Group> {
    let value = |task: &str, kind, mode| {
        let name = xsk::name(task, 60, mode);
        let row = results.scenarios.iter().find(|row| row.name == name)?;

        cost(&row.cells, kind)
    };

    Some(Group {
        title: "AF_XDP: zero-copy on oxnic, copy mode on veth".to_owned(),
        bars: xsk::TASKS
            .iter()
            .map(|(task, title, _)| {
                Some(Bars {
                    title: (*title).to_owned(),
                    values: KINDS
                        .iter()
                        .map(|kind| match kind {
                            Kind::Oxnic => value(task, *kind, xsk::ZERO_COPY),
                            Kind::Veth => value(task, *kind, xsk::COPY),
                        })
                        .collect::<Option<_>>()?,
                })
            })
            .collect::<Option<_>>()?,
    })
}
