// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a hypercall ended.

use crate::open_set::open_set;

/// A hypercall's status (TLFS, "Hypercall Status Codes"). What has no name here is a failure all the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Status(pub u16);

open_set! {
    Status(u16);
    /// The call did what was asked for.
    SUCCESS = 0x0000, "success";
    /// The hypervisor does not know the call.
    INVALID_HYPERCALL_CODE = 0x0002, "invalid hypercall code";
    /// The input value is wrong: a reserved bit, rep count, rep start or header size.
    INVALID_HYPERCALL_INPUT = 0x0003, "invalid hypercall input";
    /// An input or output address is not 8-aligned, or the parameters cross a page.
    INVALID_ALIGNMENT = 0x0004, "invalid alignment";
    /// A parameter is wrong.
    INVALID_PARAMETER = 0x0005, "invalid parameter";
    /// The partition may not do that.
    ACCESS_DENIED = 0x0006, "access denied";
    /// The partition is in the wrong state for that.
    INVALID_PARTITION_STATE = 0x0007, "invalid partition state";
    /// The operation is not allowed now.
    OPERATION_DENIED = 0x0008, "operation denied";
    /// The hypervisor has too little memory.
    INSUFFICIENT_MEMORY = 0x000B, "insufficient memory";
    /// There is no such partition.
    INVALID_PARTITION_ID = 0x000D, "invalid partition id";
    /// There is no such virtual processor.
    INVALID_VP_INDEX = 0x000E, "invalid VP index";
    /// There is no such port.
    INVALID_PORT_ID = 0x0011, "invalid port id";
    /// There is no such connection.
    INVALID_CONNECTION_ID = 0x0012, "invalid connection id";
    /// No message buffer is free.
    INSUFFICIENT_BUFFERS = 0x0013, "insufficient buffers";
    /// The virtual processor is in the wrong state for that.
    INVALID_VP_STATE = 0x0015, "invalid VP state";
    /// Not while the partition has nested virtualization active.
    NOT_ALLOWED_WITH_NESTED_VIRT_ACTIVE = 0x0072, "not allowed with nested virtualization active";
    /// It took too long.
    TIMEOUT = 0x0078, "timeout";
    /// It goes on, and its end is reported by a message.
    CALL_PENDING = 0x0079, "call pending";
}
