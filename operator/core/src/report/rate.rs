//! How fast pods of a strategy are, in units of work that no hardware changes.

use ocr_api::PodStatus;

/// Least time at work, in seconds, of all pods together until their rate says something.
const LEAST_BUSY: f64 = 10.0;

/// A rate that differs by less than this share from the one before is the same: what is written must not flutter.
const SAME: f64 = 0.1;

/// Units per second of work over all of these pods, to two digits; as before where it is the same or nothing can be said.
pub(super) fn rate<'a>(pods: impl Iterator<Item = &'a PodStatus>, before: Option<&str>) -> Option<String> {
    let sum = |(units, busy): (f64, f64), pod: &PodStatus| (units + pod.work.units, busy + pod.work.busy_seconds);
    let (units, busy) = pods.fold((0.0, 0.0), sum);
    let kept = || before.map(str::to_owned);
    if busy < LEAST_BUSY || !(units / busy).is_normal() {
        return kept();
    }
    let rate = units / busy;
    let is_same = |before: f64| (rate - before).abs() <= before.abs() * SAME;
    if before.and_then(|before| before.parse().ok()).is_some_and(is_same) {
        return kept();
    }
    // Two digits: 0.034, 0.34, 3.4, 34, 340. In `3.44e0` the exponent says how many follow the point.
    let rounded = format!("{rate:.1e}");
    let exponent: i32 = rounded.split_once('e')?.1.parse().ok()?;
    let decimals = usize::try_from(1 - exponent).unwrap_or(0);
    Some(format!("{:.decimals$}", rounded.parse::<f64>().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(units: f64, busy: f64) -> PodStatus {
        let mut status: PodStatus =
            serde_json::from_str(include_str!("../../../../tests/recorded/status.json")).unwrap();
        (status.work.units, status.work.busy_seconds) = (units, busy);
        status
    }

    fn of(pods: &[(f64, f64)], before: Option<&str>) -> Option<String> {
        let pods: Vec<PodStatus> = pods.iter().map(|(units, busy)| pod(*units, *busy)).collect();
        rate(pods.iter(), before)
    }

    #[test]
    fn a_rate_has_two_digits() {
        for (units, expected) in [
            (0.34, "0.0034"),
            (3.44, "0.034"),
            (34.4, "0.34"),
            (344.4, "3.4"),
            (3444.4, "34"),
            (34444.4, "340"),
            (999.0, "10"),
        ] {
            assert_eq!(of(&[(units, 100.0)], None).as_deref(), Some(expected));
        }
    }

    #[test]
    fn pods_count_by_the_time_that_they_were_at_work() {
        assert_eq!(of(&[(10.0, 10.0), (90.0, 30.0)], None).as_deref(), Some("2.5"));
    }

    #[test]
    fn nothing_is_said_of_pods_that_have_hardly_worked() {
        assert_eq!(of(&[], None), None);
        assert_eq!(of(&[(5.0, 9.9)], None), None);
        assert_eq!(of(&[(5.0, 10.0)], None).as_deref(), Some("0.50"));
        assert_eq!(of(&[(5.0, 9.9)], Some("3.4")).as_deref(), Some("3.4"));
        assert_eq!(of(&[(0.0, 100.0)], Some("3.4")).as_deref(), Some("3.4"));
        assert_eq!(of(&[(f64::NAN, 100.0)], None), None);
    }

    #[test]
    fn what_is_nearly_the_same_is_not_written_again() {
        assert_eq!(of(&[(37.0, 10.0)], Some("3.4")).as_deref(), Some("3.4"));
        assert_eq!(of(&[(38.0, 10.0)], Some("3.4")).as_deref(), Some("3.8"));
        assert_eq!(of(&[(38.0, 10.0)], Some("nonsense")).as_deref(), Some("3.8"));
    }
}
