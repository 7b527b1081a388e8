// SPDX-License-Identifier: MIT OR Apache-2.0
//! Links the guest programs at one fixed place when they are built for the bare machine.

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=guest.ld");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        let root = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
        println!("cargo:rustc-link-arg-bins=-T{root}/guest.ld");
        // The target makes position-independent executables; a loader that only copies segments cannot relocate them.
        println!("cargo:rustc-link-arg-bins=--no-pie");
        println!("cargo:rustc-link-arg-bins=-znorelro");
    }
}
