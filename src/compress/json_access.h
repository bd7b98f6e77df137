// Reading JSON without exceptions: every member is asked for with the type it must have.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/status.h"
#include "compress/json.h"

namespace minnow::compress {

/// The member, or null (a JSON null counts as absent).
inline const Json* member(const Json& object, std::string_view key) {
  if (!object.is_object()) return nullptr;
  const auto it = object.find(key);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

inline std::string string_or(const Json& object, std::string_view key, std::string_view otherwise) {
  const Json* m = member(object, key);
  return m != nullptr && m->is_string() ? m->get_ref<const std::string&>() : std::string(otherwise);
}

inline bool bool_or(const Json& object, std::string_view key, bool otherwise) {
  const Json* m = member(object, key);
  return m != nullptr && m->is_boolean() ? m->get<bool>() : otherwise;
}

/// A whole number in [low, high].
inline Result<int64_t> integer_in(const Json& value, int64_t low, int64_t high, std::string_view what) {
  const bool fits = value.is_number_integer() && (!value.is_number_unsigned() ||
                                                  value.get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX));
  const int64_t v = fits ? value.get<int64_t>() : low - 1;
  if (!fits || v < low || v > high) {
    return fail(Code::corrupt, what, " must be a whole number between ", low, " and ", high);
  }
  return v;
}

/// As read_json; an empty object where there is no such file.
inline Result<Json> read_json_if_there(const std::string& path, uint64_t limit) {
  auto j = read_json(path, limit);
  if (!j.ok() && j.status().code() == Code::not_found) return Json(Json::object());
  return j;
}

}  // namespace minnow::compress
