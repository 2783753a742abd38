// SPDX-License-Identifier: BSL-1.0
// The connection that makes a program a scheduler's client: messages in both directions, none of which is answered.
#pragma once

#include <joblot/dask/net/comm.hpp>
#include <joblot/dask/protocol/requests.hpp>

#include <boost/asio/co_spawn.hpp>

#include <chrono>
#include <deque>
#include <exception>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace joblot::dask::engine {

/// For the session's thread alone. Lives until all that it spawned has ended, which happens soon after `close` and the
/// end of its connection.
class client_stream {
public:
    using clock = comm::clock;

    /// @param broken Is told when nothing more can be written.
    client_stream(asio::any_io_executor executor, std::string client_id, std::function<void(std::exception_ptr)> broken)
        : executor_(std::move(executor)), client_id_(std::move(client_id)), broken_(std::move(broken)) {}

    /// Makes a connection the stream. @param versions What the scheduler answered to that.
    /// @return What the scheduler says to it. @throws comm_error The connection has failed.
    asio::awaitable<message> open(std::shared_ptr<comm> line, const json& versions, clock::time_point deadline) {
        line_ = std::move(line);
        line_->end_at(deadline);
        message_writer writer;
        const encoded_message hello = writer.finish(requests::register_client(client_id_, versions));
        co_await line_->write(hello);
        message answer = co_await line_->read();
        line_->end_at(std::nullopt);
        co_return answer;
    }
    /// The next message. @throws comm_error The connection has failed.
    asio::awaitable<message> read() { co_return co_await line_->read(); }

    /// Sends a message, after those before it.
    void send(encoded_message m) {
        outgoing_.push_back(std::move(m));
        write_soon();
    }
    /// Tells that keys are not desired any more: after the messages that wait, as they may be in one of them.
    void release(std::vector<json> keys) {
        std::move(keys.begin(), keys.end(), std::back_inserter(released_));
        write_soon();
    }
    /// Wants to hear the events of a topic, until the end.
    void subscribe(const std::string& topic) {
        topics_.push_back(topic);
        message_writer writer;
        send(writer.finish(json::array({requests::subscribe(client_id_, topic)})));
    }
    /// The last messages, if nothing else is being written.
    asio::awaitable<void> say_goodbye() {
        if (closed_ || std::exchange(writing_, true)) co_return; // it closes in the middle of something
        json last = json::array();
        for (const std::string& topic : topics_) last.push_back(requests::unsubscribe(client_id_, topic));
        last.push_back(requests::close_client());
        last.push_back(requests::close_stream());
        message_writer writer;
        const encoded_message goodbye = writer.finish(last);
        line_->end_at(clock::now() + std::chrono::seconds(1));
        co_await line_->write(goodbye);
    }
    /// Nothing more is written.
    void close() noexcept { closed_ = true; }

private:
    void write_soon() {
        if (closed_ || std::exchange(writing_, true)) return;
        asio::co_spawn(executor_, write_all(), [this](const std::exception_ptr& e) {
            if (e) broken_(e);
        });
    }
    asio::awaitable<void> write_all() {
        while (!closed_ && (!outgoing_.empty() || !released_.empty())) {
            encoded_message next;
            if (outgoing_.empty()) {
                message_writer writer;
                next = writer.finish(json::array({requests::releases_keys(client_id_, std::exchange(released_, {}))}));
            } else {
                next = std::move(outgoing_.front());
                outgoing_.pop_front();
            }
            co_await line_->write(next);
        }
        writing_ = false;
    }

    asio::any_io_executor executor_;
    const std::string client_id_;
    const std::function<void(std::exception_ptr)> broken_;
    std::shared_ptr<comm> line_;
    std::deque<encoded_message> outgoing_;
    std::vector<std::string> topics_; // that the scheduler has been told of
    std::vector<json> released_;      // keys that the scheduler is to be told of
    bool writing_ = false;
    bool closed_ = false;
};

} // namespace joblot::dask::engine
