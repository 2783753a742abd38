// SPDX-License-Identifier: BSL-1.0
// What a session does on its thread: connecting, the stream of messages in both directions, and what becomes of keys.
#pragma once

#include <joblot/dask/address.hpp>
#include <joblot/dask/events.hpp>
#include <joblot/dask/gatherer.hpp>
#include <joblot/dask/peer_link.hpp>
#include <joblot/dask/requests.hpp>
#include <joblot/dask/session_types.hpp>
#include <joblot/dask/tls.hpp>
#include <joblot/error.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_future.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

namespace joblot::dask::engine {

/// The thread holds it, and the session. Its members are for the thread alone, but for those that say otherwise.
class session_core : public std::enable_shared_from_this<session_core> {
public:
    using clock = comm::clock;
    static constexpr std::chrono::milliseconds poll_interval{250};

    session_core(address scheduler, connect_options options)
        : address_(std::move(scheduler)), options_(std::move(options)), client_id_(make_id()),
          tls_(address_.tls ? make_tls_context(options_.tls) : nullptr), work_(io_.get_executor()),
          scheduler_(io_.get_executor(), address_, tls_, [this] { heard(); }), tick_(io_), poll_(io_),
          values_(io_.get_executor(), scheduler_,
                  {.came = [this](const std::string& key, received_object value) { value_came(key, std::move(value)); },
                   .unreadable = [this](const std::string& key, const std::string& why) { value_broken(key, why); },
                   .forgotten = [this](const std::string& key) { end_cancelled(key, "the scheduler forgot it"); },
                   .broken = [this](const std::exception_ptr& e) { lose(in_words(e)); }}) {
        values_.set({.client_id = client_id_,
                     .tls = tls_,
                     .scheduler_limits = {options_.timeout},
                     .worker_connect = std::min(options_.timeout, std::chrono::milliseconds(3000)),
                     .worker_silence = options_.liveness_timeout});
    }

    /// The thread's whole work; ends some time after `finish`.
    void run() noexcept {
        thread_.store(std::this_thread::get_id());
        for (;;) {
            try {
                io_.run();
                return;
            } catch (...) { // out of memory, most likely
                lose(in_words(std::current_exception()));
            }
        }
    }

    // ---- for any thread

    /// Starts `what` on the thread, where the session is not closed; `.get()` waits for what it gives.
    /// @throws backend_error.
    template <class T>
    [[nodiscard]] std::future<T> start(asio::awaitable<T> what) {
        const std::lock_guard lock(mutex_);
        if (closed_) throw backend_error("joblot: the session with " + address_.text() + " is closed");
        return asio::co_spawn(io_, std::move(what), asio::use_future);
    }
    /// Does `what()` on the thread. @throws backend_error where the session is closed.
    template <class F>
    void post(F what) {
        const std::lock_guard lock(mutex_);
        if (closed_) throw backend_error("joblot: the session with " + address_.text() + " is closed");
        asio::post(io_, std::move(what));
    }
    /// Nothing more is taken; the thread ends when what it does has ended.
    void finish() {
        const std::lock_guard lock(mutex_);
        if (std::exchange(closed_, true)) return;
        asio::co_spawn(io_, say_goodbye(), [this](const std::exception_ptr&) {
            lose("it was closed");
            work_.reset();
        });
    }
    [[nodiscard]] bool on_thread() const noexcept { return thread_.load() == std::this_thread::get_id(); }
    [[nodiscard]] bool alive() const noexcept { return alive_.load(); }
    [[nodiscard]] std::string why_lost() const {
        const std::lock_guard lock(mutex_);
        return lost_;
    }
    /// As of the last answer, and when that came.
    [[nodiscard]] std::pair<std::map<std::string, int>, clock::time_point> workers() const {
        const std::lock_guard lock(mutex_);
        return {workers_, workers_known_since_};
    }
    [[nodiscard]] const address& scheduler() const noexcept { return address_; }
    [[nodiscard]] const std::string& client_id() const noexcept { return client_id_; }
    /// Of a session that stands.
    [[nodiscard]] const engine::dialect& dialect() const noexcept { return *dialect_; }

    // ---- on the thread

