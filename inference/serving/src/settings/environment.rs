//! The `OCR_…` variables that are set against those that exist.

use std::ffi::{OsStr, OsString};

/// What every variable of ours starts with.
const PREFIX: &str = "OCR_";

/// Beyond this distance a known name is no longer a likely meaning of an unknown one.
const NEAR: usize = 5;

/// A variable that no setting has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvironmentError {
    #[error("unknown variable {name}; did you mean {nearest}?")]
    Misspelt { name: String, nearest: String },
    #[error("unknown variable {name}; --help lists those that exist")]
    Unknown { name: String },
}

impl EnvironmentError {
    /// The variable.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Misspelt { name, .. } | Self::Unknown { name } => name,
        }
    }
}

/// Finds the first variable that starts with `OCR_`, is not `known` and was not injected by Kubernetes for a Service.
/// Returns those of the `known` names whose value was injected and therefore is not a setting.
///
/// # Errors
/// With the unknown variable and the known one nearest to it.
pub fn check_environment(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    known: &[String],
) -> Result<Vec<String>, EnvironmentError> {
    let mut ours: Vec<(String, OsString)> = variables
        .into_iter()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value))
        .filter(|(name, _)| name.starts_with(PREFIX))
        .collect();
    ours.sort();
    let mut shadowed = Vec::new();
    for (name, value) in ours {
        match (known.contains(&name), is_service_variable(&name, &value)) {
            (true, true) => shadowed.push(name),
            (false, false) => return Err(unknown(name, known)),
            (true, false) | (false, true) => {}
        }
    }
    Ok(shadowed)
}

fn unknown(name: String, known: &[String]) -> EnvironmentError {
    let nearest = known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(&name, candidate), candidate))
        .min()
        .filter(|(distance, _)| *distance <= NEAR);
    match nearest {
        Some((_, nearest)) => EnvironmentError::Misspelt { name, nearest: nearest.clone() },
        None => EnvironmentError::Unknown { name },
    }
}

/// True for what Kubernetes injects for a Service in the namespace whose name starts with `ocr`: for a Service `ocr`
/// `OCR_SERVICE_HOST`, `OCR_SERVICE_PORT`, `OCR_SERVICE_PORT_HTTP`, `OCR_PORT=tcp://10.0.0.1:8100`,
/// `OCR_PORT_8100_TCP`, `OCR_PORT_8100_TCP_ADDR` and so on; for `ocr-db` the same with `OCR_DB`.
fn is_service_variable(name: &str, value: &OsStr) -> bool {
    if name.ends_with("_SERVICE_HOST") || name.ends_with("_SERVICE_PORT") || name.contains("_SERVICE_PORT_") {
        return true;
    }
    // The number and protocol follow a `_PORT`, and not always the first: a Service may itself be called `port`.
    let names_a_port = name.match_indices("_PORT").any(|(at, port)| {
        let Some(rest) = name.get(at + port.len()..).and_then(|rest| rest.strip_prefix('_')) else { return false };
        let mut parts = rest.split('_');
        let number = parts.next().is_some_and(|number| number.parse::<u16>().is_ok());
        let protocol = parts.next().is_some_and(|protocol| ["TCP", "UDP", "SCTP"].contains(&protocol));
        let detail = parts.next().is_none_or(|detail| ["PROTO", "PORT", "ADDR"].contains(&detail));
        number && protocol && detail && parts.next().is_none()
    });
    let links_to_service = || {
        value.to_str().is_some_and(|value| ["tcp://", "udp://", "sctp://"].iter().any(|kind| value.starts_with(kind)))
    };
    names_a_port || (name.ends_with("_PORT") && links_to_service())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(variables: &[(&str, &str)]) -> Result<Vec<String>, EnvironmentError> {
        let known = ["OCR_PORT", "OCR_ADMIN_PORT", "OCR_MODEL", "OCR_QUEUE"].map(str::to_owned);
        check_environment(variables.iter().map(|(name, value)| ((*name).into(), (*value).into())), &known)
    }

    #[test]
    fn an_unknown_variable_is_named_with_its_nearest() {
        let error = check(&[("OCR_QUEUE", "1"), ("OCR_MODLE", "x")]).unwrap_err();
        assert_eq!(error, EnvironmentError::Misspelt { name: "OCR_MODLE".into(), nearest: "OCR_MODEL".into() });
        assert_eq!(error.to_string(), "unknown variable OCR_MODLE; did you mean OCR_MODEL?");
    }

    #[test]
    fn a_variable_near_to_none_is_named_alone() {
        let error = check(&[("OCR_SOMETHING_ELSE_ALTOGETHER", "1")]).unwrap_err();
        assert_eq!(error, EnvironmentError::Unknown { name: "OCR_SOMETHING_ELSE_ALTOGETHER".into() });
    }

    #[test]
    fn variables_of_others_are_no_matter() {
        assert_eq!(check(&[("PATH", "/bin"), ("OCRACOKE", "1"), ("TESSDATA", "x")]), Ok(vec![]));
    }

    #[test]
    fn what_kubernetes_injects_for_services_is_excepted() {
        let injected = [
            ("OCR_SERVICE_HOST", "10.0.0.1"),
            ("OCR_SERVICE_PORT", "8100"),
            ("OCR_SERVICE_PORT_HTTP", "8100"),
            ("OCR_PORT_8100_TCP", "tcp://10.0.0.1:8100"),
            ("OCR_PORT_8100_TCP_PROTO", "tcp"),
            ("OCR_PORT_8100_TCP_PORT", "8100"),
            ("OCR_PORT_8100_TCP_ADDR", "10.0.0.1"),
            ("OCR_PORT_PORT_8100_TCP", "tcp://10.0.0.3:8100"),
            ("OCR_PORT_53_UDP", "udp://10.0.0.1:53"),
            ("OCR_RECEIPTS_SERVICE_HOST", "10.0.0.2"),
            ("OCR_RECEIPTS_PORT", "tcp://10.0.0.2:80"),
            ("OCR_RECEIPTS_PORT_80_TCP_ADDR", "10.0.0.2"),
        ];
        assert_eq!(check(&injected), Ok(vec![]));
    }

    #[test]
    fn an_injected_value_of_a_known_name_is_no_setting() {
        assert_eq!(check(&[("OCR_PORT", "tcp://10.0.0.1:8100")]), Ok(vec!["OCR_PORT".to_owned()]));
        assert_eq!(check(&[("OCR_PORT", "9000")]), Ok(vec![]));
        // A Service `ocr-admin` shadows the other port.
        assert_eq!(check(&[("OCR_ADMIN_PORT", "udp://[fd00::1]:1")]), Ok(vec!["OCR_ADMIN_PORT".to_owned()]));
    }

    #[test]
    fn a_name_that_only_resembles_an_injected_one_is_unknown() {
        for (name, value) in
            [("OCR_PROT", "1"), ("OCR_X_PORT", "8080"), ("OCR_PORT_X_TCP", "1"), ("OCR_PORT_1_TCP_HOST", "1")]
        {
            assert_eq!(check(&[(name, value)]).unwrap_err().name(), name);
        }
    }
}
