// SPDX-License-Identifier: BSL-1.0
// Prints what `cksum` prints for every regular file below a folder. A file that cannot be read is one failed outcome:
// it is reported, and the others are not affected.
#include "cli.hpp"
#include "posix_cksum.hpp"

#include <joblot/joblot.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <exception>
#include <filesystem>
#include <iostream>
#include <ranges>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

using joblot::delayed, joblot::Parallel;
namespace fs = std::filesystem;
namespace views = std::views;

/// Two numbers, and no pointer among them: worker processes may send it as it is.
template <>
struct joblot::travel<posix_cksum> : joblot::travels_as_bytes {};

class input_file {
public:
    explicit input_file(const std::string& path) : path_(path) {
        // O_NONBLOCK: should a pipe have taken the file's place since it was found, do not wait for a writer.
        descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (descriptor_ < 0) fail(errno);
    }
    ~input_file() { ::close(descriptor_); }
    input_file(const input_file&) = delete;
    input_file& operator=(const input_file&) = delete;

    /// Fills some or all of `buffer`; 0 at the end of the file.
    std::size_t read(std::span<unsigned char> buffer) {
        for (;;) {
            const ssize_t count = ::read(descriptor_, buffer.data(), buffer.size());
            if (count >= 0) return static_cast<std::size_t>(count);
            if (errno != EINTR) fail(errno);
        }
    }

private:
    [[noreturn]] void fail(int code) const { throw std::system_error(code, std::generic_category(), path_); }

    const std::string& path_;
    int descriptor_;
};

posix_cksum checksum(const std::string& path) {
    input_file file(path);
    posix_cksum sum;
    std::array<unsigned char, 128 * 1024> buffer; // left uninitialised: most files fill only a little of it
    while (const std::size_t count = file.read(buffer)) sum.update({buffer.data(), count});
    return sum;
}

void report(const std::string& problem) { std::cerr << "checksum_tree: " << problem << '\n'; }

struct tree {
    std::vector<std::string> files; ///< regular files, sorted by the bytes of their paths
    int unreadable_folders = 0;
};

tree walk(const fs::path& root) {
    tree found;
    std::vector<fs::path> folders{root};
    while (!folders.empty()) {
        const fs::path folder = std::move(folders.back());
        folders.pop_back();
        std::error_code error;
        for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
            std::error_code vanished; // an entry that is gone by now is neither a folder nor a file
            if (entry->is_symlink(vanished)) continue;
            if (entry->is_directory(vanished)) folders.push_back(entry->path());
            if (entry->is_regular_file(vanished)) found.files.push_back(entry->path().native());
        }
        if (error) {
            report(folder.native() + ": " + error.message());
            ++found.unreadable_folders;
        }
    }
    std::ranges::sort(found.files);
    return found;
}

int main(int argc, char** argv) {
    joblot::init(argc, argv);
    std::string folder;
    cli::command_line cli("Prints CRC, size and path of every regular file below DIR, as cksum does.");
    cli.argument("DIR", folder, "the folder; symbolic links below it are not followed");
    return cli.run(argc, argv, [&] {
        const tree found = walk(folder);
        int failures = found.unreadable_folders;

        Parallel parallel(
            {.n_jobs = cli.n_jobs, .backend = cli.backend, .progress = joblot::progress_bar(), .label = "checksums"});
        const auto sums = parallel.outcomes(found.files | views::transform(delayed(checksum)));

        for (std::size_t i = 0; i < sums.size(); ++i) {
            try {
                const posix_cksum& sum = sums[i].value(); // throws what the task threw
                std::cout << sum.value() << ' ' << sum.size() << ' ' << found.files[i] << '\n';
            } catch (const std::exception& e) {
                report(e.what());
                ++failures;
            }
        }
        return failures == 0 ? 0 : 1;
    });
}
