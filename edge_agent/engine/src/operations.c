/* The operations that look at a vector number by number; exporter/programs/interpreter.py says what each one means. */
#include "operations.h"

#include <math.h>

#include "model.h"

static bool is_marker(float value, float marker)
{
    return isnan(marker) ? isnan(value) : value == marker;
}

void fl_read_nothing(fl_load *load, fl_operation *operation, const uint32_t *widths)
{
    for (uint32_t i = 0; i < operation->n_sources; i++) {
        if (widths[i] != operation->width)
            fl_refuse(load, FL_BAD_SHAPE);
    }
}

static void read_columns(fl_load *load, fl_operation *operation, const uint32_t *widths)
{
    uint32_t *places = fl_read_u32s(load, operation->width);
    for (uint32_t i = 0; places && i < operation->width; i++) {
        if (places[i] >= widths[0]) {
            fl_refuse(load, FL_BAD_SHAPE);
            return;
        }
    }
    operation->parts.places = places;
}

static void run_columns(const fl_operation *operation, void *scratch)
{
    (void)scratch;
    const float *x = operation->taken[0];
    for (uint32_t i = 0; i < operation->width; i++)
        operation->vector[i] = x[operation->parts.places[i]];
}

/* Of the widths of its sources, which must add up to its own. */
static void read_join(fl_load *load, fl_operation *operation, const uint32_t *widths)
{
    uint64_t sum = 0;
    uint32_t *ends = fl_take(load, operation->n_sources, sizeof *ends);
    for (uint32_t i = 0; i < operation->n_sources; i++) {
        sum += widths[i];
        if (ends)
            ends[i] = (uint32_t)sum;
    }
    if (sum != operation->width)
        fl_refuse(load, FL_BAD_SHAPE);
    operation->parts.places = ends;
}

static void run_join(const fl_operation *operation, void *scratch)
{
    (void)scratch;
    uint32_t at = 0;
    for (uint32_t i = 0; i < operation->n_sources; i++) {
        const uint32_t end = operation->parts.places[i];
        memcpy(operation->vector + at, operation->taken[i], (end - at) * sizeof(float));
        at = end;
    }
}

static void read_fill(fl_load *load, fl_operation *operation, const uint32_t *widths)
{
    fl_read_nothing(load, operation, widths);
    operation->parts.fill.marker = fl_read_f32(load);
    operation->parts.fill.values = fl_read_f32s(load, operation->width, FL_ANY_NUMBER);
}

static void run_fill(const fl_operation *operation, void *scratch)
{
    (void)scratch;
    const float *x = operation->taken[0], *values = operation->parts.fill.values;
    for (uint32_t i = 0; i < operation->width; i++)
        operation->vector[i] = is_marker(x[i], operation->parts.fill.marker) ? values[i] : x[i];
}

static void read_flags(fl_load *load, fl_operation *operation, const uint32_t *widths)
{
    fl_read_nothing(load, operation, widths);
    operation->parts.fill.marker = fl_read_f32(load);
}

static void run_flags(const fl_operation *operation, void *scratch)
{
    (void)scratch;
    for (uint32_t i = 0; i < operation->width; i++)
        operation->vector[i] = is_marker(operation->taken[0][i], operation->parts.fill.marker) ? 1.0F : 0.0F;
}

static void read_steps(fl_load *load, fl_operation *operation, const uint32_t *widths)
{
    fl_read_nothing(load, operation, widths);
    operation->parts.steps.first = fl_read_f64s(load, operation->width, FL_FINITE);
    operation->parts.steps.second = fl_read_f64s(load, operation->width, FL_FINITE);
}

/* Each step in float64, then rounded: scikit-learn's own numbers, to the last bit. */
static void run_scale(const fl_operation *operation, void *scratch)
{
    (void)scratch;
    const double *means = operation->parts.steps.first, *scales = operation->parts.steps.second;
    for (uint32_t i = 0; i < operation->width; i++) {
        const float centred = (float)((double)operation->taken[0][i] - means[i]);
        operation->vector[i] = (float)((double)centred / scales[i]);
    }
}

static void run_affine(const fl_operation *operation, void *scratch)
{
    (void)scratch;
    const double *factors = operation->parts.steps.first, *offsets = operation->parts.steps.second;
    for (uint32_t i = 0; i < operation->width; i++) {
        const float multiplied = (float)((double)operation->taken[0][i] * factors[i]);
        operation->vector[i] = (float)((double)multiplied + offsets[i]);
    }
}

static void read_clip(fl_load *load, fl_operation *operation, const uint32_t *widths)
{
    fl_read_nothing(load, operation, widths);
    operation->parts.clip.low = fl_read_f32s(load, operation->width, FL_NO_NAN);
    operation->parts.clip.high = fl_read_f32s(load, operation->width, FL_NO_NAN);
}

