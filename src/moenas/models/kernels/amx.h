// Intel's matrix unit (AMX, from Sapphire Rapids on): products of bfloat16 with sums in float.
//
// Eight tile registers of 16 rows x 64 bytes: four hold a block of 32 x 32 of c, two 16 rows of a
// with 32 numbers of depth, two the same depth of 16 columns of b, packed in pairs (gemm.h). Tokens
// and the hidden layer are rounded to bfloat16; each number of c is one chain over the depth.
#pragma once

#include "experts.h"

#if defined(__AMX_BF16__) && defined(__AVX512BF16__) && defined(__linux__)
#define MOENAS_AMX 1
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace moenas {

#if MOENAS_AMX

constexpr Size kTileSide = 16, kTileDepth = 32;

// The kernel grants the tile registers on request, once for a process.
inline bool amx_permitted() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // asm/prctl.h, XFEATURE_XTILE_DATA
  static const bool granted = syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  return granted;
}

inline bool amx_fits(const Experts& m) {
  return m.bfloat16 && m.dim % kTileDepth == 0 && m.hidden % kTileDepth == 0 && amx_permitted();
}

// Tile instructions do not tell the compiler what memory they read: it must be written before.
inline void written() { asm volatile("" ::: "memory"); }

// While it lives, this thread's tiles are all of full size; what others had set comes back after.
class Tiles {
 public:
  Tiles() {
    Setting full{};
    full.bytes[0] = 1;  // palette
    for (int i = 0; i < 8; ++i) full.bytes[16 + 2 * i] = 64, full.bytes[48 + i] = kTileSide;
    written();
    _tile_storeconfig(&before_);
    _tile_loadconfig(&full);
  }
  ~Tiles() {
    if (before_.bytes[0])
      _tile_loadconfig(&before_);
    else
      _tile_release();
  }
  Tiles(const Tiles&) = delete;

 private:
  struct alignas(64) Setting {
    uint8_t bytes[64];
  } before_;
};

// Rounds to the nearest bfloat16, ties to even; count is a multiple of the lanes.
inline void round_to_bfloat16(const float* from, Size count, uint16_t* to) {
  for (Size i = 0; i < count; i += kLanes) {
    const __m256bh half = _mm512_cvtneps_pbh(reinterpret_cast<__m512>(load(from + i)));
    __builtin_memcpy(to + i, &half, sizeof half);
  }
}

// c [rows, columns] = a b; rows up to the next multiple of 16 are read and written too.
inline void amx_multiply(Size rows, Size columns, Size depth, const uint16_t* a, Size a_row,
                         Panels<BFloat16> b, float* c, Size c_row) {
  const Size a_bytes = 2 * a_row, b_bytes = 4 * b.row, c_bytes = 4 * c_row;
  written();
  for (Size column = 0; column < columns; column += kPanel) {
    const int32_t* panel = b.data + column / kPanel * b.panel;
    for (Size row = 0; row < rows; row += 2 * kTileSide) {
      const bool lower = row + kTileSide < rows;
      const uint16_t* left = a + row * a_row;
      float* out = c + row * c_row + column;
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
      for (Size k = 0; k < depth; k += kTileDepth) {
        const int32_t* right = panel + k / BFloat16::kDepth * b.row;
        _tile_loadd(4, left + k, a_bytes);
        _tile_loadd(6, right, b_bytes);
        _tile_loadd(7, right + kLanes, b_bytes);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        if (lower) {
          _tile_loadd(5, left + kTileSide * a_row + k, a_bytes);
          _tile_dpbf16ps(2, 5, 6);
          _tile_dpbf16ps(3, 5, 7);
        }
      }
      _tile_stored(0, out, c_bytes);
      _tile_stored(1, out + kTileSide, c_bytes);
      if (lower) {
        _tile_stored(2, out + kTileSide * c_row, c_bytes);
        _tile_stored(3, out + kTileSide * c_row + kTileSide, c_bytes);
      }
    }
  }
  written();
}

#else

inline bool amx_permitted() { return false; }

#endif

}  // namespace moenas
