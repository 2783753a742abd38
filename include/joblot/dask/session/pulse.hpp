// SPDX-License-Identifier: BSL-1.0
// Whether a scheduler lives: asks it now and then, and gives it up when it has said nothing for long.
#pragma once

#include <joblot/dask/net/peer_link.hpp>
#include <joblot/dask/protocol/requests.hpp>
#include <joblot/dask/session/client_stream.hpp>
#include <joblot/dask/session/session_types.hpp>

#include <boost/asio/steady_timer.hpp>

#include <algorithm>
#include <chrono>
#include <functional>
#include <string>
#include <utility>

namespace joblot::dask::engine {

/// For the session's thread alone, which outlives it.
class pulse {
public:
    using clock = comm::clock;

    /// @param given_up Is told why.
    pulse(asio::any_io_executor executor, peer_link& scheduler, client_stream& stream, const connect_options& options,
          std::function<void(const std::string&)> given_up)
        : scheduler_(scheduler), stream_(stream), connect_(options.timeout), liveness_(options.liveness_timeout),
          given_up_(std::move(given_up)), beat_(executor), tick_(executor) {}

    /// Something came from the scheduler.
    void heard() noexcept { last_heard_ = clock::now(); }

    /// Until `stop`: heartbeats on the stream, which are not answered, and something that is. @throws comm_error The
    /// connection has failed.
    asio::awaitable<void> beat() {
        const auto interval = std::min<std::chrono::milliseconds>(dasks_interval, liveness_ / 4);
        message_writer pings;
        const encoded_message ping = pings.finish(json{{"op", "echo"}, {"reply", true}, {"data", 0}});
        while (!stopped_) {
            message_writer writer;
            stream_.send(writer.finish(json::array({requests::heartbeat()})));
            try {
                co_await scheduler_.ask(ping, {connect_});
            } catch (const comm_error& e) { // it may have no room for one more connection just now
                if (!e.worth_retrying()) throw;
            }
            if (!stopped_) co_await sleep(beat_, interval);
        }
    }
    /// Until `stop`: looks whether it is still heard.
    asio::awaitable<void> watch() {
        const auto interval = std::max<std::chrono::milliseconds>(liveness_ / 8, shortest_tick);
        while (!stopped_) {
            const auto before = clock::now();
            co_await sleep(tick_, interval);
            if (clock::now() - before > 3 * interval) heard(); // it was this process that stood still
            if (stopped_ || clock::now() - last_heard_ < liveness_) continue;
            given_up_("it has answered nothing for " + std::to_string(liveness_.count()) +
                      " ms (client_options::liveness_timeout)");
        }
    }
    void stop() noexcept {
        stopped_ = true;
        beat_.cancel();
        tick_.cancel();
    }

private:
    static constexpr std::chrono::seconds dasks_interval{5}; // of its own clients
    static constexpr std::chrono::milliseconds shortest_tick{50};

    static asio::awaitable<void> sleep(asio::steady_timer& timer, std::chrono::milliseconds time) {
        timer.expires_after(time);
        error_code cancelled;
        co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, cancelled));
    }

    peer_link& scheduler_;
    client_stream& stream_;
    const std::chrono::milliseconds connect_, liveness_;
    const std::function<void(const std::string&)> given_up_;
    asio::steady_timer beat_, tick_;
    clock::time_point last_heard_ = clock::now();
    bool stopped_ = false;
};

} // namespace joblot::dask::engine
