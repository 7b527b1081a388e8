// SPDX-License-Identifier: MIT OR Apache-2.0
//! The values of a manifest's keys: what each may be, and what is said of others.

use super::config::DiskConfig;
use super::config::DiskSource;
use super::config::LONGEST_NAME;
use super::config::MOST_DISKS;
use super::config::MOST_NETS;
use super::config::MOST_VCPUS;
use super::config::Module;
use super::config::NetConfig;
use crate::devices::ethernet::Mac;
use crate::vm::memory_layout::MINIMUM_MIB;
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::fmt::Display;
use core::marker::PhantomData;
use core::num::NonZeroU32;
use serde::Deserialize;
use serde::Deserializer;
use serde::de::Error as _;
use serde::de::IntoDeserializer;
use serde::de::MapAccess;
use serde::de::Visitor;
use serde::de::value::MapAccessDeserializer;

pub fn one() -> u32 {
    1
}

pub fn half_a_minute() -> u32 {
    30
}

pub fn all() -> u32 {
    100
}

pub fn yes() -> bool {
    true
}

pub fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if (1..=LONGEST_NAME).contains(&name.len()) && name.chars().all(allowed) {
        return Ok(name);
    }
    Err(D::Error::custom(format!(
        "{name:?} cannot be a name, which has 1 to {LONGEST_NAME} characters of a-z, 0-9 and -"
    )))
}

pub fn memory<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let mebibytes = u32::deserialize(deserializer)?;
    if mebibytes >= MINIMUM_MIB {
        return Ok(mebibytes);
    }
    Err(D::Error::custom(format!("{mebibytes} MiB of memory are too few: give it {MINIMUM_MIB} or more")))
}

pub fn vcpus<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    match u32::deserialize(deserializer)? {
        vcpus @ 1..=MOST_VCPUS => Ok(vcpus),
        vcpus => Err(D::Error::custom(format!("{vcpus} vCPUs cannot be had: a VM has 1 to {MOST_VCPUS}"))),
    }
}

pub fn percent<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    match u32::deserialize(deserializer)? {
        percent @ 1..=100 => Ok(percent),
        percent => Err(D::Error::custom(format!(
            "a vCPU cannot have {percent} hundredths of a CPU: give it 1 to 100"
        ))),
    }
}

pub fn disks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<DiskConfig>, D::Error> {
    at_most(MOST_DISKS, "disks", Vec::deserialize(deserializer)?)
}

pub fn nets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<NetConfig>, D::Error> {
    at_most(MOST_NETS, "nets", Vec::deserialize(deserializer)?)
}

fn at_most<T, E: serde::de::Error>(most: usize, what: &str, list: Vec<T>) -> Result<Vec<T>, E> {
    match list.len() {
        count if count <= most => Ok(list),
        count => Err(E::custom(format!("{count} {what} cannot be had: a VM has {most} at most"))),
    }
}

/// Reads a table or a string as `Written`, and makes what it means out of that. What is wrong then is told with the line of this value,
/// and not with that of the list that it is in, as with serde's `try_from`.
struct Meaning<Written, T> {
    expected: &'static str,
    types: PhantomData<(Written, T)>,
}

impl<'de, Written: Deserialize<'de>, T: TryFrom<Written, Error: Display>> Meaning<Written, T> {
    fn read<D: Deserializer<'de>>(deserializer: D, expected: &'static str) -> Result<T, D::Error> {
        deserializer.deserialize_any(Self { expected, types: PhantomData })
    }
}

impl<'de, Written: Deserialize<'de>, T: TryFrom<Written, Error: Display>> Visitor<'de>
    for Meaning<Written, T>
{
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        T::try_from(Written::deserialize(text.into_deserializer())?).map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::try_from(Written::deserialize(MapAccessDeserializer::new(map))?).map_err(A::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Module {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Meaning::<String, _>::read(deserializer, "a module, as \"FILE WORDS\"")
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Meaning::<String, _>::read(deserializer, "a card's address, as \"52:54:00:00:00:01\"")
    }
}

impl<'de> Deserialize<'de> for DiskConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Meaning::<DiskTable, _>::read(deserializer, "a disk, as { file = \"root.img\" }")
    }
}

impl TryFrom<String> for Module {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        let text = text.trim();
        let (file, command_line) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        if file.is_empty() {
            return Err("a module has the name of a file, and then the words that the kernel is told");
        }
        Ok(Self { file: file.to_owned(), command_line: command_line.trim_start().to_owned() })
    }
}

/// A disk as it is written.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct DiskTable {
    file: Option<String>,
    size_mib: Option<NonZeroU32>,
    #[serde(default)]
    read_only: bool,
}

impl TryFrom<DiskTable> for DiskConfig {
    type Error = &'static str;

    fn try_from(table: DiskTable) -> Result<Self, &'static str> {
        let DiskTable { file, size_mib, read_only } = table;
        let source = match (file, size_mib) {
            (Some(file), None) => DiskSource::File(file),
            (None, Some(mib)) if !read_only => DiskSource::Blank { mib },
            (None, Some(_)) => return Err("a blank disk that is read-only stays blank: leave one out"),
            (Some(_), Some(_)) => {
                return Err(
                    "a disk has the size of its file, or is a blank one of `size-mib`: leave one out",
                );
            }
            (None, None) => return Err("a disk has a `file` of the bundle, or is a blank one of `size-mib`"),
        };
        Ok(Self { source, read_only })
    }
}
