#!/usr/bin/env bash
# Fuzzes the C++ example's reader of receiver.json with libFuzzer, under the address and undefined-behaviour sanitizers.
#
#   tools/fuzz_cpp.sh [SECONDS]
#
# Needs clang and its compiler-rt (Debian: clang libclang-rt-dev); says so where they are absent, and goes on. What breaks it is written to
# build/fuzz/receiver_json/.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60} out=build/fuzz/receiver_json
clang=$(command -v clang++ || compgen -c clang++- | sort -V | tail -n 1 || true)
if [ -z "$clang" ]; then
  echo "receiver_json: not run, there is no clang++; on Debian: apt-get install clang"
  exit 0
fi
mkdir -p "$out/new"
"$clang" -std=c++20 -g -O1 -fsanitize=fuzzer,address,undefined,float-cast-overflow -fno-sanitize-recover=all -Icpp/examples \
  tests/fuzz/receiver_json.cpp -o "$out/run"
"$out/run" -max_total_time="$seconds" -max_len=4096 -artifact_prefix="$out/" -print_final_stats=1 "$out/new" tests/fuzz/corpus/receiver_json \
  2>&1 | grep -E "ERROR|SUMMARY|runtime error|number_of_executed_units|^#[0-9]+.*DONE|artifact"
