#!/usr/bin/env bash
# From a clean checkout to the text of a real scan and a real PDF.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/steps.sh

SCAN=examples/documents/senate-1871.jpg
PDF=examples/documents/optical-character-recognition.pdf
# One phrase of each document: examples/documents/README.md.
SCAN_PHRASE='regulations for the consular courts of the United States in Japan'
PDF_PHRASE='Emanuel Goldberg developed a machine'

system() { scripts/setup.sh; }
build() { make --no-print-directory build; }
assets() { make --no-print-directory assets PROFILE=release; }
read_documents() {
    local text
    text=$(target/release/ocr read "$SCAN" "$PDF")
    printf '%s\n\n' "$text"
    local phrase missing=0
    for phrase in "$SCAN_PHRASE" "$PDF_PHRASE"; do
        if grep -qF "$phrase" <<<"$text"; then
            echo "read: $phrase"
        else
            echo "not read: $phrase" >&2
            missing=1
        fi
    done
    return "$missing"
}

plan "install what is missing=60" "build the program=300" "bring models and native libraries=90" "read $SCAN and $PDF=10"
step system
step build
step assets
step read_documents
cat <<END

Next:
  target/release/ocr read --help          files, folders, standard input; text, JSON, ndjson, TSV
  target/release/ocr serve                the same over HTTP, on port 8100
  curl --data-binary @$SCAN http://127.0.0.1:8100/v1/ocr
END
