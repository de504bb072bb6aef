/* Lays the trees of an ensemble into the form in which they are walked, trees of like size side by side. */
#include "trees_source.h"

/* A node that waits until its left side is decoded. */
typedef struct {
    uint32_t position, depth, first_leaf;
} waiting;

typedef struct {
    fl_load *load;
    fl_trees_source *source;
    fl_trees *trees;
    waiting *stack;
    void *nodes;
    float *values;
    uint32_t *rows;
    fl_octet *octets;
    fl_band *bands;
    uint8_t *blocks, *missing_left;
} laying;

/* Find where each tree begins, and how large it is; verify that all of them end, and nothing is left over. */
static void measure_trees(laying *all, fl_tree *trees)
{
    fl_trees_source *source = all->source;
    fl_load *load = all->load;
    uint64_t n_nodes = 0;
    uint32_t n_leaves = 0;
    for (uint32_t t = 0; t < source->n_trees; t++) {
        fl_tree *tree = trees + t;
        tree->at = source->bits.at;
        tree->first_leaf = n_leaves;
        uint32_t waits = 0, depth = 0;
        fl_node node;
        for (;;) {
            if (++n_nodes > source->n_nodes || !fl_next_node(load, source, n_leaves, &node)) {
                fl_refuse(load, FL_BAD_TREE);
                return;
            }
            if (!node.is_leaf) {
                /* Each node that waits has a leaf on its other side still to come. */
                if (waits + 1 >= source->most_leaves) {
                    fl_refuse(load, FL_BAD_TREE);
                    return;
                }
                all->stack[waits++].depth = ++depth;
                continue;
            }
            n_leaves++;
            tree->depth = depth > tree->depth ? depth : tree->depth;
            if (waits == 0)
                break;
            depth = all->stack[--waits].depth;
        }
        tree->n_leaves = n_leaves - tree->first_leaf;
        if (tree->n_leaves > source->most_leaves) {
            fl_refuse(load, FL_BAD_TREE);
            return;
        }
    }
    if (n_nodes != source->n_nodes || source->bits.n_bits - source->bits.at >= 8)
        fl_refuse(load, FL_BAD_TREE);
}

static bool comes_before(const fl_tree *a, const fl_tree *b, bool by_leaves)
{
    const uint32_t size_a = by_leaves ? a->n_leaves : a->depth, size_b = by_leaves ? b->n_leaves : b->depth;
    if (a->output != b->output)
        return a->output < b->output;
    return size_a != size_b ? size_a < size_b : a->place < b->place;
}

/* Heap sort: qsort may ask for memory. */
static void sort_trees(fl_tree *trees, uint32_t n, bool by_leaves)
{
    for (uint32_t end = n, root = n / 2; end > 1;) {
        fl_tree sinking;
        if (root > 0) {
            sinking = trees[--root];
        } else {
            sinking = trees[--end];
            trees[end] = trees[0];
        }
        uint32_t at = root;
        for (uint64_t child; (child = 2 * (uint64_t)at + 1) < end; at = (uint32_t)child) {
            if (child + 1 < end && comes_before(trees + child, trees + child + 1, by_leaves))
                child++;
            if (!comes_before(&sinking, trees + child, by_leaves))
                break;
            trees[at] = trees[child];
        }
        trees[at] = sinking;
    }
}

static void put_leaf(const laying *all, uint64_t place, uint32_t leaf_row)
{
    if (all->values)
        all->values[place] = fl_leaf_number(all->source, leaf_row);
    else
        all->rows[place] = leaf_row;
}

/* The slot that a node asks: missing values are decided in it. The last slot always says left. */
static uint32_t slot_of(const fl_trees *trees, const fl_node *node)
{
    return trees->missing == FL_MISSING_BOTH ? 2 * node->input + node->missing_left : node->input;
}

static void put_node(const laying *all, uint64_t place, uint32_t child, const fl_node *node)
{
    const fl_trees *trees = all->trees;
    const uint32_t slot = node->is_leaf ? trees->n_slots : slot_of(trees, node);
    if (trees->layout == FL_NARROW) {
        const uint32_t rank = node->is_leaf ? 0 : node->rank;
        ((uint32_t *)all->nodes)[place] = slot | rank << 8 | child << 16;
    } else if (trees->layout == FL_WIDE) {
        const uint32_t key = (uint32_t)(node->is_leaf ? 0 : node->key);
        ((uint64_t *)all->nodes)[place] = (uint64_t)(slot | child << FL_WIDE_SLOT_BITS) << 32 | key;
    } else {
        ((fl_plain_node *)all->nodes)[place] = (fl_plain_node){node->is_leaf ? 0 : node->key, slot, child, 0};
    }
}

