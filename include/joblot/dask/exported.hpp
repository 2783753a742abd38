// SPDX-License-Identifier: BSL-1.0
// `exported`: a function of this program that Python calls on a cluster; see python/joblot.py.
#pragma once

#include <joblot/catalogue.hpp>
#include <joblot/dask/batch_payload.hpp>
#include <joblot/dask/chunk.hpp>
#include <joblot/dask/program.hpp>
#include <joblot/dask/worker_shim.hpp>
#include <joblot/delayed.hpp>
#include <joblot/persisted.hpp>
#include <joblot/table_mutex.hpp>
#include <joblot/version.hpp>
#include <joblot/wire/remote_task.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <mutex>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace joblot::dask {

namespace engine {

/// An argument of Python's as the call gets it, and what Python is told of it.
template <class P>
struct exported_argument {
    static_assert(detail::block_kind_of<P>() != detail::block_kind::none,
                  "joblot: Python cannot give a value of this type: parameters of exported functions are numbers, "
                  "std::string, std::vector<std::byte>, containers or spans of numbers, and dask::chunk");
    using type = persisted<P>;
    static type from(std::shared_ptr<detail::segment> image, const std::string&) { return type(std::move(image)); }
    static json describe() {
        using detail::block_kind;
        constexpr block_kind kind = detail::block_kind_of<P>();
        if constexpr (kind == block_kind::bytes) {
            return {{"kind", "bytes"}};
        } else if constexpr (kind == block_kind::number) {
            return {{"kind", "number"}, {"dtype", detail::block_dtype<P>()}};
        } else {
            std::vector<std::size_t> inner;
            detail::array_element<std::remove_cv_t<typename P::value_type>>::add_shape(inner);
            json shape = json::array({nullptr});
            if constexpr (detail::is_std_array<P>) shape[0] = std::tuple_size_v<P>;
            for (const std::size_t n : inner) shape.push_back(n);
            return {{"kind", "array"}, {"dtype", detail::block_dtype<P>()}, {"shape", std::move(shape)}};
        }
    }
};
template <class E>
struct exported_argument<std::span<const E>> : exported_argument<std::vector<E>> {};
template <class T>
struct exported_argument<chunk<const T>> {
    using type = chunk<const T>;
    static type from(std::shared_ptr<detail::segment> image, const std::string& name) {
        return type(std::move(image), name, {}, {});
    }
    static json describe() { return {{"kind", "array"}, {"dtype", dtype_of<T>()}, {"shape", nullptr}}; }
};

template <class R>
json describe_result() {
    static_assert(std::is_void_v<R> || detail::block_kind_of<std::decay_t<R>>() != detail::block_kind::none,
                  "joblot: Python cannot read a value of this type: exported functions return numbers, std::string, "
                  "std::vector<std::byte>, containers of numbers, or nothing");
    if constexpr (std::is_void_v<R>)
        return {{"kind", "none"}};
    else
        return exported_argument<std::decay_t<R>>::describe();
}

inline std::string base64(std::span<const std::byte> bytes) {
    static constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string text;
    for (std::size_t i = 0; i < bytes.size(); i += 3) {
        std::uint32_t group = 0;
        for (std::size_t k = 0; k != 3; ++k)
            group = group << 8 | (i + k < bytes.size() ? std::to_integer<std::uint32_t>(bytes[i + k]) : 0);
        for (std::size_t k = 0; k != 4; ++k) text += i + k <= bytes.size() ? digits[group >> (18 - 6 * k) & 63] : '=';
    }
    return text;
}

/// The batch of one call, whose arguments are images 1, 2, ...
template <class Task>
std::vector<std::byte> exported_call(const Task& call, std::size_t arguments) {
    using form = detail::remote_form_t<Task>;
    static_assert(form::possible);
    detail::outgoing message;
    message.put(detail::run_request{.sequence = 1, .runner = form::entry().location(), .count = 1, .depth = 1});
    const std::size_t part = message.begin_part();
    detail::encoder to(message);
    form::write(to, call);
    message.end_part(part, 0, 0);
    batch_order order;
    order.program = program::own().name();
    order.digest = program::own().digest();
    for (std::size_t i = 1; i <= arguments; ++i) order.images.push_back(i);
    order.foreign = order.images;
    return batch_payload(order, detail::worker_setup{.level = 1}, std::move(message)).joined();
}

/// The functions that this program exports.
class catalogue {
public:
    struct entry {
        std::string name;
        json parameters, result;
        std::vector<std::byte> (*payload)(const entry&);
        void (*function)();
    };

