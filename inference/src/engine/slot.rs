//! The network of one thread: opened when it is needed, freed when it is not.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Engine, EngineError, Open};

/// A place for a network.
pub(super) struct Slot<'a> {
    open: Open,
    engine: Option<Box<dyn Engine>>,
    /// Slots that are taken, of the whole lane.
    taken: &'a AtomicUsize,
}

impl<'a> Slot<'a> {
    /// An empty place.
    pub fn new(open: Open, taken: &'a AtomicUsize) -> Self {
        Self { open, engine: None, taken }
    }

    /// The network, opened where it is not.
    ///
    /// # Errors
    /// Those of the opening.
    pub fn engine(&mut self) -> Result<&mut dyn Engine, EngineError> {
        let engine = if let Some(engine) = self.engine.take() {
            engine
        } else {
            let engine = (self.open)()?;
            self.taken.fetch_add(1, Ordering::Relaxed);
            engine
        };
        Ok(self.engine.insert(engine).as_mut())
    }

    /// Whether the network is in memory.
    pub fn is_taken(&self) -> bool {
        self.engine.is_some()
    }

    /// Gives the network's memory back.
    pub fn free(&mut self) {
        if self.engine.take().is_some() {
            self.taken.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.free();
    }
}