/* Decode a tree once more, its nodes from `first` on. */
static void lay_walked_tree(const laying *all, const fl_tree *tree, uint64_t first)
{
    uint32_t waits = 0, position = 0, next = 1, leaf = tree->first_leaf;
    fl_node node;
    all->source->bits.at = tree->at;
    while (fl_next_node(all->load, all->source, leaf, &node)) {
        put_node(all, first + position, node.is_leaf ? 0 : next - position, &node);
        if (!node.is_leaf) {
            all->stack[waits++].position = next + 1;
            position = next;
            next += 2;
            continue;
        }
        put_leaf(all, first + position, node.leaf_row);
        leaf++;
        if (waits == 0)
            return;
        position = all->stack[--waits].position;
    }
}

/* The next eight trees of one output; fewer where the output has no more. */
static uint32_t octet_size(const fl_tree *sorted, uint32_t n_left)
{
    uint32_t n = 1;
    while (n < FL_OCTET && n < n_left && sorted[n].output == sorted[0].output)
        n++;
    return n;
}

static void lay_walked(laying *all, const fl_tree *sorted)
{
    const fl_node nothing = {.is_leaf = true};
    const uint32_t n_nodes = all->source->n_nodes;
    uint64_t first = 0;
    /* Behind all trees one of a leaf that adds nothing, to fill up groups. */
    put_node(all, n_nodes, 0, &nothing);
    if (all->values)
        all->values[n_nodes] = 0.0F;
    else
        all->rows[n_nodes] = all->source->n_leaf_rows;
    for (uint32_t t = 0; t < all->source->n_trees && all->load->status == FL_OK;) {
        const uint32_t n = octet_size(sorted + t, all->source->n_trees - t);
        fl_octet *octet = all->octets + all->trees->n_octets++;
        octet->output = sorted[t].output;
        octet->steps = sorted[t + n - 1].depth;
        for (uint32_t i = 0; i < FL_OCTET; i++) {
            octet->first[i] = i < n ? (uint32_t)first : n_nodes;
            if (i < n) {
                lay_walked_tree(all, sorted + t + i, first);
                first += 2 * (uint64_t)sorted[t + i].n_leaves - 1;
            }
        }
        t += n;
    }
}

#if FL_LANES
/* Biased: AVX2 compares signed bytes only. */
static uint8_t stored_rank(uint32_t rank)
{
    return (uint8_t)(FL_LANES == 32 ? rank ^ 0x80u : rank);
}

/* Decode a tree into one lane of its band. */
static void lay_banded_tree(const laying *all, const fl_tree *tree, const fl_band *band, uint32_t lane)
{
    const uint64_t block_bytes = (uint64_t)FL_LANES * (2 + band->planes);
    uint8_t *blocks = all->blocks + band->first_block, *missing = all->missing_left + band->first_missing;
    uint32_t waits = 0, step = 0, leaf = 0;
    fl_node node;
    all->source->bits.at = tree->at;
    while (fl_next_node(all->load, all->source, tree->first_leaf + leaf, &node)) {
        if (!node.is_leaf) {
            uint8_t *block = blocks + block_bytes * step + lane;
            block[0] = (uint8_t)node.input;
            block[FL_LANES] = stored_rank(node.rank);
            missing[(uint64_t)FL_LANES * step + lane] = node.missing_left ? 0xff : 0;
            all->stack[waits++] = (waiting){step++, 0, leaf};
            continue;
        }
        put_leaf(all, (uint64_t)band->first_leaf[lane] + leaf, node.leaf_row);
        leaf++;
        if (waits == 0)
            return;
        /* Its left side is complete: these leaves are lost when the row goes right. */
        const waiting parent = all->stack[--waits];
        for (uint32_t lost = parent.first_leaf; lost < leaf; lost++)
            blocks[block_bytes * parent.position + FL_LANES * (2 + lost / 8) + lane] |= (uint8_t)(1u << lost % 8);
    }
}

/* A band and its blocks, in which no node can be right yet. */
static fl_band *add_band(laying *all, uint32_t most_leaves, uint64_t *used, uint64_t *used_missing)
{
    fl_band *band = all->bands + all->trees->n_bands++;
    band->steps = most_leaves - 1;
    band->planes = (most_leaves + 7) / 8;
    band->first_block = *used;
    band->first_missing = *used_missing;
    const uint64_t block_bytes = (uint64_t)FL_LANES * (2 + band->planes);
    for (uint32_t s = 0; s < band->steps; s++)
        memset(all->blocks + *used + block_bytes * s + FL_LANES, stored_rank(FL_MISSING_RANK), FL_LANES);
    *used += block_bytes * band->steps;
    *used_missing += (uint64_t)FL_LANES * band->steps;
    return band;
}

