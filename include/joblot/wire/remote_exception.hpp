// SPDX-License-Identifier: BSL-1.0
// Exceptions between processes: standard ones, joblot's own and registered ones come back as what they were.
// Templates, so that only what uses them compiles them: see init.hpp.
#pragma once

#include <joblot/core/requirements.hpp>

#include <joblot/error.hpp>
#include <joblot/system/fork.hpp>
#include <joblot/system/visibility.hpp>
#include <joblot/wire/codec.hpp>
#include <joblot/wire/entry.hpp>

#include <any>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <functional>
#include <ios>
#include <mutex>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <variant>
#include <vector>

#include <cxxabi.h>

namespace joblot {

namespace detail {

/// How exceptions of one type are written and read. They are told apart by their `key`.
struct exception_codec {
    std::string name;
    bool (*is)(const std::type_info&);
    void (*write)(encoder&, std::exception_ptr);
    std::exception_ptr (*read)(decoder&);              ///< null where it cannot be made here
    bool (*fits)(const std::exception_ptr&) = nullptr; ///< whether this one can be made again; null: all can
    std::exception_ptr (*nest)(const std::exception_ptr&, const std::exception_ptr&); ///< the first, around the second
    std::string key{}; ///< the type's own name; in a nameless namespace with the place of its code, which is its alone
};

/// A name in a nameless namespace may be there in each source file, and in each library.
inline std::string key_of(const exception_codec& codec) {
    if (codec.name.find("_GLOBAL__N_") == codec.name.npos) return codec.name;
    try {
        const code_location where = locate(reinterpret_cast<std::uintptr_t>(codec.is));
        return codec.name + '@' + std::string(reinterpret_cast<const char*>(where.module.data()), where.module.size()) +
               std::to_string(where.offset);
    } catch (const serialization_error&) { // code that was made at run time
        return codec.name;
    }
}

/// What `std::throw_with_nested` makes of an `E` while `inner` is handled.
template <class E>
std::exception_ptr nested_around(const std::exception_ptr& outer, const std::exception_ptr& inner) {
    try {
        std::rethrow_exception(outer);
    } catch (const E& thrown) {
        E copy = thrown; // not const: what is thrown would be an exception of "const E"
        try {
            try {
                std::rethrow_exception(inner);
            } catch (...) {
                std::throw_with_nested(copy);
            }
        } catch (...) {
            return std::current_exception();
        }
    } catch (...) { // not one that its codec should have made
        return std::current_exception();
    }
}

template <class E>
inline constexpr bool exception_from_text =
    std::is_base_of_v<std::exception, E> && std::is_constructible_v<E, const std::string&>;

/// An exception that is made of the text that its `what()` gave.
template <class E>
exception_codec codec_by_text() {
    return {typeid(E).name(),
            [](const std::type_info& type) { return type == typeid(E); },
            [](encoder& to, std::exception_ptr e) {
                try {
                    std::rethrow_exception(e);
                } catch (const E& thrown) {
                    encode(to, std::string(thrown.what()));
                }
            },
            [](decoder& from) {
                if constexpr (std::is_constructible_v<E, const std::string&>)
                    return std::make_exception_ptr(E(decode<std::string>(from)));
                else
                    return static_cast<void>(decode<std::string>(from)), std::make_exception_ptr(E());
            },
            nullptr,
            nested_around<E>};
}

/// Facts are the values that an exception is made of again: `take` gets them from it, `make` makes it.
template <class E, class Facts, Facts (*Take)(const E&), E (*Make)(Facts)>
exception_codec codec_by_facts() {
    return {typeid(E).name(),
            [](const std::type_info& type) { return type == typeid(E); },
            [](encoder& to, std::exception_ptr e) {
                try {
                    std::rethrow_exception(e);
                } catch (const E& thrown) {
                    encode(to, Take(thrown));
                }
            },
            [](decoder& from) { return std::make_exception_ptr(Make(decode<Facts>(from))); },
            nullptr,
            nested_around<E>};
}

template <class E>
E copy_of(const E& value) {
    return value;
}
template <class E>
E same(E value) {
    return value;
}

// --- joblot's own and the standard exceptions that are more than a text

struct remote_facts {
    std::string type, text, worker;
};
inline remote_facts facts_of_remote(const remote_error& e) { return {e.type_name(), e.text(), e.worker()}; }
inline remote_error make_remote(remote_facts f) { return {f.type, f.text, f.worker}; }

struct timeout_facts {
    bool of_call;
    std::uint64_t number; // of tasks that were done, or of the task
    std::string label;
    std::int64_t limit; // in nanoseconds
};
inline timeout_facts facts_of_timeout(const timeout_error& e) {
    return {e.of_call(), e.of_call() ? e.completed() : e.index(), e.label(), e.limit().count()};
}
inline timeout_error make_timeout(timeout_facts f) {
    const std::chrono::nanoseconds limit(f.limit);
    return f.of_call ? timeout_error(limit, f.number) : timeout_error({f.number, f.label}, limit);
}

struct crash_facts {
    std::uint64_t index;
    std::string label;
    std::optional<int> signal, exit_status;
    std::string stderr_tail;
};
inline crash_facts facts_of_crash(const worker_crashed& e) {
    return {e.index(), e.label(), e.signal(), e.exit_status(), e.stderr_tail()};
}
inline worker_crashed make_crash(crash_facts f) {
    return {{f.index, f.label}, {f.signal, f.exit_status}, f.stderr_tail};
}

inline std::uint64_t facts_of_cancelled(const cancelled& e) { return e.completed(); }
inline cancelled make_cancelled(std::uint64_t n) { return cancelled(n); }

struct serialization_facts {
    std::string text, type;
    std::uint64_t offset;
};
inline serialization_facts facts_of_serialization(const serialization_error& e) {
    return {e.what(), e.type_name(), e.offset()};
}
inline serialization_error make_serialization(serialization_facts f) { return {f.text, f.type, f.offset}; }

struct system_facts {
    std::string category;
    int value;
    std::string text;
};
struct unknown_category {};
/// @throws unknown_category: in the other process there is one of that name.
inline std::error_code make_code(const std::string& category, int value) {
    const std::error_category* const c = category_table::instance().find(category);
    if (!c) throw unknown_category{};
    return {value, *c};
}
/// Codes of other libraries' categories would mean something else here.
template <class E>
bool has_known_category(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const E& e) {
        return category_table::instance().has(e.code().category());
    }
}

/// The text that a system_error was made with, of its "text: message of the code"; the second part is made again.
inline std::string own_text(std::string whole, const std::error_code& code) {
    const std::string message = code.message();
    if (whole == message) return {};
    if (whole.ends_with(": " + message)) whole.resize(whole.size() - message.size() - 2);
    return whole;
}
inline system_facts facts_of_system(const std::system_error& e) {
    return {e.code().category().name(), e.code().value(), own_text(e.what(), e.code())};
}
inline std::system_error make_system(system_facts f) {
    const std::error_code code = make_code(f.category, f.value);
    return f.text.empty() ? std::system_error(code) : std::system_error(code, f.text);
}

inline system_facts facts_of_stream(const std::ios_base::failure& e) { return facts_of_system(e); }
inline std::ios_base::failure make_stream(system_facts f) {
    return std::ios_base::failure(f.text, make_code(f.category, f.value));
}

template <class E, class Facts, Facts (*Take)(const E&), E (*Make)(Facts)>
exception_codec codec_by_code() {
    exception_codec codec = codec_by_facts<E, Facts, Take, Make>();
    codec.fits = has_known_category<E>;
    codec.read = [](decoder& from) -> std::exception_ptr {
        auto facts = decode<Facts>(from);
        try {
            return std::make_exception_ptr(Make(std::move(facts)));
        } catch (const unknown_category&) {
            return nullptr;
        }
    };
    return codec;
}

/// `mangled` in the form that people write.
inline std::string readable_type(const char* mangled) {
    int status = 0;
    const std::unique_ptr<char, void (*)(void*)> text(abi::__cxa_demangle(mangled, nullptr, nullptr, &status),
                                                      std::free);
    return text ? text.get() : mangled;
}

/// The process's table of exception types. Entries are added, never removed. Thread-safe.
template <class = void>
class JOBLOT_ONE_TYPE basic_exception_table {
public:
    JOBLOT_ONE_PER_PROCESS static basic_exception_table& instance() {
        static constinit made_once<basic_exception_table> table;
        return table.get([] { return basic_exception_table(); });
    }

