// What a device without room for the KV file in its page cache does.
#pragma once

#include <cstdint>
#include <string>

namespace minnow::bench {

/// Takes what this process has mapped of nameless files in `directory` out of memory: the next look at it
/// reads the disk. Returns the bytes that were mapped. Linux, as root; throws std::runtime_error where the
/// system refuses or keeps the pages.
uint64_t forget_mapped_files(const std::string& directory);

}  // namespace minnow::bench
