// SPDX-License-Identifier: BSL-1.0
// What tasks write through C and C++ streams leaves the worker in time, and once.
// Templates, so that only what uses them compiles them: see init.hpp.
#pragma once

#include <joblot/core/requirements.hpp>

#include <joblot/system/fork.hpp>
#include <joblot/system/visibility.hpp>

#include <cstdio>
#include <cstring>
#include <ios>
#include <iostream> // a few lines: <chrono> has brought what they need
#include <streambuf>
#include <string_view>
#include <typeinfo>

#include <dlfcn.h>
#include <fcntl.h>
#include <stdio_ext.h>
#include <unistd.h>

namespace joblot::detail {

/// Passes everything on to a C stream, which sends lines when they are written. Has no buffer of its own.
template <class = void>
class basic_stdio_forwarder final : public std::streambuf {
public:
    explicit basic_stdio_forwarder(std::FILE* to) noexcept : to_(to) {}

protected:
    int_type overflow(int_type c) override {
        if (traits_type::eq_int_type(c, traits_type::eof())) return sync() == 0 ? traits_type::not_eof(c) : c;
        return std::putc(c, to_); // the same end mark
    }
    std::streamsize xsputn(const char* text, std::streamsize size) override {
        return static_cast<std::streamsize>(std::fwrite(text, 1, static_cast<std::size_t>(size), to_));
    }
    int sync() override { return std::fflush(to_); }

private:
    std::FILE* to_;
};

/// Whether a stream has the buffer that libstdc++ gives it after `sync_with_stdio(false)`, and not one of the user's.
/// By name: the header that has the type is a large one. libc++ always writes through stdio.
template <class Stream>
bool has_own_buffer(const Stream& stream) {
    const auto* const buffer = stream.rdbuf();
    return buffer && std::strstr(typeid(*buffer).name(), "13stdio_filebuf") != nullptr;
}

/// Lines that tasks write to the standard streams leave the process as they are written, so that they arrive also if
/// the task then dies. To be called again whenever tasks may have changed that.
template <class = void>
JOBLOT_ONE_PER_PROCESS void send_lines_at_once() {
    static constinit made_once<basic_stdio_forwarder<>> out, err;
    const auto redirect = [](std::ostream& stream, auto& forwarder, std::FILE* to) {
        if (!has_own_buffer(stream)) return;
        stream.flush();
        stream.rdbuf(&forwarder.get([to] { return basic_stdio_forwarder<>(to); }));
    };
    redirect(std::cout, out, stdout);
    redirect(std::cerr, err, stderr);
    redirect(std::clog, err, stderr);
    // through stdio they would make the C stream a wide one, and bytes could not be written to it any more
    for (std::wostream* const wide : {&std::wcout, &std::wclog}) {
        if (has_own_buffer(*wide)) wide->setf(std::ios_base::unitbuf);
    }
}

/// What tasks wrote so far leaves the process.
template <class = void>
void flush_output() {
    std::cout.flush();
    std::clog.flush();
    std::wcout.flush();
    std::wclog.flush();
    std::fflush(stdout);
}

/// In a forked child, before anything is written, and with its stdout and stderr still those of the parent: drops what
/// the parent had not written yet. That is for the parent to write.
template <class = void>
void drop_inherited_output() {
#if defined(__GLIBC__)
    // glibc's list of all C streams, which is whole, as fork() holds its lock. Looked up, as a program that refers to
    // it gets a copy of where it began. Input that was read ahead stays.
    auto* const* const first = static_cast<std::FILE**>(::dlsym(RTLD_DEFAULT, "_IO_list_all"));
    for (std::FILE* file = first ? *first : nullptr; file; file = file->_chain) {
        if (::__fwritable(file) && ::__fpending(file) != 0) ::__fpurge(file);
    }
#endif
    ::__fpurge(stdout);
    // a C++ stream cannot drop what it holds, so it is written where nobody reads it
    const int nowhere = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (nowhere < 0) return;
    ::dup2(nowhere, STDOUT_FILENO);
    ::dup2(nowhere, STDERR_FILENO);
    if (nowhere > STDERR_FILENO) ::close(nowhere);
    for (std::ostream* const stream : {&std::cout, &std::clog}) {
        if (has_own_buffer(*stream)) stream->flush();
    }
    for (std::wostream* const stream : {&std::wcout, &std::wclog}) {
        if (has_own_buffer(*stream)) stream->flush();
    }
}

} // namespace joblot::detail
