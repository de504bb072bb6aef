/* A model in memory: operations over vectors, in the order in which they run. */
#ifndef FIELDLOOP_MODEL_H
#define FIELDLOOP_MODEL_H

#include "table.h"

typedef struct fl_trees fl_trees;
typedef struct fl_operation fl_operation;

/* Steps in which vectors of a model are summed: in float64, whatever its parts are stored as. */
typedef struct {
    const float *weights32; /* (n_in, n_out); or weights64, or weights8 (n_out, n_in) with their scales */
    const double *weights64;
    const int8_t *weights8;
    const float *scales;
    const double *bias;
} fl_linear;

typedef struct {
    const float *vectors;
    double gamma, coef0;
    uint32_t kind, degree;
} fl_kernel;

typedef union {
    const uint32_t *places;
    struct {
        const double *first, *second;
    } steps;
    struct {
        const float *values;
        float marker;
    } fill;
    struct {
        const float *low, *high;
    } clip;
    struct {
        const uint32_t *starts;
        const float *keys, *values;
        float otherwise;
    } keys;
    struct {
        const uint32_t *starts;
        const double *xs, *ys;
    } knots;
    const double *weights;
    uint32_t kind;
    fl_linear linear;
    fl_kernel kernel;
    fl_trees *trees;
} fl_parts;

typedef void (*fl_runner)(const fl_operation *operation, void *scratch);

struct fl_operation {
    fl_runner run;
    uint32_t kind, width, n_sources, width_in; /* `width_in`: of its first source */
    const uint32_t *sources;
    const float **taken; /* vectors of its sources */
    float *vector;
    fl_parts parts;
};

struct fl_model {
    uint32_t n_features, n_outputs, n_operations;
    fl_operation *operations;
    void *scratch;
    void *memory; /* what malloc gave; the model itself lies in it */
    uint64_t memory_bytes;
};

/* Kinds, as a table numbers them. */
enum {
    FL_ROW,
    FL_COLUMNS,
    FL_JOIN,
    FL_FILL,
    FL_FLAGS,
    FL_SCALE,
    FL_AFFINE,
    FL_CLIP,
    FL_CURVE,
    FL_ONE_HOT,
    FL_LOOKUP,
    FL_BINS,
    FL_LINEAR,
    FL_KERNEL,
    FL_TREES,
    FL_SOFTMAX,
    FL_COMPLEMENT,
    FL_PROPORTIONS,
    FL_AVERAGE,
    FL_PRODUCT,
    FL_NORMALISE,
    FL_INTERPOLATE,
    FL_ARG_MAX,
    FL_OVR_OF_OVO,
    FL_COUPLING,
    FL_KINDS
};

/* What a kind of operation is: how many vectors it takes (0: any number, from 1 on), how its parts are read and
 * verified, and how it runs. The reader is told the widths of the vectors that it takes. */
typedef struct {
    uint32_t n_sources;
    void (*read)(fl_load *load, fl_operation *operation, const uint32_t *widths);
    fl_runner run;
} fl_kind;

extern const fl_kind fl_kinds[FL_KINDS];

void fl_read_nothing(fl_load *load, fl_operation *operation, const uint32_t *widths);
const char *fl_trees_layout(const fl_trees *trees);

#endif
