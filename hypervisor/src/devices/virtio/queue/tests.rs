// SPDX-License-Identifier: MIT OR Apache-2.0
//! Queues against a driver.
