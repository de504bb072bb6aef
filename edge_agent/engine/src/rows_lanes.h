/* What is done with all numbers of a row, FL_WIDTH doubles at once: included by rows_portable.c and rows_vector.c.
 *
 * However many are worked on at once, each sum is added up in the order of the features: the answers are the same. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "rows.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

typedef double lanes __attribute__((vector_size(FL_WIDTH * sizeof(double))));
#if FL_WIDTH != 4
typedef int64_t flags __attribute__((vector_size(FL_WIDTH * sizeof(int64_t))));
#endif

ALWAYS_INLINE lanes load(const double *from)
{
    lanes loaded;
    memcpy(&loaded, from, sizeof loaded);
    return loaded;
}

static bool check(const double *restrict values, const double *restrict low, const double *restrict high,
                  float *restrict singles, uint32_t n)
{
    uint32_t n_bad = 0;
    for (uint32_t i = 0; i < n; i++) {
        n_bad += !((values[i] >= low[i]) & (values[i] <= high[i]) & (fabs(values[i]) <= (double)FLT_MAX));
        singles[i] = (float)values[i];
    }
    return n_bad == 0;
}

/* Sums of `n` neighbouring lanes of outputs for two rows, whose sums do not wait for each other. */
ALWAYS_INLINE void sum_lanes(const fl_rows *block, const double *one, const double *other, double *to_one, double *to_other,
                             uint32_t n, uint32_t first)
{
    lanes sums[4] = {{0}}, others[4] = {{0}};
    const double *slopes = block->slopes + first;
    for (uint32_t i = 0; i < block->n_features; i++, slopes += block->n_padded)
        for (uint32_t k = 0; k < n; k++) {
            const lanes slope = load(slopes + k * FL_WIDTH);
            sums[k] += slope * one[i];
            others[k] += slope * other[i];
        }
    memcpy(to_one + first, sums, n * sizeof *sums);
    memcpy(to_other + first, others, n * sizeof *others);
}

static void score_two(const fl_rows *block, const double *one, const double *other, double *to_one, double *to_other)
{
    /* Constants, so that the sums stay in registers. */
    uint32_t first = 0;
    for (; first + 3 * FL_WIDTH <= block->n_padded; first += 3 * FL_WIDTH)
        sum_lanes(block, one, other, to_one, to_other, 3, first);
    switch ((block->n_padded - first) / FL_WIDTH) {
    case 2: sum_lanes(block, one, other, to_one, to_other, 2, first); break;
    case 1: sum_lanes(block, one, other, to_one, to_other, 1, first); break;
    default: break;
    }
}

/* How many of a feature's edges do not lie above a number, which is not NaN. */
ALWAYS_INLINE uint32_t bin_in_grid(const double *edges, uint32_t width, double number)
{
    const lanes numbers = (lanes){0} + number;
#if FL_WIDTH == 4
    /* A bit for each edge; FL_MOST_COMPARED fit. */
    uint32_t below = 0;
    for (uint32_t i = 0; i < width; i += FL_WIDTH)
        below = below << FL_WIDTH | (uint32_t)_mm256_movemask_pd(_mm256_cmp_pd(numbers, load(edges + i), _CMP_GE_OQ));
    return (uint32_t)_mm_popcnt_u32(below);
#else
    flags bins = {0};
    for (uint32_t i = 0; i < width; i += FL_WIDTH)
        bins -= numbers >= load(edges + i);
    return (uint32_t)(bins[0] + bins[1]);
#endif
}

ALWAYS_INLINE void count_width(const fl_rows *block, const double *values, uint32_t width)
{
    const double *edges = block->grid;
    for (uint32_t i = 0; i < block->n_features; i++, edges += width)
        block->counts[block->starts[i] + 2 * i + bin_in_grid(edges, width, values[i])]++;
}

static void count_in_grid(const fl_rows *block, const double *values)
{
    switch (block->grid_width) { /* constants, as above */
    case 4: count_width(block, values, 4); return;
    case 8: count_width(block, values, 8); return;
    case 12: count_width(block, values, 12); return;
    case 16: count_width(block, values, 16); return;
    default: count_width(block, values, block->grid_width); return;
    }
}

static const fl_rows_ways ways = {check, score_two, count_in_grid};
