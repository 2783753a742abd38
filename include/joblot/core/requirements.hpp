// SPDX-License-Identifier: BSL-1.0
// What joblot needs of the compilation. Every header that users name includes it before anything else.
#pragma once

#if __cplusplus >= 202002L
#include <version>
#endif

// A missing file, and not an `#error` alone: compilers go on behind that, and the one line that helps would stand above
// hundreds that do not. Behind a missing file they stop, and the message shows its name. The `#error` is for tools to
// which a missing file is no error.
// clang-format off
#if __cplusplus < 202002L
#include <#error joblot needs C++20: compile with -std=c++20>
#error joblot needs C++20: compile with -std=c++20
#elif !defined(__cpp_exceptions)
#include <#error joblot needs exceptions: compile without -fno-exceptions>
#error joblot needs exceptions: compile without -fno-exceptions
#elif !defined(__cpp_rtti)
#include <#error joblot needs run-time type information: compile without -fno-rtti>
#error joblot needs run-time type information: compile without -fno-rtti
#elif !defined(__cpp_lib_jthread) && defined(_LIBCPP_VERSION)
#include <#error joblot needs std::stop_token, which this libc++ calls experimental: compile and link with -fexperimental-library>
#error joblot needs std::stop_token, which this libc++ calls experimental: compile and link with -fexperimental-library
#elif !defined(__cpp_lib_jthread)
#include <#error joblot needs a standard library with std::stop_token, such as that of g++ 12>
#error joblot needs a standard library with std::stop_token, such as that of g++ 12
#endif
// clang-format on
