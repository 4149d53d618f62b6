//! An answer's body on its way to the client, with what ends when it ends.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

use crate::{balance::Outcome, dispatch::Lease, record::Record};

/// Answers up to this size are taken from the pod before the first byte is passed on: until then another pod can be asked,
/// and a client that reads slowly holds no pod.
const WHOLE_BYTES: u64 = 256 << 10;

/// The connection to the pod broke in the middle of its answer.
#[derive(Debug)]
pub struct Broke;

/// Takes the answer from the pod: whole where it is small, else as it comes.
///
/// # Errors
/// Where the connection breaks before anything was passed on.
pub async fn take(incoming: Incoming, mut lease: Lease, mut record: Record) -> Result<Body, (Broke, Record)> {
    let is_small = incoming.size_hint().exact().is_some_and(|length| length <= WHOLE_BYTES);
    if !is_small {
        return Ok(Body::new(Passing { incoming, lease, record }));
    }
    let Ok(whole) = incoming.collect().await else {
        lease.ended(Outcome::Failed);
        return Err((Broke, record));
    };
    lease.ended(Outcome::Answered);
    drop(lease);
    record.end();
    Ok(Body::from(whole.to_bytes()))
}

/// A body that holds a place until it is dropped.
pub struct Holding {
    body: Body,
    _place: OwnedSemaphorePermit,
}

impl Holding {
    /// The same body.
    pub const fn new(body: Body, place: OwnedSemaphorePermit) -> Self {
        Self { body, _place: place }
    }
}

impl HttpBody for Holding {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A body as it comes. Dropped before its end, its client has left, and the pod sees its connection closed.
struct Passing {
    incoming: Incoming,
    lease: Lease,
    record: Record,
}

impl HttpBody for Passing {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.incoming).poll_frame(context);
        match &polled {
            Poll::Ready(None) => {
                self.lease.ended(Outcome::Answered);
                self.record.end();
            }
            Poll::Ready(Some(Err(_))) => {
                self.lease.ended(Outcome::Failed);
                self.record.broke();
            }
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
