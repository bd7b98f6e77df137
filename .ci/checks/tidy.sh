#!/bin/sh
# clang-tidy over the runtime and the compressor.
#
#   .ci/checks/tidy.sh <build folder with compile_commands.json>
set -eu
cd "$(dirname "$0")/../.."
git ls-files 'src/*.cpp' | xargs -P "$(nproc)" -n 4 clang-tidy --quiet -p "$1" --warnings-as-errors='*' 2> /dev/null
echo "tidy: clean"
