#!/usr/bin/env bash
# Peak memory and CPU time of ingests of many small rows: benches/ingest_memory.sh DSCTL [ROWS ...]
# For each number of rows a text file (a row a line) is ingested, and at the end a JSONL manifest of half the last number, a
# text file of as many lines that are refused when they are read, and a manifest of as many rows that the listing refuses.
# Memory is polled every 20 ms from /proc: RssAnon is what the process itself holds, VmHWM its peak with mapped files.
set -euo pipefail
dsctl=$(realpath "$1")
shift
[ $# -gt 0 ] || set -- 400000 2000000
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

measure() { # measure NAME FILE [FLAGS ...]
    local name=$1 anonymous=0 resident=0 now peak
    shift
    rm -rf "$work/out"
    ( TIMEFORMAT='%U %S'; time "$dsctl" ingest --quiet "$@" "$work/out" >"$work/said" ) 2>"$work/time" &
    local shell=$!
    while kill -0 "$shell" 2>/dev/null; do
        for pid in $(pgrep -P "$shell" -f ingest || true); do
            read -r now peak < <(awk '/^RssAnon/ {a = $2} /^VmHWM/ {h = $2} END {print a + 0, h + 0}' "/proc/$pid/status" 2>/dev/null || echo 0 0)
            if [ "${now:-0}" -gt "$anonymous" ]; then anonymous=$now; fi
            if [ "${peak:-0}" -gt "$resident" ]; then resident=$peak; fi
        done
        sleep 0.02
    done
    wait "$shell"
    echo "$name: $((anonymous / 1024)) MiB anonymous, $((resident / 1024)) MiB resident, CPU s (user, system): $(tail -1 "$work/time")"
}

for rows in "$@"; do
    awk -v n="$rows" 'BEGIN {for (i = 0; i < n; i++) printf "row %d: the quick brown fox jumps over the lazy dog\n", i}' >"$work/lines.txt"
    measure "text, $rows rows" --format text "$work/lines.txt"
done
half=$((${!#} / 2))
awk -v n="$half" 'BEGIN {for (i = 0; i < n; i++) printf "{\"text\": \"row %d of a manifest\", \"label\": \"c%d\"}\n", i, i % 10}' >"$work/rows.jsonl"
measure "JSONL, $half rows" "$work/rows.jsonl"
{ echo "a good row"; awk -v n="$half" 'BEGIN {for (i = 0; i < n; i++) printf "row %d \xff\n", i}'; } >"$work/bad.txt"
measure "text, $half refused rows" --format text --max-errors 100% "$work/bad.txt"
{ echo '{"text": "a good row"}'; awk -v n="$half" 'BEGIN {for (i = 0; i < n; i++) printf "{\"text\": \"row %d\n", i}'; } >"$work/bad.jsonl"
measure "JSONL, $half refused rows" --max-errors 100% "$work/bad.jsonl"
