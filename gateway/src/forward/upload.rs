//! A request's body on its way to a pod: bounded while it is read, and kept until a pod has answered, so that another pod
//! can be sent it again.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use ocr_api::ErrorCode;
use ocr_serving::ApiError;
use tokio::time::Sleep;

/// Memory for the bodies of all requests together.
#[derive(Debug)]
pub struct Budget {
    most: u64,
    taken: AtomicU64,
}

impl Budget {
    /// At most so many bytes.
    #[must_use]
    pub fn new(most: u64) -> Arc<Self> {
        Arc::new(Self { most, taken: AtomicU64::new(0) })
    }

    fn take(&self, bytes: u64) -> bool {
        self.taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                taken.checked_add(bytes).filter(|sum| *sum <= self.most)
            })
            .is_ok()
    }

    fn give_back(&self, bytes: u64) {
        self.taken.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What bounds a body.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of one body.
    pub bytes: u64,
    /// Time in which its client may send nothing.
    pub idle: Duration,
    /// Of all bodies.
    pub budget: Arc<Budget>,
}

/// A body, read as far as it was asked for. Clones share it.
#[derive(Clone)]
pub struct Upload(Arc<Mutex<State>>);

struct State {
    incoming: Option<axum::body::Body>,
    chunks: Vec<Bytes>,
    bytes: u64,
    announced: Option<u64>,
    limits: Limits,
    idle: Option<Pin<Box<Sleep>>>,
    error: Option<ApiError>,
}

impl Upload {
    /// A body of which nothing has been read.
    ///
    /// # Errors
    /// Where its announced length is over the limit.
    pub fn new(incoming: axum::body::Body, limits: Limits) -> Result<Self, ApiError> {
        let announced = incoming.size_hint().exact();
        if let Some(length) = announced.filter(|length| *length > limits.bytes) {
            return Err(too_large(&format!("{length} bytes"), limits.bytes));
        }
        let state = State {
            incoming: Some(incoming),
            chunks: Vec::new(),
            bytes: 0,
            announced,
            limits,
            idle: None,
            error: None,
        };
        Ok(Self(Arc::new(Mutex::new(state))))
    }

    /// Reads until there are so many bytes, or all.
    ///
    /// # Errors
    /// Where the body is too large, its client stands still or leaves, or there is no memory for it.
    pub async fn fill(&self, until: u64) -> Result<(), ApiError> {
        std::future::poll_fn(|context| {
            let mut state = self.state();
            while state.bytes < until && state.incoming.is_some() {
                match state.poll_read(context) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(()) => {}
                }
            }
            Poll::Ready(state.error.clone().map_or(Ok(()), Err))
        })
        .await
    }

    /// Bytes that it has, or is said to have.
    #[must_use]
    pub fn length(&self) -> u64 {
        let state = self.state();
        state.announced.unwrap_or(state.bytes)
    }

    /// Its first bytes, as far as they are read.
    #[must_use]
    pub fn first(&self) -> Bytes {
        self.state().chunks.first().cloned().unwrap_or_default()
    }

    /// What went wrong while it was read.
    #[must_use]
    pub fn error(&self) -> Option<ApiError> {
        self.state().error.clone()
    }

    /// The body from its start, for a pod.
    #[must_use]
    pub fn replay(&self) -> Replay {
        Replay { upload: self.clone(), next: 0 }
    }

    /// Forgets what was read: a pod has answered.
    pub fn forget(&self) {
        self.state().forget();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic between two chunks leaves both whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Reads a chunk, or finds out that there is none any more.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(incoming) = &mut self.incoming else { return Poll::Ready(()) };
        let frame = match Pin::new(incoming).poll_frame(context) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                let idle = self.limits.idle;
                let sleep = self.idle.get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
                if sleep.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                let message = format!(
                    "no byte of the body came for {} seconds, after {} bytes; send the request again",
                    idle.as_secs(),
                    self.bytes
                );
                self.fail(ApiError::new(ErrorCode::BadRequest, message));
                return Poll::Ready(());
            }
        };
        self.idle = None;
        match frame {
            None => self.incoming = None,
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    self.keep(data);
                }
            }
            Some(Err(_)) => {
                let message = format!("the body broke off after {} bytes; send the request again", self.bytes);
                self.fail(ApiError::new(ErrorCode::BadRequest, message));
            }
        }
        Poll::Ready(())
    }

    fn keep(&mut self, data: Bytes) {
        let length = data.len() as u64;
        if self.bytes + length > self.limits.bytes {
            return self.fail(too_large(&format!("more than {} bytes", self.limits.bytes), self.limits.bytes));
        }
        if !self.limits.budget.take(length) {
            let message = "no memory is left for another body; send the request again in 1 s";
            return self.fail(ApiError::new(ErrorCode::Overloaded, message).with_retry_after(1));
        }
        self.bytes += length;
        self.chunks.push(data);
    }

    fn fail(&mut self, error: ApiError) {
        self.error = Some(error);
        self.incoming = None;
    }

    fn forget(&mut self) {
        let bytes = self.chunks.drain(..).map(|chunk| chunk.len() as u64).sum();
        self.limits.budget.give_back(bytes);
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.forget();
    }
}

fn too_large(have: &str, limit: u64) -> ApiError {
    ApiError::new(
        ErrorCode::TooLarge,
        format!("the body has {have}, the limit is {limit} bytes; send a smaller file, or fewer pages at a time"),
    )
}

/// The body for a pod: what was read before, then what comes.
pub struct Replay {
    upload: Upload,
    next: usize,
}

/// The client's body could not be read to its end; [`Upload::error`] says why.
#[derive(Debug, thiserror::Error)]
#[error("the client's body could not be read")]
pub struct Broken;

impl Body for Replay {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let upload = self.upload.clone();
        let mut state = upload.state();
        loop {
            if state.error.is_some() {
                return Poll::Ready(Some(Err(Broken)));
            }
            if let Some(chunk) = state.chunks.get(self.next) {
                self.next += 1;
                return Poll::Ready(Some(Ok(Frame::data(chunk.clone()))));
            }
            if state.incoming.is_none() {
                return Poll::Ready(None);
            }
            if state.poll_read(context).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let state = self.upload.state();
        state.error.is_none() && state.incoming.is_none() && self.next >= state.chunks.len()
    }

    fn size_hint(&self) -> SizeHint {
        let state = self.upload.state();
        match (state.announced, state.incoming.is_none()) {
            (Some(length), _) => SizeHint::with_exact(length),
            (None, true) => SizeHint::with_exact(state.bytes),
            (None, false) => SizeHint::default(),
        }
    }
}
