/* Trees on any processor of the architecture. */
#include "walk.h"

#include "operations.h"

uint64_t fl_trees_scratch(const fl_trees *trees)
{
    const uint64_t totals = (uint64_t)trees->n_outputs * sizeof(double);
    const uint64_t slots = (trees->n_slots + UINT64_C(1)) * sizeof(int32_t);
    /* A band has its inputs, and the leaves that its trees lost. */
    return totals + slots + FL_MOST_BAND_INPUTS + 64 * sizeof(uint32_t) + FL_ALIGNMENT;
}

fl_trees_runner fl_portable_runner(fl_layout_kind layout)
{
    return layout == FL_NARROW ? walk_narrow : layout == FL_WIDE ? walk_wide : walk_plain;
}

const char *fl_trees_layout(const fl_trees *trees)
{
    static const char *const names[] = {
        [FL_NARROW] = "narrow", [FL_WIDE] = "wide", [FL_PLAIN] = "plain", [FL_BANDS] = "bands"};
    return names[trees->layout];
}

void fl_run_trees(const fl_operation *operation, void *scratch)
{
    const fl_trees *trees = operation->parts.trees;
    trees->run(trees, operation->taken[0], operation->vector, scratch);
}
