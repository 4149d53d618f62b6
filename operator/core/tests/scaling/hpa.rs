//! The Horizontal Pod Autoscaler on CPU, by its documentation: every 15 s the pods times their mean utilisation over the
//! target, a tolerance of a tenth, pods that are not ready taken for idle where it would grow, at most twice as many or four
//! more at once, and down only to the highest wish of five minutes.

use std::collections::VecDeque;

use crate::pool::{Scaler, Seen};

const TARGET: f64 = 0.7;
const TOLERANCE: f64 = 0.1;
const STABLE: f64 = 300.0;

#[derive(Default)]
pub struct Hpa {
    wishes: VecDeque<(f64, usize)>,
}

impl Scaler for Hpa {
    fn every(&self) -> f64 {
        15.0
    }

    fn wanted(&mut self, seen: &Seen) -> usize {
        let current = seen.pods;
        let wish = wish(seen).clamp(1, (current * 2).max(current + 4));
        self.wishes.push_back((seen.second, wish));
        self.wishes.retain(|(second, _)| seen.second - second <= STABLE);
        let highest = self.wishes.iter().map(|(_, wish)| *wish).max().unwrap_or(wish);
        if wish >= current { wish } else { highest.min(current) }
    }
}

fn wish(seen: &Seen) -> usize {
    let ratio = seen.busy / TARGET;
    if seen.ready == 0 || (ratio - 1.0).abs() <= TOLERANCE {
        return seen.pods;
    }
    if ratio < 1.0 || seen.ready == seen.pods {
        return (ratio * seen.ready as f64).ceil() as usize;
    }
    let with_starting = ratio * seen.ready as f64 / seen.pods as f64;
    if with_starting <= 1.0 + TOLERANCE { seen.pods } else { (with_starting * seen.pods as f64).ceil() as usize }
}