    /// Connects. @throws backend_error.
    asio::awaitable<void> start_up() {
        const auto deadline = clock::now() + options_.timeout;
        heard();
        const json versions = (co_await ask_patiently(deadline)).head;
        dialect_.emplace(requests::dialect_from(versions));
        stream_ = co_await scheduler_.dial(deadline);
        stream_->end_at(deadline);
        message_writer writer;
        const encoded_message hello = writer.finish(requests::register_client(client_id_, versions));
        co_await stream_->write(hello);
        const message answer = co_await stream_->read();
        refuse_where_refused(answer.head);
        stream_->end_at(std::nullopt);
        co_await ask_for_workers();
        alive_.store(true);
        spawn(listen());
        spawn(keep_alive());
        spawn(watch());
        spawn(watch_workers());
    }

    /// What a scheduler answers. @throws backend_error also where that is an error.
    asio::awaitable<json> ask(std::shared_ptr<const encoded_message> request) {
        if (!lost_.empty()) throw backend_error(lost_); // only this thread writes it
        const message answer = co_await scheduler_.ask(*request, {options_.timeout});
        if (const auto error = answer_error(answer.head))
            throw backend_error("joblot: " + address_.text() + ": " + *error);
        co_return answer.head;
    }

    void submit(const std::vector<std::string>& keys, const std::shared_ptr<task_listener>& listener,
                encoded_message graph) {
        if (listeners_.empty()) poll_.cancel(); // it sleeps for long
        for (const std::string& key : keys) listeners_.insert_or_assign(key, listener);
        if (!lost_.empty()) return lose_keys();
        send(std::move(graph));
    }
    void cancel(const std::vector<std::string>& keys) {
        for (const std::string& key : keys) {
            if (listeners_.contains(key)) end_cancelled(key, "");
        }
    }
    void release(std::vector<std::string> keys) {
        std::move(keys.begin(), keys.end(), std::back_inserter(released_));
        write_soon();
    }
    asio::awaitable<void> ask_for_workers() {
        const json answer = co_await ask(encode(requests::ncores()));
        std::map<std::string, int> workers;
        for (const auto& [name, threads] : answer.items()) {
            if (threads.is_number_integer()) workers.emplace(name, threads.get<int>());
        }
        values_.keep_only(workers);
        bool changed = false;
        {
            const std::lock_guard lock(mutex_);
            changed = workers != workers_;
            workers_.swap(workers);
            workers_known_since_ = clock::now();
        }
        if (!changed) co_return;
        std::set<std::shared_ptr<task_listener>> all;
        for (const auto& [key, listener] : listeners_) all.insert(listener);
        for (const auto& listener : all) listener->workers_changed();
    }

    static std::shared_ptr<const encoded_message> encode(const json& request) {
        message_writer writer;
        return std::make_shared<const encoded_message>(writer.finish(request));
    }

private:
    static constexpr std::chrono::seconds heartbeat_interval{5}; // Dask's own clients'

    static std::string make_id() {
        std::random_device device; // two programs must not get the same
        char text[40];
        std::snprintf(text, sizeof text, "joblot-%08x%08x", device(), device());
        return text;
    }
    static std::string in_words(const std::exception_ptr& e) {
        try {
            std::rethrow_exception(e);
        } catch (const std::exception& known) {
            return known.what();
        } catch (...) {
            return "an unknown error";
        }
    }

    void spawn(asio::awaitable<void> what) {
        asio::co_spawn(io_, std::move(what), [this](const std::exception_ptr& e) {
            if (e) lose(in_words(e));
        });
    }
    void heard() noexcept { last_heard_ = clock::now(); }

    // ---- connecting

    /// The scheduler's versions, as soon as somebody listens there.
    asio::awaitable<message> ask_patiently(clock::time_point deadline) {
        const auto request = encode(requests::versions());
        const auto left = [&] { return std::chrono::ceil<std::chrono::milliseconds>(deadline - clock::now()); };
        for (auto pause = std::chrono::milliseconds(10);; pause = std::min(pause * 2, std::chrono::milliseconds(500))) {
            std::optional<comm_error> failed;
            try {
                co_return co_await scheduler_.ask(*request, {left(), left()});
            } catch (const comm_error& e) {
                failed = e;
            }
            if (!failed->worth_retrying() || left() < pause) throw comm_error(*failed);
            asio::steady_timer timer(io_, pause);
            co_await timer.async_wait(asio::use_awaitable);
        }
    }
    void refuse_where_refused(const json& answer) const {
        if (answer.is_array() && !answer.empty() && answer[0].is_object() &&
            answer[0].value("op", json()) == "stream-start") {
            const json error = answer[0].value("error", json());
            if (!error.is_string() || error == "") return;
            throw backend_error("joblot: the scheduler at " + address_.text() +
                                " refuses this client: " + error.get<std::string>());
        }
        throw backend_error("joblot: the scheduler at " + address_.text() + " refuses this client: it answered " +
                            answer.dump(-1, ' ', false, json::error_handler_t::replace).substr(0, 400));
    }

