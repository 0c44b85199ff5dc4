// SPDX-License-Identifier: GPL-2.0

//! Netlink messages that know what each of their bytes is.
//!
//! A message is a `struct nlmsghdr`, then a structure that depends on the message's type, then
//! attributes. An attribute is its length (2 bytes), its type (2 bytes) and its value; the value of
//! a nested attribute is attributes again. Everything begins at a multiple of 4 bytes, and numbers
//! are in the processor's own byte order.

use nix::libc;
use std::fmt;

/// How many bytes of a field are in one line of its picture.
const PER_LINE: usize = 8;

/// A few bytes of a message. One without bytes is a heading for those after it.
#[derive(Debug)]
struct Field {
    depth: usize,
    /// As the kernel's headers have it.
    name: String,
    bytes: Vec<u8>,
    meaning: String,
}

/// A message as the list of its fields. Its bytes are theirs, one after the other.
#[derive(Debug, Default)]
pub struct Message {
    fields: Vec<Field>,
    depth: usize,
}

impl Message {
    /// Packs a request. What comes behind its header is packed by `body`.
    pub fn request(
        kind: (libc::c_ushort, &str),
        flags: (libc::c_int, &str),
        sequence: u32,
        body: impl FnOnce(&mut Self),
    ) -> Self {
        let mut message = Self::default();
        let mut len = 0;

        message.structure("struct nlmsghdr", |header| {
            len = header.put("nlmsg_len", &[0; 4], "");
            header.put("nlmsg_type", &kind.0.to_ne_bytes(), kind.1);
            header.put("nlmsg_flags", &(flags.0 as u16).to_ne_bytes(), flags.1);
            header.put("nlmsg_seq", &sequence.to_ne_bytes(), "");
            header.put(
                "nlmsg_pid",
                &0u32.to_ne_bytes(),
                "the kernel knows the sender",
            );
        });
        body(&mut message);
        // Only now is it known how long it has become.
        let total = message.len() as u32;
        message.set(len, &total.to_ne_bytes(), &format!("{total} bytes"));
        message
    }

    /// Puts fields under a heading.
    pub fn structure(&mut self, name: &str, fields: impl FnOnce(&mut Self)) {
        self.put(name, &[], "");
        self.depth += 1;
        fields(self);
        self.depth -= 1;
    }

    /// Puts an attribute; its value is packed by `value`.
    pub fn attribute(&mut self, kind: u16, name: &str, value: impl FnOnce(&mut Self)) {
        let start = self.len();
        let nested = kind & libc::NLA_F_NESTED as u16 != 0;

        self.structure(name, |attribute| {
            let len = attribute.put("nla_len", &[0; 2], "");

            attribute.put(
                "nla_type",
                &kind.to_ne_bytes(),
                if nested { "with NLA_F_NESTED" } else { "" },
            );
            value(attribute);
            let total = (attribute.len() - start) as u16;
            attribute.set(len, &total.to_ne_bytes(), &format!("{total} bytes"));
            // The length does not count them.
            let padding = attribute.len().next_multiple_of(4) - attribute.len();
            if padding > 0 {
                attribute.put("padding", &vec![0; padding], "");
            }
        });
    }

    /// Puts a field and returns its number.
    pub fn put(&mut self, name: &str, bytes: &[u8], meaning: &str) -> usize {
        self.fields.push(Field {
            depth: self.depth,
            name: name.to_owned(),
            bytes: bytes.to_vec(),
            meaning: meaning.to_owned(),
        });
        self.fields.len() - 1
    }

    fn set(&mut self, field: usize, bytes: &[u8], meaning: &str) {
        if let Some(field) = self.fields.get_mut(field) {
            field.bytes = bytes.to_vec();
            field.meaning = meaning.to_owned();
        }
    }

    pub fn len(&self) -> usize {
        self.fields.iter().map(|field| field.bytes.len()).sum()
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.fields
            .iter()
            .flat_map(|field| field.bytes.iter().copied())
            .collect()
    }
}

/// The picture: the offset of each field, its bytes, its name and what it means.
impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut at = 0;

        for field in &self.fields {
            let name = format!("{:1$}{2}", "", 2 * field.depth, field.name);
            let text = format!("{name:<26}{}", field.meaning);

            if field.bytes.is_empty() {
                writeln!(f, "  {:30}{}", "", text.trim_end())?;
            }
            for (line, bytes) in field.bytes.chunks(PER_LINE).enumerate() {
                let hex: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                let hex = hex.join(" ");
                let text = if line == 0 { text.trim_end() } else { "" };

                writeln!(f, "  {}", format!("{at:4}  {hex:24}{text}").trim_end())?;
                at += bytes.len();
            }
        }
        Ok(())
    }
}

/// The attributes in `bytes`, in order.
pub fn attributes(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut list = Vec::new();

    while let [l0, l1, k0, k1, ..] = *bytes {
        let len = usize::from(u16::from_ne_bytes([l0, l1]));
        let kind = u16::from_ne_bytes([k0, k1]);
        let Some(value) = bytes.get(4..len) else {
            break;
        };

        list.push((kind & libc::NLA_TYPE_MASK as u16, value));
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    list
}

/// The value of the first attribute of that type.
pub fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes)
        .into_iter()
        .find(|(k, _)| *k == kind)
        .map(|(_, value)| value)
}
