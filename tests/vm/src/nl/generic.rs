// SPDX-License-Identifier: GPL-2.0

//! Requests to a family of generic netlink.

use super::{attr, number, Attrs, Socket};
use anyhow::{anyhow, Result};

const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;

/// Size of `struct genlmsghdr`.
const GENLMSGHDR: usize = 4;

/// Asks a family in the calling thread's namespace, and returns the attributes of the answers.
pub fn ask(family: &str, command: u8, flags: i32, attrs: Attrs) -> Result<Vec<Vec<u8>>> {
    let mut socket = Socket::generic()?;
    let name = Attrs::default().put(CTRL_ATTR_FAMILY_NAME, format!("{family}\0").as_bytes());
    let families = socket.request(GENL_ID_CTRL, 0, &message(CTRL_CMD_GETFAMILY, name))?;
    let id = families
        .first()
        .and_then(|body| attr(&body[GENLMSGHDR..], CTRL_ATTR_FAMILY_ID))
        .ok_or_else(|| anyhow!("the kernel has no {family} family"))?;
    let answers = socket.request(number(id)? as u16, flags, &message(command, attrs))?;

    Ok(answers
        .into_iter()
        .map(|body| body[GENLMSGHDR..].to_vec())
        .collect())
}

fn message(command: u8, attrs: Attrs) -> Vec<u8> {
    let mut body = vec![command, 1, 0, 0];

    body.extend(attrs.0);
    body
}
