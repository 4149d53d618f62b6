use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn endpoint(name: &str) -> Endpoint {
    let last = name.bytes().last().unwrap_or(0);
    let ip = std::net::IpAddr::from([10, 0, 0, last]);
    Endpoint { name: name.into(), api: (ip, 8100).into(), admin: (ip, 8101).into(), takes_requests: true }
}

fn report(rate: f64) -> Report {
    Report { rate: Some(rate), concurrency: 3, ..Report::default() }
}

fn balance(pods: &[(&str, Report)]) -> Balance {
    let mut balance = Balance::default();
    balance.set_endpoints(pods.iter().map(|(name, _)| endpoint(name)).collect());
    for (name, report) in pods {
        assert!(balance.hear(name, Some(report.clone()), Instant::now()).is_empty());
    }
    balance
}

fn ask(cost: f64) -> Ask {
    Ask { cost, ..Ask::default() }
}

fn given(balance: &mut Balance, ask: &Ask, now: Instant) -> String {
    balance.give(ask, now).map_or_else(|wait| format!("{wait:?}"), |given| given.endpoint.name.to_string())
}

#[test]
fn equal_pods_take_turns() {
    let now = Instant::now();
    let mut balance = balance(&[("a", report(1.0)), ("b", report(1.0)), ("c", report(1.0))]);
    let mut row: Vec<String> = (0..6).map(|_| given(&mut balance, &ask(1.0), now)).collect();
    row[..3].sort();
    row[3..].sort();
    assert_eq!(row, ["a", "b", "c", "a", "b", "c"]);
}

#[test]
fn a_request_goes_where_it_is_done_first_not_where_there_are_fewest() {
    let now = Instant::now();
    let mut balance = balance(&[("cpu", report(1.0)), ("gpu", report(10.0))]);
    let row: Vec<String> = (0..4).map(|_| given(&mut balance, &ask(1.0), now)).collect();
    assert_eq!(row, ["gpu", "gpu", "gpu", "gpu"]);
    assert_eq!(given(&mut balance, &ask(1.0), now), "cpu", "the fast one has as many as it takes");
}

#[test]
fn a_large_request_keeps_the_next_ones_away() {
    let now = Instant::now();
    let mut balance = balance(&[("a", report(1.0)), ("b", report(1.0))]);
    let first = given(&mut balance, &ask(20.0), now);
    for _ in 0..3 {
        assert_ne!(given(&mut balance, &ask(1.0), now), first);
    }
}

#[test]
fn a_request_that_takes_longer_than_estimated_counts_for_what_it_took() {
    let now = Instant::now();
    let mut balance = balance(&[("a", report(1.0)), ("b", report(1.0))]);
    let first = given(&mut balance, &ask(1.0), now);
    let later = now + Duration::from_secs(10);
    for _ in 0..3 {
        assert_ne!(given(&mut balance, &ask(1.0), later), first);
    }
}

#[test]
fn what_other_gateways_gave_a_pod_counts() {
    let mut busy = report(1.0);
    busy.requests = 5;
    let mut balance = balance(&[("a", busy), ("b", report(1.0))]);
    let now = Instant::now();
    balance.mean_cost = 1.0;
    for _ in 0..3 {
        assert_eq!(given(&mut balance, &ask(1.0), now), "b");
    }
}

#[test]
fn a_pod_that_has_said_nothing_is_given_two() {
    let now = Instant::now();
    let mut balance = Balance::default();
    balance.set_endpoints(vec![endpoint("a")]);
    assert_eq!((0..3).map(|_| given(&mut balance, &ask(1.0), now)).collect::<Vec<_>>(), ["a", "a", "Full"]);
}

