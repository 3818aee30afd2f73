// Where tiles leave what they calculate.
#pragma once
#include <memory>
#include <optional>

#include "behind.h"

namespace fxc {

// A row every `stride` from `first` on: floats, or bytes where nothing is left to do with them.
struct TileOutput {
    float* floats;
    const Straight* straight;
    long first, stride;

    TileOutput at(long row, long column) const { return {floats, straight, first + row * stride + column, stride}; }
};

// Rows in the hands of one thread. What stands behind a product and needs whole rows finds them here as floats;
// `stride` of these leaves room for vectors that are filled up.
class Block {
    const Behind& behind;
    const long count, stride;
    std::optional<Straight> straight;
    std::unique_ptr<float[]> floats;

public:
    Block(const Behind& behind, long rows, long count, long stride) : behind(behind), count(count), stride(stride) {
        if (Straight::serves(behind))
            straight.emplace(behind);
        else
            floats.reset(new float[rows * stride]);
    }

    TileOutput results(long begin) const {
        return straight ? TileOutput{nullptr, &*straight, begin * count, count}
                        : TileOutput{floats.get(), nullptr, 0, stride};
    }

    void finish(long begin, long rows) const {
        if (!straight) finish_rows(floats.get(), stride, begin, rows, count, behind);
    }
};

}  // namespace fxc
