// SPDX-License-Identifier: BSL-1.0
// Brings data for tasks to a cluster, some at a time, while others wait.
#pragma once

#include <joblot/dask/events.hpp>
#include <joblot/dask/peer_link.hpp>

#include <boost/asio/co_spawn.hpp>

#include <algorithm>
#include <chrono>
#include <deque>
#include <exception>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace joblot::dask::engine {

/// How an upload ended.
struct upload_end {
    bool wanted = true;           ///< false: it was cancelled
    std::string error;            ///< why the data is not there; empty: it is
    comm::clock::duration took{}; ///< from when it was begun
};

/// For the session's thread alone. Lives until all that it spawned has ended, which happens soon after `close` and the
/// end of the scheduler's connections.
class uploads {
public:
    using clock = comm::clock;
    using listener = std::function<void(const upload_end&)>;

    /// @param broken Is told what a listener threw.
    uploads(asio::any_io_executor executor, peer_link& scheduler, std::chrono::milliseconds connect,
            std::function<void(std::exception_ptr)> broken)
        : executor_(std::move(executor)), scheduler_(scheduler), connect_(connect), broken_(std::move(broken)) {}

    /// @param request  What puts the data there; it must not change, and is gone when `told` is called.
    /// @param told     Is told of the end, once, unless `close` comes first.
    void add(std::string key, std::shared_ptr<const encoded_message> request, listener told) {
        all_.push_back({std::move(key), std::move(request), std::move(told)});
        if (running_ < at_once) {
            ++running_;
            asio::co_spawn(executor_, bring_all(), [this](const std::exception_ptr& e) {
                --running_;
                if (e) broken_(e);
            });
        }
    }
    /// It is not wanted any more; its end comes when nothing of it is read any more.
    /// @return Whether there is such an upload, that has not ended.
    bool cancel(const std::string& key) {
        const auto one = std::find_if(all_.begin(), all_.end(), [&](const upload& u) { return u.key == key; });
        if (one == all_.end()) return false;
        one->wanted = false;
        return true;
    }
    /// Nothing more is begun, and nobody is told any more.
    void close() noexcept {
        closed_ = true;
        std::erase_if(all_, [](const upload& u) { return !u.begun; });
    }

private:
    static constexpr int at_once = 4; // the scheduler, which it goes through, takes one after the other

    struct upload {
        std::string key;
        std::shared_ptr<const encoded_message> request;
        listener told;
        bool wanted = true, begun = false;
    };
    using list = std::list<upload>; // whoever brings one holds a place in it meanwhile

    asio::awaitable<void> bring_all() {
        for (;;) {
            const auto next = std::find_if(all_.begin(), all_.end(), [](const upload& u) { return !u.begun; });
            if (next == all_.end()) co_return;
            co_await bring(next);
        }
    }
    asio::awaitable<void> bring(list::iterator it) {
        it->begun = true;
        upload_end how;
        const auto began = clock::now();
        if (it->wanted) how.error = co_await send(*it->request);
        how.took = clock::now() - began;
        how.wanted = it->wanted;
        const listener told = std::move(it->told);
        all_.erase(it);
        if (!closed_) told(how);
    }
    /// @return What went wrong, if anything.
    asio::awaitable<std::string> send(const encoded_message& request) {
        try {
            const message answer = co_await scheduler_.ask(request, {connect_});
            co_return answer_error(answer.head).value_or("");
        } catch (const std::exception& e) {
            co_return e.what();
        }
    }

    asio::any_io_executor executor_;
    peer_link& scheduler_;
    const std::chrono::milliseconds connect_;
    const std::function<void(std::exception_ptr)> broken_;
    list all_; // those that have not ended
    int running_ = 0;
    bool closed_ = false;
};

} // namespace joblot::dask::engine
