#!/bin/sh
# Makes a directory of arm64 Debian packages to cross-compile against and to run under QEMU. Nothing is installed:
# apt keeps its state inside the directory, packages are only unpacked. Run again at any time: quick when done.
#
#   toolchains/arm64_sysroot.sh [directory]        default: build/sysroot-arm64
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
root=${1:-$here/build/sysroot-arm64}
packages="
  libc6 libstdc++6 libgcc-s1
  libflatbuffers-dev libflatbuffers2
  libpthreadpool-dev libpthreadpool0 libcpuinfo-dev libcpuinfo0
  libxnnpack-dev libxnnpack0 libfxdiv-dev libfp16-dev
  libpcre2-dev libpcre2-8-0 libutf8proc-dev libutf8proc2
  libxxhash-dev libxxhash0 nlohmann-json3-dev libcli11-dev libeigen3-dev
  libgtest-dev libgmock-dev googletest libbenchmark-dev libbenchmark1debian"

fail() {
  echo "arm64_sysroot: $1" >&2
  exit 1
}

for tool in apt-get dpkg-deb; do
  command -v "$tool" > /dev/null || fail "$tool is missing: this script needs Debian or Ubuntu"
done

mkdir -p "$root/.apt/lists/partial" "$root/.apt/cache/archives/partial" "$root/.apt/debs" "$root/.apt/done"
: > "$root/.apt/status"
apt() {
  apt-get -q -o APT::Architecture=arm64 -o APT::Architectures::=arm64 -o Dir::State::status="$root/.apt/status" \
    -o Dir::State::lists="$root/.apt/lists" -o Dir::Cache="$root/.apt/cache" -o Debug::NoLocking=1 \
    -o APT::Sandbox::User=root "$@"
}

missing=""
for package in $packages; do
  [ -e "$root/.apt/done/$package" ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

apt update > "$root/.apt/log" 2>&1 || fail "apt update failed, see $root/.apt/log"
cd "$root/.apt/debs"
for package in $missing; do
  rm -f "${package}"_*.deb
  apt download "$package" >> "$root/.apt/log" 2>&1 || fail "cannot download $package:arm64, see $root/.apt/log"
  dpkg-deb -x "${package}"_*.deb "$root" || fail "cannot unpack $package"
  touch "$root/.apt/done/$package"
done
echo "arm64_sysroot: $root is ready"
