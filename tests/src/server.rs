//! The real server as a child process on free loopback ports.

use std::{
    ffi::OsString,
    fs,
    net::TcpListener,
    path::PathBuf,
    process::{Child, ExitStatus, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use ocr_api::PodStatus;

use crate::{
    http::{Answer, Http},
    metrics::Metrics,
    program,
};

/// Longest wait for `/ready` on a busy machine; how soon it must come is for a suite to say.
const READY: Duration = Duration::from_mins(1);

/// How a server is to be started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    arguments: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
}

impl Options {
    /// Everything at its default.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds arguments of `ocr serve`.
    #[must_use]
    pub fn arguments(mut self, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets a variable of the server's environment.
    #[must_use]
    pub fn variable(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }
}

/// A running server; killed when dropped.
pub struct Server {
    child: Child,
    api: Http,
    admin: Http,
    port: u16,
    started: Instant,
    log: PathBuf,
}

impl Server {
    /// Starts a server and waits until it is ready.
    ///
    /// # Errors
    /// If it does not start, or is not ready within a minute.
    pub fn start(options: &Options) -> anyhow::Result<Self> {
        let mut server = Self::launch(options)?;
        server.wait_ready(READY)?;
        Ok(server)
    }

    /// Starts a server and returns at once.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn launch(options: &Options) -> anyhow::Result<Self> {
        let [port, admin_port] = free_ports()?;
        let (log, log_file) = program::log_file("serve")?;
        let errors = log_file.try_clone().context("cannot share the log file")?;
        let (port_text, admin_text) = (port.to_string(), admin_port.to_string());
        let mut command = program::command([
            "serve",
            "--listen",
            "127.0.0.1",
            "--port",
            &port_text,
            "--admin-port",
            &admin_text,
            "--drain-delay-seconds",
            "0",
        ]);
        command.args(&options.arguments).envs(options.variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(log_file).stderr(errors);
        let started = Instant::now();
        let child = command.spawn().context("cannot start ocr serve; build it: make test does")?;
        Ok(Self {
            child,
            api: Http::new(format!("http://127.0.0.1:{port}"))?,
            admin: Http::new(format!("http://127.0.0.1:{admin_port}"))?,
            port,
            started,
            log,
        })
    }

    /// Waits until `/live` answers 200; returns how long that took from the start.
    ///
    /// # Errors
    /// If the server ends or does not answer within `limit`.
    pub fn wait_live(&mut self, limit: Duration) -> anyhow::Result<Duration> {
        self.wait_for("/live", limit)
    }

    /// Waits until `/ready` answers 200; returns how long that took from the start.
    ///
    /// # Errors
    /// If the server ends or is not ready within `limit`.
    pub fn wait_ready(&mut self, limit: Duration) -> anyhow::Result<Duration> {
        self.wait_for("/ready", limit)
    }

    fn wait_for(&mut self, path: &str, limit: Duration) -> anyhow::Result<Duration> {
        loop {
            let answer = self.api.get(path);
            if matches!(&answer, Ok(answer) if answer.status == 200) {
                return Ok(self.started.elapsed());
            }
            if let Some(status) = self.child.try_wait().context("cannot wait for the server")? {
                bail!("the server ended with {status}: {}", self.log_tail());
            }
            if self.started.elapsed() > limit {
                let last = answer.map_or_else(|error| format!("{error:#}"), |answer| answer.describe());
                bail!("no 200 from {path} within {limit:?}, last {last}; log: {}", self.log_tail());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The port of the API and the probes.
    #[must_use]
    pub fn api(&self) -> &Http {
        &self.api
    }

    /// The port of `/metrics` and `/status`.
    #[must_use]
    pub fn admin(&self) -> &Http {
        &self.admin
    }

    /// Number of the API's port on 127.0.0.1, for raw connections.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Fails if the server has ended: whoever restarts it would have another process id.
    ///
    /// # Errors
    /// With the last lines of its log.
    pub fn still_runs(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait().context("cannot wait for the server")? {
            None => Ok(()),
            Some(status) => bail!("the server ended with {status}: {}", self.log_tail()),
        }
    }

    /// Scrapes `/metrics`.
    ///
    /// # Errors
    /// If it does not answer with metrics.
    pub fn metrics(&self) -> anyhow::Result<Metrics> {
        let answer: Answer = self.admin.get("/metrics")?;
        ensure!(answer.status == 200, "no metrics: {}", answer.describe());
        Metrics::parse(&answer.text())
    }

    /// Reads `/status`.
    ///
    /// # Errors
    /// If it does not answer with a status.
    pub fn status(&self) -> anyhow::Result<PodStatus> {
        let answer = self.admin.get("/status")?;
        ensure!(answer.status == 200, "no status: {}", answer.describe());
        serde_json::from_slice(&answer.body).with_context(|| format!("not a status: {}", answer.describe()))
    }

    /// Polls `condition` until it is true; returns how long that took.
    ///
    /// # Errors
    /// If it is not true within `limit`, with `what` was waited for.
    pub fn wait_until(
        &self,
        what: &str,
        limit: Duration,
        mut condition: impl FnMut(&PodStatus) -> bool,
    ) -> anyhow::Result<Duration> {
        let started = Instant::now();
        loop {
            let status = self.status()?;
            if condition(&status) {
                return Ok(started.elapsed());
            }
            ensure!(started.elapsed() < limit, "not {what} within {limit:?}: {:?}", status.work);
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends SIGTERM.
    ///
    /// # Errors
    /// If the server has ended.
    pub fn terminate(&self) -> anyhow::Result<()> {
        program::terminate(self.pid())
    }

    /// Waits for the server to end.
    ///
    /// # Errors
    /// If it does not within `limit`.
    pub fn wait_exit(&mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        program::wait(&mut self.child, limit).with_context(|| self.log_tail())
    }

    /// All that the server has logged so far.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn log(&self) -> anyhow::Result<String> {
        let log = fs::read(&self.log).with_context(|| format!("cannot read {}", self.log.display()))?;
        Ok(String::from_utf8_lossy(&log).into_owned())
    }

    fn log_tail(&self) -> String {
        let log = self.log().unwrap_or_else(|error| error.to_string());
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(5)..].join(" | ")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server that the cases of a suite share, started by the first that needs it.
#[derive(Default)]
pub struct SharedServer {
    options: Options,
    server: OnceLock<Result<Server, String>>,
}

impl SharedServer {
    /// Not started yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options, server: OnceLock::new() }
    }

    /// The server, started if it was not.
    ///
    /// # Errors
    /// If it could not be started, the same error for every case.
    pub fn get(&self) -> anyhow::Result<&Server> {
        let server = self.server.get_or_init(|| Server::start(&self.options).map_err(|error| format!("{error:#}")));
        server.as_ref().map_err(|error| anyhow::anyhow!("{error}"))
    }
}

/// Two ports that nobody listens on. Another process could take one before the server does; that start fails and says so.
fn free_ports() -> anyhow::Result<[u16; 2]> {
    let port = |listener: &TcpListener| Ok::<_, anyhow::Error>(listener.local_addr()?.port());
    let (first, second) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    Ok([port(&first)?, port(&second)?])
}
