// SPDX-License-Identifier: GPL-2.0

//! What users set at a port: a table of the commands, where their effect shows, and which values
//! are accepted or refused. Each case tries its rows of the table at a port that is down, at one
//! that is up, and under traffic.

mod shown;
mod states;
mod table;

use crate::{
    bed::{Bed, Port},
    harness::case,
    support::hwtstamp,
};
use anyhow::Result;
use states::in_all_states;

case!(ports "settings::ring_size", "queues=2",
    |bed| in_all_states(bed, &[table::RING_SIZE]));
case!(ports "settings::ring_size_with_threaded_napi", "queues=2",
    |bed| in_all_states(bed, &[table::RING_SIZE_WITH_THREADS]));
case!(ports "settings::tx_ring_size", "queues=2",
    |bed| in_all_states(bed, &[table::TX_RING_SIZE]));
case!(ports "settings::channels", "queues=4",
    |bed| in_all_states(bed, &[table::CHANNELS]));
case!(ports "settings::channels_and_a_table_of_the_user", "queues=4",
    |bed| in_all_states(bed, &[table::CHANNELS_OF_A_TABLE]));
case!(ports "settings::moderation", "queues=2",
    |bed| in_all_states(bed, &[table::MODERATION]));
case!(ports "settings::moderation_of_a_small_ring", "ring_size=64",
    |bed| in_all_states(bed, &[table::MODERATION_OF_A_SMALL_RING]));
case!(ports "settings::moderation_of_a_ring_made_larger", "ring_size=64",
    |bed| in_all_states(bed, &[table::MODERATION_OF_A_LARGER_RING]));
case!(ports "settings::flow_control", "queues=2",
    |bed| in_all_states(bed, &[table::FLOW_CONTROL]));
case!(ports "settings::link", "",
    |bed| in_all_states(bed, &[table::LINK]));
case!(ports "settings::messages", "",
    |bed| in_all_states(bed, &[table::MESSAGES]));
case!(ports "settings::features", "queues=2",
    |bed| in_all_states(bed, &table::FEATURES));
case!(ports "settings::rss", "queues=4",
    |bed| in_all_states(bed, &[table::RSS]));
case!(ports "settings::rss_fields", "queues=4",
    |bed| in_all_states(bed, &[table::RSS_FIELDS]));
case!(ports "settings::fields_of_a_symmetric_hash", "queues=4",
    |bed| in_all_states(bed, &[table::FIELDS_OF_A_SYMMETRIC_HASH]));
case!(ports "settings::symmetry_of_other_fields", "queues=4",
    |bed| in_all_states(bed, &[table::SYMMETRY_OF_OTHER_FIELDS]));
case!(ports "settings::rules", "queues=2",
    |bed| in_all_states(bed, &[table::RULES]));
case!(ports "settings::mtu", "queues=2",
    |bed| in_all_states(bed, &[table::MTU]));
case!(ports "settings::mtu_with_a_program", "queues=2",
    |bed| in_all_states(bed, &[table::MTU_WITH_A_PROGRAM]));
case!(ports "settings::address_and_modes", "",
    |bed| in_all_states(bed, &[table::ADDRESS, table::PROMISC, table::ALLMULTICAST]));
case!(ports "settings::time_stamps", "queues=2",
    |bed| in_all_states(bed, &[table::TIME_STAMPS]); allow(&[hwtstamp::ONE_STEP_REFUSED]));
case!(ports "settings::deferred_interrupts", "queues=2",
    |bed| in_all_states(bed, &table::NAPI));

/// A setting of a port.
#[derive(Clone, Copy)]
struct Setting {
    /// What sets it.
    set: Set,
    /// Where its values show.
    shown: &'static [Shown],
    /// What shows there at first; nothing if that is no constant.
    default: &'static [&'static str],
    /// Values, each with what shows then. They are set one after the other.
    accepted: &'static [(&'static str, &'static [&'static str])],
    /// Values, each with words of what the command or the kernel log says, in which DEV is the
    /// port.
    refused: &'static [(&'static str, &'static str)],
    /// What shows in place of any value while there is no link.
    without_link: Option<&'static [&'static str]>,
    /// With which words each value is refused while the port is down, if it is.
    refused_when_down: Option<&'static str>,
    /// Whether a value that is set at one end of the wire is that of both.
    both_ends: bool,
    /// Commands that go through with each value, and change none that shows.
    then: &'static [&'static str],
    /// What is done to ports that are up before anything is set, in each state.
    before: fn(&Bed) -> Result<()>,
    /// Checks at port B, which is up and idle, that the values that show are in effect.
    works: fn(&Bed, &[&str]) -> Result<()>,
    /// The programs of port A and port B under traffic.
    programs: [&'static str; 2],
    /// Whether frames may find no buffer under traffic.
    may_lose: bool,
}

/// A setting that shows nowhere and has no values.
const SETTING: Setting = Setting {
    set: Set::Command(""),
    shown: &[],
    default: &[],
    accepted: &[],
    refused: &[],
    without_link: None,
    refused_when_down: None,
    both_ends: false,
    then: &[],
    before: |_| Ok(()),
    works: |_, _| Ok(()),
    programs: ["count_drop_frags", "count_pass_frags"],
    may_lose: false,
};

/// How a value is set.
#[derive(Clone, Copy)]
enum Set {
    /// By a command in which DEV is the port, followed by the value, in which KEY is the hash key
    /// of the system.
    Command(&'static str),
    /// By writing it to a file of the port in sysfs.
    Sysfs(&'static str),
    /// By a function, which has a name.
    By(&'static str, fn(&Port, &str) -> Result<()>),
}

/// Where a value shows.
#[derive(Clone, Copy)]
enum Shown {
    /// In the output of `ethtool OPTION DEV`, behind a heading: in the line `NAME: VALUE`.
    Ethtool(&'static str, &'static str, &'static str),
    /// In a file of the port in sysfs.
    Sysfs(&'static str),
    /// As a function finds it.
    By(&'static str, fn(&Port) -> Result<String>),
}
