//! What a dataset becomes on its way into training: the laws of plan and loader, what is stored for them, and what of both may never change.

#[path = "../common/mod.rs"]
mod common;

mod crew;
#[cfg(feature = "image")]
mod crop_index;
mod extend;
mod frozen;
mod grown;
mod laws;
mod lengths;
mod mixture;
mod plan;
mod prepare;
mod recipes;
#[cfg(all(feature = "video", feature = "image"))]
mod seek;
#[cfg(feature = "tokenizers")]
mod text;
