//! What a pool asks of its gateway, read from the pool itself. What is missing has its default; what cannot be read is as if
//! it were missing, and is told: the gateway must go on whatever a later version of the pool says.

use std::{sync::Arc, time::Duration};

use ocr_serving::settings::parse_bytes;
use serde::Deserialize;
use serde_json::Value;

use crate::{balance::Weight, hold::Bounds};

/// Requests of one client in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    pub requests: u32,
    pub period: Duration,
}

impl Default for RateLimit {
    fn default() -> Self {
        Self { requests: 100, period: Duration::from_mins(1) }
    }
}

/// What a pool asks of its gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    pub hold: Bounds,
    /// Largest body.
    pub body_bytes: u64,
    /// Longest time for a request.
    pub request_time: Duration,
    /// How requests are split between revisions; empty where they are not.
    pub weights: Vec<Weight>,
    /// Pods that are about to be removed and get nothing new.
    pub leaving: Vec<Arc<str>>,
    /// Seconds that a first pod took to be ready, as measured before.
    pub start_seconds: u32,
    /// Documents of more pages are read by several pods; 0: none is.
    pub fan_out_pages: u32,
    /// None where clients are not limited.
    pub rate_limit: Option<RateLimit>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            hold: Bounds::default(),
            body_bytes: 10 << 20,
            request_time: Duration::from_mins(5),
            weights: Vec::new(),
            leaving: Vec::new(),
            start_seconds: 30,
            fan_out_pages: 8,
            rate_limit: None,
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Hold {
    requests: Option<usize>,
    bytes: Option<String>,
    seconds: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Rate {
    requests: Option<u32>,
    period_seconds: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Limits {
    body_bytes: Option<String>,
    request_seconds: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Share {
    revision: String,
    weight: u32,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Routing {
    weights: Vec<Share>,
    leaving: Vec<String>,
    start_seconds: Option<u32>,
}

impl Policy {
    /// What an `OcrPool` asks, and what of it could not be read.
    #[must_use]
    pub fn of(pool: &Value) -> (Self, Vec<String>) {
        let mut problems = Vec::new();
        let hold: Hold = part(pool, "/spec/gateway/hold", &mut problems);
        let rate: Option<Rate> = part(pool, "/spec/gateway/rateLimit", &mut problems);
        let fan_out: Option<u32> = part(pool, "/spec/gateway/fanOutPages", &mut problems);
        let limits: Limits = part(pool, "/spec/limits", &mut problems);
        let routing: Routing = part(pool, "/status/routing", &mut problems);
        let mut bytes = |field: &str, text: Option<String>, default: u64| match text {
            None => default,
            Some(text) => parse_bytes(&text).unwrap_or_else(|_| {
                problems.push(field.to_owned());
                default
            }),
        };
        let default = Self::default();
        let policy = Self {
            body_bytes: bytes("/spec/limits/bodyBytes", limits.body_bytes, default.body_bytes),
            hold: Bounds {
                requests: hold.requests.unwrap_or(default.hold.requests),
                bytes: bytes("/spec/gateway/hold/bytes", hold.bytes, default.hold.bytes),
                time: hold.seconds.map_or(default.hold.time, Duration::from_secs),
            },
            request_time: limits.request_seconds.map_or(default.request_time, Duration::from_secs),
            weights: routing
                .weights
                .into_iter()
                .map(|share| Weight { revision: share.revision.into(), weight: share.weight })
                .collect(),
            leaving: routing.leaving.into_iter().map(Arc::from).collect(),
            start_seconds: routing.start_seconds.unwrap_or(default.start_seconds),
            fan_out_pages: fan_out.unwrap_or(default.fan_out_pages),
            rate_limit: rate.map(|rate| {
                let default = RateLimit::default();
                RateLimit {
                    requests: rate.requests.filter(|requests| *requests > 0).unwrap_or(default.requests),
                    period: rate
                        .period_seconds
                        .filter(|seconds| *seconds > 0)
                        .map_or(default.period, Duration::from_secs),
                }
            }),
        };
        (policy, problems)
    }
}

fn part<T: for<'a> Deserialize<'a> + Default>(pool: &Value, path: &str, problems: &mut Vec<String>) -> T {
    let Some(value) = pool.pointer(path).filter(|value| !value.is_null()) else { return T::default() };
    T::deserialize(value).unwrap_or_else(|_| {
        problems.push(path.to_owned());
        T::default()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_missing_has_its_default() {
        assert_eq!(Policy::of(&json!({})), (Policy::default(), vec![]));
        assert_eq!(Policy::of(&json!({"spec": {"gateway": null}, "status": {}})), (Policy::default(), vec![]));
    }

    #[test]
    fn everything_is_read() {
        let (policy, problems) = Policy::of(&json!({
            "spec": {
                "gateway": {
                    "hold": {"requests": 7, "bytes": "8Mi", "seconds": 9},
                    "rateLimit": {"requests": 10, "periodSeconds": 11},
                    "replicas": 2,
                    "fanOutPages": 16,
                },
                "limits": {"bodyBytes": "12Ki", "requestSeconds": 13, "pagesPerDocument": 1},
            },
            "status": {"routing": {
                "weights": [{"revision": "a", "weight": 14}], "leaving": ["pod"], "startSeconds": 15,
            }},
        }));
        assert_eq!(problems, Vec::<String>::new());
        let expected = Policy {
            hold: Bounds { requests: 7, bytes: 8 << 20, time: Duration::from_secs(9) },
            body_bytes: 12 << 10,
            request_time: Duration::from_secs(13),
            weights: vec![Weight { revision: "a".into(), weight: 14 }],
            leaving: vec!["pod".into()],
            start_seconds: 15,
            fan_out_pages: 16,
            rate_limit: Some(RateLimit { requests: 10, period: Duration::from_secs(11) }),
        };
        assert_eq!(policy, expected);
    }

    #[test]
    fn a_rate_limit_without_numbers_is_a_hundred_a_minute() {
        let limit = |rate| Policy::of(&json!({"spec": {"gateway": {"rateLimit": rate}}})).0.rate_limit;
        assert_eq!(limit(json!({})), Some(RateLimit { requests: 100, period: Duration::from_mins(1) }));
        assert_eq!(limit(json!({"requests": 0, "periodSeconds": 0})), Some(RateLimit::default()));
        assert_eq!(limit(json!(null)), None);
    }

    #[test]
    fn what_cannot_be_read_is_told_and_has_its_default() {
        let (policy, problems) = Policy::of(&json!({
            "spec": {"gateway": {"hold": "long"}, "limits": {"bodyBytes": "much", "requestSeconds": 13}},
            "status": {"routing": {"weights": "even"}},
        }));
        assert_eq!(problems, ["/spec/gateway/hold", "/status/routing", "/spec/limits/bodyBytes"]);
        assert_eq!(policy, Policy { request_time: Duration::from_secs(13), ..Policy::default() });
    }
}
