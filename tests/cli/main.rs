//! `dsctl` as a user runs it: arguments in; files, stdout, stderr and the exit code out.
#![cfg(feature = "cli")]

#[path = "../common/mod.rs"]
mod common;
#[macro_use]
mod run;

mod append;
mod archives;
mod bench;
mod dedup;
mod excerpts;
mod follow;
mod ingest;
mod interrupt;
mod isolated;
mod load;
mod look;
mod plan;
mod quarantine;
mod refusals;
mod revise;
mod validate;
mod verbs;
mod versions;
mod writers;
