// SPDX-License-Identifier: GPL-2.0

//! Call chains as an indented tree.

use crate::{
    symbols::{function, Symbols},
    trace::{Event, What},
};
use anyhow::Result;
use oxnic_samples::say;

/// How wide a line with the callers of the root may be.
const WIDTH: usize = 92;
/// By how much a callee is further to the right than its caller.
const INDENT: usize = 2;

/// Functions that the way is known to lead through, in this order; the last one is its end.
///
/// The stack shows most of them. Those that it does not show are looked for among the symbols.
pub type Way = &'static [Stage];

pub struct Stage {
    pub name: &'static str,
    /// What else it is known as.
    pub role: &'static str,
}

/// Why a line is in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// ftrace recorded the call.
    Traced,
    /// It was on the stack of something that was recorded.
    Stack,
    /// The same, and ftrace could not have recorded the call.
    Untraceable,
    /// The way leads through it, and it has no symbol: its code is in its caller's.
    Inlined,
    /// The way leads through it, it has a symbol, and was not on the stack.
    Missing,
    /// A line of the kernel log.
    Line,
}

impl Known {
    fn word(self) -> &'static str {
        match self {
            Self::Traced => "traced",
            Self::Stack => "stack",
            Self::Untraceable => "no ftrace",
            Self::Inlined => "inlined",
            Self::Missing => "no frame",
            Self::Line => "log",
        }
    }
}

pub const LEGEND: &str = "\
What is in front of a line says how it is known:
  traced     ftrace recorded this call
  stack      it was on the stack of a recorded call
  no ftrace  the same, and ftrace could not have recorded the call itself: code without a place
             for ftrace, as all of rustc's and of the BPF compiler's is
  inlined    the source calls it here, and it has no symbol: its code is part of its caller's
  no frame   the source calls it here, and it has a symbol, but was not on the stack: this call was
             inlined, or it was a jump
  log        a line that the driver printed here";

#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    name: String,
    known: Known,
}

/// Prints what was recorded as a tree. It begins with the function `root`, or with the outermost if
/// there is none of this name or `whole` is set.
pub fn print(events: &[Event], way: Way, root: &str, whole: bool, symbols: &Symbols) -> Result<()> {
    let mut open: Vec<Node> = Vec::new();
    let mut callers: Vec<String> = Vec::new();

    for event in events {
        let (outside, path) = path(event, way, if whole { None } else { Some(root) }, symbols);

        if open.is_empty() || outside != callers {
            print_callers(event, &outside)?;
            open.clear();
            callers = outside;
        }
        // What has been recorded is a line of its own, even if the one before it looks the same.
        let frames = path.len().saturating_sub(1);
        let common = open
            .iter()
            .zip(&path[..frames])
            .take_while(|(open, new)| open.name == new.name)
            .count();

        for (depth, node) in path.iter().enumerate().skip(common) {
            print_node(depth, node, way)?;
        }
        open = path;
    }
    Ok(())
}

/// The names of the functions outside of the root, and the nodes from there on.
fn path(
    event: &Event,
    way: Way,
    root: Option<&str>,
    symbols: &Symbols,
) -> (Vec<String>, Vec<Node>) {
    let names: Vec<_> = event.stack.iter().map(|symbol| function(symbol)).collect();
    let from = root
        .and_then(|root| names.iter().position(|name| name == root))
        .unwrap_or(0);
    let calls = matches!(event.what, What::Call(_));
    let mut nodes: Vec<Node> = Vec::new();
    let mut last = None;

    for (at, name) in names.iter().enumerate().skip(from) {
        let known = if calls && at + 1 == names.len() {
            Known::Traced
        } else if symbols.is_traceable(name) {
            Known::Stack
        } else {
            Known::Untraceable
        };

        add_hidden(&mut nodes, way, &mut last, Some(name), symbols);
        nodes.push(Node {
            name: name.clone(),
            known,
        });
    }
    if let What::Line(line) = &event.what {
        add_hidden(&mut nodes, way, &mut last, None, symbols);
        nodes.push(Node {
            name: line.clone(),
            known: Known::Line,
        });
    }
    (names[..from].to_vec(), nodes)
}

