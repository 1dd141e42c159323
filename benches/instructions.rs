//! Does the code of a hot loop execute more instructions than it did?
//!
//! `benches/instructions/run` runs each loop under callgrind and holds the counts against `benches/instructions/baseline.tsv`. Counts, unlike times, are the
//! same on a busy machine, so that a change of some percent is told by one run. What they do not see is all that a CPU waits for: caches, branches, the disk.
//!
//! `instructions NAME` makes what the loop needs, runs it twice to warm up, and once with callgrind counting: all threads of the process, from before the loop
//! until behind it, and nothing else. `--list` names the loops, `--level` says the instruction sets that the process sees. Without arguments
//! each loop is run, uncounted.

mod common;

use std::hint::black_box;

use common::datasets::{Made, written};
use common::sample::{InMemory, Sample, mean_and_std, pixels, wav};
use common::{bytes_of, fixture, sparse};
use feedstock::codec::image::jpeg::Jpeg;
use feedstock::codec::{Check, Codec, Limits, Rect, Scratch, Want};
use feedstock::data::feature::{Feature, Schema};
use feedstock::data::info::Kind;
use feedstock::data::record::Cell;
use feedstock::ingest::IngestOptions;
use feedstock::plan::steps::At;
use feedstock::plan::{Component, Order, Permutation, Plan, Rows};
use feedstock::rng::Key;
use feedstock::shard::{ShardCell, ShardOptions, ShardRow, ShardWriter};
use feedstock::store::Store;
use serde_json::json;

/// A loop, ready to run.
type Run = Box<dyn FnMut()>;

/// One line of the baseline.
struct Loop {
    name: &'static str,
    /// What it does so many times.
    unit: &'static str,
    count: u64,
    make: fn(u64) -> Run,
}

const LOOPS: &[Loop] = &[
    Loop { name: "permutation", unit: "step", count: 10_000, make: permutation },
    Loop { name: "plan-shuffle", unit: "slot", count: 1_024, make: |slots| plan(Order::Shuffle, slots) },
    Loop { name: "plan-windowed", unit: "slot", count: 1_024, make: |slots| plan(Order::Windowed, slots) },
    Loop { name: "shard-fetch", unit: "payload of 4 KiB", count: 256, make: shard_fetch },
    Loop { name: "jpeg-region", unit: "region of 200 x 260", count: 1, make: |_| region(false) },
    Loop { name: "jpeg-crop-index", unit: "region of 200 x 260", count: 1, make: |_| region(true) },
    Loop { name: "resize", unit: "picture, 400 x 533 to 224 x 298", count: 1, make: |_| resize() },
    Loop { name: "output-f32-nchw", unit: "picture of 224 x 224", count: 4, make: output },
    Loop { name: "wav-resample", unit: "second, 44,100 to 16,000 Hz", count: 1, make: |_| resample() },
    Loop { name: "log-mel", unit: "second at 16,000 Hz", count: 1, make: |_| log_mel() },
    Loop { name: "batch-crops", unit: "picture", count: 8, make: batch_of_crops },
    Loop { name: "batch-tensors", unit: "tensor of 4 KiB", count: 256, make: batch_of_tensors },
    Loop { name: "batch-packed", unit: "row of 256 tokens", count: 32, make: batch_of_packed },
    Loop { name: "jpeg-entropy-check", unit: "picture of 400 x 533", count: 1, make: |_| entropy_check() },
    Loop { name: "shard-write", unit: "row of 27 KB", count: 16, make: shard_write },
    Loop { name: "ingest", unit: "picture of 400 x 533", count: 4, make: take_in },
];

/// The photo that pictures are.
const PHOTO: &str = "photo/shorts.jpg";

/// The middle of it.
const REGION: Rect = Rect { x: 100, y: 136, width: 200, height: 260 };

fn permutation(steps: u64) -> Run {
    let permutation = Permutation::new(1_000_000_000, Key::new(7));
    Box::new(move || {
        (0..steps).for_each(|place| {
            black_box(permutation.at(black_box(place)));
        });
    })
}

/// Batches of 64 from the middle of an epoch of 1e9 rows.
fn plan(order: Order, slots: u64) -> Run {
    let batch = 64;
    let rows = Rows::new(Some(0..1_000_000_000));
    let component = Component { name: None, rows, balance: None, order, window: (100_000, 100) };
    let plan = Plan::new(&sparse::sequence(component, None, batch as usize), 3);
    let middle = plan.places() / batch / 2;
    Box::new(move || {
        (0..slots / batch).for_each(|number| {
            black_box(plan.slots(At::batch(middle + number)));
        });
    })
}

