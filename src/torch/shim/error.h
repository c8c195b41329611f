// How the shim's functions report errors.
//
// Contract of every function that returns char*: null means done; anything else is the text of the error, from malloc,
// for the caller to release with azt_release. No C++ exception leaves the shim.

#pragma once

#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>

#include <c10/util/Exception.h>

namespace azaion {

// strdup, but never null: a null would read as success.
inline char *text(const char *what) {
  char *copy = strdup(what && *what ? what : "an exception without a text");
  if (copy == nullptr) {
    std::abort();
  }
  return copy;
}

template <typename Body> char *guarded(Body &&body) noexcept {
  try {
    body();
    return nullptr;
  } catch (const c10::OutOfMemoryError &error) {
    return text(error.what_without_backtrace());
  } catch (const c10::Error &error) {
    return text(error.what_without_backtrace());
  } catch (const std::bad_alloc &) {
    return text("std::bad_alloc: out of memory");
  } catch (const std::exception &error) {
    return text(error.what());
  } catch (...) {
    return text("an exception that is no std::exception");
  }
}

} // namespace azaion
