// SPDX-License-Identifier: GPL-2.0

//! The tables, in Markdown.

use crate::{
    device::{Kind, KINDS},
    goals,
    profile::{Part, PARTS},
    result::{cost, widest, Cells, Floor, Rate, Results, Row},
    scenario::{PASSES, SINKS, SOURCES},
    xsk,
};
use oxnic_drop_points::{
    cost::{mean, spread},
    text::{number, percent, table},
};

/// Functions of a profile that are listed in the text; the others are in the JSON.
const LISTED: usize = 25;
/// The profiles that are in the text.
const PROFILES: [&str; 2] = ["bulk-drop", "bulk-pass"];

/// All tables, by name; those without a line are empty.
pub fn sections(results: &Results) -> Vec<(&'static str, String)> {
    vec![
        ("main", main(results)),
        ("gro", gro(results)),
        ("goals", goals_table(results)),
        ("scenarios", scenarios(results)),
        ("floor", floor(results)),
        ("places", places(results)),
        ("xsk", af_xdp(results)),
        ("tcp", tcp(results)),
        ("ping", ping(results)),
        ("scaling", scaling(results)),
        ("rate", results.rate.as_ref().map(rate).unwrap_or_default()),
        ("receiving", receiving(results)),
        ("profiles", profiles(results)),
        ("repeatability", repeatability(results)),
    ]
}

fn ratio(cells: &Cells) -> Option<f64> {
    Some(cost(cells, Kind::Oxnic)? / cost(cells, Kind::Veth)?)
}

/// What is most interesting: the verdicts, for each source.
fn main(results: &Results) -> String {
    by_source(results, SINKS.iter().map(|(end, title, ..)| (*end, *title)))
}

/// XDP_PASS with GRO alike on both devices.
fn gro(results: &Results) -> String {
    by_source(results, PASSES.iter().map(|(end, title, _)| (*end, *title)))
}

/// A row for each of some scenarios, given by the end of the name and a title, and columns for each
/// source.
fn by_source<'a>(results: &Results, scenarios: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let rows: Vec<_> = scenarios
        .filter_map(|(end, title)| {
            let mut line = vec![title.to_owned()];

            for (source, _) in SOURCES {
                let name = format!("{source}-{end}");
                let row = results.scenarios.iter().find(|row| row.name == name);

                for kind in KINDS {
                    line.push(number(row.and_then(|row| cost(&row.cells, kind)), 0));
                }
            }
            line[1..].iter().any(|cell| cell != "-").then_some(line)
        })
        .collect();

    table(
        &[
            "instructions per frame of 60 bytes",
            "pktgen: oxnic",
            "veth",
            "bulk: oxnic",
            "veth",
            "xdp_xmit: oxnic",
            "veth",
        ],
        1,
        &rows,
    )
}

fn goals_table(results: &Results) -> String {
    let rows: Vec<_> = goals::all(results)
        .iter()
        .map(|goal| {
            vec![
                goal.title.clone(),
                format!("{} {}", number(goal.measured, goal.digits), goal.unit),
                format!(
                    "at {} {:.*}",
                    if goal.least { "least" } else { "most" },
                    goal.digits,
                    goal.limit
                ),
                goal.verdict(),
            ]
        })
        .collect();

    table(&["goal", "measured", "wanted", ""], 1, &rows)
}

fn scenarios(results: &Results) -> String {
    let rows: Vec<_> = results
        .scenarios
        .iter()
        .map(|row| {
            vec![
                format!("`{}`", row.name),
                row.title.clone(),
                number(cost(&row.cells, Kind::Oxnic), 0),
                number(cost(&row.cells, Kind::Veth), 0),
                number(row.ratio(), 2),
                percent(widest(&row.cells)),
            ]
        })
        .collect();
    let mut text = table(
        &["scenario", "", "oxnic", "veth", "ratio", "repeatable to"],
        2,
        &rows,
    );

    text += &not_possible(&results.scenarios);
    text
}

fn not_possible(rows: &[Row]) -> String {
    let mut text = String::new();

    for row in rows {
        for (kind, cell) in &row.cells {
            if let Some(reason) = &cell.skipped {
                text += &format!(
                    "\nNot possible: `{}` on {}: {reason}.\n",
                    row.name,
                    kind.name()
                );
            }
        }
    }
    text
}

