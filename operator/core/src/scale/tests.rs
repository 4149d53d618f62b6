use proptest::{prelude::*, strategy::Strategy as _};

use super::{Strategy, *};

const SPEC: Spec = Spec { min: 1, max: 20, utilization: 0.5, queue_seconds: 2.0, down_after: 300.0 };

const CPU: Capacity = Capacity { strategy: Strategy::Cpu, expected_rate: 1.0, room: None, start_seconds: 10.0 };

const GPU: Capacity = Capacity { strategy: Strategy::GpuFp16, expected_rate: 10.0, room: Some(2), start_seconds: 60.0 };

/// A pool in rounds of two seconds.
struct Pool {
    spec: Spec,
    strategies: Vec<Capacity>,
    memory: Memory,
    now: i64,
    arrived: f64,
    figures: GatewayFigures,
    pub replicas: i32,
}

impl Pool {
    fn new(spec: Spec, strategies: &[Capacity], replicas: i32) -> Self {
        let figures = GatewayFigures::default();
        let strategies = strategies.to_vec();
        Self { spec, strategies, memory: Memory::default(), now: 1_000_000, arrived: 0.0, figures, replicas }
    }

    /// A round in which the gateway says something, or nothing.
    fn round(&mut self, says: bool) -> Verdict {
        let figures = GatewayFigures { arrived_units: self.arrived, ..self.figures };
        let gateways = [("gateway".to_owned(), says.then_some(figures))].into();
        let now = Timestamp::from_second(self.now).unwrap();
        let round = Round { gateways, ..Round::default() };
        let memory = std::mem::take(&mut self.memory);
        let (memory, verdict) = decide(&self.spec, &self.strategies, self.replicas, memory, (&round, now));
        self.memory = memory;
        self.replicas = verdict.replicas;
        verdict
    }

    /// So many seconds in which so many units come in each.
    fn pass(&mut self, seconds: i64, rate: f64) -> Verdict {
        let mut verdict = None;
        for _ in 0..seconds / 2 {
            self.now += 2;
            self.arrived += rate * 2.0;
            verdict = Some(self.round(true));
        }
        verdict.unwrap()
    }
}

/// 8 units a second, half of the time at work, 1 unit a second a pod.
#[test]
fn a_pool_has_the_pods_that_its_demand_needs() {
    let mut pool = Pool::new(SPEC, &[CPU], 1);
    pool.round(true);
    let verdict = pool.pass(120, 8.0);
    assert_eq!((verdict.replicas, verdict.why, verdict.held_back), (16, Why::Enough, None));
    assert_eq!((verdict.needed, verdict.picture.demand), (16.0, 8.0));
}

#[test]
fn a_pod_with_a_gpu_counts_for_what_it_does() {
    let mut pool = Pool::new(SPEC, &[GPU, CPU], 1);
    pool.round(true);
    assert_eq!(pool.pass(120, 8.0).replicas, 2, "two GPUs do 20 units");
    let mut pool = Pool::new(SPEC, &[GPU, CPU], 1);
    pool.round(true);
    assert_eq!(pool.pass(120, 14.0).replicas, 10, "28 units: two GPUs, and eight CPUs for the rest");
}

#[test]
fn a_pool_grows_at_once_and_by_steps() {
    let mut pool = Pool::new(SPEC, &[CPU], 2);
    pool.round(true);
    pool.pass(60, 1.0);
    assert_eq!(pool.replicas, 2);
    let row: Vec<(i32, Option<HeldBack>)> = (0..4)
        .map(|_| {
            let verdict = pool.pass(2, 50.0);
            (verdict.replicas, verdict.held_back)
        })
        .collect();
    assert_eq!(
        row,
        [(6, Some(HeldBack::Step)), (12, Some(HeldBack::Step)), (20, Some(HeldBack::Max)), (20, Some(HeldBack::Max))]
    );
    assert_eq!(pool.pass(2, 50.0).why, Why::Spike);
}

