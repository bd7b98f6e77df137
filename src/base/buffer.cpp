#include "base/buffer.h"

#include <sys/mman.h>

namespace minnow {

Buffer::~Buffer() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

Result<Buffer> Buffer::allocate(uint64_t size, const char* what) {
  Buffer out;
  if (size == 0) return out;
  void* p = size > (uint64_t{1} << 46) ? MAP_FAILED
                                       : ::mmap(nullptr, size, PROT_READ | PROT_WRITE,
                                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) return fail(Code::no_memory, "cannot get ", size, " bytes for ", what);
  out.data_ = static_cast<std::byte*>(p);
  out.size_ = size;
  return out;
}

}  // namespace minnow
