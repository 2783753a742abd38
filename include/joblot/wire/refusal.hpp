// SPDX-License-Identifier: BSL-1.0
// Why a value cannot travel: which part of it, for what reason, and the way out that fits. Compiled only for types that
// do not.
#pragma once

#include <joblot/error.hpp>
#include <joblot/system/fork.hpp>
#include <joblot/wire/kinds.hpp>

#include <cctype>
#include <concepts>
#include <cstddef>
#include <functional>
#include <iterator>
#include <memory>
#include <ranges>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

namespace joblot::detail {

/// The type's name for messages.
template <class T>
const char* name_for_errors() {
    static constinit made_once<const std::string> name;
    const auto make = [] {
        const std::string_view text = spelled<T>();
        auto end = text.find("; std::");
        if (end == text.npos) end = text.rfind(']');
        return std::string(text.substr(0, end));
    };
    return name.get(make).c_str();
}

// --- names of members, as the compiler spells the address of one

template <class T>
struct never_made {
    const T value;
};
template <class T>
struct address_of_member {
    const T* where;
};
template <auto Address>
constexpr std::string_view spelled_address() noexcept {
    return __PRETTY_FUNCTION__;
}

#if defined(__clang__)
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wundefined-var-template" // only its address is asked for
#pragma clang diagnostic ignored "-Wundefined-internal"
#endif
template <class T>
extern const never_made<T> object_without_definition;
template <class T, std::size_t I>
constexpr auto member_address() {
    const auto* const where =
        with_fields<plain_field_count<T>()>(object_without_definition<T>.value, [](const auto&... fields) {
            return std::get<I>(std::tuple(std::addressof(fields)...));
        });
    return address_of_member{where};
}

/// The member's name with a dot; its number where it has no address (bit-fields).
template <class T, std::size_t I>
std::string member_name() {
    if constexpr (requires { typename std::bool_constant<(spelled_address<member_address<T, I>()>(), true)>; }) {
        const std::string_view all = spelled_address<member_address<T, I>()>();
        const auto is_part = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; };
        std::size_t end = all.rfind('}');
        while (end && !is_part(all[end - 1])) --end;
        std::size_t begin = end;
        while (begin && is_part(all[begin - 1])) --begin;
        return "." + std::string(all.substr(begin, end - begin));
    } else {
        return ", member " + std::to_string(I + 1);
    }
}
#if defined(__clang__)
#pragma clang diagnostic pop
#endif

// --- reasons

struct refusal {
    const char* reason;
    const char* way_out; // @ stands for the type
};

template <class T>
constexpr bool has_elements = requires(const T& t) { t.begin(); } || requires(const T& t) { t.data(); };

// Whether its author could say that it is a container: neither one of itself, nor one of pairs.
template <class T>
constexpr bool could_be_container() {
    if constexpr (requires(const T& t) {
                      typename T::value_type;
                      t.begin();
                  })
        return !std::same_as<typename T::value_type, T> && !requires { typename T::key_type; };
    else
        return false;
}

template <class T>
constexpr refusal refusal_of_std_class() {
    constexpr std::string_view name = spelled<T>();
    if constexpr (name.starts_with("std::reference_wrapper<"))
        return {"it refers to the caller's memory", "pass the value, or std::cref where it is only read"};
    else if constexpr (std::input_or_output_iterator<T>)
        return {"an iterator refers to the caller's memory", "pass the elements in a container"};
    else if constexpr (is_disguised_pointer<T> && !std::ranges::range<T>)
        return {"what it stands for is at an address of this process",
                "pass what can be told from it: a number, a name"};
    else if constexpr (is_disguised_pointer<T>)
        return {"it refers to memory that is not its own", "pass an owner, such as std::string or std::vector"};
    else if constexpr (name.starts_with("std::function<") || name.starts_with("std::any") ||
                       name.starts_with("std::move_only_function<"))
        return {"it may hold anything", "pass a function, or a functor that has a name"};
    else if constexpr (name.starts_with("std::unique_ptr<") || name.starts_with("std::shared_ptr<") ||
                       name.starts_with("std::weak_ptr<"))
        return {
            "it has a deleter of its own, no single owner, or points to an array, to what is only declared, or to a "
            "class with virtual functions",
            "pass the value, or a class with cereal's `serialize`"};
    else if constexpr (!rules_travel<T>)
        return {"its comparator, hash or allocator has a state of its own",
                "give that no members, or pass the elements in another container"};
    else
        return {"it belongs to this process", "make it in the task"};
}

