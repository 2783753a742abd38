// SPDX-License-Identifier: BSL-1.0
// `exported`: a function of this program that Python calls on a cluster; see python/joblot.py.
#pragma once

#include <joblot/core/catalogue.hpp>
#include <joblot/dask/chunk.hpp>
#include <joblot/dask/engine_access.hpp>
#include <joblot/dask/utf8.hpp>
#include <joblot/delayed.hpp>
#include <joblot/persisted.hpp>
#include <joblot/system/fork.hpp>
#include <joblot/system/visibility.hpp>
#include <joblot/wire/batch_protocol.hpp>
#include <joblot/wire/block.hpp>
#include <joblot/wire/codec.hpp>
#include <joblot/wire/parcel.hpp>
#include <joblot/wire/remote_task.hpp>
#include <joblot/wire/segment.hpp>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace joblot::dask {

namespace engine {

/// What Python is told of an argument, or of a result.
struct exported_value {
    const char* kind = "none";                                      ///< none, bytes, number, or array
    std::string dtype{};                                            ///< of numbers and arrays
    std::optional<std::vector<std::optional<std::size_t>>> shape{}; ///< of arrays; unset, or an element of it: any
    std::string name{};                                             ///< of an argument
};

/// An argument of Python's as the call gets it, and what Python is told of it.
template <class P>
struct exported_argument {
    static_assert(detail::block_kind_of<P>() != detail::block_kind::none,
                  "joblot: Python cannot give a value of this type: parameters of exported functions are numbers, "
                  "std::string, std::vector<std::byte>, containers or spans of numbers, and dask::chunk");
    using type = persisted<P>;
    static type from(std::shared_ptr<detail::segment> image, const std::string&) { return type(std::move(image)); }
    static exported_value describe() {
        using detail::block_kind;
        constexpr block_kind kind = detail::block_kind_of<P>();
        if constexpr (kind == block_kind::bytes) {
            return {.kind = "bytes"};
        } else if constexpr (kind == block_kind::number) {
            return {.kind = "number", .dtype = detail::block_dtype<P>()};
        } else {
            std::vector<std::size_t> inner;
            detail::array_element<std::remove_cv_t<typename P::value_type>>::add_shape(inner);
            std::vector<std::optional<std::size_t>> shape(1);
            if constexpr (detail::is_std_array<P>) shape[0] = std::tuple_size_v<P>;
            shape.insert(shape.end(), inner.begin(), inner.end());
            return {.kind = "array", .dtype = detail::block_dtype<P>(), .shape = std::move(shape)};
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
    static exported_value describe() { return {.kind = "array", .dtype = dtype_of<T>()}; }
};

template <class R>
exported_value describe_result() {
    static_assert(std::is_void_v<R> || detail::block_kind_of<std::decay_t<R>>() != detail::block_kind::none,
                  "joblot: Python cannot read a value of this type: exported functions return numbers, std::string, "
                  "std::vector<std::byte>, containers of numbers, or nothing");
    if constexpr (std::is_void_v<R>)
        return {};
    else
        return exported_argument<std::decay_t<R>>::describe();
}

/// The message of one call, whose arguments are images 1, 2, ...
template <class Task>
detail::outgoing exported_call(const Task& call) {
    using form = detail::remote_form_t<Task>;
    static_assert(form::possible);
    detail::outgoing message;
    message.put(detail::run_request{.sequence = 1, .runner = form::entry().location(), .count = 1, .depth = 1});
    detail::write_part(message, 0, [&](detail::encoder& to) { form::write(to, call); });
    return message;
}

/// The functions that this program exports, in the order of their static objects.
class exported_functions {
public:
    struct entry {
        std::string name;
        std::vector<exported_value> parameters;
        exported_value result;
        detail::outgoing (*call)(const entry&);
        void (*function)();
    };

    JOBLOT_ONE_PER_PROCESS static exported_functions& instance() {
        static constinit detail::made_once<exported_functions> one; // filled by static initialisation
        return one.get();
    }
    /// @throws std::invalid_argument where the name is taken.
    void add(entry e) {
        const std::lock_guard lock(detail::table_mutex());
        if (std::any_of(entries_.begin(), entries_.end(), [&](const entry& other) { return other.name == e.name; }))
            throw std::invalid_argument("joblot: two functions are exported as \"" + e.name + '"');
        entries_.push_back(std::move(e));
        detail::catalogue_printer().store(access().print_catalogue);
    }
    /// For `main`, when all have been added.
    [[nodiscard]] const std::vector<entry>& all() const noexcept { return entries_; }

private:
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
        engine::check_utf8("name", name);
        for (const std::string& parameter : parameters) engine::check_utf8("parameters", parameter);
        if (!parameters.empty() && parameters.size() != sizeof...(P))
            throw std::invalid_argument("joblot: exported function \"" + name + "\" has " +
                                        std::to_string(sizeof...(P)) + " parameters, and was given " +
                                        std::to_string(parameters.size()) + " names");
        std::vector<engine::exported_value> described{engine::exported_argument<std::decay_t<P>>::describe()...};
        for (std::size_t i = 0; i != described.size(); ++i)
            described[i].name = parameters.empty() ? "argument" + std::to_string(i + 1) : parameters[i];
        engine::exported_functions::instance().add({std::move(name), std::move(described), engine::describe_result<R>(),
                                                    &call_of<R, P...>, reinterpret_cast<void (*)()>(function)});
    }

private:
    template <class R, class... P>
    static detail::outgoing call_of(const engine::exported_functions::entry& e) {
        return call_of<R, P...>(e, std::index_sequence_for<P...>());
    }
    template <class R, class... P, std::size_t... I>
    static detail::outgoing call_of(const engine::exported_functions::entry& e, std::index_sequence<I...>) {
        using function = detail::persisting_call<R (*)(P...)>;
        const function f{reinterpret_cast<R (*)(P...)>(e.function)};
        [[maybe_unused]] const auto argument = [&]<class A>(std::type_identity<A>, std::size_t i) {
            const std::string name = "argument " + std::to_string(i + 1) + " of " + e.name;
            return engine::exported_argument<std::decay_t<A>>::from(
                std::make_shared<detail::segment>(i + 1, name, nullptr), name);
        };
        return engine::exported_call(task<function, typename engine::exported_argument<std::decay_t<P>>::type...>(
            f, {argument(std::type_identity<P>(), I)...}));
    }
};

} // namespace joblot::dask
