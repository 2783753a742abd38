// SPDX-License-Identifier: BSL-1.0
// A session with a scheduler: what a Client and the backend do on a cluster goes through one.
#pragma once

#include <joblot/dask/generated/worker_shim.hpp>
#include <joblot/dask/protocol/address.hpp>
#include <joblot/dask/session/session_core.hpp>
#include <joblot/dask/session/session_types.hpp>
#include <joblot/error.hpp>
#include <joblot/system/fork.hpp>
#include <joblot/system/visibility.hpp>

#include <nlohmann/json.hpp>

#include <cstdlib>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace joblot::dask::engine {

/// A connected client of a scheduler. All members are thread-safe, and block only where they say so. In a forked child
/// of the process that connected, all throw `backend_error`.
///
/// Whatever blocks throws `backend_error` when the session is lost, and must not be called by a listener.
class session {
public:
    /// Connects; blocks, at most for `options.timeout`. @throws backend_error, not_wanted.
    [[nodiscard]] static std::shared_ptr<session> connect(const address& scheduler, const connect_options& options,
                                                          const patience& how = {});
    /// The live session of this process with that scheduler, however it was connected; else a new one. Blocks.
    [[nodiscard]] static std::shared_ptr<session> shared(const address& scheduler, const connect_options& options,
                                                         const patience& how = {});

    session(const session&) = delete;
    session& operator=(const session&) = delete;
    JOBLOT_ONE_PER_PROCESS ~session();

    /// Hands over tasks; what becomes of each is told to the listener. @throws backend_error where the session is lost.
    void submit(std::vector<task_submission> tasks, const task_options& options,
                std::shared_ptr<task_listener> listener, const python_function& function = run_function());
    void submit(task_submission task, const task_options& options, std::shared_ptr<task_listener> listener,
                const python_function& function = run_function()) {
        std::vector<task_submission> one;
        one.push_back(std::move(task));
        submit(std::move(one), options, std::move(listener), function);
    }
    /// The same for one task whose `payload_key` names data that is brought to the cluster first; it stays there until
    /// `release`. Does not wait for it: the pieces are read until the task's end is told.
    /// @param worker Who gets the data, by address, as long as it can be reached.
    void submit_with_data(task_submission task, std::vector<payload> pieces, std::string worker,
                          const task_options& options, std::shared_ptr<task_listener> listener,
                          const python_function& function = run_function());
    /// Has listeners told how far batches are that run.
    void watch_progress();
    /// Their ends come at once (on the session's thread), or as soon as nothing of their data is read any more:
    /// `cancelled`, unless they came before.
    void cancel(std::vector<std::string> keys);

    /// Puts data for tasks on the cluster, made of these pieces; blocks until it is there. It stays until `release`.
    void scatter(const std::string& key, std::vector<payload> pieces, bool to_all_workers, const patience& how = {},
                 const python_class& type = blob_class());
    /// Desires keys, which are not released before `stop_desiring` was called as often for them: of data that others
    /// have put there, and of persisted results, whose end counts as one call of this. A key that is an array is a
    /// tuple of Python's.
    void desire(std::vector<json> keys);
    void stop_desiring(std::vector<json> keys);
    /// Lets go of data that was put there.
    void release(std::vector<json> keys);

    /// Asks the scheduler something; blocks until it answers. @throws backend_error also where the answer is an error.
    nlohmann::json call(const nlohmann::json& request);
    nlohmann::json call(encoded_message request);
    /// The same, for so long. What was asked for goes on where nobody waits for it any more.
    /// @param what Is waited for, in words.
    nlohmann::json call(const nlohmann::json& request, const patience& how, const std::string& what);
    /// Tells it something that it does not answer, as a message of the stream.
    void tell(const nlohmann::json& message);
    /// All about the scheduler and its workers; blocks.
    [[nodiscard]] nlohmann::json identity(const patience& how = {});
    /// Workers by address, and how many threads each has. As of a quarter of a second ago, or asked for now; never
    /// blocks in a listener.
    [[nodiscard]] std::map<std::string, int> worker_threads(const patience& how = {});

    [[nodiscard]] const engine::dialect& dialect() const noexcept;
    [[nodiscard]] const std::string& client_id() const noexcept;
    /// As it was connected to.
    [[nodiscard]] const address& scheduler() const noexcept;
    /// Whether the scheduler can still be reached, for all that is known.
    [[nodiscard]] bool alive() const noexcept;
    /// Why not.
    [[nodiscard]] std::string why_lost() const;
    /// Ends it: keys that have not ended end as `connection_lost`. Waits for its thread.
    void close() noexcept;

private:
    static python_function run_function() { return {std::string(worker_shim_module), "run"}; }
    static python_class blob_class() { return {std::string(worker_shim_module), "Blob"}; }

