/* The numbers of a row on processors with AVX2. NEON has no wider vectors of doubles than every aarch64 has. */
#include "rows.h"

#if defined(__x86_64__)
#include "vectors.h"
#include <immintrin.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,popcnt"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,popcnt")
#endif

#define FL_WIDTH 4
#include "rows_lanes.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

const fl_rows_ways *fl_rows_fastest(void)
{
    return fl_has_vectors() ? &ways : fl_rows_portable();
}
#else
const fl_rows_ways *fl_rows_fastest(void)
{
    return fl_rows_portable();
}
#endif
