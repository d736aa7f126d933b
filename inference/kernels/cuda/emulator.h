// `kernels.cu` as plain C++, for tests without a device: a launch is a loop over its threads.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstring>
#include <utility>

#define __global__
#define __device__
#define __forceinline__ inline

struct Index {
    unsigned x;
};
static thread_local Index blockIdx, blockDim, threadIdx;

static inline unsigned __float_as_uint(float number) {
    unsigned bits;
    std::memcpy(&bits, &number, sizeof bits);
    return bits;
}

static inline float __uint_as_float(unsigned bits) {
    float number;
    std::memcpy(&number, &bits, sizeof number);
    return number;
}

// Each argument lies in eight bytes, as the driver takes them.
template <class... Arguments, std::size_t... At>
static void launch(void (*kernel)(Arguments...), unsigned blocks, unsigned threads, void *const *arguments,
                   std::index_sequence<At...>) {
    blockDim.x = threads;
    for (blockIdx.x = 0; blockIdx.x < blocks; blockIdx.x++)
        for (threadIdx.x = 0; threadIdx.x < threads; threadIdx.x++) kernel(*(Arguments *)arguments[At]...);
}

template <class... Arguments>
static void launch(void (*kernel)(Arguments...), unsigned blocks, unsigned threads, void *const *arguments) {
    launch(kernel, blocks, threads, arguments, std::index_sequence_for<Arguments...>());
}

#define EMULATE(kernel)                                                                           \
    extern "C" void emulate_##kernel(unsigned blocks, unsigned threads, void *const *arguments) { \
        launch(kernel, blocks, threads, arguments);                                               \
    }
