// What Python calls. Tensors come as pointers to contiguous memory, shapes as numbers.
#include "attention.h"
#include "convolution.h"
#include "groups.h"
#include "images.h"
#include "linear.h"
#include "pooled.h"
#include "sparse.h"

using namespace fxc;

#pragma GCC visibility push(default)
extern "C" {

void fxc_pack(const int8_t* weight, long outputs, long features, int8_t* panels) {
    pack(weight, outputs, features, panels);
}

void fxc_pack_digits(const int8_t* weight, long outputs, long features, uint8_t* panels) {
    pack_digits(weight, outputs, features, panels);
}

void fxc_group_linear(const float* input, long rows, const GroupWeights* weights, const Behind* behind, int threads) {
    group_linear(input, rows, *weights, *behind, threads);
}

// Rows of floats, with all that may stand behind a product.
void fxc_rows(const float* input, long rows, long count, const Behind* behind, int threads) {
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        std::unique_ptr<float[]> row(new float[count]);
#pragma omp for schedule(static)
        for (long r = 0; r < rows; r++) {
            memcpy(row.get(), input + r * count, count * sizeof(float));
            finish_row(row.get(), r, count, *behind);
        }
    }
}

void fxc_linear(const Tokens* tokens, long rows, const Weights* weights, const Behind* behind, int threads) {
    linear(*tokens, rows, *weights, *behind, threads);
}

void fxc_convolution(const Convolution* convolution, const Weights* weights, const Behind* behind, int threads) {
    convolve(*convolution, *weights, *behind, threads);
}

void fxc_round_images(const Images* images, int threads) { round_images(*images, threads); }

void fxc_convolve_each(const Convolution* convolution, const Weights* weights, const Behind* behind, int threads) {
    convolve_each(*convolution, *weights, *behind, threads);
}

void fxc_sparse_panels(const float* input, long rows, const Kept* kept, float* out, int threads) {
    sparse_panels(input, rows, *kept, out, threads);
}

void fxc_sparse_rows(const float* input, long rows, const Kept* kept, float* out, int threads) {
    sparse_rows(input, rows, *kept, out, threads);
}

void fxc_convolve_and_pool(const Convolution* convolution, const Weights* weights, const Behind* behind,
                           const Pooling* pooling, int threads) {
    convolve_and_pool(*convolution, *weights, *behind, *pooling, threads);
}

void fxc_max_pool(const Pooling* pooling, int threads) { pool(*pooling, threads); }

void fxc_attention(const Attention* attention, long batches, int threads) { attend(*attention, batches, threads); }
}
