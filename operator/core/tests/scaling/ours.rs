//! Our decision, with the defaults of a pool.

use jiff::Timestamp;
use ocrpool_core::{
    api::Strategy,
    scale::{Capacity, GatewayFigures, Memory, PodFigures, Round, Spec, decide},
};

use crate::pool::{MOST, RATE, START, Scaler, Seen};

#[derive(Default)]
pub struct Ours {
    memory: Memory,
}

impl Scaler for Ours {
    fn every(&self) -> f64 {
        2.0
    }

    fn wanted(&mut self, seen: &Seen) -> usize {
        let spec = Spec { min: 1, max: MOST as i32, utilization: 0.7, queue_seconds: 2.0, down_after: 300.0 };
        let cpu = Capacity { strategy: Strategy::Cpu, expected_rate: RATE, room: None, start_seconds: START };
        let gateway = GatewayFigures {
            arrived_units: seen.arrived,
            held_units: seen.held_units,
            held: seen.held,
            in_flight: seen.in_flight,
        };
        let pod =
            PodFigures { strategy: Strategy::Cpu, units: seen.units, busy_seconds: seen.busy_seconds, threads: 1 };
        let round = Round {
            gateways: [("gateway".to_owned(), Some(gateway))].into(),
            pods: [("pod".to_owned(), Some(pod))].into(),
        };
        let now = Timestamp::from_millisecond(1_700_000_000_000 + (seen.second * 1000.0) as i64).unwrap();
        let memory = std::mem::take(&mut self.memory);
        let (memory, verdict) = decide(&spec, &[cpu], seen.pods as i32, memory, (&round, now));
        self.memory = memory;
        usize::try_from(verdict.replicas).unwrap()
    }
}
