// The kernels of `src/cuda` for a device.
//
// They do the arithmetic of the processor's kernels (`src/*.rs`) in the same order, so that the bits are the same: whole
// numbers are summed without rounding, sums of floating-point numbers have one order, and nothing is fused (`build.sh`
// says so to the compiler). Work is shared by outputs, rows and heads, never by cutting a sum. No kernel waits for
// another thread, so that the same source is plain C++ too: the tests run it so (`emulator.h`).
//
// Each thread does one thing, named by its number; `threads` is how many there are.

#ifndef __CUDACC__
#include "emulator.h"
#endif

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

// `lanes/mod.rs`, `weights.rs` and `attention.rs`.
enum { TILE = 16, BLOCK = 32, PAGE = 16, LANES = 8 };
enum { FOUR_CENTRED, FOUR_LEAST, EIGHT, EIGHT_LEAST, EIGHT_HALVES };

#define THREAD                                          \
    u32 thread = blockIdx.x * blockDim.x + threadIdx.x; \
    if (thread >= threads) return

__device__ __forceinline__ float from_half(u16 half) {
    // Its exponent is 112 too small, also where it is subnormal; infinity and not-a-number keep the largest.
    float magnitude = __uint_as_float((half & 0x7FFFu) << 13) * __uint_as_float((112u + 127u) << 23);
    u32 bits = __float_as_uint(magnitude) | ((half & 0x7C00u) == 0x7C00u ? 0x7F800000u : 0u);
    return __uint_as_float(bits | (half & 0x8000u) << 16);
}

// `half.rs`
__device__ __forceinline__ u16 to_half(float number) {
    u32 bits = __float_as_uint(number), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7FFFFFFFu, rounded;
    if (magnitude > 0x7F800000u) {
        rounded = 0x7E00u | (magnitude >> 13 & 0x3FFu);
    } else if (magnitude >= 0x47800000u) {
        rounded = 0x7C00u;
    } else if (magnitude < 0x38800000u) {
        rounded = __float_as_uint(__uint_as_float(magnitude) + 0.5f) - 0x3F000000u;
    } else {
        rounded = (magnitude - 0x38000000u + 0xFFFu + (magnitude >> 13 & 1u)) >> 13;
    }
    return (u16)(sign | rounded);
}

// `math.rs`
__device__ __forceinline__ float exponential(float x) {
    float held = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x;
    float rounded = held * 1.44269504088896340736f + 12582912.0f;
    float power = rounded - 12582912.0f;
    float rest = held - power * 0.693359375f - power * -2.1219444e-4f;
    float sum = 1.9875691e-4f;
    sum = sum * rest + 1.3981999e-3f;
    sum = sum * rest + 8.333452e-3f;
    sum = sum * rest + 4.1665796e-2f;
    sum = sum * rest + 1.6666665e-1f;
    sum = sum * rest + 5.0000001e-1f;
    float fraction = sum * rest * rest + rest + 1.0f;
    return fraction * __uint_as_float((__float_as_uint(rounded) - 0x4B400000u + 127u) << 23);
}

