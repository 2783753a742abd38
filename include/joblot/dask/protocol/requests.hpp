// SPDX-License-Identifier: BSL-1.0
// What a client asks of a scheduler or a worker, as JSON for message.hpp. Functions that need payloads or pickles
// beside the JSON take the `message_writer` of the message.
#pragma once

// There are two kinds of connection, and each begins with `handshake()` from both sides.
//
// Requests, answered one by one on a connection of their own (`m = writer.finish(request)`); an answer is anything, or
// {"status": "error" or "uncaught-error", ...} (see `answer_error` in events.hpp):
//     identity, versions, ncores, ncores_running, processing, who_has, scatter, tell_of_data, gather,
//     register_worker_plugin, broadcast_worker_plugin, register_scheduler_plugin, get_data and put_data (to a worker),
//     cancel (old schedulers)
//
// A client's stream: `register_client` first, answered by [{"op": "stream-start", ...}]; then both sides send lists of
// messages (`m = writer.finish(json::array({...}))`), which are not answered, but see events.hpp:
//     heartbeat, update_graph, releases_keys, desires_keys, cancel, subscribe, unsubscribe,
//     close_client + close_stream
// A scheduler works at several messages at once: a cancel that follows its update_graph at once may find no task yet,
// and then nothing at all happens.

