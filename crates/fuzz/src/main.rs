//! One program for all targets: `FEEDSTOCK_FUZZ=png fuzz CORPUS`, with the options of libFuzzer. `FEEDSTOCK_FUZZ_SEEDS=DIR` writes what it begins with
//! and ends, `FEEDSTOCK_FUZZ=list` prints the targets.
#![no_main]

use std::process::exit;
use std::sync::OnceLock;

use feedstock_fuzz::{Target, memory, target, targets};

static CHOSEN: OnceLock<Target> = OnceLock::new();

/// Finds the target that the environment names. Before the first input: libFuzzer takes an end after that for a crash.
fn choose() {
    let name = std::env::var("FEEDSTOCK_FUZZ").unwrap_or_default();
    if name == "list" {
        targets().iter().for_each(|target| println!("{}", target.name));
        exit(0);
    }
    let Some(target) = target(&name) else {
        eprintln!("no target {name:?}: FEEDSTOCK_FUZZ=list prints them");
        exit(2);
    };
    if let Some(folder) = std::env::var_os("FEEDSTOCK_FUZZ_SEEDS") {
        if let Err(e) = target.write_seeds(folder.as_ref()) {
            eprintln!("{}: {e}", folder.display());
            exit(1);
        }
        exit(0);
    }
    feedstock_fuzz::end_on_own_panics();
    CHOSEN.get_or_init(|| target);
}

libfuzzer_sys::fuzz_target!(init: choose(), |data: &[u8]| {
    let target = CHOSEN.get().expect("chosen before the first input");
    memory::hold(target.most, || (target.run)(data));
});
