// SPDX-License-Identifier: BSL-1.0
// What a scheduler tells a client on its stream, and what answers and exceptions of Python's say.
#pragma once

// Facts to know: `in_memory` is told for scattered keys too, more than once, and names no worker for computed ones: ask
// `who_has`. A key can come back from `in_memory`: `lost`, or silently, when Dask computes it anew and tells again.
// `cancelled` goes to all clients, with keys of others. A graph that depends on data that is gone is `cancelled`.

#include <joblot/dask/protocol/message.hpp>
#include <joblot/dask/protocol/pickle_reader.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace joblot::dask::engine {

/// An exception of Python's.
struct python_exception {
    std::string type;            ///< "module.Class", of builtins just "Class"; "" if it cannot be read
    std::string text;            ///< what it says
    std::vector<std::byte> data; ///< the bytes among its arguments, if it is a `TaskFailed`
    bool killed_worker = false;  ///< Dask gave the task up, as it had killed too many workers
    std::string last_worker;     ///< the last of those
};

namespace parts { // of describing an exception

class exception_reader {
public:
    explicit exception_reader(std::vector<std::byte> pickle) : tree_(std::move(pickle)) {}

    [[nodiscard]] python_exception read() const {
        using enum pickle_kind;
        python_exception result;
        auto [type, arguments] = made_by(tree_.root());
        if (type && tree_.kind(*type) == global) {
            const std::string_view module = tree_.text(*type), name = tree_.name(*type);
            result.type = module == "builtins" ? std::string(name) : std::string(module) + '.' + std::string(name);
            result.killed_worker = name == "KilledWorker";
            if (name == "TaskFailed") result.data = first_bytes(arguments);
        }
        result.text = text_of(arguments);
        if (result.killed_worker) {
            result.last_worker = address_in(arguments);
            result.text = "tasks ended with the worker that ran them, too often; the last one was " +
                          (result.last_worker.empty() ? "a worker that is not known" : result.last_worker);
        }
        return result;
    }

private:
    using value = pickle_tree::value;
    static constexpr std::size_t most_text = 16384;
    static constexpr int most_depth = 4;

    [[nodiscard]] bool is(value v, pickle_kind kind) const { return tree_.kind(v) == kind; }

    /// The class and the arguments of an exception. Dask lets tblib pickle them: it calls a function of its own with
    /// the class and either its arguments or a dict of the attributes.
    [[nodiscard]] std::pair<std::optional<value>, std::vector<value>> made_by(value exception) const {
        if (!is(exception, pickle_kind::object)) return {};
        const std::vector<value>& parts = tree_.elements(exception);
        if (parts.size() < 2 || !is(parts[1], pickle_kind::tuple)) return {};
        const std::vector<value>& arguments = tree_.elements(parts[1]);
        if (!is(parts[0], pickle_kind::global) || !tree_.text(parts[0]).starts_with("tblib"))
            return {parts[0], arguments};
        if (arguments.size() < 2) return {};
        if (is(arguments[1], pickle_kind::tuple)) return {arguments[0], tree_.elements(arguments[1])};
        const auto found = find(arguments[1], "args");
        if (!found || !is(*found, pickle_kind::tuple)) return {arguments[0], {}};
        return {arguments[0], tree_.elements(*found)};
    }
    [[nodiscard]] std::optional<value> find(value dict, std::string_view key) const {
        if (!is(dict, pickle_kind::dict)) return {};
        const std::vector<value>& all = tree_.elements(dict);
        for (std::size_t i = 0; i + 1 < all.size(); i += 2) {
            if (is(all[i], pickle_kind::text) && tree_.text(all[i]) == key) return all[i + 1];
        }
        return {};
    }
    [[nodiscard]] std::vector<std::byte> first_bytes(const std::vector<value>& arguments) const {
        for (const value v : arguments) {
            if (!is(v, pickle_kind::bytes)) continue;
            const std::string_view text = tree_.text(v);
            const auto* const first = reinterpret_cast<const std::byte*>(text.data());
            return {first, first + text.size()};
        }
        return {};
    }
    /// As Python's `str` of an exception: its argument, or all of them.
    [[nodiscard]] std::string text_of(const std::vector<value>& arguments) const {
        if (!arguments.empty() && is(arguments[0], pickle_kind::text) && all_are_texts_or_bytes(arguments))
            return std::string(tree_.text(arguments[0]).substr(0, most_text));
        std::string result;
        for (const value v : arguments) {
            if (result.size() > most_text) break;
            if (!result.empty()) result += ", ";
            append(result, v);
        }
        return result;
    }
    [[nodiscard]] bool all_are_texts_or_bytes(const std::vector<value>& arguments) const {
        return arguments.size() == 1 || (arguments.size() == 2 && is(arguments[1], pickle_kind::bytes));
    }
    void append(std::string& to, value v) const {
        using enum pickle_kind;
        switch (tree_.kind(v)) {
        case none:
            to += "None";
            break;
        case boolean:
            to += tree_.integer(v) ? "True" : "False";
            break;
        case integer:
            to += std::to_string(tree_.integer(v));
            break;
        case real:
            to += json(tree_.real(v)).dump();
            break;
        case text:
            to += tree_.text(v).substr(0, most_text);
            break;
        case bytes:
            to += std::to_string(tree_.text(v).size()) + " bytes";
            break;
        case global:
            to += tree_.name(v);
            break;
        default:
            to += "...";
        }
    }
    /// The "address" of the first object that has one: of the worker in a `KilledWorker`.
    [[nodiscard]] std::string address_in(const std::vector<value>& values, int depth = 0) const {
        for (const value v : values) {
            if (const auto found = find(v, "address"); found && is(*found, pickle_kind::text))
                return std::string(tree_.text(*found));
            const bool has_elements = is(v, pickle_kind::object) || is(v, pickle_kind::tuple);
            if (depth == most_depth || !has_elements) continue;
            if (std::string inner = address_in(tree_.elements(v), depth + 1); !inner.empty()) return inner;
        }
        return {};
    }

