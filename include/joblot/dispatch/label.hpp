// SPDX-License-Identifier: BSL-1.0
// What a task is called when nobody gave it a label: its function's symbol, or a readable form of its type.
#pragma once

#include <joblot/delayed.hpp>
#include <joblot/dispatch/symbol.hpp>
#include <joblot/persisted.hpp>

#include <cstddef>
#include <string>
#include <string_view>
#include <type_traits>
#include <typeinfo>

namespace joblot::detail {

/// `T` as the compiler spells it.
template <class T>
std::string type_name() {
#if defined(__clang__) || defined(__GNUC__)
    const std::string_view text = __PRETTY_FUNCTION__; // "... [T = int]" or "... [with T = int; std::string = ...]"
    const auto begin = text.find("T = ") + 4;
    auto end = text.find("; std::", begin);
    if (end == text.npos) end = text.rfind(']');
    std::string name(text.substr(begin, end - begin));
    // clang names a lambda after its file: the folders say nothing about the task
    if (const auto at = name.find("(lambda at "); at != name.npos) {
        const auto slash = name.find_last_of('/');
        if (slash != name.npos && slash > at) name.erase(at + 11, slash - at - 10);
    }
    return name;
#else
    return typeid(T).name();
#endif
}

template <class F>
std::string function_label(const F& f) {
    if constexpr (std::is_pointer_v<F>) {
        // a function pointer is no object pointer to the standard, but it is one to every system with symbol tables
        if (std::string name = symbol_name(reinterpret_cast<const void*>(f)); !name.empty()) return name;
    }
    return type_name<F>();
}
template <class F>
std::string function_label(const labelled<F>& f) {
    return *f.label;
}

template <class F>
std::string function_label(const persisting_call<F>& f) {
    return function_label(f.function);
}

/// The label of a task.
template <class F, class... Args>
std::string label_of(const task<F, Args...>& t) {
    return function_label(t.function());
}

} // namespace joblot::detail