#include <joblot/dask/protocol/message.hpp>
#include <joblot/dask/protocol/pickle_writer.hpp>
#include <joblot/dask/protocol/versions.hpp>

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace joblot::dask::engine {

/// A task of the graph: `function(payload, *images)`.
struct task_submission {
    std::string key;                ///< unique on the cluster; what is before the last "-" groups in the dashboard
    std::vector<std::byte> payload; ///< travels in the graph; empty if `payload_key` is set
    std::string payload_key;        ///< of scattered data that is the first argument instead
    std::vector<json> image_keys;   ///< data that are the further arguments; an array: a key that is a tuple
    bool persist = false;           ///< its value stays on the cluster: its end comes without it
};

/// How the tasks of one graph are run.
struct task_options {
    std::vector<std::string> workers;        ///< addresses, names or hosts; none: any
    bool allow_other_workers = false;        ///< `workers` is a wish only
    std::map<std::string, double> resources; ///< what a worker must have
    int priority = 0;                        ///< higher runs first
    int retries = 0;
};

/// A function that workers can import.
struct python_function {
    std::string module, name;
};
/// A class that they can import: `bytes`, or one that Dask can make of pieces.
using python_class = python_function;

namespace requests {

// ------------------------------------------------------------------ requests that are answered

/// Who the scheduler is, and all its workers.
[[nodiscard]] inline json identity(const dialect& to) {
    json request{{"op", "identity"}, {"reply", true}};
    if (to.identity_has_n_workers()) request["n_workers"] = -1;
    return request;
}
/// What software it runs: {"host": {...}, "packages": {"distributed": "2024.5.0", ...}}. Every version answers.
[[nodiscard]] inline json versions() { return {{"op", "versions"}, {"reply", true}}; }
/// The dialect of the scheduler that gave this answer to `versions`.
/// @throws backend_error where it is too old, or no answer.
[[nodiscard]] inline dialect dialect_from(const json& answer) {
    const json packages = answer.is_object() ? answer.value("packages", json()) : json();
    const json version = packages.is_object() ? packages.value("distributed", json()) : json();
    return dialect(version.is_string() ? version.get_ref<const std::string&>() : std::string());
}
/// {address: number of threads}.
[[nodiscard]] inline json ncores() { return {{"op", "ncores"}, {"reply", true}, {"workers", nullptr}}; }
/// The same of workers that are not paused, nor about to leave.
[[nodiscard]] inline json ncores_running() { return {{"op", "ncores_running"}, {"reply", true}, {"workers", nullptr}}; }
/// {address: [keys of tasks that the worker has got, and has not ended]}.
[[nodiscard]] inline json processing() { return {{"op", "processing"}, {"reply", true}, {"workers", nullptr}}; }
/// {key: [addresses of workers that have it]}.
[[nodiscard]] inline json who_has(const std::vector<std::string>& keys) {
    return {{"op", "who_has"}, {"reply", true}, {"keys", keys}};
}
/// {key: its state, or null where there is none}.
[[nodiscard]] inline json task_status(const std::vector<json>& keys) {
    return {{"op", "get_task_status"}, {"reply", true}, {"keys", keys}};
}
/// Values, through the scheduler: {"status": "OK", "data": {key: reference}}, or {"status": "error", "keys": ...}.
[[nodiscard]] inline json gather(const std::vector<std::string>& keys) {
    return {{"op", "gather"}, {"reply", true}, {"keys", keys}};
}
/// Values, from a worker that has them: {"status": "OK", "data": {key: reference}}, where missing ones are left out,
/// and which `got_data` must follow; or {"status": "busy"}: again later.
[[nodiscard]] inline json get_data(const std::vector<std::string>& keys, const std::string& client) {
    return {{"op", "get_data"}, {"reply", true}, {"keys", keys}, {"who", client}};
}
/// A whole message: the worker waits for it before it takes another request.
[[nodiscard]] inline json got_data() { return "OK"; }

/// Puts an object on the cluster that consists of some bytes: on one of the workers, or (broadcast) on all that there
/// are. The client desires it until `releases_keys`. A key that was released just before loses its value again: take
/// fresh ones.
/// @param type What the object is on workers. Answers with the list of keys.
[[nodiscard]] inline json scatter(message_writer& with, const std::string& client, const std::string& key,
                                  std::vector<payload> pieces, bool broadcast,
                                  const std::vector<std::string>& workers = {}, double timeout_seconds = 30,
                                  const python_class& type = {"builtins", "bytes"}) {
    const bool is_plain = type.module == "builtins";
    return {
        {"op", "scatter"},
        {"reply", true},
        {"data",
         {{key, is_plain ? with.bytes(std::move(pieces)) : with.made_of(type.module, type.name, std::move(pieces))}}},
        {"workers", workers.empty() ? json() : json(workers)},
        {"client", client},
        {"broadcast", broadcast},
        {"timeout", timeout_seconds}};
}

/// The same for one worker, which is asked itself. Answers {"status": "OK", ...}; the scheduler knows nothing of it
/// until `tell_of_data`.
[[nodiscard]] inline json put_data(message_writer& with, const dialect& to, const std::string& key,
                                   std::vector<payload> pieces, const python_class& type) {
    json request{
        {"op", "update_data"},
        {"reply", true},
        {"data", {{key, with.made_of(type.module, type.name, std::move(pieces))}}},
    };
    if (to.worker_reports_data()) request["report"] = false; // it would be told to drop what nobody knows of
    return request;
}
/// Tells the scheduler that a worker has data, which the client desires until `releases_keys`. Answers null, or an
/// error where it does not know the worker any more.
[[nodiscard]] inline json tell_of_data(const std::string& client, const std::string& key, const std::string& worker,
                                       std::size_t size) {
    return {{"op", "update_data"},
            {"reply", true},
            {"who_has", {{key, json::array({worker})}}},
            {"nbytes", {{key, size}}},
            {"client", client}};
}

// ------------------------------------------------------------------ files for workers and the scheduler

/// Gives all workers, present and future, a plugin. Answers {address: {"status": "OK"} or an error}; {} if a plugin of
/// that name is there already (from 2023.9.2 on; older ones take the new one's).
[[nodiscard]] inline json register_worker_plugin(const dialect& to, const std::string& name, bytes_view plugin) {
    json request{
        {"op", "register_worker_plugin"}, {"reply", true}, {"plugin", message_writer::binary(plugin)}, {"name", name}};
    if (to.worker_plugin_has_idempotent()) request["idempotent"] = true;
    return request;
}
/// Gives workers that there are a plugin, which the scheduler does not keep. Answers as the one above.
/// @param workers None: all.
[[nodiscard]] inline json broadcast_worker_plugin(const std::string& name, bytes_view plugin,
                                                  const std::vector<std::string>& workers = {}) {
    return {{"op", "broadcast"},
            {"reply", true},
            {"workers", workers.empty() ? json() : json(workers)},
            {"msg", {{"op", "plugin-add"}, {"plugin", message_writer::binary(plugin)}, {"name", name}}}};
}
/// The same for the scheduler. Answers null or an error.
[[nodiscard]] inline json register_scheduler_plugin(const std::string& name, bytes_view plugin) {
    return {{"op", "register_scheduler_plugin"},
            {"reply", true},
            {"plugin", message_writer::binary(plugin)},
            {"name", name},
            {"idempotent", true}};
}

// ------------------------------------------------------------------ the client's stream

/// Turns a connection into a client's stream. @param answer What the scheduler said to `versions`: a client without
/// Python has the scheduler's packages, or there would be a warning about each.
[[nodiscard]] inline json register_client(const std::string& client, const json& answer) {
    json packages = answer.is_object() ? answer.value("packages", json::object()) : json::object();
    return {{"op", "register-client"},
            {"client", client},
            {"reply", false},
            {"versions", {{"host", {{"python", "none"}, {"OS", "Linux"}}}, {"packages", std::move(packages)}}}};
}
/// That the client lives: every few seconds.
[[nodiscard]] inline json heartbeat() { return {{"op", "heartbeat-client"}}; }
/// The last two messages of a stream: the client's keys are released, and the scheduler closes the connection, at times
/// after an event that says so.
[[nodiscard]] inline json close_client() { return {{"op", "close-client"}}; }
[[nodiscard]] inline json close_stream() { return {{"op", "close-stream"}}; }
/// That the client desires existing keys: what their end is comes as an event, if they have ended at once.
[[nodiscard]] inline json desires_keys(const std::string& client, const std::vector<json>& keys) {
    return {{"op", "client-desires-keys"}, {"keys", keys}, {"client", client}};
}
/// That the client wants to hear the events of a topic: what workers tell with `log_event`.
[[nodiscard]] inline json subscribe(const std::string& client, const std::string& topic) {
    return {{"op", "subscribe-topic"}, {"topic", topic}, {"client", client}};
}
/// No more of them. To be sent before the stream ends: the scheduler would keep the client's name.
[[nodiscard]] inline json unsubscribe(const std::string& client, const std::string& topic) {
    return {{"op", "unsubscribe-topic"}, {"topic", topic}, {"client", client}};
}
/// That the client does not desire them any more: they are forgotten, where nobody else does. Running tasks are left to
/// end.
[[nodiscard]] inline json releases_keys(const std::string& client, const std::vector<json>& keys) {
    return {{"op", "client-releases-keys"}, {"keys", keys}, {"client", client}};
}
/// Cancels keys, and what depends on them: a message of the stream where `to.cancels_by_stream()`, else a request that
/// is answered. Keys that the scheduler does not know (any more, or yet) are passed over silently.
[[nodiscard]] inline json cancel(const dialect& to, const std::string& client, const std::vector<std::string>& keys) {
    if (!to.cancels_by_stream())
        return {{"op", "cancel"}, {"reply", true}, {"keys", keys}, {"client", client}, {"force", false}};
    json message{{"op", "cancel-keys"}, {"keys", keys}, {"client", client}, {"force", false}};
    if (to.cancel_has_reason()) {
        message["reason"] = "cancelled by the client";
        message["msg"] = nullptr;
    }
    return message;
}

namespace parts { // of update_graph

/// A string, or a tuple of strings, numbers and tuples.
inline void key_itself(pickle_writer& p, const json& key) {
    if (key.is_string()) return p.text(key.get_ref<const std::string&>());
    if (key.is_number_float()) return p.number(key.get<double>());
    if (key.is_number()) return p.number(key.get<std::int64_t>());
    p.begin();
    for (const json& part : key) key_itself(p, part);
    p.end_tuple();
}
inline void reference(pickle_writer& p, const dialect& to, const json& key) {
    if (to.form() == graph_form::tasks) return key_itself(p, key);
    if (to.has_task_ref())
        p.global("dask._task_spec", "TaskRef");
    else
        p.global("distributed.utils_comm", "WrappedKey");
    p.begin();
    key_itself(p, key);
    p.end_tuple();
    p.call();
}
inline void arguments(pickle_writer& p, const dialect& to, const task_submission& task) {
    if (task.payload_key.empty())
        p.bytes(task.payload);
    else
        reference(p, to, task.payload_key);
    for (const json& key : task.image_keys) reference(p, to, key);
}
[[nodiscard]] inline std::vector<json> dependencies(const task_submission& task) {
    std::vector<json> keys = task.image_keys;
    if (!task.payload_key.empty()) keys.push_back(task.payload_key);
    return keys;
}
[[nodiscard]] inline json keys_of(std::span<const task_submission> tasks) {
    json keys = json::array();
    for (const task_submission& t : tasks) keys.push_back(t.key);
    return keys;
}
/// {key: value} for all keys.
[[nodiscard]] inline json for_each_key(std::span<const task_submission> tasks, const json& value) {
    json result = json::object();
    for (const task_submission& t : tasks) result[t.key] = value;
    return result;
}

/// {key: (function, arguments...)}
inline void graph(pickle_writer& p, const dialect& to, const python_function& function,
                  std::span<const task_submission> tasks) {
    std::size_t size = 1024;
    for (const task_submission& t : tasks) size += t.key.size() + t.payload.size() + 64 + 128 * t.image_keys.size();
    p.reserve(size);
    p.begin_dict();
    for (const task_submission& t : tasks) {
        p.text(t.key);
        p.begin();
        if (&t == tasks.data()) {
            p.global(function.module, function.name);
            p.remember(0);
        } else {
            p.again(0);
        }
        arguments(p, to, t);
        p.end_tuple();
    }
    p.end_dict();
}
/// `ToPickle(HighLevelGraph.from_collections("joblot", graph, ()))`
[[nodiscard]] inline std::vector<std::byte> high_level_graph(const dialect& to, const python_function& function,
                                                             std::span<const task_submission> tasks) {
    pickle_writer p;
    p.global("distributed.protocol.serialize", "ToPickle");
    p.begin();
    p.global("dask.highlevelgraph", "HighLevelGraph.from_collections");
    p.begin();
    p.text("joblot");
    graph(p, to, function, tasks);
    p.empty_tuple();
    p.end_tuple();
    p.call();
    p.end_tuple();
    p.call();
    return p.finish();
}
/// `Expr._reconstruct(LLGExpr, graph, token, {})`: with a token of ours, as Dask would take long to compute one.
[[nodiscard]] inline std::vector<std::byte> expression(const dialect& to, const python_function& function,
                                                       std::span<const task_submission> tasks) {
    pickle_writer p;
    p.global("dask._expr", "Expr._reconstruct");
    p.begin();
    p.global("dask._expr", "LLGExpr");
    graph(p, to, function, tasks);
    p.text("joblot-" + tasks.front().key);
    p.empty_dict();
    p.end_tuple();
    p.call();
    return p.finish();
}

inline void text_list(pickle_writer& p, const std::vector<std::string>& list) {
    p.begin();
    for (const std::string& s : list) p.text(s);
    p.end_list();
}
[[nodiscard]] inline std::vector<std::byte> annotations(const task_options& options) {
    pickle_writer p;
    p.begin_dict();
    if (!options.workers.empty()) {
        p.text("workers");
        text_list(p, options.workers);
        p.text("allow_other_workers");
        p.boolean(options.allow_other_workers);
    }
    if (!options.resources.empty()) {
        p.text("resources");
        p.begin_dict();
        for (const auto& [name, amount] : options.resources) {
            p.text(name);
            p.number(amount);
        }
        p.end_dict();
    }
    if (options.priority) {
        p.text("priority");
        p.number(std::int64_t{options.priority});
    }
    if (options.retries) {
        p.text("retries");
        p.number(std::int64_t{options.retries});
    }
    p.end_dict();
    return p.finish();
}

/// `graph_form::tasks`.
[[nodiscard]] inline json tasks_message(const dialect& to, const python_function& function,
                                        std::span<const task_submission> tasks, const task_options& options) {
    pickle_writer f;
    f.global(function.module, function.name);
    const json pickled_function = message_writer::binary(f.finish());
    json all = json::object(), needs = json::object();
    for (const task_submission& t : tasks) {
        pickle_writer p;
        p.begin();
        arguments(p, to, t);
        p.end_tuple();
        all[t.key] = {{"function", pickled_function}, {"args", message_writer::binary(p.finish())}};
        if (const auto keys = dependencies(t); !keys.empty()) needs[t.key] = keys;
    }
    json message{{"op", "update-graph"}, {"tasks", std::move(all)},          {"keys", keys_of(tasks)},
                 {"priority", nullptr},  {"dependencies", std::move(needs)}, {"user_priority", options.priority}};
    if (!options.workers.empty()) message["restrictions"] = for_each_key(tasks, options.workers);
    if (!options.workers.empty() && options.allow_other_workers) message["loose_restrictions"] = keys_of(tasks);
    if (!options.resources.empty()) message["resources"] = for_each_key(tasks, options.resources);
    if (options.retries) message["retries"] = for_each_key(tasks, options.retries);
    return message;
}

} // namespace parts

/// New tasks, which the client desires. What happens to them comes as events.
/// @param tasks At least one. With form `tasks` the payloads are copied into the JSON, else into a pickle.
[[nodiscard]] inline json update_graph(message_writer& with, const dialect& to, const python_function& function,
                                       std::span<const task_submission> tasks, const task_options& options) {
    if (to.form() == graph_form::tasks) return parts::tasks_message(to, function, tasks, options);
    const auto pickled = [](auto write) {
        pickle_writer p;
        write(p);
        return p.finish();
    };
    json message{{"op", "update-graph"},
                 {"keys", message_writer::set(parts::keys_of(tasks))},
                 {"internal_priority", nullptr},
                 {"submitting_task", nullptr},
                 {"fifo_timeout", 0},
                 {"actors", nullptr}};
    message["code"] = with.pickled(pickled([](pickle_writer& p) { p.empty_tuple(); }));
    message["annotations"] = with.pickled(parts::annotations(options));
    if (to.form() != graph_form::pickled_graph)
        message["span_metadata"] = with.pickled(pickled([](pickle_writer& p) { p.empty_dict(); }));
    if (to.form() == graph_form::expression) {
        message["expr_ser"] = with.object(payload(parts::expression(to, function, tasks)));
    } else {
        message["graph_header"] = {{"serializer", "pickle"}, {"writeable", json::array()}};
        message["graph_frames"] = json::array({message_writer::binary(
            parts::high_level_graph(to, function, tasks))}); // clang takes braces alone for a copy
    }
    return message;
}

} // namespace requests
} // namespace joblot::dask::engine
