#include "compress/json.h"

#include <cmath>

#include "base/file.h"
#include "text/utf8.h"

namespace minnow::compress {

Result<Json> parse_json(std::string_view json_text, const std::string& name) {
  if (const size_t bad = text::find_invalid_utf8(json_text); bad != std::string_view::npos) {
    return fail(Code::corrupt, "'", name, "' is not valid UTF-8 (byte ", bad, ")");
  }
  Json json = Json::parse(json_text.begin(), json_text.end(), nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded())
    return fail(Code::corrupt, "'", name, "' is not valid JSON; it is damaged or was cut short");
  if (!json.is_object()) return fail(Code::corrupt, "'", name, "' is not a JSON object");
  return json;
}

Result<Json> read_json(const std::string& path, uint64_t limit) {
  MINNOW_ASSIGN(const std::string text, read_text_file(path, limit));
  return parse_json(text, path);
}

Status JsonObject::missing(const char* key) const {
  return fail(Code::corrupt, "'", name_, "' lacks the key '", key, "'");
}

Status JsonObject::wrong(const char* key, const char* expected) const {
  std::string value = (*json_)[key].dump(-1, ' ', false, Json::error_handler_t::replace);
  if (value.size() > 60) value = value.substr(0, 60) + "...";
  return fail(Code::corrupt, "'", name_, "': '", key, "' is ", value, ", expected ", expected);
}

Result<uint32_t> JsonObject::uint(const char* key) const {
  if (!has(key)) return missing(key);
  const Json& v = raw(key);
  if (!v.is_number_unsigned() || v.get<uint64_t>() > std::numeric_limits<int32_t>::max()) {
    return wrong(key, "a whole number from 0 to 2147483647");
  }
  return static_cast<uint32_t>(v.get<uint64_t>());
}

Result<uint32_t> JsonObject::uint(const char* key, uint32_t otherwise) const {
  return has(key) ? uint(key) : Result<uint32_t>(otherwise);
}

Result<double> JsonObject::number(const char* key) const {
  if (!has(key)) return missing(key);
  if (!raw(key).is_number() || !std::isfinite(raw(key).get<double>())) return wrong(key, "a number");
  return raw(key).get<double>();
}

Result<double> JsonObject::number(const char* key, double otherwise) const {
  return has(key) ? number(key) : Result<double>(otherwise);
}

Result<bool> JsonObject::boolean(const char* key, bool otherwise) const {
  if (!has(key)) return otherwise;
  if (!raw(key).is_boolean()) return wrong(key, "true or false");
  return raw(key).get<bool>();
}

Result<std::string> JsonObject::text(const char* key) const {
  if (!has(key)) return missing(key);
  if (!raw(key).is_string()) return wrong(key, "a string");
  return raw(key).get<std::string>();
}

Result<std::string> JsonObject::text(const char* key, const std::string& otherwise) const {
  return has(key) ? text(key) : Result<std::string>(otherwise);
}

Result<JsonObject> JsonObject::object(const char* key) const {
  if (!has(key)) return missing(key);
  if (!raw(key).is_object()) return wrong(key, "an object");
  return JsonObject(raw(key), name_ + "." + key);
}

}  // namespace minnow::compress
