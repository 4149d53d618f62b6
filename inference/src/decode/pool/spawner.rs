//! A thread that starts processes.
//!
//! A decode process asks the kernel to end it when its parent ends, and the kernel means the *thread* that started it.
//! Threads of the runtime come and go; this one lives as long as the pool. It also keeps `fork` off the runtime.

use tokio::{
    process::{Child, Command},
    runtime::Handle,
    sync::{mpsc, oneshot},
};

use super::DecodeError;

type Order = (Command, oneshot::Sender<std::io::Result<Child>>);

/// Processes are started one after another, by one task; a second order only ever waits for a moment.
const ORDERS: usize = 4;

#[derive(Debug)]
pub(super) struct Spawner {
    orders: mpsc::Sender<Order>,
}

impl Spawner {
    pub(super) fn start(runtime: Handle) -> Result<Self, DecodeError> {
        let (orders, mut received) = mpsc::channel::<Order>(ORDERS);
        std::thread::Builder::new()
            .name("decode-spawner".into())
            .spawn(move || {
                while let Some((mut command, reply)) = received.blocking_recv() {
                    let spawned = {
                        let _context = runtime.enter();
                        command.spawn()
                    };
                    // Nobody waits where the pool is gone; the process then ends with its handle.
                    let _ = reply.send(spawned);
                }
            })
            .map_err(DecodeError::Thread)?;
        Ok(Self { orders })
    }

    pub(super) async fn spawn(&self, command: Command) -> Result<Child, DecodeError> {
        let (reply, spawned) = oneshot::channel();
        self.orders.send((command, reply)).await.map_err(|_| DecodeError::ShuttingDown)?;
        spawned.await.map_err(|_| DecodeError::ShuttingDown)?.map_err(DecodeError::Spawn)
    }
}
