//! What gateways and pods say of the load, as one picture of it: lies bounded, silence told from nothing to do.

use std::collections::BTreeMap;

use super::track::{Freshness, Track};
use crate::api::Strategy;

/// Seconds of the windows in which demand is measured: a spike shows in the short one, the level in the long one.
pub const SHORT: f64 = 6.0;
pub const LONG: f64 = 60.0;

/// A pod that is measured at more or less than its strategy's expected rate by this factor is taken at the bound: one pod
/// that lies must not size the pool.
const MOST_OFF: f64 = 10.0;

/// Share by which the later half of the long window must have more than the earlier one to count as growth: less is chance.
const LEAST_GROWTH: f64 = 0.05;

/// Seconds at work after which a pod's rate says something.
const LEAST_BUSY: f64 = 5.0;

/// What a gateway said in a round.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GatewayFigures {
    /// Units of the requests that came since it started.
    pub arrived_units: f64,
    /// Units of the requests that wait.
    pub held_units: f64,
    /// Requests that wait.
    pub held: u64,
    /// Requests that pods have.
    pub in_flight: u64,
}

/// What a pod said in a round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PodFigures {
    pub strategy: Strategy,
    /// Units done since it started.
    pub units: f64,
    /// Seconds at work since it started, summed over its threads.
    pub busy_seconds: f64,
    pub threads: u32,
}

/// What all sources said in a round, by their UIDs; `None` where one said nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Round {
    pub gateways: BTreeMap<String, Option<GatewayFigures>>,
    pub pods: BTreeMap<String, Option<PodFigures>>,
}

/// The load.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// Units that come in a second, over the long and the short window.
    pub demand: f64,
    pub demand_short: f64,
    /// By how much the demand grows in a second; not below 0.
    pub growth: f64,
    /// Units that wait.
    pub backlog: f64,
    /// Requests that wait, and that pods have.
    pub held: u64,
    pub in_flight: u64,
    /// Of all gateways the one that can be relied on least; lost where there is none.
    pub freshness: Freshness,
    /// Gateways that are fresh, and all.
    pub fresh: usize,
    pub sources: usize,
    /// Seconds since anything came, waited or was being read.
    pub idle: f64,
}

/// What sources have said until now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Signals {
    gateways: BTreeMap<String, Gateway>,
    rates: BTreeMap<String, (Strategy, f64)>,
    last_work: f64,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Gateway {
    arrived: Track,
    last: GatewayFigures,
}

impl Signals {
    /// Takes over a round. Sources that are not named any more are gone.
    pub fn hear(&mut self, now: f64, round: &Round) {
        self.gateways.retain(|uid, _| round.gateways.contains_key(uid));
        self.rates.retain(|uid, _| round.pods.contains_key(uid));
        for (uid, figures) in &round.gateways {
            let gateway = self.gateways.entry(uid.clone()).or_default();
            let Some(figures) = figures.filter(|figures| is_amount(figures.arrived_units)) else { continue };
            let came = gateway.last.arrived_units != figures.arrived_units;
            if came || figures.held > 0 || figures.in_flight > 0 {
                self.last_work = now;
            }
            gateway.arrived.read(now, figures.arrived_units);
            let held_units = if is_amount(figures.held_units) { figures.held_units } else { gateway.last.held_units };
            gateway.last = GatewayFigures { held_units, ..figures };
        }
        for (uid, figures) in &round.pods {
            let Some(figures) = figures else { continue };
            let rate = figures.units / figures.busy_seconds * f64::from(figures.threads.max(1));
            if figures.busy_seconds >= LEAST_BUSY && rate.is_finite() && rate > 0.0 {
                self.rates.insert(uid.clone(), (figures.strategy, rate));
            }
        }
    }

