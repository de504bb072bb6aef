/* Trees on processors with vectors of bytes and a table look-up: AVX2 on x86-64, NEON on aarch64.
 *
 * Bands are of the QuickScorer family (Lucchese et al., QuickScorer, SIGIR 2015): no tree is walked. Every node of every
 * tree is compared, FL_LANES trees at once; a node where the row goes right puts the leaves of its left side out of reach;
 * the first leaf that is left is the tree's answer. */
#include "trees.h"
#include "vectors.h"

#if defined(__x86_64__)
#include <immintrin.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,bmi,bmi2,popcnt"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,bmi,bmi2,popcnt")
#endif
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#if FL_LANES
#if defined(__x86_64__)
#define FL_HAS_AVX2
#endif
#include "walk.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define MOST_PLANES 4
/* 16 inputs fit into one look-up. */
#define TABLE 16u

#if defined(__x86_64__)
typedef __m256i lanes;
#define BIAS 0x80u

ALWAYS_INLINE lanes load_lanes(const uint8_t *from)
{
    return _mm256_load_si256((const __m256i *)(const void *)from);
}

ALWAYS_INLINE lanes no_lanes(void)
{
    return _mm256_setzero_si256();
}

/* Choose by bit 4 or 5 of the place: blendv looks at the highest bit of a byte. */
ALWAYS_INLINE lanes look_up(const lanes *tables, lanes places, int n_tables)
{
    const lanes first = _mm256_shuffle_epi8(tables[0], places);
    if (n_tables == 1)
        return first;
    const lanes bit4 = _mm256_slli_epi16(places, 3);
    const lanes low = _mm256_blendv_epi8(first, _mm256_shuffle_epi8(tables[1], places), bit4);
    if (n_tables == 2)
        return low;
    const lanes third = _mm256_shuffle_epi8(tables[2], places), fourth = _mm256_shuffle_epi8(tables[3], places);
    return _mm256_blendv_epi8(low, _mm256_blendv_epi8(third, fourth, bit4), _mm256_slli_epi16(places, 2));
}

ALWAYS_INLINE lanes load_table(const uint8_t *from)
{
    return _mm256_broadcastsi128_si256(_mm_load_si128((const __m128i *)(const void *)from));
}

ALWAYS_INLINE lanes is_greater(lanes a, lanes b)
{
    return _mm256_cmpgt_epi8(a, b);
}

ALWAYS_INLINE lanes is_equal(lanes a, lanes b)
{
    return _mm256_cmpeq_epi8(a, b);
}

ALWAYS_INLINE lanes all_of(uint8_t byte)
{
    return _mm256_set1_epi8((char)byte);
}

ALWAYS_INLINE lanes both(lanes a, lanes b)
{
    return _mm256_and_si256(a, b);
}

ALWAYS_INLINE lanes either(lanes a, lanes b)
{
    return _mm256_or_si256(a, b);
}

ALWAYS_INLINE lanes first_without(lanes a, lanes b)
{
    return _mm256_andnot_si256(b, a);
}

/* One uint32 a tree: the bytes of its planes, side by side. */
ALWAYS_INLINE void store_lost(const lanes *planes, uint32_t *lost)
{
    const lanes low01 = _mm256_unpacklo_epi8(planes[0], planes[1]), high01 = _mm256_unpackhi_epi8(planes[0], planes[1]);
    const lanes low23 = _mm256_unpacklo_epi8(planes[2], planes[3]), high23 = _mm256_unpackhi_epi8(planes[2], planes[3]);
    const lanes a = _mm256_unpacklo_epi16(low01, low23), b = _mm256_unpackhi_epi16(low01, low23);
    const lanes c = _mm256_unpacklo_epi16(high01, high23), d = _mm256_unpackhi_epi16(high01, high23);
    __m256i *to = (__m256i *)(void *)lost;
    _mm256_store_si256(to, _mm256_permute2x128_si256(a, b, 0x20));
    _mm256_store_si256(to + 1, _mm256_permute2x128_si256(c, d, 0x20));
    _mm256_store_si256(to + 2, _mm256_permute2x128_si256(a, b, 0x31));
    _mm256_store_si256(to + 3, _mm256_permute2x128_si256(c, d, 0x31));
}

#else
typedef uint8x16_t lanes;
#define BIAS 0u

ALWAYS_INLINE lanes load_lanes(const uint8_t *from)
{
    return vld1q_u8(from);
}

ALWAYS_INLINE lanes no_lanes(void)
{
    return vdupq_n_u8(0);
}

ALWAYS_INLINE lanes look_up(const lanes *tables, lanes places, int n_tables)
{
    if (n_tables == 1)
        return vqtbl1q_u8(tables[0], places);
    if (n_tables == 2)
        return vqtbl2q_u8((uint8x16x2_t){{tables[0], tables[1]}}, places);
    return vqtbl4q_u8((uint8x16x4_t){{tables[0], tables[1], tables[2], tables[3]}}, places);
}

ALWAYS_INLINE lanes load_table(const uint8_t *from)
{
    return vld1q_u8(from);
}

ALWAYS_INLINE lanes is_greater(lanes a, lanes b)
{
    return vcgtq_u8(a, b);
}

ALWAYS_INLINE lanes is_equal(lanes a, lanes b)
{
    return vceqq_u8(a, b);
}

ALWAYS_INLINE lanes all_of(uint8_t byte)
{
    return vdupq_n_u8(byte);
}

ALWAYS_INLINE lanes both(lanes a, lanes b)
{
    return vandq_u8(a, b);
}

ALWAYS_INLINE lanes either(lanes a, lanes b)
{
    return vorrq_u8(a, b);
}

