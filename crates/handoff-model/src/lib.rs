//! The file with the unsafe hand-off, `src/data/buffer.rs`, compiled against loom's `Arc` and `Mutex`, so that a test runs
//! it under every interleaving that the memory model allows.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "only the hand-off is run here")]

mod sync {
    pub(crate) use std::sync::PoisonError;

    pub(crate) use loom::sync::{Arc, Mutex};
}

#[path = "../../../src/data/buffer.rs"]
mod buffer;

#[cfg(test)]
mod model {
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::sync::atomic::{AtomicUsize, Ordering};
    use loom::thread;

    use super::buffer::Buffer;

    /// What loom watches in place of the raw bytes: one cell a region.
    struct Watched([UnsafeCell<u32>; 2]);
    // SAFETY: the model's whole point: cell i is touched by the owner of region i, then by whoever joined.
    unsafe impl Sync for Watched {}

    /// The loader's pattern: each worker writes its region, drops it, and counts down; the last one joins the buffer and reads.
    #[test]
    fn the_last_worker_joins_and_sees_every_write() {
        loom::model(|| {
            let (held, regions) = Buffer::zeroed(64).split(32, 2);
            let held = Arc::new(loom::sync::Mutex::new(Some(held)));
            let left = Arc::new(AtomicUsize::new(2));
            let watched = Arc::new(Watched([UnsafeCell::new(0), UnsafeCell::new(0)]));
            let workers: Vec<_> = regions
                .into_iter()
                .enumerate()
                .map(|(i, mut region)| {
                    let (held, left, watched) = (held.clone(), left.clone(), watched.clone());
                    thread::spawn(move || {
                        region.bytes_mut().fill(7);
                        // SAFETY: this thread owns region i.
                        watched.0[i].with_mut(|cell| unsafe { *cell = 7 });
                        drop(region);
                        if left.fetch_sub(1, Ordering::AcqRel) == 1 {
                            let held = held.lock().unwrap().take().unwrap();
                            let buffer = held.join().expect("every region is gone");
                            assert!(buffer.bytes().iter().all(|b| *b == 7));
                            // SAFETY: joined: no region is left. loom fails here if a write is not ordered before.
                            watched.0.iter().for_each(|c| c.with(|cell| assert_eq!(unsafe { *cell }, 7)));
                        }
                    })
                })
                .collect();
            workers.into_iter().for_each(|w| w.join().unwrap());
        });
    }

    /// Joining alone, without a countdown, gives the buffer only when the regions are gone, and their writes with it.
    #[test]
    fn join_never_gives_a_buffer_that_is_being_written() {
        loom::model(|| {
            let (held, mut regions) = Buffer::zeroed(64).split(64, 1);
            let watched = Arc::new(Watched([UnsafeCell::new(0), UnsafeCell::new(0)]));
            let seen = watched.clone();
            let mut region = regions.remove(0);
            let worker = thread::spawn(move || {
                region.bytes_mut().fill(7);
                // SAFETY: this thread owns the region.
                watched.0[0].with_mut(|cell| unsafe { *cell = 7 });
            });
            if let Some(buffer) = held.join() {
                assert!(buffer.bytes().iter().all(|b| *b == 7));
                // SAFETY: joined: the region is gone.
                seen.0[0].with(|cell| assert_eq!(unsafe { *cell }, 7));
            }
            worker.join().unwrap();
        });
    }
}