    struct running { // by itself, so that a forked child can leave it alone
        std::shared_ptr<session_core> core;
        std::thread thread;
    };

    explicit session(std::shared_ptr<session_core> core);
    [[nodiscard]] session_core& core() const; // throws in a forked child
    template <class T>
    T wait_for(asio::awaitable<T> what) const;
    template <class T>
    T wait_for(asio::awaitable<T> what, const patience& how, const std::string& text) const;

    const detail::made_here here_;
    std::unique_ptr<running> running_;
    std::shared_ptr<session_core> core_; // the same
};

/// Whether it is that one. Owns neither meanwhile, as the last owner waits for a thread.
inline bool is_same(const std::weak_ptr<session>& one, const std::shared_ptr<session>& other) noexcept {
    return !one.owner_before(other) && !other.owner_before(one);
}

/// The sessions of this process, by address.
class session_table {
public:
    /// Null where there is no live one.
    [[nodiscard]] static std::shared_ptr<session> find(const std::string& address) {
        std::shared_ptr<session> result; // maybe the last owner: its end waits for a thread, so without the lock
        {
            const std::lock_guard lock(detail::table_mutex());
            if (const auto found = table().find(address); found != table().end()) result = found->second.lock();
        }
        return result && result->alive() ? result : nullptr;
    }
    static void add(const std::string& address, const std::shared_ptr<session>& s) {
        const std::lock_guard lock(detail::table_mutex());
        // A thread that uses OpenSSL must not run on while the process takes that down.
        if (table().empty()) std::atexit(close_all);
        std::erase_if(table(), [](const auto& entry) { return entry.second.expired(); });
        table().insert_or_assign(address, s);
    }

private:
    using map = std::map<std::string, std::weak_ptr<session>>;

    JOBLOT_ONE_PER_PROCESS static map& table() {
        static constinit detail::made_once<map> all;
        return all.get();
    }
    static void close_all() {
        map all;
        {
            const std::lock_guard lock(detail::table_mutex());
            all.swap(table());
        }
        for (const auto& [address, weak] : all) {
            if (const auto s = weak.lock()) s->close();
        }
    }
};

inline session::session(std::shared_ptr<session_core> core)
    : running_(std::make_unique<running>()), core_(std::move(core)) {
    running_->core = core_;
    running_->thread = std::thread([core = core_] { core->run(); });
}

JOBLOT_ONE_PER_PROCESS inline session::~session() {
    close();
    if (here_) return;
    // The thread is the parent's. What it used is left as it is, within reach: it is no leak.
    using list = std::vector<std::unique_ptr<running>>;
    static constinit detail::made_once<list> inherited;
    inherited.get().push_back(std::move(running_));
}

inline void session::close() noexcept {
    if (!here_) return;
    core_->finish();
    if (!running_->thread.joinable()) return;
    if (core_->on_thread())
        running_->thread.detach(); // the last owner was a listener
    else
        running_->thread.join();
}

inline session_core& session::core() const {
    if (!here_) {
        throw backend_error("joblot: the session with " + core_->scheduler().text() +
                            " is another process's, from which this one was forked; connect here too");
    }
    return *core_;
}

template <class T>
T session::wait_for(asio::awaitable<T> what) const {
    if (core_->on_thread()) throw std::logic_error("joblot: a listener must not wait for the session's own thread");
    return core_->start(std::move(what)).get();
}

template <class T>
T session::wait_for(asio::awaitable<T> what, const patience& how, const std::string& text) const {
    if (core_->on_thread()) throw std::logic_error("joblot: a listener must not wait for the session's own thread");
    std::future<T> answer = core_->start(std::move(what));
    how.wait(text, [&](auto time) { return answer.wait_for(time) == std::future_status::ready; });
    return answer.get();
}

inline std::shared_ptr<session> session::connect(const address& scheduler, const connect_options& options,
                                                 const patience& how) {
    // Made known only now: whatever fails below ends it.
    std::shared_ptr<session> fresh;
    try {
        fresh.reset(new session(std::make_shared<session_core>(scheduler, options)));
    } catch (const backend_error&) {
        throw;
    } catch (const std::runtime_error& e) { // no descriptors, no thread
        throw backend_error("joblot: no session with " + scheduler.text() + " can be made: " + e.what());
    }
    fresh->wait_for(fresh->core_->start_up(), how, "nobody answers at " + scheduler.text());
    session_table::add(scheduler.text(), fresh);
    return fresh;
}
inline std::shared_ptr<session> session::shared(const address& scheduler, const connect_options& options,
                                                const patience& how) {
    if (auto known = session_table::find(scheduler.text())) return known;
    return connect(scheduler, options, how);
}

