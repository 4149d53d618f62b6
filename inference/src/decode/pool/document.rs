//! A document that a decode process holds open.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use ocr_api::{ErrorCode, ErrorDetail};
use tokio::{sync::OwnedSemaphorePermit, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{Cause, Process, Shared, cancelled, draining, timed_out};
use crate::decode::{
    Bitmap, DecodeOptions, DecodedPage, Failure, Kind, Ticket,
    failure::Context,
    memory::NoMemory,
    protocol::{Open, PageHeader, ProtocolError, Reply, Request},
};

/// How long a process may take to forget a document.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A document held open by one decode process. Dropping it ends the work.
pub struct OpenDocument {
    /// Pages in the document; never 0.
    pub page_count: u32,
    /// The only page of a document, decoded when it was opened.
    first: Option<DecodedPage>,
    lent: Lent,
    context: Context,
    deadline: Instant,
    is_proof: bool,
    cancel: CancellationToken,
}

/// A process on loan. Dropped, it goes back if it is between two questions.
struct Lent {
    shared: Arc<Shared>,
    /// Absent while a question is under way, and after the process was lost.
    process: Option<Process>,
    place: Option<OwnedSemaphorePermit>,
}

/// What came of a question.
enum Outcome<T> {
    Answer(T),
    Failed(Failure),
}

/// A document that waits for a process.
pub(super) struct Incoming {
    pub kind: Kind,
    pub bytes: Bytes,
    pub options: DecodeOptions,
    pub cancel: CancellationToken,
}

impl OpenDocument {
    pub(super) async fn open(
        shared: &Arc<Shared>,
        place: Option<OwnedSemaphorePermit>,
        document: Incoming,
    ) -> Result<Self, ErrorDetail> {
        let Incoming { kind, bytes, options, cancel } = document;
        let mut process = shared.take(options.deadline, &cancel).await?;
        process.documents = process.documents.saturating_add(1);
        shared.stats.documents.fetch_add(1, Ordering::Relaxed);
        let max_pixels = options.max_pixels.min(shared.settings.max_pixels);
        let context = Context { kind, max_pixels, max_pages: options.max_pages };
        let lent = Lent { shared: shared.clone(), process: Some(process), place };
        let (deadline, is_proof) = (options.deadline, options.is_proof);
        let mut document = Self { page_count: 0, first: None, lent, context, deadline, is_proof, cancel };
        let request = Request::Open(Open {
            kind,
            body_bytes: bytes.len() as u64,
            password: options.password.map(|password| password.0),
            dpi: options.dpi,
            max_pixels,
            max_pages: options.max_pages,
        });
        document.page_count = document
            .exchange(async |process| match process.ask(&request, &bytes).await? {
                Reply::Opened { page_count } if (1..=options.max_pages).contains(&page_count) => {
                    Ok(Outcome::Answer(page_count))
                }
                Reply::Failed(failure) => Ok(Outcome::Failed(failure)),
                _ => Err(ProtocolError::Unexpected),
            })
            .await?;
        // A single page that cannot be decoded is an error of the whole document, so that it is known at once.
        if document.page_count == 1 {
            document.first = Some(document.page(0).await?);
        }
        Ok(document)
    }

    #[cfg(test)]
    pub(super) fn stand_in(
        shared: &Arc<Shared>,
        decode: super::stand_in::Decode,
        document: Incoming,
    ) -> Result<Self, ErrorDetail> {
        let Incoming { kind, bytes, options, cancel } = document;
        let context = Context { kind, max_pixels: options.max_pixels, max_pages: options.max_pages };
        let bitmap = decode(kind, &bytes).ok_or_else(|| Failure::Malformed.detail(context))?;
        let page = DecodedPage { bitmap, dpi: None, dpi_lowered: false, elapsed_ms: 0, memory: Ticket::default() };
        let lent = Lent { shared: shared.clone(), process: None, place: None };
        let (deadline, is_proof) = (options.deadline, options.is_proof);
        Ok(Self { page_count: 1, first: Some(page), lent, context, deadline, is_proof, cancel })
    }

    /// Decodes one page, counted from 0. A page may be asked for more than once, and in any order.
    ///
    /// Dropping the future ends the work, and the document with it.
    ///
    /// # Errors
    /// With the code and message for the client. Other pages may still succeed unless the process died.
    pub async fn page(&mut self, index: u32) -> Result<DecodedPage, ErrorDetail> {
        if let Some(page) = self.first.take_if(|_| index == 0) {
            return Ok(page);
        }
        let max_pixels = self.context.max_pixels;
        let need = self
            .exchange(async |process| match process.ask(&Request::Measure { index }, &[]).await? {
                Reply::Measured { bytes } => Ok(Outcome::Answer(bytes)),
                Reply::Failed(failure) => Ok(Outcome::Failed(failure)),
                _ => Err(ProtocolError::Unexpected),
            })
            .await?;
        let memory = self.room_for(need).await?;
        let page = self
            .exchange(async |process| match process.ask(&Request::Page { index }, &[]).await? {
                Reply::Page(header) => receive(process, header, max_pixels, memory).await.map(Outcome::Answer),
                Reply::Failed(failure) => Ok(Outcome::Failed(failure)),
                _ => Err(ProtocolError::Unexpected),
            })
            .await?;
        self.lent.shared.stats.pages.fetch_add(1, Ordering::Relaxed);
        Ok(page)
    }

    /// Waits for memory for a page.
    async fn room_for(&self, bytes: u64) -> Result<Ticket, ErrorDetail> {
        if self.is_proof {
            return Ok(Ticket::default());
        }
        let memory = &self.lent.shared.settings.memory;
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(cancelled()),
            () = self.lent.shared.shutdown.cancelled() => Err(draining()),
            ticket = memory.take(bytes, self.deadline) => ticket.map_err(NoMemory::detail),
        }
    }

    /// Asks the process something, within the limits on time. It is lost to this document if it cannot answer.
    async fn exchange<T>(
        &mut self,
        question: impl AsyncFnOnce(&mut Process) -> Result<Outcome<T>, ProtocolError>,
    ) -> Result<T, ErrorDetail> {
        let Some(mut process) = self.lent.process.take() else { return Err(gone(self.context.kind)) };
        let page_timeout = self.lent.shared.settings.page_timeout;
        let limit = Instant::now().checked_add(page_timeout).map_or(self.deadline, |limit| limit.min(self.deadline));
        let answer = tokio::select! {
            biased;
            () = self.cancel.cancelled() => {
                process.kill(Cause::Cancelled);
                return Err(cancelled());
            }
            () = self.lent.shared.shutdown.cancelled() => {
                process.kill(Cause::Retired);
                return Err(draining());
            }
            answer = question(&mut process) => answer,
            () = tokio::time::sleep_until(limit.into()) => {
                process.kill(Cause::Timeout);
                return Err(if limit < self.deadline { too_slow(self.context.kind, page_timeout) } else { timed_out() });
            }
        };
        match answer {
            Ok(Outcome::Answer(answer)) => {
                self.lent.process = Some(process);
                Ok(answer)
            }
            Ok(Outcome::Failed(failure)) => {
                if failure == Failure::Panicked {
                    process.retire();
                } else {
                    self.lent.process = Some(process);
                }
                Err(failure.detail(self.context))
            }
            Err(error) => {
                let cause = process.cause_of_end(Cause::Protocol).await;
                tracing::warn!(
                    cause = cause.as_str(),
                    kind = self.context.kind.name(),
                    error = &error as &dyn std::error::Error,
                    "decode process was lost to a document"
                );
                Err(lost(self.context.kind, cause))
            }
        }
    }
}

