// SPDX-License-Identifier: MIT OR Apache-2.0
//! A request to a block device (virtio 1.2, 5.2.6, "Device Operation"): its kind and place, data, and a byte for what became of it.

use super::NAME;
use super::REQUEST_BYTES;
use super::SECTOR;
use super::disk::Disk;
use crate::devices::virtio::Broken;
use crate::devices::virtio::queue::Chain;
use crate::mmu::GuestMemory;
use core::ops::Range;
use zerocopy::FromBytes;
use zerocopy::FromZeros;
use zerocopy::IntoBytes;

/// What stands at a request's beginning.
#[derive(FromBytes, IntoBytes)]
#[repr(C)]
struct Header {
    kind: u32,
    reserved: u32,
    sector: u64,
}

const _: () = assert!(size_of::<Header>() == 16);

/// Kinds of requests: VIRTIO_BLK_T_*.
const READ: u32 = 0;
const WRITE: u32 = 1;
const FLUSH: u32 = 4;
const GET_ID: u32 = 8;

/// What became of a request: VIRTIO_BLK_S_*.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Status {
    Done = 0,
    Failed = 1,
    Unsupported = 2,
}

/// Carries out the request in `chain`; tells how many bytes of it were written, from the first writable one on.
///
/// A driver that leaves no room for header or status has broken the rules. All else that cannot be done has a status.
pub fn carry_out(
    memory: &dyn GuestMemory,
    chain: &mut Chain,
    disk: &mut Disk,
    name: &[u8; NAME],
) -> Result<u32, Broken> {
    let mut header = Header::new_zeroed();
    if chain.read(memory, header.as_mut_bytes())? != size_of::<Header>() {
        return Err(Broken::Request);
    }
    let status_place = chain.take_last_writable().ok_or(Broken::Request)?;
    let room = chain.writable();
    let status = match header.kind {
        READ => match place(header.sector, room, disk) {
            Some(bytes) => {
                disk.read(bytes, memory, chain)?;
                Status::Done
            }
            None => Status::Failed,
        },
        WRITE => match place(header.sector, chain.readable(), disk) {
            Some(bytes) if !disk.is_read_only() => {
                disk.write(bytes, memory, chain)?;
                Status::Done
            }
            _ => Status::Failed,
        },
        // Memory is as durable as it gets.
        FLUSH => Status::Done,
        GET_ID => {
            chain.write(memory, name)?;
            Status::Done
        }
        _ => Status::Unsupported,
    };
    memory.write(status_place, &[status as u8])?;
    let data = room - chain.writable();
    // The status counts where it comes right after the data.
    let written = if data == room { data + 1 } else { data };
    Ok(u32::try_from(written).unwrap_or(u32::MAX))
}

/// Which bytes of the disk a request is about: whole sectors that it has, and no more than a request may.
fn place(sector: u64, bytes: u64, disk: &Disk) -> Option<Range<u64>> {
    let sectors = bytes / SECTOR;
    let end = sector.checked_add(sectors)?;
    let fits = bytes.is_multiple_of(SECTOR) && bytes <= REQUEST_BYTES && end <= disk.sectors();
    // Lazily: what does not fit may be too much to be multiplied.
    fits.then(|| sector * SECTOR..end * SECTOR)
}
