//! Asks the API server who has a token and whether they may read the metrics, as any part of Kubernetes does that asks
//! for a token: `TokenReview`, then `SubjectAccessReview`.

use futures::future::FutureExt as _;
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec, UserInfo},
    authorization::v1::{NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::{Api, Client, api::PostParams};

use super::authentication::{Review, Verdict};
use crate::act::{Failure, call};

/// The path that a role must allow, with the verb `get`, under `nonResourceURLs`.
const PATH: &str = "/metrics";

/// A review by the API server. Both questions are POST requests: `client` must be one that may write without leading.
pub fn by_api_server(client: Client) -> Review {
    Box::new(move |token| {
        let client = client.clone();
        async move { review(&client, token).await }.boxed()
    })
}

async fn review(client: &Client, token: String) -> Verdict {
    let question =
        TokenReview { spec: TokenReviewSpec { token: Some(token), audiences: None }, ..TokenReview::default() };
    let reviews: Api<TokenReview> = Api::all(client.clone());
    let user = match identify(call(reviews.create(&PostParams::default(), &question)).await) {
        Ok(user) => user,
        Err(verdict) => return verdict,
    };
    let question = access_of(&user);
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    permit(&user, call(reviews.create(&PostParams::default(), &question)).await)
}

/// Who has the token, by the API server's answer.
fn identify(answer: Result<TokenReview, Failure>) -> Result<UserInfo, Verdict> {
    let status = answer.map_err(|failure| unavailable("tokenreviews.authentication.k8s.io", &failure))?.status;
    let known = status.filter(|status| status.authenticated == Some(true)).and_then(|status| status.user);
    known.filter(|user| user.username.as_ref().is_some_and(|name| !name.is_empty())).ok_or(Verdict::Unknown)
}

fn access_of(user: &UserInfo) -> SubjectAccessReview {
    let spec = SubjectAccessReviewSpec {
        user: user.username.clone(),
        uid: user.uid.clone(),
        groups: user.groups.clone(),
        extra: user.extra.clone(),
        non_resource_attributes: Some(NonResourceAttributes {
            path: Some(PATH.to_owned()),
            verb: Some("get".to_owned()),
        }),
        resource_attributes: None,
    };
    SubjectAccessReview { spec, ..SubjectAccessReview::default() }
}

/// Whether the token's owner may read, by the API server's answer.
fn permit(user: &UserInfo, answer: Result<SubjectAccessReview, Failure>) -> Verdict {
    match answer {
        Ok(review) if review.status.as_ref().is_some_and(|status| status.allowed && status.denied != Some(true)) => {
            Verdict::Allowed
        }
        Ok(_) => Verdict::Forbidden(user.username.clone().unwrap_or_default()),
        Err(failure) => unavailable("subjectaccessreviews.authorization.k8s.io", &failure),
    }
}

/// Why the API server could not be asked. Whoever reads it has shown no token that is known, so it tells the cause only
/// where that is the operator's own lack of a right; the log has the rest.
fn unavailable(resource: &str, failure: &Failure) -> Verdict {
    tracing::warn!(resource, ?failure, "a token for the metrics could not be reviewed");
    let message = match failure {
        Failure::Api(status) if status.code == 403 => format!(
            "the operator may not create {resource}: bind its account to the ClusterRole system:auth-delegator, or set \
             --metrics-auth=none"
        ),
        _ => "the API server could not be asked about the token".to_owned(),
    };
    Verdict::Unavailable(message)
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use serde_json::{Value, json};

    use super::*;

    fn tokens(status: &Value) -> TokenReview {
        serde_json::from_value(json!({"spec": {}, "status": status})).unwrap()
    }

    fn access(status: &Value) -> SubjectAccessReview {
        serde_json::from_value(json!({"spec": {}, "status": status})).unwrap()
    }

    fn forbidden<T>() -> Result<T, Failure> {
        Err(Failure::Api(Box::new(Status::failure("tokenreviews is forbidden", "Forbidden").with_code(403))))
    }

    fn prometheus() -> UserInfo {
        serde_json::from_value(json!({
            "username": "system:serviceaccount:monitoring:prometheus",
            "uid": "0000-2222",
            "groups": ["system:serviceaccounts", "system:authenticated"],
            "extra": {"authentication.kubernetes.io/pod-name": ["prometheus-0"]},
        }))
        .unwrap()
    }

    #[test]
    fn only_an_authenticated_token_has_an_owner() {
        let user = json!(prometheus());
        let rows = [
            (json!({"authenticated": true, "user": user}), Ok(prometheus())),
            (json!({"authenticated": false, "user": user}), Err(Verdict::Unknown)),
            (json!({"authenticated": false, "error": "token has expired"}), Err(Verdict::Unknown)),
            (json!({"authenticated": true}), Err(Verdict::Unknown)),
            (json!({"authenticated": true, "user": {"username": ""}}), Err(Verdict::Unknown)),
            (json!({}), Err(Verdict::Unknown)),
        ];
        for (status, expected) in rows {
            assert_eq!(identify(Ok(tokens(&status))), expected, "{status}");
        }
    }

    #[test]
    fn what_is_asked_has_all_that_is_known_of_the_owner() {
        let expected = json!({
            "user": "system:serviceaccount:monitoring:prometheus",
            "uid": "0000-2222",
            "groups": ["system:serviceaccounts", "system:authenticated"],
            "extra": {"authentication.kubernetes.io/pod-name": ["prometheus-0"]},
            "nonResourceAttributes": {"path": "/metrics", "verb": "get"},
        });
        assert_eq!(serde_json::to_value(access_of(&prometheus()).spec).unwrap(), expected);
    }

    #[test]
    fn only_an_explicit_permission_lets_in() {
        let denied = Verdict::Forbidden("system:serviceaccount:monitoring:prometheus".to_owned());
        let rows = [
            (json!({"allowed": true}), Verdict::Allowed),
            (json!({"allowed": false, "reason": "no role"}), denied.clone()),
            (json!({"allowed": true, "denied": true}), denied.clone()),
        ];
        for (status, expected) in rows {
            assert_eq!(permit(&prometheus(), Ok(access(&status))), expected, "{status}");
        }
        assert_eq!(permit(&prometheus(), Ok(SubjectAccessReview::default())), denied);
    }

    #[test]
    fn a_right_that_the_operator_lacks_is_named_and_other_causes_are_not_told() {
        let Err(Verdict::Unavailable(message)) = identify(forbidden()) else { panic!("it was found out") };
        assert!(
            message.contains("may not create tokenreviews") && message.contains("system:auth-delegator"),
            "{message}"
        );
        let Verdict::Unavailable(message) = permit(&prometheus(), forbidden()) else { panic!("it was found out") };
        assert!(message.contains("subjectaccessreviews"), "{message}");
        let failure = Failure::Other("connection to 10.0.0.1 refused".to_owned());
        let Err(Verdict::Unavailable(message)) = identify(Err(failure)) else { panic!("it was found out") };
        assert!(!message.contains("10.0.0.1"), "{message}");
    }
}
