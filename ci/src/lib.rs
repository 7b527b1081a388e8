// SPDX-License-Identifier: MIT OR Apache-2.0
//! The lab as a library: what it needs, the images that it boots, and the machines that boot them.
//!
//! `cargo x` (`main.rs`) is its command line, and the system tests in `tests/` drive the same machines.

pub mod bench;
pub mod bundle;
pub mod cache;
pub mod cargo;
pub mod check;
pub mod fuzz;
pub mod guest;
pub mod image;
pub mod interrupt;
pub mod lab;
pub mod progress;
pub mod run;
pub mod setup;
pub mod signs;
pub mod stats;
pub mod steps;
pub mod terminal;
pub mod test;
pub mod workshop;
