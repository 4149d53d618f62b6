//! A suite: cases that run one after the other, and are left out visibly where what they need is not there.

use std::{process::ExitCode, time::Instant};

use libtest_mimic::{Arguments, Failed, Trial};

/// The cases of a suite.
#[derive(Default)]
pub struct Suite {
    trials: Vec<Trial>,
}

impl Suite {
    /// No case yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a case. Its name is a sentence.
    pub fn case(&mut self, name: &str, body: impl FnOnce() -> anyhow::Result<()> + Send + 'static) {
        let timed = move || {
            let started = Instant::now();
            let outcome = body();
            print!("({:.1} s) ", started.elapsed().as_secs_f64());
            outcome.map_err(|error| Failed::from(format!("{error:#}")))
        };
        self.trials.push(Trial::test(name, timed));
    }

    /// Adds a case that needs something; where that is missing the case is reported as ignored, with the reason.
    /// Whether it runs is decided here, before any case does.
    pub fn case_with<T: Send + 'static>(
        &mut self,
        need: Result<T, String>,
        name: &str,
        body: impl FnOnce(T) -> anyhow::Result<()> + Send + 'static,
    ) {
        match need {
            Ok(need) => self.case(name, move || body(need)),
            Err(reason) => {
                eprintln!("ignored: {name}: {reason}");
                self.trials.push(Trial::test(name, || Ok(())).with_ignored_flag(true));
            }
        }
    }

    /// Runs the cases in order, one at a time: they measure.
    #[must_use]
    pub fn run(self) -> ExitCode {
        if self.passes(1) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// Runs so many cases at a time: those that mostly wait, and do not mind each other. False if one failed.
    #[must_use]
    pub fn passes(self, at_a_time: usize) -> bool {
        let mut arguments = Arguments::from_args();
        arguments.test_threads = Some(at_a_time);
        // Figures are the point of many cases, so they are not captured.
        arguments.nocapture = true;
        // A case that was ignored for what it needs must not run because somebody asked for ignored tests.
        arguments.include_ignored = false;
        arguments.ignored = false;
        !libtest_mimic::run(&arguments, self.trials).has_failed()
    }
}
