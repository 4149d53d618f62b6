//! How bad input is refused, and too much of it.

use std::{
    io::{Read as _, Write as _},
    net::SocketAddr,
    time::Duration,
};

use anyhow::{Context, ensure};
use ocr_api::{ErrorCode, header};
use ocr_tests::{
    hostile,
    http::send,
    pdf,
    server::{Options, Server},
    work::in_parallel,
};
use reqwest::{Method, blocking::Body};

use crate::{scan_bytes, text_pdf};

/// A request that must be refused: what it is, the request, its code, and what the message must contain.
type Refused = (&'static str, reqwest::blocking::RequestBuilder, ErrorCode, &'static [&'static str]);

#[expect(clippy::too_many_lines, reason = "a table")]
fn bad_requests(server: &Server) -> anyhow::Result<Vec<Refused>> {
    let kind = |name: &str| -> anyhow::Result<Vec<u8>> {
        Ok(hostile::kinds(1).into_iter().find(|kind| kind.name == name).with_context(|| name.to_owned())?.bytes)
    };
    let post = |path: &str| server.api().request(Method::POST, path);
    let form = |part: &'static str, bytes: Vec<u8>| {
        let part_body = reqwest::blocking::multipart::Part::bytes(bytes).file_name("a.png");
        post("/v1/ocr").multipart(reqwest::blocking::multipart::Form::new().part(part, part_body))
    };
    let mut jpeg = scan_bytes()?;
    jpeg.truncate(jpeg.len() / 2);
    let encrypted = kind("pdf_encrypted")?;
    Ok(vec![
        ("an empty body", post("/v1/ocr"), ErrorCode::EmptyBody, &[]),
        ("a file of 0 bytes", form("file", Vec::new()), ErrorCode::EmptyBody, &["file"]),
        ("a form without the part", form("image", scan_bytes()?), ErrorCode::BadRequest, &["image", "file"]),
        ("a truncated JPEG", post("/v1/ocr").body(jpeg), ErrorCode::Undecodable, &["JPEG"]),
        (
            "random bytes called an image",
            post("/v1/ocr").header("content-type", "image/png").body(kind("random")?),
            ErrorCode::UnsupportedMedia,
            &["PDF"],
        ),
        (
            "random bytes after a PNG's first",
            post("/v1/ocr").body(kind("random_after_png_magic")?),
            ErrorCode::Undecodable,
            &["PNG"],
        ),
        (
            "a PNG of 65,000 x 65,000",
            post("/v1/ocr").body(kind("png_65000_by_65000")?),
            ErrorCode::TooManyPixels,
            &["4225000000", "50000000"],
        ),
        (
            "a PDF without its password",
            post("/v1/ocr").body(encrypted.clone()),
            ErrorCode::PasswordRequired,
            &["X-Ocr-Document-Password"],
        ),
        (
            "a PDF with a wrong password",
            post("/v1/ocr").header(header::DOCUMENT_PASSWORD, "guess").body(encrypted),
            ErrorCode::PasswordWrong,
            &["password"],
        ),
        ("a PDF of 0 pages", post("/v1/ocr").body(kind("pdf_of_0_pages")?), ErrorCode::Undecodable, &[]),
        (
            "a PDF of 100,000 pages",
            post("/v1/ocr").body(kind("pdf_of_100000_pages")?),
            ErrorCode::TooManyPages,
            &["200"],
        ),
        ("a page range outside", post("/v1/ocr?pages=2-9").body(text_pdf(3)), ErrorCode::PageOutOfRange, &["3"]),
        ("page 0", post("/v1/ocr?pages=0").body(text_pdf(1)), ErrorCode::BadRequest, &["pages", "1"]),
        ("a range that runs backwards", post("/v1/ocr?pages=3-1").body(text_pdf(3)), ErrorCode::BadRequest, &["3-1"]),
        ("a wrong method", server.api().request(Method::GET, "/v1/ocr"), ErrorCode::MethodNotAllowed, &["Allow"]),
        ("a wrong method of a probe", post("/live"), ErrorCode::MethodNotAllowed, &["Allow"]),
        ("a wrong path", post("/v2/ocr").body(text_pdf(1)), ErrorCode::NotFound, &["/openapi.json"]),
        ("a path upwards", post("/v1/ocr/../../etc/passwd").body(text_pdf(1)), ErrorCode::NotFound, &[]),
        (
            "an unknown format",
            post("/v1/ocr?format=docx").body(text_pdf(1)),
            ErrorCode::UnknownFormat,
            &["docx", "ndjson"],
        ),
        (
            "an unknown type to accept",
            post("/v1/ocr").header("accept", "image/png").body(text_pdf(1)),
            ErrorCode::UnknownFormat,
            &["application/json"],
        ),
        (
            "an unknown parameter",
            post("/v1/ocr?page=1").body(text_pdf(1)),
            ErrorCode::UnknownParameter,
            &["page", "pages"],
        ),
        ("a password in the URL", post("/v1/ocr?password=hunter2").body(text_pdf(1)), ErrorCode::UnknownParameter, &[]),
        (
            "a resolution that is none",
            post("/v1/ocr?dpi=many").body(text_pdf(1)),
            ErrorCode::BadRequest,
            &["dpi", "many"],
        ),
        (
            "a confidence above 1",
            post("/v1/ocr?min_confidence=2").body(text_pdf(1)),
            ErrorCode::BadRequest,
            &["min_confidence"],
        ),
        (
            "an orientation of 45",
            post("/v1/ocr?orientation=45").body(text_pdf(1)),
            ErrorCode::BadRequest,
            &["orientation", "auto"],
        ),
        (
            "a time limit that is none",
            post("/v1/ocr").header(header::TIMEOUT_SECONDS, "soon").body(text_pdf(1)),
            ErrorCode::BadRequest,
            &["seconds"],
        ),
    ])
}

pub fn bad_input(server: &Server) -> anyhow::Result<()> {
    let mut wrong = Vec::new();
    for (name, request, code, bits) in bad_requests(server)? {
        let answer = send(request).with_context(|| name)?;
        match answer.error() {
            Ok(body) => {
                let message = &body.error.message;
                if body.error.code != code
                    || message.is_empty()
                    || message.contains("hunter2")
                    || message.contains("guess")
                {
                    wrong.push(format!("{name}: not {code}: {}", answer.describe()));
                }
                if let Some(bit) = bits.iter().find(|bit| !message.contains(**bit)) {
                    wrong.push(format!("{name}: no {bit:?} in {message:?}"));
                }
                if body.request_id != answer.header(header::REQUEST_ID) || body.request_id.is_empty() {
                    wrong.push(format!("{name}: request id {:?}", body.request_id));
                }
                if code == ErrorCode::MethodNotAllowed && answer.header("allow").is_empty() {
                    wrong.push(format!("{name}: no Allow"));
                }
            }
            Err(error) => wrong.push(format!("{name}: {error:#}")),
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("; "));
    ensure!(server.api().read(text_pdf(1))?.text == "This is sheet 1", "the server reads no more");
    Ok(())
}

pub fn too_large(server: &Server) -> anyhow::Result<()> {
    const LENGTH: usize = 11 << 20;
    let with_length = send(server.api().request(Method::POST, "/v1/ocr").body(vec![0xff; LENGTH]))?;
    let without = Body::new(std::io::repeat(0xff).take(LENGTH as u64));
    let without_length = send(server.api().request(Method::POST, "/v1/ocr").body(without))?;
    let in_a_form = server.api().post_form("/v1/ocr", "file", "large.bin", vec![0xff; LENGTH])?;
    for answer in [with_length, without_length, in_a_form] {
        let error = answer.error()?.error;
        ensure!(error.code == ErrorCode::TooLarge && error.message.contains("10"), "{}", answer.describe());
    }
    Ok(())
}

pub fn timeout(server: &Server) -> anyhow::Result<()> {
    let scan = pdf::scan_pages(&scan_bytes()?, (1000, 1520), 60);
    let answer = send(server.api().request(Method::POST, "/v1/ocr").header(header::TIMEOUT_SECONDS, "1").body(scan))?;
    let error = answer.error()?.error;
    ensure!(error.code == ErrorCode::Timeout, "{}", answer.describe());
    ensure!(error.message.contains("timed out after 1 second"), "{}", error.message);
    ensure!(answer.elapsed < Duration::from_secs(3), "{:?}", answer.elapsed);
    Ok(())
}

/// Sends bytes and takes what comes back until the server closes, 5 s at most.
fn raw(server: &Server, bytes: &[u8]) -> anyhow::Result<String> {
    let mut stream = std::net::TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], server.port())))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    // A server may refuse a head before it was sent whole: a reset is an answer as well.
    let _ = stream.write_all(bytes).and_then(|()| stream.shutdown(std::net::Shutdown::Write));
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

