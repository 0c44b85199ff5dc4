// SPDX-License-Identifier: GPL-2.0

//! Files in debugfs that trigger an action when they are written to.
//!
//! `kernel::debugfs` does not serve here: its files run code of the module when they are closed,
//! but an open file does not prevent the module from being unloaded. The files here have no such
//! code (`struct debugfs_short_fops`).
//!
//! C header: [`include/linux/debugfs.h`](srctree/include/linux/debugfs.h)

use crate::bindings;
use core::{
    ffi::CStr,
    marker::PhantomData,
    mem::MaybeUninit, //
};
use kernel::{
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice, //
    },
};

/// The longest text that may be written, in bytes.
const MAX_LEN: usize = 64;

/// The action of a [`WriteFile`].
pub(crate) trait Write: Send + Sync + 'static {
    /// A user has written `text`, at most 64 bytes. Process context, may sleep.
    fn write(&self, text: &[u8]) -> Result;
}

/// A directory in debugfs with one file, to which only root may write. Dropping it removes both and
/// waits for running calls of [`Write::write`]; may sleep. Does nothing if the kernel has no
/// debugfs.
///
/// # Invariants
///
/// `dir` is the result of `debugfs_create_dir`. The private data of the file in it is the address
/// of the value in `_data`.
pub(crate) struct WriteFile<T> {
    dir: *mut bindings::dentry,
    // The data of the file.
    _data: KBox<T>,
}

// SAFETY: Any thread may remove the file, and then drop the data.
unsafe impl<T: Send> Send for WriteFile<T> {}
// SAFETY: A shared value cannot do anything; the data is shared with the writers of the file.
unsafe impl<T: Sync> Sync for WriteFile<T> {}

impl<T: Write> WriteFile<T> {
    /// Creates directory `dir` in debugfs, and `file` in it. Fails with `ENOMEM`.
    pub(crate) fn new(dir: &CStr, file: &CStr, data: T) -> Result<Self> {
        let data = KBox::new(data, GFP_KERNEL)?;
        // SAFETY: Both names end with a NUL. If the directory could not be created, the error is a
        // valid argument. The data does not move, and is dropped only after the file is removed.
        let dir = unsafe {
            let dir = bindings::debugfs_create_dir(dir.as_char_ptr(), core::ptr::null_mut());
            bindings::debugfs_create_file_short(
                file.as_char_ptr(),
                0o200,
                dir,
                core::ptr::from_ref(&*data).cast_mut().cast(),
                core::ptr::null(),
                &Callbacks::<T>::OPS,
            );
            dir
        };
        // INVARIANT: Just created.
        Ok(Self { dir, _data: data })
    }
}

impl<T> Drop for WriteFile<T> {
    fn drop(&mut self) {
        // SAFETY: `dir` is a directory or an error, and both are valid arguments.
        unsafe { bindings::debugfs_remove(self.dir) };
    }
}

struct Callbacks<T>(PhantomData<T>);

impl<T: Write> Callbacks<T> {
    const OPS: bindings::debugfs_short_fops = bindings::debugfs_short_fops {
        write: Some(Self::write),
        // SAFETY: All fields are function pointers, and a null function pointer is `None`.
        ..unsafe { MaybeUninit::zeroed().assume_init() }
    };

    /// # Safety
    ///
    /// Called by the kernel as `write`, for a file of a `WriteFile<T>`.
    unsafe extern "C" fn write(
        file: *mut bindings::file,
        from: *const c_char,
        len: usize,
        _offset: *mut bindings::loff_t,
    ) -> isize {
        // SAFETY: The private data of the file is a `T`. It is dropped only after the file is
        // removed, which waits for this call.
        let data = unsafe { &*bindings::oxnic_file_private_data(file).cast::<T>() };
        let result = || {
            let mut text = [0; MAX_LEN];
            let text = text.get_mut(..len).ok_or(EINVAL)?;
            UserSlice::new(UserPtr::from_ptr(from.cast_mut().cast()), len)
                .reader()
                .read_slice(text)?;
            data.write(text)
        };
        match result() {
            Ok(()) => len as isize,
            Err(error) => error.to_errno() as isize,
        }
    }
}
