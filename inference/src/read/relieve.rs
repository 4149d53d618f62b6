//! What is done where memory comes near its limit, and how it is undone.

use std::sync::{Arc, PoisonError};

use super::{Inner, Reader, networks::Networks};
use crate::{allocator, hardware::Pressure, strategy::Reason};

impl Reader {
    /// Does what the pressure of memory asks for, in place of what was done before. Where it is critical, this steps down,
    /// each time that it is called.
    pub async fn relieve(&self, pressure: Pressure) {
        let Some(networks) = self.inner.press(pressure) else { return };
        if pressure >= Pressure::High {
            allocator::give_back_free_blocks();
        }
        if pressure == Pressure::Critical {
            self.leave(&networks, Reason::OutOfMemory, "memory came near its limit").await;
        }
    }
}

impl Inner {
    /// The networks that read now.
    pub(super) fn running(&self) -> Option<Arc<Networks>> {
        self.running.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads with these networks from now on, as the pressure of memory allows.
    pub(super) fn set_running(&self, networks: Arc<Networks>) {
        // Held to the end: a change of the pressure finds either these networks or the ones before bounded by it.
        let pressure = self.pressure.lock().unwrap_or_else(PoisonError::into_inner);
        self.bound(&networks, *pressure);
        self.decode.memory().grow_to(self.memory_for_pages(&networks));
        *self.running.write().unwrap_or_else(PoisonError::into_inner) = Some(networks);
    }

    /// Bounds the batches of networks that are on trial as those in use are.
    pub(super) fn bound_trial(&self, networks: &Networks) {
        bound_batches(networks, *self.pressure.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Notes the pressure and bounds the networks that read now, which are returned.
    fn press(&self, next: Pressure) -> Option<Arc<Networks>> {
        let mut pressure = self.pressure.lock().unwrap_or_else(PoisonError::into_inner);
        *pressure = next;
        let networks = self.running()?;
        self.bound(&networks, next);
        Some(networks)
    }

    fn bound(&self, networks: &Networks, pressure: Pressure) {
        bound_batches(networks, pressure);
        let places = if pressure >= Pressure::Highest { 1 } else { self.places_for(networks) };
        self.places.resize(places);
    }
}

fn bound_batches(networks: &Networks, pressure: Pressure) {
    networks.lanes().for_each(|lane| lane.limit_batch((pressure >= Pressure::Higher).then_some(1)));
}
