/* Walks trees. This text is compiled twice: for every processor (walk_portable.c), and for those with vectors that not
 * all of an architecture have (walk_vector.c); the compiler makes vectors of its loops. */
#ifndef FIELDLOOP_WALK_H
#define FIELDLOOP_WALK_H

#include "trees.h"

#define FEW_KEYS 32u

/* How many of a few keys lie below `key`. Columns begin at a multiple of 8 keys, the keys at one of 64 bytes. */
#if defined(FL_HAS_AVX2)
static inline uint32_t count_few(const int32_t *keys, uint32_t n, int32_t key)
{
    const __m256i all = _mm256_set1_epi32(key);
    uint32_t passed = 0;
    for (uint32_t i = 0; i < n; i += 8) {
        const __m256i below = _mm256_cmpgt_epi32(all, _mm256_load_si256((const __m256i *)(const void *)(keys + i)));
        passed += (uint32_t)_mm_popcnt_u32((uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(below)));
    }
    return passed;
}
#else
/* The compiler makes of it what the processor has. */
typedef int32_t four_keys __attribute__((vector_size(16)));

static inline uint32_t count_few(const int32_t *keys, uint32_t n, int32_t key)
{
    const four_keys *four = (const four_keys *)(const void *)keys;
    four_keys counts = {0};
    for (uint32_t i = 0; i < n / 4; i++)
        counts -= four[i] < key; /* true is -1 */
    return (uint32_t)(counts[0] + counts[1] + counts[2] + counts[3]);
}
#endif

/* How many keys lie below `key`; n is a multiple of 8. */
static inline uint32_t count_below(const int32_t *keys, uint32_t n, int32_t key)
{
    uint32_t passed = 0;
    while (n > FEW_KEYS) { /* halving, without branches that depend on the row */
        const uint32_t half = n / 2 & ~7u;
        const bool is_above = keys[half - 1] < key;
        keys += is_above ? half : 0;
        passed += is_above ? half : 0;
        n = is_above ? n - half : half;
    }
    return passed + count_few(keys, n, key);
}

static inline bool goes_left(const fl_test *test, float value)
{
    if (!(value > -1e30F && value < 1e30F)) /* infinite, or a category that nobody numbers */
        return test->other_left;
    if (value < 0.0F || value >= (float)test->n_bits)
        return test->other_left;
    const uint32_t category = (uint32_t)value;
    return test->bits[category / 8] >> category % 8 & 1;
}

/* A row as the narrow nodes ask it: one byte a slot. */
static inline void rank_slots(const fl_trees *trees, const float *row, uint8_t *slots)
{
    const bool has_both = trees->missing == FL_MISSING_BOTH;
    const uint8_t missing_first = trees->missing == FL_MISSING_LEFT ? 0 : FL_MISSING_RANK;
    for (uint32_t c = 0; c < trees->n_columns; c++) {
        const fl_column *column = trees->columns + c;
        const uint32_t bits = fl_bits_of(row[column->column]);
        const bool is_missing = fl_is_nan_bits(bits);
        const uint8_t rank =
            is_missing ? 0 : (uint8_t)count_below(trees->keys + column->first_key, column->n_keys, fl_key_of_bits(bits));
        *slots++ = is_missing ? missing_first : rank;
        if (has_both)
            *slots++ = rank;
    }
    for (uint32_t t = 0; t < trees->n_tests; t++) {
        const float value = row[trees->tests[t].column];
        const bool is_missing = fl_is_nan_bits(fl_bits_of(value));
        const uint8_t rank = is_missing || goes_left(trees->tests + t, value) ? 0 : FL_MISSING_RANK;
        *slots++ = is_missing ? missing_first : rank;
        if (has_both)
            *slots++ = rank;
    }
    *slots = 0;
}

/* The same as keys, for nodes that compare with the threshold itself. */
static inline void key_slots(const fl_trees *trees, const float *row, int32_t *slots)
{
    const bool has_both = trees->missing == FL_MISSING_BOTH;
    const int32_t missing_first = trees->missing == FL_MISSING_LEFT ? FL_KEY_LEFT : FL_KEY_RIGHT;
    for (uint32_t c = 0; c < trees->n_columns; c++) {
        const uint32_t bits = fl_bits_of(row[trees->columns[c].column]);
        const bool is_missing = fl_is_nan_bits(bits);
        const int32_t key = is_missing ? FL_KEY_LEFT : fl_key_of_bits(bits);
        *slots++ = is_missing ? missing_first : key;
        if (has_both)
            *slots++ = key;
    }
    for (uint32_t t = 0; t < trees->n_tests; t++) {
        const float value = row[trees->tests[t].column];
        const bool is_missing = fl_is_nan_bits(fl_bits_of(value));
        const int32_t key = is_missing || goes_left(trees->tests + t, value) ? FL_KEY_LEFT : FL_KEY_RIGHT;
        *slots++ = is_missing ? missing_first : key;
        if (has_both)
            *slots++ = key;
    }
    *slots = FL_KEY_LEFT;
}

/* `add_leaves` for leaves of two numbers, which forests of two classes have: both at once. */
typedef double two_numbers __attribute__((vector_size(16)));

