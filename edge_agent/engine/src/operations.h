/* Readers and runners that the table of kinds (operations.c) names and other files hold. */
#ifndef FIELDLOOP_OPERATIONS_H
#define FIELDLOOP_OPERATIONS_H

#include "model.h"

/* curves.c */
void fl_read_curve(fl_load *load, fl_operation *operation, const uint32_t *widths);
void fl_run_curve(const fl_operation *operation, void *scratch);
void fl_run_softmax(const fl_operation *operation, void *scratch);
void fl_run_proportions(const fl_operation *operation, void *scratch);
void fl_read_norm(fl_load *load, fl_operation *operation, const uint32_t *widths);
void fl_run_normalise(const fl_operation *operation, void *scratch);
void fl_run_arg_max(const fl_operation *operation, void *scratch);
/* dense.c */
void fl_read_linear(fl_load *load, fl_operation *operation, const uint32_t *widths);
void fl_run_linear(const fl_operation *operation, void *scratch);
void fl_read_kernel(fl_load *load, fl_operation *operation, const uint32_t *widths);
void fl_run_kernel(const fl_operation *operation, void *scratch);
/* classes.c */
void fl_read_pairs(fl_load *load, fl_operation *operation, const uint32_t *widths);
void fl_run_ovr_of_ovo(const fl_operation *operation, void *scratch);
void fl_run_coupling(const fl_operation *operation, void *scratch);
/* trees_read.c, trees.c */
void fl_read_trees(fl_load *load, fl_operation *operation, const uint32_t *widths);
void fl_run_trees(const fl_operation *operation, void *scratch);

#endif