template <class T>
constexpr refusal refusal_of_class() {
    constexpr const char* say = "give it cereal's `serialize`, or specialise joblot::travel for it";
    constexpr std::string_view name = spelled<T>();
    if constexpr (!complete<T>)
        return {"it is only declared where the task is made", "include its definition, or pass what it is made from"};
    else if constexpr (declared<T>)
        return {"joblot::travel says that it does not travel", "make it in the task, from what does"};
    else if constexpr (is_closure_with_captures<T>)
        return {"it captures variables, perhaps by reference",
                "pass what it captures as arguments, or use a functor that has a name"};
    else if constexpr (has_user_functions<T>)
        return {"it has functions for archives, but no default constructor to read it into",
                "give it one, or specialise joblot::travel for it"};
    else if constexpr (serialize_is_inherited<T> || save_is_inherited<T>)
        return {"its functions for archives are those of a base class, which know nothing of its own members",
                "give it its own `serialize`"};
    else if constexpr (is_std_type<T>)
        return refusal_of_std_class<T>();
    else if constexpr (name.starts_with("Eigen::Matrix<") || name.starts_with("Eigen::Array<") ||
                       name.starts_with("Eigen::SparseMatrix<"))
        return {"joblot knows Eigen's classes only where it is told of them", "include <joblot/eigen.hpp>"};
    else if constexpr (name.starts_with("Eigen::"))
        return {"it may refer to other matrices, or joblot/eigen.hpp does not know it",
                "pass the Eigen::Matrix that it is made of; of an expression, what `eval()` gives"};
    else if constexpr (std::is_union_v<T>)
        return {"nobody can see which member of a union is there", "pass a std::variant"};
    else if constexpr (std::is_polymorphic_v<T>)
        return {"it has virtual functions", say};
    else if constexpr (std::is_aggregate_v<T>)
        return {"it cannot be taken apart: it has a C array or a union beside what is not plain data, a base class, a "
                "reference, a volatile member, or more than 64 members",
                say};
    else if constexpr (std::is_trivially_copyable_v<T> && has_elements<T>)
        return {"it looks like a view of memory that is not its own",
                "pass an owner; if its elements are in it, specialise joblot::travel for it"};
    else if constexpr (std::is_trivially_copyable_v<T>)
        return {"it may hold a pointer, which cannot be seen from outside",
                "if it holds none: template <> struct joblot::travel<@> : joblot::travels_as_bytes {};"};
    else if constexpr (could_be_container<T>())
        return {"it is no standard container: it may hold more than its elements",
                "give it cereal's `serialize`, or, if it does not: template <> struct joblot::travel<@> : "
                "joblot::travels_as_container {};"};
    else
        return {"its members cannot be seen from outside", say};
}

template <class T>
constexpr refusal refusal_of() {
    if constexpr (std::is_pointer_v<T>) {
        using target = std::remove_cv_t<std::remove_pointer_t<T>>;
        if constexpr (std::same_as<target, char>) return {"it is a pointer", "pass a std::string"};
        return {"it is a pointer", "pass what it points to, or share that with joblot::broadcast"};
    } else if constexpr (std::is_class_v<T> || std::is_union_v<T>) {
        return refusal_of_class<T>();
    } else {
        return {"it is no value", "pass one"};
    }
}

// --- which part

template <class T, class... Outer>
std::string what_does_not_travel(std::string path);

template <class T, class... Outer, class... F, std::size_t... I>
std::string bad_member(const std::string& path, std::type_identity<std::tuple<F...>>, std::index_sequence<I...>) {
    std::string found;
    const auto look = [&]<class M, std::size_t K>() {
        if constexpr (std::is_volatile_v<M>)
            found = path + member_name<T, K>() + ": it is volatile; copy it to one that is not";
        else if constexpr (!travels<M, Outer..., T>)
            found = what_does_not_travel<std::remove_cv_t<M>, Outer..., T>(path + member_name<T, K>());
        return !found.empty();
    };
    static_cast<void>((look.template operator()<F, I>() || ...));
    return found;
}

