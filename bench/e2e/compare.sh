#!/bin/sh
# Compares two builds or models of minnow in turn (A B A B ...) and prints medians and their ratio.
#
#   bench/e2e/compare.sh 'build/a/bin/minnow bench -m a.mnw -p 512 -n 64' 'build/b/bin/minnow bench -m b.mnw -p 512 -n 64' [rounds]
#
# Each command gets --json -r 1 appended. Medians of 5 rounds; the machine should do nothing else meanwhile.
set -eu
first=$1
second=$2
rounds=${3:-5}
results=$(mktemp)
trap 'rm -f "$results"' EXIT
i=0
while [ "$i" -lt "$rounds" ]; do
  for side in A B; do
    if [ "$side" = A ]; then command=$first; else command=$second; fi
    printf '%s ' "$side" >> "$results"
    $command --json -r 1 >> "$results"
  done
  i=$((i + 1))
done
python3 - "$results" << 'END'
import json, statistics, sys
sides = {"A": [], "B": []}
for line in open(sys.argv[1]):
    side, text = line.split(" ", 1)
    sides[side].append(json.loads(text))
for key in ("prefill_tok_s", "decode_tok_s", "decode_percent_of_wall", "load_s", "peak_rss_bytes"):
    a, b = (statistics.median(r[key] for r in sides[s]) for s in "AB")
    print(f"{key:24} A {a:14.4g}  B {b:14.4g}  A/B {a / b if b else float('nan'):.3f}")
END
