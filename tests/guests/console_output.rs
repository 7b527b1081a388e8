// SPDX-License-Identifier: MIT OR Apache-2.0
//! All printable characters, and a line that is longer than any buffer, arrive complete and in order.
#![cfg_attr(target_os = "none", no_std, no_main)]

use tests::catalogue;
use tests::catalogue::CONSOLE_OUTPUT;
use tests::effort;
use tests::say;
use tests::serial;

tests::program!(run);

fn run() {
    say!("output: begin");
    catalogue::console_output(effort::of(CONSOLE_OUTPUT)).for_each(serial::send);
    say!("output: end");
}