    void add(exception_codec codec) {
        codec.key = key_of(codec);
        const std::lock_guard lock(table_mutex());
        for (exception_codec& known : codecs_) {
            if (known.key == codec.key) {
                known = std::move(codec);
                return;
            }
        }
        codecs_.push_back(std::move(codec));
    }
    std::optional<exception_codec> find(const std::type_info& type) {
        return find_if([&](const exception_codec& c) { return c.is(type); });
    }
    /// @param type  The name as people write it. More than one type may have it.
    /// @param error One of that type.
    std::optional<exception_codec> find_readable(const std::string& type, const std::exception_ptr& error) {
        std::vector<exception_codec> found;
        {
            const std::lock_guard lock(table_mutex());
            for (const exception_codec& c : codecs_) {
                if (readable_type(c.name.c_str()) == type) found.push_back(c);
            }
        }
        if (found.empty()) return std::nullopt;
        while (found.size() != 1 && !can_write(found.back(), error)) found.pop_back();
        return found.back();
    }
    std::optional<exception_codec> find(const std::string& key) {
        return find_if([&](const exception_codec& c) { return c.key == key; });
    }

private:
    basic_exception_table()
        : codecs_{
              codec_by_text<std::exception>(),
              codec_by_text<std::bad_exception>(),
              codec_by_text<std::bad_any_cast>(),
              codec_by_text<std::logic_error>(),
              codec_by_text<std::domain_error>(),
              codec_by_text<std::invalid_argument>(),
              codec_by_text<std::length_error>(),
              codec_by_text<std::out_of_range>(),
              codec_by_text<std::runtime_error>(),
              codec_by_text<std::range_error>(),
              codec_by_text<std::overflow_error>(),
              codec_by_text<std::underflow_error>(),
              codec_by_text<std::bad_alloc>(),
              codec_by_text<std::bad_array_new_length>(),
              codec_by_text<std::bad_cast>(),
              codec_by_text<std::bad_typeid>(),
              codec_by_text<std::bad_function_call>(),
              codec_by_text<std::bad_optional_access>(),
              codec_by_text<std::bad_variant_access>(),
              codec_by_text<std::bad_weak_ptr>(),
              codec_by_text<error>(),
              codec_by_text<backend_error>(),
              codec_by_code<std::system_error, system_facts, facts_of_system, make_system>(),
              codec_by_code<std::ios_base::failure, system_facts, facts_of_stream, make_stream>(),
              codec_by_facts<remote_error, remote_facts, facts_of_remote, make_remote>(),
              codec_by_facts<timeout_error, timeout_facts, facts_of_timeout, make_timeout>(),
              codec_by_facts<worker_crashed, crash_facts, facts_of_crash, make_crash>(),
              codec_by_facts<cancelled, std::uint64_t, facts_of_cancelled, make_cancelled>(),
              codec_by_facts<serialization_error, serialization_facts, facts_of_serialization, make_serialization>()} {
        for (exception_codec& c : codecs_) c.key = c.name;
    }