template <class T>
struct template_arguments {
    using type = std::tuple<>;
};
template <template <class...> class C, class... Args>
struct template_arguments<C<Args...>> {
    using type = std::tuple<std::type_identity<Args>...>;
};

/// How one says which part of a standard type's value the type's argument K stands for.
template <class T>
std::string part_name(std::size_t k) {
    if constexpr (is_std_pair<T>)
        return k == 0 ? ".first" : ".second";
    else if constexpr (is_std_tuple<T> || is_std_variant<T>)
        return "<" + std::to_string(k) + ">";
    else if constexpr (requires { typename T::iterator; } || requires { typename T::container_type; })
        return "[]";
    else
        return "*";
}
template <class T, class... Outer, class... Args, std::size_t... I>
std::string bad_argument(const std::string& path, std::type_identity<std::tuple<Args...>>, std::index_sequence<I...>) {
    std::string found;
    const auto look = [&]<class A, std::size_t K>() {
        if constexpr (!travels<A, Outer...> && !is_empty_class<A>)
            found = what_does_not_travel<std::remove_cv_t<A>, Outer...>(path + part_name<T>(K));
        return !found.empty();
    };
    static_cast<void>((look.template operator()<typename Args::type, I>() || ...));
    return found;
}

template <class T>
constexpr bool is_taken_apart() {
    if constexpr (!std::is_class_v<T> || !complete<T>)
        return false;
    else if constexpr (says_how_it_travels<T>() || is_closure_with_captures<T> || !std::is_aggregate_v<T> ||
                       !std::is_move_constructible_v<T>)
        return false;
    else
        return plain_field_count<T>() != 0;
}

template <class T>
inline constexpr bool is_default_pointer = false;
template <class T>
inline constexpr bool is_default_pointer<std::unique_ptr<T>> = !std::is_array_v<T>;
template <class T>
inline constexpr bool is_default_pointer<std::shared_ptr<T>> = !std::is_array_v<T>;

/// Whether a standard type is made of values of its arguments, so that one of these is what does not travel.
template <class T>
constexpr bool has_parts() {
    if constexpr (!std::is_class_v<T> || !complete<T> || !is_std_type<T> || is_disguised_pointer<T>)
        return false;
    else
        return is_std_pair<T> || is_std_tuple<T> || is_std_variant<T> || optional_like<T> || is_default_pointer<T> ||
               std::ranges::range<T> || requires { typename T::container_type; };
}

/// "path: type: reason; way out", where the path leads to the first part that does not travel.
template <class T, class... Outer>
std::string what_does_not_travel(std::string path) {
    std::string found;
    if constexpr (is_taken_apart<T>()) {
        path += " (" + std::string(name_for_errors<T>()) + ")";
        found = bad_member<T, Outer...>(path, std::type_identity<field_types<T>>(),
                                        std::make_index_sequence<plain_field_count<T>()>());
    } else if constexpr (has_parts<T>()) {
        using arguments = typename template_arguments<T>::type;
        found = bad_argument<T, Outer...>(path, std::type_identity<arguments>(),
                                          std::make_index_sequence<std::tuple_size_v<arguments>>());
    }
    if (!found.empty()) return found;
    const std::string name = name_for_errors<T>();
    constexpr refusal why = refusal_of<T>();
    std::string way_out = why.way_out;
    if (const auto at = way_out.find('@'); at != way_out.npos) way_out.replace(at, 1, name);
    return path + ": " + name + ": " + why.reason + "; " + way_out;
}

/// A class's own functions have asked for something that does not travel.
template <class T>
[[noreturn, gnu::cold]] void refuse_value() {
    throw serialization_error("joblot: a value cannot be sent to another process: " + what_does_not_travel<T>("it"),
                              name_for_errors<T>());
}

} // namespace joblot::detail
