//! What fuzzing found, and the corpora it came to, through all targets: without coverage, in every test run.

use std::path::Path;

use feedstock_fuzz::{memory, targets};

#[test]
fn nothing_of_the_corpora_breaks_a_target() {
    feedstock_fuzz::end_on_own_panics();
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut runs = 0;
    for target in targets() {
        for of in ["corpus", "found"] {
            let Ok(folder) = std::fs::read_dir(here.join(of).join(&target.name)) else { continue };
            for entry in folder {
                let path = entry.unwrap().path();
                let bytes = std::fs::read(&path).unwrap();
                // So that whoever sees the process end knows at what.
                println!("{}", path.display());
                memory::hold(target.most, || (target.run)(&bytes));
                runs += 1;
            }
        }
    }
    assert!(runs > 100, "{runs} inputs: where are the corpora?");
}

#[test]
fn names_are_told_apart_and_no_folder_is_nobodys() {
    let mut names: Vec<String> = targets().into_iter().map(|target| target.name).collect();
    let all = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), all);
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for of in ["corpus", "found"] {
        for entry in std::fs::read_dir(here.join(of)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(names.contains(&name), "{of}/{name} is of no target");
        }
    }
}
