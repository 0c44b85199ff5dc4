// SPDX-License-Identifier: GPL-2.0

//! Bindings of the kernel's C interface for network drivers with XDP.
//!
//! `generated.rs` is the output of bindgen for `headers.h` and `bindgen_parameters`, and that of
//! the preprocessor for `static_branch.rs.S`, made when the module is built. Only [`crate::net`]
//! uses this layer.

#![allow(
    clippy::all,
    clippy::as_underscore,
    clippy::cast_lossless,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    clippy::undocumented_unsafe_blocks,
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    rustdoc::all,
    // The next is unknown before rustc 1.88.
    unknown_lints,
    unnecessary_transmutes,
    unreachable_pub,
    unsafe_op_in_unsafe_fn
)]

use kernel::ffi;

// Not generated: bindgen would take the C types, but these are pointer-sized.
type __kernel_size_t = usize;
type __kernel_ssize_t = isize;
type __kernel_ptrdiff_t = isize;

include!("generated.rs");
#[cfg(CONFIG_JUMP_LABEL)]
pub(crate) use arch_static_branch_asm;