#[test]
fn a_pool_shrinks_after_its_window_to_the_highest_wish_in_it_by_steps() {
    let mut pool = Pool::new(SPEC, &[CPU], 16);
    pool.round(true);
    pool.pass(300, 8.0);
    let mut seen = vec![pool.replicas];
    for _ in 0..300 {
        let before = pool.replicas;
        let verdict = pool.pass(2, 1.0);
        if verdict.replicas != before {
            seen.push(verdict.replicas);
        }
        assert!(verdict.replicas >= before - before / 2, "half at most");
    }
    assert_eq!((seen[0], *seen.last().unwrap()), (16, 2), "{seen:?}");
    assert!(seen.windows(2).all(|pair| pair[1] < pair[0]), "{seen:?}");
}

#[test]
fn after_a_restart_nothing_shrinks_until_a_window_was_seen() {
    let mut pool = Pool::new(SPEC, &[CPU], 16);
    pool.round(true);
    let verdict = pool.pass(298, 0.5);
    assert_eq!((verdict.replicas, verdict.wish, verdict.held_back), (16, 1, Some(HeldBack::FirstWindow)));
    assert_eq!(pool.pass(2, 0.5).replicas, 8);
}

/// A step of the clock by five minutes is no window that was seen.
#[test]
fn steps_of_the_clock_shrink_nothing() {
    for step in [300, -300] {
        let mut pool = Pool::new(SPEC, &[CPU], 16);
        pool.round(true);
        pool.pass(100, 0.5);
        pool.now += step;
        assert_eq!(pool.pass(100, 0.5).held_back, Some(HeldBack::FirstWindow), "{step}");
        assert_eq!(pool.replicas, 16);
    }
}

#[test]
fn silence_never_lowers_and_what_was_known_counts_on() {
    let mut pool = Pool::new(SPEC, &[CPU], 16);
    pool.round(true);
    pool.pass(400, 8.0);
    for _ in 0..1000 {
        pool.now += 2;
        let verdict = pool.round(false);
        assert_eq!(verdict.replicas, 16);
    }
    assert_eq!(pool.round(false).picture.freshness, Freshness::Lost);
    // A gateway that starts again has counted nothing yet.
    pool.arrived = 0.0;
    pool.now += 2;
    assert_eq!(pool.round(true).replicas, 16);
}

#[test]
fn a_pool_without_gateways_stays_as_it_is() {
    let mut memory = Memory::default();
    for second in 0..2000 {
        let now = Timestamp::from_second(second).unwrap();
        let verdict;
        (memory, verdict) = decide(&SPEC, &[CPU], 7, memory, (&Round::default(), now));
        assert_eq!((verdict.replicas, verdict.held_back), (7, Some(HeldBack::Silence)));
    }
}

#[test]
fn a_pool_goes_to_nothing_after_a_window_without_work_and_wakes_by_the_first_request() {
    let zero = Spec { min: 0, ..SPEC };
    let mut pool = Pool::new(zero, &[CPU], 2);
    pool.round(true);
    pool.pass(400, 0.5);
    assert_eq!(pool.replicas, 1);
    assert_eq!(pool.pass(296, 0.0).replicas, 1, "not before the window is over");
    let idle = pool.pass(6, 0.0);
    assert_eq!((idle.replicas, idle.why), (0, Why::Idle));
    assert_eq!(pool.pass(1000, 0.0).replicas, 0);
    pool.figures.held = 1;
    pool.figures.held_units = 1.0;
    let woken = pool.pass(2, 0.5);
    assert_eq!((woken.replicas, woken.why), (1, Why::Woken));
}

/// A load that is steady and low is no idleness: kedacore/http-add-on#1352.
#[test]
fn a_pool_with_a_request_now_and_then_does_not_go_to_nothing() {
    let zero = Spec { min: 0, down_after: 60.0, ..SPEC };
    let mut pool = Pool::new(zero, &[CPU], 1);
    pool.round(true);
    for _ in 0..20 {
        assert_eq!(pool.pass(56, 0.0).replicas, 1);
        pool.pass(2, 0.5);
    }
    // Nor does one whose only request takes longer than the window.
    pool.figures.in_flight = 1;
    assert_eq!(pool.pass(600, 0.0).replicas, 1);
}

