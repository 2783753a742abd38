// SPDX-License-Identifier: BSL-1.0
// Where a scheduler or a worker listens, in Dask's notation: "tcp://10.0.0.1:8786", "tls://[::1]:8786".
#pragma once

#include <joblot/error.hpp>

#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>

namespace joblot::dask::engine {

/// A place to connect to.
struct address {
    bool tls = false;
    std::string host; // an IPv6 address without its brackets
    std::uint16_t port = 0;

    friend bool operator==(const address&, const address&) = default;

    [[nodiscard]] std::string text() const {
        const bool v6 = host.find(':') != std::string::npos;
        return (tls ? "tls://" : "tcp://") + (v6 ? '[' + host + ']' : host) + ':' + std::to_string(port);
    }

    /// Reads "tcp://host:port", "tls://host:port" or "host:port" (tcp); without a port it is the scheduler's usual one.
    /// @throws backend_error where it is no such address.
    [[nodiscard]] static address of(std::string_view text) {
        constexpr std::uint16_t usual_port = 8786;
        address result;
        std::string_view rest = text;
        if (const auto scheme_ends = rest.find("://"); scheme_ends != std::string_view::npos) {
            const std::string_view scheme = rest.substr(0, scheme_ends);
            if (scheme != "tcp" && scheme != "tls") refuse(text, "only tcp:// and tls:// are supported");
            result.tls = scheme == "tls";
            rest.remove_prefix(scheme_ends + 3);
        }
        if (rest.ends_with('/')) rest.remove_suffix(1);
        const auto bracket = rest.starts_with('[') ? rest.find(']') : std::string_view::npos;
        const auto colon = rest.find(':', bracket == std::string_view::npos ? 0 : bracket);
        result.host = rest.substr(0, colon);
        if (bracket != std::string_view::npos) result.host = rest.substr(1, bracket - 1);
        if (result.host.empty()) refuse(text, "it names no host");
        result.port = colon == std::string_view::npos ? usual_port : port_of(text, rest.substr(colon + 1));
        return result;
    }

private:
    static std::uint16_t port_of(std::string_view text, std::string_view digits) {
        std::uint16_t port = 0;
        const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
        if (error != std::errc() || end != digits.data() + digits.size() || port == 0)
            refuse(text, "its port is no number from 1 to 65535");
        return port;
    }
    [[noreturn]] static void refuse(std::string_view text, const std::string& why) {
        throw backend_error("joblot: \"" + std::string(text) + "\" is no address of a Dask scheduler: " + why +
                            " (tcp://host:8786)");
    }
};

} // namespace joblot::dask::engine
