// Scaled dot-product attention in float32, a few queries at a time against all keys.
#pragma once
#include <limits>
#include <memory>

#include "products.h"
#include "transpose.h"

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
    if (a.columns % WIDTH) memset(keys, 0, a.features * wide * sizeof(float));
    for (long c = 0; c < a.columns; c += WIDTH)
        for (long f = 0; f < a.features; f += WIDTH)
            transpose(key + c * a.keys.row + f, a.keys.row, std::min(a.columns - c, WIDTH),
                      std::min(a.features - f, WIDTH), keys + f * wide + c, wide);
    for (long c = 0; c < a.columns; c++)
        for (long f = 0; f < deep; f += WIDTH)
            store(values + c * deep + f, load_first(value + c * a.values.row + f, std::max(a.features - f, 0l)));
}

// Rows of queries side by side, times the scale of the scores.
inline void scale_rows(const float* from, long stride, int rows, long features, float scale, float* to) {
    for (int r = 0; r < rows; r++)
        for (long f = 0; f < features; f++) to[r * features + f] = from[r * stride + f] * scale;
}

// What a thread needs for one head.
struct HeadSpace {
    std::unique_ptr<float[]> keys, values, queries, scores, result;

    explicit HeadSpace(const Attention& a) {
        const long wide = rounded_up(a.columns, WIDTH), deep = rounded_up(a.features, WIDTH);
        keys.reset(new float[a.features * wide]), values.reset(new float[a.columns * deep]);
        queries.reset(new float[ROWS * a.features]), scores.reset(new float[ROWS * wide]);
        result.reset(new float[ROWS * deep]);
    }
};

inline void attend_rows(const Attention& a, long batch, long head, long begin, HeadSpace& space) {
    float *const queries = space.queries.get(), *const scores = space.scores.get(), *const result = space.result.get();
    const long wide = rounded_up(a.columns, WIDTH), deep = rounded_up(a.features, WIDTH);
    const int rows = (int)std::min<long>(ROWS, a.rows - begin);
    const long seen = a.causal ? std::min(a.columns, begin + rows) : a.columns;
    const float* query = a.query + batch * a.queries.batch + head * a.queries.head + begin * a.queries.row;
    scale_rows(query, a.queries.row, rows, a.features, a.scale, queries);
    floats_product(rows, rounded_up(seen, WIDTH),
                   {queries, a.features, space.keys.get(), wide, a.features, scores, wide, false});
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
    floats_product(rows, deep, {scores, wide, space.values.get(), deep, seen, result, deep, false});
    for (int r = 0; r < rows; r++) {
        float* out = a.out + batch * a.outs.batch + head * a.outs.head + (begin + r) * a.outs.row;
        float inverse = 1.0f / sums[r];
        for (long f = 0; f < a.features; f += WIDTH)
            store_first(out + f, load(result + r * deep + f) * inverse, a.features - f);
    }
}

inline void attend(const Attention& a, long batches, int threads) {
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        HeadSpace space(a);
#pragma omp for schedule(static)
        for (long one = 0; one < batches * a.heads; one++) {
            long batch = one / a.heads, head = one % a.heads;
            gather(a, batch, head, space.keys.get(), space.values.get());
            for (long begin = 0; begin < a.rows; begin += ROWS) attend_rows(a, batch, head, begin, space);
        }
    }
}

}  // namespace fxc
