// SPDX-License-Identifier: BSL-1.0
// `dataset`: what Python has published on a cluster, as C++ reads it.
#pragma once

#include <joblot/dask/chunk.hpp>
#include <joblot/dask/dtype.hpp>
#include <joblot/dask/held_keys.hpp>
#include <joblot/dask/session.hpp>
#include <joblot/dask/worker_call.hpp>
#include <joblot/error.hpp>
#include <joblot/wire/image.hpp>

#include <nlohmann/json.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace joblot::dask {

namespace engine {

/// What a worker says of a published dataset. @throws backend_error where it cannot.
inline json describe_dataset(const std::shared_ptr<session>& cluster, const std::string& name) {
    if (cluster->worker_threads().empty())
        throw backend_error("joblot: the Dask cluster at " + cluster->scheduler().text() +
                            " has no worker that could read dataset \"" + name + "\"; start one");
    const task_end end = ask_worker(cluster, "describe", name);
    if (end.how != task_end::kind::result)
        throw backend_error("joblot: dataset \"" + name + "\" cannot be read: " + end.type + ": " + end.text);
    const auto* const text = reinterpret_cast<const char*>(end.data.data());
    json facts = json::parse(text, text + end.data.size(), nullptr, false);
    if (!facts.is_object()) throw backend_error("joblot: a worker's description of a dataset makes no sense");
    return facts;
}

} // namespace engine

/// What was published on a cluster under a name, by Python's `client.publish_dataset(X=x)`: a Dask array of numbers, a
/// column of a data frame, or a list of futures of such. The data must be there: persisted, not only planned.
///
/// A cheap handle; as long as it or one of its chunks lives, the blocks stay on the cluster, even if the name is
/// unpublished. Thread-safe.
class dataset {
public:
    /// @throws backend_error where nothing usable is published under that name, which is said, or nothing at all.
    dataset(std::shared_ptr<engine::session> cluster, std::string name) : name_(std::move(name)) {
        const engine::json facts = engine::describe_dataset(cluster, name_);
        const std::string kind = facts.value("kind", "");
        if (kind == "none")
            throw backend_error("joblot: nothing is published as \"" + name_ + "\" on the Dask cluster at " +
                                cluster->scheduler().text() + "; in Python: client.publish_dataset(" + name_ + "=...)");
        if (kind == "table") refuse("is a table; publish a column of it, like frame[\"" + first_column(facts) + "\"]");
        if (kind == "other") refuse("is a " + facts.value("type", "value") + ", not an array, a column, or futures");
        std::vector<engine::json> keys = facts.value("keys", engine::json::array()).get<std::vector<engine::json>>();
        for (const engine::json& key : keys) {
            if (key.is_null()) refuse("is not there yet, but only planned; persist it before it is published");
        }
        dtype_ = facts.value("dtype", "");
        read_grid(facts, keys.size());
        held_ =
            std::make_shared<const engine::held_keys>(std::move(cluster), "dataset \"" + name_ + '"', std::move(keys));
        for (const engine::json& key : held_->keys())
            images_.push_back(std::make_shared<detail::segment>(detail::fresh_image_id(), key.dump(), held_));
    }

    [[nodiscard]] const std::string& name() const noexcept { return name_; }
    /// numpy's name of the elements' type, like "<f8"; "" for futures, whose values are not looked at.
    [[nodiscard]] const std::string& dtype() const noexcept { return dtype_; }
    /// How many chunks it has along each dimension.
    [[nodiscard]] const std::vector<std::size_t>& blocks() const noexcept { return blocks_; }
    /// How many chunks it has.
    [[nodiscard]] std::size_t size() const noexcept { return held_->keys().size(); }
    /// How many elements it has along each dimension; nothing where Python does not know, as with columns and futures.
    [[nodiscard]] const std::optional<std::vector<std::size_t>>& shape() const noexcept { return shape_; }

    /// Its chunks, as arguments for tasks; the last dimension's change first.
    /// @throws std::invalid_argument where the elements are of another type than `T`.
    template <class T>
    [[nodiscard]] std::vector<chunk<const T>> chunks() const {
        using value = std::remove_const_t<T>;
        const std::string wanted = dtype_of<value>();
        if (!dtype_.empty() && detail::in_this_order(dtype_) != wanted)
            throw std::invalid_argument("joblot: dataset \"" + name_ + "\" has elements of dtype " + dtype_ +
                                        ", and was asked for chunks of dtype " + wanted);
        std::vector<chunk<const T>> result;
        std::vector<std::size_t> at(blocks_.size());
        for (std::size_t i = 0; i != size(); ++i) {
            result.push_back(chunk<const T>(images_[i], chunk_name(at), at, offset_of(at)));
            for (std::size_t axis = at.size(); axis-- != 0;) {
                if (++at[axis] != blocks_[axis]) break;
                at[axis] = 0;
            }
        }
        return result;
    }

private:
    [[noreturn]] void refuse(const std::string& why) const {
        throw backend_error("joblot: dataset \"" + name_ + "\" " + why);
    }
    static std::string first_column(const engine::json& facts) {
        const engine::json columns = facts.value("columns", engine::json::array());
        return columns.empty() || !columns[0].is_string() ? std::string("name") : columns[0].get<std::string>();
    }
    /// Where its chunks begin, along each dimension.
    void read_grid(const engine::json& facts, std::size_t keys) {
        if (!facts.contains("chunks")) {
            blocks_ = {keys};
            return;
        }
        std::size_t product = 1;
        shape_.emplace();
        for (const engine::json& sizes : facts.at("chunks")) {
            std::vector<std::size_t> begins(1, 0);
            for (const engine::json& n : sizes) {
                if (!n.is_number_unsigned()) {
                    shape_.reset(); // of an unknown size
                    break;
                }
                begins.push_back(begins.back() + n.get<std::size_t>());
            }
            blocks_.push_back(sizes.size());
            product *= sizes.size();
            if (!shape_) continue;
            shape_->push_back(begins.back());
            begins_.push_back(std::move(begins));
        }
        if (!shape_) begins_.clear();
        if (product != keys) refuse("has " + std::to_string(keys) + " blocks, which are not those of its chunks");
    }
    [[nodiscard]] std::vector<std::size_t> offset_of(const std::vector<std::size_t>& at) const {
        std::vector<std::size_t> result;
        for (std::size_t axis = 0; axis != begins_.size(); ++axis) result.push_back(begins_[axis][at[axis]]);
        return result;
    }
    [[nodiscard]] std::string chunk_name(const std::vector<std::size_t>& at) const {
        std::string text = name_ + "[";
        for (std::size_t axis = 0; axis != at.size(); ++axis) text += (axis ? ", " : "") + std::to_string(at[axis]);
        return text + "]";
    }

    std::string name_, dtype_;
    std::vector<std::size_t> blocks_;
    std::optional<std::vector<std::size_t>> shape_;
    std::vector<std::vector<std::size_t>> begins_; // of chunks, along each dimension; empty where that is not known
    std::shared_ptr<const engine::held_keys> held_;
    std::vector<std::shared_ptr<detail::segment>> images_; // one for each key, so that a worker knows it again
};

} // namespace joblot::dask
