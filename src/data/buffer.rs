//! Pooled, aligned memory for batches, and its safe division among threads.
//!
//! A fresh 38 MB batch costs milliseconds of page faults, a reused one about 1 ms: buffers return to their [`Pool`] when
//! the batch is dropped. This is the one file with the unsafe hand-off: [`Buffer::split`] gives out disjoint regions that
//! may be written on different threads, and [`Held::join`] gives the buffer back only when every region is gone.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

use memmap2::MmapMut;

use super::sync::{Arc, Mutex, PoisonError};

/// Alignment of every buffer: a cache line, and what JAX asks of DLPack.
pub const ALIGN: usize = 64;
/// From this size on a buffer is mapped by itself, in huge pages.
const HUGE: usize = 4 << 20;
/// Up to so many bytes a pool keeps more buffers than it was told to, up to this number: of small batches more are on their way.
const SMALL: usize = 16 << 20;
const MANY: usize = 64;
/// Bytes of a huge page.
const PAGE: usize = 2 << 20;

/// One allocation.
struct Memory {
    pointer: NonNull<u8>,
    size: usize,
    of: Of,
}

/// Where an allocation comes from.
enum Of {
    Heap(Layout),
    /// Of the system, which zeroes it as it is written first, by whoever does that; the advice is there before. (The heap would zero it at once, in small pages.)
    Mapped {
        _map: MmapMut,
    },
}

// SAFETY: `Memory` owns its allocation alone; nothing in it is tied to a thread.
unsafe impl Send for Memory {}
// SAFETY: through `&Memory` nothing is written.
unsafe impl Sync for Memory {}

impl Memory {
    fn new(bytes: usize) -> Self {
        if bytes >= HUGE
            && !cfg!(miri)
            && let Some(mapped) = Self::mapped(bytes)
        {
            return mapped;
        }
        let size = bytes.max(1).next_multiple_of(ALIGN);
        let layout = Layout::from_size_align(size, ALIGN).expect("a batch of over isize::MAX bytes");
        // SAFETY: the size is not zero. Zeroed, so that every byte is initialised for good.
        let pointer = unsafe { alloc_zeroed(layout) };
        let Some(pointer) = NonNull::new(pointer) else { handle_alloc_error(layout) };
        Memory { pointer, size, of: Of::Heap(layout) }
    }

    /// So many bytes of the system, from the border of a huge page on. `None` where it gives none.
    fn mapped(bytes: usize) -> Option<Self> {
        let size = bytes.checked_next_multiple_of(PAGE)?;
        let mut map = MmapMut::map_anon(size.checked_add(PAGE)?).ok()?;
        let before = map.as_ptr().align_offset(PAGE);
        #[cfg(target_os = "linux")]
        {
            // It is advice: a system that has no huge pages gives small ones.
            let _ = map.advise_range(memmap2::Advice::HugePage, before, size);
        }
        // SAFETY: the offset is below a page, and the map is a page larger than the size.
        let pointer = NonNull::new(unsafe { map.as_mut_ptr().add(before) })?;
        Some(Memory { pointer, size, of: Of::Mapped { _map: map } })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Of::Heap(layout) = self.of {
            // SAFETY: allocated in `new` with this layout, and freed once.
            unsafe { dealloc(self.pointer.as_ptr(), layout) }
        }
    }
}

/// Keeps buffers that batches have given back.
#[derive(Debug, Default)]
pub struct Pool {
    free: Mutex<Vec<Memory>>,
    keep: usize,
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.size)
    }
}

impl Pool {
    /// A pool that keeps at most `keep` buffers for reuse, and more only of small ones.
    pub fn new(keep: usize) -> Arc<Self> {
        Arc::new(Pool { free: Mutex::default(), keep })
    }

    /// A buffer of `length` bytes with any content.
    pub fn take(this: &Arc<Self>, length: usize) -> Buffer {
        let mut free = this.free.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |m: &Memory| m.size >= length && m.size / 2 <= length.max(ALIGN);
        // Of equals the last that came back: a cache may still hold it.
        let best = (0..free.len()).rev().filter(|i| fits(&free[*i])).min_by_key(|i| free[*i].size);
        let memory = best.map(|i| free.swap_remove(i));
        drop(free);
        let memory = memory.unwrap_or_else(|| Memory::new(length));
        Buffer { memory: Some(memory), length, pool: Some(this.clone()) }
    }
}

/// Aligned bytes, all initialised, that return to their pool when dropped.
#[derive(Debug)]
pub struct Buffer {
    memory: Option<Memory>,
    length: usize,
    pool: Option<Arc<Pool>>,
}

impl Buffer {
    /// A zeroed buffer without a pool.
    pub fn zeroed(length: usize) -> Self {
        Buffer { memory: Some(Memory::new(length)), length, pool: None }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        match &self.memory {
            // SAFETY: `length` is within the allocation, all of it initialised, and borrowed through `self`.
            Some(m) => unsafe { std::slice::from_raw_parts(m.pointer.as_ptr(), self.length) },
            None => &[],
        }
    }

