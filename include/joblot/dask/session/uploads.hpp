// SPDX-License-Identifier: BSL-1.0
// Brings data for tasks to a cluster's workers, some at a time, while others wait: straight to a worker, or through the
// scheduler where that cannot be reached from here.
#pragma once

#include <joblot/dask/net/peer_link.hpp>
#include <joblot/dask/net/sleep.hpp>
#include <joblot/dask/protocol/events.hpp>
#include <joblot/dask/protocol/requests.hpp>
#include <joblot/dask/session/worker_peers.hpp>

#include <boost/asio/co_spawn.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <exception>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace joblot::dask::engine {

/// Data that is to be brought to a cluster.
struct upload {
    std::string key;             ///< of the data
    std::vector<payload> pieces; ///< must last until the end is told
    python_class type;           ///< what it is there
    std::string worker;          ///< who gets it, by address; "": whom the scheduler chooses
};
/// How an upload ended.
struct upload_end {
    bool wanted = true;           ///< false: it was cancelled
    std::string error;            ///< why the data is not there; empty: it is
    comm::clock::duration took{}; ///< since it was begun
};

/// For the session's thread alone. Lives until all that it spawned has ended, which happens soon after `close` and the
/// end of all connections.
class uploads {
public:
    using clock = comm::clock;
    using listener = std::function<void(const upload_end&)>;

    /// @param limit  The scheduler's.
    /// @param broken Is told what a listener threw.
    uploads(asio::any_io_executor executor, std::string client_id, peer_link& scheduler, peer_link::limits limit,
            worker_peers& peers, std::function<void(std::exception_ptr)> broken)
        : executor_(std::move(executor)), client_id_(std::move(client_id)), scheduler_(scheduler), limit_(limit),
          peers_(peers), broken_(std::move(broken)) {}

    /// @param to   What the cluster understands. It outlives all.
    /// @param told Is told of the end, once, unless `close` comes first: when nothing of the pieces is read any more.
    void add(upload what, const dialect& to, listener told) {
        all_.push_back({std::move(what), to, std::move(told)});
        if (running_ == at_once) return;
        ++running_;
        asio::co_spawn(executor_, bring_all(), [this](const std::exception_ptr& e) {
            --running_;
            if (e) broken_(e);
        });
    }
    /// The data is not wanted any more; the end is told in any case.
    /// @return Whether there is such an upload, that has not ended.
    bool cancel(const std::string& key) {
        const auto one = std::find_if(all_.begin(), all_.end(), [&](const entry& e) { return e.what.key == key; });
        if (one == all_.end()) return false;
        one->wanted = false;
        return true;
    }
    /// Nothing more is begun, and nobody is told any more.
    void close() noexcept {
        closed_ = true;
        std::erase_if(all_, [](const entry& e) { return !e.begun; });
    }

private:
    static constexpr int at_once = 4;             // a core of the client is busy with that
    static constexpr double scatter_seconds = 30; // that a scheduler waits for a worker

    struct entry {
        upload what;
        const dialect& to;
        listener told;
        bool wanted = true, begun = false;
    };
    using list = std::list<entry>; // whoever brings one holds a place in it meanwhile

    asio::awaitable<void> bring_all() {
        for (;;) {
            const auto next = std::find_if(all_.begin(), all_.end(), [](const entry& e) { return !e.begun; });
            if (next == all_.end()) co_return;
            co_await bring(next);
        }
    }
    asio::awaitable<void> bring(list::iterator it) {
        it->begun = true;
        upload_end how;
        const auto began = clock::now();
        try {
            if (it->wanted && !co_await straight(*it)) how.error = co_await through_scheduler(it->what);
        } catch (const std::exception& e) {
            how.error = e.what();
        }
        how.took = clock::now() - began;
        how.wanted = it->wanted;
        const listener told = std::move(it->told);
        all_.erase(it);
        if (!closed_) told(how);
    }

    /// @return Whether the worker has it, and the scheduler knows.
    asio::awaitable<bool> straight(const entry& e) {
        const upload& what = e.what;
        if (what.worker.empty()) co_return false;
        const auto peer = peers_.reachable(what.worker);
        if (!peer) co_return false;
        std::optional<message> answer;
        try {
            message_writer writer;
            const encoded_message request =
                writer.finish(requests::put_data(writer, e.to, what.key, what.pieces, what.type));
            answer = co_await peer->link.ask(request, peers_.limits());
        } catch (const comm_error&) {
            peer->give_up();
        }
        if (!answer) { // the scheduler is given the time to notice, if the worker has ended
            co_await sleep_for(std::chrono::milliseconds(100));
            co_return false;
        }
        if (answer_error(answer->head)) co_return false;
        std::size_t size = 0;
        for (const payload& p : what.pieces) size += p.bytes.size();
        message_writer writer;
        const std::string error =
            co_await ask_scheduler(writer.finish(requests::tell_of_data(client_id_, what.key, what.worker, size)));
        co_return error.empty();
    }
    /// @return What went wrong, if anything.
    asio::awaitable<std::string> through_scheduler(const upload& what) {
        message_writer writer;
        co_return co_await ask_scheduler(writer.finish(
            requests::scatter(writer, client_id_, what.key, what.pieces, false, {}, scatter_seconds, what.type)));
    }
    /// @return What is wrong according to the answer, if anything.
    asio::awaitable<std::string> ask_scheduler(encoded_message request) {
        const message answer = co_await scheduler_.ask(request, limit_);
        co_return answer_error(answer.head).value_or("");
    }

    asio::any_io_executor executor_;
    const std::string client_id_;
    peer_link& scheduler_;
    const peer_link::limits limit_;
    worker_peers& peers_;
    const std::function<void(std::exception_ptr)> broken_;
    list all_; // those that have not ended
    int running_ = 0;
    bool closed_ = false;
};

} // namespace joblot::dask::engine
