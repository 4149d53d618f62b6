//! Whether what lives has what should be.

use serde_json::Value;

/// Fields that tell the elements of a list apart, in the order in which they are tried. Kubernetes merges such lists by
/// them, so others may have put elements of their own between ours.
const KEYS: [&str; 4] = ["name", "containerPort", "type", "uid"];

/// Whether `live` has everything that `wanted` has. What only `live` has is of others: defaults of the API server, fields
/// of other managers. An empty object or list is the same as none.
#[must_use]
pub fn has(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => {
            wanted.iter().all(|(key, wanted)| has(live.get(key).unwrap_or(&Value::Null), wanted))
        }
        (Value::Array(live), Value::Array(wanted)) => match key(wanted) {
            Some(key) => {
                wanted.iter().all(|wanted| live.iter().any(|live| live[key] == wanted[key] && has(live, wanted)))
            }
            None => live.len() == wanted.len() && live.iter().zip(wanted).all(|(live, wanted)| has(live, wanted)),
        },
        (Value::Null, Value::Object(wanted)) => wanted.is_empty(),
        (Value::Null, Value::Array(wanted)) => wanted.is_empty(),
        (live, wanted) => live == wanted,
    }
}

/// The field that every element has and no two have alike.
fn key(list: &[Value]) -> Option<&'static str> {
    KEYS.into_iter().find(|key| {
        !list.is_empty()
            && list
                .iter()
                .enumerate()
                .all(|(index, one)| !one[*key].is_null() && list[..index].iter().all(|other| other[*key] != one[*key]))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_others_added_is_no_difference() {
        for (live, wanted) in [
            (json!({"a": 1, "b": 2}), json!({"a": 1})),
            (
                json!({"env": [{"name": "x", "value": "1"}, {"name": "y", "value": "2"}]}),
                json!({"env": [{"name": "y", "value": "2"}]}),
            ),
            (json!({"ports": [{"containerPort": 1, "protocol": "TCP"}]}), json!({"ports": [{"containerPort": 1}]})),
            (json!({"a": [1, 2]}), json!({"a": [1, 2]})),
            (json!({}), json!({"a": {}, "b": []})),
        ] {
            assert!(has(&live, &wanted), "{live} {wanted}");
        }
    }

    #[test]
    fn what_is_missing_or_other_is_a_difference() {
        for (live, wanted) in [
            (json!({"a": 2}), json!({"a": 1})),
            (json!({}), json!({"a": 1})),
            (json!({"env": [{"name": "x", "value": "2"}]}), json!({"env": [{"name": "x", "value": "1"}]})),
            (json!({"env": []}), json!({"env": [{"name": "x", "value": "1"}]})),
            (json!({"a": [1, 2, 3]}), json!({"a": [1, 2]})),
            (json!({"a": [2, 1]}), json!({"a": [1, 2]})),
            (json!({"a": [{"b": 1}, {"b": 2}]}), json!({"a": [{"b": 1}]})),
        ] {
            assert!(!has(&live, &wanted), "{live} {wanted}");
        }
    }
}