fn floor(results: &Results) -> String {
    let line = |what: &str, floor: &Floor| {
        vec![
            format!("{what}{}", floor.name),
            number(mean(&floor.runs), 0),
            percent(spread(&floor.runs).unwrap_or(0.0)),
        ]
    };
    let rows: Vec<_> = results
        .floor
        .iter()
        .map(|floor| line("", floor))
        .chain(results.sources.iter().map(|floor| line("source: ", floor)))
        .collect();

    table(&["alone", "instructions", "repeatable to"], 1, &rows)
}

fn places(results: &Results) -> String {
    let sources = ["pktgen", "bulk"];
    let costs: Vec<_> = sources
        .iter()
        .flat_map(|source| KINDS.map(|kind| goals::place_costs(results, source, kind)))
        .collect();
    let rows: Vec<_> = (0..costs[0].len())
        .filter(|place| costs.iter().any(|list| list[*place].1.is_some()))
        .map(|place| {
            let mut line = vec![costs[0][place].0.to_owned()];

            for list in &costs {
                let against = list[place].1.zip(list[0].1);

                line.push(match against {
                    Some((cost, native)) => format!("{cost:.0} ({:.1})", cost / native),
                    None => number(list[place].1, 0),
                });
            }
            line
        })
        .collect();

    table(
        &[
            "dropped by (times native)",
            "pktgen: oxnic",
            "veth",
            "bulk: oxnic",
            "veth",
        ],
        1,
        &rows,
    )
}

/// What AF_XDP sockets do, in each mode that a device has.
fn af_xdp(results: &Results) -> String {
    let mut rows = Vec::new();

    for (task, title, _) in xsk::TASKS {
        for size in xsk::SIZES {
            let mut line = vec![format!("{title}, {size} bytes")];

            for (kind, mode) in [
                (Kind::Oxnic, xsk::ZERO_COPY),
                (Kind::Oxnic, xsk::COPY),
                (Kind::Veth, xsk::COPY),
            ] {
                let name = xsk::name(task, size, mode);
                let row = results.scenarios.iter().find(|row| row.name == name);

                line.push(number(row.and_then(|row| cost(&row.cells, kind)), 0));
            }
            if line[1..].iter().any(|cell| cell != "-") {
                rows.push(line);
            }
        }
    }
    table(
        &[
            "instructions per frame",
            "oxnic: zero-copy",
            "oxnic: copy mode",
            "veth: copy mode",
        ],
        1,
        &rows,
    )
}

fn tcp(results: &Results) -> String {
    let rows: Vec<_> = results
        .tcp
        .iter()
        .map(|row| {
            vec![
                row.title.clone(),
                number(cost(&row.cells, Kind::Oxnic), 2),
                number(cost(&row.cells, Kind::Veth), 2),
                number(ratio(&row.cells), 2),
                percent(widest(&row.cells)),
            ]
        })
        .collect();

    table(
        &[
            "TCP, instructions per byte",
            "oxnic",
            "veth",
            "ratio",
            "repeatable to",
        ],
        1,
        &rows,
    )
}

fn ping(results: &Results) -> String {
    let rows: Vec<_> = results
        .ping
        .iter()
        .map(|row| {
            vec![
                row.title.clone(),
                number(cost(&row.cells, Kind::Oxnic), 0),
                number(cost(&row.cells, Kind::Veth), 0),
                number(ratio(&row.cells), 2),
                percent(widest(&row.cells)),
            ]
        })
        .collect();

    table(
        &[
            "a ping and its answer, nanoseconds",
            "oxnic",
            "veth",
            "ratio",
            "repeatable to",
        ],
        1,
        &rows,
    )
}

fn scaling(results: &Results) -> String {
    let rows: Vec<_> = results
        .scaling
        .iter()
        .map(|row| {
            let one = results
                .scaling
                .iter()
                .find(|one| {
                    one.source == row.source && (one.rings, one.ports, one.flows) == (1, 1, 1)
                })
                .and_then(|one| mean(&one.runs));
            let own = mean(&row.runs);

            vec![
                row.source.clone(),
                row.rings.to_string(),
                row.ports.to_string(),
                row.flows.to_string(),
                number(own, 0),
                number(own.zip(one).map(|(own, one)| own / one), 2),
                percent(spread(&row.runs).unwrap_or(0.0)),
            ]
        })
        .collect();

    table(
        &[
            "source",
            "rings",
            "pairs of ports",
            "flows",
            "oxnic",
            "times one of each",
            "repeatable to",
        ],
        1,
        &rows,
    )
}

