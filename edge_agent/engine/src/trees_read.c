/* Reads a tree ensemble out of a table: its columns, thresholds, category tests and leaves; trees_lay.c lays its nodes. */
#include <math.h>

#include "operations.h"
#include "trees_source.h"

#define KEYS_TOGETHER 8u
#define MOST_CATEGORIES (UINT32_C(1) << 20)
#define MOST_VARINT_BYTES 5u

/* Leaves name a row of the table, which are in no order then; the numbers of rows name one of a few. */
enum { LEAVES_NAMED = 1, NUMBERS_NAMED = 2 };

typedef enum { ALL_OUTPUTS, OUTPUTS_BY_TURNS, OUTPUTS_NAMED, OUTPUT_MODES } output_mode;

typedef struct {
    uint32_t n_trees, n_nodes, n_columns, n_thresholds, n_tests, n_leaf_rows, most_leaves;
    uint8_t outputs, missing, coding, leaf_modes;
} head;

/* Seven bits a byte, the lowest first. */
static uint32_t read_varint(fl_load *load)
{
    uint64_t value = 0;
    for (uint32_t i = 0; i < MOST_VARINT_BYTES; i++) {
        const uint8_t byte = fl_read_u8(load);
        value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (byte < 0x80 && value <= UINT32_MAX)
            return (uint32_t)value;
    }
    fl_refuse(load, FL_BAD_NUMBER);
    return 0;
}

static head read_head(fl_load *load)
{
    head found;
    found.n_trees = fl_read_u32(load);
    found.n_nodes = fl_read_u32(load);
    found.n_columns = fl_read_u32(load);
    found.n_thresholds = fl_read_u32(load);
    found.n_tests = fl_read_u32(load);
    found.n_leaf_rows = fl_read_u32(load);
    found.most_leaves = fl_read_u32(load);
    found.outputs = fl_read_u8(load);
    found.missing = fl_read_u8(load);
    found.coding = fl_read_u8(load);
    found.leaf_modes = fl_read_u8(load);
    if (found.outputs >= OUTPUT_MODES || found.missing > FL_MISSING_BOTH || found.coding >= FL_LEAF_CODINGS ||
        found.leaf_modes > (LEAVES_NAMED | NUMBERS_NAMED))
        fl_refuse(load, FL_UNKNOWN);
    /* A node takes a bit at least, so the file itself bounds what its nodes can take. */
    const uint64_t n_bits = 8 * (uint64_t)(load->end - load->at);
    if (found.n_trees == 0 || found.n_nodes < found.n_trees || found.n_nodes > n_bits || found.most_leaves == 0 ||
        found.most_leaves > (found.n_nodes + 1) / 2 || (found.n_nodes - found.n_trees) % 2 != 0 ||
        found.n_columns > n_bits || found.n_tests > n_bits || found.n_leaf_rows == 0)
        fl_refuse(load, FL_BAD_SHAPE);
    return found;
}

/* Columns ascend; each has thresholds, tests or both. Returns the greatest number of thresholds of one. */
static uint32_t read_columns(fl_load *load, const head *head, fl_trees *trees, uint32_t width)
{
    uint64_t n_thresholds = 0, n_tests = 0, n_keys = 0, column = 0;
    uint32_t most = 0;
    fl_column *columns = fl_take(load, head->n_columns, sizeof *columns);
    for (uint32_t c = 0; c < head->n_columns && load->status == FL_OK; c++) {
        column += read_varint(load) + (c ? UINT64_C(1) : 0);
        const uint32_t thresholds = read_varint(load), tests = read_varint(load);
        if (column >= width || thresholds > head->n_thresholds - n_thresholds || tests > head->n_tests - n_tests ||
            thresholds + tests == 0) {
            fl_refuse(load, FL_BAD_SHAPE);
            return 0;
        }
        const uint32_t padded = (thresholds + KEYS_TOGETHER - 1) & ~(KEYS_TOGETHER - 1);
        if (columns)
            columns[c] = (fl_column){(uint32_t)column, (uint32_t)n_keys, thresholds, padded, (uint32_t)n_tests, tests};
        most = thresholds > most ? thresholds : most;
        n_thresholds += thresholds;
        n_tests += tests;
        n_keys += padded;
    }
    if (n_thresholds != head->n_thresholds || n_tests != head->n_tests)
        fl_refuse(load, FL_BAD_SHAPE);
    trees->columns = columns;
    return most;
}

