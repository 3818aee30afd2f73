// The operators that are called often, without a way through Python where nothing has to be packed.
//
// Python's implementations serve every device; those here are for the CPU, and take precedence there. What they do not
// serve they hand back: the key set without a device names the implementation in Python.
#include <torch/library.h>

#include <atomic>

#include "attending.h"
#include "convolutions.h"
#include "embedding.h"
#include "linears.h"
#include "others.h"
#include "quantizing.h"

namespace fxc {

// Whether the backend `native` may be used: Python says so, and takes it back when it asks its environment anew.
std::atomic<bool> in_use{false};

inline void in_python(const c10::OperatorHandle& op, Stack* stack) { op.redispatchBoxed(c10::DispatchKeySet(), stack); }

// Operators whose last argument is the backend, of which `FUNCTION` is one.
template <bool (*FUNCTION)(Stack&), bool NATIVE = true>
void one_backend(const c10::OperatorHandle& op, Stack* stack) {
    const bool there = !NATIVE || in_use.load(std::memory_order_relaxed);
    const bool wanted = there && stack->back().toStringView() == (NATIVE ? "native" : "float");
    if (!wanted || !FUNCTION(*stack)) in_python(op, stack);
}

// Operators that need none: there is one way to calculate them.
template <bool (*FUNCTION)(Stack&)>
void no_backend(const c10::OperatorHandle& op, Stack* stack) {
    if (!in_use.load(std::memory_order_relaxed) || !FUNCTION(*stack)) in_python(op, stack);
}

// Operators that give the same tensor at every call, as long as nothing is written into their arguments.
void held(const c10::OperatorHandle& op, Stack* stack) {
    static Memo<const void*> kept;
    const void* const schema = &op.schema();
    const size_t arguments = op.schema().arguments().size();
    Sources sources;
    for (const IValue& value : torch::jit::last(*stack, arguments)) sources.add(value);
    if (auto found = kept.find(sources); found && found->structure == schema) {
        torch::jit::drop(*stack, arguments);
        stack->emplace_back(std::move(found->tensors[0]));
        return;
    }
    // They may be written into meanwhile, but not go.
    const Stack given(stack->end() - arguments, stack->end());
    in_python(op, stack);
    kept.keep(sources, stack->back().toTensor(), schema);
}

template <c10::BoxedKernel::BoxedKernelFunction* FUNCTION>
torch::CppFunction boxed() {
    return torch::CppFunction::makeFromBoxedFunction<FUNCTION>();
}

}  // namespace fxc

TORCH_LIBRARY_IMPL(fxcompress, CPU, library) {
    using namespace fxc;
    library.impl("linear_dynamic", boxed<&one_backend<&linear_dynamic>>());
    library.impl("linear_static", boxed<&one_backend<&linear_static>>());
    library.impl("linear_tokens", boxed<&one_backend<&linear_tokens>>());
    library.impl("linear_weight_only", boxed<&one_backend<&linear_weight_only, false>>());
    library.impl("linear_groups", boxed<&one_backend<&linear_groups>>());
    library.impl("linear_sparse", boxed<&no_backend<&linear_sparse>>());
    library.impl("finish_rows", boxed<&one_backend<&finish_rows>>());
    library.impl("conv_static", boxed<&one_backend<&conv_static>>());
    library.impl("conv_dynamic", boxed<&one_backend<&conv_dynamic>>());
    library.impl("round_images", boxed<&one_backend<&round_images>>());
    library.impl("conv_pool_static", boxed<&one_backend<&conv_pool_static>>());
    library.impl("max_pool_u8", boxed<&no_backend<&max_pool_u8>>());
    library.impl("attention", boxed<&one_backend<&attention>>());
    library.impl("embedding_rows", boxed<&no_backend<&embedding_rows>>());
    library.impl("quantize_u8", boxed<&no_backend<&quantize_u8>>());
    for (const char* name : {"held_channels", "held_tensor", "held_groups", "held_transposed", "held_product"})
        library.impl(name, boxed<&held>());
}

extern "C" __attribute__((visibility("default"))) void fxc_use(int use) { fxc::in_use = use; }
