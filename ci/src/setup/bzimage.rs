// SPDX-License-Identifier: MIT OR Apache-2.0
//! A Linux bzImage (Documentation/arch/x86/boot.rst): where its compressed vmlinux is, and what it decompresses to.

use std::io::Read;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use flate2::read::GzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::StreamingDecoder;

// Offsets of fields of the setup header in the file.
const SETUP_SECTS: usize = 0x1f1;
const HEADER: usize = 0x202;
const VERSION: usize = 0x206;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;

const SECTOR: usize = 512;

/// The first version of the boot protocol whose header tells where the payload is.
const VERSION_WITH_PAYLOAD: u16 = 0x0208;

/// No kernel is larger than this many bytes; a file that says so is broken.
const LARGEST_VMLINUX: u64 = 1 << 30;

/// Takes the vmlinux out of `file`: an ELF image, which the kernel's own tables may follow.
///
/// # Errors
/// When `file` is no bzImage, or its payload is compressed in a way that we do not know.
pub fn vmlinux(file: &[u8]) -> Result<Vec<u8>> {
    let payload = payload(file)?;
    let mut vmlinux = Vec::new();
    decompressor(payload)?
        .take(LARGEST_VMLINUX)
        .read_to_end(&mut vmlinux)
        .context("the kernel does not decompress")?;
    ensure!(vmlinux.starts_with(b"\x7fELF"), "the kernel decompresses to something that is no ELF file");
    Ok(vmlinux)
}

fn payload(file: &[u8]) -> Result<&[u8]> {
    ensure!(file.get(HEADER..HEADER + 4) == Some(b"HdrS"), "no bzImage: no setup header");
    let version = u16::from_le_bytes(bytes_at(file, VERSION)?);
    ensure!(version >= VERSION_WITH_PAYLOAD, "boot protocol {version:#06x} is older than 2.08");
    let [setup_sectors] = bytes_at(file, SETUP_SECTS)?;
    // Zero stands for four, for the sake of very old kernels; the boot sector comes on top.
    let setup_sectors = if setup_sectors == 0 { 4 } else { usize::from(setup_sectors) };
    let offset = u32::from_le_bytes(bytes_at(file, PAYLOAD_OFFSET)?) as usize;
    let length = u32::from_le_bytes(bytes_at(file, PAYLOAD_LENGTH)?) as usize;
    let start = (setup_sectors + 1) * SECTOR + offset;
    file.get(start..start + length).context("bzImage ends before its payload does")
}

fn bytes_at<const N: usize>(file: &[u8], offset: usize) -> Result<[u8; N]> {
    let bytes = file.get(offset..offset + N).context("bzImage ends inside its header")?;
    Ok(bytes.try_into()?)
}

/// All of these end with their first frame or stream: the kernel's build appends the decompressed size.
fn decompressor(payload: &[u8]) -> Result<Box<dyn Read + '_>> {
    Ok(match payload {
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Box::new(XzReader::new(payload, false)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(StreamingDecoder::new(payload)?),
        [0x1f, 0x8b, ..] => Box::new(GzDecoder::new(payload)),
        [a, b, c, d, ..] => {
            bail!("the kernel is neither xz, zstd nor gzip: starts with {a:02x}{b:02x}{c:02x}{d:02x}")
        }
        _ => bail!("the kernel's payload is empty"),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn bzimage(payload: &[u8]) -> Vec<u8> {
        let setup_sectors: u8 = 2;
        let mut file = vec![0; (usize::from(setup_sectors) + 1) * SECTOR + 0x40];
        file[SETUP_SECTS] = setup_sectors;
        file[HEADER..HEADER + 4].copy_from_slice(b"HdrS");
        file[VERSION..VERSION + 2].copy_from_slice(&0x020f_u16.to_le_bytes());
        file[PAYLOAD_OFFSET..PAYLOAD_OFFSET + 4].copy_from_slice(&0x40_u32.to_le_bytes());
        let length = u32::try_from(payload.len()).unwrap();
        file[PAYLOAD_LENGTH..PAYLOAD_LENGTH + 4].copy_from_slice(&length.to_le_bytes());
        file.extend_from_slice(payload);
        file
    }

    fn gzipped(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        let mut payload = encoder.finish().unwrap();
        payload.extend_from_slice(&u32::try_from(content.len()).unwrap().to_le_bytes());
        payload
    }

    #[test]
    fn the_payload_is_decompressed_without_the_size_behind_it() {
        let elf = b"\x7fELF and the rest";
        assert_eq!(vmlinux(&bzimage(&gzipped(elf))).unwrap(), elf);
    }

    #[test]
    fn what_is_no_kernel_is_refused_with_a_reason() {
        let reason = |file: &[u8]| vmlinux(file).unwrap_err().to_string();
        assert!(reason(b"").contains("no setup header"));
        assert!(reason(&bzimage(b"")).contains("empty"));
        assert!(reason(&bzimage(b"LZ4 then")).contains("neither"));
        assert!(reason(&bzimage(&gzipped(b"text"))).contains("no ELF"));
        let whole = bzimage(&gzipped(b"\x7fELF"));
        for length in 0..whole.len() {
            assert!(vmlinux(&whole[..length]).is_err(), "cut to {length}");
        }
    }
}
