//! The API over HTTP: what is answered, in which form, and how bad input is refused.

use std::{
    io::{Cursor, Read as _},
    net::SocketAddr,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, ensure};
use image::{Delay, DynamicImage, Frame, GenericImageView as _, ImageFormat, Rgba, RgbaImage, codecs::gif::GifEncoder};
use ocr_api::{ErrorCode, HealthStatus, Warning, header};
use ocr_tests::{
    data::{self, PDF, PDF_PHRASE, SCAN, SCAN_PHRASE},
    hostile,
    http::{Answer, Http, comparable, send},
    pdf,
    server::{Options, Server, SharedServer},
    suite::Suite,
    work::in_parallel,
};
use reqwest::{Method, blocking::Body};
use serde_json::{Value, json};

type Case = fn(&Server) -> anyhow::Result<()>;

fn main() -> ExitCode {
    let server = Arc::new(SharedServer::new(Options::new()));
    let mut suite = Suite::new();
    let cases: [(&str, Case); 19] = [
        ("a_scan_is_answered_with_every_field", scan),
        ("a_pdf_is_answered_page_by_page_with_its_resolution", pages_of_a_pdf),
        ("the_three_routes_give_the_same_base_answer", routes),
        ("a_form_is_read_by_its_part_file_whatever_the_file_is_called", forms),
        ("each_format_is_given_by_parameter_and_by_accept", formats),
        ("an_ndjson_stream_ends_with_a_status_line", ndjson),
        ("an_animated_gif_is_read_by_its_first_frame", animated_gif),
        ("a_blank_page_has_no_lines_and_says_that_it_is_blank", blank),
        ("parameters_change_what_is_read", parameters),
        ("bad_input_is_refused_with_its_code_and_what_to_do", bad_input),
        ("a_body_over_the_limit_is_refused_with_and_without_a_length", too_large),
        ("a_request_that_takes_too_long_is_answered_in_time", timeout),
        ("a_request_id_is_taken_over_or_made", request_id),
        ("the_probes_have_their_exact_bodies", probes),
        ("metrics_have_the_names_that_are_promised", metrics),
        ("status_tells_the_model_that_answers_name", status),
        ("the_admin_paths_are_not_on_the_public_port", ports),
        ("the_description_names_every_path_and_resolves", openapi),
        ("broken_http_does_not_hurt", broken_http),
    ];
    for (name, case) in cases {
        let server = Arc::clone(&server);
        suite.case(name, move || case(server.get()?));
    }
    suite.case("a_full_queue_is_answered_at_once_with_when_to_come_again", overloaded);
    suite.case("an_unknown_variable_stops_the_start_with_its_name", unknown_variable);
    suite.case("variables_that_kubernetes_injects_do_not_stop_the_start", injected_variables);
    suite.case("the_log_has_the_events_and_nothing_of_a_document", log);
    suite.run()
}

fn scan_bytes() -> anyhow::Result<Vec<u8>> {
    data::read(data::example(SCAN))
}

fn text_pdf(pages: usize) -> Vec<u8> {
    pdf::text_pages(&(1..=pages).map(|page| vec![format!("This is sheet {page}")]).collect::<Vec<_>>())
}