/// Adds the stages of the way between the last one that was on the stack, which is at `last`, and
/// what comes next. If that is not one of them, those stages are added which must be part of
/// the last one's code, up to the first that has a symbol.
fn add_hidden(
    nodes: &mut Vec<Node>,
    way: Way,
    last: &mut Option<usize>,
    next: Option<&str>,
    symbols: &Symbols,
) {
    let begin = last.map_or(0, |last| last + 1);
    let found = next.and_then(|next| {
        way.iter()
            .skip(begin)
            .position(|stage| stage.name == next)
            .map(|ahead| begin + ahead)
    });
    // Only directly behind a stage is it clear where the others belong.
    let directly =
        last.is_some_and(|last| nodes.last().is_some_and(|node| node.name == way[last].name));

    if directly {
        for stage in &way[begin..found.unwrap_or(way.len())] {
            let known = if symbols.is_known(stage.name) {
                Known::Missing
            } else {
                Known::Inlined
            };

            if found.is_none() && known == Known::Missing {
                break;
            }
            nodes.push(Node {
                name: stage.name.to_owned(),
                known,
            });
        }
    }
    if found.is_some() {
        *last = found;
    }
}

fn print_node(depth: usize, node: &Node, way: Way) -> Result<()> {
    let indent = depth * INDENT;
    let role = way
        .iter()
        .find(|stage| stage.name == node.name && !stage.role.is_empty())
        .map_or_else(String::new, |stage| format!("  ({})", stage.role));

    say!(
        "{:<9}  {:indent$}{}{role}",
        node.known.word(),
        "",
        node.name
    )
}

/// Who the task was, and what it did, as flowing text.
fn print_callers(event: &Event, callers: &[String]) -> Result<()> {
    let mut line = format!("In task {} on CPU {}", event.task, event.cpu);

    if !callers.is_empty() {
        line.push_str(", called by");
    }
    for (at, name) in callers.iter().enumerate() {
        let word = if at == 0 {
            name.clone()
        } else {
            format!("> {name}")
        };

        if line.len() + 1 + word.len() > WIDTH {
            say!("{line}")?;
            line = " ".to_owned();
        }
        line.push(' ');
        line.push_str(&word);
    }
    say!("{line}:")
}

#[cfg(test)]
mod tests {
    use super::{path, Known, Stage};
    use crate::{
        symbols::Symbols,
        trace::{Event, What},
    };

    const WAY: [Stage; 4] = [stage("a"), stage("b"), stage("c"), stage("d")];

    const fn stage(name: &'static str) -> Stage {
        Stage { name, role: "" }
    }

    fn nodes(what: What, stack: &[&str]) -> Vec<(String, Known)> {
        // c has a symbol, b has none.
        let symbols = Symbols::of(&["root", "a", "c", "d", "x"], &["a", "d"]);
        let event = Event {
            task: String::new(),
            cpu: 0,
            what,
            stack: stack.iter().map(|&symbol| symbol.to_owned()).collect(),
        };

        path(&event, &WAY, Some("root"), &symbols)
            .1
            .into_iter()
            .map(|node| (node.name, node.known))
            .collect()
    }

    fn expected(nodes: &[(&str, Known)]) -> Vec<(String, Known)> {
        nodes
            .iter()
            .map(|&(name, known)| (name.to_owned(), known))
            .collect()
    }

    #[test]
    fn what_the_stack_does_not_show_between_two_stages() {
        assert_eq!(
            nodes(What::Call("d".to_owned()), &["outside", "root", "a", "d"]),
            expected(&[
                ("root", Known::Untraceable),
                ("a", Known::Stack),
                ("b", Known::Inlined),
                ("c", Known::Missing),
                ("d", Known::Traced),
            ])
        );
    }

    #[test]
    fn what_must_be_in_a_stage_that_calls_something_else() {
        assert_eq!(
            nodes(What::Line("said".to_owned()), &["root", "a", "x"]),
            expected(&[
                ("root", Known::Untraceable),
                ("a", Known::Stack),
                ("b", Known::Inlined),
                ("x", Known::Untraceable),
                ("said", Known::Line),
            ])
        );
    }
}
