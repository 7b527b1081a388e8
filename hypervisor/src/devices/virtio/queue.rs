// SPDX-License-Identifier: MIT OR Apache-2.0
//! A split virtqueue as the device sees it (virtio 1.2, 2.7, "Split Virtqueues").

/// A split virtqueue.
#[derive(Debug)]
pub struct Queue {}
