// Scaled dot-product attention in float32, a few queries at a time against all keys.
#pragma once
#include <limits>
#include <memory>

#include "products.h"

namespace fxc {

// Where heads and rows begin, in floats; features of a head stand side by side.
struct Strides {
    long batch, head, row;
};

struct Attention {
    const float *query, *key, *value, *mask;
    float* out;
    Strides queries, keys, values, masks, outs;
    long mask_column, heads, shared, rows, columns, features;
    float scale;
    bool causal;
};

// Softmax without the division, of the first `count` scores; the sum of what it leaves.
inline float exponentials(float* scores, long count) {
    Floats top = all(-std::numeric_limits<float>::infinity());
    long i = 0;
    for (; i + WIDTH <= count; i += WIDTH) top = larger(top, load(scores + i));
    float most = largest_of(top);
    for (; i < count; i++) most = std::fmax(most, scores[i]);
    if (most == -std::numeric_limits<float>::infinity()) {
        memset(scores, 0, count * sizeof(float));
        return 1.0f;
    }
    Floats sums{};
    for (i = 0; i < count; i += WIDTH) {
        // exp of the least float there is is not 0: what a mask shuts out must be.
        Floats x = load_first(scores + i, count - i) - most;
        __mmask16 kept = _mm512_mask_cmp_ps_mask(first(count - i), (__m512)x, _mm512_set1_ps(-87.0f), _CMP_GT_OQ);
        Floats power = (Floats)_mm512_maskz_mov_ps(kept, (__m512)exponential(x));
        sums += power;
        store_first(scores + i, power, count - i);
    }
    return sum_of(sums);
}

inline void mask_row(float* scores, const float* mask, long stride, long count) {
    if (stride == 1)
        for (long i = 0; i < count; i++) scores[i] += mask[i];
    else
        for (long i = 0; i < count; i++) scores[i] += mask[i * stride];
}

// Keys as columns and values as rows of whole vectors, filled up with zeros.
inline void gather(const Attention& a, long batch, long head, float* keys, float* values) {
    const long wide = rounded_up(a.columns, WIDTH), deep = rounded_up(a.features, WIDTH), shared = head / a.shared;
    const float* key = a.key + batch * a.keys.batch + shared * a.keys.head;
    const float* value = a.value + batch * a.values.batch + shared * a.values.head;
    memset(keys, 0, a.features * wide * sizeof(float));
    memset(values, 0, a.columns * deep * sizeof(float));
    for (long c = 0; c < a.columns; c++) {
        for (long f = 0; f < a.features; f++) keys[f * wide + c] = key[c * a.keys.row + f] * a.scale;
        memcpy(values + c * deep, value + c * a.values.row, a.features * sizeof(float));
    }
}

inline void attend_rows(const Attention& a, long batch, long head, long begin, const float* keys, const float* values,
                        float* scores, float* result) {
    const long wide = rounded_up(a.columns, WIDTH), deep = rounded_up(a.features, WIDTH);
    const int rows = (int)std::min<long>(ROWS, a.rows - begin);
    const long seen = a.causal ? std::min(a.columns, begin + rows) : a.columns;
    const float* query = a.query + batch * a.queries.batch + head * a.queries.head + begin * a.queries.row;
    floats_product(rows, rounded_up(seen, WIDTH), {query, a.queries.row, keys, wide, a.features, scores, wide, false});
    float sums[ROWS];
    for (int r = 0; r < rows; r++) {
        long count = a.causal ? std::min(a.columns, begin + r + 1) : a.columns;
        float* row = scores + r * wide;
        if (a.mask)
            mask_row(row, a.mask + batch * a.masks.batch + head * a.masks.head + (begin + r) * a.masks.row,
                     a.mask_column, count);
        sums[r] = exponentials(row, count);
        memset(row + count, 0, (wide - count) * sizeof(float));
    }
    floats_product(rows, deep, {scores, wide, values, deep, seen, result, deep, false});
    for (int r = 0; r < rows; r++) {
        float* out = a.out + batch * a.outs.batch + head * a.outs.head + (begin + r) * a.outs.row;
        float inverse = 1.0f / sums[r];
        for (long f = 0; f < a.features; f += WIDTH)
            store_first(out + f, load(result + r * deep + f) * inverse, a.features - f);
    }
}

inline void attend(const Attention& a, long batches, int threads) {
    const long wide = rounded_up(a.columns, WIDTH), deep = rounded_up(a.features, WIDTH);
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        std::unique_ptr<float[]> keys(new float[a.features * wide]), values(new float[a.columns * deep]);
        std::unique_ptr<float[]> scores(new float[ROWS * wide]), result(new float[ROWS * deep]);
#pragma omp for schedule(static)
        for (long one = 0; one < batches * a.heads; one++) {
            long batch = one / a.heads, head = one % a.heads;
            gather(a, batch, head, keys.get(), values.get());
            for (long begin = 0; begin < a.rows; begin += ROWS)
                attend_rows(a, batch, head, begin, keys.get(), values.get(), scores.get(), result.get());
        }
    }
}

}  // namespace fxc