    pickle_tree tree_;
};

} // namespace parts

/// What a pickle of an exception says. Nothing in it is called; what cannot be read has no `type`.
[[nodiscard]] inline python_exception describe_exception(std::vector<std::byte> pickle) {
    try {
        return parts::exception_reader(std::move(pickle)).read();
    } catch (const serialization_error& e) {
        python_exception unknown;
        unknown.text = std::string("an exception that cannot be read (") + e.what() + ')';
        return unknown;
    }
}
/// The same of what stands in a message: the pickle, as bytes in the JSON or beside it.
[[nodiscard]] inline python_exception exception_at(message& m, const json& place) {
    if (place.is_binary()) {
        const bytes_view view = std::as_bytes(std::span(place.get_binary()));
        return describe_exception({view.begin(), view.end()});
    }
    if (!is_reference(place)) return {};
    received_object object = m.value(place);
    if (object.is_pickle() && object.frames.size() > 1) object.frames.resize(1); // what follows came beside the pickle
    return describe_exception(std::move(object).joined());
}

/// Something that a scheduler told.
struct event {
    enum class kind {
        started,   ///< the stream; `text`: its warnings
        in_memory, ///< of `keys`: their values are there
        erred,     ///< of `keys`: they failed, see `exception`
        cancelled, ///< of `keys`: they are gone, nothing more comes; `text`: why, if known
        lost,      ///< of `keys`: their values are gone
        retried,   ///< of `keys`: they run anew, after they had failed
        restarted, ///< all workers are started anew, all keys are gone
        progress,  ///< of `keys`: `done` of their tasks are done, and they run on
        failed,    ///< the scheduler could not do what a message asked for: `text`
        closed     ///< the stream; no more comes
    };
    kind what;
    std::vector<std::string> keys;
    python_exception exception;
    std::string text;
    std::size_t done = 0;
};

/// What went wrong, if an answer says so: it has a `status` with "error" in it.
[[nodiscard]] inline std::optional<std::string> answer_error(const json& answer) {
    if (!answer.is_object()) return {};
    const json status = answer.value("status", json());
    if (!status.is_string() || status.get_ref<const std::string&>().find("error") == std::string::npos) return {};
    for (const char* const name : {"exception_text", "text", "message", "keys"}) {
        const auto found = answer.find(name);
        if (found == answer.end()) continue;
        return found->is_string() ? found->get<std::string>()
                                  : found->dump(-1, ' ', false, json::error_handler_t::replace);
    }
    return status.get<std::string>();
}

namespace parts { // of reading events

[[nodiscard]] inline std::vector<std::string> keys_at(const json& message) {
    std::vector<std::string> result;
    const auto add = [&](const json& key) {
        if (key.is_string()) result.push_back(key.get<std::string>()); // others are not of this client
    };
    if (const auto key = message.find("key"); key != message.end()) add(*key);
    if (const auto keys = message.find("keys"); keys != message.end() && keys->is_array()) {
        for (const json& key : *keys) add(key);
    }
    return result;
}
/// What a worker told with its event, {"topic": ..., "event": [when, {"key": ..., "done": ...}]}, if it is one of ours.
inline void read_progress(const json& message, event& to) {
    const json content = message.value("event", json());
    if (!content.is_array() || content.size() != 2 || !content[1].is_object()) return;
    const json done = content[1].value("done", json());
    if (!done.is_number_unsigned()) return;
    to.keys = keys_at(content[1]);
    to.done = done.get<std::size_t>();
}
[[nodiscard]] inline std::optional<enum event::kind> kind_of(std::string_view op) {
    using enum event::kind;
    static constexpr std::pair<std::string_view, enum event::kind> known[] = {{"stream-start", started},
                                                                              {"key-in-memory", in_memory},
                                                                              {"task-erred", erred},
                                                                              {"cancelled-key", cancelled},
                                                                              {"cancelled-keys", cancelled},
                                                                              {"lost-data", lost},
                                                                              {"task-retried", retried},
                                                                              {"restart", restarted},
                                                                              {"event", progress},
                                                                              {"error", failed},
                                                                              {"close", closed},
                                                                              {"stream-closed", closed}};
    for (const auto& [name, kind] : known) {
        if (name == op) return kind;
    }
    return {};
}

} // namespace parts

/// What a message of the stream tells, in its order; what is not for this client's use is left out.
/// @throws serialization_error where it is none.
[[nodiscard]] inline std::vector<event> events_of(message m) {
    if (!m.head.is_array()) m.head = json::array({std::exchange(m.head, {})});
    std::vector<event> result;
    for (const json& told : m.head) {
        if (!told.is_object()) broken_message("an event is none");
        const auto kind = answer_error(told) ? event::kind::failed : parts::kind_of(text_at(told, "op"));
        if (!kind) continue;
        event e{*kind, parts::keys_at(told), {}, {}, 0};
        switch (*kind) {
        case event::kind::erred:
            e.exception = exception_at(m, told.value("exception", json()));
            break;
        case event::kind::cancelled:
            e.text = text_at(told, "reason");
            break;
        case event::kind::started:
            e.text = text_at(told, "warning");
            break;
        case event::kind::progress:
            parts::read_progress(told, e);
            break;
        case event::kind::failed:
            e.text = answer_error(told).value_or(text_at(told, "exception"));
            break;
        default:
            break;
        }
        result.push_back(std::move(e));
    }
    return result;
}

} // namespace joblot::dask::engine
