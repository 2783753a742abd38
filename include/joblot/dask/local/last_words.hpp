// SPDX-License-Identifier: BSL-1.0
// What a Python that ended in an error said of it, in one line: the causes, without the traceback. Pure.
#pragma once

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <string>
#include <string_view>

namespace joblot::dask::engine {

/// The last exception in a log, and in parentheses what it was raised from; without an exception the last line; ""
/// where the log is empty.
[[nodiscard]] inline std::string last_words(std::string_view log) {
    constexpr std::size_t longest = 400;
    std::string_view line_before, first, last; // of the exceptions that were raised from one another
    bool in_traceback = false, goes_on = false;
    for (std::size_t begin = 0; begin < log.size();) {
        const std::size_t end = log.find('\n', begin);
        const std::string_view line = log.substr(begin, end == log.npos ? log.npos : end - begin);
        begin = end == log.npos ? log.size() : end + 1;
        if (line.find_first_not_of(" \t\r") == line.npos) continue;
        line_before = line;
        if (line.starts_with("Traceback (most recent call last)")) {
            in_traceback = true;
        } else if (line.starts_with("The above exception was the direct cause") ||
                   line.starts_with("During handling of the above exception")) {
            goes_on = true;
        } else if (in_traceback && (std::isalpha(static_cast<unsigned char>(line[0])) || line[0] == '_')) {
            if (!goes_on) first = line;
            last = line;
            in_traceback = goes_on = false;
        }
    }
    if (last.empty()) last = first = line_before;
    if (last.empty()) return {};
    std::string text(last.substr(last.find_first_not_of(" \t"), longest));
    while (text.ends_with(':') || text.ends_with('\r')) text.pop_back(); // what follows is not told
    if (first != last) text += " (" + std::string(first.substr(0, longest)) + ')';
    return text;
}

/// What a Python lacks: the last line of its log that says so, if `enough` lines do; else "".
[[nodiscard]] inline std::string lack(std::string_view log, int enough = 1) {
    constexpr std::size_t longest = 400;
    int times = 0;
    std::string_view found;
    for (std::size_t begin = 0; begin < log.size();) {
        const std::size_t end = std::min(log.find('\n', begin), log.size());
        const std::string_view line = log.substr(begin, end - begin);
        begin = end + 1;
        for (const std::string_view what : {"[Errno 24]", "[Errno 23]", "[Errno 12]", "[Errno 28]", // of open files,
                                            "can't start new thread", "MemoryError"}) {             // memory, disk
            if (line.find(what) == line.npos) continue;
            ++times;
            found = line;
        }
    }
    if (times < enough) return {};
    const std::size_t begin = found.find_first_not_of(" \t");
    return std::string(found.substr(begin, longest));
}

/// Why a Python that goes on will come to nothing: it lacks something again and again (once may have been for a
/// moment), or has given up the start of a worker; "" where it says no such thing.
[[nodiscard]] inline std::string despair(std::string_view log) {
    if (log.find("nanny-instantiate-failed") == log.npos) return lack(log, 3);
    const std::string lacks = lack(log);
    return lacks.empty() ? last_words(log) : lacks;
}

} // namespace joblot::dask::engine