    static catalogue& instance() {
        static auto* const one = new catalogue; // to the end: it is filled by static initialisation
        return *one;
    }
    void add(entry e) {
        const std::lock_guard lock(detail::table_mutex());
        if (std::any_of(entries_.begin(), entries_.end(), [&](const entry& other) { return other.name == e.name; }))
            throw std::invalid_argument("joblot: two functions are exported as \"" + e.name + '"');
        entries_.push_back(std::move(e));
        detail::catalogue_printer().store(&print);
    }

private:
    static void print() {
        json functions = json::array();
        const std::lock_guard lock(detail::table_mutex());
        for (const entry& e : instance().entries_) {
            functions.push_back({{"name", e.name},
                                 {"parameters", e.parameters},
                                 {"result", e.result},
                                 {"payload", base64(e.payload(e))}});
        }
        const json all{{"joblot", version},
                       {"program", program::own().name()},
                       {"digest", program::own().digest()},
                       {"module", worker_shim_module},
                       {"source", worker_shim_source()},
                       {"functions", std::move(functions)}};
        const std::string text = all.dump() + '\n';
        std::fwrite(text.data(), 1, text.size(), stdout);
    }

    std::vector<entry> entries_; // guarded by the table mutex
};

} // namespace engine

/// Makes a function of this program one that Python can call on a Dask cluster:
///
///     double score(joblot::dask::chunk<const double> block);
///     const joblot::dask::exported score_for_python("score", score, {"block"});
///
/// To be a static object, as the one above. In Python, `client.map(joblot.function("./program", "score"), blocks)`.
/// `main` must call `joblot::init` first.
///
/// Parameters are numbers, `std::string` and `std::vector<std::byte>` (Python's `bytes`), containers and
/// `std::span<const T>` of numbers (arrays of one dimension; of more, where elements are `std::array`), and
/// `dask::chunk` (arrays of any shape). Results are of the same types, but for spans and chunks, or nothing.
class exported {
public:
    /// @param name       What Python calls it.
    /// @param function   Runs in a process of this program on a worker; what it throws is an exception there.
    /// @param parameters Their names, for keyword arguments and messages; all or none.
    /// @throws std::invalid_argument where there are not as many names as parameters, or the name is taken.
    template <class R, class... P>
    exported(std::string name, R (*function)(P...), std::vector<std::string> parameters = {}) {
        if (!parameters.empty() && parameters.size() != sizeof...(P))
            throw std::invalid_argument("joblot: exported function \"" + name + "\" has " +
                                        std::to_string(sizeof...(P)) + " parameters, and was given " +
                                        std::to_string(parameters.size()) + " names");
        std::vector<engine::json> described{engine::exported_argument<std::decay_t<P>>::describe()...};
        for (std::size_t i = 0; i != described.size(); ++i)
            described[i]["name"] = parameters.empty() ? "argument" + std::to_string(i + 1) : parameters[i];
        engine::catalogue::instance().add({std::move(name), std::move(described), engine::describe_result<R>(),
                                           &payload_of<R, P...>, reinterpret_cast<void (*)()>(function)});
    }

private:
    template <class R, class... P>
    static std::vector<std::byte> payload_of(const engine::catalogue::entry& e) {
        return payload_of<R, P...>(e, std::index_sequence_for<P...>());
    }
    template <class R, class... P, std::size_t... I>
    static std::vector<std::byte> payload_of(const engine::catalogue::entry& e, std::index_sequence<I...>) {
        using function = detail::kept_call<R (*)(P...)>;
        const function f{reinterpret_cast<R (*)(P...)>(e.function)};
        [[maybe_unused]] const auto argument = [&]<class A>(std::type_identity<A>, std::size_t i) {
            const std::string name = "argument " + std::to_string(i + 1) + " of " + e.name;
            return engine::exported_argument<std::decay_t<A>>::from(
                std::make_shared<detail::segment>(i + 1, name, nullptr), name);
        };
        return engine::exported_call(task<function, typename engine::exported_argument<std::decay_t<P>>::type...>(
                                         f, {argument(std::type_identity<P>(), I)...}),
                                     sizeof...(P));
    }
};

} // namespace joblot::dask
