//! The networks, and the threads that run them.
//!
//! An [`Engine`] is synchronous, tensors in and tensors out, and belongs to one thread. A [`Lane`] is a bounded queue in
//! front of one or more such threads that joins waiting work of equal shape to batches. Nothing here knows what the
//! tensors mean.

mod error;
mod lane;
mod onnx;
mod pick;
mod placement;
mod provider;
mod slot;
mod tensor;

pub use error::EngineError;
pub use lane::{BatchRun, Lane, LaneSettings, LaneStats, Open, Residency, Ticket};
pub use onnx::{OnnxEngine, OnnxRuntime, OnnxSettings};
pub use pick::{BatchLimits, Waiting, pick};
pub use placement::{Placement, Share};
pub use provider::{ArenaGrowth, ConvSearch, Cuda, Provider, TensorRt};
pub use tensor::{Array, Tensor};

/// Runs one network.
pub trait Engine: Send {
    /// Runs a batch. Every output's first dimension is the batch's. `stop` may end the run from another thread.
    ///
    /// # Errors
    /// [`EngineError::Stopped`] when it was ended through `stop`, else [`EngineError::Run`] or [`EngineError::Output`].
    fn run(&mut self, batch: &Tensor, stop: &Stop) -> Result<Vec<Array>, EngineError>;

    /// Where its nodes ran when it was opened, where that was recorded.
    fn placement(&self) -> Option<&Placement> {
        None
    }
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