fn shard_fetch(payloads: u64) -> Run {
    let made = Made::tensors(1_024, payloads as usize);
    let mut bytes = Vec::new();
    Box::new(move || {
        (0..payloads).for_each(|row| {
            black_box(made.dataset().fetch(row, 0, &mut bytes).expect("a payload"));
        });
    })
}

fn region(by_index: bool) -> Run {
    let (payload, limits, mut scratch) = (bytes_of(PHOTO), Limits::default(), Scratch::default());
    let table = Jpeg.seek_table(&payload, &limits).expect("a JPEG").expect("one that has a crop index");
    let want = Want::Image { region: Some(REGION) };
    Box::new(move || {
        let decoded = match by_index {
            true => Jpeg.decode_parts(&table, &InMemory(&payload), want, &limits, &mut scratch),
            false => Jpeg.decode(&payload, want, &limits, &mut scratch),
        };
        black_box(decoded.expect("pixels"));
    })
}

fn resize() -> Run {
    let mut sample = Sample::new(Kind::Image, pixels(400, 533), json!([{"op": "resize", "size": 224}]));
    Box::new(move || sample.run())
}

fn output(pictures: u64) -> Run {
    let (mean, std) = mean_and_std();
    let ops = json!([
        {"op": "horizontal_flip", "p": 1.0},
        {"op": "normalize", "mean": mean, "std": std},
        {"op": "to", "dtype": "f32", "layout": "nchw"},
    ]);
    let mut sample = Sample::new(Kind::Image, pixels(224, 224), ops);
    Box::new(move || (0..pictures).for_each(|_| sample.run()))
}

fn resample() -> Run {
    let mut sample = Sample::new(Kind::Audio, wav(44_100, 44_100), json!([{"op": "resample", "rate": 16_000}]));
    Box::new(move || sample.run())
}

/// Without the work of resampling, which only says what the rate is.
fn log_mel() -> Run {
    let ops = json!([{"op": "resample", "rate": 16_000}, {"op": "log_mel"}]);
    let mut sample = Sample::new(Kind::Audio, wav(16_000, 16_000), ops);
    Box::new(move || sample.run())
}

/// The first batch of an epoch, by one thread: beside what is done to samples it has that thread's start and end, and the channel between the two.
fn first_batch(made: Made, recipe: serde_json::Value) -> Run {
    let loader = made.loader(recipe);
    Box::new(move || {
        // Shards are opened when they are first read.
        let _stays = &made;
        let mut epoch = loader.part(0, 0..1).expect("an epoch");
        black_box(epoch.next().expect("a batch").expect("a batch"));
        assert!(epoch.next().is_none(), "it is the only one");
    })
}

fn batch_of_crops(pictures: u64) -> Run {
    let (mean, std) = mean_and_std();
    let made = Made::pictures(&bytes_of(PHOTO), pictures as usize, &IngestOptions::default());
    let ops = json!([
        {"op": "random_resized_crop", "size": 224},
        {"op": "horizontal_flip"},
        {"op": "normalize", "mean": mean, "std": std},
        {"op": "to", "dtype": "f32", "layout": "nchw"},
    ]);
    let run = json!({"threads": 1, "prefetch": 2});
    first_batch(made, json!({"batch": pictures, "seed": 7, "run": run, "columns": {"image": {"ops": ops}}}))
}

fn batch_of_tensors(tensors: u64) -> Run {
    let made = Made::tensors(1_024, tensors as usize);
    first_batch(made, json!({"batch": tensors, "seed": 7, "run": {"threads": 1, "prefetch": 2}}))
}

/// Lines of a play, stored as ids, of which some have to share a row.
fn batch_of_packed(rows: u64) -> Run {
    let mut options = IngestOptions::default();
    let ids = json!({"columns": {"text": {"ops": [{"op": "bytes_to_ids"}], "dtype": "u16"}}});
    options.prepare = serde_json::from_value(ids).expect("options");
    let made = Made::ingested(&fixture("text/shakespeare_20k.txt"), &options);
    let pack = json!({"column": "text", "length": 256});
    let run = json!({"threads": 1, "prefetch": 2});
    first_batch(made, json!({"batch": rows, "seed": 7, "pack": pack, "run": run}))
}

