// What Python has made of stored tensors, found again by these tensors without asking Python.
//
// Python holds what it made as long as the tensors live. Here everything is held weakly, so nothing outlives it there.
#pragma once
#include <ATen/core/Tensor.h>
#include <ATen/core/stack.h>

#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

namespace fxc {

using at::Tensor;
using c10::IValue;
using torch::jit::Stack;
using Values = c10::ArrayRef<IValue>;
using Weak = c10::weak_intrusive_ptr<c10::TensorImpl, c10::UndefinedTensorImpl>;

inline Weak weak(const Tensor& tensor) { return Weak(tensor.getIntrusivePtr()); }

// One tensor that something was made of, with what changes when it is written into. The weak reference keeps the
// address from being given to another tensor.
class Source {
public:
    explicit Source(const Tensor& tensor)
        : tensor(weak(tensor)),
          data(tensor.unsafeGetTensorImpl()->data()),
          version(version_of(tensor.unsafeGetTensorImpl())) {}

    bool is_still(c10::TensorImpl* other) const {
        return tensor._unsafe_get_target() == other && other->data() == data && version_of(other) == version;
    }
    bool is_gone() const { return tensor.expired(); }

private:
    // Tensors of inference mode count no writes.
    static int64_t version_of(c10::TensorImpl* tensor) {
        return tensor->is_inference() ? -1 : (int64_t)tensor->version_counter().current_version();
    }

    Weak tensor;
    const void* data;
    int64_t version;
};

// What is made of given arguments: of tensors, of which some may be missing, and of numbers.
class Sources {
public:
    void add(const IValue& value) {
        if (value.isTensor())
            tensors.push_back(value.unsafeToTensorImpl());
        else if (value.isNone())
            tensors.push_back(nullptr);
        else
            numbers.push_back(value.toScalar().toDouble());
    }
    void add_all(Values values) {
        for (const IValue& value : values) add(value);
        // Two lists are not the same as one.
        numbers.push_back((double)values.size());
    }

    c10::SmallVector<c10::TensorImpl*, 12> tensors;
    c10::SmallVector<double, 4> numbers;
};

// Remembers one thing for each first tensor: the tensors that Python made, and `Structure`, which points into them.
template <class Structure>
class Memo {
public:
    struct Found {
        c10::SmallVector<Tensor, 6> tensors;
        Structure structure;
    };

    std::optional<Found> find(const Sources& sources) {
        std::lock_guard<std::mutex> guard(mutex);
        const auto place = entries.find(sources.tensors[0]);
        if (place == entries.end() || !place->second.holds_for(sources)) return std::nullopt;
        Found found{{}, place->second.structure};
        for (const Weak& one : place->second.made) {
            auto strong = one.lock();
            if (!strong) return std::nullopt;
            found.tensors.emplace_back(std::move(strong));
        }
        return found;
    }

    void keep(const Sources& sources, c10::ArrayRef<Tensor> made, const Structure& structure) {
        std::lock_guard<std::mutex> guard(mutex);
        forget_what_is_gone();
        entries.insert_or_assign(sources.tensors[0], Entry(sources, made, structure));
    }

private:
    struct Entry {
        Entry(const Sources& given, c10::ArrayRef<Tensor> tensors, const Structure& structure)
            : numbers(given.numbers), structure(structure) {
            for (c10::TensorImpl* one : given.tensors)
                sources.push_back(one ? std::optional<Source>(Source(borrowed(one))) : std::nullopt);
            for (const Tensor& one : tensors) made.push_back(weak(one));
        }

        bool holds_for(const Sources& given) const {
            if (given.tensors.size() != sources.size() || given.numbers != numbers) return false;
            for (size_t i = 0; i < sources.size(); i++)
                if (given.tensors[i] ? !sources[i] || !sources[i]->is_still(given.tensors[i]) : sources[i].has_value())
                    return false;
            return true;
        }

        static Tensor borrowed(c10::TensorImpl* tensor) {
            return Tensor(c10::intrusive_ptr<c10::TensorImpl, c10::UndefinedTensorImpl>::reclaim_copy(tensor));
        }

        std::vector<std::optional<Source>> sources;
        c10::SmallVector<double, 4> numbers;
        std::vector<Weak> made;
        Structure structure;
    };

    // Rare: something is packed.
    void forget_what_is_gone() {
        for (auto place = entries.begin(); place != entries.end();)
            place = place->second.sources[0]->is_gone() ? entries.erase(place) : std::next(place);
    }

    std::mutex mutex;
    std::unordered_map<c10::TensorImpl*, Entry> entries;
};

}  // namespace fxc
