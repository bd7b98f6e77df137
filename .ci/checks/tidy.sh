#!/bin/sh
# clang-tidy over the runtime and the compressor.
#
#   .ci/checks/tidy.sh <build folder with compile_commands.json>
set -eu
cd "$(dirname "$0")/../.."
# clang cannot read the precompiled headers of another compiler, and files have to stand without them anyway.
commands=$(mktemp -d)
trap 'rm -rf "$commands"' EXIT
sed -E 's/-Winvalid-pch +-include +[^ ]*cmake_pch[^ ]*//g' "$1/compile_commands.json" > "$commands/compile_commands.json"
git ls-files 'src/*.cpp' |
  xargs -P "$(nproc)" -n 4 clang-tidy --quiet -p "$commands" --warnings-as-errors='*' 2> /dev/null
echo "tidy: clean"
