// JSON read with errors instead of exceptions: every access says which key of which file is wrong.
#pragma once

#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>

#include "base/status.h"

namespace minnow::compress {

using Json = nlohmann::json;

/// Parses a whole file of at most `limit` bytes into an object.
Result<Json> read_json(const std::string& path, uint64_t limit);
Result<Json> parse_json(std::string_view json_text, const std::string& name);

/// Typed access to one object, which keeps the name of its file for messages.
class JsonObject {
 public:
  JsonObject(const Json& json, std::string name) : json_(&json), name_(std::move(name)) {}

  /// Present and not null.
  bool has(const char* key) const {
    return json_->is_object() && json_->contains(key) && !(*json_)[key].is_null();
  }
  /// Present, null or not: where null means "none" and absence means a default.
  bool said(const char* key) const { return json_->is_object() && json_->contains(key); }
  const Json& raw(const char* key) const { return (*json_)[key]; }
  const std::string& name() const { return name_; }

  Result<uint32_t> uint(const char* key) const;
  Result<uint32_t> uint(const char* key, uint32_t otherwise) const;
  Result<double> number(const char* key) const;
  Result<double> number(const char* key, double otherwise) const;
  Result<bool> boolean(const char* key, bool otherwise) const;
  Result<std::string> text(const char* key) const;
  Result<std::string> text(const char* key, const std::string& otherwise) const;
  Result<JsonObject> object(const char* key) const;

 private:
  Status missing(const char* key) const;
  Status wrong(const char* key, const char* expected) const;
  const Json* json_;
  std::string name_;
};

}  // namespace minnow::compress
