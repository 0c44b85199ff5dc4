// SPDX-License-Identifier: GPL-2.0

//! Prefixes: the addresses that begin with the same bits.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// An address and how many of its bits count. All others are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefix {
    pub address: IpAddr,
    pub length: u32,
}

impl FromStr for Prefix {
    type Err = String;

    /// `10.1.0.0/16`, `2001:db8::/32`, or an address, which stands for itself alone.
    fn from_str(text: &str) -> Result<Self, String> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address
            .parse()
            .map_err(|_| format!("\"{address}\" is no IP address"))?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let length = match length {
            None => bits,
            Some(text) => text
                .parse()
                .ok()
                .filter(|length| *length <= bits)
                .ok_or_else(|| format!("the length must be a number up to {bits}"))?,
        };
        let prefix = Self::of(address, length);

        if prefix.address != address {
            return Err(format!(
                "{address} has bits behind the first {length}; {prefix} has not"
            ));
        }
        Ok(prefix)
    }
}

impl Prefix {
    /// The prefix of this length that the address begins with.
    fn of(address: IpAddr, length: u32) -> Self {
        let address = match address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);

                Ipv4Addr::from(u32::from(v4) & mask).into()
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);

                Ipv6Addr::from(u128::from(v6) & mask).into()
            }
        };

        Self { address, length }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::Prefix;

    #[test]
    fn what_is_a_prefix() {
        for (text, prefix) in [
            ("10.1.0.0/16", "10.1.0.0/16"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("::/0", "::/0"),
            ("fd77::1", "fd77::1/128"),
        ] {
            assert_eq!(
                text.parse::<Prefix>().map(|prefix| prefix.to_string()),
                Ok(prefix.to_owned())
            );
        }
    }

    #[test]
    fn what_is_none() {
        for text in [
            "",
            "10.1.0.0/",
            "10.1.0.0/33",
            "10.1.0.0/-1",
            "10.1.0.0/8",
            "10.1/16",
            "fd77::/129",
            "fd77::1/64",
            "ox0",
        ] {
            assert!(text.parse::<Prefix>().is_err(), "{text}");
        }
    }
}
