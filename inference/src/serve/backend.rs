//! What the server needs of the pipeline: a narrow door, so that its tests stand in for it.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use ocr_api::{
    ErrorDetail, Page,
    status::{EngineStatus, ModelStatus, SandboxStatus},
};
use tokio_util::sync::CancellationToken;

use super::load::{LoadError, Progress};
use crate::{
    hardware::{Machine, Pressure},
    meter::Meter,
    read::ReadOptions,
};

/// A loaded model that reads documents.
pub trait Backend: Send + Sync + 'static {
    /// Opens a document. Cancelling the token, or dropping the stream, ends all work for it within a second.
    ///
    /// The error is for the client: the document as a whole cannot be read.
    fn open(
        &self,
        bytes: Bytes,
        options: ReadOptions,
        cancel: CancellationToken,
    ) -> BoxFuture<'_, Result<Box<dyn DocumentStream>, ErrorDetail>>;

    /// What is loaded; does not change.
    fn model(&self) -> ModelStatus;

    /// What it runs on now. Cheap, and never waits for work.
    fn engine(&self) -> EngineStatus;

    /// Whether nothing can be read any more: only a new load can help.
    fn is_lost(&self) -> bool;

    /// Does what the pressure of memory asks for, in place of what was done before.
    fn relieve(&self, pressure: Pressure) -> BoxFuture<'_, ()>;

    /// How its decode processes are confined now. Cheap, and never waits for work.
    fn sandbox(&self) -> SandboxStatus;
}

/// A document being read.
pub trait DocumentStream: Send {
    /// Pages in the document, whether they were asked for or not.
    fn page_count(&self) -> u32;

    /// The next page asked for, in order; `None` after the last. A page that fails is a `Page` with its error.
    fn next_page(&mut self) -> BoxFuture<'_, Option<Page>>;
}

/// Loads the model, and knows the machine before anything is loaded.
pub trait Loader: Send + Sync + 'static {
    /// Loads everything and reads the warm-up pages; what it returns is ready for requests. Runs on a thread of its
    /// own and may block. Called again after a failure.
    ///
    /// # Errors
    /// With what is needed, what was found and what to do.
    fn load(&self, progress: &Progress, meter: &Arc<Meter>) -> Result<Arc<dyn Backend>, LoadError>;

    /// What there is to compute with, now.
    fn machine(&self) -> Machine;
}
