//! The operator as a process of the suite, with the chart's account, for clusters whose pods run nothing.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};
use rustix::process::{Pid, Signal};
use serde_json::{Value, json};

use super::{Cluster, RELEASE, SYSTEM};
use crate::{
    memory,
    metrics::Metrics,
    program::{self, under_test},
};

/// A replica. Asked to end when dropped, so that it gives its lease back and the next need not wait for it.
pub struct Operator {
    child: Child,
    /// Its name: in the lease, and in its `User-Agent`.
    pub name: String,
    metrics_port: u16,
    pub log: PathBuf,
    _folder: tempfile::TempDir,
}

impl Operator {
    /// Starts a replica with a token of the chart's account and the chart's configuration.
    ///
    /// # Errors
    /// If the chart is not installed, or the program does not start.
    pub fn start(cluster: &Cluster, name: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let config = cluster.get("ConfigMap", SYSTEM, RELEASE)?.context("the chart is not installed")?;
        let config_file = folder.path().join("config.yaml");
        fs::write(&config_file, config["data"]["config.yaml"].as_str().context("no configuration")?)?;
        let kubeconfig = folder.path().join("kubeconfig");
        write_kubeconfig(cluster, &kubeconfig)?;
        let [probes, metrics_port] = free_ports()?;
        let (log, file) = program::log_file(name)?;
        let child = Command::new(under_test("ocr-operator")?)
            .args(["run", "--metrics-auth", "none", "--config"])
            .arg(&config_file)
            .env("KUBECONFIG", &kubeconfig)
            .env("POD_NAME", name)
            .env("POD_NAMESPACE", SYSTEM)
            .env("OCR_OPERATOR_PROBE_PORT", probes.to_string())
            .env("OCR_OPERATOR_METRICS_PORT", metrics_port.to_string())
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .context("cannot start ocr-operator")?;
        Ok(Self { child, name: name.to_owned(), metrics_port, log, _folder: folder })
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal: `KILL`, `STOP`, `CONT` or `TERM`.
    ///
    /// # Errors
    /// If the process is gone.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("no process")?;
        Ok(rustix::process::kill_process(pid, signal)?)
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// If it has not within 20 s.
    pub fn wait(&mut self) -> anyhow::Result<()> {
        program::wait(&mut self.child, Duration::from_secs(20)).map(drop)
    }

    /// Its metrics.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn metrics(&self) -> anyhow::Result<Metrics> {
        // Its certificate is its own, made at its start. busybox is there because the cluster needs it.
        let url = format!("https://127.0.0.1:{}/metrics", self.metrics_port);
        let output =
            Command::new("busybox").args(["wget", "-q", "-O", "-", "--no-check-certificate", &url]).output()?;
        ensure!(output.status.success(), "no metrics: {}", String::from_utf8_lossy(&output.stderr));
        Metrics::parse(&String::from_utf8_lossy(&output.stdout))
    }

    /// Seconds of CPU time that it has used.
    ///
    /// # Errors
    /// If it is gone.
    pub fn cpu_seconds(&self) -> anyhow::Result<f64> {
        memory::tree_cpu_seconds(self.pid())
    }

    /// Its resident memory in bytes.
    ///
    /// # Errors
    /// If it is gone.
    pub fn resident_bytes(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
        Ok(kib * 1024)
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // Once its end was seen, its number may be another process's.
        let runs = matches!(self.child.try_wait(), Ok(None));
        if runs && (self.signal(Signal::TERM).is_err() || self.wait().is_err()) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A kubeconfig with the server of the administrator's and a token of the chart's account.
fn write_kubeconfig(cluster: &Cluster, file: &Path) -> anyhow::Result<()> {
    let text = fs::read_to_string(cluster.kubeconfig())?;
    let admin: Value = yaml_serde::from_str(&text)?;
    let token = cluster.token(SYSTEM, RELEASE)?;
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "operator",
        "clusters": admin["clusters"],
        "users": [{"name": "operator", "user": {"token": token}}],
        "contexts": [{"name": "operator", "context": {"cluster": admin["clusters"][0]["name"], "user": "operator"}}],
    });
    fs::write(file, serde_json::to_vec(&config)?)?;
    Ok(())
}

fn free_ports() -> anyhow::Result<[u16; 2]> {
    // Both at once, so that they differ.
    let listeners = [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?];
    Ok([listeners[0].local_addr()?.port(), listeners[1].local_addr()?.port()])
}