    /// The load as it is known now. Gateways that say nothing are taken to have what they had, or what the others have on
    /// average, whichever is more.
    #[must_use]
    pub fn picture(&self, now: f64) -> Picture {
        let freshness = |gateway: &Gateway| gateway.arrived.freshness(now);
        let fresh: Vec<&Gateway> =
            self.gateways.values().filter(|gateway| freshness(gateway) == Freshness::Fresh).collect();
        let over = |from: f64, to: f64| {
            let mean =
                fresh.iter().map(|gateway| gateway.arrived.rate(from, to)).sum::<f64>() / count(fresh.len().max(1));
            self.gateways
                .values()
                .map(|gateway| {
                    let own = gateway.arrived.rate(from, to);
                    if freshness(gateway) == Freshness::Fresh { own } else { own.max(mean) }
                })
                .sum::<f64>()
        };
        let sum = |of: fn(&GatewayFigures) -> u64| {
            self.gateways.values().map(|gateway| of(&gateway.last)).fold(0, u64::saturating_add)
        };
        let half = LONG / 2.0;
        // What has just begun to be counted has not grown from nothing.
        let is_known = self.gateways.values().all(|gateway| gateway.arrived.span() >= LONG);
        let (earlier, later) = (over(LONG, half), over(half, 0.0));
        let growth = if is_known && later > earlier * (1.0 + LEAST_GROWTH) { (later - earlier) / half } else { 0.0 };
        Picture {
            demand: over(LONG, 0.0),
            demand_short: over(SHORT, 0.0),
            growth,
            backlog: self.gateways.values().map(|gateway| gateway.last.held_units).sum(),
            held: sum(|figures| figures.held),
            in_flight: sum(|figures| figures.in_flight),
            freshness: self.gateways.values().map(freshness).max().unwrap_or(Freshness::Lost),
            fresh: fresh.len(),
            sources: self.gateways.len(),
            idle: (now - self.last_work).max(0.0),
        }
    }

    /// Units that a pod of a strategy does in a second: the median of those measured, within bounds of what is expected.
    #[must_use]
    pub fn rate(&self, strategy: Strategy, expected: f64) -> f64 {
        let mut rates: Vec<f64> =
            self.rates.values().filter(|(of, _)| *of == strategy).map(|(_, rate)| *rate).collect();
        rates.sort_by(f64::total_cmp);
        let median = rates.get(rates.len() / 2).copied().unwrap_or(expected);
        median.clamp(expected / MOST_OFF, expected * MOST_OFF)
    }
}

/// Whether a number says how much of something there is.
fn is_amount(value: f64) -> bool {
    value.is_finite() && value >= 0.0
}