impl std::fmt::Debug for OpenDocument {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenDocument")
            .field("kind", &self.context.kind)
            .field("page_count", &self.page_count)
            .finish_non_exhaustive()
    }
}

async fn receive(
    process: &mut Process,
    header: PageHeader,
    max_pixels: u64,
    mut memory: Ticket,
) -> Result<DecodedPage, ProtocolError> {
    let length = header.checked_bytes(max_pixels).ok_or(ProtocolError::Unexpected)?;
    let pixels = process.payload(length).await?;
    // The process has let go of it: what is left is our own copy.
    memory.shrink_to(header.pixel_bytes);
    let bitmap = Bitmap::new(header.width, header.height, header.channels(), pixels);
    Ok(DecodedPage {
        bitmap: bitmap.ok_or(ProtocolError::Unexpected)?,
        dpi: header.dpi,
        dpi_lowered: header.dpi_lowered,
        elapsed_ms: header.elapsed_ms,
        memory,
    })
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(process) = self.process.take() else {
            // Lost; the keeper hears of its end from its reaper.
            return;
        };
        let place = self.place.take();
        let returning = Returning::start(self.shared.clone());
        self.shared.runtime.spawn(async move {
            give_back(&returning.0, process).await;
            drop((returning, place));
        });
    }
}