fn entropy_check() -> Run {
    let (payload, limits, mut scratch) = (bytes_of(PHOTO), Limits::default(), Scratch::default());
    Box::new(move || {
        black_box(Jpeg.check(&payload, Check::Entropy, &limits, &mut scratch).expect("a whole JPEG"));
    })
}

/// A shard of so many rows, from the first row to its name.
fn shard_write(rows: u64) -> Run {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let schema = Schema::new([("image", Feature::Image)]);
    let photo = bytes_of(PHOTO);
    let info = Jpeg.probe(&photo, &Limits::default()).expect("a JPEG");
    Box::new(move || {
        let store = Store::open(folder.path());
        let mut writer =
            ShardWriter::create(&store, &schema, "train", &ShardOptions::default()).expect("a shard's beginning");
        for row in 0..rows {
            let cells = vec![ShardCell::media(photo.clone(), "photo.jpg", info)];
            writer.push(ShardRow { id: format!("row {row:06}"), cells }).expect("a row");
        }
        black_box(writer.finish().expect("a shard"));
    })
}

/// Pictures on their way into a new dataset: checked as an ingest does by default, written, committed.
fn take_in(pictures: u64) -> Run {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (photo, mut number) = (bytes_of(PHOTO), 0);
    Box::new(move || {
        number += 1;
        let (schema, options) = (Schema::new([("image", Feature::Image)]), IngestOptions::default());
        let target = folder.path().join(format!("dataset {number}"));
        written(&target, schema, pictures as usize, &options, |_| Cell::Media(photo.clone()));
    })
}

/// Begins and ends what callgrind counts. Nothing where there is no callgrind.
mod callgrind {
    /// `CALLGRIND_START_INSTRUMENTATION` of valgrind/callgrind.h.
    const START: usize = (b'C' as usize) << 24 | (b'T' as usize) << 16 | 4;
    const STOP: usize = START + 1;

    pub(super) fn counted(run: impl FnOnce()) {
        request(START);
        run();
        request(STOP);
    }

    /// A request to valgrind (valgrind/valgrind.h), which takes effect for all threads: `--toggle-collect` would see one.
    fn request(number: usize) {
        #[cfg(target_arch = "x86_64")]
        {
            let arguments = [number, 0, 0, 0, 0, 0];
            // SAFETY: a CPU turns a register around by 128 bits in all, which leaves it as it was, and exchanges another with itself. Valgrind, which knows
            // these five instructions, reads six words from where `rax` points and answers in `rdx`.
            unsafe {
                std::arch::asm!(
                    "rol rdi, 3",
                    "rol rdi, 13",
                    "rol rdi, 61",
                    "rol rdi, 51",
                    "xchg rbx, rbx",
                    in("rax") arguments.as_ptr(),
                    inout("rdx") 0usize => _,
                    options(nostack),
                );
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = number;
    }
}

/// The instruction sets by which code here is chosen while it runs, of those that this process has.
fn level() -> String {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        let sets = [
            ("sse4.1", has!("sse4.1")),
            ("avx", has!("avx")),
            ("avx2", has!("avx2")),
            ("fma", has!("fma")),
            ("f16c", has!("f16c")),
            ("avx512f", has!("avx512f")),
        ];
        let here: Vec<&str> = sets.iter().filter(|(_, has)| *has).map(|(name, _)| *name).collect();
        format!("x86_64 {}", here.join(" "))
    }
    #[cfg(not(target_arch = "x86_64"))]
    std::env::consts::ARCH.to_owned()
}

fn main() {
    // What cargo and criterion's other benches are told: `--bench`, `--test`.
    let told = std::env::args().skip(1).find(|argument| !matches!(argument.as_str(), "--bench" | "--test"));
    match told.as_deref() {
        Some("--level") => println!("{}", level()),
        Some("--list") => LOOPS.iter().for_each(|l| println!("{}\t{}\t{}", l.name, l.count, l.unit)),
        Some(name) => {
            let Some(Loop { count, make, .. }) = LOOPS.iter().find(|l| l.name == name) else {
                eprintln!("no loop is called {name:?}; --list names them");
                std::process::exit(2);
            };
            let mut run = make(*count);
            run();
            run();
            callgrind::counted(run);
        }
        None => {
            for Loop { name, count, make, .. } in LOOPS {
                make(*count)();
                println!("{name}: ran");
            }
        }
    }
}
