#!/bin/sh
# Kernel files are compiled for instructions the machine may lack, so nothing of them may leak into the program:
#   1. every name follows <op>_<types>__<tile>_<isa>, and every file is in its family's variants.inc and the reverse;
#   2. every object defines exactly one global symbol, named as its file, no weak ones, and needs nothing but memcpy,
#      memset and (scalar only) expf, tanhf, erff, fmaf, sqrt;
#   3. matrix products of calibration, which are Eigen's, define nothing global but their entry points outside the
#      namespace that Eigen has in each (src/compress/product/body.h);
#   4. files stay under 400 lines and include nothing but intrinsics, <math.h>, <stddef.h>, <stdint.h>, <string.h> and
#      kernels/.
#
#   .ci/checks/kernel_quarantine.sh [build directory]     default: build/release; must not be a sanitizer build
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
build=${1:-$root/build/release}
nm=${NM:-nm}
cd "$root"
bad=0
complain() {
  echo "kernel_quarantine: $1" >&2
  bad=1
}

isas='scalar|avx2|avxvnni|avx512vnni|neon|neon_dotprod|neon_i8mm'
for file in kernels/*/*__*.cpp; do
  family=$(basename "$(dirname "$file")")
  name=$(basename "$file" .cpp)
  echo "$name" | grep -Eq "^[a-z][a-z0-9]*(_[a-z0-9]+)*__[0-9]+(x[0-9]+)?_($isas)\$" ||
    complain "$file: not named <op>_<types>__<tile>_<isa>"
  count=$(grep -Ec "MINNOW_KERNEL\(${name%%__*}, $name," "kernels/$family/variants.inc" || true)
  [ "$count" = 1 ] || complain "$file: in kernels/$family/variants.inc $count times instead of once"
done
for list in kernels/*/variants.inc; do
  # shellcheck disable=SC2013
  for name in $(sed -n 's/^ *MINNOW_KERNEL([^,]*, \([^,]*\),.*/\1/p' "$list"); do
    [ -e "$(dirname "$list")/$name.cpp" ] || complain "$list: $name has no file"
  done
  grep -v '^#' "$list" | tail -1 | grep -q '_scalar, kIsaScalar)' || complain "$list: the last variant is not scalar"
done

for file in kernels/*/*__*.cpp kernels/*/body.h kernels/common/*.h; do
  [ "$(wc -l < "$file")" -le 400 ] || complain "$file: more than 400 lines"
  grep -E '^ *#include' "$file" |
    grep -Ev '<(immintrin|arm_neon|math|stddef|stdint|string)\.h>|"kernels/|MINNOW_(VEC|INT)' |
    while read -r line; do echo "kernel_quarantine: $file: $line" >&2; done
  if grep -E '^ *#include' "$file" | grep -Eqv '<(immintrin|arm_neon|math|stddef|stdint|string)\.h>|"kernels/|MINNOW_(VEC|INT)'; then
    bad=1
  fi
done

seen=0
objects=$build/kernels/CMakeFiles/minnow_kernels.dir
[ -d "$objects" ] || complain "no objects in $objects: build first"
for source in kernels/*/*__*.cpp; do
  object=$objects/${source#kernels/}.o
  [ -e "$object" ] || continue  # another architecture's
  seen=$((seen + 1))
  name=$(basename "$source" .cpp)
  # Type letters: capitals are global; V, W, v, w, u, i are weak, unique or resolved at load.
  defined=$("$nm" "$object" | awk 'NF == 3 && $2 ~ /[A-Zuvwi]/ {print $2 ":" $3}')
  [ "$defined" = "T:$name" ] || complain "$object: defines $(echo "$defined" | tr '\n' ' ')instead of T:$name alone"
  allowed='memcpy|memset|_GLOBAL_OFFSET_TABLE_'
  case $name in *_scalar) allowed="$allowed|expf|tanhf|erff|fmaf|sqrt" ;; esac
  needed=$("$nm" "$object" | awk 'NF == 2 {print $2}' | grep -Evx "$allowed" | tr '\n' ' ' || true)
  [ -z "$needed" ] || complain "$object: needs $needed"
done
[ "$seen" -gt 0 ] || complain "no kernel object found in $objects"

for source in src/compress/product/product_*.cpp; do
  object=$build/src/CMakeFiles/minnow_compress.dir/${source#src/}.o
  [ -e "$object" ] || continue  # another architecture's, or built without the compressor
  name=$(basename "$source" .cpp)
  leaks=$("$nm" "$object" | awk 'NF == 3 && $2 ~ /[A-Zuvwi]/ {print $3}' |
    grep -Ev "minnow_eigen_${name#product_}|$name|^DW\.ref\.__gxx_personality_v0\$" | tr '\n' ' ' || true)
  [ -z "$leaks" ] || complain "$object: defines $leaks, which another file's may be taken for"
done
[ "$bad" = 0 ] || exit 1
echo "kernel_quarantine: $seen kernels are clean"
