// Any bytes as config.json.
#include "compress/hf_config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  auto json = minnow::compress::parse_json(text, "config.json");
  if (!json.ok()) return 0;
  const minnow::compress::JsonObject object(*json, "config.json");
  auto config = minnow::compress::read_hf_config(object);
  if (config.ok() &&
      (config->sliding_window.size() != config->layers || config->rope.size() != config->layers))
    __builtin_trap();
  (void)minnow::compress::read_token_ids(object, "eos_token_id").ok();
  return 0;
}
