//! The sub-commands.

pub mod decode;
pub mod sandbox;
