//! What a server is told from outside.

use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

/// A wish that the server may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: end as a pod does, when its address is known no more.
    Terminate,
    /// SIGINT: end without that wait; somebody sits at a terminal.
    Interrupt,
}

/// SIGTERM and SIGINT, as they come from now on.
///
/// # Errors
/// Where they cannot be listened for.
pub fn signals(runtime: &Runtime) -> std::io::Result<mpsc::Receiver<Signal>> {
    let _entered = runtime.enter();
    // Two are all that count: the second ends the server at once.
    let (send, receive) = mpsc::channel(2);
    for (kind, meaning) in [(SignalKind::terminate(), Signal::Terminate), (SignalKind::interrupt(), Signal::Interrupt)]
    {
        let mut source = signal(kind)?;
        let send = send.clone();
        runtime.spawn(async move {
            while source.recv().await.is_some() {
                if send.send(meaning).await.is_err() {
                    return;
                }
            }
        });
    }
    Ok(receive)
}