    // ---- the stream

    asio::awaitable<void> listen() {
        for (;;) {
            std::vector<event> events = events_of(co_await stream_->read());
            for (event& e : events) handle(e);
        }
    }
    void handle(event& e) {
        switch (e.what) {
        case event::kind::in_memory:
            for (const std::string& key : e.keys) {
                if (listeners_.contains(key)) values_.add(key);
            }
            break;
        case event::kind::erred:
            for (const std::string& key : e.keys) end_erred(key, e.exception);
            break;
        case event::kind::cancelled:
            for (const std::string& key : e.keys)
                end_cancelled(key, e.text.empty() ? "it was cancelled on the cluster" : e.text);
            break;
        case event::kind::restarted:
            for (const std::string& key : all_keys()) end_cancelled(key, "the cluster was started anew");
            break;
        case event::kind::failed:
            complaint_ = e.text;
            break;
        case event::kind::closed:
            lose("the scheduler ended it");
            break;
        case event::kind::started:
        case event::kind::lost:    // Dask computes it again,
        case event::kind::retried: // and tells
            break;
        }
    }
    [[nodiscard]] std::vector<std::string> all_keys() const {
        std::vector<std::string> keys;
        for (const auto& [key, listener] : listeners_) keys.push_back(key);
        return keys;
    }

    void send(encoded_message m) {
        outgoing_.push_back(std::move(m));
        write_soon();
    }
    void write_soon() {
        if (lost_.empty() && !std::exchange(writing_, true)) spawn(write_all());
    }
    asio::awaitable<void> write_all() {
        while (lost_.empty() && (!outgoing_.empty() || !released_.empty())) {
            encoded_message next;
            if (outgoing_.empty()) { // after the graphs: what is released now may be in one of them
                message_writer writer;
                next = writer.finish(json::array({requests::releases_keys(client_id_, std::exchange(released_, {}))}));
            } else {
                next = std::move(outgoing_.front());
                outgoing_.pop_front();
            }
            co_await stream_->write(next);
        }
        writing_ = false;
    }
    asio::awaitable<void> say_goodbye() {
        if (!alive_.load() || !lost_.empty()) co_return;
        message_writer writer;
        const encoded_message goodbye =
            writer.finish(json::array({requests::close_client(), requests::close_stream()}));
        if (std::exchange(writing_, true)) co_return; // it closes in the middle of something
        stream_->end_at(clock::now() + std::chrono::seconds(1));
        co_await stream_->write(goodbye);
    }

    // ---- whether the scheduler lives

