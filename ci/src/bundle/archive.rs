// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files of a bundle as a tar archive has them: the same content gives the same bytes.

use std::fs::File;
use std::io::Read;
use std::io::Write;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;

/// Appends the content of `file` under this name.
pub fn append_file(builder: &mut tar::Builder<impl Write>, name: &str, file: &Path) -> Result<()> {
    let unreadable = || format!("cannot read {}", file.display());
    let content = File::open(file).with_context(unreadable)?;
    let size = content.metadata().with_context(unreadable)?.len();
    append(builder, name, size, content)
}

/// Appends so many bytes of `content`.
pub fn append(
    builder: &mut tar::Builder<impl Write>,
    name: &str,
    size: u64,
    content: impl Read,
) -> Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    builder
        .append_data(&mut header, name, content)
        .with_context(|| format!("cannot put {name} into the bundle"))
}
