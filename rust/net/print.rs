// SPDX-License-Identifier: GPL-2.0

//! Messages about a device in the kernel log, in the form `driver interface: text`.

use super::device::netdev::Device;
use kernel::{
    fmt,
    print, //
};

/// Length of the prefix: the module's name, a space, an interface name (`IFNAMSIZ`) and a NUL.
const PREFIX_LEN: usize = 64;

/// Prints a line of level info about `dev`, prefixed with the names of module and interface.
///
/// Any context. Use [`netdev_info!`](crate::netdev_info).
pub(crate) fn info(module: &[u8], dev: &Device, args: fmt::Arguments<'_>) {
    let mut prefix = [0; PREFIX_LEN];
    let name = dev.name();
    let module = module.strip_suffix(b"\0").unwrap_or(module);
    let text = module.iter().chain(b" ").chain(&name);
    // The last byte is not written, so the prefix ends with a NUL. Longer names are truncated.
    for (to, &from) in prefix[..PREFIX_LEN - 1]
        .iter_mut()
        .zip(text.filter(|&&byte| byte != 0))
    {
        *to = from;
    }
    // SAFETY: The format string is one of `format_strings`, and the prefix ends with a NUL.
    unsafe { print::call_printk(&print::format_strings::INFO, &prefix, args) };
}

/// Prints a line about a network device: `netdev_info!(dev, "text {}\n", value)`.
#[macro_export]
macro_rules! netdev_info {
    ($dev:expr, $($arg:tt)+) => {
        $crate::net::print::info(
            $crate::__LOG_PREFIX,
            $dev,
            ::kernel::prelude::fmt!($($arg)+),
        )
    };
}
