// What products of bytes read: packed weights, and rows.
#pragma once
#include "tiles.h"

namespace fxc {

// Weights of linears as panels of up to 48 outputs; in a panel four features of one output stand side by side.
//
// Of weights that are mostly zero the panels have `kept_vectors` each, and hold only the fours of features that are not
// zero for all of their outputs: panel p those at `fours[starts[p] .. starts[p + 1]]`. Else `starts` is null.
struct Weights {
    const int8_t* panels;
    const int32_t* sums;
    const float *scales, *bias;
    long features, outputs;
    const int32_t *fours, *starts;
    long kept_vectors;

    long wide() const { return rounded_up(outputs, WIDTH); }
    // Vectors of the panel that begins at `column`.
    int vectors_at(long column) const { return starts ? (int)kept_vectors : next_panel((wide() - column) / WIDTH); }
};

// Lines of the panel that is read next, which the tiles of this one fetch into the second cache: a line at each step.
struct Ahead {
    const int8_t* line;
    long step;

    void fetch() {
        _mm_prefetch((const char*)line, _MM_HINT_T1);
        line += step;
    }
};

// What tile number `tile` of the panel at `column` fetches. A panel has as many lines as `vectors` tiles have steps:
// the other tiles have nothing left to do, nor has the last panel.
inline Ahead ahead_of(const Weights& weights, long column, int vectors, long tile) {
    const long next = column + vectors * WIDTH;
    if (next >= weights.wide() || tile >= vectors || weights.starts) return {weights.panels, 0};
    return {weights.panels + next * weights.features + tile * weights.features * WIDTH, 64};
}

// Rows of bytes, each with its own step and zero point, or all with the first (`apart` is 1 or 0).
struct Tokens {
    const uint8_t* bytes;
    const float* scales;
    const int32_t* zeros;
    long apart;

    Tokens from(long row, long features) const {
        return {bytes + row * features, scales + row * apart, zeros + row * apart, apart};
    }
};

inline void pack(const int8_t* weight, long outputs, long features, int8_t* panels) {
    const long wide = rounded_up(outputs, WIDTH);
    for (long column = 0, width; column < wide; column += width) {
        width = next_panel((wide - column) / WIDTH) * WIDTH;
        int8_t* to = panels + column * features;
        for (long four = 0; four < features; four += 4)
            for (long c = column; c < column + width; c++)
                for (long f = four; f < four + 4; f++)
                    *to++ = c < outputs && f < features ? weight[c * features + f] : 0;
    }
}

}  // namespace fxc
