// SPDX-License-Identifier: BSL-1.0
// `register_std_exceptions`: the standard exceptions whose headers are too expensive for everybody, for those who want
// to catch them by type when a worker process throws one. Not part of joblot.hpp.
#pragma once

#include <joblot/core/requirements.hpp>

#include <joblot/core/macros_off.hpp>

#include <joblot/system/visibility.hpp>
#include <joblot/wire/remote_exception.hpp>

#include <cstdint>
#include <exception>
#include <filesystem>
#include <future>
#include <regex>
#include <string>
#include <system_error>
#include <typeinfo>
#include <utility>
#include <version>

#if __has_include(<format>)
#include <format>
#endif

namespace joblot {

namespace detail {

struct file_facts {
    system_facts system;
    std::string path1, path2; // as bytes: what names a file need not be valid in any encoding
};
inline file_facts facts_of_file(const std::filesystem::filesystem_error& e) {
    // the base's text: the type's own one has the paths in it, and is made again
    return {{e.code().category().name(), e.code().value(), own_text(e.std::system_error::what(), e.code())},
            e.path1().native(),
            e.path2().native()};
}
inline std::filesystem::filesystem_error make_file(file_facts f) {
    const std::string& text = f.system.text;
    const std::error_code code = make_code(f.system.category, f.system.value);
    if (f.path2.empty() && f.path1.empty()) return {text, code};
    if (f.path2.empty()) return {text, f.path1, code};
    return {text, f.path1, f.path2, code};
}

/// A `std::regex_error` with the text of another one: the public constructor knows only the code's own.
class JOBLOT_ONE_TYPE regex_error_with_text final : public std::regex_error {
public:
    regex_error_with_text(std::regex_constants::error_type code, std::string text)
        : std::regex_error(code), text_(std::move(text)) {}
    [[nodiscard]] const char* what() const noexcept override { return text_.c_str(); }

private:
    std::string text_;
};

struct regex_facts {
    std::int64_t code;
    std::string text;
};
inline regex_facts facts_of_regex(const std::regex_error& e) { return {std::int64_t{e.code()}, e.what()}; }
inline regex_error_with_text make_regex(regex_facts f) {
    return {static_cast<std::regex_constants::error_type>(f.code), f.text};
}
inline exception_codec regex_codec() {
    return {typeid(std::regex_error).name(),
            // what came from a worker's own worker is sent on in the same way
            [](const std::type_info& t) { return t == typeid(std::regex_error) || t == typeid(regex_error_with_text); },
            [](encoder& to, std::exception_ptr error) {
                try {
                    std::rethrow_exception(error);
                } catch (const std::regex_error& e) {
                    encode(to, facts_of_regex(e));
                }
            },
            [](decoder& from) { return std::make_exception_ptr(make_regex(decode<regex_facts>(from))); }, nullptr,
            nested_around<regex_error_with_text>};
}

inline int facts_of_future(const std::future_error& e) { return e.code().value(); }
inline std::future_error make_future(int code) { return std::future_error(static_cast<std::future_errc>(code)); }

} // namespace detail

/// Makes the standard exceptions known that `joblot.hpp` does not know, because their headers take long to compile:
/// `std::filesystem::filesystem_error`, `std::future_error`, `std::regex_error` (what arrives is derived from it), and
/// `std::format_error` where the library has it; and the category of futures' errors. All others are known always. To
/// be called before `joblot::init`, so that workers know them, too. Thread-safe.
template <class = void>
void register_std_exceptions() {
    using detail::exception_table;
    exception_table& table = exception_table::instance();
    table.add(detail::codec_by_code<std::filesystem::filesystem_error, detail::file_facts, detail::facts_of_file,
                                    detail::make_file>());
    table.add(detail::codec_by_facts<std::future_error, int, detail::facts_of_future, detail::make_future>());
    table.add(detail::regex_codec());
    register_error_category(std::future_category());
#ifdef __cpp_lib_format
    register_exception<std::format_error>();
#endif
}

} // namespace joblot

#include <joblot/core/macros_back.hpp>
