// Checks of the payload that loading leaves out, because they read every byte of the file.
#pragma once

#include "base/status.h"
#include "format/container.h"

namespace minnow::format {

/// Checksums of all segments; then scales and float weights must be finite. Errors: corrupt, naming the
/// segment or the linear and the row.
Status verify_payload(const Container& container);

}  // namespace minnow::format