__device__ __forceinline__ float sum_lanes(const float *lanes) {
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

__device__ __forceinline__ bool is_four(u32 form) { return form == FOUR_CENTRED || form == FOUR_LEAST; }

__device__ __forceinline__ u32 scales_of(u32 form) { return form == FOUR_CENTRED || form == EIGHT ? 1 : 2; }

// A number of a row of the embedding, times `factor`: `Matrix::row`.
extern "C" __global__ void agora_embed(u32 threads, const u32 *tokens, u32 form, const u16 *lines, const u16 *scales,
                                       u32 across, float factor, float *to) {
    THREAD;
    u32 columns = across * BLOCK, row = tokens[thread / columns], block = thread % columns / BLOCK;
    u32 column = thread % BLOCK, lane = row % TILE;
    size_t at = (size_t)(row / TILE) * across + block;
    scales += at * scales_of(form) * TILE + lane;
    lines += at * (is_four(form) ? 4 : 8) * 2 * TILE + 2 * lane + column % 2;
    float first = from_half(scales[0]), number;
    if (is_four(form)) {
        float q = (float)(lines[column / 8 * 2 * TILE] >> (4 * (column / 2 % 4)) & 15);
        number = first * q + (form == FOUR_LEAST ? from_half(scales[TILE]) : -8.0f * first);
    } else {
        float q = (float)(signed char)(lines[column / 4 * 2 * TILE] >> (8 * (column / 2 % 2)) & 255);
        if (form == EIGHT_LEAST) {
            number = first * q + from_half(scales[TILE]);
        } else {
            number = (form == EIGHT_HALVES && column >= 16 ? from_half(scales[TILE]) : first) * q;
        }
    }
    to[thread] = number * factor;
}

// Chosen rows, one after another.
extern "C" __global__ void agora_gather(u32 threads, const u32 *rows, const float *from, u32 width, float *to) {
    THREAD;
    to[thread] = from[(size_t)rows[thread / width] * width + thread % width];
}

// One of the eight sums of the squares of a row.
extern "C" __global__ void agora_squares(u32 threads, const float *x, u32 width, float *sums) {
    THREAD;
    x += (size_t)(thread / LANES) * width + thread % LANES;
    float sum = 0.0f;
#pragma unroll 8
    for (u32 at = 0; at < width; at += LANES) sum = sum + x[at] * x[at];
    sums[thread] = sum;
}

// A number of a normed row.
extern "C" __global__ void agora_norm(u32 threads, const float *x, const float *sums, const float *weight, u32 width,
                                      float epsilon, float *to) {
    THREAD;
    float mean = sum_lanes(sums + (size_t)(thread / width) * LANES) / (float)width;
    float factor = 1.0f / sqrtf(mean + epsilon);
    to[thread] = x[thread] * factor * weight[thread % width];
}

// A block of activations: `rows.rs`.
extern "C" __global__ void agora_round(u32 threads, const float *x, u32 *pairs, float *scales, float *sums) {
    THREAD;
    x += (size_t)thread * BLOCK;
    pairs += (size_t)thread * (BLOCK / 2);
    u32 bits = 0;
    for (u32 at = 0; at < BLOCK; at++) {
        u32 magnitude = __float_as_uint(x[at]) & 0x7FFFFFFFu;
        bits = magnitude > bits ? magnitude : bits;
    }
    if (bits >= 0x7F800000u) {
        for (u32 at = 0; at < BLOCK / 2; at++) pairs[at] = 0;
        scales[thread] = sums[thread] = __uint_as_float(0x7FC00000u);
        return;
    }
    float most = __uint_as_float(bits), factor = most < 1e-30f ? 0.0f : 32767.0f / most;
    u32 total = 0;
    for (u32 at = 0; at < BLOCK / 2; at++) {
        u32 first = __float_as_uint(x[2 * at] * factor + 12582912.0f) - 0x4B400000u;
        u32 second = __float_as_uint(x[2 * at + 1] * factor + 12582912.0f) - 0x4B400000u;
        pairs[at] = (first & 0xFFFFu) | second << 16;
        total += first + second;
    }
    float scale = most / 32767.0f;
    scales[thread] = scale;
    sums[thread] = scale * (float)(int)total;
}

// One output of `N` rows of activations: `product.rs`. A row behind the last is the last one again, and not written.
template <int FORM, int N>
__device__ __forceinline__ void products(u32 output, u32 first, const u32 *lines, const u16 *scales, u32 outputs,
                                         u32 across, const u32 *pairs, const float *x_scales, const float *x_sums,
                                         u32 rows, float *y) {
    const int LINES = FORM == FOUR_CENTRED || FORM == FOUR_LEAST ? 4 : 8;
    const int SCALES = FORM == FOUR_CENTRED || FORM == EIGHT ? 1 : 2;
    size_t before = (size_t)(output / TILE) * across;
    lines += before * LINES * TILE + output % TILE;
    scales += before * SCALES * TILE + output % TILE;
    size_t blocks[N];
    float totals[N];
    for (int n = 0; n < N; n++) {
        u32 row = first + n < rows ? first + n : rows - 1;
        blocks[n] = (size_t)row * across;
        totals[n] = 0.0f;
    }
    for (u32 at = 0; at < across; at++) {
        float scale = from_half(scales[0]);
        int sums[N];
        for (int n = 0; n < N; n++) sums[n] = 0;
#pragma unroll
        for (int p = 0; p < LINES; p++) {
            u32 words = lines[p * TILE];
            if (LINES == 4) {
#pragma unroll
                for (int digit = 0; digit < 4; digit++) {
                    int even = (int)(words >> (4 * digit) & 15), odd = (int)(words >> (16 + 4 * digit) & 15);
                    for (int n = 0; n < N; n++) {
                        int pair = (int)pairs[(blocks[n] + at) * (BLOCK / 2) + 4 * p + digit];
                        sums[n] += even * (int)(short)pair + odd * (pair >> 16);
                    }
                }
            } else {
                if (FORM == EIGHT_HALVES && p == 4) {
                    for (int n = 0; n < N; n++) {
                        float factor = scale * x_scales[blocks[n] + at];
                        totals[n] = totals[n] + factor * (float)sums[n];
                        sums[n] = 0;
                    }
                }
#pragma unroll
                for (int byte = 0; byte < 2; byte++) {
                    int even = (signed char)(words >> (8 * byte) & 255);
                    int odd = (signed char)(words >> (16 + 8 * byte) & 255);
                    for (int n = 0; n < N; n++) {
                        int pair = (int)pairs[(blocks[n] + at) * (BLOCK / 2) + 2 * p + byte];
                        sums[n] += even * (int)(short)pair + odd * (pair >> 16);
                    }
                }
            }
        }
        float last = FORM == EIGHT_HALVES ? from_half(scales[TILE]) : scale;
        for (int n = 0; n < N; n++) {
            float factor = last * x_scales[blocks[n] + at];
            totals[n] = totals[n] + factor * (float)sums[n];
        }
        if (FORM == FOUR_CENTRED || FORM == FOUR_LEAST || FORM == EIGHT_LEAST) {
            float least = FORM == FOUR_CENTRED ? scale * -8.0f : from_half(scales[TILE]);
            for (int n = 0; n < N; n++) totals[n] = totals[n] + least * x_sums[blocks[n] + at];
        }
        lines += LINES * TILE;
        scales += SCALES * TILE;
    }
    for (int n = 0; n < N; n++) {
        if (first + n < rows) y[(size_t)(first + n) * outputs + output] = totals[n];
    }
}

template <int N>
__device__ __forceinline__ void products(u32 thread, u32 form, const u32 *lines, const u16 *scales, u32 outputs,
                                         u32 across, const u32 *pairs, const float *x_scales, const float *x_sums,
                                         u32 rows, float *y) {
    u32 output = thread % outputs, first = thread / outputs * N;
#define FORM(name)                                                                                          \
    case name:                                                                                              \
        products<name, N>(output, first, lines, scales, outputs, across, pairs, x_scales, x_sums, rows, y); \
        break
    switch (form) {
        FORM(FOUR_CENTRED);
        FORM(FOUR_LEAST);
        FORM(EIGHT);
        FORM(EIGHT_LEAST);
        FORM(EIGHT_HALVES);
    }
#undef FORM
}

// One output of one row.
extern "C" __global__ void agora_multiply_one(u32 threads, u32 form, const u32 *lines, const u16 *scales, u32 outputs,
                                              u32 across, const u32 *pairs, const float *x_scales, const float *x_sums,
                                              u32 rows, float *y) {
    THREAD;
    products<1>(thread, form, lines, scales, outputs, across, pairs, x_scales, x_sums, rows, y);
}

// One output of four rows, for which its weights are read once.
extern "C" __global__ void agora_multiply_four(u32 threads, u32 form, const u32 *lines, const u16 *scales, u32 outputs,
                                               u32 across, const u32 *pairs, const float *x_scales,
                                               const float *x_sums, u32 rows, float *y) {
    THREAD;
    products<4>(thread, form, lines, scales, outputs, across, pairs, x_scales, x_sums, rows, y);
}

// `to += from`, which begins anew after `width` numbers.
extern "C" __global__ void agora_add(u32 threads, const float *from, u32 width, float *to) {
    THREAD;
    to[thread] = to[thread] + from[thread % width];
}

// Turns one pair of a head by the angle of its token's position; `apart` is how far its numbers are from each other.
extern "C" __global__ void agora_rotate(u32 threads, const u32 *positions, const float *turns, u32 heads, u32 size,
                                        u32 apart, float *x) {
    THREAD;
    u32 pair = thread % (size / 2), head = thread / (size / 2);
    const float *turn = turns + (size_t)positions[head / heads] * size + 2 * pair;
    x += (size_t)head * size + (apart == 1 ? 2 * pair : pair);
    float a = x[0], b = x[apart];
    x[0] = a * turn[0] - b * turn[1];
    x[apart] = a * turn[1] + b * turn[0];
}

// A number of a token's key, and of its value, goes to the token's page: `attention.rs`.
extern "C" __global__ void agora_remember(u32 threads, u16 *const *pages, const u32 *starts, const u32 *positions,
                                          const float *keys, const float *values, u32 heads, u32 size, u32 before) {
    THREAD;
    u32 number = thread % size, head = thread / size % heads, token = thread / size / heads;
    u32 position = positions[token], place = position % PAGE;
    u16 *page = pages[starts[token] + position / PAGE] + (size_t)(before + head) * 2 * size * PAGE;
    page[number * PAGE + place] = to_half(keys[thread]);
    page[(size + place * (size / TILE)) * PAGE + number] = to_half(values[thread]);
}

// The first position that a token sees, and how many.
__device__ __forceinline__ u32 span(u32 position, u32 window, u32 *first) {
    *first = window > 0 && position + 1 > window ? position + 1 - window : 0;
    return position + 1 - *first;
}

// A query head's score of one position. The tokens of these launches begin with `token`.
extern "C" __global__ void agora_score(u32 threads, const u16 *const *pages, const u32 *starts, const u32 *positions,
                                       const float *query, u32 heads, u32 key_heads, u32 size, u32 before, u32 window,
                                       float scale, u32 token, u32 room, float *scores) {
    THREAD;
    u32 slot = thread % room, head = thread / room % heads, first;
    token += thread / room / heads;
    if (slot >= span(positions[token], window, &first)) return;
    u32 position = first + slot;
    const u16 *keys = pages[starts[token] + position / PAGE];
    keys += (size_t)(before + head / (heads / key_heads)) * 2 * size * PAGE + position % PAGE;
    query += ((size_t)token * heads + head) * size;
    float sum = 0.0f;
#pragma unroll 8
    for (u32 number = 0; number < size; number++) sum = sum + from_half(keys[number * PAGE]) * query[number];
    scores[thread] = sum * scale;
}

// The largest of every eighth score.
extern "C" __global__ void agora_peak(u32 threads, const u32 *positions, u32 heads, u32 window, u32 token, u32 room,
                                      const float *scores, float *peaks) {
    THREAD;
    u32 row = thread / LANES, first, count = span(positions[token + row / heads], window, &first);
    scores += (size_t)row * room;
    float most = __uint_as_float(0xFF800000u);
    for (u32 slot = thread % LANES; slot < count; slot += LANES) most = scores[slot] > most ? scores[slot] : most;
    peaks[thread] = most;
}

// The exponentials of every eighth score, and their sum but for those behind the last whole eight.
extern "C" __global__ void agora_weigh(u32 threads, const u32 *positions, u32 heads, u32 window, u32 token, u32 room,
                                       const float *peaks, float *scores, float *sums) {
    THREAD;
    u32 row = thread / LANES, first, count = span(positions[token + row / heads], window, &first);
    scores += (size_t)row * room;
    peaks += (size_t)row * LANES;
    float most = peaks[0], sum = 0.0f;
    for (u32 lane = 1; lane < LANES; lane++) most = peaks[lane] > most ? peaks[lane] : most;
    for (u32 slot = thread % LANES; slot < count; slot += LANES) {
        float weight = exponential(scores[slot] - most);
        scores[slot] = weight;
        if (slot < count / LANES * LANES) sum = sum + weight;
    }
    sums[thread] = sum;
}

// A number of what a query head sees.
extern "C" __global__ void agora_mix(u32 threads, const u16 *const *pages, const u32 *starts, const u32 *positions,
                                     u32 heads, u32 key_heads, u32 size, u32 before, u32 window, u32 token, u32 room,
                                     const float *scores, const float *sums, float *to) {
    THREAD;
    u32 number = thread % size, row = thread / size, head = row % heads, first;
    to += (size_t)token * heads * size;
    token += row / heads;
    u32 count = span(positions[token], window, &first);
    scores += (size_t)row * room;
    float total = sum_lanes(sums + (size_t)row * LANES);
    for (u32 slot = count / LANES * LANES; slot < count; slot++) total = total + scores[slot];
    float factor = 1.0f / total, sum = 0.0f;
    pages += starts[token];
    size_t values = (size_t)(before + head / (heads / key_heads)) * 2 * size * PAGE + size * PAGE + number;
#pragma unroll 4
    for (u32 slot = 0; slot < count; slot++) {
        u32 position = first + slot;
        float value = from_half(pages[position / PAGE][values + position % PAGE * size]);
        sum = sum + value * (scores[slot] * factor);
    }
    to[thread] = sum;
}

// `gate = silu(gate) * up`, or with GELU.
extern "C" __global__ void agora_gate(u32 threads, u32 gelu, float *gate, const float *up) {
    THREAD;
    float x = gate[thread], power = -x;
    if (gelu) power = -2.0f * (0.7978846f * (x + 0.044715f * x * x * x));
    gate[thread] = x / (1.0f + exponential(power)) * up[thread];
}

// What an adapter does to one matrix: `lora.rs`. A rank of zero does nothing.
struct Change {
    const u16 *a;
    const u16 *b;
    const float *factors;
    u64 rank;
};

// One inner number of a token, by its own adapter: grouped as in Punica (arXiv 2310.18547) and S-LoRA (2311.03285), since
// tokens of all adapters are in one launch. `changes` has a table per token, or none.
extern "C" __global__ void agora_shrink(u32 threads, const Change *const *changes, u32 matrix, const float *x,
                                        u32 inputs, u32 ranks, float *inner) {
    THREAD;
    u32 rank = thread % ranks, token = thread / ranks;
    const Change *change = changes[token];
    if (!change || rank >= change[matrix].rank) return;
    const u16 *a = change[matrix].a + (size_t)rank * inputs;
    x += (size_t)token * inputs;
    float lanes[TILE];
#pragma unroll
    for (u32 lane = 0; lane < TILE; lane++) lanes[lane] = 0.0f;
    for (u32 at = 0; at < inputs; at += TILE) {
#pragma unroll
        for (u32 lane = 0; lane < TILE; lane++) lanes[lane] = lanes[lane] + from_half(a[at + lane]) * x[at + lane];
    }
#pragma unroll
    for (u32 step = 0; step < 4; step++) {
        u32 width = TILE / 2 >> step;
#pragma unroll
        for (u32 lane = 0; lane < TILE / 2; lane++) {
            if (lane < width) lanes[lane] = lanes[lane] + lanes[lane + width];
        }
    }
    inner[thread] = change[matrix].factors[rank] * lanes[0];
}

// One output of a token: the inner numbers times B, added in the order of the ranks.
extern "C" __global__ void agora_expand(u32 threads, const Change *const *changes, u32 matrix, const float *inner,
                                        u32 ranks, u32 outputs, float *y) {
    THREAD;
    u32 output = thread % outputs, token = thread / outputs;
    const Change *change = changes[token];
    if (!change) return;
    const u16 *b = change[matrix].b + output;
    inner += (size_t)token * ranks;
    float sum = y[thread];
    for (u32 rank = 0; rank < change[matrix].rank; rank++) {
        sum = sum + from_half(b[(size_t)rank * outputs]) * inner[rank];
    }
    y[thread] = sum;
}

#ifndef __CUDACC__
EMULATE(agora_embed)
EMULATE(agora_gather)
EMULATE(agora_squares)
EMULATE(agora_norm)
EMULATE(agora_round)
EMULATE(agora_multiply_one)
EMULATE(agora_multiply_four)
EMULATE(agora_add)
EMULATE(agora_rotate)
EMULATE(agora_remember)
EMULATE(agora_score)
EMULATE(agora_peak)
EMULATE(agora_weigh)
EMULATE(agora_mix)
EMULATE(agora_gate)
EMULATE(agora_shrink)
EMULATE(agora_expand)
#endif
