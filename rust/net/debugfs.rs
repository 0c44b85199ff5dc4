// SPDX-License-Identifier: GPL-2.0

//! Files in debugfs that do something when they are written to.
//!
//! Not `kernel::debugfs`: its files do not keep their module from going while they are open, and
//! yet code of the module runs when they are closed. Those here have no such code
//! (`struct debugfs_short_fops`).
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
    /// Somebody has written `text`, at most 64 bytes. Process context, may sleep.
    fn write(&self, text: &[u8]) -> Result;
}

/// A directory in debugfs with one file, which only root may write to. Dropping it waits for
/// running calls of [`Write::write`]; may sleep. Without debugfs in the kernel it does nothing.
///
/// # Invariants
///
/// `dir` is what `debugfs_create_dir` returned; the private data of the file in it is the address
/// in `_data`.
pub(crate) struct WriteFile<T> {
    dir: *mut bindings::dentry,
    // What the file works on.
    _data: KBox<T>,
}

// SAFETY: Any thread may remove the file, and then drop the data.
unsafe impl<T: Send> Send for WriteFile<T> {}
// SAFETY: A shared file can do nothing; the data is shared with those who write to it.
unsafe impl<T: Sync> Sync for WriteFile<T> {}

impl<T: Write> WriteFile<T> {
    /// Makes directory `dir` in debugfs, and in it `file`. Fails with `ENOMEM`.
    pub(crate) fn new(dir: &CStr, file: &CStr, data: T) -> Result<Self> {
        let data = KBox::new(data, GFP_KERNEL)?;
        // SAFETY: Both names end with a NUL. A directory that could not be made is a valid
        // argument. The data stays where it is, and is dropped after the file has been removed.
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
        // INVARIANT: Just made.
        Ok(Self { dir, _data: data })
    }
}

impl<T> Drop for WriteFile<T> {
    fn drop(&mut self) {
        // SAFETY: By the type's invariants; errors are valid arguments, too.
        unsafe { bindings::debugfs_remove(self.dir) };
    }
}

struct Callbacks<T>(PhantomData<T>);

impl<T: Write> Callbacks<T> {
    const OPS: bindings::debugfs_short_fops = bindings::debugfs_short_fops {
        write: Some(Self::write),
        // SAFETY: A null function pointer is `None`.
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
        // SAFETY: The private data of the file is a `T`; who removes the file waits for this to
        // return before the `T` goes.
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
