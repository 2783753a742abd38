// SPDX-License-Identifier: BSL-1.0
// Shared memory without a name: what is in it is gone with the last process that has it, however that ends.
#pragma once

#include <joblot/error.hpp>
#include <joblot/system/descriptor.hpp>
#include <joblot/wire/parcel.hpp>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

namespace joblot::detail {

/// A part of a file that is mapped into memory. Not thread-safe.
class mapping {
public:
    mapping() = default;
    /// Maps the first `size` bytes. Empty where that fails.
    mapping(int file, std::size_t size, bool writable) noexcept {
        if (size == 0) return;
        void* const at = ::mmap(nullptr, size, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, file, 0);
        if (at == MAP_FAILED) return;
        data_ = static_cast<std::byte*>(at);
        size_ = size;
    }
    mapping(mapping&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
    mapping& operator=(mapping&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        return *this;
    }
    ~mapping() {
        if (data_) ::munmap(data_, size_);
    }

    explicit operator bool() const noexcept { return data_ != nullptr; }
    [[nodiscard]] std::byte* data() const noexcept { return data_; }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }

private:
    std::byte* data_ = nullptr;
    std::size_t size_ = 0;
};

/// A nameless file in memory that can grow but never shrink: who has it mapped cannot be hurt by the other side.
/// An invalid descriptor where the system has none to give.
inline descriptor shared_memory(const char* name) noexcept {
    descriptor file(::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (file) ::fcntl(file.get(), F_ADD_SEALS, F_SEAL_SHRINK);
    return file;
}

/// Whether a descriptor is one that `shared_memory` made.
inline bool is_shared_memory(int file) noexcept {
    const int seals = ::fcntl(file, F_GET_SEALS);
    return seals >= 0 && (seals & F_SEAL_SHRINK) != 0;
}

/// Gives a shared file at least `size` bytes that are really there: without that, memory that has run out would show
/// as a SIGBUS when the bytes are touched. False, with `errno`, where they cannot be had.
inline bool reserve_shared(int file, std::size_t size) noexcept {
    rlimit limit{};
    if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && size > limit.rlim_cur) {
        errno = EFBIG; // to try would raise SIGXFSZ
        return false;
    }
    int result = 0;
    do result = ::posix_fallocate(file, 0, static_cast<off_t>(size));
    while (result == EINTR);
    if (result != 0) errno = result; // posix_fallocate does not set it
    return result == 0;
}

/// Why there is no shared memory, and what can be done.
inline std::string why_no_memory(int error) {
    std::string text = std::strerror(error);
    if (error == EFBIG) text += " (the limit of file sizes, `ulimit -f`, is reached; it holds for shared memory, too)";
    if (error == ENOSPC || error == ENOMEM) text += " (the memory of the machine or of the container is used up)";
    if (error == EMFILE || error == ENFILE) text += " (the limit of open files, `ulimit -n`, is reached)";
    return text;
}

inline std::size_t file_size(int file) noexcept {
    struct stat facts{};
    return ::fstat(file, &facts) == 0 && facts.st_size > 0 ? static_cast<std::size_t>(facts.st_size) : 0;
}

class segment;

/// Who owns data on a cluster, which messages are made of: it stays there as long as this lives. Thread-safe.
class data_owner {
public:
    data_owner() = default;
    data_owner(const data_owner&) = delete;
    data_owner& operator=(const data_owner&) = delete;
    virtual ~data_owner() = default;

    /// The message, brought to this process. Blocks. @throws backend_error Nobody has it any more.
    [[nodiscard]] virtual std::shared_ptr<segment> fetch(const segment& place) const = 0;
};

/// A message in shared memory that many processes read: a broadcast value. Immutable once made.
class segment {
public:
    /// A message that is made where it is read, of data on a cluster.
    /// @param key   The data's, as the engine of that cluster writes it.
    /// @param owner The data's.
    /// @param is_message Whether the data are a message already, which nobody else can read.
    segment(std::uint64_t id, std::string key, std::shared_ptr<const data_owner> owner, bool is_message = false)
        : id_(id), key_(std::move(key)), owner_(std::move(owner)), is_message_(is_message) {}

