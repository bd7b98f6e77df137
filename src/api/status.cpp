#include <string>

#include "api/objects.h"

namespace minnow::api {
namespace {

// Fixed room, so that reporting that memory has run out needs none.
thread_local char last_error[1024] = "";

static_assert(int(Code::ok) == MINNOW_OK && int(Code::invalid_argument) == MINNOW_INVALID_ARGUMENT);
static_assert(int(Code::not_found) == MINNOW_NOT_FOUND && int(Code::io) == MINNOW_IO);
static_assert(int(Code::corrupt) == MINNOW_CORRUPT && int(Code::unsupported) == MINNOW_UNSUPPORTED);
static_assert(int(Code::no_memory) == MINNOW_NO_MEMORY && int(Code::cancelled) == MINNOW_CANCELLED);
static_assert(int(Code::busy) == MINNOW_BUSY && int(Code::context_full) == MINNOW_CONTEXT_FULL);
static_assert(int(Code::bad_state) == MINNOW_BAD_STATE && int(Code::internal) == MINNOW_INTERNAL);

}  // namespace

minnow_status keep(const Status& status) {
  if (status.ok()) return MINNOW_OK;
  std::string_view text = status.message();
  if (text.empty())
    text = status.code() == Code::no_memory ? "out of memory" : "an unexpected failure inside minnow";
  size_t n = std::min(text.size(), sizeof last_error - 1);
  while (n > 0 && n < text.size() && (static_cast<unsigned char>(text[n]) & 0xC0) == 0x80)
    --n;  // whole characters
  std::memcpy(last_error, text.data(), n);
  last_error[n] = '\0';
  return static_cast<minnow_status>(status.code());
}

}  // namespace minnow::api

extern "C" {

const char* minnow_last_error(void) {
  return minnow::api::last_error;
}

const char* minnow_version(void) {
  return MINNOW_VERSION;
}

const char* minnow_status_name(minnow_status status) {
  switch (status) {
    case MINNOW_OK:
      return "MINNOW_OK";
    case MINNOW_INVALID_ARGUMENT:
      return "MINNOW_INVALID_ARGUMENT";
    case MINNOW_NOT_FOUND:
      return "MINNOW_NOT_FOUND";
    case MINNOW_IO:
      return "MINNOW_IO";
    case MINNOW_CORRUPT:
      return "MINNOW_CORRUPT";
    case MINNOW_UNSUPPORTED:
      return "MINNOW_UNSUPPORTED";
    case MINNOW_NO_MEMORY:
      return "MINNOW_NO_MEMORY";
    case MINNOW_CANCELLED:
      return "MINNOW_CANCELLED";
    case MINNOW_BUSY:
      return "MINNOW_BUSY";
    case MINNOW_CONTEXT_FULL:
      return "MINNOW_CONTEXT_FULL";
    case MINNOW_BAD_STATE:
      return "MINNOW_BAD_STATE";
    case MINNOW_INTERNAL:
      return "MINNOW_INTERNAL";
  }
  return "unknown status";
}

}  // extern "C"
