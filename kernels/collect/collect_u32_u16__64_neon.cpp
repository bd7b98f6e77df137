#include "kernels/collect/body.h"
#include "kernels/common/vec_neon.h"

namespace {

// The bitmap is 128 bytes, two tables of 64; an index beyond a table leaves the answer to the other.
struct LookupNeon {
  uint8x16x4_t low, high;
  uint16x8_t above;
  LookupNeon(const uint32_t* wanted, uint16_t most)
      : low(vld1q_u8_x4((const uint8_t*)wanted)),
        high(vld1q_u8_x4((const uint8_t*)wanted + 64)),
        above(vdupq_n_u16(most)) {}
  // 0xff for a wanted id, 0 else.
  inline uint8x16_t wanted(const uint16_t* ids) const {
    const uint16x8_t a = vld1q_u16(ids), b = vld1q_u16(ids + 8);
    const uint8x16_t at = vandq_u8(vshrn_high_n_u16(vshrn_n_u16(a, 3), b, 3), vdupq_n_u8(127));
    const uint8x16_t over =
        vuzp1q_u8(vreinterpretq_u8_u16(vcgtq_u16(a, above)), vreinterpretq_u8_u16(vcgtq_u16(b, above)));
    const uint8x16_t place =
        vandq_u8(vuzp1q_u8(vreinterpretq_u8_u16(a), vreinterpretq_u8_u16(b)), vdupq_n_u8(7));
    const uint8x16_t byte = vqtbx4q_u8(vqtbl4q_u8(low, at), high, vsubq_u8(at, vdupq_n_u8(64)));
    return vorrq_u8(vtstq_u8(byte, vshlq_u8(vdupq_n_u8(1), vreinterpretq_s8_u8(place))), over);
  }
  inline uint64_t bits(const uint16_t* ids) const {
    return v_bits_64(wanted(ids), wanted(ids + 16), wanted(ids + 32), wanted(ids + 48));
  }
  static inline void list(uint32_t* list, uint32_t base, uint64_t bits) { list_fours(list, base, bits); }
};

}  // namespace

extern "C" void collect_u32_u16__64_neon(const CollectArgs* args) {
  collect_body<LookupNeon>(args);
}