    /// The bytes, to write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        match &mut self.memory {
            // SAFETY: as in `bytes`, and `self` is borrowed alone.
            Some(m) => unsafe { std::slice::from_raw_parts_mut(m.pointer.as_ptr(), self.length) },
            None => &mut [],
        }
    }

    /// Divides the buffer into `parts` regions of `stride` bytes each, for writing on different threads.
    ///
    /// # Panics
    /// If the parts do not fit.
    pub fn split(self, stride: usize, parts: usize) -> (Held, Vec<Region>) {
        assert!(stride.checked_mul(parts).is_some_and(|all| all <= self.length), "{parts} regions of {stride} bytes");
        let base = self.memory.as_ref().map(|m| m.pointer);
        let held = Arc::new(self);
        let regions = (0..parts)
            .map(|i| {
                // SAFETY: the offset is within the allocation (asserted above).
                let pointer = base.map_or(NonNull::dangling(), |p| unsafe { p.add(i * stride) });
                Region { pointer, length: if base.is_some() { stride } else { 0 }, _held: held.clone() }
            })
            .collect();
        (Held(held), regions)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let (Some(pool), Some(memory)) = (&self.pool, self.memory.take()) {
            let mut free = pool.free.lock().unwrap_or_else(PoisonError::into_inner);
            let small = || free.iter().map(|memory| memory.size).sum::<usize>() + memory.size <= SMALL;
            if free.len() < pool.keep || free.len() < MANY && small() {
                free.push(memory);
            }
        }
    }
}

/// A buffer that has been divided; nobody can read it until its regions are gone.
#[derive(Debug)]
pub struct Held(Arc<Buffer>);

impl Held {
    /// The buffer again. `None` while a region is alive.
    pub fn join(self) -> Option<Buffer> {
        Arc::try_unwrap(self.0).ok()
    }
}

/// One part of a divided buffer, owned by one thread at a time.
#[derive(Debug)]
pub struct Region {
    pointer: NonNull<u8>,
    length: usize,
    _held: Arc<Buffer>,
}

// SAFETY: regions of one buffer are disjoint, each is owned once, and the Arc keeps the memory alive. The buffer itself is
// out of reach (behind `Held`) until all regions are dropped; Arc's release-acquire orders their writes before `join`.
unsafe impl Send for Region {}

impl Region {
    /// The bytes of this region.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: see the impl of Send: disjoint, alive, initialised, and borrowed alone through `self`.
        unsafe { std::slice::from_raw_parts_mut(self.pointer.as_ptr(), self.length) }
    }
}

#[cfg(all(test, not(loom_model)))]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "a room above this one spawns the threads elsewhere")]
    fn regions_written_on_threads_come_back_as_one_buffer() {
        let pool = Pool::new(2);
        let (held, regions) = Pool::take(&pool, 8 * 100).split(8, 100);
        std::thread::scope(|scope| {
            let mut regions: Vec<(usize, Region)> = regions.into_iter().enumerate().collect();
            while !regions.is_empty() {
                let part = regions.split_off(regions.len().saturating_sub(17));
                scope.spawn(move || {
                    for (i, mut region) in part {
                        region.bytes_mut().copy_from_slice(&(i as u64).to_ne_bytes());
                    }
                });
            }
        });
        let buffer = held.join().unwrap();
        let words: Vec<u64> = buffer.bytes().chunks(8).map(|c| u64::from_ne_bytes(c.try_into().unwrap())).collect();
        assert_eq!(words, (0..100).collect::<Vec<u64>>());
    }

    #[test]
    fn a_region_keeps_its_buffer_from_being_joined() {
        let (held, regions) = Buffer::zeroed(64).split(32, 2);
        assert!(held.join().is_none());
        drop(regions);
        let (held, regions) = Buffer::zeroed(64).split(32, 2);
        drop(regions);
        assert_eq!(held.join().unwrap().bytes().len(), 64);
    }

    #[test]
    fn small_buffers_are_kept_beyond_the_number_and_large_ones_are_not() {
        for (bytes, kept) in [(100 << 10, 9), (12 << 20, 1)] {
            let pool = Pool::new(1);
            let take = || -> Vec<Buffer> { (0..9).map(|_| Pool::take(&pool, bytes)).collect() };
            // What is new is zeroed.
            take().iter_mut().for_each(|buffer| buffer.bytes_mut()[0] = 7);
            assert_eq!(take().iter().filter(|buffer| buffer.bytes()[0] == 7).count(), kept, "{bytes}");
        }
    }

    #[test]
    fn memory_is_reused_and_aligned() {
        let pool = Pool::new(1);
        let first = Pool::take(&pool, 1000);
        let address = first.bytes().as_ptr() as usize;
        assert_eq!(address % ALIGN, 0);
        drop(first);
        assert_eq!(Pool::take(&pool, 900).bytes().as_ptr() as usize, address);
        let huge = Pool::take(&pool, 5 << 20);
        assert_eq!(huge.bytes().as_ptr() as usize % PAGE, 0);
        assert!(huge.bytes().iter().all(|byte| *byte == 0));
        assert!(Pool::take(&pool, 0).bytes().is_empty());
    }
}