    static json echo() { return {{"op", "echo"}, {"reply", true}, {"data", 0}}; }
    /// Heartbeats on the stream, which are not answered, and something that is.
    asio::awaitable<void> keep_alive() {
        const auto interval = std::min<std::chrono::milliseconds>(heartbeat_interval, options_.liveness_timeout / 4);
        const auto ping = encode(echo());
        asio::steady_timer timer(io_);
        while (lost_.empty()) {
            message_writer writer;
            send(writer.finish(json::array({requests::heartbeat()})));
            try {
                co_await scheduler_.ask(*ping, {options_.timeout});
            } catch (const comm_error& e) { // it may have no room for one more connection just now
                if (!e.worth_retrying()) throw;
            }
            beat_ = &timer;
            timer.expires_after(interval);
            error_code cancelled;
            co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, cancelled));
            beat_ = nullptr;
        }
    }
    asio::awaitable<void> watch() {
        const auto interval = std::max<std::chrono::milliseconds>(options_.liveness_timeout / 8, poll_interval / 5);
        while (lost_.empty()) {
            const auto before = clock::now();
            tick_.expires_after(interval);
            error_code cancelled;
            co_await tick_.async_wait(asio::redirect_error(asio::use_awaitable, cancelled));
            if (clock::now() - before > 3 * interval) heard(); // it was this process that stood still
            if (clock::now() - last_heard_ < options_.liveness_timeout) continue;
            lose("it has answered nothing for " + std::to_string(options_.liveness_timeout.count()) +
                 " ms (client_options::liveness_timeout)");
        }
    }
    asio::awaitable<void> watch_workers() {
        while (lost_.empty()) {
            poll_.expires_after(listeners_.empty() ? std::chrono::hours(1) : poll_interval);
            error_code cancelled;
            co_await poll_.async_wait(asio::redirect_error(asio::use_awaitable, cancelled));
            if (!lost_.empty() || listeners_.empty() || cancelled) continue;
            co_await ask_for_workers();
        }
    }

    // ---- the ends of keys

    void end(task_end what) {
        const auto found = listeners_.find(what.key);
        if (found == listeners_.end()) return;
        const std::shared_ptr<task_listener> listener = std::move(found->second);
        listeners_.erase(found);
        values_.drop(what.key);
        released_.push_back(what.key);
        write_soon();
        listener->task_ended(std::move(what));
    }
    void end_cancelled(const std::string& key, std::string why) {
        // Whoever wants no key any more has cancelled it, as far as nobody else does.
        end({.key = key, .how = task_end::kind::cancelled, .text = std::move(why)});
    }
    void end_erred(const std::string& key, const python_exception& e) {
        end({.key = key,
             .how = e.killed_worker ? task_end::kind::worker_killed : task_end::kind::erred,
             .data = e.data,
             .type = e.type,
             .text = e.text});
    }
    void value_came(const std::string& key, received_object value) {
        task_end what{.key = key, .how = task_end::kind::result, .type = value.type()};
        what.data = std::move(value).joined();
        end(std::move(what));
    }
    void value_broken(const std::string& key, const std::string& why) {
        end({.key = key, .how = task_end::kind::erred, .type = "joblot::serialization_error", .text = why});
    }

    /// The scheduler is gone, or the session closed: every key ends, and all that runs here.
    void lose(const std::string& why) noexcept {
        if (!lost_.empty()) return;
        alive_.store(false);
        {
            const std::lock_guard lock(mutex_);
            lost_ = "joblot: the session with the scheduler at " + address_.text() + " is over: " + why +
                    (complaint_.empty() ? "" : " (it had complained: " + complaint_ + ")");
        }
        values_.close();
        scheduler_.close(); // the stream, too
        tick_.cancel();
        poll_.cancel();
        if (beat_) beat_->cancel();
        lose_keys();
    }
    void lose_keys() noexcept {
        for (auto& [key, listener] : std::exchange(listeners_, {}))
            listener->task_ended({.key = key, .how = task_end::kind::connection_lost, .text = lost_});
    }

    const address address_;
    const connect_options options_;
    const std::string client_id_;
    const std::shared_ptr<tls_context> tls_;
    std::optional<engine::dialect> dialect_; // not changed any more once the session stands

    asio::io_context io_{1};
    asio::executor_work_guard<asio::io_context::executor_type> work_;
    std::atomic<std::thread::id> thread_{};
    std::atomic<bool> alive_ = false; // connected, and not lost

    peer_link scheduler_;
    std::shared_ptr<comm> stream_;
    std::deque<encoded_message> outgoing_;
    std::vector<std::string> released_; // keys that the scheduler is to be told of
    bool writing_ = false;
    clock::time_point last_heard_{};
    std::string complaint_; // the scheduler's last
    asio::steady_timer tick_, poll_;
    asio::steady_timer* beat_ = nullptr;
    std::unordered_map<std::string, std::shared_ptr<task_listener>> listeners_; // of keys that have not ended
    gatherer values_;

    mutable std::mutex mutex_;           // guards what follows; the thread alone writes lost_ and workers_
    bool closed_ = false;                // nothing more is taken
    std::string lost_;                   // why; empty: it is not lost
    std::map<std::string, int> workers_; // how many threads they have
    clock::time_point workers_known_since_{};
};

} // namespace joblot::dask::engine
