// SPDX-License-Identifier: BSL-1.0
// A scratch folder that tasks and tests talk through, in whatever process they run.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <string>
#include <system_error>

namespace support {

/// A new folder, removed with all that is in it. Its path is what tasks are given.
class scratch_dir {
public:
    scratch_dir() {
        std::string name = (std::filesystem::temp_directory_path() / "joblot-test-XXXXXX").string();
        if (!::mkdtemp(name.data())) throw std::system_error(errno, std::generic_category(), "mkdtemp");
        path_ = name;
    }
    ~scratch_dir() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    scratch_dir(const scratch_dir&) = delete;
    scratch_dir& operator=(const scratch_dir&) = delete;

    const std::string& path() const { return path_; }
    std::string file(const std::string& name) const { return path_ + "/" + name; }
    /// How many files there are in it.
    std::size_t files() const {
        const std::filesystem::directory_iterator all(path_);
        return static_cast<std::size_t>(std::distance(begin(all), end(all)));
    }

private:
    std::string path_;
};

inline bool exists(const std::string& file) { return ::access(file.c_str(), F_OK) == 0; }

/// Creates an empty file; false where it was there before. For the first of several tries.
inline bool first_to_create(const std::string& file) {
    const int number = ::open(file.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666);
    if (number >= 0) ::close(number);
    return number >= 0;
}

} // namespace support
