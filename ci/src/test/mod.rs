// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo x test`.