/// Counts a process on its way back, so that the keeper does not start one in its place.
struct Returning(Arc<Shared>);

impl Returning {
    fn start(shared: Arc<Shared>) -> Self {
        shared.returning.fetch_add(1, Ordering::Relaxed);
        Self(shared)
    }
}

impl Drop for Returning {
    fn drop(&mut self) {
        self.0.returning.fetch_sub(1, Ordering::Relaxed);
        self.0.changed.notify_one();
    }
}

/// Has the document forgotten and the process put back, or replaced if it is old, big or does not answer.
async fn give_back(shared: &Shared, mut process: Process) {
    match timeout(CLOSE_TIMEOUT, process.close()).await {
        Ok(Ok(usage)) => {
            let settings = &shared.settings;
            let grown = usage.resident_bytes.saturating_sub(process.resident_bytes_at_start);
            let worn = process.documents >= settings.documents_per_process
                || grown > settings.growth_bytes
                || usage.cpu_ms >= settings.cpu_seconds.saturating_mul(1000) / 2;
            if worn || shared.shutdown.is_cancelled() {
                process.retire();
            } else {
                shared.put_back(process);
            }
        }
        Ok(Err(_)) => process.kill(Cause::Protocol),
        Err(_) => process.kill(Cause::Timeout),
    }
}

/// The error of a document whose process ended.
fn lost(kind: Kind, cause: Cause) -> ErrorDetail {
    let kind = kind.name();
    match cause {
        Cause::Killed | Cause::Aborted => ErrorDetail::new(
            ErrorCode::DecodeLimit,
            format!(
                "decoding the {kind} needs more memory than one document may use, or the file is damaged; send smaller pages, or save the file again"
            ),
        ),
        Cause::CpuTime | Cause::Timeout => ErrorDetail::new(
            ErrorCode::DecodeLimit,
            format!("decoding the {kind} takes more time than one document may; send fewer or simpler pages"),
        ),
        Cause::Crashed | Cause::Forbidden | Cause::Protocol | Cause::Retired => ErrorDetail::new(
            ErrorCode::Undecodable,
            format!("the {kind} broke its decoder; save the file again, or send it as PNG or PDF"),
        ),
        Cause::Cancelled => cancelled(),
        Cause::Exited => ErrorDetail::new(
            ErrorCode::Internal,
            "the decode process ended by itself; send the document again, and report it if that happens once more",
        ),
    }
}

fn too_slow(kind: Kind, limit: Duration) -> ErrorDetail {
    ErrorDetail::new(
        ErrorCode::DecodeLimit,
        format!(
            "decoding a page of the {} takes more than {} seconds, which is the most; send a simpler page or raise the limit",
            kind.name(),
            limit.as_secs_f64()
        ),
    )
}

/// The error of a page after the process was lost to an earlier one.
fn gone(kind: Kind) -> ErrorDetail {
    ErrorDetail::new(
        ErrorCode::Undecodable,
        format!("the decoder of the {} ended at an earlier page; send the other pages alone", kind.name()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_an_error_for_the_client() {
        for cause in Cause::ALL {
            let detail = lost(Kind::Pdf, cause);
            assert!(detail.message.contains(';'), "{cause:?} has no next step: {}", detail.message);
        }
        assert_eq!(lost(Kind::Pdf, Cause::Killed).code, ErrorCode::DecodeLimit);
        assert_eq!(lost(Kind::Pdf, Cause::CpuTime).code, ErrorCode::DecodeLimit);
        assert_eq!(lost(Kind::Pdf, Cause::Crashed).code, ErrorCode::Undecodable);
        assert_eq!(lost(Kind::Pdf, Cause::Forbidden).code, ErrorCode::Undecodable);
    }
}