ALWAYS_INLINE lanes first_without(lanes a, lanes b)
{
    return vbicq_u8(a, b);
}

ALWAYS_INLINE void store_lost(const lanes *planes, uint32_t *lost)
{
    const uint8x16x4_t together = {{planes[0], planes[1], planes[2], planes[3]}};
    vst4q_u8((uint8_t *)lost, together);
}
#endif

/* A row as the bands ask it: one byte an input. True: a number is missing. */
ALWAYS_INLINE bool rank_inputs(const fl_trees *trees, const float *row, uint8_t *inputs)
{
    bool has_missing = false;
    for (uint32_t c = 0; c < trees->n_columns; c++) {
        const fl_column *column = trees->columns + c;
        const uint32_t bits = fl_bits_of(row[column->column]);
        const bool is_missing = fl_is_nan_bits(bits);
        const uint32_t rank = count_below(trees->keys + column->first_key, column->n_keys, fl_key_of_bits(bits));
        *inputs++ = (uint8_t)((is_missing ? FL_MISSING_RANK : rank) ^ BIAS);
        has_missing |= is_missing;
    }
    for (uint32_t t = 0; t < trees->n_tests; t++) {
        const float value = row[trees->tests[t].column];
        const bool is_missing = fl_is_nan_bits(fl_bits_of(value));
        const uint32_t rank = goes_left(trees->tests + t, value) ? 0 : FL_MOST_BAND_RANKS;
        *inputs++ = (uint8_t)((is_missing ? FL_MISSING_RANK : rank) ^ BIAS);
        has_missing |= is_missing;
    }
    return has_missing;
}

ALWAYS_INLINE void lose_leaves(const fl_trees *trees, const fl_band *band, const lanes *tables, int n_tables, int n_planes,
                               bool has_missing, uint32_t *lost)
{
    lanes planes[MOST_PLANES] = {no_lanes(), no_lanes(), no_lanes(), no_lanes()};
    const uint8_t *block = trees->blocks + band->first_block, *missing = trees->missing_left + band->first_missing;
    const uint8_t *end = block + (size_t)band->steps * FL_LANES * (size_t)(2 + n_planes);
    for (; block < end; block += FL_LANES * (size_t)(2 + n_planes)) {
        const lanes ranks = look_up(tables, load_lanes(block), n_tables);
        lanes right = is_greater(ranks, load_lanes(block + FL_LANES));
        if (has_missing) {
            const lanes is_missing = is_equal(ranks, all_of(FL_MISSING_RANK ^ BIAS));
            right = first_without(right, both(is_missing, load_lanes(missing)));
            missing += FL_LANES;
        }
        for (int p = 0; p < n_planes; p++)
            planes[p] = either(planes[p], both(right, load_lanes(block + FL_LANES * (size_t)(2 + p))));
    }
    store_lost(planes, lost);
}

ALWAYS_INLINE void walk_bands(const fl_trees *trees, const lanes *tables, int n_tables, bool has_missing, uint32_t *lost,
                              double *totals)
{
    const fl_band *end = trees->bands + trees->n_bands;
    for (const fl_band *band = trees->bands; band < end; band++) {
        switch (band->planes) {
        case 1:
            lose_leaves(trees, band, tables, n_tables, 1, has_missing, lost);
            break;
        case 2:
            lose_leaves(trees, band, tables, n_tables, 2, has_missing, lost);
            break;
        case 3:
            lose_leaves(trees, band, tables, n_tables, 3, has_missing, lost);
            break;
        default:
            lose_leaves(trees, band, tables, n_tables, 4, has_missing, lost);
        }
        for (uint32_t o = 0; o < FL_LANES / FL_OCTET; o++) {
            uint32_t places[FL_OCTET];
            for (uint32_t i = 0; i < FL_OCTET; i++) {
                const uint32_t lane = o * FL_OCTET + i;
                places[i] = band->first_leaf[lane] + (uint32_t)__builtin_ctz(~lost[lane]);
            }
            add_leaves(trees, places, band->outputs[o], totals);
        }
    }
}

static void run_bands(const fl_trees *trees, const float *row, float *answer, void *scratch)
{
    _Alignas(FL_ALIGNMENT) uint8_t inputs[FL_MOST_BAND_INPUTS] = {0};
    _Alignas(FL_ALIGNMENT) uint32_t lost[FL_LANES];
    double *totals = cleared_totals(trees, scratch);
    const bool has_missing = rank_inputs(trees, row, inputs);
    lanes tables[4];
    for (uint32_t t = 0; t < 4; t++)
        tables[t] = load_table(inputs + TABLE * t);
    const uint32_t n_inputs = trees->n_columns + trees->n_tests;
    if (has_missing)
        walk_bands(trees, tables, 4, true, lost, totals);
    else if (n_inputs <= TABLE)
        walk_bands(trees, tables, 1, false, lost, totals);
    else if (n_inputs <= 2 * TABLE)
        walk_bands(trees, tables, 2, false, lost, totals);
    else
        walk_bands(trees, tables, 4, false, lost, totals);
    answer_totals(trees, totals, answer);
}

#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

fl_trees_runner fl_vector_runner(fl_layout_kind layout)
{
    if (!fl_has_vectors())
        return NULL;
    switch (layout) {
    case FL_BANDS:
        return run_bands;
    case FL_NARROW:
        return walk_narrow;
    case FL_WIDE:
        return walk_wide;
    default:
        return walk_plain;
    }
}
#else
fl_trees_runner fl_vector_runner(fl_layout_kind layout)
{
    (void)layout;
    return NULL;
}
#endif