    static bool can_write(const exception_codec& codec, const std::exception_ptr& error) {
        outgoing nowhere;
        encoder to(nowhere);
        try {
            to.passing([&] { codec.write(to, error); });
            return true;
        } catch (...) { // it is another type
            return false;
        }
    }

    template <class Wanted>
    std::optional<exception_codec> find_if(Wanted wanted) {
        const std::lock_guard lock(table_mutex());
        for (const exception_codec& c : codecs_) {
            if (wanted(c)) return c;
        }
        return std::nullopt;
    }

    std::vector<exception_codec> codecs_; // guarded by table_mutex
};
using exception_table = basic_exception_table<>;

/// Type and text of the exception that is being handled.
inline std::pair<std::string, std::string> describe_current_exception() {
    const std::type_info* const type = abi::__cxa_current_exception_type();
    std::string name = type ? readable_type(type->name()) : "an unknown type";
    try {
        throw;
    } catch (const std::exception& e) {
        return {std::move(name), e.what()};
    } catch (...) {
        return {std::move(name), {}};
    }
}

/// Exceptions inside of exceptions that are sent; those further in are left out.
inline constexpr int most_exceptions_inside = 32;

/// What `std::throw_with_nested` makes of an exception has a type of the library's own: the name of the one that was
/// given to it, or `type` itself.
inline std::string without_nesting(std::string type) {
    const auto begin = type.find('<');
    if (begin == type.npos) return type;
    const std::string_view mixed(type.data(), begin);
    if (!mixed.starts_with("std::") || !(mixed.ends_with("_Nested_exception") || mixed.ends_with("__nested")))
        return type;
    return type.substr(begin + 1, type.rfind('>') - begin - 1);
}

/// The exception that the one being handled was thrown around, or null.
inline std::exception_ptr nested_in_current() {
    try {
        throw;
    } catch (const std::nested_exception& e) {
        return e.nested_ptr();
    } catch (...) {
        return nullptr;
    }
}

/// Writes an exception: its type's name, and either what it is made of, or what can be said of it; and those in it.
template <class = void>
void encode_exception(encoder& to, const std::exception_ptr& error, int depth = 0) {
    try {
        std::rethrow_exception(error);
    } catch (...) {
        auto description = describe_current_exception();
        description.first = without_nesting(std::move(description.first));
        const std::type_info* const type = abi::__cxa_current_exception_type();
        std::optional<exception_codec> codec;
        if (type) codec = exception_table::instance().find(*type);
        if (type && !codec) codec = exception_table::instance().find_readable(description.first, error);
        if (codec && codec->fits && !codec->fits(error)) codec.reset();
        const std::exception_ptr inner = depth < most_exceptions_inside ? nested_in_current() : nullptr;
        to.passing([&] { // texts are made here, and gone before the message is sent
            encode(to, codec ? codec->key : std::string());
            encode(to, description.first);
            encode(to, description.second);
            encode(to, inner != nullptr);
        });
        if (inner) encode_exception(to, inner, depth + 1);
        if (codec) to.passing([&] { codec->write(to, error); });
    }
}

/// Reads an exception. @param worker Where it was thrown, for those that cannot be rebuilt.
template <class = void>
std::exception_ptr decode_exception(decoder& from, const std::string& worker, int depth = 0) {
    const auto key = decode<std::string>(from);
    const auto name = decode<std::string>(from);
    const auto text = decode<std::string>(from);
    const bool nested = decode<bool>(from);
    if (nested && depth == most_exceptions_inside)
        throw serialization_error("joblot: an exception in too many others", "an exception");
    const std::exception_ptr inner = nested ? decode_exception(from, worker, depth + 1) : nullptr;
    std::optional<exception_codec> codec;
    if (!key.empty()) codec = exception_table::instance().find(key);
    const auto make = [&] {
        std::exception_ptr made = codec ? codec->read(from) : nullptr;
        if (!made) codec.reset();
        return made ? made : std::make_exception_ptr(remote_error(name, text, worker));
    };
    if (!inner) return make();
    std::exception_ptr outer;
    try {
        std::rethrow_exception(inner);
    } catch (...) {
        outer = make(); // here, as a type that is a std::nested_exception itself takes what is being handled
    }
    return codec ? codec->nest(outer, inner) : nested_around<remote_error>(outer, inner);
}

} // namespace detail

/// Makes an exception type known, so that one thrown in a worker process arrives as what it is and not as a
/// `remote_error`. To be called where a worker comes by as well: before `joblot::init`, at best. Thread-safe.
///
/// @tparam E Sent like any other value where it can be (it has cereal's `serialize`, or is a plain aggregate); else a
///           `std::exception` that can be made from the text that its `what()` gives.
template <class E>
void register_exception() {
    static_assert(detail::travels<E> || detail::exception_from_text<E>,
                  "joblot: an exception can be registered if it can be sent like any other value (give it cereal's "
                  "`serialize`), or if it is a std::exception that can be made from its text");
    if constexpr (detail::travels<E>)
        detail::exception_table::instance().add(detail::codec_by_facts<E, E, detail::copy_of<E>, detail::same<E>>());
    else
        detail::exception_table::instance().add(detail::codec_by_text<E>());
}

} // namespace joblot
