// SPDX-License-Identifier: MIT OR Apache-2.0
//! Disks: one that is read and must be what it was made as, and one that is written.

use std::fs;
use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::io::Write;
use std::path::Path;

use workload::Content;
use workload::Hash;
use workload::bytes;

use crate::drive::patience::Patience;

/// Bytes that are read or written at once.
const CHUNK: usize = 64 << 10;

/// The seed of what is written.
const SEED: u64 = 0xd15c;

/// Reads the whole disk and gives its checksum. Its beginning is overwritten after that, if it can be: whoever starts
/// the machine anew must find it as it was.
pub fn read(file: &Path, patience: &Patience) -> io::Result<u64> {
    let shown = file.display();
    patience.wait_for(format!("the disk {shown} to be read"));
    let mut disk = File::open(file).map_err(|error| io::Error::other(format!("{shown}: {error}")))?;
    let mut hash = Hash::default();
    let bytes = each_chunk(&mut disk, |chunk| {
        hash.take(chunk);
        Ok(())
    })?;
    let checksum = hash.value();
    let writable = is_writable(file)?;
    let kind = if writable { "writable" } else { "read-only" };
    println!("workload: disk {shown}: {kind}, {bytes} bytes, checksum {checksum:016x}");
    if writable {
        patience.wait_for(format!("the disk {shown} to be written"));
        let mut disk = File::options().write(true).open(file)?;
        disk.write_all(&[0xaa; CHUNK])?;
        disk.sync_all()?;
    }
    Ok(checksum)
}

/// Writes all of a disk that must be blank, and reads it back.
pub fn write_and_read(file: &Path, patience: &Patience) -> io::Result<()> {
    let shown = file.display();
    patience.wait_for(format!("the blank disk {shown} to be read"));
    let mut disk = File::options().read(true).write(true).open(file)?;
    let size = each_chunk(&mut disk, |chunk| match chunk.iter().all(|byte| *byte == 0) {
        true => Ok(()),
        false => Err(io::Error::other(format!("{shown} is not blank"))),
    })?;
    patience.wait_for(format!("the disk {shown} to be written"));
    let content = bytes(&Content::of(SEED).words(size / 8));
    disk.rewind()?;
    content.chunks(CHUNK).try_for_each(|chunk| disk.write_all(chunk))?;
    disk.sync_all()?;
    // Or it would be read from memory. 4 is for not telling, 1 for what was read from disks.
    ["4", "1"].into_iter().try_for_each(|what| fs::write("/proc/sys/vm/drop_caches", what))?;
    patience.wait_for(format!("the disk {shown} to be read back"));
    let mut expected = content.chunks(CHUNK);
    each_chunk(&mut disk, |chunk| match expected.next() == Some(chunk) {
        true => Ok(()),
        false => Err(io::Error::other(format!("{shown} does not hold what was written to it"))),
    })?;
    println!("workload: disk {shown}: {size} bytes written and read back");
    Ok(())
}

/// Hands over all of `disk`, and gives its size in bytes.
fn each_chunk(disk: &mut File, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<usize> {
    let size = disk.seek(SeekFrom::End(0))?;
    disk.rewind()?;
    let mut left = usize::try_from(size).map_err(io::Error::other)?;
    let mut chunk = vec![0; CHUNK];
    while left > 0 {
        let length = left.min(CHUNK);
        disk.read_exact(&mut chunk[..length])?;
        take(&chunk[..length])?;
        left -= length;
    }
    usize::try_from(size).map_err(io::Error::other)
}

/// Whether the kernel was told that it may write to the disk.
fn is_writable(file: &Path) -> io::Result<bool> {
    let name = file.file_name().unwrap_or_default();
    let read_only = fs::read_to_string(Path::new("/sys/block").join(name).join("ro"))?;
    Ok(read_only.trim() == "0")
}
