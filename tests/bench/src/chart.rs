// SPDX-License-Identifier: GPL-2.0

//! The chart: a bar for each device and scenario, as SVG.

use crate::{
    device::{Kind, KINDS},
    result::{cost, Results},
    scenario::{SINKS, SOURCES},
};
use anyhow::{ensure, Result};

const WIDTH: f64 = 860.0;
/// Where the bars begin, and how long the longest is.
const LEFT: f64 = 330.0;
const LONGEST: f64 = 450.0;
const BAR: f64 = 13.0;
const PAIR: f64 = 2.0 * BAR + 9.0;
const TITLE: f64 = 34.0;
const TOP: f64 = 62.0;

/// Draws the verdicts for all sources, as far as they were measured on both devices.
pub fn draw(results: &Results) -> Result<String> {
    let mut groups = Vec::new();

    for (source, title) in SOURCES {
        let bars: Vec<_> = SINKS
            .iter()
            .filter_map(|(end, title, ..)| {
                let name = format!("{source}-{end}");
                let row = results.scenarios.iter().find(|row| row.name == name)?;

                Some((
                    *title,
                    cost(&row.cells, Kind::Oxnic)?,
                    cost(&row.cells, Kind::Veth)?,
                ))
            })
            .collect();

        if !bars.is_empty() {
            groups.push((title, bars));
        }
    }
    let largest = groups
        .iter()
        .flat_map(|group| &group.1)
        .map(|bar| bar.1.max(bar.2))
        .fold(0.0, f64::max);
    ensure!(largest > 0.0, "there is nothing to draw");

    let mut body = String::new();
    let mut y = TOP;
    for (title, bars) in &groups {
        body += &format!(
            "<text class=\"group\" x=\"16\" y=\"{:.0}\">{title}</text>\n",
            y + 20.0
        );
        y += TITLE;
        for (title, oxnic, veth) in bars {
            body += &format!(
                "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{title}</text>\n",
                LEFT - 10.0,
                y + BAR + 4.0
            );
            for (kind, value) in KINDS.into_iter().zip([oxnic, veth]) {
                let length = value / largest * LONGEST;

                body += &format!(
                    "<rect class=\"{}\" x=\"{LEFT:.0}\" y=\"{y:.0}\" width=\"{length:.1}\" \
                     height=\"{BAR:.0}\"/>\n\
                     <text class=\"value\" x=\"{:.1}\" y=\"{:.0}\">{value:.0}</text>\n",
                    kind.name(),
                    LEFT + length + 5.0,
                    y + BAR - 2.0
                );
                y += BAR;
            }
            y += PAIR - 2.0 * BAR;
        }
        y += 8.0;
    }
    let height = y + 10.0;

    Ok(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH:.0} {height:.0}\" \
         width=\"{WIDTH:.0}\" height=\"{height:.0}\" role=\"img\" aria-labelledby=\"title\">\n\
         <title id=\"title\">Instructions per frame of 60 bytes on oxnic and on veth</title>\n\
         <style>\n\
         text {{ font: 13px sans-serif; fill: #222; }}\n\
         .head {{ font-size: 17px; font-weight: bold; }}\n\
         .group {{ font-weight: bold; }}\n\
         .value {{ font-size: 11px; }}\n\
         .oxnic {{ fill: #b7410e; }}\n\
         .veth {{ fill: #8a97a6; }}\n\
         </style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text class=\"head\" x=\"16\" y=\"28\">Instructions per frame of 60 bytes: less is \
         better</text>\n\
         <rect class=\"oxnic\" x=\"16\" y=\"42\" width=\"12\" height=\"12\"/>\
         <text x=\"33\" y=\"53\">oxnic</text>\n\
         <rect class=\"veth\" x=\"86\" y=\"42\" width=\"12\" height=\"12\"/>\
         <text x=\"103\" y=\"53\">veth</text>\n\
         {body}</svg>\n"
    ))
}