#[test]
fn what_waits_is_done_in_the_time_that_is_asked_for_or_that_a_pod_takes_to_start() {
    let mut pool = Pool::new(SPEC, &[CPU], 1);
    pool.round(true);
    pool.pass(60, 0.1);
    pool.figures = GatewayFigures { held: 60, held_units: 60.0, ..GatewayFigures::default() };
    let verdict = pool.pass(2, 0.1);
    assert_eq!((verdict.wish, verdict.why), (7, Why::Backlog), "60 units in the 10 s of a start, and what comes");
    let quick = Capacity { start_seconds: 0.0, ..CPU };
    pool.strategies = vec![quick];
    assert_eq!(pool.pass(2, 0.1).wish, 31, "60 units in 2 s");
}

#[test]
fn a_rising_demand_is_met_when_pods_are_ready_not_when_it_is_there() {
    let slow = Capacity { start_seconds: 60.0, ..CPU };
    let mut pool = Pool::new(Spec { max: 100, ..SPEC }, &[slow], 4);
    pool.round(true);
    pool.pass(60, 2.0);
    let mut rate = 2.0;
    let verdicts: Vec<Verdict> = (0..30)
        .map(|_| {
            rate += 0.1;
            pool.pass(2, rate)
        })
        .collect();
    // 5 units a second come now and 8 will in a minute; the mean of the last one is 3.5.
    assert!(verdicts.iter().any(|verdict| verdict.why == Why::Rising));
    let last = &verdicts[29];
    assert!((7.0..7.6).contains(&(last.needed * SPEC.utilization)), "{last:?}");
    assert!(last.replicas >= 14, "{last:?}");
    let far = Capacity { start_seconds: 1e6, ..CPU };
    pool.strategies = vec![far];
    let bounded = pool.pass(2, 5.0);
    assert_eq!(bounded.needed * SPEC.utilization, 2.0 * bounded.picture.demand_short, "at most twice what comes now");
}

#[test]
fn bounds_count_at_once_and_a_minimum_above_the_maximum_is_the_maximum() {
    let mut pool = Pool::new(SPEC, &[CPU], 16);
    pool.round(true);
    pool.spec.max = 5;
    assert_eq!(pool.pass(2, 0.0).replicas, 5);
    (pool.spec.min, pool.spec.max) = (7, 20);
    assert_eq!(pool.pass(2, 0.0).replicas, 7);
    (pool.spec.min, pool.spec.max) = (9, 3);
    assert_eq!(pool.pass(2, 0.0).replicas, 3);
}

#[test]
fn a_small_difference_is_none() {
    let mut pool = Pool::new(SPEC, &[CPU], 10);
    pool.round(true);
    for rate in [5.0, 5.2, 4.9, 5.1] {
        let verdict = pool.pass(400, rate);
        assert_eq!((verdict.replicas, verdict.why), (10, Why::Enough), "{rate}");
    }
    assert_eq!(pool.pass(400, 8.0).replicas, 16);
}

#[test]
fn pods_are_counted_in_the_order_in_which_they_are_placed() {
    let row = Row::new(&[GPU, CPU], &Signals::default());
    assert_eq!([0, 1, 2, 3, 12].map(|pods| row.capacity(pods)), [0.0, 10.0, 20.0, 21.0, 30.0]);
    assert_eq!(
        [0.0, 0.1, 10.0, 10.1, 20.0, 20.5, 23.0, f64::NAN].map(|units| row.pods(units)),
        [0, 1, 1, 2, 2, 3, 5, 0]
    );
    assert_eq!([0, 1, 2, 9].map(|current| row.start_seconds(current)), [60.0, 60.0, 10.0, 10.0]);
    let open = Row::new(&[Capacity { room: None, ..GPU }, CPU], &Signals::default());
    assert_eq!((open.capacity(5), open.pods(50.0), open.start_seconds(9)), (50.0, 5, 60.0));
    let none = Row::new(&[Capacity { room: Some(-3), ..GPU }, CPU], &Signals::default());
    assert_eq!((none.capacity(5), none.pods(5.0), none.start_seconds(0)), (5.0, 5, 10.0));
    let alone = Row::new(&[GPU], &Signals::default());
    assert_eq!((alone.capacity(5), alone.pods(50.0), alone.start_seconds(9)), (50.0, 5, 60.0));
}