#[test]
fn a_pod_that_failed_rests_longer_each_time_until_it_answers() {
    let mut now = Instant::now();
    let mut balance = balance(&[("a", report(1.0))]);
    let rest = |balance: &mut Balance, now: &mut Instant, outcome| {
        let given = balance.give(&ask(1.0), *now).unwrap();
        balance.take_back("a", given.job, outcome, *now);
        let mut rest = 0;
        while balance.give(&ask(1.0), *now).is_err() {
            *now += Duration::from_millis(100);
            rest += 100;
        }
        // What the loop gave is taken back.
        let job = balance.pods["a"].jobs[0].id;
        balance.take_back("a", job, Outcome::Unknown, *now);
        rest
    };
    let failed: Vec<_> = (0..8).map(|_| rest(&mut balance, &mut now, Outcome::Failed)).collect();
    assert_eq!(failed, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
    assert_eq!(rest(&mut balance, &mut now, Outcome::Answered), 0);
    assert_eq!(rest(&mut balance, &mut now, Outcome::Failed), 500);
}

#[test]
fn a_pod_that_starts_leaves_or_drains_gets_nothing() {
    let now = Instant::now();
    let mut balance = balance(&[("a", report(1.0))]);
    balance.set_endpoints(vec![Endpoint { takes_requests: false, ..endpoint("a") }]);
    assert_eq!(balance.give(&ask(1.0), now), Err(Wait::NoPod));
    balance.set_endpoints(vec![endpoint("a")]);
    balance.hear("a", Some(Report { draining: true, ..report(1.0) }), now);
    assert_eq!(balance.give(&ask(1.0), now), Err(Wait::NoPod));
}

#[test]
fn the_same_name_at_another_address_is_another_pod() {
    let now = Instant::now();
    let mut balance = balance(&[("a", Report { concurrency: 1, ..report(1.0) })]);
    let old = balance.give(&ask(1.0), now).unwrap();
    balance.set_endpoints(vec![Endpoint { api: "10.9.9.9:8100".parse().unwrap(), ..endpoint("a") }]);
    assert_eq!((balance.pods["a"].in_flight(), balance.pods["a"].limit()), (0, 2));
    balance.take_back("a", old.job, Outcome::Failed, now);
    assert!(balance.give(&ask(1.0), now).is_err(), "the failure counts, the job is none of its");
}

#[test]
fn a_job_that_the_pod_says_twice_it_does_not_have_is_lost() {
    let now = Instant::now();
    let at = |seconds| now + Duration::from_secs(seconds);
    let mut balance = balance(&[("a", report(1.0))]);
    let job = balance.give(&ask(1.0), now).unwrap().job;
    let busy = Report { requests: 1, ..report(1.0) };
    for seconds in [1, 2, 3, 4] {
        assert!(balance.hear("a", Some(report(1.0)), at(seconds)).is_empty(), "it may still be on its way");
    }
    assert!(balance.hear("a", Some(busy), at(5)).is_empty());
    assert!(balance.hear("a", Some(report(1.0)), at(6)).is_empty(), "once is too little");
    assert_eq!(balance.hear("a", Some(report(1.0)), at(7)), [job]);
}

#[test]
fn a_pod_that_says_nothing_three_times_is_dead_with_all_it_has() {
    let now = Instant::now();
    let mut balance = balance(&[("a", report(1.0))]);
    let job = balance.give(&ask(1.0), now).unwrap().job;
    assert!(balance.hear("a", None, now).is_empty() && balance.hear("a", None, now).is_empty());
    assert!(balance.give(&ask(1.0), now).is_ok());
    assert_eq!(balance.hear("a", None, now)[..1], [job]);
    assert_eq!(balance.give(&ask(1.0), now), Err(Wait::NoPod));
}

#[test]
fn a_second_pod_is_not_the_first() {
    let now = Instant::now();
    let mut balance = balance(&[("a", report(1.0)), ("b", report(1.0))]);
    let ask = Ask { not: Some("a".into()), ..ask(1.0) };
    for _ in 0..4 {
        assert_eq!(given(&mut balance, &ask, now), "b");
    }
    assert_eq!(balance.give(&ask, now), Err(Wait::Full));
    balance.set_endpoints(vec![endpoint("a")]);
    assert_eq!(given(&mut balance, &ask, now), "a", "but where there is no other");
}

#[test]
fn revisions_are_split_exactly_and_one_can_be_asked_for() {
    let now = Instant::now();
    let of = |revision: &str| Report { revision: Some(revision.into()), concurrency: 1000, ..report(1.0) };
    let mut balance = balance(&[("a", of("old")), ("b", of("old")), ("c", of("new"))]);
    let weight = |revision: &str, weight| Weight { revision: revision.into(), weight };
    balance.set_weights(&[weight("old", 95), weight("new", 5), weight("gone", 50)]);
    let row: Vec<String> = (0..200).map(|_| given(&mut balance, &ask(1.0), now)).collect();
    assert_eq!(row.iter().filter(|name| *name == "c").count(), 10);
    let only = |revision: &str| Ask { revision: Some(revision.into()), ..ask(1.0) };
    assert_eq!(given(&mut balance, &only("new"), now), "c");
    assert_eq!(balance.give(&only("gone"), now), Err(Wait::NoPod));
    balance.set_weights(&[weight("gone", 100)]);
    assert!(balance.give(&ask(1.0), now).is_ok(), "a wrong share is better than no answer");
}

proptest! {
    /// Whatever happens: a pod has no more than its limit, what rests or leaves gets nothing, and what was taken back is gone.
    #[test]
    fn bounds_hold(steps in prop::collection::vec((0_u8..6, 0_usize..4, 0.0_f64..50.0, 0_u64..3000), 1..200)) {
        let mut now = Instant::now();
        let names = ["a", "b", "c", "d"];
        let mut balance = balance(&[("a", report(1.0)), ("b", report(5.0)), ("c", report(0.5))]);
        let mut open: Vec<(String, u64)> = Vec::new();
        for (what, which, number, wait) in steps {
            now += Duration::from_millis(wait);
            let name = names[which];
            match what {
                0 | 1 => {
                    let before: Vec<(String, bool)> = balance
                        .pods()
                        .map(|pod| (pod.endpoint.name.to_string(), pod.takes_requests(now) && pod.has_room()))
                        .collect();
                    match balance.give(&ask(number), now) {
                        Ok(given) => {
                            let name = given.endpoint.name.to_string();
                            prop_assert!(before.contains(&(name.clone(), true)));
                            open.push((name, given.job));
                        }
                        Err(_) => prop_assert!(before.iter().all(|(_, takes)| !takes)),
                    }
                }
                2 if !open.is_empty() => {
                    let (name, job) = open.remove(which % open.len());
                    let outcome = [Outcome::Answered, Outcome::Failed, Outcome::Unknown][which % 3];
                    balance.take_back(&name, job, outcome, now);
                }
                3 => {
                    let requests = usize::try_from(wait % 5).unwrap();
                    let said = Report { requests, rate: Some(number - 5.0), ..report(1.0) };
                    balance.hear(name, Some(said), now);
                }
                4 => {
                    balance.hear(name, None, now);
                }
                _ => {
                    let takes_requests = wait % 2 == 0;
                    balance.set_endpoints(
                        names[..=which].iter().map(|name| Endpoint { takes_requests, ..endpoint(name) }).collect(),
                    );
                }
            }
            for pod in balance.pods() {
                let owed = open.iter().filter(|(name, _)| **name == *pod.endpoint.name).count();
                prop_assert!(pod.in_flight() <= owed.min(pod.limit().max(4)));
            }
        }
    }
}
