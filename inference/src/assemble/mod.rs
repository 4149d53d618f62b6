//! Lines that were read to a page: in the order that a person reads them, with their words. Pure.

mod order;
mod page;
mod words;

pub use order::{Block, reading_order};
pub use page::{PageFacts, ReadLine, page};
