// SPDX-License-Identifier: BSL-1.0
// Data on a cluster that is to stay there for a while.
#pragma once

#include <joblot/dask/requests.hpp>
#include <joblot/dask/session.hpp>
#include <joblot/dask/worker_call.hpp>
#include <joblot/error.hpp>
#include <joblot/wire/segment.hpp>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace joblot::dask::engine {

/// Wants some keys as long as it lives.
class held_keys final : public detail::cluster_data {
public:
    /// What a result needs where it has to be computed again.
    struct ingredients {
        std::vector<std::shared_ptr<detail::segment>> images; ///< broadcast values, and data of others
        std::string payload_key;                              ///< arguments that were brought there; empty: none
    };

    /// For data that others have put there. @param name What they are, for errors.
    held_keys(std::shared_ptr<session> cluster, std::string name, std::vector<json> keys)
        : cluster_(std::move(cluster)), name_(std::move(name)), keys_(std::move(keys)) {
        cluster_->desire(keys_);
    }
    /// For a result that was just made, which ended as `kept`.
    held_keys(std::shared_ptr<session> cluster, std::string name, const std::string& key, ingredients needs)
        : cluster_(std::move(cluster)), name_(std::move(name)), keys_(1, json(key)), needs_(std::move(needs)) {}
    ~held_keys() override {
        try {
            cluster_->stop_desiring(keys_);
            if (!needs_.payload_key.empty()) cluster_->release(std::vector<json>(1, needs_.payload_key));
        } catch (const backend_error&) { // its connection is gone, and what it wanted with it
        }
    }

    /// What they are, for errors: "dataset "X"".
    [[nodiscard]] const std::string& name() const noexcept { return name_; }
    [[nodiscard]] const std::vector<json>& keys() const noexcept { return keys_; }
    [[nodiscard]] const std::shared_ptr<session>& cluster() const noexcept { return cluster_; }

    [[nodiscard]] std::shared_ptr<detail::segment> fetch(const detail::segment& place) const override {
        const task_end end =
            ask_worker(cluster_, place.is_message() ? "fetch_message" : "fetch_block", "", {json::parse(place.key())});
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

private:
    const std::shared_ptr<session> cluster_;
    const std::string name_;
    const std::vector<json> keys_;
    const ingredients needs_{};
};

/// Whose keys they are that a message in memory is made of. @param image One with a key.
inline const held_keys& held_by(const detail::segment& image) { return static_cast<const held_keys&>(*image.owner()); }
/// @throws backend_error where such data is gone from the cluster for good.
inline void check_there(const detail::segment& image, session& cluster) {
    const json states = cluster.call(requests::task_status(std::vector<json>(1, json::parse(image.key()))));
    if (states.is_object() && std::any_of(states.begin(), states.end(), [](const json& s) { return !s.is_null(); }))
        return;
    throw backend_error("joblot: " + image.key() + " of " + held_by(image).name() +
                        " is not on the cluster any more: it was lost with its worker, or cancelled, and Dask "
                        "cannot compute it again");
}

} // namespace joblot::dask::engine