static void run_clip(const fl_operation *operation, void *scratch)
{
    (void)scratch;
    for (uint32_t i = 0; i < operation->width; i++) {
        float x = operation->taken[0][i];
        const float low = operation->parts.clip.low[i], high = operation->parts.clip.high[i];
        if (x < low)
            x = low;
        operation->vector[i] = x > high ? high : x;
    }
}

static void read_one_hot(fl_load *load, fl_operation *operation, const uint32_t *widths)
{
    if (widths[0] != 1)
        fl_refuse(load, FL_BAD_SHAPE);
    uint32_t *starts;
    const uint64_t n_keys = fl_read_starts(load, operation->width, &starts);
    operation->parts.keys.starts = starts;
    operation->parts.keys.keys = fl_read_f32s(load, n_keys, FL_ANY_NUMBER);
    fl_add_work(load, n_keys);
}

static void run_one_hot(const fl_operation *operation, void *scratch)
{
    (void)scratch;
    const float x = operation->taken[0][0], *keys = operation->parts.keys.keys;
    const uint32_t *starts = operation->parts.keys.starts;
    for (uint32_t i = 0; i < operation->width; i++) {
        float found = 0.0F;
        for (uint32_t k = starts[i]; k < starts[i + 1]; k++) {
            if (is_marker(x, keys[k]))
                found = 1.0F;
        }
        operation->vector[i] = found;
    }
}

static void read_lookup(fl_load *load, fl_operation *operation, const uint32_t *widths)
{
    if (widths[0] != 1 || operation->width != 1)
        fl_refuse(load, FL_BAD_SHAPE);
    uint32_t *starts;
    const uint64_t n_keys = fl_read_starts(load, 1, &starts);
    operation->parts.keys.starts = starts;
    operation->parts.keys.otherwise = fl_read_f32(load);
    operation->parts.keys.keys = fl_read_f32s(load, n_keys, FL_ANY_NUMBER);
    operation->parts.keys.values = fl_read_f32s(load, n_keys, FL_ANY_NUMBER);
    fl_add_work(load, n_keys);
}

static void run_lookup(const fl_operation *operation, void *scratch)
{
    (void)scratch;
    const float x = operation->taken[0][0];
    float found = operation->parts.keys.otherwise;
    for (uint32_t k = 0; k < operation->parts.keys.starts[1]; k++) {
        if (is_marker(x, operation->parts.keys.keys[k]))
            found = operation->parts.keys.values[k];
    }
    operation->vector[0] = found;
}

static void read_bins(fl_load *load, fl_operation *operation, const uint32_t *widths)
{
    fl_read_nothing(load, operation, widths);
    uint32_t *starts;
    const uint64_t n_edges = fl_read_starts(load, operation->width, &starts);
    const float *edges = fl_read_f32s(load, n_edges, FL_NO_NAN);
    for (uint32_t i = 0; starts && edges && i < operation->width; i++) {
        for (uint32_t e = starts[i] + 1; e < starts[i + 1]; e++) {
            if (edges[e] < edges[e - 1]) {
                fl_refuse(load, FL_BAD_ORDER);
                return;
            }
        }
    }
    operation->parts.keys.starts = starts;
    operation->parts.keys.keys = edges;
}

static void run_bins(const fl_operation *operation, void *scratch)
{
    (void)scratch;
    for (uint32_t i = 0; i < operation->width; i++) {
        const float x = operation->taken[0][i];
        uint32_t low = operation->parts.keys.starts[i], high = operation->parts.keys.starts[i + 1];
        const uint32_t first = low;
        while (low < high) {
            const uint32_t middle = low + (high - low) / 2;
            /* NaN is behind every edge. */
            if (x < operation->parts.keys.keys[middle])
                high = middle;
            else
                low = middle + 1;
        }
        operation->vector[i] = (float)(low - first);
    }
}

static void read_interpolate(fl_load *load, fl_operation *operation, const uint32_t *widths)
{
    fl_read_nothing(load, operation, widths);
    uint32_t *starts;
    const uint64_t n_knots = fl_read_starts(load, operation->width, &starts);
    const double *xs = fl_read_f64s(load, n_knots, FL_FINITE);
    const double *ys = fl_read_f64s(load, n_knots, FL_FINITE);
    for (uint32_t i = 0; starts && xs && i < operation->width; i++) {
        if (starts[i] == starts[i + 1]) {
            fl_refuse(load, FL_BAD_SHAPE);
            return;
        }
        for (uint32_t k = starts[i] + 1; k < starts[i + 1]; k++) {
            if (!(xs[k - 1] < xs[k])) {
                fl_refuse(load, FL_BAD_ORDER);
                return;
            }
        }
    }
    operation->parts.knots.starts = starts;
    operation->parts.knots.xs = xs;
    operation->parts.knots.ys = ys;
}

