//! `ocr serve` as a process: its settings from the environment, its exit codes, its ports.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failure should stop the test")]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

fn ocr(variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ocr"));
    command.env_clear().envs(variables.iter().copied()).stdin(Stdio::null());
    command
}

/// Runs `ocr serve` with variables that must stop its start.
fn refused(variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = ocr(variables).arg("serve").output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[test]
fn an_unknown_variable_stops_the_start_with_its_name_and_the_nearest() {
    let (code, says) = refused(&[("OCR_QEUE", "3")]);
    assert_eq!(code, Some(2));
    assert!(says.contains("OCR_QEUE") && says.contains("OCR_QUEUE"), "{says}");
}

#[test]
fn a_bad_value_stops_the_start_with_its_variable() {
    for (name, value) in [
        ("OCR_PORT", "99999"),
        ("OCR_PORT", "8100/tcp"),
        ("OCR_MAX_BODY", "ten"),
        ("OCR_REQUEST_SECONDS", "3601"),
        ("OCR_ORIENTATION", "45"),
        ("OCR_LANGUAGES", "en,english"),
        ("OCR_BATCHING", "maybe"),
        ("OCR_LOG_LEVEL", "loud"),
    ] {
        let (code, says) = refused(&[(name, value)]);
        assert_eq!(code, Some(2), "{name}={value}");
        assert!(says.contains(name), "{says}");
    }
}

#[test]
fn a_port_in_use_has_an_exit_code_of_its_own() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let command = ["serve", "--listen", "127.0.0.1", "--admin-port", "0", "--port", &port];
    let Output { status, stdout, .. } = ocr(&[]).args(command).output().unwrap();
    let said = String::from_utf8(stdout).unwrap();
    assert_eq!(status.code(), Some(3), "{said}");
    assert!(said.contains("CannotListen") && said.contains(&port) && said.contains("--port"), "{said}");
}

#[test]
fn help_names_each_flag_with_its_variable() {
    let Output { status, stdout, .. } = ocr(&[]).args(["serve", "--help"]).output().unwrap();
    let help = String::from_utf8(stdout).unwrap();
    assert!(status.success());
    for word in ["--max-body", "OCR_MAX_BODY", "--drain-delay-seconds", "OCR_ADMIN_PORT", "[default: 8100]"] {
        assert!(help.contains(word), "{word}");
    }
}

/// A server that is ended with the test.
struct Serving {
    child: Child,
    api: SocketAddr,
    admin: SocketAddr,
    started: Instant,
}

impl Serving {
    fn start(variables: &[(&str, &str)]) -> Self {
        let started = Instant::now();
        let arguments = ["serve", "--listen", "127.0.0.1", "--port", "0", "--admin-port", "0"];
        let mut child = ocr(variables).args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let listening: Value = lines
            .by_ref()
            .map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap())
            .find(|event| event["message"] == "listening")
            .unwrap();
        // A pipe that nobody reads would hold the server up once it is full.
        std::thread::spawn(move || lines.for_each(drop));
        let address = |field: &str| listening[field].as_str().unwrap().parse().unwrap();
        Self { api: address("address"), admin: address("admin_address"), child, started }
    }

    fn signal(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_server_is_alive_within_a_second_and_ends_well_when_told() {
    let mut serving = Serving::start(&[("OCR_DRAIN_DELAY_SECONDS", "0")]);
    assert!(get(serving.api, "/live").ends_with(r#"{"status":"alive"}"#));
    assert!(serving.started.elapsed() < Duration::from_secs(1), "{:?}", serving.started.elapsed());
    assert!(get(serving.admin, "/metrics").contains("ocr_build_info"));
    assert!(get(serving.admin, "/status").contains("\"hardware\""));
    assert!(get(serving.api, "/metrics").starts_with("HTTP/1.1 404"), "the admin's alone");
    serving.signal();
    assert_eq!(serving.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_service_named_ocr_does_not_move_the_port() {
    let injected = [
        ("OCR_PORT", "tcp://10.0.0.1:8100"),
        ("OCR_SERVICE_HOST", "10.0.0.1"),
        ("OCR_SERVICE_PORT", "8100"),
        ("OCR_PORT_8100_TCP_ADDR", "10.0.0.1"),
    ];
    let serving = Serving::start(&injected);
    assert!(get(serving.api, "/live").starts_with("HTTP/1.1 200"));
}
