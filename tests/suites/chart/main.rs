//! The chart, without a cluster: what helm makes of it, what it refuses, and that what is generated is up to date.

mod generated;
mod objects;
mod refusals;

use std::process::ExitCode;

use ocr_tests::{helm::Helm, suite::Suite};

/// What is rendered: a name, and the arguments for it.
const RENDERINGS: [(&str, &[&str]); 3] = [
    ("default", &[]),
    ("everything", &["--values", "charts/ocr-operator/ci/everything-values.yaml"]),
    ("watch-namespaces", &["--values", "charts/ocr-operator/ci/watch-namespaces-values.yaml"]),
];

/// The definition of `OcrPool`.
const DEFINITION: &str = "ocrpools.ocrpool.dev.yaml";

fn main() -> ExitCode {
    let mut suite = Suite::new();
    match Helm::find() {
        Ok(helm) => {
            let helm = Box::leak(Box::new(helm));
            objects::cases(&mut suite, helm);
            refusals::cases(&mut suite, helm);
            generated::rendered(&mut suite, helm);
        }
        Err(error) => suite.case("helm_is_there", || Err(error)),
    }
    generated::cases(&mut suite);
    suite.run()
}
