# Shared by the other scripts: announces steps with their number and the time left, and says what went wrong.
# Source it, call `plan "NAME=SECONDS" ...` once, then `step NAME COMMAND...` in the same order.
# The seconds are estimates from a cold machine with 2 cores; a warm one is faster.

STEP_NAMES=()
STEP_SECONDS=()
STEP_INDEX=0

plan() {
    local entry
    for entry in "$@"; do
        STEP_NAMES+=("${entry%=*}")
        STEP_SECONDS+=("${entry##*=}")
    done
}

# 95 -> "2 min", 40 -> "40 s"
human_seconds() {
    if (($1 < 90)); then echo "$1 s"; else echo "$((($1 + 59) / 60)) min"; fi
}

step() {
    local name="${STEP_NAMES[$STEP_INDEX]}" left=0 index started status
    for ((index = STEP_INDEX; index < ${#STEP_SECONDS[@]}; index++)); do
        left=$((left + STEP_SECONDS[index]))
    done
    STEP_INDEX=$((STEP_INDEX + 1))
    printf '\n==> step %d/%d: %s (at most about %s; %s left in all)\n' "$STEP_INDEX" "${#STEP_NAMES[@]}" "$name" \
        "$(human_seconds "${STEP_SECONDS[$((STEP_INDEX - 1))]}")" "$(human_seconds "$left")"
    started=$SECONDS
    "$@" && status=0 || status=$?
    if ((status == 0)); then
        printf '    done in %s\n' "$(human_seconds $((SECONDS - started)))"
    else
        printf '    FAILED after %s (exit code %d): %s\n' "$(human_seconds $((SECONDS - started)))" "$status" "$*" >&2
    fi
    return "$status"
}
