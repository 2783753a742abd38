// SPDX-License-Identifier: BSL-1.0
// Which classes have functions that write and read them: `serialize`, or `save` and `load`, in the forms of cereal,
// beside the class or in it. Asking never fails to compile, whatever functions of the same names a class has for other
// libraries.
#pragma once

#include <joblot/wire/cereal_names.hpp>
#include <joblot/wire/foreign_calls.hpp>
#include <joblot/wire/shape.hpp>

#include <cstdint>
#include <type_traits>
#include <utility>

namespace joblot::detail {

namespace probe {
// Archives that are only asked whether functions take them. Not cereal's: those for its own types are not meant.
struct output : foreign_calls {
    using is_saving = std::true_type;
    using is_loading = std::false_type;
    template <class... Ts>
    output& operator()(Ts&&...);
    template <class T>
    output& operator&(T&&);
    template <class T>
    output& operator<<(T&&);
};
struct input : foreign_calls {
    using is_saving = std::false_type;
    using is_loading = std::true_type;
    template <class... Ts>
    input& operator()(Ts&&...);
    template <class T>
    input& operator&(T&&);
    template <class T>
    input& operator>>(T&&);
};

// The functions beside a class are found by its namespace; these make the names known.
void serialize(); // NOLINT: never defined
void save();
void load();
void save_minimal();

// `V` is the number of a class's version where it has one, or nothing.
template <class T, class... V>
concept free_serialize = requires(T& t, output& out, V... v) { serialize(out, t, v...); };
template <class T, class... V>
concept free_save_load = requires(const T& t, T& to, output& out, input& in, V... v) {
    save(out, t, v...);
    load(in, to, v...);
};
template <class T, class... V>
concept free_save_minimal = requires(const T& t, output& out, V... v) { save_minimal(out, t, v...); };

template <class Access, class T, class... V>
concept member_serialize = requires(T& t, output& out, V... v) { Access::member_serialize(out, t, v...); };
template <class Access, class T, class... V>
concept member_save_load = requires(const T& t, T& to, output& out, input& in, V... v) {
    Access::member_save(out, t, v...);
    Access::member_load(in, to, v...);
};
template <class Access, class T, class... V>
concept member_save_minimal = requires(const T& t, output& out, V... v) { Access::member_save_minimal(out, t, v...); };
} // namespace probe

/// Calls members that are public, by the names that cereal's friend has for it.
struct public_access {
    template <class Archive, class T, class... V>
    static auto member_serialize(Archive& archive, T& t, V... version) -> decltype(t.serialize(archive, version...)) {
        return t.serialize(archive, version...);
    }
    template <class Archive, class T, class... V>
    static auto member_save(Archive& archive, const T& t, V... version) -> decltype(t.save(archive, version...)) {
        return t.save(archive, version...);
    }
    template <class Archive, class T, class... V>
    static auto member_load(Archive& archive, T& t, V... version) -> decltype(t.load(archive, version...)) {
        return t.load(archive, version...);
    }
    template <class Archive, class T, class... V>
    static auto member_save_minimal(const Archive& archive, const T& t, V... version)
        -> decltype(t.save_minimal(archive, version...)) {
        return t.save_minimal(archive, version...);
    }
    template <class Archive, class T, class M, class... V>
    static auto member_load_minimal(const Archive& archive, T& t, const M& value, V... version)
        -> decltype(t.load_minimal(archive, value, version...)) {
        return t.load_minimal(archive, value, version...);
    }
};

// What a member function is a member of: not the class that is asked where that has inherited it. Overloads, as access
// is not part of what a requires-expression of g++ 12 looks at; what is private is asked by cereal's friend alone.
template <class R, class C, class... A>
std::type_identity<C> class_of(R (C::*)(A...));
template <class R, class C, class... A>
std::type_identity<C> class_of(R (C::*)(A...) const);
template <class T>
auto owner_of_serialize(int) -> decltype(class_of(&T::template serialize<probe::output>));
template <class T>
std::type_identity<T> owner_of_serialize(...);
template <class T>
auto owner_of_save(int) -> decltype(class_of(&T::template save<probe::output>));
template <class T>
std::type_identity<T> owner_of_save(...);

/// A base class's functions know nothing of what the class has besides.
template <class T>
inline constexpr bool serialize_is_inherited = sizeof(typename decltype(owner_of_serialize<T>(0))::type) != sizeof(T);
template <class T>
inline constexpr bool save_is_inherited = sizeof(typename decltype(owner_of_save<T>(0))::type) != sizeof(T);

// What cereal::traits would find out, with a fraction of its templates: every task type of every program comes by here.
// A `serialize` of a const object only writes (JSON, for example). A `save` that takes a temporary takes no archive,
// but the name of a file. What is private is reached by cereal's friend, where cereal is included.
template <class T, class... V>
concept has_member_serialize =
    (probe::member_serialize<public_access, T, V...> || probe::member_serialize<cereal::access, T, V...>) &&
    !requires(const T& t, probe::output& out, V... v) { t.serialize(out, v...); } && !serialize_is_inherited<T>;
template <class T, class... V>
concept has_member_save_load =
    (probe::member_save_load<public_access, T, V...> || probe::member_save_load<cereal::access, T, V...>) &&
    !requires(const T& t, V... v) { t.save(std::declval<probe::output>(), v...); } && !save_is_inherited<T>;
template <class T, class... V>
concept has_member_save_minimal =
    probe::member_save_minimal<public_access, T, V...> || probe::member_save_minimal<cereal::access, T, V...>;

template <class T, class... V>
inline constexpr bool has_functions_that_take =
    has_member_serialize<T, V...> || has_member_save_load<T, V...> || probe::free_serialize<T, V...> ||
    probe::free_save_load<T, V...> || has_member_save_minimal<T, V...> || probe::free_save_minimal<T, V...>;

/// `serialize(archive, version)` is Boost.Serialization's form, too. It is taken for cereal's where the class was given
/// a version for cereal.
template <class T>
concept has_cereal_version = requires {
    cereal::detail::Version<T, cereal::detail::version_binding_tag>::registerVersion();
} && has_functions_that_take<T, std::uint32_t>;

template <class T>
inline constexpr bool has_user_functions = false;
template <class T>
    requires(std::is_class_v<T> && complete<T> && !is_std_type<T>)
inline constexpr bool has_user_functions<T> = has_functions_that_take<T> || has_cereal_version<T>;

/// Who calls members: `public_access` where that can.
template <bool IsPublic>
using access_if = std::conditional_t<IsPublic, public_access, cereal::access>;

/// Calls functions that take what cereal calls minimal: one number or text that says it all.
template <class Archive, class T, class Save, class Load>
void call_minimal_functions(Archive& archive, T& value, Save save, Load load) {
    if constexpr (std::is_const_v<T>)
        archive(save(archive, value));
    else
        load(archive, value, archive.template read<std::decay_t<decltype(save(archive, value))>>());
}

/// Calls them. @param archive Ours. @param version The number of the class's version, if it has one.
template <class Archive, class T, class... V>
void call_user_functions(Archive& archive, T& value, V... version) {
    using plain = std::remove_const_t<T>;
    plain& writable = const_cast<plain&>(value); // as cereal does
    if constexpr (has_member_serialize<plain, V...>) {
        access_if<probe::member_serialize<public_access, plain, V...>>::member_serialize(archive, writable, version...);
    } else if constexpr (has_member_save_load<plain, V...>) {
        using access = access_if<probe::member_save_load<public_access, plain, V...>>;
        if constexpr (std::is_const_v<T>)
            access::member_save(archive, value, version...);
        else
            access::member_load(archive, value, version...);
    } else if constexpr (probe::free_serialize<plain, V...>) {
        serialize(archive, writable, version...);
    } else if constexpr (probe::free_save_load<plain, V...>) {
        if constexpr (std::is_const_v<T>)
            save(archive, value, version...);
        else
            load(archive, value, version...);
    } else if constexpr (has_member_save_minimal<plain, V...>) {
        using access = access_if<probe::member_save_minimal<public_access, plain, V...>>;
        call_minimal_functions(
            archive, value, [&](auto& a, auto& v) { return access::member_save_minimal(a, v, version...); },
            [&](auto& a, auto& v, const auto& from) { access::member_load_minimal(a, v, from, version...); });
    } else {
        call_minimal_functions(
            archive, value, [&](const auto& a, auto& v) { return save_minimal(a, v, version...); },
            [&](const auto& a, auto& v, const auto& from) { load_minimal(a, v, from, version...); });
    }
}

/// Writes or reads a class by its author's functions, and before it the number of its version if it has one.
template <class Archive, class T>
void by_user_functions(Archive& archive, T& value) {
    using plain = std::remove_const_t<T>;
    if constexpr (has_cereal_version<plain>) {
        std::uint32_t version = cereal::detail::Version<plain, cereal::detail::version_binding_tag>::registerVersion();
        archive(version);
        call_user_functions(archive, value, version);
    } else {
        call_user_functions(archive, value);
    }
}

} // namespace joblot::detail
