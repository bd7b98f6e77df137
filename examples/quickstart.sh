#!/bin/sh
# Installs what is missing, builds minnow, compresses the bundled model and lets it write.
set -eu
cd "$(dirname "$0")/.."

./toolchains/install_packages.sh build
cmake -S . -B build/quickstart -G Ninja -DCMAKE_BUILD_TYPE=Release -DMINNOW_BUILD_TESTS=OFF \
  -DMINNOW_BUILD_BENCH=OFF --log-level=WARNING
cmake --build build/quickstart

minnow=build/quickstart/bin/minnow
$minnow compress examples/models/books-7m -o build/books-7m.mnw
echo
$minnow complete -m build/books-7m.mnw -p "The old captain looked out over the harbour and said" -n 120 --temp 0.7 --seed 1