static inline void add_pairs(const fl_trees *trees, const uint32_t *places, double *totals)
{
    two_numbers leaf[FL_OCTET];
    for (uint32_t i = 0; i < FL_OCTET; i++) {
        const float *pair = trees->leaf_rows + 2 * (size_t)trees->rows[places[i]];
        leaf[i] = (two_numbers){(double)pair[0], (double)pair[1]};
    }
    const two_numbers low = (leaf[0] + leaf[1]) + (leaf[2] + leaf[3]);
    const two_numbers high = (leaf[4] + leaf[5]) + (leaf[6] + leaf[7]);
    const two_numbers sum = low + high;
    totals[0] += sum[0];
    totals[1] += sum[1];
}

/* Add what eight trees reached, in float64 and always in this order. */
static inline void add_leaves(const fl_trees *trees, const uint32_t *places, uint32_t output, double *totals)
{
    if (trees->values) {
        double v[FL_OCTET];
        for (uint32_t i = 0; i < FL_OCTET; i++)
            v[i] = (double)trees->values[places[i]];
        totals[output] += ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7]));
        return;
    }
    if (trees->width == 2) {
        add_pairs(trees, places, totals);
        return;
    }
    const float *leaf[FL_OCTET];
    const uint32_t width = trees->width;
    for (uint32_t i = 0; i < FL_OCTET; i++)
        leaf[i] = trees->leaf_rows + (size_t)trees->rows[places[i]] * width;
    for (uint32_t k = 0; k < width; k++) {
        const double low = ((double)leaf[0][k] + (double)leaf[1][k]) + ((double)leaf[2][k] + (double)leaf[3][k]);
        const double high = ((double)leaf[4][k] + (double)leaf[5][k]) + ((double)leaf[6][k] + (double)leaf[7][k]);
        totals[k] += low + high;
    }
}

static inline void answer_totals(const fl_trees *trees, const double *totals, float *answer)
{
    for (uint32_t k = 0; k < trees->n_outputs; k++)
        answer[k] = (float)(trees->base[k] + totals[k] / trees->divisor);
}

static inline double *cleared_totals(const fl_trees *trees, void *scratch)
{
    memset(scratch, 0, trees->n_outputs * sizeof(double));
    return scratch;
}

/* One step of one of eight trees. At a leaf the slot says left, and left of it is the leaf itself. */
#define NARROW_STEP(at)                                                                                                \
    do {                                                                                                               \
        const uint32_t node = nodes[at];                                                                               \
        at += (node >> FL_NARROW_CHILD) + (slots[node & 0xff] > (uint8_t)(node >> 8));                                 \
    } while (0)
#define WIDE_STEP(at)                                                                                                  \
    do {                                                                                                               \
        const uint64_t node = nodes[at];                                                                               \
        const uint32_t high = (uint32_t)(node >> 32);                                                                  \
        const int32_t value = slots[high & ((1u << FL_WIDE_SLOT_BITS) - 1)];                                           \
        at += (high >> FL_WIDE_SLOT_BITS) + (value > (int32_t)(uint32_t)node);                                         \
    } while (0)
#define PLAIN_STEP(at)                                                                                                 \
    do {                                                                                                               \
        const fl_plain_node node = nodes[at];                                                                          \
        at += node.child + (slots[node.slot] > node.key);                                                              \
    } while (0)

#define DEFINE_WALK(NAME, NODE, SLOT, PREPARE, STEP)                                                                   \
    static void NAME(const fl_trees *trees, const float *row, float *answer, void *scratch)                            \
    {                                                                                                                  \
        double *totals = cleared_totals(trees, scratch);                                                               \
        SLOT *slots = (SLOT *)(totals + trees->n_outputs);                                                             \
        PREPARE(trees, row, slots);                                                                                    \
        const NODE *nodes = trees->nodes;                                                                              \
        const fl_octet *end = trees->octets + trees->n_octets;                                                         \
        for (const fl_octet *octet = trees->octets; octet < end; octet++) {                                            \
            /* Eight names, not an array: they must stay in registers. */                                              \
            uint32_t a = octet->first[0], b = octet->first[1], c = octet->first[2], d = octet->first[3];               \
            uint32_t e = octet->first[4], f = octet->first[5], g = octet->first[6], h = octet->first[7];               \
            for (uint32_t step = octet->steps; step > 0; step--) {                                                     \
                STEP(a);                                                                                               \
                STEP(b);                                                                                               \
                STEP(c);                                                                                               \
                STEP(d);                                                                                               \
                STEP(e);                                                                                               \
                STEP(f);                                                                                               \
                STEP(g);                                                                                               \
                STEP(h);                                                                                               \
            }                                                                                                          \
            const uint32_t places[FL_OCTET] = {a, b, c, d, e, f, g, h};                                                \
            add_leaves(trees, places, octet->output, totals);                                                          \
        }                                                                                                              \
        answer_totals(trees, totals, answer);                                                                          \
    }

DEFINE_WALK(walk_narrow, uint32_t, uint8_t, rank_slots, NARROW_STEP)
DEFINE_WALK(walk_wide, uint64_t, int32_t, key_slots, WIDE_STEP)
DEFINE_WALK(walk_plain, fl_plain_node, int32_t, key_slots, PLAIN_STEP)

#endif
