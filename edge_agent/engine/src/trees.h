/* A tree ensemble in memory.
 *
 * Every comparison is one of integers. A float32 becomes a *key*, an int32 in the same order, so that denormal numbers,
 * infinities and -0 are compared alike by every processor. Where the columns have few thresholds, a row is *ranked* first:
 * rank r of a number says that r of its column's thresholds lie below it, and `x <= threshold i` is `r <= i`.
 *
 * An *input* of the trees is a column's rank or key, or the answer of a category test. A node that asks an input says
 * where missing values go; the walkers ask a *slot*, in which that is decided already.
 */
#ifndef FIELDLOOP_TREES_H
#define FIELDLOOP_TREES_H

#include <limits.h>

#include "model.h"

/* Trees are walked in groups of eight that add to the same output: one waits for memory while the others go on. */
#define FL_OCTET 8u

/* Trees that stand side by side in vector registers, one a byte. 0: this architecture has no such walk. */
#if defined(__x86_64__)
#define FL_LANES 32u
#elif defined(__aarch64__)
#define FL_LANES 16u
#else
#define FL_LANES 0u
#endif
#define FL_MOST_BAND_INPUTS 64u
#define FL_MOST_BAND_LEAVES 32u

typedef enum { FL_NARROW, FL_WIDE, FL_PLAIN, FL_BANDS } fl_layout_kind;

/* Ranks go up to the number of thresholds. 255 is what no rank of a band is: missing. */
#define FL_MOST_RANKS 255u
#define FL_MOST_BAND_RANKS 254u
#define FL_MISSING_RANK 255u
#define FL_KEY_LEFT INT32_MIN
#define FL_KEY_RIGHT INT32_MAX

typedef struct {
    uint32_t column;
    uint32_t first_key, n_thresholds, n_keys; /* keys go on to a multiple of 8 with some that lie below nothing */
    uint32_t first_test, n_tests;
} fl_column;

/* Which categories go left: a bit each, and one answer for all others. */
typedef struct {
    const uint8_t *bits;
    uint32_t n_bits, column;
    bool other_left;
} fl_test;

typedef enum { FL_MISSING_RIGHT, FL_MISSING_LEFT, FL_MISSING_BOTH } fl_missing;

typedef struct {
    uint32_t first[FL_OCTET]; /* place of each tree's root among the nodes */
    uint32_t steps, output;
} fl_octet;

/* Nodes: of 4, 8 or 16 bytes. Children lie side by side, `child` places behind
 * their parent; a leaf is its own child. */
typedef struct {
    int32_t key;
    uint32_t slot, child, unused;
} fl_plain_node;
#define FL_NARROW_CHILD 16u
#define FL_NARROW_RANK 8u
#define FL_NARROW_SLOTS 256u
#define FL_WIDE_SLOT_BITS 12u
#define FL_WIDE_CHILD_BITS 20u

/* FL_LANES trees. Step s of all of them is a block: their inputs, their ranks, and for each eight leaves of a tree one
 * byte a tree: the leaves that are out of reach when its node goes right. */
typedef struct {
    uint32_t steps, planes;
    uint64_t first_block, first_missing;
    uint32_t first_leaf[32];
    uint32_t outputs[4];
} fl_band;

struct fl_trees {
    void (*run)(const fl_trees *trees, const float *row, float *answer, void *scratch);
    fl_layout_kind layout;
    fl_missing missing;
    uint32_t n_columns, n_tests, n_slots, n_outputs, width, n_octets, n_bands;
    const fl_column *columns;
    const int32_t *keys;
    const fl_test *tests;
    const double *base;
    double divisor;
    const void *nodes;
    const fl_octet *octets;
    const fl_band *bands;
    const uint8_t *blocks, *missing_left;
    const float *values;    /* width 1: of each node, or each leaf of a band */
    const uint32_t *rows;   /* else: its place in leaf_rows */
    const float *leaf_rows;
};

/* Bytes of scratch that a row of the ensemble takes. */
uint64_t fl_trees_scratch(const fl_trees *trees);

typedef void (*fl_trees_runner)(const fl_trees *trees, const float *row, float *answer, void *scratch);

/* walk_portable.c, walk_vector.c: what walks this layout here. NULL: this processor cannot. */
fl_trees_runner fl_portable_runner(fl_layout_kind layout);
fl_trees_runner fl_vector_runner(fl_layout_kind layout);

/* The int32 in whose order float32 stand; the caller has looked for NaN. */
static inline int32_t fl_key_of_bits(uint32_t bits)
{
    const int32_t number = (int32_t)(bits == 0x80000000u ? 0u : bits);
    return number ^ (int32_t)((uint32_t)(number >> 31) & 0x7fffffffu);
}

static inline bool fl_is_nan_bits(uint32_t bits)
{
    return (bits & 0x7fffffffu) > 0x7f800000u;
}

static inline uint32_t fl_bits_of(float number)
{
    uint32_t bits;
    memcpy(&bits, &number, sizeof bits);
    return bits;
}

#endif
