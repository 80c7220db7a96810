// Threads without a runtime of our own: torch's OpenMP pool where the process has one, else threads
// that live as long as the call.
//
// A second OpenMP runtime would spin beside torch's, so none is linked: GOMP_parallel is looked up
// in the running process. Its pool does not survive fork(); a child takes plain threads.
#pragma once

#include <dlfcn.h>
#include <unistd.h>

#include <atomic>
#include <exception>
#include <thread>
#include <vector>

#include "gemm.h"

namespace moenas {

using Pool = void (*)(void (*)(void*), void*, unsigned, unsigned);

inline const pid_t loaded_by = getpid();

inline Pool find_pool() {
  static const Pool pool = reinterpret_cast<Pool>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
  return loaded_by == getpid() ? pool : nullptr;
}

// Calls body(worker, item) for every item, each once; workers are numbered below `threads`. Which
// worker takes an item is left to chance: items must not depend on it.
template <class Body>
void parallel(Size items, int threads, const Body& body) {
  if (items < threads) threads = static_cast<int>(items);
  if (threads <= 1) {
    for (Size item = 0; item < items; ++item) body(0, item);
    return;
  }
  struct Shared {
    const Body& body;
    Size items;
    std::atomic<Size> next{0};
    std::atomic<int> workers{0};
  } shared{body, items};
  const auto work = [](void* data) {
    auto& all = *static_cast<Shared*>(data);
    const int worker = all.workers++;
    for (Size item; (item = all.next++) < all.items;) all.body(worker, item);
  };
  if (const Pool pool = find_pool()) {
    pool(work, &shared, static_cast<unsigned>(threads), 0);
    return;
  }
  std::vector<std::thread> others;
  try {
    others.reserve(threads);
    while (static_cast<int>(others.size()) < threads - 1) others.emplace_back(work, &shared);
  } catch (const std::exception&) {  // no more threads to be had: those there do the work
  }
  work(&shared);
  for (auto& other : others) other.join();
}

}  // namespace moenas