fn scan(server: &Server) -> anyhow::Result<()> {
    let answer = server.api().post("/v1/ocr", scan_bytes()?)?;
    ensure!(answer.header("content-type").starts_with("application/json"), "{}", answer.header("content-type"));
    let document = answer.document()?;
    ensure!(document.success && document.page_count == 1 && document.pages.len() == 1, "{}", answer.describe());
    ensure!(document.text.contains(SCAN_PHRASE), "{}", document.text);
    ensure!(document.request_id == answer.header(header::REQUEST_ID), "{}", document.request_id);
    ensure!(document.model.name == "pp-ocrv6-small", "{:?}", document.model);
    ensure!(document.model.digest.starts_with("sha256:") && document.model.digest.len() == 71, "{:?}", document.model);
    ensure!(document.line_count == document.lines.len(), "{} lines", document.line_count);
    ensure!(
        document.processing_time_ms > 0 && u128::from(document.processing_time_ms) <= answer.elapsed.as_millis() + 1,
        "{}",
        document.processing_time_ms
    );
    let page = &document.pages[0];
    ensure!((page.image_width, page.image_height) == (1000, 1520), "{} x {}", page.image_width, page.image_height);
    ensure!(
        page.success && page.page_number == 1 && page.dpi.is_none() && page.orientation == 0,
        "{}",
        answer.describe()
    );
    ensure!(page.line_count == page.lines.len() && page.line_count > 30, "{} lines", page.line_count);
    // Lines side by side are one line of the text.
    let joined = page.lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>().join(" ");
    ensure!(page.text.replace('\n', " ") == joined && document.text == page.text, "the text is not that of the lines");
    let lines = f64::from(u32::try_from(page.lines.len())?);
    let mean = page.lines.iter().map(|line| f64::from(line.confidence)).sum::<f64>() / lines;
    ensure!((mean - f64::from(page.avg_confidence)).abs() < 0.01 && mean > 0.9, "{mean} {}", page.avg_confidence);
    for line in &page.lines {
        ensure!((0.0..=1.0).contains(&line.confidence), "{line:?}");
        ensure!(line.bbox.iter().all(|[x, y]| (-1.0..=1001.0).contains(x) && (-1.0..=1521.0).contains(y)), "{line:?}");
        let words = line.words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ");
        ensure!(words == line.text.split_whitespace().collect::<Vec<_>>().join(" "), "{line:?}");
    }
    let raw = answer.json()?;
    let page = &raw["pages"][0];
    for (field, empty) in [("markdown", json!("")), ("html", json!("")), ("json_output", json!({}))] {
        ensure!(page[field] == empty, "{field} is {}", page[field]);
    }
    ensure!(nulls(&raw) == 0, "the answer has nulls: {raw}");
    Ok(())
}

fn nulls(value: &Value) -> usize {
    match value {
        Value::Null => 1,
        Value::Array(items) => items.iter().map(nulls).sum(),
        Value::Object(fields) => fields.values().map(nulls).sum(),
        _ => 0,
    }
}

fn pages_of_a_pdf(server: &Server) -> anyhow::Result<()> {
    let one = server.api().read(data::read(data::example(PDF))?)?;
    ensure!(one.text.contains(PDF_PHRASE), "{}", one.text);
    ensure!(one.pages[0].dpi == Some(150), "{:?}", one.pages[0].dpi);
    let three = server.api().read(text_pdf(3))?;
    ensure!(three.page_count == 3, "{}", three.page_count);
    ensure!(three.text == "This is sheet 1\u{c}This is sheet 2\u{c}This is sheet 3", "{:?}", three.text);
    let numbers: Vec<u32> = three.pages.iter().map(|page| page.page_number).collect();
    ensure!(numbers == [1, 2, 3], "{numbers:?}");
    let of_lines: Vec<u32> = three.lines.iter().map(|line| line.page_number).collect();
    ensure!(of_lines == [1, 2, 3], "{of_lines:?}");
    // 612 x 792 points at 150 dpi.
    ensure!((three.pages[0].image_width, three.pages[0].image_height) == (1275, 1650), "{:?}", three.pages[0]);
    Ok(())
}

fn routes(server: &Server) -> anyhow::Result<()> {
    let base = comparable(&server.api().read(text_pdf(1))?)?;
    for route in ["/v1/ocr/receipt", "/v1/parse"] {
        let answer = server.api().post(route, text_pdf(1))?;
        ensure!(comparable(&answer.document()?)? == base, "{route}: {}", answer.describe());
    }
    Ok(())
}

fn forms(server: &Server) -> anyhow::Result<()> {
    let base = comparable(&server.api().read(text_pdf(1))?)?;
    for name in ["invoice.pdf", "../../etc/passwd", "two\nlines\r\n.pdf", "", "\u{202e}fdp.exe", &"long".repeat(500)] {
        let answer = server.api().post_form("/v1/ocr", "file", name, text_pdf(1))?;
        // A line break inside a header breaks the form.
        if name.contains('\n') && answer.status != 200 {
            ensure!(answer.error()?.error.code == ErrorCode::BadRequest, "{name:?}: {}", answer.describe());
            continue;
        }
        ensure!(comparable(&answer.document()?)? == base, "{name:?}: {}", answer.describe());
    }
    Ok(())
}

