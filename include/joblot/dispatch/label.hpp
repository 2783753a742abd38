// SPDX-License-Identifier: BSL-1.0
// What a task is called when nobody gave it a label: its function's symbol, or a readable form of its type.
#pragma once

#include <joblot/delayed.hpp>

#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>

#if __has_include(<dlfcn.h>) && __has_include(<cxxabi.h>)
#define JOBLOT_HAS_DLADDR 1
#include <cxxabi.h>
#include <dlfcn.h>
#endif

namespace joblot::detail {

/// `T` as the compiler spells it.
template <class T>
std::string type_name() {
#if defined(__clang__) || defined(__GNUC__)
    const std::string_view text = __PRETTY_FUNCTION__; // "... [T = int]" or "... [with T = int; std::string = ...]"
    const auto begin = text.find("T = ") + 4;
    auto end = text.find("; std::", begin);
    if (end == text.npos) end = text.rfind(']');
    return std::string(text.substr(begin, end - begin));
#else
    return typeid(T).name();
#endif
}

/// The name of the function at `address`, or "" where the program does not export it. Never throws but bad_alloc.
inline std::string symbol_name([[maybe_unused]] const void* address) {
#if defined(JOBLOT_HAS_DLADDR)
    Dl_info info{};
    if (::dladdr(address, &info) == 0 || !info.dli_sname || info.dli_saddr != address) return {};
    int status = 0;
    const std::unique_ptr<char, void (*)(void*)> readable(
        abi::__cxa_demangle(info.dli_sname, nullptr, nullptr, &status), std::free);
    std::string name = readable ? readable.get() : info.dli_sname;
    return name.substr(0, name.find('(')); // the parameters say nothing to a user who knows the function
#else
    return {};
#endif
}

template <class F>
std::string function_label(const F& f) {
    if constexpr (std::is_pointer_v<F>) {
        // a function pointer is no object pointer to the standard, but it is to dladdr
        if (std::string name = symbol_name(reinterpret_cast<const void*>(f)); !name.empty()) return name;
    }
    return type_name<F>();
}
template <class F>
std::string function_label(const labelled<F>& f) {
    return *f.label;
}

/// The label of a task.
template <class F, class... Args>
std::string label_of(const task<F, Args...>& t) {
    return function_label(t.function());
}

} // namespace joblot::detail
