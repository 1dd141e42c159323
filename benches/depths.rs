//! What does an ingest cost a file, by how deep it looks: in CPU time, in the kernel, in fsync?
//!
//! `cargo bench --bench depths` prints the table of docs/measurements.md. Every repeat runs all depths and thread counts, one after the
//! other, each into a target of its own; the page cache is warm.

mod common;

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{Runs, cost, head, machine, measures, photos, row};
use feedstock::clock::Mark;
use feedstock::codec::Check;
use feedstock::ingest::{Control, IngestOptions, ingest};
use feedstock::store::{Disk, LocalDisk};

const REPEATS: usize = 5;

/// The local disk, with the time spent in fsync counted.
#[derive(Debug, Default)]
struct Timed {
    nanos: AtomicU64,
    calls: AtomicU64,
}

impl Timed {
    fn timed(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mark = Mark::now();
        let done = sync();
        self.nanos.fetch_add(mark.nanos(), Ordering::Relaxed);
        self.calls.fetch_add(1, Ordering::Relaxed);
        done
    }
}

impl Disk for Timed {
    fn make_dir(&self, path: &Path) -> io::Result<()> {
        LocalDisk.make_dir(path)
    }
    fn create(&self, path: &Path) -> io::Result<File> {
        LocalDisk.create(path)
    }
    fn write(&self, file: &mut File, path: &Path, bytes: &[u8]) -> io::Result<()> {
        LocalDisk.write(file, path, bytes)
    }
    fn sync(&self, file: &File, path: &Path) -> io::Result<()> {
        self.timed(|| LocalDisk.sync(file, path))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        LocalDisk.rename(from, to)
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        LocalDisk.link(from, to)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.timed(|| LocalDisk.sync_dir(path))
    }
    fn open_append(&self, path: &Path) -> io::Result<File> {
        LocalDisk.open_append(path)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        LocalDisk.remove(path)
    }
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        LocalDisk.read(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        LocalDisk.list(path)
    }
}

#[derive(Default)]
struct Contestant {
    cpu_ms: Runs,
    system_ms: Runs,
    rate: Runs,
    sync_ms: Runs,
    syncs: u64,
}

fn main() {
    let machine = machine();
    let repeats = if measures() { REPEATS } else { 1 };
    let photos = photos(if measures() { 60 } else { 2 });
    let depths = [("header", Check::Header), ("entropy", Check::Entropy), ("decode", Check::Decode)];
    let each: Vec<_> = depths.iter().flat_map(|(name, check)| [1, 2].map(|threads| (*name, *check, threads))).collect();
    let mut contestants: Vec<Contestant> = each.iter().map(|_| Contestant::default()).collect();
    let (mut rows, mut bytes, mut shards) = (0, 0, 0);
    // The one before the first reads the photos into the page cache.
    for repeat in 0..=repeats {
        for i in 0..each.len() {
            let i = if repeat % 2 == 1 { i } else { each.len() - 1 - i };
            let (_, check, threads) = each[i];
            let folder = tempfile::tempdir().expect("a temporary folder");
            let target = folder.path().join("dataset");
            let disk = Arc::new(Timed::default());
            let control = Control { disk: Some(disk.clone()), ..Control::default() };
            let options = IngestOptions { check, threads, ..IngestOptions::default() };
            let (cost, summary) = cost(|| ingest(&photos.path, &target, &options, &control).expect("an ingest"));
            assert_eq!(summary.quarantined, 0);
            (rows, bytes, shards) = (summary.rows, summary.bytes, summary.shards);
            if repeat > 0 {
                let files = summary.rows as f64;
                let c = &mut contestants[i];
                c.cpu_ms.push(cost.cpu() * 1e3 / files);
                c.system_ms.push(cost.system * 1e3 / files);
                c.rate.push(files / cost.wall);
                c.sync_ms.push(disk.nanos.load(Ordering::Relaxed) as f64 / 1e6);
                c.syncs = disk.calls.load(Ordering::Relaxed);
            }
        }
    }
    println!("{machine}");
    println!(
        "{}: {rows} files into {shards} shards of {:.1} MiB in all, {repeats} repeats after one to warm up",
        photos.name,
        bytes as f64 / f64::from(1 << 20)
    );
    head(&[
        "--check",
        "threads",
        "CPU ms a file",
        "of these in the kernel",
        "files/s",
        "ms in fsync (calls), whole run",
    ]);
    for ((name, _, threads), c) in each.iter().zip(&contestants) {
        let sync = format!("{} ({})", c.sync_ms.show(0), c.syncs);
        row(&[(*name).into(), threads.to_string(), c.cpu_ms.show(3), c.system_ms.show(3), c.rate.show(0), sync]);
    }
}