fn get_format(server: &Server, path: &str, accept: Option<&str>) -> anyhow::Result<Answer> {
    let mut request = server.api().request(Method::POST, path).body(text_pdf(2));
    if let Some(accept) = accept {
        request = request.header("accept", accept);
    }
    let answer = send(request)?;
    ensure!(answer.status == 200, "{path} {accept:?}: {}", answer.describe());
    Ok(answer)
}

fn formats(server: &Server) -> anyhow::Result<()> {
    for (format, media) in [
        ("json", "application/json"),
        ("text", "text/plain"),
        ("ndjson", "application/x-ndjson"),
        ("tsv", "text/tab-separated-values"),
    ] {
        for answer in [
            get_format(server, &format!("/v1/ocr?format={format}"), None)?,
            get_format(server, "/v1/ocr", Some(media))?,
            get_format(server, &format!("/v1/ocr?format={format}"), Some("application/json"))?,
        ] {
            ensure!(answer.header("content-type").starts_with(media), "{format}: {}", answer.header("content-type"));
            ensure!(answer.text().contains("This is sheet 2"), "{format}: {}", answer.describe());
        }
    }
    let text = get_format(server, "/v1/ocr?format=text", None)?.text();
    ensure!(text.trim_end() == "This is sheet 1\u{c}This is sheet 2", "{text:?}");
    get_format(server, "/v1/ocr", Some("*/*"))?.document()?;
    Ok(())
}

fn ndjson(server: &Server) -> anyhow::Result<()> {
    let answer = get_format(server, "/v1/ocr?format=ndjson", None)?;
    let text = answer.text();
    let objects = text.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>().context(text.clone())?;
    let [first, second, end] = objects.as_slice() else { anyhow::bail!("{} objects: {text}", objects.len()) };
    for (object, page) in [(first, 1), (second, 2)] {
        ensure!(object["page"] == page && object["success"] == true, "{object}");
        ensure!(object["file"] == answer.header(header::REQUEST_ID), "{object}");
        ensure!(object["lines"][0]["bbox"].as_array().is_some_and(|bbox| bbox.len() == 4), "{object}");
    }
    ensure!(end["status"] == "done" && end["success"] == true && end["pages"] == 2 && end["failed"] == 0, "{end}");
    Ok(())
}

fn encoded(picture: &DynamicImage, format: ImageFormat) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format)?;
    Ok(bytes.into_inner())
}

fn animated_gif(server: &Server) -> anyhow::Result<()> {
    let scan = image::load_from_memory(&scan_bytes()?)?;
    // The head of the page down to the title, and a second frame without anything.
    let head = scan.crop_imm(100, 200, 800, 300);
    let white = RgbaImage::from_pixel(head.width(), head.height(), Rgba([255; 4]));
    let mut bytes = Vec::new();
    {
        let mut encoder = GifEncoder::new_with_speed(&mut bytes, 30);
        let delay = Delay::from_numer_denom_ms(100, 1);
        for frame in [head.to_rgba8(), white] {
            encoder.encode_frame(Frame::from_parts(frame, 0, 0, delay))?;
        }
    }
    let document = server.api().read(bytes)?;
    ensure!(document.page_count == 1, "{} pages", document.page_count);
    ensure!(document.text.contains("UNITED STATES"), "{}", document.text);
    Ok(())
}

fn blank(server: &Server) -> anyhow::Result<()> {
    for (name, colour) in [("white", [255; 3]), ("grey", [128; 3]), ("black", [0; 3])] {
        let picture = image::RgbImage::from_pixel(800, 600, image::Rgb(colour));
        let answer = server.api().post("/v1/ocr", encoded(&picture.into(), ImageFormat::Png)?)?;
        let document = answer.document()?;
        let page = &document.pages[0];
        ensure!(
            document.success && document.line_count == 0 && document.text.is_empty(),
            "{name}: {}",
            answer.describe()
        );
        ensure!(page.warnings.contains(&Warning::Blank), "{name}: {:?}", page.warnings);
        ensure!(
            document.avg_confidence.abs().max(page.avg_confidence.abs()) < f32::EPSILON,
            "{name}: {}",
            answer.describe()
        );
    }
    Ok(())
}

