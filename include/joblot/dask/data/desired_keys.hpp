// SPDX-License-Identifier: BSL-1.0
// Keys that the client desires, as Dask calls it: their data stays on the cluster as long as somebody does.
#pragma once

#include <joblot/dask/data/lineage.hpp>
#include <joblot/dask/program/worker_call.hpp>
#include <joblot/dask/protocol/requests.hpp>
#include <joblot/dask/session/session.hpp>
#include <joblot/error.hpp>
#include <joblot/wire/segment.hpp>

#include <cstddef>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace joblot::dask::engine {

/// Desires some keys as long as it lives. All members are thread-safe.
class desired_keys final : public detail::data_owner {
public:
    /// For data that others have put there. @param name What they are, for errors.
    desired_keys(std::shared_ptr<session> cluster, std::string name, std::vector<json> keys)
        : cluster_(std::move(cluster)), name_(std::move(name)), keys_(std::move(keys)) {
        cluster_->desire(keys_);
    }
    /// For a persisted result, whose end as `persisted` has made it desired.
    desired_keys(std::shared_ptr<session> cluster, std::string name, std::shared_ptr<const engine::lineage> how)
        : cluster_(std::move(cluster)), name_(std::move(name)), keys_(1, json(how->key())), lineage_(std::move(how)) {}
    ~desired_keys() override {
        if (lineage_)
            lineage_->stop_desiring();
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

    /// Makes sure that the cluster has one of the keys, or is about to compute it; not that it is there already.
    /// Blocks.
    /// @return False: it is gone for good. @throws backend_error The cluster is gone.
    [[nodiscard]] bool make_sure(const json& key) const {
        return lineage_ ? lineage_->make_sure() : !key_state(*cluster_, key).is_null();
    }
    /// Of a persisted result; null for data of others.
    [[nodiscard]] const std::shared_ptr<const engine::lineage>& lineage() const noexcept { return lineage_; }

private:
    static constexpr int most_losses = 10;

    const std::shared_ptr<session> cluster_;
    const std::string name_;
    const std::vector<json> keys_;
    const std::shared_ptr<const engine::lineage> lineage_{};
};

/// Who desires the data that a message in memory is made of. @param image One with a key.
inline const desired_keys& owner_of(const detail::segment& image) {
    return static_cast<const desired_keys&>(*image.owner());
}
/// Makes sure that it is on the cluster. @throws backend_error where it is gone for good.
inline void check_there(const detail::segment& image) {
    if (owner_of(image).make_sure(json::parse(image.key()))) return;
    throw backend_error("joblot: " + image.key() + " of " + owner_of(image).name() +
                        " is not on the cluster any more: it was lost with its worker, or cancelled, and cannot be "
                        "computed again");
}

} // namespace joblot::dask::engine
