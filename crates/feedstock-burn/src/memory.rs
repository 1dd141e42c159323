//! burn's view of a pooled buffer. The one file of this crate with `unsafe`.

use std::mem::MaybeUninit;

use burn_std::{AccessError, AccessPolicy, AllocationController, AllocationProperty, Bytes};
use feedstock::data::buffer::{ALIGN, Buffer};

/// Owns a batch's buffer while burn reads it; the buffer returns to the loader's pool when burn drops this.
struct Pooled(Buffer);

// `Bytes` claims to be Send and Sync whatever its controller is, so the controller has to be.
const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<Pooled>();
};

impl AllocationController for Pooled {
    /// The memory is aligned to 64 bytes, but burn makes copies with the alignment told here, and its allocator knows 16 at
    /// most (it asserts so).
    fn alloc_align(&self) -> usize {
        ALIGN.min(align_of::<u128>())
    }

    fn property(&self) -> AllocationProperty {
        AllocationProperty::Other
    }

    unsafe fn memory_mut(&mut self, _policy: AccessPolicy) -> Result<&mut [MaybeUninit<u8>], AccessError> {
        let bytes = self.0.bytes_mut();
        // SAFETY: the same memory and length, borrowed alone through `self`; `MaybeUninit<u8>` has the layout of `u8`.
        // That only initialised bytes are written is this method's contract with its caller.
        Ok(unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), bytes.len()) })
    }

    fn memory(&self, _policy: AccessPolicy) -> Result<&[MaybeUninit<u8>], AccessError> {
        let bytes = self.0.bytes();
        // SAFETY: the same memory and length, borrowed through `self`; `MaybeUninit<u8>` has the layout of `u8`.
        Ok(unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len()) })
    }

    fn capacity(&self) -> usize {
        self.0.bytes().len()
    }

    // Left at their defaults, which say no: `grow` and `try_detach` (the memory is the pool's: it cannot become a `Vec`),
    // `duplicate` (a clone is a copy in burn's own memory), `split` and `view` (burn shares the whole behind an `Arc`).
}

/// The first `length` bytes of a buffer as burn's bytes, without a copy.
///
/// # Panics
/// If the buffer is shorter.
pub(crate) fn into_bytes(buffer: Buffer, length: usize) -> Bytes {
    assert!(length <= buffer.bytes().len(), "{length} bytes of {}", buffer.bytes().len());
    // SAFETY: the controller's memory holds at least `length` bytes (asserted), all of a `Buffer`'s are initialised, and
    // they stay where they are for as long as the controller lives.
    unsafe { Bytes::from_controller(Box::new(Pooled(buffer)), length) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use feedstock::data::buffer::Pool;

    #[test]
    fn the_memory_is_the_buffers_and_goes_back() {
        let pool = Pool::new(1);
        let mut buffer = Pool::take(&pool, 256);
        buffer.bytes_mut().fill(7);
        let address = buffer.bytes().as_ptr();
        let mut bytes = into_bytes(buffer, 200);
        assert_eq!((bytes.as_ptr(), bytes.len(), bytes[199]), (address, 200, 7));
        bytes[0] = 9;
        let copy = bytes.clone();
        assert_ne!(copy.as_ptr(), address);
        let other = Pool::take(&pool, 256);
        assert_ne!(other.bytes().as_ptr(), address);
        drop(bytes);
        assert_eq!(copy[0], 9);
        assert_eq!(Pool::take(&pool, 256).bytes().as_ptr(), address);
    }

    #[test]
    fn what_the_memory_cannot_do_becomes_a_copy() {
        let pool = Pool::new(1);
        let buffer = Pool::take(&pool, 64);
        let address = buffer.bytes().as_ptr();
        let bytes = into_bytes(buffer, 64);
        let Err(mut bytes) = bytes.try_into_vec::<u8>() else { panic!("the pool's memory became a Vec") };
        assert_eq!(bytes.as_ptr(), address);
        bytes.extend_from_byte_slice(&[1, 2, 3]);
        assert_eq!((bytes.len(), &bytes[64..]), (67, &[1, 2, 3][..]));
        assert_eq!(Pool::take(&pool, 64).bytes().as_ptr(), address, "growing gave the buffer back");
    }
}