static void read_keys(fl_load *load, const head *head, fl_trees *trees)
{
    const uint8_t *stored = fl_read_bytes(load, (uint64_t)head->n_thresholds * sizeof(float));
    int32_t *keys = fl_take(load, head->n_thresholds + (uint64_t)KEYS_TOGETHER * head->n_columns, sizeof *keys);
    trees->keys = keys;
    if (stored == NULL || keys == NULL)
        return;
    for (uint32_t c = 0; c < head->n_columns; c++) {
        const fl_column *column = trees->columns + c;
        int32_t *at = keys + column->first_key;
        for (uint32_t i = 0; i < column->n_thresholds; i++, stored += sizeof(float)) {
            uint32_t bits;
            memcpy(&bits, stored, sizeof bits);
            at[i] = fl_key_of_bits(bits);
            if (fl_is_nan_bits(bits))
                fl_refuse(load, FL_BAD_NUMBER);
            else if (i > 0 && at[i] <= at[i - 1])
                fl_refuse(load, FL_BAD_ORDER);
        }
        for (uint32_t i = column->n_thresholds; i < column->n_keys; i++)
            at[i] = INT32_MAX;
    }
}

static void read_tests(fl_load *load, const head *head, fl_trees *trees)
{
    fl_test *tests = fl_take(load, head->n_tests, sizeof *tests);
    for (uint32_t t = 0; t < head->n_tests && load->status == FL_OK; t++) {
        const uint32_t n_bits = read_varint(load);
        const uint8_t other_left = fl_read_u8(load);
        if (n_bits > MOST_CATEGORIES || other_left > 1) {
            fl_refuse(load, FL_BAD_NUMBER);
            return;
        }
        const uint32_t n_bytes = (n_bits + 7) / 8;
        const uint8_t *stored = fl_read_bytes(load, n_bytes);
        uint8_t *bits = fl_take(load, n_bytes, 1);
        if (tests && bits && stored) {
            memcpy(bits, stored, n_bytes);
            tests[t] = (fl_test){bits, n_bits, 0, other_left};
        }
    }
    trees->tests = tests;
    for (uint32_t c = 0; tests && load->status == FL_OK && c < head->n_columns; c++) {
        const fl_column *column = trees->columns + c;
        for (uint32_t t = 0; t < column->n_tests; t++)
            tests[column->first_test + t].column = column->column;
    }
}

/* The output that each tree adds to; 0 where all add to all. */
static fl_tree *read_outputs(fl_load *load, const head *head, const fl_trees *trees)
{
    fl_tree *found = fl_take(load, head->n_trees, sizeof *found);
    for (uint32_t t = 0; t < head->n_trees && load->status == FL_OK; t++) {
        uint32_t output = 0;
        if (head->outputs == OUTPUTS_NAMED)
            output = read_varint(load);
        else if (head->outputs == OUTPUTS_BY_TURNS)
            output = t % trees->n_outputs;
        if (output >= trees->n_outputs)
            fl_refuse(load, FL_BAD_SHAPE);
        if (found) {
            found[t].output = output;
            found[t].place = t;
        }
    }
    return found;
}

/* Lay rows whose numbers are named: a bit 0 is the first of them, a bit 1 goes before the place of another. */
static void lay_named_rows(fl_load *load, const fl_trees_source *source, fl_bits names, uint32_t n_numbers, float *rows)
{
    const uint64_t n = (uint64_t)source->n_leaf_rows * source->trees->width;
    const uint32_t width = fl_width_for(n_numbers);
    for (uint64_t i = 0; i < n; i++) {
        const uint32_t place = fl_take_bits(&names, 1) ? fl_take_bits(&names, width) : 0;
        if (names.at > names.n_bits || place >= n_numbers) {
            fl_refuse(load, FL_BAD_TREE);
            return;
        }
        rows[i] = fl_leaf_number(source, place);
    }
    if (names.n_bits - names.at >= 8)
        fl_refuse(load, FL_BAD_TREE);
}

static void read_leaves(fl_load *load, const head *head, fl_trees_source *source)
{
    static const uint32_t sizes[] = {sizeof(float), sizeof(uint16_t), sizeof(uint8_t)};
    fl_trees *trees = source->trees;
    const bool is_named = (head->leaf_modes & NUMBERS_NAMED) != 0;
    source->coding = (fl_leaf_coding)head->coding;
    source->n_leaf_rows = head->n_leaf_rows;
    source->has_leaf_places = (head->leaf_modes & LEAVES_NAMED) != 0;
    source->leaf_bits = fl_width_for(head->n_leaf_rows);
    if (source->coding != FL_LEAVES_FLOAT32) {
        source->low = fl_read_f64(load, FL_FINITE);
        source->step = fl_read_f64(load, FL_FINITE);
    }
    const uint64_t n_numbers = (uint64_t)head->n_leaf_rows * trees->width;
    const uint64_t n_stored = is_named ? fl_read_u32(load) : n_numbers;
    source->leaf_table = fl_read_bytes(load, n_stored * sizes[source->coding]);
    for (uint64_t i = 0; source->leaf_table && i < n_stored; i++) {
        if (!isfinite(fl_leaf_number(source, i))) {
            fl_refuse(load, FL_BAD_NUMBER);
            return;
        }
    }
    const uint32_t name_bytes = is_named ? fl_read_u32(load) : 0;
    const fl_bits names = {fl_read_bytes(load, name_bytes), 8 * (uint64_t)name_bytes, 0};
    /* A number takes a bit at least. */
    if (is_named && (trees->width == 1 || n_stored == 0 || n_numbers > names.n_bits))
        fl_refuse(load, FL_BAD_SHAPE);
    /* One row of zeros more: the leaf of trees that only fill up a group. */
    float *rows = trees->width > 1 ? fl_take(load, (uint64_t)head->n_leaf_rows + 1, trees->width * sizeof *rows) : NULL;
    trees->leaf_rows = rows;
    if (rows == NULL || load->status != FL_OK)
        return;
    if (is_named) {
        lay_named_rows(load, source, names, (uint32_t)n_stored, rows);
        return;
    }
    for (uint64_t i = 0; i < n_numbers; i++)
        rows[i] = fl_leaf_number(source, i);
}

