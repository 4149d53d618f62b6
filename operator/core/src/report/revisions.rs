//! The revisions of a pool that have pods, or shall have some.

use crate::{
    api::{RevisionState, RevisionStatus},
    build::names,
    decide::World,
    valid::ValidPool,
};

/// What each revision is made of, and how many pods it has; those that go come last.
pub(super) fn of(world: &World<'_>, pool: &ValidPool) -> Vec<RevisionStatus> {
    let mut revisions: Vec<RevisionStatus> = Vec::new();
    for deployment in world.deployments {
        let labels = deployment.metadata.labels.as_ref();
        let Some(name) = labels.and_then(|labels| labels.get(names::REVISION)) else { continue };
        let container = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()?.containers.first());
        let model = container.and_then(|container| {
            container.env.as_ref()?.iter().find(|variable| variable.name == "OCR_MODEL")?.value.clone()
        });
        let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
        let ready = deployment.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0);
        if let Some(known) = revisions.iter_mut().find(|known| known.name == *name) {
            known.replicas += replicas;
            known.ready += ready;
            continue;
        }
        revisions.push(RevisionStatus {
            name: name.clone(),
            model: model.unwrap_or_default(),
            image: container.and_then(|container| container.image.clone()).unwrap_or_default(),
            state: RevisionState::Retiring,
            replicas,
            ready,
        });
    }
    let alone = revisions.len() == 1;
    if let Some(current) = revisions.iter_mut().find(|revision| revision.name == pool.revision.name) {
        current.state = if alone { RevisionState::Current } else { RevisionState::Starting };
    }
    revisions.sort_by_key(|revision| (revision.state == RevisionState::Retiring, revision.name.clone()));
    revisions
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        api::conditions::PROGRESSING,
        build,
        fixture::installation,
        report::scene::{Scene, condition},
    };

    #[test]
    fn while_another_revision_is_there_the_share_is_told() {
        let mut scene = Scene::new(&json!({"scaling": {"min": 3}}), 3, 3);
        scene.pool.spec.log_level = crate::api::LogLevel::Debug;
        let new = crate::valid::ValidPool::read(&scene.pool, &installation()).unwrap();
        let mut deployment = build::deployment(&new, new.strategies[0], 1);
        deployment.status = serde_json::from_value(json!({"replicas": 1, "readyReplicas": 0})).ok();
        scene.deployments.push(deployment);
        let status = scene.status();
        assert_eq!(status.rollout.as_deref(), Some("25%"));
        assert_eq!(status.revisions.len(), 2);
        assert_eq!(
            (status.revisions[0].name.as_str(), status.revisions[0].state),
            (new.revision.name.as_str(), RevisionState::Starting)
        );
        assert_eq!(status.revisions[1].state, RevisionState::Retiring);
        let (progressing, reason, _) = condition(&status, PROGRESSING);
        assert!(progressing && reason == "RollingOut");
    }
}