    /// Copies a message into shared memory. @throws backend_error where there is no room for it.
    segment(std::uint64_t id, const outgoing& message) : id_(id), file_(shared_memory("joblot-broadcast")) {
        std::size_t end = round_up(sizeof(header) + message.blocks.size() * sizeof(place), block_alignment);
        const header head{magic, message.stream.size(), message.blocks.size(), end};
        std::vector<place> places;
        end += message.stream.size();
        for (const bytes_view b : message.blocks) {
            end = round_up(end, block_alignment);
            places.push_back({end, b.size()});
            end += b.size();
        }
        if (!file_ || !reserve_shared(file_.get(), end))
            throw backend_error("joblot: there is no shared memory for a broadcast value of " + std::to_string(end) +
                                " bytes: " + why_no_memory(errno));
        // Written, not mapped and copied: the pages need not be mapped one by one, which takes as long as the copy.
        write_at(0, &head, sizeof head);
        write_at(sizeof head, places.data(), places.size() * sizeof(place));
        write_at(head.stream_at, message.stream.data(), message.stream.size());
        for (std::size_t i = 0; i != places.size(); ++i)
            write_at(places[i].offset, message.blocks[i].data(), message.blocks[i].size());
        ::fcntl(file_.get(), F_ADD_SEALS, F_SEAL_GROW);
    }

    /// Takes over the file that another process made. @throws serialization_error where it makes no sense.
    segment(std::uint64_t id, descriptor file) : id_(id), file_(std::move(file)) {
        map_ = mapping(file_.get(), file_size(file_.get()), false);
        header head{};
        if (map_.size() < sizeof head) broken();
        std::memcpy(&head, map_.data(), sizeof head);
        const std::size_t size = map_.size();
        if (head.magic != magic || head.blocks > (size - sizeof head) / sizeof(place) || head.stream_at > size ||
            head.stream_at % block_alignment != 0 || head.stream_size > size - head.stream_at)
            broken();
        stream_ = {map_.data() + head.stream_at, head.stream_size};
        for (std::size_t i = 0; i != head.blocks; ++i) {
            place p{};
            std::memcpy(&p, map_.data() + sizeof head + i * sizeof p, sizeof p);
            if (p.offset > size || p.size > size - p.offset || p.offset % block_alignment != 0) broken();
            blocks_.push_back({map_.data() + p.offset, p.size});
        }
    }

    segment(const segment&) = delete;
    segment& operator=(const segment&) = delete;
    ~segment() {
        if (forget_) forget_(id_);
    }

    [[nodiscard]] std::uint64_t id() const noexcept { return id_; }
    [[nodiscard]] int file() const noexcept { return file_.get(); }
    /// Of data on a cluster; "" for all others.
    [[nodiscard]] const std::string& key() const noexcept { return key_; }
    [[nodiscard]] const std::shared_ptr<const data_owner>& owner() const noexcept { return owner_; }
    [[nodiscard]] bool is_message() const noexcept { return is_message_; }
    /// Where it is mapped: what to read. Only for a segment that was taken over.
    [[nodiscard]] incoming message() const noexcept { return {stream_, blocks_}; }

    /// What was made of the message in this process; made once, and shared by all who ask.
    template <class Make>
    std::shared_ptr<void> decoded(Make make) {
        const std::lock_guard lock(mutex_);
        if (!decoded_) decoded_ = make();
        return decoded_;
    }
    /// Ends the circle of a segment that keeps what keeps the segment.
    void drop_decoded() {
        std::shared_ptr<void> dropped;
        const std::lock_guard lock(mutex_);
        dropped.swap(decoded_);
    }
    /// Is called with the id when the segment is destroyed. Set by the engine that gave it to other processes, before
    /// anybody else has it.
    void on_destruction(void (*forget)(std::uint64_t)) noexcept { forget_ = forget; }

private:
    struct header {
        std::uint64_t magic, stream_size, blocks, stream_at;
    };
    struct place {
        std::uint64_t offset, size;
    };
    static constexpr std::uint64_t magic = 0x6a6f626c6f745347; // "joblotSG"

    void write_at(std::size_t offset, const void* data, std::size_t size) const {
        const auto* const bytes = static_cast<const std::byte*>(data);
        for (std::size_t done = 0; done != size;) {
            const ssize_t n = ::pwrite(file_.get(), bytes + done, size - done, static_cast<off_t>(offset + done));
            if (n < 0 && errno == EINTR) continue;
            if (n <= 0) throw backend_error("joblot: a broadcast value cannot be written: " + why_no_memory(errno));
            done += static_cast<std::size_t>(n);
        }
    }
    [[noreturn]] static void broken() {
        throw serialization_error("joblot: the shared memory of a broadcast value makes no sense", "broadcast value");
    }

    const std::uint64_t id_;
    const std::string key_;
    const std::shared_ptr<const data_owner> owner_;
    const bool is_message_ = false;
    descriptor file_;
    mapping map_;
    bytes_view stream_;
    std::vector<bytes_view> blocks_;
    void (*forget_)(std::uint64_t) = nullptr;
    std::mutex mutex_;
    std::shared_ptr<void> decoded_; // guarded by mutex_
};

} // namespace joblot::detail