/* The rule, from what was measured: bands win up to 32 leaves; ranks win where they fit into a byte. */
static void choose_layout(const fl_load *load, const head *head, fl_trees *trees, uint32_t most_thresholds)
{
    const uint64_t n_inputs = (uint64_t)head->n_columns + head->n_tests;
    const uint64_t n_slots = trees->missing == FL_MISSING_BOTH ? 2 * n_inputs : n_inputs;
    const uint64_t most_nodes = 2 * (uint64_t)head->most_leaves - 1;
    const bool may_vector = !(load->flags & FL_PORTABLE);
    trees->n_slots = (uint32_t)n_slots;
    if (may_vector && head->most_leaves <= FL_MOST_BAND_LEAVES && n_inputs <= FL_MOST_BAND_INPUTS &&
        most_thresholds <= FL_MOST_BAND_RANKS && fl_vector_runner(FL_BANDS) != NULL)
        trees->layout = FL_BANDS;
    else if (n_slots < FL_NARROW_SLOTS && most_thresholds <= FL_MOST_RANKS && most_nodes <= (1u << FL_NARROW_CHILD))
        trees->layout = FL_NARROW;
    else if (n_slots < (1u << FL_WIDE_SLOT_BITS) && most_nodes <= (1u << FL_WIDE_CHILD_BITS))
        trees->layout = FL_WIDE;
    else
        trees->layout = FL_PLAIN;
    fl_trees_runner runner = may_vector ? fl_vector_runner(trees->layout) : NULL;
    trees->run = runner ? runner : fl_portable_runner(trees->layout);
}

void fl_read_trees(fl_load *load, fl_operation *operation, const uint32_t *widths)
{
    fl_trees passing, *laid = fl_take(load, 1, sizeof *laid), *trees = laid ? laid : &passing;
    memset(trees, 0, sizeof *trees);
    const head head = read_head(load);
    if (load->status != FL_OK) /* what the head says names places in tables */
        return;
    fl_trees_source source = {.trees = trees, .n_trees = head.n_trees, .n_nodes = head.n_nodes, .most_leaves = head.most_leaves};
    trees->missing = (fl_missing)head.missing;
    trees->n_columns = head.n_columns;
    trees->n_tests = head.n_tests;
    trees->n_outputs = operation->width;
    trees->width = head.outputs == ALL_OUTPUTS ? operation->width : 1;
    trees->divisor = fl_read_f64(load, FL_FINITE);
    trees->base = fl_read_f64s(load, operation->width, FL_FINITE);
    if (trees->divisor == 0.0)
        fl_refuse(load, FL_BAD_NUMBER);
    const uint32_t most_thresholds = read_columns(load, &head, trees, widths[0]);
    read_keys(load, &head, trees);
    read_tests(load, &head, trees);
    fl_tree *order = read_outputs(load, &head, trees);
    read_leaves(load, &head, &source);
    if (load->status != FL_OK)
        return;
    source.column_bits = fl_width_for(head.n_columns);
    source.bits.n_bits = 8 * (uint64_t)(load->end - load->at);
    source.bits.bytes = fl_read_bytes(load, (uint64_t)(load->end - load->at));
    choose_layout(load, &head, trees, most_thresholds);
    fl_lay_trees(load, &source, order);
    /* A group walks as far as its deepest tree; a row is compared with every key, a test asked once. */
    fl_add_work(load, (uint64_t)FL_OCTET * head.n_nodes + head.n_thresholds + head.n_tests);
    fl_add_work(load, (uint64_t)head.n_trees * trees->width + (uint64_t)operation->width * FL_OCTET);
    fl_need_scratch(load, fl_trees_scratch(trees));
    operation->parts.trees = laid;
}
