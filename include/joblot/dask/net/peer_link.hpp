// SPDX-License-Identifier: BSL-1.0
// Requests to one scheduler or worker: each on a connection that no other uses meanwhile, kept for the next.
#pragma once

#include <joblot/dask/net/comm.hpp>

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace joblot::dask::engine {

/// For the session's thread alone. Its owner outlives what it awaits.
class peer_link {
public:
    using clock = comm::clock;

    /// How long a request may take.
    struct limits {
        std::chrono::milliseconds connect;                  ///< to make a connection, where one is needed
        std::optional<std::chrono::milliseconds> silence{}; ///< without a byte of the answer; nothing: any time
    };

    peer_link(asio::any_io_executor executor, address peer, std::shared_ptr<tls_context> tls,
              std::function<void()> heard)
        : executor_(std::move(executor)), peer_(std::move(peer)), tls_(std::move(tls)), heard_(std::move(heard)) {}

    /// The answer to a request. @throws comm_error The connection has failed.
    /// @param thanks Is sent after an answer whose status is "OK".
    asio::awaitable<message> ask(const encoded_message& request, limits limit,
                                 const encoded_message* thanks = nullptr) {
        for (;;) {
            std::shared_ptr<comm> line = take_idle();
            const bool fresh = !line;
            if (fresh) line = co_await dial(clock::now() + limit.connect);
            std::optional<message> answer;
            std::optional<comm_error> failed;
            try {
                line->limit_silence(limit.silence);
                co_await line->write(request);
                answer = co_await line->read();
                if (thanks && answer->head.is_object() && answer->head.value("status", json()) == "OK")
                    co_await line->write(*thanks);
            } catch (const comm_error& e) { // after the answer it does not matter
                failed = e;
            }
            put_back(std::move(line), !failed);
            if (answer) co_return std::move(*answer);
            if (fresh || closed_) throw *failed;
            close_idle(); // Dask closes what is idle for long: the others are as old
        }
    }

    /// A new connection, which is the caller's, but for `close`.
    asio::awaitable<std::shared_ptr<comm>> dial(clock::time_point deadline) {
        if (closed_) throw comm_error("joblot: the connection to " + peer_.text() + " is closed", false);
        auto line = std::make_shared<comm>(executor_, peer_, heard_);
        all_.push_back(line);
        try {
            co_await line->open(tls_, deadline);
        } catch (...) {
            forget(line);
            throw;
        }
        co_return line;
    }

    /// Closes all connections; what waits for them fails, and so does what comes later.
    void close() noexcept {
        closed_ = true;
        for (const auto& line : all_) line->give_up();
        idle_.clear();
    }
    [[nodiscard]] const address& peer() const noexcept { return peer_; }

private:
    static constexpr std::size_t most_idle = 4;

    std::shared_ptr<comm> take_idle() {
        if (idle_.empty()) return nullptr;
        auto line = std::move(idle_.back());
        idle_.pop_back();
        return line;
    }
    void put_back(std::shared_ptr<comm> line, bool usable) {
        if (usable && !closed_ && line->is_open() && idle_.size() < most_idle) {
            line->limit_silence(std::nullopt);
            idle_.push_back(std::move(line));
        } else {
            forget(line);
        }
    }
    void forget(const std::shared_ptr<comm>& line) noexcept {
        line->close();
        std::erase(all_, line);
    }
    void close_idle() noexcept {
        for (const auto& line : std::exchange(idle_, {})) forget(line);
    }

    asio::any_io_executor executor_;
    address peer_;
    std::shared_ptr<tls_context> tls_;
    std::function<void()> heard_;
    std::vector<std::shared_ptr<comm>> all_;  // the dialled ones, too
    std::vector<std::shared_ptr<comm>> idle_; // some of them; the last used is the last
    bool closed_ = false;
};

} // namespace joblot::dask::engine
