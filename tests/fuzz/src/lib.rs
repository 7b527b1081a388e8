// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the fuzz targets share: bytes that they are made of, a guest's memory, and loading a kernel into it.

mod input;
mod loading;
mod ram;
mod restless;

pub use input::Input;
pub use loading::load;
pub use ram::Ram;
pub use restless::Restless;
