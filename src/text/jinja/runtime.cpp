#include "text/jinja/runtime.h"

#include "text/jinja/value.h"

namespace narae::jinja {

Object::Object(Runtime& owner, std::size_t bytes) : runtime(owner), bytes_(bytes) { runtime.take(bytes); }

Object::~Object() { runtime.give(bytes_); }

void Object::grow(std::size_t bytes) {
    runtime.take(bytes);
    bytes_ += bytes;
}

MutableObject::MutableObject(Runtime& owner, std::size_t bytes) : Object(owner, bytes), next(owner.mutables_) {
    if (next != nullptr) next->previous = this;
    owner.mutables_ = this;
}

MutableObject::~MutableObject() {
    if (previous != nullptr) {
        previous->next = next;
    } else {
        runtime.mutables_ = next;
    }
    if (next != nullptr) next->previous = previous;
}

Runtime::~Runtime() { break_rings(); }

void Runtime::check_string_bytes(std::size_t bytes) const {
    if (bytes > kMaxStringBytes)
        fail("a string or the output would have {} bytes, more than the limit of {}", bytes, kMaxStringBytes);
}

void Runtime::fail_with(const std::string& message) const {
    throw_error<UsageError>("chat template, line {}: {}", line, message);
}

void Runtime::refuse_steps() const { fail("it runs for more than {} steps", kMaxSteps); }

void Runtime::refuse_memory(std::size_t bytes) {
    live_bytes_ -= bytes;
    fail("its values need more than {} MiB of memory", kMaxLiveBytes >> 20);
}

void Runtime::destroy(Object* object) noexcept {
    dying_.push_back(object);
    if (destroying_) return;
    destroying_ = true;
    while (!dying_.empty()) {
        Object* last = dying_.back();
        dying_.pop_back();
        delete last;
    }
    destroying_ = false;
}

void Runtime::break_rings() noexcept {
    std::vector<Value> drained;
    for (MutableObject* object = mutables_; object != nullptr; object = object->next) object->drain(drained);
}

}  // namespace narae::jinja
