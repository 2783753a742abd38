// SPDX-License-Identifier: BSL-1.0
// Variables of the environment that are other ones for a while.
#pragma once

#include <cstdlib>
#include <optional>
#include <string>

namespace support {

/// Sets an environment variable, or takes it away, as long as it lives.
class variable {
public:
    variable(const char* name, std::optional<std::string> value) : name_(name) {
        if (const char* const old = std::getenv(name)) old_ = old;
        set(value);
    }
    ~variable() { set(old_); }
    variable(const variable&) = delete;
    variable& operator=(const variable&) = delete;

private:
    void set(const std::optional<std::string>& value) const {
        if (value)
            ::setenv(name_, value->c_str(), 1);
        else
            ::unsetenv(name_);
    }
    const char* name_;
    std::optional<std::string> old_;
};

} // namespace support
