// SPDX-License-Identifier: GPL-2.0

//! What was aimed at, and whether it was reached.

use crate::{
    device::Kind,
    profile::Part,
    result::{cost, Rate, Results},
    scenario::PLACES,
};
use oxnic_drop_points::cost::mean;

/// Receiving a frame that is dropped, all in all, in instructions.
const RECEIVE: f64 = 80.0;
/// The driver's functions alone, when the frame is passed to the stack.
const OWN_PASS: f64 = 140.0;
/// By how much native XDP_DROP must be cheaper than the same verdict of tcx.
const AGAINST_TCX: f64 = 3.0;
/// By how much a frame may cost more with more rings, ports and flows.
const GROWTH: f64 = 1.1;
/// AF_XDP in zero-copy mode: what a frame may cost, in instructions, by scenario.
const XSK: [(&str, f64); 4] = [
    ("xsk-rx-zero-copy", 600.0),
    ("xsk-rx-1500-zero-copy", 1150.0),
    ("xsk-tx-zero-copy", 420.0),
    ("xsk-tx-1500-zero-copy", 950.0),
];
/// Which part of what the machine can give two CPUs must reach.
const OF_POSSIBLE: f64 = 0.9;

pub struct Goal {
    pub title: String,
    pub measured: Option<f64>,
    /// The limit, and whether it is the least rather than the most.
    pub limit: f64,
    pub least: bool,
    pub unit: &'static str,
    pub digits: usize,
}

impl Goal {
    pub fn is_met(&self) -> Option<bool> {
        let measured = self.measured?;

        Some(if self.least {
            measured >= self.limit
        } else {
            measured <= self.limit
        })
    }

    pub fn verdict(&self) -> String {
        match (self.is_met(), self.measured) {
            (Some(true), _) => "met".into(),
            (Some(false), Some(measured)) => {
                let part = (measured / self.limit - 1.0).abs() * 100.0;

                format!(
                    "**missed** by {part:.0} % ({})",
                    if self.least { "too low" } else { "too high" }
                )
            }
            _ => "not measured".into(),
        }
    }
}

fn most(title: String, measured: Option<f64>, limit: f64, unit: &'static str) -> Goal {
    Goal {
        title,
        measured,
        limit,
        least: false,
        unit,
        digits: 2,
    }
}

/// All goals; of a run of a part of the benchmarks those that it says something about.
pub fn all(results: &Results) -> Vec<Goal> {
    let mut goals = Vec::new();

    for row in &results.scenarios {
        if let Some(goal) = row.goal {
            let title = format!("{}: {}", row.source, row.title);

            goals.push(most(title, row.ratio(), goal, "of veth"));
        }
    }
    for row in &results.tcp {
        if let Some(goal) = row.goal {
            let title = format!("TCP: {}", row.title);

            goals.push(most(
                title,
                cost(&row.cells, Kind::Oxnic),
                goal,
                "instructions per byte",
            ));
        }
    }
    goals.extend(receiving(results));
    goals.extend(places(results));
    goals.extend(xsk(results));
    goals.push(most(
        "scaling: the dearest of all rings, ports and flows, against one of each".into(),
        growth(results),
        GROWTH,
        "times",
    ));
    if let Some(rate) = &results.rate {
        goals.extend(two(rate));
    } else {
        goals.retain(|goal| goal.measured.is_some());
    }
    goals
}

/// The receiving side, from the profiles of batches of 64.
fn receiving(results: &Results) -> [Goal; 2] {
    let profile = |name: &str| {
        let row = results.scenarios.iter().find(|row| row.name == name)?;
        let profile = &row.cells.get(&Kind::Oxnic)?.profile;

        (!profile.is_empty()).then_some(profile)
    };
    let receive = profile("bulk-drop").map(|list| list.iter().map(|one| one.poll).sum());
    let own = profile("bulk-pass").map(|list| {
        list.iter()
            .filter(|one| Part::of(&one.name, Kind::Oxnic) == Part::Driver)
            .map(|one| one.poll)
            .sum()
    });
    let goal = |title: &str, measured, limit| Goal {
        digits: 0,
        ..most(title.into(), measured, limit, "instructions")
    };

    [
        goal(
            "the receiving side alone, XDP_DROP, the program included",
            receive,
            RECEIVE,
        ),
        goal(
            "the driver's own share of XDP_PASS on the receiving side",
            own,
            OWN_PASS,
        ),
    ]
}

/// The cost of each place to drop on a device, for frames of a source.
pub fn place_costs(
    results: &Results,
    source: &str,
    kind: Kind,
) -> Vec<(&'static str, Option<f64>)> {
    PLACES
        .iter()
        .map(|(end, place)| {
            let name = format!("{source}-{end}");
            let row = results.scenarios.iter().find(|row| row.name == name);

            (place.title(), row.and_then(|row| cost(&row.cells, kind)))
        })
        .collect()
}

fn places(results: &Results) -> Vec<Goal> {
    let mut goals = Vec::new();

    for source in ["pktgen", "bulk"] {
        let costs = place_costs(results, source, Kind::Oxnic);
        let native = costs[0].1;
        let later = |wanted: Option<&str>| {
            costs[1..]
                .iter()
                .filter(|place| wanted.is_none_or(|wanted| place.0 == wanted))
                .map(|place| place.1)
                .collect::<Option<Vec<f64>>>()
                .and_then(|costs| costs.into_iter().min_by(f64::total_cmp))
        };

        for (title, cost, limit) in [
            ("the cheapest later place to drop", later(None), 1.0),
            ("tcx", later(Some("tcx")), AGAINST_TCX),
        ] {
            goals.push(Goal {
                least: true,
                ..most(
                    format!("{source}: {title}, against native XDP_DROP"),
                    cost.zip(native).map(|(cost, native)| cost / native),
                    limit,
                    "times",
                )
            });
        }
    }
    goals
}

/// AF_XDP on oxnic, as far as it was measured.
fn xsk(results: &Results) -> impl Iterator<Item = Goal> + '_ {
    XSK.iter().filter_map(|(name, limit)| {
        let row = results.scenarios.iter().find(|row| row.name == *name)?;
        let title = format!("{}: {}", row.source, row.title);

        Some(Goal {
            digits: 0,
            ..most(title, cost(&row.cells, Kind::Oxnic), *limit, "instructions")
        })
    })
}

/// The dearest frame of a source, as a multiple of what it costs with one ring, port and flow.
fn growth(results: &Results) -> Option<f64> {
    results
        .scaling
        .iter()
        .filter_map(|row| {
            let one = results.scaling.iter().find(|one| {
                one.source == row.source && (one.rings, one.ports, one.flows) == (1, 1, 1)
            })?;

            Some(mean(&row.runs)? / mean(&one.runs)?)
        })
        .max_by(f64::total_cmp)
}

fn two(rate: &Rate) -> Option<Goal> {
    let row = rate
        .rows
        .iter()
        .find(|row| row.kind == Kind::Oxnic && row.name == "rate-drop")?;

    Some(Goal {
        least: true,
        ..most(
            format!(
                "{} CPUs with as many rings against one, of the {:.2} times that the machine gave",
                rate.cpus, rate.spinning
            ),
            Some(row.all / row.one / rate.spinning),
            OF_POSSIBLE,
            "of that",
        )
    })
}

/// One line for all.
pub fn summary(goals: &[Goal]) -> String {
    let met = goals
        .iter()
        .filter(|goal| goal.is_met() == Some(true))
        .count();

    format!("{met} of {} goals are met", goals.len())
}
