// Products with weights on the card: y = W x for rows of activations, ended as an Ending says.
//   exact_product     float32 throughout, whatever the layout: the specification's precision, slow
//   few_rows_product  tensor cores on the packed weights as they are streamed: the weight's bytes are the cost
//   unpack_rows       for many rows: a tile of the weight as 16-bit values, for cuBLASLt
// Activations of the last two are 16-bit: float16 for float16 weights, else bfloat16.
#pragma once

#include "kernels/cuda/few_rows.h"
#include "kernels/cuda/runtime.h"
#include "kernels/cuda/segment.h"
#include "kernels/cuda/views.h"

namespace narae::kernels::cuda {

// x [rows, columns] float32.
void exact_product(const Stream& stream, int rows, const float* x, std::int64_t stride, const Segment& weight,
                   const Ending& ending);

inline constexpr int kMostFewRows = 64;

// Whether few_rows_product can read this weight.
bool has_few_rows_product(const Segment& weight);
// Columns that the 16-bit activations of the products below are filled up to (with zeros).
int padded_columns(const Segment& weight);

// At most kMostFewRows rows. `let_next_start`: the next kernel may start early; pays where this one has many small blocks.
void few_rows_product(const Stream& stream, const Activations16& in, const Segment& weight, const Ending& ending,
                      bool let_next_start);

// Rows [begin, begin + count) of the weight as 16-bit values [count, padded_columns], in their natural order; begin a multiple
// of 16 and, where rows lie in the order of heads, begin and count of the head's.
void unpack_rows(const Stream& stream, const Segment& weight, int begin, int count, void* values);

}  // namespace narae::kernels::cuda
