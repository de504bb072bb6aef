#include "trees_source.h"

#include <math.h>

uint32_t fl_width_for(uint32_t n)
{
    uint32_t width = 0;
    while (width < 32 && ((uint64_t)1 << width) < n)
        width++;
    return width;
}

uint32_t fl_take_bits(fl_bits *bits, uint32_t width)
{
    if (bits->at > bits->n_bits || width > bits->n_bits - bits->at) {
        bits->at = bits->n_bits + 1;
        return 0;
    }
    uint64_t found = 0;
    const uint64_t first = bits->at >> 3, last = (bits->at + width + 7) >> 3;
    for (uint64_t i = first; i < last; i++)
        found |= (uint64_t)bits->bytes[i] << (8 * (i - first));
    found >>= bits->at & 7;
    bits->at += width;
    return (uint32_t)(found & (((uint64_t)1 << width) - 1));
}

static bool refuse(fl_load *load)
{
    fl_refuse(load, FL_BAD_TREE);
    return false;
}

static bool take_leaf(fl_load *load, fl_trees_source *source, uint32_t n_leaves, fl_node *node)
{
    node->leaf_row = source->has_leaf_places ? fl_take_bits(&source->bits, source->leaf_bits) : n_leaves;
    return node->leaf_row < source->n_leaf_rows || refuse(load);
}

bool fl_next_node(fl_load *load, fl_trees_source *source, uint32_t n_leaves, fl_node *node)
{
    const fl_trees *trees = source->trees;
    fl_bits *bits = &source->bits;
    if (bits->at >= bits->n_bits)
        return refuse(load);
    node->is_leaf = fl_take_bits(bits, 1) == 0;
    if (node->is_leaf)
        return take_leaf(load, source, n_leaves, node) && (bits->at <= bits->n_bits || refuse(load));
    const uint32_t place = fl_take_bits(bits, source->column_bits);
    if (bits->at > bits->n_bits || place >= trees->n_columns)
        return refuse(load);
    const fl_column *column = trees->columns + place;
    const uint32_t n_splits = column->n_thresholds + column->n_tests;
    const uint32_t split = fl_take_bits(bits, fl_width_for(n_splits));
    node->missing_left = trees->missing == FL_MISSING_BOTH ? fl_take_bits(bits, 1) : trees->missing == FL_MISSING_LEFT;
    if (bits->at > bits->n_bits || split >= n_splits)
        return refuse(load);
    if (split < column->n_thresholds) {
        node->input = place;
        node->rank = split;
        node->key = trees->keys[column->first_key + split];
    } else { /* the slot of a test says left or right */
        node->input = trees->n_columns + column->first_test + split - column->n_thresholds;
        node->rank = 0;
        node->key = 0;
    }
    return true;
}

float fl_leaf_number(const fl_trees_source *source, uint64_t at)
{
    if (source->coding == FL_LEAVES_FLOAT32) {
        float value;
        memcpy(&value, source->leaf_table + 4 * at, sizeof value);
        return value;
    }
    uint16_t step = source->leaf_table[at];
    if (source->coding == FL_LEAVES_UINT16)
        memcpy(&step, source->leaf_table + 2 * at, sizeof step);
    return (float)(source->low + source->step * (double)step);
}