static void lay_banded(laying *all, const fl_tree *sorted)
{
    const uint32_t n_trees = all->source->n_trees, n_leaves = (all->source->n_nodes + n_trees) / 2;
    uint64_t used = 0, used_missing = 0;
    uint32_t first_leaf = 0;
    if (all->values)
        all->values[n_leaves] = 0.0F;
    else
        all->rows[n_leaves] = all->source->n_leaf_rows;
    for (uint32_t t = 0; t < n_trees && all->load->status == FL_OK;) {
        /* 1. Which trees stand in it, in groups of eight with one output, and how large is the largest? */
        uint32_t sizes[FL_LANES / FL_OCTET] = {0}, most_leaves = 1, end = t;
        for (uint32_t o = 0; o < FL_LANES / FL_OCTET && end < n_trees; o++) {
            sizes[o] = octet_size(sorted + end, n_trees - end);
            for (uint32_t i = 0; i < sizes[o]; i++, end++)
                most_leaves = sorted[end].n_leaves > most_leaves ? sorted[end].n_leaves : most_leaves;
        }
        /* 2. Lay them. */
        fl_band *band = add_band(all, most_leaves, &used, &used_missing);
        for (uint32_t lane = 0; lane < FL_LANES; lane++) {
            const bool is_there = lane % FL_OCTET < sizes[lane / FL_OCTET];
            band->first_leaf[lane] = is_there ? first_leaf : n_leaves;
            if (!is_there)
                continue;
            band->outputs[lane / FL_OCTET] = sorted[t].output;
            lay_banded_tree(all, sorted + t, band, lane);
            first_leaf += sorted[t].n_leaves;
            t++;
        }
    }
}

static void take_bands(laying *all, uint64_t n_octets)
{
    const uint64_t n_bands = (n_octets * FL_OCTET + FL_LANES - 1) / FL_LANES;
    const uint64_t n_steps = n_bands * (all->source->most_leaves - 1), n_planes = (all->source->most_leaves + 7) / 8;
    all->bands = fl_take(all->load, n_bands, sizeof *all->bands);
    all->blocks = fl_take(all->load, n_steps, FL_LANES * (2 + n_planes));
    all->missing_left = fl_take(all->load, n_steps, FL_LANES);
}
#else
static void lay_banded(laying *all, const fl_tree *sorted)
{
    (void)sorted;
    fl_refuse(all->load, FL_UNKNOWN);
}

static void take_bands(laying *all, uint64_t n_octets)
{
    (void)all;
    (void)n_octets;
}
#endif

void fl_lay_trees(fl_load *load, fl_trees_source *source, fl_tree *trees)
{
    static const uint32_t node_bytes[] = {[FL_NARROW] = 4, [FL_WIDE] = 8, [FL_PLAIN] = sizeof(fl_plain_node)};
    fl_trees *laid = source->trees;
    laying all = {.load = load, .source = source, .trees = laid};
    const bool is_banded = laid->layout == FL_BANDS, adds_to_all = laid->width > 1;
    const uint64_t n_nodes = source->n_nodes, n_leaves = (n_nodes + source->n_trees) / 2;
    /* Each output may end with a group that is not full. */
    const uint64_t n_ends = adds_to_all || laid->n_outputs == 1 ? 1 : laid->n_outputs;
    const uint64_t n_octets = source->n_trees / FL_OCTET + (n_ends < source->n_trees ? n_ends : source->n_trees);
    const uint64_t n_places = (is_banded ? n_leaves : n_nodes) + 1;
    if (adds_to_all)
        all.rows = fl_take(load, n_places, sizeof *all.rows);
    else
        all.values = fl_take(load, n_places, sizeof *all.values);
    all.stack = fl_take(load, source->most_leaves, sizeof *all.stack);
    if (is_banded) {
        take_bands(&all, n_octets);
    } else {
        all.nodes = fl_take(load, n_nodes + 1, node_bytes[laid->layout]);
        all.octets = fl_take(load, n_octets, sizeof *all.octets);
    }
    if (load->block == NULL || load->status != FL_OK)
        return;
    measure_trees(&all, trees);
    if (load->status != FL_OK)
        return;
    sort_trees(trees, source->n_trees, is_banded);
    if (is_banded)
        lay_banded(&all, trees);
    else
        lay_walked(&all, trees);
    laid->values = all.values;
    laid->rows = all.rows;
    laid->nodes = all.nodes;
    laid->octets = all.octets;
    laid->bands = all.bands;
    laid->blocks = all.blocks;
    laid->missing_left = all.missing_left;
}
