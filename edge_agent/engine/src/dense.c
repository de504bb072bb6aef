/* Linear layers and kernels. Sums are taken in float64, whatever the weights are stored as: a model of unscaled columns
 * loses its small digits otherwise. */
#include <math.h>

#include "model.h"

enum { FLOAT32, FLOAT64, INT8, PRECISIONS };
enum { LINEAR, RBF, POLY, SIGMOID, KERNELS };

#define MOST_DEGREE 64u
#define INT8_MAX_ABS 127.0F

static void verify_scales(fl_load *load, const float *scales, uint32_t n)
{
    for (uint32_t i = 0; scales && i < n; i++) {
        if (scales[i] <= 0.0F)
            fl_refuse(load, FL_BAD_NUMBER);
    }
}

void fl_read_linear(fl_load *load, fl_operation *operation, const uint32_t *widths)
{
    fl_linear *linear = &operation->parts.linear;
    const uint32_t precision = fl_read_u32(load);
    const uint64_t n_weights = (uint64_t)widths[0] * operation->width;
    fl_add_work(load, n_weights);
    linear->bias = fl_read_f64s(load, operation->width, FL_FINITE);
    if (precision == FLOAT32) {
        linear->weights32 = fl_read_f32s(load, n_weights, FL_FINITE);
        fl_need_scratch(load, operation->width * sizeof(double));
    } else if (precision == FLOAT64) {
        linear->weights64 = fl_read_f64s(load, n_weights, FL_FINITE);
        fl_need_scratch(load, operation->width * sizeof(double));
    } else if (precision == INT8) {
        linear->scales = fl_read_f32s(load, operation->width, FL_FINITE);
        verify_scales(load, linear->scales, operation->width);
        const uint8_t *stored = fl_read_bytes(load, n_weights);
        int8_t *laid = fl_take(load, n_weights, 1);
        if (stored && laid)
            memcpy(laid, stored, n_weights);
        linear->weights8 = laid;
        fl_need_scratch(load, widths[0]);
        /* A sum of products of int8 must fit into 32 bits. */
        if (widths[0] > (1u << 16))
            fl_refuse(load, FL_TOO_LARGE);
    } else {
        fl_refuse(load, FL_UNKNOWN);
    }
}

/* Vectors of the processor run along the outputs: no sum changes its order. */
static void multiply32(const fl_operation *operation, double *restrict sums)
{
    const float *restrict weights = operation->parts.linear.weights32, *x = operation->taken[0];
    const uint32_t n_out = operation->width;
    for (uint32_t i = 0; i < operation->width_in; i++) {
        const double entering = (double)x[i];
        for (uint32_t o = 0; o < n_out; o++)
            sums[o] += entering * (double)weights[o];
        weights += n_out;
    }
}

static void multiply64(const fl_operation *operation, double *restrict sums)
{
    const double *restrict weights = operation->parts.linear.weights64;
    const float *x = operation->taken[0];
    const uint32_t n_out = operation->width;
    for (uint32_t i = 0; i < operation->width_in; i++) {
        const double entering = (double)x[i];
        for (uint32_t o = 0; o < n_out; o++)
            sums[o] += entering * weights[o];
        weights += n_out;
    }
}

/* What enters is quantised as it comes, by its own greatest number: no calibration that could fit other rows only. */
static void multiply8(const fl_operation *operation, int8_t *restrict quantised)
{
    const fl_linear *linear = &operation->parts.linear;
    const float *x = operation->taken[0];
    const uint32_t n_in = operation->width_in;
    float top = 0.0F;
    bool is_finite = true;
    for (uint32_t i = 0; i < n_in; i++) {
        const float size = fabsf(x[i]);
        is_finite = is_finite && isfinite(size);
        if (size > top)
            top = size;
    }
    if (!is_finite) {
        for (uint32_t o = 0; o < operation->width; o++)
            operation->vector[o] = NAN;
        return;
    }
    const float step = top > 0.0F ? top / INT8_MAX_ABS : 1.0F;
    for (uint32_t i = 0; i < n_in; i++) {
        const float q = x[i] / step;
        const int32_t whole = (int32_t)(q < 0.0F ? q - 0.5F : q + 0.5F);
        quantised[i] = (int8_t)(whole > 127 ? 127 : whole < -127 ? -127 : whole);
    }
    const int8_t *weights = linear->weights8;
    for (uint32_t o = 0; o < operation->width; o++) {
        int32_t sum = 0;
        for (uint32_t i = 0; i < n_in; i++)
            sum += (int32_t)weights[i] * (int32_t)quantised[i];
        weights += n_in;
        operation->vector[o] = (float)((double)sum * (double)step * (double)linear->scales[o] + linear->bias[o]);
    }
}

void fl_run_linear(const fl_operation *operation, void *scratch)
{
    const fl_linear *linear = &operation->parts.linear;
    if (linear->weights8) {
        multiply8(operation, scratch);
        return;
    }
    double *sums = scratch;
    memcpy(sums, linear->bias, operation->width * sizeof *sums);
    if (linear->weights64)
        multiply64(operation, sums);
    else
        multiply32(operation, sums);
    for (uint32_t o = 0; o < operation->width; o++)
        operation->vector[o] = (float)sums[o];
}

void fl_read_kernel(fl_load *load, fl_operation *operation, const uint32_t *widths)
{
    fl_kernel *kernel = &operation->parts.kernel;
    kernel->kind = fl_read_u32(load);
    kernel->degree = fl_read_u32(load);
    kernel->gamma = fl_read_f64(load, FL_FINITE);
    kernel->coef0 = fl_read_f64(load, FL_FINITE);
    if (kernel->kind >= KERNELS || kernel->degree > MOST_DEGREE)
        fl_refuse(load, FL_UNKNOWN);
    const uint64_t n_numbers = (uint64_t)widths[0] * operation->width;
    fl_add_work(load, n_numbers + (uint64_t)operation->width * kernel->degree);
    kernel->vectors = fl_read_f32s(load, n_numbers, FL_FINITE);
}

static double product(const float *x, const float *vector, uint32_t n)
{
    double sum = 0.0;
    for (uint32_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)vector[i];
    return sum;
}

static double distance(const float *x, const float *vector, uint32_t n)
{
    double sum = 0.0;
    for (uint32_t i = 0; i < n; i++) {
        const double apart = (double)x[i] - (double)vector[i];
        sum += apart * apart;
    }
    return sum;
}

static double power(double base, uint32_t degree)
{
    double result = 1.0;
    for (uint32_t i = 0; i < degree; i++)
        result *= base;
    return result;
}

void fl_run_kernel(const fl_operation *operation, void *scratch)
{
    (void)scratch;
    const fl_kernel *kernel = &operation->parts.kernel;
    const float *x = operation->taken[0], *vector = kernel->vectors;
    const uint32_t n = operation->width_in;
    for (uint32_t v = 0; v < operation->width; v++, vector += n) {
        double found;
        if (kernel->kind == RBF) {
            found = exp(-kernel->gamma * distance(x, vector, n));
        } else {
            found = product(x, vector, n);
            if (kernel->kind == POLY)
                found = power(kernel->gamma * found + kernel->coef0, kernel->degree);
            else if (kernel->kind == SIGMOID)
                found = tanh(kernel->gamma * found + kernel->coef0);
        }
        operation->vector[v] = (float)found;
    }
}
