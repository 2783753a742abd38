// SPDX-License-Identifier: BSL-1.0
// Broadcast values on clusters: each is put there once, and taken away with the last handle.
#pragma once

#include <joblot/dask/protocol/batch_payload.hpp>
#include <joblot/dask/session/session.hpp>
#include <joblot/system/fork.hpp>
#include <joblot/system/visibility.hpp>
#include <joblot/wire/image.hpp>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace joblot::dask::engine {

/// Knows which broadcast values are on which clusters. One for each process; all members are thread-safe.
class scattered_images {
public:
    scattered_images() {
        detail::image_forgetters::add([](std::uint64_t id) { instance().forget(id); });
    }
    JOBLOT_ONE_PER_PROCESS static scattered_images& instance() {
        static constinit detail::per_process<scattered_images> one; // to the end: static destructors drop handles
        return one.get();
    }

    /// The key that a value has on a cluster; puts it there first, on all workers, unless it is there. Blocks.
    /// @throws backend_error No worker takes it, or the cluster is gone.
    std::string key_of(const detail::segment& image, const std::shared_ptr<session>& cluster,
                       const patience& how = {}) {
        const std::shared_ptr<entry> e = entry_of(image.id(), cluster);
        std::unique_lock lock(e->mutex, std::defer_lock); // one thread sends it, others wait until it is there
        how.lock(lock, "another call has been sending a broadcast value");
        if (e->key.empty()) {
            std::string key = "joblot_broadcast-" + std::to_string(image.id()) + "." + std::to_string(++e->sent) + "-" +
                              cluster->client_id();
            std::vector<payload> content;
            content.push_back(image_payload(image));
            cluster->scatter(key, std::move(content), true, how);
            e->key = std::move(key);
        }
        return e->key;
    }

    /// Asks the cluster whether it has lost a value: then `key_of` puts it there again. Blocks.
    /// @throws backend_error No worker takes it, or the cluster is gone.
    void check(const detail::segment& image, const std::shared_ptr<session>& cluster, const patience& how = {}) {
        const std::shared_ptr<entry> e = entry_of(image.id(), cluster);
        std::unique_lock lock(e->mutex, std::defer_lock);
        how.lock(lock, "another call has been sending a broadcast value");
        if (e->key.empty() || key_state(*cluster, e->key) == "memory") return;
        cluster->release({std::exchange(e->key, {})});
    }

private:
    struct entry {
        explicit entry(const std::shared_ptr<session>& s) : cluster(s) {}
        const std::weak_ptr<session> cluster;
        std::timed_mutex mutex;
        std::string key; // empty: not there
        int sent = 0;
    };

    std::shared_ptr<entry> entry_of(std::uint64_t id, const std::shared_ptr<session>& cluster) {
        const std::lock_guard lock(mutex_);
        std::vector<std::shared_ptr<entry>>& places = entries_[id];
        std::erase_if(places, [](const auto& e) { return e->cluster.expired(); });
        for (const auto& e : places) {
            if (is_same(e->cluster, cluster)) return e;
        }
        return places.emplace_back(std::make_shared<entry>(cluster));
    }

    /// Nobody has a handle of the value any more, nor a message that speaks of it.
    void forget(std::uint64_t id) {
        std::vector<std::shared_ptr<entry>> places;
        {
            const std::lock_guard lock(mutex_);
            const auto it = entries_.find(id);
            if (it == entries_.end()) return;
            places = std::move(it->second);
            entries_.erase(it);
        }
        for (const auto& e : places) {
            const std::shared_ptr<session> cluster = e->cluster.lock();
            if (!cluster || e->key.empty()) continue;
            unless_over([&] { cluster->release({e->key}); });
        }
    }

    std::mutex mutex_;
    std::map<std::uint64_t, std::vector<std::shared_ptr<entry>>> entries_; // guarded by mutex_; by image
};

} // namespace joblot::dask::engine
