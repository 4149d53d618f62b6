//! Headers on their way through: what belongs to one connection stays with it, and a trace goes on.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use ocr_serving::RequestId;

/// W3C Trace Context.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Headers of one connection (RFC 9110, 7.6.1), beside those that `Connection` names.
const OF_THE_CONNECTION: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::EXPECT,
];

/// Takes out what belongs to the connection that the message came on.
pub fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&OF_THE_CONNECTION) {
        headers.remove(name);
    }
}

/// A client's headers as a pod gets them. Keys for the gateway do not reach it.
pub fn for_pod(headers: &mut HeaderMap, id: &RequestId, client: Option<IpAddr>) {
    strip(headers);
    headers.remove(header::HOST);
    headers.remove(header::AUTHORIZATION);
    headers.insert(ocr_api::header::REQUEST_ID, id.to_value());
    if !headers.get(TRACEPARENT).is_some_and(is_traceparent) {
        headers.insert(TRACEPARENT, new_traceparent());
    }
    let Some(client) = client.and_then(|client| HeaderValue::from_str(&client.to_string()).ok()) else { return };
    headers.append(FORWARDED_FOR, client);
}

/// `00-<trace>-<span>-<flags>` in lower-case hexadecimal digits, neither trace nor span all zeros.
fn is_traceparent(value: &HeaderValue) -> bool {
    let parts: Vec<&[u8]> = value.as_bytes().split(|byte| *byte == b'-').collect();
    let [version, trace, span, flags] = parts.as_slice() else { return false };
    let is_hex = |part: &[u8], length: usize| {
        part.len() == length && part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_zero = |part: &[u8]| part.iter().all(|byte| *byte == b'0');
    is_hex(version, 2)
        && *version != b"ff"
        && is_hex(trace, 32)
        && !is_zero(trace)
        && is_hex(span, 16)
        && !is_zero(span)
        && is_hex(flags, 2)
}

/// The first span of a new trace, not sampled: nobody has asked for it.
fn new_traceparent() -> HeaderValue {
    let trace = uuid::Uuid::new_v4().simple().to_string();
    let span = uuid::Uuid::new_v4().simple().to_string();
    let text = format!("00-{trace}-{}-00", span.get(..16).unwrap_or_default());
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn what_belongs_to_the_connection_stays_with_it() {
        let mut all = headers(&[
            ("connection", "close, X-Mine"),
            ("x-mine", "1"),
            ("keep-alive", "1"),
            ("transfer-encoding", "chunked"),
            ("expect", "100-continue"),
            ("accept", "text/plain"),
        ]);
        strip(&mut all);
        assert_eq!(all, headers(&[("accept", "text/plain")]));
    }

    #[test]
    fn a_pod_gets_the_id_the_trace_and_the_client_and_no_key() {
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let mut all = headers(&[("host", "pool"), ("authorization", "Bearer key"), ("x-forwarded-for", "10.0.0.9")]);
        all.insert(TRACEPARENT, HeaderValue::from_static(trace));
        let id = RequestId::of(&headers(&[("x-request-id", "seven")]));
        for_pod(&mut all, &id, Some([10, 0, 0, 1].into()));
        assert_eq!((&all["x-request-id"], &all[TRACEPARENT]), (&"seven".parse().unwrap(), &trace.parse().unwrap()));
        assert!(!all.contains_key("authorization") && !all.contains_key("host"));
        let clients: Vec<_> = all.get_all("x-forwarded-for").iter().collect();
        assert_eq!(clients, ["10.0.0.9", "10.0.0.1"]);
    }

    #[test]
    fn a_trace_that_is_none_is_made_anew() {
        for wrong in [
            "",
            "00-0-0-0",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            let mut all = HeaderMap::new();
            all.insert(TRACEPARENT, HeaderValue::from_static(wrong));
            for_pod(&mut all, &RequestId::of(&HeaderMap::new()), None);
            assert_ne!(all[TRACEPARENT], wrong);
            assert!(is_traceparent(&all[TRACEPARENT]), "{:?}", all[TRACEPARENT]);
        }
    }
}
