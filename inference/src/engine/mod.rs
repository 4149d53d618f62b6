//! The networks, and the threads that run them.
//!
//! An [`Engine`] is synchronous, tensors in and tensors out, and belongs to one thread. A [`Lane`] is a bounded queue in
//! front of one or more such threads that joins waiting work of equal shape to batches. Nothing here knows what the
//! tensors mean.

mod lane;
mod onnx;
mod pick;
mod tensor;

pub use lane::{BatchRun, Lane, LaneSettings, LaneStats, Ticket};
pub use onnx::{OnnxEngine, OnnxRuntime, OnnxSettings};
pub use pick::{BatchLimits, Waiting, pick};
pub use tensor::{Array, Tensor};

use std::path::PathBuf;

/// Runs one network.
pub trait Engine: Send {
    /// Runs a batch. Every output's first dimension is the batch's. `stop` may end the run from another thread.
    ///
    /// # Errors
    /// [`EngineError::Stopped`] when it was ended through `stop`, else [`EngineError::Run`] or [`EngineError::Output`].
    fn run(&mut self, batch: &Tensor, stop: &Stop) -> Result<Vec<Array>, EngineError>;
}

/// Ends a run from another thread, once.
#[derive(Default)]
pub struct Stop {
    state: std::sync::Mutex<StopState>,
}

#[derive(Default)]
enum StopState {
    #[default]
    Idle,
    Running(Box<dyn Fn() + Send>),
    Stopped,
}

impl Stop {
    /// Ends the run, or the one about to begin.
    pub fn stop(&self) {
        let mut state = self.lock();
        if let StopState::Running(end) = &*state {
            end();
        }
        *state = StopState::Stopped;
    }

    /// Tells how the run that begins now is ended; false where it was already ended.
    pub fn arm(&self, end: impl Fn() + Send + 'static) -> bool {
        let mut state = self.lock();
        if matches!(*state, StopState::Stopped) {
            return false;
        }
        *state = StopState::Running(Box::new(end));
        true
    }

    /// True where the run was ended.
    pub fn is_stopped(&self) -> bool {
        matches!(*self.lock(), StopState::Stopped)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, StopState> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Why a network could not be opened or run.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {
    /// The native library is not there or does not fit.
    #[error("cannot load ONNX Runtime from {path}: {cause}; run `make assets`, or name the library with --onnxruntime")]
    Library { path: PathBuf, cause: String },
    /// A model file could not be opened.
    #[error("cannot open the model {path}: {cause}")]
    Open { path: PathBuf, cause: String },
    /// The network failed on an input.
    #[error("the network {network} failed: {cause}")]
    Run { network: &'static str, cause: String },
    /// The network answered with something else than its manifest says.
    #[error("the network {network} answered with {found}, expected {expected}")]
    Output { network: &'static str, expected: String, found: String },
    /// The threads are gone: the server is shutting down, or a thread panicked.
    #[error("the engine is not running")]
    Closed,
    /// More work waits than the lane holds.
    #[error("the engine's queue holds {capacity} items and is full")]
    Full { capacity: usize },
    /// Nobody waits for the result any more.
    #[error("the run was stopped")]
    Stopped,
}
