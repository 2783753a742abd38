// SPDX-License-Identifier: BSL-1.0
// Data on a cluster that is to stay there for a while.
#pragma once

#include <joblot/dask/recipe.hpp>
#include <joblot/dask/requests.hpp>
#include <joblot/dask/session.hpp>
#include <joblot/dask/worker_call.hpp>
#include <joblot/error.hpp>
#include <joblot/wire/segment.hpp>

#include <cstddef>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace joblot::dask::engine {

/// Wants some keys as long as it lives. All members are thread-safe.
class held_keys final : public detail::cluster_data {
public:
    /// For data that others have put there. @param name What they are, for errors.
    held_keys(std::shared_ptr<session> cluster, std::string name, std::vector<json> keys)
        : cluster_(std::move(cluster)), name_(std::move(name)), keys_(std::move(keys)) {
        cluster_->desire(keys_);
    }
    /// For a result that was just made.
    held_keys(std::shared_ptr<session> cluster, std::string name, std::shared_ptr<const recipe> made)
        : cluster_(std::move(cluster)), name_(std::move(name)), keys_(1, json(made->key())), made_(std::move(made)) {}
    ~held_keys() override {
        if (made_)
            made_->let_go();
        else
            unless_over([this] { cluster_->stop_desiring(keys_); });
    }

    /// What they are, for errors: "dataset "X"".
    [[nodiscard]] const std::string& name() const noexcept { return name_; }
    [[nodiscard]] const std::vector<json>& keys() const noexcept { return keys_; }
    [[nodiscard]] const std::shared_ptr<session>& cluster() const noexcept { return cluster_; }

    [[nodiscard]] std::shared_ptr<detail::segment> fetch(const detail::segment& place) const override {
        const json key = json::parse(place.key());
        const std::string how = place.is_message() ? "fetch_message" : "fetch_block";
        task_end end = ask_worker(cluster_, how, "", {key});
        for (int i = 0; i != most_losses && end.how == task_end::kind::cancelled && make_sure(key); ++i)
            end = ask_worker(cluster_, how, "", {key});
        if (end.how != task_end::kind::result)
            throw backend_error("joblot: " + name_ + " could not be brought here from the Dask cluster: " + end.type +
                                (end.type.empty() || end.text.empty() ? "" : ": ") + end.text);
        detail::descriptor file = detail::shared_memory("joblot-result");
        const detail::mapping map = file && detail::reserve_shared(file.get(), end.data.size())
                                        ? detail::mapping(file.get(), end.data.size(), true)
                                        : detail::mapping();
        if (!map) throw backend_error("joblot: there is no memory for " + name_);
        std::memcpy(map.data(), end.data.data(), end.data.size());
        return std::make_shared<detail::segment>(place.id(), std::move(file));
    }

    /// Makes sure that the cluster has one of the keys, or is about to make it; not that it is there already. Blocks.
    /// @return False: it is gone for good. @throws backend_error.
    [[nodiscard]] bool make_sure(const json& key) const {
        return made_ ? made_->make_sure() : !key_state(*cluster_, key).is_null();
    }
    /// How a result of ours was made; null for data of others.
    [[nodiscard]] const std::shared_ptr<const recipe>& made() const noexcept { return made_; }

private:
    static constexpr int most_losses = 10;

    const std::shared_ptr<session> cluster_;
    const std::string name_;
    const std::vector<json> keys_;
    const std::shared_ptr<const recipe> made_{};
};

/// Whose keys they are that a message in memory is made of. @param image One with a key.
inline const held_keys& held_by(const detail::segment& image) { return static_cast<const held_keys&>(*image.owner()); }
/// Makes sure that it is on the cluster. @throws backend_error where it is gone for good.
inline void check_there(const detail::segment& image) {
    if (held_by(image).make_sure(json::parse(image.key()))) return;
    throw backend_error("joblot: " + image.key() + " of " + held_by(image).name() +
                        " is not on the cluster any more: it was lost with its worker, or cancelled, and cannot be "
                        "computed again");
}

} // namespace joblot::dask::engine
