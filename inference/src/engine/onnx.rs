//! ONNX Runtime, loaded from a library that is named at run time.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use ort::{
    environment::Environment,
    session::{
        RunOptions, Session,
        builder::{GraphOptimizationLevel, SessionBuilder},
    },
    value::{TensorElementType, TensorRef, ValueType},
};

use super::{Array, Engine, EngineError, Placement, Provider, Stop, Tensor};

/// What the library was opened as. It allows one environment in the life of a process, ended or not, so an attempt to load
/// a model must find the one of the attempt before it.
static OPENED: Mutex<Option<(PathBuf, Environment)>> = Mutex::new(None);

/// The library, opened once and kept for the life of the process.
#[derive(Clone, Debug)]
pub struct OnnxRuntime {
    environment: Environment,
}

/// How a network is opened.
#[derive(Clone, Debug)]
pub struct OnnxSettings {
    /// Name in errors.
    pub network: &'static str,
    pub path: PathBuf,
    /// Threads that share one run; the engine's own thread is one of them.
    pub threads: usize,
    /// Give memory back after every run. For networks whose input has another size each time: ONNX Runtime would keep
    /// the largest of every size seen (measured: 302 MB peak became 240 MB between pages, at no cost in time).
    pub shrink: bool,
    pub provider: Provider,
    /// Shapes that are run once when the network is opened, so that no page pays for the first run of its shape. Where the
    /// provider is not the CPU, ONNX Runtime records meanwhile what runs where.
    pub warm_up: Vec<[usize; 4]>,
}

/// A network in ONNX Runtime.
pub struct OnnxEngine {
    settings: OnnxSettings,
    placement: Option<Placement>,
    session: Session,
    input: String,
    outputs: Vec<String>,
}

impl OnnxRuntime {
    /// Opens the library, or takes it as it was opened before.
    ///
    /// # Errors
    /// [`EngineError::Library`] where it is missing, of another architecture, or older than the API that we need, and where
    /// another one was opened before.
    pub fn load(library: &Path) -> Result<Self, EngineError> {
        let failed = |cause: String| EngineError::Library { path: library.to_owned(), cause };
        let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((path, environment)) = &*opened {
            return if path == library {
                Ok(Self { environment: environment.clone() })
            } else {
                Err(failed(format!("this process has opened {} already", path.display())))
            };
        }
        let environment = ort::environment::init_from(library)
            .map_err(|error| failed(error.to_string()))?
            .with_name("ocr")
            .with_telemetry(false)
            .build()
            .map_err(|error| failed(error.to_string()))?;
        *opened = Some((library.to_owned(), environment.clone()));
        Ok(Self { environment })
    }

    /// Which build the library is, in its own words. Only after [`OnnxRuntime::load`].
    #[must_use]
    pub fn build() -> String {
        ort::info().trim_start_matches("ORT Build Info: ").to_owned()
    }

    /// Opens a network on the calling thread.
    ///
    /// # Errors
    /// [`EngineError::Provider`] where the provider cannot be set up, else [`EngineError::Open`] or
    /// [`EngineError::OutOfMemory`].
    pub fn open(&self, settings: OnnxSettings) -> Result<OnnxEngine, EngineError> {
        let session = self.session(&settings)?;
        let single = |cause: &str| EngineError::Open { path: settings.path.clone(), cause: cause.to_owned() };
        let input = match session.inputs() {
            [input] => input.name().to_owned(),
            _ => return Err(single("the network has more than one input, expected one")),
        };
        let outputs = session.outputs().iter().map(|output| output.name().to_owned()).collect();
        let mut engine = OnnxEngine { settings, placement: None, session, input, outputs };
        engine.warm_up()?;
        Ok(engine)
    }

    fn session(&self, settings: &OnnxSettings) -> Result<Session, EngineError> {
        let failed = |error: ort::Error| match EngineError::of_run(settings.network, error.to_string()) {
            EngineError::Run { cause, .. } => EngineError::Open { path: settings.path.clone(), cause },
            error => error,
        };
        settings.provider.prepare()?;
        let mut builder = self.builder(settings).map_err(failed)?;
        if settings.is_recorded() {
            builder = builder.with_profiling(profile_prefix()).map_err(|error| failed(error.into()))?;
        }
        builder
            .with_execution_providers(settings.provider.dispatch())
            .map_err(|error| EngineError::Provider { provider: settings.provider.name(), cause: error.to_string() })?
            .commit_from_file(&settings.path)
            .map_err(failed)
    }

