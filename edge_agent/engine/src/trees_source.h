/* Trees as they lie in a table: a stream of bits, decoded node by node. */
#ifndef FIELDLOOP_TREES_SOURCE_H
#define FIELDLOOP_TREES_SOURCE_H

#include "trees.h"

typedef struct {
    const uint8_t *bytes;
    uint64_t n_bits, at; /* at > n_bits: read past the end */
} fl_bits;

typedef enum { FL_LEAVES_FLOAT32, FL_LEAVES_UINT16, FL_LEAVES_UINT8, FL_LEAF_CODINGS } fl_leaf_coding;

/* What the nodes of an ensemble are decoded with. */
typedef struct {
    fl_trees *trees;
    fl_bits bits;
    uint32_t n_trees, n_nodes, most_leaves, n_leaf_rows;
    uint32_t column_bits, leaf_bits;
    bool has_leaf_places; /* else leaves stand in the order of their rows */
    fl_leaf_coding coding;
    double low, step;
    const uint8_t *leaf_table; /* numbers, one row behind the other; or distinct ones, which `names` name */
} fl_trees_source;

typedef struct {
    bool is_leaf, missing_left;
    uint32_t input, rank, leaf_row;
    int32_t key;
} fl_node;

/* One tree, as the first round of decoding finds it. */
typedef struct {
    uint64_t at;
    uint32_t output, place, first_leaf, n_leaves, depth;
} fl_tree;

/* Bits that it takes to name one of `n`. */
uint32_t fl_width_for(uint32_t n);

/* Decode the next node; `n_leaves` leaves stand before it. False: the table is refused. */
bool fl_next_node(fl_load *load, fl_trees_source *source, uint32_t n_leaves, fl_node *node);

/* Number `at` of the leaf table. */
float fl_leaf_number(const fl_trees_source *source, uint64_t at);

/* The next `width` bits as a number; past the end `at` goes beyond `n_bits`, and 0 comes. */
uint32_t fl_take_bits(fl_bits *bits, uint32_t width);

/* trees_lay.c: decode all trees into the layout of `source->trees`, sorted; n_canonical bounds what they are padded to. */
void fl_lay_trees(fl_load *load, fl_trees_source *source, fl_tree *trees);

#endif
