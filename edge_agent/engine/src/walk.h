/* Walks trees. This text is compiled twice: for every processor (walk_portable.c), and for those with vectors that not
 * all of an architecture have (walk_vector.c); the compiler makes vectors of its loops. */
#ifndef FIELDLOOP_WALK_H
#define FIELDLOOP_WALK_H

#include "trees.h"

#define FEW_KEYS 32u

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
    int32_t counts[8] = {0};
    for (uint32_t i = 0; i < n; i += 8) {
        for (uint32_t k = 0; k < 8; k++)
            counts[k] += keys[i + k] < key;
    }
    for (uint32_t k = 0; k < 8; k++)
        passed += (uint32_t)counts[k];
    return passed;
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

/* One step of one of eight trees; at a leaf the slot says left, and left is the leaf itself. */
#define NARROW_STEP(i)                                                                                                 \
    do {                                                                                                               \
        const uint32_t node = nodes[octet->first[i] + at[i]];                                                          \
        at[i] = (node >> 16) + (slots[node & 0xff] > (node >> 8 & 0xff));                                              \
    } while (0)
#define WIDE_STEP(i)                                                                                                   \
    do {                                                                                                               \
        const uint64_t node = nodes[octet->first[i] + at[i]];                                                          \
        const uint32_t high = (uint32_t)(node >> 32);                                                                  \
        at[i] = (high >> FL_WIDE_SLOT_BITS) + (slots[high & ((1u << FL_WIDE_SLOT_BITS) - 1)] > (int32_t)(uint32_t)node); \
    } while (0)
#define PLAIN_STEP(i)                                                                                                  \
    do {                                                                                                               \
        const fl_plain_node node = nodes[octet->first[i] + at[i]];                                                     \
        at[i] = node.child + (slots[node.slot] > node.key);                                                            \
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
            uint32_t at[FL_OCTET] = {0};                                                                               \
            for (uint32_t step = 0; step < octet->steps; step++) {                                                     \
                STEP(0);                                                                                               \
                STEP(1);                                                                                               \
                STEP(2);                                                                                               \
                STEP(3);                                                                                               \
                STEP(4);                                                                                               \
                STEP(5);                                                                                               \
                STEP(6);                                                                                               \
                STEP(7);                                                                                               \
            }                                                                                                          \
            for (uint32_t i = 0; i < FL_OCTET; i++)                                                                    \
                at[i] += octet->first[i];                                                                              \
            add_leaves(trees, at, octet->output, totals);                                                              \
        }                                                                                                              \
        answer_totals(trees, totals, answer);                                                                          \
    }

DEFINE_WALK(walk_narrow, uint32_t, uint8_t, rank_slots, NARROW_STEP)
DEFINE_WALK(walk_wide, uint64_t, int32_t, key_slots, WIDE_STEP)
DEFINE_WALK(walk_plain, fl_plain_node, int32_t, key_slots, PLAIN_STEP)

#endif
