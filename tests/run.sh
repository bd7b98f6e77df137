#!/bin/sh
# Installs what is missing, builds, and runs the tests. docs/testing.md says what each tier covers.
#
#   tests/run.sh            all tests on this machine
#   tests/run.sh --ci       and: kernel and unit tests under ASan+UBSan, the threaded ones under TSan, kernels and
#                           fixtures on emulated 64-bit Arm
#   tests/run.sh --full     and: everything under every sanitizer and on every emulated Arm, the fuzzers
#
# Tests that want larger data read the folder named by MINNOW_DATA and say so when they skip.
set -eu
cd "$(dirname "$0")/.."

tier=${1:-native}
case $tier in
  native | --ci | --full) ;;
  *) echo "usage: tests/run.sh [--ci | --full]" >&2; exit 2 ;;
esac

jobs=$(nproc)
failed=""

step() {
  printf '\n== %s (%s s)\n' "$1" "$(($(date +%s) - started))"
}
started=$(date +%s)

# build <preset> <targets> [cmake options...]
build() {
  preset=$1
  targets=$2
  shift 2
  launcher=""
  # A compiler cache does better on whole files than on what is left beside precompiled headers.
  command -v ccache > /dev/null &&
    launcher="-DCMAKE_CXX_COMPILER_LAUNCHER=ccache -DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON"
  cmake --preset "$preset" $launcher "$@" > /dev/null
  # shellcheck disable=SC2086  # one word a target
  cmake --build "build/$preset" -j "$jobs" --target $targets -- --quiet
}

# run <preset> <what> [ctest options...]
run() {
  preset=$1
  what=$2
  shift 2
  step "$what"
  ctest --test-dir "build/$preset" --output-on-failure -j "$jobs" --no-tests=error "$@" || failed="$failed
  $what"
}

./toolchains/install_packages.sh build test

step "build"
build release all
run release "all tests"

if [ "$tier" != native ]; then
  export ASAN_OPTIONS=detect_stack_use_after_return=1:allocator_may_return_null=1
  export UBSAN_OPTIONS=print_stacktrace=1
  export TSAN_OPTIONS=halt_on_error=1

  step "build with ASan and UBSan"
  if [ "$tier" = --full ]; then
    build asan all -DMINNOW_BUILD_BENCH=OFF
    run asan "all tests under ASan and UBSan"
  else
    build asan unit_tests -DMINNOW_BUILD_BENCH=OFF
    run asan "kernel and unit tests under ASan and UBSan" -L 'kernel|unit' -LE slow
  fi

  step "build with TSan"
  if [ "$tier" = --full ]; then
    build tsan all -DMINNOW_BUILD_BENCH=OFF
    run tsan "all tests under TSan" -LE kernel
  else
    build tsan test_threads -DMINNOW_BUILD_BENCH=OFF
    run tsan "threaded tests under TSan" -L threads
  fi

  ./toolchains/install_packages.sh arm64
  ./toolchains/arm64_sysroot.sh
  step "build for 64-bit Arm"
  if [ "$tier" = --full ]; then
    build arm64-qemu all -DMINNOW_BUILD_BENCH=OFF -DMINNOW_QEMU_CPU=max
    # Models of many megabytes would keep an emulator busy for hours: without the larger data.
    MINNOW_DATA="" run arm64-qemu "all tests on emulated Arm (max)"
  else
    build arm64-qemu "test_kernels test_golden" -DMINNOW_BUILD_BENCH=OFF -DMINNOW_QEMU_CPU=max
    run arm64-qemu "kernels and fixtures on emulated Arm (max)" -L 'kernel|fixture' -LE slow
  fi
  for cpu in cortex-a53 cortex-a76; do
    build arm64-qemu "test_kernels test_golden" -DMINNOW_QEMU_CPU=$cpu
    if [ "$tier" = --full ]; then
      run arm64-qemu "kernels and fixtures on emulated Arm ($cpu)" -L 'kernel|fixture'
    else
      run arm64-qemu "kernels on emulated Arm ($cpu)" -L kernel
    fi
  done
fi

if [ "$tier" = --full ]; then
  ./toolchains/install_packages.sh clang
  step "fuzz targets, 60 s each"
  build fuzz all
  build/fuzz/bin/make_seeds build/fuzz/corpus
  for target in build/fuzz/bin/fuzz_*; do
    corpus=build/fuzz/corpus/$(basename "$target")
    mkdir -p "$corpus"
    "$target" -max_total_time=60 -timeout=10 -rss_limit_mb=2048 -verbosity=0 -print_final_stats=1 "$corpus" || failed="$failed
  $(basename "$target")"
  done
fi

step "done"
if [ -n "$failed" ]; then
  echo "FAILED:$failed"
  exit 1
fi
echo "all green"
