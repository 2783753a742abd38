// SPDX-License-Identifier: BSL-1.0
// A session with a scheduler: what a Client and the backend do on a cluster goes through one.
#pragma once

#include <joblot/dask/address.hpp>
#include <joblot/dask/session_types.hpp>

#include <nlohmann/json.hpp>

#include <chrono>
#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace joblot::dask::engine {

class session_core;

/// A connected client of a scheduler. All members are thread-safe, and block only where they say so. In a forked child
/// of the process that connected, all throw `backend_error`.
///
/// Whatever blocks throws `backend_error` when the session is lost, and must not be called by a listener.
class session {
public:
    /// Connects; blocks, at most for `options.timeout`. @throws backend_error.
    [[nodiscard]] static std::shared_ptr<session> connect(const address& scheduler, const connect_options& options);
    /// The live session of this process with that scheduler, however it was connected; else a new one. Blocks.
    [[nodiscard]] static std::shared_ptr<session> shared(const address& scheduler, const connect_options& options);

    session(const session&) = delete;
    session& operator=(const session&) = delete;
    ~session();

    /// Hands over tasks; what becomes of each is told to the listener. @throws backend_error where the session is lost.
    void submit(std::vector<task_submission> tasks, const task_options& options,
                std::shared_ptr<task_listener> listener, const python_function& function = {"joblot_shim", "run"});
    /// Their ends come at once (on the session's thread): `cancelled`, unless they came before.
    void cancel(std::vector<std::string> keys);

    /// Puts a `bytes` on the cluster, made of these pieces; blocks until it is there. It stays until `release`.
    void scatter(const std::string& key, std::vector<payload> pieces, bool to_all_workers);
    /// Lets go of scattered data.
    void release(std::vector<std::string> keys);

    /// Asks the scheduler something; blocks until it answers. @throws backend_error also where the answer is an error.
    [[nodiscard]] nlohmann::json call(nlohmann::json request);
    /// All about the scheduler and its workers; blocks.
    [[nodiscard]] nlohmann::json identity();
    /// Workers by address, and how many threads each has. As of a quarter of a second ago, or asked for now; never
    /// blocks in a listener.
    [[nodiscard]] std::map<std::string, int> worker_threads();

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
    explicit session(std::shared_ptr<session_core> core) : core_(std::move(core)) {}
    std::shared_ptr<session_core> core_;
};

} // namespace joblot::dask::engine