fn parameters(server: &Server) -> anyhow::Result<()> {
    let ask = |query: &str, body: Vec<u8>| server.api().post(&format!("/v1/ocr?{query}"), body)?.document();
    let some = ask("pages=2-3,5", text_pdf(6))?;
    let numbers: Vec<u32> = some.pages.iter().map(|page| page.page_number).collect();
    ensure!(numbers == [2, 3, 5] && some.page_count == 6, "{numbers:?} of {}", some.page_count);
    let fine = ask("dpi=200", text_pdf(1))?;
    ensure!(fine.pages[0].dpi == Some(200) && fine.pages[0].image_width == 1700, "{:?}", fine.pages[0]);
    let all = server.api().read(scan_bytes()?)?;
    let sure = ask("min_confidence=0.99", scan_bytes()?)?;
    ensure!(
        sure.line_count < all.line_count && sure.lines.iter().all(|line| line.confidence >= 0.99),
        "{}",
        sure.line_count
    );
    // A page that lies on its head is turned by the model, and by hand; boxes stay in its own pixels.
    let scan = image::load_from_memory(&scan_bytes()?)?;
    let turned = encoded(&scan.rotate180(), ImageFormat::Png)?;
    for (query, orientation) in [("orientation=auto", 180), ("orientation=180", 180)] {
        let document = ask(query, turned.clone())?;
        ensure!(document.text.contains(SCAN_PHRASE), "{query}: {}", document.text);
        let page = &document.pages[0];
        ensure!(page.orientation == orientation, "{query}: {}", page.orientation);
        let first = page.lines.first().context("no line")?;
        ensure!(first.bbox[0][1] > 1_200.0, "{query}: the first line of the text stands below: {:?}", first.bbox);
    }
    let (width, height) = scan.dimensions();
    let left = ask("orientation=auto", encoded(&scan.rotate270(), ImageFormat::Png)?)?;
    ensure!(left.text.contains(SCAN_PHRASE) && left.pages[0].orientation == 90, "{}", left.pages[0].orientation);
    ensure!(
        (left.pages[0].image_width, left.pages[0].image_height) == (height, width),
        "{:?}",
        left.pages[0].image_width
    );
    Ok(())
}

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

