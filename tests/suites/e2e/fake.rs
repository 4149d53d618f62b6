//! Pods that do as they are told (`src/bin/fake-pod.rs`).

use anyhow::ensure;
use ocr_tests::cluster::Pool;
use serde_json::Value;

/// Their image; `scripts/e2e.sh` loads it.
pub const IMAGE: &str = "localhost/fake-pod:1";

/// Tells every pod of a pool what to do.
///
/// # Errors
/// If one does not answer.
pub fn tell(pool: &Pool, behaviour: &Value) -> anyhow::Result<()> {
    for admin in pool.admin_ports()? {
        let request = admin.request(reqwest::Method::PUT, "/behaviour");
        let body = serde_json::to_vec(behaviour)?;
        let answer = ocr_tests::http::send(request.header("content-type", "application/json").body(body))?;
        ensure!(answer.status == 204, "{} {}", answer.status, answer.text());
    }
    Ok(())
}
