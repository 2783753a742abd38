// SPDX-License-Identifier: BSL-1.0
// The cluster's workers as they can be reached from here, or cannot.
#pragma once

#include <joblot/dask/net/peer_link.hpp>
#include <joblot/dask/protocol/address.hpp>
#include <joblot/dask/session/session_types.hpp>
#include <joblot/error.hpp>

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <utility>

namespace joblot::dask::engine {

/// For the session's thread alone.
class worker_peers {
public:
    using clock = comm::clock;

    /// A worker, with connections that are made as they are needed. Whoever awaits something of it holds the pointer.
    struct peer {
        peer_link link;
        clock::time_point unreachable_until{}; // from here
        std::chrono::seconds next_pause{60};

        /// It cannot be reached from here, or has ended.
        void give_up() noexcept {
            unreachable_until = clock::now() + next_pause;
            next_pause = std::min(next_pause * 2, std::chrono::seconds(600));
        }
        [[nodiscard]] bool may_be_reached() const noexcept { return clock::now() >= unreachable_until; }
        void answered() noexcept { next_pause = std::chrono::seconds(60); }
    };
    worker_peers(asio::any_io_executor executor, std::shared_ptr<tls_context> tls, const connect_options& options)
        : executor_(std::move(executor)), tls_(std::move(tls)),
          limits_{std::min(options.timeout, std::chrono::milliseconds(3000)), options.liveness_timeout} {}

    /// How long one is waited for, before the scheduler is asked instead.
    [[nodiscard]] const peer_link::limits& limits() const noexcept { return limits_; }
    /// Null where it is known that it cannot be reached.
    std::shared_ptr<peer> reachable(const std::string& text) {
        auto& found = peers_[text];
        try {
            if (!found) found = std::make_shared<peer>(peer{peer_link(executor_, address::of(text), tls_, [] {})});
        } catch (const backend_error&) { // of a kind that is not supported
            peers_.erase(text);
            return nullptr;
        }
        if (found->link.peer().tls && !tls_) return nullptr;
        return found->may_be_reached() ? found : nullptr;
    }
    /// Forgets workers that are gone, as far as nobody uses them.
    void keep_only(const std::map<std::string, int>& workers) {
        std::erase_if(peers_, [&](const auto& p) { return !workers.contains(p.first) && p.second.use_count() == 1; });
    }
    /// Ends all connections: what waits for an answer fails.
    void close() noexcept {
        for (auto& [address, p] : peers_) p->link.close();
    }

private:
    asio::any_io_executor executor_;
    std::shared_ptr<tls_context> tls_;
    const peer_link::limits limits_;
    std::map<std::string, std::shared_ptr<peer>> peers_; // by address
};

} // namespace joblot::dask::engine
