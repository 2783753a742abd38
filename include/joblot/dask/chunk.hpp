// SPDX-License-Identifier: BSL-1.0
// `chunk`: a block of a dataset that Python put on the cluster, as a task reads it.
#pragma once

#include <joblot/dask/dtype.hpp>
#include <joblot/error.hpp>
#include <joblot/wire/block.hpp>
#include <joblot/wire/codec.hpp>
#include <joblot/wire/segment.hpp>

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace joblot::dask {

class dataset;
namespace engine {
template <class P>
struct exported_argument;
}

/// A block of a dataset, in a task that was given it as an argument: a read-only array of numbers of any number of
/// dimensions, in the order of Python's rows (C) or columns (Fortran), as it was there. `T` is `const` and `numeric`.
///
/// The task runs on a worker that has the block, if one is free; the numbers do not pass through the client. They stay
/// where they are as long as the task runs. Where the call is made it is a handle, cheap to copy, that keeps the block
/// on the cluster; it has no numbers there. Thread-safe.
template <class T>
    requires(std::is_const_v<T> && numeric<std::remove_const_t<T>>)
class chunk {
public:
    using element_type = T;
    using value_type = std::remove_const_t<T>;

    chunk() = default; ///< no block

    /// How many indices an element has.
    [[nodiscard]] std::size_t ndim() const { return view().shape.size(); }
    [[nodiscard]] const std::vector<std::size_t>& shape() const { return view().shape; }
    /// How many elements there are.
    [[nodiscard]] std::size_t size() const { return view().bytes.size() / sizeof(T); }
    /// How far it is, in elements, from one to the next along each dimension.
    [[nodiscard]] std::vector<std::size_t> strides() const {
        std::vector<std::size_t> result(ndim());
        std::size_t step = 1;
        for (std::size_t i = 0; i != result.size(); ++i) {
            const std::size_t axis = is_fortran() ? i : result.size() - 1 - i;
            result[axis] = step;
            step *= shape()[axis];
        }
        return result;
    }
    /// Whether the first index is the one that changes from an element to the next in memory; else the last one.
    [[nodiscard]] bool is_fortran() const { return view().fortran; }
    /// All elements, in the order in which they are in memory, without gaps.
    [[nodiscard]] std::span<T> span() const {
        return {reinterpret_cast<T*>(view().bytes.data()), size()}; // aligned to 64
    }
    [[nodiscard]] T* data() const { return span().data(); }
    operator std::span<T>() const { return span(); }

    /// An element, by one index for each dimension. @throws std::out_of_range There is no such element.
    template <std::convertible_to<std::size_t>... Index>
    [[nodiscard]] T& operator()(Index... index) const {
        const std::array<std::size_t, sizeof...(Index)> at{static_cast<std::size_t>(index)...};
        const std::vector<std::size_t>& n = shape();
        if (at.size() != n.size())
            throw std::out_of_range("joblot: a chunk of " + std::to_string(n.size()) + " dimensions was given " +
                                    std::to_string(at.size()) + " indices");
        std::size_t place = 0, step = 1;
        for (std::size_t i = 0; i != at.size(); ++i) {
            const std::size_t axis = is_fortran() ? i : at.size() - 1 - i;
            if (at[axis] >= n[axis])
                throw std::out_of_range("joblot: index " + std::to_string(at[axis]) + " of a chunk's dimension " +
                                        std::to_string(axis) + ", which has " + std::to_string(n[axis]));
            place += at[axis] * step;
            step *= n[axis];
        }
        return span()[place];
    }

    /// Its place among the chunks of its dataset, along each dimension; known everywhere.
    [[nodiscard]] const std::vector<std::size_t>& block() const noexcept { return block_; }
    /// The index that its first element has in the whole dataset; known everywhere, for arrays with known chunks.
    [[nodiscard]] const std::vector<std::size_t>& offset() const noexcept { return offset_; }
    /// Its dataset, and its place there: "X[0, 1]".
    [[nodiscard]] const std::string& name() const noexcept { return name_; }

    // For the library's own parts.
    template <class Archive>
    void save(Archive& to) const {
        to(name_, block_, offset_, image_ ? image_->id() : std::uint64_t{0});
        if constexpr (std::same_as<Archive, detail::encoder>) {
            if (image_) to.message().images.push_back(image_);
        }
    }
    template <class Archive>
    void load(Archive& from) {
        std::uint64_t id = 0;
        from(name_, block_, offset_, id);
        if constexpr (std::same_as<Archive, detail::decoder>) {
            if (id) image_ = from.image(id);
            if (image_) read();
        }
    }

private:
    friend class dataset;
    friend struct engine::exported_argument<chunk>;
    chunk(std::shared_ptr<detail::segment> image, std::string name, std::vector<std::size_t> block,
          std::vector<std::size_t> offset)
        : image_(std::move(image)), name_(std::move(name)), block_(std::move(block)), offset_(std::move(offset)) {}

    void read() {
        detail::incoming message = image_->message();
        const std::string dtype = dtype_of<value_type>(), wanted = "numbers of dtype " + dtype;
        auto view = std::make_shared<detail::block_view>(detail::read_block(message, name_, wanted));
        if (view->dtype != dtype) detail::refuse_block(name_, wanted, "its dtype is " + view->dtype);
        view_ = std::move(view);
    }
    const detail::block_view& view() const {
        if (view_) return *view_;
        throw backend_error("joblot: " + (name_.empty() ? "an empty chunk" : name_) +
                            " has its numbers on the cluster: pass it to a task, and run that there with a "
                            "dask::backend");
    }

    std::shared_ptr<detail::segment> image_;
    std::shared_ptr<const detail::block_view> view_; // null but where it has arrived
    std::string name_;
    std::vector<std::size_t> block_, offset_;
};

} // namespace joblot::dask
