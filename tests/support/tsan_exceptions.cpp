// SPDX-License-Identifier: BSL-1.0
// Shows ThreadSanitizer the reference count of exceptions. It lives in libstdc++.so, which is not instrumented, so the
// last owner's destruction of an exception would look like a race with every earlier use on another thread.
//
// Linked into every program of a ThreadSanitizer build, this replaces the two functions that give up a reference. Each
// goes through one lock per exception object, whose order ThreadSanitizer can see. Nothing else gains an order from it.
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <iterator>

#include <dlfcn.h>

namespace {

// A spin lock that its owner may take again: an exception's destructor may give up other exceptions.
class slot {
public:
    void lock() noexcept {
        if (owner_.load(std::memory_order_relaxed) == self()) {
            ++depth_;
            return;
        }
        const char* nobody = nullptr;
        while (!owner_.compare_exchange_weak(nobody, self(), std::memory_order_acquire)) nobody = nullptr;
    }
    void unlock() noexcept {
        if (depth_ > 0)
            --depth_;
        else
            owner_.store(nullptr, std::memory_order_release);
    }

private:
    static const char* self() noexcept {
        static thread_local char mark;
        return &mark;
    }

    std::atomic<const char*> owner_{nullptr};
    int depth_ = 0; // of the owner only
};

constinit slot slots[251];

template <class Function>
Function* in_libstdcxx(const char* symbol) noexcept {
    return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, symbol));
}

} // namespace

// Every owner ends here.
void std::__exception_ptr::exception_ptr::_M_release() noexcept {
    static const auto release = in_libstdcxx<void(void*)>("_ZNSt15__exception_ptr13exception_ptr10_M_releaseEv");
    slot& lock = slots[reinterpret_cast<std::uintptr_t>(_M_exception_object) / 64 % std::size(slots)];
    lock.lock();
    release(this);
    lock.unlock();
}

// So does the end of a handler, by way of one more owner that outlives the handler's own reference.
extern "C" void __cxa_end_catch() {
    static const auto end_catch = in_libstdcxx<void()>("__cxa_end_catch");
    const std::exception_ptr handled = std::current_exception();
    end_catch();
}
