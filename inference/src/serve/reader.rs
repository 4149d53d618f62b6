//! The pipeline behind the server's narrow door.

use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use ocr_api::{
    ErrorDetail, Page,
    status::{EngineStatus, ModelStatus, SandboxStatus},
};
use tokio_util::sync::CancellationToken;

use super::{Backend, DocumentStream};
use crate::{
    hardware::Pressure,
    read::{DocumentReader, ReadOptions, Reader},
};

/// Looks at what the pipeline runs on, now. Cheap, and never waits for work.
pub type Look = Box<dyn Fn() -> (EngineStatus, SandboxStatus) + Send + Sync>;

/// A reader of documents, with what the server shows of it.
pub struct ReaderBackend {
    reader: Reader,
    model: ModelStatus,
    look: Look,
}

impl ReaderBackend {
    /// Joins a reader with what was loaded and a look at what it runs on.
    #[must_use]
    pub fn new(reader: Reader, model: ModelStatus, look: Look) -> Self {
        Self { reader, model, look }
    }
}

impl Backend for ReaderBackend {
    fn open(
        &self,
        bytes: Bytes,
        options: ReadOptions,
        cancel: CancellationToken,
    ) -> BoxFuture<'_, Result<Box<dyn DocumentStream>, ErrorDetail>> {
        async move {
            let document = self.reader.open(bytes, options, cancel).await?;
            Ok(Box::new(document) as Box<dyn DocumentStream>)
        }
        .boxed()
    }

    fn model(&self) -> ModelStatus {
        self.model.clone()
    }

    fn engine(&self) -> EngineStatus {
        (self.look)().0
    }

    fn sandbox(&self) -> SandboxStatus {
        (self.look)().1
    }

    fn is_lost(&self) -> bool {
        self.reader.is_lost()
    }

    fn relieve(&self, pressure: Pressure) -> BoxFuture<'_, ()> {
        self.reader.relieve(pressure).boxed()
    }
}

impl DocumentStream for DocumentReader {
    fn page_count(&self) -> u32 {
        self.page_count()
    }

    fn next_page(&mut self) -> BoxFuture<'_, Option<Page>> {
        self.next_page().boxed()
    }
}
