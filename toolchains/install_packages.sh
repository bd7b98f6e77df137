#!/bin/sh
# Installs the Debian packages that building minnow takes, those of them that are missing.
#
#   toolchains/install_packages.sh [build] [test] [arm64] [clang]      default: build
set -eu

build="g++ cmake ninja-build pkg-config flatbuffers-compiler libflatbuffers-dev libcpuinfo-dev libpthreadpool-dev
  libxnnpack-dev libpcre2-dev libutf8proc-dev libxxhash-dev nlohmann-json3-dev libcli11-dev libeigen3-dev"
test="libgtest-dev libgmock-dev libbenchmark-dev python3"
arm64="g++-aarch64-linux-gnu qemu-user"
clang="clang clang-format clang-tidy libclang-rt-14-dev"

wanted=""
for set in "${@:-build}"; do
  case $set in
    build) wanted="$wanted $build" ;;
    test) wanted="$wanted $test" ;;
    arm64) wanted="$wanted $arm64" ;;
    clang) wanted="$wanted $clang" ;;
    *) echo "install_packages: unknown set '$set'; known: build test arm64 clang" >&2; exit 2 ;;
  esac
done

missing=""
for package in $wanted; do
  dpkg-query -W -f '${Status}' "$package" 2> /dev/null | grep -q 'ok installed' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

command -v apt-get > /dev/null || {
  echo "install_packages: apt-get is missing; install by hand:$missing" >&2
  exit 1
}
root=""
if [ "$(id -u)" != 0 ]; then
  command -v sudo > /dev/null || {
    echo "install_packages: run as root, or install by hand:$missing" >&2
    exit 1
  }
  root=sudo
fi
echo "installing$missing"
$root apt-get update -qq
# shellcheck disable=SC2086  # one word a package
$root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing > /dev/null
