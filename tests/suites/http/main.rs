//! The API over HTTP.

mod answers;
mod operation;
mod refusals;

use std::{process::ExitCode, sync::Arc};

use ocr_tests::{
    data::{self, SCAN},
    pdf,
    server::{Options, Server, SharedServer},
    suite::Suite,
};

type Case = fn(&Server) -> anyhow::Result<()>;

fn main() -> ExitCode {
    let server = Arc::new(SharedServer::new(Options::new()));
    let mut suite = Suite::new();
    let cases: [(&str, Case); 21] = [
        ("a_scan_is_answered_with_every_field", answers::scan),
        ("a_pdf_is_answered_page_by_page_with_its_resolution", answers::pages_of_a_pdf),
        ("the_three_routes_give_the_same_base_answer", answers::routes),
        ("a_form_is_read_by_its_part_file_whatever_the_file_is_called", answers::forms),
        ("each_format_is_given_by_parameter_and_by_accept", answers::formats),
        ("an_ndjson_stream_ends_with_a_status_line", answers::ndjson),
        ("an_animated_gif_is_read_by_its_first_frame", answers::animated_gif),
        ("a_blank_page_has_no_lines_and_says_that_it_is_blank", answers::blank),
        ("parameters_change_what_is_read", answers::parameters),
        ("bad_input_is_refused_with_its_code_and_what_to_do", refusals::bad_input),
        ("a_body_over_the_limit_is_refused_with_and_without_a_length", refusals::too_large),
        ("a_request_that_takes_too_long_is_answered_in_time", refusals::timeout),
        ("a_request_id_is_taken_over_or_made", operation::request_id),
        ("the_probes_have_their_exact_bodies", operation::probes),
        ("metrics_have_the_names_that_are_promised", operation::metrics),
        ("status_tells_the_model_that_answers_name", operation::status),
        ("the_stand_in_for_pods_answers_as_a_server_does", operation::recorded),
        ("the_page_of_a_proof_counts_nowhere", operation::proof_page),
        ("the_admin_paths_are_not_on_the_public_port", operation::ports),
        ("the_description_names_every_path_and_resolves", operation::openapi),
        ("broken_http_does_not_hurt", refusals::broken_http),
    ];
    for (name, case) in cases {
        let server = Arc::clone(&server);
        suite.case(name, move || case(server.get()?));
    }
    suite.case("a_full_queue_is_answered_at_once_with_when_to_come_again", refusals::overloaded);
    suite.case("an_unknown_variable_stops_the_start_with_its_name", operation::unknown_variable);
    suite.case("variables_that_kubernetes_injects_do_not_stop_the_start", operation::injected_variables);
    suite.case("the_log_has_the_events_and_nothing_of_a_document", operation::log);
    suite.run()
}

fn scan_bytes() -> anyhow::Result<Vec<u8>> {
    data::read(data::example(SCAN))
}

fn text_pdf(pages: usize) -> Vec<u8> {
    pdf::text_pages(&(1..=pages).map(|page| vec![format!("This is sheet {page}")]).collect::<Vec<_>>())
}
