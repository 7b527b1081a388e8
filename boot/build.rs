// SPDX-License-Identifier: MIT OR Apache-2.0
//! Links the image with its own layout when it is built for the bare machine.

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=satori.ld");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        let root = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
        println!("cargo:rustc-link-arg-bins=-T{root}/satori.ld");
    }
}