    fn builder(&self, settings: &OnnxSettings) -> ort::Result<SessionBuilder> {
        let builder = Session::builder(&self.environment)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(settings.threads)?
            .with_inter_threads(1)?
            // Threads that spin while they wait would take the cores from the other stages.
            .with_intra_op_spinning(false)?
            // A pattern is kept for every input size ever seen; ours differ from page to page.
            .with_memory_pattern(false)?;
        Ok(builder)
    }
}

impl OnnxSettings {
    fn is_recorded(&self) -> bool {
        !matches!(self.provider, Provider::Cpu { .. }) && !self.warm_up.is_empty()
    }
}

/// A pod can write nowhere but to its shared memory.
fn profile_prefix() -> PathBuf {
    let shared = Path::new("/dev/shm");
    let folder = if shared.is_dir() { shared.to_owned() } else { std::env::temp_dir() };
    folder.join(format!("ocr-profile-{}", std::process::id()))
}

impl OnnxEngine {
    fn warm_up(&mut self) -> Result<(), EngineError> {
        for shape in self.settings.warm_up.clone() {
            let tensor = Tensor { shape, data: vec![0.0; shape.iter().product()] };
            self.run(&tensor, &Stop::default())?;
        }
        if self.settings.is_recorded() {
            let failed = |cause: String| EngineError::Open { path: self.settings.path.clone(), cause };
            let file = self.session.end_profiling().map_err(|error| failed(error.to_string()))?;
            let json = std::fs::read(&file).map_err(|error| failed(format!("no record in {file}: {error}")))?;
            let _ = std::fs::remove_file(&file);
            let placement = Placement::of_profile(&json).map_err(|error| failed(format!("no record: {error}")))?;
            self.placement = Some(placement);
        }
        Ok(())
    }

    /// Names of the outputs, in order.
    #[must_use]
    pub fn output_names(&self) -> &[String] {
        &self.outputs
    }

    /// Declared dimensions of the input; -1 where they are free.
    #[must_use]
    pub fn input_shape(&self) -> Vec<i64> {
        match self.session.inputs().first().map(ort::value::Outlet::dtype) {
            Some(ValueType::Tensor { shape, .. }) => shape.to_vec(),
            _ => Vec::new(),
        }
    }
}

impl Engine for OnnxEngine {
    fn placement(&self) -> Option<&Placement> {
        self.placement.as_ref()
    }

    fn run(&mut self, batch: &Tensor, stop: &Stop) -> Result<Vec<Array>, EngineError> {
        let network = self.settings.network;
        let failed = |error: ort::Error| EngineError::of_run(network, error.to_string());
        let mut options = RunOptions::new().map_err(failed)?;
        if self.settings.shrink {
            options.set("memory.enable_memory_arena_shrinkage", self.settings.provider.arena()).map_err(failed)?;
        }
        let options = std::sync::Arc::new(options);
        let ending = std::sync::Arc::clone(&options);
        // A failure to end the run leaves it to end by itself.
        if !stop.arm(move || drop(ending.terminate())) {
            return Err(EngineError::Stopped);
        }
        let input = TensorRef::from_array_view((batch.shape, batch.data.as_slice())).map_err(failed)?;
        let result = self.session.run_with_options(ort::inputs![self.input.as_str() => input], &options);
        let outputs = match result {
            Ok(outputs) => outputs,
            Err(_) if stop.is_stopped() => return Err(EngineError::Stopped),
            Err(error) => return Err(failed(error)),
        };
        self.outputs
            .iter()
            .map(|name| {
                let value = &outputs[name.as_str()];
                if value.dtype().tensor_type() == Some(TensorElementType::Int64) {
                    let (shape, data) = value.try_extract_tensor::<i64>().map_err(failed)?;
                    Ok(Array::Int { shape: lengths(shape), data: data.to_vec() })
                } else {
                    let (shape, data) = value.try_extract_tensor::<f32>().map_err(failed)?;
                    Ok(Array::Float { shape: lengths(shape), data: data.to_vec() })
                }
            })
            .collect()
    }
}

/// The dimensions of a computed tensor, which are never negative.
fn lengths(shape: &[i64]) -> Vec<usize> {
    shape.iter().map(|&length| usize::try_from(length).unwrap_or(0)).collect()
}
