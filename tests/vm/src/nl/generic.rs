// SPDX-License-Identifier: GPL-2.0

//! Requests to a family of generic netlink.

use super::{attr, number, open, Attrs};
use anyhow::{anyhow, Result};
use netlink_packet_core::{NetlinkDeserializable, NetlinkHeader, NetlinkSerializable};
use netlink_sys::protocols::NETLINK_GENERIC;
use std::convert::Infallible;

const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;

/// Size of `struct genlmsghdr`.
const GENLMSGHDR: usize = 4;

/// A message to or from a family: `struct genlmsghdr` and attributes.
struct Message {
    family: u16,
    body: Vec<u8>,
}

impl Message {
    fn new(family: u16, command: u8, attrs: Attrs) -> Self {
        let mut body = vec![command, 1, 0, 0];

        body.extend(attrs.0);
        Self { family, body }
    }

    fn attrs(&self) -> &[u8] {
        self.body.get(GENLMSGHDR..).unwrap_or_default()
    }
}

impl NetlinkSerializable for Message {
    fn message_type(&self) -> u16 {
        self.family
    }

    fn buffer_len(&self) -> usize {
        self.body.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.body);
    }
}

impl NetlinkDeserializable for Message {
    type Error = Infallible;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, Infallible> {
        Ok(Self {
            family: header.message_type,
            body: payload.to_vec(),
        })
    }
}

/// Asks a family in the calling thread's namespace, and returns the attributes of the answers.
pub fn ask(family: &str, command: u8, flags: u16, attrs: Attrs) -> Result<Vec<Vec<u8>>> {
    let socket = open(NETLINK_GENERIC)?;
    let name = Attrs::default().put(CTRL_ATTR_FAMILY_NAME, format!("{family}\0").as_bytes());
    let question = Message::new(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, name);
    let families = super::ask(&socket, question, 0)?;
    let id = families
        .first()
        .and_then(|message| attr(message.attrs(), CTRL_ATTR_FAMILY_ID))
        .ok_or_else(|| anyhow!("the kernel has no {family} family"))?;
    let request = Message::new(number(id)? as u16, command, attrs);

    Ok(super::ask(&socket, request, flags)?
        .iter()
        .map(|message| message.attrs().to_vec())
        .collect())
}
