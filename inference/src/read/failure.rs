//! Why a load failed, in a word.

use super::{GoldenError, LoadError, OpenError, TrialError};
use crate::{engine::EngineError, models::BundleError};

/// What kind of thing kept a model from being loaded: what to do about it is of the same kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadFailure {
    /// There is no such model, or none for these languages: name another, or bring it.
    NoModel,
    /// It is there and does not work: a part is damaged, missing, or does not read its own pages.
    LoadFailed,
    /// There is too little memory for it.
    OutOfMemory,
    /// What it should compute on is not there, or refuses.
    UnsupportedHardware,
    /// Pages of our own, or of the pool's, cannot be decoded.
    Decode,
    /// A fault of ours.
    Internal,
}

impl LoadFailure {
    /// All of them, for documentation.
    pub const ALL: [Self; 6] =
        [Self::NoModel, Self::LoadFailed, Self::OutOfMemory, Self::UnsupportedHardware, Self::Decode, Self::Internal];

    /// In a word, for who reads `/status` by program.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoModel => "NoModel",
            Self::LoadFailed => "LoadFailed",
            Self::OutOfMemory => "OutOfMemory",
            Self::UnsupportedHardware => "UnsupportedHardware",
            Self::Decode => "Decode",
            Self::Internal => "Internal",
        }
    }
}

impl LoadError {
    /// What kind of thing it was.
    #[must_use]
    pub const fn failure(&self) -> LoadFailure {
        match self {
            Self::Bundle(error) | Self::Open(OpenError::Bundle(error)) => of_bundle(error),
            Self::Language(_) | Self::Open(OpenError::NoSuchPrecision { .. }) => LoadFailure::NoModel,
            Self::Memory(_) => LoadFailure::OutOfMemory,
            Self::Open(OpenError::Engine(error))
            | Self::SelfTest(TrialError::Engine(error))
            | Self::Golden(GoldenError::Engine { error, .. }) => of_engine(error),
            Self::Decode(_)
            | Self::SelfTest(TrialError::Decode(_))
            | Self::Golden(GoldenError::Undecodable { .. } | GoldenError::Folder { .. }) => LoadFailure::Decode,
            Self::SelfTest(TrialError::Page(_))
            | Self::Golden(GoldenError::TooMany { .. } | GoldenError::Page { .. }) => LoadFailure::LoadFailed,
            Self::Strategy(_) | Self::NoStrategy => LoadFailure::UnsupportedHardware,
        }
    }
}

const fn of_bundle(error: &BundleError) -> LoadFailure {
    if error.is_absent() { LoadFailure::NoModel } else { LoadFailure::LoadFailed }
}

const fn of_engine(error: &EngineError) -> LoadFailure {
    match error {
        EngineError::OutOfMemory { .. } => LoadFailure::OutOfMemory,
        EngineError::Provider { .. } | EngineError::DeviceLost { .. } => LoadFailure::UnsupportedHardware,
        EngineError::Library { .. }
        | EngineError::Open { .. }
        | EngineError::Run { .. }
        | EngineError::Output { .. } => LoadFailure::LoadFailed,
        EngineError::Closed | EngineError::Full { .. } | EngineError::Stopped => LoadFailure::Internal,
    }
}

#[cfg(test)]
mod tests {
    use ocr_api::{ErrorCode, ErrorDetail, manifest::Precision};

    use super::*;
    use crate::{models::UnsupportedLanguage, read::fakes, strategy::Refusal};

    fn run() -> EngineError {
        EngineError::Run { network: "detect", cause: "as told".to_owned() }
    }

    #[test]
    fn each_failure_is_of_the_kind_of_what_helps_against_it() {
        let name = || "page".to_owned();
        let library = EngineError::Library { path: "libonnxruntime.so".into(), cause: "missing".to_owned() };
        let provider = EngineError::Provider { provider: "CUDAExecutionProvider", cause: "no driver".to_owned() };
        let detail = || ErrorDetail::new(ErrorCode::Undecodable, "as told");
        let language = UnsupportedLanguage { bundle: name(), wanted: vec!["ar".to_owned()], readable: Vec::new() };
        let too_many = GoldenError::TooMany { error_percent: 4.0, limit: 3.0, worst: name() };
        let rows = [
            (LoadError::Language(language), "NoModel"),
            (OpenError::NoSuchPrecision { network: "recogniser", precision: Precision::Fp16 }.into(), "NoModel"),
            (OpenError::Engine(library).into(), "LoadFailed"),
            (LoadError::SelfTest(TrialError::Engine(run())), "LoadFailed"),
            (LoadError::SelfTest(TrialError::Page("nothing was read".to_owned())), "LoadFailed"),
            (LoadError::Golden(too_many), "LoadFailed"),
            (LoadError::Memory(Refusal { need: 2, have: 1 }), "OutOfMemory"),
            (OpenError::Engine(fakes::out_of_memory()).into(), "OutOfMemory"),
            (LoadError::Golden(GoldenError::Engine { name: name(), error: fakes::out_of_memory() }), "OutOfMemory"),
            (OpenError::Engine(provider).into(), "UnsupportedHardware"),
            (OpenError::Engine(fakes::device_lost()).into(), "UnsupportedHardware"),
            (LoadError::NoStrategy, "UnsupportedHardware"),
            (LoadError::SelfTest(TrialError::Decode(detail())), "Decode"),
            (LoadError::Golden(GoldenError::Undecodable { name: name(), cause: "as told".to_owned() }), "Decode"),
            (LoadError::Decode("too many processes".to_owned()), "Decode"),
            (OpenError::Engine(EngineError::Closed).into(), "Internal"),
        ];
        for (error, expected) in rows {
            assert_eq!(error.failure().as_str(), expected, "{error}");
        }
    }

    #[test]
    fn the_documentation_has_a_row_for_each_and_no_other() {
        let (_, section) = include_str!("../../../docs/errors.md").split_once("\n## ").unwrap();
        let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| `")).collect();
        let names: Vec<&str> = rows.iter().filter_map(|row| row.split('`').nth(1)).collect();
        assert_eq!(names, LoadFailure::ALL.map(LoadFailure::as_str));
    }

    #[test]
    fn a_bundle_that_is_not_there_is_no_model_and_a_damaged_one_fails_to_load() {
        let folder = tempfile::tempdir().unwrap();
        let absent = crate::models::open_model("none", folder.path()).unwrap_err();
        assert_eq!(LoadError::from(absent).failure(), LoadFailure::NoModel);
        std::fs::create_dir(folder.path().join("odd")).unwrap();
        std::fs::write(folder.path().join("odd/model.yaml"), "name: [").unwrap();
        let damaged = crate::models::open_model("odd", folder.path()).unwrap_err();
        assert_eq!(LoadError::from(damaged).failure(), LoadFailure::LoadFailed);
    }
}