namespace parts { // of sending

inline std::shared_ptr<encoded_message> graph_message(const dialect& to, const python_function& function,
                                                      const std::vector<task_submission>& tasks,
                                                      const task_options& options) {
    message_writer writer;
    const json graph = requests::update_graph(writer, to, function, tasks, options);
    return std::make_shared<encoded_message>(writer.finish(json::array({graph})));
}

} // namespace parts

inline void session::submit(std::vector<task_submission> tasks, const task_options& options,
                            std::shared_ptr<task_listener> listener, const python_function& function) {
    if (tasks.empty()) return;
    session_core& c = core();
    auto encoded = parts::graph_message(c.dialect(), function, tasks, options);
    std::vector<std::string> keys;
    for (task_submission& t : tasks) keys.push_back(std::move(t.key));
    c.post([&c, keys = std::move(keys), listener = std::move(listener), encoded, persist = tasks.front().persist] {
        c.submit(keys, listener, std::move(*encoded), persist);
    });
}
inline void session::submit_with_data(task_submission task, std::vector<payload> pieces, std::string worker,
                                      const task_options& options, std::shared_ptr<task_listener> listener,
                                      const python_function& function) {
    session_core& c = core();
    upload data{task.payload_key, std::move(pieces), blob_class(), std::move(worker)};
    std::vector<task_submission> one;
    one.push_back(std::move(task));
    auto graph = parts::graph_message(c.dialect(), function, one, options);
    c.post(
        [&c, data = std::move(data), key = one.front().key, listener = std::move(listener), graph = std::move(graph),
         persist = one.front().persist]() mutable { c.submit_after(std::move(data), key, listener, graph, persist); });
}
inline void session::watch_progress() {
    session_core& c = core();
    c.post([&c] { c.watch_progress(); });
}
inline void session::cancel(std::vector<std::string> keys) {
    session_core& c = core();
    c.post([&c, keys = std::move(keys)] { c.cancel(keys); });
}
inline void session::desire(std::vector<json> keys) {
    session_core& c = core();
    c.post([&c, keys = std::move(keys)] { c.desire(keys); });
}
inline void session::stop_desiring(std::vector<json> keys) {
    session_core& c = core();
    c.post([&c, keys = std::move(keys)] { c.stop_desiring(keys); });
}
inline void session::release(std::vector<json> keys) {
    session_core& c = core();
    c.post([&c, keys = std::move(keys)]() mutable { c.release(std::move(keys)); });
}

inline void session::scatter(const std::string& key, std::vector<payload> pieces, bool to_all_workers,
                             const patience& how, const python_class& type) {
    session_core& c = core();
    message_writer writer;
    const json request = requests::scatter(writer, c.client_id(), key, std::move(pieces), to_all_workers, {}, 30, type);
    static_cast<void>(wait_for(c.ask(std::make_shared<const encoded_message>(writer.finish(request))), how,
                               "the workers of " + c.scheduler().text() + " have not taken a value"));
}
inline nlohmann::json session::call(const nlohmann::json& request) {
    return wait_for(core().ask(session_core::encode(request)));
}
inline nlohmann::json session::call(encoded_message request) {
    return wait_for(core().ask(std::make_shared<const encoded_message>(std::move(request))));
}
inline nlohmann::json session::call(const nlohmann::json& request, const patience& how, const std::string& what) {
    return wait_for(core().ask(session_core::encode(request)), how, what);
}
inline void session::tell(const nlohmann::json& message) {
    session_core& c = core();
    c.post([&c, message] { c.tell(message); });
}
inline nlohmann::json session::identity(const patience& how) {
    return call(requests::identity(core().dialect()), how, "the Dask scheduler has not said who it is");
}
inline std::map<std::string, int> session::worker_threads(const patience& how) {
    session_core& c = core();
    auto [workers, since] = c.workers();
    if (c.on_thread() || session_core::clock::now() - since < session_core::poll_interval) return workers;
    wait_for(c.ask_for_workers(), how, "the Dask scheduler has not said who its workers are");
    return c.workers().first;
}

inline const engine::dialect& session::dialect() const noexcept { return core_->dialect(); }
inline const std::string& session::client_id() const noexcept { return core_->client_id(); }
inline const address& session::scheduler() const noexcept { return core_->scheduler(); }
inline bool session::alive() const noexcept { return here_ && core_->alive(); }
inline std::string session::why_lost() const { return core().why_lost(); }

/// Does `f()`, which lets go of something on a cluster: where the session is over, that went with it.
template <class F>
void unless_over(F f) {
    try {
        f();
    } catch (const backend_error&) {
    }
}

/// What the scheduler says of a key, like "memory"; null where it knows no such key. Blocks. @throws backend_error The
/// session is over.
inline json key_state(session& cluster, const json& key) {
    const json states = cluster.call(requests::task_status(std::vector<json>(1, key)));
    if (!states.is_object() || states.empty()) return {};
    return *states.begin();
}

} // namespace joblot::dask::engine