pub fn rate(rate: &Rate) -> String {
    let rows: Vec<_> = rate
        .rows
        .iter()
        .map(|row| {
            vec![
                row.title.clone(),
                row.kind.name().to_owned(),
                format!("{:.0}", row.one / 1e3),
                format!("{:.0}", row.all / 1e3),
                format!("{:.2}", row.all / row.one),
            ]
        })
        .collect();

    format!(
        "{}\nThe same {} CPUs did {:.2} times the work of one when they only counted.\n",
        table(
            &[
                "thousand frames per second",
                "",
                "one CPU, one ring",
                &format!("{} CPUs, as many rings", rate.cpus),
                "times",
            ],
            2,
            &rows,
        ),
        rate.cpus,
        rate.spinning
    )
}

/// What the receiving side takes, that is the NAPI polls.
fn receiving(results: &Results) -> String {
    let mut rows = Vec::new();

    for row in &results.scenarios {
        for (kind, cell) in &row.cells {
            // The polls of an AF_XDP socket's queue send as well.
            if cell.profile.is_empty() || row.name.starts_with("xsk-tx") {
                continue;
            }
            let sum = |part: Option<Part>| {
                cell.profile
                    .iter()
                    .filter(|one| part.is_none_or(|part| Part::of(&one.name, *kind) == part))
                    .map(|one| one.poll)
                    .sum()
            };
            let mut line = vec![
                format!("`{}`", row.name),
                kind.name().to_owned(),
                number(Some(sum(None)), 0),
            ];

            line.extend(PARTS.map(|part| number(Some(sum(Some(part))), 0)));
            rows.push(line);
        }
    }
    table(
        &[
            "in NAPI polls",
            "",
            "all",
            "driver",
            "page_pool",
            "program",
            "others",
        ],
        2,
        &rows,
    )
}

fn profiles(results: &Results) -> String {
    let mut text = String::new();

    for row in &results.scenarios {
        for (kind, cell) in &row.cells {
            if cell.profile.is_empty() || !PROFILES.contains(&row.name.as_str()) {
                continue;
            }
            let poll: f64 = cell.profile.iter().map(|function| function.poll).sum();
            let elsewhere: f64 = cell.profile.iter().map(|function| function.elsewhere).sum();
            let rows: Vec<_> = cell
                .profile
                .iter()
                .take(LISTED)
                .map(|function| {
                    vec![
                        format!("`{}`", function.name),
                        format!("{:.1}", function.poll),
                        format!("{:.1}", function.elsewhere),
                    ]
                })
                .collect();

            text += &format!(
                "\n**`{}` on {}**: {poll:.0} in NAPI polls, {elsewhere:.0} elsewhere\n\n{}",
                row.name,
                kind.name(),
                table(&["function", "in polls", "elsewhere"], 1, &rows)
            );
        }
    }
    text
}

/// By how much the runs of each kind of measurement differed at most.
fn repeatability(results: &Results) -> String {
    let mut rows = Vec::new();
    let mut add = |what: &str, spreads: Vec<f64>| {
        if !spreads.is_empty() {
            let largest = spreads.iter().copied().fold(0.0, f64::max);
            let within = spreads.iter().filter(|spread| **spread <= 0.02).count();

            rows.push(vec![
                what.to_owned(),
                spreads.len().to_string(),
                percent(largest),
                within.to_string(),
            ]);
        }
    };

    for (source, title) in SOURCES
        .map(|(source, _)| (source, source))
        .into_iter()
        .chain([("xsk", "AF_XDP")])
    {
        let scenarios = results
            .scenarios
            .iter()
            .filter(|row| row.name.starts_with(source));

        add(title, scenarios.map(|row| widest(&row.cells)).collect());
    }
    add(
        "TCP",
        results.tcp.iter().map(|row| widest(&row.cells)).collect(),
    );
    add(
        "ping",
        results.ping.iter().map(|row| widest(&row.cells)).collect(),
    );
    add(
        "scaling",
        results
            .scaling
            .iter()
            .filter_map(|row| spread(&row.runs))
            .collect(),
    );
    table(
        &[
            "source",
            "measurements",
            "two runs differ at most by",
            "by 2 % or less",
        ],
        1,
        &rows,
    )
}