/* As numpy.interp, whose one knot answers NaN too. */
static double interpolate(double x, const double *xs, const double *ys, uint32_t n)
{
    if (n == 1 || x <= xs[0])
        return ys[0];
    if (isnan(x))
        return x;
    if (x >= xs[n - 1])
        return ys[n - 1];
    uint32_t low = 0, high = n - 1;
    while (high - low > 1) {
        const uint32_t middle = low + (high - low) / 2;
        if (x < xs[middle])
            high = middle;
        else
            low = middle;
    }
    const double slope = (ys[high] - ys[low]) / (xs[high] - xs[low]);
    return slope * (x - xs[low]) + ys[low];
}

static void run_interpolate(const fl_operation *operation, void *scratch)
{
    (void)scratch;
    const uint32_t *starts = operation->parts.knots.starts;
    for (uint32_t i = 0; i < operation->width; i++) {
        const double *xs = operation->parts.knots.xs + starts[i], *ys = operation->parts.knots.ys + starts[i];
        operation->vector[i] = (float)interpolate((double)operation->taken[0][i], xs, ys, starts[i + 1] - starts[i]);
    }
}

static void read_complement(fl_load *load, fl_operation *operation, const uint32_t *widths)
{
    if (widths[0] != 1 || operation->width != 2)
        fl_refuse(load, FL_BAD_SHAPE);
}

static void run_complement(const fl_operation *operation, void *scratch)
{
    (void)scratch;
    const float x = operation->taken[0][0];
    operation->vector[0] = (float)(1.0 - (double)x);
    operation->vector[1] = x;
}

static void run_product(const fl_operation *operation, void *scratch)
{
    (void)scratch;
    for (uint32_t i = 0; i < operation->width; i++)
        operation->vector[i] = (float)((double)operation->taken[0][i] * (double)operation->taken[1][i]);
}

static void read_average(fl_load *load, fl_operation *operation, const uint32_t *widths)
{
    fl_read_nothing(load, operation, widths);
    operation->parts.weights = fl_read_f64s(load, operation->n_sources, FL_FINITE);
    fl_add_work(load, (uint64_t)operation->n_sources * operation->width);
}

static void run_average(const fl_operation *operation, void *scratch)
{
    (void)scratch;
    for (uint32_t i = 0; i < operation->width; i++) {
        double sum = 0.0;
        for (uint32_t s = 0; s < operation->n_sources; s++)
            sum += operation->parts.weights[s] * (double)operation->taken[s][i];
        operation->vector[i] = (float)sum;
    }
}

const fl_kind fl_kinds[FL_KINDS] = {
    [FL_ROW] = {0, fl_read_nothing, NULL},
    [FL_COLUMNS] = {1, read_columns, run_columns},
    [FL_JOIN] = {0, read_join, run_join},
    [FL_FILL] = {1, read_fill, run_fill},
    [FL_FLAGS] = {1, read_flags, run_flags},
    [FL_SCALE] = {1, read_steps, run_scale},
    [FL_AFFINE] = {1, read_steps, run_affine},
    [FL_CLIP] = {1, read_clip, run_clip},
    [FL_CURVE] = {1, fl_read_curve, fl_run_curve},
    [FL_ONE_HOT] = {1, read_one_hot, run_one_hot},
    [FL_LOOKUP] = {1, read_lookup, run_lookup},
    [FL_BINS] = {1, read_bins, run_bins},
    [FL_LINEAR] = {1, fl_read_linear, fl_run_linear},
    [FL_KERNEL] = {1, fl_read_kernel, fl_run_kernel},
    [FL_TREES] = {1, fl_read_trees, fl_run_trees},
    [FL_SOFTMAX] = {1, fl_read_nothing, fl_run_softmax},
    [FL_COMPLEMENT] = {1, read_complement, run_complement},
    [FL_PROPORTIONS] = {1, fl_read_nothing, fl_run_proportions},
    [FL_AVERAGE] = {0, read_average, run_average},
    [FL_PRODUCT] = {2, fl_read_nothing, run_product},
    [FL_NORMALISE] = {1, fl_read_norm, fl_run_normalise},
    [FL_INTERPOLATE] = {1, read_interpolate, run_interpolate},
    [FL_ARG_MAX] = {1, fl_read_nothing, fl_run_arg_max},
    [FL_OVR_OF_OVO] = {1, fl_read_pairs, fl_run_ovr_of_ovo},
    [FL_COUPLING] = {1, fl_read_pairs, fl_run_coupling},
};
