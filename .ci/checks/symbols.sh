#!/bin/sh
# The library never prints, exits or aborts, and but for one file installs no signal handlers: proved by the
# symbols its objects ask for. And the header is C99.
#
#   .ci/checks/symbols.sh <build folder>
set -eu
cd "$(dirname "$0")/../.."
build=$1

status=0
for library in "$build/src/libminnow.a" "$build/kernels/libminnow_kernels.a"; do
  [ -f "$library" ] || { echo "symbols: $library is missing" >&2; exit 1; }
  # nm names the file of the library that asks; src/base/fault_guard.cpp may ask for sigaction, alone.
  bad=$(nm -A --undefined-only "$library" 2> /dev/null | grep -v ':fault_guard.cpp.o: .* sigaction$' |
    awk '{print $NF}' | sort -u |
    grep -E '^(abort|_?exit|quick_exit|puts|putchar|printf|fprintf|vprintf|vfprintf|perror|__printf_chk|__fprintf_chk|stdout|stderr|_ZSt4cout|_ZSt4cerr|_ZSt4clog|__assert_fail|raise|signal|sigaction)$' || true)
  if [ -n "$bad" ]; then
    echo "symbols: $library asks for:" $bad >&2
    status=1
  fi
done

for standard in c99 c11; do
  printf '#include <minnow/minnow.h>\nint main(void) { return (int)minnow_engine_params_default().threads; }\n' |
    ${CC:-cc} -std=$standard -Wall -Wextra -Wpedantic -Werror -Iinclude -x c -fsyntax-only - || status=1
done
[ $status = 0 ] && echo "symbols: the library neither prints nor aborts, one file handles a signal; the header is C99"
exit $status