fn bad_input(server: &Server) -> anyhow::Result<()> {
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

fn too_large(server: &Server) -> anyhow::Result<()> {
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

fn timeout(server: &Server) -> anyhow::Result<()> {
    let scan = pdf::scan_pages(&scan_bytes()?, (1000, 1520), 60);
    let answer = send(server.api().request(Method::POST, "/v1/ocr").header(header::TIMEOUT_SECONDS, "1").body(scan))?;
    let error = answer.error()?.error;
    ensure!(error.code == ErrorCode::Timeout, "{}", answer.describe());
    ensure!(error.message.contains("timed out after 1 second"), "{}", error.message);
    ensure!(answer.elapsed < Duration::from_secs(3), "{:?}", answer.elapsed);
    Ok(())
}

fn request_id(server: &Server) -> anyhow::Result<()> {
    let ask = |id: Option<&str>| -> anyhow::Result<(String, String)> {
        let mut request = server.api().request(Method::POST, "/v1/ocr").body(text_pdf(1));
        if let Some(id) = id {
            request = request.header(header::REQUEST_ID, id);
        }
        let answer = send(request)?;
        Ok((answer.header(header::REQUEST_ID).to_owned(), answer.document()?.request_id))
    };
    ensure!(ask(Some("abc-4711"))? == ("abc-4711".to_owned(), "abc-4711".to_owned()), "not taken over");
    let (first, second) = (ask(None)?, ask(None)?);
    ensure!(first.0 == first.1 && first.0.len() == 36 && first.0 != second.0, "{first:?} {second:?}");
    let long = "x".repeat(1_000);
    ensure!(ask(Some(&long))?.0.len() == 36, "a long id was taken over");
    Ok(())
}

fn probes(server: &Server) -> anyhow::Result<()> {
    for (path, body) in [("/live", r#"{"status":"alive"}"#), ("/ready", r#"{"ready":true,"models_loaded":true}"#)] {
        let answer = server.api().get(path)?;
        ensure!(answer.status == 200 && answer.text() == body, "{path}: {}", answer.describe());
        ensure!(answer.header("content-type").starts_with("application/json"), "{path}");
    }
    let answer = server.api().get("/health")?;
    let raw = answer.json()?;
    for field in ["status", "models_loaded", "available_endpoints", "memory_mb", "uptime_seconds", "version", "load"] {
        ensure!(raw.get(field).is_some_and(|value| !value.is_null()), "no {field} in {raw}");
    }
    let health: ocr_api::Health = serde_json::from_value(raw)?;
    ensure!(health.status == HealthStatus::Healthy && health.models_loaded, "{health:?}");
    ensure!(health.memory_mb > 50 && health.load.stage_number == health.load.stages, "{health:?}");
    for endpoint in &health.available_endpoints {
        let (method, path) = endpoint.split_once(' ').context("an endpoint is METHOD path")?;
        let answer = send(server.api().request(method.parse()?, path))?;
        ensure!(![404, 405].contains(&answer.status), "{endpoint}: {}", answer.describe());
    }
    Ok(())
}

fn metrics(server: &Server) -> anyhow::Result<()> {
    let before = server.metrics()?;
    server.api().post_form("/v1/ocr", "file", "planted-name.pdf", text_pdf(2))?.document()?;
    server.api().post("/v1/ocr", "not a picture")?.error()?;
    let after = server.metrics()?;
    for name in [
        "ocr_requests_total",
        "ocr_processing_seconds",
        "ocr_pages_total",
        "ocr_lines_total",
        "ocr_rejected_total",
        "ocr_queue_depth",
        "ocr_in_flight",
        "ocr_units_total",
        "ocr_busy_seconds_total",
        "ocr_stage_seconds",
        "ocr_decode_process_deaths_total",
        "ocr_model_info",
        "ocr_model_load_stage",
        "ocr_build_info",
        "process_resident_memory_bytes",
    ] {
        ensure!(after.has(name), "no {name} among {:?}", after.names());
    }
    let requests = after.sum("ocr_requests_total")? - before.sum("ocr_requests_total")?;
    ensure!((requests - 2.0).abs() < 0.5, "{requests} requests were counted");
    let pages = after.sum("ocr_pages_total")? - before.sum("ocr_pages_total")?;
    ensure!((pages - 2.0).abs() < 0.5, "{pages} pages were counted");
    for name in ["ocr_units_total", "ocr_busy_seconds_total"] {
        ensure!(after.sum(name)? > before.sum(name)?, "{name} stands still");
    }
    ensure!(!after.label_values().any(|value| value.contains("planted")), "a label has the name of a file");
    let code = |code: &str| {
        after.named("ocr_requests_total").any(|sample| sample.labels.get("code").is_some_and(|have| have == code))
    };
    ensure!(ErrorCode::ALL.iter().all(|known| code(known.as_str())) && code("ok"), "a code has no counter");
    Ok(())
}

fn status(server: &Server) -> anyhow::Result<()> {
    let status = server.status()?;
    let model = status.model.context("no model")?;
    ensure!(model.model == server.api().read(text_pdf(1))?.model, "{model:?}");
    ensure!(status.sandbox.seccomp && status.sandbox.processes > 0, "{:?}", status.sandbox);
    ensure!(status.hardware.cpu_threads > 0 && status.hardware.cpu_ram_gb > 0.0, "{:?}", status.hardware);
    ensure!(status.engine.execution_provider.to_lowercase().contains("cpu"), "{:?}", status.engine);
    ensure!(status.memory.peak_resident_bytes >= status.memory.resident_bytes, "{:?}", status.memory);
    ensure!(!status.work.draining && status.work.pages > 0, "{:?}", status.work);
    Ok(())
}

fn ports(server: &Server) -> anyhow::Result<()> {
    for path in ["/metrics", "/status"] {
        let answer = server.api().get(path)?;
        ensure!(answer.error()?.error.code == ErrorCode::NotFound, "{path}: {}", answer.describe());
    }
    Ok(())
}

fn openapi(server: &Server) -> anyhow::Result<()> {
    let answer = server.api().get("/openapi.json")?;
    let description = answer.json()?;
    ensure!(description["openapi"].as_str().is_some_and(|version| version.starts_with("3.")), "{}", answer.describe());
    let health: ocr_api::Health = serde_json::from_slice(&server.api().get("/health")?.body)?;
    for endpoint in &health.available_endpoints {
        let (method, path) = endpoint.split_once(' ').context("an endpoint is METHOD path")?;
        let method = method.to_lowercase();
        // What a person looks at needs no description.
        let described = ["/", "/openapi.json"].contains(&path) || description["paths"][path][&method].is_object();
        ensure!(described, "{endpoint} is not described");
    }
    let text = answer.text();
    for reference in text.split("\"$ref\":\"").skip(1) {
        let pointer = reference.split('"').next().unwrap_or_default();
        let target = pointer.strip_prefix('#').and_then(|pointer| description.pointer(pointer));
        ensure!(target.is_some(), "{pointer} leads nowhere");
    }
    let codes = text.matches("too_many_pixels").count();
    ensure!(codes > 0, "the error codes are not described");
    Ok(())
}

/// Sends bytes and takes what comes back until the server closes, 5 s at most.
fn raw(server: &Server, bytes: &[u8]) -> anyhow::Result<String> {
    use std::io::Write as _;
    let mut stream = std::net::TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], server.port())))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    // A server may refuse a head before it was sent whole: a reset is an answer as well.
    let _ = stream.write_all(bytes).and_then(|()| stream.shutdown(std::net::Shutdown::Write));
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn broken_http(server: &Server) -> anyhow::Result<()> {
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

fn overloaded() -> anyhow::Result<()> {
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

fn unknown_variable() -> anyhow::Result<()> {
    let mut server = Server::launch(&Options::new().variable("OCR_MODLE", "pp-ocrv6-tiny"))?;
    let status = server.wait_exit(Duration::from_secs(10))?;
    ensure!(!status.success(), "ended with {status}");
    let log = server.log()?;
    ensure!(log.contains("OCR_MODLE") && log.contains("OCR_MODEL"), "{log}");
    Ok(())
}

fn injected_variables() -> anyhow::Result<()> {
    let mut options = Options::new();
    for service in ["OCR", "OCR_GATEWAY", "OCR_PORT"] {
        for (name, value) in [
            ("SERVICE_HOST", "10.0.0.1"),
            ("SERVICE_PORT", "8100"),
            ("SERVICE_PORT_HTTP", "8100"),
            ("PORT", "tcp://10.0.0.1:8100"),
            ("PORT_8100_TCP", "tcp://10.0.0.1:8100"),
            ("PORT_8100_TCP_PROTO", "tcp"),
            ("PORT_8100_TCP_PORT", "8100"),
            ("PORT_8100_TCP_ADDR", "10.0.0.1"),
        ] {
            options = options.variable(format!("{service}_{name}"), value);
        }
    }
    let server = Server::start(&options)?;
    ensure!(server.api().get("/ready")?.status == 200, "not ready");
    Ok(())
}

fn log() -> anyhow::Result<()> {
    let mut server = Server::start(&Options::new().arguments(["--log-level", "trace"]))?;
    let body = pdf::text_pages(&[vec!["PLANTEDTEXT 4711".into()]]);
    let read = server.api().post_form("/v1/ocr", "file", "planted-name.pdf", body.clone())?.document()?;
    ensure!(read.text.contains("PLANTEDTEXT"), "{}", read.text);
    let with_header = |path: &str, body: Vec<u8>| -> anyhow::Result<Answer> {
        let request: &Http = server.api();
        send(
            request
                .request(Method::POST, path)
                .header(header::DOCUMENT_PASSWORD, "planted-password")
                .header(header::REQUEST_ID, "known-request")
                .body(body),
        )
    };
    with_header("/v1/ocr", body)?;
    with_header("/v1/ocr?planted-parameter=planted-value", Vec::new())?;
    with_header("/planted-path", Vec::new())?;
    with_header("/v1/ocr", b"%PDF-1.7 planted-bytes".to_vec())?;
    server.terminate()?;
    server.wait_exit(Duration::from_secs(20))?;
    let log = server.log()?;
    for planted in ["PLANTED", "planted"] {
        ensure!(!log.contains(planted), "{}", log.lines().find(|line| line.contains(planted)).unwrap_or_default());
    }
    ensure!(log.contains("known-request"), "the request id is not in the log");
    for event in ["loading", "models loaded", "ocr processing time", "memory usage"] {
        ensure!(log.to_lowercase().contains(event), "no {event:?} in the log: {log}");
    }
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))?;
        ensure!(line["timestamp"].is_string() && line["level"].is_string() && line["message"].is_string(), "{line}");
    }
    Ok(())
}