/// Histories in which metrics are lost, late or wrong, and time goes back.
#[derive(Clone, Debug)]
struct Turn {
    seconds: i64,
    rate: f64,
    says: bool,
    figures: GatewayFigures,
}

fn turn() -> impl proptest::strategy::Strategy<Value = Turn> {
    let amount = prop_oneof![8 => 0.0..100.0_f64, 1 => Just(f64::NAN), 1 => Just(-5.0), 1 => Just(f64::INFINITY), 1 => Just(1e12)];
    let seconds = prop_oneof![10 => 1_i64..5, 1 => -400_i64..400];
    (seconds, prop_oneof![0.0..30.0_f64, Just(0.0)], prop::bool::weighted(0.8), amount, 0_u64..50, 0_u64..50).prop_map(
        |(seconds, rate, says, held_units, held, in_flight)| Turn {
            seconds,
            rate,
            says,
            figures: GatewayFigures { held_units, held, in_flight, arrived_units: 0.0 },
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Inside the bounds, never down where not everything was heard, and no more than a step at a time.
    #[test]
    fn whatever_happens_the_pool_stays_within_its_bounds_and_steps(
        turns in prop::collection::vec(turn(), 1..150),
        (min, max) in (0_i32..5, 5_i32..30),
        start in 0_i32..30,
    ) {
        let spec = Spec { min, max, down_after: 30.0, ..SPEC };
        let mut pool = Pool::new(spec, &[GPU, CPU], start.clamp(min, max));
        for turn in turns {
            pool.now += turn.seconds;
            pool.arrived += turn.rate * 2.0;
            pool.figures = turn.figures;
            let before = pool.replicas;
            let verdict = pool.round(turn.says);
            prop_assert!((min..=max).contains(&verdict.replicas), "{verdict:?}");
            prop_assert!(verdict.replicas <= (before * 2).max(before + LEAST_STEP_UP).max(min), "{before} {verdict:?}");
            if verdict.replicas < before {
                prop_assert_eq!(verdict.picture.freshness, Freshness::Fresh);
                prop_assert!(verdict.replicas >= before - before / 2 || verdict.why == Why::Idle, "{before} {verdict:?}");
            }
        }
    }

    /// A constant load settles within three windows, whatever was before, and what it settles at does it.
    #[test]
    fn a_constant_load_settles(
        turns in prop::collection::vec(turn(), 0..60),
        rate in 0.2..12.0_f64,
    ) {
        let spec = Spec { max: 1000, down_after: 30.0, ..SPEC };
        let mut pool = Pool::new(spec, &[GPU, CPU], 5);
        for turn in turns {
            pool.now += turn.seconds;
            pool.arrived += turn.rate * 2.0;
            pool.figures = turn.figures;
            pool.round(turn.says);
        }
        pool.figures = GatewayFigures::default();
        pool.pass(60 + 3 * 60, rate);
        let settled = pool.replicas;
        for _ in 0..60 {
            pool.pass(2, rate);
            prop_assert_eq!(pool.replicas, settled);
        }
        let row = Row::new(&pool.strategies, &Signals::default());
        let needed = rate / spec.utilization;
        prop_assert!(row.capacity(settled) >= needed / (1.0 + TOLERANCE) - 1e-6, "{settled} for {needed}");
        prop_assert!(settled <= row.pods(needed * (1.0 + TOLERANCE)) + 1, "{settled} for {needed}");
    }
}
