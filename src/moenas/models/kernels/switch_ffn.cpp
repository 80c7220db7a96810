// The Switch FFN in one pass: y[t] = gate[t] (w2[e] act(w1[e] x[t] + b1[e]) + b2[e]), with e the
// expert that the router chose for token t.
//
//   route    logits = x router^T for a few tokens at a time; e = argmax, p = softmax(logits)[e]
//   group    a stable counting sort of the tokens by expert
//   experts  for each tile of at most 96 tokens of one expert: gather its rows, multiply, activate,
//            multiply, scale, scatter. The hidden layer of a tile never leaves the cache.
//
// The weights come packed in panels (gemm.h), as floats or bfloat16; sums are floats always. Where
// the CPU has a matrix unit (amx.h) it multiplies bfloat16 weights with rounded tokens. Tiles
// are independent, and one expert's gradients are summed by one thread in the order of its tokens:
// results don't depend on the number of threads.
//
// A plain C interface, without torch's headers: compiles in seconds and fits any torch. The caller
// (library.py) checks shapes and types; what only the data can tell is checked here.
//
// Axes: T tokens, E experts, D width of a token, H width of the hidden layer.

#include "backward.h"
#include "forward.h"
#include "routing.h"

#define MOENAS_API extern "C" __attribute__((visibility("default")))

using namespace moenas;

MOENAS_API int moenas_lanes() { return kLanes; }

// Whether bfloat16 experts are multiplied by the matrix unit, where their sizes fit it.
MOENAS_API int moenas_amx() { return amx_permitted(); }

// Bytes of one packed weight [columns, depth].
MOENAS_API int64_t moenas_packed_bytes(int64_t columns, int64_t depth, int bfloat16) {
  return 4 * (bfloat16 ? packed_words<BFloat16>(columns, depth)
                       : packed_words<Float32>(columns, depth));
}

// Packs weights [count, columns, depth]; bfloat16 are packed as the bits they are.
MOENAS_API void moenas_pack(const void* weight, int64_t count, int64_t columns, int64_t depth,
                            int bfloat16, void* out, int threads) {
  const Size size = columns * depth * (bfloat16 ? 2 : 4);
  const Size packed_size = moenas_packed_bytes(columns, depth, bfloat16);
  parallel(count, threads, [&](int, Size e) {
    const void* from = static_cast<const char*>(weight) + e * size;
    void* to = static_cast<char*>(out) + e * packed_size;
    bfloat16 ? pack_transposed<BFloat16>(from, columns, depth, to)
             : pack_transposed<Float32>(from, columns, depth, to);
  });
}

// Inference, and the forward pass of training. With routes->candidates > 0 the router decides and
// `expert` is ignored; the output is scaled by the probability where `scale` is set, else by `gate`
// where that is given. `before` [T, H], for the backward pass, is in the order of the experts.
MOENAS_API int moenas_forward(const Experts* experts, const Routes* routes, const Tokens* x,
                              const Tokens* y, const uint8_t* expert, const float* gate, int scale,
                              float* before, int threads) {
  const Size tokens = x->count(), dim = experts->dim;
  if (tokens == 0) return kOk;
  if (!up_to_date(*experts)) return kOutOfDate;
  threads = useful_threads(tokens, *experts, threads);
  Buffer<float> x_rows, y_rows;
  if (!x->rows() && !(x_rows = allocate<float>(tokens * dim))) return kNoMemory;
  if (!y->rows() && !(y_rows = allocate<float>(tokens * dim))) return kNoMemory;
  if (x_rows) copy_rows<true>(*x, dim, x_rows.get(), threads);
  const float* from = x_rows ? x_rows.get() : x->data;
  float* to = y_rows ? y_rows.get() : y->data;
  const Size from_row = x_rows ? dim : x->inner_stride, to_row = y_rows ? dim : y->inner_stride;

  Buffer<uint8_t> chosen;
  Buffer<float> p;
  if (routes->candidates > 0) {
    if (!(chosen = allocate<uint8_t>(tokens))) return kNoMemory;
    if (scale && !(p = allocate<float>(tokens))) return kNoMemory;
    const Status status =
        route(*routes, from, from_row, tokens, dim, chosen.get(), p.get(), threads);
    if (status != kOk) return status;
    expert = chosen.get();
    gate = p.get();
  }
  Groups groups;
  if (!groups.sort(expert, tokens, experts->count)) return groups.order ? kNoSuchExpert : kNoMemory;
  const Status status =
      forward(*experts, groups, from, from_row, to, to_row, gate, before, threads);
  if (status == kOk && y_rows) copy_rows<false>(*y, dim, y_rows.get(), threads);
  return status;
}

// Gradients of moenas_forward with given experts; all tensors are contiguous, weights unpacked.
MOENAS_API int moenas_backward(const Experts* experts, int64_t tokens, const float* x,
                               const float* grad_y, const uint8_t* expert, const float* gate,
                               const float* before, const Gradients* gradients, int threads) {
  threads = useful_threads(tokens, *experts, threads);
  Groups groups;
  if (!groups.sort(expert, tokens, experts->count)) return groups.order ? kNoSuchExpert : kNoMemory;
  return experts->activation ? backward_as<Gelu>(*experts, groups, x, grad_y, gate, before,
                                                 *gradients, threads)
                             : backward_as<Silu>(*experts, groups, x, grad_y, gate, before,
                                                 *gradients, threads);
}
