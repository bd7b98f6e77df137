#include "format/tokenizer_tables.h"

#include <algorithm>
#include <bit>

#include "format/tokenizer_types.h"

namespace minnow::format {
namespace {

/// A power of two that leaves a fifth of the slots empty: short probes at half the bytes of load 0.5.
size_t slot_count(size_t entries) {
  return std::bit_ceil(std::max<size_t>(entries + entries / 4 + 1, 2));
}

std::string_view token_at(std::string_view bytes, std::span<const uint32_t> offsets, size_t id) {
  return bytes.substr(offsets[id], offsets[id + 1] - offsets[id]);
}

constexpr uint64_t kLongestToken = 1u << 16, kMostBytes = 1u << 28;

}  // namespace

std::vector<uint32_t> make_token_slots(std::string_view bytes, std::span<const uint32_t> offsets,
                                       const std::vector<uint8_t>& findable) {
  const auto count = static_cast<size_t>(std::count(findable.begin(), findable.end(), 1));
  std::vector<uint32_t> slots(slot_count(count), 0);
  const size_t mask = slots.size() - 1;
  for (uint32_t id = 0; id < findable.size(); ++id) {
    const std::string_view token = token_at(bytes, offsets, id);
    if (findable[id] == 0 || token.empty()) continue;
    size_t s = hash_bytes(token) & mask;
    while (slots[s] != 0 && token_at(bytes, offsets, slots[s] - 1) != token) s = (s + 1) & mask;
    slots[s] = id + 1;
  }
  return slots;
}

std::vector<uint32_t> make_merge_slots(std::span<const uint32_t> pairs) {
  const size_t count = pairs.size() / 2;
  std::vector<uint32_t> slots(slot_count(count), 0);
  const size_t mask = slots.size() - 1;
  for (uint32_t rank = 0; rank < count; ++rank) {
    const uint32_t left = pairs[2 * rank], right = pairs[2 * rank + 1];
    size_t s = hash_pair(left, right) & mask;
    const auto differs = [&](uint32_t slot) {
      return pairs[2 * slot - 2] != left || pairs[2 * slot - 1] != right;
    };
    while (slots[s] != 0 && differs(slots[s])) s = (s + 1) & mask;
    slots[s] = rank + 1;
  }
  return slots;
}

bool compact_tokens(std::string_view bytes, std::span<const uint32_t> offsets,
                    std::span<const uint32_t> pairs, std::span<const uint32_t> results, CompactTokens& out) {
  const size_t n = offsets.size() - 1;
  const auto outside = [&](uint32_t id) { return id >= n; };
  if (std::any_of(pairs.begin(), pairs.end(), outside) ||
      std::any_of(results.begin(), results.end(), outside)) {
    return false;  // the plain form is refused with the reason
  }
  std::vector<uint8_t> made(n, 0), known(n, 1);
  for (uint32_t r : results) known[r] = 0;
  for (size_t rank = 0; rank < results.size(); ++rank) {
    const uint32_t left = pairs[2 * rank], right = pairs[2 * rank + 1], result = results[rank];
    if (known[result] != 0) continue;
    const std::string_view whole = token_at(bytes, offsets, result), a = token_at(bytes, offsets, left),
                           b = token_at(bytes, offsets, right);
    // Only the first merge into a token can make it: expand_tokens() goes by rank.
    known[result] = 1;
    made[result] = !a.empty() && !b.empty() && left != result && right != result &&
                   whole.size() == a.size() + b.size() && whole.starts_with(a) && whole.ends_with(b);
    for (uint32_t part : {left, right}) {
      // A part that only a later merge makes is not there yet.
      if (known[part] == 0) made[result] = 0;
    }
  }
  out.bytes.clear();
  out.lengths.assign(n, 0);
  for (size_t id = 0; id < n; ++id) {
    if (made[id] != 0) continue;
    const std::string_view token = token_at(bytes, offsets, id);
    if (token.size() > 255) return false;
    out.lengths[id] = static_cast<uint8_t>(token.size());
    out.bytes.append(token);
  }
  std::string again;
  std::vector<uint32_t> again_offsets;
  return expand_tokens(out.bytes, out.lengths, pairs, results, again, again_offsets).ok() && again == bytes &&
         std::equal(offsets.begin(), offsets.end(), again_offsets.begin(), again_offsets.end());
}

Status expand_tokens(std::string_view bytes, std::span<const uint8_t> lengths,
                     std::span<const uint32_t> pairs, std::span<const uint32_t> results,
                     std::string& token_bytes, std::vector<uint32_t>& offsets) {
  const size_t n = lengths.size();
  std::vector<uint32_t> length(lengths.begin(), lengths.end()),
      from(n, kNoToken);  // from: the merge that makes it
  uint64_t own = 0;
  for (uint8_t l : lengths) own += l;
  if (own != bytes.size()) {
    return fail(Code::corrupt, "tokenizer: token_lengths add up to ", own, ", there are ", bytes.size(),
                " bytes");
  }
  uint64_t total = own;
  std::vector<uint32_t> made;  // by rank, so that both parts of each come before it
  for (uint32_t rank = 0; rank < results.size(); ++rank) {
    const uint32_t left = pairs[2 * rank], right = pairs[2 * rank + 1], result = results[rank];
    if (length[result] != 0 || length[left] == 0 || length[right] == 0) continue;
    const uint64_t sum = uint64_t{length[left]} + length[right];
    if (sum > kLongestToken || (total += sum) > kMostBytes) {
      return fail(Code::corrupt, "tokenizer: merge ", rank, " makes a token of ", sum, " bytes");
    }
    length[result] = static_cast<uint32_t>(sum);
    from[result] = rank;
    made.push_back(result);
  }
  offsets.assign(1, 0);
  for (uint32_t l : length) offsets.push_back(offsets.back() + l);
  token_bytes.assign(offsets.back(), '\0');
  size_t at = 0;
  for (size_t id = 0; id < n; ++id) {
    std::copy_n(bytes.begin() + static_cast<long>(at), lengths[id], token_bytes.begin() + offsets[id]);
    at += lengths[id];
  }
  for (uint32_t id : made) {
    const uint32_t left = pairs[2 * from[id]], right = pairs[2 * from[id] + 1];
    std::copy_n(token_bytes.begin() + offsets[left], length[left], token_bytes.begin() + offsets[id]);
    std::copy_n(token_bytes.begin() + offsets[right], length[right],
                token_bytes.begin() + offsets[id] + length[left]);
  }
  return {};
}

}  // namespace minnow::format
