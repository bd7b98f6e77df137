#!/bin/sh
# Every source is formatted by .clang-format.
set -eu
cd "$(dirname "$0")/../.."
git ls-files '*.cpp' '*.h' '*.c' | xargs clang-format --dry-run --Werror
echo "format: clean"
