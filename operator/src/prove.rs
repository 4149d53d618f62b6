//! Reads a page through a pool's address.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use ocr_api::proof;
use ocrpool_core::valid::ValidPool;

use crate::{cluster::Cluster, context::Context};

/// Longest time for the page: far above what one line takes on a slow core, and short enough that a pool that fails is
/// told as failing within 30 s.
const LIMIT: Duration = Duration::from_secs(10);

/// Pages sent until one is answered by the revision that is asked for: with one new pod among ten old ones, three in a
/// hundred rounds of 32 miss it, and are repeated.
const TRIES: u32 = 32;

/// Begins to read a page, unless one is on its way. What comes of it is remembered, and the pool is looked at again.
pub fn begin(context: Arc<Context>, cluster: Arc<Cluster>, pool: ValidPool) {
    let already = context.with(&pool.uid, |remembered| std::mem::replace(&mut remembered.proving, true));
    if already {
        return;
    }
    tokio::spawn(async move {
        let outcome = read(&context, &cluster, &pool).await;
        tracing::info!(
            pool = format!("{}/{}", pool.namespace, pool.name),
            revision = pool.revision.name,
            passed = outcome.is_ok(),
            message = outcome.as_ref().err(),
            "page read through the pool's address"
        );
        context.metrics.proven(outcome.is_ok());
        context.with(&pool.uid, |remembered| {
            remembered.proving = false;
            remembered.proof.get_or_insert_default().note(&pool.revision.name, outcome, Timestamp::now());
        });
        cluster.triggers.push_named(&pool.name, Some(&pool.namespace));
    });
}

async fn read(context: &Context, cluster: &Cluster, pool: &ValidPool) -> Result<(), String> {
    let services: Vec<Service> = cluster.children("Service", &pool.namespace, &pool.uid);
    let service = services.iter().find(|service| service.metadata.name.as_ref() == Some(&pool.name));
    let address = service.and_then(|service| service.spec.as_ref()?.cluster_ip.clone());
    let address = address.ok_or("the pool's Service has no address yet")?;
    let address = if address.contains(':') { format!("[{address}]") } else { address };
    let url = format!("http://{address}/v1/ocr?format=text");
    for _ in 0..TRIES {
        let (revision, text) = send(context, &url).await?;
        match revision {
            Some(revision) if revision != pool.revision.name => {}
            _ => return proof::check(&text),
        }
    }
    Err(format!("{TRIES} pages were answered by other revisions"))
}

/// Sends the page; returns the revision that answered, where it says, and the text that it read.
async fn send(context: &Context, url: &str) -> Result<(Option<String>, String), String> {
    let request = context
        .http
        .post(url)
        .header(ocr_api::header::PROOF, "1")
        .header("content-type", "application/pdf")
        .timeout(LIMIT)
        .body(proof::page());
    let answer = request.send().await.map_err(|error| without_url(&error))?;
    let status = answer.status();
    let revision =
        answer.headers().get(ocr_api::header::REVISION).and_then(|value| value.to_str().ok().map(str::to_owned));
    let text = scrape_text(answer).await?;
    if !status.is_success() {
        let start: String = text.chars().take(200).collect();
        return Err(format!("{status}: {start}"));
    }
    Ok((revision, text))
}

/// The body, as far as an answer to our page can be long.
async fn scrape_text(mut answer: reqwest::Response) -> Result<String, String> {
    const MOST: usize = 64 * 1024;
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| without_url(&error))? {
        if bytes.len() + chunk.len() > MOST {
            return Err(format!("the answer has more than {MOST} bytes"));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What went wrong, in the words of its innermost cause: the address is known.
fn without_url(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no answer within {} s", LIMIT.as_secs());
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