pub fn broken_http(server: &Server) -> anyhow::Result<()> {
    let long_head = format!("GET /live HTTP/1.1\r\nHost: a\r\nX-Long: {}\r\n\r\n", "x".repeat(1 << 20));
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/ocr HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf",
        b"POST /v1/ocr HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/ocr HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /v1/ocr HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 4\r\n\r\n--b\r",
        long_head.as_bytes(),
    ] {
        let answer = raw(server, bytes)?;
        ensure!(!answer.contains(" 500 "), "{:?}: {answer}", String::from_utf8_lossy(&bytes[..bytes.len().min(60)]));
    }
    ensure!(server.api().get("/live")?.status == 200, "the server is not alive");
    Ok(())
}

pub fn overloaded() -> anyhow::Result<()> {
    let server = Server::start(&Options::new().arguments(["--concurrency", "1", "--queue", "1"]))?;
    let scan = pdf::scan_pages(&scan_bytes()?, (1000, 1520), 3);
    let answers = in_parallel(&[(); 6], 6, |_, ()| server.api().post("/v1/ocr", scan.clone()));
    let (mut read, mut refused) = (0, 0);
    for answer in answers {
        let answer = answer?;
        if answer.status == 200 {
            read += 1;
            continue;
        }
        let error = answer.error()?.error;
        ensure!(error.code == ErrorCode::Overloaded, "{}", answer.describe());
        let seconds: u64 = answer.header("retry-after").parse().with_context(|| answer.describe())?;
        ensure!((1..=300).contains(&seconds), "Retry-After {seconds}");
        ensure!(answer.elapsed < Duration::from_secs(1), "refused after {:?}", answer.elapsed);
        refused += 1;
    }
    ensure!(read >= 2 && refused >= 3, "{read} read, {refused} refused");
    ensure!(server.api().get("/ready")?.status == 200, "overload is no reason to be unready");
    Ok(())
}
