// SPDX-License-Identifier: BSL-1.0
// Programs with the rights of another user than the one who starts them.
#pragma once

#include <filesystem>
#include <string>

#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

namespace program {

/// Makes a program one that belongs to nobody, and runs as that user. False where that cannot be.
inline bool make_set_uid(const std::string& path) {
    constexpr uid_t nobody = 65534;
    struct statvfs mounted{};
    if (::statvfs(std::filesystem::path(path).parent_path().c_str(), &mounted) != 0 || (mounted.f_flag & ST_NOSUID))
        return false;
    return ::chown(path.c_str(), nobody, nobody) == 0 && ::chmod(path.c_str(), 04755) == 0;
}

} // namespace program
