// SPDX-License-Identifier: BSL-1.0
// What a session does on its thread: connecting, the stream of messages in both directions, and what becomes of keys.
#pragma once

#include <joblot/dask/net/greeting.hpp>
#include <joblot/dask/net/peer_link.hpp>
#include <joblot/dask/net/tls.hpp>
#include <joblot/dask/protocol/address.hpp>
#include <joblot/dask/protocol/events.hpp>
#include <joblot/dask/protocol/requests.hpp>
#include <joblot/dask/session/client_stream.hpp>
#include <joblot/dask/session/gatherer.hpp>
#include <joblot/dask/session/pulse.hpp>
#include <joblot/dask/session/session_types.hpp>
#include <joblot/dask/session/uploads.hpp>
#include <joblot/dask/session/worker_peers.hpp>
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
          scheduler_(io_.get_executor(), address_, tls_, [this] { pulse_.heard(); }),
          stream_(io_.get_executor(), client_id_, [this](const std::exception_ptr& e) { lose(in_words(e)); }),
          pulse_(io_.get_executor(), scheduler_, stream_, options_, [this](const std::string& why) { lose(why); }),
          poll_(io_), peers_(io_.get_executor(), tls_, options_),
          uploads_(io_.get_executor(), client_id_, scheduler_, {options_.timeout}, peers_,
                   [this](const std::exception_ptr& e) { lose(in_words(e)); }),
          values_(io_.get_executor(), client_id_, scheduler_, {options_.timeout}, peers_,
                  {.came = [this](const std::string& key, received_object value) { value_came(key, std::move(value)); },
                   .unreadable = [this](const std::string& key, const std::string& why) { value_broken(key, why); },
                   .forgotten = [this](const std::string& key) { end_cancelled(key, "the scheduler forgot it"); },
                   .broken = [this](const std::exception_ptr& e) { lose(in_words(e)); }}) {}

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
    /// @throws backend_error The session is closed.
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

    /// Connects. @throws backend_error Nobody answers, or not as a scheduler.
    asio::awaitable<void> start_up() {
        const auto deadline = clock::now() + options_.timeout;
        const json versions = (co_await ask_versions(scheduler_, deadline)).head;
        if (const auto error = answer_error(versions))
            throw backend_error("joblot: the scheduler at " + address_.text() + " cannot say its version: " + *error);
        dialect_.emplace(requests::dialect_from(versions));
        const message answer = co_await stream_.open(co_await scheduler_.dial(deadline), versions, deadline);
        check_welcome(address_, answer.head);
        co_await ask_for_workers();
        alive_.store(true);
        spawn(listen());
        spawn(pulse_.beat());
        spawn(pulse_.watch());
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

    /// @param persist Their values stay on the cluster.
    void submit(const std::vector<std::string>& keys, const std::shared_ptr<task_listener>& listener,
                encoded_message graph, bool persist) {
        listen_for(keys, listener, persist);
        if (!lost_.empty()) return lose_keys();
        stream_.send(std::move(graph));
    }
    /// Sends the graph of one task when the data that it needs is there. While that is under way the key does not end:
    /// what the data refers to is still read.
    void submit_after(upload data, const std::string& key, const std::shared_ptr<task_listener>& listener,
                      const std::shared_ptr<encoded_message>& graph, bool persist) {
        listen_for({key}, listener, persist);
        if (!lost_.empty()) return lose_keys();
        listeners_.at(key).data = data.key;
        uploads_.add(std::move(data), *dialect_, [this, key, graph](const upload_end& how) {
            const auto found = listeners_.find(key);
            if (found == listeners_.end()) return; // the scheduler is lost
            found->second.upload = how.took;
            if (!how.wanted) return end_cancelled(key, "");
            if (!how.error.empty()) return end({.key = key, .how = task_end::kind::not_sent, .text = how.error});
            stream_.send(std::move(*graph));
        });
    }
    void cancel(const std::vector<std::string>& keys) {
        for (const std::string& key : keys) {
            const auto w = listeners_.find(key);
            if (w != listeners_.end() && !uploads_.cancel(w->second.data)) end_cancelled(key, "");
        }
    }
    void release(std::vector<json> keys) { stream_.release(std::move(keys)); }
    void desire(const std::vector<json>& keys) {
        for (const json& key : keys) ++desired_[key];
        tell(requests::desires_keys(client_id_, keys));
    }
    void tell(const json& message) {
        message_writer writer;
        stream_.send(writer.finish(json::array({message})));
    }
    void stop_desiring(const std::vector<json>& keys) {
        for (const json& key : keys) {
            const auto found = desired_.find(key);
            if (found == desired_.end() || --found->second != 0) continue; // the scheduler does not count
            desired_.erase(found);
            stream_.release(std::vector<json>(1, key));
        }
    }
    /// Has the listeners told how far batches are. Any number of times.
    void watch_progress() {
        if (!std::exchange(watches_progress_, true)) stream_.subscribe(progress_topic);
    }
    asio::awaitable<void> ask_for_workers() {
        const json answer = co_await ask(encode(requests::ncores()));
        std::map<std::string, int> workers;
        for (const auto& [name, threads] : answer.items()) {
            if (threads.is_number_integer()) workers.emplace(name, threads.get<int>());
        }
        values_.keep_only(workers);
        peers_.keep_only(workers);
        bool changed = false;
        {
            const std::lock_guard lock(mutex_);
            changed = workers != workers_;
            workers_.swap(workers);
            workers_known_since_ = clock::now();
        }
        if (!changed) co_return;
        std::set<std::shared_ptr<task_listener>> all;
        for (const auto& [key, w] : listeners_) all.insert(w.listener);
        for (const auto& listener : all) listener->workers_changed();
    }

    static std::shared_ptr<const encoded_message> encode(const json& request) {
        message_writer writer;
        return std::make_shared<const encoded_message>(writer.finish(request));
    }

private:
    struct waiting {
        std::shared_ptr<task_listener> listener;
        bool persist = false;
        std::string data{};       // of the task, that is brought to the cluster; "": none
        clock::duration upload{}; // how long that took
    };

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
    // ---- the stream

    asio::awaitable<void> listen() {
        for (;;) {
            std::vector<event> events = events_of(co_await stream_.read());
            for (event& e : events) handle(e);
        }
    }
    void handle(event& e) {
        switch (e.what) {
        case event::kind::in_memory:
            for (const std::string& key : e.keys) is_there(key);
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
        case event::kind::progress:
            for (const std::string& key : e.keys) {
                if (const auto w = listeners_.find(key); w != listeners_.end())
                    w->second.listener->progressed(key, e.done);
            }
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
        for (const auto& [key, w] : listeners_) keys.push_back(key);
        return keys;
    }

    asio::awaitable<void> say_goodbye() {
        if (alive_.load() && lost_.empty()) co_await stream_.say_goodbye();
    }

    // ---- the cluster

    asio::awaitable<void> watch_workers() {
        while (lost_.empty()) {
            poll_.expires_after(listeners_.empty() ? std::chrono::hours(1) : poll_interval);
            error_code cancelled;
            co_await poll_.async_wait(asio::redirect_error(asio::use_awaitable, cancelled));
            if (!lost_.empty() || listeners_.empty() || cancelled) continue;
            co_await ask_for_workers();
        }
    }

    // ---- keys

    void listen_for(const std::vector<std::string>& keys, const std::shared_ptr<task_listener>& listener,
                    bool persist) {
        if (listeners_.empty()) poll_.cancel(); // it sleeps for long
        for (const std::string& key : keys) listeners_.insert_or_assign(key, waiting{listener, persist});
    }
    void is_there(const std::string& key) {
        const auto found = listeners_.find(key);
        if (found == listeners_.end()) return;
        if (found->second.persist)
            end({.key = key, .how = task_end::kind::persisted});
        else
            values_.add(key);
    }
    void end(task_end what) {
        const auto found = listeners_.find(what.key);
        if (found == listeners_.end()) return;
        const waiting one = std::move(found->second);
        listeners_.erase(found);
        values_.drop(what.key);
        if (what.how == task_end::kind::persisted)
            ++desired_[what.key];
        else
            stream_.release(std::vector<json>(1, what.key));
        what.upload = one.upload;
        one.listener->task_ended(std::move(what));
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
        uploads_.close();
        peers_.close();
        stream_.close();
        scheduler_.close(); // the stream's connection, too
        pulse_.stop();
        poll_.cancel();
        lose_keys();
    }
    void lose_keys() noexcept {
        for (auto& [key, w] : std::exchange(listeners_, {}))
            w.listener->task_ended({.key = key, .how = task_end::kind::connection_lost, .text = lost_});
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
    client_stream stream_;
    pulse pulse_;
    bool watches_progress_ = false;
    std::string complaint_; // the scheduler's last
    asio::steady_timer poll_;
    worker_peers peers_;
    uploads uploads_;
    std::unordered_map<std::string, waiting> listeners_; // of keys that have not ended
    std::map<json, int> desired_;                        // keys, and how often `desire` was called for them
    gatherer values_;

    mutable std::mutex mutex_;           // guards what follows; the thread alone writes lost_ and workers_
    bool closed_ = false;                // nothing more is taken
    std::string lost_;                   // why; empty: it is not lost
    std::map<std::string, int> workers_; // how many threads they have
    clock::time_point workers_known_since_{};
};

} // namespace joblot::dask::engine
