//! Tells the shared file that it is compiled for loom, where its plain tests cannot run.
fn main() {
    println!("cargo:rustc-check-cfg=cfg(loom_model)");
    println!("cargo:rustc-cfg=loom_model");
    println!("cargo:rerun-if-changed=build.rs");
}