/// A number of sources as a factor.
pub(super) fn count(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::from(u32::MAX), f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gateway(arrived_units: f64) -> GatewayFigures {
        GatewayFigures { arrived_units, ..GatewayFigures::default() }
    }

    fn round(gateways: &[(&str, Option<GatewayFigures>)]) -> Round {
        let gateways = gateways.iter().map(|(uid, said)| ((*uid).to_owned(), *said)).collect();
        Round { gateways, ..Round::default() }
    }

    /// Two gateways, to which 3 and 1 units a second came for a minute.
    fn a_minute() -> Signals {
        let mut signals = Signals::default();
        for second in (0..=60).step_by(2).map(f64::from) {
            signals.hear(second, &round(&[("a", Some(gateway(second * 3.0))), ("b", Some(gateway(second)))]));
        }
        signals
    }

    #[test]
    fn demand_is_the_sum_of_what_came_to_all() {
        let picture = a_minute().picture(60.0);
        assert_eq!((picture.demand, picture.demand_short, picture.growth), (4.0, 4.0, 0.0));
        assert_eq!((picture.freshness, picture.fresh, picture.sources), (Freshness::Fresh, 2, 2));
    }

    #[test]
    fn a_gateway_that_is_silent_is_taken_for_the_mean_of_the_others_or_what_it_had() {
        let mut signals = a_minute();
        for second in (62..=80).step_by(2).map(f64::from) {
            signals.hear(second, &round(&[("a", None), ("b", Some(gateway(60.0 + (second - 60.0) * 9.0)))]));
        }
        let picture = signals.picture(80.0);
        assert_eq!((picture.freshness, picture.fresh), (Freshness::Stale, 1));
        assert_eq!(picture.demand_short, 18.0, "9 of the one, and as many of the silent one");
        for second in (82..=200).step_by(2).map(f64::from) {
            signals.hear(second, &round(&[("a", None), ("b", Some(gateway(240.0)))]));
        }
        let picture = signals.picture(200.0);
        assert_eq!((picture.freshness, picture.demand_short), (Freshness::Lost, 3.0), "what it had last");
    }

    #[test]
    fn a_gateway_that_is_gone_counts_no_more() {
        let mut signals = a_minute();
        signals.hear(62.0, &round(&[("b", Some(gateway(62.0)))]));
        assert_eq!(signals.picture(62.0).demand_short, 1.0);
        signals.hear(64.0, &Round::default());
        assert_eq!(signals.picture(64.0).freshness, Freshness::Lost);
    }

    #[test]
    fn growth_is_that_of_the_last_half_over_the_first() {
        let mut signals = Signals::default();
        for second in (0..=60).step_by(2).map(f64::from) {
            let arrived = if second <= 30.0 { second } else { 30.0 + (second - 30.0) * 4.0 };
            signals.hear(second, &round(&[("a", Some(gateway(arrived)))]));
        }
        let picture = signals.picture(60.0);
        assert_eq!((picture.demand, picture.growth), (2.5, 0.1));
        let mut begun = Signals::default();
        for second in (0..=58).step_by(2).map(f64::from) {
            begun.hear(second, &round(&[("a", Some(gateway(second * second)))]));
        }
        assert_eq!(begun.picture(58.0).growth, 0.0, "what has just begun to be counted");
    }

    #[test]
    fn idle_is_since_anything_came_waited_or_was_read() {
        let mut signals = a_minute();
        let still = |held, in_flight| GatewayFigures { held, in_flight, ..gateway(60.0) };
        let silent = |figures| round(&[("a", Some(gateway(180.0))), ("b", Some(figures))]);
        signals.hear(70.0, &silent(still(0, 0)));
        assert_eq!(signals.picture(70.0).idle, 10.0);
        signals.hear(71.0, &silent(still(1, 0)));
        signals.hear(72.0, &silent(still(0, 1)));
        assert_eq!(signals.picture(75.0).idle, 3.0);
        signals.hear(80.0, &silent(GatewayFigures { arrived_units: 60.5, ..still(0, 0) }));
        assert_eq!(signals.picture(80.0).idle, 0.0);
    }

    #[test]
    fn what_waits_is_summed_and_nonsense_is_not_believed() {
        let mut signals = Signals::default();
        let waiting = GatewayFigures { held: 2, held_units: 5.0, in_flight: 7, arrived_units: 1.0 };
        signals.hear(0.0, &round(&[("a", Some(waiting)), ("b", Some(waiting))]));
        let nonsense = GatewayFigures { held_units: f64::NAN, ..waiting };
        signals.hear(
            2.0,
            &round(&[("a", Some(nonsense)), ("b", Some(GatewayFigures { arrived_units: -1.0, ..waiting }))]),
        );
        let picture = signals.picture(2.0);
        assert_eq!((picture.held, picture.in_flight, picture.backlog), (4, 14, 10.0));
        assert_eq!(signals.picture(7.0).freshness, Freshness::Stale, "b has said nothing that counts since 0");
    }

    #[test]
    fn a_rate_is_the_median_within_bounds() {
        let mut signals = Signals::default();
        let pod = |strategy, rate: f64| {
            Some(PodFigures { strategy, units: rate * 10.0 / 2.0, busy_seconds: 10.0, threads: 2 })
        };
        let hear = |signals: &mut Signals, pods: &[(&str, Option<PodFigures>)]| {
            let pods = pods.iter().map(|(uid, said)| ((*uid).to_owned(), *said)).collect();
            signals.hear(0.0, &Round { pods, ..Round::default() });
        };
        assert_eq!(signals.rate(Strategy::Cpu, 2.0), 2.0);
        hear(
            &mut signals,
            &[
                ("a", pod(Strategy::Cpu, 3.0)),
                ("b", pod(Strategy::Cpu, 1e9)),
                ("c", pod(Strategy::Cpu, 2.5)),
                ("d", pod(Strategy::GpuFp16, 40.0)),
            ],
        );
        assert_eq!((signals.rate(Strategy::Cpu, 2.0), signals.rate(Strategy::GpuFp16, 20.0)), (3.0, 40.0));
        hear(&mut signals, &[("b", pod(Strategy::Cpu, 1e9))]);
        assert_eq!(signals.rate(Strategy::Cpu, 2.0), 20.0, "a lie is bounded");
        let hardly = PodFigures { strategy: Strategy::Cpu, units: 1.0, busy_seconds: 4.9, threads: 1 };
        hear(
            &mut signals,
            &[
                ("b", None),
                ("e", Some(hardly)),
                ("f", Some(PodFigures { units: f64::NAN, busy_seconds: 9.0, ..hardly })),
            ],
        );
        assert_eq!(signals.rate(Strategy::Cpu, 2.0), 20.0, "what is known stays while its pod is silent");
    }
}
