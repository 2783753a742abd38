// SPDX-License-Identifier: BSL-1.0
// `dataset`: what Python has published on a cluster, as C++ reads it.
#pragma once

#include <joblot/core/requirements.hpp>

#include <joblot/dask/chunk.hpp>
#include <joblot/dask/dtype.hpp>
#include <joblot/wire/segment.hpp>

#include <cstddef>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace joblot::dask {

namespace engine {

/// What a dataset is made of.
struct dataset_parts {
    std::string name, dtype;
    std::vector<std::size_t> blocks{};                      ///< how many, along each dimension
    std::optional<std::vector<std::size_t>> shape{};        ///< where it is known
    std::vector<std::vector<std::size_t>> begins{};         ///< of chunks, along each dimension; empty where not known
    std::vector<std::shared_ptr<detail::segment>> images{}; ///< one for each block, so that a worker knows it again
};

} // namespace engine

/// What was published on a cluster under a name, by Python's `client.publish_dataset(X=x)`: a Dask array of numbers, a
/// column of a data frame, or a list of futures of such. The data must be there: persisted, not only planned.
///
/// A cheap handle; as long as it or one of its chunks lives, the blocks stay on the cluster, even if the name is
/// unpublished. Thread-safe.
class dataset {
public:
    /// For the engine, which has read what there is.
    explicit dataset(engine::dataset_parts parts)
        : parts_(std::make_shared<const engine::dataset_parts>(std::move(parts))) {}

    [[nodiscard]] const std::string& name() const noexcept { return parts_->name; }
    /// numpy's name of the elements' type, like "<f8"; "" for futures, whose values are not looked at.
    [[nodiscard]] const std::string& dtype() const noexcept { return parts_->dtype; }
    /// How many chunks it has along each dimension.
    [[nodiscard]] const std::vector<std::size_t>& blocks() const noexcept { return parts_->blocks; }
    /// How many chunks it has.
    [[nodiscard]] std::size_t size() const noexcept { return parts_->images.size(); }
    /// How many elements it has along each dimension; nothing where Python does not know, as with columns and futures.
    [[nodiscard]] const std::optional<std::vector<std::size_t>>& shape() const noexcept { return parts_->shape; }

    /// Its chunks, as arguments for tasks; the last dimension's change first.
    /// @throws std::invalid_argument where the elements are of another type than `T`.
    template <class T>
    [[nodiscard]] std::vector<chunk<const T>> chunks() const {
        using value = std::remove_const_t<T>;
        const std::string wanted = dtype_of<value>();
        if (!parts_->dtype.empty() && detail::in_this_order(parts_->dtype) != wanted)
            throw std::invalid_argument("joblot: dataset \"" + parts_->name + "\" has elements of dtype " +
                                        parts_->dtype + ", and was asked for chunks of dtype " + wanted);
        std::vector<chunk<const T>> result;
        std::vector<std::size_t> at(parts_->blocks.size());
        for (std::size_t i = 0; i != size(); ++i) {
            result.push_back(chunk<const T>(parts_->images[i], chunk_name(at), at, offset_of(at)));
            for (std::size_t axis = at.size(); axis-- != 0;) {
                if (++at[axis] != parts_->blocks[axis]) break;
                at[axis] = 0;
            }
        }
        return result;
    }

private:
    [[nodiscard]] std::vector<std::size_t> offset_of(const std::vector<std::size_t>& at) const {
        std::vector<std::size_t> result;
        for (std::size_t axis = 0; axis != parts_->begins.size(); ++axis)
            result.push_back(parts_->begins[axis][at[axis]]);
        return result;
    }
    [[nodiscard]] std::string chunk_name(const std::vector<std::size_t>& at) const {
        std::string text = parts_->name + "[";
        for (std::size_t axis = 0; axis != at.size(); ++axis) text += (axis ? ", " : "") + std::to_string(at[axis]);
        return text + "]";
    }

    std::shared_ptr<const engine::dataset_parts> parts_; // never null
};

} // namespace joblot::dask
